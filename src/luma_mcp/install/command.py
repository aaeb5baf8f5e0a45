"""How this installation is invoked: by a person in a terminal, and by a host that has another PATH.

Every command in a message begins with `invocation()`.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit

from luma_mcp.hosts import System
from luma_mcp.install.paths import this_system

NAME = "luma-ray-mcp"
PYAV, OBSTORE, PSYCOPG, PYJWT = "av>=18", "obstore>=0.8", "psycopg[binary]>=3.3", "pyjwt[crypto]>=2.10"
PROMETHEUS = "prometheus-client>=0.22"
"""What the extras `film` and `server` of this package need."""
_EPHEMERAL = re.compile(
    r"/uv/(cache/)?(archive|builds|environments)-v\d+/|/pipx/(\.?cache)/|/\.cache/pipx/", re.IGNORECASE
)
"""Environments that uvx and `pipx run` create and later delete."""
_TEMPORARY = re.compile(r"^(/private)?(/tmp|/var/tmp|/var/folders)/|/AppData/Local/Temp/", re.IGNORECASE)
_GUARDED: Mapping[str, re.Pattern[str]] = {
    "darwin": re.compile(r"^/Users/[^/]+/(Desktop|Documents|Downloads|Library/Mobile Documents)/|^/Volumes/"),
    "win32": re.compile(r"/OneDrive[^/]*/|^//", re.IGNORECASE),
}
_NEEDS_QUOTES = re.compile(r"^.*[^\w@%+=:,./\\~-].*$", re.ASCII)
"""A word that is quoted on Windows."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with an absolute path, its arguments, and warnings about using it in a host's configuration."""

    program: str
    args: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def command_here() -> Command:
    """The command that starts this installation from anywhere. A host can use it as it is."""
    return resolve_command(
        sys.executable,
        this_system(),
        base=os.path.realpath(sys.executable),
        exists=os.path.isfile,
        which=shutil.which,
        cache=os.environ.get("UV_CACHE_DIR"),
        source=_installed_from,
    )


@cache
def invocation() -> str:
    """The text with which a person starts this installation, for messages: our name, or an absolute path."""
    return format_invocation(command_here(), this_system(), on_path=shutil.which(NAME), environment=os.environ)


def package_command(package: str) -> str:
    """The command with which a person adds a package to this installation."""
    command = Command(sys.executable, ("-m", "pip", "install", package))
    if find_spec("pip") is None:
        # uv creates environments without pip.
        command = Command("uv", ("pip", "install", "--python", sys.executable, package))
    return format_invocation(command, this_system(), on_path=None, environment=os.environ)


def format_invocation(command: Command, system: System, *, on_path: str | None, environment: Mapping[str, str]) -> str:
    """The command as it is typed into a shell with that environment.

    `on_path`: the program that PATH has under our name, if any; it may be of another installation.
    """
    if on_path and not command.args:
        # uv and pipx put a link on PATH, and on Windows a copy; the launcher contains the path of its Python.
        with suppress(OSError):
            if os.path.realpath(on_path) == os.path.realpath(command.program) or filecmp.cmp(
                on_path, command.program, shallow=False
            ):
                return NAME
    if system != "win32":
        return shlex.join([command.program, *command.args])
    quoted = [re.sub(_NEEDS_QUOTES, r'"\g<0>"', word) for word in (command.program, *command.args)]
    # PowerShell reads a quoted first word as a string and needs the operator `&`. Only cmd lacks it and sets PROMPT.
    if quoted[0].startswith('"') and "PROMPT" not in environment:
        quoted.insert(0, "&")
    return " ".join(quoted)


def resolve_command(
    executable: str,
    system: System,
    *,
    base: str,
    exists: Callable[[str], bool],
    which: Callable[[str], str | None],
    cache: str | None,
    source: Callable[[], str | None],
) -> Command:
    """The command that starts the installation of a Python, whose environment was created from the Python `base`.

    `exists`: whether a path is a file; `which`: finds a program on PATH; `cache`: uv's cache folder, if it was moved;
    `source`: finds the path or address that the installation came from, None for a package index.
    """
    path = _slashes(executable)
    if _EPHEMERAL.search(path) or (cache and path.startswith(_slashes(cache).rstrip("/") + "/")):
        runner = which("uvx") or which("uv") or which("pipx")
        # Without a source, the runner would start any package that an index has under our name.
        if runner and (origin := source()):
            name = Path(_slashes(runner)).name.casefold().removesuffix(".exe")
            before = {"uv": ("tool", "run", "--from"), "pipx": ("run", "--spec")}.get(name, ("--from",))
            warning = f"This {NAME} runs in a temporary environment, so the host will start it through {runner}."
            return Command(runner, (*before, origin, NAME), (warning,))
        lost = "is in a temporary environment and will stop working once that is deleted"
        return Command(executable, ("-m", "luma_mcp"), (f"{executable} {lost}. Install {NAME}.",))
    # An environment is as short-lived as the Python that it was created from.
    warnings = _path_warnings(path, system) or _path_warnings(_slashes(base), system)
    program = str(PurePosixPath(executable).with_name(NAME))
    if system == "win32":
        program = str(PureWindowsPath(executable).with_name(f"{NAME}.exe"))
    if exists(program):
        return Command(program, (), warnings)
    return Command(executable, ("-m", "luma_mcp"), warnings)


def parse_source(direct_url: str | None) -> str | None:
    """The origin that an installer recorded in `direct_url.json` (PEP 610), as the option `--from` takes it.

    None for a package index, an editable installation, and an address with credentials, which would end up in a
    command line.
    """
    try:
        record = json.loads(direct_url or "null")
        url = str(record["url"])
        parts = urlsplit(url)
        if parts.password or parts.username or record.get("dir_info", {}).get("editable"):
            return None
        if vcs := record.get("vcs_info"):
            revision = vcs.get("requested_revision")
            return f"{vcs.get('vcs', 'git')}+{url}" + (f"@{revision}" if revision else "")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if parts.scheme != "file":
        return url if parts.scheme else None
    # Imports much that nothing else here needs.
    from urllib.request import url2pathname

    return url2pathname(parts.path)


def _installed_from() -> str | None:
    from importlib import metadata

    try:
        return parse_source(metadata.distribution(NAME).read_text("direct_url.json"))
    except metadata.PackageNotFoundError:
        return None


def _path_warnings(path: str, system: System) -> tuple[str, ...]:
    if _TEMPORARY.search(path):
        return (f"{path} is in a folder for temporary files. Once that is emptied, the host cannot start {NAME}.",)
    if system in _GUARDED and _GUARDED[system].search(path):
        where = "in a folder that the system protects, or that is not always available"
        return (f"{path} is {where}. If the host cannot start {NAME}, install it elsewhere.",)
    return ()


def _slashes(path: str) -> str:
    return path.replace("\\", "/")
