"""Base class of the API clients: completes requests, waits for jobs, and downloads their files."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

import anyio

from luma_mcp import errors
from luma_mcp.api.polling import Pollers
from luma_mcp.api.protocol import RETRY_TIMEOUT, SAVED_FILES, Job, Media, VideoRequest, file_stem
from luma_mcp.api.transport import ReadResponse, Transport
from luma_mcp.catalog.models import Catalog
from luma_mcp.catalog.validate import validate
from luma_mcp.providers import PROVIDERS
from luma_mcp.settings import LOOPBACK, TOKEN_PATTERN

if TYPE_CHECKING:
    import httpx2

    from luma_mcp.media.safe_http import Resolve, SafeHttpClient

_T = TypeVar("_T")

REMEMBERED_JOBS = 1000
"""How many recent jobs a client remembers facts about that their records lack."""


class BaseClient(ABC):
    """A client of one API with one credential; `catalog` is what the API can make."""

    def __init__(
        self,
        token: str,
        catalog: Catalog,
        *,
        base_url: str,
        read_response: ReadResponse,
        transport: httpx2.AsyncBaseTransport | None,
        jitter: Callable[[], float],
        wall_clock: Callable[[], datetime],
        resolve: Resolve | None,
    ) -> None:
        if not TOKEN_PATTERN.fullmatch(token):
            raise errors.NotConfigured(PROVIDERS[catalog.api].variable)
        self.catalog = catalog
        self._transport = Transport(token, base_url, read_response, transport, jitter)
        self._pollers = Pollers(partial(self.get, retry_timeout=0), wall_clock)
        self._get_http = partial(_build_http, base_url, transport, resolve)
        self._http: SafeHttpClient | None = None
        # The API's records do not repeat what was ordered.
        self._requests: OrderedDict[str, VideoRequest] = OrderedDict()

    @abstractmethod
    async def get(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Job:
        """Fetch the current record of a job."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Running jobs continue."""
        await self._transport.aclose()
        if self._http:
            await self._http.aclose()

    def now(self) -> datetime | None:
        """Get the time of day by the API's clock; None until an answer has shown it."""
        return self._transport.now()

    def _complete(self, request: VideoRequest) -> VideoRequest:
        """Complete a request with all choices, or raise `InvalidArguments`: the API's own defaults do not fit."""
        validation = validate(self.catalog, request.to_dict())
        if validation.problems or validation.nearest is None:
            raise errors.InvalidArguments(
                validation.problems, suggestion=validation.nearest, alternatives=validation.alternatives, charged="no"
            )
        return VideoRequest.from_params(validation.nearest)

    def _remember(self, jobid: str, request: VideoRequest) -> None:
        """Keep what was ordered, for the records of the job."""
        keep_latest(self._requests, jobid, request)

    async def wait(
        self, job: str | Job, seconds: float = math.inf, *, typical: tuple[float, float] | None = None
    ) -> Job:
        """Wait until a job has finished, successfully or not, or return it as it is when `seconds` are over.

        Concurrent waits for one job share its polls. Transient failures do not end a wait; permanent ones do, such as
        a token that is no longer accepted. Cancelling a wait does nothing to the job. `typical`: the ages, in seconds,
        between which such jobs end, if they are known better than documented.
        """
        jobid, request = (job, None) if isinstance(job, str) else (job.jobid, job.request)
        request = request or self._requests.get(jobid)
        if typical is None and request:
            typical = self.catalog.typical_seconds.get(request.resolution or "")
        return await self._pollers.wait(
            job, seconds, typical=typical, known_to_exist=jobid in self._requests, request=request
        )

    async def wait_all(
        self, jobs: Iterable[Job | str], seconds: float = math.inf
    ) -> tuple[Job | errors.LumaError, ...]:
        """Wait for several jobs at once, and return one result for each, in the order of `jobs`.

        A result is the job as `wait` returns it, or the error that ended the wait for this job; the others go on. Such
        an error is returned, not raised, and its `jobid` is set. `seconds` is the limit for all.
        """
        waited = tuple(jobs)
        results: dict[int, Job | errors.LumaError] = {}

        async def wait_one(place: int, job: Job | str) -> None:
            try:
                results[place] = await self.wait(job, seconds)
            except errors.LumaError as error:
                error.jobid = job if isinstance(job, str) else job.jobid
                results[place] = error

        async with anyio.create_task_group() as tasks:
            for place, job in enumerate(waited):
                tasks.start_soon(wait_one, place, job)
        return tuple(results[place] for place in range(len(waited)))

    async def download(self, job: Job | str, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Save a finished job's video in a folder, and for `hdr_exr` its ZIP of frames; return their absolute paths.

        The folder is created if needed. The names have the day, the beginning of the prompt and a short id. No file is
        overwritten: the same file is not saved again, and another one of that name gets a number. An interrupted
        download leaves a hidden `.part` file, which the next call resumes. An expired link is fetched again once.
        Links into this machine's network are not followed.

        Raises:
            Conflict: the job is still running.
            JobFailed: it has failed.
            DownloadError: a file could not be saved; `files` are the paths of those that were.
            LumaError: the job could not be fetched.
        """
        from luma_mcp.media.download import download

        if isinstance(job, str) or job.state == "running":
            job = await self.get(job if isinstance(job, str) else job.jobid)
        jobid = job.jobid
        if job.state == "running":
            raise errors.Conflict(jobid=jobid)
        if job.state == "failed":
            raise job.build_failure()
        if job.files.video is None:
            raise errors.DownloadError("The API has no link to the video.", jobid=jobid)
        self._http = self._http or self._get_http()
        stem = Path(os.path.abspath(folder)) / file_stem(job)  # noqa: ASYNC240, PTH100 - reads no disk
        paths: list[Path] = []

        async def ignore(_received: int, _total: int | None) -> None:
            """No progress is reported."""

        for part, ending in SAVED_FILES.items():
            media: Media | None = getattr(job.files, part)
            if media:
                target = stem.with_name(stem.name + ending)
                renew = partial(self._fetch_link, jobid, part)
                try:
                    paths.append(await download(media.url, target, self._http, ignore, renew))
                except errors.DownloadError as error:
                    error.jobid, error.files = jobid, tuple(map(str, paths))
                    raise
        return tuple(paths)

    async def _fetch_link(self, jobid: str, part: str) -> str | None:
        """Fetch the current link of a job's file; None if there is none now."""
        media: Media | None = None
        with suppress(errors.LumaError):
            media = getattr((await self.get(jobid)).files, part)
        return media.url if media else None


def keep_latest(facts: OrderedDict[str, _T], jobid: str, fact: _T) -> None:
    """Remember a fact about a job, and drop the oldest ones above `REMEMBERED_JOBS`."""
    facts[jobid] = fact
    if len(facts) > REMEMBERED_JOBS:
        facts.popitem(last=False)


def _build_http(base_url: str, transport: httpx2.AsyncBaseTransport | None, resolve: Resolve | None) -> SafeHttpClient:
    """Build what fetches links. Those to an API on this machine are allowed."""
    from luma_mcp.media.safe_http import SafeHttpClient, resolve_host

    api_origin = base_url if urlsplit(base_url).hostname in LOOPBACK else None
    return SafeHttpClient(transport=transport, resolve=resolve or resolve_host, api_origin=api_origin)
