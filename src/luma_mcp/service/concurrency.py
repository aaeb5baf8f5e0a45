"""A lock per key, and a callback at intervals."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@dataclass(slots=True)
class KeyedLock:
    """Per-key async lock: only one task at a time holds a key, and different keys do not wait for each other."""

    # Weak: a lock exists as long as a call of `hold` has it or waits for it.
    _locks: WeakValueDictionary[str, anyio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold the key while the block runs."""
        lock = self._locks.setdefault(key, anyio.Lock())
        async with lock:
            yield


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
