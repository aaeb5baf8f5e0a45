"""Faults of the replicas' database, which they reach through proxies, and of their clocks."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.postgres.server import PostgresServer

LOOPBACK = "127.0.0.1"
TIMEOUT = 30.0
SMALL_DISK = 24 * 1024 * 1024
"""Bytes; the journal of some ten thousand orders."""
STATEMENTS = {
    "the order is recorded": b"INSERT INTO luma_orders",
    "it is marked as sent": b"SET state = 'sent'",
    "its job is recorded": b", state = 'running', claimed",
    "the end of its job is recorded": b", seconds = coalesce(",
    "its delivery is recorded": b"SET delivered = TRUE",
}
"""The steps of an order in the database, and a part of the statement of each."""


@dataclass(eq=False)
class Trap:
    """Waits for a statement at the proxy, and then runs an action.

    Attributes:
        statement: a part of its SQL.
        is_after: whether the transaction is committed first. If not, the database never gets the statement.
        action: called at that point. After that, the connection forwards nothing.
    """

    statement: bytes
    is_after: bool
    action: Callable[[], None]
    was_triggered: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    database: asyncio.StreamWriter
    trap: Trap | None = None
    is_committing: bool = False

    def abort(self) -> None:
        self.client.transport.abort()
        self.database.transport.abort()


class DatabaseProxy:
    """A proxy through which one replica reaches the database. It runs in the thread of `loop`.

    Attributes:
        delay: seconds by which each message is delayed.
        refuses: whether new connections are rejected.
        trap: the next trap; None if there is none.
        holds: set once it has held back a message since it was stalled.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.delay = 0.0
        self.refuses = False
        self.trap: Trap | None = None
        self.holds = threading.Event()
        self._loop = loop
        self._target = target
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: set[_Connection] = set()
        self._forwards = asyncio.Event()

    async def start(self) -> asyncio.Server:
        self._forwards.set()
        return await asyncio.start_server(self._serve, sock=self._listener)

    def drop(self) -> None:
        """Reset all connections."""
        self._loop.call_soon_threadsafe(self._drop)

    def stall(self, *, stalls: bool) -> None:
        """Hold back every message, or forward them again."""
        self.holds.clear()
        self._loop.call_soon_threadsafe(self._forwards.clear if stalls else self._forwards.set)

    def repair(self) -> None:
        """Remove all faults."""
        self.delay, self.refuses, self.trap = 0.0, False, None
        self.stall(stalls=False)

    def _drop(self) -> None:
        for connection in self._connections:
            connection.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        try:
            responses, database = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, database)
        self._connections.add(connection)
        tasks = [
            asyncio.ensure_future(self._forward_requests(reader, connection)),
            asyncio.ensure_future(self._forward_responses(responses, connection)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await task
        self._connections.discard(connection)
        connection.abort()

    async def _forward_requests(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while data := await reader.read(65_536):
            await self._delay()
            trap = self.trap
            if trap and trap.statement in data:
                self.trap = None
                if not trap.is_after:
                    self._trigger(trap)
                    return
                connection.trap = trap
            elif connection.trap and b"COMMIT" in data:
                connection.is_committing = True
            connection.database.write(data)
            await connection.database.drain()

    async def _forward_responses(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while data := await reader.read(65_536):
            if connection.trap and connection.is_committing:
                self._trigger(connection.trap)
                return
            await self._delay()
            connection.client.write(data)
            await connection.client.drain()

    async def _delay(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self._forwards.is_set():
            self.holds.set()
        await self._forwards.wait()

    def _trigger(self, trap: Trap) -> None:
        trap.action()
        trap.was_triggered.set()


@contextmanager
def running_proxies(target: int, count: int) -> Iterator[list[DatabaseProxy]]:
    """Run `count` proxies for the port `target` in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies")
    thread.start()
    proxies = [DatabaseProxy(loop, target) for _ in range(count)]
    servers: list[asyncio.Server] = []
    try:
        starting = [asyncio.run_coroutine_threadsafe(proxy.start(), loop) for proxy in proxies]
        servers += [each.result(TIMEOUT) for each in starting]
        yield proxies
    finally:

        async def end() -> None:
            for server in servers:
                server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(TIMEOUT)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def small_disk(postgres: PostgresServer) -> Iterator[Path | None]:
    """Put new tables on a separate small disk. Yields None where this process may not mount one."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not mount or not umount or postgres.user is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="luma-disk-") as name:
        folder = Path(name)
        command = [mount, "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", name]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            tables = folder / "tables"
            tables.mkdir()
            shutil.chown(tables, postgres.user)
            folder.chmod(0o755)
            postgres.execute(f"CREATE TABLESPACE small LOCATION '{tables}'")
            postgres.execute("ALTER DATABASE postgres SET default_tablespace = 'small'")
            yield folder
        finally:
            subprocess.run([umount, "-l", name], capture_output=True, check=False)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Fill a disk while the block runs."""
    filler = folder / "filler"
    try:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 65_536) == 65_536:
                pass
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(b"\0" * 4096) == 4096:
                pass
        yield
    finally:
        filler.unlink(missing_ok=True)


@contextmanager
def wrong_clock() -> Iterator[Path]:
    """Build the library of clock.c, for LD_PRELOAD."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("cc is missing (Debian: apt-get install gcc libc6-dev)")
    with tempfile.TemporaryDirectory(prefix="luma-clock-") as name:
        library = Path(name) / "clock.so"
        source = Path(__file__).with_name("clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        yield library
