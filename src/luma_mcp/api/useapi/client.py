"""`LumaClient`: the Luma API of useapi.net as an async Python library. Works on asyncio and on trio."""

from __future__ import annotations

import random
from collections import OrderedDict
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from luma_mcp import errors
from luma_mcp.api.polling import Poller
from luma_mcp.api.protocol import Account, AddedAccount, Asset, ExecutingJob, Job, VideoRequest
from luma_mcp.api.transport import Content, Transport
from luma_mcp.api.useapi import endpoints
from luma_mcp.catalog import useapi
from luma_mcp.settings import BASE_URL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta
    from types import TracebackType

    import httpx2
    from pydantic import SecretStr

    from luma_mcp.api.transport import DeliveryObserver

PATIENCE = 20.0
REMEMBERED = 1000
FOREVER = float("inf")


class LumaClient:
    """Orders videos and follows them.

        async with LumaClient(token) as luma:
            job = await luma.submit(VideoRequest(prompt="A fox in the snow"))
            job = await luma.wait(job.jobid)
            print(job.outputs.video.url)

    Every method raises a `luma_mcp.errors.LumaError` named for the situation, and nothing else of its own.
    An order is shielded from cancellation by anyio's scopes until it is answered; `asyncio.wait_for` and
    `Task.cancel` know no shield, so give an order its time and wrap the wait.

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
        self._wire = Transport(token, base_url, transport, chance, wall_clock)
        self._wall_clock = wall_clock
        self._watches: dict[str, Poller] = {}
        self._ordered: OrderedDict[str, VideoRequest] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections. The jobs go on."""
        await self._wire.aclose()

    @property
    def clock_ahead(self) -> timedelta | None:
        """How far the API's time of day is ahead of this machine's; None while no answer has told."""
        return self._wire.clock_ahead

    async def submit(
        self, request: VideoRequest, *, patience: float = PATIENCE, witness: DeliveryObserver | None = None
    ) -> Job:
        """Orders a video: `POST /videos`. What may have arrived is never sent again.

        Args:
            request: what to order; every choice is sent explicitly, also what was left out.
            patience: seconds within which a refused connection or a full house (429) is tried again.
            witness: is told before each delivery, and after one that surely was none.

        Raises:
            InvalidArguments: it cannot be made; nothing was sent.
            OutcomeUnknown: it may have been ordered, or not.
            LumaError: any other; nothing was ordered.
        """
        complete = request.completed()
        with _of_account(complete.email):
            record = await self._wire.send(endpoints.SUBMIT, body=complete.body(), patience=patience, witness=witness)
        job = Job.model_validate({**record, "request": complete})
        self.remember(job.jobid, complete)
        return job

    def ordered(self, jobid: str) -> VideoRequest | None:
        """What was ordered under that jobid, if this client knows."""
        return self._ordered.get(jobid)

    def remember(self, jobid: str, request: VideoRequest) -> None:
        """Tells the client what was ordered under that jobid elsewhere: the API's records do not repeat it."""
        self._ordered[jobid] = request
        if len(self._ordered) > REMEMBERED:
            self._ordered.popitem(last=False)

    async def upload(self, data: bytes, media_type: str, email: str, *, patience: float = PATIENCE) -> Asset:
        """Uploads an image to an account: `POST /assets/{email}`.

        Args:
            data: at most 20 MB of it.
            media_type: `image/jpeg`, `image/png` or `image/webp`.
            email: the account to which it will belong; it lives there for 30 days.
            patience: seconds within which passing faults are retried.
        """
        body = Content(data, media_type)
        with _of_account(email):
            record = await self._wire.send(endpoints.UPLOAD, email, body=body, patience=patience)
        return Asset.model_validate(record)

    async def get(self, jobid: str, *, patience: float = PATIENCE) -> Job:
        """The job as it is now: `GET /jobs/{jobid}`. Passing faults are retried within `patience` seconds."""
        record = await self._wire.send(endpoints.GET_JOB, jobid, patience=patience)
        job = Job.model_validate(record)
        return job if job.request else job.model_copy(update={"request": self.ordered(jobid)})

    async def wait(
        self, job: str | Job, seconds: float = FOREVER, *, typical: tuple[float, float] | None = None
    ) -> Job:
        """The job when it has finished, well or not, or as it is when `seconds` are over: then it still runs.

        All who wait for one job share its looks. Passing faults of the API do not end a wait, and
        cancelling one ends it at once and does nothing to the job. `typical`: from when until when jobs of this
        kind end, in seconds, where that is known better than documented.

        Raises:
            LumaError: what no waiting can mend, such as a token that is no longer accepted.
        """
        seen = job if isinstance(job, Job) else None
        jobid = seen.jobid if seen else str(job)
        watch = self._watches.get(jobid)
        if watch is None:
            request = (seen.request if seen else None) or self.ordered(jobid)
            typical = typical or (useapi.TYPICAL_SECONDS.get(request.resolution or "") if request else None)
            watch = Poller(
                lambda: self.get(jobid, patience=0),
                self._wall_clock,
                typical=typical,
                seen=seen,
                exists=bool(seen or jobid in self._ordered),
            )
            self._watches[jobid] = watch
        try:
            return await watch.wait(seconds)
        finally:
            if not watch.waiters and self._watches.get(jobid) is watch:
                del self._watches[jobid]

    async def list(self, *, patience: float = PATIENCE) -> tuple[ExecutingJob, ...]:
        """The jobs that are executing now, on all accounts: `GET /jobs`. Finished ones are never in it."""
        record = await self._wire.send(endpoints.LIST_JOBS, patience=patience)
        rows = (row for row in record["jobs"] if isinstance(row, dict) and isinstance(row.get("jobid"), str))
        return tuple(ExecutingJob.model_validate(row) for row in rows)

    async def delete(self, jobid: str, *, patience: float = PATIENCE) -> None:
        """Removes a finished job from the tracker: `DELETE /jobs/{jobid}`. Nothing can stop a running one.

        Raises:
            Conflict: it still runs.
        """
        await self._wire.send(endpoints.DELETE_JOB, jobid, patience=patience)

    async def accounts(self, *, patience: float = PATIENCE) -> tuple[Account, ...]:
        """The configured Luma accounts and their slots: `GET /accounts`; empty where none is configured."""
        try:
            record = await self._wire.send(endpoints.LIST_ACCOUNTS, patience=patience)
        except errors.NotFound:
            return ()
        rows = ((email, row) for email, row in record.items() if isinstance(row, dict))
        return tuple(Account.model_validate({**row, "email": email}) for email, row in rows)

    async def account(self, email: str, *, patience: float = PATIENCE) -> Account:
        """One account, with its live session and credits: `GET /accounts/{email}`."""
        with _of_account(email):
            record = await self._wire.send(endpoints.GET_ACCOUNT, email, patience=patience)
        return Account.model_validate({**record, "email": email})

    async def add_account(self, session: SecretStr, *, patience: float = PATIENCE) -> AddedAccount:
        """Adds the Luma account that a login cookie belongs to, or refreshes its session: `POST /accounts`.

        Args:
            session: the cookie's value; it stands in no log and in no error.
            patience: seconds within which a refused connection is tried again. What may have arrived is not.

        Raises:
            LumaError: after a 5xx or a broken connection it may have been added all the same.
        """
        secret = session.get_secret_value()
        record = await self._wire.send(
            endpoints.ADD_ACCOUNT, body={"session": secret}, patience=patience, hidden=(secret,)
        )
        return AddedAccount.model_validate({**record, "email": record["account"]})

    async def remove_account(self, email: str, *, patience: float = PATIENCE) -> None:
        """Removes an account from useapi.net: `DELETE /accounts/{email}`. It cannot be undone.

        Raises:
            NotFound: no such account is configured.
        """
        await self._wire.send(endpoints.REMOVE_ACCOUNT, email, patience=patience)


@contextmanager
def _of_account(email: str | None) -> Iterator[None]:
    """An expired session is told with the account that it is of."""
    try:
        yield
    except errors.AccountSession as error:
        error.name(email)
        raise
