"""What a client can read: the options, the exact schema and the jobs, each as the structured content of a tool."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.shared.exceptions import MCPError
from mcp.types.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND

from luma_mcp.errors import LumaError
from luma_mcp.media import can_read_clips
from luma_mcp.providers import Provider
from luma_mcp.server import messages, schemas
from luma_mcp.server.clients import supports_apps
from luma_mcp.server.following import add_credits, fetch_video
from luma_mcp.server.results import build_job_content
from luma_mcp.server.tools import ServerContext, get_job, list_jobs, list_options
from luma_mcp.server.ui import APPS_TOOLS, PICTURE_URI, PLAYER_URI

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import MCPServer


OPTIONS_URI, SCHEMA_URI = "luma://options", "luma://schemas/generate_video"
JOBS_URI, JOB_URI = "luma://jobs", "luma://jobs/{jobid}"
PREVIEW_URI = f"{JOB_URI}/preview"
ABOUT_OPTIONS = "What generate_video can make: models, resolutions, durations, dynamic ranges, image inputs."
SCHEMA_TITLE = "Exact schema of generate_video"
ABOUT_SCHEMA = "JSON Schema 2020-12 that accepts a request if and only if generate_video does."
ABOUT_JOBS = "The running jobs and those ordered from this machine, newest first."
ABOUT_JOBS_OF_SERVER = "The running jobs and those ordered from this server, newest first."
ABOUT_JOB = "One job: its state, and its video once it is completed."
ABOUT_PREVIEW = "A small copy of a finished video that browsers can play, also where the video is HDR."
# What these contain never changes while the process lives.
STATIC_URIS = (OPTIONS_URI, SCHEMA_URI, PLAYER_URI, PICTURE_URI)
JSON, MP4 = "application/json", "video/mp4"
# Longest method name or URI, in characters. A URI contains a jobid, in which every character may be escaped.
LONGEST_NAME = 20_000
HOUR_MS = 3_600_000
# How long a client may cache a response, in milliseconds, and whether it may share it with other clients.
CACHE_HINTS: Mapping[CacheableMethod, CacheHint] = {
    "server/discover": CacheHint(HOUR_MS, "public"),
    "prompts/list": CacheHint(HOUR_MS, "public"),
    "resources/templates/list": CacheHint(HOUR_MS, "public"),
    # What these two list depends on what the client declares.
    "tools/list": CacheHint(HOUR_MS, "private"),
    "resources/list": CacheHint(HOUR_MS, "private"),
    # Jobs change at any time; `adapt_response` allows more for what does not.
    "resources/read": CacheHint(0, "private"),
}


async def adapt_response(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware: refuse overlong names; list pages and their tools only to clients that show apps; allow caching."""
    # The SDK's own errors would repeat them.
    if len(ctx.method) > LONGEST_NAME:
        raise MCPError(METHOD_NOT_FOUND, messages.LONG_NAME.format(key="method", limit=LONGEST_NAME))
    for key in ("uri", "name", "taskId"):
        if len(str((ctx.params or {}).get(key, ""))) > LONGEST_NAME:
            raise MCPError(INVALID_PARAMS, messages.LONG_NAME.format(key=key, limit=LONGEST_NAME))
    result = await call_next(ctx)
    if not isinstance(result, dict):
        return result
    if ctx.method == "resources/read" and "ttlMs" in result and (ctx.params or {}).get("uri") in STATIC_URIS:
        return result | {"ttlMs": HOUR_MS, "cacheScope": "public"}
    if ctx.method == "resources/list" and not supports_apps(ctx):
        return result | {"resources": [each for each in result["resources"] if not each["uri"].startswith("ui:")]}
    if ctx.method == "tools/list" and not supports_apps(ctx):
        listed = [tool for tool in result["tools"] if tool["name"] not in APPS_TOOLS]
        # All that a tool's `_meta` holds is about pages.
        tools = [{key: value for key, value in tool.items() if key != "_meta"} for tool in listed]
        return result | {"tools": tools}
    return result


def add_resources(server: MCPServer[Any], context: ServerContext) -> None:
    """Add the resources to the server."""

    @server.resource(OPTIONS_URI, name="options", title="Video options", mime_type=JSON, description=ABOUT_OPTIONS)
    def options() -> str:
        # Clients may cache it, so it has no measured times.
        return _to_json(list_options.build_content(context.catalog, {}, {}, {}))

    @server.resource(
        SCHEMA_URI, name="generate_video_schema", title=SCHEMA_TITLE, mime_type=JSON, description=ABOUT_SCHEMA
    )
    def schema() -> str:
        settings = context.settings
        longest_wait, saves = settings.max_wait_seconds, settings.has_local_files
        return _to_json(schemas.exact_schema(context.catalog, longest_wait, saves=saves))

    about_jobs = ABOUT_JOBS if context.settings.has_local_files else ABOUT_JOBS_OF_SERVER

    @server.resource(JOBS_URI, name="jobs", title="Video jobs", mime_type=JSON, description=about_jobs)
    async def jobs() -> str:
        # The tool's own result, so that both always contain the same.
        with _resource_errors("list_jobs", context.provider):
            listing = await list_jobs.handle(context, {}, None)
        return _to_json(listing.structured_content)

    @server.resource(JOB_URI, name="job", title="A video job", mime_type=JSON, description=ABOUT_JOB)
    async def job(jobid: str) -> str:
        # Hosts read resources on their own initiative, so this one downloads nothing.
        with _resource_errors("get_job", context.provider):
            service = context.require_service()
            video = await fetch_video(context, jobid)
            async with service.credits.refreshing():
                expected = await service.expected_seconds(video.request) or service.widest_seconds()
            result_context = messages.ResultContext(expected=expected)
            await add_credits(service, result_context, video.request)
            if service.stored and video.state == "completed":
                result_context.stored = await service.stored.find(video.jobid, video)
                video = result_context.stored.apply(video)
        return _to_json(build_job_content(context, video, result_context))

    if not can_read_clips():
        return

    @server.resource(PREVIEW_URI, name="preview", title="A small copy", mime_type=MP4, description=ABOUT_PREVIEW)
    async def preview(jobid: str) -> bytes:
        # Imported here, because a host that only lists resources needs none of it.
        from luma_mcp.media.sources import ImageError

        with _resource_errors("get_job", context.provider):
            video = await fetch_video(context, jobid)
            if video.state != "completed":
                raise ResourceError(messages.no_preview(video))
            try:
                return await context.require_service().films.make_preview(video)
            except ImageError as error:
                raise ResourceError(messages.no_preview(video, error.reason)) from None


@contextmanager
def _resource_errors(tool: str, provider: Provider) -> Iterator[None]:
    """Turn errors into those of resources, with the text of the tool that returns the same content."""
    try:
        yield
    except LumaError as error:
        kind = ResourceNotFoundError if isinstance(error, get_job.UNKNOWN_JOB) else ResourceError
        raise kind(messages.describe_error(error, tool, provider)) from error


def _to_json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1)
