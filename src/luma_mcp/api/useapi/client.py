"""`LumaClient`: the Luma API of useapi.net as an async Python library. Works on asyncio and on trio."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from luma_mcp import errors
from luma_mcp.api.base_client import BaseClient
from luma_mcp.api.protocol import (
    FEATURES,
    RETRY_TIMEOUT,
    Account,
    AddedAccount,
    Asset,
    DeliveryObserver,
    Job,
    RunningJob,
    VideoRequest,
)
from luma_mcp.api.retry import IDEMPOTENT, NON_IDEMPOTENT
from luma_mcp.api.transport import Endpoint
from luma_mcp.api.useapi import responses
from luma_mcp.catalog.models import Catalog
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.settings import BASE_URL

if TYPE_CHECKING:
    import httpx2
    from pydantic import SecretStr

    from luma_mcp.media.safe_http import Resolve


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
# Adding an account twice only refreshes it. But each time the API signs in at Luma with the owner's cookie, and its
# answer (500: "Please try again") is for the user at the terminal. So it is repeated only if it never arrived.
ADD_ACCOUNT = Endpoint(
    "POST", "/accounts", NON_IDEMPOTENT, required=("account", str), not_found="account", timeout=60.0
)
REMOVE_ACCOUNT = Endpoint("DELETE", "/accounts/{email}", NON_IDEMPOTENT, not_found="account")


class LumaClient(BaseClient):
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
        read_response = partial(responses.read_response, catalog)
        super().__init__(
            token,
            catalog,
            base_url=base_url,
            read_response=read_response,
            transport=transport,
            jitter=jitter,
            wall_clock=wall_clock,
            resolve=resolve,
        )

    async def submit(
        self,
        request: VideoRequest,
        *,
        retry_timeout: float = RETRY_TIMEOUT,
        slot_timeout: float = 0,
        observer: DeliveryObserver | None = None,
        reply_url: str | None = None,
    ) -> Job:
        """Order a video: `POST /videos`. Choices that are left out are completed; the job has the complete request.

        `reply_url`: called at the job's end if the request names no other; it is not added to the job's request.

        An order is sent again only if it did not arrive, or was rejected with 429 because all slots are in use: then
        for `slot_timeout` seconds, if that is longer than `retry_timeout`; `math.inf` waits for a slot without a limit.
        A wait for a slot can be cancelled, and then nothing was ordered.

        Raises:
            InvalidArguments: it cannot be made; nothing was sent.
            Capacity: no slot became free in time; nothing was charged.
            OutcomeUnknown: it may have been ordered, or not.
            LumaError: `charged` is "no" where nothing was ordered.
        """
        complete = self._complete(request)
        params = complete.to_dict()
        if reply_url:
            params.setdefault("reply_url", reply_url)
        body = {self.catalog.params[name].api_name: value for name, value in params.items()}
        record = await self._transport.send(
            SUBMIT,
            payload={"json": body},
            retry_timeout=retry_timeout,
            slot_timeout=slot_timeout,
            observer=observer,
            account=complete.email,
            secrets=(reply_url,) if reply_url else (),
        )
        job = replace(responses.parse_job(self.catalog, record), request=complete)
        self._remember(job.jobid, complete)
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

    async def check(self, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        """Check that the API accepts the token, at no cost: `GET /jobs`."""
        await self._transport.send(LIST_RUNNING, retry_timeout=retry_timeout)

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
