"""Orders with the API that cannot list jobs: lost answers are not recovered, and only certain rejections are free."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from tests.clock import pass_time
from tests.conftest import resolve, wall_clock
from tests.server.calls import call, order, order_error
from tests.service.faulty import Fault as Lost
from tests.service.faulty import FaultyTransport
from tests.service.test_clocks import DatedTransport

from luma_mcp.providers import PROVIDERS
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from luma_mcp.simulator.agents import AgentsSimulator

    Connect = Callable[..., Client]

KEY = "luma-api-4711-very-secret"
ORDER_REQUEST = "POST /generations"
MINUTE = 60.0


@pytest.fixture
def connect(agents_simulator: AgentsSimulator, tmp_path: Path) -> Connect:
    """Connects a client to a new server. All servers of a test share the journal."""
    agents_simulator.token = KEY

    def start(transport: httpx2.AsyncBaseTransport | None = None, *, minutes_ahead: float = 0) -> Client:
        journal = str(tmp_path / "journal.db")
        environment = {"LUMA_AGENTS_API_KEY": KEY, "LUMA_MCP_JOURNAL": journal, "LUMA_MCP_THUMBNAILS": "0"}
        used_transport = transport or httpx2.ASGITransport(agents_simulator)
        settings = Settings.from_environment(environment)

        def server_clock() -> datetime:
            return wall_clock() + timedelta(minutes=minutes_ahead)

        return Client(build_server(settings, transport=used_transport, resolve=resolve, wall_clock=server_clock))

    return start


async def test_too_many_requests_cost_nothing(connect: Connect, agents_simulator: AgentsSimulator) -> None:
    agents_simulator.service.per_minute = 0
    async with connect() as client:
        error = await order_error(client)
        assert (error["kind"], error["charged"], error["retry"]) == ("upstream", "no", "later")
        assert "Rate limit exceeded" in error["message"]
        assert (await call(client, "list_jobs"))[1]["jobs"] == []
        agents_simulator.service.per_minute = 30
        assert (await order(client))[1]["outcome"] == "created"


async def test_order_waits_for_the_rate_limit(connect: Connect, agents_simulator: AgentsSimulator) -> None:
    agents_simulator.service.per_minute = 1
    async with connect() as client:
        await order(client)
        _, content = await order(client, "A cat", wait_seconds=120)
    assert (content["outcome"], len(agents_simulator.service.jobs)) == ("created", 2)
    assert agents_simulator.requests[ORDER_REQUEST] == 3


def lose_response(simulator: AgentsSimulator) -> httpx2.AsyncBaseTransport:
    # The first request, which reads the API's time, succeeds.
    return FaultyTransport(simulator, Lost.NONE, Lost.TIMED_OUT_AFTER)


def fail_with_message(simulator: AgentsSimulator) -> httpx2.AsyncBaseTransport:
    simulator.faults.append(Fault("POST", "/generations", 500, b'{"detail":"Internal server error"}', after=True))
    return httpx2.ASGITransport(simulator)


@pytest.mark.parametrize("break_order", [lose_response, fail_with_message])
async def test_a_lost_order_blocks_for_a_quarter_of_an_hour(
    connect: Connect, agents_simulator: AgentsSimulator, break_order: Callable[..., httpx2.AsyncBaseTransport]
) -> None:
    async with connect(break_order(agents_simulator)) as client:
        assert_unknown(await order_error(client))
    async with connect() as client:
        [listed] = (await call(client, "list_jobs"))[1]["jobs"]
        assert (listed["state"], listed["prompt"]) == ("unknown", "A fox")
        assert "jobid" not in listed
        for _ in range(2):
            await pass_time(7 * MINUTE)
            assert_unknown(await order_error(client))
        assert agents_simulator.requests[ORDER_REQUEST] == 1
        await pass_time(2 * MINUTE)
        assert (await order(client))[1]["outcome"] == "created"


async def test_a_new_take_does_not_unblock_a_lost_order(connect: Connect, agents_simulator: AgentsSimulator) -> None:
    async with connect(lose_response(agents_simulator)) as client:
        await order_error(client)
    async with connect() as client:
        _, taken = await order(client, new_take=True)
        assert (taken["outcome"], len(agents_simulator.service.jobs)) == ("created", 2)
        await pass_time(5 * MINUTE)
        assert (await call(client, "get_job", jobid=taken["jobid"]))[1]["state"] == "completed"
        assert_unknown(await order_error(client))
    assert agents_simulator.requests[ORDER_REQUEST] == 2


@pytest.mark.parametrize("minutes_ahead", [-20, 20])
async def test_a_wrong_clock_does_not_unblock_a_lost_order(
    connect: Connect, agents_simulator: AgentsSimulator, minutes_ahead: float
) -> None:
    async with connect(
        DatedTransport(agents_simulator, Lost.NONE, Lost.DROPPED_AFTER), minutes_ahead=minutes_ahead
    ) as client:
        assert_unknown(await order_error(client))
    # Each server is a new process, like a command in a terminal.
    async with connect(DatedTransport(agents_simulator), minutes_ahead=-minutes_ahead) as client:
        assert_unknown(await order_error(client))
    await pass_time(16 * MINUTE)
    async with connect(FaultyTransport(agents_simulator, Lost.GATEWAY_BEFORE), minutes_ahead=minutes_ahead) as client:
        assert_unknown(await order_error(client))
    async with connect(DatedTransport(agents_simulator), minutes_ahead=-minutes_ahead) as client:
        assert (await order(client))[1]["outcome"] == "created"


def assert_unknown(error: dict[str, Any]) -> None:
    assert (error["kind"], error["charged"], error["next_action"]) == ("outcome_unknown", "unknown", "ask_user")
    assert PROVIDERS["agents"].console in error["next_step"]
    assert "new_take" in error["next_step"]
