"""Every configuration snippet in the documents is valid, and starts the server."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
from tests.packaging.documents import PAGES, ROOT, Block, find_blocks
from tests.packaging.launch import list_tools

from luma_mcp.hosts import HOSTS

SNIPPETS = find_blocks("json", "jsonc", "toml")
TOOLS = ["generate_video", "get_job", "list_jobs", "delete_job", "list_options", "join_videos"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def parse(block: Block) -> Any:
    return tomllib.loads(block.text) if block.language == "toml" else json.loads(block.text)


def find_entries(value: Any) -> list[dict[str, Any]]:
    """The server entries at any depth of a snippet."""
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("command"), str):
        return [value]
    return [entry for inner in value.values() for entry in find_entries(inner)]


@pytest.mark.parametrize("block", SNIPPETS, ids=str)
def test_snippet_is_valid(block: Block) -> None:
    parse(block)


def list_entries() -> dict[str, dict[str, Any]]:
    """The distinct entries, by where they first occur."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for block in SNIPPETS:
        for entry in find_entries(parse(block)):
            found.setdefault(json.dumps(entry, sort_keys=True), (str(block), entry))
    example = json.loads((ROOT / "claude_desktop_config.example.json").read_text(encoding="utf-8"))
    for entry in find_entries(example):
        found.setdefault(json.dumps(entry, sort_keys=True), ("claude_desktop_config.example.json", entry))
    return dict(found.values())


@pytest.mark.sample(2)
@pytest.mark.parametrize("entry", [pytest.param(e, id=where) for where, e in list_entries().items()])
async def test_entry_starts_the_server(entry: dict[str, Any]) -> None:
    assert await list_tools(entry) == TOOLS


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.id)
def test_every_host_has_a_page_with_a_snippet_for_its_file(host: Any) -> None:
    page = ROOT / "docs" / "hosts" / f"{host.id}.md"
    assert page in PAGES
    own = [block for block in SNIPPETS if block.page == f"docs/hosts/{host.id}.md"]
    if host.paths:
        first = parse(own[0])
        assert list(first) == [host.key]
        [entry] = first[host.key].values()
        assert entry["env"] == {"USEAPI_TOKEN": "user:your-token-from-useapi.net"}
        assert entry.get("type") == ("stdio" if host.types else None)
        # The page names the file's path on each system.
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"^\| (macOS|Windows|Linux) ", text, flags=re.MULTILINE) == ["macOS", "Windows", "Linux"]
    else:
        assert own == []


def test_inline_settings_in_the_readme_are_valid() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    inline = re.findall(r"`(\"(?:command|args)\": .+?)`", text)
    for settings in inline:
        json.loads(f"{{{settings}}}")
