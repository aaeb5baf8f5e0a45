"""The tools, one module each: its definition and its handler. This module holds what they share.

Handlers take the raw arguments. The SDK's own validation drops unknown arguments silently; for a paid call that would
mean a charged video that is not what the caller asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import ConfigDict

from luma_mcp.api.polling import Waits
from luma_mcp.catalog.models import Catalog
from luma_mcp.errors import InvalidArguments, LumaError, NotConfigured, NotFound, Problem, Upstream
from luma_mcp.hosts import DEFAULT_WAIT, HTTP_WAIT_LIMITS, WAIT_LIMITS, WAIT_MARGIN
from luma_mcp.providers import BY_VARIABLE, PROVIDERS, Provider
from luma_mcp.server.clients import identify, supports_apps
from luma_mcp.server.messages import ResultContext
from luma_mcp.server.progress import INTERVAL
from luma_mcp.server.results import build_error_result
from luma_mcp.server.ui import icons
from luma_mcp.service.concurrency import Ticker
from luma_mcp.service.tenants import TenantServices, current_tenant
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from luma_mcp.service.requests import ValidatedRequest
    from luma_mcp.service.service import VideoService

    Handler = Callable[..., Awaitable[CallToolResult]]

# With the types that every tool needs.
__all__ = ["CallToolResult", "ConfirmationDecision", "Context", "ServerContext", "Tool", "build_tool"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ServerContext:
    """What the tools of one server work with."""

    settings: Settings
    catalog: Catalog
    services: TenantServices
    # The time of day, in UTC.
    wall_clock: Callable[[], datetime]
    # By tenant and jobid, what the result of an order contains besides its job; for tasks, whose results are fetched
    # later.
    ordered: dict[tuple[str, str], ResultContext] = field(default_factory=dict)
    # The waits of all calls, which end when the server is being stopped.
    waits: Waits = field(default_factory=Waits)
    # Lets calls report their progress.
    ticker: Ticker = field(default_factory=partial(Ticker, INTERVAL))
    # Called with the name of a tool and the result of each of its calls.
    on_result: Callable[[str, CallToolResult], None] | None = None

    @property
    def provider(self) -> Provider:
        """The API that makes the videos, as the current tenant uses it."""
        tenant, provider = current_tenant.get(), PROVIDERS[self.catalog.api]
        if not tenant.owns_credential:
            return replace(provider, managed_by="operator")
        return replace(provider, managed_by="caller") if tenant.id else provider

    def service(self) -> VideoService | None:
        """Get the service of the current tenant, which is created at its first use; None if there is no credential."""
        return self.services.get()

    def require_service(self) -> VideoService:
        """Get the service; raises `NotConfigured` if there is no token."""
        service = self.service()
        if service is None:
            raise self._build_missing()
        return service

    def _build_missing(self) -> NotConfigured:
        """Build the error for a server without a credential."""
        variable = self.provider.variable
        instead: tuple[str, ...] = ()
        if not self.settings.is_api_stated:
            instead = tuple(BY_VARIABLE.keys() - {variable})
        return NotConfigured(variable, unused=self.settings.unused, instead=instead)

    def wait_seconds(self, options: Mapping[str, Any], ctx: Context[Any, Any]) -> tuple[float, float]:
        """Resolve how long a call waits, and within how many seconds its host certainly still accepts the result.

        It waits as requested, else as long as its host allows; never longer than the settings, and not at all while the
        server is being stopped.
        """
        limits = WAIT_LIMITS if ctx.request_context.request is None else HTTP_WAIT_LIMITS
        allowed: float = limits.get(identify(ctx).name.casefold(), DEFAULT_WAIT)
        longest = 0 if self.waits.is_ending else self.settings.max_wait_seconds
        return min(options.get("wait_seconds", allowed), longest), allowed + WAIT_MARGIN


@dataclass(frozen=True, slots=True)
class ConfirmationDecision:
    """What a call of `generate_video` may do; by default: validate the request and submit it."""

    # Submit this request, exactly as it is.
    validated: ValidatedRequest | None = None
    # Submit nothing; only return the job of an identical request.
    reuse_only: bool = False
    # Raise this instead, unless some of several takes have jobs, which are returned.
    error: LumaError | None = None
    # Of several takes, submit only these; None: all.
    takes: Collection[int] | None = None


class RawArguments(ArgModelBase):
    """Accepts any arguments and passes them on whole, so that the tool can report every problem itself."""

    # By default pydantic would drop what the model does not declare.
    model_config = ConfigDict(extra="allow")

    def model_dump_one_level(self) -> dict[str, Any]:
        """Build the keyword arguments of the tool's function."""
        return {"raw": dict(self.__pydantic_extra__ or {})}


class AppsTool(Tool):
    """A tool that does not exist for clients that show no apps. `resources.py` leaves it out of their list of tools."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """Run it, or answer as the SDK does where there is no tool of this name."""
        if not supports_apps(context):
            raise ToolError(f"Unknown tool: {self.name}")
        return await super().run(arguments, context, convert_result)


def build_tool(
    context: ServerContext,
    handle: Handler,
    *,
    name: str,
    input_schema: dict[str, Any],
    output_schema: dict[str, Any],
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = True,
    open_world: bool = True,
    needs_apps: bool = False,
    **fields: Any,
) -> Tool:
    """Build a tool. `handle` takes the context, `raw` and `ctx`; its errors become results that say what to do.

    `needs_apps`: whether it exists only for clients that show apps. `fields`: the tool's title, description and
    `_meta`.
    """
    build = AppsTool if needs_apps else Tool
    return build(
        # The SDK passes the arguments by keyword, as `RawArguments` names them.
        fn=partial(_call, name, handle, context),
        is_async=True,
        context_kwarg="ctx",
        name=name,
        # Listed to clients; nothing validates against it, because the handler reports every problem itself.
        parameters=input_schema,
        fn_metadata=FuncMetadata(arg_model=RawArguments, output_schema=output_schema),
        # All hints are explicit, because clients assume the worst for a missing one.
        annotations=ToolAnnotations(
            read_only_hint=read_only,
            destructive_hint=destructive,
            idempotent_hint=idempotent,
            open_world_hint=open_world,
        ),
        icons=icons(name),
        **fields,
    )


async def _call(tool: str, handle: Handler, context: ServerContext, **arguments: Any) -> CallToolResult:
    try:
        result = await handle(context, **arguments)
    except Exception as error:
        failure = error
        if not isinstance(failure, LumaError):
            # The SDK would report it without a hint that something may have been ordered.
            logger.exception("%s failed", tool)
            failure = Upstream("internal", detail=type(error).__name__)
        if tool == "generate_video" and supports_apps(arguments["ctx"]):
            _offer_panel(failure)
        result = build_error_result(failure, tool, context.provider, simulated=context.settings.simulated)
    if context.on_result:
        context.on_result(tool, result)
    return result


def _offer_panel(error: LumaError) -> None:
    """Offer the panel for an image that cannot be used or is gone, but only to clients that can show it."""
    if isinstance(error, NotFound):
        error.has_panel = True
    elif isinstance(error, InvalidArguments):
        problems: list[Problem] = []
        for problem in error.problems:
            is_image = problem.code == "unusable_image" and problem.remedy == "other_image"
            problems.append(replace(problem, remedy="panel") if is_image else problem)
        error.problems = problems
