"""What the client of a request can do, as it says itself.

In protocol 2026-07-28 each request says it anew; before, the connection said it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.apps import client_supports_apps as supports_apps
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from luma_mcp.hosts import wait_of

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from mcp.server.mcpserver import Context

    Request = Context[Any, Any] | ServerRequestContext[Any, Any]

TASKS = "io.modelcontextprotocol/tasks"
__all__ = ["TASKS", "longest_wait", "supports_apps", "supports_elicitation", "supports_tasks"]


def supports_tasks(ctx: Request) -> bool:
    """Whether a call may be answered with a task."""
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = ctx.session.client_capabilities
    return bool(capabilities and TASKS in (capabilities.extensions or {}))


def supports_elicitation(ctx: Request) -> bool:
    """Whether its user can be shown a form."""
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    # Declared empty, it means forms; only a client that names another mode alone has none.
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def longest_wait(ctx: Request) -> int:
    """Seconds that a call may wait for its job where the caller says nothing."""
    client = ctx.session.client_params
    return wait_of(client.client_info.name if client else "")
