"""When to look at a running job next, and when to stop. The schedule is pure; the wait only sleeps and looks.

Every look costs the API a call of its own to Luma. So: a few early looks (a job that fails, fails early), then
sparsely until the time in which jobs of this kind begin to end, densely while most of them end, and at a
steady middle pace for the stragglers. `benchmarks/polling.py` holds the numbers against fixed loops.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

from luma_mcp import errors
from luma_mcp.api.protocol import Job, parse_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

EARLY_LOOKS = (2.0, 5.0, 10.0)
EARLIEST_END = 0.6
"""As a part of the typical time's lower end: before it hardly any job ends."""
SPARSE, BEFORE, LATE = 20.0, 10.0, 5.0
DENSITY = 0.29
"""Between looks lies this times the square root of the span in which most jobs end: among kinds with different
spans, that spends a given number of looks on the least mean lag."""
UNKNOWN_SHARE, UNKNOWN_RANGE = 0.05, (3.0, 6.0)
AFTER_A_FAULT = 2.0
LONGEST_PACE = 60.0
"""Seconds for which the API can ask to be left alone: a slip in a header must not blind a wait for a day."""
FIRST_LOOK = 10.0
"""Seconds that a wait of 0 may take all the same: a job that was never seen is looked at once, faults or not."""
FINAL_LOOK = 5.0
FRESH = 1.0
BELIEVE_MISSING = 3
"""So many 404s in a row of a job that is known to exist are believed; fewer may be a lagging replica."""


def next_poll_delay(age: float, typical: tuple[float, float] | None) -> float:
    """Seconds until the next look at a job that is `age` seconds old and was just seen running.

    `typical` is the time in seconds from which, and until which, most jobs of its kind end; None if unknown.
    """
    for early in EARLY_LOOKS:
        if age < early - 0.5:
            return early - age
    if typical is None:
        shortest, longest = UNKNOWN_RANGE
        return min(longest, max(shortest, age * UNKNOWN_SHARE))
    begin, end = typical
    dense = DENSITY * math.sqrt(end - begin)
    if age < begin * EARLIEST_END:
        return min(SPARSE, begin * EARLIEST_END - age + dense)
    if age < begin:
        return min(BEFORE, begin - age + dense)
    return dense if age < end else LATE


class Poller:
    """The one stream of looks at a job, shared by all who wait for it.

    Whoever comes first when a look is due, looks; the others take what was seen. Nobody owns the stream: a
    waiter that is cancelled leaves at once, and another one looks in its place.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Job]],
        wall_clock: Callable[[], datetime],
        *,
        typical: tuple[float, float] | None,
        seen: Job | None,
        exists: bool,
    ) -> None:
        self.waiters = 0
        self._look = look
        self._wall_clock = wall_clock
        self._typical = typical
        self._exists = exists
        self._lock = anyio.Lock()
        self._missing = 0
        self._fault: errors.LumaError | None = None
        self._seen: Job | None = None
        self._looked_at = float("-inf")
        self._born = self._due = anyio.current_time()
        if seen:
            self._saw(seen)

    async def wait(self, seconds: float) -> Job:
        """The finished job, or what was last seen of it when the time is up.

        Raises:
            LumaError: what no waiting can mend; or, if the job was never once seen, the last passing fault.
        """
        end = anyio.current_time() + seconds
        self.waiters += 1
        try:
            with anyio.move_on_after(max(seconds, FIRST_LOOK)):
                while not self._seen:
                    await self._next_look()
            with anyio.CancelScope(deadline=end):
                while self._running:
                    await self._next_look()
            if self._running:
                with anyio.move_on_after(FINAL_LOOK):
                    await self._look_unless_after(anyio.current_time() - FRESH)
        finally:
            self.waiters -= 1
        if self._seen:
            return self._seen
        raise self._fault or errors.NetworkError("The API did not answer in time.")

    @property
    def _running(self) -> bool:
        """Worth waiting for: seen, not finished, and a video."""
        return self._seen is not None and self._seen.state == "running" and self._seen.is_video

    async def _next_look(self) -> None:
        looked_at = self._looked_at
        await anyio.sleep_until(self._due)
        await self._look_unless_after(looked_at)

    async def _look_unless_after(self, looked_at: float) -> None:
        """Looks, unless somebody else has done so in the meantime."""
        async with self._lock:
            if self._looked_at > looked_at:
                return
            try:
                job = await self._look()
            except (errors.Upstream, errors.NetworkError, errors.Capacity) as fault:
                self._failed(fault)
            except errors.NotFound as fault:
                self._missing += 1
                if not self._exists or self._missing >= BELIEVE_MISSING:
                    raise
                self._failed(fault)
            else:
                self._missing, self._exists = 0, True
                self._saw(job)

    def _saw(self, job: Job) -> None:
        now = anyio.current_time()
        if self._seen is None and (created := parse_time(job.created)):
            self._born = now - max(0.0, (self._wall_clock() - created).total_seconds())
        self._seen, self._looked_at = job, now
        self._due = now + next_poll_delay(now - self._born, self._typical)

    def _failed(self, fault: errors.LumaError) -> None:
        self._fault, self._looked_at = fault, anyio.current_time()
        self._due = self._looked_at + max(AFTER_A_FAULT, min(fault.retry_after or 0.0, LONGEST_PACE))
