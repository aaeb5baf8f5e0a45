"""`accounts`: list, add, refresh and remove Luma accounts. Only for their owner: agents have no tools for this."""

from __future__ import annotations

import getpass
import shlex
import sys
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import anyio
import click
from pydantic import SecretStr

from luma_mcp import errors
from luma_mcp.api.protocol import FEATURES, Account, AddedAccount
from luma_mcp.cli import messages
from luma_mcp.cli.context import read_settings, run_interruptible, settings_with_token
from luma_mcp.errors import LumaError
from luma_mcp.install.command import invocation
from luma_mcp.providers import USEAPI
from luma_mcp.settings import TOKEN_PATTERN, Settings
from luma_mcp.text import one_line

if TYPE_CHECKING:
    from luma_mcp.api.useapi.client import LumaClient


T = TypeVar("T")
WHERE_TO_FIND_IT = (
    "useapi.net uses the login of your Luma account. It needs the value of a session cookie; useapi.net's page on Luma "
    "accounts shows where to find it. The value goes to useapi.net and is not kept here."
)
NOT_A_COOKIE = "This is not a cookie's value, which is one word of plain characters. Copy all of it, and nothing else."
# Characters; a real value has about 25.
LONGEST_SESSION = 10_000


@click.group(invoke_without_command=True, short_help="List, add, refresh and remove Luma accounts.")
@click.pass_context
def accounts(context: click.Context) -> None:
    """Manage the Luma accounts that are configured at useapi.net. For their owner; agents cannot do this."""
    if context.invoked_subcommand is None:
        context.invoke(list_accounts)


@accounts.command("list")
def list_accounts() -> None:
    """List the accounts: slots, session, credits, errors."""
    found = _call(_fetch_accounts)
    if not found:
        click.echo(f"No Luma account is configured at useapi.net. To add one: {invocation()} accounts add")
        return
    rows = [["account", "slots in use", "session", "credits", "error"]]
    for account in found:
        slots = f"{account.executing} of {account.concurrency}".replace("None", "?")
        session = f"until {account.session_expires}" if account.session_expires else ""
        row = (account.email, slots, session, _credits(account), account.error or "")
        rows.append(list(map(one_line, row)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        click.echo("  ".join(map(str.ljust, cells, widths)).rstrip())
    for account in found:
        if account.error:
            click.echo(one_line(f"{account.email}: {messages.refresh_command(account.email)}"), err=True)


async def _fetch_accounts(luma: LumaClient) -> Sequence[Account]:
    """All accounts, each with its live session and credits."""
    found = {account.email: account for account in await luma.accounts()}

    async def fetch(email: str) -> None:
        known = found[email]
        try:
            live = await luma.account(email)
        except errors.LumaError as error:
            found[email] = replace(known, error=known.error or str(error))
            return
        # None if the API does not say.
        expired = "session expired" if live.session_valid is False else None
        found[email] = replace(known, credits=live.credits, error=known.error or live.error or expired)

    async with anyio.create_task_group() as tasks:
        for email in found:
            tasks.start_soon(fetch, email)
    return list(found.values())


@accounts.command(short_help="Add an account by its session cookie.")
def add() -> None:
    """Add a Luma account. Asks for the value of its session cookie without showing it, or reads it from stdin."""
    _add(None)


@accounts.command(short_help="Renew the session of an account.")
@click.argument("email")
def refresh(email: str) -> None:
    """Renew the session of the account EMAIL. Asks for a cookie like `add`, and checks that it is that account's."""
    _add(email)


def _add(expected: str | None) -> None:
    # Before the cookie is typed.
    _require_accounts(read_settings())
    cookie = _read_cookie()
    account = _call(lambda luma: luma.add_account(cookie), adding=True)
    if expected is None or account.email.casefold() == expected.casefold():
        click.echo(one_line(_describe_added(account)))
        return
    # The API has nevertheless added the other account.
    removal = f"{invocation()} accounts remove {shlex.quote(account.email)}"
    undo = f" To remove it again: {removal}" if account.created else ""
    raise click.ClickException(
        f"The cookie belongs to {account.email}; {expected} was not changed. {_describe_added(account)}.{undo}\n"
        f"Sign in to Luma as {expected}, copy that cookie's value, and run this command again."
    )


@accounts.command(short_help="Remove an account; this cannot be undone.")
@click.argument("email")
@click.option("--yes", "confirmed", is_flag=True, help="Do not ask.")
def remove(email: str, *, confirmed: bool) -> None:
    """Remove the account EMAIL from useapi.net. This cannot be undone; its jobs can no longer be looked up."""
    found = {account.email.casefold(): account for account in _call(lambda luma: luma.accounts())}
    account = found.get(email.casefold())
    if account is None:
        known = ", ".join(a.email for a in found.values()) or "none"
        raise click.ClickException(f"{email} is not configured at useapi.net. Configured: {known}.")
    shown = one_line(account.email)
    if not confirmed:
        running = f" {account.executing} of its jobs are running." if account.executing else ""
        click.echo(
            f"useapi.net will forget {shown}, and its jobs can no longer be looked up. This cannot be undone.{running} "
            "The account at Luma itself is not affected.",
            err=True,
        )
        if not click.confirm(f"Remove {shown}?", err=True):
            raise click.ClickException("Not removed.")
    _call(lambda luma: luma.remove_account(account.email))
    click.echo(f"{shown} was removed.")


def _describe_added(account: AddedAccount) -> str:
    # The API does not always say which it was.
    actions = {True: "added", False: "refreshed", None: "added or refreshed"}
    facts = [f"{account.email} was {actions[account.created]}"]
    if account.concurrency is not None:
        facts.append(f"{account.concurrency} slots")
    if account.session_expires:
        facts.append(f"session until {account.session_expires}")
    if used := _credits(account):
        facts.append(f"{used} credits used")
    return "; ".join(facts)


def _credits(account: Account) -> str:
    known = account.credits or {}
    usage, limit = known.get("usage"), known.get("limit")
    if usage is None:
        return ""
    return f"{usage} of {limit}" if limit is not None else f"{usage}"


def _read_cookie() -> SecretStr:
    """Read a session cookie, typed without echo or piped in. It appears in no error."""
    if not sys.stdin.isatty():
        text = sys.stdin.read(LONGEST_SESSION + 1)
    else:
        click.echo(WHERE_TO_FIND_IT, err=True)
        with warnings.catch_warnings():
            # Where the echo cannot be switched off, getpass only warns, and shows what is typed.
            warnings.simplefilter("error", getpass.GetPassWarning)
            try:
                text = getpass.getpass("Value of the session cookie (not shown): ", stream=sys.stderr)
            except getpass.GetPassWarning:
                raise click.ClickException(
                    "This terminal cannot hide what is typed. Put the value into a file that only you can read, and "
                    f"pass it on stdin: {invocation()} accounts add < FILE"
                ) from None
            except EOFError:
                raise click.ClickException(NOT_A_COOKIE) from None
    cookie = text.strip().strip("\"'")
    if not TOKEN_PATTERN.fullmatch(cookie) or len(cookie) > LONGEST_SESSION:
        raise click.ClickException(NOT_A_COOKIE)
    return SecretStr(cookie)


def _call(request: Callable[[LumaClient], Awaitable[T]], *, adding: bool = False) -> T:
    """Send one request to the API; `adding`: it carries a session cookie."""
    settings = settings_with_token()
    _require_accounts(settings)
    if settings.token is None:
        raise click.ClickException(messages.missing_token(replace(settings, is_api_stated=True)))
    token, base_url = settings.token.get_secret_value(), settings.base_url

    from luma_mcp.api.useapi.client import LumaClient

    async def send() -> T:
        async with LumaClient(token, base_url=base_url) as luma:
            return await request(luma)

    try:
        return run_interruptible(send)
    except errors.LumaError as error:
        text = _describe_adding(error) if adding else messages.describe_error(error, USEAPI)
        raise click.ClickException(text) from None


def _require_accounts(settings: Settings) -> None:
    """Refuse what only an API with accounts offers."""
    if not FEATURES[settings.api].accounts:
        text = messages.not_supported("has no accounts to manage: the API key stands for yours", settings.provider)
        raise click.ClickException(f"{text} Accounts belong to {USEAPI.title}.")


def _describe_adding(error: LumaError) -> str:
    """What an error means after a session cookie was sent, and the next step."""
    reason = f' The API says: "{error.api_message}".' if error.api_message else ""
    if isinstance(error, errors.InvalidArguments):
        return f"useapi.net did not accept the session.{reason} Copy the cookie's whole value, and run this again."
    if isinstance(error, errors.PaymentRequired):
        return f"There is no subscription, or it has expired.{reason} Renew it, and run this again."
    uncertain = f"It may have been added all the same; check with: {invocation()} accounts"
    if isinstance(error, errors.Upstream) and error.status == 500:
        # Documented for this endpoint: the session was stored, and could not be checked at Luma.
        return (
            f"useapi.net could not check the session at Luma.{reason} {uncertain}\nIf it has an error there, sign in "
            "to Luma again, copy the value of the new cookie, and run this again."
        )
    is_lost = isinstance(error, errors.NetworkError) and error.stage in ("timeout", "broken")
    if is_lost or isinstance(error, errors.Upstream):
        return f"{messages.describe_error(error, USEAPI)}\n{uncertain}"
    return messages.describe_error(error, USEAPI)
