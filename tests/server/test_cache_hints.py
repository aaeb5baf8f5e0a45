"""Cache hints: constant data may be cached for an hour, data about jobs not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.calls import order
from tests.server.declaring import APPS, call_raw, declaring, request_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    Server = Callable[..., Client]

HOUR = 3_600_000
PUBLIC: dict[str, dict[str, str]] = {
    "server/discover": {},
    "prompts/list": {},
    "resources/templates/list": {},
} | {
    f"resources/read {uri}": {"uri": uri}
    for uri in (
        "luma://options",
        "luma://schemas/generate_video",
        "ui://luma-ray-mcp/player.html",
        "ui://luma-ray-mcp/picture.html",
    )
}
PRIVATE = ("tools/list", "resources/list")
clients = pytest.mark.parametrize("declared", [(), (APPS,)], ids=["no apps", "apps"])


def get_hint(result: dict[str, Any]) -> tuple[int, str]:
    """Get the lifetime in milliseconds and the scope."""
    return result["ttlMs"], result["cacheScope"]


@clients
@pytest.mark.parametrize(("request_", "params"), PUBLIC.items(), ids=PUBLIC)
async def test_constant_data_is_public_for_an_hour(
    connect: Server, declared: tuple[str, ...], request_: str, params: dict[str, str]
) -> None:
    async with declaring(connect(), *declared) as client:
        assert get_hint(await request_raw(client, request_.partition(" ")[0], **params)) == (HOUR, "public")


@clients
@pytest.mark.parametrize("method", PRIVATE)
async def test_data_that_depends_on_the_client_is_private(
    connect: Server, declared: tuple[str, ...], method: str
) -> None:
    async with declaring(connect(), *declared) as client:
        assert get_hint(await request_raw(client, method)) == (HOUR, "private")


@clients
async def test_jobs_are_not_cached(connect: Server, declared: tuple[str, ...]) -> None:
    async with declaring(connect(), *declared) as client:
        _, job = await order(client)
        for uri in ("luma://jobs", f"luma://jobs/{job['jobid']}"):
            assert get_hint(await request_raw(client, "resources/read", uri=uri)) == (0, "private")
        tool = await call_raw(client, "get_job", jobid=job["jobid"], wait_seconds=0)
    assert tool.keys().isdisjoint({"ttlMs", "cacheScope"})


async def test_a_caching_client_sees_a_job_finish(connect: Server) -> None:
    async with connect() as client:
        _, job = await order(client)
        uri = f"luma://jobs/{job['jobid']}"
        [before] = (await client.read_resource(uri)).contents
        await client.call_tool("get_job", {"jobid": job["jobid"], "wait_seconds": 200})
        [after] = (await client.read_resource(uri)).contents
    assert [json.loads(read.model_dump()["text"])["state"] for read in (before, after)] == ["running", "completed"]
