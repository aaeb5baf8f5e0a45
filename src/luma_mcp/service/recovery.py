"""What an earlier process left behind: orders without an answer, files that were wanted."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from luma_mcp.service.reconcile import UNKNOWN_FOR

if TYPE_CHECKING:
    from luma_mcp.service.service import VideoService

logger = logging.getLogger(__name__)

REMEMBERED_WISHES = timedelta(days=3)
"""So long after an order a new process still fetches files that were wanted."""
SAVE_SECONDS = 1800.0


async def recover(studio: VideoService) -> None:
    """Finds the jobs of lost orders, and fetches the files that are not there."""
    await studio.orders.recover(before=studio.begun)
    async with anyio.create_task_group() as tasks:
        for order in studio.journal.without_files(studio.begun - REMEMBERED_WISHES, studio.begun):
            if order.jobid:
                tasks.start_soon(_fetch_files, studio, order.jobid)


async def _fetch_files(studio: VideoService, jobid: str) -> None:
    async def tell(name: str, here: int, total: int | None, _: float) -> None:
        logger.debug("%s: %s of %s bytes", name, here, total)

    try:
        job = await studio.follow(jobid, UNKNOWN_FOR.total_seconds())
        if job.state == "completed":
            saved = await studio.files.save(job, seconds=SAVE_SECONDS, tell=tell)
            logger.warning("Saved what was ordered earlier: %s", ", ".join(saved.files) or saved.problem)
    except Exception as error:  # noqa: BLE001 - one job's trouble is not the others'
        logger.warning("A job that was ordered earlier could not be followed: %s", error)
