"""`build_server`: everything put together. Nothing happens at import, and no connection is made before it is used."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import ToolAnnotations
from pydantic import ConfigDict

from luma_mcp import __version__
from luma_mcp.server import outputs, schemas
from luma_mcp.server.tools import Tools
from luma_mcp.studio.places import has_journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx2

    from luma_mcp.media.links import Resolve
    from luma_mcp.settings import Settings
    from luma_mcp.studio.studio import Studio

logger = logging.getLogger(__name__)

RECOVER_AFTER = 1.0
INSTRUCTIONS = """\
Makes videos with Luma's Ray 3 models. generate_video orders one (a billed job) and waits; if it still runs when the \
wait ends, call get_job with its jobid, never generate_video again. \
Images may be links, file paths, or the jobid of an earlier video to go on from its last frame. \
list_options tells which models, resolutions, durations and dynamic ranges go together; list_jobs finds jobs again. \
Omit what the user did not ask for: the cheapest that fits is used. \
Give the user the video's link as soon as it is ready, or pass save to put the file on their disk."""
SIMULATED = " This server is SIMULATED: it returns stand-in clips, and nothing is billed. Tell the user so."

GENERATE_VIDEO = (
    "Make a video from a text prompt, optionally from images. Costs credits: call once per video. Returns the video's "
    "link, or a jobid for get_job if it is not ready within wait_seconds. Impossible combinations are refused before "
    "anything is spent, with one that works. The same order again while it runs returns the running job."
)
GET_JOB = "Look at a video job and wait for it, or save its files. Free; use it until the video is ready."
LIST_JOBS = "List running jobs and those ordered from this machine, newest first, and the slots in use. Free."
DELETE_JOB = "Remove a finished job, and free its slot. A running job can be neither stopped nor deleted. Files stay."
LIST_OPTIONS = (
    "What generate_video can make: models, resolutions, durations, dynamic ranges, image inputs, defaults and usual "
    "times. Fix some values to see what still goes with them. Free."
)


class RawArguments(ArgModelBase):
    """Takes whatever a client sends and hands it to the tool whole; the tool words every refusal itself."""

    model_config = ConfigDict(extra="allow")

    def model_dump_one_level(self) -> dict[str, Any]:
        """The tool function's keyword arguments."""
        return {"raw": dict(self.__pydantic_extra__ or {})}


def build_server(
    settings: Settings,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
    resolve: Resolve | None = None,
    wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> MCPServer[Any]:
    """The MCP server with its tools, ready to run on any transport of the SDK.

    Args:
        settings: what it was told by its environment.
        transport: what carries all requests; a test passes its own.
        resolve: finds the addresses of hosts in links; this machine's own way if None.
        wall_clock: the time of day, in UTC.
    """

    @cache
    def studio() -> Studio | None:
        # At its first use: a host that only lists the tools needs none of it.
        from luma_mcp.studio.studio import Studio

        if not settings.token:
            return None
        return Studio(settings, transport=transport, resolve=resolve, wall_clock=wall_clock)

    @asynccontextmanager
    async def lifespan(_: MCPServer[Any]) -> AsyncIterator[None]:
        try:
            async with anyio.create_task_group() as tasks:
                if settings.token:
                    tasks.start_soon(_recover, settings, studio)
                yield
                tasks.cancel_scope.cancel()
        finally:
            if studio.cache_info().currsize and (opened := studio()):
                await opened.aclose()

    return MCPServer(
        name="luma-mcp",
        title="Luma Ray 3 video",
        version=__version__,
        instructions=INSTRUCTIONS + (SIMULATED if settings.simulated else ""),
        tools=tools(settings, Tools(settings, studio, wall_clock)),
        lifespan=lifespan,
        log_level=cast("Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL']", settings.log_level),
    )


async def _recover(settings: Settings, studio: Callable[[], Studio | None]) -> None:
    """What an earlier process left behind; after a moment, for a host that only lists the tools and leaves."""
    await anyio.sleep(RECOVER_AFTER)
    try:
        if has_journal(settings) and (opened := studio()):
            await opened.recover()
    except Exception:
        # The server serves, whatever state the past is in.
        logger.exception("what was left behind could not be recovered")


def tools(settings: Settings, calls: Tools) -> list[Tool]:
    """The tools as they are advertised."""
    longest = settings.max_wait_seconds
    schema = schemas.exact_schema if settings.schema == "exact" else schemas.portable_schema

    return [
        _tool(
            calls.generate_video,
            title="Make a video",
            description=GENERATE_VIDEO,
            input_schema=schema(longest),
            output_schema=outputs.JOB_OUTPUT,
            # Not destructive: it only ever adds a job; not idempotent: each call orders, and bills, another one.
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
            ),
        ),
        _tool(
            calls.get_job,
            title="Look at a video job",
            description=GET_JOB,
            input_schema=schemas.get_job_schema(longest),
            output_schema=outputs.JOB_OUTPUT,
            # Free, but it may save files.
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
            ),
        ),
        _tool(
            calls.list_jobs,
            title="List video jobs",
            description=LIST_JOBS,
            input_schema=schemas.list_jobs_schema(),
            output_schema=outputs.LIST_OUTPUT,
            annotations=ToolAnnotations(
                read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True
            ),
        ),
        _tool(
            calls.delete_job,
            title="Delete a finished video job",
            description=DELETE_JOB,
            input_schema=schemas.delete_job_schema(),
            output_schema=outputs.DELETE_OUTPUT,
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True
            ),
        ),
        _tool(
            calls.list_options,
            title="List video options",
            description=LIST_OPTIONS,
            input_schema=schemas.list_options_schema(),
            output_schema=outputs.OPTIONS_OUTPUT,
            annotations=ToolAnnotations(
                read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
            ),
        ),
    ]


def _tool(
    function: Callable[..., Any],
    *,
    title: str,
    description: str,
    input_schema: dict[str, Any],
    output_schema: dict[str, Any],
    annotations: ToolAnnotations,
) -> Tool:
    """A tool with the schemas that are given, taking its arguments raw."""
    return Tool(
        fn=function,
        name=function.__name__,
        title=title,
        description=description,
        parameters=input_schema,
        fn_metadata=FuncMetadata(arg_model=RawArguments, output_schema=output_schema),
        is_async=True,
        context_kwarg="ctx",
        annotations=annotations,
    )
