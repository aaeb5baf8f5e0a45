"""Values of a TOML text: put, replaced, cut, in place; only inline tables are taken apart and put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomlkit

from luma_mcp.install import toml
from luma_mcp.install.errors import ParseError, bounded
from luma_mcp.install.toml import Statement, statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@bounded
def load(text: str, *, comments: bool = True) -> dict[str, Any]:  # noqa: ARG001 - they are always allowed
    """What a text says.

    Raises:
        ParseError: it is no TOML.
    """
    return toml.load(text)


@bounded
def spans(text: str, path: Sequence[str]) -> list[tuple[int, int]]:
    """Where the lines are that say something at that path or below it; without the comments that follow them."""
    wanted = tuple(path)
    found: list[tuple[int, int]] = []
    for statement in statements(text):
        if statement.path[: len(wanted)] == wanted:
            if found and not text[found[-1][1] : statement.start].strip():
                found[-1] = (found[-1][0], statement.end)
            else:
                found.append((statement.start, statement.end))
    return found


@bounded
def put(text: str, path: Sequence[str], value: Any) -> str:
    """The text with that value at that path. A new table becomes a section at the end.

    Raises:
        ParseError: a name on the way stands for no table.
    """
    wanted = tuple(path)
    said = _said(load(text), wanted)
    if said == value:
        return text
    around = _around(text, wanted)
    if around and around.path != wanted:
        return _in_value(text, around, wanted[len(around.path) :], value)
    if isinstance(value, dict):
        return _append(cut(text, wanted) if said is not None else text, wanted, value)
    literal = _literal(value)
    if around:
        return text[: around.value_start] + literal + text[around.value_end :]
    return _add(text, wanted, literal)


@bounded
def cut(text: str, path: Sequence[str]) -> str:
    """The text without what is said at that path; a table that becomes empty stays, where it was written out."""
    wanted = tuple(path)
    around = _around(text, wanted)
    if around and around.path != wanted:
        return _in_value(text, around, wanted[len(around.path) :], None)
    for start, end in reversed(spans(text, wanted)):
        head, tail = text[:start], text[end:]
        blank = "\r\n" if head.endswith("\r\n") else "\n"
        if not tail and not text.endswith("\n"):
            head = head.removesuffix(blank).removesuffix(blank)
        elif head.endswith(blank * 2) and (not tail or tail.startswith(("\n", "\r\n"))):
            head = head.removesuffix(blank)
        text = head + tail
    return text


def _said(data: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(data, dict):
            raise ParseError(f'"{name}" cannot be here: what is around it is no table.', 0, parsed=True)
        if name not in data:
            return None
        data = data[name]
    return data


def _around(text: str, path: tuple[str, ...]) -> Statement | None:
    """The `key = value` whose value is at that path, or has it in an inline table."""
    said = (s for s in statements(text) if not s.is_header)
    return next((s for s in said if s.path == path[: len(s.path)]), None)


def _in_value(text: str, around: Statement, path: tuple[str, ...], value: Any) -> str:
    """With a change within an inline table."""
    document = tomlkit.parse(f"x = {text[around.value_start : around.value_end]}")
    here: Any = document["x"]
    for name in path[:-1]:
        if name not in here:
            if value is None:
                return text
            here[name] = tomlkit.inline_table()
        here = here[name]
    if value is None:
        here.pop(path[-1], None)
    else:
        here[path[-1]] = _inline(value)
    changed = str(tomlkit.dumps(document)).removeprefix("x = ")
    return text[: around.value_start] + changed + text[around.value_end :]


def _inline(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    table = tomlkit.inline_table()
    for name, item in value.items():
        table[name] = _inline(item)
    return table


def _append(text: str, path: tuple[str, ...], value: Mapping[str, Any]) -> str:
    newline = _newline(text)
    sections = [_section(path, {k: v for k, v in value.items() if not isinstance(v, dict)})]
    sections += [_section((*path, name), item) for name, item in value.items() if isinstance(item, dict)]
    block = "\n\n".join(sections).replace("\n", newline)
    if not text:
        return block + newline
    return f"{text}{newline}{block}{newline}" if text.endswith("\n") else f"{text}{newline}{newline}{block}"


def _section(path: tuple[str, ...], values: Mapping[str, Any]) -> str:
    lines = [f"{_key(name)} = {_literal(value)}" for name, value in values.items()]
    return "\n".join([f"[{'.'.join(map(_key, path))}]", *lines])


def _add(text: str, path: tuple[str, ...], literal: str) -> str:
    """With one more line, in the nearest table that is written out, or beside the nearest dotted key."""
    newline = _newline(text)
    said = statements(text)
    for depth in range(len(path) - 1, 0, -1):
        beside = [s for s in said if s.path[:depth] == path[:depth] and len(s.table) <= depth]
        if beside:
            last = beside[-1]
            key = ".".join(map(_key, path[len(last.table) :]))
            gap = "" if text[: last.end].endswith("\n") or not last.end else newline
            end = newline if not gap or text[last.end :] else ""
            return f"{text[: last.end]}{gap}{key} = {literal}{end}{text[last.end :]}"
    raise ParseError("there is no table to put it into.", 0, parsed=True)


def _literal(value: Any) -> str:
    return str(tomlkit.item(value).as_string())


def _key(name: str) -> str:
    return str(tomlkit.key(name).as_string())


def _newline(text: str) -> str:
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
