"""Files that are left alone, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from luma_mcp.hosts import HOSTS
from luma_mcp.install.config import Config, installed
from luma_mcp.install.diff import difference
from luma_mcp.install.entry import Entry
from luma_mcp.install.errors import InstallError, Unparsable, WrongShape

HOST = {host.id: host for host in HOSTS}
OURS = Entry("/opt/luma-ray-mcp", (), {"USEAPI_TOKEN": "user:1-x"})


@pytest.mark.parametrize(
    ("host", "text", "line", "column", "words"),
    [
        ("claude-desktop", '{\n  "mcpServers": {\n    "a": {}\n    "b": {}\n  }\n}', 4, 5, "delimiter"),
        ("claude-desktop", '{\r\n  "a": tru\r\n}', 2, 8, "value"),
        ("claude-desktop", '{\n  "a": 1, // mine\n  "mcpServers": {}\n}', 2, 11, "comment"),
        ("claude-desktop", '{\n  "mcpServers": {\n    "a": {},\n  }\n}', 3, 12, "trailing comma"),
        ("windsurf", '{"mcpServers": {}}\n{"mcpServers": {}}', 2, 1, "goes on"),
        ("cursor", '{\n  "a": "x\ny"\n}', 2, 10, "control character"),
        ("cursor", '{\n  /* never ended\n  "a": 1\n}', 2, 3, "property name"),
        ("cursor", '{\n  "a": 1\n', 3, 1, "delimiter"),
        ("gemini-cli", '{"a": NaN}', 1, 1, "NaN"),
        ("codex", 'a = "x"\na = "y"\n', 2, 8, "overwrite"),
        ("codex", 'a = "x"\r\n[b\r\n', 2, 3, "]"),
        ("codex", "[a]\nb = \n", 2, 5, "value"),
        ("codex", 'a = "never ended', 1, 17, "unterminated"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_line_and_column(
    host: str, text: str, line: int, column: int, words: str
) -> None:
    config = Config.decode(HOST[host], Path("folder") / "file", text.encode())
    for attempt in (config.entry, config.without_entry, lambda: config.with_entry(OURS)):
        with pytest.raises(Unparsable) as caught:
            attempt()
        fault = caught.value
        assert (fault.line, fault.column) == (line, column)
        assert words in fault.what
        place = f"{Path('folder') / 'file'}, line {line}, column {column}: "
        assert str(fault).startswith(place)
        assert f"luma-ray-mcp install {host} --print" in fault.mend


@pytest.mark.parametrize(
    ("host", "text", "line", "column", "words"),
    [
        ("claude-desktop", '[{"mcpServers": {}}]', 1, 1, "outermost"),
        ("claude-desktop", '"mcpServers"', 1, 1, "outermost"),
        ("claude-desktop", '{\n  "mcpServers": []\n}', 2, 3, '"mcpServers"'),
        ("claude-desktop", '{\n  "mcpServers": null\n}', 2, 3, '"mcpServers"'),
        ("vscode", '{\n  "servers": "none"\n}', 2, 3, '"servers"'),
        ("cursor", '{"mcpServers": {\n  "luma": "luma-ray-mcp"}}', 2, 3, '"luma"'),
        ("cursor", '{"mcpServers": {\n  "luma": null}}', 2, 3, '"luma"'),
        ("cursor", '{\n  "mcpServers": {},\n  "a": 1,\n  "mcpServers": {}\n}', 4, 3, "second time"),
        ("cursor", '{\n  "mcpServers": {},\n  "mcpServers": []\n}', 3, 3, "second time"),
        ("cursor", '{"mcpServers": {\n  "luma": {},\n  "luma": {}}}', 3, 3, "second time"),
        ("codex", "mcp_servers = 1\n", 1, 1, '"mcp_servers"'),
        ("codex", 'a = 1\n[mcp_servers]\nluma = "x"\n', 3, 1, '"luma"'),
        ("codex", "[[mcp_servers.luma]]\na = 1\n", 1, 1, '"luma"'),
    ],
)
def test_what_is_in_our_place_is_left_there(host: str, text: str, line: int, column: int, words: str) -> None:
    config = Config.decode(HOST[host], Path("file"), text.encode())
    for attempt in (config.entry, config.without_entry, lambda: config.with_entry(OURS, replace=True)):
        with pytest.raises(InstallError) as caught:
            attempt()
        assert words in caught.value.what
        assert (caught.value.line, caught.value.column) == (line, column)


def test_a_variable_that_is_there_twice_is_not_guessed_at() -> None:
    text = '{"mcpServers": {"luma": {"command": "luma-ray-mcp", "env": {"USEAPI_TOKEN": "a", "USEAPI_TOKEN": "b"}}}}'
    with pytest.raises(InstallError, match="second time"):
        Config.decode(HOST["cursor"], Path("file"), text.encode()).with_entry(OURS)


def test_variables_that_are_no_object_are_left_alone() -> None:
    text = '{"mcpServers": {"luma": {"command": "luma-ray-mcp", "env": ["USEAPI_TOKEN"]}}}'
    with pytest.raises(WrongShape, match="env"):
        Config.decode(HOST["cursor"], Path("file"), text.encode()).with_entry(OURS)


@pytest.mark.parametrize("data", ['{"a": 1}'.encode("utf-16"), b'{"a": "\xe4"}'])
def test_what_is_not_utf_8_is_left_alone(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(data)
    with pytest.raises(Unparsable, match="UTF-8"):
        installed(HOST["cursor"], path)


def test_depth_without_end_is_a_fault_like_any_other() -> None:
    for host, text in (("cursor", '{"a":' * 100_000), ("codex", "a = " + "[" * 100_000)):
        with pytest.raises(Unparsable):
            Config.decode(HOST[host], Path("file"), text.encode()).entry()


@pytest.mark.parametrize("host", ["claude-desktop", "cursor", "codex"])
def test_depth_is_written_to_or_a_fault_and_never_anything_else(host: str) -> None:
    entry = (
        '[mcp_servers.luma]\ncommand = "luma-ray-mcp"\nx = {}\n'
        if host == "codex"
        else '{{"mcpServers": {{"luma": {{"command": "luma-ray-mcp", "x": {}}}}}}}'
    )
    aside = "a = {}\n" if host == "codex" else '{{"a": {}}}'
    other = Entry("/new/luma-ray-mcp", ("--simulate",))
    faults = 0
    for depth in range(100, 1101, 10):
        nested = "[" * depth + "]" * depth
        for text in (entry.format(nested), aside.format(nested)):
            config = Config.decode(HOST[host], Path("file"), text.encode())
            for attempt in (
                config.entry,
                config.spans,
                config.without_entry,
                lambda config=config: difference(config, Config(config.host, config.path, config.with_entry(other))),
            ):
                try:
                    attempt()
                except InstallError:
                    faults += 1
    assert faults
