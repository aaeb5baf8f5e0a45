"""Progress while a call works: it keeps hosts from cutting the call, and tells the person that it lives."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from luma_mcp.catalog.useapi import TYPICAL_SECONDS
from luma_mcp.service.periodic import periodic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.server.mcpserver import Context

EVERY = 2.0
"""Seconds between two reports."""
LONGEST_MESSAGE = 199
UNKNOWN_TYPICAL = (30.0, 180.0)
READY_TO_SAVE = 90.0
"""Per cent of the way at which a video is ready whose file is still to come."""


class Reporter:
    """The progress of one call, from 0 to 100: it only ever grows, as the protocol demands."""

    def __init__(self, ctx: Context[Any, Any] | None, *, whole: float = 100.0) -> None:
        """`ctx`: the call; None: nobody listens. `whole`: per cent of the call's work that waiting for the video is."""
        self._ctx = ctx
        self._whole = whole
        self._last: float | None = None
        self._doing = ""
        self._told_at = float("-inf")

    async def report(self, percent: float, message: str) -> None:
        """Tells how far it is."""
        # It never stands still: a host may take that for a call that hangs.
        grown = 0.0 if self._last is None else self._last + (100 - self._last) / 1000
        self._last = max(percent, grown)
        self._told_at = anyio.current_time()
        if self._ctx:
            await self._ctx.report_progress(self._last, 100, message[:LONGEST_MESSAGE])

    async def say(self, doing: str) -> None:
        """Notes what is being done before the order; it is told where that takes its time."""
        self._doing = doing

    async def saving(self, name: str, here: int, total: int | None, share: float) -> None:
        """Tells how much of a file, and what share of all files, is here; now and then."""
        if anyio.current_time() - self._told_at >= EVERY or share == 1:
            of = f" of {_size(total)}" if total else ""
            await self.report(READY_TO_SAVE + 9 * share, f"Saving {name}: {_size(here)}{of}")

    @asynccontextmanager
    async def ordering(self) -> AsyncIterator[None]:
        """Reports while pictures are prepared and the order goes out; nothing where that is quick."""
        self._doing = "Ordering"

        async def tick(elapsed: float) -> None:
            await self.report(0, f"{self._doing} ({elapsed:.0f} s)")

        async with periodic(EVERY, tick):
            yield

    @asynccontextmanager
    async def waiting(
        self, jobid: str, resolution: str | None, typical: tuple[float, float] | None
    ) -> AsyncIterator[None]:
        """Reports for as long as the block runs.

        The first message carries the jobid, so that a person who only sees progress can find the job again.
        """
        low, high = typical or TYPICAL_SECONDS.get(resolution or "", UNKNOWN_TYPICAL)
        usual = f"{resolution or 'a video'} usually takes {low:.0f} to {high:.0f} s"
        first, rest = f"Job {jobid}", f": {usual}"
        await self.report(0, first + rest if len(first + rest) <= LONGEST_MESSAGE else first)
        middle, share = (low + high) / 2, self._whole / 100

        async def tick(elapsed: float) -> None:
            await self.report(percent(elapsed, middle) * share, f"{elapsed:.0f} s; {usual}")

        async with periodic(EVERY, tick):
            yield


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count / 1e3:.0f} kB"


def percent(elapsed: float, typical: float) -> float:
    """How far a job probably is: steadily to 90 at its typical time, then ever slower; never quite 100."""
    share = elapsed / typical
    return 90 * share if share <= 1 else 100 - 10 / share
