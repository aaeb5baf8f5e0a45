"""One list of what runs, from the API, and of what was ordered from this machine, from the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio

from luma_mcp.api.protocol import Account, ExecutingJob, VideoRequest, parse_time
from luma_mcp.errors import LumaError, NotFound
from luma_mcp.service.reconcile import UNKNOWN_FOR
from luma_mcp.service.states import MOST, ListedState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from luma_mcp.api.useapi.client import LumaClient
    from luma_mcp.journal.journal import Journal
    from luma_mcp.journal.orders import Order

LOOKS_AT_A_TIME = 5
PATIENCE = 2.0
"""Seconds: the journal's part of the list is there all the same."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A job of the list. `jobid` is None where an order's answer was lost; `state` is then `unknown`."""

    state: ListedState
    jobid: str | None = None
    created: datetime | None = None
    model: str | None = None
    account: str | None = None
    request: VideoRequest | None = None
    seconds: float | None = None
    error: str | None = None
    files: tuple[str, ...] = ()
    deleted: bool = False


@dataclass(slots=True)
class Listing:
    """`jobs`, newest first; `accounts` with their slots; `problem`: what could not be asked, in words."""

    jobs: list[Listed] = field(default_factory=list)
    accounts: tuple[Account, ...] = ()
    problem: str | None = None


async def list_jobs(
    luma: LumaClient, journal: Journal, wall_clock: Callable[[], datetime], *, limit: int, state: str | None
) -> Listing:
    """The list, as far as it can be had: without the API, what the journal knows.

    Args:
        luma: the API.
        journal: what was ordered from this machine.
        wall_clock: the time of day, in UTC.
        limit: how many at most.
        state: one of `ListedState`, if only those are wanted.
    """
    listing = Listing()
    executing: tuple[ExecutingJob, ...] = ()
    try:
        executing = await luma.list(patience=PATIENCE)
        listing.accounts = await luma.accounts(patience=PATIENCE)
    except LumaError as error:
        listing.problem = f"What runs now could not be asked; this is what the journal knows. {error.message}"
    else:
        await _look(luma, journal, {row.jobid for row in executing}, wall_clock)
    running = {row.jobid: row for row in executing if row.type in (None, "video")}
    rows = of_journal(journal, running)
    known = {row.jobid for row in rows}
    rows += [_of_row(row) for row in running.values() if row.jobid not in known]
    rows = [row for row in rows if state in (None, row.state)]
    rows.sort(key=lambda row: row.created or datetime.min.replace(tzinfo=UTC), reverse=True)
    listing.jobs = rows[:limit]
    return listing


def of_journal(journal: Journal, running: Mapping[str, ExecutingJob] = MappingProxyType({})) -> list[Listed]:
    """What the journal knows, newest first, and of `running` jobs their account."""
    return [_of_order(order, running.get(order.jobid or "")) for order in journal.latest(MOST * 10)]


async def _look(luma: LumaClient, journal: Journal, executing: set[str], wall_clock: Callable[[], datetime]) -> None:
    """How the jobs have ended that the journal takes to be running, and the API does not list any more."""
    ended = [o.jobid for o in journal.latest(MOST) if o.state == "running" and o.jobid and o.jobid not in executing]
    limiter = anyio.CapacityLimiter(LOOKS_AT_A_TIME)

    async def look(jobid: str) -> None:
        async with limiter:
            try:
                journal.saw(await luma.get(jobid, patience=0))
            except NotFound:
                # Of a young one, a lagging replica may say so.
                order = journal.of_job(jobid)
                if order and wall_clock() - order.ordered_at > UNKNOWN_FOR:
                    journal.gone(jobid)
            except LumaError:
                # It stays as it was, and is looked at again the next time.
                return

    async with anyio.create_task_group() as tasks:
        for jobid in ended:
            tasks.start_soon(look, jobid)


def _of_order(order: Order, row: ExecutingJob | None) -> Listed:
    states: dict[str, ListedState] = {"running": "running", "completed": "completed", "failed": "failed"}
    return Listed(
        state="running" if row else states.get(order.state, "unknown"),
        jobid=order.jobid,
        created=order.ordered_at,
        model=order.request.model,
        account=(row.account if row else None) or order.account,
        request=order.request,
        seconds=order.seconds,
        error=order.error,
        files=tuple(file for file in order.files if Path(file).is_file()),
        deleted=order.deleted,
    )


def _of_row(row: ExecutingJob) -> Listed:
    return Listed("running", row.jobid, parse_time(row.created), row.model, row.account)
