"""Waiting for jobs, listing them, and recovering those of earlier processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL
from tests.service.faulty import Fault, FaultyTransport
from tests.service.orders import place
from tests.transports import UnreliableTransport

from luma_mcp.errors import NetworkError, NotFound, OutcomeUnknown
from luma_mcp.service.concurrency import periodic
from luma_mcp.simulator.app import Fault as ApiFault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.conftest import StartService

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator


async def test_another_process_knows_the_request_of_a_job(start_service: StartService) -> None:
    ordered = (await place(start_service())).job
    other = start_service()
    assert (await other.wait(ordered.jobid, 0)).request == ordered.request


async def test_a_foreign_job_has_no_request(service: VideoService, simulator: Simulator) -> None:
    request = {"prompt": "x", "model": "ray-v3", "resolution": "1080p"}
    jobid = simulator.service.start(request, EMAIL, webhook=False).jobid
    assert (await service.wait(jobid, 0)).request is None
    assert await service.expected_seconds(None) is None


@pytest.mark.parametrize("times", [1, 2])
async def test_a_wait_ignores_404s_of_a_known_job(service: VideoService, simulator: Simulator, times: int) -> None:
    jobid = (await place(service)).job.jobid
    simulator.faults.append(ApiFault("GET", "/jobs/", 404, b'{"error":"Job not found"}', times=times))
    assert (await service.wait(jobid, 100)).state == "completed"


async def test_an_unknown_job_is_not_found(service: VideoService) -> None:
    with pytest.raises(NotFound) as unknown:
        await service.wait("j1-u12345-x-bot:luma", 60)
    assert (unknown.value.deleted, unknown.value.saved_files) == (False, ())


async def test_expected_seconds_are_measured_after_enough_jobs(service: VideoService) -> None:
    request = (await place(service)).job.request
    assert await service.expected_seconds(request) == (30, 60)
    for number in range(5):
        job = (await place(service, f"Take {number} simulate:slow")).job
        await service.wait(job, 300)
    low, high = await service.expected_seconds(request) or (0, 0)
    assert 80 < low < high < 200


async def test_a_fast_simulation_has_shorter_expected_seconds(start_service: StartService) -> None:
    service = start_service(speed=10.0)
    request = (await place(service)).job.request
    assert await service.expected_seconds(request) == (3, 6)


async def test_the_list_has_running_and_ordered_jobs(service: VideoService, simulator: Simulator) -> None:
    done = (await place(service, "A fox")).job.jobid
    await pass_time(100)
    request = {"prompt": "x", "model": "ray-v3", "resolution": "1080p"}
    elsewhere = simulator.service.start(request, EMAIL, webhook=False).jobid
    await pass_time(1)
    running = (await place(service, "A cat")).job.jobid
    result = await service.list_jobs(9)
    assert [(job.jobid, job.state) for job in result.jobs] == [
        (running, "running"),
        (elsewhere, "running"),
        (done, "completed"),
    ]
    assert [account.email for account in result.accounts] == [EMAIL]
    assert result.problem is None


@pytest.mark.parametrize(("limit", "state", "prompts"), [(1, None, ["two"]), (9, "failed", ["one simulate:fail"])])
async def test_the_list_can_be_limited(service: VideoService, limit: int, state: None, prompts: list[str]) -> None:
    await place(service, "one simulate:fail")
    await pass_time(100)
    await place(service, "two")
    jobs = (await service.list_jobs(limit, state)).jobs
    assert [job.request.prompt for job in jobs if job.request] == prompts


async def test_without_the_api_the_list_comes_from_the_journal(
    start_service: StartService, simulator: Simulator
) -> None:
    jobid = (await place(start_service())).job.jobid
    offline = start_service(UnreliableTransport(simulator, *[httpx2.ConnectError("gone")] * 1000))
    result = await offline.list_jobs(9)
    assert [job.jobid for job in result.jobs] == [jobid]
    assert isinstance(result.problem, NetworkError)


async def test_the_list_finds_the_job_of_a_lost_order(start_service: StartService, simulator: Simulator) -> None:
    faults = [Fault.TIMED_OUT_AFTER, Fault.REFUSED, Fault.REFUSED]
    service = start_service(FaultyTransport(simulator, *faults))
    with pytest.raises(OutcomeUnknown):
        await place(service)
    assert [job.jobid for job in (await service.list_jobs(9)).jobs] == [*simulator.service.jobs]


async def test_a_new_process_saves_the_requested_files(start_service: StartService, tmp_path: Path) -> None:
    jobid = (await place(start_service(), save=True)).job.jobid
    await pass_time(60)
    restarted = start_service()
    order = await restarted.journal.get_by_jobid(jobid)
    assert order is not None
    assert order.save
    await restarted.recover()
    assert list(await restarted.downloads.saved_files(jobid)) == [str(path) for path in tmp_path.glob("*.mp4")]


async def test_a_new_process_finds_the_job_of_a_lost_order(start_service: StartService, simulator: Simulator) -> None:
    with pytest.raises(BaseExceptionGroup):
        await place(start_service(FaultyTransport(simulator, Fault.KILLED_AFTER)))
    await pass_time(1)
    restarted = start_service()
    await restarted.recover()
    assert await restarted.journal.owned_jobids() == set(simulator.service.jobs)


async def test_a_callback_is_called_at_intervals() -> None:
    elapsed: list[float] = []

    async def callback(seconds: float) -> None:
        elapsed.append(seconds)

    async with periodic(2, callback):
        await pass_time(5)
    await pass_time(10)
    assert elapsed == [2, 4]


async def test_the_error_of_a_block_is_raised_unchanged() -> None:
    async def callback(_: float) -> None:
        """Never called."""

    with pytest.raises(ValueError, match="as it is"):
        async with periodic(1, callback):
            raise ValueError("as it is")
