"""No committed file runs our package by its name from an index, where the name is not ours."""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from scripts.release_files import write_release_files
from tests.packaging.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = r"luma[-_](?:ray[-_])?mcp\b"
SOURCE = r"(?:--from|--spec|--directory|--project|git\+|[\\/])"
RUNNERS = (
    rf"uvx[ \"',\[\]]+(?!.*{SOURCE}).*{NAME}",
    rf"(?:uv tool (?:install|run)|pipx (?:install|run)|pip3? install)(?!.*{SOURCE})[^\n]*[ \"']{NAME}",
    rf'"identifier": "{NAME}',
)
EXCLUDED = "tests/"
"""Tests contain such entries to prove that they are refused."""


def decode(text: str) -> Iterator[str]:
    """Yield a text, each form of it with URL encoding removed, and the base64 values in it, decoded."""
    yield text
    while (plain := unquote(text)) != text:
        text = plain
        yield text
    for encoded in re.findall(r"[A-Za-z0-9+/_-]{40,}={0,2}", text):
        try:
            yield base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue


def runs_from_index(text: str) -> bool:
    return any(re.search(pattern, decoded_text) for decoded_text in decode(text) for pattern in RUNNERS)


def list_committed_files() -> list[str]:
    listing = ["git", "ls-files"]
    listed = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True)
    return [
        name for name in listed.stdout.split("\n") if name and not name.startswith(EXCLUDED) and (ROOT / name).is_file()
    ]


@pytest.mark.parametrize(
    "text",
    [
        "uvx luma-ray-mcp",
        '"command": "uvx", "args": ["luma-mcp"]',
        "pip install luma-ray-mcp",
        "pipx run luma-mcp demo",
        "uv tool install luma-ray-mcp",
        "https://x.example/?config=" + base64.b64encode(b'{"command":"uvx","args":["luma-ray-mcp"]}').decode(),
        "https://x.example/?url=vscode%253A%257B%2522command%2522%253A%2522uvx%2522%252C%255B%2522luma-ray-mcp%2522",
        '"identifier": "luma-ray-mcp"',
    ],
)
def test_command_that_runs_from_an_index_is_recognised(text: str) -> None:
    assert runs_from_index(text)


@pytest.mark.parametrize(
    "text",
    [
        'uv tool install ".[film]"',
        "pipx install .",
        "uv run --directory /srv/luma-ray-mcp luma-ray-mcp",
        "pip install ./luma-ray-mcp",
    ],
)
def test_local_installation_is_allowed(text: str) -> None:
    assert not runs_from_index(text)


def test_no_committed_file_runs_our_package_from_an_index() -> None:
    found = []
    for name in list_committed_files():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {line.strip()[:80]}" for line in text.splitlines() if runs_from_index(line)]
    assert found == []


def test_release_files_are_not_committed(tmp_path: Path) -> None:
    server, links = write_release_files(tmp_path / "dist")
    assert runs_from_index(server.read_text(encoding="utf-8"))
    assert runs_from_index(links.read_text(encoding="utf-8"))
    assert not {"server.json", "links.md"} & set(list_committed_files())
