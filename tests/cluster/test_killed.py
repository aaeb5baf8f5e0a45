"""What the next caller gets after a replica is killed at each step of an order, or the database is slow."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import pytest
from tests.campaign.api import HELD, Fault
from tests.cluster.callers import Call, Callers
from tests.cluster.faults import STATEMENTS, Trap

if TYPE_CHECKING:
    from tests.cluster.campaign import Deployment

USER = "alice"
NEVER_SENT = "killed after: it is marked as sent"
LATE = 3.0
"""Seconds; more than the uncertainty of the time when a job ended."""
# The step, whether it was carried out, the outcome of an identical order at the other replica, and the number of jobs.
AT_STATEMENTS = [
    ("the order is recorded", False, "created", 1),
    ("the order is recorded", True, "created", 1),
    ("it is marked as sent", False, "created", 1),
    ("it is marked as sent", True, "outcome_unknown", 0),
    ("its job is recorded", False, "recovered", 1),
    ("its job is recorded", True, "duplicate", 1),
    ("the end of its job is recorded", False, "duplicate", 1),
    ("the end of its job is recorded", True, "duplicate", 1),
    ("its delivery is recorded", False, "duplicate", 1),
    ("its delivery is recorded", True, "duplicate", 1),
]


async def order(callers: Callers, prompt: str, place: str, wait_seconds: int = 0) -> Call:
    """Order a video."""
    # The jobs of other orders must not match the order whose outcome remains unknown.
    model = "ray-v3-flash" if prompt == NEVER_SENT else "ray-v3"
    arguments: dict[str, Any] = {"prompt": prompt, "model": model, "wait_seconds": wait_seconds}
    return await callers.call(USER, "generate_video", arguments, place, "2026-07-28")


def count_jobs(deployment: Deployment, prompt: str) -> int:
    """Count the jobs that were started for this prompt."""
    return sum(job.prompt == prompt for job in list(deployment.api.jobs.values()))


async def order_again(deployment: Deployment, callers: Callers, prompt: str) -> Call:
    """Repeat the order at the other replica, and get its job from the replica that was killed."""
    repeated = await order(callers, prompt, "1")
    await asyncio.to_thread(deployment.cluster.replicas[0].start)
    if repeated.jobid:
        found = await callers.call(USER, "get_job", {"jobid": repeated.jobid}, "0", "2025-11-25")
        assert found.content["state"] in ("running", "completed"), found
    for job in list(deployment.api.jobs.values()):
        deployment.api.end_job(job)
    return repeated


@pytest.mark.sample(4)
@pytest.mark.parametrize(("step", "is_after", "outcome", "jobs"), AT_STATEMENTS)
def test_outcome_after_a_kill_at_a_statement(
    deployment: Deployment, step: str, is_after: bool, outcome: str, jobs: int
) -> None:
    has_ended = step in ("the end of its job is recorded", "its delivery is recorded")
    prompt = f"killed {'after' if is_after else 'before'}: {step}"
    deployment.api.service.durations[prompt] = 0.2 if has_ended else HELD
    replica = deployment.cluster.replicas[0]

    async def run() -> tuple[Call, Call]:
        callers = Callers(deployment.cluster, (USER,))
        trap = deployment.proxies[0].trap = Trap(STATEMENTS[step], is_after, replica.popen.kill)
        first = await order(callers, prompt, "0", 10 if has_ended else 0)
        assert trap.was_triggered.is_set(), first
        await asyncio.to_thread(replica.wait)
        repeated = await order_again(deployment, callers, prompt)
        await callers.aclose()
        return first, repeated

    first, repeated = asyncio.run(run())
    assert first.problem
    assert (repeated.content.get("outcome") or repeated.error["kind"]) == outcome, str(repeated)
    assert count_jobs(deployment, prompt) == jobs


@pytest.mark.parametrize("hold", ["before", "after"])
def test_outcome_after_a_kill_while_the_api_has_the_order(
    deployment: Deployment, hold: Literal["before", "after"]
) -> None:
    prompt = f"killed while held {hold} it is carried out"
    deployment.api.orders[prompt] = deque([Fault(hold=hold)])
    deployment.api.service.durations[prompt] = HELD

    async def run() -> tuple[Call, Call]:
        callers = Callers(deployment.cluster, (USER,))
        calling = asyncio.ensure_future(order(callers, prompt, "0"))
        assert await asyncio.to_thread(deployment.api.wait, lambda: any(post.is_held for post in deployment.api.posts))
        await asyncio.to_thread(deployment.cluster.replicas[0].kill)
        repeated = await order_again(deployment, callers, prompt)
        first = await calling
        await callers.aclose()
        return first, repeated

    first, repeated = asyncio.run(run())
    assert first.problem
    assert repeated.content["outcome"] == "recovered", repeated
    assert count_jobs(deployment, prompt) == 1


def test_call_delayed_by_the_database_gets_the_same_video(deployment: Deployment) -> None:
    prompt = "held up by the database"
    deployment.api.service.durations[prompt] = HELD
    proxy = deployment.proxies[0]

    async def run() -> tuple[Call, Call]:
        callers = Callers(deployment.cluster, (USER,))
        # This opens the replica's service for the user, and validates the token.
        await callers.call(USER, "list_jobs", {"limit": 1}, "0", "2025-11-25")
        one = asyncio.ensure_future(order(callers, prompt, "1", 15))
        await asyncio.to_thread(deployment.api.wait, lambda: count_jobs(deployment, prompt))
        proxy.stall(stalls=True)
        two = asyncio.ensure_future(order(callers, prompt, "0"))
        assert await asyncio.to_thread(proxy.holds.wait, 10)
        late = time.monotonic() + LATE
        await asyncio.to_thread(deployment.api.wait, lambda: time.monotonic() > late, LATE)
        for job in list(deployment.api.jobs.values()):
            deployment.api.end_job(job)
        first = await one
        proxy.stall(stalls=False)
        second = await two
        await callers.aclose()
        return first, second

    first, second = asyncio.run(run())
    assert first.content["state"] == "completed", first
    assert second.content["jobid"] == first.content["jobid"], second
    assert count_jobs(deployment, prompt) == 1


def test_list_without_the_database_reports_missing_jobs(deployment: Deployment) -> None:
    proxy = deployment.proxies[0]

    async def run() -> tuple[Call, Call]:
        callers = Callers(deployment.cluster, (USER,))
        proxy.refuses = True
        proxy.drop()
        without = await callers.call(USER, "list_jobs", {"limit": 5}, "0", "2026-07-28")
        proxy.refuses = False
        with_it = await callers.call(USER, "list_jobs", {"limit": 5}, "1", "2026-07-28")
        await callers.aclose()
        return without, with_it

    without, with_it = asyncio.run(run())
    assert "jobs may be missing" in without.content["problem"], str(without)
    assert "problem" not in with_it.content
