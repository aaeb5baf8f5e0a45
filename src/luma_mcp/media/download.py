"""Download a link to a file: checked for length and type, resumed after an interruption, never over another file."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
import httpx2

from luma_mcp.errors import DownloadError
from luma_mcp.media.safe_http import SafeHttpClient, is_retryable
from luma_mcp.media.sources import HostNotFound, ImageError

ProgressCallback = Callable[[int, int | None], Awaitable[None]]

MAX_ATTEMPTS = 5
"""Consecutive attempts without a new byte after which a download ends."""
FIRST_DELAY, LONGEST_DELAY = 0.5, 8.0
LARGEST_OF_UNKNOWN_LENGTH = 5_000_000_000
SIGNATURES: dict[str, tuple[int, bytes]] = {".mp4": (4, b"ftyp"), ".zip": (0, b"PK")}
"""Offset and content by which a type of file is recognized, so that an error page is not saved as a video."""
EXR_SIGNATURE = b"v/1\x01"
"""How an OpenEXR file begins. Source: OpenEXR file layout."""
STALE_AFTER = 7 * 86_400.0
"""Seconds without a write after which a partial file is considered abandoned."""
LONGEST_NAME = 143
"""Bytes of a name that every disk accepts. Source: eCryptfs, which encrypts names; most others accept 255."""
_TAG = "[0-9a-f]" * 8
LENGTH_OF_ENDING = len("..01234567.01234567.part")


async def download(
    url: str,
    target: Path,
    http: SafeHttpClient,
    on_progress: ProgressCallback,
    renew: Callable[[], Awaitable[str | None]] | None = None,
) -> Path:
    """Download a link to `target`, or to a numbered variant if that is a different file, and return its path.

    `on_progress` is called with the number of bytes received so far, and the total if it is known. `renew` fetches the
    link again where this one has expired. `DownloadError` is raised if the file could not be saved. What has been
    received is kept, and the next call resumes it.
    """
    try:
        return await _download_once(url, target, http, on_progress)
    except DownloadError as error:
        new_url = await renew() if renew and error.expired else None
        if new_url is None or new_url == url:
            raise
    return await _download_once(new_url, target, http, on_progress)


async def _download_once(url: str, target: Path, http: SafeHttpClient, on_progress: ProgressCallback) -> Path:
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return await _Download(url, http, on_progress, PartialFile(target)).run()
    except ImageError as error:
        raise DownloadError(f"The file's address {error.reason}.") from None
    except OSError as error:
        raise describe_folder_problem(folder, error) from error


def describe_folder_problem(folder: Path, error: OSError) -> DownloadError:
    """Describe why a file could not be written to a folder."""
    problem = f"The folder {folder} cannot be used ({error.strerror or type(error).__name__})."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        problem = f"There is no room left in {folder}."
    elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
        problem = f"The folder {folder} cannot be written to."
    name_too_long = error.errno == errno.ENAMETOOLONG
    return DownloadError(problem, folder_unusable=True, name_too_long=name_too_long)


@dataclass
class _Download:
    url: str
    http: SafeHttpClient
    on_progress: ProgressCallback
    partial: PartialFile
    total: int | None = None
    validator: str = ""

    async def run(self) -> Path:
        failures = largest = 0
        try:
            while True:
                problem = "the connection was closed"
                try:
                    if path := await self._attempt():
                        return path
                except httpx2.HTTPError as error:
                    problem = str(error) or type(error).__name__
                except ImageError as error:
                    # Offline, some systems say that a host does not exist. The links of the API exist.
                    if not (error.retryable or isinstance(error, HostNotFound)):
                        raise
                    problem = f"it {error.reason}"
                failures += 1
                if self.partial.size > largest:
                    largest = self.partial.size
                    failures = 0
                if failures >= MAX_ATTEMPTS:
                    raise DownloadError(f"The download was interrupted ({problem}). What was received is kept.")
                await anyio.sleep(min(LONGEST_DELAY, FIRST_DELAY * 2**failures))
        finally:
            self.partial.suspend()

    async def _attempt(self) -> Path | None:
        """Make one request. Return the path of the file if it is complete, None if more requests are needed."""
        received = self.partial.size
        if received and received == self.total:
            return self._finish()
        headers = {"Range": f"bytes={received}-"} if received else {}
        if received and self.validator:
            headers["If-Range"] = self.validator
        async with self.http.stream(self.url, headers) as response:
            status = response.status_code
            if received and status in (206, 416):
                is_same_file = _get_validator(response) in ("", self.validator)
                content_range = response.headers.get("content-range", "")
                is_next_part = re.fullmatch(rf"bytes {received}-[0-9]{{1,18}}/{self.total}", content_range)
                if status == 206 and is_same_file and is_next_part:
                    return await self._append(response)
                # The server cannot continue this file: start again without a range.
                self.partial.discard()
                return None
            if is_retryable(status):
                raise ImageError(f"answers {status}", retryable=True)
            if status != 200:
                raise DownloadError(f"The link answers {status}; it may have expired.", expired=True)
            return await self._start(response)

    async def _start(self, response: httpx2.Response) -> Path | None:
        """Handle a response that contains the file from its beginning."""
        # The data received so far belongs to a different version of the file, or is sent again.
        self.partial.discard()
        length = response.headers.get("content-length", "")
        self.total = int(length) if re.fullmatch(r"[0-9]{1,19}", length) else None
        self.validator = _get_validator(response)
        existing = None if self.total is None else self.partial.find_complete(self.total)
        if existing:
            return existing
        tag = blake2b(f"{self.validator} {self.total}".encode(), digest_size=4).hexdigest()
        is_resumed = self.partial.resume(tag)
        rest = (self.total or 0) - self.partial.size
        disk = shutil.disk_usage(self.partial.target.parent)
        # Network drives that do not know their size report zeros.
        if disk.total and disk.free < rest:
            raise OSError(errno.ENOSPC, "no room")
        if is_resumed:
            return None
        self.partial.create(tag)
        return await self._append(response)

    async def _append(self, response: httpx2.Response) -> Path | None:
        async with aclosing(response.aiter_raw()) as chunks:
            async for chunk in chunks:
                # In a thread, because a slow disk must not block other calls.
                received = await anyio.to_thread.run_sync(self.partial.append, chunk)
                await self.on_progress(received, self.total)
                if self.total is None and received > LARGEST_OF_UNKNOWN_LENGTH:
                    raise DownloadError("The link sends more data than a video can have.", expired=True)
        if self.partial.size < (self.total or 0):
            return None
        return self._finish()

    def _finish(self) -> Path:
        """Check the length and type of the file, and give it its name."""
        size = self.partial.size
        if self.partial.target.suffix == ".zip" and self.partial.read(0, len(EXR_SIGNATURE)) == EXR_SIGNATURE:
            # Only one API documents EXR frames, as an archive. Another one may send a single EXR file.
            self.partial.target = self.partial.target.with_suffix(".exr")
        offset, signature = SIGNATURES.get(self.partial.target.suffix, (0, b""))
        if size != (self.total or size) or self.partial.read(offset, len(signature)) != signature:
            self.partial.discard()
            raise DownloadError("The link did not send the expected file but perhaps an error page.", expired=True)
        return self.partial.move_into_place()


def _get_validator(response: httpx2.Response) -> str:
    """Get what identifies this version of the file. A weak ETag does not: parts of such files may differ."""
    validator = str(response.headers.get("etag", ""))
    if not validator or validator.startswith("W/"):
        validator = str(response.headers.get("last-modified", ""))
    return validator if validator.isascii() else ""


class PartialFile:
    """What has been received of `target`, beside it in `.NAME.TAG.RANDOM.part`, where TAG stands for the content.

    Its writer holds an advisory lock. A file that can be locked was left by a download that has ended or was killed,
    and may be resumed or removed. In a folder that others can write to, such a name may also be a link, a pipe or a
    file of another user. Only a regular file of our own, under this one name, is touched.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        name = os.fsencode(target.name)
        room = LONGEST_NAME - LENGTH_OF_ENDING
        self._prefix = f".{target.name}"
        if len(name) > room:
            # As long as the target's name: a disk that accepts that one accepts this one, or refuses it at the start.
            digest = blake2b(name, digest_size=8).hexdigest()
            self._prefix = f".{digest.ljust(len(name) - LENGTH_OF_ENDING, '-')}"
        self._path = target
        self._file: BinaryIO | None = None

    @property
    def size(self) -> int:
        """Number of bytes received; 0 if somebody has removed or replaced the file."""
        if self._file is None or _get_size(self._path) < 0:
            return 0
        return os.fstat(self._file.fileno()).st_size

    def create(self, tag: str) -> None:
        """Start an empty file."""
        self._path = self.target.with_name(f"{self._prefix}.{tag}.{uuid.uuid4().hex[:8]}.part")
        self._file = self._path.open("x+b")
        # On a file system without locks the download works, but no other one can resume it.
        with suppress(OSError):
            lock_file(self._file)

    def resume(self, tag: str) -> bool:
        """Continue the largest file that an ended download of the same content has left. False if there is none."""
        pattern = f"{glob.escape(self._prefix)}.{tag}.*.part"
        for path in sorted(self.target.parent.glob(pattern), key=_get_size, reverse=True):
            # The writer of an empty file may not have locked it yet.
            if _get_size(path) > 0 and (file := open_abandoned(path)):
                self._path, self._file = path, file
                return True
        return False

    def append(self, chunk: bytes) -> int:
        """Write a chunk so that it outlives this process. Return the number of bytes received."""
        file = self._get_file()
        file.seek(0, os.SEEK_END)
        file.write(chunk)
        file.flush()
        return file.tell()

    def read(self, offset: int, length: int) -> bytes:
        """Read a section."""
        file = self._get_file()
        file.seek(offset)
        return file.read(length)

    def suspend(self) -> None:
        """Leave what has been received for a later download to resume."""
        if self._file and self.size:
            _close(self._file)
            self._file = None
        self.discard()

    def discard(self) -> None:
        """Delete the file, if there is one."""
        if self._file:
            _delete(self._path, self._file)
            self._file = None

    def find_complete(self, size: int) -> Path | None:
        """Find the finished file, if this or another process has saved it before."""
        for path in _number(self.target):
            if not os.path.lexists(path):
                return None
            if _get_size(path) == size:
                return path
        return None

    def move_into_place(self) -> Path:
        """Rename the file to `target`, or to a numbered variant if that is a different file."""
        file, size = self._get_file(), self.size
        if sys.platform == "win32":
            # Windows does not rename an open file.
            _close(file)
        for path in _number(self.target):
            try:
                _rename_to_new(self._path, path)
            except FileExistsError:
                if _get_size(path) != size:
                    continue
                self.discard()
            break
        _close(file)
        self._file = None
        if _get_size(path) != size:
            # A link that took the place of the partial file before it was renamed.
            raise FileNotFoundError(errno.ENOENT, "the file was replaced", str(path))
        self._sweep()
        return path

    def _sweep(self) -> None:
        """Delete what ended downloads have left: of this file, and of all files if nobody has resumed it in a week."""
        for path in self.target.parent.glob(f".*.{_TAG}.{_TAG}.part"):
            with suppress(OSError):
                status = path.lstat()
                is_stale = time.time() - status.st_mtime > STALE_AFTER
                is_of_this_file = status.st_size > 0 and path.name.startswith(f"{self._prefix}.")
                if (is_stale or is_of_this_file) and (file := open_abandoned(path)):
                    _delete(path, file)

    def _get_file(self) -> BinaryIO:
        if self._file is None:
            raise FileNotFoundError(errno.ENOENT, "nothing has been received", str(self.target))
        return self._file


def move_to_new(source: Path, target: Path) -> Path:
    """Rename a file to `target`, or to a numbered variant if that exists, and return its path. Raise `OSError`."""
    names = _number(target)
    while True:
        path = next(names)
        with suppress(FileExistsError):
            _rename_to_new(source, path)
            return path


def _number(target: Path) -> Iterator[Path]:
    yield target
    for number in count(2):
        yield target.with_stem(f"{target.stem}-{number}")


def open_abandoned(path: Path) -> BinaryIO | None:
    """Open and lock a partial file. None if it belongs to a download that is still running, or not to us."""
    # Neither the target of a link nor the reader of a pipe is waited for or changed.
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags), "r+b")
    except OSError:
        return None
    with suppress(OSError):
        lock_file(file)
        # The owner may have renamed or deleted it before the lock was free. Names are never used twice.
        if _is_at(path, file):
            return file
    _close(file)
    return None


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Whether an open file is a regular one of our own that has this name and no other one."""
    try:
        named, status = path.lstat(), os.fstat(file.fileno())
    except OSError:
        return False
    if not (stat.S_ISREG(named.st_mode) and named.st_nlink == 1):
        return False
    return sys.platform == "win32" or (os.path.samestat(named, status) and status.st_uid == os.geteuid())


def lock_file(file: BinaryIO) -> None:
    """Lock a file until it is closed. Raise `OSError` if another writer has locked it, or locks are not supported."""
    if sys.platform == "win32":
        import msvcrt

        # Windows keeps others from reading what is locked, so this is one byte near 2 GiB, usually beyond the end.
        file.seek(0x7FFF_FFF0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _close(file: BinaryIO) -> None:
    # On a full disk, closing tries to write the rest again, and fails.
    with suppress(OSError):
        file.close()


def _delete(path: Path, file: BinaryIO) -> None:
    """Delete a locked file: before the lock is released, except on Windows, which does not delete an open file."""
    if sys.platform == "win32":
        _close(file)
    with suppress(OSError):
        path.unlink()
    _close(file)


def _get_size(path: Path) -> int:
    """Get the size of a regular file; -1 if there is none, also if a link leads to one, or it cannot be reached."""
    try:
        status = path.lstat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename a file. Raise `FileExistsError` if there is a file of the new name."""
    if sys.platform == "win32":
        source.rename(target)
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links.
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        source.rename(target)
    else:
        source.unlink()
