"""`generate_video`: order a video, and wait for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.apps import client_supports_apps

from luma_mcp.errors import (
    BudgetReached,
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
from luma_mcp.server.tasks import attach_task, build_task, supports_tasks
from luma_mcp.server.tools import CallToolResult, ConfirmationDecision, Context, ServerContext, Tool, build_tool
from luma_mcp.server.ui import PLAYER_META
from luma_mcp.service.concurrency import periodic

if TYPE_CHECKING:
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
    end, deadline = anyio.current_time() + seconds, anyio.current_time() + allowed
    save = parsed.options.get("save", False)
    reporter = ProgressReporter(ctx)
    submitted: SubmitResult | None = None
    try:
        async with periodic(INTERVAL, reporter.tick):
            if decision.error:
                raise decision.error  # noqa: TRY301 - completed below, like an error of the service
            validated = decision.validated or await service.validate(parsed.params, parsed.problems)
            submitted = await service.submit(
                validated,
                allow_duplicate=parsed.options.get("new_take", False),
                reuse_only=decision.reuse_only,
                save=save,
                retry_timeout=min(ORDER_RETRY_TIMEOUT, seconds),
                patience=seconds,
                on_progress=reporter.on_progress,
            )
            # A cancellation that arrived while the order was being sent takes effect here, when the jobid is known.
            await anyio.lowlevel.checkpoint()
            result_context = ResultContext(submitted.outcome, submitted.image_changes, save, deadline=deadline)
            result_context.chosen, result_context.continues = validated.chosen, validated.continues
            result_context.misfits = validated.misfits
            result_context.is_unpriced = submitted.is_unpriced
            result_context.shows_player = client_supports_apps(ctx)
            as_task = supports_tasks(ctx)
            if as_task:
                # The client polls the job instead of waiting.
                end = anyio.current_time()
                context.ordered[submitted.job.jobid] = result_context
                if len(context.ordered) > MAX_ORDERED:
                    del context.ordered[next(iter(context.ordered))]
            jobid = submitted.job.jobid
            follower = JobFollower(context, jobid, reporter, result_context, end, submitted.job)
            job, result = await follow_job(follower)
        if as_task and job.state == "running":
            return attach_task(result, build_task(job, result_context, service.now()))
    except anyio.get_cancelled_exc_class():
        if submitted:
            # Nobody receives the result of this call any more, but the log can still be read.
            logger.warning("A call was cancelled; its job continues: %s", submitted.job.jobid)
        raise
    except Exception as error:  # noqa: BLE001 - none is lost
        explained = _explain(error, parsed, submitted)
        # Even an order that the API refused was sent without a look at those of other processes. Where it has answered
        # with a status, something was sent.
        if isinstance(explained, LumaError) and (explained.status or not isinstance(explained, UNSENT)):
            explained.journal_problem = service.journal.problem
        raise explained from None
    return result


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
