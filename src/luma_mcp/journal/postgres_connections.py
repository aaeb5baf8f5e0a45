"""The connections of a process to a journal's database: a few, which all its journals share, used in worker threads.

psycopg's messages about a connection are never passed on: they may contain the address, which does not belong in a log.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from pydantic import SecretStr

from luma_mcp.journal.postgres_schema import VERSION, SchemaMismatch, check_schema

MOST_CONNECTIONS = 4
"""Maximum number of connections from one process to one database, besides the one that listens."""
RETRY_SECONDS = 2.0
"""How long a database that could not be reached is left alone."""
BUSY_SECONDS = 5.0
"""How long a connection, another process's transaction or one statement is waited for."""

_CONFLICTS = 5
"""How often a transaction is repeated after a conflict with another one."""
_DEFAULTS: Mapping[str, Any] = {
    "fallback_application_name": "luma-ray-mcp",
    "client_encoding": "utf8",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""Default options of a connection; the address can override them. A dead connection is detected after 15 s."""
_UNREACHABLE = "the database cannot be reached, or refuses the connection"
_LATE = "the database does not answer in time"
_REFUSALS: Mapping[str, str] = {
    "25006": "the database can only be read",
    "53100": "the database has no space left",
    "42501": "the database's user may not do what the journal needs",
}
"""Why the database rejects connections or statements, by SQLSTATE."""
_LATE_STATES = ("55P03", "57014", "25P03")
_CONFLICT_STATES = ("23505", "40001", "40P01")

_T = TypeVar("_T")
Connection = psycopg.Connection[dict[str, Any]]
Use = Literal["read", "write", "lease"]
"""`write`: changes orders, and holds the advisory lock until its end. `lease`: one statement, in no transaction."""


class Unusable(Exception):
    """The database cannot be used now.

    Attributes:
        problem: why, as a neutral clause.
        is_busy: whether something timed out, usually because of other transactions.
        is_lost: whether no connection can be made.
    """

    def __init__(self, problem: str, *, is_busy: bool = False, is_lost: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.is_busy = is_busy
        self.is_lost = is_lost


class Connections:
    """Executes work on the connections of this process to one database, which are made when they are needed.

    Times named `now` are those of the journals' clock, in seconds.

    Attributes:
        holder: names this process in the rows of its leases.
    """

    def __init__(self, dsn: SecretStr) -> None:
        self.holder = secrets.token_hex(8)
        self._dsn = dsn
        self._idle: list[Connection] = []
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        # One connection is reserved for reads, so that they never wait for the orders of other processes.
        self._writers = threading.BoundedSemaphore(MOST_CONNECTIONS - 1)
        # Waiting for an advisory lock occupies a connection, so only one thread of this process waits for each lock.
        self._turns: WeakValueDictionary[int, Turn] = WeakValueDictionary()
        self._mutex = threading.Lock()
        self._users = 0
        # Why the last attempt to connect failed, and when the next one is allowed.
        self._down: str | None = None
        self._retry_at = float("-inf")

    def get_turn(self, lock: int) -> Turn:
        """Get the object that serializes this process's use of an advisory lock."""
        with self._mutex:
            return self._turns.setdefault(lock, Turn(lock))

    def execute(
        self,
        work: Callable[[Connection], _T],
        now: float,
        use: Use,
        *,
        migrate: bool,
        busy_seconds: float,
        turn: Turn | None = None,
        is_last: bool = False,
    ) -> _T:
        """Call `work` in a transaction, and repeat it on a new connection if the first one fails: work is repeatable.

        `turn`: the advisory lock that a `write` holds. `is_last`: try even if connecting failed recently.

        Raises:
            Unusable: whether the transaction was carried out is not known then.
        """
        began = time.monotonic()
        if use != "write":
            turn = None
        if not is_last:
            self._check_reachable(now)
        with self._in_turn(turn, began + busy_seconds), self._slot(began + busy_seconds) as slot:
            if not is_last:
                # Another journal may have failed to connect meanwhile.
                self._check_reachable(now + time.monotonic() - began)
            try:
                result = self._repeat(
                    slot,
                    partial(_execute, work=work, use=use, turn=turn, busy_seconds=busy_seconds),
                    migrate=migrate,
                    busy_seconds=busy_seconds,
                )
            except Unusable as error:
                if error.is_lost:
                    # The attempt itself may have taken longer than the pause, so the pause begins now.
                    self._retry_at = now + time.monotonic() - began + RETRY_SECONDS
                    self._down = error.problem
                raise
            self._down = None
            return result

    def _repeat(self, slot: _Slot, transact: Callable[[Connection], _T], *, migrate: bool, busy_seconds: float) -> _T:
        """Execute a transaction, again after a conflict, and with a new connection if that of the slot fails."""
        conflicts = 0
        while True:
            is_new = slot.connection is None
            try:
                slot.connection = slot.connection or _open(self._dsn, busy_seconds, migrate=migrate)
                return transact(slot.connection)
            except (psycopg.DataError, UnicodeEncodeError):
                # Of what the caller wants to know or to write.
                raise
            except (psycopg.Error, SchemaMismatch, OSError) as error:
                state = getattr(error, "sqlstate", None)
                if state in _CONFLICT_STATES and conflicts < _CONFLICTS:
                    conflicts += 1
                    continue
                is_lost = slot.connection is None or slot.connection.closed
                is_late = state in _LATE_STATES
                if not is_late:
                    slot.discard()
                    if not is_new:
                        continue
                raise Unusable(describe(error), is_busy=is_late, is_lost=is_lost) from None

    def _check_reachable(self, now: float) -> None:
        if self._down and now < self._retry_at:
            raise Unusable(self._down, is_lost=True)

    @contextmanager
    def _in_turn(self, turn: Turn | None, deadline: float) -> Iterator[None]:
        if turn is None:
            yield
            return
        with _acquired(turn.mutex, deadline), _acquired(self._writers, deadline):
            yield

    @contextmanager
    def _slot(self, deadline: float) -> Iterator[_Slot]:
        with _acquired(self._slots, deadline):
            slot = _Slot()
            with self._mutex:
                if self._idle:
                    slot.connection = self._idle.pop()
            try:
                yield slot
            finally:
                with self._mutex:
                    is_kept = self._users > 0 and slot.connection is not None and not slot.connection.closed
                    if is_kept and slot.connection:
                        self._idle.append(slot.connection)
                if not is_kept:
                    slot.discard()

    def add_user(self) -> None:
        """Count a journal that uses them."""
        with self._mutex:
            self._users += 1

    def remove_user(self) -> None:
        """Close them if no other journal uses them."""
        with self._mutex:
            self._users -= 1
            idle: list[Connection] = []
            if self._users <= 0:
                idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(psycopg.Error, OSError):
                connection.close()


@dataclass(frozen=True, eq=False)
class Turn:
    """An advisory lock of the database, by its number; `mutex` admits one of this process at a time."""

    lock: int
    mutex: threading.Lock = field(default_factory=threading.Lock)


class _Slot:
    """The right to one connection, which is made when it is needed."""

    connection: Connection | None = None

    def discard(self) -> None:
        if self.connection:
            with suppress(psycopg.Error, OSError):
                self.connection.close()
        self.connection = None


_SHARED: WeakValueDictionary[str, Connections] = WeakValueDictionary()
_MUTEX = threading.Lock()


def get_connections(dsn: SecretStr) -> Connections:
    """Get the connections that this process has to a database."""
    with _MUTEX:
        return _SHARED.setdefault(dsn.get_secret_value(), Connections(dsn))


@contextmanager
def _acquired(lock: threading.Lock | threading.Semaphore, deadline: float) -> Iterator[None]:
    if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise Unusable(_LATE, is_busy=True)
    try:
        yield
    finally:
        lock.release()


def _execute(
    connection: Connection, work: Callable[[Connection], _T], use: Use, turn: Turn | None, busy_seconds: float
) -> _T:
    if use == "lease":
        return work(connection)
    limit = max(1, round(1000 * busy_seconds))
    # Set for the transaction, not for the session: poolers give the next transaction another session. The last one
    # ends the transaction of a process that hangs, because others wait for its lock.
    begin = f"BEGIN; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}; "
    begin += f"SET LOCAL idle_in_transaction_session_timeout = {2 * limit}"
    if turn:
        begin += f"; SELECT pg_advisory_xact_lock({turn.lock})"
    try:
        connection.execute(begin.encode())
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        raise
    return result


def _open(dsn: SecretStr, busy_seconds: float, *, migrate: bool) -> Connection:
    connection = connect(dsn, busy_seconds)
    try:
        check_schema(connection, migrate=migrate)
        connection.row_factory = dict_row
        # Later than the server ends a statement, if it works.
        connection.longest_wait = 2 * busy_seconds
    except BaseException:
        connection.close()
        raise
    return connection


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that waits for no answer forever: a server or pooler that hangs keeps the connection open.

    Attributes:
        longest_wait: for one answer, in seconds.
    """

    longest_wait = 300.0

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **options: Any) -> _T:
        """Complete an operation, as psycopg does, or raise `psycopg.OperationalError` when that takes too long."""
        return super().wait(_bound(gen, time.monotonic() + self.longest_wait), *args, **options)


def _bound(gen: Generator[Any, Any, _T], deadline: float) -> Generator[Any, Any, _T]:
    """Pass on what an operation waits for. It is resumed several times a second, also if nothing happens."""
    try:
        awaited = next(gen)
        while True:
            ready = yield awaited
            if time.monotonic() > deadline:
                raise psycopg.OperationalError("no answer in time")
            awaited = gen.send(ready)
    except StopIteration as end:
        result: _T = end.value
        return result


def connect(dsn: SecretStr, timeout: float = BUSY_SECONDS) -> BoundedConnection:
    """Connect to a database within `timeout` seconds. Blocks: call it in a thread.

    Raises:
        psycopg.Error: its text may repeat the address.
    """
    given = conninfo_to_dict(dsn.get_secret_value())
    options: dict[str, Any] = {**_DEFAULTS, "connect_timeout": max(2, round(timeout)), **given}
    # Without prepared statements, which poolers lose.
    return BoundedConnection.connect(autocommit=True, prepare_threshold=None, **options)


def describe(error: BaseException) -> str:
    """Describe in a clause why the database cannot be used."""
    if isinstance(error, SchemaMismatch):
        if error.is_newer:
            return f"its tables have version {error.version}, and this program knows {VERSION}: luma-ray-mcp is too old"
        return f"its tables have version {error.version}, and this program needs {VERSION}: they were not migrated"
    state = getattr(error, "sqlstate", None)
    if state in _LATE_STATES:
        return _LATE
    if state is None or state[:2] in ("08", "57"):
        return _UNREACHABLE
    return _REFUSALS.get(state, f"the database reports the error {state}")
