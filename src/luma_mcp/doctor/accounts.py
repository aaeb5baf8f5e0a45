"""The Luma accounts: what each can do now. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from luma_mcp import errors
from luma_mcp.api.protocol import Account, parse_time
from luma_mcp.doctor.check_result import Finding, failed, note, passed
from luma_mcp.errors import LumaError, refresh_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luma_mcp.doctor.environment import Environment

SOON = timedelta(days=3)


def of_accounts(
    here: Environment, accounts: Sequence[Account], live: Mapping[str, Account | LumaError]
) -> Iterable[Finding]:
    """A line for each account; `live`: what was told of one alone, where it was."""
    if not accounts:
        yield failed("accounts", f"none is configured at {here.settings.base_url}", "luma-ray-mcp accounts add")
        return
    for account in accounts:
        yield of_account(here, account, live.get(account.email))
    wanted = here.settings.email
    emails = [account.email for account in accounts]
    if wanted and wanted not in emails:
        mend = f"Set LUMA_MCP_EMAIL to one that is ({', '.join(emails)}), or unset it."
        yield failed("accounts", f"{wanted}, which LUMA_MCP_EMAIL names, is not configured", mend)


def of_account(here: Environment, row: Account, live: Account | LumaError | None) -> Finding:
    """What an account can do now."""
    name = f"account {row.email}"
    now = live if isinstance(live, Account) else row
    until = parse_time(now.luma_session_expires or row.luma_session_expires)
    over = until is not None and until < here.now() - timedelta(days=1)
    why = now.error or row.error
    ended = isinstance(live, errors.AccountSession) or now.session_valid is False
    if ended or why or (over and now.session_valid is None):
        what = "its session has expired" if ended or over else "it has an error"
        return failed(name, what + (f'; the API says: "{why}"' if why else ""), refresh_command(row.email))
    detail = "; ".join(filter(None, (slots(row), session(now), credits_of(now))))
    if isinstance(live, LumaError) or live is None:
        return note(name, f"{detail}; its session could not be asked for: {live or 'no answer in time'}")
    if until and until < here.now() + SOON:
        return note(name, f"{detail}: soon", refresh_command(row.email))
    return passed(name, detail)


def slots(account: Account) -> str:
    """How many of its slots are in use."""
    return f"{account.executing or 0} of {account.concurrency if account.concurrency is not None else '?'} slots in use"


def session(account: Account) -> str:
    """Until when it is signed in."""
    until = parse_time(account.luma_session_expires)
    return f"session until {until:%Y-%m-%d}" if until else ""


def credits_of(account: Account) -> str:
    """How much of its credits it has used."""
    usage, limit = ((account.credits or {}).get(name) for name in ("usage", "limit"))
    return (
        f"credits {usage:g} of {limit:g} used"
        if isinstance(usage, int | float) and isinstance(limit, int | float)
        else ""
    )
