"""Read a host's configuration file, change our entry in its text, and replace the file.

JSON and TOML texts are changed in place: but for our entry no parsed tree is written back, because comments, order,
indentation and number formats belong to the owner of the file.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import stat
import sys
import tempfile
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from luma_mcp.install.entry import NAME, Entry, entry_fields, parse_entry
from luma_mcp.install.paths import present_hosts, this_system
from luma_mcp.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from io import FileIO

    from tomlkit.items import Item, Key

    from luma_mcp.hosts import Format, Host

    KeyPath = Sequence[str]
    """The names of nested members, outermost first."""

BOM = "\ufeff"
KEPT_BACKUPS = 3
LONG = 1024 * 1024
"""Bytes from which on a file is not parsed as a whole."""
PRIVATE = 0o600
"""The mode of files that may contain a token."""
OTHERS_MAY_READ = 0o044
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""For these errors, writing to the file itself would be dangerous."""
REMOVED = object()
"""Sentinel for a missing value."""
Span = tuple[int, int]
"""Where something starts and ends in a text."""
_BACKUP = re.compile(r"\.luma-backup-(\d{8}-\d{6})(?:-(\d+))?")
_MOVE_AWAY = "Move it away and try again."


@dataclass
class ParseError(Exception):
    """What is wrong with a text or its content (`reason`, a clause), and at which character (`at`)."""

    reason: str
    at: int = 0


class InstallError(Exception):
    """Why a file is left as it is. `reason`: a clause; `fix`: a sentence; `line` and `column`: from 1, 0 if unknown."""

    def __init__(self, path: Path, reason: str, fix: str, *, line: int = 0, column: int = 0) -> None:
        place = f", line {line}, column {column}" if line else ""
        super().__init__(f"{path}{place}: {reason}")
        self.reason, self.fix = reason, fix
        self.line, self.column = line, column


class Unparsable(InstallError):
    """The text is malformed, or something else is in the place of our entry, or it is there twice."""


class Changed(InstallError):
    """Another program wrote to the file meanwhile."""


class Damaged(InstallError):
    """Writing to the file failed half-way, and so did restoring it. Its backup stays."""


def _newline(text: str) -> str:
    """The line ending of most lines."""
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


def _end_of(pattern: re.Pattern[str], text: str, at: int, stop: int = sys.maxsize) -> int:
    """The end of the match of a pattern that starts at `at`, in the text up to `stop`."""
    # Matched in place: copying the rest of a long text for each step would be slow.
    found = pattern.match(text, at, stop)
    return found.end() if found else at


# JSON
#
# Comments and trailing commas are replaced by as many spaces. The standard library decodes what is left, value by
# value, and every value that it finds is at the same place in the original text.

_STRING = r'"[^"\\\r\n]*(?:\\.[^"\\\r\n]*)*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\r\n]*|/\*.*?\*/", re.DOTALL)
"""A comment, or a string, in which there is none."""
_TRAILING_COMMA = re.compile(r"([{\[][ \t\r\n]*)?,(?=[ \t\r\n]*[}\]])")
"""A comma that ends an object or a list, unless only a brace or a bracket is before it."""
_COMMENT_START = re.compile(r"//|/\*")
_QUOTED = re.compile(_STRING, re.DOTALL)
_NO_QUOTE = re.compile(rf'[^"]*+(?:{_STRING}[^"]*+)*+', re.DOTALL)
_WHITESPACE = re.compile(r"[ \t\r\n]*")
_BLANKS = re.compile(r"[ \t]*")
_COLON = re.compile(r"[ \t\r\n]*(:)?[ \t\r\n]*")
_COMMA = re.compile(r"[ \t\r\n]*(,)?[ \t\r\n]*")


def _keep_number(text: str) -> tuple[str, str]:
    return ("number", text)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_keep_number, parse_float=_keep_number, parse_constant=_reject_constant)
_SKIPPER = json.JSONDecoder(object_pairs_hook=len, parse_int=len, parse_float=len, parse_constant=_reject_constant)
"""Finds where values end, and keeps nothing of them."""


class _Member(NamedTuple):
    """`"name": value,`: where the name starts, the value starts and ends, and the comma is (0 if there is none)."""

    name: str
    start: int
    value_start: int
    end: int
    comma: int
    value: Any


class _Object(NamedTuple):
    """`{…}`: where it starts and ends."""

    start: int
    end: int
    members: list[_Member]


@dataclass(frozen=True)
class JsonDocument:
    """A JSON text, `bare` without its comments and `plain` without its trailing commas as well.

    `root` is the outermost object, of no length in a blank text; `indent`, one level, and `newline` are those of
    additions.
    """

    text: str
    bare: str
    plain: str
    root: _Object
    indent: str
    newline: str

    @classmethod
    def parse(cls, text: str, *, comments: bool = True) -> JsonDocument:
        """Parse a text, `comments` and trailing commas allowed or not."""
        bare, plain, root = _outline(text, _DECODER, comments=comments)
        indent = "  "
        if root.members:
            indent = _indent_before(text, root.members[0].start) or indent
        return cls(text, bare, plain, root, indent, _newline(text))

    @cached_property
    def value(self) -> dict[str, Any]:
        """The content."""
        return {member.name: member.value for member in self.root.members}

    def find(self, path: KeyPath) -> Any:
        """What is at that path, or `REMOVED`."""
        found = self._walk(path)[1]
        return found[-1].value if len(found) == len(path) else REMOVED

    def locate(self, path: KeyPath) -> Span:
        """The position of the member at that path, including its name."""
        member = self._walk(path)[1][-1]
        return member.start, member.end

    def set_value(self, path: KeyPath, value: Any) -> str:
        """The text with that value at that path. What is missing on the way is created."""
        text = self.text
        parent, found = self._walk(path)
        for name in reversed(path[len(found) + 1 :]):
            value = {name: value}
        if self.root.start == self.root.end:
            if text.strip() and not text.endswith(("\n", "\r")):
                text += self.newline
            return text + self._format({path[0]: value}, "") + self.newline
        if len(found) < len(path):
            return self._insert(parent, found, path[len(found)], value)
        member = found[-1]
        if member.value == _DECODER.decode(json.dumps(value)):
            return text
        new = self._format(value, _indent_before(text, member.start))
        return text[: member.value_start] + new + text[member.end :]

    def update(self, path: KeyPath, changes: Sequence[tuple[KeyPath, Any]]) -> str:
        """The text with changes below an existing path, one after another."""
        member = self._walk(path)[1][-1]
        # Only the text of this member is parsed again after each change: the file may have megabytes.
        indent = _indent_before(self.text, member.start)
        before = "{"
        if indent is not None:
            before = f"{{\n{indent}"
        part = before + self.text[member.start : member.end] + "}"
        for relative, value in changes:
            document = dataclasses.replace(JsonDocument.parse(part), indent=self.indent, newline=self.newline)
            below = (member.name, *relative)
            part = document.remove(below) if value is REMOVED else document.set_value(below, value)
        return self.text[: member.start] + part[len(before) : -1] + self.text[member.end :]

    def remove(self, path: KeyPath) -> str:
        """The text without the member at that path. An object that becomes empty stays."""
        text = self.text
        parent, found = self._walk(path)
        if len(found) < len(path):
            return text
        member = found[-1]
        index = parent.members.index(member)
        stop, comma = member.end, member.comma
        if index and not comma:
            # The member before becomes the last one, so its comma goes.
            comma = parent.members[index - 1].comma
        elif comma and not text[stop:comma].strip():
            # A comment between the value and its comma stays.
            stop, comma = comma + 1, 0
        inside = text[parent.start + 1 : member.start] + text[stop : parent.end - 1]
        if not inside.strip():
            return text[: parent.start + 1] + text[parent.end - 1 :]
        cuts = [self._removal_span(member, stop, is_last=member is parent.members[-1])]
        if comma:
            cuts.append((comma, comma + 1))
        for start, end in sorted(cuts, reverse=True):
            text = text[:start] + text[end:]
        return text

    def _walk(self, path: KeyPath) -> tuple[_Object, list[_Member]]:
        """The object that has the last or the first missing member of a path, and the members that exist."""
        parent, found = self.root, list[_Member]()
        for name in path:
            if found:
                owner = found[-1]
                if not isinstance(owner.value, dict):
                    raise ParseError(f'"{owner.name}" is not an object', owner.start)
                parent = _parse_object(self.bare, self.plain, owner.value_start)
            same = [member for member in parent.members if member.name == name]
            if len(same) > 1:
                raise ParseError(f'"{name}" occurs for the second time, and only one counts', same[1].start)
            if not same:
                break
            found += same
        return parent, found

    def _removal_span(self, member: _Member, stop: int, *, is_last: bool) -> Span:
        """The span to remove for a member: with its line break, or with the blanks beside it."""
        text, start = self.text, member.start
        rest = _end_of(_BLANKS, text, stop)
        ends_line = text[rest] in "\r\n"
        if not ends_line and not is_last:
            return start, rest
        before = len(text[:start].rstrip(" \t"))
        if _indent_before(text, start) is not None:
            before -= 2 if text[:before].endswith("\r\n") else 1
        # Pulled up behind a line comment, the closing brace would become part of it.
        comments = () if ends_line else _COMMENT.finditer(text)
        if any(found.end() == before and found[0].startswith("//") for found in comments):
            return start, stop
        return before, stop

    def _insert(self, parent: _Object, found: list[_Member], name: str, value: Any) -> str:
        """The text with a new last member in an object, which is the value of the last member found."""
        text = self.text
        at, gap, trailing = parent.start + 1, "", ""
        head = text[:at]
        if parent.members:
            last = parent.members[-1]
            indent = _indent_before(text, last.start)
            gap = self._gap(parent)
            at = last.end
            head = text[:at] + ","
            if last.comma:
                at, trailing = last.comma + 1, ","
                head = text[:at]
        else:
            indent = _indent_before(text, found[-1].start) if found else ""
            if indent is not None:
                indent += self.indent
        if indent is None:
            return head + gap + self._format({name: value}, None)[1:-1] + trailing + text[at:]
        new = f"{self.newline}{indent}{json.dumps(name)}: {self._format(value, indent)}{trailing}"
        close = parent.end - 1
        if not parent.members and not text[at:close].strip(" \t"):
            return head + new + self.newline + indent.removesuffix(self.indent) + text[close:]
        # A comment that follows on the same line is about what is before it.
        after = _end_of(_BLANKS, self.bare, at)
        if self.bare[after] not in "\r\n":
            after = at + len(text[at:after].rstrip(" \t"))
        return head + text[at:after] + new + text[after:]

    def _format(self, value: Any, indent: str | None) -> str:
        """A value whose line is indented like that; on one line if it is not at the beginning of its line."""
        if indent is None:
            gap = self._gap(self.root)
            return json.dumps(value, ensure_ascii=False, separators=(f",{gap}", f":{gap}"))
        lines = json.dumps(value, ensure_ascii=False, indent=self.indent).split("\n")
        return f"{self.newline}{indent}".join(lines)

    def _gap(self, parent: _Object) -> str:
        """What separates values on one line: a blank, unless there is none before the first value."""
        if parent.members and self.text[parent.members[0].value_start - 1] != " ":
            return ""
        return " "


def _outline(text: str, decoder: json.JSONDecoder, *, comments: bool) -> tuple[str, str, _Object]:
    """A text without its comments, without its trailing commas as well, and the outermost object."""
    # Most files have neither, and looking for them takes longer than all the rest.
    with suppress(ParseError):
        return text, text, _parse_root(text, text, decoder)
    bare = plain = _blank(_COMMENT_START, _COMMENT, text)
    try:
        root = _parse_root(bare, plain, decoder)
    except ParseError:
        plain = _blank(_TRAILING_COMMA, _TRAILING_COMMA, bare)
        root = _parse_root(bare, plain, decoder)
    if not comments:
        at = next(at for at in range(len(text)) if plain[at] != text[at])
        raise ParseError("a comment or a trailing comma, which this host does not accept", at)
    return bare, plain, root


def _blank(start: re.Pattern[str], whole: re.Pattern[str], text: str) -> str:
    """A text with as many spaces in place of what matches outside of strings: `start` its beginning, `whole` all of it.

    A group that matches is no part of it.
    """
    pieces, kept, at = [], 0, 0
    while found := start.search(text, at):
        first = found.start()
        # No string goes beyond the end of a line, so what is before this line says nothing about it.
        line = max(at, text.rfind("\n", at, first) + 1, text.rfind("\r", at, first) + 1)
        quote = _end_of(_NO_QUOTE, text, line, first)
        if quote < first:
            at = max(_end_of(_QUOTED, text, quote), quote + 1)
            continue
        part = whole.match(text, first)
        at = part.end() if part else first + 1
        if part and part.lastindex is None:
            pieces += [text[kept:first], " " * (at - first)]
            kept = at
    return "".join([*pieces, text[kept:]]) if pieces else text


def _parse_root(bare: str, plain: str, decoder: json.JSONDecoder) -> _Object:
    """The outermost object, of which each value is decoded once."""
    start = _end_of(_WHITESPACE, plain, 0)
    if start == len(plain):
        return _Object(start, start, [])
    if plain[start] != "{":
        raise ParseError("the outermost value is not an object, {…}", start)
    try:
        root = _parse_object(bare, plain, start, decoder)
    except json.JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg[0].lower()}{error.msg[1:]}"
        raise ParseError(reason, min(error.pos, len(plain))) from error
    except ValueError as error:
        raise ParseError(f"not valid JSON: {error}", start) from error
    end = _end_of(_WHITESPACE, plain, root.end)
    if end < len(plain):
        raise ParseError("the JSON ends before this, but the file goes on", end)
    return root


def _parse_object(bare: str, plain: str, start: int, decoder: json.JSONDecoder = _DECODER) -> _Object:
    members: list[_Member] = []
    at = _end_of(_WHITESPACE, bare, start + 1)
    while bare[at : at + 1] != "}":
        if bare[at : at + 1] != '"':
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", bare, at)
        name, end = decoder.raw_decode(bare, at)
        value_start = _end_of(_COLON, bare, end)
        if ":" not in bare[end:value_start]:
            raise json.JSONDecodeError("Expecting ':' delimiter", bare, value_start)
        value, end = decoder.raw_decode(plain, value_start)
        after = _end_of(_COMMA, bare, end)
        comma = bare.find(",", end, after)
        if comma < 0 and bare[after : after + 1] != "}":
            raise json.JSONDecodeError("Expecting ',' delimiter", bare, after)
        members.append(_Member(name, at, value_start, end, max(comma, 0), value))
        at = after
    return _Object(start, at + 1, members)


def _indent_before(text: str, at: int) -> str | None:
    """The blanks before what starts there, if nothing else is before it on its line and it is not the first line."""
    line = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    before = text[line:at]
    return before if line and not before.strip(" \t") else None


# Long values
#
# The file of an agent can have dozens of megabytes, of which our entry concerns a few hundred bytes. Members that are
# long, and others beside them, are cut out before the text is parsed and changed, and put back when it is written.


class _Cut(NamedTuple):
    """A placeholder in a text, and the part of the file that it replaces."""

    mark: str
    start: int
    end: int


def _cut_json(data: bytes, key: str, *, comments: bool, limit: int) -> tuple[str, tuple[_Cut, ...]]:
    """A text without the parts that are longer than `limit` bytes, and these parts.

    `key`: the name of the member with the servers, which stays with its own short members.
    """
    # One character for each byte: all that is looked for is at the same place, in a quarter of the space.
    whole = data.decode("latin-1")
    if data.startswith(BOM.encode()):
        whole = whole.replace(BOM.encode().decode("latin-1"), "   ", 1)
    try:
        bare, plain, root = _outline(whole, _SKIPPER, comments=comments)
        spans = _find_long(root, key, limit)
        for member in root.members:
            if member.name == key and plain[member.value_start] == "{":
                servers = _parse_object(bare, plain, member.value_start, _SKIPPER)
                spans += _find_long(servers, NAME, limit)
    except ParseError as error:
        error.at = len(data[: error.at].decode(errors="replace").removeprefix(BOM))
        raise
    mark = "cut"
    while f'"{mark}-' in whole:
        mark += "-"
    pieces, cuts, at = [], list[_Cut](), 0
    for start, end, suffix in sorted(spans):
        cuts.append(_Cut(f'"{mark}-{len(cuts)}"{suffix}', start, end))
        pieces += [data[at:start].decode(), cuts[-1].mark]
        at = end
    return "".join(pieces) + data[at:].decode(), tuple(cuts)


def _find_long(parent: _Object, kept: str, limit: int) -> list[tuple[int, int, str]]:
    """The long values of an object, and its long runs of other members, each with what follows its mark."""
    spans, run = [], list[_Member]()
    # The first and the last member show how additions are to look.
    ends = (parent.members[:1], parent.members[-1:])
    for member in [*parent.members, None]:
        if member and member.name != kept and [member] not in ends and member.end - member.start <= limit:
            run.append(member)
            continue
        if run and run[-1].end - run[0].start > limit:
            spans.append((run[0].start, run[-1].end, ": 0"))
        run = []
        if member and member.name != kept and member.end - member.value_start > limit:
            spans.append((member.value_start, member.end, ""))
    return spans


# TOML
#
# The standard library reads the content, and tomlkit that of version 1.1, which Codex reads. tomlkit also finds our
# statements, whose text alone is changed.

_MARK = "\0\n"
"""Around statements of ours. No TOML text contains it, and it ends a line, so that tomlkit adds no line break."""
_POSITION = re.compile(r" (?:\(at (?:line (\d+), column (\d+)|end of document)\)|at line \d+ col \d+)$")
_NOT_SAFE = "written in a way that cannot be changed safely"


@dataclass(frozen=True)
class TomlDocument:
    """A TOML text."""

    text: str
    value: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> TomlDocument:
        """Parse a text."""
        return cls(text, _load_toml(text))

    def find(self, path: KeyPath) -> Any:
        """What is at that path, or `REMOVED`."""
        found: Any = self.value
        for name in path:
            if not isinstance(found, dict) or name not in found:
                return REMOVED
            found = found[name]
        return found

    def locate(self, path: KeyPath) -> Span:
        """Where the statements are that set something at that path or below, or contain it in an inline table."""
        before, *_, after = _split_at(path, self.text)
        return len(before), len(self.text) - len(after)

    def set_value(self, path: KeyPath, value: Mapping[str, Any]) -> str:
        """The text with that table at that path; a new one becomes a section at the end."""
        import tomlkit

        text = self.text
        if self.find(path) is not REMOVED:
            text = self.remove(path)
        newline = _newline(text)
        key, name = path
        section = tomlkit.dumps({key: {name: value}}).replace("\n", newline)
        if text and not text.endswith("\n"):
            text += newline
            section = section.removesuffix(newline)
        if text:
            text += newline
        text += section
        try:
            _load_toml(text)
        except ParseError:
            # A section cannot add to an inline table.
            return self.update(path, [((), REMOVED), *(((field,), value[field]) for field in value)])
        return text

    def update(self, path: KeyPath, changes: Sequence[tuple[KeyPath, Any]]) -> str:
        """The text with changes at or below a path that is set, or in an inline table."""
        import tomlkit

        # Without an entry, the inline table that is to get it.
        place = path[:1] if self.find(path) is REMOVED else path
        before, *ours, after = _split_at(place, self.text)
        text = "".join(ours)
        with _tomlkit_errors(len(before)):
            # Of the rest of the file nothing is read: tomlkit would put new lines behind comments that follow.
            part = tomlkit.parse(text)
            # Below a header that is not part of it, the first name is missing.
            path = path[path[0] not in part :]
            for relative, value in changes:
                *parents, name = *path, *relative
                table: Any = part
                for parent in parents:
                    table = table.setdefault(parent, tomlkit.inline_table())
                if value is REMOVED:
                    table.pop(name, None)
                elif table.get(name) != value:
                    table[name] = value
            new = re.sub(r"\r?\n", _newline(self.text), tomlkit.dumps(part))
            if not text.endswith("\n"):
                new = new.rstrip("\r\n")
            # What is between tables of ours that are apart has to stay as it is.
            if "".join(_split_at(path, new)[::2]).split() != "".join(_split_at(path, text)[::2]).split():
                raise ParseError(_NOT_SAFE, len(before))
        return before + new + after

    def remove(self, path: KeyPath) -> str:
        """The text without the value at that path. A table that becomes empty stays if it has a header."""
        import tomlkit
        from tomlkit.items import InlineTable

        pieces = _split_at(path, self.text)
        if isinstance(tomlkit.parse(pieces[1]).get(path[0]), InlineTable):
            return self.update(path, [((), REMOVED)])
        text, *between, last = pieces[::2]
        # Keep comments between two statements: they belong to the owner of the file. Blank lines are dropped.
        for piece in [*filter(str.strip, between), last]:
            newline = _newline(text[-2:])
            # The blank line that separated it goes with it.
            if not piece and not self.text.endswith("\n"):
                text = text.removesuffix(newline).removesuffix(newline)
            elif text.endswith(newline * 2) and (not piece or piece.startswith(("\n", "\r\n"))):
                text = text.removesuffix(newline)
            text += piece
        return text


def _load_toml(text: str) -> dict[str, Any]:
    """The content of a text of version 1.0 or 1.1; `ParseError` if it is neither."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
    import tomlkit
    from tomlkit.exceptions import ParseError as KitError
    from tomlkit.exceptions import TOMLKitError

    try:
        content: dict[str, Any] = tomlkit.parse(text).unwrap()
    except (TOMLKitError, AttributeError, TypeError, ValueError) as error:
        found = _POSITION.search(message)
        line, column = (int(found[1]), int(found[2])) if found and found[1] else (0, 0)
        # If both parsers fail, the earlier error may be about syntax that version 1.1 allows.
        if line and isinstance(error, KitError) and error.line > line:
            message, line, column = str(error), error.line, error.col + 1
        at = len(text)
        if line:
            before = sum(len(each) + 1 for each in text.split("\n")[: line - 1])
            at = min(before + column - 1, at)
        reason = _POSITION.sub("", message)
        raise ParseError(f"not valid TOML: {reason[0].lower()}{reason[1:]}", at) from error
    return content


def _split_at(path: KeyPath, text: str) -> list[str]:
    """A text in pieces, of which every second one is a statement at that path, below it or around it."""
    import tomlkit

    # tomlkit takes seconds for a long text, so it gets only the sections from the first to the last with our name.
    start = text.rfind("\n[", 0, text.find(path[-1])) + 1
    end = text.find("\n[", text.rfind(path[-1])) + 1 or len(text)
    try:
        _load_toml(text[:start])
        _load_toml(text[:end])
    except ParseError:
        # What looks like a header is in a string or a list.
        start, end = 0, len(text)
    with _tomlkit_errors():
        document = tomlkit.parse(text[start:end])
        _mark(document.body, path)
        pieces = tomlkit.dumps(document).split(_MARK)
    if "".join(pieces) != text[start:end] or len(pieces) == 1:
        raise ParseError(_NOT_SAFE)
    return [text[:start] + pieces[0], *pieces[1:-1], pieces[-1] + text[end:]]


def _mark(body: list[tuple[Key | None, Item]], path: KeyPath) -> None:
    from tomlkit.items import AoT, Table

    for key, item in body:
        if key is None or (path and key.key != path[0]):
            continue
        if isinstance(item, AoT):
            for table in item.body:
                _mark([(key, table)], path)
            continue
        is_table = isinstance(item, Table)
        if not is_table or not path[1:]:
            # Of a table this is the header, if it has one.
            item.trivia.indent = _MARK + item.trivia.indent
            item.trivia.trail += _MARK
        if is_table:
            _mark(item.value.body, path[1:])


@contextmanager
def _tomlkit_errors(at: int = 0) -> Iterator[None]:
    from tomlkit.exceptions import TOMLKitError

    try:
        yield
    except (TOMLKitError, AttributeError, TypeError) as error:
        raise ParseError(_NOT_SAFE, at) from error


def parse_document(text: str, text_format: Format) -> JsonDocument | TomlDocument:
    """Parse a text; an empty one is an empty object."""
    if text_format == "toml":
        return TomlDocument.parse(text)
    return JsonDocument.parse(text, comments=text_format == "jsonc")


# The file


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The bytes of a file when it was read, None if it did not exist; `target`: where a link at its path leads."""

    path: Path
    target: Path
    data: bytes | None


@dataclass(frozen=True)
class Config:
    """A host's configuration file. Its methods build other configurations and write nothing.

    `short`: its text, but for the parts of a long file in `cuts`.
    They raise `Unparsable` if the text cannot be parsed or changed safely.
    """

    host: Host
    snapshot: Snapshot
    short: str
    parse: Callable[[str, Format], JsonDocument | TomlDocument] = parse_document
    cuts: tuple[_Cut, ...] = ()

    @classmethod
    def load(cls, host: Host, path: Path) -> Config:
        """Read a file."""
        return cls.decode(host, read(path))

    @classmethod
    def decode(cls, host: Host, snapshot: Snapshot, *, limit: int = LONG) -> Config:
        """Decode a file that has been read. If it is longer than `limit`, its long parts are cut out."""
        data = snapshot.data or b""
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 (byte {error.start + 1})"
            raise Unparsable(snapshot.path, reason, "Save it as UTF-8 and try again.") from error
        if host.format == "toml" or len(data) <= limit:
            return cls(host, snapshot, text)
        del text
        try:
            text, cuts = _cut_json(data, host.key, comments=host.format == "jsonc", limit=limit // 64)
        except (ParseError, RecursionError) as error:
            raise _unparsable(snapshot.path, data.decode(), error) from error
        return cls(host, snapshot, text, cuts=cuts)

    @property
    def data(self) -> bytes:
        """The content of the file."""
        return self._restore(self.short)

    @property
    def text(self) -> str:
        """The same as text."""
        return self.data.decode()

    def _restore(self, text: str) -> bytes:
        """A text with what was left out, up to its end."""
        pieces: list[bytes | memoryview] = []
        for mark, start, end in self.cuts:
            before, found, rest = text.partition(mark)
            if found:
                pieces += [before.encode(), memoryview(self.snapshot.data or b"")[start:end]]
                text = rest
        return b"".join([*pieces, text.encode()])

    @cached_property
    def entry(self) -> Entry | None:
        """The entry under our name."""
        if self._fields is None:
            return None
        return parse_entry(self._fields)

    def with_entry(self, wanted: Entry) -> Config:
        """The configuration with that entry, in place of any other server under our name.

        Of an entry of ours everything is kept that is not set anew: other variables, other fields, comments, and
        arguments that its owner has added behind ours.
        """
        path, fields, new = (self.host.key, NAME), self._fields, entry_fields(self.host, wanted)
        if fields is None or not parse_entry(fields).is_ours:
            return self._changed(lambda: self._document.set_value(path, new))
        changes: list[tuple[tuple[str, ...], Any]] = []
        for name, value in new.items():
            if name == "env":
                for variable, content in wanted.env.items():
                    changes.append((("env", variable), content))
            elif name == "args" and parse_entry(fields).args[: len(wanted.args)] == wanted.args:
                continue
            elif name not in self.host.fields or name not in fields:
                changes.append(((name,), value))
        if fields.get("args") and not wanted.args:
            changes.append((("args",), REMOVED))
        return self._changed(lambda: self._document.update(path, changes))

    def without_entry(self) -> Config:
        """The configuration without our entry."""
        if self._fields is None:
            return self
        return self._changed(lambda: self._document.remove((self.host.key, NAME)))

    @cached_property
    def _document(self) -> JsonDocument | TomlDocument:
        # The file of an agent can have megabytes, so it is parsed once.
        with self._errors():
            document = self.parse(self.short.removeprefix(BOM), self.host.format)
        if self.cuts and isinstance(document, JsonDocument):
            # Most lines may be in the parts that were cut out.
            newline = _newline((self.snapshot.data or b"").decode("latin-1"))
            document = dataclasses.replace(document, newline=newline)
        return document

    @cached_property
    def _fields(self) -> dict[str, Any] | None:
        """What the file contains under our name; None if there is nothing."""
        key, document = self.host.key, self._document
        fields: dict[str, Any] | None = None
        with self._errors():
            for path, kind in (((key,), "an object with servers"), ((key, NAME), "a server")):
                fields = document.find(path)
                if fields is REMOVED:
                    return None
                if not isinstance(fields, dict):
                    raise ParseError(f'"{path[-1]}" is not {kind}', document.locate(path)[0])
        return fields

    def _changed(self, change: Callable[[], str]) -> Config:
        """The configuration after a change that is to concern our entry alone."""
        with self._errors():
            text = change()
            if self.short.startswith(BOM):
                text = BOM + text
            if text == self.short:
                return self
            changed = dataclasses.replace(self, short=text)
            # The rest of the file belongs to other people: parsed again, it must still have the same content.
            if changed._rest != self._rest:  # noqa: SLF001 - of the same class
                raise ParseError(_NOT_SAFE)
        return changed

    @property
    def _rest(self) -> tuple[str, str]:
        """All content but our entry, as text, in which `nan` equals itself and 1 differs from 1.0."""
        others = dict(self._document.value)
        servers = dict(others.pop(self.host.key, {}))
        servers.pop(NAME, None)
        return repr(others), repr(servers)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what is wrong with the text as an `Unparsable` with its line and column."""
        try:
            yield
        except (ParseError, RecursionError) as error:
            text = self.short.removeprefix(BOM)
            if self.cuts and isinstance(error, ParseError):
                text = self._restore(text[: error.at]).decode()
                error.at = len(text)
            raise _unparsable(self.snapshot.path, text, error) from error


def _unparsable(path: Path, text: str, error: ParseError | RecursionError) -> Unparsable:
    """What is wrong with a text, with its line and column."""
    reason, before = "nested too deeply", ""
    if isinstance(error, ParseError):
        reason, before = error.reason, text.removeprefix(BOM)[: error.at]
    ends = [found.end() for found in re.finditer(r"\r\n|\r|\n", before)]
    column = len(before) - (ends[-1] if ends else 0) + 1
    return Unparsable(path, reason, "Correct the file.", line=len(ends) + 1, column=column)


@dataclass(frozen=True, slots=True)
class HostFile:
    """A host's configuration file, or why it could not be read or parsed."""

    host: Host
    path: Path
    content: Config | InstallError

    @classmethod
    def load(cls, host: Host, path: Path) -> HostFile:
        """Read and parse a file."""
        try:
            config = Config.load(host, path)
            # Parses the file. What follows works with this configuration.
            _ = config.entry
            return cls(host, path, config)
        except InstallError as error:
            return cls(host, path, error)

    @property
    def entry(self) -> Entry | None:
        """The entry under our name, if there is one."""
        return self.content.entry if isinstance(self.content, Config) else None

    @property
    def exists(self) -> bool:
        """Whether there is a file, even if it cannot be read."""
        return isinstance(self.content, InstallError) or self.content.snapshot.data is not None


def present_files() -> list[HostFile]:
    """The configuration files of the hosts on this machine; some may not exist yet."""
    present = present_hosts(this_system(), os.environ, Path.home())
    return list(starmap(HostFile.load, present))


def find_token(settings: Settings) -> tuple[Settings, str | None]:
    """The settings with a token, as far as this machine has one; and the name of the host whose entry it is from."""
    settings, file = resolve_token(settings, present_files())
    return settings, file.host.name if file else None


def resolve_token(settings: Settings, files: Iterable[HostFile]) -> tuple[Settings, HostFile | None]:
    """The settings with their own token, else with that of the first entry that has one; and that entry's file."""
    for file in files:
        if settings.token or file.entry is None:
            continue
        env = dict(file.entry.env)
        if settings.is_api_stated and settings.api != file.entry.provider.name:
            # The address of the entry is that of another API.
            env |= {"LUMA_MCP_API": settings.api, "LUMA_MCP_BASE_URL": ""}
        with suppress(SettingsError):
            theirs = Settings.from_environment(env)
            # The token comes with the API that it is for, and with its address.
            if theirs.token:
                found = dataclasses.replace(settings, token=theirs.token, base_url=theirs.base_url)
                return dataclasses.replace(found, api=theirs.api, unused=None), file
    return settings, None


def read(path: Path) -> Snapshot:
    """Read a file, through a link if it is one. `InstallError`: it is not a file, or cannot be read."""
    try:
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise InstallError(path, "this link leads to itself", "Correct the link and try again.")
        if target.is_dir():
            raise InstallError(path, "a folder, not a file", _MOVE_AWAY)
        if target.exists() and not target.is_file():
            raise InstallError(path, "not a regular file", _MOVE_AWAY)
        return Snapshot(path, target, target.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Snapshot(path, target, None)
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
        raise InstallError(path, reason, "Check its permissions and those of its folder.") from error


def replace(snapshot: Snapshot, data: bytes, now: datetime) -> Path | None:
    """Write a file completely or not at all, after a backup of its content.

    A new file takes the place of the old one. Where that is impossible, as for a mounted file, or would lose something,
    as the other names of a file with hard links, the file itself is written; should that fail, its content is restored.

    Returns the path of the backup; None if there was nothing to copy. Raises `Changed` if the file is not as it was in
    the snapshot, and `InstallError` if the system does not allow it.
    """
    backup = None
    try:
        _check_unchanged(snapshot)
        _check_writable(snapshot)
        if snapshot.data:
            backup = _back_up(snapshot, now)
        _write(snapshot, data, backup)
    except (OSError, InstallError) as error:
        # A file that could not be restored needs its backup.
        if backup and not isinstance(error, Damaged):
            backup.unlink(missing_ok=True)
        if isinstance(error, InstallError):
            raise
        reason = f"it cannot be written: {error.strerror or type(error).__name__}"
        fix = "Check the permissions of the file and its folder, and whether another program has it open."
        raise InstallError(snapshot.path, reason, fix) from error
    with suppress(OSError):
        # Only now is the new name of the file sure to survive a power failure.
        handle = os.open(snapshot.target.parent, os.O_RDONLY)
        with suppress(OSError):
            os.fsync(handle)
        os.close(handle)
    with suppress(OSError):
        for old in backups(snapshot.path)[:-KEPT_BACKUPS]:
            old.unlink()
    return backup


def _is_writable(place: Path) -> bool:
    # root may write everywhere, so the mode shows the owner's intention.
    return bool(place.stat().st_mode & 0o222) and os.access(place, os.W_OK)


def _check_writable(snapshot: Snapshot) -> None:
    name, place = "it", snapshot.target
    if snapshot.data is None:
        name, place = "its folder", snapshot.target.parent
        place.mkdir(parents=True, exist_ok=True)
    # A read-only file could be replaced all the same, against the will of its owner.
    if not _is_writable(place):
        raise InstallError(snapshot.path, f"{name} is read-only", f"Allow writing to {place} and try again.")


def _check_unchanged(snapshot: Snapshot) -> None:
    if read(snapshot.path) != snapshot:
        raise Changed(snapshot.path, "another program has changed it meanwhile", "Try again.")


def _write(snapshot: Snapshot, data: bytes, backup: Path | None) -> None:
    target = snapshot.target
    if snapshot.data is None or (_is_writable(target.parent) and target.stat().st_nlink == 1):
        try:
            _replace_by_new(snapshot, data)
        except OSError as error:
            if snapshot.data is None or error.errno in _NO_SPACE:
                raise
        else:
            return
    _write_in_place(snapshot, data, backup)


def _replace_by_new(snapshot: Snapshot, data: bytes) -> None:
    target = snapshot.target
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".luma", dir=target.parent)
    new = Path(name)
    try:
        _write_and_sync(handle, data)
        _copy_rights(target, new)
        _check_unchanged(snapshot)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def _write_in_place(snapshot: Snapshot, data: bytes, backup: Path | None) -> None:
    """Write to the file itself, or raise `Damaged` if that fails and its content cannot be restored either."""
    with snapshot.target.open("r+b", buffering=0) as file:
        _check_unchanged(snapshot)
        try:
            _overwrite(file, data)
        except OSError:
            try:
                # The file keeps its blocks, so this succeeds even on a full disk.
                _overwrite(file, snapshot.data or b"")
            except OSError as error:
                reason = f"it was damaged while it was written: {error.strerror}"
                raise Damaged(snapshot.path, reason, f"Its former content is in {backup}.") from error
            raise


def _overwrite(file: FileIO, data: bytes) -> None:
    file.seek(0)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    file.truncate(len(data))
    os.fsync(file.fileno())


def backups(path: Path) -> list[Path]:
    """The backups of a file, oldest first. `OSError`: their folder cannot be listed."""
    found = {}
    for base in _backup_bases(path):
        if base != path and not base.parent.exists():
            continue
        for file in base.parent.iterdir():
            match = _BACKUP.fullmatch(file.name, len(base.name))
            if match and file.name.startswith(base.name):
                # The second backup of a second ends with -2.
                found[match[1], int(match[2] or 1), str(file)] = file
    return [found[age] for age in sorted(found)]


def _backup_bases(path: Path) -> list[Path]:
    """The beginnings of the names of a file's backups: beside it, or in our folder if nothing can be added there."""
    from luma_mcp.service import state_folder

    # Several hosts have a file of the same name.
    return [path, state_folder() / "backups" / f"{sha256(os.fsencode(path)).hexdigest()[:12]}-{path.name}"]


def backups_with(path: Path, secret: str) -> list[Path]:
    """The backups that contain a secret, as far as they can be read."""
    with suppress(OSError):
        return [backup for backup in backups(path) if secret.encode() in backup.read_bytes()]
    return []


def is_readable_by_others(path: Path) -> bool:
    """Whether other users of this machine may read a file. Not known on Windows."""
    with suppress(OSError):
        return os.name == "posix" and bool(path.stat().st_mode & OTHERS_MAY_READ)
    return False


def _copy_rights(old: Path, new: Path) -> None:
    """Give the new file the owner, the attributes and the mode of the old one. Without an old one it stays private."""
    if not old.exists():
        return
    rights = old.stat()
    if hasattr(os, "chown") and (rights.st_uid, rights.st_gid) != (new.stat().st_uid, new.stat().st_gid):
        os.chown(new, rights.st_uid, rights.st_gid)
    if sys.platform == "linux":
        # With them, access control lists.
        names, inherited = [], []
        with suppress(OSError):
            names, inherited = os.listxattr(old), os.listxattr(new)
        for name in names:
            os.setxattr(new, name, os.getxattr(old, name))
        for name in set(inherited) - set(names):
            # Rights that the folder gives to new files, and the old one had not.
            os.removexattr(new, name)
    elif sys.platform == "darwin":
        import ctypes

        metadata = 7
        if ctypes.CDLL(None).copyfile(os.fsencode(old), os.fsencode(new), None, metadata):
            raise OSError("the attributes of the file cannot be copied")
    # At the end, because changing the owner can clear bits of the mode.
    new.chmod(stat.S_IMODE(rights.st_mode))


def _back_up(snapshot: Snapshot, now: datetime) -> Path:
    """Copy a file beside itself. The copy of a linked file is beside the link: its target may be a public folder."""
    beside, ours = _backup_bases(snapshot.path)
    if _is_writable(beside.parent):
        with suppress(PermissionError):
            return _copy_to(beside, snapshot, now)
    ours.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _copy_to(ours, snapshot, now)


def _copy_to(base: Path, snapshot: Snapshot, now: datetime) -> Path:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    for number in range(1, 100):
        backup = base.with_name(f"{base.name}.luma-backup-{now:%Y%m%d-%H%M%S}-{number}".removesuffix("-1"))
        try:
            handle = os.open(backup, flags, PRIVATE)
        except FileExistsError:
            continue
        try:
            _write_and_sync(handle, snapshot.data or b"")
        except OSError:
            backup.unlink(missing_ok=True)
            raise
        return backup
    raise FileExistsError(17, "there are too many backups of this second", str(base))


def _write_and_sync(handle: int, data: bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
