"""What commands share: settings, a simulated API, and running async work so that Ctrl-C interrupts no order."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from types import FrameType
from typing import NoReturn, TypeVar

import anyio
import click
from pydantic import SecretStr

from luma_mcp.settings import Settings, SettingsError

T = TypeVar("T")
# The exit code of every command that Ctrl-C ends: 128 and the number of SIGINT.
INTERRUPTED = 130


def read_settings() -> Settings:
    """Read the settings from the environment; exit with 2 and one line for each that cannot be used."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        exit_unusable(str(error))
    if isinstance(settings.journal, SecretStr):
        require_package("psycopg")
    return settings


def require_package(module: str) -> None:
    """Exit with 2 and one line if a package is missing that a setting needs. `module`: one of `missing_package`."""
    if find_spec(module) is None:
        from luma_mcp.cli.messages import missing_package

        exit_unusable(missing_package(module))


def exit_unusable(reasons: str) -> NoReturn:
    """Exit with 2, after one line for each reason why the settings cannot be used."""
    for line in reasons.splitlines():
        click.echo(f"luma-ray-mcp: {line}", err=True)
    sys.exit(2)


def check_store(settings: Settings) -> None:
    """Exit with 2 and one line if the store of the settings cannot be used. Nothing is connected."""
    if settings.store is None:
        return
    require_package("obstore")
    from luma_mcp.cli.messages import unusable_store
    from luma_mcp.media.store import StoreError, open_store

    try:
        open_store(settings.store)
    except StoreError as error:
        exit_unusable(unusable_store(error))


def settings_with_token(*, quiet: bool = False) -> Settings:
    """Read the settings; without a credential in the environment use that of a host's entry, and say so on stderr."""
    # Imported here, because `serve`, which every host starts, does not need it.
    from luma_mcp.install.config import find_token

    settings = read_settings()
    if settings.token is None:
        settings, host_name = find_token(settings)
        if host_name and not quiet:
            click.echo(f"Using the {settings.provider.short_noun} of {host_name}'s entry.", err=True)
    return settings


def settings_for_help() -> Settings:
    """Read the settings for help texts: ignore those that cannot be used, and report nothing."""
    try:
        Settings.from_environment(os.environ)
    except SettingsError:
        return Settings()
    return settings_with_token(quiet=True)


@contextmanager
def simulating(settings: Settings, *, speed: float) -> Iterator[Settings]:
    """Run a simulation of the API in use for as long as the block lasts; the settings for it."""
    from luma_mcp.simulator.app import new_simulator, running

    # It accepts any.
    token = SecretStr(f"{settings.provider.begins}0-simulated")
    with running(new_simulator(api=settings.api, speed=speed, renders=True)) as url:
        yield replace(settings, token=token, base_url=url, email=None, simulated=True, speed=speed)


def now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


class Interrupted(Exception):
    """Ctrl-C was pressed; every step that must not be interrupted was finished before."""


def run_interruptible(work: Callable[[], Awaitable[T]], *, on_interrupt: Callable[[], None] = lambda: None) -> T:
    """Run async work to its end, or raise `Interrupted` if Ctrl-C is pressed before.

    The first Ctrl-C calls `on_interrupt` and cancels the work; steps that are shielded end first: an order that is on
    its way gets its answer, and the journal has it. The second one ends the program at once.
    """
    results: list[T] = []
    presses: list[int] = []

    async def main() -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        # `asyncio.run` would cancel the task natively at Ctrl-C, which no shield stops.
        with anyio.CancelScope() as scope:

            def interrupt(number: int, _: FrameType | None) -> None:
                presses.append(number)
                if len(presses) > 1:
                    os._exit(INTERRUPTED)
                on_interrupt()
                loop.call_soon_threadsafe(scope.cancel)

            previous = signal.signal(signal.SIGINT, interrupt)
            try:
                results.append(await work())
            finally:
                signal.signal(signal.SIGINT, previous)

    anyio.run(main)
    if not results:
        raise Interrupted
    return results[0]
