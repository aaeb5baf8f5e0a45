"""Work beside other work: at intervals, or once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio


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
