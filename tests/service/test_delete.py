"""Deleting jobs: a single 404 does not prove that a job is gone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.clock import pass_time
from tests.service.orders import place

from luma_mcp.errors import Conflict, NotFound, Upstream
from luma_mcp.service.service import DeletedJob
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator


def not_found(method: str, jobid: str = "", times: int = 1) -> Fault:
    return Fault(method, f"/jobs/{jobid}", 404, b'{"error":"Job not found"}', times=times)


async def finish_job(service: VideoService) -> str:
    """Order a video, wait until it has finished, and return its jobid."""
    result = await place(service)
    return (await service.wait(result.job, 100)).jobid


async def test_a_finished_job_is_deleted(service: VideoService, simulator: Simulator) -> None:
    jobid = await finish_job(service)
    assert await service.delete(jobid) == DeletedJob(was_known=True)
    assert simulator.service.jobs == {}
    assert (await service.list_jobs(9)).jobs == []
    assert [job.jobid for job in (await service.list_jobs(9, "deleted")).jobs] == [jobid]


async def test_an_identical_order_after_a_deletion_is_a_new_job(service: VideoService, simulator: Simulator) -> None:
    jobid = await finish_job(service)
    await service.delete(jobid)
    assert (await place(service)).outcome == "created"
    assert jobid not in simulator.service.jobs


async def test_a_running_job_is_not_deleted(service: VideoService, simulator: Simulator) -> None:
    jobid = (await place(service)).job.jobid
    with pytest.raises(Conflict) as running:
        await service.delete(jobid)
    assert (running.value.reason, running.value.retry) == ("job_running", "later")
    assert jobid in simulator.service.jobs


async def test_one_404_does_not_delete_a_running_job(service: VideoService, simulator: Simulator) -> None:
    """Otherwise a repeated order would start and pay for a second job."""
    jobid = (await place(service)).job.jobid
    simulator.faults.append(not_found("DELETE"))
    with pytest.raises(Conflict):
        await service.delete(jobid)
    assert (await service.wait(jobid, 0)).state == "running"
    again = await place(service)
    assert (again.outcome, again.job.jobid) == ("duplicate", jobid)
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_a_404_is_checked_with_several_polls(service: VideoService, simulator: Simulator, times: int) -> None:
    jobid = (await place(service)).job.jobid
    simulator.faults += [not_found("DELETE"), not_found("GET", times=times)]
    with pytest.raises(Conflict):
        await service.delete(jobid)
    assert [job.state for job in (await service.list_jobs(9)).jobs] == ["running"]


async def test_many_404s_do_not_delete_a_young_running_job(service: VideoService, simulator: Simulator) -> None:
    jobid = (await place(service)).job.jobid
    simulator.faults += [not_found("DELETE", times=99), not_found("GET", times=3)]
    with pytest.raises(Upstream) as not_listed:
        await service.delete(jobid)
    assert (not_listed.value.fault, not_listed.value.jobid) == ("not_listed", jobid)
    assert (await place(service)).job.jobid == jobid
    assert simulator.requests["POST /videos"] == 1


async def test_a_404_of_a_finished_job_is_retried(service: VideoService, simulator: Simulator) -> None:
    jobid = await finish_job(service)
    simulator.faults.append(not_found("DELETE"))
    assert (await service.delete(jobid)).was_known
    assert simulator.service.jobs == {}


async def test_a_job_that_the_api_forgot_is_no_longer_deletable(service: VideoService, simulator: Simulator) -> None:
    jobid = await finish_job(service)
    simulator.service.jobs.clear()
    assert await service.delete(jobid) == DeletedJob(was_known=False)
    assert await service.journal.list_deletable(9) == []


async def test_an_old_job_that_the_api_forgot_while_it_ran_is_deleted(
    service: VideoService, simulator: Simulator
) -> None:
    jobid = (await place(service)).job.jobid
    simulator.service.jobs.clear()
    await pass_time(16 * 60)
    assert await service.delete(jobid) == DeletedJob(was_known=False)
    assert (await place(service)).outcome == "created"


async def test_an_unknown_job_is_not_found(service: VideoService) -> None:
    with pytest.raises(NotFound) as unknown:
        await service.delete("j1-u12345-x-bot:luma")
    assert (unknown.value.what, unknown.value.jobid) == ("job", "j1-u12345-x-bot:luma")


async def test_the_files_of_a_deleted_job_stay_and_are_named(service: VideoService) -> None:
    job = (await place(service)).job
    job = await service.wait(job, 100)

    async def on_progress(name: str, received: int, total: int | None, share: float) -> None:
        """Ignore progress."""

    saved = await service.downloads.save(job, seconds=60, on_progress=on_progress)
    deleted = await service.delete(job.jobid)
    assert deleted.saved_files == saved.files
    assert all(Path(file).exists() for file in saved.files)
    with pytest.raises(NotFound) as gone:
        await service.wait(job.jobid, 60)
    assert (gone.value.deleted, gone.value.saved_files, gone.value.jobid) == (True, saved.files, job.jobid)


async def test_a_deleted_job_is_looked_up_once(service: VideoService, simulator: Simulator) -> None:
    jobid = await finish_job(service)
    await service.delete(jobid)
    before = simulator.requests["GET /jobs/…"]
    with pytest.raises(NotFound):
        await service.wait(jobid, 60)
    assert simulator.requests["GET /jobs/…"] == before + 1


async def test_a_job_that_the_journal_marks_as_deleted_is_polled(service: VideoService) -> None:
    """An earlier version believed a single 404, so the journal may be wrong."""
    jobid = (await place(service)).job.jobid
    await service.journal.mark_deleted(jobid)
    job = await service.wait(jobid, 100)
    assert job.state == "completed"
    assert job.request
