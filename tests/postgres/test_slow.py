"""With a slow, full or silent database, nothing is ordered twice and no call waits forever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from pydantic import SecretStr
from tests.conftest import wall_clock
from tests.journal.orders import API, build_order, insert, send, states
from tests.postgres.proxy import running_proxy
from tests.service.orders import place

from luma_mcp.errors import JournalUnavailable
from luma_mcp.journal.postgres import PostgresJournal

if TYPE_CHECKING:
    from tests.postgres.conftest import StartService
    from tests.postgres.server import Database

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

FULL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON luma_orders FOR EACH ROW EXECUTE FUNCTION refuse();
"""
"""Make statements fail as if the disk were full."""


async def test_orders_on_a_slow_database_are_billed_once(
    start_service: StartService, simulator: Simulator, database: Database
) -> None:
    with running_proxy(database.url, delay=0.02) as slow:
        services = [start_service(journal=SecretStr(f"{slow.url}%20-c%20luma.machine%3Dslow{n}")) for n in range(3)]
        jobids: set[str] = set()

        async def order(service: VideoService, prompt: str) -> None:
            jobids.add((await place(service, prompt)).job.jobid)

        async with anyio.create_task_group() as tasks:
            for service in services:
                for prompt in ("A fox", "A cat"):
                    tasks.start_soon(order, service, prompt)
        assert len(jobids) == len(simulator.service.jobs) == 2
        for service in services:
            await service.aclose()


async def test_nothing_is_ordered_while_the_disk_is_full(
    start_service: StartService, simulator: Simulator, database: Database
) -> None:
    service = start_service()
    running = (await place(service, "A fox")).job
    database.execute(FULL)
    with pytest.raises(JournalUnavailable) as refused:
        await place(service, "A cat")
    assert (refused.value.problem, refused.value.charged) == ("the database has no space left", "no")
    assert len(simulator.service.jobs) == 1
    # The database can still be read, and changes are written when there is space again.
    assert (await service.wait(running.jobid, 600)).state == "completed"
    assert database.execute("SELECT state FROM luma_orders") == [("running",)]
    database.execute("DROP TRIGGER full_disk ON luma_orders")
    assert (await place(service, "A cat")).outcome == "created"
    assert sorted(database.execute("SELECT state FROM luma_orders")) == [("completed",), ("running",)]


async def test_silent_database_times_out_and_is_tried_again(database: Database) -> None:
    """Its connections stay open, as with a pooler that hangs."""
    clock = [0.0]
    with running_proxy(database.url) as link:
        journal = PostgresJournal(
            SecretStr(link.url), api=API, wall_clock=wall_clock, clock=lambda: clock[0], busy_seconds=0.5
        )
        order = await send(journal)
        link.pause()
        with pytest.raises(JournalUnavailable, match="cannot be reached"):
            await insert(journal, build_order("cat"))
        await journal.record_job(order, "j1")
        assert await journal.replicas.acquire("reconcile", 60) is None
        assert journal.problem
        link.resume()
        clock[0] += 60
        assert await states(journal) == {"fox": ("running", "j1")}
        assert journal.problem is None
        assert await journal.replicas.acquire("reconcile", 60) is True
        await journal.aclose()
