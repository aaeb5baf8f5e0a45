"""Read configuration files as their hosts do, without the code under test."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import tomlkit
from tests.install.documents import BOM, KEYS


def read(host: str, text: str) -> dict[str, Any]:
    """The content as the host reads it. Comments and trailing commas are removed by a tokenizer of its own."""
    text = text.removeprefix(BOM)
    if host == "codex":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            # The standard library reads version 1.0 only.
            return tomlkit.parse(text).unwrap()
    if host in ("cursor", "vscode", "gemini-cli"):
        tokens = re.findall(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|/\*[\s\S]*?\*/|[^"/]+', text)
        text = "".join(token for token in tokens if not token.startswith("/"))
        parts = re.split(r'("(?:[^"\\]|\\.)*")', text)
        text = "".join(part if n % 2 else re.sub(r",(\s*[}\]])", r"\1", part) for n, part in enumerate(parts))
    value = json.loads(text or "{}", parse_float=str, parse_int=str)
    assert isinstance(value, dict)
    return value


def servers(host: str, text: str) -> dict[str, Any]:
    """The servers that the host starts."""
    found = read(host, text).get(KEYS.get(host, "mcpServers"), {})
    assert isinstance(found, dict)
    return found


def without_us(host: str, text: str) -> str:
    """Everything else in the file; as a text, because there `nan` equals itself."""
    data = read(host, text)
    rest = {name: server for name, server in servers(host, text).items() if name != "luma"}
    data.pop(KEYS.get(host, "mcpServers"), None)
    return repr(data) + repr(rest)
