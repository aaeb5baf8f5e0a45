"""Files on this machine: paths that cannot be checked count as missing, and downloads report facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.service.orders import place

from luma_mcp.service import existing_files, has_journal
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.conftest import StartService

    from luma_mcp.api.protocol import Job
    from luma_mcp.service.downloads import SavedFiles
    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator


async def ignore(name: str, received: int, total: int | None, share: float) -> None:
    """Ignore progress."""


def build_unreadable_path(folder: Path) -> Path:
    """Build a path that cannot be checked: the error is not "not found", even for root."""
    return folder / ("x" * 300) / "video.mp4"


async def finish_job(service: VideoService) -> Job:
    return await service.wait((await place(service)).job, 100)


async def test_an_unreadable_file_counts_as_missing(service: VideoService, tmp_path: Path) -> None:
    job = await finish_job(service)
    await service.journal.record_files(job.jobid, (str(build_unreadable_path(tmp_path)),))
    assert await service.downloads.saved_files(job.jobid) == ()
    assert [listed.files for listed in (await service.list_jobs(9)).jobs] == [()]
    assert (await service.delete(job.jobid)).saved_files == ()


def test_an_unreadable_journal_counts_as_missing(tmp_path: Path) -> None:
    assert not has_journal(Settings(journal=str(build_unreadable_path(tmp_path))))
    (tmp_path / "journal.db").touch()
    assert has_journal(Settings(journal=str(tmp_path / "journal.db")))


def test_only_existing_files_are_returned(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").touch()
    paths = [str(tmp_path / "video.mp4"), str(tmp_path), str(tmp_path / "other.mp4"), "\0"]
    assert existing_files(paths) == (str(tmp_path / "video.mp4"),)


class ForbiddenMedia(httpx2.AsyncBaseTransport):
    """Responds to requests for media with a status."""

    def __init__(self, simulator: Simulator, status: int) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self._status = status

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith(".mp4"):
            return httpx2.Response(self._status)
        return await self._simulated.handle_async_request(request)


async def test_files_are_saved_once(start_service: StartService, simulator: Simulator, tmp_path: Path) -> None:
    service = start_service()
    job = await finish_job(service)
    first = await service.downloads.save(job, seconds=60, on_progress=ignore)
    assert [str(path) for path in tmp_path.glob("*.mp4")] == list(first.files)
    without_media = start_service(ForbiddenMedia(simulator, 404))
    assert await without_media.downloads.save(job, seconds=60, on_progress=ignore) == first


@pytest.mark.parametrize(("status", "link_works"), [(404, False), (503, True)])
async def test_a_failed_download_says_whether_the_link_still_works(
    start_service: StartService, simulator: Simulator, *, status: int, link_works: bool
) -> None:
    service = start_service(ForbiddenMedia(simulator, status))
    saved = await service.downloads.save(await finish_job(service), seconds=600, on_progress=ignore)
    assert (saved.files, saved.unfinished) == ((), False)
    assert saved.problem
    assert saved.problem.endswith("The video's link still works.") == link_works


async def test_a_download_that_takes_too_long_is_unfinished(start_service: StartService, simulator: Simulator) -> None:
    service = start_service(ForbiddenMedia(simulator, 503))
    saved = await service.downloads.save(await finish_job(service), seconds=1, on_progress=ignore)
    assert (saved.files, saved.unfinished) == ((), True)


async def test_a_job_s_files_are_saved_by_one_call_at_a_time(service: VideoService, tmp_path: Path) -> None:
    job = await finish_job(service)
    reported: list[set[str]] = []
    results: list[SavedFiles] = []

    async def save() -> None:
        names: set[str] = set()
        reported.append(names)

        async def on_progress(name: str, *_: object) -> None:
            names.add(name)
            await pass_time(1)

        results.append(await service.downloads.save(job, seconds=60, on_progress=on_progress))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(save)
        tasks.start_soon(save)
    [file] = tmp_path.glob("*.mp4")
    assert results[0] == results[1]
    assert sorted(map(sorted, reported)) == [[], [file.name]]
