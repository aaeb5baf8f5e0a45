"""One list of the running jobs, from the API, and of the orders of this machine, from the journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf, isfinite

import anyio
import anyio.to_thread

from luma_mcp.api.protocol import Account, ListedState, RunningJob, VideoApi, VideoRequest, parse_time
from luma_mcp.errors import Capacity, Charged, JobReference, LumaError, NetworkError, NotFound
from luma_mcp.journal.protocol import Journal, Order, OrderQuery
from luma_mcp.service import UNKNOWN_FOR, existing_files
from luma_mcp.service.reconcile import NEW_FOR, Reconciler
from luma_mcp.text import shorten

_CONCURRENT_FETCHES = 5
_RETRY_TIMEOUT = 2.0
"""Short, because without the API the list still shows what the journal knows."""
_UPDATE_TIMEOUT = 15.0
_CAPACITY_TIMEOUT = 5.0
_MAX_NAMED = 5
"""Jobs that an error names; the others are counted."""
_LONGEST_PROMPT = 40


_OVERDUE_FOR = 60.0
"""Seconds beyond the usual time after which the end of a job is not expected any more."""


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job of the list.

    `request` is None if it was ordered elsewhere; `seconds`: how long it took; `credits`: what it used; `files`:
    absolute paths of its saved files; `link`: the last link to its video; `continues`: the clip that it continues;
    `charged`: whether a failed job was charged, where the API says that.
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
    link: str | None = None
    continues: str | None = None
    charged: Charged | None = None


@dataclass(slots=True)
class JobList:
    """The jobs, newest first; the accounts with their slots; and the error if the API could not be reached.

    `total`: how many jobs there are, with those that the limit left out.
    """

    jobs: list[ListedJob] = field(default_factory=list)
    accounts: tuple[Account, ...] = ()
    problem: LumaError | None = None
    total: int = 0


async def list_jobs(
    api: VideoApi, journal: Journal, reconciler: Reconciler, query: OrderQuery, *, limit: int, now: datetime
) -> JobList:
    """List the running jobs and the orders of this machine; without the API, only what the journal knows.

    At most `limit` jobs, newest first.
    """
    running: dict[str, RunningJob] = {}
    accounts: tuple[Account, ...] = ()
    problem: LumaError | None = None
    try:
        if api.features.list_running:
            running = {job.jobid: job for job in await api.list_running(retry_timeout=_RETRY_TIMEOUT)}
        if api.features.accounts:
            accounts = await api.accounts(retry_timeout=_RETRY_TIMEOUT)
    except LumaError as error:
        problem = error
    else:
        updated = await update_ended(api, journal, running, reconciler)
        query = replace(query, missing=updated.missing)
        running |= updated.running
        if not api.features.list_running:
            # Without the list of the API, only these look-ups show what is running.
            problem = updated.problem
    result = await list_recorded(journal, query, limit=limit, now=now, running=running)
    result.accounts, result.problem = accounts, problem
    if query.state in (None, "running") and not query.text:
        recorded = await journal.owned_jobids()
        elsewhere = [job for job in running.values() if job.is_video and job.jobid not in recorded]
        for job in elsewhere:
            created = parse_time(job.created)
            if _is_between(created, query):
                result.jobs.append(ListedJob("running", job.jobid, created, job.model, job.account))
                result.total += 1
    result.jobs.sort(key=lambda job: job.created or datetime.min.replace(tzinfo=UTC), reverse=True)
    del result.jobs[limit:]
    return result


async def list_recorded(
    journal: Journal,
    query: OrderQuery,
    *,
    limit: int,
    now: datetime,
    running: Mapping[str, RunningJob] | None = None,
) -> JobList:
    """List the orders in the journal, newest first. `running`: what the API lists now, by jobid."""
    known = running or {}
    # An unlisted order that is older than any job can be is not running any more.
    query = replace(query, running=frozenset(known), stale_before=now - UNKNOWN_FOR)
    orders, total = await journal.find_orders(query, limit)

    def build() -> list[ListedJob]:
        return [_build_listed(query, order, known.get(order.jobid or "")) for order in orders]

    # In a thread, because it looks for the saved files on disk.
    return JobList(await anyio.to_thread.run_sync(build), total=total)


def _is_between(created: datetime | None, query: OrderQuery) -> bool:
    """Whether a job was created within the query's time. An unknown time matches only a query without limits."""
    if created is None:
        return query.since is None and query.before is None
    return (query.since is None or created >= query.since) and (query.before is None or created < query.before)


async def add_slot_holders(  # noqa: PLR0917 - what it looks at
    error: Capacity,
    api: VideoApi,
    journal: Journal,
    reconciler: Reconciler,
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
        else:
            # Only those that were ordered from here are known.
            updated = await update_ended(api, journal, {}, reconciler)
            running = tuple(updated.running.values())
        if api.features.accounts:
            accounts = await api.accounts(retry_timeout=0)
            error.in_use = sum(account.executing or 0 for account in accounts)
            error.slots = sum(account.concurrency or 0 for account in accounts)
    ends: list[tuple[float, JobReference]] = []
    for job in running or ():
        order = await journal.get_by_jobid(job.jobid)
        remaining = inf
        created, seconds = parse_time(job.created), await expect(order.request) if order else None
        if created and seconds is not None and (now - created).total_seconds() < seconds + _OVERDUE_FOR:
            # The end of a job that is long overdue cannot be predicted.
            remaining = max(0.0, seconds - (now - created).total_seconds())
        ends.append((remaining, _build_reference(job.jobid, order)))
    ends.sort(key=lambda end: end[0])
    error.running = tuple(reference for _, reference in ends[:_MAX_NAMED])
    error.more_running = len(ends) - len(error.running)
    if ends and isfinite(ends[0][0]):
        error.seconds = ends[0][0]
    holds_finished = running is not None and error.in_use is not None and error.in_use > len(running)
    if api.features.delete and holds_finished:
        deletable = await journal.list_deletable(_MAX_NAMED)
        error.deletable = tuple(_build_reference(order.jobid, order) for order in deletable if order.jobid)


def _build_reference(jobid: str, order: Order | None) -> JobReference:
    return JobReference(jobid, shorten(order.request.prompt, _LONGEST_PROMPT) if order else None)


def _build_running(order: Order, jobid: str) -> RunningJob:
    return RunningJob(jobid, "video", model=order.request.model, created=order.ordered_at.isoformat())


@dataclass(slots=True)
class UpdatedJobs:
    """Current states of the jobs that are running according to the journal.

    Attributes:
        running: those that still run, by jobid.
        missing: the jobids that the API does not know, other than new ones.
        problem: why one of them could not be looked up.
    """

    running: dict[str, RunningJob] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    problem: LumaError | None = None


async def update_ended(
    api: VideoApi, journal: Journal, running: Mapping[str, RunningJob], reconciler: Reconciler
) -> UpdatedJobs:
    """Record how those jobs ended that are running according to the journal, but not listed by the API."""
    limiter = anyio.CapacityLimiter(_CONCURRENT_FETCHES)
    updated = UpdatedJobs()

    async def update(order: Order, jobid: str) -> None:
        async with limiter:
            try:
                job = await api.get(jobid, retry_timeout=0)
            except NotFound:
                if await _is_missing(order, jobid, journal, reconciler):
                    updated.missing |= {jobid}
            except LumaError as error:
                # It stays as it is until the next list.
                updated.problem = error
            else:
                # `record` raises for a job that belongs to another order; it is not listed under this one.
                with suppress(LumaError):
                    await reconciler.record(job)
                if job.state == "running":
                    updated.running[jobid] = _build_running(order, jobid)

    with anyio.move_on_after(_UPDATE_TIMEOUT) as scope:
        async with anyio.create_task_group() as tasks:
            for order in await journal.list_running():
                if order.jobid and order.jobid not in running:
                    tasks.start_soon(update, order, order.jobid)
    if scope.cancelled_caught:
        updated.problem = NetworkError("timeout")
    return updated


async def _is_missing(order: Order, jobid: str, journal: Journal, reconciler: Reconciler) -> bool:
    """Whether the API should know a job that it does not know. Of an old one, record that it runs no more."""
    # Of a young job, a lagging replica says so too: it stays in the journal, and is not ordered again.
    if reconciler.age(order) > UNKNOWN_FOR:
        await journal.mark_gone(jobid)
        return False
    return reconciler.age(order) > NEW_FOR


def _build_listed(query: OrderQuery, order: Order, running: RunningJob | None) -> ListedJob:
    return ListedJob(
        query.get_state(order.state, jobid=order.jobid, ordered_at=order.ordered_at, deleted=order.deleted),
        jobid=order.jobid,
        created=order.ordered_at,
        model=order.request.model,
        account=(running.account if running else None) or order.account,
        request=order.request,
        seconds=order.seconds,
        credits=order.credits,
        failure_reason=order.error,
        files=existing_files(order.files),
        link=order.link,
        continues=order.continues,
        charged=order.charged,
    )
