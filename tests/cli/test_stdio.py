"""The server as hosts start it: a process on stdin and stdout, with both protocol versions. The API is real HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from tests.cli.commands import LUMA_MCP
from tests.cli.serving import STEP_TIMEOUT, content
from tests.conftest import EMAIL, ERAS, TOKEN

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.simulator.app import Fault, Simulator, running
from luma_mcp.simulator.state import MEDIA, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent


class Clock:
    """A manual clock."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulator(clock: Clock) -> Simulator:
    service = Service(USEAPI, clock=clock)
    service.add_account(EMAIL)
    return Simulator(service, token=TOKEN)


@pytest.fixture
def base_url(simulator: Simulator) -> Iterator[str]:
    with running(simulator) as url:
        yield url


def stdio(*arguments: str, **environment: str) -> StdioServerParameters:
    variables = {"LUMA_MCP_JOURNAL": "off"} | environment
    return StdioServerParameters(command=LUMA_MCP[0], args=[*LUMA_MCP[1:], *arguments], env=variables)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_prompt_becomes_a_file(base_url: str, clock: Clock, mode: str, tmp_path: Path) -> None:
    server = stdio(USEAPI_TOKEN=TOKEN, LUMA_MCP_BASE_URL=base_url, LUMA_MCP_OUTPUT_DIR=str(tmp_path / "Luma"))
    with anyio.fail_after(STEP_TIMEOUT):
        async with Client(server, mode=mode) as client:
            assert client.protocol_version == ("2025-11-25" if mode == "legacy" else mode)
            ordered = content(await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0}))
            assert ordered["state"] == "running"
            clock.now = 60.0
            done = content(await client.call_tool("get_job", {"jobid": ordered["jobid"], "save": True}))
    assert done["state"] == "completed"
    [file] = done["saved_files"]
    assert Path(file).parent == tmp_path / "Luma"
    assert Path(file).read_bytes() == (MEDIA / "16x9-5s-sdr.mp4").read_bytes()


async def test_an_order_with_a_broken_response_is_found(base_url: str, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 200, b'{"jobid":', {"content-length": "900"}, after=True))
    with anyio.fail_after(STEP_TIMEOUT):
        async with Client(stdio(USEAPI_TOKEN=TOKEN, LUMA_MCP_BASE_URL=base_url)) as client:
            result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0})
    assert [content(result)["jobid"]] == list(simulator.service.jobs)
    assert simulator.requests["POST /videos"] == 1


async def test_an_unreachable_api_is_a_network_error() -> None:
    server = stdio(USEAPI_TOKEN=TOKEN, LUMA_MCP_BASE_URL="http://127.0.0.1:9/v1/luma")
    with anyio.fail_after(STEP_TIMEOUT):
        async with Client(server) as client:
            result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0})
    error = content(result)["error"]
    assert (error["kind"], error["retry"], error["charged"]) == ("network", "later", "no")


async def test_simulate_needs_no_token_and_is_announced() -> None:
    with anyio.fail_after(STEP_TIMEOUT):
        async with Client(stdio("--simulate", "--speed", "1000000")) as client:
            assert "SIMULATED" in (client.instructions or "")
            ordered = content(await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0}))
            done = content(await client.call_tool("get_job", {"jobid": ordered["jobid"]}))
    assert done["state"] == "completed"
    assert done["video"]["url"].startswith("http://127.0.0.1:")
    assert done["simulated"] is True


async def test_the_example_configuration_starts_this_server() -> None:
    example = json.loads((ROOT / "claude_desktop_config.example.json").read_text(encoding="utf-8"))
    [entry] = example["mcpServers"].values()
    assert entry["env"].keys() == {"USEAPI_TOKEN"}
    folder, name = entry["command"].split("/.venv/bin/")
    assert folder == "/path/to/luma-ray-mcp"
    command = Path(sys.executable).parent / name
    server = StdioServerParameters(command=str(command), args=entry.get("args", []), env=entry["env"])
    with anyio.fail_after(STEP_TIMEOUT):
        async with Client(server) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
    assert names == ["generate_video", "get_job", "list_jobs", "delete_job", "list_options", "join_videos"]


def test_stdout_has_only_messages_and_no_log_has_the_token(base_url: str) -> None:
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    order = {"name": "generate_video", "arguments": {"prompt": "A fox", "wait_seconds": 0}}
    messages: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        # The SDK logs the name of an unknown tool. So a client could make the server log the token.
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": TOKEN, "arguments": {}}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": order},
    ]
    environment = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": base_url, "LUMA_MCP_LOG_LEVEL": "DEBUG"}
    environment["LUMA_MCP_JOURNAL"] = "off"
    with subprocess.Popen(
        LUMA_MCP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdin.writelines(json.dumps(message) + "\n" for message in messages)
        server.stdin.flush()
        answers = sorted((json.loads(server.stdout.readline()) for _ in messages[1:]), key=lambda a: int(a["id"]))
        server.stdin.close()
        rest, log = server.stdout.read(), server.stderr.read()
    assert [answer["id"] for answer in answers] == [1, 2, 3]
    assert answers[1]["result"]["structuredContent"]["state"] == "running"
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest.splitlines())
    assert server.returncode == 0
    assert "Unknown tool: ***" in log
    assert TOKEN not in log
    assert EMAIL not in log


def test_ctrl_c_ends_the_server_while_stdin_is_open() -> None:
    with subprocess.Popen(
        LUMA_MCP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}) + "\n")
        server.stdin.flush()
        assert server.stdout.readline()
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=STEP_TIMEOUT) == 130
