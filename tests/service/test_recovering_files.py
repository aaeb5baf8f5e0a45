"""A new process saves the files that earlier ones did not: a few at a time, each by one process only."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx2
import pytest
from tests.clock import pass_time
from tests.service.orders import place

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.conftest import StartService

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

JOBS = 24


class CountingTransport(httpx2.AsyncBaseTransport):
    """Counts the requests for media and how many run at the same time. Each takes `seconds`."""

    def __init__(self, simulator: Simulator, seconds: float = 1) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self._seconds = seconds
        self.downloads: Counter[str] = Counter()
        self.running = self.most = self.requests = self.most_requests = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        self.most_requests = max(self.most_requests, self.requests)
        try:
            if not request.url.path.endswith(".mp4"):
                await anyio.lowlevel.checkpoint()
                return await self._simulated.handle_async_request(request)
            self.downloads[str(request.url)] += 1
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await anyio.sleep(self._seconds)
                return await self._simulated.handle_async_request(request)
            finally:
                self.running -= 1
        finally:
            self.requests -= 1


async def order_all(service: VideoService, simulator: Simulator, number: int = JOBS) -> list[str]:
    """Order `number` videos to be saved, and return their jobids once all are ready."""
    for account in simulator.service.accounts.values():
        account.concurrency = number
    jobids = [(await place(service, prompt=f"A fox {each}", save=True)).job.jobid for each in range(number)]
    await pass_time(100)
    return jobids


async def count_files(service: VideoService, jobids: list[str]) -> list[int]:
    return [len(await service.downloads.saved_files(jobid)) for jobid in jobids]


async def test_a_few_files_are_saved_at_a_time(start_service: StartService, simulator: Simulator) -> None:
    jobids = await order_all(start_service(), simulator)
    media = CountingTransport(simulator)
    restarted = start_service(media)
    await restarted.recover()
    assert await count_files(restarted, jobids) == [1] * JOBS
    assert (sum(media.downloads.values()), media.most <= 4, media.most_requests <= 4) == (JOBS, True, True)


async def test_each_file_is_saved_by_one_of_several_processes(
    start_service: StartService, simulator: Simulator, tmp_path: Path
) -> None:
    jobids = await order_all(start_service(), simulator)
    media = CountingTransport(simulator)
    restarted = [start_service(media) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for service in restarted:
            tasks.start_soon(service.recover)
    assert await count_files(restarted[0], jobids) == [1] * JOBS
    assert sum(media.downloads.values()) == JOBS
    assert len(list(tmp_path.glob("*.mp4"))) == JOBS
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith((".saving", ".part"))] == []


async def test_another_process_continues_when_one_is_killed(start_service: StartService, simulator: Simulator) -> None:
    jobids = await order_all(start_service(), simulator, 6)
    stuck, other = start_service(CountingTransport(simulator, seconds=5000)), start_service()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_recover_within, stuck, killed := anyio.CancelScope())
        await pass_time(5)
        tasks.start_soon(other.recover)
        await pass_time(60)
        # All files are saved but those that the first process is downloading.
        assert sum(await count_files(other, jobids)) == 3
        # This releases its locks, as the end of a process would.
        killed.cancel()
    assert await count_files(other, jobids) == [1] * 6


async def _recover_within(service: VideoService, scope: anyio.CancelScope) -> None:
    with scope:
        await service.recover()


async def test_a_call_waits_for_the_process_that_saves_its_file(
    start_service: StartService, simulator: Simulator
) -> None:
    [jobid] = await order_all(start_service(), simulator, 1)
    media = CountingTransport(simulator, seconds=20)
    first, second = start_service(media), start_service(media)
    files: list[tuple[str, ...]] = []

    async def ignore(name: str, received: int, total: int | None, share: float) -> None:
        """Ignore progress."""

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.recover)
        await pass_time(1)
        job = await second.wait(jobid, 0)
        hurried = await second.downloads.save(job, seconds=2, on_progress=ignore)
        assert (hurried.files, hurried.unfinished) == ((), True)
        files.append((await second.downloads.save(job, seconds=60, on_progress=ignore)).files)
    assert files == [await first.downloads.saved_files(jobid)]
    assert sum(media.downloads.values()) == 1


@pytest.mark.parametrize("journal", ["missing/journal.db", "file/journal.db"])
async def test_files_are_saved_without_a_usable_lock(
    start_service: StartService, simulator: Simulator, tmp_path: Path, journal: str
) -> None:
    (tmp_path / "file").touch()
    service = start_service(journal=str(tmp_path / journal))
    [jobid] = await order_all(service, simulator, 1)
    job = await service.wait(jobid, 0)

    async def ignore(name: str, received: int, total: int | None, share: float) -> None:
        """Ignore progress."""

    assert len((await service.downloads.save(job, seconds=60, on_progress=ignore)).files) == 1
