"""Saves the files of finished jobs to the output folder, under names that a person can find."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from luma_mcp.api.protocol import SAVED_FILES, Job, Media, VideoApi, file_stem
from luma_mcp.errors import DownloadError, LumaError
from luma_mcp.journal.protocol import Journal
from luma_mcp.media import can_read_clips
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.download import download, lock_file
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.service import existing_files
from luma_mcp.service.clip_files import ClipFiles

DownloadProgress = Callable[[str, int, int | None, float], Awaitable[None]]

logger = logging.getLogger(__name__)

THUMBNAIL_TIMEOUT = 5.0
MAX_THUMBNAILS = 20
"""How many thumbnails are kept in memory, each of some 20 kB."""
CLAIM_INTERVAL = 0.5
"""Seconds between looks at files that another process is saving."""
_NO_FILE = BytesIO()
"""Placeholder for a claim where files cannot be locked."""


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


@dataclass(slots=True)
class Downloads:
    """Saves jobs' files to the output folder, which is created when it is first needed."""

    api: VideoApi
    journal: Journal
    http: SafeHttpClient
    decoder: Decoder
    clips: ClipFiles
    get_folder: Callable[[], Path]
    # Lock files are created beside it; None: no other process saves files of these jobs.
    journal_path: Path | None = None
    # By jobid. A lock exists as long as a call has it or waits for it.
    _locks: WeakValueDictionary[str, anyio.Lock] = field(default_factory=WeakValueDictionary, init=False)
    # By jobid, those of the latest jobs. A finished job's never changes, and agents look at a job more than once.
    _thumbnails: dict[str, bytes] = field(default_factory=dict, init=False)

    async def saved_files(self, jobid: str) -> tuple[str, ...]:
        """Get the paths of the job's files that are still where they were saved."""
        if not self.clips.has_local_files:
            return ()
        order = await self.journal.get_by_jobid(jobid)
        # In a thread, because a network drive can block.
        return await anyio.to_thread.run_sync(existing_files, order.files) if order and order.files else ()

    @asynccontextmanager
    async def claim(self, jobid: str) -> AsyncIterator[bool]:
        """Keep other processes from saving the job's files while the block runs, or until this one is killed.

        Yields False if another process has claimed them.
        """
        if self.journal_path is None:
            yield True
            return
        name = blake2b(jobid.encode(errors="replace"), digest_size=8).hexdigest()
        path = self.journal_path.with_name(f"{self.journal_path.name}.saving") / name
        claimed = await anyio.to_thread.run_sync(_claim, path)
        try:
            yield claimed is not None
        finally:
            if claimed:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(_release, path, claimed)

    async def save(
        self,
        job: Job,
        *,
        seconds: float,
        on_progress: DownloadProgress,
        folder: Path | None = None,
        stem: Path | None = None,
        is_claimed: bool = False,
    ) -> SavedFiles:
        """Save the video, and for `hdr_exr` the ZIP, unless they are saved already.

        Args:
            job: a completed job.
            seconds: time limit; what has been received by then is kept for the next call.
            on_progress: called with the name of a file, its bytes received so far, their total if it is known, and
                the share of all files that has been received, from 0 to 1.
            folder: where the files go, under a name that says what they are; if None, the output folder.
            stem: absolute path of the files without their endings, instead of a folder.
            is_claimed: whether the caller has claimed the files.
        """
        is_elsewhere = bool(folder or stem)
        parts = [part for part in SAVED_FILES if getattr(job.files, part)]
        files: list[str] = []
        lock = self._locks.setdefault(job.jobid, anyio.Lock())
        try:
            with anyio.fail_after(seconds):
                async with AsyncExitStack() as stack:
                    # Before the lock, because a caller that has claimed them may be waiting for the lock.
                    while not is_claimed:
                        is_claimed = await stack.enter_async_context(self.claim(job.jobid))
                        if not is_claimed:
                            await anyio.sleep(CLAIM_INTERVAL)
                    await stack.enter_async_context(lock)
                    saved = await self.saved_files(job.jobid)
                    if len(saved) >= len(parts) and not is_elsewhere:
                        return SavedFiles(saved)
                    await self._save_parts(job, parts, files, folder or self.get_folder(), stem, report=on_progress)
        except DownloadError as error:
            suffix = "" if error.expired else " The video's link still works."
            if error.folder_unusable and not is_elsewhere:
                suffix = f" LUMA_MCP_OUTPUT_DIR sets another folder.{suffix}"
            is_link_dead = error.expired and not files
            return SavedFiles(tuple(files), f"{error.reason}{suffix}", is_link_dead=is_link_dead)
        except TimeoutError:
            problem = "The download is not finished; what has been received is kept."
            return SavedFiles(tuple(files), problem, unfinished=True)
        except Exception as error:
            # The video is paid for: whatever became of its file, the result must show its link.
            logger.warning("A file could not be saved.", exc_info=True)
            problem = f"The file could not be saved ({type(error).__name__})."
            return SavedFiles(tuple(files), problem)
        if files:
            await self.journal.record_files(job.jobid, tuple(files))
        return SavedFiles(tuple(files))

    async def thumbnail(self, job: Job) -> bytes | None:
        """Get a small JPEG of the finished video; None if there is none, or not soon."""
        if job.state != "completed":
            return None
        if job.jobid in self._thumbnails:
            return self._thumbnails[job.jobid]
        thumbnail = None
        if job.files.video and can_read_clips() and (_is_hdr(job) or not job.files.thumbnail):
            # The API's thumbnail of an HDR video is not mapped to the colors of screens.
            thumbnail = await _try_soon(partial(self._make_still, job))
        if thumbnail is None and job.files.thumbnail:
            thumbnail = await _try_soon(partial(self._fetch_thumbnail, job.files.thumbnail.url))
        if thumbnail is None:
            return None
        if len(self._thumbnails) >= MAX_THUMBNAILS:
            del self._thumbnails[next(iter(self._thumbnails))]
        self._thumbnails[job.jobid] = thumbnail
        return thumbnail

    async def _make_still(self, job: Job) -> bytes:
        async with self.clips.open(job) as path:
            return await self.decoder.make_still(path)

    async def _fetch_thumbnail(self, url: str) -> bytes:
        return await self.decoder.make_thumbnail(await self.http.fetch(url))

    async def _save_parts(
        self, job: Job, parts: list[str], files: list[str], folder: Path, stem: Path | None, *, report: DownloadProgress
    ) -> None:
        """Save some files in a folder, or under a stem, and add their paths to `files`."""
        for number, part in enumerate(parts):
            save = partial(self._save_part, job, part, on_progress=report, share=(number, len(parts)))
            try:
                path = await save(stem or folder / file_stem(job))
            except DownloadError as error:
                # The prompt can be left out of a name, but a name that was requested stays what it is.
                if stem or not error.name_too_long:
                    raise
                path = await save(folder / file_stem(job, with_prompt=False))
            files.append(str(path))

    async def _save_part(
        self, job: Job, part: str, stem: Path, *, on_progress: DownloadProgress, share: tuple[int, int]
    ) -> Path:
        """Save one file. `share`: its index among the files to save, and their number."""
        media: Media = getattr(job.files, part)
        target = stem.with_name(stem.name + SAVED_FILES[part])

        async def report(received: int, total: int | None) -> None:
            # A file of unknown length counts as half done.
            fraction = received / total if total else 0.5
            await on_progress(target.name, received, total, (share[0] + fraction) / share[1])

        async def renew() -> str | None:
            new: Media | None = None
            with suppress(LumaError):
                new = getattr((await self.api.get(job.jobid)).files, part)
            return new.url if new else None

        return await download(media.url, target, self.http, report, renew)


async def _try_soon(get: Callable[[], Awaitable[bytes]]) -> bytes | None:
    """Get a still of a video within `THUMBNAIL_TIMEOUT`; None if that fails."""
    try:
        with anyio.fail_after(THUMBNAIL_TIMEOUT):
            return await get()
    except Exception as error:  # noqa: BLE001 - the video matters, and this is only a picture of it
        logger.info("There is no thumbnail: %s", error)
        return None


def _is_hdr(job: Job) -> bool:
    """Whether a video is HDR, as far as its record and its order say."""
    dynamic_range = job.request.dynamic_range if job.request else None
    return bool(job.files.video_hdr_exr) or dynamic_range not in (None, "sdr")


def _claim(path: Path) -> BinaryIO | None:
    """Open and lock a file; None if another process has locked it. A lock ends with its process."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = path.open("ab")
    except FileNotFoundError:
        # Another process has just removed the folder, with its last claim.
        return None
    except OSError:
        # Where files cannot be locked, each process saves them without coordination.
        return _NO_FILE
    try:
        lock_file(file)
        # The file may have been removed before the lock was free.
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK, errno.ENOENT):
            return file
    file.close()
    return None


def _release(path: Path, file: BinaryIO) -> None:
    if file is _NO_FILE:
        return
    # While it is locked, so that no other process's file is removed. Windows cannot remove an open file.
    if os.name == "nt":
        file.close()
    with suppress(OSError):
        path.unlink()
    file.close()
    with suppress(OSError):
        path.parent.rmdir()
