"""`LumaClient`: the Luma API of useapi.net as an async Python library. Works on asyncio and on trio."""

from __future__ import annotations

import math
import os
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import anyio

from luma_mcp import errors
from luma_mcp.api.polling import Pollers
from luma_mcp.api.protocol import (
    FEATURES,
    RETRY_TIMEOUT,
    SAVED_FILES,
    Account,
    AddedAccount,
    Asset,
    DeliveryObserver,
    Job,
    Media,
    RunningJob,
    VideoRequest,
    file_stem,
)
from luma_mcp.api.retry import IDEMPOTENT, NON_IDEMPOTENT
from luma_mcp.api.transport import Endpoint, Transport
from luma_mcp.api.useapi import responses
from luma_mcp.catalog.models import Catalog
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.catalog.validate import validate
from luma_mcp.settings import BASE_URL, LOOPBACK, TOKEN_PATTERN

if TYPE_CHECKING:
    import httpx2
    from pydantic import SecretStr

    from luma_mcp.media.safe_http import Resolve, SafeHttpClient


REMEMBERED_REQUESTS = 1000

# Source of the endpoints: useapi.net, Luma API v1, April 2026.
# An order waits longer than others, because a timeout leaves its outcome unknown; shorter than hosts give a tool call.
SUBMIT = Endpoint(
    "POST", "/videos", NON_IDEMPOTENT, paid=True, required=("jobid", str), not_found="order_input", timeout=40.0
)
# Repeated like a read: an image that arrives twice costs nothing. 20 MB over a slow line need their time.
UPLOAD = Endpoint("POST", "/assets/{email}", IDEMPOTENT, required=("assetRef", str), not_found="account", timeout=120.0)
GET_JOB = Endpoint("GET", "/jobs/{jobid}", IDEMPOTENT, required=("jobid", str))
LIST_RUNNING = Endpoint("GET", "/jobs", IDEMPOTENT, required=("jobs", list))
# A second deletion, of a job or of an account, would be answered with "not found".
DELETE_JOB = Endpoint("DELETE", "/jobs/{jobid}", NON_IDEMPOTENT)
LIST_ACCOUNTS = Endpoint("GET", "/accounts", IDEMPOTENT, not_found="any_account")
GET_ACCOUNT = Endpoint("GET", "/accounts/{email}", IDEMPOTENT, not_found="account")
# Adding an account twice only refreshes it; but each time the API signs in at Luma with somebody's cookie, and its
# answer (500: "Please try again") is for the person at the terminal. So it is repeated only if it never arrived.
ADD_ACCOUNT = Endpoint(
    "POST", "/accounts", NON_IDEMPOTENT, required=("account", str), not_found="account", timeout=60.0
)
REMOVE_ACCOUNT = Endpoint("DELETE", "/accounts/{email}", NON_IDEMPOTENT, not_found="account")


class LumaClient:
    """Orders videos and follows them. Implements `VideoApi`.

        async with LumaClient(token) as luma:
            job = await luma.submit(VideoRequest(prompt="A fox in the snow"))
            job = await luma.wait(job)
            if job.files.video:
                print(job.files.video.url)

    Every method raises a subclass of `luma_mcp.LumaError`. `retry_timeout` is the time in seconds within which a call
    is sent again after a transient failure.

    An order is shielded from cancellation by anyio's scopes until it is answered. `asyncio.wait_for` and `Task.cancel`
    ignore such shields: let an order finish, and put the timeout around the wait.

    Args:
        token: the API token of useapi.net, complete (`user:…`); `NotConfigured` if no header can carry it.
        base_url: where the API is.
        transport: carries the requests; a test passes its own.
        jitter: random numbers from 0 to 1, to spread repetitions.
        wall_clock: the time of day, in UTC; gives the age of a job from its record.
        catalog: what the API can make; completes and validates requests.
        resolve: resolves the hosts of links that are downloaded; a test passes its own.
    """

    features = FEATURES["useapi"]

    def __init__(
        self,
        token: str,
        *,
        base_url: str = BASE_URL,
        transport: httpx2.AsyncBaseTransport | None = None,
        jitter: Callable[[], float] = random.random,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        catalog: Catalog = USEAPI,
        resolve: Resolve | None = None,
    ) -> None:
        if not TOKEN_PATTERN.fullmatch(token):
            raise errors.NotConfigured("USEAPI_TOKEN")
        self.catalog = catalog
        read_response = partial(responses.read_response, catalog)
        self._transport = Transport(token, base_url, read_response, transport, jitter)
        self._pollers = Pollers(partial(self.get, retry_timeout=0), wall_clock)
        self._get_http = partial(_build_http, base_url, transport, resolve)
        self._http: SafeHttpClient | None = None
        # The API's records do not repeat what was ordered.
        self._requests: OrderedDict[str, VideoRequest] = OrderedDict()

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

    async def submit(
        self,
        request: VideoRequest,
        *,
        retry_timeout: float = RETRY_TIMEOUT,
        slot_timeout: float = 0,
        observer: DeliveryObserver | None = None,
    ) -> Job:
        """Order a video: `POST /videos`. Choices that are left out are completed; the job has the complete request.

        An order is sent again only if it did not arrive, or was rejected with 429 because all slots are in use: then
        for `slot_timeout` seconds, if that is longer than `retry_timeout`; `math.inf` waits for a slot without a limit.
        A wait for a slot can be cancelled, and then nothing was ordered.

        Raises:
            InvalidArguments: it cannot be made; nothing was sent.
            Capacity: no slot became free in time; nothing was charged.
            OutcomeUnknown: it may have been ordered, or not.
            LumaError: `charged` is "no" where nothing was ordered.
        """
        validation = validate(self.catalog, request.to_dict())
        if validation.problems or validation.nearest is None:
            raise errors.InvalidArguments(
                validation.problems, suggestion=validation.nearest, alternatives=validation.alternatives, charged="no"
            )
        # The API's own defaults do not fit every model, so nothing is left to them.
        complete = VideoRequest.from_params(validation.nearest)
        body = {self.catalog.params[name].api_name: value for name, value in complete.to_dict().items()}
        record = await self._transport.send(
            SUBMIT,
            payload={"json": body},
            retry_timeout=retry_timeout,
            slot_timeout=slot_timeout,
            observer=observer,
            account=complete.email,
        )
        job = replace(responses.parse_job(self.catalog, record), request=complete)
        self._requests[job.jobid] = complete
        if len(self._requests) > REMEMBERED_REQUESTS:
            self._requests.popitem(last=False)
        return job

    async def upload(
        self, data: bytes, media_type: str, account: str, *, retry_timeout: float = RETRY_TIMEOUT
    ) -> Asset:
        """Upload a JPEG, PNG or WebP image of at most 20 MB: `POST /assets/{email}`.

        It belongs to the account with the e-mail address `account`, and is kept for 30 days.
        """
        payload = {"content": data, "headers": {"Content-Type": media_type}}
        record = await self._transport.send(
            UPLOAD, {"email": account}, payload=payload, retry_timeout=retry_timeout, account=account
        )
        return responses.parse_asset(record)

    async def get_asset(self, asset_ref: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Asset:
        """Not offered by this API, as `features` says."""
        raise NotImplementedError

    async def get(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Job:
        """Fetch the current record of a job: `GET /jobs/{jobid}`."""
        record = await self._transport.send(GET_JOB, {"jobid": jobid}, retry_timeout=retry_timeout)
        job = responses.parse_job(self.catalog, record)
        return replace(job, request=job.request or self._requests.get(jobid))

    async def wait(
        self, job: str | Job, seconds: float = math.inf, *, typical: tuple[float, float] | None = None
    ) -> Job:
        """Wait until a job has finished, successfully or not, or return it as it is when `seconds` are over.

        All who wait for one job share its polls. Transient failures do not end a wait; one that waiting does not solve
        does, such as a token that is no longer accepted. Cancelling a wait does nothing to the job. `typical` is
        between which ages, in seconds, such jobs end, if that is known better than documented.
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
            raise errors.JobFailed(jobid=jobid, api_message=job.failure_reason, credits_used=job.credits_used)
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

    async def list_running(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[RunningJob, ...]:
        """Fetch the jobs that are running now, on all accounts: `GET /jobs`. It never contains finished jobs."""
        record = await self._transport.send(LIST_RUNNING, retry_timeout=retry_timeout)
        return responses.parse_running_jobs(record)

    list = list_running

    async def delete(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        """Delete a finished job and free its slot: `DELETE /jobs/{jobid}`. `Conflict` if it is still running."""
        await self._transport.send(DELETE_JOB, {"jobid": jobid}, retry_timeout=retry_timeout)

    async def accounts(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[Account, ...]:
        """Fetch the configured Luma accounts and their slots: `GET /accounts`; empty if there are none."""
        try:
            record = await self._transport.send(LIST_ACCOUNTS, retry_timeout=retry_timeout)
        except errors.NotFound:
            return ()
        return responses.parse_accounts(record)

    async def account(self, email: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Account:
        """Fetch one account, with its session and credits as they are now: `GET /accounts/{email}`."""
        record = await self._transport.send(GET_ACCOUNT, {"email": email}, retry_timeout=retry_timeout, account=email)
        return responses.parse_account(email, record)

    async def add_account(self, session: SecretStr, *, retry_timeout: float = RETRY_TIMEOUT) -> AddedAccount:
        """Add the Luma account that a login cookie belongs to, or refresh its session: `POST /accounts`.

        No log and no error contains the cookie. After a 5xx or a broken connection it may have been added all the same.
        """
        secret = session.get_secret_value()
        record = await self._transport.send(
            ADD_ACCOUNT, payload={"json": {"session": secret}}, retry_timeout=retry_timeout, secrets=(secret,)
        )
        return responses.parse_added_account(record)

    async def remove_account(self, email: str, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        """Remove an account from useapi.net, which cannot be undone: `DELETE /accounts/{email}`."""
        await self._transport.send(REMOVE_ACCOUNT, {"email": email}, retry_timeout=retry_timeout)


def _build_http(base_url: str, transport: httpx2.AsyncBaseTransport | None, resolve: Resolve | None) -> SafeHttpClient:
    """Build what fetches links. Those to an API on this machine are allowed."""
    from luma_mcp.media.safe_http import SafeHttpClient, resolve_host

    api_origin = base_url if urlsplit(base_url).hostname in LOOPBACK else None
    return SafeHttpClient(transport=transport, resolve=resolve or resolve_host, api_origin=api_origin)
