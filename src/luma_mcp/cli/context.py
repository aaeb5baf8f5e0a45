"""What a command finds around it: its settings, and with `--simulate` an API that is not the real one."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import SecretStr

from luma_mcp.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_TOKEN = "USEAPI_TOKEN is not set: get an API token at https://useapi.net"  # noqa: S105 - none


def read_settings() -> Settings:
    """The settings of the environment; ends the program with 2 and a line for each that cannot be used."""
    try:
        return Settings.from_environment(os.environ)
    except SettingsError as error:
        for line in str(error).splitlines():
            click.echo(f"luma-ray-mcp: {line}", err=True)
        sys.exit(2)


def settings_with_token() -> Settings:
    """The same; where they have no token, with the one of a host's entry, if there is one, and says so on stderr."""
    # `serve`, which every host starts, needs none of this.
    from luma_mcp.doctor.entries import host_files
    from luma_mcp.doctor.environment import borrowed
    from luma_mcp.install.paths import this_system

    settings = read_settings()
    if settings.token is None:
        settings, token_of = borrowed(settings, host_files(this_system(), os.environ, Path.home()))
        if token_of:
            click.echo(f"With the token of {token_of.host.name}'s entry.", err=True)
    return settings


def one_line(text: str) -> str:
    """What came from elsewhere, as one line that a terminal shows and does not obey."""
    from luma_mcp.api.useapi.responses import plain

    return plain(text).replace("\n", " ")


@contextmanager
def simulating(settings: Settings, *, speed: float) -> Iterator[Settings]:
    """The settings for a simulated API that runs for as long as the block lasts."""
    from luma_mcp.simulator.serve import TOKEN, new_simulator, running

    with running(new_simulator(speed=speed)) as url:
        yield replace(settings, token=SecretStr(TOKEN), base_url=url, email=None, simulated=True, speed=speed)


def now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)
