"""Read configuration files as their hosts do, without the code under test."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import tomlkit
from tests.install.documents import BOM, KEYS


def parse(host: str, text: str) -> dict[str, Any]:
    """Parse a file as its host does. A separate tokenizer removes comments and trailing commas."""
    text = text.removeprefix(BOM)
    if host == "codex":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            # The standard library parses only version 1.0.
            return tomlkit.parse(text).unwrap()
    if host in ("cursor", "vscode", "gemini-cli"):
        tokens = re.findall(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|/\*[\s\S]*?\*/|[^"/]+', text)
        text = "".join(token for token in tokens if not token.startswith("/"))
        parts = re.split(r'("(?:[^"\\]|\\.)*")', text)
        text = "".join(part if n % 2 else re.sub(r",(\s*[}\]])", r"\1", part) for n, part in enumerate(parts))
    value = json.loads(text or "{}", parse_float=str, parse_int=str)
    assert isinstance(value, dict)
    return value


def get_servers(host: str, text: str) -> dict[str, Any]:
    """Get the servers that the host starts."""
    found = parse(host, text).get(KEYS.get(host, "mcpServers"), {})
    assert isinstance(found, dict)
    return found


def format_without_ours(host: str, text: str) -> str:
    """Format the file's content without our entry. As a text, because the value `nan` is not equal to itself."""
    data = parse(host, text)
    rest = {name: server for name, server in get_servers(host, text).items() if name != "luma"}
    data.pop(KEYS.get(host, "mcpServers"), None)
    return repr(data) + repr(rest)
