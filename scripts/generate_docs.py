"""Write the generated files of the repository, or with `--check` list those that are not up to date.

    python scripts/generate_docs.py [--check]

Generated are:
    the blocks of README.md and docs/ between `<!-- generated: NAME -->` and `<!-- end -->`,
    a snapshot of each tool as the server lists it, in tests/server/snapshots; for the second API in agents/ there, and
    in apps/ of those that only clients that show apps see,
    the literal types in src/luma_mcp/catalog/useapi.py and agents.py, and the player's copy of both catalogs,
    the bundle's manifest and icon in packaging/, and the example of a configuration.
A host without a page gets one.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp import Client
from mcp.client import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.types import TextContent

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from scripts.generating.blocks import blocks  # noqa: E402
from scripts.generating.host_pages import NEW_PAGE  # noqa: E402
from scripts.generating.icon import icon_png, same_picture  # noqa: E402
from scripts.generating.literal_types import with_literal_types  # noqa: E402
from scripts.generating.manifest import manifest  # noqa: E402
from scripts.generating.player_table import player_table  # noqa: E402
from scripts.generating.snippets import snippet  # noqa: E402

from luma_mcp.catalog import get_catalog  # noqa: E402
from luma_mcp.hosts import HOSTS  # noqa: E402
from luma_mcp.providers import PROVIDERS  # noqa: E402
from luma_mcp.server.app import build_server  # noqa: E402
from luma_mcp.server.ui import APPS_TOOLS  # noqa: E402
from luma_mcp.settings import Settings  # noqa: E402

if TYPE_CHECKING:
    from mcp.types import Prompt, Tool

    from luma_mcp.catalog.models import Catalog

SNAPSHOTS = ROOT / "tests" / "server" / "snapshots"
ICON = ROOT / "packaging" / "icon.png"
CATALOG_SOURCES = ROOT / "src" / "luma_mcp" / "catalog"
# Without these markers the documents would silently lose their tables.
REQUIRED_BLOCKS = {
    "README.md": ("registry name",),
    "docs/reference.md": (
        "matrix",
        "matrix of agents",
        "tools",
        "tools with apps",
        "tools of agents",
        "settings",
        "behaviors",
    ),
    "docs/hosts/index.md": ("hosts",),
    "docs/choosing-an-api.md": ("offer of agents",),
}


async def fetch_apps_tools(catalog: Catalog) -> list[Tool]:
    """Get the tools that only clients that show apps see."""
    server = build_server(Settings(api=catalog.api), catalog=catalog)
    async with Client(server, extensions=[advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})]) as client:
        return [tool for tool in (await client.list_tools()).tools if tool.name in APPS_TOOLS]


async def fetch_listings(catalog: Catalog) -> tuple[list[Tool], dict[str, tuple[Prompt, str]]]:
    """Get the tools and prompts of a server without a credential, with each prompt's text as a bundle needs it."""
    prompts: dict[str, tuple[Prompt, str]] = {}
    async with Client(build_server(Settings(api=catalog.api), catalog=catalog)) as client:
        for prompt in (await client.list_prompts()).prompts:
            # A bundle's prompts have no optional arguments, so the choices are left out.
            arguments: dict[str, str] = {}
            for argument in prompt.arguments or []:
                if argument.name not in catalog.choices:
                    arguments[argument.name] = f"${{arguments.{argument.name}}}"
            result = await client.get_prompt(prompt.name, arguments)
            texts = [m.content.text for m in result.messages if isinstance(m.content, TextContent)]
            prompts[prompt.name] = (prompt, "\n\n".join(texts))
        return (await client.list_tools()).tools, prompts


def with_blocks(name: str, text: str, known: dict[str, str]) -> str:
    """Return a document with its blocks up to date."""

    def replace(markers: re.Match[str]) -> str:
        if markers[2] not in known:
            sys.exit(f"{name} has an unknown block: {markers[2]}")
        return f"{markers[1]}\n{known[markers[2]]}\n\n{markers[3]}"

    return re.sub(r"(<!-- generated: ([\w -]+) -->\n).*?(<!-- end -->)", replace, text, flags=re.DOTALL)


def documents(known: dict[str, str]) -> dict[Path, str]:
    """Build README and docs/, including a page for each host."""
    texts = {ROOT / "README.md": (ROOT / "README.md").read_text(encoding="utf-8")}
    for host in HOSTS:
        texts[ROOT / "docs" / "hosts" / f"{host.id}.md"] = NEW_PAGE.format(name=host.name, id=host.id)
    for path in (ROOT / "docs").rglob("*.md"):
        texts[path] = path.read_text(encoding="utf-8")
    for name, required in REQUIRED_BLOCKS.items():
        for block in required:
            count = texts[ROOT / name].count(f"<!-- generated: {block} -->\n")
            if count != 1:
                sys.exit(f"{name} has {count} blocks named {block} instead of one")
    return {path: with_blocks(str(path.relative_to(ROOT)), text, known) for path, text in texts.items()}


def _format_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def generate() -> dict[Path, str]:
    """Build the text of every generated file, by path."""
    catalogs = [get_catalog(api) for api in PROVIDERS]
    # The bundle and the documents list the tools of the first API, and of the others what is different.
    first, *others = catalogs
    tools, prompts = anyio.run(fetch_listings, first)
    apps_tools = anyio.run(fetch_apps_tools, first)
    files = snapshots(SNAPSHOTS, tools) | snapshots(SNAPSHOTS / "apps", apps_tools)
    other_tools: dict[str, list[Tool]] = {}
    for catalog in others:
        other_tools[catalog.api], _ = anyio.run(fetch_listings, catalog)
        files |= snapshots(SNAPSHOTS / catalog.api, other_tools[catalog.api])
    files |= documents(blocks(catalogs, tools, apps_tools, other_tools))
    files[ROOT / "packaging" / "manifest.json"] = _format_json(manifest(tools, prompts))
    files[ROOT / "player" / "src" / "table.js"] = player_table(catalogs)
    for catalog in catalogs:
        source = CATALOG_SOURCES / f"{catalog.api}.py"
        files[source] = with_literal_types(source.read_text(encoding="utf-8"), catalog)
    files[ROOT / "claude_desktop_config.example.json"] = snippet(HOSTS[0])
    return files


def snapshots(folder: Path, tools: list[Tool]) -> dict[Path, str]:
    """Build the snapshots of the tools, by path."""
    files: dict[Path, str] = {}
    for tool in tools:
        files[folder / f"{tool.name}.json"] = _format_json(
            tool.model_dump(mode="json", by_alias=True, exclude_none=True)
        )
    return files


def main() -> int:
    """Return 0 if everything is up to date or was written."""
    files = generate()
    stale: list[Path] = []
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
    icon = icon_png()
    icon_is_stale = not ICON.exists() or not same_picture(ICON.read_bytes(), icon)
    names = [str(path.relative_to(ROOT)) for path in stale]
    if icon_is_stale:
        names.append(str(ICON.relative_to(ROOT)))
    if "--check" in sys.argv:
        for name in names:
            print(f"{name} is not up to date: run make docs and read the difference")
        return 1 if names else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8", newline="\n")
    if icon_is_stale:
        ICON.write_bytes(icon)
    for name in names:
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
