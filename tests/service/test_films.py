"""Films made from the videos of jobs and from saved files: joining, rejected input, and cleanup."""

from __future__ import annotations

import io
import shutil
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from PIL import Image, ImageChops, ImageStat
from tests.service.orders import place
from tests.service.virtual_time import backend_options

from luma_mcp.errors import DownloadError, InvalidArguments
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.download import lock_file
from luma_mcp.media.sources import ImageError
from luma_mcp.service.films import Film
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.service.conftest import StartService

    from luma_mcp.media.clips import ContactSheet
    from luma_mcp.service.films import FilmStep
    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

SDR, HDR, PORTRAIT = MEDIA / "16x9-5s-sdr.mp4", MEDIA / "16x9-5s-hdr.mp4", MEDIA / "9x16-5s-sdr.mp4"
FRAMES, RATE = 121, 24
"""The number of frames and the frame rate of each clip."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One event loop is enough: films behave the same on both, and decoders start processes."""
    return "trio", backend_options("trio")


class CountingTransport(httpx2.AsyncBaseTransport):
    """Counts requests for videos in `fetched`. The next `refusals` of them fail."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self.fetched: Counter[str] = Counter()
        self.refusals = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith(".mp4"):
            self.fetched[request.url.path] += 1
            self.refusals -= 1
            if self.refusals >= 0:
                return httpx2.Response(404)
        return await self._simulated.handle_async_request(request)


@pytest.fixture
def media(simulator: Simulator) -> CountingTransport:
    return CountingTransport(simulator)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The output folder, which does not exist yet."""
    return tmp_path / "films"


@pytest.fixture
def service(start_service: StartService, media: CountingTransport, folder: Path) -> VideoService:
    return start_service(media, output_dir=folder)


@pytest.fixture
def clip(tmp_path: Path) -> Callable[[Path], str]:
    """Copies a clip into an allowed folder and returns its path."""

    def copy(source: Path, name: str = "") -> str:
        return str(shutil.copy(source, tmp_path / (name or source.name)))

    return copy


async def finish_job(service: VideoService, prompt: str = "A fox", **params: Any) -> str:
    """Order a video, wait until it has finished, and return its jobid."""
    submitted = await place(service, prompt, **params)
    await service.wait(submitted.job, 600)
    return submitted.job.jobid


async def join(service: VideoService, videos: Sequence[str], **options: Any) -> Film:
    async def ignore(step: FilmStep, share: float) -> None:
        """Ignore progress."""

    return await service.films.join(videos, **{"on_progress": ignore, **options})


async def join_error(service: VideoService, videos: Sequence[str], **options: Any) -> InvalidArguments:
    with pytest.raises(InvalidArguments) as caught:
        await join(service, videos, **options)
    return caught.value


def problems_of(error: InvalidArguments) -> dict[str, str]:
    return {problem.field: problem.reason for problem in error.problems}


# Joining.


async def test_matching_videos_are_joined_without_reencoding(service: VideoService, folder: Path) -> None:
    videos = [await finish_job(service, "A fox"), await finish_job(service, "A bear")]
    film = await join(service, videos, title="The Fox & the Bear!")
    assert [film.path] == list(folder.iterdir())
    assert film.path.name == "2026-11-22_the-fox-the-bear.mp4"
    facts = film.facts
    assert (facts.frame_count, facts.size, facts.codec, film.is_reencoded) == (2 * FRAMES, (384, 216), "h264", False)
    assert facts.seconds == pytest.approx(2 * FRAMES / RATE)
    assert (film.resized, film.retimed, film.has_lost_sound) == ((), (), False)
    assert film.sheet
    assert [len(times) for times in film.sheet.times] == [12]


async def test_a_repeat_never_replaces_a_file(service: VideoService, folder: Path, clip: Callable[[Path], str]) -> None:
    folder.mkdir()
    (folder / "2026-11-22_film.mp4").write_bytes(b"another file")
    videos = [clip(SDR), clip(SDR)]
    names = [(await join(service, videos)).path.name for _ in range(2)]
    assert names == ["2026-11-22_film-2.mp4", "2026-11-22_film-3.mp4"]
    assert (folder / "2026-11-22_film.mp4").read_bytes() == b"another file"


async def test_a_film_has_the_shape_of_its_first_video(service: VideoService, clip: Callable[[Path], str]) -> None:
    film = await join(service, [clip(SDR), clip(PORTRAIT), clip(SDR)], crossfades=[0.5, 0])
    assert (film.facts.size, film.resized, film.is_reencoded) == ((384, 216), (1,), True)
    assert film.facts.frame_count == 3 * FRAMES - RATE // 2


async def test_hdr_stays_hdr(service: VideoService) -> None:
    videos = [
        await finish_job(service, prompt, dynamic_range="hdr", resolution="540p") for prompt in ("A fox", "A bear")
    ]
    film = await join(service, videos)
    assert (film.facts.is_hdr, film.facts.codec, film.is_reencoded) == (True, "hevc", False)


async def test_the_caller_can_name_the_file(service: VideoService, tmp_path: Path, clip: Callable[[Path], str]) -> None:
    film = await join(service, [clip(SDR)] * 2, stem=tmp_path / "mine" / "v1.2")
    assert film.path == tmp_path / "mine" / "v1.2.mp4"
    film = await join(service, [clip(SDR)] * 2, folder=tmp_path / "other", title="狐")
    assert film.path == tmp_path / "other" / "2026-11-22_狐.mp4"


# Sources.


async def test_a_saved_file_is_not_fetched_again(
    service: VideoService, media: CountingTransport, folder: Path, tmp_path: Path
) -> None:
    """Even if the output folder is a symbolic link."""
    (tmp_path / "disk").mkdir()
    folder.symlink_to(tmp_path / "disk")
    jobid = await finish_job(service)

    async def ignore(name: str, received: int, total: int | None, share: float) -> None:
        """Ignore progress."""

    saved = await service.downloads.save(await service.wait(jobid, 0), seconds=60, on_progress=ignore)
    assert media.fetched.total() == 1
    await join(service, [jobid, *saved.files])
    assert media.fetched.total() == 1
    Path(saved.files[0]).unlink()
    await join(service, [jobid, jobid])
    assert media.fetched.total() == 2
    # A saved file that is no longer a video is not used.
    Path(saved.files[0]).write_bytes(b"<html>")
    await join(service, [jobid, jobid])
    assert len(list(folder.glob("*film*.mp4"))) == 3


async def test_a_video_is_fetched_once_for_several_calls(service: VideoService, media: CountingTransport) -> None:
    job = await service.wait(await finish_job(service), 0)
    sheets: list[ContactSheet] = []

    async def make_sheet() -> None:
        sheets.append(await service.films.make_sheet([("", job)], 2))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(make_sheet)
        tasks.start_soon(make_sheet)
    await make_sheet()
    preview = await service.films.make_preview(job)
    assert (await service.films.make_preview(job), preview[4:8]) == (preview, b"ftyp")
    assert (len({sheet.data for sheet in sheets}), media.fetched.total()) == (1, 1)


async def test_copies_are_limited_and_removed_at_the_end(
    start_service: StartService, media: CountingTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the temporary folder is a symbolic link, as on macOS."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "temp").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    service = start_service(media)
    open_clip = service.films.clips.open
    jobs = [await service.wait(await finish_job(service, f"Fox {number}"), 0) for number in range(10)]
    async with AsyncExitStack() as stack:
        for job in jobs:
            await stack.enter_async_context(open_clip(job))
        # No copy is removed while it is in use.
        assert (len(list((tmp_path / "disk").rglob("*.mp4"))), media.fetched.total()) == (10, 10)
    assert len(list((tmp_path / "disk").rglob("*.mp4"))) == 8
    # The copies that were released last are kept.
    async with open_clip(jobs[0]) as kept:
        assert (Path(kept).read_bytes(), media.fetched.total()) == (SDR.read_bytes(), 10)
    async with open_clip(jobs[9]):
        assert media.fetched.total() == 11
    # The system may clean up the temporary folder.
    for path in (tmp_path / "disk").iterdir():
        shutil.rmtree(path)
    async with open_clip(jobs[9]) as again:
        assert (Path(again).read_bytes(), media.fetched.total()) == (SDR.read_bytes(), 12)
    await service.aclose()
    assert list((tmp_path / "disk").iterdir()) == []


async def test_a_file_saved_outside_the_output_folder_is_allowed(
    start_service: StartService, media: CountingTransport, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    service = start_service(media, output_dir=folder, input_dirs=(tmp_path / "none",))
    job = await service.wait(await finish_job(service), 0)

    async def ignore(name: str, received: int, total: int | None, share: float) -> None:
        """Ignore progress."""

    saved = await service.downloads.save(job, seconds=60, on_progress=ignore, stem=elsewhere / "fox")
    shutil.copy(SDR, elsewhere / "bear.mp4")
    await join(service, [*saved.files, *saved.files])
    error = await join_error(service, [saved.files[0], str(elsewhere / "bear.mp4")])
    assert "outside the allowed folders" in problems_of(error)["videos[1]"]


async def test_the_decoder_follows_no_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    shutil.copy(SDR, tmp_path / "folder" / "fox.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "fox.mp4").symlink_to(tmp_path / "folder" / "fox.mp4")
    facts = await Decoder().probe(str(tmp_path / "folder" / "fox.mp4"))
    assert facts.frame_count == FRAMES
    for path in ("link/fox.mp4", "fox.mp4"):
        with pytest.raises(ImageError):
            await Decoder().probe(str(tmp_path / path))


# Rejected input.


async def test_all_problems_are_reported_before_anything_is_fetched(
    service: VideoService, media: CountingTransport, tmp_path: Path
) -> None:
    good, failed, deleted = [
        await finish_job(service, prompt) for prompt in ("A fox", "simulate:fail", "It was deleted")
    ]
    await service.delete(deleted)
    running = (await place(service, "It still runs")).job.jobid
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "shots").mkdir()
    shutil.copy(SDR, tmp_path / ".hidden" / "fox.mp4")
    (tmp_path / "passwd.mp4").symlink_to("/etc/passwd")
    videos = [good, running, failed, deleted, "a fox", str(tmp_path / "none.mp4"), "https://example.com/fox.mp4"]
    videos += [str(tmp_path / ".hidden" / "fox.mp4"), str(tmp_path / "passwd.mp4"), str(tmp_path / "shots")]
    error = await join_error(service, videos)
    reasons = [
        "still running",
        "names a job that failed",
        "was deleted",
        "is not the jobid of a video",
        "does not exist",
        "is not the jobid of a video",
        "outside the allowed folders, or in a hidden one",
        "outside the allowed folders, or in a hidden one",
        "is not a file but a folder",
    ]
    assert list(problems_of(error)) == [f"videos[{position}]" for position in range(1, 10)]
    for problem, reason in zip(error.problems, reasons, strict=True):
        assert reason in problem.reason
    first, *_ = error.problems
    assert (first.jobid, first.remedy) == (running, "wait_for_job")
    assert (error.retry, media.fetched.total()) == ("after_change", 0)


async def test_a_film_waits_for_a_running_job(service: VideoService) -> None:
    good, running = await finish_job(service), (await place(service, "It still runs")).job.jobid
    error = await join_error(service, [good, running, good])
    assert (error.retry, error.jobid) == ("later", running)
    await service.wait(running, 600)
    assert (await join(service, [good, running, good])).facts.frame_count == 3 * FRAMES


@pytest.mark.parametrize("count", [0, 1, 51])
async def test_the_number_of_videos_is_limited(service: VideoService, count: int) -> None:
    [problem] = (await join_error(service, ["/none.mp4"] * count)).problems
    assert (problem.field, problem.value) == ("videos", count)
    assert problem.expected.startswith("2 to 50 videos")


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [("shs", (0, 2)), ("hsh", (0, 2)), ("sshh", (0, 1)), ("hhss", (0, 1)), ("sh", None), ("hs", None)],
)
async def test_hdr_is_not_mixed_with_sdr(
    service: VideoService, media: CountingTransport, kinds: str, kept: tuple[int, ...] | None
) -> None:
    """The suggestion drops the minority, or on a tie the range that the first video does not have."""
    ranges = {"s": "sdr", "h": "hdr"}
    videos: list[str] = []
    for number, kind in enumerate(kinds):
        videos.append(await finish_job(service, f"Shot {number}", dynamic_range=ranges[kind], resolution="540p"))
    error = await join_error(service, videos)
    suggestion = error.suggestion and error.suggestion["videos"]
    assert suggestion == (None if kept is None else [videos[position] for position in kept])
    left_out = {position for position, kind in enumerate(kinds) if kind != kinds[0]}
    assert set(problems_of(error)) == {f"videos[{position}]" for position in left_out}
    # If too few videos are left for a film, another remedy is suggested.
    assert {problem.remedy for problem in error.problems} == {"same_range" if kept is None else None}
    # The range is known from the orders.
    assert media.fetched.total() == 0


async def test_the_dynamic_range_of_files_is_detected(service: VideoService, clip: Callable[[Path], str]) -> None:
    error = await join_error(service, [clip(SDR), clip(HDR), clip(SDR)])
    assert error.suggestion == {"videos": [clip(SDR), clip(SDR)]}
    assert "is HDR, and others are SDR" in problems_of(error)["videos[1]"]


async def test_a_crossfade_takes_at_most_half_of_a_video(service: VideoService, media: CountingTransport) -> None:
    videos = [await finish_job(service, prompt, duration="5s") for prompt in ("A fox", "A bear")]
    error = await join_error(service, videos, crossfades=2.7)
    assert (error.suggestion, media.fetched.total()) == ({"crossfade_seconds": 2.5}, 0)
    [problem] = error.problems
    assert (problem.field, problem.value, problem.expected) == ("crossfade_seconds", 2.7, "at most 2.5 s here")
    film = await join(service, videos, crossfades=2.5)
    assert film.facts.frame_count == 2 * FRAMES - 60


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is damaged or cut short"),
        (b"sword", "is not an MP4 video"),
        (b"swordfish", "is not an MP4 video"),
        (b"\x1aE\xdf\xa3 the beginning of a WebM file", "is not an MP4 video"),
        (SDR.read_bytes()[: SDR.stat().st_size // 2], "is damaged or cut short"),
    ],
    ids=["empty", "short", "text", "webm", "cut short"],
)
async def test_incomplete_and_other_files_are_rejected(
    service: VideoService, folder: Path, tmp_path: Path, data: bytes, problem: str
) -> None:
    good, broken = tmp_path / "good.mp4", tmp_path / "broken.mp4"
    good.write_bytes(SDR.read_bytes())
    broken.write_bytes(data)
    error = await join_error(service, list(map(str, (good, broken, broken))))
    assert problems_of(error) == {"videos[1]": problem}
    assert not folder.exists()


async def test_a_film_needs_pyav(service: VideoService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    [problem] = (await join_error(service, ["a", "b"])).problems
    assert (problem.field, problem.code, problem.remedy) == ("videos", "needs_pyav", "install_film")


# Cleanup.


@pytest.mark.parametrize("step", ["checking", "fetching", "joining"])
async def test_a_cancelled_film_leaves_nothing_behind(
    service: VideoService, folder: Path, clip: Callable[[Path], str], step: FilmStep
) -> None:
    with anyio.CancelScope() as scope:

        async def cancel(reached: FilmStep, share: float) -> None:
            # When joining, cancel only after something was written.
            if reached == step and (step != "joining" or share > 0.5):
                assert (step == "joining") == folder.exists()
                scope.cancel()
                await anyio.lowlevel.checkpoint()

        await join(service, [clip(SDR), clip(PORTRAIT)], on_progress=cancel)
    assert scope.cancelled_caught
    assert list(folder.glob("*")) == []


async def test_the_work_folder_of_a_killed_process_is_removed(
    service: VideoService, folder: Path, clip: Callable[[Path], str]
) -> None:
    """Its lock shows that the process has ended. Folders that are in use or have no lock file stay."""
    used, other = folder / ".luma-film-used", folder / ".luma-film-other"
    for path in (used, other):
        path.mkdir(parents=True)
        (path / "film.mp4").write_bytes(b"unfinished")
    with (used / "lock").open("xb") as file:
        lock_file(file)
        program = (
            "import sys, time; from pathlib import Path; from luma_mcp.service.clip_files import WorkFolder\n"
            "work = WorkFolder.create(Path(sys.argv[1]), '.luma-film-')\n"
            "(work.path / 'film.mp4').write_bytes(b'unfinished'); print(work.path, flush=True); time.sleep(60)"
        )
        async with await anyio.open_process([sys.executable, "-c", program, str(folder)]) as process:
            assert process.stdout
            left = Path((await process.stdout.receive()).decode().strip())
            process.kill()
        assert (left / "film.mp4").exists()
        film = await join(service, [clip(SDR), clip(SDR)])
    assert set(folder.iterdir()) == {used, other, film.path}


async def test_an_unusable_output_folder_is_reported(
    service: VideoService, tmp_path: Path, clip: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError) as caught:
        await join(service, [clip(SDR), clip(SDR)], folder=tmp_path / "file" / "films")
    assert caught.value.folder_unusable
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * SDR.stat().st_size - 1))
    with pytest.raises(DownloadError, match="There is no room left") as caught:
        await join(service, [clip(SDR), clip(SDR)])
    assert caught.value.folder_unusable


# Pictures.


async def test_a_contact_sheet_error_names_the_unusable_video(service: VideoService) -> None:
    good, bad = [await service.wait(await finish_job(service, prompt), 0) for prompt in ("A fox", "A bear")]
    async with service.films.clips.open(bad) as path:
        Path(path).write_bytes(b"<html>")
    with pytest.raises(ImageError) as caught:
        await service.films.make_sheet([("Take 1", good), ("Take 2", bad)], 3)
    assert (caught.value.reason, caught.value.jobid) == ("is not an MP4 video", bad.jobid)
    sheet = await service.films.make_sheet([("Take 1", good), ("Take 2", good)], 3)
    assert [len(times) for times in sheet.times] == [3, 3]
    assert len(sheet.data) <= 300_000


async def test_the_thumbnail_of_an_hdr_video_is_one_of_its_frames(
    service: VideoService, media: CountingTransport
) -> None:
    jobid = await finish_job(service, dynamic_range="hdr", resolution="540p")
    job = await service.wait(jobid, 0)
    still = await service.downloads.thumbnail(job)
    assert still
    shown = Image.open(io.BytesIO(still)).convert("RGB")
    given = Image.open(MEDIA / "16x9-thumbnail.jpg").convert("RGB")
    assert still != (MEDIA / "16x9-thumbnail.jpg").read_bytes()
    # The stand-in's thumbnail is its first frame. Without tone mapping, they differ by more than 30.
    assert max(ImageStat.Stat(ImageChops.difference(shown, given.resize(shown.size))).mean) < 8
    assert await service.downloads.thumbnail(job) is still
    assert media.fetched.total() == 1


async def test_the_api_s_thumbnail_is_used_if_the_video_is_missing(
    service: VideoService, media: CountingTransport
) -> None:
    jobid = await finish_job(service, dynamic_range="hdr", resolution="540p")
    media.refusals = 100
    thumbnail = await service.downloads.thumbnail(await service.wait(jobid, 0))
    assert thumbnail == (MEDIA / "16x9-thumbnail.jpg").read_bytes()
