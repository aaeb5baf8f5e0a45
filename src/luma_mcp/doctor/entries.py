"""The entries that hosts of this machine have for us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luma_mcp.hosts import HOSTS
from luma_mcp.install.config import installed
from luma_mcp.install.errors import InstallError
from luma_mcp.install.paths import find
from luma_mcp.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from luma_mcp.hosts import Host, System
    from luma_mcp.install.entry import Entry


@dataclass(frozen=True, slots=True)
class HostFile:
    """A host's configuration file that is there; `entry`: ours, if it is in it; `fault`: why that cannot be told."""

    host: Host
    path: Path
    entry: Entry | None = None
    fault: InstallError | None = None

    def settings(self) -> Settings:
        """What the entry tells the server.

        Raises:
            SettingsError: what of it cannot be used.
        """
        return Settings.from_environment(self.entry.env if self.entry else {})


def host_files(system: System, environment: Mapping[str, str], home: Path) -> tuple[HostFile, ...]:
    """The files of the hosts that are on this machine."""
    return tuple(_files(system, environment, home))


def _files(system: System, environment: Mapping[str, str], home: Path) -> Iterable[HostFile]:
    for host in HOSTS:
        path = find(host, system, environment, home)
        if path is None or not path.is_file():
            continue
        try:
            yield HostFile(host, path, installed(host, path))
        except InstallError as fault:
            yield HostFile(host, path, fault=fault)


def with_a_token(files: Iterable[HostFile]) -> tuple[HostFile, Settings] | None:
    """The first entry that has a token, and what it tells the server."""
    for file in files:
        try:
            settings = file.settings()
        except SettingsError:
            continue
        if settings.token:
            return file, settings
    return None
