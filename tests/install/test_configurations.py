"""Our entry goes into real files and out again, and everything else stays as it is."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from tests.install.documents import BOM, CASES, CODEX, DOCUMENTS
from tests.install.reading import servers, without_us

from luma_mcp.hosts import HOSTS
from luma_mcp.install.config import Config, installed
from luma_mcp.install.entry import PLACEHOLDER, Entry, snippet

if TYPE_CHECKING:
    from luma_mcp.hosts import Host

HOST = {host.id: host for host in HOSTS}
OURS = Entry("/opt/luma/bin/luma-ray-mcp", (), {"USEAPI_TOKEN": "user:1-x", "LUMA_MCP_EMAIL": "fox@example.com"})
TYPED = ("claude-code", "vscode")


def config(host: str, text: str) -> Config:
    return Config.decode(HOST[host], Path("file"), text.encode())


def expected(host: str, entry: Entry = OURS) -> dict[str, object]:
    said: dict[str, object] = {"command": entry.command, "env": dict(entry.env)}
    if entry.args:
        said["args"] = list(entry.args)
    return said | ({"type": "stdio"} if host in TYPED else {}) | ({"tool_timeout_sec": 660} if host == "codex" else {})


def is_part(less: str, more: str) -> bool:
    """Whether one text is the other, with something put in."""
    rest = iter(more)
    return all(character in rest for character in less)


@pytest.mark.parametrize(("host", "name"), CASES)
def test_the_entry_comes_in_and_nothing_else_changes(host: str, name: str) -> None:
    before = DOCUMENTS[host][name]
    after = config(host, before).with_entry(OURS)
    assert servers(host, after)["luma"] == expected(host)
    assert without_us(host, after) == without_us(host, before)
    assert is_part("".join(before.split()), "".join(after.split()))
    assert (after.startswith(BOM), after.endswith("\n")) == (before.startswith(BOM), before.endswith("\n"))
    assert ("\r\n" in before) == ("\r\n" in after)
    assert not re.search(r"(?<!\r)\n", after) or "\r\n" not in before
    assert after.count("\t") >= before.count("\t")


@pytest.mark.parametrize(("host", "name"), CASES)
def test_a_second_time_changes_nothing(host: str, name: str) -> None:
    after = config(host, DOCUMENTS[host][name]).with_entry(OURS)
    assert config(host, after).with_entry(OURS) == after


@pytest.mark.parametrize(("host", "name"), CASES)
def test_taken_out_again_the_file_is_what_it_was_byte_for_byte(host: str, name: str) -> None:
    before = DOCUMENTS[host][name]
    after = config(host, config(host, before).with_entry(OURS)).without_entry()
    assert after == before


@pytest.mark.parametrize(("host", "name"), CASES)
def test_what_was_changed_in_it_later_goes_out_with_it(host: str, name: str) -> None:
    before = DOCUMENTS[host][name]
    first = config(host, before).with_entry(OURS)
    other = Entry("/usr/bin/uvx", ("luma-ray-mcp", "--simulate"), {"LUMA_MCP_JOURNAL": "off"})
    second = config(host, first).with_entry(other)
    merged = Entry(other.command, other.args, {**OURS.env, **other.env})
    assert servers(host, second)["luma"] == expected(host, merged)
    assert without_us(host, second) == without_us(host, before)
    assert config(host, second).without_entry() == before


@pytest.mark.parametrize("name", CODEX)
def test_in_toml_every_line_that_was_there_is_there(name: str) -> None:
    lines = config("codex", CODEX[name]).with_entry(OURS).splitlines()
    changed = {line for line in CODEX[name].splitlines() if "mcp_servers = {" in line}
    assert [line for line in CODEX[name].splitlines() if line not in changed and line not in lines] == []


@pytest.mark.parametrize("host", DOCUMENTS)
@pytest.mark.parametrize("text", ["", "\n", BOM, "  \n\n"])
def test_an_empty_file_gets_the_entry_alone(host: str, text: str) -> None:
    after = config(host, text).with_entry(OURS)
    assert servers(host, after) == {"luma": expected(host)}
    assert servers(host, config(host, after).without_entry()) == {}


@pytest.mark.parametrize("host", [host for host in DOCUMENTS if host != "codex"])
@pytest.mark.parametrize("text", ["{}", "{ }\n", "{\n}\n", '{"a": [1, 2.50]}', '{\n\t"a": "b"\n}'])
def test_servers_that_are_missing_are_made_and_stay_as_an_empty_object(host: str, text: str) -> None:
    after = config(host, text).with_entry(OURS)
    assert servers(host, after) == {"luma": expected(host)}
    left = config(host, after).without_entry()
    assert servers(host, left) == {}
    assert without_us(host, left) == without_us(host, text)


@pytest.mark.parametrize("text", ["// mine\n", "/* nothing\n yet */"])
def test_comments_alone_stay_above_the_entry(text: str) -> None:
    after = config("cursor", text).with_entry(OURS)
    assert after.startswith(text)
    assert servers("cursor", after) == {"luma": expected("cursor")}


OWNED = {
    "in one line": (
        "windsurf",
        """
        {"mcpServers": {"luma": {"command": "/old/luma-ray-mcp", "args": ["--simulate"], "disabled": true, "env":
        {"USEAPI_TOKEN": "user:0-old", "LUMA_MCP_OUTPUT_DIR": "/srv/videos"}}, "z": {"command": "z"}}}
        """,
    ),
    "with comments": (
        "cursor",
        """
        {
          "mcpServers": {
            "luma": { // mine
              "disabled": true, "env": {"LUMA_MCP_OUTPUT_DIR": "/srv/videos"}, // for now
              "command": "uv", "args": ["run", "luma-ray-mcp"],
            },
          },
        }
        """,
    ),
    "a table": (
        "codex",
        """
        [mcp_servers.luma] # mine
        command = "luma-ray-mcp"
        args = ["--simulate"]
        disabled = true # for now
        env = { LUMA_MCP_OUTPUT_DIR = "/srv/videos" }

        [tui]
        x = 1
        """,
    ),
    "dotted keys": (
        "codex",
        """
        mcp_servers.luma.command = "luma-ray-mcp"
        mcp_servers.luma.disabled = true
        mcp_servers.luma.env.LUMA_MCP_OUTPUT_DIR = "/srv/videos"
        model = "x"
        """,
    ),
    "an inline table": (
        "codex",
        """
        [mcp_servers]
        luma = { command = "luma-ray-mcp", disabled = true, env = { LUMA_MCP_OUTPUT_DIR = "/srv/videos" } } # mine
        z = { command = "z" }
        """,
    ),
    "tables apart": (
        "codex",
        """
        [mcp_servers.luma.env]
        LUMA_MCP_OUTPUT_DIR = "/srv/videos"
        [tui]
        x = 1
        [mcp_servers.luma]
        disabled = true
        command = "luma-ray-mcp"
        """,
    ),
}


@pytest.mark.parametrize(("host", "text"), OWNED.values(), ids=OWNED)
def test_an_entry_of_ours_keeps_what_its_owner_has_added(host: str, text: str) -> None:
    text = dedent(text)
    before = config(host, text)
    entry = before.entry()
    assert entry
    assert entry.is_ours
    after = before.with_entry(OURS)
    merged = Entry(OURS.command, (), {**OURS.env, "LUMA_MCP_OUTPUT_DIR": "/srv/videos"})
    assert servers(host, after)["luma"] == expected(host, merged) | {"disabled": True}
    assert without_us(host, after) == without_us(host, text)
    assert [comment for comment in ("// mine", "# mine", "for now") if comment in text and comment not in after] == []


def test_an_owners_time_limit_and_further_arguments_stay() -> None:
    text = (
        '[mcp_servers.luma]\ncommand = "luma-ray-mcp"\nargs = ["--simulate", "--speed", "20"]\ntool_timeout_sec = 90\n'
    )
    after = config("codex", text).with_entry(Entry("/new/luma-ray-mcp", ("--simulate",)))
    said = servers("codex", after)["luma"]
    assert said == {"command": "/new/luma-ray-mcp", "args": ["--simulate", "--speed", "20"], "tool_timeout_sec": 90}


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {"luma": {"url": "https://mcp.example.com"}, "b": {"command": "b"}}}',
        '{\n  "mcpServers": {\n    "a": {"command": "a"},\n    "luma": {"command": "npx", "args": ["luma"]}\n  }\n}',
    ],
)
def test_another_server_of_our_name_is_known_as_such_and_replaced_whole(text: str) -> None:
    before = config("windsurf", text)
    entry = before.entry()
    assert entry
    assert not entry.is_ours
    after = before.with_entry(OURS, replace=True)
    assert servers("windsurf", after)["luma"] == expected("windsurf")
    assert without_us("windsurf", after) == without_us("windsurf", text)


@pytest.mark.parametrize(
    ("command", "args", "ours"),
    [
        ("/opt/x/bin/luma-ray-mcp", (), True),
        ("C:\\Tools\\luma-ray-mcp.exe", (), True),
        ("uvx", ("luma-ray-mcp@latest",), False),
        ("uvx", ("--from", "git+https://example.com/luma-ray-mcp", "luma-ray-mcp"), True),
        ("uv", ("run", "--directory", "/srv/luma-ray-mcp", "--no-dev", "luma-ray-mcp"), True),
        ("/venv/bin/python", ("-m", "luma_mcp", "--simulate"), True),
        ("/opt/uvx", ("--python", "3.12", "--from", "git+https://example.com/x", "luma-ray-mcp[all]==1.2"), True),
        ("C:\\bin\\uv.exe", ("tool", "run", "--refresh", "luma-ray-mcp"), False),
        ("uv", ("--directory", "/srv/x", "run", "luma-ray-mcp", "--simulate"), True),
        ("uv", ("run", "--project", "/srv/x", "python", "-m", "luma_mcp"), True),
        ("pipx", ("run", "--spec", "/srv/x.whl", "luma-ray-mcp"), True),
        ("cmd", ("/c", "uvx", "luma-ray-mcp"), False),
        ("npx", ("-y", "@someone/luma-ray-mcp", "--project", "7"), False),
        ("npx", ("-y", "luma-ray-mcp"), False),
        ("uvx", ("@someone/luma-ray-mcp",), False),
        ("uvx", ("--with", "luma-ray-mcp", "another"), False),
        ("uvx", ("another", "luma-ray-mcp"), False),
        ("uv", ("run", "--directory", "/srv/luma-ray-mcp", "another.py"), False),
        ("uv", ("pip", "install", "luma-ray-mcp"), False),
        ("docker", ("run", "ghcr.io/someone/luma-ray-mcp"), False),
        ("python", ("-m", "another", "luma_mcp"), False),
        ("cmd", ("/c",), False),
        ("npx", ("-y", "luma-ai-mcp-server"), False),
        ("luma", (), False),
        ("npx", ("luma-ray-mcp-of-others",), False),
        ("", (), False),
        ("/srv/luma-mcp/.venv/bin/luma-mcp", (), True),
        ("luma-mcp", (), False),
        ("uvx", ("luma-mcp",), False),
        ("uvx", ("--from", "luma-mcp", "luma-mcp"), False),
        ("uv", ("run", "--directory", "/srv/luma-mcp", "luma-mcp"), True),
    ],
)
def test_ours_is_what_starts_a_luma_mcp(command: str, args: tuple[str, ...], *, ours: bool) -> None:
    assert Entry(command, args).is_ours == ours


@pytest.mark.parametrize("host", [host for host in HOSTS if host.places])
def test_a_snippet_is_a_whole_file_for_its_host(host: Host) -> None:
    text = snippet(host, command="/opt/luma-ray-mcp", args=["--simulate"], env={"USEAPI_TOKEN": PLACEHOLDER})
    entry = Entry("/opt/luma-ray-mcp", ("--simulate",), {"USEAPI_TOKEN": PLACEHOLDER})
    assert servers(host.id, text) == {"luma": expected(host.id, entry)}


def test_an_installed_entry_is_read_back_and_its_token_is_not_in_its_repr(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    assert installed(HOST["cursor"], path) is None
    path.write_text(config("cursor", "").with_entry(OURS), encoding="utf-8")
    entry = installed(HOST["cursor"], path)
    assert entry == OURS
    assert "user:1-x" not in repr(entry)
