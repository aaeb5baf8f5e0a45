"""Several videos at once with `LumaClient`: waiting for slots, waiting for all, and saving files."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from tests.conftest import EMAIL, client_of
from tests.transports import CannedTransport

from luma_mcp import (
    Capacity,
    Conflict,
    DownloadError,
    Job,
    JobFailed,
    LumaError,
    Moderated,
    NotFound,
    VideoRequest,
)
from luma_mcp.simulator.app import Fault, Simulator
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from luma_mcp.api.useapi.client import LumaClient

VIDEO = (MEDIA / "16x9-5s-sdr.mp4").read_bytes()
FOX = VideoRequest(prompt="A fox in the snow")


async def make_video(luma: LumaClient, request: VideoRequest = FOX) -> Job:
    return await luma.wait(await luma.submit(request))


async def test_ten_orders_wait_for_four_slots(luma: LumaClient, simulator: Simulator) -> None:
    jobs = [await luma.submit(VideoRequest(prompt=f"Fox {number}"), slot_timeout=3600) for number in range(10)]
    results = await luma.wait_all(jobs)
    assert [result.state for result in results if isinstance(result, Job)] == ["completed"] * 10
    assert [result.jobid for result in results] == [job.jobid for job in jobs] == list(simulator.service.jobs)


async def test_tasks_can_wait_for_slots_concurrently(luma: LumaClient, simulator: Simulator) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            request = VideoRequest(prompt=f"Fox {number}")
            tasks.start_soon(partial(luma.submit, request, slot_timeout=math.inf))
    assert len(simulator.service.jobs) == 10


@pytest.mark.parametrize("slot_timeout", [0, 60])
async def test_a_wait_for_a_slot_ends(luma: LumaClient, simulator: Simulator, slot_timeout: float) -> None:
    simulator.service.add_account(EMAIL, 0)
    with pytest.raises(Capacity) as caught:
        await luma.submit(FOX, retry_timeout=0, slot_timeout=slot_timeout)
    assert caught.value.charged == "no"
    assert slot_timeout - 10 <= anyio.current_time() <= slot_timeout


async def test_a_wait_for_a_slot_can_be_cancelled(luma: LumaClient, simulator: Simulator) -> None:
    simulator.service.add_account(EMAIL, 0)
    with anyio.move_on_after(100) as scope:
        await luma.submit(FOX, slot_timeout=math.inf)
    assert (scope.cancelled_caught, simulator.service.jobs) == (True, {})


async def test_other_failures_are_not_retried_for_longer(luma: LumaClient, simulator: Simulator) -> None:
    with pytest.raises(Moderated):
        await luma.submit(VideoRequest(prompt="simulate:moderate"), slot_timeout=3600)
    assert anyio.current_time() == 0
    assert len(simulator.orders) == 1


async def test_error_of_one_job_is_its_result(luma: LumaClient) -> None:
    first, last = await luma.submit(FOX), await luma.submit(VideoRequest(prompt="A cat simulate:fail"))
    missing = "j1-u12345-x-bot:luma"
    results = await luma.wait_all([first, missing, last.jobid])
    assert [result.jobid for result in results] == [first.jobid, missing, last.jobid]
    assert isinstance(results[1], NotFound)
    assert [result.state for result in results if isinstance(result, Job)] == ["completed", "failed"]


async def test_time_limit_applies_to_all_jobs(luma: LumaClient) -> None:
    jobs = [await luma.submit(FOX), await luma.submit(VideoRequest(prompt="simulate:stuck"))]
    states = [result.state for result in await luma.wait_all(jobs, 600) if not isinstance(result, LumaError)]
    assert states == ["completed", "running"]
    assert anyio.current_time() < 620
    assert await luma.wait_all([]) == ()


@pytest.mark.parametrize("given", ["job", "running job", "jobid"])
async def test_a_video_is_saved(luma: LumaClient, tmp_path: Path, given: str) -> None:
    ordered = await luma.submit(FOX)
    done = await luma.wait(ordered)
    forms: dict[str, Job | str] = {"job": done, "running job": ordered, "jobid": done.jobid}
    job = forms[given]
    [path] = await luma.download(job, tmp_path / "new" / "folder")
    assert (path.parent, path.read_bytes()) == (tmp_path / "new" / "folder", VIDEO)
    assert "a-fox-in-the-snow" in path.name
    # The same file is not saved again.
    assert await luma.download(job, str(path.parent)) == (path,)
    assert list(path.parent.iterdir()) == [path]


async def test_the_frames_are_saved_too(luma: LumaClient, tmp_path: Path) -> None:
    job = await make_video(luma, VideoRequest(prompt="A fox", dynamic_range="hdr_exr"))
    assert [path.suffix for path in await luma.download(job, tmp_path)] == [".mp4", ".zip"]


async def test_relative_folder_is_in_the_current_folder(
    luma: LumaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [path] = await luma.download(await make_video(luma), "videos")
    assert path.parent == tmp_path / "videos"


async def test_another_file_is_not_overwritten(luma: LumaClient, tmp_path: Path) -> None:
    job = await make_video(luma)
    [path] = await luma.download(job, tmp_path)
    path.write_text("mine")
    [other] = await luma.download(job, tmp_path)
    assert (path.read_text(), other.name, other.read_bytes()) == ("mine", f"{path.stem}-2.mp4", VIDEO)


async def test_an_expired_link_is_fetched_again(simulator: Simulator, tmp_path: Path) -> None:
    luma = client_of(httpx2.ASGITransport(simulator))
    job = await make_video(luma)
    assert job.files.video
    stale = Job(**{name: getattr(job, name) for name in ("jobid", "status", "created", "request")}, files=job.files)
    object.__setattr__(stale.files.video, "url", job.files.video.url.replace(".mp4", "-gone.mp4"))
    [path] = await luma.download(stale, tmp_path)
    assert path.read_bytes() == VIDEO


async def test_error_while_saving_has_the_jobid(luma: LumaClient, tmp_path: Path) -> None:
    job = await make_video(luma)
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError) as caught:
        await luma.download(job, tmp_path / "file")
    assert (caught.value.jobid, caught.value.folder_unusable, caught.value.files) == (job.jobid, True, ())
    assert "LUMA_MCP" not in str(caught.value)
    with pytest.raises(Conflict):
        await luma.download(await luma.submit(VideoRequest(prompt="simulate:stuck")), tmp_path)
    failed = await make_video(luma, VideoRequest(prompt="simulate:fail"))
    with pytest.raises(JobFailed) as refused:
        await luma.download(failed, tmp_path)
    assert refused.value.api_message == failed.failure_reason
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_link_into_the_private_network_is_not_followed(tmp_path: Path) -> None:
    record = b'{"jobid":"j1","type":"video","status":"completed","response":{"video":{"url":"http://10.0.0.1/a.mp4"}}}'
    canned = CannedTransport(200, record)
    with pytest.raises(DownloadError):
        await client_of(canned).download("j1", tmp_path)
    assert {request.url.host for request in canned.requests} == {"api.useapi.net"}


async def test_a_finished_job_is_not_fetched_again(luma: LumaClient, simulator: Simulator, tmp_path: Path) -> None:
    job = await make_video(luma)
    simulator.faults.append(Fault("GET", "/jobs/", 401, b'{"error":"Unauthorized"}'))
    [path] = await luma.download(job, tmp_path)
    assert path.exists()
    assert len(simulator.faults) == 1
