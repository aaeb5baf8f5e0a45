"""The journal's file: SQLite, shared by all servers of this machine. It never stands in the way of a call.

A file that is locked, damaged, read-only or of a newer version is set aside with one line in the log, and the
work goes on in memory. It is tried again after a while; a damaged one is moved away.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

VERSION = 1
APPLICATION = 0x4C756D61
"""Says in the file's header whose it is."""
BUSY_SECONDS = 3.0
"""How long another process's write is waited for. Each of ours takes a few milliseconds."""
ASIDE_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, api TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, request TEXT NOT NULL,
    account TEXT, ordered_at REAL NOT NULL, sent_at REAL, alive_at REAL,
    jobid TEXT, seconds REAL, credits REAL, error TEXT,
    save INTEGER NOT NULL DEFAULT 0, files TEXT NOT NULL DEFAULT '[]', deleted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS orders_by_key ON orders (api, key);
CREATE INDEX IF NOT EXISTS orders_by_jobid ON orders (api, jobid);
CREATE INDEX IF NOT EXISTS orders_by_time ON orders (api, ordered_at);
CREATE TABLE IF NOT EXISTS assets (
    api TEXT NOT NULL, digest TEXT NOT NULL, account TEXT NOT NULL, asset_ref TEXT NOT NULL, uploaded_at REAL NOT NULL,
    PRIMARY KEY (api, digest, account)
);
"""
_T = TypeVar("_T")


class _NotOurs(Exception):
    """The file belongs to a later version of this program, or to another one: it is not touched."""


class Database:
    """Statements on the file while it can be used, else on memory.

    What this process writes, it also writes to memory: so it knows its own orders whatever becomes of the file.
    What the file has missed meanwhile is carried out on it when it comes back.

    Args:
        path: the file; None: memory alone.
        clock: seconds; tells when a file that could not be used is tried again.
        movable: whether a file that is no database may be moved away: not one that somebody else has named.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic, *, movable: bool = True) -> None:
        self._path = path
        self._clock = clock
        self._movable = movable
        self._memory = _prepared(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
        self._file: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None
        self._missed: list[Callable[[sqlite3.Connection], Any]] = []
        self._aside_until = float("-inf")
        self._told = ""

    def close(self) -> None:
        """Closes the file, after a last try to write what it has missed."""
        if self._path and self._missed and self._aside_until < float("inf"):
            self._aside_until = float("-inf")
            self._on_file(lambda _: None, lambda: None)
        self._memory.close()
        self._close_file()

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """The rows that a query finds."""
        return self._on_file(lambda db: rows(db, sql, values), lambda: rows(self._memory, sql, values))

    def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Carries out a piece of work in one transaction; its result, from the file if that can be used."""
        in_memory = transaction(self._memory, work)

        def missed() -> _T:
            if self._path and self._aside_until < float("inf"):
                self._missed.append(work)
            return in_memory

        return self._on_file(lambda db: transaction(db, work), missed)

    def try_to_write(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        """Carries out what may as well be left out: a file that is busy is not waited for, nor set aside."""
        transaction(self._memory, work)
        if self._file:
            with suppress(sqlite3.Error):
                self._file.execute("PRAGMA busy_timeout = 0")
                transaction(self._file, work)
            with suppress(sqlite3.Error):
                self._file.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")

    def remember(self, table: str, row: dict[str, Any]) -> None:
        """Writes a whole row to memory, where it is only for as long as this process."""
        put(self._memory, table, row)

    def _on_file(self, work: Callable[[sqlite3.Connection], _T], otherwise: Callable[[], _T]) -> _T:
        if self._path is None or self._clock() < self._aside_until:
            return otherwise()
        try:
            return work(self._opened(self._path))
        except (sqlite3.Error, OSError, _NotOurs) as fault:
            self._set_aside(self._path, fault)
            return otherwise()

    def _opened(self, path: Path) -> sqlite3.Connection:
        if self._file and self._place == _place(path):
            return self._file
        vanished = self._file is not None
        self._close_file()
        self._file = _connected(path)
        self._place = _place(path)
        if vanished:
            # Somebody has removed it: what this process has ordered goes into the new one.
            for table in ("orders", "assets"):
                for row in rows(self._memory, f"SELECT * FROM {table}", ()):  # noqa: S608 - of these two
                    put(self._file, table, row)
        while self._missed:
            transaction(self._file, self._missed[0])
            self._missed.pop(0)
        return self._file

    def _close_file(self) -> None:
        if self._file:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None

    def _set_aside(self, path: Path, fault: Exception) -> None:
        self._close_file()
        code = getattr(fault, "sqlite_errorcode", None)
        damaged = code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        final = isinstance(fault, _NotOurs) or (damaged and not self._movable)
        self._aside_until = float("inf") if final else self._clock() + ASIDE_SECONDS
        what = "from now on" if final else "for a minute"
        if damaged and self._movable:
            moved = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
            with suppress(OSError):
                path.replace(moved)
                self._aside_until, what = float("-inf"), f"as {moved.name}, and a new one begun"
        if str(fault) != self._told:
            logger.warning("The journal %s is set aside %s: %s", path, what, fault)
        self._told = str(fault)


def _connected(path: Path) -> sqlite3.Connection:
    """The file, ready to be written to.

    Raises:
        sqlite3.Error, OSError: it cannot be used.
        _NotOurs: it must not be.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Prompts and jobids are personal: for this user alone, from the first byte.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    database = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        _check_owner(database)
        path.chmod(0o600)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        return _prepared(database)
    except BaseException:
        database.close()
        raise


def _check_owner(database: sqlite3.Connection) -> None:
    # In one transaction: another process may be making the file at this very moment.
    database.execute("BEGIN")
    [version] = database.execute("PRAGMA user_version").fetchone()
    [owner] = database.execute("PRAGMA application_id").fetchone()
    [tables] = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    database.execute("COMMIT")
    if owner != APPLICATION and (owner or tables):
        raise _NotOurs("it is a database of another program")
    if version > VERSION:
        raise _NotOurs(f"it is of version {version}, newer than this program's {VERSION}")


def _place(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def put(database: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    """Writes a whole row, over one of the same key."""
    names, places = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({places})", tuple(row.values()))  # noqa: S608


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    def work(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)

    transaction(database, work)
    return database


def rows(database: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
    """What a query finds, by the names of its columns."""
    cursor = database.execute(sql, values)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def transaction(database: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    """The result of a piece of work that is carried out whole, or not at all."""
    database.execute("BEGIN IMMEDIATE")
    try:
        result = work(database)
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
    return result
