"""How long a client may keep an answer: an hour what never changes, not at all what tells of jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.results import told
from tests.server.declaring import APPS, asked, called, declaring

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    Server = Callable[..., Client]

HOUR = 3_600_000
SAME_FOR_ALL: dict[str, dict[str, str]] = {
    "server/discover": {},
    "prompts/list": {},
    "resources/templates/list": {},
} | {
    f"resources/read {uri}": {"uri": uri}
    for uri in ("luma://options", "luma://schemas/generate_video", "ui://luma-ray-mcp/player.html")
}
OWN = ("tools/list", "resources/list")
clients = pytest.mark.parametrize("declared", [(), (APPS,)], ids=["no apps", "apps"])


def kept(answer: dict[str, Any]) -> tuple[int, str]:
    """For how many milliseconds, and whether by everybody."""
    return answer["ttlMs"], answer["cacheScope"]


@clients
@pytest.mark.parametrize(("request_", "params"), SAME_FOR_ALL.items(), ids=SAME_FOR_ALL)
async def test_what_is_the_same_for_all_may_be_kept_for_an_hour_and_shared(
    connect: Server, declared: tuple[str, ...], request_: str, params: dict[str, str]
) -> None:
    async with declaring(connect(), *declared) as client:
        assert kept(await asked(client, request_.partition(" ")[0], **params)) == (HOUR, "public")


@clients
@pytest.mark.parametrize("method", OWN)
async def test_what_depends_on_the_client_may_be_kept_by_it_alone(
    connect: Server, declared: tuple[str, ...], method: str
) -> None:
    async with declaring(connect(), *declared) as client:
        assert kept(await asked(client, method)) == (HOUR, "private")


@clients
async def test_what_tells_of_jobs_may_not_be_kept(connect: Server, declared: tuple[str, ...]) -> None:
    async with declaring(connect(), *declared) as client:
        _, job = told(await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0}))
        for uri in ("luma://jobs", f"luma://jobs/{job['jobid']}"):
            assert kept(await asked(client, "resources/read", uri=uri)) == (0, "private")
        tool = await called(client, "get_job", jobid=job["jobid"], wait_seconds=0)
    assert tool.keys().isdisjoint({"ttlMs", "cacheScope"})


async def test_a_client_that_keeps_what_it_may_sees_a_job_end(connect: Server) -> None:
    async with connect() as client:
        _, job = told(await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0}))
        uri = f"luma://jobs/{job['jobid']}"
        [before] = (await client.read_resource(uri)).contents
        await client.call_tool("get_job", {"jobid": job["jobid"], "wait_seconds": 200})
        [after] = (await client.read_resource(uri)).contents
    assert [json.loads(read.model_dump()["text"])["state"] for read in (before, after)] == ["running", "completed"]
