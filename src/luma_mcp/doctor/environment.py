"""What the checks examine: this machine, the variables, and the settings in them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING

from luma_mcp.credentials import resolve_token
from luma_mcp.install.command import Command, command_here
from luma_mcp.install.config import HostFile, host_files
from luma_mcp.settings import VARIABLES, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import httpx2

    from luma_mcp.hosts import System


def installed_version(package: str) -> str | None:
    """The version of a package that this Python would import; None if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that a check may know.

    Attributes:
        variables: the environment variables.
        settings: the settings in them, without those that cannot be used.
        system: the operating system.
        invalid: the variables that cannot be used, each with the reason.
        files: the configuration files of hosts on this machine.
        token_file: the file whose entry the token was taken from, if the environment has none.
        seconds: how long a check may wait.
        command: what starts this installation.
        transport, python, version_of, now: what carries requests, this Python's version, the versions of packages, and
            the time; for tests.
    """

    variables: Mapping[str, str]
    settings: Settings
    system: System
    invalid: Mapping[str, str] = field(default_factory=dict)
    files: tuple[HostFile, ...] = ()
    token_file: HostFile | None = None
    seconds: float = 8.0
    command: Command = field(default_factory=command_here)
    transport: httpx2.AsyncBaseTransport | None = None
    python: tuple[int, ...] = tuple(sys.version_info[:3])
    version_of: Callable[[str], str | None] = installed_version
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def detect(variables: Mapping[str, str], system: System, home: Path, *, seconds: float) -> Environment:
    """The environment of this process."""
    settings, invalid = usable_settings(variables)
    files = host_files(system, variables, home)
    token_file = None
    # An unusable token is a problem of its own, which another one would hide.
    if "USEAPI_TOKEN" not in invalid:
        settings, token_file = resolve_token(settings, files)
    return Environment(variables, settings, system, invalid, files, token_file, seconds)


def usable_settings(variables: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """The settings without those that cannot be used, and the reasons by variable."""
    usable, invalid = dict(variables), {}
    for row in VARIABLES.values():
        name = row.metadata["name"]
        try:
            Settings.from_environment({name: variables.get(name, "")})
        except SettingsError as error:
            invalid[name] = str(error)
            del usable[name]
    return Settings.from_environment(usable), invalid
