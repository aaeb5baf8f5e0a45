"""A finished job's files: what they are called, and how they come into the output folder."""

from __future__ import annotations

import logging
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from luma_mcp.api.protocol import Job, Media, parse_time
from luma_mcp.errors import LumaError
from luma_mcp.media.download import NotSaved, save
from luma_mcp.service.locks import KeyedLock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from luma_mcp.api.useapi.client import LumaClient
    from luma_mcp.journal.journal import Journal
    from luma_mcp.media.safe_http import SafeHttpClient

    TellBytes = Callable[[str, int, int | None, float], Awaitable[None]]

logger = logging.getLogger(__name__)

PARTS = {"video": ".mp4", "video_hdr_exr": "-exr.zip"}
"""The outputs of a job that are saved, and how their names end."""
WORDS, LONGEST = 6, 40
THUMBNAIL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a job's files are.

    `problem`: why some are not there, in words; `unfinished`: another call would go on where this one ended.
    """

    files: tuple[str, ...]
    problem: str | None = None
    unfinished: bool = False


def stem(job: Job) -> str:
    """A name that a person can find: the day, a few words of the prompt, and a short id that is the job's own."""
    try:
        created = (parse_time(job.created) or datetime.now(UTC)).astimezone()
    except (OverflowError, OSError, ValueError):
        created = datetime.now(UTC).astimezone()
    prompt = unicodedata.normalize("NFC", job.request.prompt if job.request else "video").casefold()
    words = "-".join(re.findall(r"[^\W_]+", prompt)[:WORDS])[:LONGEST].strip("-") or "video"
    return f"{created:%Y-%m-%d}_{words}_{blake2b(job.jobid.encode(), digest_size=4).hexdigest()}"


class Files:
    """Saves jobs' files to a folder.

    Args:
        luma: the API; gives a fresh link where one has expired.
        journal: knows what was saved before.
        links: reads links.
        folder: finds the output folder; it is made when it is first needed.
    """

    def __init__(
        self, luma: LumaClient, journal: Journal, *, links: SafeHttpClient, folder: Callable[[], Path]
    ) -> None:
        self._luma = luma
        self._journal = journal
        self._links = links
        self._folder = folder
        self._turns = KeyedLock()

    def saved(self, jobid: str) -> tuple[str, ...]:
        """The job's files that are still where they were saved."""
        order = self._journal.of_job(jobid)
        return tuple(file for file in order.files if Path(file).is_file()) if order else ()

    async def save(self, job: Job, *, seconds: float, tell: TellBytes) -> Saved:
        """Saves the video, and for `hdr_exr` the ZIP, unless they are there already.

        Args:
            job: a completed one.
            seconds: what is not here by then is told as a problem, and kept for the next time.
            tell: is told the name of a file, its bytes that are here, how many there will be, and what share of all
                files is here.
        """
        wanted = [part for part in PARTS if getattr(job.outputs, part)]
        files: list[str] = []
        problem: str | None = None
        unfinished = False
        try:
            with anyio.fail_after(seconds):
                async with self._turns.of(job.jobid):
                    there = self.saved(job.jobid)
                    if len(there) >= len(wanted):
                        return Saved(there)
                    for number, part in enumerate(wanted):
                        shares = (number / len(wanted), (number + 1) / len(wanted))
                        files += [str(await self._one(job, part, shares, tell))]
        except NotSaved as fault:
            problem = fault.message if fault.expired else f"{fault.message} The video's link still holds."
        except TimeoutError:
            problem, unfinished = "The download is not finished; what is here is kept.", True
        if files and not problem:
            self._journal.saved(job.jobid, tuple(files))
        return Saved(tuple(files), problem, unfinished)

    async def thumbnail(self, job: Job) -> bytes | None:
        """A small JPEG of the finished video; None if there is none to be had."""
        media = job.outputs.thumbnail
        if not media or job.state != "completed":
            return None
        from luma_mcp.media.images import thumbnail

        try:
            with anyio.fail_after(THUMBNAIL_SECONDS):
                return await anyio.to_thread.run_sync(thumbnail, await self._links.fetch(media.url))
        except Exception as fault:  # noqa: BLE001 - the video is there, and this is only its picture
            logger.info("no thumbnail: %s", fault)
            return None

    async def _one(self, job: Job, part: str, shares: tuple[float, float], tell: TellBytes) -> Path:
        media: Media = getattr(job.outputs, part)
        target = self._folder() / f"{stem(job)}{PARTS[part]}"

        async def tell_bytes(here: int, total: int | None) -> None:
            begin, end = shares
            await tell(target.name, here, total, begin + (end - begin) * (here / total if total else 0.5))

        try:
            return await save(media.url, target, self._links, tell_bytes)
        except NotSaved as fault:
            if not fault.expired:
                raise
            fresh: Media | None = None
            with suppress(LumaError):
                fresh = getattr((await self._luma.get(job.jobid)).outputs, part)
            if fresh is None or fresh.url == media.url:
                raise
            return await save(fresh.url, target, self._links, tell_bytes)
