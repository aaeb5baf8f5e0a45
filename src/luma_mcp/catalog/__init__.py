"""What can be made: a frozen `Catalog` for each API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luma_mcp.catalog.models import Catalog


def get_catalog(api: str) -> Catalog:
    """Get the catalog of an API of `luma_mcp.providers`."""
    # Imported here, because only one of them is used.
    if api == "agents":
        from luma_mcp.catalog.agents import AGENTS

        return AGENTS
    from luma_mcp.catalog.useapi import USEAPI

    return USEAPI
