"""From clips to films: contact sheets, small previews, and several videos joined to one file."""

from __future__ import annotations

import errno
import logging
import re
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from math import floor
from pathlib import Path
from typing import Literal, TypeVar

import anyio
import anyio.to_thread

from luma_mcp.api.protocol import SAVED_FILES, Job, film_stem
from luma_mcp.errors import InvalidArguments, LumaError, Problem
from luma_mcp.journal.protocol import Journal
from luma_mcp.media import NEEDS_PYAV, can_read_clips
from luma_mcp.media.clips import LARGEST_CLIP, ClipError, ClipFacts, ContactSheet, JoinedClip, JoinPlan, SheetRow
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.download import describe_folder_problem, move_to_new
from luma_mcp.media.sources import ImageError, Source, SourceKind, check_file, find_file, home_folders, parse_source
from luma_mcp.providers import PROVIDERS
from luma_mcp.service import FEWEST_VIDEOS, MOST_FRAMES, MOST_VIDEOS, SHORTEST_CROSSFADE
from luma_mcp.service.clip_files import ClipFiles, WorkFolder, about_job, check_is_video
from luma_mcp.service.requests import choose_remedy, shorten_image

FilmStep = Literal["checking", "fetching", "joining"]
FilmProgress = Callable[[FilmStep, float], Awaitable[None]]
"""Receives the current step, and the share of the whole that is done, from 0 to 1."""

logger = logging.getLogger(__name__)

_EXPECTED = f"{FEWEST_VIDEOS} to {MOST_VIDEOS} videos, in the order of the film"
_SOURCES = "the jobid of a video, or the absolute path of a saved one"
_CONCURRENT_FETCHES = 4
_FETCHED, _JOINED = 0.3, 0.97
"""The share of the whole that is done when all videos are fetched, and when they are joined."""
_TOLERANCE = 0.05
"""Seconds by which a crossfade may exceed half of a clip: less than two frames."""
_FOLDER_PREFIX = ".luma-film-"
_MOST_SHEETS, _MOST_PREVIEWS = 8, 4
# Journals can be long, and films are made from recent videos.
_SEARCHED_ORDERS = 1000
_RATE_STEP = 0.01
"""Frames per second by which rates differ at least."""
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Film:
    """A film that was saved.

    Attributes:
        path: its absolute path.
        sheet: its contact sheet; None if that could not be made.
        has_lost_sound: whether clips with sound lost it.
        resized, retimed: positions of the clips that had another size or frame rate than the first one.
    """

    path: Path
    facts: ClipFacts
    is_reencoded: bool
    sheet: ContactSheet | None = None
    has_lost_sound: bool = False
    resized: tuple[int, ...] = ()
    retimed: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class _Video:
    """A video of a film.

    Attributes:
        position: where it is named first.
        value: how the caller named it.
        job: its job; None for a file.
        path: its file; None until that is here.
        is_hdr, seconds: as far as they are known; `facts`: what its file is.
    """

    position: int
    value: str
    job: Job | None = None
    path: str | None = None
    is_hdr: bool | None = None
    seconds: float | None = None
    facts: ClipFacts | None = None

    @property
    def field(self) -> str:
        """The parameter that names it."""
        return f"videos[{self.position}]"

    def build_problem(self, error: ImageError) -> Problem:
        """Build the problem of the parameter."""
        remedy = choose_remedy(error)
        if remedy in ("other_job", "other_image"):
            remedy = "other_video"
        return replace(self.build_refusal(error.reason), jobid=error.jobid, remedy=remedy)

    def build_refusal(self, reason: str) -> Problem:
        """Build the problem of a video that does not fit the others. `reason`: a clause that follows its name."""
        jobid = self.job.jobid if self.job else None
        return Problem(self.field, "unusable_clip", shorten_image(self.value), reason=reason, jobid=jobid)


@dataclass(slots=True)
class _Findings:
    """What is wrong with the videos of a film; `errors`: those of single videos."""

    problems: list[Problem] = field(default_factory=list)
    errors: list[ImageError] = field(default_factory=list)

    def add(self, video: _Video, error: ImageError) -> None:
        """Add why a video cannot be used."""
        self.errors.append(error)
        self.problems.append(video.build_problem(error))

    def check(self, suggestion: dict[str, object] | None = None) -> None:
        """Raise `InvalidArguments` if anything was found."""
        if not self.problems:
            return
        # The sort is stable, so problems of other parameters keep their order, before those of videos.
        self.problems.sort(key=_get_position)
        rejection = InvalidArguments(self.problems, suggestion=suggestion)
        if len(self.problems) == len(self.errors) and all(error.retryable for error in self.errors):
            rejection.retry = "later"
            rejection.jobid = next((error.jobid for error in self.errors if error.is_unfinished), None)
        raise rejection


@dataclass(slots=True)
class Films:
    """Makes contact sheets, previews and films from the videos of jobs, and from saved files.

    Attributes:
        get_folder: gets the output folder.
        folders: other folders whose files may be read; None for the user's home.
        now: the time of day.
    """

    clips: ClipFiles
    journal: Journal
    decoder: Decoder
    get_folder: Callable[[], Path]
    folders: Sequence[Path] | None
    now: Callable[[], datetime]
    # Those of the latest calls: agents look at a video more than once, and players read a resource again.
    _sheets: dict[tuple[object, ...], ContactSheet] = field(default_factory=dict, init=False)
    _previews: dict[str, bytes] = field(default_factory=dict, init=False)

    async def make_sheet(self, jobs: Sequence[tuple[str, Job]], frames: int) -> ContactSheet:
        """Make a contact sheet of the videos of finished jobs, each with a label, which is empty for a single one.

        Raises:
            ImageError: a clause about the video that cannot be used, with its jobid.
            LumaError: the API could not be asked for a new link.
        """
        key = (frames, *((label, job.jobid) for label, job in jobs))
        if key in self._sheets:
            return self._sheets[key]
        async with AsyncExitStack() as stack:
            rows: list[SheetRow] = []
            for label, job in jobs:
                path = await stack.enter_async_context(self.clips.open(job))
                rows.append(SheetRow(path, label))
            try:
                sheet = await self.decoder.make_sheet(rows, frames)
            except ClipError as error:
                raise ImageError(error.reason, jobid=jobs[error.index][1].jobid) from None
        _keep(self._sheets, key, sheet, _MOST_SHEETS)
        return sheet

    async def make_preview(self, job: Job) -> bytes:
        """Make a small SDR copy of the video of a finished job, as an MP4. Raises what `make_sheet` does."""
        if job.jobid in self._previews:
            return self._previews[job.jobid]
        async with self.clips.open(job) as path:
            preview = await self.decoder.make_preview(path)
        _keep(self._previews, job.jobid, preview, _MOST_PREVIEWS)
        return preview

    async def join(
        self,
        videos: Sequence[str],
        *,
        crossfades: Sequence[float] | float = 0.0,
        title: str | None = None,
        folder: Path | None = None,
        stem: Path | None = None,
        problems: Iterable[Problem] = (),
        on_progress: FilmProgress,
    ) -> Film:
        """Join videos to one MP4 and save it, never over another file. If it fails or is cancelled, no file remains.

        Args:
            videos: jobids of finished jobs, or absolute paths of saved files, in order.
            crossfades: the seconds for which each video but the first overlaps the one before it; 0 is a cut.
            title: what the file is named for.
            folder: where it goes; None for the output folder.
            stem: absolute path of the file without its ending, instead of title and folder.
            problems: what the caller found already, to be reported together with the rest.
            on_progress: called with what is done now.

        Raises:
            InvalidArguments: with all problems; `retry` is "later" if all that is missing are videos that are not there
                yet, and `jobid` is the first of their jobs.
            DownloadError: the folder cannot be used.
            LumaError: the API could not be asked for a job.
        """
        if not can_read_clips():
            raise InvalidArguments([Problem("videos", "needs_pyav", reason=NEEDS_PYAV, remedy="install_film")])
        findings = _Findings(list(problems))
        if not FEWEST_VIDEOS <= len(videos) <= MOST_VIDEOS:
            findings.problems.append(Problem("videos", "out_of_range", len(videos), expected=_EXPECTED))
            findings.check()
        overlaps = _build_overlaps(crossfades, len(videos) - 1)
        await on_progress("checking", 0.0)
        by_value = {value: _Video(position, value) for position, value in reversed(list(enumerate(videos)))}
        await self._find(by_value.values(), findings)
        clips = [by_value[value] for value in videos]
        # Check what is already known before anything is fetched.
        _check_fit(clips, overlaps, findings)
        async with AsyncExitStack() as stack:
            for count, video in enumerate(by_value.values()):
                await on_progress("fetching", _FETCHED * count / len(by_value))
                await self._open(video, stack, findings)
            _check_fit(clips, overlaps, findings)
            path = folder or self.get_folder()
            target = stem or path / film_stem(title, self.now())
            target = target.with_name(f"{target.name}{SAVED_FILES['video']}")
            return await self._save(clips, overlaps, target, on_progress)

    async def _find(self, videos: Collection[_Video], findings: _Findings) -> None:
        """Find the job or the file of each video."""
        known_jobids = await self.journal.owned_jobids()
        provider = PROVIDERS[self.clips.api.catalog.api]
        parse = partial(parse_source, provider=provider, is_jobid=known_jobids.__contains__, accepted=_SOURCES)
        latest = await self.journal.list_latest(_SEARCHED_ORDERS)
        saved = {file for order in latest for file in order.files}
        jobids: dict[str, _Video] = {}
        for video in videos:
            try:
                source = parse(video.value)
                if source.kind is SourceKind.FILE:
                    video.path = await self._find_file(source, is_saved=source.text in saved)
            except ImageError as error:
                findings.add(video, error)
                continue
            if source.kind in (SourceKind.JOB, SourceKind.ASSET_OR_JOB):
                jobids[source.text] = video
            elif video.path is None:
                findings.add(video, ImageError(f"is not {_SOURCES}"))
        await self._find_jobs(jobids, findings)

    async def _find_file(self, source: Source, *, is_saved: bool) -> str:
        """Get the real path of a file in the allowed folders or the output folder, or of one that was saved here."""
        folders = [*(home_folders() if self.folders is None else self.folders), self.get_folder()]
        if is_saved:
            folders.append(Path(source.text).parent)
        path = await anyio.to_thread.run_sync(find_file, source.text, folders, source.untrimmed)
        return await anyio.to_thread.run_sync(check_file, path, folders, LARGEST_CLIP)

    async def _find_jobs(self, videos: Mapping[str, _Video], findings: _Findings) -> None:
        """Fetch the jobs of videos, several at a time. Raise `LumaError` if the API cannot be asked."""
        waiting = list(videos.items())
        failures: list[LumaError] = []

        async def fetch() -> None:
            while waiting and not failures:
                jobid, video = waiting.pop(0)
                try:
                    await self._find_job(jobid, video)
                except ImageError as error:
                    findings.add(video, error)
                except LumaError as error:
                    failures.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(_CONCURRENT_FETCHES):
                tasks.start_soon(fetch)
        if failures:
            raise failures[0]

    async def _find_job(self, jobid: str, video: _Video) -> None:
        job = await self.clips.fetch_job(jobid)
        check_is_video(job, "video")
        if job.files.video is None:
            raise ImageError(f"names a job without a usable video ({job.status})", jobid=jobid)
        video.job, video.seconds = job, job.files.video.duration
        order = await self.journal.get_by_jobid(jobid)
        if job.files.video_hdr_exr:
            video.is_hdr = True
        elif order and order.request.dynamic_range:
            video.is_hdr = order.request.dynamic_range != "sdr"

    async def _open(self, video: _Video, stack: AsyncExitStack, findings: _Findings) -> None:
        """Get a video's file, and find out what it is."""
        try:
            if video.job:
                video.path = await stack.enter_async_context(self.clips.open(video.job))
            video.facts = await self.decoder.probe(str(video.path))
        except ImageError as error:
            findings.add(video, about_job(error, video.job.jobid) if video.job else error)
        else:
            video.is_hdr, video.seconds = video.facts.is_hdr, video.facts.seconds

    async def _save(
        self, clips: Sequence[_Video], overlaps: tuple[float, ...], target: Path, on_progress: FilmProgress
    ) -> Film:
        """Join the files of the videos, and save the film as `target` or a numbered variant."""

        async def report(share: float) -> None:
            await on_progress("joining", _FETCHED + (_JOINED - _FETCHED) * share)

        paths = tuple(str(clip.path) for clip in clips)
        work: WorkFolder | None = None
        try:
            work = await anyio.to_thread.run_sync(_prepare, target.parent, paths)
            unfinished = work.path / f"film{target.suffix}"
            joined = await self.decoder.join(JoinPlan(paths, str(unfinished), overlaps), report)
            sheet = await self._make_film_sheet(unfinished)
            with anyio.CancelScope(shield=True):
                path = await anyio.to_thread.run_sync(move_to_new, unfinished, target)
        except ClipError as error:
            findings = _Findings()
            findings.add(clips[error.index], error)
            findings.check()
            raise
        except ImageError as error:
            problem = Problem("videos", "unusable_clip", reason=f"cannot be joined, because the film {error.reason}")
            raise InvalidArguments([problem], retry="later" if error.retryable else None) from None
        except OSError as error:
            raise describe_folder_problem(target.parent, error) from error
        finally:
            if work:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(work.remove)
        return _build_film(path, joined, sheet, clips)

    async def _make_film_sheet(self, path: Path) -> ContactSheet | None:
        try:
            return await self.decoder.make_sheet([SheetRow(str(path))], MOST_FRAMES)
        except ImageError as error:
            logger.info("There is no contact sheet of the film: it %s", error.reason)
            return None


def _build_overlaps(crossfades: Sequence[float] | float, count: int) -> tuple[float, ...]:
    if isinstance(crossfades, int | float):
        return (float(crossfades),) * count
    if len(crossfades) != count:
        raise ValueError(f"{count} crossfades are needed, not {len(crossfades)}")
    return tuple(crossfades)


def _check_fit(clips: Sequence[_Video], overlaps: Sequence[float], findings: _Findings) -> None:
    """Raise `InvalidArguments` with the earlier findings, and with the reasons why these videos cannot be joined."""
    suggestion: dict[str, object] = {}
    hdr = [clip for clip in clips if clip.is_hdr]
    sdr = [clip for clip in clips if clip.is_hdr is False]
    if hdr and sdr:
        # The majority is kept; of equally many, those like the first one.
        kept, left_out, kinds = sdr, hdr, ("HDR", "SDR")
        if (len(hdr), clips[0].is_hdr is True) > (len(sdr), clips[0].is_hdr is False):
            kept, left_out, kinds = hdr, sdr, ("SDR", "HDR")
        for clip in _without_repeats(left_out):
            reason = f"is {kinds[0]}, and others are {kinds[1]}: HDR and SDR cannot be joined"
            problem = clip.build_refusal(reason)
            if len(kept) < FEWEST_VIDEOS:
                problem = replace(problem, remedy="same_range")
            findings.problems.append(problem)
        if len(kept) >= FEWEST_VIDEOS:
            suggestion["videos"] = [clip.value for clip in clips if clip not in left_out]
    longest, shortest = _find_longest_overlap(clips, overlaps)
    if shortest and shortest.seconds and longest > shortest.seconds / 2 + _TOLERANCE:
        limit = floor(shortest.seconds / 2 * 10) / 10
        reason = f"is longer than half of {shortest.field}, which has {shortest.seconds:.1f} s"
        expected = f"at most {limit:g} s here"
        findings.problems.append(Problem("crossfade_seconds", "too_long", longest, expected=expected, reason=reason))
        if limit >= SHORTEST_CROSSFADE:
            suggestion["crossfade_seconds"] = limit
    findings.check(None if findings.errors else suggestion or None)


def _find_longest_overlap(clips: Sequence[_Video], overlaps: Sequence[float]) -> tuple[float, _Video | None]:
    """Find the crossfade that takes the largest share of one of its clips, and that clip."""
    largest_share, longest = 0.0, 0.0
    shortest: _Video | None = None
    for position, seconds in enumerate(overlaps):
        for clip in clips[position : position + 2]:
            if clip.seconds and seconds / clip.seconds > largest_share:
                largest_share, longest, shortest = seconds / clip.seconds, seconds, clip
    return longest, shortest


def _without_repeats(videos: Iterable[_Video]) -> list[_Video]:
    """List videos in order, without duplicates."""
    return list({video.position: video for video in videos}.values())


def _get_position(problem: Problem) -> int:
    """Get the position of the video that a problem is about; -1 for problems of other parameters."""
    position = re.fullmatch(r"videos\[(\d+)\]", problem.field)
    return int(position[1]) if position else -1


def _prepare(folder: Path, paths: Sequence[str]) -> WorkFolder:
    """Create the folder and one in it for the unfinished film. Raise `OSError` if there is no room for its clips."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(Path(path).stat().st_size for path in paths)
    disk = shutil.disk_usage(folder)
    # Network drives that do not know their size report zeros.
    if disk.total and disk.free < needed:
        raise OSError(errno.ENOSPC, "no room")
    return WorkFolder.create(folder, _FOLDER_PREFIX)


def _build_film(path: Path, joined: JoinedClip, sheet: ContactSheet | None, clips: Sequence[_Video]) -> Film:
    facts = [clip.facts for clip in clips if clip.facts]
    first = facts[0]
    return Film(
        path,
        joined.facts,
        joined.is_reencoded,
        sheet,
        has_lost_sound=not joined.facts.has_sound and any(each.has_sound for each in facts),
        resized=tuple(place for place, each in enumerate(facts) if each.size != first.size),
        retimed=tuple(
            place for place, each in enumerate(facts) if abs(each.frame_rate - first.frame_rate) > _RATE_STEP
        ),
    )


def _keep(kept: dict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    """Keep a value, instead of the oldest one if there are too many."""
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
