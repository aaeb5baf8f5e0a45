"""How many credits the accounts have left. Calls never wait long for it: late numbers count as unknown."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial

import anyio

from luma_mcp.api.protocol import VideoApi
from luma_mcp.errors import LumaError
from luma_mcp.service.concurrency import alongside

KNOWN_FOR = 300.0
"""Seconds for which the numbers are taken to be right, unless a job has ended since."""
RETRY_AFTER = 60.0
"""Seconds after a failure until they are fetched again."""
FETCH_TIMEOUT = 5.0
GRACE = 1.0
"""Seconds that a result may wait for the numbers. After a failure, none waits until `RETRY_AFTER` is over."""
MAX_ACCOUNTS = 5
"""Most accounts that are fetched: each takes a request, which the API passes on to Luma."""


@dataclass(frozen=True, slots=True)
class AccountCredits:
    """What an account has left of its limit."""

    email: str
    left: float
    limit: float


@dataclass(slots=True)
class CreditsWatch:
    """The credits of the first accounts, kept for some minutes. `email`: the account to begin with."""

    api: VideoApi
    email: str | None
    _known: tuple[AccountCredits, ...] = field(default=(), init=False)
    # By the event loop's clock: until when the numbers are known, and when they may be fetched again.
    _known_until: float = field(default=0.0, init=False)
    _retry_at: float = field(default=0.0, init=False)

    def get_known(self, account: str | None = None) -> tuple[AccountCredits, ...]:
        """Get what is known of one account, or of all; empty if nothing is."""
        if anyio.current_time() >= self._known_until:
            return ()
        return tuple(row for row in self._known if account in (None, row.email))

    def expire(self) -> None:
        """Note that a job has ended, so that the numbers have changed."""
        if anyio.current_time() < self._known_until:
            self._known_until = self._retry_at = 0.0

    def refreshing(self, grace: float = GRACE) -> AbstractAsyncContextManager[None]:
        """Fetch the numbers, if they are not known, while a block runs and at most `grace` seconds longer."""
        if not self._is_due():
            return nullcontext()
        return alongside(self.refresh, grace=grace)

    def _is_due(self) -> bool:
        return anyio.current_time() >= max(self._known_until, self._retry_at) and self.api.features.accounts

    async def refresh(self) -> None:
        """Fetch the numbers if they are not known. A failure is not reported: they stay unknown."""
        if not self._is_due():
            return
        self._retry_at = anyio.current_time() + RETRY_AFTER
        found: dict[str, AccountCredits] = {}
        emails: list[str] = []
        with anyio.move_on_after(FETCH_TIMEOUT), suppress(LumaError):
            accounts = await self.api.accounts(retry_timeout=0)
            emails = [account.email for account in accounts if not account.error]
            emails.sort(key=lambda email: email != self.email)
            async with anyio.create_task_group() as tasks:
                for email in emails[:MAX_ACCOUNTS]:
                    tasks.start_soon(partial(self._fetch, email, found))
        if found:
            self._known = tuple(found[email] for email in emails if email in found)
            self._known_until = anyio.current_time() + KNOWN_FOR

    async def _fetch(self, email: str, found: dict[str, AccountCredits]) -> None:
        with suppress(LumaError):
            account = await self.api.account(email, retry_timeout=0)
            if account.credits_left is not None and account.credits_limit is not None:
                found[email] = AccountCredits(email, account.credits_left, account.credits_limit)
