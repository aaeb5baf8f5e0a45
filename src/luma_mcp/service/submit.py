"""The safe ordering of paid jobs: each order is written down before it goes out, and delivered at most once.

    intent ─▶ sent ─▶ running ─▶ completed, failed
      ▲        │ └──▶ unknown: no answer came. Its job is looked for: running if found, else given up after a while
      └────────┘ surely not delivered; an order that was refused is forgotten

Whoever is killed leaves an intent (nothing was ordered) or an order that was sent; the next one to come finds
its job in `GET /jobs`, if it is the only one that it can be.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import anyio

from luma_mcp.api.protocol import Job
from luma_mcp.errors import Forbidden, InvalidArguments, LumaError, NotFound, OutcomeUnknown, Upstream
from luma_mcp.journal.claims import LimitExceeded
from luma_mcp.journal.orders import UNSETTLED
from luma_mcp.service.delivery import JournalObserver, LostIntent
from luma_mcp.service.limits import HourlyLimit
from luma_mcp.service.locks import KeyedLock
from luma_mcp.service.periodic import periodic
from luma_mcp.service.reconcile import UNKNOWN_FOR, Search, told

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from luma_mcp.api.useapi.client import LumaClient
    from luma_mcp.journal.journal import Journal
    from luma_mcp.journal.orders import Order

logger = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 1.0
"""Seconds between two signs of life of an order that is on its way."""
STALE_AFTER = 3.5
"""Seconds without a sign of life after which the sender is taken to be gone."""
OLD = timedelta(minutes=2)
"""A sign of life of this age is not waited upon at all."""
_SAME = "The same order was placed before, and nothing was ordered now."
AGAIN = " To order it all the same, pass new_take true; ask the user first."

How = Literal["new", "same", "found"]


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What became of an order.

    `new`: it was ordered now; `same`: it runs already, and nothing was ordered now; `found`: its answer was lost,
    and its job was found.
    """

    job: Job
    how: How


class Orders:
    """Places orders, and finds what became of those whose answer was lost.

    Args:
        luma: the API.
        journal: where they are written down.
        wall_clock: the time of day, in UTC.
        per_hour: so many at most; None: any number.
    """

    def __init__(
        self, luma: LumaClient, journal: Journal, wall_clock: Callable[[], datetime], *, per_hour: int | None = None
    ) -> None:
        self.limit = HourlyLimit(per_hour, journal, wall_clock)
        self._luma = luma
        self._journal = journal
        self._wall_clock = wall_clock
        self._search = Search(luma, journal)
        self._turns = KeyedLock()

    async def running(self, key: str) -> SubmitResult | None:
        """The job of the same order, if one runs; None if a new one may be placed.

        Raises:
            OutcomeUnknown: there is one of which nobody knows whether it runs.
            LumaError: whether it runs could not be asked.
        """
        order = self._journal.open_order(key)
        if order is None:
            return None
        if order.jobid is None:
            return await self._settled(order)
        self._luma.remember(order.jobid, order.request)
        try:
            job = await self._luma.get(order.jobid)
        except (NotFound, Forbidden, InvalidArguments) as error:
            if self._age(order) > UNKNOWN_FOR:
                self._journal.gone(order.jobid)
                return None
            raise Upstream(f"{_SAME} The API does not list its job.{AGAIN}", jobid=order.jobid) from error
        except LumaError as error:
            error.jobid = order.jobid
            error.message = f"{_SAME} Its job could not be looked at. {error.message}{AGAIN}"
            raise
        self._journal.saw(job)
        return SubmitResult(job, "same") if job.state == "running" else None

    async def place(self, order: Order, *, another: bool, patience: float) -> SubmitResult:
        """Orders it, unless the same order is open.

        Args:
            order: the intent; its request is complete.
            another: order it even if the same one runs.
            patience: seconds within which a refused connection or a full house (429) is tried again.

        Raises:
            OutcomeUnknown: it went out, no answer came, and its job was not found.
            LimitReached: as many as the owner allows were ordered within the hour.
            LumaError: any other; unless it says otherwise, nothing was ordered.
        """
        # One at a time of the same order: the second finds what the first has done.
        async with self._turns.of(order.id if another else order.key):
            while True:
                if not another and (running := await self.running(order.key)):
                    return running
                try:
                    if self._journal.claim(order, another=another, room=self.limit.room()):
                        continue
                    return await self._sent(order, patience)
                except LimitExceeded:
                    raise self.limit.reached() from None
                except LostIntent:
                    logger.info("another process has begun the same order")

    async def _sent(self, order: Order, patience: float) -> SubmitResult:
        witness = JournalObserver(self._journal, order)

        async def alive(_: float) -> None:
            self._journal.alive(order)

        try:
            async with periodic(HEARTBEAT_INTERVAL, alive):
                job = await self._luma.submit(order.request, patience=patience, witness=witness)
                # Here, before anything can be cancelled.
                self._journal.answered(order, job.jobid)
        except (OutcomeUnknown, Upstream) as error:
            return await self._found(order, error)
        except LumaError:
            self._journal.drop(order)
            raise
        except anyio.get_cancelled_exc_class():
            # The client shields a delivery: either it was between two, neither of which arrived, or it is answered.
            self._journal.drop_intent(order)
            if (now := self._journal.now(order)) and now.jobid:
                logger.warning("The call was cancelled; its job goes on, ask for it with get_job: %s", now.jobid)
            raise
        return SubmitResult(job, "new")

    async def _found(self, order: Order, error: OutcomeUnknown | Upstream) -> SubmitResult:
        """The job that a lost order has become.

        Raises:
            LumaError: the given one, with what was found instead.
        """
        # Told to the log as well: a caller that has gone away would never learn of it.
        logger.warning("%s", error.message)
        self._journal.unknown(order)
        finding = await self._search.look(order)
        if finding.jobid:
            return self._placed(order, finding.jobid, "found")
        if finding.shows_none and isinstance(error, Upstream):
            # The API says itself that it failed, and shows no job of it.
            self._journal.drop(order)
        error.message += told(finding.candidates)
        if isinstance(error, OutcomeUnknown):
            error.message += AGAIN
        raise error

    async def _settled(self, order: Order) -> SubmitResult | None:
        """An earlier order that has no jobid yet: its job, or None if none of it can run any more."""
        now = await self._delivered(order)
        if now is None or now.state == "intent":
            return None
        order = now
        if order.jobid:
            return self._placed(order, order.jobid, "same")
        finding = await self._search.look(order)
        if finding.jobid:
            return self._placed(order, finding.jobid, "same" if finding.known else "found")
        if self._age(order) > UNKNOWN_FOR and finding.shows_none:
            self._journal.give_up(order)
            return None
        self._journal.unknown(order)
        minutes = round(self._age(order).total_seconds() / 60)
        raise OutcomeUnknown(
            f"The same order went out {f'{minutes} minutes' if minutes > 1 else 'a moment'} ago, and its answer was "
            f"lost, so it may be running and billed. Nothing was ordered now.{told(finding.candidates)}{AGAIN}"
        )

    async def recover(self, *, before: datetime | None = None) -> None:
        """Looks for the jobs of all orders whose answer never came, or of those before a time."""
        for order in self._journal.unsettled():
            if before and order.ordered_at >= before:
                continue
            now = await self._delivered(order)
            if now is None or now.state not in UNSETTLED:
                continue
            finding = await self._search.look(order)
            candidates = finding.candidates
            if finding.jobid:
                self._placed(order, finding.jobid, "same" if finding.known else "found")
            elif self._age(order) > UNKNOWN_FOR and finding.shows_none:
                self._journal.give_up(order)
            else:
                self._journal.unknown(order)
                logger.warning("An order of %s got no answer.%s", f"{order.ordered_at:%H:%M} UTC", told(candidates))

    def _placed(self, order: Order, jobid: str, how: How) -> SubmitResult:
        if how == "found":
            logger.warning("The answer to an order was lost; its job was found: %s", jobid)
        self._luma.remember(jobid, order.request)
        job = Job(jobid=jobid, type="video", created=order.ordered_at.isoformat(), request=order.request)
        return SubmitResult(job, how)

    async def _delivered(self, order: Order) -> Order | None:
        """The order when nobody is delivering it any more; None if it was forgotten."""
        now: Order | None = order
        seen, since = order.alive_at, anyio.current_time()
        # By its changes, not by its age alone: clocks are set, also between a kill and a restart.
        while now and now.state == "sent" and seen and self._wall_clock() - seen < OLD:
            if anyio.current_time() - since > STALE_AFTER:
                break
            await anyio.sleep(HEARTBEAT_INTERVAL)
            now = self._journal.now(order)
            if now and now.alive_at != seen:
                seen, since = now.alive_at, anyio.current_time()
        return now

    def _age(self, order: Order) -> timedelta:
        return self._wall_clock() - order.ordered_at
