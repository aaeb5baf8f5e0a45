"""Clients of `luma-ray-mcp serve --http`: both protocol versions, several at once, and disconnects."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import pytest
from mcp import Client
from mcp.types import ElicitResult
from tests.cli.serving import STEP_TIMEOUT, content, run_server
from tests.conftest import EMAIL, ERAS, TOKEN

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.simulator.app import Simulator, running
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp.client.session import ClientRequestContext
    from mcp.types import ElicitRequestParams


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_server("--simulate", "--speed", "100") as (url, _):
        yield url


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_makes_a_video_at_the_printed_url(url: str, mode: str) -> None:
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        seen.append(progress)

    assert urlsplit(url).hostname == "127.0.0.1"
    with anyio.fail_after(STEP_TIMEOUT):
        async with Client(url, mode=mode) as client:
            assert client.protocol_version == ("2025-11-25" if mode == "legacy" else mode)
            arguments = {"prompt": f"A fox {mode}", "wait_seconds": 60}
            result = await client.call_tool("generate_video", arguments, progress_callback=on_progress)
    assert content(result)["state"] == "completed"
    assert seen == sorted(set(seen))
    assert 0 <= seen[0] < 10
    assert seen[-1] == 100


class ManualSimulator(Simulator):
    """The simulator with a manual clock."""

    def __init__(self) -> None:
        super().__init__(Service(USEAPI, clock=lambda: self.now), token=TOKEN)
        self.service.add_account(EMAIL, concurrency=20)
        self.now = 0.0

    def jobids(self, prompt: str) -> list[str]:
        """Get the jobids of a prompt."""
        return [job.jobid for job in self.service.jobs.values() if job.request["prompt"] == prompt]


@pytest.fixture(scope="module")
def api() -> Iterator[tuple[ManualSimulator, str]]:
    """A simulated API, and the URL of a server that uses it and requires confirmation."""
    simulator = ManualSimulator()
    with (
        running(simulator) as base_url,
        run_server(USEAPI_TOKEN=TOKEN, LUMA_MCP_BASE_URL=base_url, LUMA_MCP_CONFIRM="always") as (url, _),
    ):
        yield simulator, url


@pytest.mark.parametrize("mode", ERAS)
async def test_two_clients_at_once_share_one_job(api: tuple[ManualSimulator, str], mode: str) -> None:
    simulator, url = api
    jobids: list[str] = []
    prompt = f"A fox for two, {mode}"

    async def order() -> None:
        async with Client(url, mode=mode) as client:
            result = await client.call_tool("generate_video", {"prompt": prompt, "wait_seconds": 0})
            jobids.append(content(result)["jobid"])

    with anyio.fail_after(STEP_TIMEOUT):
        async with anyio.create_task_group() as clients:
            for _ in range(2):
                clients.start_soon(order)
    assert jobids == simulator.jobids(prompt) * 2
    assert len(jobids) == 2


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_that_disconnects_loses_nothing(api: tuple[ManualSimulator, str], mode: str) -> None:
    simulator, url = api
    waiting = anyio.Event()
    prompt = f"A fox that is left, {mode}"

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        waiting.set()

    async def call() -> None:
        async with Client(url, mode=mode) as client:
            order = {"prompt": prompt, "wait_seconds": 600}
            await client.call_tool("generate_video", order, progress_callback=on_progress)

    with anyio.fail_after(STEP_TIMEOUT):
        async with anyio.create_task_group() as calls:
            calls.start_soon(call)
            await waiting.wait()
            calls.cancel_scope.cancel()
        [jobid] = simulator.jobids(prompt)
        async with Client(url, mode=mode) as client:
            same = content(await client.call_tool("generate_video", {"prompt": prompt, "wait_seconds": 0}))
            simulator.now += 100.0
            done = content(await client.call_tool("get_job", {"jobid": jobid, "wait_seconds": 20}))
    assert (same["jobid"], done["state"], done["request"]["prompt"]) == (jobid, "completed", prompt)
    assert simulator.jobids(prompt) == [jobid]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_that_disconnects_disturbs_no_other(api: tuple[ManualSimulator, str], mode: str) -> None:
    simulator, url = api
    waiting = anyio.Event()
    prompt = f"A fox that takes its time, {mode}"
    ends: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        waiting.set()

    async def call() -> None:
        async with Client(url, mode=mode) as client:
            order = {"prompt": prompt, "wait_seconds": 600}
            result = await client.call_tool("generate_video", order, progress_callback=on_progress)
            ends.append(content(result).get("state") or str(content(result)))

    with anyio.fail_after(STEP_TIMEOUT):
        async with anyio.create_task_group() as calls:
            calls.start_soon(call)
            await waiting.wait()
            for _ in range(3):
                async with Client(url, mode=mode) as client:
                    assert content(await client.call_tool("list_jobs", {}))["jobs"]
            simulator.now += 100.0
    assert ends == ["completed"]


async def test_elicitation_over_http_comes_before_an_order(api: tuple[ManualSimulator, str]) -> None:
    """With 2026-07-28, in which every request has the client's capabilities."""
    simulator, url = api
    prompt = "A fox that nobody wants"

    async def decline(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:  # noqa: ARG001
        return ElicitResult(action="decline")

    with anyio.fail_after(STEP_TIMEOUT):
        async with Client(url, mode="2026-07-28", elicitation_callback=decline) as client:
            await client.call_tool("generate_video", {"prompt": prompt, "wait_seconds": 0})
    assert simulator.jobids(prompt) == []
