"""The search for the job of an order whose answer was lost."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from luma_mcp.errors import LumaError
from luma_mcp.luma.records import ExecutingJob, parse_time

if TYPE_CHECKING:
    from luma_mcp.journal.journal import Journal
    from luma_mcp.journal.order import Order
    from luma_mcp.luma.client import LumaClient

logger = logging.getLogger(__name__)

LOOKS = (0.0, 2.0)
"""Pauses in seconds before each look."""
LOOK_SECONDS = 5.0
CLOCKS_DIFFER = timedelta(seconds=30)
"""How far the API's time of day may be from ours."""
LONGEST_DELIVERY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look has shown.

    `jobid`: the order's job; `known`: it had it already, from its own process or another. Else `candidates`: the
    jobs that it may be, None if they could not be looked up.
    """

    jobid: str | None = None
    known: bool = False
    candidates: list[str] | None = None


class Search:
    """Looks among the running jobs for the one that an order has become."""

    def __init__(self, luma: LumaClient, journal: Journal) -> None:
        self._luma = luma
        self._journal = journal

    async def look(self, order: Order) -> Finding:
        """Gives the order its job, if it can be only one."""
        candidates: list[str] | None = None
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
            candidates = [row.jobid for row in rows if self._may_be(order, row) and row.jobid not in known]
            rivals = [
                other
                for other in self._journal.unsettled()
                if other.id != order.id and any(self._may_be(other, row) for row in rows if row.jobid in candidates)
            ]
            if len(candidates) == 1 and not rivals and self._journal.adopt(order, candidates[0]):
                return Finding(candidates[0])
            if candidates:
                break
        return Finding(candidates=candidates)

    @staticmethod
    def _may_be(order: Order, row: ExecutingJob) -> bool:
        """Whether a running job can be the order's: by type, model, account and time."""
        created, sent = parse_time(row.created), order.sent_at or order.ordered_at
        begin, end = sent - CLOCKS_DIFFER, sent + LONGEST_DELIVERY + CLOCKS_DIFFER
        return (
            row.type in (None, "video")
            and row.model in (None, order.request.model)
            and (not order.account or row.account in (None, order.account))
            and (created is None or begin <= created <= end)
        )


def told(candidates: list[str] | None) -> str:
    """What the look for a lost order's job has shown."""
    if candidates is None:
        return " Whether it runs could not be looked up."
    if not candidates:
        return " No running job that it could be was found just now."
    return f" Running jobs, one of which it may be: {', '.join(candidates)}. Look with get_job."
