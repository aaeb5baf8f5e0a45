"""Our entry among a host's servers: what it says, and how it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from luma_mcp.install import json_edit, toml_edit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luma_mcp.hosts import Host

NAME = "luma"
TOKEN = "USEAPI_TOKEN"  # noqa: S105 - a variable's name
PLACEHOLDER = "user:your-token-from-useapi.net"
_OURS = re.compile(r"luma[-_]ray[-_]mcp(\.exe|\.py)?", re.IGNORECASE)
_OLD_NAME = re.compile(r"luma[-_]mcp(\.exe|\.py)?", re.IGNORECASE)
"""What this project was called before. On the package index the name belongs to an unrelated project."""
_PACKAGE = re.compile(r"luma[-_](ray[-_])?mcp(\.exe|\.py)?([@=\[].*)?", re.IGNORECASE)
_RUNNERS = {"uvx": ((),), "uv": (("tool", "run"), ("run",)), "pipx": (("run",),)}
"""What starts a package by its name, and the words before that name."""
_SOURCES = ("--from", "--spec", "--directory", "--project")
"""Runner options that say where the package comes from, so that no index is asked for its name."""
_WITH_A_VALUE = re.compile(
    r"-[picfP]|--(from|spec|with|with-editable|with-requirements|python|python-preference|directory|project|package|"
    r"extra|group|only-group|no-group|index|default-index|index-url|extra-index-url|index-strategy|find-links|"
    r"keyring-provider|env-file|config-file|cache-dir|allow-insecure-host|refresh-package|reinstall-package|"
    r"upgrade-package|resolution|prerelease|exclude-newer|link-mode|constraints|overrides|color|pip-args|backend)"
)
"""Options of theirs whose next word is no package."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a host starts a server. The values of `env` hold a token."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_ours(self) -> bool:
        """Whether it is an entry of this project: it runs one of its installations, under the old name or the new.

        An entry that runs a package by name from an index is not: see `index_package`.
        """
        if self._inner:
            return self._inner.is_ours
        command = _base(self.command)
        if _OURS.fullmatch(command) or ("-m", "luma_mcp") in pairwise(self.args):
            return True
        if _OLD_NAME.fullmatch(command):
            # Without a path it is whatever the index's package has put on PATH.
            return command != self.command.casefold()
        return self._package is not None and self._has_source

    @property
    def has_old_name(self) -> bool:
        """Whether it runs something called luma-mcp, which may be another project's. It must not be started."""
        if self._inner:
            return self._inner.has_old_name
        if _OLD_NAME.fullmatch(_base(self.command)):
            return True
        return self._package is not None and bool(_OLD_NAME.match(_base(self._package)))

    @property
    def index_package(self) -> str | None:
        """The package that it runs by name from an index, if that has our name or had it.

        Such a package is not ours: this project is not published. It gets the token of the entry's environment.
        """
        if self._inner:
            return self._inner.index_package
        return None if self._has_source else self._package

    @property
    def _inner(self) -> Entry | None:
        """What `cmd /c` starts."""
        is_shell = _base(self.command) in ("cmd", "cmd.exe") and [a.casefold() for a in self.args[:1]] == ["/c"]
        return Entry(self.args[1], self.args[2:]) if is_shell and self.args[1:] else None

    @property
    def _has_source(self) -> bool:
        """Whether the runner takes it from a path, an address or a project, rather than from an index by name."""
        if _plain_words(self.args)[:1] == ("run",) and _base(self.command).removesuffix(".exe") == "uv":
            return True
        options = [*pairwise(self.args), *(arg.partition("=")[::2] for arg in self.args)]
        return any(option in _SOURCES and re.search(r"[\\/]", value) for option, value in options)

    @property
    def _package(self) -> str | None:
        """The package of ours, by name, that uvx, uv or pipx is to run."""
        words, ways = _plain_words(self.args), _RUNNERS.get(_base(self.command).removesuffix(".exe"), ())
        for way in ways:
            if words[: len(way)] == way and len(words) > len(way):
                name = words[len(way)]
                # `@someone/luma-ray-mcp` is a package of another language.
                if _PACKAGE.fullmatch(_base(name)) and not name.startswith("@"):
                    return name
        return None

    @property
    def token(self) -> str | None:
        """The token in it, if there is one."""
        return self.env.get(TOKEN) or None


def _base(word: str) -> str:
    return re.split(r"[\\/]", word)[-1].casefold()


def _plain_words(args: Sequence[str]) -> tuple[str, ...]:
    """What is no option, nor the value of one."""
    before = ("", *args)
    return tuple(
        arg
        for last, arg in zip(before, args, strict=False)
        if not arg.startswith("-") and not _WITH_A_VALUE.fullmatch(last)
    )


class Editor(Protocol):
    """Reads and changes the texts of one format; `json_edit` and `toml_edit` are two."""

    def load(self, text: str, *, comments: bool) -> dict[str, Any]:
        """What a text says."""

    def spans(self, text: str, path: Sequence[str]) -> list[tuple[int, int]]:
        """Where it says what is at that path."""

    def put(self, text: str, path: Sequence[str], value: Any) -> str:
        """The text with that value at that path."""

    def cut(self, text: str, path: Sequence[str]) -> str:
        """The text with nothing at that path."""


def editor_of(host: Host) -> Editor:
    """What changes that host's file."""
    return toml_edit if host.format == "toml" else json_edit


def path_of(host: Host) -> tuple[str, str]:
    """Under which names our entry is in the host's file."""
    return (host.key, NAME)


def fields_of(host: Host, entry: Entry) -> dict[str, Any]:
    """An entry as the host's file says it, when it is new."""
    said: dict[str, Any] = {"type": "stdio"} if host.types else {}
    said["command"] = entry.command
    if entry.args:
        said["args"] = list(entry.args)
    said |= host.fields
    if entry.env:
        said["env"] = dict(entry.env)
    return said


def read_entry(said: Mapping[str, Any]) -> Entry:
    """An entry of a file; what is not of its kind in it counts as not there."""
    command, args, env = said.get("command"), said.get("args"), said.get("env")
    return Entry(
        command if isinstance(command, str) else "",
        tuple(arg for arg in args if isinstance(arg, str)) if isinstance(args, list) else (),
        {name: value for name, value in env.items() if isinstance(value, str)} if isinstance(env, dict) else {},
    )


def snippet(host: Host, *, command: str, args: Sequence[str], env: Mapping[str, str]) -> str:
    """The text to paste into the host's file, JSON or TOML: our entry alone, in all that has to be around it."""
    return editor_of(host).put("", path_of(host), fields_of(host, Entry(command, tuple(args), env)))
