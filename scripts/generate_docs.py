"""Writes what is generated in the repository, or with `--check` tells what is not as it would be written.

    python scripts/generate_docs.py [--check]

Generated: the blocks of README.md between `<!-- generated: NAME -->` and `<!-- end -->`, and a snapshot of each
tool as it is advertised, in tests/server/snapshots.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from mcp import Client

from luma_mcp import tables
from luma_mcp.matrix import SOURCE, SOURCE_DATE
from luma_mcp.server.build import build_server
from luma_mcp.settings import VARIABLES, Settings

if TYPE_CHECKING:
    from mcp.types import Tool

ROOT = Path(__file__).parent.parent
SNAPSHOTS = ROOT / "tests" / "server" / "snapshots"


async def advertised() -> list[Tool]:
    """The tools of a server with no settings."""
    async with Client(build_server(Settings())) as client:
        return (await client.list_tools()).tools


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


def _between(block: str, markers: re.Match[str]) -> str:
    return f"{markers[1]}\n{block}\n\n{markers[2]}"


def generated(tools: list[Tool]) -> dict[Path, str]:
    """Every generated file with what belongs into it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = {"matrix": matrix_block(), "tools": tools_block(tools), "settings": settings_block()}
    for name, block in blocks.items():
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        # As a function's result the block is taken as it is, backslashes and all.
        readme, found = re.subn(pattern, partial(_between, block), readme, flags=re.DOTALL)
        if found != 1:
            sys.exit(f"README.md has {found} blocks named {name}")
    files = {ROOT / "README.md": readme}
    for tool in tools:
        snapshot = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
        files[SNAPSHOTS / f"{tool.name}.json"] = json.dumps(snapshot, indent=2, ensure_ascii=False) + "\n"
    return files


def main() -> int:
    """0 if all is as it should be."""
    files = generated(anyio.run(advertised))
    stale = [p for p, text in files.items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not as generated: run make docs and read the difference")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
