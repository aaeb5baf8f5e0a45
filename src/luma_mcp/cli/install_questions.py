"""What `luma-ray-mcp install` asks a person: which host, which token, and whether it may write."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio
import click

from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.errors import LumaError, Unauthorized
from luma_mcp.install import paths
from luma_mcp.install.config import installed
from luma_mcp.install.entry import PLACEHOLDER, TOKEN
from luma_mcp.install.errors import InstallError
from luma_mcp.settings import Settings, SettingsError

if TYPE_CHECKING:
    from luma_mcp.api.protocol import Account
    from luma_mcp.hosts import Host

TRIES = 3
NO_TOKEN = (
    "There is no token: set USEAPI_TOKEN to your API token from https://useapi.net, or run this in a terminal and be "  # noqa: S105 - none
    "asked for it. To try without one: --simulate."
)
NO_ACCOUNT = (
    "The token is right, but no Luma account is configured with it yet, so no video can be made: add yours with "
    "luma-ray-mcp accounts add, or at https://useapi.net."
)


def found() -> list[tuple[Host, Path]]:
    """The hosts that seem to be on this machine, with their files."""
    known = ((host, _place(host)) for host in paths.INSTALLABLE)
    return [(host, path) for host, path in known if path and paths.is_here(path, Path.home())]


def named(word: str) -> tuple[Host, Path]:
    """The host that a person means by a word.

    Raises:
        click.ClickException: there is none, or more than one.
    """
    meant = paths.named(word)
    if len(meant) == 1:
        if path := _place(meant[0]):
            return meant[0], path
        raise click.ClickException(f"{meant[0].name} starts no servers of this machine: there is nothing to write.")
    names = ", ".join(host.id for host in meant) or _ids()
    raise click.ClickException(f'"{word}" is {"more than one host" if meant else "no host"}: name one of {names}.')


def chosen(
    word: str | None, command: str, here: list[tuple[Host, Path]], *, everywhere: bool
) -> list[tuple[Host, Path]]:
    """The hosts to work on: the one that was named, else those that are here, or one of them by its number.

    Raises:
        click.ClickException: there is none, or nobody to ask.
    """
    if word:
        return [named(word)]
    if everywhere and here:
        return here
    if not here or not sys.stdin.isatty():
        usage(command, here)
    click.echo("Found here:")
    for number, (host, path) in enumerate(here, 1):
        click.echo(f"  {number}  {host.name:<16}{path}")
    return [here[click.prompt("Which one", type=click.IntRange(1, len(here))) - 1]]


def usage(command: str, here: list[tuple[Host, Path]] | None = None) -> NoReturn:
    """Says what to type.

    Raises:
        click.ClickException: always.
    """
    seen = f" Found here: {', '.join(host.id for host, _ in here)} (--all: all of them)." if here else ""
    raise click.ClickException(f"Say which: luma-ray-mcp {command} HOST, with HOST one of {_ids()}.{seen}")


def confirm(question: str, *, instead: str) -> bool:
    """The answer of a person.

    Raises:
        click.ClickException: there is nobody to ask; `instead` is the option that would have answered.
    """
    if not sys.stdin.isatty():
        raise click.ClickException(f"Nothing was changed: there is no terminal to ask in. {instead} goes on.")
    return click.confirm(question, default=False)


def find_tokens(hosts: list[tuple[Host, Path]], settings: Settings, *, check: bool) -> dict[Path, str]:
    """The token for each of the files: of the environment, else that of our entry there, else one that is asked for.

    Raises:
        click.ClickException: there is none that the API accepts, as far as can be told.
    """
    own = {path: None if settings.token else _own_token(host, path) for host, path in hosts}
    known = {token for token in own.values() if token}
    # What is right for the one host is right for another that has none yet.
    usual = known.pop() if len(known) == 1 else None
    asked: dict[str | None, str] = {}
    for token in own.values():
        there = token or usual
        if there not in asked:
            asked[there] = ask_token(settings, there=there, check=check)
    return {path: asked[token or usual] for path, token in own.items()}


def _own_token(host: Host, path: Path) -> str | None:
    """The token of our entry; None where there is none to use."""
    try:
        entry = installed(host, path)
    except InstallError:
        # Said when it is to be written.
        return None
    return entry.token if entry and entry.is_ours and entry.token != PLACEHOLDER else None


def ask_token(settings: Settings, *, there: str | None = None, check: bool) -> str:
    """The token of the environment, else the one that is there, else one that is asked for.

    Raises:
        click.ClickException: there is none that the API accepts, as far as can be told.
    """
    token = settings.token.get_secret_value() if settings.token else None
    if token is None and there:
        if "${" in there:
            click.echo("The token that is there already stays: the host fills it in, so it is not checked here.")
            return there
        click.echo("USEAPI_TOKEN is not set here: the token that is there already is used.")
        token = _read(there)
    for _ in range(TRIES):
        if token is None:
            token = _typed_token()
        if token and (not check or _is_accepted(token, settings)):
            return token
        token = None
        if not sys.stdin.isatty():
            break
    raise click.ClickException("Nothing was changed: there is no token that the API accepts.")


def _typed_token() -> str | None:
    if not sys.stdin.isatty():
        raise click.ClickException(NO_TOKEN)
    return _read(click.prompt("API token of useapi.net (user:…; it is not shown)", hide_input=True))


def _read(text: str) -> str | None:
    try:
        token = Settings.from_environment({TOKEN: text}).token
    except SettingsError as error:
        click.echo(f"{error}.")
        return None
    return token.get_secret_value() if token else None


def _is_accepted(token: str, settings: Settings) -> bool:
    try:
        accounts = anyio.run(_accounts, token, settings.base_url)
    except Unauthorized as error:
        click.secho(error.message, fg="red", err=True)
        return False
    except LumaError as error:
        click.secho(f"The token could not be checked: {error.message}", fg="yellow", err=True)
        if not confirm("Go on without the check?", instead="--no-check"):
            raise click.ClickException("Nothing was changed.") from error
        return True
    if accounts:
        click.echo(f"The token is right, with {len(accounts)} Luma account{'s' if len(accounts) > 1 else ''}.")
    else:
        click.secho(NO_ACCOUNT, fg="yellow", err=True)
    return True


async def _accounts(token: str, base_url: str) -> tuple[Account, ...]:
    async with LumaClient(token, base_url=base_url) as luma:
        # Without patience: one call, whatever comes of it.
        return await luma.accounts(patience=0)


def _place(host: Host) -> Path | None:
    return paths.find(host, paths.this_system(), os.environ, Path.home())


def _ids() -> str:
    return ", ".join(host.id for host in paths.INSTALLABLE)
