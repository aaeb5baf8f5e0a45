"""The videos of finished jobs as local files: the saved file if it is still there, else a copy that is fetched."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Self
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from luma_mcp.api.protocol import SAVED_FILES, Job, VideoApi
from luma_mcp.errors import Forbidden, InvalidArguments, NotFound
from luma_mcp.journal.protocol import Journal
from luma_mcp.media.clips import CLIP_TIMEOUT, LARGEST_CLIP
from luma_mcp.media.download import SIGNATURES, lock_file, open_abandoned
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.sources import ImageError
from luma_mcp.providers import PROVIDERS

MOST_COPIES, MOST_BYTES = 8, 600_000_000
"""How many copies of videos are kept for later calls, and their bytes in all. What is in use is kept in any case."""
MOST_HOSTED_COPIES, MOST_HOSTED_BYTES = 4, 60_000_000
"""The same for each of many tenants, who share the temporary folder of one machine."""
_LOCK = "lock"
_EMPTY_AFTER = 86_400.0
"""Seconds after which an empty folder is taken for that of a killed process: a new one may not have its lock yet."""
_LOCKED = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


class WorkFolder:
    """A folder for unfinished files of this process. If the process is killed, a later one removes the folder.

    A lock on a file in it shows that it is in use. Its methods block.
    """

    def __init__(self, path: Path, lock: BinaryIO) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, parent: Path, prefix: str) -> Self:
        """Create a folder that only this user can read; its path is real. Raise `OSError` if that is not possible."""
        for path in parent.glob(f"{prefix}*"):
            _remove_abandoned(path)
        while True:
            path = Path(tempfile.mkdtemp(prefix=prefix, dir=os.path.realpath(parent)))
            file = (path / _LOCK).open("xb")
            try:
                lock_file(file)
            except OSError as error:
                # Another process removes it, because it was not locked yet. Other errors: nothing can be locked here.
                if error.errno in _LOCKED:
                    file.close()
                    continue
            if (path / _LOCK).exists():
                return cls(path, file)
            file.close()

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        if os.name == "nt":
            # Windows removes no open file.
            self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_abandoned(path: Path) -> None:
    """Remove a folder of a process that was killed, unless it is in use, or belongs to somebody else."""
    with suppress(OSError):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            return
        if file := open_abandoned(path / _LOCK):
            WorkFolder(path, file).remove()
        elif time.time() - status.st_mtime > _EMPTY_AFTER:
            path.rmdir()


@dataclass(slots=True, eq=False)
class _Copy:
    """A video that was fetched; `users`: how many read it now."""

    path: Path
    size: int
    users: int = 1


@dataclass(slots=True)
class ClipFiles:
    """Opens the videos of finished jobs. Its own errors are `ImageError`s; those of the API are `LumaError`s."""

    api: VideoApi
    journal: Journal
    http: SafeHttpClient
    # Whether saved files belong to the caller; if not, none is read or named.
    has_local_files: bool = True
    # By jobid; the one that was used last is the last.
    _copies: dict[str, _Copy] = field(default_factory=dict, init=False)
    _folder: WorkFolder | None = field(default=None, init=False)
    # By jobid. A lock exists as long as a call has it or waits for it.
    _locks: WeakValueDictionary[str, anyio.Lock] = field(default_factory=WeakValueDictionary, init=False)
    _folder_lock: anyio.Lock = field(default_factory=anyio.Lock, init=False)

    async def fetch_job(self, jobid: str) -> Job:
        """Fetch the record of a finished job, successful or not."""
        try:
            job = await self.api.get(jobid)
        except Forbidden:
            raise ImageError("names a job of another user", jobid=jobid) from None
        except (NotFound, InvalidArguments) as error:
            reason = f"names a job that the API does not know for this {PROVIDERS[self.api.catalog.api].noun}"
            if isinstance(error, NotFound) and error.unasked:
                reason = "names a job that none of your orders has"
            if order := await self.journal.get_by_jobid(jobid):
                reason = "names a job that was deleted" if order.deleted else "names a job that Luma no longer has"
            raise ImageError(reason, jobid=jobid) from None
        if job.state == "running":
            raise ImageError("names a job that is still running", retryable=True, jobid=jobid, is_unfinished=True)
        return job

    @asynccontextmanager
    async def open(self, job: Job) -> AsyncIterator[str]:
        """Yield the path of a finished job's video. The file stays at least as long as the block runs.

        Raises:
            ImageError: it could not be fetched. The reason is a clause about the video, not about the job.
        """
        if saved := await self.find_saved(job.jobid):
            yield saved
            return
        lock = self._locks.setdefault(job.jobid, anyio.Lock())
        async with lock:
            copy = await self._reuse(job.jobid) or await self._fetch(job)
            self._copies.pop(job.jobid, None)
            self._copies[job.jobid] = copy
        try:
            yield str(copy.path)
        finally:
            copy.users -= 1
            with anyio.CancelScope(shield=True):
                await self._remove_oldest()

    async def find_saved(self, jobid: str) -> str | None:
        """Get the path of the saved video, if it still exists."""
        if not self.has_local_files:
            return None
        order = await self.journal.get_by_jobid(jobid)
        if order is None or not order.files:
            return None
        # In a thread, because a network drive can block.
        return await anyio.to_thread.run_sync(_find_video, order.files)

    async def aclose(self) -> None:
        """Remove all copies."""
        if self._folder:
            await anyio.to_thread.run_sync(self._folder.remove)
        self._folder = None
        self._copies.clear()

    async def _reuse(self, jobid: str) -> _Copy | None:
        """Get the copy of a job's video for one more user; None if there is none, or if the system has removed it."""
        copy = self._copies.get(jobid)
        if copy is None:
            return None
        is_there = False
        # Before the first await, so that another call cannot remove it meanwhile.
        copy.users += 1
        try:
            is_there = await anyio.Path(copy.path).exists()
        finally:
            copy.users -= not is_there
        return copy if is_there else None

    async def _fetch(self, job: Job) -> _Copy:
        """Fetch a job's video to a temporary file for a user. A link that does not work is renewed once."""
        if job.files.video is None:
            raise ImageError("has no link that can be used", jobid=job.jobid)
        url = job.files.video.url
        path: Path | None = None
        try:
            folder = await self._get_folder()
            path = folder.path / f"{secrets.token_hex(8)}.mp4"
            try:
                size = await self._copy(url, path)
            except ImageError:
                # The link may have expired.
                video = (await self.api.get(job.jobid)).files.video
                if video is None or video.url == url:
                    raise
                size = await self._copy(video.url, path)
            copy, path = _Copy(path, size), None
        except ImageError as error:
            raise replace(error, jobid=job.jobid) from None
        except OSError as error:
            reason = f"could not be saved for a moment ({error.strerror})"
            raise ImageError(reason, retryable=True, jobid=job.jobid) from None
        finally:
            if path:
                with anyio.CancelScope(shield=True):
                    await anyio.Path(path).unlink(missing_ok=True)
        return copy

    async def _copy(self, url: str, path: Path) -> int:
        async with await anyio.open_file(path, "wb") as file:
            await self.http.copy(url, file.write, max_bytes=LARGEST_CLIP, seconds=CLIP_TIMEOUT)
            return await file.tell()

    async def _get_folder(self) -> WorkFolder:
        async with self._folder_lock:
            if self._folder and not await anyio.Path(self._folder.path).exists():
                await self.aclose()
            if self._folder is None:
                parent = await anyio.to_thread.run_sync(tempfile.gettempdir)
                self._folder = await anyio.to_thread.run_sync(WorkFolder.create, Path(parent), "luma-clips-")
            return self._folder

    async def _remove_oldest(self) -> None:
        """Remove unused copies, oldest first, until the rest is within the limits."""
        size = sum(copy.size for copy in self._copies.values())
        most_copies, most_bytes = MOST_COPIES, MOST_BYTES
        if not self.has_local_files:
            most_copies, most_bytes = MOST_HOSTED_COPIES, MOST_HOSTED_BYTES
        for jobid, copy in list(self._copies.items()):
            if len(self._copies) <= most_copies and size <= most_bytes:
                return
            # Another call may have removed or replaced it meanwhile.
            if copy.users == 0 and self._copies.get(jobid) is copy:
                del self._copies[jobid]
                size -= copy.size
                with suppress(OSError):
                    await anyio.Path(copy.path).unlink(missing_ok=True)


def about_job(error: ImageError, jobid: str, subject: str = "names a job whose video") -> ImageError:
    """Build the error of a parameter that names a job, from what is wrong with one of the job's files."""
    return ImageError(f"{subject} {error.reason}", retryable=error.retryable, jobid=jobid)


def check_is_video(job: Job, wanted: str) -> None:
    """Raise `ImageError` if a finished job has no video. `wanted`: what the error says is missing."""
    if not job.is_video:
        raise ImageError(f"names a job of type {job.kind}, not a video", jobid=job.jobid)
    if job.state == "failed":
        raise ImageError(f"names a job that failed, so there is no {wanted} of it", jobid=job.jobid)


def _find_video(paths: tuple[str, ...]) -> str | None:
    """Get the real path of the one of these files that is a video, of the size that is read."""
    offset, signature = SIGNATURES[SAVED_FILES["video"]]
    for path in paths:
        if not path.endswith(SAVED_FILES["video"]):
            continue
        with suppress(OSError):
            status = Path(path).lstat()
            if not (stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_CLIP):
                continue
            with Path(path).open("rb") as file:
                if file.read(offset + len(signature))[offset:] == signature:
                    return os.path.realpath(path)
    return None
