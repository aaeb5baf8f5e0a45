"""A change as a person sees it: line by line, with no secret in it, neither ours nor a neighbour's."""

from __future__ import annotations

import re
from difflib import unified_diff
from typing import TYPE_CHECKING

from luma_mcp.install.entry import snippet

if TYPE_CHECKING:
    from luma_mcp.install.config import Config

HIDDEN = "…"
LONGEST = 200
"""Characters of a line; a file without line breaks is not shown as one."""
AROUND = 2
_STRING = re.compile(r'("(?:\\.|[^"\\\r\n])*"|\'[^\'\r\n]*\')([ \t]*:)?')
_SECRET = re.compile(
    r'(["\']?\b\w*(?:TOKEN|KEY|SECRET|PASS|AUTH|CREDENTIAL|COOKIE|HEADER)\w*["\']?\s*[:=]\s*)("(?:\\.|[^"\\])*"|\'[^\']*\')',
    re.IGNORECASE,
)


def difference(before: Config, after: Config) -> list[str]:
    """The lines of a unified diff. Strings outside our entry are hidden, and secrets in it.

    Where a line is too long to be read, or shared with neighbours, the entry is shown in their place.
    """
    known = [entry.token for config in (before, after) if (entry := config.entry()) and entry.token]
    old, new = (_masked(config, known) for config in (before, after))
    lines = [line.rstrip("\r\n") for line in unified_diff(old, new, n=AROUND)][2:]
    in_sight = all(config.spans() or config.entry() is None for config in (before, after))
    if in_sight and max(map(len, lines), default=0) <= LONGEST:
        return lines
    return [*_alone(before, "-", known), *_alone(after, "+", known)]


def _alone(config: Config, sign: str, known: list[str]) -> list[str]:
    entry = config.entry()
    if entry is None:
        return []
    text = snippet(config.host, command=entry.command, args=entry.args, env=entry.env)
    return [f"{sign} {line}" for line in _without_secrets(text, known).splitlines()]


def _masked(config: Config, known: list[str]) -> list[str]:
    text, shown, at = config.body, "", 0
    for start, end in [*config.spans(), (len(text), len(text))]:
        shown += _STRING.sub(_neighbour, text[at:start]) + _without_secrets(text[start:end], known)
        at = end
    return shown.splitlines(keepends=True)


def _neighbour(found: re.Match[str]) -> str:
    """A name is shown, a value is not."""
    return found[0] if found[2] else f'"{HIDDEN}"'


def _without_secrets(text: str, known: list[str]) -> str:
    """`known`: our tokens, the older one first; a new one is told from it."""

    def hide(found: re.Match[str]) -> str:
        value = found[2][1:-1]
        shown = f"user:{HIDDEN}" if value.startswith("user:") else HIDDEN
        return f'{found[1]}"{shown}{" (new)" if value in known[1:] and value != known[0] else ""}"'

    text = _SECRET.sub(hide, text)
    for token in known:
        text = text.replace(token, HIDDEN)
    return text
