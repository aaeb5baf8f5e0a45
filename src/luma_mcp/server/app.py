"""Build the server: create its parts and connect them. Importing this module does nothing else."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio
from mcp.server.mcpserver import MCPServer

from luma_mcp import __version__
from luma_mcp.api.polling import Waits
from luma_mcp.api.protocol import FEATURES
from luma_mcp.catalog import get_catalog
from luma_mcp.catalog.models import Catalog, without_local_files
from luma_mcp.media import can_read_clips
from luma_mcp.server.prompts import add_completions, build_prompts, check_prompt_request
from luma_mcp.server.resources import CACHE_HINTS, adapt_response, add_resources
from luma_mcp.server.tasks import Tasks, VideoTaskBackend
from luma_mcp.server.tools import (
    CallToolResult,
    ServerContext,
    add_picture,
    delete_job,
    generate_video,
    get_job,
    join_videos,
    list_jobs,
    list_options,
    upload_picture,
)
from luma_mcp.server.ui import build_pages, icons
from luma_mcp.service import has_journal
from luma_mcp.service.tenants import TenantServices
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    import httpx2
    from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
    from mcp.server.request_state import RequestStateSecurity
    from pydantic import SecretStr

    from luma_mcp.media.decoder import Decoder
    from luma_mcp.media.safe_http import Resolve
    from luma_mcp.service.service import VideoService


logger = logging.getLogger(__name__)

get_time = partial(datetime.now, UTC)
# Delay in seconds before orders of an earlier process are looked for: a host that only lists the tools exits sooner.
RECOVER_AFTER = 1.0
# Jobs whose ids are offered as completions.
COMPLETED_JOBIDS = 200
INSTRUCTIONS = """\
Makes videos with Luma's Ray 3 models. generate_video orders one (a billed job) and waits; if the job still runs when \
the wait ends, call get_job with its jobid, never generate_video again. \
Images may be {images}, or the jobid of an earlier video to continue from its last frame. \
list_options shows which models, resolutions, durations and dynamic ranges fit together, and what they cost; \
list_jobs finds earlier jobs. \
Leave out what the user did not ask for: the cheapest that fits is used. \
Give the user the video's link as soon as it is ready{save}."""
FILMS = """ \
For a film: agree on a shot list and its cost; order cheap drafts; look at them with get_job and frames; order the \
final shots, with takes where there is a choice, and with the same style sentence and character in each; continue a \
shot with its jobid as image_start; {join}."""
LOCAL = {
    "images": "links, file paths",
    "save": ", or pass save to put the file on their disk",
    "join": "join them with join_videos",
}
"""What the instructions say where the server reads and writes files for its callers, and where it does not."""
HOSTED = {
    "images": "links, data: URIs",
    "save": "",
    "join": "give the user their links in order, since this server joins no videos",
}
SIMULATED = " This server is SIMULATED: it returns stand-in clips, and nothing is billed. Tell the user so."


def build_services(
    settings: Settings,
    catalog: Catalog | None = None,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
    resolve: Resolve | None = None,
    wall_clock: Callable[[], datetime] = get_time,
) -> TenantServices:
    """Build what creates the services of a server's tenants; the arguments are those of `build_server`."""
    offered = _get_offered(settings, catalog)

    @cache
    def share_decoder() -> Decoder:
        from luma_mcp.media.decoder import Decoder

        return Decoder()

    def build(own: Settings, **parts: Any) -> VideoService:
        # Imported at its first use: a host that only lists the tools needs none of it.
        from luma_mcp.service.service import VideoService

        return VideoService(
            own,
            catalog=offered,
            transport=transport,
            resolve=resolve,
            wall_clock=wall_clock,
            decoder=share_decoder(),
            **parts,
        )

    return TenantServices(settings, build)


def build_server(
    settings: Settings,
    *,
    catalog: Catalog | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
    resolve: Resolve | None = None,
    wall_clock: Callable[[], datetime] = get_time,
    services: TenantServices | None = None,
    waits: Waits | None = None,
    on_result: Callable[[str, CallToolResult], None] | None = None,
    list_credentials: Callable[[], Iterable[SecretStr]] | None = None,
) -> MCPServer[Any]:
    """Build the MCP server with its tools, ready to run on any transport of the SDK.

    `current_tenant` identifies the tenant of a request.

    Args:
        settings: those of the server.
        catalog: what can be made; None: what the API of the settings offers.
        transport: carries all HTTP requests; tests pass their own.
        resolve: finds the addresses of the hosts in links; tests pass their own.
        wall_clock: the time of day, in UTC.
        services: the services of its tenants, if they are shared with other parts. The server closes them.
        waits: the waits of its calls, which end early when the server is stopped.
        on_result: called with the result of each tool.
        list_credentials: lists the credentials that the operator of a server for many has given to tenants; orders that
            failed machines have left are then settled again and again.
    """
    offered = _get_offered(settings, catalog)
    services = services or build_services(
        settings, catalog, transport=transport, resolve=resolve, wall_clock=wall_clock
    )

    @asynccontextmanager
    async def lifespan(_: MCPServer[Any]) -> AsyncIterator[None]:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(services.close_idle)
                tasks.start_soon(context.ticker.run)
                if list_credentials:
                    tasks.start_soon(services.settle_orders, list_credentials)
                elif settings.token:
                    tasks.start_soon(_recover, settings, services.get)
                yield
                # Recovery may be waiting for the network. The next process continues it.
                tasks.cancel_scope.cancel()
        finally:
            await services.aclose()

    async def list_jobids() -> list[str]:
        # Without a journal file there are no jobids before the first order, so no service needs to be created.
        opened = services.get() if has_journal(settings) else None
        latest = await opened.journal.list_latest(COMPLETED_JOBIDS) if opened else []
        return [order.jobid for order in latest if order.jobid]

    context = ServerContext(settings, offered, services, wall_clock, waits=waits or Waits(), on_result=on_result)
    ordering = generate_video.definition(context)
    middleware: list[ServerMiddleware[Any]] = [partial(_hold_service, services), adapt_response, check_prompt_request]
    state_security: RequestStateSecurity | None = None
    if settings.confirm != "never":
        # Imported here, because most servers do not ask for confirmation.
        from luma_mcp.server.confirmation import Confirmation, build_state_security, with_confirmation

        confirmation = Confirmation(context)
        ordering = with_confirmation(ordering, confirmation)
        middleware.append(confirmation.track_questions)
        state_security = build_state_security(settings)
    server = MCPServer[Any](
        name="luma-ray-mcp",
        title="Luma Ray 3 video",
        version=__version__,
        instructions=_build_instructions(settings),
        icons=icons("server"),
        tools=[ordering, *(tool.definition(context) for tool in _other_tools(settings))],
        extensions=[build_pages(settings), Tasks(VideoTaskBackend(context))],
        middleware=middleware,
        request_state_security=state_security,
        cache_hints=CACHE_HINTS,
        lifespan=lifespan,
        log_level=cast("Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL']", settings.log_level),
    )
    add_resources(server, context)
    for prompt in build_prompts(offered, has_local_files=settings.has_local_files):
        server.add_prompt(prompt)
    add_completions(server, offered, list_jobids)
    return server


def _get_offered(settings: Settings, catalog: Catalog | None) -> Catalog:
    """Get the catalog as it is for the callers of a server."""
    offered = catalog or get_catalog(settings.api)
    return offered if settings.has_local_files else without_local_files(offered)


def _build_instructions(settings: Settings) -> str:
    """Build the instructions for a client's model."""
    parts = [INSTRUCTIONS]
    if can_read_clips():
        parts.append(FILMS)
    if settings.simulated:
        parts.append(SIMULATED)
    return "".join(parts).format(**(LOCAL if settings.has_local_files else HOSTED))


def _other_tools(settings: Settings) -> list[ModuleType]:
    """Get the tools besides `generate_video`: those that the API supports, and that work here."""
    tools = [get_job, list_jobs, *([delete_job] if FEATURES[settings.api].delete else []), list_options]
    # A film is a file on the machine of the server.
    if can_read_clips() and settings.has_local_files:
        tools.append(join_videos)
    # Last, because only clients that show apps see these two.
    return [*tools, add_picture, upload_picture]


async def _hold_service(
    services: TenantServices, ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    """Middleware: keep the tenant's service open until the request is answered."""
    with services.hold():
        return await call_next(ctx)


async def _recover(settings: Settings, service: Callable[[], VideoService | None]) -> None:
    """Finish what an earlier process left behind."""
    # Without the file there was no earlier process.
    if not has_journal(settings):
        return
    await anyio.sleep(RECOVER_AFTER)
    try:
        if opened := service():
            await opened.recover()
    except Exception:
        # The server works without it: calls that need such orders look for them again.
        logger.exception("orders of an earlier process could not be looked up")
