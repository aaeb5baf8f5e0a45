"""The journal works whatever the state of its file. What it records meanwhile is written to the file later."""

from __future__ import annotations

import logging
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.journal.files import (
    another_program,
    damage_tables,
    damaged,
    damaged_tables,
    empty_file_of_another_program,
    folder,
    later_major,
    later_minor,
    notes,
    other_tables,
)
from tests.journal.orders import (
    LONG,
    NOW,
    Clock,
    build_job,
    build_order,
    degrade,
    execute,
    finish,
    insert,
    let_others_run,
    open_journal,
    opening_lock,
    send,
    send_line,
    start_job,
    start_program,
    states,
    wait_for_line,
    writer_lock,
)

from luma_mcp.journal.protocol import LimitExceeded, RateWindow
from luma_mcp.journal.sqlite import check_health

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPEN_AND_WRITE = """
import sys
from pathlib import Path
import anyio
from tests.journal.orders import open_journal, start_job

async def main(path, process):
    print("ready", flush=True)
    sys.stdin.readline()
    async with open_journal(Path(path), busy_seconds=60) as journal:
        await start_job(journal, f"j{process}", process)
        assert journal.problem is None, journal.problem

anyio.run(main, *sys.argv[1:])
"""


def list_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def list_damaged_copies(path: Path) -> list[str]:
    return [copy.name for copy in check_health(path).damaged_copies]


# The file cannot be used.


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (later_major, "the file was written by a later version that does not share it"),
        (folder, "the file cannot be used (unable to open database file)"),
        (other_tables, "the file is a database of another program"),
        (another_program, "the file is a database of another program"),
    ],
)
def test_unusable_file_is_reported_once(
    path: Path, make: Callable[[Path], None], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    make(path)

    async def main() -> None:
        clock = Clock()
        async with open_journal(path, clock=clock) as journal:
            assert journal.problem is None
            await start_job(journal, "j1")
            clock.pass_retry_time()
            await start_job(journal, "j2", "cat")
            assert await journal.owned_jobids() == {"j1", "j2"}
            assert journal.problem == problem

    anyio.run(main)
    assert list_warnings(caplog) == [f"The journal {path} is not in use, orders are kept elsewhere: {problem}"]


async def test_journal_works_where_no_file_can_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with open_journal(tmp_path / "file" / "journal.db") as journal:
        await start_job(journal, "j1")
        assert await states(journal) == {"fox": ("running", "j1")}
        assert journal.problem == "the file cannot be used (Not a directory)"


@pytest.mark.parametrize("make", [later_major, notes, other_tables, another_program, empty_file_of_another_program])
def test_file_of_another_program_or_version_is_not_changed(path: Path, make: Callable[[Path], None]) -> None:
    """A setting names the wrong file, or an incompatible version wrote it."""
    path.parent.mkdir()
    make(path)
    path.chmod(0o644)
    for file in path.parent.iterdir():
        if file != path:
            file.unlink()
    content = path.read_bytes()

    async def main() -> None:
        clock = Clock()
        async with open_journal(path, clock=clock, movable=False) as journal:
            await start_job(journal, "j1")
            clock.pass_retry_time()
            assert await states(journal) == {"fox": ("running", "j1")}

    anyio.run(main)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (content, 0o644)
    if make is not later_major:
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_damaged_file_at_a_configured_path_is_not_moved(path: Path) -> None:
    path.parent.mkdir()
    damaged_tables(path)

    async def main() -> None:
        async with open_journal(path, movable=False) as journal:
            await start_job(journal, "j1")
            assert journal.problem == "the file is not a readable database"

    anyio.run(main)
    assert check_health(path).state == "damaged"
    assert list_damaged_copies(path) == []


def test_file_of_a_later_minor_version_is_shared(path: Path) -> None:
    path.parent.mkdir()
    later_minor(path)

    async def main() -> None:
        async with open_journal(path) as journal:
            order = await start_job(journal, "j1")
            execute(path, "UPDATE orders SET cost = 1.5, request = json_set(request, '$.seed', '42')")
            await journal.record_asset("digest", "a@example.com", "ref")
            await journal.record_job(order, "j1")
            await journal.record_state(build_job("j1", "completed"))
            found = await journal.get_by_jobid("j1")
            assert found is not None
            assert (found.state, found.request) == ("completed", order.request)
            assert journal.problem is None

    anyio.run(main)
    assert execute(path, "SELECT cost, json_extract(request, '$.seed') FROM orders") == [(1.5, "42")]
    assert execute(path, "PRAGMA user_version") == [(9,)]


async def test_file_of_a_later_minor_version_keeps_its_columns(path: Path) -> None:
    """They are kept even when writing orders that changed in memory."""
    clock = Clock()
    async with open_journal(path, clock=clock) as journal:
        await start_job(journal, "j1")
        execute(path, "ALTER TABLE orders ADD COLUMN cost REAL")
        execute(path, "UPDATE orders SET cost = 1.5")
        await degrade(journal, path)
        await journal.record_state(build_job("j1", "completed"))
        await send(journal, "cat")
        clock.pass_retry_time()
        assert await states(journal) == {"fox": ("completed", "j1"), "cat": ("sent", None)}
    assert execute(path, "SELECT key, cost FROM orders ORDER BY key") == [("cat", None), ("fox", 1.5)]


# The file is damaged.


@pytest.mark.parametrize("make", [damaged, notes])
def test_damaged_file_is_kept_and_a_new_one_created(
    path: Path, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    make(path)
    content = path.read_bytes()

    async def main() -> None:
        async with open_journal(path) as journal:
            await start_job(journal, "j1")
            assert journal.problem is None

    anyio.run(main)
    assert execute(path, "SELECT jobid FROM orders") == [("j1",)]
    [copy] = list_damaged_copies(path)
    assert path.with_name(copy).read_bytes() == content
    assert list_warnings(caplog) == [f"The journal {path} was damaged; it is kept as {copy}, and a new one was begun"]


def test_damage_that_a_statement_finds_is_repaired(path: Path) -> None:
    path.parent.mkdir()
    damaged_tables(path)

    async def main() -> None:
        async with open_journal(path) as journal:
            assert await journal.list_latest(9) == []
            await start_job(journal, "j1")
            assert journal.problem is None

    anyio.run(main)
    assert execute(path, "SELECT jobid FROM orders") == [("j1",)]
    assert len(list_damaged_copies(path)) == 1


async def test_log_of_a_damaged_file_is_moved_with_it(path: Path) -> None:
    """Another program has the file open in WAL mode, and keeps the log."""
    async with open_journal(path) as journal:
        await journal.list_latest(1)
        execute(path, "PRAGMA journal_mode = WAL")
        await journal.list_latest(1)
        with closing(sqlite3.connect(path)) as other:
            other.execute("SELECT * FROM sqlite_master")
            damage_tables(path)
            files = {suffix: path.with_name(path.name + suffix).stat().st_ino for suffix in ("-wal", "-shm")}
            await start_job(journal, "j1")
            [copy] = list_damaged_copies(path)
            assert {suffix: path.with_name(copy + suffix).stat().st_ino for suffix in files} == files
    assert execute(path, "SELECT jobid FROM orders") == [("j1",)]


async def test_copies_of_damaged_files_are_not_overwritten(path: Path) -> None:
    """The file is damaged several times within a second."""
    path.parent.mkdir()
    for number in range(3):
        path.write_text(f"damage {number}, " * 100)
        async with open_journal(path) as journal:
            await journal.list_latest(1)
        path.unlink()
    assert len(list_damaged_copies(path)) == 3


def test_processes_that_detect_damage_together_share_a_new_file(path: Path) -> None:
    path.parent.mkdir()
    damaged(path)
    processes = [start_program(OPEN_AND_WRITE, path, number) for number in range(4)]
    for process in processes:
        assert wait_for_line(process) == "ready"
    for process in processes:
        send_line(process)
    assert [finish(process) for process in processes] == [0] * 4
    assert sorted(execute(path, "SELECT jobid FROM orders")) == [(f"j{number}",) for number in range(4)]
    assert len(list_damaged_copies(path)) == 1


async def test_new_file_of_another_process_is_not_moved_away(path: Path) -> None:
    """One statement waits for the damaged file's lock while the other process replaces the file."""
    async with open_journal(path, busy_seconds=LONG) as first, open_journal(path, busy_seconds=LONG) as second:
        for journal in (first, second):
            await journal.list_latest(1)
        damage_tables(path)
        async with anyio.create_task_group() as tasks:
            with writer_lock(path):
                tasks.start_soon(start_job, first, "j1")
                await let_others_run()
                # Reading does not wait for the lock.
                assert await second.list_latest(1) == []
            await start_job(second, "j2", "cat")
        assert await states(second) == {"fox": ("running", "j1"), "cat": ("running", "j2")}
        assert first.problem is None
    assert len(list_damaged_copies(path)) == 1


async def test_file_that_is_being_moved_is_not_opened(path: Path) -> None:
    """Otherwise the log of the old file could end up in the new one."""
    clock = Clock()
    async with open_journal(path) as earlier:
        await start_job(earlier, "j0", "dog")
    async with open_journal(path, clock=clock) as journal:
        with opening_lock(path):
            await start_job(journal, "j1")
            assert journal.problem == "another process keeps the file locked"
            assert check_health(path).state == "locked"
        clock.pass_retry_time()
        assert await journal.owned_jobids() == {"j0", "j1"}


async def test_damaged_file_that_is_being_opened_is_not_moved(path: Path) -> None:
    clock = Clock()
    async with open_journal(path, clock=clock) as journal:
        await journal.list_latest(1)
        damage_tables(path)
        with opening_lock(path):
            await start_job(journal, "j1")
            assert journal.problem == "the file is not a readable database"
            assert list_damaged_copies(path) == []
        clock.pass_retry_time()
        assert await journal.owned_jobids() == {"j1"}
        assert journal.problem is None
    assert len(list_damaged_copies(path)) == 1


# The file is locked, and becomes usable again.


async def test_locked_file_is_not_used_for_a_minute(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    async with open_journal(path, clock=clock) as journal:
        await start_job(journal, "j0", "dog")
        with writer_lock(path):
            await start_job(journal, "j1")
            assert await journal.owned_jobids() == {"j0", "j1"}
            assert journal.problem == "another process keeps the file locked"
            clock.pass_retry_time()
            await journal.request_files("j1")
        await start_job(journal, "j2", "cat")
        assert execute(path, "SELECT jobid FROM orders") == [("j0",)]
        clock.pass_retry_time()
        assert await journal.owned_jobids() == {"j0", "j1", "j2"}
        assert journal.problem is None
    assert execute(path, "SELECT jobid, save FROM orders ORDER BY jobid") == [("j0", 0), ("j1", 1), ("j2", 0)]
    assert [record.getMessage() for record in caplog.records] == [
        f"The journal {path} is not in use, orders are kept elsewhere: another process keeps the file locked",
        f"The journal {path} is in use again",
    ]


async def test_reading_does_not_wait_for_a_writer(path: Path) -> None:
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
        with writer_lock(path):
            assert await states(journal) == {"fox": ("running", "j1")}
        assert journal.problem is None


async def test_orders_in_memory_are_written_when_closing(path: Path) -> None:
    async with open_journal(path) as journal:
        await start_job(journal, "j0", "dog")
        await degrade(journal, path)
        await start_job(journal, "j1")
    assert execute(path, "SELECT jobid FROM orders ORDER BY jobid") == [("j0",), ("j1",)]


async def test_memory_starts_with_the_content_of_the_file(path: Path) -> None:
    """Otherwise the same order could be sent and billed twice during a lock."""
    window = RateWindow(1, NOW - timedelta(hours=1), NOW - timedelta(minutes=1), NOW + timedelta(days=1))
    async with open_journal(path) as journal:
        order = await start_job(journal, "j1")
        await journal.record_asset("digest", "a@example.com", "ref")
        await degrade(journal, path)
        found = await insert(journal, build_order())
        assert found is not None
        assert found.id == order.id
        with pytest.raises(LimitExceeded):
            await journal.insert_pending(build_order("cat"), allow_duplicate=False, windows=[window])
        assert await journal.find_asset("digest", "a@example.com") == "ref"


async def test_heartbeat_is_skipped_while_the_file_is_locked(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    times = [NOW]
    async with open_journal(path, wall_clock=lambda: times[-1]) as journal:
        order = await send(journal)
        times.append(NOW + timedelta(seconds=1))
        with writer_lock(path):
            await journal.heartbeat(order)
        found = await journal.get(order.id)
        assert found is not None
        assert found.alive_at == NOW
        await journal.heartbeat(order)
        found = await journal.get(order.id)
        assert found is not None
        assert found.alive_at == times[-1]
    assert list_warnings(caplog) == []


async def test_heartbeat_does_not_shorten_the_wait_of_others(path: Path) -> None:
    async with open_journal(path, busy_seconds=LONG) as journal:
        order = await send(journal)
        await journal.heartbeat(order)
        async with anyio.create_task_group() as tasks:
            with writer_lock(path):
                tasks.start_soon(journal.mark_unknown, order)
                await let_others_run()
        assert journal.problem is None


async def test_heartbeats_are_kept_in_memory_and_written_later(path: Path) -> None:
    times = [NOW]
    async with open_journal(path, wall_clock=lambda: times[-1]) as journal:
        order = await send(journal)
        await degrade(journal, path)
        times.append(NOW + timedelta(seconds=1))
        await journal.heartbeat(order)
        found = await journal.get(order.id)
        assert found is not None
        assert found.alive_at == times[-1]
    assert execute(path, "SELECT alive_at FROM orders") == [(times[-1].timestamp(),)]


async def test_removed_file_is_recreated_with_open_orders(path: Path) -> None:
    """Removing the file deletes the history, but not the orders that are running."""
    async with open_journal(path) as earlier:
        for key in ("running", "completed"):
            await start_job(earlier, key, key, at=NOW - timedelta(hours=2))
        completed = build_job("completed", "completed")
        await earlier.record_state(replace(completed, created=(NOW - timedelta(hours=2)).isoformat()))
        await earlier.record_asset("digest", "a@example.com", "ref")
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
        await journal.record_state(build_job("j1", "completed"))
        await insert(journal, build_order("pending"))
        for file in path.parent.iterdir():
            file.unlink()
        await start_job(journal, "j2", "cat")
        assert await journal.find_asset("digest", "a@example.com") == "ref"
        assert journal.problem is None
    assert sorted(execute(path, "SELECT jobid FROM orders")) == [("j1",), ("j2",), ("running",)]


@pytest.mark.parametrize("renewed", [False, True])
async def test_file_removed_while_locked_gets_open_orders(path: Path, renewed: bool) -> None:
    """Another process may have created the new file."""
    clock = Clock()
    async with open_journal(path, clock=clock) as journal:
        for jobid in ("unchanged", "changed"):
            await start_job(journal, jobid, jobid)
        await degrade(journal, path)
        await journal.request_files("changed")
        if renewed:
            # The old file still exists. Otherwise the new one could get the same inode number.
            path.rename(path.with_name("old.db"))
            async with open_journal(path) as other:
                await other.list_latest(1)
        else:
            path.unlink()
        clock.pass_retry_time()
        await send(journal, "new")
        assert journal.problem is None
    expected = [("changed", "running", 1), ("new", "sent", 0), ("unchanged", "running", 0)]
    assert execute(path, "SELECT key, state, save FROM orders ORDER BY key") == expected


async def test_file_is_used_again_despite_a_malformed_order(path: Path) -> None:
    clock = Clock()
    async with open_journal(path, clock=clock) as journal:
        await start_job(journal, "j1")
        execute(path, "UPDATE orders SET state = 'odd', save = 'no', alive_at = 'now', files = 'none', seconds = x'00'")
        await degrade(journal, path)
        await journal.request_files("j1")
        clock.pass_retry_time()
        await start_job(journal, "j2", "cat")
        assert journal.problem is None
    assert execute(path, "SELECT jobid, save FROM orders ORDER BY jobid") == [("j1", 1), ("j2", 0)]


async def test_journal_uses_empty_memory_for_an_unreadable_file(path: Path) -> None:
    """Another program holds a lock that prevents even reading."""
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
    clock = Clock()
    async with open_journal(path, clock=clock) as journal:
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("PRAGMA locking_mode = EXCLUSIVE")
            holder.execute("BEGIN EXCLUSIVE")
            assert await states(journal) == {}
            order = await start_job(journal, "j2", "cat")
            holder.execute("ROLLBACK")
        clock.pass_retry_time()
        assert await states(journal) == {"fox": ("running", "j1"), "cat": ("running", "j2")}
        assert await journal.get(order.id) is not None
