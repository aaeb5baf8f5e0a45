"""`generate_video`: order a video, and wait for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio

from luma_mcp.errors import (
    BudgetReached,
    Conflict,
    InvalidArguments,
    JournalUnavailable,
    LimitReached,
    LumaError,
    NotConfigured,
    NotFound,
    OutcomeUnknown,
    Upstream,
)
from luma_mcp.server import schemas
from luma_mcp.server.arguments import VIDEO_OPTIONS, ParsedArguments, offered_options, parse_arguments
from luma_mcp.server.clients import supports_apps
from luma_mcp.server.following import JobFollower, follow_job
from luma_mcp.server.messages import ResultContext
from luma_mcp.server.progress import ProgressReporter
from luma_mcp.server.several import FailedOrder, Followed, SharedProgress, build_several, follow_all
from luma_mcp.server.tasks import attach_task, build_task, supports_tasks
from luma_mcp.server.tools import CallToolResult, ConfirmationDecision, Context, ServerContext, Tool, build_tool
from luma_mcp.server.ui import PLAYER_META
from luma_mcp.service.tenants import current_tenant

if TYPE_CHECKING:
    from luma_mcp.service.requests import ValidatedRequest
    from luma_mcp.service.submit import Outcome, SubmitResult


logger = logging.getLogger(__name__)

DESCRIPTION = (
    "Make a video from a text prompt, optionally with images. Costs {unit}: call once per video. Returns the video's "
    "link, or a jobid for get_job if it is not ready within wait_seconds. Invalid combinations are rejected before "
    "anything is charged, and the closest valid request is suggested. Repeating an order returns its job if you lack "
    "its result."
)
COSTS = {"credits": "credits", "dollars": "money"}
"""What it says of costs, by `Provider.unit`."""
# Maximum seconds for which full slots or a refused connection are tried again before an error is returned.
ORDER_RETRY_TIMEOUT = 20.0
# Errors that come before anything is sent.
UNSENT = (InvalidArguments, NotConfigured, JournalUnavailable, LimitReached, BudgetReached)
# Clients fetch the result of a task soon, so what is known of older orders is of no use.
MAX_ORDERED = 1000


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    build_schema = schemas.exact_schema if context.settings.schema == "exact" else schemas.portable_schema
    return build_tool(
        context,
        handle,
        name="generate_video",
        title="Make a video",
        description=DESCRIPTION.format(unit=COSTS[context.provider.unit]),
        input_schema=build_schema(
            context.catalog, context.settings.max_wait_seconds, saves=context.settings.has_local_files
        ),
        output_schema=schemas.job_output(context.catalog, saves=context.settings.has_local_files),
        # Not destructive, since it only adds a job; not idempotent, since a later call is another, charged job.
        idempotent=False,
        meta=PLAYER_META,
    )


async def handle(
    context: ServerContext,
    raw: dict[str, Any],
    ctx: Context[Any, Any],
    decision: ConfirmationDecision = ConfirmationDecision(),  # noqa: B008 - it is immutable
) -> CallToolResult:
    """Order a video and return it when it is ready, or its jobid when the time is up.

    `decision`: what the call may do after the user was asked. Whatever fails after the order, the jobid reaches the
    agent, or else the log.
    """
    service = context.require_service()
    options = offered_options(VIDEO_OPTIONS, has_local_files=context.settings.has_local_files)
    parsed = parse_arguments(context.catalog, raw, (*context.catalog.params, *options))
    seconds, allowed = context.wait_seconds(parsed.options, ctx)
    now = anyio.current_time()
    end = now + seconds
    call = _Call(context, ctx, parsed, decision, seconds > 0, end=end, order_end=end, deadline=now + allowed)
    try:
        with context.services.waiting(is_wanted=seconds > 0) as call.most_waits:
            if call.most_waits:
                # It is ordered all the same.
                call.is_waiting, call.end, call.order_end = False, now, now + min(ORDER_RETRY_TIMEOUT, seconds)
            if parsed.options.get("takes", 1) > 1:
                return await _order_takes(call)
            return await _order_one(call)
    except anyio.get_cancelled_exc_class():
        for submitted in call.submitted:
            # Nobody receives the result of this call any more, but the log can still be read.
            logger.warning("A call was cancelled; its job continues: %s", submitted.job.jobid)
        raise
    except Exception as error:  # noqa: BLE001 - every error becomes a result
        first, *others = call.submitted or (None,)
        explained = _explain(error, parsed, first)
        for other in filter(None, others):
            # The error is about the first take; list_jobs shows these as well.
            logger.warning("A call failed; its job continues: %s", other.job.jobid)
        # Even an order that the API refused was sent without a check of other processes' orders. An HTTP status shows
        # that something was sent.
        if isinstance(explained, LumaError) and (explained.status or not isinstance(explained, UNSENT)):
            explained.journal_problem = service.journal.problem
            explained.journal_refuses = service.journal.refuses_orders
        raise explained from None


@dataclass(slots=True)
class _Call:
    """One call of the tool.

    Attributes:
        is_waiting: whether it waits for the job.
        end, order_end: when its wait for the job is over, and that for a slot.
        deadline: until when its host takes the result.
        most_waits: how many calls of the tenant may wait, if that is why this one does not.
    """

    context: ServerContext
    ctx: Context[Any, Any]
    parsed: ParsedArguments
    decision: ConfirmationDecision
    is_waiting: bool
    end: float
    order_end: float
    deadline: float
    most_waits: int | None = None
    # What was ordered so far.
    submitted: list[SubmitResult] = field(default_factory=list)

    async def validate(self) -> ValidatedRequest:
        """Validate the request, unless the user was asked about it, and it was validated for the question."""
        if self.decision.error:
            raise self.decision.error
        service = self.context.require_service()
        return self.decision.validated or await service.validate(self.parsed.params, self.parsed.problems)

    async def submit(
        self, validated: ValidatedRequest, reporter: ProgressReporter, *, reuse_only: bool = False
    ) -> JobFollower:
        """Order a video, and get what follows its job. With `reuse_only`, nothing is ordered in any case."""
        seconds = max(0.0, self.order_end - anyio.current_time())
        submitted = await self.context.require_service().submit(
            validated,
            allow_duplicate=self.parsed.options.get("new_take", False),
            reuse_only=reuse_only or self.decision.reuse_only,
            save=self.parsed.options.get("save", False),
            retry_timeout=min(ORDER_RETRY_TIMEOUT, seconds),
            patience=seconds,
            waits=self.context.waits,
            on_progress=reporter.on_progress,
        )
        return await self.follow(validated, submitted, reporter)

    async def follow(
        self, validated: ValidatedRequest, submitted: SubmitResult, reporter: ProgressReporter
    ) -> JobFollower:
        """Get what follows the job of an order."""
        self.submitted.append(submitted)
        # A cancellation that arrived while the order was being sent takes effect here, when the jobid is known.
        await anyio.lowlevel.checkpoint()
        save = self.parsed.options.get("save", False)
        result_context = ResultContext(submitted.outcome, submitted.image_changes, save, deadline=self.deadline)
        result_context.chosen, result_context.continues = validated.chosen, validated.continues
        result_context.misfits = validated.misfits
        result_context.is_unpriced, result_context.most_waits = submitted.is_unpriced, self.most_waits
        result_context.shows_player = supports_apps(self.ctx)
        follower = JobFollower(self.context, submitted.job.jobid, reporter, result_context, self.end, submitted.job)
        follower.is_waiting = self.is_waiting
        return follower


async def _order_one(call: _Call) -> CallToolResult:
    """Order a video and follow its job; a client that polls tasks gets one instead of the wait."""
    context = call.context
    reporter = ProgressReporter(call.ctx)
    with context.ticker.ticking(reporter.tick):
        follower = await call.submit(await call.validate(), reporter)
        as_task = supports_tasks(call.ctx)
        if as_task:
            # The client polls the job instead of waiting.
            follower.end, follower.is_waiting = anyio.current_time(), False
            context.ordered[current_tenant.get().id, follower.jobid] = follower.result_context
            if len(context.ordered) > MAX_ORDERED:
                del context.ordered[next(iter(context.ordered))]
        job, result = await follow_job(follower)
    if as_task and job.state == "running":
        return attach_task(result, build_task(job, follower.result_context, context.require_service().now()))
    return result


async def _order_takes(call: _Call) -> CallToolResult:
    """Order several videos of one request, one after another, and follow their jobs together.

    As soon as one cannot be ordered, or its outcome is unknown, no other one is: whatever it was, the next could be
    charged. The result has the jobs that exist, and says what became of the others.
    """
    context, reporter = call.context, ProgressReporter(call.ctx)
    takes = _Takes(call, reporter)
    followed, failed = takes.followed, takes.failed
    progress = SharedProgress(reporter)
    with context.ticker.ticking(progress.tick):
        await takes.order(call.parsed.options["takes"])
        if not followed:
            # Errors after which something may have been charged come first.
            uncertain = [each.error for each in failed if each.error.charged != "no"]
            if uncertain:
                uncertain[0].takes_left = len(failed) - len(uncertain)
            raise (uncertain or [failed[0].error])[0]
        progress.followed = followed
        await follow_all(followed)
        for each in followed:
            outcome = each.follower.result_context.outcome
            if each.error and outcome:
                each.error = _explain_after_order(each.error, each.follower.jobid, outcome)
        return await build_several(context, followed, failed, tool="generate_video")


@dataclass(slots=True)
class _Takes:
    """The takes of one call: those with a job, and those without one."""

    call: _Call
    reporter: ProgressReporter
    followed: list[Followed] = field(default_factory=list)
    failed: list[FailedOrder] = field(default_factory=list)
    # Whether nothing more is ordered, and why, if no take has that error yet.
    _has_stopped: bool = False
    _refusal: LumaError | None = None

    async def order(self, takes: int) -> None:
        """Order those that have no job yet."""
        call, service = self.call, self.call.context.require_service()
        # With both, nothing is ordered, and takes that have jobs are returned.
        validated, self._refusal = call.decision.validated, call.decision.error
        if validated is None:
            validated, self._refusal = await call.validate(), None
        is_new = call.parsed.options.get("new_take", False)
        found: Mapping[int, SubmitResult | LumaError] = {}
        missing = tuple(range(1, takes + 1))
        if not is_new:
            found, missing = await service.find_takes(validated, takes)
        if missing and not (self._refusal or call.decision.reuse_only):
            try:
                # Before the first one is charged: the limits must have room for all that are still to be ordered.
                await service.check_limits(validated, len(missing))
            except (LimitReached, BudgetReached) as error:
                self._refusal = error
        for take in range(1, takes + 1):
            try:
                follower = await self._order(replace(validated, take=take), found.get(take), is_new=is_new)
            except Exception as error:  # noqa: BLE001 - the jobs of the other takes are not lost
                self._add_failure(take, _explain_failed_order(error))
            else:
                follower.reporter = ProgressReporter(None)
                self.followed.append(Followed(follower, f"Take {take}", take))

    async def _order(
        self, validated: ValidatedRequest, found: SubmitResult | LumaError | None, *, is_new: bool
    ) -> JobFollower:
        """Order one, unless it was found or must not be ordered."""
        call, refusal = self.call, self._refusal
        if isinstance(found, LumaError):
            raise found
        if found:
            return await call.follow(validated, found, self.reporter)
        if not (refusal or self._has_stopped):
            allowed = call.decision.takes
            reuse_only = allowed is not None and validated.take not in allowed
            return await call.submit(validated, self.reporter, reuse_only=reuse_only)
        try:
            if not is_new:
                # Another server may have ordered it.
                return await call.submit(validated, self.reporter, reuse_only=True)
        except Conflict:
            pass
        self._refusal = None
        raise refusal or Conflict("earlier_take", charged="no")

    def _add_failure(self, take: int, error: LumaError) -> None:
        """Add a take that was not ordered now; it may have a job all the same, which could not be looked up."""
        # A take whose job has just finished, and that was not to be ordered, does not stop the others.
        self._has_stopped |= not isinstance(error, Conflict) or error.reason != "just_finished"
        if error.jobid is None or isinstance(error, InvalidArguments | OutcomeUnknown):
            self.failed.append(FailedOrder(take, error))
            return
        result_context = ResultContext(save=self.call.parsed.options.get("save"), deadline=self.call.deadline)
        result_context.shows_player = supports_apps(self.call.ctx)
        follower = JobFollower(self.call.context, error.jobid, ProgressReporter(None), result_context, self.call.end)
        self.followed.append(Followed(follower, f"Take {take}", take, error))


def _explain(error: Exception, parsed: ParsedArguments, submitted: SubmitResult | None) -> Exception:
    """Complete an error. After a successful order, it has the order's jobid and what it cost."""
    if submitted is None:
        # Nothing was ordered, or what became of the order is not known.
        if isinstance(error, InvalidArguments | BudgetReached) and error.suggestion:
            # A suggestion repeats the whole call, or nothing if it would lose something that the caller stated.
            error.suggestion = {**error.suggestion, **parsed.options}
            if parsed.incomplete:
                error.suggestion = None
        return error
    return _explain_after_order(error, submitted.job.jobid, submitted.outcome)


def _explain_failed_order(error: Exception) -> LumaError:
    """Turn what went wrong while a take was ordered into an error that its result can show."""
    if isinstance(error, LumaError):
        return error
    logger.error("ordering a take failed", exc_info=error)
    return Upstream("internal", detail=type(error).__name__)


def _explain_after_order(error: Exception, jobid: str, outcome: Outcome) -> LumaError:
    """Complete an error about a job that was ordered: it has the jobid and what it cost."""
    failure: LumaError
    if isinstance(error, OutcomeUnknown):
        # The job that was taken for this order's belongs to another order.
        return error
    if isinstance(error, NotFound):
        # The API has just accepted the order, so this is a lagging replica rather than an unknown job.
        failure = Upstream("not_listed", status=error.status, api_message=error.api_message)
    elif isinstance(error, LumaError):
        failure = error
    else:
        logger.error("following a job failed", exc_info=error)
        failure = Upstream("internal", detail=type(error).__name__)
    failure.jobid, failure.after_order, failure.charged = jobid, True, "yes"
    if outcome == "duplicate":
        failure.charged = "no"
    return failure
