"""Where the hosts keep their configuration files, and which hosts are on this machine."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from luma_mcp.hosts import HOSTS, Host, System


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


_SPELLINGS = [(_plain(name), host) for host in HOSTS for name in (host.id, host.name)]
INSTALLABLE = tuple(host for host in HOSTS if host.is_installable)


def this_system() -> System:
    """The system that this runs on. Systems other than macOS and Windows keep their files as Linux does."""
    if sys.platform in ("darwin", "win32"):
        return sys.platform
    return "linux"


def config_path(host: Host, system: System, environment: Mapping[str, str], home: Path) -> Path | None:
    """The file in which a host that was installed in the usual way keeps its servers; None if it has none here."""
    template = host.paths.get(system)
    if template is None:
        return None
    moved = _absolute(environment.get(host.moved_by or ""), system, home)
    if moved:
        # The variable names the folder; the file in it keeps its name.
        return Path(moved) / PurePosixPath(template).name
    return Path(template.format(**_folders(system, environment, home)))


def find_config(host: Host, system: System, environment: Mapping[str, str], home: Path) -> Path | None:
    """The file that the host reads on this machine: that of its packaged edition if it is here, else `config_path`."""
    if host.packaged and system == "win32":
        pattern = PurePosixPath(host.packaged)
        local = Path(_folders(system, environment, home)["localappdata"])
        try:
            # Windows redirects a packaged application to a folder of its own, which exists once it has been opened.
            folders = sorted(local.glob(str(pattern.parent)))
        except OSError:
            folders = []
        if folders:
            return folders[0] / pattern.name
    return config_path(host, system, environment, home)


def is_present(path: Path, home: Path) -> bool:
    """Whether a host seems to be on this machine: its file exists, or the folder that belongs to it alone."""
    # Not Path.exists: before Python 3.14 it raises PermissionError below a folder that cannot be read.
    return os.path.exists(path) or (path.parent != home and os.path.isdir(path.parent))  # noqa: PTH110, PTH112


def present_hosts(system: System, environment: Mapping[str, str], home: Path) -> list[tuple[Host, Path]]:
    """The hosts that seem to be on this machine, with their configuration files."""
    present = []
    for host in INSTALLABLE:
        path = find_config(host, system, environment, home)
        if path and is_present(path, home):
            present.append((host, path))
    return present


def match_hosts(text: str) -> list[Host]:
    """The hosts that a text can mean: an id or a name in any spelling, or the beginning of one."""
    wanted = _plain(text)
    # `codex` means the host of that name, also if another name starts with it.
    exact = [host for name, host in _SPELLINGS if name == wanted]
    starts = [host for name, host in _SPELLINGS if wanted and name.startswith(wanted)]
    return list({host.id: host for host in exact or starts}.values())


def closest_host(text: str) -> Host | None:
    """The host whose id or name is most like a misspelled text."""
    hosts = dict(_SPELLINGS)
    closest = get_close_matches(_plain(text), hosts, 1)
    return hosts[closest[0]] if closest else None


def _folders(system: System, environment: Mapping[str, str], home: Path) -> dict[str, str]:
    return {
        "home": str(home),
        "config": _absolute(environment.get("XDG_CONFIG_HOME"), system, home) or f"{home}/.config",
        "appdata": _absolute(environment.get("APPDATA"), system, home) or f"{home}/AppData/Roaming",
        "localappdata": _absolute(environment.get("LOCALAPPDATA"), system, home) or f"{home}/AppData/Local",
    }


def _absolute(folder: str | None, system: System, home: Path) -> str | None:
    """The folder with `~` expanded; None unless it is absolute, as the XDG base directory specification asks."""
    kind: type[PurePath] = PurePosixPath
    separators = "/"
    if system == "win32":
        kind, separators = PureWindowsPath, r"[\\/]"
    text = re.sub(f"^~(?={separators}|$)", lambda _: str(home), (folder or "").strip())
    return text if kind(text).is_absolute() else None
