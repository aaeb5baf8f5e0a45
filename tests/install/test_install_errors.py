"""Files that are not changed. The error has the reason and the position."""

from __future__ import annotations

from pathlib import Path

import pytest

from luma_mcp.hosts import HOSTS
from luma_mcp.install.config import Config, InstallError, Snapshot, Unparsable
from luma_mcp.install.entry import Entry

HOST = {host.id: host for host in HOSTS}
OURS = Entry("/opt/luma-ray-mcp", (), {"USEAPI_TOKEN": "user:1-x"})
FILE = Path("folder") / "file"


def load(host: str, text: str) -> Config:
    return Config.decode(HOST[host], Snapshot(FILE, FILE, text.encode()))


@pytest.mark.parametrize(
    ("host", "text", "line", "column", "reason"),
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
        ("cursor", '{\n  "mcpServers": { , }\n}', 2, 19, "property name"),
        ("codex", 'a = "x"\na = "y"\n', 2, 8, "overwrite"),
        ("codex", 'a = "x"\r\n[b\r\n', 2, 3, "]"),
        ("codex", "[a]\nb = \n", 2, 5, "value"),
        ("codex", 'a = "never ended', 1, 17, "unterminated"),
    ],
)
def test_invalid_file_is_reported_with_line_and_column(
    host: str, text: str, line: int, column: int, reason: str
) -> None:
    config = load(host, text)
    for attempt in (lambda: config.entry, config.without_entry, lambda: config.with_entry(OURS)):
        with pytest.raises(Unparsable) as caught:
            attempt()
        error = caught.value
        assert (error.line, error.column) == (line, column)
        assert reason in error.reason
        assert str(error).startswith(f"{FILE}, line {line}, column {column}: ")


@pytest.mark.parametrize(
    ("host", "text", "line", "column", "reason"),
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
        ("codex", 'a = 1\nmcp_servers = { luma = "x" }\n', 2, 1, '"luma"'),
    ],
)
def test_unexpected_content_is_not_changed(host: str, text: str, line: int, column: int, reason: str) -> None:
    config = load(host, text)
    for attempt in (lambda: config.entry, config.without_entry, lambda: config.with_entry(OURS)):
        with pytest.raises(InstallError) as caught:
            attempt()
        assert reason in caught.value.reason
        assert (caught.value.line, caught.value.column) == (line, column)


def test_duplicate_variable_is_not_changed() -> None:
    text = '{"mcpServers": {"luma": {"command": "luma-ray-mcp", "env": {"USEAPI_TOKEN": "a", "USEAPI_TOKEN": "b"}}}}'
    with pytest.raises(InstallError, match="second time"):
        load("cursor", text).with_entry(OURS)


def test_variables_that_are_not_an_object_are_not_changed() -> None:
    text = '{"mcpServers": {"luma": {"command": "luma-ray-mcp", "env": ["USEAPI_TOKEN"]}}}'
    with pytest.raises(Unparsable, match="env"):
        load("cursor", text).with_entry(OURS)


@pytest.mark.parametrize("data", ['{"a": 1}'.encode("utf-16"), b'{"a": "\xe4"}'])
def test_text_that_is_not_utf_8_is_not_changed(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(data)
    with pytest.raises(Unparsable, match="UTF-8"):
        Config.load(HOST["cursor"], path)


def test_deep_nesting_is_a_parse_error() -> None:
    for host, text in (("cursor", '{"a":' * 100_000), ("codex", "a = " + "[" * 100_000)):
        with pytest.raises(Unparsable):
            _ = load(host, text).entry


@pytest.mark.parametrize("host", ["claude-desktop", "cursor", "codex"])
def test_nesting_works_or_is_an_install_error(host: str) -> None:
    entry = (
        '[mcp_servers.luma]\ncommand = "luma-ray-mcp"\nx = {}\n'
        if host == "codex"
        else '{{"mcpServers": {{"luma": {{"command": "luma-ray-mcp", "x": {}}}}}}}'
    )
    beside_entry = "a = {}\n" if host == "codex" else '{{"a": {}}}'
    other = Entry("/new/luma-ray-mcp", ("--simulate",))
    errors = 0
    for depth in range(100, 1101, 10):
        nested = "[" * depth + "]" * depth
        for text in (
            entry.format(nested),
            beside_entry.format(nested),
            entry.replace("luma-ray-mcp", "npx").format(nested),
        ):
            config = load(host, text)
            for attempt in (
                lambda config=config: config.entry,
                config.without_entry,
                lambda config=config: config.with_entry(other),
            ):
                try:
                    attempt()
                except InstallError:
                    errors += 1
    assert errors
