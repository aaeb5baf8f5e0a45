"""Transports and servers that fail like networks."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx2
from anyio.abc import SocketAttribute
from tests.clock import pass_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream

    from luma_mcp.simulator.app import Simulator


class UnreliableTransport(httpx2.AsyncBaseTransport):
    """Sends requests to the simulator, but raises each of the `faults` first, in order. None: no fault.

    With `delivered`, a request reaches the service before its fault, so only the response is lost.
    """

    def __init__(self, simulator: Simulator, *faults: Exception | None, delivered: bool = False) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self.faults = list(faults)
        self._delivered = delivered

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        fault = self.faults.pop(0) if self.faults else None
        if fault is None:
            return await self._simulated.handle_async_request(request)
        if self._delivered:
            await self._simulated.handle_async_request(request)
        raise fault


class CannedTransport(httpx2.AsyncBaseTransport):
    """Answers every request with the same bytes, and records the requests."""

    def __init__(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self._answer = (status, headers or {}, body)
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        status, headers, body = self._answer
        return httpx2.Response(status, headers=headers, content=body)


class DrippingTransport(httpx2.AsyncBaseTransport):
    """Sends requests to the simulator, and responds with a byte every two seconds, without an end."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulated = httpx2.ASGITransport(simulator)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await self._simulated.handle_async_request(request)

        async def drip() -> AsyncIterator[bytes]:
            while True:
                await pass_time(2)
                yield b" "

        return httpx2.Response(200, content=drip())


class HoldingTransport(httpx2.ASGITransport):
    """Sends an order to the simulator, sets `delivered`, and holds the response until `may_answer` is set."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.delivered, self.may_answer = anyio.Event(), anyio.Event()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if request.method == "POST":
            self.delivered.set()
            await self.may_answer.wait()
        return response


@asynccontextmanager
async def counting_server(body: bytes) -> AsyncIterator[tuple[str, list[tuple[str, int]]]]:
    """A real HTTP server that keeps connections open; yields its URL and, by request, the number of its connection."""
    requests: list[tuple[str, int]] = []
    connections: list[SocketStream] = []

    async def serve(stream: SocketStream) -> None:
        connections.append(stream)
        number = len(connections)
        received = b""
        async with stream:
            async for chunk in stream:
                received += chunk
                head, complete, content = received.partition(b"\r\n\r\n")
                length = 0
                for line in head.lower().splitlines():
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                if not complete or len(content) < length:
                    continue
                received = content[length:]
                requests.append((head.split(b" ")[0].decode(), number))
                await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra_attributes[SocketAttribute.local_port]()
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{port}", requests
        tasks.cancel_scope.cancel()
