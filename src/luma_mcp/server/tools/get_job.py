"""`get_job`: look at a job, wait for it, and save its files."""

from __future__ import annotations

from typing import Any

import anyio
from mcp.server.apps import client_supports_apps

from luma_mcp.api.protocol import FEATURES
from luma_mcp.catalog.validate import shorten
from luma_mcp.errors import Forbidden, InvalidArguments, LumaError, NotFound, Problem, ProblemCode
from luma_mcp.server import schemas
from luma_mcp.server.arguments import parse_arguments
from luma_mcp.server.following import JobFollower, follow_job
from luma_mcp.server.messages import ResultContext
from luma_mcp.server.progress import INTERVAL, ProgressReporter
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool
from luma_mcp.server.ui import PLAYER_META
from luma_mcp.service.concurrency import periodic

DESCRIPTION = "Get a video job: wait for it, or save its files. Free. Call it until the video is ready."
CANNOT_STOP = " Nothing stops a running job, and nothing deletes one."
"""What agents learn where there is no tool that says it."""
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
            _, result = await follow_job(JobFollower(context, jobid, reporter, result_context, end))
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
