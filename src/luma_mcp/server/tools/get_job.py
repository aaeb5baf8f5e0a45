"""`get_job`: look at a job, wait for it, and save its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from luma_mcp.api.protocol import FEATURES
from luma_mcp.catalog.validate import shorten
from luma_mcp.errors import Forbidden, InvalidArguments, LumaError, NotFound, Problem, ProblemCode
from luma_mcp.media import NEEDS_PYAV, can_read_clips
from luma_mcp.server import schemas
from luma_mcp.server.arguments import ParsedArguments, offered_options, parse_arguments
from luma_mcp.server.clients import supports_apps
from luma_mcp.server.following import JobFollower, follow_job
from luma_mcp.server.messages import ResultContext
from luma_mcp.server.progress import ProgressReporter
from luma_mcp.server.several import Followed, SharedProgress, build_several, follow_all
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool
from luma_mcp.server.ui import PLAYER_META
from luma_mcp.service import MAX_JOBIDS

DESCRIPTION = "Get a video job: wait for it, or save its files. Free. Call it until the video is ready."
WITHOUT_SAVING = "Get a video job: wait for it, or renew its links. Free. Call it until the video is ready."
CANNOT_STOP = " Nothing stops a running job, and nothing deletes one."
"""Added to the description where the API has no tool for deleting jobs, which says it otherwise."""
_OPTIONS = ("wait_seconds", "save", "frames")
# Bytes; real ones have about 120. An answer repeats it several times.
LONGEST_JOBID = 500
# The same of each of several.
LONGEST_OF_SEVERAL = 250
# Errors of a jobid that is not one, or not this token's: the resource or task that it would name does not exist.
UNKNOWN_JOB = (NotFound, Forbidden, InvalidArguments)


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    own = {"jobid": schemas.JOBID, "jobids": schemas.JOBIDS}
    if can_read_clips():
        own["frames"] = schemas.FRAMES
    saves = context.settings.has_local_files
    properties = schemas.call_properties(context.settings.max_wait_seconds, saves=saves, **own)
    description = DESCRIPTION if saves else WITHOUT_SAVING
    # Free, but not read-only, because it may save files.
    return build_tool(
        context,
        handle,
        name="get_job",
        title="Get a video job",
        description=description if FEATURES[context.catalog.api].delete else description + CANNOT_STOP,
        input_schema=schemas.input_object(properties),
        output_schema=schemas.job_output(context.catalog, saves=saves),
        meta=PLAYER_META,
    )


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
    """Return the job when it has finished or the time is up."""
    names = offered_options(_OPTIONS, has_local_files=context.settings.has_local_files)
    parsed = parse_arguments(context.catalog, raw, ("jobid", "jobids", *names))
    jobids, options = _get_jobids(parsed), parsed.options
    seconds, _ = context.wait_seconds(options, ctx)
    with context.services.waiting(is_wanted=seconds > 0) as most_waits:
        end = anyio.current_time() + (0 if most_waits else seconds)
        result_context = ResultContext(save=options.get("save"), frames=options.get("frames"), most_waits=most_waits)
        result_context.shows_player = supports_apps(ctx)
        reporter = ProgressReporter(ctx)
        if len(jobids) > 1:
            return await _follow_several(context, jobids, reporter, result_context, end)
        follower = JobFollower(context, jobids[0], reporter, result_context, end)
        try:
            with context.ticker.ticking(reporter.tick):
                _, result = await follow_job(follower)
        except LumaError as error:
            error.jobid = error.jobid or jobids[0]
            raise
        return result


async def _follow_several(
    context: ServerContext,
    jobids: Sequence[str],
    reporter: ProgressReporter,
    result_context: ResultContext,
    end: float,
) -> CallToolResult:
    """Follow several jobs together."""
    followed: list[Followed] = []
    for number, jobid in enumerate(jobids, 1):
        follower = JobFollower(context, jobid, ProgressReporter(None), replace(result_context), end)
        followed.append(Followed(follower, f"Video {number}"))
    with context.ticker.ticking(SharedProgress(reporter, followed).tick):
        await follow_all(followed)
        return await build_several(context, followed, tool="get_job")


def _get_jobids(parsed: ParsedArguments) -> list[str]:
    """Get the jobids that a call is about, each once. Raises `InvalidArguments`."""
    jobid, jobids = parsed.params.get("jobid"), parsed.params.get("jobids")
    problems = [*parsed.problems]
    if "frames" in parsed.options and not can_read_clips():
        problems.append(Problem("frames", "needs_pyav", reason=NEEDS_PYAV, remedy="install_film"))
        del parsed.options["frames"]
    if jobid is not None and jobids is not None:
        problems.append(Problem("jobids", "conflict", shorten(jobids), conflicts_with=("jobid",)))
    elif jobids is None:
        problems += _check_jobid("jobid", jobid, several=" (several as jobids)")
    elif not isinstance(jobids, list) or not 1 <= len(set(map(str, jobids))) <= MAX_JOBIDS:
        expected = f"a list of 1 to {MAX_JOBIDS} jobids"
        problems.append(Problem("jobids", "wrong_format", shorten(jobids), expected=expected))
    else:
        for place, each in enumerate(jobids):
            problems += _check_jobid(f"jobids[{place}]", each, LONGEST_OF_SEVERAL)
    if problems:
        stated: dict[str, object] = {name: parsed.params[name] for name in ("jobid", "jobids") if name in parsed.params}
        # What else is wrong has a suggestion only if the jobids are right.
        is_right = all(problem in parsed.problems or problem.code == "needs_pyav" for problem in problems)
        raise InvalidArguments(problems, suggestion={**stated, **parsed.options} if is_right else None)
    return list(dict.fromkeys(jobids)) if jobids else [str(jobid)]


def _check_jobid(field: str, value: Any, longest: int = LONGEST_JOBID, *, several: str = "") -> list[Problem]:
    """Get the problem of a jobid, if it has one. `several`: how several are given."""
    if isinstance(value, str) and len(value.encode(errors="replace")) <= longest:
        return []
    code: ProblemCode = "wrong_format" if isinstance(value, str) else "wrong_type"
    code = "missing" if value is None else code
    return [Problem(field, code, shorten(value), expected=f"a jobid, exactly as generate_video returned it{several}")]


def parse_job_arguments(
    context: ServerContext, raw: dict[str, Any], options: tuple[str, ...]
) -> tuple[str, dict[str, Any]]:
    """Parse the arguments of a tool about one job: its jobid and the named options. Raises `InvalidArguments`."""
    parsed = parse_arguments(context.catalog, raw, ("jobid", *options))
    jobid = parsed.params.get("jobid")
    if problems := _check_jobid("jobid", jobid):
        raise InvalidArguments([*problems, *parsed.problems])
    if parsed.problems:
        raise InvalidArguments(parsed.problems, suggestion={"jobid": jobid, **parsed.options})
    return str(jobid), parsed.options
