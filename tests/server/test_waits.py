"""Default waits of calls: as long as the host allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import ERAS, TOKEN
from tests.server.calls import call, order
from tests.transports import HoldingTransport

from luma_mcp.hosting.http import build_app
from luma_mcp.server.app import build_server
from luma_mcp.server.clients import SESSION_HEADER
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

WAITS = {
    "claude-ai": 45,
    "claude-code": 240,
    "Visual Studio Code": 240,
    "Visual Studio Code - Insiders": 240,
    "gemini-cli-mcp-client": 240,
    "openai-mcp": 45,
    "codex-mcp-client": 240,
    "cursor-vscode": 45,
    "an unknown host": 45,
    "not claude-code": 45,
    "": 45,
}
STUCK = {"prompt": "A fox simulate:stuck"}
every_era = pytest.mark.parametrize("mode", ERAS)


async def listen(progress: float, total: float | None, message: str | None) -> None:
    """Ignore progress. With this callback, the client requests it."""


@every_era
@pytest.mark.parametrize(("name", "seconds"), WAITS.items(), ids=[name or "no name" for name in WAITS])
async def test_default_wait_of_a_host(server: Server, *, mode: str, name: str, seconds: int) -> None:
    async with server(mode, client_name=name) as client:
        _, content = await call(client, "generate_video", **STUCK)
        assert (anyio.current_time(), content["state"]) == (seconds, "running")
        # Requesting progress makes no difference.
        await client.call_tool("get_job", {"jobid": content["jobid"]}, progress_callback=listen)
        assert anyio.current_time() == 2 * seconds


@pytest.mark.parametrize(("name", "seconds"), (WAITS | {"codex-mcp-client": 45}).items(), ids=range(len(WAITS)))
async def test_default_wait_of_a_session_over_http(simulator: Simulator, name: str, seconds: int) -> None:
    """Codex ends a call after 60 s. Only the entry that `install` writes raises that, and it is not for HTTP."""
    settings = Settings.from_environment({"USEAPI_TOKEN": TOKEN, "LUMA_MCP_JOURNAL": "off"})
    server = build_server(settings, transport=httpx2.ASGITransport(simulator))
    transport = httpx2.ASGITransport(build_app(server, settings, host="127.0.0.1"))
    headers = {"Accept": "application/json, text/event-stream"}
    beginning = {"protocolVersion": ERAS[1], "capabilities": {}, "clientInfo": {"name": name, "version": "1"}}
    begin = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": beginning}
    ordering = {"name": "generate_video", "arguments": STUCK}
    order = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ordering}
    url = "http://127.0.0.1:8787/mcp"
    async with server.session_manager.run(), httpx2.AsyncClient(transport=transport, headers=headers) as http:
        begun = await http.post(url, json=begin)
        answer = await http.post(url, json=order, headers={SESSION_HEADER: begun.headers[SESSION_HEADER]})
    assert '"state":"running"' in answer.text
    assert anyio.current_time() == seconds


@every_era
async def test_default_wait_of_an_anonymous_client(server: Server, mode: str) -> None:
    async with server(mode) as client:
        await client.call_tool("generate_video", STUCK)
    assert anyio.current_time() == 45


@every_era
@pytest.mark.parametrize("name", ["claude-ai", "claude-code"])
@pytest.mark.parametrize("seconds", [0, 7, 300])
async def test_stated_wait_wins(server: Server, *, mode: str, name: str, seconds: int) -> None:
    async with server(mode, client_name=name) as client:
        _, content = await call(client, "generate_video", **STUCK, wait_seconds=seconds)
        assert anyio.current_time() == seconds
        await call(client, "get_job", jobid=content["jobid"], wait_seconds=seconds)
    assert anyio.current_time() == 2 * seconds


@every_era
@pytest.mark.parametrize(
    ("name", "stated", "longest", "seconds"),
    [
        ("claude-code", {}, 100, 100),
        ("claude-code", {"wait_seconds": 600}, 100, 100),
        ("claude-code", {"wait_seconds": 50}, 100, 50),
        ("claude-ai", {}, 100, 45),
        ("claude-ai", {}, 10, 10),
        ("claude-code", {}, 0, 0),
    ],
    ids=["host waits longer", "stated longer", "stated shorter", "host waits shorter", "both longer", "no wait"],
)
async def test_no_wait_exceeds_the_setting(
    server: Server, *, mode: str, name: str, stated: dict[str, int], longest: int, seconds: int
) -> None:
    async with server(mode, client_name=name, LUMA_MCP_MAX_WAIT_SECONDS=str(longest)) as client:
        _, content = await call(client, "generate_video", **STUCK, **stated)
        assert anyio.current_time() == seconds
        await call(client, "get_job", jobid=content["jobid"], **stated)
    assert anyio.current_time() == 2 * seconds


async def test_job_that_ends_during_its_order(server: Server, simulator: Simulator) -> None:
    """Once the jobid is known, both processes return the finished video, although their waits are over."""
    held = HoldingTransport(simulator)
    contents: list[dict[str, Any]] = []

    async def order_and_wait(client: Client) -> None:
        contents.append((await order(client, wait_seconds=7))[1])

    async with server(transport=held) as first, server() as second, anyio.create_task_group() as tasks:
        tasks.start_soon(order_and_wait, first)
        await held.delivered.wait()
        tasks.start_soon(order_and_wait, second)
        [job] = simulator.service.jobs.values()
        job.seconds = 5
        await pass_time(10)
        held.may_answer.set()
    assert [content["jobid"] for content in contents] == [job.jobid] * 2
    assert [content["state"] for content in contents] == ["completed"] * 2
    assert sorted(content["outcome"] for content in contents) == ["created", "duplicate"]
