"""The generated blocks of the documents: the catalog, the tools and the settings as tables for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scripts.generating.host_pages import host_block, hosts_block
from scripts.generating.project import REGISTRY_NAME
from scripts.generating.registry import DEPENDENT
from scripts.generating.snippets import snippet_block

from luma_mcp.catalog.tables import format_table, options_table, outputs_table, prices_table, times_table
from luma_mcp.hosts import HOSTS
from luma_mcp.server.schemas import format_rules
from luma_mcp.settings import HOSTING_VARIABLES, VARIABLES
from luma_mcp.simulator.agents import AGENTS_BEHAVIORS
from luma_mcp.simulator.state import BEHAVIORS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mcp.types import Tool

    from luma_mcp.catalog.models import Catalog
    from luma_mcp.simulator.state import Behavior


BEHAVIOR_GROUPS = {
    "order": "The order is rejected",
    "answer": "The answer to the order is lost",
    "api": "The API fails while the job runs",
    "job": "The job",
    "record": "What the API says about the job",
    "webhook": "The call of the order's `replyUrl`",
    "links": "The links of the finished job",
}


def matrix_block(catalog: Catalog) -> str:
    """What can be made, as `list_options` describes it."""
    rules = "\n".join(f"- {rule}" for rule in format_rules(catalog))
    return "\n\n".join(
        [
            options_table(catalog),
            outputs_table(catalog),
            times_table(catalog),
            *_describe_prices(catalog),
            f"Rules:\n\n{rules}",
            f"Source: {catalog.source}, as of {catalog.source_date}. Some of the times are estimates.",
        ]
    )


def _describe_prices(catalog: Catalog) -> list[str]:
    if not catalog.prices:
        return []
    source = f"What one video costs ({catalog.price_source}, as of {catalog.price_date}):"
    return [source, prices_table(catalog, catalog.prices)]


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
    return "\n\n".join([options_table(catalog), *_describe_prices(catalog)])


def settings_block(names: Collection[str]) -> str:
    """These environment variables."""
    rows = [["variable", "default", "what it does"]]
    for row in [VARIABLES[name] for name in VARIABLES if name in names]:
        default = "" if row.default in (None, ()) else f"`{row.default}`"
        if row.name in DEPENDENT:
            default = ""
        rows.append([f"`{row.metadata['name']}`", default, row.metadata["about"]])
    return format_table(rows)


def behaviors_block(behaviors: Mapping[str, Behavior]) -> str:
    """What a prompt can request from a simulator, a table for each group."""
    parts: list[str] = []
    for group, title in BEHAVIOR_GROUPS.items():
        rows = [["word", "effect", "number (default)"]]
        for name, behavior in behaviors.items():
            if behavior.group == group:
                default = "" if behavior.default in (None, math.inf) else f" ({behavior.default})"
                rows.append([f"`simulate:{name}`", behavior.about, f"{behavior.number}{default}"])
        if len(rows) > 1:
            parts.append(f"{title}:\n\n{format_table(rows)}")
    return "\n\n".join(parts)


def blocks(
    catalogs: Sequence[Catalog], tools: list[Tool], apps_tools: list[Tool], other_tools: Mapping[str, list[Tool]]
) -> dict[str, str]:
    """Build all blocks, by the name in their markers.

    `tools`: those of the first API; `apps_tools`: its others, which only clients that show apps see; `other_tools`:
    those of the other APIs.
    """
    first, *others = catalogs
    own_behaviors = {name: row for name, row in AGENTS_BEHAVIORS.items() if row != BEHAVIORS.get(name)}
    found = {
        "matrix": matrix_block(first),
        "tools": tools_block(tools),
        # Nobody but a page calls the others.
        "tools with apps": tools_block([tool for tool in apps_tools if tool.name == "add_picture"]),
        "settings": settings_block(VARIABLES.keys() - HOSTING_VARIABLES.keys()),
        "hosting settings": settings_block(HOSTING_VARIABLES),
        "behaviors": behaviors_block(BEHAVIORS),
        "behaviors of agents": behaviors_block(own_behaviors),
        "hosts": hosts_block(),
        "registry name": f"<!-- mcp-name: {REGISTRY_NAME} -->",
    }
    for catalog in others:
        found[f"matrix of {catalog.api}"] = matrix_block(catalog)
        found[f"offer of {catalog.api}"] = offer_block(catalog)
        # The others take the same parameters with every API.
        ordering = [tool for tool in other_tools[catalog.api] if tool.name == "generate_video"]
        found[f"tools of {catalog.api}"] = tools_block(ordering)
    for host in HOSTS:
        found[f"host {host.id}"] = host_block(host)
        if host.is_installable:
            found[f"snippet {host.id}"] = snippet_block(host)
    return found
