"""Something to do again and again while something else goes on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@asynccontextmanager
async def periodic(every: float, tick: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
    """Calls `tick` with the seconds that have passed, again and again for as long as the block runs."""
    begun = anyio.current_time()

    async def go_on() -> None:
        while True:
            await anyio.sleep(every)
            await tick(anyio.current_time() - begun)

    fault: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go_on)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below, where no task group wraps it into a group
            fault = error
        tasks.cancel_scope.cancel()
    if fault:
        raise fault
