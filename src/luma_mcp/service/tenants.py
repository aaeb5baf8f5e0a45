"""The tenants of a server. One for a single person has the tenant `OWNER`; one for many has a tenant for each caller.

Each tenant has a `VideoService` with its credential and its part of the journal.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
from pydantic import SecretStr

from luma_mcp.api import share_connections
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from luma_mcp.api.transport import SharedTransport
    from luma_mcp.service.service import VideoService


logger = logging.getLogger(__name__)

MOST_SERVICES = 64
"""Services that are kept for later calls of their tenants. Those in use are kept in any case."""
CLOSE_TIMEOUT = 5.0
"""Seconds for closing the connections and files of a service."""
SETTLE_INTERVAL = 20.0
"""Seconds between two looks at the orders that other machines have left without an answer."""
_LEASE, _LEASE_SECONDS = "reconcile", 60.0
"""The lease of the machine that settles such orders. If it is gone for so many seconds, another one takes over."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One person or team, as far as the service needs to know it.

    Attributes:
        id: a digest that distinguishes tenants and reveals nothing; empty for the one owner of a server.
        credential: that of the paid API; None: the one of the settings.
        owns_credential: whether all that its account contains is the tenant's. If not, the account is the operator's
            and others order with it, so the API is never asked about what the tenant's part of the journal lacks.
        name: its name for the operator's report on usage; never in logs or results.
        max_jobs_per_hour, budget_per_day, max_waits: its limits; None: those of the settings.
        scopes: the actions that it may take; None: all.
    """

    id: str = ""
    credential: SecretStr | None = None
    owns_credential: bool = True
    name: str = ""
    max_jobs_per_hour: int | None = None
    budget_per_day: float | None = None
    max_waits: int | None = None
    scopes: frozenset[str] | None = None


OWNER = Tenant()
current_tenant: ContextVar[Tenant] = ContextVar("current_tenant", default=OWNER)
"""The tenant of the request that is being handled. The layer that authenticates requests sets it."""


def apply_tenant(settings: Settings, tenant: Tenant) -> Settings:
    """Build the settings of a tenant: the server's, with its credential and limits."""
    if tenant.credential:
        # The default account belongs to the server's own credential.
        settings = replace(settings, token=tenant.credential, email=None)
    return replace(
        settings,
        max_jobs_per_hour=tenant.max_jobs_per_hour or settings.max_jobs_per_hour,
        budget_per_day=tenant.budget_per_day or settings.budget_per_day,
        max_waits=tenant.max_waits or settings.max_waits,
    )


_Key = tuple[str, SecretStr | None, bool]
"""What distinguishes services: `id`, `credential` and `owns_credential` of their tenants."""


@dataclass(slots=True)
class _Entry:
    """What is kept of a tenant. `calls`: how many use the service now; `waits`: how many of them wait for a job."""

    service: VideoService | None = None
    calls: int = 0
    waits: int = 0


class TenantServices:
    """The service of each tenant, created at its first use.

    Args:
        settings: those of the server.
        build: creates a service, from the settings of its tenant, which have a token, and what `VideoService` takes
            besides: `tenant` and `connections`.
        most: how many are kept for later calls.
    """

    def __init__(self, settings: Settings, build: Callable[..., VideoService], most: int = MOST_SERVICES) -> None:
        self._settings = settings
        self._build = build
        self._most = most
        # The tenant that was used last is the last.
        self._entries: dict[_Key, _Entry] = {}
        self._connections: SharedTransport | None = None
        self._has_too_many = anyio.Event()

    def get(self) -> VideoService | None:
        """Get the service of the current tenant; None if there is no credential for it."""
        tenant = current_tenant.get()
        entry = self._get_entry(tenant)
        settings = apply_tenant(self._settings, tenant)
        if entry.service:
            # They may have changed since the call before.
            entry.service.set_limits(settings, tenant)
        else:
            if settings.token is None:
                return None
            # The one owner of a server shares them with nobody.
            if tenant != OWNER and self._connections is None:
                self._connections = share_connections(settings.base_url)
            connections = self._connections if tenant != OWNER else None
            entry.service = self._build(settings, tenant=tenant, connections=connections)
        return entry.service

    def list_open(self) -> list[VideoService]:
        """List the services that were created and are not closed yet."""
        return [entry.service for entry in self._entries.values() if entry.service]

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the service of the current tenant open while the block runs, which is a whole call."""
        entry = self._get_entry(current_tenant.get())
        entry.calls += 1
        try:
            yield
        finally:
            entry.calls -= 1
            if len(self._entries) > self._most:
                self._has_too_many.set()

    @contextmanager
    def waiting(self, *, is_wanted: bool) -> Iterator[int | None]:
        """Count a call of the current tenant as one that waits for a job while the block runs, if that `is_wanted`.

        Yields None, or how many may wait if so many wait already: then this one must not. The one owner of a server
        has no such limit.
        """
        if not is_wanted:
            yield None
            return
        tenant = current_tenant.get()
        entry = self._get_entry(tenant)
        limit = apply_tenant(self._settings, tenant).max_waits
        if tenant.id and entry.waits >= limit:
            yield limit
            return
        entry.waits += 1
        try:
            yield None
        finally:
            entry.waits -= 1

    async def close_idle(self) -> None:
        """Close services that no call uses, those first that were used longest ago, whenever there are too many."""
        while True:
            await self._has_too_many.wait()
            self._has_too_many = anyio.Event()
            for key, entry in list(self._entries.items()):
                if len(self._entries) <= self._most:
                    break
                if entry.calls == 0 and self._entries.get(key) is entry:
                    del self._entries[key]
                    await _close(entry)

    async def settle_orders(self, list_credentials: Callable[[], Iterable[SecretStr]]) -> None:
        """Settle, again and again, the orders that failed machines have left without an answer.

        `list_credentials`: those that the server has. Orders with the credential of a caller are settled by its next
        call.
        """
        while True:
            await anyio.sleep(SETTLE_INTERVAL)
            try:
                for credential in list_credentials():
                    await self._settle(credential)
            except Exception:
                # The next round may succeed, and calls look for what they need themselves.
                logger.exception("orders without an answer could not be looked up")

    async def aclose(self) -> None:
        """Close all services."""
        while self._entries:
            _, entry = self._entries.popitem()
            await _close(entry)
        if self._connections:
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._connections.close_all()

    async def _settle(self, credential: SecretStr) -> None:
        """Settle the orders of all tenants with a credential, unless another machine does."""
        owner = Tenant(credential=credential)
        async with self._use(owner) as service:
            # The journal of the credential's owner lists the tenants with such orders.
            journal = service.journal
            await journal.remove_parts()
            for tenant_id in sorted(await journal.list_unsettled_tenants()):
                if journal.replicas and not await journal.replicas.acquire(_LEASE, _LEASE_SECONDS):
                    return
                if not tenant_id:
                    await service.reconciler.recover_orders()
                    continue
                async with self._use(replace(owner, id=tenant_id, owns_credential=False)) as of_tenant:
                    await of_tenant.reconciler.recover_orders()

    @asynccontextmanager
    async def _use(self, tenant: Tenant) -> AsyncIterator[VideoService]:
        """Yield the service of any tenant, not only of the current one. An existing service keeps its limits."""
        token = current_tenant.set(tenant)
        try:
            with self.hold():
                service = self._get_entry(tenant).service or self.get()
                assert service  # noqa: S101 - for the type checker: the tenant has a credential
                yield service
        finally:
            current_tenant.reset(token)

    def _get_entry(self, tenant: Tenant) -> _Entry:
        # Its name, its limits and what it may do can change with each of its tokens. With a second service for it,
        # an identical order would be made twice where orders are only in memory.
        key = (tenant.id, tenant.credential, tenant.owns_credential)
        entry = self._entries.pop(key, None) or _Entry()
        self._entries[key] = entry
        return entry


async def _close(entry: _Entry) -> None:
    if entry.service:
        # Shielded, since a host that ends the server cancels this as well.
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await entry.service.aclose()
