"""Tenants with one credential on several machines: orders of a failed machine, and a missing database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from pydantic import SecretStr
from tests.clock import pass_time
from tests.conftest import TOKEN, resolve, wall_clock
from tests.service.faulty import Fault, FaultyOrders, ProcessKilled
from tests.service.orders import place
from tests.transports import HoldingTransport

from luma_mcp.errors import JournalUnavailable, NotFound
from luma_mcp.server.app import build_services
from luma_mcp.service.tenants import SETTLE_INTERVAL, Tenant, TenantServices, current_tenant
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.postgres.server import Database, PostgresServer

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

    Start = Callable[..., TenantServices]

ADA, BOB = Tenant("ada", owns_credential=False), Tenant("bob", owns_credential=False)
CREDENTIAL = SecretStr(TOKEN)


@pytest.fixture
async def start(simulator: Simulator, database: Database) -> AsyncIterator[Start]:
    """Start the services of a machine."""
    started: list[TenantServices] = []

    def start_machine(transport: httpx2.AsyncBaseTransport | None = None) -> TenantServices:
        settings = Settings(token=CREDENTIAL, journal=database.dsn_of_machine(), has_local_files=False)
        through = transport or httpx2.ASGITransport(simulator)
        services = build_services(settings, transport=through, resolve=resolve, wall_clock=wall_clock)
        started.append(services)
        return services

    yield start_machine
    for services in started:
        await services.aclose()


def get_service(services: TenantServices, tenant: Tenant) -> VideoService:
    """Get the service of a tenant."""
    token = current_tenant.set(tenant)
    try:
        service = services.get()
        assert service
        return service
    finally:
        current_tenant.reset(token)


async def test_one_machine_settles_the_orders_of_a_failed_one(
    start: Start, simulator: Simulator, database: Database
) -> None:
    killed = start(FaultyOrders(simulator, Fault.KILLED_AFTER))
    with pytest.raises((ProcessKilled, BaseExceptionGroup)):
        await place(get_service(killed, ADA), "A fox simulate:stuck")
    await pass_time(5)
    leading, following = start(), start()
    # The lease uses the database's clock, which is real time.
    replicas = get_service(leading, BOB).journal.replicas
    assert replicas
    assert await replicas.acquire("reconcile", 60)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(following.settle_orders, lambda: [CREDENTIAL])
        await pass_time(3 * SETTLE_INTERVAL)
        assert database.execute("SELECT state FROM luma_orders") == [("sent",)]
        tasks.start_soon(leading.settle_orders, lambda: [CREDENTIAL])
        await pass_time(2 * SETTLE_INTERVAL)
        tasks.cancel_scope.cancel()
    [jobid] = simulator.service.jobs
    assert database.execute("SELECT api, state, jobid FROM luma_orders") == [
        (f"{_get_credential_id(database)}/ada", "running", jobid)
    ]


def _get_credential_id(database: Database) -> str:
    [(credential,)] = database.execute("SELECT DISTINCT split_part(api, '/', 1) FROM luma_orders")
    return str(credential)


async def test_order_is_sent_once_while_its_caller_changes(start: Start, simulator: Simulator) -> None:
    held = HoldingTransport(simulator)
    machines = [start(held), start()]
    changed = [replace(ADA, name="ada@example.com"), replace(ADA, name="ada@example.org", max_jobs_per_hour=9)]
    found: list[str] = []

    async def order(services: TenantServices, tenant: Tenant) -> None:
        found.append((await place(get_service(services, tenant))).outcome)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order, machines[0], ADA)
        await held.delivered.wait()
        for services in machines:
            for tenant in changed:
                tasks.start_soon(order, services, tenant)
        await pass_time(2)
        assert found == []
        held.may_answer.set()
    assert sorted(found) == ["created", *["duplicate"] * 4]
    assert len(simulator.service.jobs) == 1


async def test_only_own_jobs_are_followed_without_the_database(start: Start, postgres: PostgresServer) -> None:
    services = start()
    ada, bob = get_service(services, ADA), get_service(services, BOB)
    ada_jobid, bob_jobid = (await place(ada)).job.jobid, (await place(bob)).job.jobid
    with pytest.raises(NotFound):
        await bob.wait(ada_jobid, 0)
    with postgres.stopped():
        for jobid in (ada_jobid, "no jobid"):
            with pytest.raises(JournalUnavailable) as caught:
                await bob.wait(jobid, 60)
            assert caught.value.is_look_up
        # Its owner is known from placing the order.
        assert (await bob.wait(bob_jobid, 300)).state == "completed"
