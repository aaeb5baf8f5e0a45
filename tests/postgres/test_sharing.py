"""Services on several machines share one database. An order is billed once, even if machines fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from psycopg.errors import UniqueViolation
from tests.clock import pass_time
from tests.postgres.conftest import race
from tests.service.faulty import Fault, FaultyOrders, ProcessKilled
from tests.service.orders import place
from tests.transports import HoldingTransport

from luma_mcp.errors import LimitReached
from luma_mcp.journal.postgres_schema import VERSION

if TYPE_CHECKING:
    from tests.postgres.conftest import StartService
    from tests.postgres.server import Database

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

CLAIM = """
import random
from tests.journal.orders import build_order, insert

async def step(journal):
    order = build_order()
    pause = random.random() / 10
    while await insert(journal, order) is None:
        if await journal.mark_sending(order):
            return "sent"
        # `OrderSubmitter` waits like this.
        await anyio.sleep(pause)
        pause *= 2
    return "duplicate"
"""


def test_one_of_forty_machines_sends_an_order(database: Database) -> None:
    """They run in four processes, which also create the tables at the same time."""
    assert race(CLAIM, database) == ["duplicate"] * 39 + ["sent"]
    assert database.execute("SELECT state, claimed FROM luma_orders") == [("sent", True)]
    assert database.execute("SELECT version FROM luma_schema") == [(number,) for number in range(1, VERSION + 1)]


async def test_one_order_of_two_services_is_billed_once(start_service: StartService, simulator: Simulator) -> None:
    one, two = start_service(), start_service()
    jobids: set[str] = set()

    async def order(service: VideoService) -> None:
        jobids.add((await place(service)).job.jobid)

    async with anyio.create_task_group() as tasks:
        for service in (one, two, one, two):
            tasks.start_soon(order, service)
    assert len(jobids) == 1
    assert len(simulator.service.jobs) == 1


async def test_hourly_limit_counts_the_orders_of_all_services(
    start_service: StartService, simulator: Simulator
) -> None:
    one, two = start_service(max_jobs_per_hour=2), start_service(max_jobs_per_hour=2)
    await place(one, "A fox")
    await place(two, "A cat")
    for service in (one, two):
        with pytest.raises(LimitReached):
            await place(service, "A hen")
    assert len(simulator.service.jobs) == 2


@pytest.mark.parametrize("fault", [Fault.KILLED_AFTER, Fault.KILLED_BEFORE])
async def test_order_of_a_killed_process_is_settled_by_another(
    start_service: StartService, simulator: Simulator, fault: Fault, database: Database
) -> None:
    killed = start_service(FaultyOrders(simulator, fault))
    with pytest.raises((ProcessKilled, BaseExceptionGroup)):
        await place(killed)
    [(state,)] = database.execute("SELECT state FROM luma_orders")
    await pass_time(5)
    other = start_service()
    if fault is Fault.KILLED_BEFORE:
        # There is no proof that the order did not arrive.
        assert state == "sent"
        await other.recover()
        assert database.execute("SELECT state FROM luma_orders") == [("unknown",)]
        assert simulator.service.jobs == {}
        return
    result = await place(other)
    assert result.outcome in ("recovered", "duplicate")
    assert [result.job.jobid] == list(simulator.service.jobs)
    assert database.execute("SELECT state, jobid FROM luma_orders") == [("running", result.job.jobid)]


async def test_service_follows_the_job_of_another(start_service: StartService) -> None:
    one, two = start_service(), start_service()
    result = await place(one, save=False)
    job = await two.wait(result.job.jobid, 600)
    assert job.state == "completed"
    repeated = await place(one)
    assert (repeated.outcome, repeated.job.jobid) == ("duplicate", job.jobid)


async def test_service_waits_for_an_order_that_another_is_sending(
    start_service: StartService, simulator: Simulator
) -> None:
    held = HoldingTransport(simulator)
    one, two = start_service(held), start_service()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(place, one)
        await held.delivered.wait()
        found: list[str] = []

        async def order() -> None:
            found.append((await place(two)).outcome)

        tasks.start_soon(order)
        await pass_time(2)
        assert found == []
        held.may_answer.set()
    assert found == ["duplicate"]
    assert len(simulator.service.jobs) == 1


async def test_database_enforces_one_open_order(start_service: StartService, database: Database) -> None:
    """Even for a program that does not check before it inserts, the index applies."""
    await place(start_service())
    copy = (
        "INSERT INTO luma_orders (id, api, key, state, request, ordered_at, claimed) "
        "SELECT 'copy', api, key, 'intent', request, ordered_at, claimed FROM luma_orders"
    )
    with pytest.raises(UniqueViolation, match="luma_orders_claim"):
        database.execute(copy)
