"""Saves the files of finished jobs to the output folder, under names that a person can find."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from luma_mcp.api.protocol import Job, Media, VideoApi, parse_time
from luma_mcp.errors import LumaError
from luma_mcp.journal.protocol import Journal
from luma_mcp.media.download import DownloadError, download
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.service import existing_files

DownloadProgress = Callable[[str, int, int | None, float], Awaitable[None]]

logger = logging.getLogger(__name__)

SAVED_FILES = {"video": ".mp4", "video_hdr_exr": "-exr.zip"}
"""The files of a job that are saved, and how their names end."""
PROMPT_PARTS, LONGEST_PROMPT = 6, 40
"""How much of the prompt is in a file's name: so many of its first terms, in so many characters."""
THUMBNAIL_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class SavedFiles:
    """The absolute paths of a job's saved files.

    `problem`: why some are missing, in neutral sentences. `unfinished`: whether another call would continue this one.
    `is_link_dead`: whether the link to the video does not work, and the API has no other one.
    """

    files: tuple[str, ...]
    problem: str | None = None
    unfinished: bool = False
    is_link_dead: bool = False


def file_stem(job: Job) -> str:
    """Build a file name without its ending: the day, the beginning of the prompt, and a short id of the job."""
    created = datetime.now(UTC).astimezone()
    # The API's time may lie outside of what this machine's time zone can express.
    with suppress(OverflowError, OSError, ValueError):
        created = (parse_time(job.created) or created).astimezone()
    prompt = unicodedata.normalize("NFC", job.request.prompt).casefold() if job.request else ""
    title = "-".join(re.findall(r"[^\W_]+", prompt)[:PROMPT_PARTS])[:LONGEST_PROMPT].strip("-")
    return f"{created:%Y-%m-%d}_{title or 'video'}_{blake2b(job.jobid.encode(), digest_size=4).hexdigest()}"


@dataclass(slots=True)
class Downloads:
    """Saves jobs' files to the output folder, which is created when it is first needed."""

    api: VideoApi
    journal: Journal
    http: SafeHttpClient
    get_folder: Callable[[], Path]
    # By jobid. A lock exists as long as a call has it or waits for it.
    _locks: WeakValueDictionary[str, anyio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    async def saved_files(self, jobid: str) -> tuple[str, ...]:
        """Get the paths of the job's files that are still where they were saved."""
        order = await self.journal.get_by_jobid(jobid)
        # In a thread, because a network drive can block.
        return await anyio.to_thread.run_sync(existing_files, order.files) if order and order.files else ()

    async def save(self, job: Job, *, seconds: float, on_progress: DownloadProgress) -> SavedFiles:
        """Save the video, and for `hdr_exr` the ZIP, unless they are saved already.

        Args:
            job: a completed job.
            seconds: time limit; what has been received by then is kept for the next call.
            on_progress: called with the name of a file, its bytes received so far, their total if it is known, and
                the share of all files that has been received, from 0 to 1.
        """
        parts = [part for part in SAVED_FILES if getattr(job.files, part)]
        files: list[str] = []
        lock = self._locks.setdefault(job.jobid, anyio.Lock())
        try:
            with anyio.fail_after(seconds):
                async with lock:
                    saved = await self.saved_files(job.jobid)
                    if len(saved) >= len(parts):
                        return SavedFiles(saved)
                    for number, part in enumerate(parts):
                        path = await self._save_part(job, part, on_progress, (number, len(parts)))
                        files.append(str(path))
        except DownloadError as error:
            suffix = "" if error.expired else " The video's link still works."
            is_link_dead = error.expired and not files
            return SavedFiles(tuple(files), f"{error.reason}{suffix}", is_link_dead=is_link_dead)
        except TimeoutError:
            problem = "The download is not finished; what has been received is kept."
            return SavedFiles(tuple(files), problem, unfinished=True)
        if files:
            await self.journal.record_files(job.jobid, tuple(files))
        return SavedFiles(tuple(files))

    async def thumbnail(self, job: Job) -> bytes | None:
        """Get a small JPEG of the finished video; None if there is none, or not soon."""
        if not job.files.thumbnail or job.state != "completed":
            return None
        from luma_mcp.media.images import make_thumbnail

        try:
            with anyio.fail_after(THUMBNAIL_TIMEOUT):
                data = await self.http.fetch(job.files.thumbnail.url)
                return await anyio.to_thread.run_sync(make_thumbnail, data)
        except Exception as error:  # noqa: BLE001 - the video matters, and this is only a picture of it
            logger.info("There is no thumbnail: %s", error)
            return None

    async def _save_part(self, job: Job, part: str, on_progress: DownloadProgress, share: tuple[int, int]) -> Path:
        """Save one file. `share`: its index among the files to save, and their number."""
        media: Media = getattr(job.files, part)
        target = self.get_folder() / f"{file_stem(job)}{SAVED_FILES[part]}"

        async def report(received: int, total: int | None) -> None:
            # Half of a file whose length is not known.
            fraction = received / total if total else 0.5
            await on_progress(target.name, received, total, (share[0] + fraction) / share[1])

        try:
            return await download(media.url, target, self.http, report)
        except DownloadError as error:
            if not error.expired:
                raise
            new: Media | None = None
            with suppress(LumaError):
                new = getattr((await self.api.get(job.jobid)).files, part)
            if new is None or new.url == media.url:
                raise
            return await download(new.url, target, self.http, report)
