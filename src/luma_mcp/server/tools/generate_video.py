"""`generate_video`: order a video, and wait for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.apps import client_supports_apps

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
from luma_mcp.server.arguments import VIDEO_OPTIONS, ParsedArguments, parse_arguments
from luma_mcp.server.following import JobFollower, follow_job
from luma_mcp.server.messages import ResultContext
from luma_mcp.server.progress import INTERVAL, ProgressReporter
from luma_mcp.server.several import FailedOrder, Followed, SharedProgress, build_several, follow_all
from luma_mcp.server.tasks import attach_task, build_task, supports_tasks
from luma_mcp.server.tools import CallToolResult, ConfirmationDecision, Context, ServerContext, Tool, build_tool
from luma_mcp.server.ui import PLAYER_META
from luma_mcp.service.concurrency import periodic

if TYPE_CHECKING:
    from luma_mcp.service.requests import ValidatedRequest
    from luma_mcp.service.submit import SubmitResult


logger = logging.getLogger(__name__)

DESCRIPTION = (
    "Make a video from a text prompt, optionally with images. Costs {unit}: call once per video. Returns the video's "
    "link, or a jobid for get_job if it is not ready within wait_seconds. Invalid combinations are rejected before "
    "anything is charged, and the closest valid request is suggested. Repeating an order returns its job if you lack "
    "its result."
)
COSTS = {"credits": "credits", "dollars": "money"}
"""What it says of costs, by `Provider.unit`."""
# Seconds, at most, for which full slots or a refused connection are tried again before the agent hears of it.
ORDER_RETRY_TIMEOUT = 20.0
# Errors that come before anything is sent.
UNSENT = (InvalidArguments, NotConfigured, JournalUnavailable, LimitReached, BudgetReached)
# Clients fetch the result of a task soon, so what is known of older orders is of no use.
MAX_ORDERED = 100


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    build_schema = schemas.exact_schema if context.settings.schema == "exact" else schemas.portable_schema
    return build_tool(
        context,
        handle,
        name="generate_video",
        title="Make a video",
        description=DESCRIPTION.format(unit=COSTS[context.provider.unit]),
        input_schema=build_schema(context.catalog, context.settings.max_wait_seconds),
        output_schema=schemas.job_output(context.catalog),
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
    parsed = parse_arguments(context.catalog, raw, (*context.catalog.params, *VIDEO_OPTIONS))
    seconds, allowed = context.wait_seconds(parsed.options, ctx)
    now = anyio.current_time()
    call = _Call(context, ctx, parsed, decision, end=now + seconds, deadline=now + allowed)
    try:
        if parsed.options.get("takes", 1) > 1:
            return await _order_takes(call)
        return await _order_one(call)
    except anyio.get_cancelled_exc_class():
        for submitted in call.submitted:
            # Nobody receives the result of this call any more, but the log can still be read.
            logger.warning("A call was cancelled; its job continues: %s", submitted.job.jobid)
        raise
    except Exception as error:  # noqa: BLE001 - none is lost
        first, *others = call.submitted or (None,)
        explained = _explain(error, parsed, first)
        for other in filter(None, others):
            # The error is about the first take; list_jobs shows these as well.
            logger.warning("A call failed; its job continues: %s", other.job.jobid)
        # Even an order that the API refused was sent without a look at those of other processes. Where it has answered
        # with a status, something was sent.
        if isinstance(explained, LumaError) and (explained.status or not isinstance(explained, UNSENT)):
            explained.journal_problem = service.journal.problem
        raise explained from None


@dataclass(slots=True)
class _Call:
    """One call of the tool. `end` and `deadline`: when its wait is over, and until when its host takes the result."""

    context: ServerContext
    ctx: Context[Any, Any]
    parsed: ParsedArguments
    decision: ConfirmationDecision
    end: float
    deadline: float
    # What was ordered so far.
    submitted: list[SubmitResult] = field(default_factory=list)

    async def validate(self) -> ValidatedRequest:
        """Validate the request, unless the user was asked about it, and it was validated for the question."""
        if self.decision.error:
            raise self.decision.error
        service = self.context.require_service()
        return self.decision.validated or await service.validate(self.parsed.params, self.parsed.problems)

    async def submit(self, validated: ValidatedRequest, reporter: ProgressReporter) -> JobFollower:
        """Order a video, and get what follows its job."""
        seconds = max(0.0, self.end - anyio.current_time())
        save = self.parsed.options.get("save", False)
        submitted = await self.context.require_service().submit(
            validated,
            allow_duplicate=self.parsed.options.get("new_take", False),
            reuse_only=self.decision.reuse_only,
            save=save,
            retry_timeout=min(ORDER_RETRY_TIMEOUT, seconds),
            patience=seconds,
            on_progress=reporter.on_progress,
        )
        self.submitted.append(submitted)
        # A cancellation that arrived while the order was being sent takes effect here, when the jobid is known.
        await anyio.lowlevel.checkpoint()
        result_context = ResultContext(submitted.outcome, submitted.image_changes, save, deadline=self.deadline)
        result_context.chosen, result_context.continues = validated.chosen, validated.continues
        result_context.misfits = validated.misfits
        result_context.is_unpriced = submitted.is_unpriced
        result_context.shows_player = client_supports_apps(self.ctx)
        return JobFollower(self.context, submitted.job.jobid, reporter, result_context, self.end, submitted.job)


async def _order_one(call: _Call) -> CallToolResult:
    """Order a video and follow its job; a client that polls tasks gets one instead of the wait."""
    context = call.context
    reporter = ProgressReporter(call.ctx)
    async with periodic(INTERVAL, reporter.tick):
        follower = await call.submit(await call.validate(), reporter)
        as_task = supports_tasks(call.ctx)
        if as_task:
            # The client polls the job instead of waiting.
            follower.end = anyio.current_time()
            context.ordered[follower.jobid] = follower.result_context
            if len(context.ordered) > MAX_ORDERED:
                del context.ordered[next(iter(context.ordered))]
        job, result = await follow_job(follower)
    if as_task and job.state == "running":
        return attach_task(result, build_task(job, follower.result_context, context.require_service().now()))
    return result


async def _order_takes(call: _Call) -> CallToolResult:
    """Order several videos of one request, and follow their jobs together.

    After a failure nothing more is ordered: what caused it would most likely meet the next take too, which may be
    charged. The result has the jobs that exist, and says what became of the others.
    """
    context, service, takes = call.context, call.context.require_service(), call.parsed.options["takes"]
    reporter = ProgressReporter(call.ctx)
    followed: list[Followed] = []
    failed: list[FailedOrder] = []
    async with periodic(INTERVAL, reporter.tick):
        validated = await call.validate()
        missing: Sequence[int] = range(1, takes + 1)
        if not call.parsed.options.get("new_take"):
            missing = await service.find_missing_takes(validated, takes)
        if missing and not call.decision.reuse_only:
            # Before the first one is charged: the limits must have room for all that are still to be ordered.
            await service.check_limits(validated, len(missing))
        for take in range(1, takes + 1):
            try:
                follower = await call.submit(replace(validated, take=take), reporter)
            except Exception as error:  # noqa: BLE001 - the jobs of the earlier takes are not lost
                failed.append(FailedOrder(take, _explain_failed_order(error)))
                break
            follower.reporter = ProgressReporter(None)
            followed.append(Followed(follower, f"Take {take}", take))
    if not followed:
        raise failed[0].error
    for rest in range(len(followed) + len(failed) + 1, takes + 1):
        failed.append(FailedOrder(rest, Conflict("earlier_take", charged="no")))  # noqa: PERF401 - reads better
    progress = SharedProgress(reporter, followed)
    async with periodic(INTERVAL, progress.tick):
        await follow_all(followed)
        for each, submitted in zip(followed, call.submitted, strict=True):
            if each.error:
                each.error = _explain_after_order(each.error, submitted)
        return await build_several(context, followed, failed, tool="generate_video")


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
    return _explain_after_order(error, submitted)


def _explain_failed_order(error: Exception) -> LumaError:
    """Turn what went wrong while a take was ordered into an error that its result can show."""
    if isinstance(error, LumaError):
        return error
    logger.error("ordering a take failed", exc_info=error)
    return Upstream("internal", detail=type(error).__name__)


def _explain_after_order(error: Exception, submitted: SubmitResult) -> LumaError:
    """Complete an error about a job that was ordered: it has the jobid and what it cost."""
    failure: LumaError
    if isinstance(error, OutcomeUnknown):
        # The job that was taken for this order's is somebody else's.
        return error
    if isinstance(error, NotFound):
        # The API has just accepted the order, so this is a lagging replica rather than an unknown job.
        failure = Upstream("not_listed", status=error.status, api_message=error.api_message)
    elif isinstance(error, LumaError):
        failure = error
    else:
        logger.error("following a job failed", exc_info=error)
        failure = Upstream("internal", detail=type(error).__name__)
    failure.jobid, failure.after_order, failure.charged = submitted.job.jobid, True, "yes"
    if submitted.outcome == "duplicate":
        failure.charged = "no"
    return failure
