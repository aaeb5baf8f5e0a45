"""Transports that fail as networks do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx2
from tests.clock import pass_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from luma_mcp.simulator.app import Simulator


class Unreliable(httpx2.AsyncBaseTransport):
    """Carries requests to the simulator; `faults` are raised first, in order, once each.

    With `delivered`, a request reaches the service before its fault: the answer is what is lost.
    """

    def __init__(self, simulator: Simulator, *faults: Exception, delivered: bool = False) -> None:
        self._way = httpx2.ASGITransport(simulator)
        self.faults = list(faults)
        self._delivered = delivered

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if not self.faults:
            return await self._way.handle_async_request(request)
        fault = self.faults.pop(0)
        if self._delivered:
            await self._way.handle_async_request(request)
        raise fault


class Canned(httpx2.AsyncBaseTransport):
    """Answers every request with the same bytes, and counts them."""

    def __init__(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self._answer = (status, headers or {}, body)
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        status, headers, body = self._answer
        return httpx2.Response(status, headers=headers, content=body)


class Dripping(httpx2.AsyncBaseTransport):
    """Delivers to the simulator, and then answers a byte every two seconds, without an end."""

    def __init__(self, simulator: Simulator) -> None:
        self._way = httpx2.ASGITransport(simulator)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await self._way.handle_async_request(request)

        async def drip() -> AsyncIterator[bytes]:
            while True:
                await pass_time(2)
                yield b" "

        return httpx2.Response(200, content=drip())


class Held(httpx2.ASGITransport):
    """Delivers to the simulator, says so, and holds the answer back until it may go."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.delivered, self.may_answer = anyio.Event(), anyio.Event()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        self.delivered.set()
        await self.may_answer.wait()
        return response
