"""Progress while a call waits: it keeps hosts from cutting the call, and tells the person that it lives."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from luma_mcp.matrix import TYPICAL_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.server.mcpserver import Context

EVERY = 2.0
"""Seconds between two reports."""
LONGEST_MESSAGE = 199
UNKNOWN_TYPICAL = (30.0, 180.0)


@asynccontextmanager
async def reporting(ctx: Context[Any, Any], jobid: str, resolution: str | None) -> AsyncIterator[None]:
    """Reports for as long as the block runs.

    The first message carries the jobid, so that a person who only sees progress can find the job again.
    """
    low, high = TYPICAL_SECONDS.get(resolution or "", UNKNOWN_TYPICAL)
    usual = f"{resolution or 'a video'} usually takes {low:.0f} to {high:.0f} s"
    begun = anyio.current_time()

    async def report() -> None:
        while True:
            await anyio.sleep(EVERY)
            elapsed = anyio.current_time() - begun
            await ctx.report_progress(percent(elapsed, (low + high) / 2), 100, f"{elapsed:.0f} s; {usual}")

    await ctx.report_progress(0, 100, _short(f"Job {jobid}", f": {usual}"))
    fault: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(report)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below, where no task group wraps it into a group
            fault = error
        tasks.cancel_scope.cancel()
    if fault:
        raise fault


def percent(elapsed: float, typical: float) -> float:
    """How far a job probably is: steadily to 90 at its typical time, then ever slower; never quite 100."""
    share = elapsed / typical
    return 90 * share if share <= 1 else 100 - 10 / share


def _short(first: str, rest: str) -> str:
    return first + rest if len(first + rest) <= LONGEST_MESSAGE else first[:LONGEST_MESSAGE]
