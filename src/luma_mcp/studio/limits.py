"""How many videos may be ordered within an hour, where the owner has set a limit: it stops a runaway agent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from luma_mcp.errors import NO_MONEY, LimitReached

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from luma_mcp.journal.journal import Journal
    from luma_mcp.journal.order import Order

HOUR = timedelta(hours=1)
PENDING = timedelta(minutes=1)
"""An intent of this age was left behind by a process that was killed; it never goes out."""


class HourlyLimit:
    """Counts the orders of all processes that share the journal.

    Args:
        most: orders within an hour; None: any number.
        journal: where they are written down.
        wall_clock: the time of day, in UTC.
    """

    def __init__(self, most: int | None, journal: Journal, wall_clock: Callable[[], datetime]) -> None:
        self._most = most
        self._journal = journal
        self._wall_clock = wall_clock

    def check(self, order: Order | None = None) -> None:
        """Passes if another one may be ordered, or the given one, whose intent is written.

        Of several intents at once the first ones pass, whoever looks: each counts what was written before it.

        Raises:
            LimitReached: it may not; its intent is dropped.
        """
        if self._most is None:
            return
        now = self._wall_clock()
        place = (order.ordered_at, order.id) if order else (now, "")
        counted = sorted(
            o.ordered_at
            for o in self._journal.since(now - HOUR)
            if (o.state != "intent" or now - o.ordered_at < PENDING) and (o.ordered_at, o.id) < place
        )
        if len(counted) < self._most:
            return
        if order:
            self._journal.drop_intent(order)
        free = counted[-self._most] + HOUR
        minutes = max(1, -(-(free - now) // timedelta(minutes=1)))
        raise LimitReached(
            f"{self._most} video{'s were' if self._most > 1 else ' was'} ordered within the last hour: more the owner "
            f"of this server does not allow (LUMA_MCP_MAX_JOBS_PER_HOUR). The next one can be ordered at {free:%H:%M} "
            f"UTC, in {minutes} minute{'s' if minutes > 1 else ''}. {NO_MONEY} Tell the user, and do not try before."
        )
