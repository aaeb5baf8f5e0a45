"""One at a time of the same thing, any number of different ones."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class KeyedLock:
    """A lock for every key that somebody holds or waits for."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[anyio.Lock, list[None]]] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Holds the key for as long as the block lasts."""
        lock, holders = self._locks.setdefault(key, (anyio.Lock(), []))
        holders.append(None)
        try:
            async with lock:
                yield
        finally:
            holders.pop()
            if not holders:
                self._locks.pop(key, None)
