"""HTTP clients of the video APIs. They share transport, retries and polling; each API has a package of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

    from luma_mcp.api.protocol import VideoApi
    from luma_mcp.api.transport import SharedTransport
    from luma_mcp.catalog.models import Catalog


def share_connections(base_url: str) -> SharedTransport:
    """Build a transport that clients of several credentials can share. Nothing is connected yet."""
    from luma_mcp.api.transport import SharedTransport

    return SharedTransport(base_url)


def build_client(
    token: str,
    base_url: str,
    catalog: Catalog,
    *,
    transport: httpx2.AsyncBaseTransport | None,
    wall_clock: Callable[[], datetime],
) -> VideoApi:
    """Build the client of a catalog's API. Raises `NotConfigured` if no header can carry the token."""
    # Imported here, because only one of them is used.
    if catalog.api == "agents":
        from luma_mcp.api.agents.client import AgentsClient

        return AgentsClient(token, base_url=base_url, transport=transport, wall_clock=wall_clock, catalog=catalog)
    from luma_mcp.api.useapi.client import LumaClient

    return LumaClient(token, base_url=base_url, transport=transport, wall_clock=wall_clock, catalog=catalog)
