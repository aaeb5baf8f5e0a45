"""The generated blocks of the documents: the catalog, the tools and the settings as tables for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scripts.generating.host_pages import host_block, hosts_block
from scripts.generating.project import REGISTRY_NAME
from scripts.generating.registry import DEPENDENT
from scripts.generating.snippets import snippet_block

from luma_mcp.catalog.agents import AGENTS
from luma_mcp.catalog.tables import format_table, options_table, outputs_table, prices_table, times_table
from luma_mcp.hosts import HOSTS
from luma_mcp.settings import VARIABLES
from luma_mcp.simulator.state import BEHAVIORS

if TYPE_CHECKING:
    from mcp.types import Tool

    from luma_mcp.catalog.models import Catalog


BEHAVIOR_GROUPS = {
    "order": "The order is rejected",
    "answer": "The answer to the order is lost",
    "api": "The API fails while the job runs",
    "job": "The job",
    "record": "What the API says about the job",
    "links": "The links of the finished job",
}


def matrix_block(catalog: Catalog) -> str:
    """What can be made, as `list_options` describes it."""
    return "\n\n".join(
        [
            options_table(catalog),
            outputs_table(catalog),
            times_table(catalog),
            f"Source: {catalog.source}, as of {catalog.source_date}. Some of the times are estimates.",
        ]
    )


def tools_block(tools: list[Tool]) -> str:
    """Each tool with its parameters."""
    parts: list[str] = []
    for tool in tools:
        rows = [["parameter", "takes", "about"]]
        for name, schema in tool.input_schema["properties"].items():
            values = ", ".join(f"`{value}`" for value in schema.get("enum", ()))
            required = " (required)" if name in tool.input_schema.get("required", ()) else ""
            rows.append([f"`{name}`{required}", values or schema["type"], schema.get("description", "")])
        parts.append(f"### `{tool.name}`\n\n{tool.description}\n\n{format_table(rows)}")
    return "\n\n".join(parts)


def offer_block(catalog: Catalog) -> str:
    """What an API with a price list makes, and what it costs."""
    source = f"What one video costs ({catalog.price_source}, as of {catalog.price_date}):"
    return "\n\n".join([options_table(catalog), source, prices_table(catalog, catalog.prices)])


def settings_block() -> str:
    """The environment variables."""
    rows = [["variable", "default", "what it does"]]
    for row in VARIABLES.values():
        default = "" if row.default is None else f"`{row.default}`"
        if row.name in DEPENDENT:
            default = ""
        rows.append([f"`{row.metadata['name']}`", default, row.metadata["about"]])
    return format_table(rows)


def behaviors_block() -> str:
    """What a prompt can request from the simulator, a table for each group."""
    parts: list[str] = []
    for group, title in BEHAVIOR_GROUPS.items():
        rows = [["word", "effect", "number (default)"]]
        for name, behavior in BEHAVIORS.items():
            if behavior.group == group:
                default = "" if behavior.default in (None, math.inf) else f" ({behavior.default})"
                rows.append([f"`simulate:{name}`", behavior.about, f"{behavior.number}{default}"])
        parts.append(f"{title}:\n\n{format_table(rows)}")
    return "\n\n".join(parts)


def blocks(catalog: Catalog, tools: list[Tool]) -> dict[str, str]:
    """Build all blocks, by the name in their markers."""
    found = {
        "matrix": matrix_block(catalog),
        "tools": tools_block(tools),
        "settings": settings_block(),
        "behaviors": behaviors_block(),
        "hosts": hosts_block(),
        "offer of agents": offer_block(AGENTS),
        "registry name": f"<!-- mcp-name: {REGISTRY_NAME} -->",
    }
    for host in HOSTS:
        found[f"host {host.id}"] = host_block(host)
        if host.is_installable:
            found[f"snippet {host.id}"] = snippet_block(host)
    return found
