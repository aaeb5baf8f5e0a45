"""Virtual time: trio's clock jumps to the next event as soon as all tasks wait, so no test sleeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio
import trio
import trio.testing

if TYPE_CHECKING:
    from trio.testing import MockClock


class ClockThatWaitsForThreads(trio.abc.Instrument):
    """Prevents virtual time from jumping while a thread works, which the event loop would treat as waiting."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        # The journal has its own limiter, so the default limiter does not show all threads. The count does not
        # show threads that were abandoned.
        is_limiter_in_use = trio.to_thread.current_default_thread_limiter().borrowed_tokens > 0
        working = is_limiter_in_use or trio.testing.active_thread_count() > 0
        threshold = math.inf if working else 0
        if self._clock.autojump_threshold != threshold:
            self._clock.autojump_threshold = threshold


async def pass_time(seconds: float) -> None:
    """Advance virtual time, and run everything that is due."""
    await anyio.sleep_until(anyio.current_time() + seconds)
