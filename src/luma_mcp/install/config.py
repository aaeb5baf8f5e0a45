"""A host's configuration file: our entry in it, its text with another entry, and reading and replacing the file.

JSON and TOML texts are changed in place: no parsed tree is written back, because comments, order, indentation and
number formats belong to the owner of the file.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
import tempfile
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from luma_mcp.install.entry import Entry, entry_fields, entry_path, parse_entry
from luma_mcp.install.paths import INSTALLABLE, find_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from luma_mcp.hosts import Format, Host, System

    KeyPath = Sequence[str]
    """The names of nested members, outermost first."""

BOM = "\ufeff"
KEPT_BACKUPS = 3
PRIVATE = 0o600
"""The mode of files that may contain a token."""
OTHERS_MAY_READ = 0o044
REMOVED = object()
"""Stands for no value."""
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
    """Somebody wrote to the file meanwhile."""


def _newline(text: str) -> str:
    """The line ending of most lines."""
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a match of the pattern ends that starts there."""
    # Matched in place: copying the rest of a long text for each step would be slow.
    found = pattern.match(text, at)
    return found.end() if found else at


# JSON
#
# Comments and trailing commas are replaced by as many spaces. The standard library decodes what is left, value by
# value, and every value that it finds is at the same place in the original text.

_STRING = r'"[^"\\\r\n]*(?:\\.[^"\\\r\n]*)*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\r\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"({_STRING})|,(?=[ \t\r\n]*[}}\]])")
_WHITESPACE = re.compile(r"[ \t\r\n]*")
_BLANKS = re.compile(r"[ \t]*")


def _keep_number(text: str) -> tuple[str, str]:
    return ("number", text)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_keep_number, parse_float=_keep_number, parse_constant=_reject_constant)


class _Member(NamedTuple):
    """`"name": value`: where the name starts, and where the value starts and ends."""

    name: str
    start: int
    value_start: int
    end: int
    value: Any


class _Object(NamedTuple):
    """`{…}`: where it starts and ends."""

    start: int
    end: int
    members: list[_Member]


@dataclass(frozen=True)
class JsonDocument:
    """A JSON text, `bare` without its comments and `plain` without its trailing commas as well.

    `root` is the outermost object, or None in a blank text; `indent`, one level, and `newline` are those of additions.
    """

    text: str
    bare: str
    plain: str
    root: _Object | None
    indent: str
    newline: str

    @classmethod
    def parse(cls, text: str, *, comments: bool = True, like: JsonDocument | None = None) -> JsonDocument:
        """Parse a text, `comments` and trailing commas allowed or not, to write in its style or that of another."""
        bare, plain = text, text
        if comments:
            bare, plain = _blank_out(text)
        root = _parse_root(text, plain)
        indent, newline = "  ", _newline(text)
        if like:
            indent, newline = like.indent, like.newline
        elif root and root.members:
            indent = _indent_before(text, root.members[0].start) or indent
        return cls(text, bare, plain, root, indent, newline)

    @cached_property
    def value(self) -> dict[str, Any]:
        """The content."""
        if self.root is None:
            return {}
        return {member.name: member.value for member in self.root.members}

    def locate(self, path: KeyPath) -> list[Span]:
        """Where the member at that path is, with its name."""
        found = self._walk(path)[1]
        return [(member.start, member.end) for member in found[len(path) - 1 :]]

    def set_value(self, path: KeyPath, value: Any) -> str:
        """The text with that value at that path. What is missing on the way is created."""
        text = self.text
        parent, found = self._walk(path)
        for name in reversed(path[len(found) + 1 :]):
            value = {name: value}
        if parent is None:
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
            document = JsonDocument.parse(part, like=self)
            below = (member.name, *relative)
            part = document.remove(below) if value is REMOVED else document.set_value(below, value)
        return self.text[: member.start] + part[len(before) : -1] + self.text[member.end :]

    def remove(self, path: KeyPath) -> str:
        """The text without the member at that path. An object that becomes empty stays."""
        text = self.text
        parent, found = self._walk(path)
        if parent is None or len(found) < len(path):
            return text
        member = found[-1]
        index = parent.members.index(member)
        comma = _end_of(_WHITESPACE, self.bare, member.end)
        has_comma = self.bare[comma] == ","
        stop = member.end
        # A comment between the value and its comma stays.
        if has_comma and not text[stop:comma].strip():
            stop = comma + 1
        others = text[parent.start + 1 : member.start] + text[stop : parent.end - 1]
        if len(parent.members) == 1 and not others.strip():
            return text[: parent.start + 1] + text[parent.end - 1 :]
        cuts = [self._removal_span(member, stop, is_last=member is parent.members[-1])]
        if has_comma and stop == member.end:
            cuts.append((comma, comma + 1))
        elif index and not has_comma:
            # The member before becomes the last one, so its comma goes.
            before = _end_of(_WHITESPACE, self.bare, parent.members[index - 1].end)
            cuts.append((before, before + 1))
        return _cut(text, cuts)

    def _walk(self, path: KeyPath) -> tuple[_Object | None, list[_Member]]:
        """The object that has the last or the first missing member of a path, and the members that exist."""
        parent, found = self.root, list[_Member]()
        for name in path:
            if found:
                owner = found[-1]
                if not isinstance(owner.value, dict):
                    raise ParseError(f'"{owner.name}" is not an object', owner.start)
                parent = _parse_object(self.plain, owner.value_start)
            same = [member for member in parent.members if member.name == name] if parent else []
            if len(same) > 1:
                raise ParseError(f'"{name}" occurs for the second time, and only one counts', same[1].start)
            if not same:
                break
            found += same
        return parent, found

    def _removal_span(self, member: _Member, stop: int, *, is_last: bool) -> Span:
        """What to remove for a member: with its line break, or with the blanks beside it."""
        text, start = self.text, member.start
        rest = _end_of(_BLANKS, text, stop)
        indent = _indent_before(text, start)
        if indent is None and is_last:
            return len(text[:start].rstrip(" \t")), stop
        if indent is None:
            return start, rest
        line = start - len(indent) - 1
        if text[line - 1 : line + 1] == "\r\n":
            line -= 1
        if text[rest] in "\r\n":
            return line, rest
        # Pulled up behind a line comment, the closing brace would become part of it.
        if text[rest] == "}" and is_last and not self._ends_in_line_comment(line):
            return line, stop
        return start, stop if is_last else rest

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
            comma = _end_of(_WHITESPACE, self.bare, at)
            if self.bare[comma] == ",":
                at, trailing = comma + 1, ","
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
        after = self._after_comments(at)
        return head + text[at:after] + new + text[after:]

    def _after_comments(self, at: int) -> int:
        """Where the comments end that follow on a line; `at` itself if something else follows them."""
        end = _end_of(_BLANKS, self.bare, at)
        if self.bare[end] in "\r\n":
            return end
        return at + len(self.text[at:end].rstrip(" \t"))

    def _ends_in_line_comment(self, at: int) -> bool:
        comments = _COMMENT.finditer(self.text)
        return any(found.end() == at and found[0].startswith("//") for found in comments)

    def _format(self, value: Any, indent: str | None) -> str:
        """A value whose line is indented like that; on one line if it is not at the beginning of its line."""
        if indent is None:
            gap = self._gap(self.root)
            return json.dumps(value, ensure_ascii=False, separators=(f",{gap}", f":{gap}"))
        lines = json.dumps(value, ensure_ascii=False, indent=self.indent).split("\n")
        return f"{self.newline}{indent}".join(lines)

    def _gap(self, parent: _Object | None) -> str:
        """What separates values on one line: a blank, unless there is none before the first value."""
        if parent and parent.members and self.text[parent.members[0].value_start - 1] != " ":
            return ""
        return " "


def _parse_root(text: str, plain: str) -> _Object | None:
    """The outermost object, of which each value is decoded once; None in a blank text."""
    at = start = _end_of(_WHITESPACE, plain, 0)
    if start == len(plain):
        return None
    reason = "the outermost value is not an object, {…}"
    try:
        if plain[start] == "{":
            root = _parse_object(plain, start)
            at = _end_of(_WHITESPACE, plain, root.end)
            if at == len(plain):
                return root
            reason = "the JSON ends before this, but the file goes on"
    except json.JSONDecodeError as error:
        at, reason = min(error.pos, len(plain)), f"not valid JSON: {error.msg[0].lower()}{error.msg[1:]}"
    except ValueError as error:
        reason = f"not valid JSON: {error}"
    _, without_extras = _blank_out(text)
    for index in range(at + 1):
        if plain[index : index + 1] != without_extras[index : index + 1]:
            raise ParseError("a comment or a trailing comma, which this host does not accept", index)
    raise ParseError(reason, at)


def _parse_object(plain: str, start: int) -> _Object:
    members: list[_Member] = []
    at = _end_of(_WHITESPACE, plain, start + 1)
    # A comma that nothing follows is malformed: allowed ones have been blanked out.
    while members or plain[at : at + 1] != "}":
        if plain[at : at + 1] != '"':
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", plain, at)
        name, end = _DECODER.raw_decode(plain, at)
        colon = _end_of(_WHITESPACE, plain, end)
        if plain[colon : colon + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", plain, colon)
        value_start = _end_of(_WHITESPACE, plain, colon + 1)
        value, end = _DECODER.raw_decode(plain, value_start)
        members.append(_Member(name, at, value_start, end, value))
        at = _end_of(_WHITESPACE, plain, end)
        if plain[at : at + 1] == "}":
            break
        if plain[at : at + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", plain, at)
        at = _end_of(_WHITESPACE, plain, at + 1)
    return _Object(start, at + 1, members)


def _blank_out(text: str) -> tuple[str, str]:
    """The text without comments, and also without trailing commas, both of the same length."""

    def blank(found: re.Match[str]) -> str:
        return found[1] or " " * len(found[0])

    bare = _COMMENT.sub(blank, text)
    return bare, _TRAILING_COMMA.sub(blank, bare)


def _indent_before(text: str, at: int) -> str | None:
    """The blanks before what starts there, if nothing else is before it on its line and it is not the first line."""
    line = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    before = text[line:at]
    return before if line and not before.strip(" \t") else None


def _cut(text: str, spans: Sequence[Span]) -> str:
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + text[end:]
    return text


# TOML
#
# The standard library reads the content. The text is split into statements, each with its place, so that whole lines
# can be added and removed; tomlkit changes what is on a line.

_STRING_OR_COMMENT = re.compile(
    r""""{3}(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|(#[^\n\r]*)""", re.DOTALL
)
_ANY_SPACE = re.compile(r"\s*")
_BRACKET_OR_END = re.compile(r"[\[{(\]})\n]")
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Statement(NamedTuple):
    """`key = value` or a `[header]`: the path of its value or its table, and where its line and the next one start."""

    path: tuple[str, ...]
    start: int
    end: int
    is_header: bool

    def is_around(self, path: KeyPath) -> bool:
        """Whether its value is an inline table that can have something at that path."""
        depth = len(self.path)
        return not self.is_header and depth < len(path) and self.path == tuple(path[:depth])


@dataclass(frozen=True)
class TomlDocument:
    """A TOML text."""

    text: str
    value: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> TomlDocument:
        """Parse a text."""
        try:
            return cls(text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            reason, at = _POSITION.sub("", str(error)), len(text)
            found = _POSITION.search(str(error))
            if found and found[1]:
                before = sum(len(line) + 1 for line in text.split("\n")[: int(found[1]) - 1])
                at = min(before + int(found[2]) - 1, at)
            raise ParseError(f"not valid TOML: {reason[0].lower()}{reason[1:]}", at) from error

    @cached_property
    def statements(self) -> list[Statement]:
        """All statements, in the order of the text."""
        return _split_statements(self.text)

    def locate(self, path: KeyPath) -> list[Span]:
        """Where the lines are that set something at that path or below, or have it in an inline table."""
        spans = list[Span]()
        for statement in self.statements:
            if statement.path[: len(path)] != tuple(path) and not statement.is_around(path):
                continue
            start = statement.start
            # Comments between two statements are somebody else's, blank lines are not.
            if spans and not self.text[spans[-1][1] : start].strip():
                start = spans.pop()[0]
            spans.append((start, statement.end))
        return spans

    def set_value(self, path: KeyPath, value: Mapping[str, Any]) -> str:
        """The text with that table at that path; a new one becomes a section at the end."""
        import tomlkit

        if self._is_inline(path):
            return self.update(path, [((), value)])
        text = self.remove(path)
        for name in reversed(path):
            value = {name: value}
        newline = _newline(text)
        section = tomlkit.dumps(value).replace("\n", newline)
        if text and not text.endswith("\n"):
            return text + newline * 2 + section.removesuffix(newline)
        return f"{text}{newline}{section}" if text else section

    def update(self, path: KeyPath, changes: Sequence[tuple[KeyPath, Any]]) -> str:
        """The text with changes at or below an existing path."""
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        text, spans = self.text, self.locate(path)
        start, end = spans[0][0], spans[-1][1]
        try:
            # Of the rest of the file nothing is read: tomlkit would put new lines behind comments that follow.
            part = tomlkit.parse(text[start:end])
            is_section = text[start:end].lstrip().startswith("[")
            for relative, value in changes:
                # Below a header that is not part of it, the first name is missing.
                *parents, name = *path[path[0] not in part :], *relative
                table: Any = part
                for parent in parents:
                    table = table[parent]
                if value is REMOVED:
                    table.pop(name, None)
                elif table.get(name) != value:
                    table[name] = value if is_section else _inline_table(value)
        except (TOMLKitError, AttributeError, TypeError) as error:
            raise ParseError(f'"{".".join(path)}" cannot be changed', start) from error
        new = re.sub(r"\r?\n", _newline(text), tomlkit.dumps(part))
        if not text[:end].endswith("\n"):
            new = new.rstrip("\r\n")
        after = text[:start] + new + text[end:]
        # What is between tables of ours that are apart has to stay as it is.
        if _cut(after, TomlDocument(after, {}).locate(path)).split() != _cut(text, spans).split():
            raise ParseError("written in a way that cannot be changed safely", start)
        return after

    def remove(self, path: KeyPath) -> str:
        """The text without the value at that path. A table that becomes empty stays if it has a header."""
        if self._is_inline(path):
            return self.update(path, [((), REMOVED)])
        text = self.text
        for start, end in reversed(self.locate(path)):
            head, tail = text[:start], text[end:]
            newline = _newline(head[-2:])
            # The blank line that separated it goes with it.
            if not tail and not text.endswith("\n"):
                head = head.removesuffix(newline).removesuffix(newline)
            elif head.endswith(newline * 2) and (not tail or tail.startswith(("\n", "\r\n"))):
                head = head.removesuffix(newline)
            text = head + tail
        return text

    def _is_inline(self, path: KeyPath) -> bool:
        return any(statement.is_around(path) for statement in self.statements)


def _inline_table(value: Any) -> Any:
    import tomlkit

    if not isinstance(value, dict):
        return value
    table = tomlkit.inline_table()
    for name, item in value.items():
        table[name] = _inline_table(item)
    return table


def _split_statements(text: str) -> list[Statement]:
    def blank(found: re.Match[str]) -> str:
        return (" " if found[1] else "x") * len(found[0])

    # Brackets, equals signs and line breaks in strings and comments mean nothing.
    bare = _STRING_OR_COMMENT.sub(blank, text)
    statements: list[Statement] = []
    table: tuple[str, ...] = ()
    at = _end_of(_ANY_SPACE, bare, 0)
    while at < len(bare):
        start, end = bare.rfind("\n", 0, at) + 1, _statement_end(bare, at)
        is_header = bare[at] == "["
        if is_header:
            path = table = _parse_key(text[at:end])
        else:
            path = (*table, *_parse_key(f"{text[at : bare.index('=', at)]}= 0"))
        statements.append(Statement(path, start, end, is_header))
        at = _end_of(_ANY_SPACE, bare, end)
    return statements


def _statement_end(bare: str, at: int) -> int:
    """Where the next line starts after a statement, which may span several."""
    depth = 0
    for found in _BRACKET_OR_END.finditer(bare, at):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if found[0] == "\n" and depth <= 0:
            return found.end()
    return len(bare)


def _parse_key(text: str) -> tuple[str, ...]:
    """The path that a header or a key spells."""
    names: list[str] = []
    value: Any = tomllib.loads(text)
    while isinstance(value, dict) and value:
        [(name, value)] = value.items()
        names.append(name)
        if isinstance(value, list):
            value = value[0]
    return tuple(names)


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
    """A host's configuration file with its text. Its methods build other configurations and write nothing.

    They raise `Unparsable` if the text cannot be parsed or changed safely.
    """

    host: Host
    snapshot: Snapshot
    text: str
    parse: Callable[[str, Format], JsonDocument | TomlDocument] = parse_document

    @classmethod
    def load(cls, host: Host, path: Path) -> Config:
        """Read a file."""
        return cls.decode(host, read(path))

    @classmethod
    def decode(cls, host: Host, snapshot: Snapshot) -> Config:
        """Decode a file that has been read."""
        try:
            return cls(host, snapshot, (snapshot.data or b"").decode())
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 (byte {error.start + 1})"
            raise Unparsable(snapshot.path, reason, "Save it as UTF-8 and try again.") from error

    @cached_property
    def entry(self) -> Entry | None:
        """The entry under our name."""
        if self._fields is None:
            return None
        return parse_entry(self._fields)

    def with_entry(self, wanted: Entry, *, replace: bool = False) -> Config:
        """The configuration with that entry; with `replace`, in place of everything that is there under our name.

        Of an entry of ours everything is kept that is not set anew: other variables, other fields, comments, and
        arguments that its owner has added behind ours.
        """
        path, fields = entry_path(self.host), self._fields
        new = entry_fields(self.host, wanted)
        if fields is None or replace:
            return self._changed(lambda: self._document.set_value(path, new))
        changes: list[tuple[tuple[str, ...], Any]] = []
        for name, value in new.items():
            if name == "env" and "env" in fields:
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
        return self._changed(lambda: self._document.remove(entry_path(self.host)))

    @cached_property
    def _document(self) -> JsonDocument | TomlDocument:
        # The file of an agent can have megabytes, so it is parsed once.
        with self._errors():
            return self.parse(self.text.removeprefix(BOM), self.host.format)

    @cached_property
    def _fields(self) -> dict[str, Any] | None:
        """What the file contains under our name; None if there is nothing."""
        key, name = entry_path(self.host)
        document = self._document
        with self._errors():
            # Before the content is looked at, because this also finds names that occur twice.
            places = document.locate((key,))
            servers = document.value.get(key, {})
            if not isinstance(servers, dict):
                raise ParseError(f'"{key}" is not an object with servers', places[0][0])
            places = document.locate((key, name))
            if name in servers and not isinstance(servers[name], dict):
                raise ParseError(f'"{name}" is not a server', places[0][0])
            return servers.get(name)

    def _changed(self, change: Callable[[], str]) -> Config:
        """The configuration after a change that is to concern our entry alone."""
        with self._errors():
            text = change()
            if self.text.startswith(BOM):
                text = BOM + text
            if text == self.text:
                return self
            changed = dataclasses.replace(self, text=text)
            # The rest of the file belongs to other people: parsed again, it must still have the same content.
            if changed._rest != self._rest:  # noqa: SLF001 - of the same class
                raise ParseError("written in a way that cannot be changed safely")
        return changed

    @property
    def _rest(self) -> tuple[str, str]:
        """All content but our entry, as text: there `nan` equals itself, and 1 is not 1.0."""
        key, name = entry_path(self.host)
        others = dict(self._document.value)
        servers = dict(others.pop(key, {}))
        servers.pop(name, None)
        return repr(others), repr(servers)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what is wrong with the text as an `Unparsable` with its line and column."""
        try:
            yield
        except (ParseError, RecursionError) as error:
            reason, at = "nested too deeply", 0
            if isinstance(error, ParseError):
                reason, at = error.reason, error.at
            lines = re.split(r"\r\n|\r|\n", self.text.removeprefix(BOM)[:at])
            column = len(lines[-1]) + 1
            raise Unparsable(self.snapshot.path, reason, "Correct the file.", line=len(lines), column=column) from error


@dataclass(frozen=True, slots=True)
class HostFile:
    """A configuration file of a host; `error`: why it could not be read or parsed."""

    host: Host
    path: Path
    config: Config | None = None
    error: InstallError | None = None

    @classmethod
    def load(cls, host: Host, path: Path) -> HostFile:
        """Read and parse a file."""
        try:
            config = Config.load(host, path)
            # Parses the file. What follows works with this configuration.
            _ = config.entry
            return cls(host, path, config)
        except InstallError as error:
            return cls(host, path, error=error)

    @property
    def entry(self) -> Entry | None:
        """The entry under our name, if there is one."""
        return self.config.entry if self.config else None

    def loaded(self) -> Config:
        """The configuration; raises the error if there is one."""
        if self.config is None:
            raise self.error or InstallError(self.path, "it was not read", "Try again.")
        return self.config


def host_files(system: System, environment: Mapping[str, str], home: Path) -> tuple[HostFile, ...]:
    """The configuration files of the hosts on this machine."""
    files = []
    for host in INSTALLABLE:
        path = find_config(host, system, environment, home)
        if path:
            file = HostFile.load(host, path)
            if file.error or file.loaded().snapshot.data is not None:
                files.append(file)
    return tuple(files)


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


def replace(snapshot: Snapshot, text: str, now: datetime) -> Path | None:
    """Write a file completely or not at all, after a backup of its content.

    Returns the path of the backup; None if there was nothing to copy. Raises `Changed` if the file is not as it was in
    the snapshot, and `InstallError` if the system does not allow it.
    """
    target = snapshot.target
    backup = None
    try:
        if snapshot.data is None:
            target.parent.mkdir(parents=True, exist_ok=True)
        for place, name in ((target, "it"), (target.parent, "its folder")):
            # A read-only file could be replaced all the same, against the will of its owner.
            if place.exists() and not (place.stat().st_mode & 0o222 and os.access(place, os.W_OK)):
                raise InstallError(snapshot.path, f"{name} is read-only", f"Allow writing to {place} and try again.")
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".luma", dir=target.parent)
        new = Path(name)
        try:
            _write_and_sync(handle, text.encode())
            _copy_rights(target, new)
            if snapshot.data:
                backup = _back_up(snapshot, now)
            if read(snapshot.path) != snapshot:
                raise Changed(snapshot.path, "another program has changed it meanwhile", "Try again.")
            new.replace(target)
        except (OSError, InstallError):
            if backup:
                backup.unlink(missing_ok=True)
            raise
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        reason = f"it cannot be written: {error.strerror or type(error).__name__}"
        fix = "Check the permissions of the file and its folder, and whether another program has it open."
        raise InstallError(snapshot.path, reason, fix) from error
    with suppress(OSError):
        # Only now is the new name of the file sure to survive a power failure.
        handle = os.open(target.parent, os.O_RDONLY)
        with suppress(OSError):
            os.fsync(handle)
        os.close(handle)
    with suppress(OSError):
        for old in backups(snapshot.path)[:-KEPT_BACKUPS]:
            old.unlink()
    return backup


def backups(path: Path) -> list[Path]:
    """The backups beside a file, oldest first. `OSError`: their folder cannot be listed."""
    found = {}
    for file in path.parent.iterdir():
        match = _BACKUP.fullmatch(file.name, len(path.name))
        if match and file.name.startswith(path.name):
            # The second backup of a second ends with -2.
            found[match[1], int(match[2] or 1)] = file
    return [found[age] for age in sorted(found)]


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
    """Give the new file the mode and the owner of the old one. Without an old one it stays private."""
    if not old.exists():
        return
    rights = old.stat()
    if hasattr(os, "chown") and (rights.st_uid, rights.st_gid) != (new.stat().st_uid, new.stat().st_gid):
        os.chown(new, rights.st_uid, rights.st_gid)
    # At the end, because changing the owner can clear bits of the mode.
    new.chmod(stat.S_IMODE(rights.st_mode))


def _back_up(snapshot: Snapshot, now: datetime) -> Path:
    """Copy a file beside itself. The copy of a linked file is beside the link: its target may be a public folder."""
    base = f"{snapshot.path.name}.luma-backup-{now:%Y%m%d-%H%M%S}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    for number in range(1, 100):
        backup = snapshot.path.with_name(f"{base}-{number}".removesuffix("-1"))
        try:
            handle = os.open(backup, flags, PRIVATE)
        except FileExistsError:
            continue
        _write_and_sync(handle, snapshot.data or b"")
        return backup
    raise FileExistsError(17, "there are too many backups of this second", str(base))


def _write_and_sync(handle: int, data: bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
