"""While the database is down, nothing is ordered and jobs are polled. No order is sent twice later."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import httpx2
import psycopg
import pytest
from tests.journal.orders import API, Clock, build_order, insert, open_journal, send, start_job, states
from tests.server.panel import draw_halves
from tests.service.orders import place

from luma_mcp.errors import JournalUnavailable
from luma_mcp.journal.postgres import find_lock
from luma_mcp.service.pictures import UploadedPicture

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres.conftest import StartService
    from tests.postgres.server import Database, PostgresServer

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

UNREACHABLE = "the database cannot be reached, or refuses the connection"


class InterruptingTransport(httpx2.ASGITransport):
    """Sends requests to the simulator, and calls `interrupt` between an order and its response."""

    def __init__(self, simulator: Simulator, interrupt: Callable[[], None]) -> None:
        super().__init__(simulator)
        self._interrupt = interrupt

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if request.method == "POST" and "videos" in request.url.path:
            self._interrupt()
        return response


async def wait_until_used(*services: VideoService) -> None:
    """Read until the database is tried again. This takes real time, which psycopg uses."""
    for service in services:
        while service.journal.problem:
            await service.journal.list_latest(1)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_nothing_is_ordered_without_the_database(
    start_service: StartService, simulator: Simulator, postgres: PostgresServer, mode: str
) -> None:
    service, fresh = start_service(), start_service()
    running = (await place(service, "A fox")).job
    with postgres.stopped(mode):
        for each in (service, fresh):
            with pytest.raises(JournalUnavailable) as refused:
                await place(each, "A cat")
            assert (refused.value.problem, refused.value.charged) == (UNREACHABLE, "no")
        assert len(simulator.service.jobs) == 1
        # The job continues, and is polled at the API.
        assert (await service.wait(running.jobid, 600)).state == "completed"
        listed = await fresh.list_jobs(9)
        assert listed is not None
    await wait_until_used(service, fresh)
    assert (await place(service, "A cat")).outcome == "created"
    assert (await place(fresh, "A cat")).outcome == "duplicate"
    assert len(simulator.service.jobs) == 2
    assert service.journal.problem is None


async def test_restart_of_the_database_causes_no_error(
    start_service: StartService, simulator: Simulator, postgres: PostgresServer
) -> None:
    one, two = start_service(), start_service()
    for number in range(3):
        jobids = {(await place(each, f"Fox {number}")).job.jobid for each in (one, two)}
        assert len(jobids) == 1
        with postgres.stopped("immediate"):
            pass
    assert len(simulator.service.jobs) == 3


async def test_response_without_the_database_is_recorded_later(
    start_service: StartService, simulator: Simulator, postgres: PostgresServer, database: Database
) -> None:
    sender = start_service(InterruptingTransport(simulator, lambda: postgres.stop("immediate")))
    other = start_service()
    result = await place(sender)
    assert result.outcome == "created"
    postgres.start()
    # Until the sender has written the job, only the row of the order prevents a second delivery.
    assert database.execute("SELECT state, jobid FROM luma_orders") == [("sent", None)]
    repeated = await place(other)
    assert repeated.job.jobid == result.job.jobid
    await wait_until_used(sender)
    assert database.execute("SELECT state, jobid, adopted FROM luma_orders") == [("running", result.job.jobid, True)]
    assert len(simulator.service.jobs) == 1


async def test_upload_continues_at_another_machine_after_a_failure(
    start_service: StartService, simulator: Simulator, postgres: PostgresServer, database: Database
) -> None:
    one, other = start_service(), start_service()
    data, upload = draw_halves(), "a" * 32
    assert await one.pictures.receive(upload, 0, data[:50]) == 50
    with postgres.stopped("immediate"):
        with pytest.raises(JournalUnavailable) as refused:
            await one.pictures.receive(upload, 50, data[50:])
        with pytest.raises(JournalUnavailable):
            await other.pictures.finish(upload, len(data), "image_start", digest=None, email=None, crop=None)
        assert refused.value.retry == "later"
        # Parts that cannot be removed now will expire.
        await other.pictures.discard("b" * 32)
    await wait_until_used(one, other)
    assert await other.pictures.receive(upload, 50, data[50:]) == len(data)
    done = await other.pictures.finish(upload, len(data), "image_start", digest=None, email=None, crop=None)
    assert isinstance(done, UploadedPicture)
    assert simulator.service.find_upload(done.asset_ref) == data
    assert database.execute("SELECT count(*) FROM luma_parts") == [(0,)]


async def test_missed_record_is_written_when_the_service_closes(
    start_service: StartService, simulator: Simulator, postgres: PostgresServer, database: Database
) -> None:
    sender = start_service(InterruptingTransport(simulator, lambda: postgres.stop("immediate")))
    result = await place(sender)
    postgres.start()
    await sender.aclose()
    assert database.execute("SELECT state, jobid FROM luma_orders") == [("running", result.job.jobid)]


async def test_order_that_cannot_be_marked_is_not_sent(postgres: PostgresServer, database: Database) -> None:
    clock = Clock()
    async with open_journal(database, clock=clock) as journal:
        order = build_order()
        await insert(journal, order)
        with postgres.stopped():
            with pytest.raises(JournalUnavailable):
                await journal.mark_sending(order)
            await journal.drop(order)
        clock.pass_retry_time()
        assert await insert(journal, build_order()) is None
    assert database.execute("SELECT state FROM luma_orders") == [("intent",)]


async def test_orders_are_rejected_while_the_database_is_read_only(
    start_service: StartService, simulator: Simulator, database: Database, postgres: PostgresServer
) -> None:
    service = start_service()
    known = (await place(service, "A fox")).job.jobid
    postgres.execute("ALTER ROLE luma SET default_transaction_read_only = on")
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'luma-ray-mcp'")
    try:
        with pytest.raises(JournalUnavailable, match="the database can only be read"):
            await place(service, "A cat")
        assert len(simulator.service.jobs) == 1
        # The database can still be read, and changes are written when that is possible again.
        order = await service.journal.get_by_jobid(known)
        assert order is not None
        assert (await service.wait(known, 600)).state == "completed"
    finally:
        postgres.execute("ALTER ROLE luma RESET default_transaction_read_only")
    assert (await place(service, "A cat")).outcome == "created"
    assert service.journal.problem is None
    states_now = database.execute("SELECT state FROM luma_orders ORDER BY ordered_at")
    assert states_now == [("completed",), ("running",)]


async def test_dropped_connection_is_replaced(postgres: PostgresServer, database: Database) -> None:
    drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'luma-ray-mcp'"
    async with open_journal(database) as journal:
        order = await send(journal)
        postgres.execute(drop)
        await journal.record_job(order, "j1")
        postgres.execute(drop)
        assert await states(journal) == {"fox": ("running", "j1")}
        assert journal.problem is None


async def test_missed_changes_are_written_in_order(postgres: PostgresServer, database: Database) -> None:
    clock = Clock()
    async with open_journal(database, clock=clock) as journal:
        one, two = await send(journal, "one"), await send(journal, "two")
        with postgres.stopped("immediate"):
            await journal.mark_unknown(one)
            await journal.record_job(one, "j1")
            await journal.mark_not_delivered(two)
            await journal.drop(two)
            assert await journal.get_by_jobid("j1") is None
            assert not await journal.adopt(two, "j2")
        clock.pass_retry_time()
        assert await states(journal) == {"one": ("running", "j1")}


async def test_unreachable_database_is_not_tried_for_a_while(database: Database, postgres: PostgresServer) -> None:
    clock = Clock()
    async with open_journal(database, clock=clock) as journal:
        await start_job(journal, "j1")
        with postgres.stopped():
            assert await journal.list_latest(9) == []
        assert await journal.list_latest(9) == []
        clock.pass_retry_time()
        assert await states(journal) == {"fox": ("running", "j1")}


async def test_stopped_process_blocks_others_only_for_a_while(database: Database) -> None:
    """The database ends its transaction and releases its lock."""
    lock = f"SELECT pg_advisory_xact_lock({find_lock(API)})"
    async with open_journal(database) as journal:
        await send(journal, "fox")
        with suppress(psycopg.Error), psycopg.connect(database.url) as holder:
            holder.execute("SET LOCAL idle_in_transaction_session_timeout = 500")
            holder.execute(lock.encode())
            assert await insert(journal, build_order("cat")) is None
        assert journal.problem is None
