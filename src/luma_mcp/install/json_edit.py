"""Members of a JSON text: put, replaced, cut, with the look of what is around them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from luma_mcp.install.errors import bounded
from luma_mcp.install.jsonc import Member, Object, Text, as_read, is_blank, skip

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_INDENT = "  "


@bounded
def load(text: str, *, comments: bool) -> dict[str, Any]:
    """What a text says; an empty one says `{}`.

    Raises:
        ParseError: it is no JSON, or no object.
    """
    return {} if not text.strip() or (comments and is_blank(text)) else Text.read(text, comments=comments).value


@bounded
def spans(text: str, path: Sequence[str]) -> list[tuple[int, int]]:
    """Where the member at that path is, if it is there."""
    if is_blank(text):
        return []
    _, found = Text.read(text).walk(path)
    return [(found[-1].start, found[-1].end)] if len(found) == len(path) else []


@bounded
def put(text: str, path: Sequence[str], value: Any) -> str:
    """The text with that value at that path; what is missing on the way is made.

    Raises:
        ParseError: a name on the way is there twice, or stands for no object.
    """
    newline = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    if is_blank(text):
        head = text + newline if text.strip() and not text.endswith(("\n", "\r")) else text
        return head + _written(_nested(path, value), "", DEFAULT_INDENT, newline) + newline
    read = Text.read(text)
    here, found = read.walk(path)
    if len(found) < len(path):
        return _insert(read, here, path[len(found)], _nested(path[len(found) + 1 :], value), newline)
    member = found[-1]
    if member.value == as_read(value):
        return text
    indent = read.indent_of(member.start)
    written = _compact(read, value) if indent is None else _written(value, indent, _unit(read), newline)
    return text[: member.value_start] + written + text[member.end :]


@bounded
def cut(text: str, path: Sequence[str]) -> str:
    """The text without the member at that path; an object that becomes empty stays.

    Raises:
        ParseError: a name on the way is there twice, or stands for no object.
    """
    if is_blank(text):
        return text
    read = Text.read(text)
    here, found = read.walk(path)
    if len(found) < len(path):
        return text
    member = found[-1]
    place = here.members.index(member)
    comma = skip(read.bare, member.end)
    has_comma = read.bare[comma] == ","
    stop = comma + 1 if has_comma and not text[member.end : comma].strip() else member.end
    if len(here.members) == 1 and not (text[here.start + 1 : member.start] + text[stop : here.end - 1]).strip():
        return text[: here.start + 1] + text[here.end - 1 :]
    start, end = _lines_of(read, here, member, stop)
    if has_comma and stop == member.end:
        # There is a comment between the two.
        text = text[:comma] + text[comma + 1 :]
    elif place and not has_comma:
        # It was the last one, and the one before becomes it.
        before = skip(read.bare, here.members[place - 1].end)
        return text[:before] + text[before + 1 : start] + text[end:]
    return text[:start] + text[end:]


def _lines_of(read: Text, here: Object, member: Member, stop: int) -> tuple[int, int]:
    """From where to where a member is cut, with its line break or with the blanks around it."""
    text, start, last = read.text, member.start, member is here.members[-1]
    rest = stop + len(text[stop:]) - len(text[stop:].lstrip(" \t"))
    indent = read.indent_of(start)
    if indent is None:
        return (len(text[:start].rstrip(" \t")), stop) if last else (start, rest)
    line = start - len(indent) - (2 if text[: start - len(indent)].endswith("\r\n") else 1)
    if text[rest : rest + 1] in ("", "\r", "\n"):
        return line, rest
    if text[rest] == "}" and last and not read.in_line_comment(line):
        return line, stop
    return start, stop if last else rest


def _nested(path: Sequence[str], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _insert(read: Text, here: Object, name: str, value: Any, newline: str) -> str:
    text = read.text
    if not here.members:
        return _insert_first(read, here, name, value, newline)
    last = here.members[-1]
    comma = skip(read.bare, last.end)
    trailing = read.bare[comma] == ","
    at = comma + 1 if trailing else last.end
    indent = read.indent_of(last.start)
    if indent is None:
        first = _gap(read, here.members)
        new = f"{first}{_compact(read, {name: value})[1:-1]}"
    else:
        # What follows on the line is about the member before.
        at = read.after_comments(at)
        new = f"{newline}{indent}{json.dumps(name)}: {_written(value, indent, _unit(read), newline)}"
    return f"{text[: last.end]}{'' if trailing else ','}{text[last.end : at]}{new}{',' if trailing else ''}{text[at:]}"


def _insert_first(read: Text, here: Object, name: str, value: Any, newline: str) -> str:
    text = read.text
    outer = "" if here.owner is None else read.indent_of(here.owner.start)
    if outer is None:
        member = _compact(read, {name: value})[1:-1]
        return f"{text[: here.start + 1]}{member}{text[here.start + 1 :]}"
    unit = _unit(read)
    new = f"{newline}{outer}{unit}{json.dumps(name)}: {_written(value, outer + unit, unit, newline)}"
    inside = text[here.start + 1 : here.end - 1]
    if not inside.strip(" \t"):
        return f"{text[: here.start + 1]}{new}{newline}{outer}{text[here.end - 1 :]}"
    at = read.after_comments(here.start + 1)
    return f"{text[:at]}{new}{text[at:]}"


def _unit(read: Text) -> str:
    """What one level of depth is indented by: as the first member of the root is."""
    members = read.root.members
    return (members and read.indent_of(members[0].start)) or DEFAULT_INDENT


def _gap(read: Text, members: Sequence[Member]) -> str:
    """What is between two members on one line: a blank, or nothing where there is none after the colons."""
    first = members[0]
    return " " if read.text[first.value_start - 1] == " " else ""


def _compact(read: Text, value: Any) -> str:
    gap = _gap(read, read.root.members) if read.root.members else " "
    return json.dumps(value, ensure_ascii=False, separators=(f",{gap}", f":{gap}"))


def _written(value: Any, indent: str, unit: str, newline: str) -> str:
    lines = json.dumps(value, ensure_ascii=False, indent=unit).split("\n")
    return f"{newline}{indent}".join(lines)
