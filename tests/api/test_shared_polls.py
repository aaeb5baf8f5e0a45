"""Processes that share a journal: one polls a job and announces its end. Lost announcements only delay the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.clock import pass_time
from tests.conftest import wall_clock

from luma_mcp import errors
from luma_mcp.api.polling import EARLY_POLLS, LEASE_CHECK_DELAY, LEASE_MARGIN, WEBHOOK_FACTOR, Pollers, next_poll_delay
from luma_mcp.api.protocol import Job

if TYPE_CHECKING:
    from collections.abc import Callable

TYPICAL = (30.0, 60.0)
LONGEST_DELAY = 20.0
"""The longest delay between two polls of such a job."""


@dataclass
class Api:
    """An API with one job. `polls`: the time and the process of each poll."""

    seconds: float = 50.0
    polls: list[tuple[float, str]] = field(default_factory=list)
    failing_until: float = 0.0
    latency: float = 0.0

    def processes(self) -> list[str]:
        return [process for _, process in self.polls]

    async def get(self, process: str, jobid: str) -> Job:
        self.polls.append((anyio.current_time(), process))
        if anyio.current_time() < self.failing_until:
            raise errors.Upstream("failed", retry_after=40)
        has_ended = anyio.current_time() >= self.seconds
        await anyio.sleep(self.latency)
        return Job(jobid, "completed" if has_ended else "processing", kind="video")


@dataclass
class Storage:
    """The leases of all processes. `loses_announcements`: announcements are lost. `is_down`: it does not respond."""

    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    subscribers: list[Callable[[str, bool], None]] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    loses_announcements: bool = False
    is_down: bool = False


@dataclass
class FakeReplicas:
    """`luma_mcp.journal.protocol.Replicas` of one process."""

    storage: Storage
    process: str

    async def acquire(self, name: str, seconds: float) -> bool | None:
        if self.storage.is_down:
            return None
        holder, until = self.storage.leases.get(name, (self.process, 0.0))
        if holder != self.process and anyio.current_time() < until:
            return False
        self.storage.leases[name] = (self.process, anyio.current_time() + seconds)
        return True

    async def release(self, name: str) -> None:
        holder, _ = self.storage.leases.get(name, ("", 0.0))
        if holder == self.process and not self.storage.is_down:
            del self.storage.leases[name]

    async def announce(self, jobid: str, *, by_webhook: bool = False) -> None:
        self.storage.announced.append(jobid)
        if not (self.storage.loses_announcements or self.storage.is_down):
            for notify in self.storage.subscribers:
                notify(jobid, by_webhook)

    def on_announcement(self, notify: Callable[[str, bool], None]) -> Callable[[], None]:
        self.storage.subscribers.append(notify)
        return lambda: self.storage.subscribers.remove(notify)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def storage() -> Storage:
    return Storage()


def build_pollers(api: Api, storage: Storage | None, process: str = "one") -> Pollers:
    async def fetch(jobid: str) -> Job:
        return await api.get(process, jobid)

    return Pollers(fetch, wall_clock, FakeReplicas(storage, process) if storage else None)


async def follow(pollers: Pollers, seconds: float = 600, *, has_webhook: bool = False) -> tuple[Job, float]:
    """Wait for a job that was just ordered. Return it and the time of the end of the wait."""
    job = await pollers.wait(
        Job("j1", kind="video"), seconds, typical=TYPICAL, known_to_exist=True, has_webhook=has_webhook
    )
    return job, anyio.current_time()


async def follow_all(*all_pollers: Pollers, has_webhook: bool = False) -> list[float]:
    """Wait with all pollers. Return the times at which they got the end."""
    ends: list[float] = []

    async def follow_one(pollers: Pollers) -> None:
        job, end = await follow(pollers, has_webhook=has_webhook)
        assert job.state == "completed"
        ends.append(end)

    async with anyio.create_task_group() as tasks:
        for pollers in all_pollers:
            tasks.start_soon(follow_one, pollers)
    return ends


async def count_alone() -> int:
    api, storage = Api(), Storage()
    api.seconds += anyio.current_time()
    await follow(build_pollers(api, storage))
    return len(api.polls)


async def test_one_process_polls_and_the_others_fetch_once(api: Api, storage: Storage) -> None:
    ends = await follow_all(*(build_pollers(api, storage, name) for name in ("one", "two", "three")))
    polls = api.processes()
    [poller] = {name for name in polls if polls.count(name) > 1}
    assert sorted(set(polls) - {poller}) == sorted({"one", "two", "three"} - {poller})
    assert len(polls) - 2 == await count_alone()
    assert max(ends) - min(ends) < 0.1
    assert storage.announced == ["j1"]
    assert storage.leases == {}


async def test_lost_announcements_only_delay(api: Api, storage: Storage) -> None:
    storage.loses_announcements = True
    ends = await follow_all(build_pollers(api, storage, "one"), build_pollers(api, storage, "two"))
    assert max(ends) - min(ends) <= LEASE_CHECK_DELAY
    assert len(api.polls) - 1 == await count_alone()


async def test_process_that_was_killed_is_replaced(api: Api, storage: Storage) -> None:
    two = build_pollers(api, storage, "two")
    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(12):
            tasks.start_soon(follow, two)
            # It holds the lease and never releases it.
            storage.leases["poll:j1"] = ("killed", 25.0)
            await pass_time(12)
        assert api.polls == []
    assert api.processes() == ["two"] * len(api.polls)
    assert 25 <= api.polls[0][0] <= 25 + LEASE_CHECK_DELAY


async def test_lease_lasts_until_after_the_next_poll(api: Api, storage: Storage) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, build_pollers(api, storage))
        for _ in range(50):
            await pass_time(1)
            if api.polls and "poll:j1" in storage.leases:
                polled_at = api.polls[-1][0]
                delay = next_poll_delay(polled_at, TYPICAL)
                holder, until = storage.leases["poll:j1"]
                assert holder == "one"
                assert until == pytest.approx(polled_at + delay + LEASE_MARGIN)
                assert delay <= LONGEST_DELAY


async def test_wait_that_ends_lets_the_other_process_poll(api: Api, storage: Storage) -> None:
    one, two = build_pollers(api, storage, "one"), build_pollers(api, storage, "two")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, one, 15)
        await pass_time(1)
        tasks.start_soon(follow, two)
    later = [process for time, process in api.polls if time > 15]
    assert set(later) == {"two"}
    assert next(time for time, process in api.polls if process == "two") <= 15 + LEASE_CHECK_DELAY


async def test_cancelled_wait_gives_the_lease_back(api: Api, storage: Storage) -> None:
    with anyio.move_on_after(15):
        await follow(build_pollers(api, storage))
    assert storage.leases == {}


async def test_everybody_polls_without_the_database(api: Api, storage: Storage) -> None:
    storage.is_down = True
    ends = await follow_all(build_pollers(api, storage, "one"), build_pollers(api, storage, "two"))
    polls = api.processes()
    assert polls.count("one") == polls.count("two") == await count_alone()
    assert max(ends) - min(ends) < 0.1


async def test_record_at_the_end_of_a_wait_is_current(api: Api, storage: Storage) -> None:
    """The other process knows that the job has ended, but this one has not been notified."""
    storage.leases["poll:j1"] = ("other", 1000.0)
    api.seconds = 44
    job, end = await follow(build_pollers(api, storage), 45)
    assert (job.state, end) == ("completed", 45)
    assert len(api.polls) == 1


async def test_jobid_alone_is_fetched_at_once(api: Api, storage: Storage) -> None:
    storage.leases["poll:j1"] = ("other", 1000.0)
    await build_pollers(api, storage).wait("j1", 0, typical=TYPICAL, known_to_exist=True)
    assert api.polls == [(0, "one")]
    assert storage.leases == {"poll:j1": ("other", 1000.0)}


async def test_end_of_a_job_never_polled_is_not_announced(api: Api, storage: Storage) -> None:
    api.seconds = 0
    await build_pollers(api, storage).wait("j1", 0, typical=TYPICAL, known_to_exist=True)
    assert storage.announced == []


async def test_announcement_is_confirmed_as_soon_as_possible(api: Api, storage: Storage) -> None:
    storage.leases["poll:j1"] = ("other", 1000.0)
    pollers = build_pollers(api, storage)
    api.seconds, api.failing_until = 5, 8
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, pollers)
        await pass_time(6)
        pollers.notify("j1", False)
    assert [time for time, _ in api.polls] == [6, 46]


async def test_announcement_during_a_poll_is_confirmed_after_it(api: Api, storage: Storage) -> None:
    """The record of the current poll may be older."""
    api.seconds, api.latency = 10.5, 1
    pollers = build_pollers(api, storage)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call_at, pollers, 10.6)
        # The poll after 10 s takes longer than that.
        _, end = await follow(pollers)
    assert end <= 10 + 1 + 1 + 1


async def test_lease_covers_the_api_s_pace(api: Api, storage: Storage) -> None:
    api.failing_until = 3
    ends = await follow_all(build_pollers(api, storage, "one"), build_pollers(api, storage, "two"))
    assert [time for time, _ in api.polls][:2] == [2, 42]
    assert len(ends) == 2


async def test_repeated_announcements_are_confirmed_once_a_second(api: Api, storage: Storage) -> None:
    storage.leases["poll:j1"] = ("other", 1000.0)
    pollers = build_pollers(api, storage)
    with anyio.move_on_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow, pollers)
            await pass_time(10)
            for _ in range(50):
                pollers.notify("j1", True)
                await pass_time(0.1)
    times = [time for time, _ in api.polls]
    assert times == pytest.approx([10, 11, 12, 13, 14, 15], abs=0.11)


async def test_polls_after_a_gap_in_the_announcements_are_spread(api: Api, storage: Storage) -> None:
    pollers = build_pollers(api, storage)
    jobs = [f"j{number}" for number in range(100)]
    with anyio.move_on_after(30):
        async with anyio.create_task_group() as tasks:
            for jobid in jobs:
                job = Job(jobid, kind="video")
                tasks.start_soon(partial(pollers.wait, job, 600, typical=TYPICAL, known_to_exist=True))
            # The next polls are at 29 s.
            await pass_time(21)
            api.polls.clear()
            pollers.notify("", False)
            await pass_time(7)
    times = [time for time, _ in api.polls]
    assert len(set(times)) == len(times) == len(jobs)


async def test_nothing_is_shared_in_a_process_alone(api: Api) -> None:
    _, end = await follow(build_pollers(api, None))
    assert len(api.polls) == await count_alone()
    assert end >= api.seconds


# Webhooks.


async def call_at(pollers: Pollers, seconds: float, jobid: str = "j1") -> None:
    await anyio.sleep_until(seconds)
    pollers.notify(jobid, True)


async def test_webhook_is_confirmed_at_once(api: Api) -> None:
    pollers = build_pollers(api, None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call_at, pollers, api.seconds)
        _, end = await follow(pollers, has_webhook=True)
    assert end == api.seconds


@pytest.mark.parametrize("has_webhook", [True, False])
async def test_jobs_with_webhooks_are_polled_four_times_slower(api: Api, has_webhook: bool) -> None:
    pollers = build_pollers(api, None)
    # For another job.
    pollers.notify("j2", True)
    api.seconds = 90
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call_at, pollers, api.seconds)
        await follow(pollers, has_webhook=has_webhook)
    times = [time for time, _ in api.polls]
    factor = WEBHOOK_FACTOR if has_webhook else 1
    assert times[0] == EARLY_POLLS[0] * factor
    assert times[1] - times[0] == next_poll_delay(times[0], TYPICAL) * factor
    assert (len(times) < 15) == has_webhook


async def test_lost_webhook_brings_the_pace_back(api: Api) -> None:
    pollers = build_pollers(api, None)
    pollers.notify("j2", True)
    await follow(pollers, has_webhook=True)
    slow = len(api.polls)
    api.polls.clear()
    api.seconds += anyio.current_time()
    await follow(pollers, has_webhook=True)
    assert len(api.polls) > 2 * slow
    assert len(api.polls) == await count_alone()


async def test_webhooks_of_long_ago_do_not_count(api: Api) -> None:
    pollers = build_pollers(api, None)
    pollers.notify("j2", True)
    await pass_time(3600)
    api.seconds += anyio.current_time()
    await follow(pollers, has_webhook=True)
    assert len(api.polls) == await count_alone()


async def test_webhook_that_is_early_does_not_slow_the_polls(api: Api) -> None:
    """The API may send the webhook a moment before its records show the end."""
    pollers = build_pollers(api, None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call_at, pollers, api.seconds - 0.5)
        _, end = await follow(pollers, has_webhook=True)
    assert end - api.seconds <= next_poll_delay(45, TYPICAL)
