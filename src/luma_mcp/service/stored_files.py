"""Copies the files of finished jobs into the store of `LUMA_MCP_STORE`, and gets links to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Literal
from weakref import WeakValueDictionary

import anyio

from luma_mcp.api.protocol import SAVED_FILES, Job, Media, VideoApi
from luma_mcp.errors import LumaError
from luma_mcp.journal.protocol import Journal
from luma_mcp.media.download import EXR_SIGNATURE, LARGEST_OF_UNKNOWN_LENGTH, SIGNATURES
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.sources import ImageError
from luma_mcp.media.store import StoreError, VideoStore, Write
from luma_mcp.service.tenants import current_tenant

logger = logging.getLogger(__name__)

StoreProblem = Literal["failed", "unfinished", "no_links"]
"""`failed`: copying failed. `unfinished`: it takes longer than the call, or another process does it. `no_links`: the
store makes no links."""
MAX_KNOWN = 10_000
"""How many files are remembered that are known to be in the store."""
_MEDIA_TYPES = {"video": "video/mp4", "video_hdr_exr": "application/zip"}
_LEASE_MARGIN = 5.0
"""Seconds for which other processes leave a file alone beyond the time that its copying may take."""


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """The links to the files of a job in the store, by part; `problem`: why some are missing."""

    links: Mapping[str, str] = field(default_factory=dict)
    problem: StoreProblem | None = None

    def apply(self, job: Job) -> Job:
        """Replace the API's links to what is in the store."""
        changed: dict[str, Any] = {}
        for part, link in self.links.items():
            changed[part] = replace(getattr(job.files, part), url=link)
        return replace(job, files=replace(job.files, **changed))


@dataclass(slots=True)
class FileStore:
    """Copies files of jobs, each once, whichever process is the first to return the finished job."""

    store: VideoStore
    api: VideoApi
    journal: Journal
    http: SafeHttpClient
    # Keys of files that are in the store; the values mean nothing.
    _known: dict[str, None] = field(default_factory=dict, init=False)
    # By key. A lock exists as long as a call has it or waits for it.
    _locks: WeakValueDictionary[str, anyio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    async def keep(self, job: Job, *, seconds: float) -> StoredFiles:
        """Copy the files of a completed job that are not in the store yet, within so many seconds; get their links."""
        links: dict[str, str] = {}
        problem: StoreProblem | None = None
        with anyio.move_on_after(seconds) as scope:
            for part in _list_parts(job):
                try:
                    if not await self._keep_part(job, part, seconds):
                        problem = "unfinished"
                    elif link := await self._get_link(job.jobid, part):
                        links[part] = link
                    else:
                        problem = problem or "no_links"
                except (StoreError, ImageError) as error:
                    # The video is paid for: whatever became of its copy, the result must show its link.
                    logger.warning("A file was not copied into the store: %s", error)
                    problem = "failed"
        if scope.cancelled_caught:
            problem = "unfinished"
        return StoredFiles(links, problem)

    async def find(self, jobid: str, job: Job | None = None) -> StoredFiles:
        """Get the links to those files of a job that are in the store; nothing is copied.

        `job`: its record; without one, only the video is looked for.
        """
        links: dict[str, str] = {}
        try:
            for part in _list_parts(job) if job else ["video"]:
                if await self._has(_build_key(jobid, part)) and (link := await self._get_link(jobid, part)):
                    links[part] = link
        except StoreError as error:
            logger.warning("The store could not be asked for a file: %s", error)
        return StoredFiles(links)

    async def has_video(self, jobid: str) -> bool:
        """Whether the video of a job is in the store, as far as that can be found out."""
        try:
            return await self._has(_build_key(jobid, "video"))
        except StoreError:
            return False

    async def _keep_part(self, job: Job, part: str, seconds: float) -> bool:
        """Copy a file unless that is done; return whether it is in the store."""
        key = _build_key(job.jobid, part)
        async with self._locks.setdefault(key, anyio.Lock()):
            if await self._has(key):
                return True
            replicas = self.journal.replicas
            lease = f"store:{key}"
            if replicas and not await replicas.acquire(lease, seconds + _LEASE_MARGIN):
                return False
            try:
                await self.store.put(key, _MEDIA_TYPES[part], partial(self._fetch, job, part))
                self._remember(key)
            finally:
                if replicas:
                    with anyio.CancelScope(shield=True):
                        await replicas.release(lease)
        return True

    async def _fetch(self, job: Job, part: str, write: Write) -> None:
        """Fetch a file from the API's link. If that does not work, its record may have a new one by now."""
        media: Media = getattr(job.files, part)
        checked = _CheckedWrite(part, write)
        try:
            await self._copy(media.url, checked)
        except ImageError:
            try:
                renewed: Media | None = getattr((await self.api.get(job.jobid)).files, part)
            except LumaError:
                renewed = None
            if checked.has_begun or renewed is None or renewed.url == media.url:
                raise
            await self._copy(renewed.url, checked)

    async def _copy(self, url: str, checked: _CheckedWrite) -> None:
        # The caller ends it when its time is up.
        await self.http.copy(url, checked, max_bytes=LARGEST_OF_UNKNOWN_LENGTH, seconds=float("inf"))
        await checked.finish()

    async def _has(self, key: str) -> bool:
        if key in self._known:
            return True
        if not await self.store.has(key):
            return False
        self._remember(key)
        return True

    def _remember(self, key: str) -> None:
        self._known[key] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def _get_link(self, jobid: str, part: str) -> str | None:
        return await self.store.sign(_build_key(jobid, part)) if self.store.signs else None


class _CheckedWrite:
    """Writes a file once its beginning shows that it is one, and not an error page."""

    def __init__(self, part: str, write: Write) -> None:
        ending = SAVED_FILES[part][-len(".mp4") :]
        self._signatures = [SIGNATURES[ending]]
        if ending == ".zip":
            # Only one API documents EXR frames, as an archive. Another one may send a single EXR file.
            self._signatures.append((0, EXR_SIGNATURE))
        self._write = write
        self._beginning: bytes | None = b""

    @property
    def has_begun(self) -> bool:
        """Whether something was written."""
        return self._beginning is None

    async def __call__(self, chunk: bytes) -> None:
        """Write a chunk. Raises `ImageError`."""
        if self._beginning is not None:
            self._beginning += chunk
            if len(self._beginning) < len(EXR_SIGNATURE) * 2:
                return
            chunk = self._beginning
            if not any(chunk[place : place + len(mark)] == mark for place, mark in self._signatures):
                raise ImageError("is a link that did not send the expected file but perhaps an error page")
            self._beginning = None
        await self._write(chunk)

    async def finish(self) -> None:
        """Check that the file was not empty. Raises `ImageError`."""
        if not self.has_begun:
            raise ImageError("is a link that did not send the expected file")


def _list_parts(job: Job) -> list[str]:
    return [part for part in SAVED_FILES if getattr(job.files, part)]


def _build_key(jobid: str, part: str) -> str:
    """Build the key of a file, which every process finds again. A jobid contains an e-mail address, so it is hashed."""
    digest = blake2b(jobid.encode(errors="replace"), digest_size=16).hexdigest()
    return f"{current_tenant.get().id or 'owner'}/{digest}/video{SAVED_FILES[part]}"
