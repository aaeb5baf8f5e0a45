"""Find out what became of orders whose answer is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import anyio

from luma_mcp.api.protocol import Job, JobFiles, RunningJob, VideoApi, VideoRequest, parse_time
from luma_mcp.errors import LumaError, OutcomeUnknown
from luma_mcp.journal.protocol import UNSETTLED, Journal, Order, count_clip_seconds
from luma_mcp.service import UNKNOWN_FOR

logger = logging.getLogger(__name__)

NEW_FOR = timedelta(minutes=1)
"""Age of a job until which a replica may lag so much that it does not know it."""
FAILED_ANSWER_FOR = timedelta(minutes=2)
"""The same for an order whose answer does not show whether a job was started. Such a job is listed by then."""
PLAUSIBLE_AGE = timedelta(days=1)
"""A greater or a negative age shows that this machine's clock was or is wrong."""
HEARTBEAT_INTERVAL = 1.0
"""Seconds between two heartbeats of an order that is being delivered."""
STALE_AFTER = 3.5
"""Seconds without a new heartbeat after which the process that was sending is taken to be gone."""

_LISTING_DELAYS = (0.0, 2.0)
"""Seconds before each look at the running jobs: the list can lag behind an order."""
_LISTING_TIMEOUT = 5.0
_CLOCK_TOLERANCE = timedelta(seconds=30)
"""How far the API's clock may be from ours if its answers have no date."""
_DATE_TOLERANCE = timedelta(seconds=5)
"""The same if they have a date, which is in whole seconds and older than its arrival."""
_LONGEST_DELIVERY = timedelta(seconds=60)
_RATIO_TOLERANCE = 0.06
"""Sizes are rounded to multiples of 8 or 16 pixels."""

_SECONDS_TOLERANCE = 1.0


@dataclass(frozen=True, slots=True)
class MatchResult:
    """What the running jobs show about an order whose answer is missing.

    Attributes:
        jobid: the order's job.
        was_known: the journal had that jobid already, from this process or another.
        candidates: running jobs that may be the order's; None if they could not be listed.
        at_other_times: more of them if a clock is wrong, where the API does not show its own time.
        given_up: no job of the order can be running any more, and the journal says so.
    """

    jobid: str | None = None
    was_known: bool = False
    candidates: tuple[str, ...] | None = None
    at_other_times: tuple[str, ...] = ()
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Finds the jobs of orders whose answer is missing.

    Attributes:
        api: that of the credential, also where a tenant may use only a part of it.
        wall_clock: the time of day, in UTC.
        names_candidates: whether jobs may be named that may be an order's. If not, they may be other tenants'.
    """

    api: VideoApi
    journal: Journal
    wall_clock: Callable[[], datetime]
    names_candidates: bool = True
    # When this process first looked at an order, by id and by the event loop's clock.
    _first_seen: dict[str, float] = field(default_factory=dict, init=False)

    def age(self, order: Order) -> timedelta:
        """Get the time since the order was placed, as far as it is certain: a clock may have been set meanwhile."""
        placed, now = order.sent_at or order.ordered_at, anyio.current_time()
        seen = timedelta(seconds=now - self._first_seen.setdefault(order.id, now))
        api_now = self.api.now()
        if api_now:
            # The other times come from a clock that may be wrong.
            return max(seen, api_now - placed) if order.by_api_clock else seen
        age = self.wall_clock() - placed
        return age if timedelta() <= age <= PLAUSIBLE_AGE else seen

    async def learn_time(self) -> bool:
        """Learn the API's time from a free request, unless it is known; False if no answer shows it at present."""
        if self.api.now() is None:
            try:
                await self.api.check(retry_timeout=0)
            except LumaError:
                return self.api.now() is not None
        return True

    def may_run(self, order: Order) -> bool:
        """Whether a job of an order without an answer may be running, although none was found."""
        # Where the running jobs are not listed, nothing shows sooner that there is none.
        is_listed_soon = order.answer_status and self.api.features.list_running
        return self.age(order) <= (FAILED_ANSWER_FOR if is_listed_soon else UNKNOWN_FOR)

    async def record(self, job: Job) -> None:
        """Record the state of a fetched job, unless it belongs to another order.

        Raises:
            OutcomeUnknown: it was found in a list, and is not what was ordered. The journal says so.
        """
        if job.state == "completed":
            await self._verify(job)
        await self.journal.record_state(job)

    async def _verify(self, job: Job) -> None:
        """Check a finished job that was found in a list against the order that it was taken for."""
        order = await self.journal.get_by_jobid(job.jobid)
        if order is None or not order.adopted:
            return
        seconds = await count_clip_seconds(self.journal, order)
        if not _fits(order.request, seconds, job.files):
            await self.journal.release(job.jobid)
            cause = "the job that was found in its place shows something else"
            raise OutcomeUnknown(cause, candidates=self.list_candidates(MatchResult(candidates=(job.jobid,))))

    def list_candidates(self, match: MatchResult) -> tuple[str, ...] | None:
        """List the jobs that may be an order's, as far as they may be named; None if they could not be listed."""
        if match.candidates and not self.names_candidates:
            return ()
        return match.candidates

    async def find_job(self, order: Order) -> MatchResult:
        """Look for the order's job among the running ones; record it in the journal if there is exactly one match."""
        result = MatchResult()
        if not self.api.features.list_running:
            return result
        for delay in _LISTING_DELAYS:
            await anyio.sleep(delay)
            running = await self._list_running()
            if running is not None:
                result = await self._match(order, running)
            if result.jobid or result.candidates:
                break
        return result

    async def settle(self, order: Order) -> MatchResult:
        """Find the job of an order that has none yet, and record what is known of it now.

        The order is given up if no job of it can be running any more, else its outcome stays unknown.
        """
        match = await self.find_job(order)
        if match.jobid:
            return match
        none_found = match.candidates == () and not match.at_other_times
        if not self.api.features.list_running:
            # No list shows that there is none, but its age does, once the API's time is known.
            none_found = await self.learn_time()
        if none_found and not self.may_run(order):
            await self.journal.give_up(order)
            return replace(match, given_up=True)
        await self.journal.mark_unknown(order)
        return match

    async def wait_for_delivery(self, order: Order) -> Order | None:
        """Wait until no process is delivering the order any more, and get it; None if it was rejected and removed."""
        current: Order | None = order
        heartbeat, seen_at = order.alive_at, anyio.current_time()
        while current and current.state == "sent" and heartbeat:
            # By the event loop's clock: that of the other process may be wrong.
            if anyio.current_time() - seen_at > STALE_AFTER:
                break
            await anyio.sleep(HEARTBEAT_INTERVAL)
            current = await self.journal.get(order.id)
            if current and current.alive_at != heartbeat:
                heartbeat, seen_at = current.alive_at, anyio.current_time()
        return current

    async def recover_orders(self, before: datetime | None = None) -> None:
        """Settle all orders whose answer is missing, or only those placed before a time."""
        for order in await self.journal.list_unsettled():
            if before and order.ordered_at >= before:
                continue
            current = await self.wait_for_delivery(order)
            if current is None or current.state not in UNSETTLED:
                continue
            match = await self.settle(current)
            if match.jobid is None and not match.given_up:
                time = f"{order.ordered_at:%H:%M} UTC"
                if not self.api.features.list_running:
                    logger.warning("An order of %s got no answer, and nothing here can find its job", time)
                    continue
                candidates = ", ".join(match.candidates or ()) or "none known"
                logger.warning("An order of %s got no answer; running jobs that it may be: %s", time, candidates)

    async def _list_running(self) -> tuple[RunningJob, ...] | None:
        with anyio.move_on_after(_LISTING_TIMEOUT):
            try:
                return await self.api.list_running(retry_timeout=0)
            except LumaError as error:
                logger.info("The running jobs could not be listed: %s", error)
        return None

    async def _match(self, order: Order, running: tuple[RunningJob, ...]) -> MatchResult:
        order = await self.journal.get(order.id) or order
        if order.jobid:
            return MatchResult(order.jobid, was_known=True)
        owned = await self.journal.owned_jobids(of_all=True)
        similar = [job for job in running if job.jobid not in owned and _is_similar(order, job)]
        candidates = tuple(job.jobid for job in similar if self._is_timely(order, job))
        at_other_times: tuple[str, ...] = ()
        if self.api.now() is None or not order.by_api_clock:
            at_other_times = tuple(job.jobid for job in similar if job.jobid not in candidates)
        # A second similar job, whatever its age, shows that others place such orders in these accounts.
        if len(similar) == len(candidates) == 1 and not await self._has_rival(order, similar):
            # Shielded, so that a job that was found for sure reaches at least the log.
            with anyio.CancelScope(shield=True):
                if await self.journal.adopt(order, candidates[0]):
                    logger.warning("The answer to an order was lost; its job was found: %s", candidates[0])
                    return MatchResult(candidates[0])
        return MatchResult(candidates=candidates, at_other_times=at_other_times)

    async def _has_rival(self, order: Order, jobs: list[RunningJob]) -> bool:
        """Whether one of the jobs may also belong to another order without an answer, of any tenant."""
        for other in await self.journal.list_rivals():
            if other.id == order.id:
                continue
            # The time of an order without the API's comes from the clock of another process, which may be wrong.
            at_any_time = not other.by_api_clock and self.api.now() is not None
            if any(_is_similar(other, job) and (at_any_time or self._is_timely(other, job)) for job in jobs):
                return True
        return False

    def _is_timely(self, order: Order, job: RunningJob) -> bool:
        """Whether a job was created while the order was being delivered."""
        created = parse_time(job.created)
        if created is None:
            return True
        offset, tolerance = timedelta(), _CLOCK_TOLERANCE
        api_now = self.api.now()
        if order.by_api_clock or api_now:
            tolerance = _DATE_TOLERANCE
        if api_now and not order.by_api_clock:
            offset = api_now - self.wall_clock()
        earliest = (order.sent_at or order.ordered_at) + offset - tolerance
        return earliest <= created <= earliest + _LONGEST_DELIVERY + 2 * tolerance


def _fits(request: VideoRequest, seconds: float | None, files: JobFiles) -> bool:
    """Whether a finished job's files can be what was requested, as far as its record shows that.

    `seconds`: the length that was ordered, with what was extended; None if that is not known.
    """
    if files.video is None:
        return True
    video = files.video
    wide, _, high = (request.aspect_ratio or "").partition(":")
    if video.width and video.height and high:
        expected = int(wide) / int(high)
        if abs(video.width / video.height - expected) > _RATIO_TOLERANCE * expected:
            return False
    if video.duration and seconds and abs(video.duration - seconds) > _SECONDS_TOLERANCE:
        return False
    return (files.video_hdr_exr is not None) == (request.dynamic_range == "hdr_exr")


def _is_similar(order: Order, job: RunningJob) -> bool:
    """Whether a job's kind, model and account fit the order."""
    same_model = job.model in (None, order.request.model)
    same_account = not order.account or job.account in (None, order.account)
    return job.is_video and same_model and same_account
