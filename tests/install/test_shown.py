"""What a person sees of a change, and what nobody sees."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from tests.install.documents import CASES, DOCUMENTS

from luma_mcp.hosts import HOSTS
from luma_mcp.install.config import Config
from luma_mcp.install.diff import LONGEST, difference
from luma_mcp.install.entry import Entry

HOST = {host.id: host for host in HOSTS}
TOKEN = "user:4711-very-secret-token"
OURS = Entry("/opt/luma-ray-mcp", (), {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_EMAIL": "fox@example.com"})


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
        assert "/opt/luma-ray-mcp" in shown
        assert "user:…" in shown
        assert "fox@example.com" in shown
        assert [secret for secret in (TOKEN, "4711", "ghp_neighbour") if secret in shown] == []
        assert max(map(len, lines)) <= LONGEST


def test_another_token_is_seen_to_be_another_one() -> None:
    first = config("cursor", "").with_entry(OURS)
    other = config("cursor", first).with_entry(Entry("/opt/luma-ray-mcp", (), {"USEAPI_TOKEN": "user:12-other"}))
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
    assert '"command": "/opt/luma-ray-mcp"' in "\n".join(lines)


SECRETS = {
    "a variable of our own entry": (
        "cursor",
        """
        {"mcpServers": {
          "luma": {
            "command": "uvx",
            "args": ["--from", "https://SECRET@h/x.whl", "luma-ray-mcp", "--speed", "SECRET"],
            "env": {
              "HTTPS_PROXY": "http://bob:SECRET@proxy:8080", "PIN": 471147,
              "LUMA_MCP_API_KEY": "SECRET",
              "LUMA_MCP_BASE_URL": "https://bob:SECRET@h/v1"
            },
            "url": "https://h/?k=SECRET"
          }
        }}
        """,
    ),
    "another server of our name": (
        "cursor",
        """
        {"mcpServers": {
          "luma": {
            "command": "npx --key SECRET",
            "args": ["-y", "x", "--api-key", "sk-SECRET"],
            "url": "https://u:SECRET@h/",
            "headers": {"X-Mine": "SECRET"},
            "env": {"LUMA_MCP_EMAIL": "SECRET@h", "N": "471147"}
          }
        }}
        """,
    ),
    "comments": (
        "cursor",
        """
        // token ghp_SECRET
        {
          "mcpServers": { // "a": "SECRET"
            /* SECRET
               "SECRET" */
            "time": { "command": "x" /* SECRET */, "pin": 471147 } // it's "SECRET
          } // SECRET
        }
        """,
    ),
    "TOML": (
        "codex",
        """
        a = \"\"\"
        it's "SECRET" and SECRET = "SECRET"\"\"\"
        b = '''
        SECRET '''
        pin = 471147
        c = [ # SECRET
          "SECRET", 'SECRET', # "SECRET
        ]
        [mcp_servers.time]
        command = "SECRET" # SECRET
        """,
    ),
    "TOML, our own entry": (
        "codex",
        """
        [mcp_servers.luma]
        command = "luma-ray-mcp" # SECRET
        args = ["--simulate", '''SECRET''']
        [mcp_servers.luma.env]
        NOTE = \"\"\"SECRET
        "SECRET\"\"\"
        PIN = 471147
        """,
    ),
    "in one line": (
        "windsurf",
        """
        {"mcpServers": {"luma": {"command": "luma-ray-mcp", "args": ["SECRET"], "env": {"A": "SECRET"}}}, "b": "SECRET"}
        """,
    ),
}


@pytest.mark.parametrize(("host", "text"), SECRETS.values(), ids=SECRETS)
def test_whatever_is_not_known_to_be_harmless_is_hidden(host: str, text: str) -> None:
    before = config(host, dedent(text))
    entry = before.entry()
    after = before.with_entry(OURS, replace=bool(entry and not entry.is_ours))
    for lines in (changed(host, before.text, after), changed(host, after, before.text)):
        shown = "\n".join(lines)
        assert "SECRET" not in shown
        assert "471147" not in shown
        assert "/opt/luma-ray-mcp" in shown
        assert "fox@example.com" in shown


def test_what_has_only_moved_is_not_said_to_be_new() -> None:
    first = config("cursor", '{"mcpServers": {"luma": {"command": "luma-ray-mcp", "args": ["x"], "url": "y"}}}')
    shown = "\n".join(changed("cursor", first.text, first.with_entry(OURS)))
    assert '"url": "…", "env": {"USEAPI_TOKEN": "user:… (new)", ' in shown
    assert shown.count("(new)") == 1


def test_what_an_entry_of_ours_does_is_seen() -> None:
    first = config("codex", "").with_entry(
        Entry(
            "C:\\Program Files\\uv\\uvx.exe",
            ("--from", "git+https://github.com/x/luma-ray-mcp@v1", "luma-ray-mcp"),
            OURS.env,
        )
    )
    second = config("codex", first).with_entry(Entry("/a b/python", ("-m", "luma_mcp", "--simulate"), OURS.env))
    shown = "\n".join(changed("codex", first, second))
    for seen in ("uvx.exe", "@v1", '"luma-ray-mcp"', "/a b/python", '"-m", "luma_mcp", "--simulate"'):
        assert seen in shown
    assert "tool_timeout_sec = 660" in "\n".join(changed("codex", "", first))
