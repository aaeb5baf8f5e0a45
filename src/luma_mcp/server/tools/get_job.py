"""`get_job`: look at a job, wait for it, and save its files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.apps import client_supports_apps

from luma_mcp.api.protocol import FEATURES, FINISHED, Job, VideoRequest
from luma_mcp.catalog.validate import shorten
from luma_mcp.errors import Forbidden, InvalidArguments, LumaError, NotFound, Problem, ProblemCode
from luma_mcp.server import messages, schemas
from luma_mcp.server.arguments import parse_arguments
from luma_mcp.server.messages import ResultContext
from luma_mcp.server.progress import INTERVAL, ProgressReporter
from luma_mcp.server.results import build_job_content, build_result
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool
from luma_mcp.server.ui import PLAYER_META
from luma_mcp.service.concurrency import periodic

if TYPE_CHECKING:
    from luma_mcp.service.service import VideoService


DESCRIPTION = "Get a video job: wait for it, or save its files. Free. Call it until the video is ready."
CANNOT_STOP = " Nothing stops a running job, and nothing deletes one."
"""What agents learn where there is no tool that says it."""
# What a download may take beyond the wait. With the default wait, hosts that cut calls at 60 s still get the result.
DOWNLOAD_SECONDS = 12.0
# Seconds after which a caller learns that a job cannot be looked up, however long it would wait.
UNSEEN_TIMEOUT = 20.0
# Bytes; real ones have about 120. An answer repeats it several times.
LONGEST_JOBID = 500
# Errors of a jobid that is not one, or not this token's: the resource or task that it would name does not exist.
UNKNOWN_JOB = (NotFound, Forbidden, InvalidArguments)


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    properties = {"jobid": schemas.JOBID} | schemas.call_properties(context.settings.max_wait_seconds)
    # Free, but not read-only, because it may save files.
    return build_tool(
        context,
        handle,
        name="get_job",
        title="Get a video job",
        description=DESCRIPTION if FEATURES[context.catalog.api].delete else DESCRIPTION + CANNOT_STOP,
        input_schema=schemas.input_object(properties, ["jobid"]),
        output_schema=schemas.job_output(context.catalog),
        meta=PLAYER_META,
    )


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
    """Return the job when it has finished or the time is up."""
    jobid, options = parse_job_arguments(context, raw, ("wait_seconds", "save"))
    end = anyio.current_time() + context.wait_seconds(options, ctx)[0]
    result_context = ResultContext(save=options.get("save"), shows_player=client_supports_apps(ctx))
    reporter = ProgressReporter(ctx)
    try:
        async with periodic(INTERVAL, reporter.tick):
            _, result = await follow_job(context, jobid, reporter, result_context, end=end)
    except LumaError as error:
        error.jobid = error.jobid or jobid
        raise
    return result


def parse_job_arguments(
    context: ServerContext, raw: dict[str, Any], options: tuple[str, ...]
) -> tuple[str, dict[str, Any]]:
    """Parse the arguments of a tool about one job: its jobid and the named options. Raises `InvalidArguments`."""
    parsed = parse_arguments(context.catalog, raw, ("jobid", *options))
    jobid = parsed.params.get("jobid")
    if not isinstance(jobid, str) or len(jobid.encode(errors="replace")) > LONGEST_JOBID:
        expected = "a jobid, exactly as generate_video returned it"
        code: ProblemCode = "wrong_format" if isinstance(jobid, str) else "wrong_type"
        code = "missing" if jobid is None else code
        problem = Problem("jobid", code, shorten(jobid), expected=expected)
        raise InvalidArguments([problem, *parsed.problems])
    if parsed.problems:
        raise InvalidArguments(parsed.problems, suggestion={"jobid": jobid, **parsed.options})
    return jobid, parsed.options


async def fetch_video(context: ServerContext, job: Job | str, seconds: float = 0, **options: Any) -> Job:
    """Wait for a job, or fetch it once. Raises `LumaError` if it cannot be fetched, or is no video.

    `options`: those of `VideoService.wait`.
    """
    fetched = await context.require_service().wait(job, seconds, **options)
    if not fetched.is_video:
        raise InvalidArguments([Problem("jobid", "not_a_video", fetched.jobid, reason=fetched.kind or "")])
    return fetched


async def follow_job(
    context: ServerContext,
    job: Job | str,
    reporter: ProgressReporter,
    result_context: ResultContext,
    *,
    end: float,
) -> tuple[Job, CallToolResult]:
    """Wait for a job, save its files if wanted, and build the result of the call. Sets the rest of `result_context`.

    `job`: its jobid if its record was not fetched. `end`: the time, by the event loop's clock, when the wait is over.
    """
    service = context.require_service()
    order, request = None, None
    if isinstance(job, str):
        jobid = job
        if order := await service.journal.get_by_jobid(jobid):
            request = order.request
            result_context.continues = result_context.continues or order.continues
            # Left out, it is as when the job was ordered, in whichever process.
            if result_context.save is None:
                result_context.save = order.save
    else:
        jobid, request = job.jobid, job.request
    has_ended = order is not None and order.state in FINISHED
    # Once for the whole call: progress, polling and the result use the same. None of them needs it for a finished job.
    measured = None if has_ended else await service.expected_seconds(request)
    result_context.expected = expected = measured or service.widest_seconds()
    reporter.save = bool(result_context.save)
    seconds = max(0.0, end - anyio.current_time())
    if isinstance(job, str):
        age = (service.now() - order.ordered_at).total_seconds() if order else 0.0
        reporter.start_looking_up(expected, age=max(0.0, age))
    async with service.credits.refreshing():
        if seconds or isinstance(job, str):
            on_seen = partial(_start_progress, context, reporter, result_context, end)
            options = {"order": order, "expected": expected, "unseen_timeout": UNSEEN_TIMEOUT, "on_seen": on_seen}
            job = await fetch_video(context, job, seconds, **options)
    if job.state != "running" and not has_ended:
        service.credits.expire()

    if result_context.save:
        # Whoever gets the finished job, in whichever process, saves them as well.
        await service.request_files(jobid)
    thumbnail = None
    async with service.credits.refreshing():
        if job.state == "completed":
            thumbnail = await _fetch_files(context, job, reporter, result_context, end)
    await add_credits(service, result_context, request)
    result_context.journal_problem = service.journal.problem
    content = build_job_content(context, job, result_context)
    is_known_delivered = order is not None and order.delivered
    if job.state != "running" and not is_known_delivered and anyio.current_time() <= result_context.deadline:
        await service.mark_delivered(jobid)
    # A failed job is an error with the API's reason.
    is_error = job.state == "failed"
    return job, build_result(
        messages.job_text(job, content, context.provider), content, is_error=is_error, picture=thumbnail
    )


async def _start_progress(
    context: ServerContext, reporter: ProgressReporter, result_context: ResultContext, end: float, job: Job
) -> None:
    """Report that the call waits for a job, unless it has finished or there is no time."""
    if job.state != "running" or not job.is_video or anyio.current_time() >= end:
        return
    age = 0.0 if result_context.outcome == "created" else job.elapsed_seconds(context.require_service().now())
    resolution = job.request.resolution if job.request else None
    await reporter.start_waiting(job.jobid, resolution, result_context.expected, age=age)


async def add_credits(service: VideoService, result_context: ResultContext, request: VideoRequest | None) -> None:
    """Add what such videos have used and what is left, as far as that is known."""
    account = None
    if request:
        account = request.email
        result_context.expected_credits = await service.expected_credits(request.to_dict())
    result_context.credits_left = service.credits.get_known(account)


async def _fetch_files(
    context: ServerContext, job: Job, reporter: ProgressReporter, result_context: ResultContext, end: float
) -> bytes | None:
    """Save the files of a finished job if that is wanted, and fetch the picture for the chat."""
    downloads = context.require_service().downloads
    thumbnail = None
    if result_context.save and job.files.video:
        seconds = max(DOWNLOAD_SECONDS, end - anyio.current_time())
        result_context.saved = await downloads.save(job, seconds=seconds, on_progress=reporter.on_download)
    if context.settings.thumbnails:
        thumbnail = await downloads.thumbnail(job)
    await reporter.report(100, "The video is ready." if job.files.video else "The job is completed.")
    return thumbnail
