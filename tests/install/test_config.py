"""Our entry is added to realistic files and removed, and the rest of the file does not change."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from tests.install.documents import BOM, CASES, CODEX, DOCUMENTS
from tests.install.reading import format_without_ours, get_servers

from luma_mcp.hosts import HOSTS
from luma_mcp.install.config import Config, JsonDocument, Snapshot, Unparsable, parse_document
from luma_mcp.install.entry import Entry, snippet
from luma_mcp.providers import USEAPI

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from luma_mcp.hosts import Format, Host
    from luma_mcp.install.config import TomlDocument

HOST = {host.id: host for host in HOSTS}
OURS = Entry("/opt/luma/bin/luma-ray-mcp", (), {"USEAPI_TOKEN": "user:1-x", "LUMA_MCP_EMAIL": "fox@example.com"})
HOSTS_WITH_TYPE = ("claude-code", "vscode")


def config(host: str, text: str) -> Config:
    path = Path("file")
    return Config.decode(HOST[host], Snapshot(path, path, text.encode()))


def build_expected(host: str, entry: Entry = OURS) -> dict[str, object]:
    fields: dict[str, object] = {"command": entry.command, "env": dict(entry.env)}
    if entry.args:
        fields["args"] = list(entry.args)
    return (
        fields
        | ({"type": "stdio"} if host in HOSTS_WITH_TYPE else {})
        | ({"tool_timeout_sec": 660} if host == "codex" else {})
    )


def list_comments(text: str) -> list[str]:
    """The comments that have their own line."""
    return [line.strip() for line in text.splitlines() if line.lstrip().startswith("#")]


def is_subsequence(less: str, more: str) -> bool:
    """Return whether the longer text is the shorter one with insertions."""
    rest = iter(more)
    return all(character in rest for character in less)


@pytest.mark.parametrize(("host", "name"), CASES)
def test_adding_the_entry_changes_nothing_else(host: str, name: str) -> None:
    before = DOCUMENTS[host][name]
    after = config(host, before).with_entry(OURS).text
    assert get_servers(host, after)["luma"] == build_expected(host)
    assert format_without_ours(host, after) == format_without_ours(host, before)
    assert is_subsequence("".join(before.split()), "".join(after.split()))
    assert (after.startswith(BOM), after.endswith("\n")) == (before.startswith(BOM), before.endswith("\n"))
    assert ("\r\n" in before) == ("\r\n" in after)
    assert not re.search(r"(?<!\r)\n", after) or "\r\n" not in before
    assert after.count("\t") >= before.count("\t")


@pytest.mark.parametrize(("host", "name"), CASES)
def test_adding_the_entry_again_changes_nothing(host: str, name: str) -> None:
    after = config(host, DOCUMENTS[host][name]).with_entry(OURS).text
    assert config(host, after).with_entry(OURS).text == after


@pytest.mark.parametrize(("host", "name"), CASES)
def test_removing_the_entry_restores_every_byte(host: str, name: str) -> None:
    before = DOCUMENTS[host][name]
    after = config(host, config(host, before).with_entry(OURS).text).without_entry().text
    assert after == before


@pytest.mark.parametrize(("host", "name"), CASES)
def test_later_changes_of_the_entry_are_removed_too(host: str, name: str) -> None:
    before = DOCUMENTS[host][name]
    first = config(host, before).with_entry(OURS).text
    other = Entry("/usr/bin/uvx", ("luma-ray-mcp", "--simulate"), {"LUMA_MCP_JOURNAL": "off"})
    second = config(host, first).with_entry(other).text
    merged = Entry(other.command, other.args, {**OURS.env, **other.env})
    assert get_servers(host, second)["luma"] == build_expected(host, merged)
    assert format_without_ours(host, second) == format_without_ours(host, before)
    assert config(host, second).without_entry().text == before


@pytest.mark.parametrize("name", CODEX)
def test_toml_keeps_every_line(name: str) -> None:
    lines = config("codex", CODEX[name]).with_entry(OURS).text.splitlines()
    changed = {line for line in CODEX[name].splitlines() if "mcp_servers = {" in line}
    assert [line for line in CODEX[name].splitlines() if line not in changed and line not in lines] == []


@pytest.mark.parametrize("host", DOCUMENTS)
@pytest.mark.parametrize("text", ["", "\n", BOM, "  \n\n"])
def test_empty_file_gets_only_the_entry(host: str, text: str) -> None:
    after = config(host, text).with_entry(OURS).text
    assert get_servers(host, after) == {"luma": build_expected(host)}
    assert get_servers(host, config(host, after).without_entry().text) == {}


@pytest.mark.parametrize("host", [host for host in DOCUMENTS if host != "codex"])
@pytest.mark.parametrize("text", ["{}", "{ }\n", "{\n}\n", '{"a": [1, 2.50]}', '{\n\t"a": "b"\n}'])
def test_missing_servers_object_is_created_and_kept(host: str, text: str) -> None:
    after = config(host, text).with_entry(OURS).text
    assert get_servers(host, after) == {"luma": build_expected(host)}
    left = config(host, after).without_entry().text
    assert get_servers(host, left) == {}
    assert format_without_ours(host, left) == format_without_ours(host, text)


@pytest.mark.parametrize("text", ["// mine\n", "/* nothing\n yet */"])
def test_comments_stay_above_the_entry(text: str) -> None:
    after = config("cursor", text).with_entry(OURS).text
    assert after.startswith(text)
    assert get_servers("cursor", after) == {"luma": build_expected("cursor")}


CUSTOMIZED = {
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


@pytest.mark.parametrize(("host", "text"), CUSTOMIZED.values(), ids=CUSTOMIZED)
def test_customized_entry_keeps_its_additions(host: str, text: str) -> None:
    text = dedent(text)
    before = config(host, text)
    entry = before.entry
    assert entry
    assert entry.is_ours
    after = before.with_entry(OURS).text
    merged = Entry(OURS.command, (), {**OURS.env, "LUMA_MCP_OUTPUT_DIR": "/srv/videos"})
    assert get_servers(host, after)["luma"] == build_expected(host, merged) | {"disabled": True}
    assert format_without_ours(host, after) == format_without_ours(host, text)
    assert [comment for comment in ("// mine", "# mine", "for now") if comment in text and comment not in after] == []


def test_comment_above_the_next_table_stays_there() -> None:
    text = '[mcp_servers.luma]\r\ncommand = "luma-ray-mcp"\r\n\r\n# about tui\r\n[tui]\r\nx = 1\r\n'
    after = config("codex", text).with_entry(OURS).text
    assert get_servers("codex", after)["luma"] == build_expected("codex")
    assert after.endswith("\r\n\r\n# about tui\r\n[tui]\r\nx = 1\r\n")
    assert "\n" not in after.replace("\r\n", "")


SPELLINGS = {
    "quoted names": """
        ["mcp_servers".'luma']
        "command" = "luma-ray-mcp"
        # tui
        [tui]
        x = 1
        """,
    "an escaped name": """
        [tui]
        x = 1

        [mcp_servers."lum\\u0061"]
        command = "luma-ray-mcp"

        [z]
        """,
    "blanks in keys": """
        mcp_servers . luma . "command" = "luma-ray-mcp"
        mcp_servers.z.command = "z"
        """,
    "a comment between its tables": """
        [mcp_servers.luma]
        command = "luma-ray-mcp"

        # note
        [mcp_servers.luma.env]
        A = "b" # c
        # end

        # tui
        [tui]
        """,
    "dotted keys in an inline table": """
        mcp_servers = { luma.command = "luma-ray-mcp", z.command = "z" } # all
        x = 1
        """,
    "an inline table of its own": """
        [mcp_servers]
        "luma" = { command = "luma-ray-mcp" } # mine
        z = { command = "z" }
        """,
    "amid an array of tables": """
        [[a]]
        x = 1
        [mcp_servers.luma]
        command = "luma-ray-mcp"

        [[a]]
        x = 2
        """,
    "with an array of tables": """
        # a
        [mcp_servers.luma]
        command = "luma-ray-mcp"
        [[mcp_servers.luma.h]]
        a = 1
        # z
        [z]
        """,
    "headers in strings": """
        a = '''
        [mcp_servers.luma]
        '''
        [mcp_servers.luma]
        command = "luma-ray-mcp"
        b = '''
        [c]
        '''
        # e
        [c]
        """,
    "indented": """
        [z]
          a = 1

          [mcp_servers.luma]
            command = "luma-ray-mcp"
            args = [
              "--simulate", # x
            ]
        """,
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["\n", ""])
@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_change_of_any_spelling_affects_only_our_entry(text: str, last: str, newline: str) -> None:
    text = (dedent(text).strip() + last).replace("\n", newline)
    before = config("codex", text)
    after = before.with_entry(OURS).text
    old = get_servers("codex", text)["luma"]
    new = old | build_expected("codex") | {"env": old.get("env", {}) | OURS.env}
    new.pop("args", None)
    assert get_servers("codex", after)["luma"] == new
    assert format_without_ours("codex", after) == format_without_ours("codex", text)
    left = before.without_entry().text
    assert "luma" not in get_servers("codex", left)
    assert format_without_ours("codex", left) == format_without_ours("codex", text)
    for result in (after, left):
        assert list_comments(result) == list_comments(text)
        assert result.endswith("\n") == text.endswith("\n")
        assert result.count("\r") == (result.count("\n") if newline == "\r\n" else 0)


TOML_1_1 = {
    "our entry": """
        a = {
        }
        [mcp_servers.luma]
        command = "/old/luma-ray-mcp"
        env = {
          USEAPI_TOKEN = "user:0-old", # mine
          OTHER = "\\x41",
        }

        [z]
        at = 07:32
        """,
    "an inline table of servers": """
        mcp_servers = {
          time = { command = "uvx", }, # clock
          luma = { command = "/old/luma-ray-mcp", env = {
            USEAPI_TOKEN = "user:0-old",
          }, },
          # last
        }
        z = "\\e"
        """,
}


@pytest.mark.parametrize("text", TOML_1_1.values(), ids=TOML_1_1)
def test_change_in_toml_1_1_affects_only_our_entry(text: str) -> None:
    text = dedent(text)
    after = config("codex", text).with_entry(OURS).text
    assert get_servers("codex", after)["luma"]["command"] == OURS.command
    assert get_servers("codex", after)["luma"]["env"].items() >= OURS.env.items()
    left = config("codex", after).without_entry().text
    assert "luma" not in get_servers("codex", left)
    for result in (after, left):
        assert format_without_ours("codex", result) == format_without_ours("codex", text)
        assert [
            line for line in text.splitlines() if line.startswith(("z =", "  # last", "[z]")) and line not in result
        ] == []


def test_entry_is_added_to_a_multiline_inline_table() -> None:
    text = 'mcp_servers = {\n  time = { command = "x", }, # clock\n  # mine\n}\nz = "\\e"\n'
    after = config("codex", text).with_entry(OURS).text
    assert get_servers("codex", after).keys() == {"time", "luma"}
    assert is_subsequence("".join(text.split()), "".join(after.split()))


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [('a = "\\e"\nb = {\n c = 1,\n}\nd = ]\n', 5, 5), ('a = "\\e"\na = 1\n', 2, 1), ("a = 07:32\n[b\n", 2, 3)],
)
def test_mistake_in_toml_1_1_is_reported_with_its_position(text: str, line: int, column: int) -> None:
    with pytest.raises(Unparsable, match="not valid TOML") as caught:
        _ = config("codex", text).entry
    assert (caught.value.line, caught.value.column) == (line, column)


def decode_as_long(host: str, text: str) -> Config:
    """Decode a file as one that is too long to be parsed completely."""
    path = Path("file")
    return Config.decode(HOST[host], Snapshot(path, path, text.encode()), limit=0)


@pytest.mark.parametrize(("host", "name"), [case for case in CASES if case[0] != "codex"])
def test_long_file_is_changed_like_a_short_one(host: str, name: str) -> None:
    before = DOCUMENTS[host][name]
    added = decode_as_long(host, before).with_entry(OURS)
    assert added.text == config(host, before).with_entry(OURS).text
    assert added.entry == replace(OURS, numbers={})
    assert decode_as_long(host, added.text).with_entry(OURS).text == added.text
    other = Entry("/usr/bin/uvx", ("luma-ray-mcp", "--simulate"), {"LUMA_MCP_JOURNAL": "off"})
    assert decode_as_long(host, added.text).with_entry(other).text == config(host, added.text).with_entry(other).text
    assert decode_as_long(host, added.text).without_entry().text == before


@pytest.mark.parametrize("number", range(4))
def test_members_of_a_long_file_are_left_out_of_parsing(number: int) -> None:
    before = {"é🦊": "x" * 900_000, **{f"{n}": {"a": [n, '"cut-0"', "// é"]} for n in range(10_000)}, "last": "y"}
    members = list(before.items())
    members.insert((0, 1, 8_000, len(members))[number], ("mcpServers", {"z": {"env": {"A": "z" * 300_000}}}))
    text = json.dumps(dict(members), indent=2, ensure_ascii=False)
    long = config("cursor", text)
    assert len(long.short) < 50_000
    after = long.with_entry(OURS)
    servers_after = json.loads(after.text)["mcpServers"]
    assert servers_after.pop("luma") == build_expected("cursor")
    assert json.loads(after.text) | {"mcpServers": servers_after} == json.loads(text)
    assert config("cursor", after.text).without_entry().text == text


INVALID = {
    "an unclosed object": '{"é🦊": 1,\n "mcpServers": {"a": {}',
    "a missing comma": '{"é🦊": {"b": 1},\r\n "x": "é" "y": 2}',
    "a comment": '{"é🦊": {"b": 1},\n "x": "é", // no\n "y": 2}',
    "a list for the servers": '{"é🦊": [1],\n "mcpServers": [1]}',
    "two servers": '{"a": {"é": "🦊"}, "b": 2,\n "mcpServers": {"x": {"y": 1}, "luma": {}, "luma": {}}}',
    "two objects of servers": '{"mcpServers": {}, "é🦊": {"x": 1}, "mcpServers": {}}',
    "too deep": '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "more behind it": '{"é": {"b": 1}}\n{}',
    "a byte order mark": BOM + '{"é": {"b": 1}}\n{}',
}


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID)
def test_mistakes_in_long_files_are_reported_like_in_short_ones(text: str) -> None:
    reports = []
    for load in (config, decode_as_long):
        with pytest.raises(Unparsable) as caught:
            _ = load("windsurf", text).entry
        reports.append((str(caught.value), caught.value.line, caught.value.column))
    assert reports[0] == reports[1]


def test_long_toml_file_is_restored() -> None:
    text = "".join(f'[projects."/srv/{n}"]\ntrust_level = "yes" # {n}\n\n' for n in range(7_000))
    before = f"{text}[mcp_servers.a]\ncommand = 'a'\n\n{text.replace('projects', 'others')}"
    after = config("codex", before).with_entry(OURS).text
    assert after.startswith(before)
    assert config("codex", after).without_entry().text == before


@pytest.mark.parametrize(
    "text",
    [
        # tomlkit does not preserve this spelling.
        '[ mcp_servers.luma ]\ncommand = "luma-ray-mcp"\n[[mcp_servers.luma.h]]\na = 1\n',
        # The part to change lacks the first name.
        '[mcp_servers]\nluma.command = "luma-ray-mcp"\nz.command = "z"\n[mcp_servers.luma.x]\ny = 1\n',
    ],
)
def test_unsupported_spelling_is_refused(text: str) -> None:
    with pytest.raises(Unparsable):
        config("codex", text).with_entry(OURS)


@pytest.mark.parametrize("head", ["mcp_servers.luma", "[mcp_servers]\nluma"])
def test_variables_are_added_to_dotted_keys(head: str) -> None:
    text = f'{head}.command = "luma-ray-mcp"\n[tui]\nx = 1\n'
    after = config("codex", text).with_entry(OURS).text
    assert get_servers("codex", after)["luma"] == build_expected("codex")
    assert format_without_ours("codex", after) == format_without_ours("codex", text)


def test_customized_timeout_and_arguments_stay() -> None:
    text = (
        '[mcp_servers.luma]\ncommand = "luma-ray-mcp"\nargs = ["--simulate", "--speed", "20"]\ntool_timeout_sec = 90\n'
    )
    after = config("codex", text).with_entry(Entry("/new/luma-ray-mcp", ("--simulate",))).text
    fields = get_servers("codex", after)["luma"]
    assert fields == {"command": "/new/luma-ray-mcp", "args": ["--simulate", "--speed", "20"], "tool_timeout_sec": 90}


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {"luma": {"url": "https://mcp.example.com"}, "b": {"command": "b"}}}',
        '{\n  "mcpServers": {\n    "a": {"command": "a"},\n    "luma": {"command": "npx", "args": ["luma"]}\n  }\n}',
    ],
)
def test_another_server_with_our_name_is_replaced_completely(text: str) -> None:
    before = config("windsurf", text)
    entry = before.entry
    assert entry
    assert not entry.is_ours
    after = before.with_entry(OURS).text
    assert get_servers("windsurf", after)["luma"] == build_expected("windsurf")
    assert format_without_ours("windsurf", after) == format_without_ours("windsurf", text)


@pytest.mark.parametrize("host", [host for host in HOSTS if host.is_installable])
def test_snippet_is_a_complete_file_for_its_host(host: Host) -> None:
    text = snippet(host, command="/opt/luma-ray-mcp", args=["--simulate"], env={"USEAPI_TOKEN": USEAPI.placeholder})
    entry = Entry("/opt/luma-ray-mcp", ("--simulate",), {"USEAPI_TOKEN": USEAPI.placeholder})
    assert get_servers(host.id, text) == {"luma": build_expected(host.id, entry)}


def test_written_entry_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    assert Config.load(HOST["cursor"], path).entry is None
    path.write_text(config("cursor", "").with_entry(OURS).text, encoding="utf-8")
    entry = Config.load(HOST["cursor"], path).entry
    assert entry == OURS
    assert "user:1-x" not in repr(entry)


@pytest.mark.parametrize(("host", "name"), CASES)
def test_each_text_is_parsed_once(host: str, name: str) -> None:
    """An agent's file can have several megabytes."""
    parsed: list[str] = []

    def parse(text: str, text_format: Format) -> JsonDocument | TomlDocument:
        parsed.append(text)
        return parse_document(text, text_format)

    def load(text: str) -> Config:
        return replace(config(host, text), parse=parse)

    before = DOCUMENTS[host][name]
    first = load(before)
    assert first.entry is None
    after = first.with_entry(OURS).text
    assert parsed == [before.removeprefix(BOM), after.removeprefix(BOM)]
    parsed.clear()
    second = load(after)
    assert second.entry == replace(OURS, numbers={"tool_timeout_sec": 660} if host == "codex" else {})
    changed = second.with_entry(Entry("/new/luma-ray-mcp", ("--simulate",), {"LUMA_MCP_JOURNAL": "off"})).text
    assert parsed == [after.removeprefix(BOM), changed.removeprefix(BOM)]
    parsed.clear()
    load(changed).without_entry()
    assert parsed == [changed.removeprefix(BOM), before.removeprefix(BOM)]


def test_change_decodes_only_our_entry_again() -> None:
    """The number in each neighbour shows how often the neighbour is decoded: once for each text."""
    neighbours = {f"/srv/{n}": {"cost": n} for n in range(500)}
    ours = {"command": "/old/luma-ray-mcp", "env": {"A": "b", "USEAPI_TOKEN": "user:0-old"}, "z": 1}
    text = json.dumps({"projects": neighbours, "mcpServers": {"luma": ours}}, indent=2)
    decoded = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal decoded
        decoded += event == "call" and frame.f_code.co_name == "_keep_number"

    sys.setprofile(count)
    try:
        config("claude-code", text).with_entry(OURS)
    finally:
        sys.setprofile(None)
    assert 2 * 500 <= decoded < 2 * 500 + 50


class LossyDocument(JsonDocument):
    """A document that loses a neighbour with each change."""

    def set_value(self, path: Sequence[str], value: Any) -> str:
        return super().set_value(path, value).replace('"time"', '"gone"')


def test_change_that_affects_anything_else_is_refused() -> None:
    def parse(text: str, _: Format) -> JsonDocument:
        return LossyDocument.parse(text)

    before = replace(config("cursor", '{"mcpServers": {"time": {}}}'), parse=parse)
    with pytest.raises(Unparsable, match="cannot be changed safely"):
        before.with_entry(OURS)
