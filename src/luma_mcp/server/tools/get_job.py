"""`get_job`: look at a job, wait for it, and save its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.apps import client_supports_apps

from luma_mcp.errors import InvalidArguments, Problem
from luma_mcp.server import messages, schemas
from luma_mcp.server.arguments import parse_arguments
from luma_mcp.server.progress import INTERVAL, ProgressReporter
from luma_mcp.server.results import ResultContext, build_job_content, build_result
from luma_mcp.server.tools import build_tool
from luma_mcp.server.ui import PLAYER_META
from luma_mcp.service.concurrency import periodic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver.tools import Tool
    from mcp.types import CallToolResult

    from luma_mcp.api.protocol import Job
    from luma_mcp.server.arguments import CallOptions
    from luma_mcp.server.tools import ServerContext

DESCRIPTION = "Get a video job: wait for it, or save its files. Free. Call it until the video is ready."
# What a download may take beyond the wait. With the default wait, hosts that cut calls at 60 s still get the result.
DOWNLOAD_SECONDS = 12.0


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    properties = {"jobid": schemas.JOBID} | schemas.call_properties(context.settings.max_wait_seconds)
    # Free, but not read-only, because it may save files.
    return build_tool(
        context,
        handle,
        name="get_job",
        title="Get a video job",
        description=DESCRIPTION,
        input_schema=schemas.input_object(properties, ["jobid"]),
        output_schema=schemas.JOB_OUTPUT,
        meta=PLAYER_META,
    )


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
    """Return the job when it has finished or the time is up."""
    service = context.require_service()
    jobid, options = parse_job_arguments(context, raw, ("wait_seconds", "save"))
    save = options.get("save")
    # Left out, it is as when the job was ordered, in whichever process.
    if save is None:
        save = await service.wants_files(jobid)
    seconds = context.wait_seconds(options, ctx)
    end = anyio.current_time() + seconds
    reporter = ProgressReporter(ctx, save=save)
    request = await service.get_request(jobid)
    # Once for the whole call: progress, polling and the result use the same.
    expected = await service.expected_seconds(request)
    async with periodic(INTERVAL, reporter.tick):
        if seconds > 0:
            await reporter.start_waiting(jobid, request.resolution if request else None, expected)
        job = await fetch_video(context, jobid, seconds, expected)
        result_context = ResultContext(save=save, expected=expected, shows_player=client_supports_apps(ctx))
        return await complete_result(context, job, result_context, reporter, end=end)


def parse_job_arguments(
    context: ServerContext, raw: Mapping[str, Any], options: tuple[str, ...]
) -> tuple[str, CallOptions]:
    """Parse the arguments of a tool about one job: its jobid and the named options. Raises `InvalidArguments`."""
    parsed = parse_arguments(context.catalog, raw, ("jobid", *options))
    jobid = parsed.params.get("jobid")
    problems = list(parsed.problems)
    suggestion = None
    if isinstance(jobid, str):
        if not problems:
            return jobid, parsed.options
        suggestion = {"jobid": jobid, **parsed.options}
    else:
        expected = "a jobid, exactly as generate_video returned it"
        problems.insert(0, Problem("jobid", "missing" if jobid is None else "wrong_type", jobid, expected=expected))
    raise InvalidArguments(problems, suggestion=suggestion)


async def fetch_video(
    context: ServerContext, jobid: str, seconds: float = 0, expected: tuple[float, float] | None = None
) -> Job:
    """Wait for a job, or fetch it once. Raises `LumaError` if it cannot be fetched, or is no video."""
    job = await context.require_service().wait(jobid, seconds, expected=expected)
    if not job.is_video:
        raise InvalidArguments([Problem("jobid", "not_a_video", job.jobid, reason=job.kind or "")])
    return job


async def complete_result(
    context: ServerContext, job: Job, result_context: ResultContext, reporter: ProgressReporter, *, end: float
) -> CallToolResult:
    """Build the result of a call, with the files and the thumbnail if the video is ready.

    `end`: the time, by the event loop's clock, at which the call's wait is over.
    """
    service = context.require_service()
    if result_context.save:
        # Whoever gets the finished job, in whichever process, saves them as well.
        await service.request_files(job.jobid)
    thumbnail = None
    if job.state == "completed":
        if result_context.save and job.files.video:
            seconds = max(DOWNLOAD_SECONDS, end - anyio.current_time())
            result_context.saved = await service.downloads.save(job, seconds=seconds, on_progress=reporter.on_download)
        if context.settings.thumbnails:
            thumbnail = await service.downloads.thumbnail(job)
        await reporter.report(100, "The video is ready.")
    content = build_job_content(context, job, result_context)
    # A failed job is an error with the API's reason.
    is_error = job.state == "failed"
    return build_result(messages.job_text(job, content), content, is_error=is_error, picture=thumbnail)
