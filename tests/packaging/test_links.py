"""The links that install with one click: decoded as the hosts decode them, they are entries that start."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from scripts.generating import links
from tests.packaging.starting import tools_of


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def cursor_entry(link: str) -> dict[str, Any]:
    said = parse_qs(urlsplit(link).query, strict_parsing=True)
    assert said["name"] == ["luma"]
    entry: dict[str, Any] = json.loads(base64.b64decode(said["config"][0], validate=True))
    return entry


def vscode_entry(link: str, scheme: str = "vscode") -> dict[str, Any]:
    start, _, config = link.partition("?")
    assert start == f"{scheme}:mcp/install"
    entry: dict[str, Any] = json.loads(unquote(config))
    return entry


def test_cursor_gets_name_and_entry() -> None:
    link = links.cursor()
    assert urlsplit(link)[:3] == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")
    assert cursor_entry(link) == {
        "command": "uvx",
        "args": ["luma-ray-mcp"],
        "env": {"USEAPI_TOKEN": "user:your-token-from-useapi.net"},
    }
    assert cursor_entry(links.cursor_on_the_web()) == cursor_entry(link)


def test_vs_code_asks_for_the_token_as_for_a_password() -> None:
    entry = vscode_entry(links.vscode())
    assert (entry["name"], entry["command"], entry["args"]) == ("luma", "uvx", ["luma-ray-mcp"])
    [asked] = entry["inputs"]
    assert asked["type"] == "promptString"
    assert asked["password"] is True
    assert entry["env"] == {"USEAPI_TOKEN": f"${{input:{asked['id']}}}"}


@pytest.mark.parametrize(
    ("scheme", "site"), [("vscode", "vscode.dev"), ("vscode-insiders", "insiders.vscode.dev")], ids=lambda word: word
)
def test_the_link_for_web_pages_leads_to_the_same(scheme: str, site: str) -> None:
    link = urlsplit(links.vscode_on_the_web(scheme))
    assert (link.scheme, link.netloc, link.path) == ("https", site, "/redirect")
    [inner] = parse_qs(link.query, strict_parsing=True)["url"]
    assert vscode_entry(inner, scheme) == vscode_entry(links.vscode())


@pytest.mark.parametrize(
    "entry", [cursor_entry(links.cursor()), vscode_entry(links.vscode())], ids=["cursor", "vscode"]
)
async def test_what_a_link_installs_starts(entry: dict[str, Any]) -> None:
    assert "generate_video" in await tools_of(entry)
