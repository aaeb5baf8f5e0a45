"""Both APIs on one machine: their orders share the journal file and nothing else."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import CREDENTIALS, ERAS, simulator_of
from tests.server.calls import call, order

from luma_mcp.catalog import get_catalog
from luma_mcp.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator


@pytest.fixture
def simulators() -> dict[str, Simulator]:
    return {api: simulator_of(get_catalog(api), token=token) for api, token in CREDENTIALS.items()}


@pytest.fixture
async def clients(
    connect: Callable[..., Client], simulators: dict[str, Simulator], tmp_path: Path
) -> AsyncIterator[dict[str, Client]]:
    """Clients of one server per API, which share a journal."""
    shared = {"LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"), "LUMA_MCP_MAX_JOBS_PER_HOUR": "2"}
    async with AsyncExitStack() as stack:
        started: dict[str, Client] = {}
        for api, simulator in simulators.items():
            environment = shared | {PROVIDERS[api].variable: CREDENTIALS[api]}
            transport = httpx2.ASGITransport(simulator)
            started[api] = await stack.enter_async_context(connect(environment=environment, transport=transport))
        yield started


async def test_journal_keeps_the_apis_apart(clients: dict[str, Client], simulators: dict[str, Simulator]) -> None:
    jobids: dict[str, str] = {}
    for api, client in clients.items():
        _, content = await order(client)
        # The same prompt is a different video at the other API.
        assert content["outcome"] == "created"
        jobids[api] = content["jobid"]
        # A lost answer blocks identical orders only at its own API.
        await order(client, "A hen simulate:unstarted")
    for api, client in clients.items():
        _, listed = await call(client, "list_jobs")
        assert [job.get("jobid") for job in listed["jobs"]] == [None, jobids[api]]
        # The limit of two orders an hour applies to each API.
        _, refused = await order(client, "A third")
        assert refused["error"]["kind"] == "limit_reached"
        assert len(simulators[api].orders) == 2


async def test_job_of_the_other_api_is_unknown(clients: dict[str, Client]) -> None:
    _, content = await order(clients["useapi"])
    text, unknown = await call(clients["agents"], "get_job", jobid=content["jobid"])
    assert unknown["error"]["kind"] == "not_found"
    # The journal's record of the job belongs to the other API.
    assert "last_known" not in unknown["error"]
    assert "A fox" not in text


@pytest.mark.parametrize("api", ["agents"])
async def test_end_time_of_a_job_is_known_after_a_restart(server: Callable[..., Client]) -> None:
    async with server() as client:
        _, done = await order(client, "A fox simulate:takes=40", wait_seconds=60)
    # Polls are only a few seconds apart around the usual end of jobs.
    assert 40 <= done["elapsed_seconds"] <= 45
    await pass_time(3600)
    async with server() as client:
        # The API's record has no end time, and does not overwrite the known one.
        for _ in range(2):
            _, again = await call(client, "get_job", jobid=done["jobid"])
            assert again["elapsed_seconds"] == done["elapsed_seconds"]
        _, listed = await call(client, "list_jobs")
    assert listed["jobs"][0]["elapsed_seconds"] == done["elapsed_seconds"]


@pytest.mark.parametrize("api", ["agents"])
async def test_end_time_seen_by_a_list_is_kept(server: Callable[..., Client]) -> None:
    async with server() as client:
        await order(client, "A fox simulate:takes=20")
        await pass_time(25)
        # The job was last seen running less than half a minute ago.
        _, listed = await call(client, "list_jobs")
        assert listed["jobs"][0]["elapsed_seconds"] == 25
    async with server() as client:
        # The result was not delivered, so the next process returns it. The API's record has no end time.
        _, duplicate = await order(client, "A fox simulate:takes=20")
        assert (duplicate["outcome"], duplicate["state"], duplicate["charged"]) == ("duplicate", "completed", "no")
        _, listed = await call(client, "list_jobs")
    assert listed["jobs"][0]["elapsed_seconds"] == 25


@pytest.mark.parametrize("api", ["agents"])
async def test_unobserved_end_time_is_not_estimated(server: Callable[..., Client]) -> None:
    async with server() as client:
        _, running = await order(client, "A fox simulate:takes=40")
        await pass_time(300)
        _, done = await call(client, "get_job", jobid=running["jobid"])
        _, listed = await call(client, "list_jobs")
    assert (done["state"], "elapsed_seconds" in done) == ("completed", False)
    assert "elapsed_seconds" not in listed["jobs"][0]


@pytest.mark.parametrize("api", ["agents"])
@pytest.mark.parametrize("mode", ERAS)
async def test_completions_are_those_of_the_api(server: Callable[..., Client], mode: str) -> None:
    async with server(mode=mode) as client:
        _, ordered = await order(client)
        expected: dict[str, tuple[dict[str, str], list[str]]] = {
            "model": ({}, ["ray-3.2"]),
            "resolution": ({"dynamic_range": "hdr"}, ["720p", "1080p"]),
            "duration": ({"dynamic_range": "hdr_exr"}, ["5s"]),
            "jobid": ({}, [ordered["jobid"]]),
        }
        for name, (given, values) in expected.items():
            assert await complete(client, name, given) == values
        prompt = await client.get_prompt("continue_clip", {"jobid": ordered["jobid"], "resolution": "360p"})
    assert ordered["jobid"] in str(prompt.messages[0].content)


async def complete(client: Client, name: str, given: dict[str, Any]) -> list[str]:
    from mcp.types import PromptReference

    reference = PromptReference(type="ref/prompt", name="continue_clip")
    result = await client.complete(reference, {"name": name, "value": ""}, context_arguments=given)
    return list(result.completion.values)
