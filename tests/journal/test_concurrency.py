"""A locked file never blocks the event loop. A statement is executed completely or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint
from tests.journal.orders import (
    LONG,
    build_order,
    degrade,
    execute,
    finish,
    insert,
    let_others_run,
    open_journal,
    send,
    send_line,
    start_program,
    states,
    wait_for_line,
    writer_lock,
)

if TYPE_CHECKING:
    from pathlib import Path

HOLD_LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
database.execute("ROLLBACK")
"""
WRITE_TEN = """
import sys
from pathlib import Path
import anyio
from tests.journal.orders import open_journal, start_job

async def main(path, process):
    async with open_journal(Path(path), busy_seconds=60) as journal:
        for number in range(10):
            await start_job(journal, f"j{process}-{number}", f"{process}-{number}")

anyio.run(main, *sys.argv[1:])
"""
RECORD_JOB = """
import sys
from pathlib import Path
import anyio
from tests.journal.orders import open_journal, send

async def main(path):
    async with open_journal(Path(path), busy_seconds=60) as journal:
        guess, order = await send(journal, "guess"), await send(journal, "order")
        await journal.adopt(guess, "j1")
        print("ready", flush=True)
        sys.stdin.readline()
        print("recording", flush=True)
        await journal.record_job(order, "j1")
        print("recorded", flush=True)
        sys.stdin.readline()

anyio.run(main, *sys.argv[1:])
"""


async def test_event_loop_runs_while_another_process_holds_the_lock(path: Path) -> None:
    """The event loop releases the lock. If the loop were blocked, the order would not be written to the file."""
    async with open_journal(path, busy_seconds=LONG) as journal:
        order = await send(journal)
        holder = start_program(HOLD_LOCK, path)
        assert wait_for_line(holder) == "locked"
        recorded = anyio.Event()

        async def record() -> None:
            await journal.record_job(order, "j1")
            recorded.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(record)
            await let_others_run()
            assert not recorded.is_set()
            send_line(holder)
            await recorded.wait()
        assert finish(holder) == 0
        assert journal.problem is None
    assert execute(path, "SELECT state, jobid FROM orders") == [("running", "j1")]


async def test_cancelled_statement_completes_and_returns_its_result(path: Path) -> None:
    """The cancellation is raised at the next checkpoint, so no result is lost."""
    results: list[bool] = []
    ended = anyio.Event()
    async with open_journal(path, busy_seconds=LONG) as journal:
        order = build_order()
        await insert(journal, order)

        async def mark(scope: anyio.CancelScope) -> None:
            with scope:
                results.append(await journal.mark_sending(order))
                await checkpoint()
                results.append(False)
            ended.set()

        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            with writer_lock(path):
                tasks.start_soon(mark, scope)
                await let_others_run()
                scope.cancel()
                await let_others_run()
                assert not ended.is_set()
            await ended.wait()
        assert scope.cancelled_caught
        assert results == [True]
        assert await states(journal) == {"fox": ("sent", None)}


async def test_caller_that_is_already_cancelled_changes_nothing(path: Path) -> None:
    async with open_journal(path) as journal:
        order = await send(journal)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.drop(order)
        assert scope.cancelled_caught
        assert await journal.get(order.id) is not None


async def test_caller_that_is_cancelled_in_the_queue_changes_nothing(path: Path) -> None:
    async with open_journal(path, busy_seconds=LONG) as journal:
        first, second = await send(journal, "first"), await send(journal, "second")
        scope = anyio.CancelScope()

        async def drop_second() -> None:
            with scope:
                await journal.drop(second)

        async with anyio.create_task_group() as tasks:
            with writer_lock(path):
                tasks.start_soon(journal.drop, first)
                await let_others_run()
                tasks.start_soon(drop_second)
                await let_others_run()
                scope.cancel()
                await let_others_run()
        assert await states(journal) == {"second": ("sent", None)}


async def test_closing_cannot_be_cancelled(path: Path) -> None:
    async with open_journal(path) as journal:
        await send(journal, "first")
        await degrade(journal, path)
        await send(journal, "second")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.aclose()
        assert execute(path, "SELECT key FROM orders") == [("first",), ("second",)]


def test_heartbeat_does_not_wait_for_the_lock(path: Path) -> None:
    """Uses real time, because virtual time stops while a thread waits."""

    async def main() -> None:
        async with open_journal(path, busy_seconds=LONG) as journal:
            order = await send(journal)
            with writer_lock(path), anyio.fail_after(LONG / 2):
                await journal.heartbeat(order)
                await checkpoint()
            assert journal.problem is None

    asyncio.run(main())


def test_next_statement_works_after_native_cancellation(path: Path) -> None:
    """Cancellation by asyncio itself does not wait for the thread, which may or may not have started."""

    async def main() -> None:
        async with open_journal(path, busy_seconds=LONG) as journal:
            first, second = await send(journal, "first"), await send(journal, "second")
            with writer_lock(path):
                cancelled = asyncio.create_task(journal.mark_unknown(first))
                await let_others_run()
                cancelled.cancel()
                await asyncio.wait([cancelled])
                next_one = asyncio.create_task(journal.mark_unknown(second))
                await let_others_run()
            await next_one
            assert journal.problem is None
            found = await states(journal)
            assert found["first"] in (("sent", None), ("unknown", None))
            assert found["second"] == ("unknown", None)

    asyncio.run(main())


def test_killed_process_leaves_all_or_nothing_of_a_statement(path: Path) -> None:
    """The statement changes two orders: it moves the job from the order that adopted it to the right one."""
    before = [("guess", "running", "j1"), ("order", "sent", None)]
    after = [("guess", "unknown", None), ("order", "running", "j1")]
    query = "SELECT key, state, jobid FROM orders ORDER BY key"

    process = start_program(RECORD_JOB, path)
    assert wait_for_line(process) == "ready"
    with writer_lock(path):
        send_line(process)
        assert wait_for_line(process) == "recording"
        process.kill()
        finish(process)
    assert execute(path, query) == before
    execute(path, "DELETE FROM orders")

    second = start_program(RECORD_JOB, path)
    assert wait_for_line(second) == "ready"
    send_line(second)
    assert wait_for_line(second) == "recording"
    assert wait_for_line(second) == "recorded"
    second.kill()
    finish(second)
    assert execute(path, query) == after


def test_several_processes_write_at_the_same_time(path: Path) -> None:
    running = [start_program(WRITE_TEN, path, number) for number in range(4)]
    assert [finish(process) for process in running] == [0] * 4
    found = execute(path, "SELECT jobid FROM orders")
    assert sorted(found) == sorted((f"j{index}-{number}",) for index in range(4) for number in range(10))
