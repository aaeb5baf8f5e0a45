"""The links for one-click installation: the hosts get a valid entry from them, which starts the server."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from scripts.generating import links
from tests.packaging.launch import list_tools


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def parse_cursor_link(link: str) -> dict[str, Any]:
    query = parse_qs(urlsplit(link).query, strict_parsing=True)
    assert query["name"] == ["luma"]
    entry: dict[str, Any] = json.loads(base64.b64decode(query["config"][0], validate=True))
    return entry


def parse_vscode_link(link: str, scheme: str = "vscode") -> dict[str, Any]:
    start, _, config = link.partition("?")
    assert start == f"{scheme}:mcp/install"
    entry: dict[str, Any] = json.loads(unquote(config))
    return entry


def test_cursor_link_has_the_name_and_the_entry() -> None:
    link = links.cursor()
    assert urlsplit(link)[:3] == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")
    assert parse_cursor_link(link) == {
        "command": "uvx",
        "args": ["luma-ray-mcp"],
        "env": {"USEAPI_TOKEN": "user:your-token-from-useapi.net"},
    }
    assert parse_cursor_link(links.cursor_on_the_web()) == parse_cursor_link(link)


def test_vs_code_prompts_for_the_token_as_a_password() -> None:
    entry = parse_vscode_link(links.vscode())
    assert (entry["name"], entry["command"], entry["args"]) == ("luma", "uvx", ["luma-ray-mcp"])
    [token_input] = entry["inputs"]
    assert token_input["type"] == "promptString"
    assert token_input["password"] is True
    assert entry["env"] == {"USEAPI_TOKEN": f"${{input:{token_input['id']}}}"}


@pytest.mark.parametrize(
    ("scheme", "site"), [("vscode", "vscode.dev"), ("vscode-insiders", "insiders.vscode.dev")], ids=str
)
def test_web_link_has_the_same_entry(scheme: str, site: str) -> None:
    link = urlsplit(links.vscode_on_the_web(scheme))
    assert (link.scheme, link.netloc, link.path) == ("https", site, "/redirect")
    [inner] = parse_qs(link.query, strict_parsing=True)["url"]
    assert parse_vscode_link(inner, scheme) == parse_vscode_link(links.vscode())


@pytest.mark.parametrize(
    "entry", [parse_cursor_link(links.cursor()), parse_vscode_link(links.vscode())], ids=["cursor", "vscode"]
)
async def test_installed_entry_starts_the_server(entry: dict[str, Any]) -> None:
    assert "generate_video" in await list_tools(entry)
