"""Stop a server without cutting its calls: those in progress finish, and a new process takes over the rest.

A signal begins it. New connections are still accepted for a while, because load balancers need that to notice; new
calls then do not wait for their jobs. Calls that wait go on, and answer in time that the job still runs. What has not
finished when the time is up is ended, but an order that is on its way to the API gets its answer. A second signal ends
the process at once.

uvicorn's own shutdown cannot be used here: as soon as its `should_exit` is set, sse-starlette cuts all streams, which
are the answers to calls of protocol 2025-11-25.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from pydantic import SecretStr
from uvicorn.protocols.http.h11_impl import H11Protocol

from luma_mcp.api.polling import Waits
from luma_mcp.settings import Settings

logger = logging.getLogger(__name__)

# Seconds for the calls that a single server accepts last, which do not wait.
LAST_CALLS = 1.0
# Seconds after which no request is expected any more on a new connection.
FIRST_REQUEST = 1.0
# Seconds during which a replica accepts connections after the signal: load balancers ask every few seconds, and proxies
# end connections that are idle for five.
NOTICE = 6.0
# Seconds after the last answer: a client may list the tools before it believes the result of a call.
LINGER = 0.3
# Seconds between the end of the waits and the end of the drain, for the results of the calls.
RESULTS = 15.0
# Seconds for an order whose answer is still missing at the end: longer than the API clients wait for one.
ORDERS = 45.0
_LISTEN = (b"mcp-method", b"subscriptions/listen")


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """How a server is stopped, in seconds after the signal.

    Attributes:
        least: how long it takes even if no call is in progress.
        accepting: until when new connections are accepted.
        waits: when the last wait ends.
        end: when everything ends.
    """

    least: float
    accepting: float
    waits: float
    end: float


# A server on its owner's machine should end quickly; the owner can look up running jobs afterwards.
LOCAL = DrainTimes(least=0, accepting=9, waits=0, end=10)


def find_times(settings: Settings) -> DrainTimes:
    """Find how a server is stopped: after LUMA_MCP_DRAIN_SECONDS, unless it is for its owner's machine alone."""
    if settings.has_local_files and settings.public_url is None:
        return LOCAL
    end = float(settings.drain_seconds)
    waits = end - min(RESULTS, end / 2)
    if isinstance(settings.journal, SecretStr):
        # Other replicas serve the clients meanwhile.
        notice = min(NOTICE, end / 3)
        return DrainTimes(notice, notice, waits, end)
    # A single server keeps accepting calls until shortly before the end, because no other one could serve them.
    return DrainTimes(0, end - min(LAST_CALLS, end / 10), waits, end)


def cap_waits(settings: Settings) -> Settings:
    """Cap the waits of a server for many, so that each of them ends by itself during a drain."""
    times = find_times(settings)
    if times is LOCAL:
        return settings
    return replace(settings, max_wait_seconds=min(settings.max_wait_seconds, int(times.waits)))


class TimedProtocol(H11Protocol):
    """HTTP/1.1. `opened_at`: when the connection was made, by the event loop's clock."""

    opened_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the time."""
        self.opened_at = self.loop.time()
        super().connection_made(transport)


class DrainingServer(uvicorn.Server):
    """A uvicorn server of `TimedProtocol` that is drained at the first signal.

    Args:
        config: uvicorn's configuration.
        times: how it is stopped.
        waits: the waits of its calls.
        alongside: a context that outlives the server, such as that of the metrics server.

    Attributes:
        first_signal: the signal that began the drain; None as long as there was none.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        times: DrainTimes,
        waits: Waits,
        alongside: AbstractAsyncContextManager[None] | None = None,
    ) -> None:
        super().__init__(config)
        self.config.timeout_graceful_shutdown = math.ceil(ORDERS)
        self.first_signal: int | None = None
        self._times = times
        self._waits = waits
        self._alongside = alongside
        self._stack = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began: float | None = None
        # When a call was in progress last, by the event loop's clock.
        self._busy_at = -math.inf
        self._is_listening = True
        self._listeners: list[socket.socket] = []
        self._accepted: list[asyncio.Task[Any]] = []

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it has been drained, and then raise the signal again that began it."""
        super().run(sockets)
        if self.first_signal is not None:
            signal.raise_signal(self.first_signal)

    @property
    def is_draining(self) -> bool:
        """Whether it is being stopped."""
        return self.first_signal is not None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        self._listeners = sockets or []
        if self._alongside:
            await self._stack.enter_async_context(self._alongside)
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Begin to drain, or end at once."""
        if self.is_draining or self._loop is None:
            # Exit at once, like the server on stdin, without waiting for anything.
            os._exit(128 + sig)
        self.first_signal = sig
        self._loop.call_soon_threadsafe(self._begin)

    async def on_tick(self, counter: int) -> bool:
        """Return whether everything has ended; uvicorn calls it every 100 ms."""
        should_exit = await super().on_tick(counter)
        if self._began is None:
            return should_exit
        now = asyncio.get_running_loop().time()
        elapsed = now - self._began
        if any(self._find_calls()):
            self._busy_at = now
        if self._is_listening and elapsed >= self._times.accepting:
            self._stop_listening()
        is_idle = now - self._busy_at >= LINGER and elapsed >= self._times.least
        return should_exit or is_idle or elapsed >= self._times.end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut what has not finished. Orders are shielded from that, and are waited for."""
        overdue = list(self._find_calls())
        if overdue:
            logger.warning("%d calls have not finished in time, and are ended", len(overdue))
        for connection in overdue:
            # uvicorn would cancel the calls' tasks in a way that ignores the shields of orders.
            connection.transport.abort()
        await super().shutdown(sockets)
        await self._stack.aclose()

    def _begin(self) -> None:
        self._began = asyncio.get_running_loop().time()
        self._waits.end(self._began + self._times.waits)
        # Clients and proxies use no connection again that is about to be closed.
        close = (b"connection", b"close")
        self.config.encoded_headers.append(close)
        self.server_state.default_headers = [*self.server_state.default_headers, close]
        for connection in self._find_connections():
            # Such streams never end by themselves, and clients reopen them on another server.
            if connection.cycle and _is_stream(connection.scope):
                connection.transport.close()
        calls = sum(1 for _ in self._find_calls())
        logger.info("The server is being stopped; calls in progress: %d", calls)

    def _stop_listening(self) -> None:
        self._is_listening = False
        for listener in self._listeners:
            self._accept_pending(listener)
        for server in self.servers:
            server.close()
        for connection in self._find_connections():
            if connection.cycle:
                # Closes it if it is idle, else after the answer. A new one has the request of a client on its way.
                connection.shutdown()

    def _accept_pending(self, listener: socket.socket) -> None:
        """Accept the connections that the system has accepted: to close the socket would reset them."""
        kind: Any = self.config.http_protocol_class
        state = self.lifespan.state
        protocol = partial(kind, config=self.config, server_state=self.server_state, app_state=state)
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                accepting = loop.connect_accepted_socket(protocol, connection)
                self._accepted.append(loop.create_task(accepting))

    def _find_connections(self) -> Iterator[TimedProtocol]:
        for connection in list(self.server_state.connections):
            if isinstance(connection, TimedProtocol):
                yield connection

    def _find_calls(self) -> Iterator[TimedProtocol]:
        """Yield the connections whose request is on its way, or has not been answered."""
        newest = asyncio.get_running_loop().time() - FIRST_REQUEST
        for connection in self._find_connections():
            cycle: Any = connection.cycle
            if cycle is None:
                if connection.opened_at > newest:
                    yield connection
            elif not cycle.response_complete and not _is_stream(connection.scope):
                yield connection


def _is_stream(scope: Any) -> bool:
    """Whether a request is for a stream of notifications, which has no end."""
    return _LISTEN in scope["headers"]
