"""How long a call waits for its video where nobody says so: as long as its host allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.types import Implementation
from tests.conftest import ERAS, TOKEN
from tests.results import told
from tests.server.declaring import declaring

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    Server = Callable[..., Client]

WAITS = {
    "claude-ai": 45,
    "claude-code": 240,
    "Visual Studio Code": 240,
    "Visual Studio Code - Insiders": 240,
    "gemini-cli-mcp-client": 240,
    "openai-mcp": 45,
    "codex-mcp-client": 45,
    "cursor-vscode": 45,
    "a host that nobody knows": 45,
    "not claude-code": 45,
    "": 45,
}
STUCK = {"prompt": "A fox simulate:stuck"}


@pytest.fixture(params=ERAS)
def server(request: pytest.FixtureRequest, connect: Server) -> Server:
    """A client of that name, in either era; settings by name."""

    def start(name: str | None, **settings: str) -> Client:
        client = connect(mode=request.param, environment={"USEAPI_TOKEN": TOKEN, **settings})
        return client if name is None else declaring(client, named=Implementation(name=name, version="1"))

    return start


async def listen(progress: float, total: float | None, message: str | None) -> None:
    """Takes progress, and so asks for it."""


@pytest.mark.parametrize("progress", [None, listen], ids=["without progress", "with progress"])
@pytest.mark.parametrize(("name", "seconds"), WAITS.items(), ids=[name or "no name" for name in WAITS])
async def test_a_wait_that_was_left_out_is_as_long_as_the_host_allows(
    server: Server, name: str, seconds: int, progress: Any
) -> None:
    async with server(name) as client:
        _, content = told(await client.call_tool("generate_video", STUCK, progress_callback=progress))
        assert (anyio.current_time(), content["state"]) == (seconds, "running")
        await client.call_tool("get_job", {"jobid": content["jobid"]}, progress_callback=progress)
        assert anyio.current_time() == 2 * seconds


async def test_a_client_that_says_nothing_of_itself_waits_as_one_that_nobody_knows(server: Server) -> None:
    async with server(None) as client:
        await client.call_tool("generate_video", STUCK)
    assert anyio.current_time() == 45


@pytest.mark.parametrize("name", ["claude-ai", "claude-code", ""])
@pytest.mark.parametrize("seconds", [0, 7, 300])
async def test_a_wait_that_was_said_wins(server: Server, name: str, seconds: int) -> None:
    async with server(name) as client:
        _, content = told(await client.call_tool("generate_video", {**STUCK, "wait_seconds": seconds}))
        assert anyio.current_time() == seconds
        await client.call_tool("get_job", {"jobid": content["jobid"], "wait_seconds": seconds})
    assert anyio.current_time() == 2 * seconds


@pytest.mark.parametrize(
    ("name", "said", "longest", "seconds"),
    [
        ("claude-code", {}, 100, 100),
        ("claude-code", {"wait_seconds": 600}, 100, 100),
        ("claude-code", {"wait_seconds": 50}, 100, 50),
        ("claude-ai", {}, 100, 45),
        ("claude-ai", {}, 10, 10),
        ("claude-code", {}, 0, 0),
    ],
    ids=["patient", "said more", "said less", "impatient", "both", "no wait at all"],
)
async def test_no_wait_is_longer_than_the_owner_s_longest(
    server: Server, *, name: str, said: dict[str, int], longest: int, seconds: int
) -> None:
    async with server(name, LUMA_MCP_MAX_WAIT_SECONDS=str(longest)) as client:
        _, content = told(await client.call_tool("generate_video", {**STUCK, **said}))
        assert anyio.current_time() == seconds
        await client.call_tool("get_job", {"jobid": content["jobid"], **said})
    assert anyio.current_time() == 2 * seconds
