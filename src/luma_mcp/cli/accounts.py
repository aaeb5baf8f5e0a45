"""`luma-ray-mcp accounts`: for the owner of the Luma accounts. No tool of an agent does any of this."""

from __future__ import annotations

import getpass
import shlex
import sys
import warnings
from typing import TYPE_CHECKING, TypeVar

import anyio
import click
from pydantic import SecretStr

from luma_mcp import errors
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.cli.context import NO_TOKEN, one_line, settings_with_token
from luma_mcp.doctor.accounts import credits_of, session, slots
from luma_mcp.errors import LumaError, refresh_command
from luma_mcp.settings import TOKEN_PATTERN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from luma_mcp.api.protocol import Account, AddedAccount

T = TypeVar("T")

NONE = "No Luma account is configured at useapi.net. To add one: luma-ray-mcp accounts add"
WHERE = (
    "useapi.net works with the login of your Luma account: it needs the value of a session cookie, which you find as "
    "useapi.net's page on Luma accounts describes. It goes to useapi.net, and is not kept here."
)
NO_COOKIE = "This is not the value of a cookie: it is one word of plain characters. Copy it whole, and nothing else."
NOT_HIDDEN = (
    "This terminal cannot hide what is typed. Put the value into a file that only you can read, and give it on "
    "stdin: luma-ray-mcp accounts add < FILE"
)
UNCERTAIN = "Whether it was done is not certain: luma-ray-mcp accounts shows it."
LONGEST_SESSION = 10_000


def list_accounts() -> None:
    """Prints the accounts as a table, each as it is now.

    Raises:
        click.ClickException: why they cannot be told.
    """
    accounts = _asked(_all)
    if not accounts:
        click.echo(NONE)
        return
    rows: list[tuple[str, ...]] = [("account", "slots", "session", "credits", "error")]
    rows += [
        tuple(map(one_line, (a.email, *map(_bare, (slots(a), session(a), credits_of(a))), a.error or "")))
        for a in accounts
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    for account in accounts:
        if account.error:
            click.echo(one_line(f"{account.email}: {refresh_command(account.email)}"), err=True)


def _bare(words: str) -> str:
    """Without what the column's heading says."""
    return words.removesuffix(" slots in use").removeprefix("session ").removeprefix("credits ")


async def _all(luma: LumaClient) -> Sequence[Account]:
    accounts = {account.email: account for account in await luma.accounts()}

    async def look(email: str) -> None:
        try:
            now = await luma.account(email)
        except LumaError as error:
            accounts[email] = accounts[email].model_copy(update={"error": accounts[email].error or error.message})
        else:
            expired = None if now.session_valid in (None, True) else "session expired"
            why = accounts[email].error or now.error or expired
            changes = {"credits": now.credits, "error": why}
            accounts[email] = accounts[email].model_copy(update=changes)

    async with anyio.create_task_group() as tasks:
        for email in accounts:
            tasks.start_soon(look, email)
    return list(accounts.values())


def add() -> None:
    """Asks for a session, adds the account that it is of, and tells which that is.

    Raises:
        click.ClickException: why it was not added.
    """
    cookie = _cookie()
    click.echo(one_line(_told(_asked(lambda luma: luma.add_account(cookie), adding=True))))


def refresh(email: str) -> None:
    """The same, for the account of that e-mail address.

    Raises:
        click.ClickException: why it was not refreshed; also if the session was one of another account.
    """
    cookie = _cookie()
    account = _asked(lambda luma: luma.add_account(cookie), adding=True)
    told = _told(account)
    if account.email.casefold() == email.casefold():
        click.echo(one_line(told))
        return
    away = (
        f" If it is not to be there: luma-ray-mcp accounts remove {shlex.quote(account.email)}."
        if account.created
        else ""
    )
    raise click.ClickException(
        f"The session was one of {account.email}, and {email} is as it was. {told}.{away}\n"
        f"Sign in to Luma as {email}, copy the cookie's value then, and run this command again."
    )


def _told(account: AddedAccount) -> str:
    what = {True: "added", False: "refreshed", None: "added or refreshed"}[account.created]
    many = f"{account.concurrency} slots" if account.concurrency is not None else ""
    facts = filter(None, (many, session(account), credits_of(account)))
    return f"{account.email} was {what}: {'; '.join(facts) or 'the API told no more'}"


def remove(email: str, *, sure: bool) -> None:
    """Removes an account, after a question if nobody is `sure`.

    Raises:
        click.ClickException: why it was not removed.
        click.Abort: the answer was no.
    """
    accounts = {account.email.casefold(): account for account in _asked(lambda luma: luma.accounts())}
    account = accounts.get(email.casefold())
    if account is None:
        known = ", ".join(a.email for a in accounts.values()) or "none"
        raise click.ClickException(f"{email} is not configured at useapi.net. Configured: {known}.")
    running = f" {account.executing} of its jobs run now." if account.executing else ""
    if not sure:
        click.echo(
            f"useapi.net will forget {one_line(account.email)}: its jobs can no longer be asked for, and that cannot "
            f"be undone.{running} The account at Luma itself stays.",
            err=True,
        )
        click.confirm(f"Remove {one_line(account.email)}?", abort=True, err=True)
    _asked(lambda luma: luma.remove_account(account.email))
    click.echo(f"{one_line(account.email)} was removed.")


def _cookie() -> SecretStr:
    """A session, typed without echo or piped in; it stands in no error."""
    if sys.stdin.isatty():
        click.echo(WHERE, err=True)
        with warnings.catch_warnings():
            # Where the echo cannot be switched off, it would warn, and show what is typed.
            warnings.simplefilter("error", getpass.GetPassWarning)
            try:
                text = getpass.getpass("Value of the session cookie (not shown): ", stream=sys.stderr)
            except getpass.GetPassWarning:
                raise click.ClickException(NOT_HIDDEN) from None
            except (EOFError, KeyboardInterrupt):
                raise click.Abort from None
    else:
        text = sys.stdin.read(LONGEST_SESSION + 1)
    cookie = text.strip().strip("\"'")
    if not TOKEN_PATTERN.fullmatch(cookie) or len(cookie) > LONGEST_SESSION:
        raise click.ClickException(NO_COOKIE)
    return SecretStr(cookie)


def _asked(question: Callable[[LumaClient], Awaitable[T]], *, adding: bool = False) -> T:
    """The API's answer."""
    settings = settings_with_token()
    if settings.token is None:
        raise click.ClickException(f"{NO_TOKEN}.")
    token, base_url = settings.token.get_secret_value(), settings.base_url

    async def ask() -> T:
        async with LumaClient(token, base_url=base_url) as luma:
            return await question(luma)

    try:
        return anyio.run(ask)
    except LumaError as error:
        raise click.ClickException(in_plain_words(error, adding=adding)) from None


def in_plain_words(error: LumaError, *, adding: bool) -> str:
    """What an error means to the owner of the accounts, and the next step. `adding`: a session was sent."""
    said = f' useapi.net says: "{error.api_message}".' if error.api_message else ""
    again = "run the same command again"
    if adding and isinstance(error, errors.InvalidArguments):
        return f"useapi.net did not take the session.{said} Copy the cookie's value anew, whole, and {again}."
    if adding and isinstance(error, errors.PaymentRequired):
        return f"There is no subscription for this, or it has run out.{said} Renew it, and {again}."
    if adding and isinstance(error, errors.Upstream) and error.status == 500 and "validation failed" in said:
        return (
            f"useapi.net has the session, and could not check it at Luma.{said} In a moment, {again}; if that does not "
            "help, sign in to Luma anew, and copy the value of the new cookie."
        )
    lost = isinstance(error, errors.Upstream) or (
        isinstance(error, errors.NetworkError) and error.way in ("timeout", "broken")
    )
    return f"{error.message} {UNCERTAIN}" if lost and adding else error.message
