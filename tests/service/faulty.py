"""A transport to the simulator that injects scripted faults."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable

    from luma_mcp.simulator.app import Simulator


class ProcessKilled(BaseException):
    """The process was killed. Our code must not catch this."""


class Fault(Enum):
    """What happens to one request. BEFORE: it never arrives. AFTER: it arrives, but its response is lost."""

    NONE = "nothing"
    REFUSED = "the connection is refused"
    DROPPED_BEFORE = "the connection breaks before it arrives"
    DROPPED_AFTER = "the connection breaks after it arrived"
    TIMED_OUT_BEFORE = "no answer in time, and it never arrived"
    TIMED_OUT_AFTER = "no answer in time, but it arrived"
    TRUNCATED = "the answer is cut short"
    GATEWAY_BEFORE = "a gateway answers instead of the API, and it never arrived"
    GATEWAY_AFTER = "a gateway answers instead of the API, but it arrived"
    FAILED_BEFORE = "the API answers that it failed, and did nothing"
    FAILED_AFTER = "the API answers that it failed, but did it"
    FULL = "429"
    FULL_WITH_DELAY = "429 with Retry-After"
    KILLED_BEFORE = "the process is killed before it arrives"
    KILLED_AFTER = "the process is killed after it arrived"


TRANSIENT = tuple(fault for fault in Fault if not fault.name.startswith("KILLED"))
_ERRORS_BEFORE: dict[Fault, Callable[[], BaseException]] = {
    Fault.REFUSED: lambda: httpx2.ConnectError("refused"),
    Fault.DROPPED_BEFORE: lambda: httpx2.WriteError("broken pipe"),
    Fault.TIMED_OUT_BEFORE: lambda: httpx2.ReadTimeout("no answer"),
    Fault.KILLED_BEFORE: ProcessKilled,
}
_RESPONSES_BEFORE: dict[Fault, Callable[[], httpx2.Response]] = {
    Fault.GATEWAY_BEFORE: lambda: httpx2.Response(502, text="<html>Bad gateway</html>"),
    Fault.FAILED_BEFORE: lambda: httpx2.Response(500, json={"error": "Internal error"}),
    Fault.FULL: lambda: httpx2.Response(429, json={"error": "full", "code": 429}),
    Fault.FULL_WITH_DELAY: lambda: httpx2.Response(429, json={"error": "full"}, headers={"Retry-After": "3"}),
}
_ERRORS_AFTER: dict[Fault, Callable[[], BaseException]] = {
    Fault.DROPPED_AFTER: lambda: httpx2.ReadError("connection reset"),
    Fault.TIMED_OUT_AFTER: lambda: httpx2.ReadTimeout("no answer"),
    Fault.KILLED_AFTER: ProcessKilled,
}
_RESPONSES_AFTER: dict[Fault, Callable[[], httpx2.Response]] = {
    Fault.GATEWAY_AFTER: lambda: httpx2.Response(504),
    Fault.FAILED_AFTER: lambda: httpx2.Response(500, json={"error": "Internal error"}),
}


class FaultyTransport(httpx2.AsyncBaseTransport):
    """Sends requests to the simulator. `script` has a fault for each of the next requests; later ones succeed."""

    def __init__(self, simulator: Simulator, *script: Fault) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self.script = list(script)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        fault = self.script.pop(0) if self.script else Fault.NONE
        if fault in _ERRORS_BEFORE:
            not_sent = _ERRORS_BEFORE[fault]()
            raise not_sent
        if fault in _RESPONSES_BEFORE:
            return _RESPONSES_BEFORE[fault]()
        response = await self._simulated.handle_async_request(request)
        if fault in _ERRORS_AFTER:
            lost = _ERRORS_AFTER[fault]()
            raise lost
        if fault in _RESPONSES_AFTER:
            return _RESPONSES_AFTER[fault]()
        if fault is Fault.TRUNCATED:
            body = await response.aread()
            return httpx2.Response(response.status_code, content=body[: len(body) // 2])
        return response


class FaultyOrders(FaultyTransport):
    """Applies the script to orders only; all other requests succeed."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return await super().handle_async_request(request)
        return await self._simulated.handle_async_request(request)
