"""What servers agree on through their database: leases, news, one stream of polls for each job, and few connections."""

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
    """The journal of another machine."""
    return PostgresJournal(database.dsn_of_machine(), api=api, wall_clock=lambda: datetime.now(UTC))


@pytest.fixture
async def machines(database: Database) -> AsyncIterator[tuple[PostgresJournal, PostgresJournal]]:
    one, two = open_machine(database), open_machine(database)
    yield one, two
    await one.aclose()
    await two.aclose()


Machines = tuple[PostgresJournal, PostgresJournal]


class News:
    """What one journal hears. The event loop's clock stands still while a thread waits for it."""

    def __init__(self, journal: PostgresJournal) -> None:
        self.heard: list[tuple[str, bool]] = []
        self._arrived = threading.Semaphore(0)
        self.end = journal.replicas.on_announcement(self._note)

    def _note(self, jobid: str, by_webhook: bool) -> None:
        self.heard.append((jobid, by_webhook))
        self._arrived.release()

    async def wait(self, count: int = 1) -> list[tuple[str, bool]]:
        for _ in range(count):
            assert await to_thread.run_sync(self._arrived.acquire, True, 30)
        return self.heard


async def wait_for_listeners(database: Database, count: int, *, but: frozenset[int] = frozenset()) -> frozenset[int]:
    """Wait in real time until so many connections listen; their process ids."""
    for _ in range(2_000):
        found = await to_thread.run_sync(database.execute, LISTENING)
        pids = frozenset(pid for (pid,) in found) - but
        if len(pids) >= count:
            return pids
    raise AssertionError("nobody listens")


async def wait_until_disconnected(database: Database) -> None:
    """Wait in real time until no journal has a connection: the server learns of an end a moment later."""
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


def test_forty_claims_of_one_lease_have_one_winner(database: Database) -> None:
    assert race(ACQUIRE, database) == ["False"] * 39 + ["True"]
    assert len(database.execute("SELECT * FROM luma_leases")) == 1


async def test_lease_of_a_killed_process_ends_by_itself(database: Database, machines: Machines) -> None:
    one, _ = machines
    [program] = start_machines(ACQUIRE, database)
    send_line(program)
    assert "True" in wait_for_line(program)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    api = PostgresJournal(database.dsn_of_machine(), api="api", wall_clock=lambda: datetime.now(UTC))
    assert await api.replicas.acquire("reconcile", 60) is False
    # As if an hour had passed.
    database.execute("UPDATE luma_leases SET until = until - interval '1 hour'")
    assert await api.replicas.acquire("reconcile", 60) is True
    await api.aclose()
    # Of another credential.
    assert await one.replicas.acquire("reconcile", 60) is True


async def test_lease_is_renewed_and_given_back(machines: Machines) -> None:
    one, two = (journal.replicas for journal in machines)
    assert [await one.acquire("poll:j1", 60), await two.acquire("poll:j1", 60)] == [True, False]
    assert [await one.acquire("poll:j1", 60), await two.acquire("poll:j2", 60)] == [True, True]
    # Somebody else's cannot be given back.
    await two.release("poll:j1")
    assert await two.acquire("poll:j1", 60) is False
    await one.release("poll:j1")
    assert [await two.acquire("poll:j1", 60), await one.acquire("poll:j1", 60)] == [True, False]


async def test_each_of_many_leases_has_one_winner(machines: Machines) -> None:
    """They are taken together, in several statements at the same time."""
    winners: list[str] = []

    async def acquire(journal: PostgresJournal, name: str) -> None:
        is_ours = await journal.replicas.acquire(name, 60)
        assert is_ours is not None
        if is_ours:
            winners.append(name)

    names = [f"poll:j{number}" for number in range(300)]
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(acquire, machines[0], name)
        for name in reversed(names):
            tasks.start_soon(acquire, machines[1], name)
    assert sorted(winners) == sorted(names)


async def test_cancelled_claim_takes_no_other_with_it(machines: Machines) -> None:
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


async def test_lease_ends_by_the_database_s_clock(machines: Machines) -> None:
    one, two = (journal.replicas for journal in machines)
    assert await one.acquire("reconcile", -1)
    assert await two.acquire("reconcile", 60)
    assert not await one.acquire("reconcile", 60)


@pytest.mark.parametrize("name", ["poll:" + "ü" * 5_000, "poll:j\0", "poll:\ud800", "poll:"])
async def test_any_name_will_do(machines: Machines, name: str) -> None:
    one, two = (journal.replicas for journal in machines)
    assert [await one.acquire(name, 60), await two.acquire(name, 60)] == [True, False]
    await one.release(name)
    await one.announce(name)


async def test_names_contain_no_address(database: Database, machines: Machines) -> None:
    await machines[0].replicas.acquire("poll:j1-email:studio@example.com:x-bot:luma", 60)
    [(name,)] = database.execute("SELECT name FROM luma_leases")
    assert "@" not in name
    assert name.startswith(f"{API} poll ")


async def test_journals_of_one_process_have_one_lease(database: Database) -> None:
    dsn = database.dsn_of_machine()
    tenants = [PostgresJournal(dsn, api=f"api/{name}", wall_clock=wall_clock) for name in "ab"]
    assert [await tenant.replicas.acquire("reconcile", 60) for tenant in tenants] == [True, True]
    for tenant in tenants:
        await tenant.aclose()


async def test_ended_leases_do_not_pile_up(database: Database) -> None:
    one = open_machine(database)
    await one.replicas.acquire("poll:j1", 60)
    await one.aclose()
    database.execute("UPDATE luma_leases SET until = now() - interval '2 days'")
    two = open_machine(database)
    await two.replicas.acquire("poll:j2", 60)
    await two.aclose()
    assert len(database.execute("SELECT * FROM luma_leases")) == 1


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_nobody_knows_who_has_a_lease_without_the_database(
    machines: Machines, postgres: PostgresServer, mode: str
) -> None:
    one, two = (journal.replicas for journal in machines)
    await one.acquire("reconcile", 60)
    with postgres.stopped(mode):
        assert await one.acquire("reconcile", 60) is None
        await one.announce("j1")
        await one.release("reconcile")
    while await two.acquire("reconcile", 60) is None:
        # In real time, because psycopg works in it.
        await to_thread.run_sync(threading.Event().wait, 0.05)
    assert await two.acquire("reconcile", 60) is False


async def test_nobody_gets_a_lease_that_cannot_be_written(postgres: PostgresServer, machines: Machines) -> None:
    postgres.execute("ALTER ROLE luma SET default_transaction_read_only = on")
    try:
        assert await machines[0].replicas.acquire("reconcile", 60) is None
    finally:
        postgres.execute("ALTER ROLE luma RESET default_transaction_read_only")


# News.


async def test_news_reach_all_machines(database: Database, machines: Machines) -> None:
    one, two = map(News, machines)
    await wait_for_listeners(database, 2)
    await machines[0].replicas.announce("j1")
    await machines[1].replicas.announce("j2 ü", by_webhook=True)
    for news in (one, two):
        assert await news.wait(2) == [("j1", False), ("j2 ü", True)]


async def test_process_listens_once(database: Database) -> None:
    dsn = database.dsn_of_machine()
    journals = [PostgresJournal(dsn, api=f"api/{number}", wall_clock=wall_clock) for number in range(20)]
    all_news = [News(journal) for journal in journals]
    assert len(await wait_for_listeners(database, 1)) == 1
    await journals[0].replicas.announce("j1")
    for news in all_news:
        assert await news.wait() == [("j1", False)]
    all_news[0].end()
    await journals[0].replicas.announce("j2")
    for news in all_news[1:]:
        assert await news.wait() == [("j1", False), ("j2", False)]
    assert all_news[0].heard == [("j1", False)]
    for journal in journals:
        await journal.aclose()
    await wait_until_disconnected(database)


@pytest.mark.parametrize("how", ["dropped", "restarted", "killed"])
async def test_listening_goes_on_after_a_lost_connection(
    database: Database, postgres: PostgresServer, machines: Machines, how: str
) -> None:
    news = News(machines[0])
    pids = await wait_for_listeners(database, 1)
    if how == "dropped":
        postgres.execute(DROP)
    else:
        with postgres.stopped("immediate" if how == "killed" else "fast"):
            pass
    # Some may have been missed.
    assert await news.wait() == [("", False)]
    await wait_for_listeners(database, 1, but=pids)
    await machines[1].replicas.announce("j1")
    assert await news.wait() == [("", False), ("j1", False)]


async def test_listener_has_an_address_of_its_own(database: Database) -> None:
    listen = database.dsn_of_machine()
    journal = PostgresJournal(database.dsn_of_machine(), api=API, wall_clock=wall_clock, listen=listen)
    news = News(journal)
    await wait_for_listeners(database, 1)
    await journal.replicas.announce("j1")
    assert await news.wait() == [("j1", False)]
    await journal.aclose()


# Polls.


async def count_polls(simulator: Simulator, *services: VideoService, prompt: str) -> tuple[int, list[float]]:
    """Order with the first, and wait with all; the number of polls, and when each has seen the end."""
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


async def test_two_servers_have_one_stream_of_polls(start_service: StartService, simulator: Simulator) -> None:
    one, two, three = start_service(), start_service(), start_service()
    alone, _ = await count_polls(simulator, one, prompt="Alone")
    together, ends = await count_polls(simulator, one, two, three, prompt="Together")
    assert alone > 5
    # Each of the others confirms the end once.
    assert together <= alone + 2
    assert max(ends) <= 50 + 10


async def test_both_poll_while_the_database_is_gone(
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

    async def note(_: object) -> None:
        waiting.set()

    async def follow() -> None:
        found = await two.wait(job.jobid, 6000, on_seen=note)
        ends.append((found.state, anyio.current_time()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await waiting.wait()
        assert isinstance(two.journal, PostgresJournal)
        news = News(two.journal)
        await wait_for_listeners(database, 1)
        simulator.service.jobs[job.jobid].seconds = 0
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(hooks)) as client:
            assert (await client.post(simulator.orders[-1]["replyUrl"])).status_code == 204
        assert await news.wait() == [(job.jobid, True)]
        called_at = anyio.current_time()
    assert ends == [("completed", called_at)]
    await hooks.aclose()


# Connections.


async def test_forty_journals_share_a_few_connections(database: Database) -> None:
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


async def test_journals_that_wait_for_a_lock_stop_no_other(database: Database) -> None:
    """Those of one credential occupy one connection, however many they are."""
    dsn = database.dsn_of_machine()
    waiting = [PostgresJournal(dsn, api=f"busy/{number}", wall_clock=wall_clock) for number in range(6)]
    other = PostgresJournal(dsn, api="other", wall_clock=wall_clock)
    # It makes the tables.
    await other.list_latest(1)
    inserted: list[int] = []

    async def order(number: int) -> None:
        await insert(waiting[number], build_order())
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
    for journal in (*waiting, other):
        await journal.aclose()


# Clocks.


APART = pytest.mark.parametrize("ahead", [60, -60])


class DatedTransport(FaultyOrders):
    """Its responses have the API's time, like those of real servers."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        response.headers["date"] = format_datetime(wall_clock(), usegmt=True)
        return response


@APART
async def test_limit_holds_though_clocks_differ(
    start_service: StartService, simulator: Simulator, ahead: float
) -> None:
    """The API shows no time here, and one server's order is pending while another one checks the limit."""
    wrong, right = start_service(clock_ahead=ahead), start_service(max_jobs_per_hour=1)
    order = build_order("other", at=wall_clock() + timedelta(seconds=ahead))
    assert await wrong.journal.insert_pending(order, allow_duplicate=False, windows=()) is None
    with pytest.raises(LimitReached):
        await place(right, "A cat")
    assert simulator.service.jobs == {}


@APART
async def test_order_of_a_killed_server_is_found_though_clocks_differ(
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


@APART
async def test_order_is_not_repeated_though_clocks_differ(
    start_service: StartService, simulator: Simulator, ahead: float
) -> None:
    """Nothing shows when it was placed: its server was killed, and the API shows no time."""
    killed = start_service(FaultyOrders(simulator, Fault.KILLED_AFTER), clock_ahead=ahead)
    with pytest.raises((ProcessKilled, BaseExceptionGroup)):
        await place(killed)
    await pass_time(5)
    with suppress(OutcomeUnknown):
        await place(start_service(clock_ahead=-ahead))
    assert len(simulator.service.jobs) == 1


@APART
async def test_heartbeats_are_compared_by_change(
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
