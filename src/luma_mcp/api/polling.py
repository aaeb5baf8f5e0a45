"""When a running job is polled, and when a wait ends. The schedule is pure; a wait only sleeps and polls.

Every poll costs the API a request of its own to Luma. So there are a few early polls (a job that fails, fails early),
sparse ones until the time when jobs of this kind begin to end, dense ones while most of them end, and a steady middle
pace for the rest. `benchmarks/polling.py` compares the schedule with fixed intervals.

Where several machines share a journal, the process with the lease of a job polls it for all; the others wait for its
announcements. An announcement is only a hint, which a poll confirms. In case one gets lost, the others check the lease
from time to time: the polling process releases it at the end of its wait, or it expires.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Protocol

import anyio

from luma_mcp import errors
from luma_mcp.api.protocol import Job, Outage, VideoRequest, parse_time

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
UNKNOWN_FRACTION, SHORTEST_UNKNOWN, LONGEST_UNKNOWN = 0.05, 3.0, 6.0
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
# How often those who do not poll try to get the lease; how much longer a lease is than the delay until the next poll.
LEASE_CHECK_DELAY = 3.0
LEASE_MARGIN = 5.0
# Polls of this process after announcements may have been missed are this far apart.
MISSED_SPREAD = 0.05
# While webhooks arrive, jobs that have one are polled so much less often. "While": that long after the last one.
WEBHOOK_FACTOR = 4.0
WEBHOOKS_TRUSTED_FOR = 900.0


def next_poll_delay(age: float, typical: tuple[float, float] | None) -> float:
    """Compute the seconds until the next poll of a job that is `age` seconds old and was just seen running.

    `typical` is between which ages, in seconds, most jobs of its kind end; None if unknown.
    """
    for early in EARLY_POLLS:
        if age < early - 0.5:
            return early - age
    if typical is None:
        return min(LONGEST_UNKNOWN, max(SHORTEST_UNKNOWN, age * UNKNOWN_FRACTION))
    begin, end = typical
    dense = DENSITY * math.sqrt(end - begin)
    for until, longest in ((begin * EARLIEST_END, SPARSE_DELAY), (begin, MIDDLE_DELAY)):
        if age < until:
            return min(longest, until - age + dense)
    return dense if age < end else LATE_DELAY


class SharedPolls(Protocol):
    """Decides which of several processes polls a job, and passes news of jobs between them.

    `luma_mcp.journal.protocol.Replicas` documents the methods.
    """

    async def acquire(self, name: str, seconds: float) -> bool | None: ...

    async def release(self, name: str) -> None: ...

    async def announce(self, jobid: str) -> None: ...

    def on_announcement(self, notify: Callable[[str, bool], None]) -> Callable[[], None]: ...


@dataclass(slots=True)
class _Webhooks:
    """How long webhooks are relied on. `trusted_until`: a time of the event loop's clock."""

    trusted_until: float = -math.inf


@dataclass(eq=False)
class Waits:
    """The waits of a server, which end together when the server is being stopped.

    Attributes:
        latest: when the last of them ends, by the event loop's clock.
    """

    latest: float = math.inf
    _scopes: set[anyio.CancelScope] = field(default_factory=set)

    @property
    def is_ending(self) -> bool:
        """Whether the server is being stopped, so that no new wait should begin."""
        return self.latest < math.inf

    @property
    def count(self) -> int:
        """Number of current waits."""
        return len(self._scopes)

    def end(self, at: float) -> None:
        """End all of them at a time of the event loop's clock, unless they end before that."""
        self.latest = at
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, at)

    @contextmanager
    def until(self, end: float) -> Iterator[None]:
        """Wait in the block, at most until a time of the event loop's clock."""
        with anyio.CancelScope(deadline=min(end, self.latest)) as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)


@dataclass(eq=False)
class Pollers:
    """Waits for jobs; concurrent waits for the same job share one stream of polls.

    `fetch` fetches a job's record once, without repetitions. `wall_clock` gives the age of a job from its record.
    `shared`: the processes that share the polls; None if this one is alone.
    """

    fetch: Callable[[str], Awaitable[Job]]
    wall_clock: Callable[[], datetime]
    shared: SharedPolls | None = None
    _pollers: dict[str, Poller] = field(default_factory=dict, init=False)
    _webhooks: _Webhooks = field(default_factory=_Webhooks, init=False)
    _is_subscribed: bool = field(default=False, init=False)

    async def wait(
        self,
        job_or_jobid: Job | str,
        seconds: float,
        *,
        typical: tuple[float, float] | None,
        known_to_exist: bool,
        request: VideoRequest | None = None,
        may_lag: float = 0.0,
        unseen_timeout: float = math.inf,
        has_webhook: bool = False,
        on_seen: Callable[[Job], Awaitable[None]] | None = None,
        waits: Waits | None = None,
    ) -> Job:
        """Wait until the job has finished, or return it as it is when the time is up.

        A job whose record is not at hand is polled at least once. `typical` is as for `next_poll_delay`;
        `known_to_exist` is whether a single 404 can only be a lagging replica; `request`, what was ordered, is added
        to a record that does not contain it. `may_lag`: for how many seconds no 404 is believed of a job that is known
        to exist, because it is new. `unseen_timeout`: after how many seconds the wait for a job ends that
        was never seen. `has_webhook`: whether the job's end is announced, so that it may be polled less often.
        `on_seen` is called with the first record. `waits`: those that end together with this one. Cancelling ends a
        wait at once and does nothing to the job.

        Raises:
            LumaError: one that waiting does not solve; or the last transient one if the job was never seen.
        """
        if isinstance(job_or_jobid, Job):
            seen, jobid = job_or_jobid, job_or_jobid.jobid
            request = request or seen.request
        else:
            seen, jobid = None, job_or_jobid
        if self.shared and not self._is_subscribed:
            self.shared.on_announcement(self.notify)
            self._is_subscribed = True
        poller = self._pollers.get(jobid)
        if poller is None:
            poller = Poller(
                jobid, partial(self.fetch, jobid), self.wall_clock, typical, known_to_exist, self.shared, self._webhooks
            )
            poller.believed_from = anyio.current_time() + may_lag
            poller.has_webhook = has_webhook
            self._pollers[jobid] = poller
            if seen:
                poller.record(seen)
                # The caller's record may be old, so it does not count as a poll.
                poller.polled_at = -math.inf
        end = anyio.current_time() + seconds
        poller.waiters += 1
        try:
            with anyio.move_on_after(max(min(seconds, unseen_timeout), FIRST_POLL_TIMEOUT)):
                while poller.job is None:
                    await poller.follow()
            if on_seen and poller.job:
                await on_seen(poller.build_result(request))
            with (waits or Waits()).until(end):
                while poller.is_worth_waiting:
                    await poller.follow()
            if poller.is_worth_waiting:
                # It may have finished since the last poll, which can be 20 s ago.
                with anyio.move_on_after(FINAL_POLL_TIMEOUT):
                    await poller.poll_finally()
        finally:
            poller.waiters -= 1
            if not poller.waiters:
                del self._pollers[jobid]
                await poller.release()
        return poller.build_result(request)

    def notify(self, jobid: str, by_webhook: bool) -> None:
        """Poll a job soon, because it may have changed; with "", several may have, and nothing is known of them."""
        now = anyio.current_time()
        if by_webhook:
            self._webhooks.trusted_until = now + WEBHOOKS_TRUSTED_FOR
        poller = self._pollers.get(jobid)
        if poller:
            poller.notify(by_webhook)
        elif not jobid:
            # One after another, as there may be very many.
            for number, each in enumerate(self._pollers.values()):
                each.advance(now + number * MISSED_SPREAD)


@dataclass(eq=False)
class Poller:
    """The one stream of polls of a job.

    When a poll is due, the first waiter makes it, and the others use the result. A waiter that is cancelled leaves at
    once, and another one polls in its place. `is_worth_waiting`: whether the job was seen, has not finished, and is
    a video.
    """

    jobid: str
    fetch: Callable[[], Awaitable[Job]]
    wall_clock: Callable[[], datetime]
    typical: tuple[float, float] | None
    known_to_exist: bool
    shared: SharedPolls | None
    webhooks: _Webhooks
    waiters: int = 0
    has_webhook: bool = False
    job: Job | None = None
    is_worth_waiting: bool = False
    failure: errors.LumaError | None = None
    polled_at: float = -math.inf
    seen_at: float = -math.inf
    believed_from: float = -math.inf
    due: float = field(default_factory=anyio.current_time)
    _created_at: float = field(default_factory=anyio.current_time)
    _missing: int = 0
    _lock: anyio.Lock = field(default_factory=anyio.Lock)
    # Number of completed turns: polls, and findings that another process polls.
    _turn: int = 0
    _has_lease: bool = False
    # Whether the job was announced since the last poll; and whether the API has ever called about it.
    _is_announced: bool = False
    _was_called: bool = False
    # When it was last polled because of that.
    _confirmed_at: float = -math.inf
    _due_is_earlier: anyio.Event = field(default_factory=anyio.Event)

    async def follow(self) -> None:
        """Poll when that is due, unless another waiter has done so meanwhile, or another process does."""
        turn = self._turn
        while self._turn == turn and anyio.current_time() < self.due:
            with anyio.CancelScope(deadline=self.due):
                await self._due_is_earlier.wait()
        async with self._lock:
            if self._turn != turn:
                return
            if self.job is None or self._is_announced or await self._acquire():
                await self._poll()
            else:
                self.due = anyio.current_time() + LEASE_CHECK_DELAY
            # Afterwards: if this is cancelled, another waiter takes the turn.
            self._turn += 1

    async def poll_finally(self) -> None:
        """Poll now, unless the last record is fresh."""
        async with self._lock:
            if self.polled_at <= anyio.current_time() - FRESH:
                await self._poll()
                self._turn += 1

    async def release(self) -> None:
        """Let another process poll, if this one has the lease for it."""
        if self.shared and self._has_lease:
            self._has_lease = False
            with anyio.CancelScope(shield=True):
                await self.shared.release(self._lease)

    def notify(self, by_webhook: bool) -> None:
        """Poll soon, because another process or the API has reported a change."""
        self._is_announced = True
        self._was_called = self._was_called or by_webhook
        # At once; but no more often, however often it is announced.
        self.advance(max(anyio.current_time(), self._confirmed_at + FRESH))

    def advance(self, due: float) -> None:
        """Make the next poll due at that time, if it would be later."""
        if due < self.due:
            self.due = due
            self._due_is_earlier.set()
            self._due_is_earlier = anyio.Event()

    @property
    def _lease(self) -> str:
        return f"poll:{self.jobid}"

    async def _acquire(self, delay: float = 0.0) -> bool:
        """Get the lease for a poll now, and until the next one; False if another process has it.

        `delay`: that poll is at least so many seconds away.
        """
        if self.shared is None:
            return True
        seconds = max(delay, self._next_delay(anyio.current_time())) + LEASE_MARGIN
        # Set before the answer is known, because this may be cancelled in between.
        self._has_lease = True
        is_ours = await self.shared.acquire(self._lease, seconds)
        self._has_lease = bool(is_ours)
        # If the lease cannot be checked, every process polls.
        return is_ours is not False

    async def _poll(self) -> None:
        was_running = self.is_worth_waiting
        is_announced, self._is_announced = self._is_announced, False
        began = anyio.current_time()
        if is_announced:
            self._confirmed_at = began
        try:
            job = await self.fetch()
        except (errors.Upstream, errors.NetworkError, errors.Capacity, errors.NotFound) as error:
            self._is_announced = self._is_announced or is_announced
            if isinstance(error, errors.NotFound):
                self._missing += 1
                is_believed = self._missing >= MISSING_LIMIT and anyio.current_time() >= self.believed_from
                if not self.known_to_exist or is_believed:
                    raise
            self.failure, self.polled_at = error, anyio.current_time()
            delay = max(DELAY_AFTER_FAILURE, min(error.retry_after or 0.0, LONGEST_RETRY_AFTER))
            self.due = self.polled_at + delay
            if self._has_lease and delay > DELAY_AFTER_FAILURE:
                await self._acquire(delay)
            return
        self.record(job, is_announced=is_announced)
        # The record shows what was true then. A slow journal may have held it up, and a wait may end meanwhile.
        self.polled_at = began
        if is_announced or not was_running or self.is_worth_waiting:
            return
        if self.has_webhook and not self._was_called:
            # The job has ended without a webhook, so webhooks are not relied on.
            self.webhooks.trusted_until = -math.inf
        if self.shared:
            await self.shared.announce(self.jobid)

    def build_result(self, request: VideoRequest | None) -> Job:
        """Build the result of a wait: the last record, with the request. Raises the last failure if there is none."""
        if self.job is None:
            raise self.failure or errors.NetworkError("timeout")
        outage = None
        if self.is_worth_waiting and self.failure:
            outage = Outage(self.failure, anyio.current_time() - self.seen_at)
        return replace(self.job, request=self.job.request or request, outage=outage)

    def record(self, job: Job, *, is_announced: bool = False) -> None:
        """Use the record, and compute when the next poll is due. `is_announced`: a change was announced before it."""
        now = anyio.current_time()
        created = parse_time(job.created)
        if self.job is None and created:
            # From the record, so that an old job is polled as its age requires, and not as a new one.
            self._created_at = now - max(0.0, (self.wall_clock() - created).total_seconds())
        self.job, self.polled_at, self.seen_at, self.failure = job, now, now, None
        self._missing, self.known_to_exist = 0, True
        self.is_worth_waiting = job.state == "running" and job.is_video
        # A replica of the API may lag behind what it has announced.
        self.due = now + self._next_delay(now, is_patient=not is_announced)
        if self._is_announced:
            # Again, while the record was on its way.
            self.due = min(self.due, now + FRESH)

    def _next_delay(self, now: float, *, is_patient: bool = True) -> float:
        delay = next_poll_delay(now - self._created_at, self.typical)
        if is_patient and self.has_webhook and now < self.webhooks.trusted_until:
            delay *= WEBHOOK_FACTOR
        return delay
