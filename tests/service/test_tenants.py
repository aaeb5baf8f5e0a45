"""The services of tenants: their settings, how many are kept, and how many calls may wait."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import anyio
from pydantic import SecretStr
from tests.journal.orders import let_others_run

from luma_mcp.service.tenants import OWNER, Tenant, TenantServices, apply_tenant, current_tenant
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luma_mcp.service.service import VideoService

SHARED = Settings(token=SecretStr("user:shared"), email="studio@example.com", max_jobs_per_hour=5, budget_per_day=9.0)
MAX_SERVICES = 3


class FakeService:
    """Records the settings and the state of a tenant's service."""

    def __init__(self, settings: Settings, *, tenant: Tenant, connections: object) -> None:
        self.settings = settings
        self.tenant = tenant
        self.connections = connections
        self.is_closed = False

    def set_limits(self, settings: Settings, tenant: Tenant) -> None:
        self.settings, self.tenant = settings, tenant

    async def aclose(self) -> None:
        self.is_closed = True


def build(settings: Settings, **parts: Any) -> VideoService:
    return cast("VideoService", FakeService(settings, **parts))


@contextmanager
def as_tenant(tenant: Tenant) -> Iterator[None]:
    token = current_tenant.set(tenant)
    try:
        yield
    finally:
        current_tenant.reset(token)


async def use(services: TenantServices, tenant: Tenant) -> FakeService:
    """Get the service within one call of a tenant."""
    with as_tenant(tenant), services.hold():
        service = services.get()
        assert isinstance(service, FakeService)
        return service


def shared_tenant(name: str, **limits: Any) -> Tenant:
    return Tenant(name, owns_credential=False, **limits)


def test_a_tenant_s_settings_override_the_shared_ones() -> None:
    assert apply_tenant(SHARED, OWNER) == SHARED
    limited = shared_tenant("ada", max_jobs_per_hour=1, budget_per_day=2.5, max_waits=3)
    assert apply_tenant(SHARED, limited) == replace(SHARED, max_jobs_per_hour=1, budget_per_day=2.5, max_waits=3)
    # The default account belongs to the shared credential.
    own = apply_tenant(SHARED, Tenant("bob", SecretStr("user:bob")))
    assert (own.token, own.email, own.max_jobs_per_hour) == (SecretStr("user:bob"), None, 5)


async def test_a_tenant_keeps_its_service() -> None:
    services = TenantServices(SHARED, build)
    ada, bob = shared_tenant("ada"), shared_tenant("bob")
    first = await use(services, ada)
    assert await use(services, bob) is not first
    # The service does not depend on the token's scopes.
    assert await use(services, replace(ada, scopes=frozenset({"luma:read"}))) is first
    assert await use(services, replace(ada, name="ada@example.com", budget_per_day=1.0)) is first
    assert (first.settings.budget_per_day, first.tenant.name) == (1.0, "ada@example.com")
    assert await use(services, replace(ada, credential=SecretStr("user:ada"))) is not first
    assert first.connections is (await use(services, bob)).connections is not None
    assert (await use(services, OWNER)).connections is None
    await services.aclose()
    assert first.is_closed


async def test_without_a_credential_there_is_no_service() -> None:
    services = TenantServices(Settings(), build)
    assert services.get() is None
    with as_tenant(Tenant("ada", SecretStr("user:ada"))):
        assert services.get() is not None


async def test_idle_services_beyond_a_number_are_closed() -> None:
    services = TenantServices(SHARED, build, most=MAX_SERVICES)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(services.close_idle)
        with services.hold():
            busy = services.get()
            idle = [await use(services, shared_tenant(str(number))) for number in range(MAX_SERVICES - 1)]
            again = await use(services, shared_tenant("0"))
            await let_others_run()
            assert again is idle[0]
            latest = [await use(services, shared_tenant(name)) for name in ("ada", "bob")]
            await let_others_run()
            # The busy service stays open, although it was used least recently.
            closed = [service.is_closed for service in (*idle, *latest)]
            assert closed == [True, True, False, False]
            assert isinstance(busy, FakeService)
            assert not busy.is_closed
        assert await use(services, shared_tenant("0")) is not idle[0]
        tasks.cancel_scope.cancel()


async def test_waits_are_counted_by_tenant() -> None:
    services = TenantServices(replace(SHARED, max_waits=1), build)
    ada, bob = shared_tenant("ada"), shared_tenant("bob", max_waits=2)
    with as_tenant(ada), services.waiting(is_wanted=True) as first:
        with services.waiting(is_wanted=True) as second, services.waiting(is_wanted=False) as unwanted:
            assert (first, second, unwanted) == (None, 1, None)
        with (
            as_tenant(bob),
            services.waiting(is_wanted=True) as one,
            services.waiting(is_wanted=True) as two,
            services.waiting(is_wanted=True) as three,
        ):
            assert (one, two, three) == (None, None, 2)
    with as_tenant(ada), services.waiting(is_wanted=True) as later:
        assert later is None
    # The owner of a local server has no such limit.
    with services.waiting(is_wanted=True) as first, services.waiting(is_wanted=True) as second:
        assert (first, second) == (None, None)
