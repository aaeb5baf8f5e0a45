"""Servers coordinate through their database: leases, announcements, shared polls and connections."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx2
import psycopg
import pytest
from anyio import to_thread
from pydantic import SecretStr
from tests.clock import pass_time
from tests.conftest import wall_clock
from tests.journal.orders import API, build_order, insert, send, send_line, wait_for_line
from tests.postgres.conftest import race, start_machines
from tests.service.faulty import Fault, FaultyOrders, ProcessKilled
from tests.service.orders import place
from tests.transports import HoldingTransport

from luma_mcp.errors import LimitReached, OutcomeUnknown
from luma_mcp.hosting.hooks import build_hooks
from luma_mcp.journal.postgres import PostgresJournal, find_lock
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.postgres.conftest import StartService
    from tests.postgres.server import Database, PostgresServer

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

POLL = "GET /jobs/…"
LISTENING = "SELECT pid FROM pg_stat_activity WHERE application_name = 'luma-ray-mcp' AND query ~ '^LISTEN'"
DROP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'luma-ray-mcp'"
COUNT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'luma-ray-mcp'"


def open_machine(database: Database, *, api: str = API) -> PostgresJournal:
    """Open the journal as another machine would."""
    return PostgresJournal(database.dsn_of_machine(), api=api, wall_clock=lambda: datetime.now(UTC))


@pytest.fixture
async def machines(database: Database) -> AsyncIterator[tuple[PostgresJournal, PostgresJournal]]:
    one, two = open_machine(database), open_machine(database)
    yield one, two
    await one.aclose()
    await two.aclose()


Machines = tuple[PostgresJournal, PostgresJournal]


class AnnouncementListener:
    """Records the announcements that a journal receives. Virtual time stops while a thread waits for them."""

    def __init__(self, journal: PostgresJournal) -> None:
        self.received: list[tuple[str, bool]] = []
        self._arrived = threading.Semaphore(0)
        self.end = journal.replicas.on_announcement(self._record)

    def _record(self, jobid: str, by_webhook: bool) -> None:
        self.received.append((jobid, by_webhook))
        self._arrived.release()

    async def wait(self, count: int = 1) -> list[tuple[str, bool]]:
        for _ in range(count):
            assert await to_thread.run_sync(self._arrived.acquire, True, 30)
        return self.received


async def wait_for_listeners(database: Database, count: int, *, but: frozenset[int] = frozenset()) -> frozenset[int]:
    """Wait in real time until that many connections listen. Returns their process ids."""
    for _ in range(2_000):
        found = await to_thread.run_sync(database.execute, LISTENING)
        pids = frozenset(pid for (pid,) in found) - but
        if len(pids) >= count:
            return pids
    raise AssertionError("too few connections listen")


async def wait_until_disconnected(database: Database) -> None:
    """Wait in real time until no journal has a connection. The server notices closed connections a little later."""
    for _ in range(2_000):
        [(count,)] = await to_thread.run_sync(database.execute, COUNT)
        if count == 0:
            return
    raise AssertionError("a connection stays open")


# Leases.

ACQUIRE = """
async def step(journal):
    return await journal.replicas.acquire("reconcile", 3600.0)
"""


def test_one_of_forty_machines_gets_a_lease(database: Database) -> None:
    assert race(ACQUIRE, database) == ["False"] * 39 + ["True"]
    assert len(database.execute("SELECT * FROM luma_leases")) == 1


async def test_lease_of_a_killed_process_expires(database: Database, machines: Machines) -> None:
    one, _ = machines
    [program] = start_machines(ACQUIRE, database)
    send_line(program)
    assert "True" in wait_for_line(program)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    api = PostgresJournal(database.dsn_of_machine(), api="api", wall_clock=lambda: datetime.now(UTC))
    assert await api.replicas.acquire("reconcile", 60) is False
    # Simulate that an hour has passed.
    database.execute("UPDATE luma_leases SET until = until - interval '1 hour'")
    assert await api.replicas.acquire("reconcile", 60) is True
    await api.aclose()
    # Another credential has separate leases.
    assert await one.replicas.acquire("reconcile", 60) is True


async def test_lease_is_renewed_and_released(machines: Machines) -> None:
    one, two = (journal.replicas for journal in machines)
    assert [await one.acquire("poll:j1", 60), await two.acquire("poll:j1", 60)] == [True, False]
    assert [await one.acquire("poll:j1", 60), await two.acquire("poll:j2", 60)] == [True, True]
    # A lease of another machine cannot be released.
    await two.release("poll:j1")
    assert await two.acquire("poll:j1", 60) is False
    await one.release("poll:j1")
    assert [await two.acquire("poll:j1", 60), await one.acquire("poll:j1", 60)] == [True, False]


async def test_each_of_many_leases_has_one_holder(machines: Machines) -> None:
    """They are acquired in batches, by several statements at the same time."""
    acquired: list[str] = []

    async def acquire(journal: PostgresJournal, name: str) -> None:
        is_ours = await journal.replicas.acquire(name, 60)
        assert is_ours is not None
        if is_ours:
            acquired.append(name)

    names = [f"poll:j{number}" for number in range(300)]
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(acquire, machines[0], name)
        for name in reversed(names):
            tasks.start_soon(acquire, machines[1], name)
    assert sorted(acquired) == sorted(names)


async def test_cancelled_acquire_does_not_cancel_others(machines: Machines) -> None:
    one = machines[0].replicas
    await one.acquire("reconcile", 60)
    outcomes: list[bool | None] = []

    async def acquire(number: int) -> None:
        outcomes.append(await one.acquire(f"poll:j{number}", 60))

    async with anyio.create_task_group() as others, anyio.create_task_group() as first:
        first.start_soon(acquire, 0)
        await anyio.lowlevel.checkpoint()
        for number in range(1, 20):
            others.start_soon(acquire, number)
        await anyio.lowlevel.checkpoint()
        first.cancel_scope.cancel()
    assert outcomes == [True] * 19


async def test_lease_expires_by_the_clock_of_the_database(machines: Machines) -> None:
    one, two = (journal.replicas for journal in machines)
    assert await one.acquire("reconcile", -1)
    assert await two.acquire("reconcile", 60)
    assert not await one.acquire("reconcile", 60)


@pytest.mark.parametrize("name", ["poll:" + "ü" * 5_000, "poll:j\0", "poll:\ud800", "poll:"])
async def test_lease_can_have_any_name(machines: Machines, name: str) -> None:
    one, two = (journal.replicas for journal in machines)
    assert [await one.acquire(name, 60), await two.acquire(name, 60)] == [True, False]
    await one.release(name)
    await one.announce(name)


async def test_names_of_leases_contain_no_email_address(database: Database, machines: Machines) -> None:
    await machines[0].replicas.acquire("poll:j1-email:studio@example.com:x-bot:luma", 60)
    [(name,)] = database.execute("SELECT name FROM luma_leases")
    assert "@" not in name
    assert name.startswith(f"{API} poll ")


async def test_journals_of_one_process_share_a_lease(database: Database) -> None:
    dsn = database.dsn_of_machine()
    tenants = [PostgresJournal(dsn, api=f"api/{name}", wall_clock=wall_clock) for name in "ab"]
    assert [await tenant.replicas.acquire("reconcile", 60) for tenant in tenants] == [True, True]
    for tenant in tenants:
        await tenant.aclose()


async def test_expired_leases_are_deleted(database: Database) -> None:
    one = open_machine(database)
    await one.replicas.acquire("poll:j1", 60)
    await one.aclose()
    database.execute("UPDATE luma_leases SET until = now() - interval '2 days'")
    two = open_machine(database)
    await two.replicas.acquire("poll:j2", 60)
    await two.aclose()
    assert len(database.execute("SELECT * FROM luma_leases")) == 1


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_state_of_a_lease_is_unknown_without_the_database(
    machines: Machines, postgres: PostgresServer, mode: str
) -> None:
    one, two = (journal.replicas for journal in machines)
    await one.acquire("reconcile", 60)
    with postgres.stopped(mode):
        assert await one.acquire("reconcile", 60) is None
        await one.announce("j1")
        await one.release("reconcile")
    while await two.acquire("reconcile", 60) is None:
        # Real time, because psycopg uses it.
        await to_thread.run_sync(threading.Event().wait, 0.05)
    assert await two.acquire("reconcile", 60) is False


async def test_lease_is_not_acquired_if_it_cannot_be_written(postgres: PostgresServer, machines: Machines) -> None:
    postgres.execute("ALTER ROLE luma SET default_transaction_read_only = on")
    try:
        assert await machines[0].replicas.acquire("reconcile", 60) is None
    finally:
        postgres.execute("ALTER ROLE luma RESET default_transaction_read_only")


# Announcements.


async def test_announcements_reach_all_machines(database: Database, machines: Machines) -> None:
    one, two = map(AnnouncementListener, machines)
    await wait_for_listeners(database, 2)
    await machines[0].replicas.announce("j1")
    await machines[1].replicas.announce("j2 ü", by_webhook=True)
    for listener in (one, two):
        assert await listener.wait(2) == [("j1", False), ("j2 ü", True)]


async def test_process_listens_on_one_connection(database: Database) -> None:
    dsn = database.dsn_of_machine()
    journals = [PostgresJournal(dsn, api=f"api/{number}", wall_clock=wall_clock) for number in range(20)]
    listeners = [AnnouncementListener(journal) for journal in journals]
    assert len(await wait_for_listeners(database, 1)) == 1
    await journals[0].replicas.announce("j1")
    for listener in listeners:
        assert await listener.wait() == [("j1", False)]
    listeners[0].end()
    await journals[0].replicas.announce("j2")
    for listener in listeners[1:]:
        assert await listener.wait() == [("j1", False), ("j2", False)]
    assert listeners[0].received == [("j1", False)]
    for journal in journals:
        await journal.aclose()
    await wait_until_disconnected(database)


@pytest.mark.parametrize("how", ["dropped", "restarted", "killed"])
async def test_listener_reconnects_after_a_lost_connection(
    database: Database, postgres: PostgresServer, machines: Machines, how: str
) -> None:
    listener = AnnouncementListener(machines[0])
    pids = await wait_for_listeners(database, 1)
    if how == "dropped":
        postgres.execute(DROP)
    else:
        with postgres.stopped("immediate" if how == "killed" else "fast"):
            pass
    # Announcements may have been missed.
    assert await listener.wait() == [("", False)]
    await wait_for_listeners(database, 1, but=pids)
    await machines[1].replicas.announce("j1")
    assert await listener.wait() == [("", False), ("j1", False)]


async def test_listener_uses_its_own_address(database: Database) -> None:
    listen = database.dsn_of_machine()
    journal = PostgresJournal(database.dsn_of_machine(), api=API, wall_clock=wall_clock, listen=listen)
    listener = AnnouncementListener(journal)
    await wait_for_listeners(database, 1)
    await journal.replicas.announce("j1")
    assert await listener.wait() == [("j1", False)]
    await journal.aclose()


# Polls.


async def count_polls(simulator: Simulator, *services: VideoService, prompt: str) -> tuple[int, list[float]]:
    """Order with the first service and wait with all. Returns the number of polls and when each wait ended."""
    job = (await place(services[0], f"{prompt} simulate:takes=50")).job
    simulator.requests.clear()
    began = anyio.current_time()
    ends: list[float] = []

    async def follow(service: VideoService) -> None:
        assert (await service.wait(job, 600)).state == "completed"
        ends.append(anyio.current_time() - began)

    async with anyio.create_task_group() as tasks:
        for service in services:
            tasks.start_soon(follow, service)
    return simulator.requests[POLL], ends


async def test_servers_share_the_polls_of_a_job(start_service: StartService, simulator: Simulator) -> None:
    one, two, three = start_service(), start_service(), start_service()
    alone, _ = await count_polls(simulator, one, prompt="Alone")
    together, ends = await count_polls(simulator, one, two, three, prompt="Together")
    assert alone > 5
    # Each of the others polls once, to confirm the end.
    assert together <= alone + 2
    assert max(ends) <= 50 + 10


async def test_both_servers_poll_while_the_database_is_down(
    start_service: StartService, simulator: Simulator, postgres: PostgresServer
) -> None:
    one, two = start_service(), start_service()
    job = (await place(one, "A fox simulate:takes=50")).job
    simulator.requests.clear()
    states: list[str] = []

    async def follow(service: VideoService) -> None:
        states.append((await service.wait(job, 600)).state)

    async with anyio.create_task_group() as tasks:
        for service in (one, two):
            tasks.start_soon(follow, service)
        await pass_time(1)
        await to_thread.run_sync(postgres.stop, "immediate")
    await to_thread.run_sync(postgres.start)
    assert states == ["completed", "completed"]
    assert simulator.requests[POLL] > 10


async def test_webhook_at_one_server_ends_the_wait_at_another(
    start_service: StartService, simulator: Simulator, database: Database
) -> None:
    public: dict[str, Any] = {"public_url": "https://video.example.com", "secret_keys": (SecretStr("key" * 20),)}
    one, two = start_service(**public), start_service(**public)
    hooks = build_hooks(Settings(journal=database.dsn_of_machine(), **public), list)
    assert hooks
    job = (await place(one, "A fox simulate:takes=5000")).job
    waiting = anyio.Event()
    ends: list[tuple[str, float]] = []

    async def mark_waiting(_: object) -> None:
        waiting.set()

    async def follow() -> None:
        found = await two.wait(job.jobid, 6000, on_seen=mark_waiting)
        ends.append((found.state, anyio.current_time()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await waiting.wait()
        assert isinstance(two.journal, PostgresJournal)
        listener = AnnouncementListener(two.journal)
        await wait_for_listeners(database, 1)
        simulator.service.jobs[job.jobid].seconds = 0
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(hooks)) as client:
            assert (await client.post(simulator.orders[-1]["replyUrl"])).status_code == 204
        assert await listener.wait() == [(job.jobid, True)]
        called_at = anyio.current_time()
    assert ends == [("completed", called_at)]
    await hooks.aclose()


# Connections.


async def test_journals_of_one_process_share_a_few_connections(database: Database) -> None:
    dsn = database.dsn_of_machine()
    journals = [PostgresJournal(dsn, api=f"api/{number}", wall_clock=wall_clock) for number in range(40)]

    async def use(journal: PostgresJournal) -> None:
        order = await send(journal)
        await journal.record_job(order, "j1")
        assert len(await journal.list_latest(9)) == 1

    async with anyio.create_task_group() as tasks:
        for journal in journals:
            tasks.start_soon(use, journal)
    [(count,)] = database.execute(COUNT)
    assert 1 <= count <= 4
    for journal in journals[1:]:
        await journal.aclose()
    assert len(await journals[0].list_latest(9)) == 1
    await journals[0].aclose()
    await wait_until_disconnected(database)


async def test_journals_that_wait_for_a_lock_do_not_block_others(database: Database) -> None:
    """All journals of one credential use one connection for this."""
    dsn = database.dsn_of_machine()
    blocked = [PostgresJournal(dsn, api=f"busy/{number}", wall_clock=wall_clock) for number in range(6)]
    other = PostgresJournal(dsn, api="other", wall_clock=wall_clock)
    # This creates the tables.
    await other.list_latest(1)
    inserted: list[int] = []

    async def order(number: int) -> None:
        await insert(blocked[number], build_order())
        inserted.append(number)

    with psycopg.connect(database.url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", (find_lock("busy"),))
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(order, number)
            for _ in range(20):
                await insert(other, build_order(), allow_duplicate=True)
                assert len(await other.list_running()) == 0
            assert inserted == []
            holder.rollback()
    assert sorted(inserted) == list(range(6))
    for journal in (*blocked, other):
        await journal.aclose()


# Clocks.


CLOCK_DIFFERENCES = pytest.mark.parametrize("ahead", [60, -60])


class DatedTransport(FaultyOrders):
    """A transport whose responses have the API's time, as those of the real API do."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        response.headers["date"] = format_datetime(wall_clock(), usegmt=True)
        return response


@CLOCK_DIFFERENCES
async def test_limit_holds_if_clocks_differ(start_service: StartService, simulator: Simulator, ahead: float) -> None:
    """The API shows no time here, and the order of one server is pending while another checks the limit."""
    wrong, right = start_service(clock_ahead=ahead), start_service(max_jobs_per_hour=1)
    order = build_order("other", at=wall_clock() + timedelta(seconds=ahead))
    assert await wrong.journal.insert_pending(order, allow_duplicate=False, windows=()) is None
    with pytest.raises(LimitReached):
        await place(right, "A cat")
    assert simulator.service.jobs == {}


@CLOCK_DIFFERENCES
async def test_order_of_a_killed_server_is_found_if_clocks_differ(
    start_service: StartService, simulator: Simulator, database: Database, ahead: float
) -> None:
    killed = start_service(DatedTransport(simulator, Fault.KILLED_AFTER), clock_ahead=ahead)
    with pytest.raises((ProcessKilled, BaseExceptionGroup)):
        await place(killed)
    await pass_time(5)
    other = start_service(DatedTransport(simulator), clock_ahead=-ahead)
    await other.reconciler.recover_orders()
    found = database.execute("SELECT state, adopted FROM luma_orders")
    assert found == [("running", True)]
    assert (await place(other)).outcome == "duplicate"
    assert len(simulator.service.jobs) == 1


@CLOCK_DIFFERENCES
async def test_order_is_not_repeated_if_clocks_differ(
    start_service: StartService, simulator: Simulator, ahead: float
) -> None:
    """Its time is unknown, because its server was killed and the API shows no time."""
    killed = start_service(FaultyOrders(simulator, Fault.KILLED_AFTER), clock_ahead=ahead)
    with pytest.raises((ProcessKilled, BaseExceptionGroup)):
        await place(killed)
    await pass_time(5)
    with suppress(OutcomeUnknown):
        await place(start_service(clock_ahead=-ahead))
    assert len(simulator.service.jobs) == 1


@CLOCK_DIFFERENCES
async def test_heartbeats_are_valid_if_clocks_differ(
    start_service: StartService, simulator: Simulator, ahead: float
) -> None:
    held = HoldingTransport(simulator)
    one, two = start_service(held, clock_ahead=ahead), start_service(clock_ahead=-ahead)
    outcomes: list[str] = []

    async def order(service: VideoService) -> None:
        outcomes.append((await place(service)).outcome)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order, one)
        await held.delivered.wait()
        tasks.start_soon(order, two)
        await pass_time(20)
        assert outcomes == []
        held.may_answer.set()
    assert sorted(outcomes) == ["created", "duplicate"]
    assert len(simulator.service.jobs) == 1
