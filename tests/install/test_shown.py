"""What a person sees of a change, and what nobody sees."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.install.documents import CASES, DOCUMENTS

from luma_mcp.hosts import HOSTS
from luma_mcp.install.config import Config
from luma_mcp.install.entry import Entry
from luma_mcp.install.shown import LONGEST, difference

HOST = {host.id: host for host in HOSTS}
TOKEN = "user:4711-very-secret-token"
OURS = Entry("/opt/luma-mcp", (), {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_EMAIL": "fox@example.com"})


def config(host: str, text: str) -> Config:
    return Config.decode(HOST[host], Path("file"), text.encode())


def changed(host: str, before: str, after: str) -> list[str]:
    return difference(config(host, before), config(host, after))


@pytest.mark.parametrize(("host", "name"), CASES)
def test_our_command_is_seen_and_no_secret_is_neither_ours_nor_a_neighbours(host: str, name: str) -> None:
    before = DOCUMENTS[host][name]
    after = config(host, before).with_entry(OURS)
    for lines in (changed(host, before, after), changed(host, after, before)):
        shown = "\n".join(lines)
        assert "/opt/luma-mcp" in shown
        assert "user:…" in shown
        assert "fox@example.com" in shown
        assert [secret for secret in (TOKEN, "4711", "ghp_neighbour") if secret in shown] == []
        assert max(map(len, lines)) <= LONGEST


def test_another_token_is_seen_to_be_another_one() -> None:
    first = config("cursor", "").with_entry(OURS)
    other = config("cursor", first).with_entry(Entry("/opt/luma-mcp", (), {"USEAPI_TOKEN": "user:12-other"}))
    lines = changed("cursor", first, other)
    assert [line for line in lines if line[0] in "+-"] == [
        '-        "USEAPI_TOKEN": "user:…",',
        '+        "USEAPI_TOKEN": "user:… (new)",',
    ]


def test_a_file_without_line_breaks_is_not_shown_as_one() -> None:
    neighbours = ",".join(f'"server-{n}":{{"command":"x"}}' for n in range(100))
    before = f'{{"mcpServers":{{{neighbours}}}}}'
    lines = changed("cursor", before, config("cursor", before).with_entry(OURS))
    assert all(line.startswith("+ ") for line in lines)
    assert "server-1" not in "\n".join(lines)
    assert '"command": "/opt/luma-mcp"' in "\n".join(lines)
