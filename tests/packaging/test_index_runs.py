"""No committed file runs our package by name from an index: the name is not ours there."""

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
HERE = "tests/"
"""Tests hold such entries on purpose, to prove that they are refused."""


def decoded(text: str) -> Iterator[str]:
    """A text, and what its links and base64 words hold, as far down as they go."""
    yield text
    while (plain := unquote(text)) != text:
        text = plain
        yield text
    for word in re.findall(r"[A-Za-z0-9+/_-]{40,}={0,2}", text):
        try:
            yield base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue


def runs_from_index(text: str) -> bool:
    return any(re.search(pattern, layer) for layer in decoded(text) for pattern in RUNNERS)


def committed() -> list[str]:
    listing = ["git", "ls-files"]
    listed = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True)
    return [
        name for name in listed.stdout.split("\n") if name and not name.startswith(HERE) and (ROOT / name).is_file()
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
def test_such_a_text_is_recognised(text: str) -> None:
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
def test_a_local_installation_is_none(text: str) -> None:
    assert not runs_from_index(text)


def test_no_committed_file_runs_our_name_from_an_index() -> None:
    found = []
    for name in committed():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {line.strip()[:80]}" for line in text.splitlines() if runs_from_index(line)]
    assert found == []


def test_release_files_are_written_outside_the_repository_only(tmp_path: Path) -> None:
    server, links = write_release_files(tmp_path / "dist")
    assert runs_from_index(server.read_text(encoding="utf-8"))
    assert runs_from_index(links.read_text(encoding="utf-8"))
    assert not {"server.json", "links.md"} & set(committed())
