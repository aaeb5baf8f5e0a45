"""What the processes that share a journal's database agree on: leases as rows, announcements with LISTEN and NOTIFY.

A lease is a row and no lock of a session, because poolers give a process another session for each transaction. An
announcement is only a hint: it is lost while the listening connection is being made again.
"""

# ruff: noqa: S608 - statements are composed of constants; every value is bound
from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any
from weakref import WeakValueDictionary

import anyio
import anyio.lowlevel
import psycopg
from anyio import from_thread, to_thread
from anyio.lowlevel import EventLoopToken
from pydantic import SecretStr

from luma_mcp.journal.postgres_connections import RETRY_SECONDS, Connection, Connections, Unusable, connect, describe

logger = logging.getLogger(__name__)

CHANNEL = "luma_jobs"
LONGEST_PAYLOAD = 7_000
"""Bytes of a jobid that is announced; PostgreSQL takes 8,000 of a payload."""
KEEPALIVE_SECONDS = 15.0
"""After so long without announcements the listening connection is checked."""
TIMEOUT = 3.0
"""Timeout of the database, in seconds. It is short, because leases and announcements only save requests and time."""
_BY_WEBHOOK, _BY_POLL = "w", "p"
"""How a payload begins."""
_KEPT = "1 day"
"""How long a lease that has ended stays at most; those of killed processes are removed by others."""

Notify = Callable[[str, bool], None]


class PostgresReplicas:
    """`luma_mcp.journal.protocol.Replicas`, which documents the methods.

    Args:
        connections: of this process to the database.
        listener: receives the announcements of this process.
        scope: prefix that separates the names of leases from those of other credentials.
        clock: seconds; decides when a database that could not be used is tried again.
        migrate, busy_seconds: as for the journal.
    """

    def __init__(
        self,
        connections: Connections,
        listener: Listener,
        *,
        scope: str,
        clock: Callable[[], float],
        migrate: bool,
        busy_seconds: float,
    ) -> None:
        self._connections = connections
        self._listener = listener
        self._scope = scope
        self._clock = clock
        self._options: dict[str, Any] = {"migrate": migrate, "busy_seconds": busy_seconds}
        self._limiter: anyio.CapacityLimiter | None = None
        self._claims: list[_Claim] = []
        self._claiming: anyio.Lock | None = None
        self._suspended_until = float("-inf")
        self._has_cleaned = False
        self._ends: list[Callable[[], None]] = []

    async def acquire(self, name: str, seconds: float) -> bool | None:
        if not self._has_cleaned:
            self._has_cleaned = True
            await self._execute(f"DELETE FROM luma_leases WHERE until < now() - interval '{_KEPT}'")
        if self._claiming is None:
            self._claiming = anyio.Lock()
        claim = _Claim(self._build_name(name), seconds)
        self._claims.append(claim)
        try:
            with anyio.move_on_after(TIMEOUT):
                # The first caller claims the leases of all callers that are waiting: there may be thousands.
                async with self._claiming:
                    if not claim.is_decided:
                        await self._decide(list(self._claims))
        finally:
            self._claims.remove(claim)
        return claim.is_ours

    async def _decide(self, claims: list[_Claim]) -> None:
        """Take the leases that are free, in one statement."""
        wanted = {claim.name: claim.seconds for claim in claims}
        # All processes take leases in the same order, which prevents deadlocks.
        sql = (
            "INSERT INTO luma_leases (name, holder, until) SELECT name, %s, now() + make_interval(secs => seconds) "
            "FROM unnest(%s::text[], %s::float8[]) AS wanted (name, seconds) ORDER BY name "
            "ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until "
            "WHERE luma_leases.holder = EXCLUDED.holder OR luma_leases.until <= now() RETURNING name"
        )
        rows = await self._execute(sql, self._connections.holder, list(wanted), list(wanted.values()))
        taken = None if rows is None else {row["name"] for row in rows}
        for claim in claims:
            claim.is_decided = True
            if taken is not None:
                claim.is_ours = claim.name in taken

    async def release(self, name: str) -> None:
        sql = "DELETE FROM luma_leases WHERE name = %s AND holder = %s"
        await self._execute(sql, self._build_name(name), self._connections.holder)

    async def announce(self, jobid: str, *, by_webhook: bool = False) -> None:
        jobid = jobid.replace("\0", "")
        if len(jobid.encode(errors="replace")) <= LONGEST_PAYLOAD:
            payload = f"{_BY_WEBHOOK if by_webhook else _BY_POLL}{jobid}"
            await self._execute("SELECT pg_notify(%s, %s)", CHANNEL, payload)

    def on_announcement(self, notify: Notify) -> Callable[[], None]:
        end = self._listener.subscribe(notify)
        self._ends.append(end)
        return end

    def close(self) -> None:
        """End all subscriptions. Blocks for a moment: call it in a thread."""
        for end in self._ends:
            end()
        self._ends.clear()

    def _build_name(self, name: str) -> str:
        """Build the name of a lease's row. What follows the colon may be long, and contain an e-mail address."""
        kind, _, rest = name.partition(":")
        digest = blake2b(rest.encode(errors="replace"), digest_size=16).hexdigest()
        return f"{self._scope} {kind} {digest}"

    async def _execute(self, sql: str, *values: Any) -> list[dict[str, Any]] | None:
        """Execute a statement; the rows that it returns, or None if the database cannot be used."""
        now = self._clock()
        if now < self._suspended_until:
            return None
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(2)

        def work(db: Connection) -> list[dict[str, Any]]:
            cursor = db.execute(sql.encode(), values)
            return cursor.fetchall() if cursor.description else []

        run = partial(self._connections.execute, work, now, "lease", **self._options)
        with anyio.move_on_after(TIMEOUT), suppress(Unusable, psycopg.DataError, UnicodeEncodeError):
            return await to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter)
        self._suspended_until = now + RETRY_SECONDS
        return None


@dataclass(eq=False, slots=True)
class _Claim:
    """A lease that a caller wants. `is_ours`: None while that is not known."""

    name: str
    seconds: float
    is_decided: bool = False
    is_ours: bool | None = None


class Listener:
    """Receives the announcements of a database in a thread, on its own connection, while there are subscribers.

    A connection that is lost is made again after a pause.
    """

    def __init__(self, dsn: SecretStr) -> None:
        self._dsn = dsn
        self._mutex = threading.Lock()
        self._subscribers: dict[object, tuple[EventLoopToken, Notify]] = {}
        self._thread: _ListeningThread | None = None

    def subscribe(self, notify: Notify) -> Callable[[], None]:
        """Call `notify` in the current event loop with each announcement; the function that ends it may block."""
        key = object()
        with self._mutex:
            self._subscribers[key] = (anyio.lowlevel.current_token(), notify)
            if self._thread is None:
                self._thread = _ListeningThread(self._dsn, self._publish)
                self._thread.start()
        return partial(self._unsubscribe, key)

    def _unsubscribe(self, key: object) -> None:
        thread = None
        with self._mutex:
            self._subscribers.pop(key, None)
            if not self._subscribers:
                thread, self._thread = self._thread, None
        if thread:
            thread.stop()

    def _publish(self, jobid: str, by_webhook: bool) -> None:
        """Call the subscribers, those of one event loop together."""
        loops: dict[object, tuple[EventLoopToken, list[Notify]]] = {}
        with self._mutex:
            for token, notify in self._subscribers.values():
                loops.setdefault(token.native_token, (token, []))[1].append(notify)
        for token, subscribers in loops.values():
            # An event loop that has ended; its journal was not closed.
            with suppress(RuntimeError):
                from_thread.run_sync(_notify_all, subscribers, jobid, by_webhook, token=token)


def _notify_all(subscribers: list[Notify], jobid: str, by_webhook: bool) -> None:
    for notify in subscribers:
        notify(jobid, by_webhook)


class _ListeningThread(threading.Thread):
    """Calls `publish` with each jobid that is announced, and with "" once it may have missed some."""

    def __init__(self, dsn: SecretStr, publish: Notify) -> None:
        super().__init__(name="luma-announcements", daemon=True)
        self._dsn = dsn
        self._publish = publish
        self._stopped = threading.Event()
        # What is sent here wakes the thread.
        self._awake, self._wake = socket.socketpair()

    def stop(self) -> None:
        """End the thread, and wait for it for a moment."""
        self._stopped.set()
        # Between two connections it ends by itself, perhaps before this.
        with suppress(OSError):
            self._wake.send(b"\0")
        self.join(1.0)

    def run(self) -> None:
        """Listen until it is stopped."""
        may_have_missed = False
        while not self._stopped.is_set():
            try:
                self._listen(may_have_missed=may_have_missed)
            except (psycopg.Error, OSError) as error:
                logger.info("News of other servers are not received at present: %s", describe(error))
            may_have_missed = True
            self._stopped.wait(RETRY_SECONDS)
        self._awake.close()
        self._wake.close()

    def _listen(self, *, may_have_missed: bool) -> None:
        """Listen on a new connection until that is lost."""
        with connect(self._dsn) as connection, selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._awake, selectors.EVENT_READ)
            connection.execute(f"LISTEN {CHANNEL}")
            if may_have_missed:
                self._publish("", False)
            while not self._stopped.is_set():
                if not selector.select(KEEPALIVE_SECONDS):
                    connection.execute("SELECT 1")
                for notice in connection.notifies(timeout=0):
                    self._publish(notice.payload[1:], notice.payload[:1] == _BY_WEBHOOK)


_SHARED: WeakValueDictionary[str, Listener] = WeakValueDictionary()
_MUTEX = threading.Lock()


def get_listener(dsn: SecretStr) -> Listener:
    """Get the listener of this process for the announcements of a database."""
    with _MUTEX:
        return _SHARED.setdefault(dsn.get_secret_value(), Listener(dsn))
