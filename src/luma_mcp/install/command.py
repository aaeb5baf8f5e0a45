"""The command that starts this very installation, from an application that has another PATH than a terminal."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from luma_mcp.hosts import System

PACKAGE = "luma-ray-mcp"
_PASSING = re.compile(
    r"/uv/(cache/)?(archive|builds|environments)-v\d+/|/pipx/(\.?cache)/|/\.cache/pipx/", re.IGNORECASE
)
_TEMPORARY = re.compile(r"^(/private)?(/tmp|/var/tmp|/var/folders)/|/AppData/Local/Temp/", re.IGNORECASE)
_GUARDED: Mapping[str, re.Pattern[str]] = {
    "darwin": re.compile(r"^/Users/[^/]+/(Desktop|Documents|Downloads|Library/Mobile Documents)/|^/Volumes/"),
    "win32": re.compile(r"/OneDrive[^/]*/|^//", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class Launch:
    """A command with an absolute path, its arguments, and what there is to say about it."""

    command: str
    args: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def launch_here(system: System, environment: Mapping[str, str]) -> Launch:
    """How a host starts the installation that this runs from."""
    direct_url = None
    with suppress(importlib.metadata.PackageNotFoundError):
        direct_url = importlib.metadata.distribution(PACKAGE).read_text("direct_url.json")
    return launch(
        sys.executable,
        system,
        base=os.path.realpath(sys.executable),
        exists=lambda file: Path(file).is_file(),
        which=shutil.which,
        cache=environment.get("UV_CACHE_DIR"),
        source=source_of(direct_url),
    )


def launch(
    executable: str,
    system: System,
    *,
    base: str,
    exists: Callable[[str], bool],
    which: Callable[[str], str | None],
    cache: str | None = None,
    source: str | None = None,
) -> Launch:
    """How a host starts this installation.

    Args:
        executable: this Python.
        system: where it runs.
        base: the Python that its environment was made from.
        exists: whether there is such a file.
        which: where a command is, in this terminal.
        cache: uv's own folder, where it was moved (`UV_CACHE_DIR`).
        source: what this was installed from, where it was not a package index.
    """
    pure = (PureWindowsPath if system == "win32" else PurePosixPath)(executable)
    plain = pure.as_posix()
    if _PASSING.search(plain) or (cache and plain.startswith(_slashes(cache).rstrip("/") + "/")):
        runner = which("uvx") or which("uv") or which("pipx")
        # Without a source it would run whatever an index has under our name.
        if runner and source:
            return _through(runner, source)
        gone = (
            f"{executable} is of a temporary environment, and stops working when that is cleaned up: install "
            "luma-ray-mcp."
        )
        return Launch(executable, ("-m", "luma_mcp"), (gone,))
    script = str(pure.with_name("luma-ray-mcp.exe" if system == "win32" else "luma-ray-mcp"))
    remarks = _warnings(plain, system) or _warnings(_slashes(base), system)
    return Launch(script, (), remarks) if exists(script) else Launch(executable, ("-m", "luma_mcp"), remarks)


def source_of(direct_url: str | None) -> str | None:
    """What pip or uv wrote down as the origin (PEP 610), as `--from` takes it; None for a package index."""
    try:
        said = json.loads(direct_url or "null")
        parts = urlsplit(said["url"])
        # A password would be written into a command line.
        if parts.password or parts.username or said.get("dir_info", {}).get("editable"):
            return None
        vcs = said.get("vcs_info", {})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if vcs:
        wanted = vcs.get("requested_revision")
        return f"{vcs.get('vcs', 'git')}+{said['url']}" + (f"@{wanted}" if wanted else "")
    return url2pathname(parts.path) if parts.scheme == "file" else str(said["url"])


def _through(runner: str, source: str) -> Launch:
    name = Path(_slashes(runner)).name.casefold().removesuffix(".exe")
    origin = ("--spec" if name == "pipx" else "--from", source)
    before = {"uv": ("tool", "run"), "pipx": ("run",)}.get(name, ())
    said = f"This luma-ray-mcp runs from a temporary environment: the host will start it through {runner}."
    return Launch(runner, (*before, *origin, PACKAGE), (said,))


def _warnings(plain: str, system: System) -> tuple[str, ...]:
    if _TEMPORARY.search(plain):
        return (
            f"{plain} is in a folder for temporary files: when it is cleaned up, the host cannot start luma-ray-mcp.",
        )
    guarded = _GUARDED.get(system)
    if guarded and guarded.search(plain):
        return (
            (
                f"{plain} is in a folder that the system guards, or that is not always there: if the host cannot "
                "start luma-ray-mcp, install it elsewhere."
            ),
        )
    return ()


def _slashes(path: str) -> str:
    return path.replace("\\", "/")
