"""Real processes share a file that they create together, that is replaced, and that is locked during a kill."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.journal.orders import (
    LONG,
    Clock,
    build_order,
    execute,
    finish,
    insert,
    let_others_run,
    open_journal,
    send,
    start_program,
    states,
    wait_for_line,
    writer_lock,
)

from luma_mcp.journal.sqlite import check_health

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from luma_mcp.journal.protocol import Order

PLACE_ORDERS = """
import sys
from contextlib import AsyncExitStack
from pathlib import Path
import anyio
from tests.journal.orders import build_order, insert, open_journal

async def place(journal, key):
    order = build_order(key)
    while await insert(journal, order) is None:
        if await journal.mark_sending(order):
            return "sent"
    return "duplicate"

async def main(busy_seconds):
    journals = {}
    print("ready", flush=True)
    async with AsyncExitStack() as stack:
        for line in sys.stdin:
            path, key = line.split()
            if path not in journals:
                opening = open_journal(Path(path), busy_seconds=float(busy_seconds))
                journals[path] = await stack.enter_async_context(opening)
            outcome = await place(journals[path], key)
            print(outcome, journals[path].problem or "in the file", flush=True)

anyio.run(main, *sys.argv[1:])
"""
SENT, DUPLICATE = "sent in the file", "duplicate in the file"
LOCKED = "sent another process keeps the file locked"
CREATORS, ROUNDS = 6, 20
INSERT_ASSET = "INSERT INTO assets VALUES ('api', ?, 'account', 'ref', 0, NULL, NULL)"


class OrderProcess:
    """A process that places orders, and keeps each journal open from its first order on."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self.program = program

    def begin(self, path: Path, key: str = "fox") -> None:
        assert self.program.stdin is not None
        self.program.stdin.write(f"{path} {key}\n")
        self.program.stdin.flush()

    def end(self) -> str:
        """Read whether the order was sent, and where it is recorded."""
        return wait_for_line(self.program)

    def place(self, path: Path, key: str = "fox") -> str:
        self.begin(path, key)
        return self.end()

    def kill(self) -> None:
        self.program.kill()
        finish(self.program)


@contextmanager
def running(count: int, *, busy_seconds: float = LONG) -> Iterator[list[OrderProcess]]:
    with ExitStack() as stack:
        processes = []
        for _ in range(count):
            program = start_program(PLACE_ORDERS, busy_seconds)
            stack.callback(finish, program)
            processes.append(OrderProcess(program))
        for process in processes:
            assert wait_for_line(process.program) == "ready"
        yield processes


def place_at_once(processes: list[OrderProcess], path: Path, key: str) -> list[str]:
    for process in processes:
        process.begin(path, key)
    return sorted(process.end() for process in processes)


def list_spills(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{path.name}.*.spill"))


def remove(path: Path) -> None:
    path.unlink()


def move_away(path: Path) -> None:
    path.replace(path.with_name("moved.db"))


def replace_by_backup(path: Path) -> None:
    copy = path.with_name("copy.db")
    shutil.copyfile(path.with_name("backup.db"), copy)
    copy.replace(path)


def overwrite_with_backup(path: Path) -> None:
    path.write_bytes(path.with_name("backup.db").read_bytes())


# The file is created.


def test_processes_that_create_the_file_together_share_it(tmp_path: Path) -> None:
    with running(CREATORS) as processes:
        for number in range(ROUNDS):
            path = tmp_path / str(number) / "journal.db"
            assert place_at_once(processes, path, "fox") == [DUPLICATE] * (CREATORS - 1) + [SENT]
            assert execute(path, "SELECT state FROM orders") == [("sent",)]


# The file is replaced while two processes have it open.


@pytest.mark.parametrize("replace", [remove, move_away, replace_by_backup])
def test_open_orders_survive_a_replaced_file(path: Path, replace: Callable[[Path], None]) -> None:
    """Even orders survive that are missing from the new file, because the processes have read them in the old one."""
    with running(2) as [first, second]:
        assert first.place(path, "dog") == SENT
        assert second.place(path, "dog") == DUPLICATE
        shutil.copyfile(path, path.with_name("backup.db"))
        for number in range(3):
            key = f"fox{number}"
            assert first.place(path, key) == SENT
            replace(path)
            assert place_at_once([second, first], path, key) == [DUPLICATE, DUPLICATE]
            assert place_at_once([first, second], path, f"cat{number}") == [DUPLICATE, SENT]
            assert second.place(path, "dog") == DUPLICATE
    assert check_health(path).state == "ok"


def test_overwritten_file_is_shared(path: Path) -> None:
    """Orders since the backup are lost, but no process continues with the content of its cache."""
    with running(2) as processes:
        assert place_at_once(processes, path, "dog") == [DUPLICATE, SENT]
        shutil.copyfile(path, path.with_name("backup.db"))
        for number in range(3):
            for key in (f"fox{number}", f"cat{number}"):
                assert place_at_once(processes, path, key) == [DUPLICATE, SENT]
            overwrite_with_backup(path)
            for key in (f"hen{number}", f"cat{number}"):
                assert place_at_once(processes, path, key) == [DUPLICATE, SENT]
            assert place_at_once(processes, path, "dog") == [DUPLICATE, DUPLICATE]
    assert check_health(path).state == "ok"


async def test_reading_a_replaced_file_does_not_damage_the_new_one(path: Path) -> None:
    """SQLite would roll back the `-journal` of a process that writes to the new file, which has the same name."""
    async with open_journal(path, busy_seconds=LONG) as journal:
        await send(journal, "dog")
        shutil.copyfile(path, path.with_name("backup.db"))
        await send(journal, "fox")
        replace_by_backup(path)
        found: list[Order | None] = []

        async def place() -> None:
            found.append(await insert(journal, build_order("fox")))

        async with anyio.create_task_group() as tasks:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                # More than its cache holds, so that it writes before the end of the transaction.
                other.execute("PRAGMA cache_size = 1")
                other.execute("BEGIN IMMEDIATE")
                other.execute("UPDATE orders SET account = 'changed'")
                other.executemany(INSERT_ASSET, [(f"{number:03}" * 400,) for number in range(200)])
                tasks.start_soon(place)
                await let_others_run()
                other.execute("COMMIT")
        assert [order and order.state for order in found] == ["sent"]
        assert journal.problem is None
    assert execute(path, "SELECT account, state FROM orders WHERE key = 'dog'") == [("changed", "sent")]


def test_log_of_an_earlier_version_is_removed(path: Path) -> None:
    """Otherwise SQLite would apply the rest of the log to a file that replaces this one."""
    with running(2) as processes:
        assert place_at_once(processes, path, "dog") == [DUPLICATE, SENT]
    shutil.copyfile(path, path.with_name("backup.db"))
    assert execute(path, "PRAGMA journal_mode = WAL") == [("wal",)]
    with running(2) as processes:
        assert place_at_once(processes, path, "fox") == [DUPLICATE, SENT]
        assert [file.name for file in path.parent.iterdir() if file.name.endswith(("-wal", "-shm"))] == []
        replace_by_backup(path)
        assert place_at_once(processes, path, "fox") == [DUPLICATE, DUPLICATE]
    assert execute(path, "PRAGMA journal_mode") == [("delete",)]
    assert check_health(path).state == "ok"


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_log_of_another_file_is_not_applied(path: Path, mode: str) -> None:
    """The file was restored from a backup, but not the log next to it."""
    with running(1) as [earlier]:
        assert earlier.place(path, "dog") == SENT
    execute(path, f"PRAGMA journal_mode = {mode}")
    shutil.copyfile(path, path.with_name("backup.db"))
    execute(path, "PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(path, isolation_level=None)) as log:
        log.executemany(INSERT_ASSET, [(f"{number:03}" * 400,) for number in range(200)])
        log.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # The log has a few pages of the file, but none of the pages missing from the backup.
        log.execute("INSERT INTO orders (id, api, key, state, request, ordered_at) VALUES ('', '', '', '', '', 0)")
        left = {suffix: path.with_name(path.name + suffix).read_bytes() for suffix in ("-wal", "-shm")}
    for suffix, content in left.items():
        path.with_name(path.name + suffix).write_bytes(content)
    replace_by_backup(path)
    with running(2) as processes:
        assert place_at_once(processes, path, "fox") == [DUPLICATE, SENT]
        assert place_at_once(processes, path, "fox") == [DUPLICATE, DUPLICATE]
    assert check_health(path).state == "ok"


# A process is killed that recorded an order while the file was locked.


async def test_order_of_a_killed_process_is_recovered(path: Path) -> None:
    with running(1, busy_seconds=0.01) as [killed]:
        assert killed.place(path, "dog") == SENT
        with writer_lock(path):
            assert killed.place(path, "fox") == LOCKED
            assert len(list_spills(path)) == 1
            killed.kill()
    assert execute(path, "SELECT key, state FROM orders") == [("dog", "sent")]
    async with open_journal(path) as journal:
        assert await states(journal) == {"dog": ("sent", None), "fox": ("sent", None)}
        assert await insert(journal, build_order()) is not None
        assert journal.problem is None
    assert list_spills(path) == []


async def test_orders_of_several_killed_processes_are_recovered(path: Path) -> None:
    async with open_journal(path) as journal:
        await journal.list_latest(1)
    with running(3, busy_seconds=0.01) as processes:
        with writer_lock(path):
            for number, process in enumerate(processes):
                assert process.place(path, f"fox{number}") == LOCKED
            assert len(list_spills(path)) == 3
            for process in processes[:2]:
                process.kill()
        async with open_journal(path) as journal:
            assert await states(journal) == {"fox0": ("sent", None), "fox1": ("sent", None)}
        # Its process is still running.
        [left] = list_spills(path)
    # It writes when it ends.
    assert not left.exists()
    assert sorted(execute(path, "SELECT key FROM orders")) == [("fox0",), ("fox1",), ("fox2",)]


async def test_open_journal_recovers_the_order_of_a_killed_process(path: Path) -> None:
    async with open_journal(path) as journal:
        await journal.list_latest(1)
        with running(1, busy_seconds=0.01) as [killed], writer_lock(path):
            assert killed.place(path, "fox") == LOCKED
            killed.kill()
        found = await insert(journal, build_order())
        assert found is not None
        assert found.state == "sent"


async def test_order_of_a_killed_process_is_recovered_after_a_lock(path: Path) -> None:
    """Neither process could write to the file for a while."""
    clock = Clock()
    async with open_journal(path, clock=clock) as journal:
        await journal.list_latest(1)
        with running(1, busy_seconds=0.01) as [killed], writer_lock(path):
            assert killed.place(path, "fox") == LOCKED
            killed.kill()
            await journal.mark_gone("no job")
            assert journal.problem is not None
        clock.pass_retry_time()
        assert await states(journal) == {"fox": ("sent", None)}
    assert list_spills(path) == []
