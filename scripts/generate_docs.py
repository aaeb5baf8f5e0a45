"""Writes what is generated in the repository, or with `--check` tells what is not as it would be written.

    python scripts/generate_docs.py [--check]

Generated: the blocks of README.md and docs/ between `<!-- generated: NAME -->` and `<!-- end -->`; a snapshot of each
tool as it is advertised, in tests/server/snapshots; the player's copy of the table; the bundle's manifest and icon in
packaging/; and the example of a configuration. A page is begun for every host that has none.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp import Client
from mcp.types import TextContent

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from scripts.generating.blocks import blocks  # noqa: E402
from scripts.generating.host_pages import FRAME  # noqa: E402
from scripts.generating.icon import icon_png, same_picture  # noqa: E402
from scripts.generating.manifest import manifest  # noqa: E402
from scripts.generating.player_table import player_table  # noqa: E402
from scripts.generating.snippets import snippet  # noqa: E402

from luma_mcp.catalog.useapi import CHOICES  # noqa: E402
from luma_mcp.hosts import HOSTS  # noqa: E402
from luma_mcp.server.app import build_server  # noqa: E402
from luma_mcp.settings import Settings  # noqa: E402

if TYPE_CHECKING:
    from mcp.types import Prompt, Tool

SNAPSHOTS = ROOT / "tests" / "server" / "snapshots"
ICON = ROOT / "packaging" / "icon.png"
ALWAYS_IN_README = ("matrix", "tools", "settings")


async def advertised() -> tuple[list[Tool], dict[str, tuple[Prompt, str]]]:
    """The tools and prompts of a server with no settings; a prompt's own arguments as a bundle writes them."""
    prompts = {}
    async with Client(build_server(Settings())) as client:
        for prompt in (await client.list_prompts()).prompts:
            own = [argument.name for argument in prompt.arguments or [] if argument.name not in CHOICES]
            got = await client.get_prompt(prompt.name, {name: f"${{arguments.{name}}}" for name in own})
            text = "\n\n".join(m.content.text for m in got.messages if isinstance(m.content, TextContent))
            prompts[prompt.name] = (prompt, text)
        return (await client.list_tools()).tools, prompts


def with_blocks(name: str, text: str, known: dict[str, str]) -> str:
    """A document with its blocks as they should be."""

    def written(markers: re.Match[str]) -> str:
        if markers[2] not in known:
            sys.exit(f"{name} has a block that nobody knows: {markers[2]}")
        return f"{markers[1]}\n{known[markers[2]]}\n\n{markers[3]}"

    return re.sub(r"(<!-- generated: ([\w -]+) -->\n).*?(<!-- end -->)", written, text, flags=re.DOTALL)


def documents(known: dict[str, str]) -> dict[Path, str]:
    """README and docs/, and a page for each host."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ALWAYS_IN_README:
        if (found := readme.count(f"<!-- generated: {name} -->\n")) != 1:
            sys.exit(f"README.md has {found} blocks named {name}")
    texts = {ROOT / "README.md": readme}
    for host in HOSTS:
        texts[ROOT / "docs" / "hosts" / f"{host.id}.md"] = FRAME.format(name=host.name, id=host.id)
    for path in (ROOT / "docs").rglob("*.md"):
        texts[path] = path.read_text(encoding="utf-8")
    return {path: with_blocks(str(path.relative_to(ROOT)), text, known) for path, text in texts.items()}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def generated(tools: list[Tool], prompts: dict[str, tuple[Prompt, str]]) -> dict[Path, str]:
    """Every generated text with what belongs into it."""
    files = documents(blocks(tools))
    for tool in tools:
        snapshot = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
        files[SNAPSHOTS / f"{tool.name}.json"] = _json(snapshot)
    files[ROOT / "packaging" / "manifest.json"] = _json(manifest(tools, prompts))
    files[ROOT / "player" / "src" / "table.js"] = player_table()
    files[ROOT / "claude_desktop_config.example.json"] = snippet(HOSTS[0])
    return files


def main() -> int:
    """0 if all is as it should be."""
    files = generated(*anyio.run(advertised))
    stale = [p for p, text in files.items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    icon = icon_png()
    icon_is_stale = not ICON.exists() or not same_picture(ICON.read_bytes(), icon)
    names = [str(path.relative_to(ROOT)) for path in [*stale, *([ICON] if icon_is_stale else [])]]
    if "--check" in sys.argv:
        for name in names:
            print(f"{name} is not as generated: run make docs and read the difference")
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
