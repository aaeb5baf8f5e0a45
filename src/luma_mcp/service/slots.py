"""Who holds the slots, where an order was refused because there was none."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from luma_mcp.errors import Capacity, LumaError

if TYPE_CHECKING:
    from luma_mcp.api.useapi.client import LumaClient
    from luma_mcp.journal.journal import Journal

LOOK_SECONDS = 5.0
MOST_DELETABLE = 5
LONGEST_PROMPT = 40


async def explain(error: Capacity, luma: LumaClient, journal: Journal) -> None:
    """Adds to the error which jobs hold the slots, and which finished ones could be deleted."""
    with anyio.move_on_after(LOOK_SECONDS), suppress(LumaError):
        error.running = tuple(row.jobid for row in await luma.list(patience=0))
    error.deletable = tuple(journal.deletable(MOST_DELETABLE))
    if error.running:
        error.message += f" Slots are held by the running {_named(error.running, journal)}."
    if error.deletable:
        error.message += (
            f" If they hold slots too, delete_job can remove the finished {_named(error.deletable, journal)}."
        )


def _named(jobids: tuple[str, ...], journal: Journal) -> str:
    """Jobs by their ids, and by their prompts where they were ordered from here."""
    told = []
    for jobid in jobids:
        order = journal.of_job(jobid)
        prompt = f" ({order.request.prompt[:LONGEST_PROMPT]})" if order else ""
        told.append(f"{jobid}{prompt}")
    return ", ".join(told)
