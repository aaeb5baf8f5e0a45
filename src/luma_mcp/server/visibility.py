"""No client is shown what it has not declared, and each may keep what does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.caching import CacheHint

from luma_mcp.server.client_capabilities import supports_apps
from luma_mcp.server.resources import STATIC
from luma_mcp.server.ui import PLAYER_URI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.caching import CacheableMethod
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

HOUR_MS = 3_600_000
CACHE_HINTS: Mapping[CacheableMethod, CacheHint] = {
    "server/discover": CacheHint(HOUR_MS, "public"),
    "prompts/list": CacheHint(HOUR_MS, "public"),
    "resources/templates/list": CacheHint(HOUR_MS, "public"),
    # What these list depends on what the client declares.
    "tools/list": CacheHint(HOUR_MS, "private"),
    "resources/list": CacheHint(HOUR_MS, "private"),
    "resources/read": CacheHint(0, "private"),
}
"""How long a client may keep an answer, in milliseconds, and whether it may share it with other clients."""


async def disclose(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A middleware: the player is listed for clients that show apps, and what is static may be kept."""
    result = await call_next(ctx)
    if not isinstance(result, dict):
        return result
    if ctx.method == "resources/read" and "ttlMs" in result and (ctx.params or {}).get("uri") in STATIC:
        return result | {"ttlMs": HOUR_MS, "cacheScope": "public"}
    if ctx.method == "tools/list" and not supports_apps(ctx):
        return result | {"tools": [{k: v for k, v in tool.items() if k != "_meta"} for tool in result["tools"]]}
    if ctx.method == "resources/list" and not supports_apps(ctx):
        return result | {"resources": [r for r in result["resources"] if r["uri"] != PLAYER_URI]}
    return result
