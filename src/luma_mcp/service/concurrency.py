"""Run work in the background of a block: once, or at intervals."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass

import anyio

logger = logging.getLogger(__name__)

MOST_TICKS = 250
"""Most calls of a `Ticker` per second. With too many functions for that, each is called less often."""


@asynccontextmanager
async def alongside(work: Callable[[], Awaitable[None]], *, grace: float = 0.0) -> AsyncIterator[None]:
    """Do some work while the block runs and at most `grace` seconds longer; then it is cancelled.

    An exception of the block is raised as it is. One of the work cancels the block and is raised in a group, so what
    runs beside a paid order must not raise.
    """
    done = anyio.Event()

    async def run() -> None:
        await work()
        done.set()

    block_error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            yield
            if grace:
                with anyio.move_on_after(grace):
                    await done.wait()
        except Exception as error:  # noqa: BLE001 - raised below, outside the task group, which would wrap it
            block_error = error
        tasks.cancel_scope.cancel()
    if block_error:
        raise block_error


@asynccontextmanager
async def periodic(interval: float, callback: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
    """Call `callback` every `interval` seconds while the block runs, with the seconds since the block began.

    Errors are those of `alongside`.
    """
    start = anyio.current_time()

    async def repeat() -> None:
        while True:
            await anyio.sleep(interval)
            await callback(anyio.current_time() - start)

    async with alongside(repeat):
        yield


@dataclass(slots=True, eq=False)
class _Ticking:
    """A block during which a `Ticker` calls a function. `running`: the current call, if there is one."""

    callback: Callable[[float], Awaitable[None]]
    context: Context
    began: float
    due: float
    running: anyio.CancelScope | None = None
    has_ended: bool = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.has_ended = True
        if self.running:
            self.running.cancel()


class Ticker:
    """Calls functions every `interval` seconds, as `periodic` does, but all from one task.

    A separate task for each of thousands of waiting calls would take too much memory. `run` must be running.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        # In the order in which they are due. One that has ended stays until then.
        self._queue: deque[_Ticking] = deque()
        self._is_filled = anyio.Event()

    def ticking(self, callback: Callable[[float], Awaitable[None]]) -> AbstractContextManager[None]:
        """Call `callback` at intervals while a block runs, with the seconds since this was called.

        Its errors are logged. It is not called again before it has returned.
        """
        now = anyio.current_time()
        entry = _Ticking(callback, copy_context(), now, now + self._interval)
        self._queue.append(entry)
        self._is_filled.set()
        return entry

    async def run(self) -> None:
        """Call the functions that are due, until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                if not self._queue:
                    if self._is_filled.is_set():
                        self._is_filled = anyio.Event()
                    await self._is_filled.wait()
                    continue
                entry = self._queue[0]
                if anyio.current_time() < entry.due:
                    await anyio.sleep_until(entry.due)
                    continue
                self._queue.popleft()
                if entry.has_ended:
                    continue
                if entry.running is None:
                    # In the context of its call, which log lines refer to.
                    entry.context.run(tasks.start_soon, self._call, entry)
                self._queue.append(entry)
                entry.due += max(self._interval, len(self._queue) / MOST_TICKS)

    async def _call(self, entry: _Ticking) -> None:
        if entry.has_ended:
            return
        with anyio.CancelScope() as entry.running:
            try:
                await entry.callback(anyio.current_time() - entry.began)
            except Exception:
                logger.exception("what is called at intervals has failed")
        entry.running = None
