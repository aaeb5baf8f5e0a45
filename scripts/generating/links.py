"""Links that add the server to a host with one click, in the form that each host documents.

They run the published package by name, so they are written at release time only (`scripts/release_files.py`): until the
name is ours on the index, a committed link would run somebody else's package.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

from scripts.generating.project import NAME

from luma_mcp.install.entry import NAME as SERVER
from luma_mcp.providers import USEAPI

UVX: dict[str, Any] = {"command": "uvx", "args": [NAME]}


def _format_json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def cursor() -> str:
    """The link for Cursor: the entry in base64. Its dialog shows the entry, and the person fills in the token there."""
    config = base64.b64encode(_format_json({**UVX, "env": {USEAPI.variable: USEAPI.placeholder}}).encode()).decode()
    return "cursor://anysphere.cursor-deeplink/mcp/install?" + urlencode({"name": SERVER, "config": config})


def cursor_on_the_web() -> str:
    """The same as an https link, for pages that allow no other scheme."""
    return "https://cursor.com/install-mcp?" + cursor().split("?", 1)[1]


def vscode(scheme: str = "vscode") -> str:
    """The link for VS Code (or `vscode-insiders`), which asks for the token as a password and stores it."""
    entry = {
        "name": SERVER,
        **UVX,
        "env": {USEAPI.variable: "${input:useapi_token}"},
        "inputs": [
            {
                "type": "promptString",
                "id": "useapi_token",
                "description": "API token from useapi.net (user:…)",
                "password": True,
            }
        ],
    }
    return f"{scheme}:mcp/install?{quote(_format_json(entry), safe='')}"


def vscode_on_the_web(scheme: str = "vscode") -> str:
    """The same as an https link."""
    site = "insiders.vscode.dev" if scheme == "vscode-insiders" else "vscode.dev"
    return f"https://{site}/redirect?url={quote(vscode(scheme), safe='')}"


def links_block() -> str:
    """All links, as a Markdown list."""
    links = {
        "Cursor": cursor_on_the_web(),
        "VS Code": vscode_on_the_web(),
        "VS Code Insiders": vscode_on_the_web("vscode-insiders"),
    }
    return "\n".join(f"- [Install in {name}]({link})" for name, link in links.items())
