"""When a running job is polled, and when a wait ends. The schedule is pure; a wait only sleeps and polls.

Every poll costs the API a request of its own to Luma. So there are a few early polls (a job that fails, fails early),
sparse ones until the time when jobs of this kind begin to end, dense ones while most of them end, and a steady middle
pace for the rest. `benchmarks/polling.py` compares the schedule with fixed intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio

from luma_mcp import errors
from luma_mcp.api.protocol import Job, VideoRequest, parse_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

# Ages of a job at its first polls. All times are in seconds.
EARLY_POLLS = (2.0, 5.0, 10.0)
# A fraction of the typical time's lower end, before which hardly any job ends.
EARLIEST_END = 0.6
# Longest delays before the earliest end, before the typical time, and after it.
SPARSE_DELAY, MIDDLE_DELAY, LATE_DELAY = 20.0, 10.0, 5.0
# While most jobs end, the delay is this times the square root of that time span: over kinds with different spans, that
# spends a given number of polls with the least mean lag.
DENSITY = 0.29
# Without a typical time: the delay as a fraction of the age, and its limits.
UNKNOWN_FRACTION, UNKNOWN_RANGE = 0.05, (3.0, 6.0)
DELAY_AFTER_FAILURE = 2.0
# The most that a `Retry-After` delays a poll: one wrong header must not stop a wait for a day.
LONGEST_RETRY_AFTER = 60.0
# A wait of 0 may take this long all the same: a job that was never seen is polled until it is.
FIRST_POLL_TIMEOUT = 10.0
FINAL_POLL_TIMEOUT = 5.0
# A record of this age is not fetched again when a wait ends.
FRESH = 1.0
# So many 404s in a row are believed of a job that is known to exist; fewer may come from a lagging replica.
MISSING_LIMIT = 3


def next_poll_delay(age: float, typical: tuple[float, float] | None) -> float:
    """Compute the seconds until the next poll of a job that is `age` seconds old and was just seen running.

    `typical` is between which ages, in seconds, most jobs of its kind end; None if unknown.
    """
    for early in EARLY_POLLS:
        if age < early - 0.5:
            return early - age
    if typical is None:
        shortest, longest = UNKNOWN_RANGE
        return min(longest, max(shortest, age * UNKNOWN_FRACTION))
    begin, end = typical
    dense = DENSITY * math.sqrt(end - begin)
    earliest = begin * EARLIEST_END
    if age < earliest:
        return min(SPARSE_DELAY, earliest - age + dense)
    if age < begin:
        return min(MIDDLE_DELAY, begin - age + dense)
    if age < end:
        return dense
    return LATE_DELAY


class Pollers:
    """Waits for jobs; all who wait for the same job share one stream of polls.

    `fetch` fetches a job's record once, without repetitions. `wall_clock` gives the age of a job from its record.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[Job]], wall_clock: Callable[[], datetime]) -> None:
        self._fetch = fetch
        self._wall_clock = wall_clock
        self._pollers: dict[str, Poller] = {}

    async def wait(
        self,
        job_or_jobid: Job | str,
        seconds: float,
        *,
        typical: tuple[float, float] | None,
        known_to_exist: bool,
        request: VideoRequest | None = None,
    ) -> Job:
        """Wait until the job has finished, or return it as it is when the time is up.

        A job whose record is not at hand is polled at least once. `typical` is as for `next_poll_delay`;
        `known_to_exist` is whether a single 404 can only be a lagging replica; `request`, what was ordered, is added
        to a record that does not contain it. Cancelling ends a wait at once and does nothing to the job.

        Raises:
            LumaError: one that waiting does not solve; or the last transient one if the job was never seen.
        """
        if isinstance(job_or_jobid, Job):
            seen, jobid = job_or_jobid, job_or_jobid.jobid
            request = request or seen.request
        else:
            seen, jobid = None, job_or_jobid
        poller = self._pollers.get(jobid)
        if poller is None:
            is_known = known_to_exist or seen is not None
            poller = Poller(partial(self._fetch, jobid), self._wall_clock, typical, is_known)
            self._pollers[jobid] = poller
            if seen:
                poller.record(seen)
        try:
            job = await poller.wait(seconds)
        finally:
            if not poller.waiters and self._pollers.get(jobid) is poller:
                del self._pollers[jobid]
        return job.with_request(request)


@dataclass(eq=False)
class Poller:
    """The one stream of polls of a job.

    Whoever comes first when a poll is due makes it, and the others use the result. A waiter that is cancelled leaves
    at once, and another one polls in its place.
    """

    fetch: Callable[[], Awaitable[Job]]
    wall_clock: Callable[[], datetime]
    typical: tuple[float, float] | None
    known_to_exist: bool
    waiters: int = 0
    _lock: anyio.Lock = field(default_factory=anyio.Lock)
    _missing: int = 0
    _failure: errors.LumaError | None = None
    _job: Job | None = None
    _polled_at: float = -math.inf
    _created_at: float = field(default_factory=anyio.current_time)
    _due: float = field(default_factory=anyio.current_time)

    async def wait(self, seconds: float) -> Job:
        """Return the finished job, or the latest record when the time is up. Raises what `Pollers.wait` does."""
        end = anyio.current_time() + seconds
        self.waiters += 1
        try:
            with anyio.move_on_after(max(seconds, FIRST_POLL_TIMEOUT)):
                while self._job is None:
                    await self._next_poll()
            with anyio.CancelScope(deadline=end):
                while self._is_worth_waiting:
                    await self._next_poll()
            if self._is_worth_waiting:
                # It may have finished since the last poll, which can be 20 s ago.
                with anyio.move_on_after(FINAL_POLL_TIMEOUT):
                    await self._poll_unless_after(anyio.current_time() - FRESH)
        finally:
            self.waiters -= 1
        if self._job:
            return self._job
        raise self._failure or errors.NetworkError("timeout")

    @property
    def _is_worth_waiting(self) -> bool:
        """Whether the job was seen, has not finished, and is a video."""
        return self._job is not None and self._job.state == "running" and self._job.is_video

    async def _next_poll(self) -> None:
        polled_at = self._polled_at
        await anyio.sleep_until(self._due)
        await self._poll_unless_after(polled_at)

    async def _poll_unless_after(self, polled_at: float) -> None:
        """Poll, unless somebody else has polled since that time."""
        async with self._lock:
            if self._polled_at > polled_at:
                return
            try:
                job = await self.fetch()
            except (errors.Upstream, errors.NetworkError, errors.Capacity) as error:
                self._record_failure(error)
            except errors.NotFound as error:
                self._missing += 1
                if not self.known_to_exist or self._missing >= MISSING_LIMIT:
                    raise
                self._record_failure(error)
            else:
                self._missing, self.known_to_exist = 0, True
                self.record(job)

    def record(self, job: Job) -> None:
        """Use the record, and compute when the next poll is due."""
        now = anyio.current_time()
        created = parse_time(job.created)
        if self._job is None and created:
            # From the record, so that an old job is polled as its age requires, and not as a new one.
            self._created_at = now - max(0.0, (self.wall_clock() - created).total_seconds())
        self._job, self._polled_at = job, now
        self._due = now + next_poll_delay(now - self._created_at, self.typical)

    def _record_failure(self, error: errors.LumaError) -> None:
        self._failure, self._polled_at = error, anyio.current_time()
        delay = min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)
        self._due = self._polled_at + max(DELAY_AFTER_FAILURE, delay)
