"""A way to the simulator on which everything goes wrong that can, as the script says."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable

    from luma_mcp.simulator.app import Simulator


class Killed(BaseException):
    """The process ends here and now: nothing of ours catches it."""


class Fault(Enum):
    """What becomes of one request."""

    NONE = "nothing"
    REFUSED = "the connection is refused"
    DROPPED_BEFORE = "the connection breaks before it arrives"
    DROPPED_AFTER = "the connection breaks after it arrived"
    TIMED_OUT_BEFORE = "no answer in time, and it never arrived"
    TIMED_OUT_AFTER = "no answer in time, but it arrived"
    TRUNCATED = "the answer is cut short"
    GATEWAY_BEFORE = "a gateway answers in the API's place, and it never arrived"
    GATEWAY_AFTER = "a gateway answers in the API's place, but it arrived"
    FAILED_BEFORE = "the API says that it failed, and did nothing"
    FAILED_AFTER = "the API says that it failed, but did it"
    FULL = "429"
    FULL_WITH_PACE = "429 with a pace"
    KILLED_BEFORE = "the process is killed before it arrives"
    KILLED_AFTER = "the process is killed after it arrived"


PASSING = tuple(fault for fault in Fault if not fault.name.startswith("KILLED"))
_NEVER_ARRIVE: dict[Fault, Callable[[], BaseException]] = {
    Fault.REFUSED: lambda: httpx2.ConnectError("refused"),
    Fault.DROPPED_BEFORE: lambda: httpx2.WriteError("broken pipe"),
    Fault.TIMED_OUT_BEFORE: lambda: httpx2.ReadTimeout("no answer"),
    Fault.KILLED_BEFORE: Killed,
}
_ANSWERED_BEFORE: dict[Fault, Callable[[], httpx2.Response]] = {
    Fault.GATEWAY_BEFORE: lambda: httpx2.Response(502, text="<html>Bad gateway</html>"),
    Fault.FAILED_BEFORE: lambda: httpx2.Response(500, json={"error": "Internal error"}),
    Fault.FULL: lambda: httpx2.Response(429, json={"error": "full", "code": 429}),
    Fault.FULL_WITH_PACE: lambda: httpx2.Response(429, json={"error": "full"}, headers={"Retry-After": "3"}),
}
_BREAK_AFTER: dict[Fault, Callable[[], BaseException]] = {
    Fault.DROPPED_AFTER: lambda: httpx2.ReadError("connection reset"),
    Fault.TIMED_OUT_AFTER: lambda: httpx2.ReadTimeout("no answer"),
    Fault.KILLED_AFTER: Killed,
}
_ANSWERED_AFTER: dict[Fault, Callable[[], httpx2.Response]] = {
    Fault.GATEWAY_AFTER: lambda: httpx2.Response(504),
    Fault.FAILED_AFTER: lambda: httpx2.Response(500, json={"error": "Internal error"}),
}


class Faulty(httpx2.AsyncBaseTransport):
    """Carries requests to the simulator; what becomes of the next ones is in `script`."""

    def __init__(self, simulator: Simulator) -> None:
        self._way = httpx2.ASGITransport(simulator)
        self.script: list[Fault] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        fault = self.script.pop(0) if self.script else Fault.NONE
        if fault in _NEVER_ARRIVE:
            never_arrived = _NEVER_ARRIVE[fault]()
            raise never_arrived
        if fault in _ANSWERED_BEFORE:
            return _ANSWERED_BEFORE[fault]()
        response = await self._way.handle_async_request(request)
        if fault in _BREAK_AFTER:
            broken = _BREAK_AFTER[fault]()
            raise broken
        if fault in _ANSWERED_AFTER:
            return _ANSWERED_AFTER[fault]()
        if fault is Fault.TRUNCATED:
            body = await response.aread()
            return httpx2.Response(response.status_code, content=body[: len(body) // 2])
        return response
