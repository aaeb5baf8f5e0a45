"""Luma's Agents API refuses more orders than a minute may have. That costs nothing, and the call waits if it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.agents import AgentsSimulator

ORDER: dict[str, Any] = {"wait_seconds": 0}


@pytest.fixture
def agent(connect: Callable[..., Client], agents_simulator: AgentsSimulator, tmp_path: Path) -> Client:
    environment = {"LUMA_AGENTS_API_KEY": KEY, "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db")}
    return connect(transport=httpx2.ASGITransport(agents_simulator), environment=environment)


async def test_too_many_requests_cost_nothing(agent: Client, agents_simulator: AgentsSimulator) -> None:
    agents_simulator.service.per_minute = 1
    async with agent:
        await agent.call_tool("generate_video", ORDER | {"prompt": "A fox"})
        result = await agent.call_tool("generate_video", ORDER | {"prompt": "A cat"})
        assert result.structured_content
        error = result.structured_content["error"]
        assert (error["kind"], error["charged"], error["retry"]) == ("upstream", "no", "later")
        assert (error["next_action"], error["status"]) == ("order_later", 429)
        # The same order is not taken for one that may be running.
        await anyio.sleep(60)
        repeated = await agent.call_tool("generate_video", ORDER | {"prompt": "A cat"})
        assert repeated.structured_content
        assert repeated.structured_content["outcome"] == "created"
    assert len(agents_simulator.service.jobs) == 2


@pytest.mark.parametrize("name", ["limited", "busy"])
async def test_a_call_with_time_waits(agent: Client, agents_simulator: AgentsSimulator, name: str) -> None:
    arguments = {"prompt": f"A fox simulate:{name}=9 simulate:retry-after=10", "wait_seconds": 30}
    async with agent:
        result = await agent.call_tool("generate_video", arguments)
    assert result.structured_content
    assert result.structured_content["outcome"] == "created"
    assert agents_simulator.requests["POST /generations"] == 2
