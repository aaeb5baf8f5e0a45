"""Where a host's configuration file lies."""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from luma_mcp.hosts import HOSTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from luma_mcp.hosts import Host, System

INSTALLABLE = tuple(host for host in HOSTS if host.places)
"""The hosts that can start a server of this machine."""


def this_system() -> System:
    """The system that this runs on; what is neither macOS nor Windows keeps its files as Linux does."""
    return "darwin" if sys.platform == "darwin" else "win32" if sys.platform == "win32" else "linux"


def config_path(host: Host, system: System, environment: Mapping[str, str], home: Path) -> Path | None:
    """The file where such a host, installed in the usual way, has its servers. Looks at nothing but its arguments.

    None for a host that starts no servers of this machine.
    """
    place = host.places.get(system)
    return _filled(host, place, system, environment, home) if place else None


def find(host: Host, system: System, environment: Mapping[str, str], home: Path) -> Path | None:
    """The file that the host reads on this machine: `config_path`, or that of its packaged edition, if that is here."""
    if host.packaged and system == "win32":
        pattern = PurePosixPath(host.packaged)
        # Windows shows a packaged application its own copies first; their folder is there once it was opened.
        for folder in sorted(Path(_folders(system, environment, home)["localappdata"]).glob(str(pattern.parent))):
            return folder / pattern.name
    return config_path(host, system, environment, home)


def is_here(path: Path, home: Path) -> bool:
    """Whether the host of that file seems to be on this machine: the file exists, or the folder that is its own."""
    return path.exists() or (path.parent != home and path.parent.is_dir())


def named(word: str) -> list[Host]:
    """The hosts that a person can mean by a word: the id or the name, however it is written, or how they begin."""
    wanted = _plain(word)
    spellings = {host.id: {_plain(host.id), _plain(host.name)} for host in HOSTS}
    exact = [host for host in HOSTS if wanted in spellings[host.id]]
    return exact or [host for host in HOSTS if wanted and any(s.startswith(wanted) for s in spellings[host.id])]


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word.casefold())


def _filled(host: Host, place: str, system: System, environment: Mapping[str, str], home: Path) -> Path:
    if host.moved_by and (moved := _absolute(environment.get(host.moved_by), system, home)):
        return Path(moved) / PurePosixPath(place).name
    return Path(place.format(**_folders(system, environment, home)))


def _folders(system: System, environment: Mapping[str, str], home: Path) -> dict[str, str]:
    return {
        "home": str(home),
        "config": _absolute(environment.get("XDG_CONFIG_HOME"), system, home) or f"{home}/.config",
        "appdata": _absolute(environment.get("APPDATA"), system, home) or f"{home}/AppData/Roaming",
        "localappdata": _absolute(environment.get("LOCALAPPDATA"), system, home) or f"{home}/AppData/Local",
    }


def _absolute(folder: str | None, system: System, home: Path) -> str | None:
    """The base directory specification ignores what is not absolute, and so do we; `~` is the home."""
    folder = re.sub(r"^~(?=[\\/]|$)" if system == "win32" else "^~(?=/|$)", lambda _: str(home), (folder or "").strip())
    pure: PurePath = PureWindowsPath(folder) if system == "win32" else PurePosixPath(folder)
    return folder if pure.is_absolute() else None
