"""Virtual time on both event loops: `tests.clock` for trio, and the same for asyncio.

It jumps to the next event when everybody waits, and stands still while a thread works. So nothing ever sleeps.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from typing import TYPE_CHECKING, Any

from tests.clock import ClockThatWaitsForThreads
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKENDS = ("trio", "asyncio")


def backend_options(backend: str) -> dict[str, Any]:
    """Options for anyio's test runner and for `anyio.run`."""
    if backend == "asyncio":
        return {"loop_factory": VirtualTimeLoop}
    clock = MockClock(autojump_threshold=0)
    return {"clock": clock, "instruments": [ClockThatWaitsForThreads(clock)]}


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio event loop whose clock starts at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.BaseSelector):
    """Moves the loop's clock forward instead of sleeping until the next timer."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._selector = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return self._selector.select(timeout)
        if _is_thread_busy(self._loop):
            # The thread wakes the loop when it has finished.
            return self._selector.select(None)
        ready = self._selector.select(0)
        if not ready:
            self._loop.jump(timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()


def _is_thread_busy(loop: VirtualTimeLoop) -> bool:
    """Whether a worker thread of anyio is working for the loop.

    anyio has no function for this. Each of its threads has the list of idle threads, which only the event loop changes.
    """
    for thread in threading.enumerate():
        if getattr(thread, "loop", None) is not loop:
            continue
        # anyio stops threads that were idle for long; they may still be alive for a moment.
        if not getattr(thread, "stopping", True) and thread not in getattr(thread, "idle_workers", ()):
            return True
    return False
