"""JSON, with comments and trailing commas or without, changed in place: every other character stays as it is.

Nothing is parsed into a tree and written anew. Comments and trailing commas are blanked out with as many spaces, the
standard library reads what is left, and what it read lies at the same places in the text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from luma_mcp.install.errors import ParseError

if TYPE_CHECKING:
    from collections.abc import Sequence

_STRING = r'"[^"\\\r\n]*(?:\\.[^"\\\r\n]*)*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\r\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING = re.compile(rf"({_STRING})|,(?=[ \t\r\n]*[}}\]])")
_SPACE = re.compile(r"[ \t\r\n]*")
_BLANKS = re.compile(r"[ \t]*")


def _number(text: str) -> tuple[str, str]:
    """A number as it is written: none is too long, and 1.0 is not 1."""
    return ("number", text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_no_constant)


@dataclass(frozen=True, slots=True)
class Member:
    """`"name": value`, where the name begins, and where the value begins and ends."""

    name: str
    start: int
    value_start: int
    end: int
    value: Any


@dataclass(frozen=True, slots=True)
class Object:
    """`{…}`: its braces, its members, and the member that it is the value of, if it is one."""

    start: int
    end: int
    members: tuple[Member, ...]
    owner: Member | None


@dataclass(frozen=True, slots=True)
class Text:
    """A JSON text. `bare`: without its comments; `plain`: also without trailing commas; all of one length."""

    text: str
    bare: str
    plain: str

    @classmethod
    def read(cls, text: str, *, comments: bool = True) -> Text:
        """Reads a text whose root is an object; `comments`: whether those and trailing commas are allowed.

        Raises:
            ParseError: it is no JSON, or no object.
        """
        bare, plain = _blanked(text)
        read = cls(text, bare, plain) if comments else cls(text, text, text)
        start = skip(read.plain, 0)
        try:
            value, end = _DECODER.raw_decode(read.plain, start)
        except json.JSONDecodeError as error:
            at = min(error.pos, len(text))
            extra = next((i for i, c in enumerate(plain) if c != text[i]), len(text))
            if not comments and extra <= at:
                raise ParseError(
                    "here is a comment or a trailing comma, and this host reads neither.", extra
                ) from error
            raise ParseError(f"this is not JSON: {error.msg[0].lower()}{error.msg[1:]}.", at) from error
        except ValueError as error:
            raise ParseError(f"this is not JSON that can be read: {error}.", start) from error
        rest = skip(read.plain, end)
        if rest < len(text):
            raise ParseError("the JSON ends before this, but the file goes on.", rest)
        if not isinstance(value, dict):
            raise ParseError("the outermost value has to be an object, {…}.", start, parsed=True)
        return read

    @property
    def root(self) -> Object:
        """The outermost object."""
        return self.object_at(skip(self.plain, 0), None)

    @property
    def value(self) -> dict[str, Any]:
        """What the text says."""
        return dict(_DECODER.raw_decode(self.plain, skip(self.plain, 0))[0])

    def object_at(self, start: int, owner: Member | None) -> Object:
        """The object that begins there."""
        members: list[Member] = []
        at = skip(self.plain, start + 1)
        while self.plain[at] != "}":
            name, after = _DECODER.raw_decode(self.plain, at)
            value_start = skip(self.plain, skip(self.plain, after) + 1)
            value, end = _DECODER.raw_decode(self.plain, value_start)
            members.append(Member(name, at, value_start, end, value))
            at = skip(self.plain, end)
            if self.plain[at] == ",":
                at = skip(self.plain, at + 1)
        return Object(start, at + 1, tuple(members), owner)

    def walk(self, path: Sequence[str]) -> tuple[Object, list[Member]]:
        """The members along a path, as far as it leads, and the object where the last or the first missing one is.

        Raises:
            ParseError: a name on the way is there twice, or stands for no object.
        """
        here, found = self.root, list[Member]()
        for depth, name in enumerate(path):
            same = [member for member in here.members if member.name == name]
            if len(same) > 1:
                raise ParseError(
                    f'"{name}" is here for the second time, and only one of them counts.', same[1].start, parsed=True
                )
            if not same:
                break
            found.append(same[0])
            if depth + 1 < len(path):
                if not isinstance(same[0].value, dict):
                    raise ParseError(f'"{name}" has to be an object, {{…}}.', same[0].value_start, parsed=True)
                here = self.object_at(same[0].value_start, same[0])
        return here, found

    def indent_of(self, at: int) -> str | None:
        """The blanks before what begins there, if nothing else is before it on its line."""
        line = max(self.text.rfind("\n", 0, at), self.text.rfind("\r", 0, at)) + 1
        before = self.text[line:at]
        return before if line and not before.strip(" \t") else None

    def after_comments(self, at: int) -> int:
        """Where the comments end that follow on a line; where the line ends, if nothing else does."""
        found = _BLANKS.match(self.bare, at)
        end = found.end() if found else at
        ends_line = self.bare[end : end + 1] in ("", "\r", "\n")
        return end if ends_line else at + len(self.text[at:end].rstrip(" \t"))

    def in_line_comment(self, at: int) -> bool:
        """Whether a comment reaches there that ends with its line."""
        return any(found.end() == at and found[0].startswith("//") for found in _COMMENT.finditer(self.text))


def as_read(value: Any) -> Any:
    """A value in the form in which it comes out of a text."""
    return _DECODER.decode(json.dumps(value))


def is_blank(text: str) -> bool:
    """Whether there is nothing but white space and comments."""
    return not _COMMENT.sub(lambda found: found[1] or "", text).strip()


@lru_cache(maxsize=2)
def _blanked(text: str) -> tuple[str, str]:
    """Without comments; and also without trailing commas. An agent's own file can have megabytes."""
    bare = _COMMENT.sub(lambda found: found[1] or " " * len(found[0]), text)
    return bare, _TRAILING.sub(lambda found: found[1] or " ", bare)


def skip(plain: str, at: int) -> int:
    """Where white space ends."""
    found = _SPACE.match(plain, at)
    return found.end() if found else at
