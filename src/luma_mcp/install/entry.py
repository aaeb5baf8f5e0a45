"""Our entry in a host's configuration: what it contains, and whether an existing entry is ours.

On the package index `luma-mcp`, the former name of this project, is an unrelated project with the same module name, and
the present name may come to belong to others. An entry that takes either from an index starts their program, with the
API token in its environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from luma_mcp.hosts import Host, System
from luma_mcp.providers import BY_VARIABLE, PROVIDERS, USEAPI, Provider
from luma_mcp.settings import is_database

NAME = "luma"
"""The name of our entry."""
SECRET_VARIABLES = (*BY_VARIABLE, "LUMA_MCP_HTTP_TOKEN")
HIDDEN = "…"
Origin = Literal["installed", "former", "module", "index", "other"]
"""Where an entry takes its server from.

installed   one of our installations, under the present name
former      one of our installations, under the former name
module      `python -m luma_mcp`: ours only if that Python has our distribution
index       any package under one of our names, from a package index or PATH: not ours
other       something else
"""
_NAME = re.compile(r"luma[-_.]ray[-_.]mcp(\.exe|\.py)?", re.IGNORECASE)
_FORMER_NAME = re.compile(r"luma[-_.]mcp(\.exe|\.py)?", re.IGNORECASE)
_RUN_COMMANDS = {"uvx": ("",), "uv": ("tool run", "run"), "pipx": ("run",)}
"""Programs that start a package by its name, and the words before that name."""
_TAKES_VALUE = re.compile(
    r"-[picfPw]|--(from|spec|with|with-editable|with-requirements|python|python-preference|directory|project|package|"
    r"extra|group|only-group|no-group|index|default-index|index-url|extra-index-url|index-strategy|find-links|"
    r"keyring-provider|env-file|config-file|cache-dir|allow-insecure-host|refresh-package|reinstall-package|"
    r"upgrade-package|resolution|prerelease|exclude-newer|link-mode|constraints|overrides|color|pip-args|backend)"
)
"""Options of these programs that are followed by a value."""
_PYTHON = re.compile(r"(python|pypy)[\d.]*w?(\.exe)?|py(\.exe)?", re.IGNORECASE)
_COMMAND = re.compile(r"(?!.*(\s-\S|\s\S*=|://))(([A-Za-z]:)?[\\/](.*[\\/])?[^\\/\s]+|[^\s=]+)")
"""The name or the path of a program, with nothing behind it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a host starts a server. `env` contains a credential; `numbers`: further fields, such as a timeout."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    numbers: Mapping[str, int] = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """Where it takes its server from."""
        return _origin(self.command, self.args)

    @property
    def is_ours(self) -> bool:
        """Whether it was made for this project, so that `install` may replace it and `uninstall` may remove it.

        That does not mean that it is safe to start: see `origin`.
        """
        return self.origin in ("installed", "former", "module")

    @property
    def secrets(self) -> Mapping[str, str]:
        """The credentials that it contains, by variable; without those that the host fills in or a person has to."""
        return {variable: value for variable, value in self.credentials.items() if "${" not in value}

    @property
    def credentials(self) -> Mapping[str, str]:
        """The same, with those that the host fills in."""
        found: dict[str, str] = {}
        for provider in PROVIDERS.values():
            value = self.env.get(provider.variable, "").strip()
            if value not in ("", provider.placeholder):
                found[provider.variable] = value
        return found

    @property
    def provider(self) -> Provider:
        """The API that its server uses."""
        stated = PROVIDERS.get(self.env.get("LUMA_MCP_API", "").strip().casefold())
        if stated:
            return stated
        # In the order of the APIs.
        return BY_VARIABLE[next(iter(self.credentials), USEAPI.variable)]

    @property
    def safe_command(self) -> str:
        """The command for a message; hidden if it is more than the name or path of a program."""
        if not self.command:
            return "no command"
        if not _COMMAND.fullmatch(self.command):
            return HIDDEN
        return self.command


def _origin(command: str, args: tuple[str, ...]) -> Origin:
    program = _base_name(command).removesuffix(".exe")
    first, second = [*args, "", ""][:2]
    runs_module = _PYTHON.fullmatch(program) and first == "-m" and second in _RUN_COMMANDS
    # `cmd /c uvx …` and `python -m pipx …` only start what follows.
    if second and (runs_module or (program == "cmd" and first.casefold() == "/c")):
        return _origin(second, args[2:])
    if program in _RUN_COMMANDS:
        return _origin_of_run(program, args)
    if _NAME.fullmatch(program):
        return "installed"
    if _FORMER_NAME.fullmatch(program):
        # Without a folder, PATH decides which program it is, and that may come from the index.
        has_folder = program != command.casefold().removesuffix(".exe")
        return "former" if has_folder else "index"
    if _runs_module(args):
        return "module"
    return "other"


def _origin_of_run(program: str, args: Sequence[str]) -> Origin:
    """The origin of a package that uvx, uv or pipx starts.

    Words behind the package are its own: `uvx luma-mcp --from /srv/x` still takes luma-mcp from an index.
    """
    options: list[tuple[str, str]] = []
    before = target = ""
    remaining = list(args)
    while remaining and not target:
        word = remaining.pop(0)
        if word.startswith("-"):
            name, separator, value = word.partition("=")
            if not separator and _TAKES_VALUE.fullmatch(name) and remaining:
                value = remaining.pop(0)
            options.append((name, value))
        elif before in _RUN_COMMANDS[program]:
            target = word
        else:
            before = f"{before} {word}".strip()

    def values_of(*names: str) -> list[str]:
        return [value for name, value in options if name in names]

    name = _package_name(target)
    is_module = target == "luma_mcp" and bool(values_of("-m", "--module"))
    is_module |= bool(_PYTHON.fullmatch(_base_name(target))) and _runs_module(remaining)
    runs_our_name = is_module or _is_our_name(name)
    # The last one counts if there are several.
    source = [target, *values_of("--from", "--spec")][-1]
    # `uv run` takes the package from the environment of a project.
    in_project = (program, before) == ("uv", "run")
    if not in_project and _is_from_index(source) and (runs_our_name or _is_our_name(_package_name(source))):
        return "index"
    # An additional package that has the program, or the module, in place of the project's.
    extras = [extra for extra in values_of("--with", "-w") if _is_our_name(_package_name(extra))]
    if runs_our_name and any(map(_is_from_index, extras)):
        return "index"
    if is_module:
        return "module"
    if _NAME.fullmatch(name):
        return "installed"
    return "former" if _FORMER_NAME.fullmatch(name) else "other"


def _runs_module(args: Sequence[str]) -> bool:
    return ("-m", "luma_mcp") in pairwise(args)


def _is_our_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name) or _FORMER_NAME.fullmatch(name))


def _package_name(word: str) -> str:
    """The name at the end of a package, a path or an address, without extras, version or marker.

    Empty for a package of another language: `@someone/luma-ray-mcp`.
    """
    if word.startswith("@"):
        return ""
    return re.split(r"[^\w.-]", _base_name(word))[0].removesuffix(".git")


def _is_from_index(source: str) -> bool:
    """Whether an index is asked for a package, because this is no path and no address."""
    return re.fullmatch(r"\.{1,2}|.*([\\/].*|\.whl|\.tar\.gz|\.zip)", source, re.DOTALL) is None


def _base_name(word: str) -> str:
    return re.split(r"[\\/]", word)[-1].casefold()


def why_unsafe(entry: Entry, program: str | None) -> str:
    """Why an entry must not be started: it runs, or may run, an unrelated program. Empty if it can be started.

    `program`: what its command stands for.
    """
    if entry.origin == "index":
        return "which takes our name from an index, where it belongs to an unrelated project"
    if entry.origin == "former":
        return "with the name luma-mcp, which belongs to an unrelated project"
    if entry.origin == "module" and program and program != sys.executable and not _has_our_script(entry, program):
        return "with the module luma_mcp, but luma-ray-mcp is not installed there: it may be an unrelated project's"
    return ""


def _has_our_script(entry: Entry, python: str) -> bool:
    """Whether the environment of a Python has the script of our distribution."""
    folders = [Path(python).parent, Path(python).parent / "Scripts"]
    for option, value in pairwise(entry.args):
        # uv uses the environment of a project.
        if option in ("--directory", "--project"):
            folders += [Path(value, ".venv", "bin"), Path(value, ".venv", "Scripts")]
    scripts = [folder / f"luma-ray-mcp{suffix}" for folder in folders for suffix in ("", ".exe")]
    return any(map(os.path.lexists, scripts))


def bare_path(system: System, variables: Mapping[str, str]) -> str:
    """The `PATH` of a program that was not started from a shell."""
    if system == "win32":
        root = variables.get("SYSTEMROOT") or r"C:\Windows"
        return rf"{root}\system32;{root}"
    if system == "darwin":
        return "/usr/bin:/bin:/usr/sbin:/sbin"
    return "/usr/local/bin:/usr/bin:/bin"


def find_program(command: str, path: str) -> str | None:
    """The program that a host starts for this command, without a shell's help; None if there is none."""
    is_name = os.path.basename(command) == command  # noqa: PTH119 - Path drops a "./"
    if not is_name and not Path(command).is_absolute():
        return None
    return shutil.which(command, path=path)


def entry_fields(host: Host, entry: Entry) -> dict[str, Any]:
    """A new entry as the host's file contains it."""
    fields: dict[str, Any] = {}
    if host.types:
        fields["type"] = "stdio"
    fields["command"] = entry.command
    if entry.args:
        fields["args"] = list(entry.args)
    for name, value in host.fields.items():
        fields[name] = entry.numbers.get(name, value)
    if entry.env:
        fields["env"] = dict(entry.env)
    return fields


def parse_entry(fields: Mapping[str, Any]) -> Entry:
    """An entry of a file. Values of another type than expected are left out."""

    def get(name: str, default: Any) -> Any:
        value = fields.get(name)
        return value if isinstance(value, type(default)) else default

    return Entry(
        get("command", ""),
        tuple(arg for arg in get("args", []) if isinstance(arg, str)),
        {name: value for name, value in get("env", {}).items() if isinstance(value, str)},
        # Only TOML has integers here: numbers of JSON texts stay as they are written.
        {name: value for name, value in fields.items() if type(value) is int},
    )


def snippet(host: Host, *, command: str, args: Sequence[str], env: Mapping[str, str]) -> str:
    """The text to paste into the host's file."""
    return format_entry(host, Entry(command, tuple(args), env))


def format_entry(host: Host, entry: Entry) -> str:
    """An entry as the host's file contains it, in all that has to be around it."""
    content = {host.key: {NAME: entry_fields(host, entry)}}
    if host.format == "toml":
        import tomlkit

        return tomlkit.dumps(content)
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def is_secret(variable: str, value: str) -> bool:
    """Whether the value of a variable must not be shown: a credential, or the address of a database."""
    return variable in SECRET_VARIABLES or (variable == "LUMA_MCP_JOURNAL" and is_database(value))


def masked(entry: Entry, known: Entry) -> Entry:
    """The entry for a screen: of its values only those of `known` are shown, and never the token.

    Everything else was put there by its owner and could be a secret.
    """
    command = entry.safe_command
    if entry.command == known.command:
        command = entry.command
    args = tuple(arg if arg in known.args else HIDDEN for arg in entry.args)
    env = dict.fromkeys(entry.env, HIDDEN) | dict(entry.env.items() & known.env.items())
    for provider in PROVIDERS.values():
        if provider.variable in env:
            env[provider.variable] = f"{provider.begins}{HIDDEN}"
    if is_database(env.get("LUMA_MCP_JOURNAL", "")):
        env["LUMA_MCP_JOURNAL"] = f"postgresql://{HIDDEN}"
    return Entry(command, args, env, entry.numbers)
