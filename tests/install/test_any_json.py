"""Random JSON files: comments, commas, white space and nesting vary."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from luma_mcp.hosts import HOSTS
from luma_mcp.install.config import Config, JsonDocument, ParseError, Snapshot
from luma_mcp.install.entry import Entry

EXAMPLES = int(os.environ.get("SCENARIOS", "2000")) // 20
DERANDOMIZE = "SCENARIOS" not in os.environ
PATH = ("mcpServers", "luma")
ENTRY = {"command": "/opt/luma-ray-mcp", "env": {"USEAPI_TOKEN": "user:1-x"}}
NAMES = st.sampled_from(["a", "mcpServers", "luma", "b c", "", "{", "//", 'quo"te', "ключ", "env"]) | st.text(
    max_size=4
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
)
VALUES = st.recursive(
    SCALARS | st.sampled_from(['} // "', "/* */", ",]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
SPACES = st.sampled_from(["", "", "", " ", "\n", "\n  ", "\n\t", "\r\n", "\r\n    ", "  "])
COMMENTS = st.sampled_from(["", "", '// c, "luma": {}\n', "/* } , */", "/* a\n b */", " //\r\n"])
SERVERS = st.dictionaries(NAMES.filter(lambda name: name != "luma"), VALUES, min_size=1, max_size=3)
ROOTS = st.dictionaries(NAMES.filter(lambda name: name != "mcpServers"), VALUES, max_size=3)


@st.composite
def format_randomly(draw: st.DrawFn, value: Any, *, comments: bool) -> str:
    """A value as JSON, with random white space, commas and comments."""

    def gap() -> str:
        return draw(SPACES) + (draw(COMMENTS) + draw(SPACES) if comments else "")

    def write(value: Any) -> str:
        if not isinstance(value, dict | list) or not value:
            inside = draw(SPACES) if value in ({}, []) and not isinstance(value, bool) else ""
            text = json.dumps(value, ensure_ascii=draw(st.booleans()))
            return text[0] + inside + text[1] if inside else text
        if isinstance(value, dict):
            items = [f"{json.dumps(name)}{gap()}:{gap()}{write(item)}" for name, item in value.items()]
        else:
            items = [write(item) for item in value]
        last = draw(st.sampled_from(["", "", ","])) if comments else ""
        inside = ",".join(f"{gap()}{item}{gap()}" for item in items) + (last and last + gap())
        return f"{{{inside}}}" if isinstance(value, dict) else f"[{inside}]"

    return gap() + write(value) + gap()


@st.composite
def documents(draw: st.DrawFn, *, with_luma: bool = False) -> tuple[str, bool]:
    """The text of a file with servers, and whether it may have comments."""
    servers = draw(SERVERS)
    if with_luma:
        names = [*servers, "luma"]
        servers = {name: servers.get(name, ENTRY) for name in draw(st.permutations(names))}
    root = draw(ROOTS)
    names = draw(st.permutations([*root, "mcpServers"]))
    comments = draw(st.booleans())
    complete = {name: servers if name == "mcpServers" else root[name] for name in names}
    return draw(format_randomly(complete, comments=comments)), comments


def remove_luma(text: str, *, comments: bool) -> dict[str, Any]:
    data = dict(JsonDocument.parse(text, comments=comments).value)
    data["mcpServers"] = {name: server for name, server in data["mcpServers"].items() if name != "luma"}
    return data


@settings(max_examples=EXAMPLES, deadline=None, derandomize=DERANDOMIZE)
@given(documents())
def test_adding_and_removing_restores_every_byte(example: tuple[str, bool]) -> None:
    text, comments = example
    after = JsonDocument.parse(text, comments=comments).set_value(PATH, ENTRY)
    assert JsonDocument.parse(after, comments=comments).value["mcpServers"]["luma"] == ENTRY
    assert remove_luma(after, comments=comments) == JsonDocument.parse(text, comments=comments).value
    assert JsonDocument.parse(after, comments=comments).set_value(PATH, ENTRY) == after
    assert JsonDocument.parse(after, comments=comments).remove(PATH) == text


@settings(max_examples=EXAMPLES, deadline=None, derandomize=DERANDOMIZE)
@given(documents(with_luma=True))
def test_removing_removes_one_member_and_one_comma(example: tuple[str, bool]) -> None:
    text, comments = example
    document = JsonDocument.parse(text, comments=comments)
    start, end = document.locate(PATH)
    after = document.remove(PATH)
    assert JsonDocument.parse(after, comments=comments).value == remove_luma(text, comments=comments)
    outside, left = ("".join(part.split()) for part in (text[:start] + text[end:], after))
    assert len(outside) - len(left) in (0, 1)
    assert any(outside[:n] + outside[n + 1 :] == left for n in range(len(outside))) or outside == left


@settings(max_examples=EXAMPLES, deadline=None, derandomize=DERANDOMIZE)
@given(documents(with_luma=True), st.sampled_from(["/new", 'C:\\"x"', "ключ"]))
def test_value_is_replaced_in_place(example: tuple[str, bool], command: str) -> None:
    text, comments = example
    document = JsonDocument.parse(text, comments=comments)
    start, end = document.locate((*PATH, "command"))
    after = document.set_value((*PATH, "command"), command)
    assert JsonDocument.parse(after, comments=comments).value["mcpServers"]["luma"] == {**ENTRY, "command": command}
    assert (after[:start], after[len(after) - len(text) + end :]) == (text[:start], text[end:])


@settings(max_examples=EXAMPLES, deadline=None, derandomize=DERANDOMIZE)
@given(st.text(alphabet='{}[]",:/*\\ \n1aluma', max_size=40))
def test_invalid_json_is_a_parse_error_with_its_position(text: str) -> None:
    found = None
    try:
        assert isinstance(JsonDocument.parse(text).value, dict)
    except ParseError as error:
        found = error.at
    assert found is None or 0 <= found <= len(text)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=DERANDOMIZE)
@given(documents())
def test_long_file_is_changed_like_a_short_one(example: tuple[str, bool]) -> None:
    text, comments = example
    host = next(host for host in HOSTS if host.format == ("jsonc" if comments else "json") and host.key == PATH[0])
    snapshot = Snapshot(Path("file"), Path("file"), text.encode())
    complete, shortened = Config.decode(host, snapshot), Config.decode(host, snapshot, limit=0)
    added = complete.with_entry(Entry("/opt/luma-ray-mcp"))
    assert shortened.with_entry(Entry("/opt/luma-ray-mcp")).data == added.data
    snapshot = Snapshot(Path("file"), Path("file"), added.data)
    assert Config.decode(host, snapshot, limit=0).without_entry().data == text.encode()
