"""A change as a person sees it: line by line, with no secret in it, neither ours nor a neighbour's.

What a secret looks like nobody knows: names are shown, and of the values only those of our own entry that are known to
be none. Every other string, number and comment is `…`.
"""

from __future__ import annotations

import json
import re
import tomllib
from difflib import unified_diff
from typing import TYPE_CHECKING

from luma_mcp.install.entry import NAME, TOKEN, Entry, snippet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luma_mcp.install.config import Config

HIDDEN = "…"
LONGEST = 200
"""Characters of a line; a file without line breaks is not shown as one."""
AROUND = 2
_JSON = re.compile(
    r"""(?P<comment>//[^\r\n]*|/\*.*?\*/)
    |(?P<string>"(?:\\.|[^"\\\r\n])*")(?P<name>[ \t\r\n]*:)?
    |(?P<word>[^\s{}\[\],:"/]+)""",
    re.DOTALL | re.VERBOSE,
)
_TOML = re.compile(
    r"""(?P<comment>\#[^\r\n]*)
    |(?P<string>"{3}(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\r\n])*"|'[^'\r\n]*')(?P<name>[ \t]*=)?
    |(?P<word>[^\s{}\[\],="'\#]+(?P<key>[ \t]*=)?)""",
    re.DOTALL | re.VERBOSE,
)
_KNOWN = re.compile(
    r"-m|luma_mcp|serve|simulator|tool|run|-[yq]|--(simulate|speed|http|host|port|from|spec|with|python|directory|project|"
    r"no-dev|no-sync|no-cache|frozen|offline|isolated|refresh|quiet)"
)
"""Words of a command line that say nothing of anybody."""
_PACKAGE = re.compile(r"luma[-_](ray[-_])?mcp(\[[\w,-]*\])?((==|@)[\w.]{1,20})?", re.IGNORECASE)
_SOURCE = re.compile(r"(git\+)?https://(github|gitlab)\.com/[^\s?#@:]+(@[^\s?#@:]+)?|(?!.*://)[^\s?@=]+")
"""A path, or an address of a public place without a password, with or without a revision."""
_SETTING = re.compile(r"LUMA_MCP_(?!\w*(TOKEN|KEY|SECRET|PASS|AUTH|CREDENTIAL|COOKIE|HEADER))\w+", re.IGNORECASE)
_EMAIL = re.compile(r"[^\s@:/?]+@[^\s@:/?]+")
_COMMAND = re.compile(r"(?!.*(\s-\S|\s\S*=|://))(([A-Za-z]:)?[\\/](.*[\\/])?[^\\/\s]+|[^\s=]+)")
"""A program's name, or its whole path."""


def difference(before: Config, after: Config) -> list[str]:
    """The lines of a unified diff, without what could be a secret.

    Where a line is too long to be read, or shared with neighbours, the entry is shown in their place.

    Raises:
        InstallError: a text cannot be read.
    """
    was, is_now = before.entry(), after.entry()
    numbers = {str(number) for number in after.host.fields.values()}
    veils = (_Veil(was, numbers), _Veil(is_now, numbers, was))
    old, new = (_masked(config, veil) for config, veil in zip((before, after), veils, strict=True))
    lines = [line.rstrip("\r\n") for line in unified_diff(old, new, n=AROUND)][2:]
    in_sight = all(config.spans() or entry is None for config, entry in ((before, was), (after, is_now)))
    if in_sight and max(map(len, lines), default=0) <= LONGEST:
        return lines
    return [*_alone(before, was, "-", veils[0]), *_alone(after, is_now, "+", veils[1])]


def shown_command(entry: Entry) -> str:
    """The command of an entry, if there is nothing in it but where the program is."""
    return entry.command if _COMMAND.fullmatch(entry.command) else HIDDEN if entry.command else "no command"


class _Veil:
    """Hides what is not known to be harmless in the text of an entry.

    `numbers`: those that are ours; `before`: the entry whose place it takes.
    """

    def __init__(self, entry: Entry | None, numbers: set[str], before: Entry | None = None) -> None:
        # What somebody else wrote under our name is as strange to us as a neighbour.
        self.harmless = {*_harmless(entry), *numbers} if entry and entry.is_ours else set[str]()
        self.new = _said(entry) - _said(before) if entry and before and before.is_ours else set[str]()

    def over(self, text: str, pattern: re.Pattern[str]) -> str:
        """A text without what could be a secret in it."""
        is_toml = pattern is _TOML

        def hide(found: re.Match[str]) -> str:
            if comment := found["comment"]:
                return f"/* {HIDDEN} */" if comment[:2] == "/*" else f"{'#' if is_toml else '//'} {HIDDEN}"
            if word := found["word"]:
                # What begins with a letter is a name, or `true` and the like.
                is_plain = word[0].isalpha() or word[0] == "_" or (is_toml and found["key"])
                return word if is_plain or word in self.harmless else HIDDEN
            return found[0] if found["name"] else self._string(found[0], is_toml=is_toml)

        return pattern.sub(hide, text)

    def _string(self, text: str, *, is_toml: bool) -> str:
        value = str(tomllib.loads(f"x = {text}")["x"] if is_toml else json.loads(text))
        if value in self.harmless:
            return text
        return f'"{"user:" if value.startswith("user:") else ""}{HIDDEN}{" (new)" if value in self.new else ""}"'


def _said(entry: Entry) -> set[str]:
    return {entry.command, *entry.args, *entry.env.values()}


_NEIGHBOURS = _Veil(None, set())


def _harmless(entry: Entry) -> Iterator[str]:
    """The values of an entry of ours that are no secret."""
    yield NAME
    if _COMMAND.fullmatch(entry.command):
        yield entry.command
    for last, arg in zip(("", *entry.args), entry.args, strict=False):
        is_source = last in ("--from", "--spec", "--directory", "--project") and _SOURCE.fullmatch(arg)
        if _KNOWN.fullmatch(arg) or _PACKAGE.fullmatch(arg) or is_source:
            yield arg
    for name, value in entry.env.items():
        fits = _EMAIL.fullmatch(value) if name == "LUMA_MCP_EMAIL" else not re.search(r"[?@]", value)
        if _SETTING.fullmatch(name) and fits and value != entry.env.get(TOKEN):
            yield value
    yield "stdio"


def _alone(config: Config, entry: Entry | None, sign: str, veil: _Veil) -> list[str]:
    if entry is None:
        return []
    text = snippet(config.host, command=entry.command, args=entry.args, env=entry.env)
    return [f"{sign} {line}" for line in veil.over(text, _pattern(config)).splitlines()]


def _masked(config: Config, veil: _Veil) -> list[str]:
    text, shown, at = config.body, "", 0
    pattern = _pattern(config)
    for start, end in [*config.spans(), (len(text), len(text))]:
        shown += _NEIGHBOURS.over(text[at:start], pattern) + veil.over(text[start:end], pattern)
        at = end
    return shown.splitlines(keepends=True)


def _pattern(config: Config) -> re.Pattern[str]:
    return _TOML if config.host.format == "toml" else _JSON
