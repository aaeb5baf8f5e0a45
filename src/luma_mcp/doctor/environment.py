"""What the checks look at: this machine, its environment, and the settings in it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from luma_mcp.doctor.entries import HostFile, host_files, with_a_token
from luma_mcp.settings import VARIABLES, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import httpx2
    from mcp.server.mcpserver import MCPServer

    from luma_mcp.hosts import System


def new_server(settings: Settings) -> MCPServer[Any]:
    """The server, as hosts start it."""
    from luma_mcp.server.app import build_server

    return build_server(settings)


def installed_version(package: str) -> str | None:
    """The version of a package that this Python would import."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Environment:
    """All that a check may know.

    Attributes:
        environment: its variables.
        settings: what they say, without those that cannot be used.
        faults: variables that cannot be used, and why.
        files: the configuration files of hosts that are here.
        token_of: whose entry the token was taken from, where the environment has none.
        seconds: how long a check that waits for something may take.
        transport, new_server, python, version_of, now: what carries requests, builds the server and tells versions and
            the time; for tests.
    """

    environment: Mapping[str, str]
    settings: Settings
    system: System
    faults: Mapping[str, str] = field(default_factory=dict)
    files: tuple[HostFile, ...] = ()
    token_of: HostFile | None = None
    seconds: float = 8.0
    transport: httpx2.AsyncBaseTransport | None = None
    new_server: Callable[[Settings], MCPServer[Any]] = new_server
    python: tuple[int, ...] = tuple(sys.version_info[:3])
    version_of: Callable[[str], str | None] = installed_version
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def look_around(environment: Mapping[str, str], system: System, home: Path, *, seconds: float) -> Environment:
    """The surroundings of this process."""
    settings, faults = usable_settings(environment)
    files = host_files(system, environment, home)
    token_of = None
    if settings.token is None and "USEAPI_TOKEN" not in faults:
        settings, token_of = borrowed(settings, files)
    return Environment(environment, settings, system, faults, files, token_of, seconds)


def usable_settings(environment: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """The settings without those that cannot be used, and why they cannot, by variable."""
    faults = {}
    for row in VARIABLES.values():
        name = row.metadata["name"]
        try:
            Settings.from_environment({name: environment.get(name, "")})
        except SettingsError as error:
            faults[name] = str(error)
    return Settings.from_environment({n: v for n, v in environment.items() if n not in faults}), faults


def borrowed(settings: Settings, files: tuple[HostFile, ...]) -> tuple[Settings, HostFile | None]:
    """With the token of a host's entry, and the API that it is for, where the settings have none.

    What was installed for a host is usable in a terminal, without the token being set there as well.
    """
    found = with_a_token(files) if settings.token is None else None
    if found is None:
        return settings, None
    file, theirs = found
    return replace(settings, token=theirs.token, base_url=theirs.base_url), file
