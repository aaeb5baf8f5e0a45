"""The generated blocks of the documents: what the table, the tools and the settings say, as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.generating.host_pages import host_block, hosts_block
from scripts.generating.project import REGISTRY_NAME
from scripts.generating.snippets import snippet_block

from luma_mcp.catalog import tables
from luma_mcp.catalog.useapi import SOURCE, SOURCE_DATE
from luma_mcp.hosts import HOSTS
from luma_mcp.settings import VARIABLES

if TYPE_CHECKING:
    from mcp.types import Tool


def matrix_block() -> str:
    """The table, as `list_options` tells it."""
    return "\n\n".join(
        [
            tables.matrix_table(),
            tables.outputs_table(),
            tables.times_table(),
            f"Source: {SOURCE}, as of {SOURCE_DATE}; usual times between draft and 1080p are interpolated.",
        ]
    )


def tools_block(tools: list[Tool]) -> str:
    """Each tool with its parameters."""
    parts = []
    for tool in tools:
        rows = [["parameter", "takes", "about"]]
        for name, rule in tool.input_schema["properties"].items():
            values = ", ".join(f"`{v}`" for v in rule.get("enum", ())) or rule["type"]
            needed = " (needed)" if name in tool.input_schema["required"] else ""
            rows.append([f"`{name}`{needed}", values, rule.get("description", "")])
        parts.append(f"### `{tool.name}`\n\n{tool.description}\n\n{tables.table(rows)}")
    return "\n\n".join(parts)


def settings_block() -> str:
    """The environment variables."""
    rows = [["variable", "default", "what it does"]]
    for row in VARIABLES.values():
        default = "" if row.default is None else f"`{row.default}`"
        rows.append([f"`{row.metadata['name']}`", default, row.metadata["about"]])
    return tables.table(rows)


def blocks(tools: list[Tool]) -> dict[str, str]:
    """All of them by the name in their markers."""
    return {
        "matrix": matrix_block(),
        "tools": tools_block(tools),
        "settings": settings_block(),
        "hosts": hosts_block(),
        "hosts in readme": hosts_block("docs/hosts/"),
        "registry name": f"<!-- mcp-name: {REGISTRY_NAME} -->",
        **{f"host {host.id}": host_block(host) for host in HOSTS},
        **{f"snippet {host.id}": snippet_block(host) for host in HOSTS if host.places},
    }
