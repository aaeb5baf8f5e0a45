"""What a command finds around it: its settings, and with `--simulate` an API that is not the real one."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from pydantic import SecretStr

from luma_mcp.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_settings() -> Settings:
    """The settings of the environment; ends the program with 2 and a line for each that cannot be used."""
    try:
        return Settings.from_environment(os.environ)
    except SettingsError as error:
        for line in str(error).splitlines():
            click.echo(f"luma-mcp: {line}", err=True)
        sys.exit(2)


@contextmanager
def simulating(settings: Settings, *, speed: float) -> Iterator[Settings]:
    """The settings for a simulated API that runs for as long as the block lasts."""
    from luma_mcp.simulator.serve import TOKEN, new_simulator, running

    with running(new_simulator(speed=speed)) as url:
        yield replace(settings, token=SecretStr(TOKEN), base_url=url, email=None, simulated=True, speed=speed)


def now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)
