"""The journal's file: SQLite, shared by all servers of this machine. It never stands in the way of a call.

A file that is locked, damaged, read-only or of a newer version is set aside with one line in the log, and the
work goes on in memory. One that was only locked is tried again after a while; a damaged one is moved away.
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
BUSY_SECONDS = 1.0
"""How long another process's write is waited for. Each of ours takes a few milliseconds."""
LAST_BUSY_SECONDS = 5.0
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


class _Newer(Exception):
    """The file was written by a later version of this program."""


class Database:
    """Statements on the file while it can be used, else on memory.

    What this process writes, it also writes to memory: so it knows its own orders whatever becomes of the file,
    and can write them there when it comes back.

    Args:
        path: the file; None: memory alone.
        clock: seconds; tells when a file that was locked is tried again.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._memory = _prepared(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
        self._file: sqlite3.Connection | None = None
        self._locked = False
        self._aside_until = float("-inf")

    def close(self) -> None:
        """Closes the file; one that was locked gets what it has missed, if it can be had now."""
        if self._path and self._file is None and self._locked:
            with suppress(sqlite3.Error, OSError, _Newer):
                self._file = self._opened(self._path, LAST_BUSY_SECONDS)
        self._memory.close()
        if self._file:
            self._file.close()
            self._file = None

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """The rows that a query finds."""
        return self._on_file(lambda db: rows(db, sql, values), lambda: rows(self._memory, sql, values))

    def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Carries out a piece of work in one transaction; its result, from the file if that can be used."""
        in_memory = _transaction(self._memory, work)
        return self._on_file(lambda db: _transaction(db, work), lambda: in_memory)

    def remember(self, table: str, row: dict[str, Any]) -> None:
        """Writes a whole row to memory, where it is only for as long as this process."""
        put(self._memory, table, row)

    def _on_file(self, work: Callable[[sqlite3.Connection], _T], otherwise: Callable[[], _T]) -> _T:
        if self._path is None or self._clock() < self._aside_until:
            return otherwise()
        try:
            if self._file is None:
                self._file = self._opened(self._path, BUSY_SECONDS)
            return work(self._file)
        except (sqlite3.Error, OSError, _Newer) as fault:
            self._set_aside(self._path, fault)
            return otherwise()

    def _opened(self, path: Path, busy: float) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Prompts and jobids are personal: for this user alone, from the first byte.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
        database = sqlite3.connect(path, isolation_level=None, timeout=busy, check_same_thread=False)
        try:
            _check_version(database)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            _prepared(database)
            for table in ("orders", "assets"):
                for row in rows(self._memory, f"SELECT * FROM {table}", ()):  # noqa: S608 - of these two
                    put(database, table, row)
        except BaseException:
            database.close()
            raise
        self._locked = False
        return database

    def _set_aside(self, path: Path, fault: Exception) -> None:
        if self._file:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None
        code = getattr(fault, "sqlite_errorcode", None)
        damaged = code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        locked = self._locked = code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        self._aside_until = self._clock() + ASIDE_SECONDS if locked or damaged else float("inf")
        what = "for a minute" if locked else "from now on"
        if damaged:
            moved = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
            with suppress(OSError):
                path.replace(moved)
                self._aside_until, what = float("-inf"), f"as {moved.name}, and a new one begun"
        logger.warning("The journal %s is set aside %s: %s", path, what, fault)


def put(database: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    """Writes a whole row, over one of the same key."""
    names, places = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({places})", tuple(row.values()))  # noqa: S608


def _check_version(database: sqlite3.Connection) -> None:
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise _Newer(f"it is of version {version}, newer than this program's {VERSION}")


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    database.executescript(_SCHEMA)
    database.execute(f"PRAGMA user_version = {VERSION}")
    return database


def rows(database: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
    """What a query finds, by the names of its columns."""
    cursor = database.execute(sql, values)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _transaction(database: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    database.execute("BEGIN IMMEDIATE")
    try:
        result = work(database)
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
    return result
