"""`join_videos`: join videos to one file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from luma_mcp.catalog.validate import shorten
from luma_mcp.errors import InvalidArguments, Problem
from luma_mcp.server import messages, schemas
from luma_mcp.server.arguments import DEFAULT_CROSSFADE, TRANSITIONS, ParsedArguments, parse_arguments
from luma_mcp.server.progress import ProgressReporter
from luma_mcp.server.results import build_film_content, build_result
from luma_mcp.server.schemas import BOOLEAN, NUMBER, STRING, array
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool

DESCRIPTION = "Join finished videos into one MP4 in the output folder. Free: nothing is ordered."
_OPTIONS = ("transition", "crossfade_seconds", "title")
_INPUT: schemas.Schema = {
    "videos": array(STRING) | {"description": "Jobids, or paths of saved files, in order."},
    "transition": {"type": "string", "enum": list(TRANSITIONS)},
    # Not as a default, which some clients send: then every film would have crossfades.
    "crossfade_seconds": {"type": "number", "description": f"If omitted, {DEFAULT_CROSSFADE:g}."},
    "title": {"type": "string", "description": "For its file name."},
}
_OUTPUT: schemas.Schema = {
    "saved_files": array(STRING),
    **dict.fromkeys(("duration_seconds", "width", "height"), NUMBER),
    "reencoded": BOOLEAN,
    "warnings": array(STRING),
    "note": STRING,
}


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    return build_tool(
        context,
        handle,
        name="join_videos",
        title="Join videos",
        description=DESCRIPTION,
        input_schema=schemas.input_object(_INPUT, ["videos"]),
        output_schema=schemas.output_object(_OUTPUT),
        # Not idempotent: each call writes another file.
        idempotent=False,
    )


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
    """Join the videos, and save the film."""
    service = context.require_service()
    parsed = parse_arguments(context.catalog, raw, ("videos", *_OPTIONS))
    problems = [*parsed.problems, *_find_conflict(parsed)]
    videos = _get_videos(parsed, problems)
    reporter = ProgressReporter(ctx)
    join = partial(service.films.join, title=parsed.options.get("title"), on_progress=reporter.on_film)
    try:
        with context.ticker.ticking(reporter.tick):
            film = await join(videos, crossfades=_get_crossfade(parsed), problems=problems)
    except InvalidArguments as error:
        if error.suggestion:
            # It repeats the whole call.
            error.suggestion = {"videos": videos, **parsed.options, **error.suggestion}
        raise
    content = build_film_content(film, len(videos), simulated=context.settings.simulated)
    pictures = [film.sheet.data] if film.sheet else []
    return build_result(messages.film_text(content), content, pictures=pictures)


def _get_videos(parsed: ParsedArguments, problems: Sequence[Problem]) -> list[str]:
    """Get the names of the videos. Raises `InvalidArguments` if they are none."""
    videos = parsed.params.get("videos")
    found = list(problems)
    if videos is None:
        found.append(Problem("videos", "missing", expected=messages.EXPECTED_VIDEOS))
    elif not isinstance(videos, list):
        found.append(Problem("videos", "wrong_format", shorten(videos), expected=messages.EXPECTED_VIDEOS))
    else:
        for position, video in enumerate(videos[: messages.MAX_PROBLEMS]):
            if not isinstance(video, str):
                found.append(Problem(f"videos[{position}]", "wrong_type", shorten(video)))
        if all(isinstance(video, str) for video in videos):
            return videos
    raise InvalidArguments(found)


def _find_conflict(parsed: ParsedArguments) -> list[Problem]:
    """Find out whether a crossfade's length was stated for a cut."""
    seconds = parsed.options.get("crossfade_seconds")
    if seconds is None or parsed.options.get("transition") != "cut":
        return []
    return [Problem("crossfade_seconds", "conflict", conflicts_with=('transition "cut"',))]


def _get_crossfade(parsed: ParsedArguments) -> float:
    """Get the seconds of each crossfade; 0 for cuts. Seconds without a transition mean crossfades."""
    seconds: float | None = parsed.options.get("crossfade_seconds")
    if seconds is None and parsed.options.get("transition") == "crossfade":
        return DEFAULT_CROSSFADE
    return seconds or 0.0
