"""A TOML text as the lines that say something, each with where it is."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from luma_mcp.install.errors import ParseError

_STRING_OR_COMMENT = re.compile(
    r""""{3}(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|(#[^\n\r]*)""", re.DOTALL
)
_SPACE = re.compile(r"\s*")
_BRACKET_OR_END = re.compile(r"[\[{(\]})\n]")
_PLAIN = re.compile(r"\[?([\w-]+(?:\.[\w-]+)*)(?:\]| *= 0)", re.ASCII)
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Statement:
    """`key = value`, or a `[header]`.

    Attributes:
        table: the table that it is in; a header's own.
        path: the whole path of what it says; of a header, its table's.
        start, end: where its line begins, and where the next one does.
        value_start, value_end: where its value is; the same place for a header.
    """

    table: tuple[str, ...]
    path: tuple[str, ...]
    start: int
    end: int
    value_start: int
    value_end: int
    is_header: bool


def load(text: str) -> dict[str, Any]:
    """What a text says.

    Raises:
        ParseError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _PLACE.search(str(error))
        at = len(text)
        if found and found[1]:
            lines = text.replace("\r\n", " \n").split("\n")
            at = sum(len(line) + 1 for line in lines[: int(found[1]) - 1]) + int(found[2]) - 1
        what = _PLACE.sub("", str(error))
        raise ParseError(f"this is not TOML: {what[0].lower()}{what[1:]}.", min(at, len(text))) from error


@lru_cache(maxsize=2)
def statements(text: str) -> tuple[Statement, ...]:
    """All of a text that can be read, in its order. Each step of a change asks for it anew."""
    bare = _STRING_OR_COMMENT.sub(lambda found: (" " if found[1] else "x") * len(found[0]), text)
    found: list[Statement] = []
    table: tuple[str, ...] = ()
    at = 0
    while (at := _skip(bare, at)) < len(bare):
        start = max(bare.rfind("\n", 0, at) + 1, found[-1].end if found else 0)
        end = _line_end(bare, at)
        if bare[at] == "[":
            table = _names(text[at:end].strip())
            found.append(Statement(table, table, start, end, end, end, is_header=True))
        else:
            equals = bare.index("=", at)
            value = equals + 1 + len(bare[equals + 1 : end]) - len(bare[equals + 1 : end].lstrip())
            value_end = value + len(bare[value:end].rstrip())
            path = (*table, *_names(f"{text[at:equals]}= 0"))
            found.append(Statement(table, path, start, end, value, value_end, is_header=False))
        at = end
    return tuple(found)


def _skip(bare: str, at: int) -> int:
    # Matched where it lies: a copy of the rest for each statement would make long files slow.
    found = _SPACE.match(bare, at)
    return found.end() if found else at


def _line_end(bare: str, at: int) -> int:
    """Where the next line begins after a statement, which may go over several."""
    depth = 0
    for found in _BRACKET_OR_END.finditer(bare, at):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if found[0] == "\n" and depth <= 0:
            return found.end()
    return len(bare)


def _names(text: str) -> tuple[str, ...]:
    """The path that a header or a key spells."""
    if plain := _PLAIN.fullmatch(text):
        return tuple(plain[1].split("."))
    names: list[str] = []
    here: Any = tomllib.loads(text)
    while here:
        here = here[0] if isinstance(here, list) else here
        if not isinstance(here, dict) or not here:
            break
        [(name, here)] = here.items()
        names.append(name)
    return tuple(names)
