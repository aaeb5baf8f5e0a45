"""A callback at intervals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio


@asynccontextmanager
async def periodic(interval: float, callback: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
    """Call `callback` every `interval` seconds while the block runs, with the seconds since the block began.

    An exception of the block is raised as it is. One of the callback cancels the block and is raised in a group, so a
    callback beside a paid order must not raise.
    """
    start = anyio.current_time()

    async def repeat() -> None:
        while True:
            await anyio.sleep(interval)
            await callback(anyio.current_time() - start)

    block_error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(repeat)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised below, outside the task group, which would wrap it
            block_error = error
        tasks.cancel_scope.cancel()
    if block_error:
        raise block_error
