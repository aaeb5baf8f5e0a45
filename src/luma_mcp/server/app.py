"""`build_server`: everything put together. Nothing happens at import, and no connection is made before it is used."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio
from mcp.server.mcpserver import MCPServer

from luma_mcp import __version__
from luma_mcp.server.completions import add_completions
from luma_mcp.server.confirmation import note_answer
from luma_mcp.server.icons import icons
from luma_mcp.server.prompts import judge_prompt, prompts
from luma_mcp.server.resources import add_resources
from luma_mcp.server.tasks import Tasks
from luma_mcp.server.tool_definitions import tools
from luma_mcp.server.tools import Tools
from luma_mcp.server.ui import player
from luma_mcp.server.video_tasks import VideoTaskBackend
from luma_mcp.server.visibility import CACHE_HINTS, disclose
from luma_mcp.service.paths import has_journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx2

    from luma_mcp.media.safe_http import Resolve
    from luma_mcp.service.service import VideoService
    from luma_mcp.settings import Settings

logger = logging.getLogger(__name__)

RECOVER_AFTER = 1.0
COMPLETED_JOBS = 200
"""Jobs whose ids can be completed."""
INSTRUCTIONS = """\
Makes videos with Luma's Ray 3 models. generate_video orders one (a billed job) and waits; if it still runs when the \
wait ends, call get_job with its jobid, never generate_video again. \
Images may be links, file paths, or the jobid of an earlier video to go on from its last frame. \
list_options tells which models, resolutions, durations and dynamic ranges go together; list_jobs finds jobs again. \
Omit what the user did not ask for: the cheapest that fits is used. \
Give the user the video's link as soon as it is ready, or pass save to put the file on their disk."""
SIMULATED = " This server is SIMULATED: it returns stand-in clips, and nothing is billed. Tell the user so."


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
    def studio() -> VideoService | None:
        # At its first use: a host that only lists the tools needs none of it.
        from luma_mcp.service.service import VideoService

        if not settings.token:
            return None
        return VideoService(settings, transport=transport, resolve=resolve, wall_clock=wall_clock)

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

    def jobids() -> list[str]:
        opened = studio() if has_journal(settings) else None
        return [order.jobid for order in opened.journal.latest(COMPLETED_JOBS) if order.jobid] if opened else []

    calls = Tools(settings, studio, wall_clock)
    server = MCPServer[Any](
        name="luma-ray-mcp",
        title="Luma Ray 3 video",
        version=__version__,
        instructions=INSTRUCTIONS + (SIMULATED if settings.simulated else ""),
        icons=icons("server"),
        tools=tools(settings, calls),
        extensions=[player(settings), Tasks(VideoTaskBackend(calls))],
        middleware=[disclose, judge_prompt],
        cache_hints=CACHE_HINTS,
        lifespan=lifespan,
        log_level=cast("Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL']", settings.log_level),
    )
    # Outermost: what unseals an answer's state would hide which question it is about.
    server.middleware.insert(0, note_answer)
    add_resources(server, calls)
    for prompt in prompts():
        server.add_prompt(prompt)
    add_completions(server, jobids)
    return server


async def _recover(settings: Settings, studio: Callable[[], VideoService | None]) -> None:
    """What an earlier process left behind; after a moment, for a host that only lists the tools and leaves."""
    await anyio.sleep(RECOVER_AFTER)
    try:
        if has_journal(settings) and (opened := studio()):
            from luma_mcp.service.recovery import recover

            await recover(opened)
    except Exception:
        # The server serves, whatever state the past is in.
        logger.exception("what was left behind could not be recovered")
