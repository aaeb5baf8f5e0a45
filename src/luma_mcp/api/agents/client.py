"""`AgentsClient`: Luma's own Agents API as an async Python library. Works on asyncio and on trio."""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

from luma_mcp import errors
from luma_mcp.api.agents import responses
from luma_mcp.api.agents.bodies import build_body
from luma_mcp.api.base_client import BaseClient, keep_latest
from luma_mcp.api.protocol import (
    FEATURES,
    RETRY_TIMEOUT,
    Account,
    Asset,
    DeliveryObserver,
    Job,
    RunningJob,
    VideoRequest,
)
from luma_mcp.api.records import get_field
from luma_mcp.api.retry import IDEMPOTENT, NON_IDEMPOTENT
from luma_mcp.api.transport import Endpoint
from luma_mcp.catalog.agents import AGENTS
from luma_mcp.catalog.models import Catalog
from luma_mcp.providers import PROVIDERS

if TYPE_CHECKING:
    import httpx2

    from luma_mcp.media.safe_http import Resolve

# How long an uploaded picture may be checked, in seconds, and the delays between the look-ups.
FILE_TIMEOUT = 60.0
FIRST_FILE_DELAY, LONGEST_FILE_DELAY = 0.25, 4.0

# Records do not contain when a job ended. The time of the first finished record is used if the job was seen running at
# most this many seconds before: a little longer than the longest delay between two polls.
LONGEST_GAP = 30.0

# Source of the endpoints: the official SDK `luma-agents` 0.5.0. It sends an order up to three times, after timeouts and
# failures too, and the API has no idempotency key: each of them can be charged. Here it is delivered at most once.
SUBMIT = Endpoint(
    "POST", "/generations", NON_IDEMPOTENT, paid=True, required=("id", str), not_found="order_input", timeout=40.0
)
GET_JOB = Endpoint("GET", "/generations/{jobid}", IDEMPOTENT, required=("id", str))
# Repeated like a read: an image that arrives twice costs nothing.
UPLOAD = Endpoint("POST", "/files", IDEMPOTENT, required=("id", str), not_found="asset", timeout=120.0)
GET_FILE = Endpoint("GET", "/files/{asset_ref}", IDEMPOTENT, required=("id", str), not_found="asset")
# Free, and succeeds only with a valid key.
CHECK_KEY = Endpoint("GET", "/files?limit=1", IDEMPOTENT, required=("data", list), not_found="address")


class AgentsClient(BaseClient):
    """Orders videos and follows them. Implements `VideoApi`.

        async with AgentsClient(key) as luma:
            job = await luma.submit(VideoRequest(prompt="A fox in the snow"))
            job = await luma.wait(job)
            if job.files.video:
                print(job.files.video.url)

    Every method raises a subclass of `luma_mcp.LumaError`. `retry_timeout` is the time in seconds within which a call
    is sent again after a transient failure. An order is shielded from cancellation as by `LumaClient`.

    Args:
        token: the API key, complete (`luma-api-…`); `NotConfigured` if no header can carry it.
        base_url: where the API is.
        transport: carries the requests; a test passes its own.
        jitter: random numbers from 0 to 1, to spread repetitions.
        wall_clock: the time of day, in UTC; gives the age of a job from its record.
        catalog: what the API can make; completes and validates requests.
        resolve: resolves the hosts of links that are downloaded; a test passes its own.
    """

    features = FEATURES["agents"]

    def __init__(
        self,
        token: str,
        *,
        base_url: str = PROVIDERS["agents"].base_url,
        transport: httpx2.AsyncBaseTransport | None = None,
        jitter: Callable[[], float] = random.random,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        catalog: Catalog = AGENTS,
        resolve: Resolve | None = None,
    ) -> None:
        super().__init__(
            token,
            catalog,
            base_url=base_url,
            read_response=responses.read_response,
            transport=transport,
            jitter=jitter,
            wall_clock=wall_clock,
            resolve=resolve,
        )
        self._wall_clock = wall_clock
        # When jobs were last seen running, by the event loop's clock, and when they were seen to have ended.
        self._seen_running: OrderedDict[str, float] = OrderedDict()
        self._ended: OrderedDict[str, str] = OrderedDict()

    async def submit(
        self,
        request: VideoRequest,
        *,
        retry_timeout: float = RETRY_TIMEOUT,
        slot_timeout: float = 0,
        observer: DeliveryObserver | None = None,
        reply_url: str | None = None,  # noqa: ARG002 - this API calls nobody
    ) -> Job:
        """Order a video: `POST /generations`. Choices that are left out are completed; the job has the whole request.

        A picture is the id of an uploaded file, or an https:// link that Luma fetches. An order is sent again only if
        it did not arrive, or was rejected with 429: then for `slot_timeout` seconds, if that is longer than
        `retry_timeout`.

        Raises:
            InvalidArguments: it cannot be made; nothing was ordered.
            Capacity: too many jobs are running; nothing was charged.
            OutcomeUnknown: it may have been ordered, or not.
            LumaError: `charged` is "no" where nothing was ordered.
        """
        complete = self._complete(request)
        try:
            record = await self._transport.send(
                SUBMIT,
                payload={"json": build_body(complete)},
                retry_timeout=retry_timeout,
                slot_timeout=slot_timeout,
                observer=observer,
            )
        except errors.AccessDenied as error:
            # The answer does not say which it is: the account has no access to HDR, or it is suspended.
            error.hdr = complete.dynamic_range != "sdr"
            raise
        except errors.NotFound as error:
            if not (complete.image_start or complete.image_end or complete.keyframes or complete.extend):
                error.what = "address"
            raise
        self._remember(record["id"], complete)
        return self._build_job(record)

    async def get(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Job:
        """Fetch the current record of a job, with fresh links: `GET /generations/{id}`."""
        record = await self._transport.send(GET_JOB, {"jobid": jobid}, retry_timeout=retry_timeout)
        return self._build_job(record)

    def _build_job(self, record: dict[str, Any]) -> Job:
        """Build a job from its record, with what the record lacks: what was ordered, and when the job ended.

        The end of a job is known if this client has seen it run shortly before.
        """
        job = responses.parse_job(record)
        now = anyio.current_time()
        if job.state == "running":
            keep_latest(self._seen_running, job.jobid, now)
        elif now - self._seen_running.pop(job.jobid, -math.inf) <= LONGEST_GAP:
            keep_latest(self._ended, job.jobid, (self.now() or self._wall_clock()).isoformat())
        return replace(job, request=self._requests.get(job.jobid), updated=self._ended.get(job.jobid))

    async def upload(
        self,
        data: bytes,
        media_type: str,
        account: str = "",  # noqa: ARG002 - files belong to the key
        *,
        retry_timeout: float = RETRY_TIMEOUT,
    ) -> Asset:
        """Upload a JPEG, PNG or WebP image, and wait until it can be used: `POST /files`.

        Raises:
            InvalidArguments: the API rejected the image, or its check has failed; the reason is `api_message`.
            Upstream: the check takes too long; `fault` is "file_pending".
        """
        payload = {
            "files": {"file": (f"image.{media_type.rpartition('/')[2]}", data, media_type)},
            "data": {"purpose": "input"},
        }
        try:
            record = await self._transport.send(UPLOAD, payload=payload, retry_timeout=retry_timeout)
            checked = await self._wait_for_file(responses.merge_file(record), retry_timeout, is_new=True)
            asset = responses.parse_asset(checked)
        except errors.InvalidArguments as error:
            error.problems = [errors.Problem("image", "unusable_image", reason="was rejected by the API")]
            raise
        if asset.failure_reason:
            problem = errors.Problem("image", "unusable_image", reason="was rejected by the API")
            # Without a reason the API has said nothing.
            raise errors.InvalidArguments([problem], api_message=get_field(checked, "failure_reason", str))
        return asset

    async def get_asset(self, asset_ref: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Asset:
        """Fetch an uploaded image, waiting until it can be used: `GET /files/{id}`.

        Its `failure_reason` says why it cannot be used. `NotFound` is raised if it was deleted.
        """
        record = await self._transport.send(GET_FILE, {"asset_ref": asset_ref}, retry_timeout=retry_timeout)
        return responses.parse_asset(await self._wait_for_file(record, retry_timeout))

    async def _wait_for_file(
        self, record: dict[str, Any], retry_timeout: float, *, is_new: bool = False
    ) -> dict[str, Any]:
        """Fetch the record of a file until it has been checked. A new one may not be found at first."""
        path_params = {"asset_ref": record["id"]}
        end = anyio.current_time() + FILE_TIMEOUT
        delay = FIRST_FILE_DELAY
        while True:
            state = responses.get_file_state(record)
            if state in ("ready", "failed"):
                return record
            if state == "deleted":
                raise errors.NotFound("asset")
            if anyio.current_time() + delay > end:
                raise errors.Upstream("file_pending")
            await anyio.sleep(delay)
            delay = min(LONGEST_FILE_DELAY, delay * 2)
            try:
                record = await self._transport.send(GET_FILE, path_params, retry_timeout=retry_timeout)
            except errors.NotFound:
                if not is_new:
                    raise

    async def check(self, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        """Check that the API accepts the key, at no cost: `GET /files`."""
        await self._transport.send(CHECK_KEY, retry_timeout=retry_timeout)

    async def list_running(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[RunningJob, ...]:
        """Not offered by this API, as `features` says."""
        raise NotImplementedError

    async def delete(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        """Not offered by this API, as `features` says."""
        raise NotImplementedError

    async def accounts(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[Account, ...]:
        """Not offered by this API, as `features` says."""
        raise NotImplementedError

    async def account(self, email: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Account:
        """Not offered by this API, as `features` says."""
        raise NotImplementedError
