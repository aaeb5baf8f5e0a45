"""`LumaClient`: the Luma API of useapi.net as an async Python library. Works on asyncio and on trio."""

from __future__ import annotations

import random
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

import anyio
import httpx2

from luma_mcp import errors, matrix
from luma_mcp.luma import answers
from luma_mcp.luma.answers import Call, Rejected
from luma_mcp.luma.records import Account, ExecutingJob, Job, VideoRequest
from luma_mcp.luma.retry import ORDER, Effect, pause
from luma_mcp.luma.waiting import Watch
from luma_mcp.settings import BASE_URL, LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PATIENCE = 20.0
TIMEOUT = httpx2.Timeout(15.0, connect=10.0)
ORDER_TIMEOUT = httpx2.Timeout(40.0, connect=10.0)
"""An order is given longer, because a time-out leaves its outcome unknown; but less than hosts give a tool call."""
REMEMBERED = 1000
FOREVER = float("inf")


class LumaClient:
    """Orders videos and follows them.

        async with LumaClient(token) as luma:
            job = await luma.submit(VideoRequest(prompt="A fox in the snow"))
            job = await luma.wait(job.jobid)
            print(job.outputs.video.url)

    Every method raises a `luma_mcp.errors.LumaError` named for the situation, and nothing else of its own.

    Args:
        token: the API token of useapi.net, whole (`user:…`).
        base_url: where the API is.
        transport: what carries the requests; a test passes its own.
        chance: random numbers from 0 to 1, to spread retries.
        wall_clock: the time of day, in UTC; tells the age of a job from its record.
    """

    def __init__(
        self,
        token: str,
        *,
        base_url: str = BASE_URL,
        transport: httpx2.AsyncBaseTransport | None = None,
        chance: Callable[[], float] = random.random,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._token = token
        self._base_url = base_url
        self._transport = transport
        self._chance = chance
        self._wall_clock = wall_clock
        self._http: dict[Effect, httpx2.AsyncClient] = {}
        self._watches: dict[str, Watch] = {}
        self._ordered: OrderedDict[str, Job] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections. The jobs go on."""
        while self._http:
            await self._http.popitem()[1].aclose()

    async def submit(self, request: VideoRequest, *, patience: float = PATIENCE) -> Job:
        """Orders a video: `POST /videos`. What may have arrived is never sent again.

        Args:
            request: what to order; left-out choices become the cheapest that fit, and are sent explicitly.
            patience: seconds within which a refused connection or a full house (429) is tried again.

        Raises:
            InvalidArguments: it cannot be made; nothing was sent.
            OutcomeUnknown: it may have been ordered, or not.
            LumaError: any other; nothing was ordered.
        """
        complete = request.completed()
        record = await self._send(answers.SUBMIT, body=complete.body(), patience=patience)
        job = Job.model_validate({**record, "request": complete})
        self._ordered[job.jobid] = job
        if len(self._ordered) > REMEMBERED:
            self._ordered.popitem(last=False)
        return job

    def ordered(self, jobid: str) -> VideoRequest | None:
        """What this client ordered under that jobid, if it did."""
        job = self._ordered.get(jobid)
        return job.request if job else None

    async def get(self, jobid: str, *, patience: float = PATIENCE) -> Job:
        """The job as it is now: `GET /jobs/{jobid}`. Passing faults are retried within `patience` seconds."""
        record = await self._send(answers.GET_JOB, jobid, patience=patience)
        job = Job.model_validate(record)
        return job if job.request else job.model_copy(update={"request": self.ordered(jobid)})

    async def wait(self, job: str | Job, seconds: float = FOREVER) -> Job:
        """The job when it has finished, well or not, or as it is when `seconds` are over: then it still runs.

        All who wait for one job share its looks. Passing faults of the API do not end a wait, and
        cancelling one ends it at once and does nothing to the job.

        Raises:
            LumaError: what no waiting can mend, such as a token that is no longer accepted.
        """
        seen = job if isinstance(job, Job) else None
        jobid = seen.jobid if seen else str(job)
        watch = self._watches.get(jobid)
        if watch is None:
            request = (seen.request if seen else None) or self.ordered(jobid)
            typical = matrix.TYPICAL_SECONDS.get(request.resolution or "") if request else None
            watch = Watch(lambda: self.get(jobid, patience=0), self._wall_clock, typical, seen)
            self._watches[jobid] = watch
        try:
            return await watch.wait(seconds)
        finally:
            if not watch.waiters and self._watches.get(jobid) is watch:
                del self._watches[jobid]

    async def list(self, *, patience: float = PATIENCE) -> tuple[ExecutingJob, ...]:
        """The jobs that are executing now, on all accounts: `GET /jobs`. Finished ones are never in it."""
        record = await self._send(answers.LIST_JOBS, patience=patience)
        rows = (row for row in record["jobs"] if isinstance(row, dict) and isinstance(row.get("jobid"), str))
        return tuple(ExecutingJob.model_validate(row) for row in rows)

    async def delete(self, jobid: str, *, patience: float = PATIENCE) -> None:
        """Removes a finished job from the tracker: `DELETE /jobs/{jobid}`. Nothing can stop a running one.

        Raises:
            Conflict: it still runs.
        """
        await self._send(answers.DELETE_JOB, jobid, patience=patience)

    async def accounts(self, *, patience: float = PATIENCE) -> tuple[Account, ...]:
        """The configured Luma accounts and their slots: `GET /accounts`; empty where none is configured."""
        try:
            record = await self._send(answers.LIST_ACCOUNTS, patience=patience)
        except errors.NotFound:
            return ()
        rows = ((email, row) for email, row in record.items() if isinstance(row, dict))
        return tuple(Account.model_validate({**row, "email": email}) for email, row in rows)

    async def account(self, email: str, *, patience: float = PATIENCE) -> Account:
        """One account, with its live session and credits: `GET /accounts/{email}`."""
        record = await self._send(answers.GET_ACCOUNT, email, patience=patience)
        return Account.model_validate({**record, "email": email})

    async def _send(self, call: Call, *names: str, body: Any = None, patience: float) -> dict[str, Any]:
        """Sends a call until it is answered, or until it must or can not be sent again."""
        # One path segment each: a jobid contains ":" and "@", and could contain anything.
        path = call.path.format(*(quote(name, safe="") for name in names))
        end = anyio.current_time() + patience
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._deliver(call, path, body)
            except Rejected as rejected:
                seconds = pause(
                    call.effect,
                    rejected.fate,
                    attempt=attempt,
                    left=end - anyio.current_time(),
                    retry_after=rejected.error.retry_after,
                    chance=self._chance(),
                )
                if seconds is None:
                    raise rejected.error from rejected.__cause__
            await anyio.sleep(seconds)

    async def _deliver(self, call: Call, path: str, body: Any) -> dict[str, Any]:
        ordering = call is answers.SUBMIT
        http = self._connected(call.effect)
        # A cancelled caller must not tear an order apart between its delivery and its answer: the job would
        # run and be billed, and nobody would know its jobid.
        with anyio.CancelScope(shield=ordering):
            try:
                response = await http.request(
                    call.method,
                    self._base_url + path,
                    json=body,
                    headers={"Authorization": f"Bearer {self._token}"},
                    timeout=ORDER_TIMEOUT if ordering else TIMEOUT,
                )
            except httpx2.HTTPError as fault:
                raise answers.no_answer(call, fault) from fault
        return answers.read_answer(call, response, self._token)

    def _connected(self, effect: Effect) -> httpx2.AsyncClient:
        if effect not in self._http:
            # To this machine, never through a proxy.
            local = urlsplit(self._base_url).hostname in LOOPBACK
            # Each order goes over a connection of its own: on one that was kept, and that the API closes at the
            # same moment, nobody could tell whether the order arrived.
            limits = httpx2.Limits(max_keepalive_connections=0 if effect is ORDER else 5)
            self._http[effect] = httpx2.AsyncClient(
                transport=self._transport, limits=limits, trust_env=not local, follow_redirects=False
            )
        return self._http[effect]
