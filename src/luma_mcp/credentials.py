"""Which API token a command in a terminal uses: that of the environment, else that of a host's entry."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from luma_mcp.install.config import HostFile, host_files
from luma_mcp.install.paths import this_system
from luma_mcp.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable


def find_token(settings: Settings) -> tuple[Settings, str | None]:
    """The settings with a token, as far as this machine has one; and the name of the host whose entry it is from."""
    if settings.token:
        return settings, None
    settings, file = resolve_token(settings, host_files(this_system(), os.environ, Path.home()))
    return settings, file.host.name if file else None


def resolve_token(settings: Settings, files: Iterable[HostFile]) -> tuple[Settings, HostFile | None]:
    """The settings with their own token, else with that of the first entry that has one; and that entry's file."""
    if settings.token:
        return settings, None
    for file in files:
        if file.entry is None:
            continue
        try:
            theirs = Settings.from_environment(file.entry.env)
        except SettingsError:
            continue
        # The token comes with the address of the API that it is for.
        if theirs.token:
            return replace(settings, token=theirs.token, base_url=theirs.base_url), file
    return settings, None
