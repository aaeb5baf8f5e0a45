"""One list of the running jobs, from the API, and of the orders of this machine, from the journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf, isfinite
from typing import Literal

import anyio
import anyio.to_thread

from luma_mcp.api.protocol import Account, RunningJob, VideoApi, VideoRequest, parse_time
from luma_mcp.errors import Capacity, JobReference, LumaError, NotFound
from luma_mcp.journal.protocol import Journal, Order
from luma_mcp.service import existing_files
from luma_mcp.service.reconcile import UNKNOWN_FOR, Reconciler
from luma_mcp.text import shorten

ListedState = Literal["running", "completed", "failed", "unknown", "deleted"]
"""`unknown`: an order whose answer was lost and whose job was not found. `deleted`: the job was deleted from here."""
MAX_LISTED = 100

_STATES: dict[str, ListedState] = {"running": "running", "completed": "completed", "failed": "failed"}
_ORDERS_READ = 10 * MAX_LISTED
"""More than are listed, because a list of one state leaves out the others."""
_CONCURRENT_FETCHES = 5
_RETRY_TIMEOUT = 2.0
"""Short, because without the API the list still shows what the journal knows."""
_CAPACITY_TIMEOUT = 5.0
_MAX_DELETABLE = 5
_LONGEST_PROMPT = 40


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job of the list.

    `request` is None if it was ordered elsewhere; `seconds`: how long it took; `credits`: what it used; `files`:
    absolute paths of its saved files.
    """

    state: ListedState
    jobid: str | None = None
    created: datetime | None = None
    model: str | None = None
    account: str | None = None
    request: VideoRequest | None = None
    seconds: float | None = None
    credits: float | None = None
    failure_reason: str | None = None
    files: tuple[str, ...] = ()


@dataclass(slots=True)
class JobList:
    """The newest jobs first; the accounts with their slots; and why the API could not be asked, if so."""

    jobs: list[ListedJob] = field(default_factory=list)
    accounts: tuple[Account, ...] = ()
    problem: LumaError | None = None


async def list_jobs(
    api: VideoApi, journal: Journal, reconciler: Reconciler, *, limit: int, state: ListedState | None = None
) -> JobList:
    """List the running jobs and the orders of this machine; without the API, only what the journal knows.

    At most `limit` jobs, newest first, and only those in `state`; deleted ones only if that is the state.
    """
    result = JobList()
    running: dict[str, RunningJob] = {}
    try:
        if api.features.list_running:
            running = {job.jobid: job for job in await api.list_running(retry_timeout=_RETRY_TIMEOUT)}
        if api.features.accounts:
            result.accounts = await api.accounts(retry_timeout=_RETRY_TIMEOUT)
    except LumaError as error:
        result.problem = error
    else:
        await _update_ended(api, journal, running, reconciler)
    listed = await jobs_from_journal(journal, running)
    recorded = {job.jobid for job in listed}
    for job in running.values():
        if job.is_video and job.jobid not in recorded:
            listed.append(ListedJob("running", job.jobid, parse_time(job.created), job.model, job.account))
    listed.sort(key=lambda job: job.created or datetime.min.replace(tzinfo=UTC), reverse=True)
    result.jobs = select_jobs(listed, state)[:limit]
    return result


def select_jobs(jobs: Iterable[ListedJob], state: ListedState | None) -> list[ListedJob]:
    """Select the jobs in a state; without one, all that still exist."""
    return [job for job in jobs if job.state == state or (state is None and job.state != "deleted")]


async def jobs_from_journal(journal: Journal, running: Mapping[str, RunningJob] | None = None) -> list[ListedJob]:
    """List the orders in the journal, newest first. `running`: what the API lists now, by jobid."""
    orders = await journal.list_latest(_ORDERS_READ)
    now_running = running or {}
    # In a thread, because it looks for the saved files on disk.
    return await anyio.to_thread.run_sync(
        lambda: [_build_listed(order, now_running.get(order.jobid or "")) for order in orders]
    )


async def add_slot_holders(
    error: Capacity,
    api: VideoApi,
    journal: Journal,
    expect: Callable[[VideoRequest], Awaitable[float | None]],
    now: datetime,
) -> None:
    """Add to the error which jobs are running and when the next one ends; and what could be deleted to free a slot.

    A finished job holds no slot, unless the API counts more slots in use than jobs are running. `expect` gives the
    seconds that a video takes.
    """
    running: tuple[RunningJob, ...] | None = None
    with anyio.move_on_after(_CAPACITY_TIMEOUT), suppress(LumaError):
        if api.features.list_running:
            running = await api.list_running(retry_timeout=0)
        if api.features.accounts:
            accounts = await api.accounts(retry_timeout=0)
            error.in_use = sum(account.executing or 0 for account in accounts)
            error.slots = sum(account.concurrency or 0 for account in accounts)
    ends: list[tuple[float, JobReference]] = []
    for job in running or ():
        order = await journal.get_by_jobid(job.jobid)
        remaining = inf
        created, seconds = parse_time(job.created), await expect(order.request) if order else None
        if created and seconds is not None:
            remaining = max(0.0, seconds - (now - created).total_seconds())
        ends.append((remaining, _build_reference(job.jobid, order)))
    ends.sort(key=lambda end: end[0])
    error.running = tuple(reference for _, reference in ends)
    if ends and isfinite(ends[0][0]):
        error.seconds = ends[0][0]
    holds_finished = running is not None and error.in_use is not None and error.in_use > len(running)
    if api.features.delete and holds_finished:
        deletable = await journal.list_deletable(_MAX_DELETABLE)
        error.deletable = tuple(_build_reference(order.jobid, order) for order in deletable if order.jobid)


def _build_reference(jobid: str, order: Order | None) -> JobReference:
    return JobReference(jobid, shorten(order.request.prompt, _LONGEST_PROMPT) if order else None)


async def _update_ended(
    api: VideoApi, journal: Journal, running: Mapping[str, RunningJob], reconciler: Reconciler
) -> None:
    """Record how those jobs ended that are running according to the journal, but no longer listed by the API."""
    limiter = anyio.CapacityLimiter(_CONCURRENT_FETCHES)

    async def update(order: Order, jobid: str) -> None:
        async with limiter:
            try:
                job = await api.get(jobid, retry_timeout=0)
            except NotFound:
                # Of a young job, a lagging replica says so too.
                if reconciler.age(order) > UNKNOWN_FOR:
                    await journal.mark_gone(jobid)
            except LumaError:
                # It stays as it is until the next list.
                return
            else:
                await journal.record_state(job)
                if job.state == "completed":
                    # What is somebody else's does not stay in the list under this order.
                    with suppress(LumaError):
                        await reconciler.verify(job)

    async with anyio.create_task_group() as tasks:
        for order in await journal.list_latest(MAX_LISTED):
            if order.state == "running" and order.jobid and order.jobid not in running:
                tasks.start_soon(update, order, order.jobid)


def _build_listed(order: Order, running: RunningJob | None) -> ListedJob:
    state: ListedState = "deleted" if order.deleted else _STATES.get(order.state, "unknown")
    return ListedJob(
        state="running" if running else state,
        jobid=order.jobid,
        created=order.ordered_at,
        model=order.request.model,
        account=(running.account if running else None) or order.account,
        request=order.request,
        seconds=order.seconds,
        credits=order.credits,
        failure_reason=order.error,
        files=existing_files(order.files),
    )
