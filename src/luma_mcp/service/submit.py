"""The safe ordering of paid jobs: each order is recorded before it is sent, and delivered at most once.

The journal's protocol explains the states of an order. A process that is killed leaves a pending order (nothing was
ordered) or a sent one, whose job the next process looks for among the running jobs.
"""

# What is recorded when, and what a cancelled call leaves behind. A step completes once it has begun: cancellation takes
# effect only before a step, and only where the last column names it.
#
#   step                         journal afterwards     cancelled before this step
#   ---------------------------  ---------------------  ---------------------------------------------------------------
#   check for a duplicate        (nothing new)          nothing happened
#   upload images                assets                 some are uploaded, which costs nothing
#   insert_pending               intent                 nothing was ordered
#   check for one once more      intent                 the pending order is dropped, nothing was ordered
#   mark_sending                 sent                   the pending order is dropped, nothing was ordered
#   delivery                     sent                   impossible: shielded from mark_sending on
#   then one of
#     answered: record_job       running, with jobid    impossible; afterwards the jobid is logged for the caller
#     rejected: drop             (removed)              impossible
#     may come later:            intent                 impossible; the pause until the next attempt can be cancelled,
#       mark_not_delivered                              and drops the pending order
#     no answer: mark_unknown    unknown                impossible; afterwards its job is looked for, and a call that is
#                                                       cancelled meanwhile leaves that to the next order or list
#
# The shields are anyio's. `asyncio.Task.cancel` and `asyncio.wait_for` ignore them: in a call that places an order,
# they separate the delivery from its answer. The order then stays `sent`, and is treated like that of a killed process.

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Literal
from weakref import WeakValueDictionary

import anyio
import anyio.lowlevel

from luma_mcp import errors
from luma_mcp.api.polling import Waits
from luma_mcp.api.protocol import Job, VideoApi, VideoRequest
from luma_mcp.catalog.validate import find_cheaper
from luma_mcp.journal.protocol import Journal, JournalBusy, LimitExceeded, Order, RateWindow
from luma_mcp.providers import PROVIDERS
from luma_mcp.service import UNKNOWN_FOR
from luma_mcp.service.concurrency import periodic
from luma_mcp.service.jobs import add_slot_holders, update_ended
from luma_mcp.service.prices import PriceEstimator
from luma_mcp.service.reconcile import HEARTBEAT_INTERVAL, Reconciler
from luma_mcp.service.requests import ProgressCallback, RequestBuilder, ValidatedRequest
from luma_mcp.service.webhooks import WebhookUrls

logger = logging.getLogger(__name__)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
PENDING_COUNTS_FOR = timedelta(minutes=1)
"""A pending order without a heartbeat for so long belongs to a killed process; it does not count towards a limit."""
CONNECTION_PAUSE = 2.0
"""Seconds between two attempts to connect."""
SLOT_PAUSE = 5.0
"""Seconds between two attempts to get a slot. A job takes half a minute or more."""
_END_TOLERANCE = timedelta(seconds=2)
"""By how much later a job may seem to have ended than it has: the dates of the API's answers are whole seconds."""
_REDELIVERED_FOR = timedelta(minutes=1)
"""How long an answer with a video may turn out to be lost between a server for many and its caller, who then repeats
the order: a proxy or the server itself has failed meanwhile."""
_BUSY_PAUSE = 0.2
"""Seconds between two attempts to use a journal that another process has locked."""

Outcome = Literal["created", "duplicate", "recovered"]
"""`created`: ordered now. `duplicate`: the job of an identical order, which is running, or has finished without anybody
getting its result; nothing was ordered. `recovered`: the answer to the order was lost, and its job was found."""


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What became of an order.

    `image_changes`: how its images were changed before the upload, by parameter. `is_unpriced`: there is a budget, and
    the order was placed although nothing shows what it costs.
    """

    job: Job
    outcome: Outcome
    image_changes: Mapping[str, str] = field(default_factory=dict)
    is_unpriced: bool = False


@dataclass(slots=True)
class OrderSubmitter:
    """Submits orders, at most one delivery each.

    Attributes:
        now: the time of day, in UTC: by the API's clock once that is known.
        max_per_hour: how many orders all processes that share the journal may place per hour; 0 for any number.
        budget: what their orders of 24 hours may cost, in the API's unit; 0 for any amount.
        prices: what an order is expected to cost.
        repeat_window: how long after its end a job is returned to an identical order if nobody got its result.
        is_shared: whether the journal has a file, which other processes share.
        is_required: whether nothing is ordered while that file cannot be used.
        expect: gives the seconds that a video usually takes at most, if that is known.
        ordered_by: who orders, for the report on usage.
        webhooks: builds what the API calls at the end of a job; None if it calls nobody.
        may_lose_answers: whether an answer can be lost between this server and its caller.
    """

    api: VideoApi
    journal: Journal
    requests: RequestBuilder
    reconciler: Reconciler
    now: Callable[[], datetime]
    max_per_hour: int
    budget: float
    prices: PriceEstimator
    repeat_window: timedelta
    is_shared: bool
    is_required: bool
    expect: Callable[[VideoRequest], Awaitable[float | None]]
    ordered_by: str = ""
    webhooks: WebhookUrls | None = None
    may_lose_answers: bool = False
    # A lock exists as long as a call has it or waits for it.
    _locks: WeakValueDictionary[str, anyio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    async def submit(
        self,
        validated: ValidatedRequest,
        *,
        allow_duplicate: bool = False,
        reuse_only: bool = False,
        any_age: bool = False,
        save: bool = False,
        retry_timeout: float,
        patience: float = 0,
        waits: Waits | None = None,
        on_progress: ProgressCallback,
    ) -> SubmitResult:
        """Order a video, or find the job of an identical order.

        Args:
            validated: what to order; exactly the images in it are uploaded.
            allow_duplicate: order it even if an identical order is running.
            reuse_only: order nothing; return the job of the identical order if it is running.
            any_age: return also a completed job of an identical order, however old it is, instead of ordering again.
            save: record that the job's files are to be saved.
            retry_timeout: seconds within which a refused connection is tried again.
            patience: seconds for which a free slot, and a journal that another process has locked, are waited for.
            waits: those that end together with these.
            on_progress: called at the beginning of each step.

        Raises:
            OutcomeUnknown: it was sent and no readable answer came; or that happened to an identical order before.
            LimitReached: the hourly limit has been reached.
            BudgetReached: the budget has no room for it.
            JournalUnavailable: the journal is required and cannot be used.
            Conflict: with `reuse_only`, no identical order is running.
            LumaError: anything else; `charged` is "no" where it cost nothing.
        """
        started = anyio.current_time()
        call = await self._begin_call(validated.key, any_age=any_age)
        await on_progress("preparing")
        # A duplicate that is allowed waits for no other order.
        lock_key = uuid.uuid4().hex if allow_duplicate else validated.key
        lock = self._locks.setdefault(lock_key, anyio.Lock())
        try:
            async with lock:
                if reuse_only or not allow_duplicate:
                    duplicate = await self._find_duplicate(validated.key, call)
                    if duplicate:
                        return duplicate
                if reuse_only:
                    raise errors.Conflict("just_finished", charged="no")
                # Before the uploads, which would be wasted. `insert_pending` checks again, including other processes.
                await self.check_limits(validated)
                while True:
                    request, uploaded = await self.requests.build_request(validated, on_progress)
                    await on_progress("ordering")
                    account = request.email or uploaded.account or None
                    is_exact = self.api.now() is not None
                    order = Order(
                        validated.key,
                        request,
                        self.now(),
                        account=account,
                        save=save,
                        by_api_clock=is_exact,
                        continues=validated.continues,
                        price=(await self.prices.estimate(validated.params)).price,
                        ordered_by=self.ordered_by,
                    )
                    deadlines = started + retry_timeout, started + patience
                    placing = _Placing(order, validated, call, allow_duplicate, *deadlines, waits or Waits())
                    try:
                        result = await self._place_in_slot(placing, on_progress)
                    except errors.NotFound:
                        if not uploaded.reused:
                            raise
                        # The API has deleted an earlier upload before its time. The next round uploads it again.
                        for asset_ref in uploaded.reused:
                            await self.journal.forget_asset(asset_ref)
                    else:
                        is_unpriced = bool(self.budget) and order.price is None and result.outcome != "duplicate"
                        return replace(result, image_changes=uploaded.changes, is_unpriced=is_unpriced)
        except errors.Capacity as error:
            await self._explain(error)
            raise

    async def find_duplicate(self, validated: ValidatedRequest, *, any_age: bool = False) -> SubmitResult | None:
        """Find the job of an identical order; None if a new one may be placed.

        With `any_age`, also one that was completed long ago, or whose caller got it.

        Raises:
            OutcomeUnknown: there is an identical order that may be running.
            LumaError: whether its job is running could not be found out; `jobid` is set.
        """
        return await self._find_duplicate(validated.key, await self._begin_call(validated.key, any_age=any_age))

    async def _begin_call(self, key: str, *, any_age: bool) -> _Call:
        began = anyio.current_time()
        finished = await self.journal.list_finished(key)
        delivered = [order for order in finished if order.delivered]
        if self.may_lose_answers and delivered:
            await self.reconciler.learn_time()
            # Repeating an order whose job has failed means another attempt, even if the failure was never reported.
            since = self.now() - _REDELIVERED_FOR
            delivered = [
                order
                for order in delivered
                if order.state == "failed" or order.delivered_at is None or order.delivered_at <= since
            ]
        return _Call(began, frozenset(order.id for order in delivered), any_age)

    async def _find_duplicate(self, key: str, call: _Call) -> SubmitResult | None:
        order = await self.journal.get_open(key)
        if order:
            return await self._check_open(order, call)
        return await self._find_repeat(key, call)

    async def find_takes(
        self, validated: ValidatedRequest, takes: int
    ) -> tuple[dict[int, SubmitResult | errors.LumaError], tuple[int, ...]]:
        """Find what there is of the takes 1 to `takes` of a request, and which of them are to be ordered.

        Where an order may be running whose job cannot be found or looked up now, there is the error about that, and
        no later take is to be ordered.
        """
        found: dict[int, SubmitResult | errors.LumaError] = {}

        async def find(take: int) -> None:
            try:
                duplicate = await self.find_duplicate(replace(validated, take=take))
            except errors.LumaError as error:
                found[take] = error
            else:
                if duplicate:
                    found[take] = duplicate

        # At the same time, so that it takes no longer than with one while the API cannot be reached.
        async with anyio.create_task_group() as tasks:
            for take in range(1, takes + 1):
                tasks.start_soon(find, take)
        missing: list[int] = []
        for take in range(1, takes + 1):
            if isinstance(found.get(take), errors.LumaError):
                break
            if take not in found:
                missing.append(take)
        return found, tuple(missing)

    async def check_limits(self, validated: ValidatedRequest, orders: int = 1) -> None:
        """Check whether so many orders of a request may be placed now.

        Raises:
            LimitReached: the hourly limit has no room for them.
            BudgetReached: the budget has no room for them.
        """
        is_limited = bool(self.max_per_hour or self.budget)
        # Three cases need the API's time. Limits: with a wrong local clock, no order might count. An API that lists no
        # jobs: only its time shows when the job of an unanswered order cannot be running any more. Several machines:
        # one whose clock differs finds a job by the time of the order.
        if is_limited or not self.api.features.list_running or self.journal.replicas:
            await self.reconciler.learn_time()
        if not is_limited:
            return
        exceeded = await self._find_exceeded(validated, orders)
        if exceeded and exceeded.window.budget is not None:
            # Jobs that have ended since they were last seen may have used less than their price.
            await update_ended(self.api, self.journal, {}, self.reconciler)
            exceeded = await self._find_exceeded(validated, orders)
        if exceeded:
            raise await self._limit_reached(exceeded, validated, orders)

    async def _find_exceeded(self, validated: ValidatedRequest, orders: int) -> LimitExceeded | None:
        """Find a window that has no room for the orders."""
        estimate = await self.prices.estimate(validated.params)
        for window in await self._rate_windows():
            counted = await self.journal.list_counted(window)
            spent = sum(order.get_spent(window.unpriced) for order in counted)
            if not window.has_room(len(counted), spent, estimate.price, orders=orders):
                return LimitExceeded(window, spent)
        return None

    async def _place_in_slot(self, placing: _Placing, on_progress: ProgressCallback) -> SubmitResult:
        """Place the order, waiting for a free slot as long as the call's time allows."""
        is_explained = False
        while True:
            try:
                return await self._place(placing)
            except errors.NetworkError as error:
                is_lasting = error.stage in ("tls", "unsendable")
                end = min(placing.retry_deadline, placing.waits.latest)
                if is_lasting or anyio.current_time() + CONNECTION_PAUSE >= end:
                    raise
                await anyio.sleep(CONNECTION_PAUSE)
            except (errors.Capacity, errors.Upstream) as error:
                # Wait at least as long as the API asks for.
                pause = max(SLOT_PAUSE, error.retry_after or 0)
                is_for_now = isinstance(error, errors.Capacity) or error.fault == "throttled"
                if not is_for_now or anyio.current_time() + pause >= min(placing.deadline, placing.waits.latest):
                    raise
                if isinstance(error, errors.Capacity) and not is_explained:
                    await self._explain(error)
                    detail = f"{error.in_use} of {error.slots} in use" if error.slots else None
                    await on_progress("waiting for a free slot", detail)
                    is_explained = True
                with placing.waits.until(placing.deadline):
                    await anyio.sleep(pause)

    async def _explain(self, error: errors.Capacity) -> None:
        """Add which jobs hold the slots, and when the next one is expected to finish."""
        await add_slot_holders(error, self.api, self.journal, self.reconciler, self.expect, self.now())

    async def _place(self, placing: _Placing) -> SubmitResult:
        """Record the order and deliver it, unless another process has placed the same one meanwhile."""
        order = placing.order
        # Derived from the random id, so that competing orders wait for different times.
        pause = _BUSY_PAUSE * int(order.id[:4], 16) / 0xFFFF
        while True:
            windows = await self._rate_windows()
            is_patient = anyio.current_time() < placing.deadline
            try:
                with anyio.CancelScope(shield=True):
                    other = await self.journal.insert_pending(
                        order, allow_duplicate=placing.allow_duplicate, windows=windows, is_patient=is_patient
                    )
            except JournalBusy:
                await anyio.sleep(_BUSY_PAUSE)
                continue
            except LimitExceeded as exceeded:
                raise await self._limit_reached(exceeded, placing.validated) from None
            duplicate = await self._find_late_duplicate(placing, other)
            if duplicate:
                return duplicate
            if other:
                continue
            try:
                job = await self._deliver(order)
            except _PendingOrderLost:
                logger.info("Another process is placing the same order.")
                # Otherwise, many calls that replace each other's pending orders might never send any.
                await anyio.sleep(pause)
                pause *= 2
            except (errors.OutcomeUnknown, errors.Upstream) as error:
                if error.charged == "no":
                    raise
                return await self._find_lost_job(order, error)
            else:
                return SubmitResult(job, "created")

    async def _deliver(self, order: Order) -> Job:
        """Send the order, and record what became of it before anything else can happen."""
        with anyio.CancelScope() as scope:
            observer = _DeliveryRecorder(self.journal, order, scope, self.is_required and self.is_shared)
            try:
                reply_url = self.webhooks.build(order.id) if self.webhooks else None
                async with periodic(HEARTBEAT_INTERVAL, observer.heartbeat):
                    job = await self.api.submit(order.request, retry_timeout=0, observer=observer, reply_url=reply_url)
                    try:
                        await self.journal.record_job(observer.time_order(self.api.now()), job.jobid)
                    except Exception:
                        # The job is paid for, so its jobid must reach the caller whatever happens to the journal.
                        logger.exception("The journal could not record the job %s", job.jobid)
            except BaseException as error:
                scope.shield = True
                await self._record_failure(observer.time_order(self.api.now()), error)
                raise
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
        except anyio.get_cancelled_exc_class():
            # Nobody receives the result any more.
            logger.warning("The call was cancelled, and the job that it ordered continues: %s", job.jobid)
            raise
        return job

    async def _record_failure(self, order: Order, error: BaseException) -> None:
        if isinstance(error, errors.OutcomeUnknown | errors.Upstream) and error.charged != "no":
            # To the log as well, for the case that the caller has left.
            logger.warning("%s", error)
            status = error.status if isinstance(error, errors.Upstream) else None
            await self.journal.mark_unknown(replace(order, answer_status=status))
        elif isinstance(error, errors.LumaError):
            await self.journal.drop(order)
            error.charged = error.charged or "no"
            if isinstance(error, errors.AccountSession) and self.api.features.accounts:
                error.email = error.email or order.account
        else:
            # Cancelled, or a failure of this program. What was sent stays `sent`: nobody knows whether it arrived.
            await self.journal.drop_pending(order)

    async def _find_lost_job(self, order: Order, error: errors.OutcomeUnknown | errors.Upstream) -> SubmitResult:
        """Find the job of an order without a readable answer.

        Raises:
            OutcomeUnknown: with the jobs that it may be.
        """
        match = await self.reconciler.find_job(order)
        if match.jobid:
            return SubmitResult(_build_job(order, match.jobid), "recovered")
        if isinstance(error, errors.OutcomeUnknown):
            error.candidates = self.reconciler.list_candidates(match)
            raise error
        # Not even a failure with a message proves that nothing was ordered.
        cause = f"the API answered with a failure ({error.status})"
        candidates = self.reconciler.list_candidates(match)
        retry: errors.Retry | None = "later" if self.api.features.list_running else None
        raise errors.OutcomeUnknown(
            cause, candidates=candidates, status=error.status, api_message=error.api_message, retry=retry
        ) from error

    async def _check_open(self, order: Order, call: _Call) -> SubmitResult | None:
        """Find out whether the job of an open order is running; None if it is not, so that a new one may be placed."""
        if order.jobid is None:
            return await self._check_unsettled(order)
        job = await self._fetch(order, order.jobid)
        if job is None:
            if self.reconciler.age(order) > UNKNOWN_FOR:
                await self.journal.mark_gone(order.jobid)
                return await self._find_repeat(order.key, call)
            # Of a young job, a lagging replica says so too.
            raise errors.Upstream("not_listed", jobid=order.jobid, charged="no")
        if job.state == "running":
            return SubmitResult(job, "duplicate")
        return await self._find_repeat(order.key, call, job)

    async def _find_repeat(self, key: str, call: _Call, fetched: Job | None = None) -> SubmitResult | None:
        """Find the newest finished job of an identical order whose result nobody had received when the call came.

        With `call.any_age`, every completed job will do. `fetched`: a job of such an order that was fetched just now.
        """
        finished = await self.journal.list_finished(key)
        if any(order.id not in call.delivered for order in finished):
            # If this machine's clock is wrong, a job that has just ended may seem to be old.
            await self.reconciler.learn_time()
        now, is_exact = self.now(), self.api.now() is not None
        came_at = now - timedelta(seconds=anyio.current_time() - call.began)
        for order in finished:
            ended = latest_end = (order.sent_at or order.ordered_at) + timedelta(seconds=order.seconds or 0)
            if order.seconds is None:
                # Nothing shows when it ended.
                latest_end += UNKNOWN_FOR
            # A call that waited behind the first one, for example while its lost job was looked for, means the same
            # video. The dates of the API's answers are whole seconds, so the end may seem to be in the future.
            is_recent = bool(self.repeat_window) and now - latest_end <= self.repeat_window
            was_delivered = order.id in call.delivered
            if was_delivered and is_exact and order.by_api_clock and ended > came_at + _END_TOLERANCE:
                # The journal answered so late that somebody got the result after this call came.
                was_delivered = False
            is_repeat = not was_delivered and (is_recent or ended > came_at)
            is_wanted = is_repeat or (call.any_age and order.state == "completed")
            if order.jobid is None or not is_wanted:
                continue
            job = fetched
            if job is None or job.jobid != order.jobid:
                job = await self._fetch(order, order.jobid)
            if job:
                return SubmitResult(job, "duplicate")
        return None

    async def _find_late_duplicate(self, placing: _Placing, other: Order | None) -> SubmitResult | None:
        """Find the job of an identical order that could not be found before the order was to be recorded.

        Another process placed it meanwhile, or it is in the journal's file, which could not be read until now. `other`:
        that order, if it is open. If not, the order is pending now, and is dropped if a finished job is found.
        """
        if other:
            return await self._check_open(other, placing.call)
        if placing.allow_duplicate:
            return None
        is_new = False
        try:
            repeat = await self._find_repeat(placing.order.key, placing.call)
            is_new = repeat is None
        finally:
            if not is_new:
                with anyio.CancelScope(shield=True):
                    await self.journal.drop_pending(placing.order)
        return repeat

    async def _fetch(self, order: Order, jobid: str) -> Job | None:
        """Fetch the job of an order, and record its state; None if the API does not know it."""
        try:
            job = await self.api.get(jobid)
        except (errors.NotFound, errors.Forbidden, errors.InvalidArguments):
            return None
        except errors.LumaError as error:
            error.jobid = jobid
            error.charged = error.charged or "no"
            raise
        await self.reconciler.record(job)
        return replace(job, request=order.request)

    async def _check_unsettled(self, order: Order) -> SubmitResult | None:
        current = await self.reconciler.wait_for_delivery(order)
        if current is None or current.state == "intent":
            return None
        if current.jobid:
            return SubmitResult(_build_job(current, current.jobid), "duplicate")
        match = await self.reconciler.settle(current)
        if match.given_up:
            return None
        if match.jobid is None:
            raise errors.OutcomeUnknown(
                "its answer was lost",
                candidates=self.reconciler.list_candidates(match),
                age=self.reconciler.age(current).total_seconds(),
                status=current.answer_status,
                retry="later" if current.answer_status and self.api.features.list_running else None,
            )
        return SubmitResult(_build_job(current, match.jobid), "duplicate" if match.was_known else "recovered")

    async def _rate_windows(self) -> list[RateWindow]:
        """Build a window for each limit that is set."""
        now = self.now()
        # An order that is later than tomorrow has the time of a clock that was wrong.
        build_window = partial(RateWindow, pending_since=now - PENDING_COUNTS_FOR, until=now + DAY)
        windows: list[RateWindow] = []
        if self.max_per_hour:
            windows.append(build_window(self.max_per_hour, now - HOUR))
        if self.budget:
            unpriced = await self.prices.get_highest() or 0.0
            windows.append(build_window(None, now - DAY, budget=self.budget, unpriced=unpriced))
        return windows

    async def _limit_reached(
        self, exceeded: LimitExceeded, validated: ValidatedRequest, orders: int = 1
    ) -> errors.LimitReached | errors.BudgetReached:
        """Build the error of orders of one request for which a window has no room."""
        window, spent, now = exceeded.window, exceeded.spent, self.now()
        estimate = await self.prices.estimate(validated.params)
        counted = await self.journal.list_counted(window)
        next_at = _find_time(window, counted, spent, now, price=estimate.price, orders=orders)
        room = 0
        while room < orders and window.has_room(len(counted), spent, estimate.price, orders=room + 1):
            room += 1
        wait: float | None = None
        if next_at:
            wait = (next_at - now).total_seconds()
        is_shared = self.is_shared and self.journal.problem is None
        if window.budget is None:
            return errors.LimitReached(
                self.max_per_hour, next_at, is_shared, orders=orders, room=room, retry_after=wait
            )
        catalog = self.api.catalog
        # A difference of decimal fractions can be off by its last digits.
        cheaper = find_cheaper(catalog, validated.params, round((window.budget - spent) / orders, 6)) or {}
        price = catalog.price(cheaper)
        return errors.BudgetReached(
            window.budget,
            spent,
            estimate.price,
            estimate.basis,
            PROVIDERS[catalog.api].unit,
            is_shared,
            next_at,
            suggestion=cheaper or None,
            suggestion_price=price if price is None else price * orders,
            orders=orders,
            room=room,
            retry_after=wait,
        )


def _find_time(
    window: RateWindow, counted: list[Order], spent: float, now: datetime, *, price: float | None, orders: int
) -> datetime | None:
    """Find out when the window has room for more `orders`, as the oldest ones leave it; None if it never has.

    `spent`: what all orders in the window have spent.
    """
    if not window.has_room(0, 0.0, price, orders=orders):
        return None
    length = now - window.since
    # Some rows of the journal cannot be read. All of them have left the window by then.
    found = now + length
    count = len(counted)
    for order in sorted(counted, key=lambda order: order.ordered_at):
        count -= 1
        spent -= order.get_spent(window.unpriced)
        if window.has_room(count, spent, price, orders=orders):
            found = order.ordered_at + length
            break
    # Rounded up, because it is shown without seconds.
    return (found + timedelta(seconds=59, microseconds=999_999)).replace(second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class _Call:
    """What decides which finished jobs a call gets.

    Attributes:
        began: when it came, by the event loop's clock.
        delivered: the ids of identical orders whose results somebody had received by then, for certain. No time of day
            shows exactly when that was: the clocks of processes differ, and the API's dates are whole seconds.
        any_age: whether it gets every completed job.
    """

    began: float
    delivered: frozenset[str]
    any_age: bool


@dataclass(frozen=True, slots=True)
class _Placing:
    """An order with the options of its call; see `OrderSubmitter.submit`."""

    order: Order
    validated: ValidatedRequest
    call: _Call
    allow_duplicate: bool
    # Until when a refused connection is tried again, by the event loop's clock.
    retry_deadline: float
    # Until when a slot and a locked journal are waited for, by the event loop's clock.
    deadline: float
    waits: Waits


@dataclass(slots=True)
class _DeliveryRecorder:
    """Records the steps of one delivery, and shields it from cancellation from the first record on.

    It implements `api.protocol.DeliveryObserver`. `scope` is the one that the delivery runs in. With `is_strict`,
    nothing is sent while the journal's file cannot be used.
    """

    journal: Journal
    order: Order
    scope: anyio.CancelScope
    is_strict: bool
    # When it was last sent, by the event loop's clock.
    _sent: float | None = None

    def time_order(self, api_now: datetime | None) -> Order:
        """Get the order with the time when it was sent by the API's clock, if that is known now."""
        if api_now is None or self._sent is None:
            return self.order
        sent_at = api_now - timedelta(seconds=anyio.current_time() - self._sent)
        return replace(self.order, ordered_at=sent_at, sent_at=sent_at, by_api_clock=True)

    async def sending(self) -> None:
        self.scope.shield = True
        self._sent = anyio.current_time()
        if not await self.journal.mark_sending(self.order):
            raise _PendingOrderLost
        if self.is_strict and self.journal.problem:
            raise errors.JournalUnavailable(self.journal.problem)

    async def not_delivered(self) -> None:
        await self.journal.mark_not_delivered(self.order)
        self.scope.shield = False

    async def heartbeat(self, _: float) -> None:
        """Show other processes that the order is still being delivered."""
        try:
            await self.journal.heartbeat(self.order)
        except Exception:
            # It runs beside the delivery, and would cancel it.
            logger.exception("A heartbeat could not be recorded")


class _PendingOrderLost(Exception):
    """Another process has taken over the pending order, so it must not be sent."""


def _build_job(order: Order, jobid: str) -> Job:
    """Build the record of a job that was not fetched, from its order."""
    return Job(jobid, kind="video", created=order.ordered_at.isoformat(), request=order.request)
