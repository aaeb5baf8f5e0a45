"""The search for the job of an order whose answer was lost."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from luma_mcp.api.protocol import ExecutingJob, parse_time
from luma_mcp.errors import LumaError

if TYPE_CHECKING:
    from luma_mcp.api.useapi.client import LumaClient
    from luma_mcp.journal.journal import Journal
    from luma_mcp.journal.orders import Order

logger = logging.getLogger(__name__)

LOOKS = (0.0, 2.0)
"""Pauses in seconds before each look."""
LOOK_SECONDS = 5.0
CLOCKS_DIFFER = timedelta(seconds=30)
"""How far the API's time of day may be from ours, where its answers do not tell."""
DATES_DIFFER = timedelta(seconds=5)
"""The same where they do: their dates are in whole seconds, and are made before they arrive."""
UNKNOWN_FOR = timedelta(minutes=15)
"""How long the same order is held back after one whose outcome is unknown: longer than any job takes."""
LONGEST_DELIVERY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look has shown.

    `jobid`: the order's job; `known`: it had it already, from its own process or another. Else `candidates`: the
    jobs that it may be, None if they could not be looked up; `others`: those that it may be
    if a clock is wrong, where the API does not tell its time.
    """

    jobid: str | None = None
    known: bool = False
    candidates: list[str] | None = None
    others: tuple[str, ...] = ()

    @property
    def shows_none(self) -> bool:
        """Whether it is as good as certain that no job of the order runs."""
        return self.candidates == [] and not self.others


class Search:
    """Looks among the running jobs for the one that an order has become."""

    def __init__(self, luma: LumaClient, journal: Journal) -> None:
        self._luma = luma
        self._journal = journal

    async def look(self, order: Order) -> Finding:
        """Gives the order its job, if it can be only one."""
        candidates: list[str] | None = None
        others: tuple[str, ...] = ()
        for seconds in LOOKS:
            await anyio.sleep(seconds)
            rows: tuple[ExecutingJob, ...] | None = None
            with anyio.move_on_after(LOOK_SECONDS):
                try:
                    rows = await self._luma.list(patience=0)
                except LumaError as error:
                    logger.info("%s", error.message)
            if rows is None:
                continue
            now = self._journal.now(order)
            if now and now.jobid:
                return Finding(now.jobid, known=True)
            known = self._journal.owned()
            order = now or order
            alike = [row for row in rows if row.jobid not in known and _is_alike(order, row)]
            candidates = [row.jobid for row in alike if self._is_timely(order, row)]
            if self._luma.clock_ahead is None:
                others = tuple(row.jobid for row in alike if row.jobid not in candidates)
            rivals = [
                other
                for other in self._journal.unsettled()
                if other.id != order.id and any(_is_alike(other, row) and self._is_timely(other, row) for row in alike)
            ]
            if len(candidates) == 1 and not rivals and self._journal.adopt(order, candidates[0]):
                return Finding(candidates[0])
            if candidates:
                break
        return Finding(candidates=candidates, others=others)

    def _is_timely(self, order: Order, row: ExecutingJob) -> bool:
        """Whether a job began when the order was on its way."""
        created, sent = parse_time(row.created), order.sent_at or order.ordered_at
        ahead = self._luma.clock_ahead
        slack = CLOCKS_DIFFER if ahead is None else DATES_DIFFER
        begin = sent + (ahead or timedelta()) - slack
        return created is None or begin <= created <= begin + LONGEST_DELIVERY + 2 * slack


def _is_alike(order: Order, row: ExecutingJob) -> bool:
    """Whether a job can be the order's by type, model and account."""
    return (
        row.type in (None, "video")
        and row.model in (None, order.request.model)
        and (not order.account or row.account in (None, order.account))
    )


def told(candidates: list[str] | None) -> str:
    """What the look for a lost order's job has shown."""
    if candidates is None:
        return " Whether it runs could not be looked up."
    if not candidates:
        return " No running job that it could be was found just now."
    return f" Running jobs, one of which it may be: {', '.join(candidates)}. Look with get_job."
