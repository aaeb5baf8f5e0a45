"""How many videos may be ordered within an hour, where the owner has set a limit: it stops a runaway agent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from luma_mcp.errors import NO_MONEY, LimitReached
from luma_mcp.journal.claims import RateWindow

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from luma_mcp.journal.journal import Journal

HOUR = timedelta(hours=1)
PENDING = timedelta(minutes=1)
"""An intent without a sign of life for so long was left behind by a process that was killed; it never goes out."""


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

    def room(self) -> RateWindow | None:
        """What an order has to find when it is written down; None: anything will do."""
        now = self._wall_clock()
        return None if self._most is None else RateWindow(self._most, now - HOUR, now - PENDING)

    def check(self) -> None:
        """Passes if another one could be ordered now; so that nobody is asked, and nothing uploaded, in vain.

        Raises:
            LimitReached: it could not.
        """
        if self._most is not None and len(self._counted()) >= self._most:
            raise self.reached()

    def reached(self) -> LimitReached:
        """The refusal, with the time of the next one."""
        most, now, counted = self._most or 1, self._wall_clock(), self._counted()
        free = (counted[-most] if len(counted) >= most else now) + HOUR
        # To the minute in which it surely can.
        free += timedelta(seconds=59, microseconds=999_999)
        minutes = max(1, (free - now) // timedelta(minutes=1))
        return LimitReached(
            f"{most} video{'s were' if most > 1 else ' was'} ordered within the last hour: more the owner of this "
            f"server does not allow (LUMA_MCP_MAX_JOBS_PER_HOUR). The next one can be ordered at {free:%H:%M} UTC, "
            f"in {minutes} minute{'s' if minutes > 1 else ''}. {NO_MONEY} Tell the user, and do not try before."
        )

    def _counted(self) -> list[datetime]:
        room = self.room()
        return sorted(order.ordered_at for order in self._journal.counted(room)) if room else []
