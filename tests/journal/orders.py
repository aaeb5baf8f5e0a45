"""Helpers for the tests of the journal: journals, orders and other processes."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint

from luma_mcp.api.protocol import Job, VideoRequest
from luma_mcp.journal.protocol import Order
from luma_mcp.journal.sqlite import RETRY_SECONDS, SqliteJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from tests.postgres.server import Database

    from luma_mcp.journal.protocol import Journal, OrderState

    Place = Path | Database

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
API = "an API and a token"
BUSY_SECONDS = 0.01
"""How long a journal waits for a locked file. It is real time, because SQLite waits, not the event loop."""
LONG = 60.0
"""The same for locks that are released. Only a failing test waits this long."""


class Clock:
    """A clock in seconds, for the interval after which a file is tried again."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def pass_retry_time(self) -> None:
        self.seconds += RETRY_SECONDS + 1


@asynccontextmanager
async def open_journal(
    place: Place | None,
    *,
    api: str = API,
    now: datetime = NOW,
    wall_clock: Callable[[], datetime] | None = None,
    clock: Callable[[], float] = Clock(),  # noqa: B008 - it does not advance unless a test advances its own
    movable: bool = True,
    busy_seconds: float = BUSY_SECONDS,
) -> AsyncIterator[Journal]:
    time_of_day = wall_clock or (lambda: now)
    journal: Journal
    if place is None or isinstance(place, Path):
        journal = SqliteJournal(
            place, api=api, wall_clock=time_of_day, clock=clock, movable=movable, busy_seconds=busy_seconds
        )
    else:
        # Imported here: most tests run without it.
        from luma_mcp.journal.postgres import PostgresJournal

        journal = PostgresJournal(place.dsn_of_machine(), api=api, wall_clock=time_of_day, clock=clock)
    try:
        yield journal
    finally:
        await journal.aclose()


def build_order(key: str = "fox", *, prompt: str = "A fox", at: datetime = NOW, save: bool = False) -> Order:
    request = VideoRequest(prompt=prompt, model="ray-v3", resolution="draft", duration="5s")
    return Order(key, request, at, save=save)


async def insert(journal: Journal, order: Order, *, allow_duplicate: bool = False) -> Order | None:
    return await journal.insert_pending(order, allow_duplicate=allow_duplicate, windows=())


async def send(journal: Journal, key: str = "fox", *, at: datetime = NOW) -> Order:
    """Insert an order and mark it as being sent."""
    order = build_order(key, at=at)
    assert await insert(journal, order, allow_duplicate=True) is None
    assert await journal.mark_sending(order)
    return order


async def start_job(journal: Journal, jobid: str, key: str = "fox", *, at: datetime = NOW) -> Order:
    """Insert an order whose job is running."""
    order = await send(journal, key, at=at)
    await journal.record_job(order, jobid)
    return order


async def states(journal: Journal) -> dict[str, tuple[OrderState, str | None]]:
    """Get the state and the jobid of every order that was sent, by key."""
    return {order.key: (order.state, order.jobid) for order in await journal.list_latest(99)}


def build_job(jobid: str, status: str, *, seconds: float = 60, **fields: Any) -> Job:
    ended = datetime.fromtimestamp(NOW.timestamp() + seconds, UTC)
    return Job(jobid, status, created=NOW.isoformat(), updated=ended.isoformat(), **fields)


async def let_others_run() -> None:
    """Let other tasks and threads run as far as possible, without using virtual time, which waits for threads."""
    for _ in range(1000):
        await checkpoint()


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Hold the lock of another connection that writes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


@contextmanager
def opening_lock(path: Path) -> Iterator[None]:
    """Hold the lock of another process that is opening or moving the file."""
    with closing(sqlite3.connect(path.with_name(f"{path.name}.lock"), isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield


async def degrade(journal: Journal, path: Path) -> None:
    """Make a journal use memory, with a lock that is released again."""
    with writer_lock(path):
        await journal.mark_gone("no job")
    assert journal.problem is not None


def execute(place: Place, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Execute a statement, in SQLite's dialect, as another program would."""
    if not isinstance(place, Path):
        return place.execute(re.sub(r"\b(orders|assets|parts)\b", r"luma_\1", sql).replace("?", "%s"), *values)
    with closing(sqlite3.connect(place, isolation_level=None)) as database:
        return database.execute(sql, values).fetchall()


def python_environment() -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def start_program(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process that waits for lines on its standard input."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=python_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def send_line(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def finish(process: subprocess.Popen[str]) -> int:
    """Close the standard streams of a process and wait for its end. Returns its exit code."""
    process.communicate(timeout=60)
    return process.returncode
