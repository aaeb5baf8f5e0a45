"""LUMA_MCP_CONFIRM with several servers on one database: any server accepts the answer, and only once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from tests.conftest import TOKEN, resolve, wall_clock
from tests.server.declaring import AGREED, Person, answer_question, call_raw, declaring, question_text
from tests.server.test_confirmation import BLUE, LINK, RED, PictureHost

from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres.server import Database

    from luma_mcp.simulator.app import Simulator

KEYS = [f"a-key-for-questions-0123456789-number-{number}" for number in range(3)]
ARGUMENTS: dict[str, Any] = {"prompt": "A fox", "wait_seconds": 0, "new_take": True}


@pytest.fixture
def replica(simulator: Simulator, database: Database) -> Callable[..., Client]:
    """Connect a client that supports elicitation to a new server, as on another machine."""

    def start(transport: httpx2.AsyncBaseTransport | None = None, **variables: str) -> Client:
        environment = {
            "USEAPI_TOKEN": TOKEN,
            "LUMA_MCP_JOURNAL": database.dsn_of_machine().get_secret_value(),
            "LUMA_MCP_THUMBNAILS": "0",
            "LUMA_MCP_CONFIRM": "always",
            "LUMA_MCP_SECRET_KEYS": KEYS[0],
            **variables,
        }
        server = build_server(
            Settings.from_environment(environment),
            transport=transport or httpx2.ASGITransport(simulator),
            resolve=resolve,
            wall_clock=wall_clock,
        )
        return declaring(Client(server), asks=Person())

    return start


async def send_agreement(client: Client, question: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    result = await answer_question(client, "generate_video", question, AGREED, **(arguments or ARGUMENTS))
    return dict(result["structuredContent"])


async def test_question_can_be_answered_at_another_server(replica: Callable[..., Client], simulator: Simulator) -> None:
    async with replica() as first, replica() as second:
        question = await call_raw(first, "generate_video", **ARGUMENTS)
        content = await send_agreement(second, question)
        assert content["outcome"] == "created"
        # If a server gets the answer again, it returns the same job or orders nothing.
        for client in (first, second, first):
            again = await send_agreement(client, question)
            assert again.get("jobid") == content["jobid"] or again["error"]["charged"] == "no"
    assert simulator.requests["POST /videos"] == 1


async def test_answer_sent_to_several_servers_at_once_is_one_order(
    replica: Callable[..., Client], simulator: Simulator
) -> None:
    contents: list[dict[str, Any]] = []
    async with replica() as first, replica() as second, replica() as third:
        question = await call_raw(first, "generate_video", **ARGUMENTS)

        async def send(client: Client) -> None:
            contents.append(await send_agreement(client, question))

        async with anyio.create_task_group() as tasks:
            for client in (first, second, third, second, third):
                tasks.start_soon(send, client)
    assert simulator.requests["POST /videos"] == 1
    [jobid] = simulator.service.jobs
    assert [content.get("jobid") for content in contents].count(jobid) >= 1
    for content in contents:
        assert content.get("jobid") == jobid or content["error"]["charged"] == "no"


async def test_restarted_server_does_not_reuse_an_answer(replica: Callable[..., Client], simulator: Simulator) -> None:
    async with replica() as first:
        question = await call_raw(first, "generate_video", **ARGUMENTS)
        await send_agreement(first, question)
    async with replica() as second:
        content = await send_agreement(second, question)
    assert "error" not in content or content["error"]["charged"] == "no"
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize("later", [RED, BLUE], ids=["the same", "another"])
async def test_picture_is_fetched_again_and_compared(
    replica: Callable[..., Client], simulator: Simulator, later: bytes
) -> None:
    arguments = {**ARGUMENTS, "image_start": LINK}
    async with replica(PictureHost(simulator, RED)) as first, replica(PictureHost(simulator, later)) as second:
        question = await call_raw(first, "generate_video", **arguments)
        result = await answer_question(second, "generate_video", question, AGREED, **arguments)
    if later == BLUE:
        assert "changed" in question_text(result)
        assert simulator.requests["POST /videos"] == 0
    else:
        assert result["structuredContent"]["outcome"] == "created"
        assert simulator.requests["POST /videos"] == 1


async def test_answer_is_accepted_after_key_rotation(replica: Callable[..., Client]) -> None:
    async with (
        replica(LUMA_MCP_SECRET_KEYS=KEYS[0]) as old,
        replica(LUMA_MCP_SECRET_KEYS=f"{KEYS[1]},{KEYS[0]}") as new,
    ):
        question = await call_raw(old, "generate_video", **ARGUMENTS)
        assert (await send_agreement(new, question))["outcome"] == "created"


@pytest.mark.parametrize(
    "other",
    [
        {"LUMA_MCP_SECRET_KEYS": KEYS[2]},
        {"LUMA_MCP_SECRET_KEYS": ""},
        {"LUMA_MCP_PUBLIC_URL": "https://other.example.com"},
    ],
    ids=["other keys", "no keys", "another URL"],
)
async def test_server_with_another_setup_rejects_the_answer(
    replica: Callable[..., Client], simulator: Simulator, other: dict[str, str]
) -> None:
    async with replica() as first, replica(**other) as second:
        question = await call_raw(first, "generate_video", **ARGUMENTS)
        with pytest.raises(MCPError):
            await send_agreement(second, question)
    assert simulator.requests["POST /videos"] == 0
