"""Waiting for a job: the schedule, one stream of polls, deadlines, failures, cancellation. In virtual time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import client_of, wall_clock
from tests.transports import UnreliableTransport

from luma_mcp import errors
from luma_mcp.api.polling import Pollers, next_poll_delay
from luma_mcp.api.protocol import Job, VideoRequest
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.simulator.app import Fault, Simulator

if TYPE_CHECKING:
    from luma_mcp.api.useapi.client import LumaClient

FOX = VideoRequest(prompt="A fox in the snow")
POLL = "GET /jobs/…"
TYPICAL_SECONDS = USEAPI.typical_seconds


def poll_ages(kind: str, seconds: float) -> list[float]:
    """List the ages at which a job of a kind is polled until it ends."""
    ages = [next_poll_delay(0, TYPICAL_SECONDS[kind])]
    while ages[-1] < seconds:
        ages.append(ages[-1] + next_poll_delay(ages[-1], TYPICAL_SECONDS[kind]))
    return ages


@pytest.mark.parametrize("kind", TYPICAL_SECONDS)
def test_polls_are_most_frequent_when_most_jobs_end(kind: str) -> None:
    begin, end = TYPICAL_SECONDS[kind]
    ages = poll_ages(kind, 2 * end)
    gaps = {age: later - age for age, later in pairwise(ages)}
    dense = [gap for age, gap in gaps.items() if begin <= age < end]
    sparse = [gap for age, gap in gaps.items() if 10 <= age < begin - 10 or age >= end]
    assert max(dense) < min(sparse)


def test_a_job_of_unknown_kind_is_polled_every_few_seconds() -> None:
    assert [next_poll_delay(age, None) for age in (20, 80, 600)] == [3.0, 4.0, 6.0]


async def test_end_of_a_job_is_detected_soon(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    await luma.wait(job)
    lag = anyio.current_time() - simulator.service.jobs[job.jobid].seconds
    assert 0 <= lag <= next_poll_delay(45, TYPICAL_SECONDS["draft"])


async def test_deadline_is_not_an_error(luma: LumaClient) -> None:
    job = await luma.submit(VideoRequest(prompt="A fox", resolution="1080p"))
    job = await luma.wait(job, 45)
    assert (job.state, job.status) == ("running", "processing")
    assert anyio.current_time() == 45


async def test_end_just_before_the_deadline_is_detected(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(VideoRequest(prompt="A fox", resolution="1080p"))
    simulator.service.jobs[job.jobid].seconds = 44.0
    assert (await luma.wait(job, 45)).state == "completed"


async def test_end_during_a_slow_poll_is_detected() -> None:
    """A record has the age of its request, because the response may be slow."""
    states = ["processing", "completed"]

    async def fetch(jobid: str) -> Job:
        job = Job(jobid, states.pop(0), kind="video")
        await anyio.sleep(3)
        return job

    job = await Pollers(fetch, wall_clock).wait("j1", 3.5, typical=None, known_to_exist=True)
    assert job.state == "completed"


async def test_a_wait_of_0_polls_once(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    assert (await luma.wait(job.jobid, 0)).state == "running"
    assert simulator.requests[POLL] == 1
    assert anyio.current_time() == 0


async def test_all_waiters_share_one_stream_of_polls(simulator: Simulator) -> None:
    alone = client_of(httpx2.ASGITransport(simulator))
    job = await alone.submit(FOX)
    simulator.service.jobs[job.jobid].seconds = 50
    await alone.wait(job.jobid)
    polls_of_one = simulator.requests[POLL]
    assert polls_of_one > 5

    crowd = client_of(httpx2.ASGITransport(simulator))
    job = await crowd.submit(FOX)
    simulator.service.jobs[job.jobid].seconds = 50
    simulator.requests.clear()
    ends: list[Job] = []

    async def wait() -> None:
        ends.append(await crowd.wait(job.jobid))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(wait)
    assert [end.state for end in ends] == ["completed"] * 20
    assert simulator.requests[POLL] == polls_of_one


async def test_another_waiter_polls_when_one_is_cancelled(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    ends: list[Job] = []

    async def leave_early() -> None:
        with anyio.move_on_after(20):
            await luma.wait(job.jobid)

    async def stay() -> None:
        ends.append(await luma.wait(job.jobid))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave_early)
        tasks.start_soon(stay)
    assert [end.state for end in ends] == ["completed"]
    assert simulator.service.status(simulator.service.jobs[job.jobid]) == "completed"


async def test_cancelling_ends_a_wait_and_its_polls_at_once(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    with anyio.move_on_after(7):
        await luma.wait(job.jobid)
    assert anyio.current_time() == 7
    polls = simulator.requests[POLL]
    await anyio.sleep_until(200)
    assert simulator.requests[POLL] == polls


TRANSIENT = [
    Fault("GET", "/jobs", 500, b'{"error":"oops"}', times=3),
    Fault("GET", "/jobs", 502, b"<html>", times=3),
    Fault("GET", "/jobs", 200, b'{"jobid": "j', times=3),
    Fault("GET", "/jobs", 429, b'{"error":"slow down"}', {"retry-after": "9"}, times=3),
    Fault("GET", "/jobs", 404, b'{"error":"Job not found"}', times=2),
]


@pytest.mark.parametrize("fault", TRANSIENT, ids=lambda fault: f"{fault.status}")
async def test_a_transient_failure_does_not_end_a_wait(luma: LumaClient, simulator: Simulator, fault: Fault) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(replace(fault))
    assert (await luma.wait(job)).state == "completed"
    assert simulator.faults == []


async def test_an_outage_of_a_minute_does_not_end_a_wait(simulator: Simulator) -> None:
    network = UnreliableTransport(simulator)
    luma = client_of(network)
    job = await luma.submit(FOX)
    network.faults = [httpx2.ConnectError("no route")] * 20
    assert (await luma.wait(job)).state == "completed"


async def test_wait_for_a_jobid_without_a_record(simulator: Simulator) -> None:
    network = UnreliableTransport(simulator)
    job = await client_of(network).submit(FOX)
    network.faults = [httpx2.ReadTimeout("slow")] * 10
    assert (await client_of(network).wait(job.jobid, 300)).state == "completed"


async def test_a_wait_through_an_outage_returns_the_last_record(simulator: Simulator) -> None:
    network = UnreliableTransport(simulator)
    luma = client_of(network)
    job = await luma.submit(FOX)
    network.faults = [httpx2.ConnectError("no route")] * 1000
    assert (await luma.wait(job, 60)).state == "running"
    assert 60 <= anyio.current_time() <= 65


async def test_job_that_cannot_be_fetched_is_a_network_error(simulator: Simulator) -> None:
    luma = client_of(UnreliableTransport(simulator, *[httpx2.ConnectError("no route")] * 1000))
    with pytest.raises(errors.NetworkError):
        await luma.wait("j1-bot:luma", 30)
    assert 30 <= anyio.current_time() <= 35


@pytest.mark.parametrize(("status", "kind"), [(401, errors.Unauthorized), (596, errors.AccountSession)])
async def test_permanent_error_ends_a_wait(
    luma: LumaClient, simulator: Simulator, status: int, kind: type[errors.LumaError]
) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", status, b'{"error":"no"}', times=1000))
    with pytest.raises(kind):
        await luma.wait(job)


async def test_third_404_in_a_row_is_an_error(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", 404, b'{"error":"Job not found"}', times=1000))
    with pytest.raises(errors.NotFound):
        await luma.wait(job)


async def test_an_unknown_status_is_running(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    body = f'{{"jobid":"{job.jobid}","type":"video","status":"dreaming","novel":{{"x":1}}}}'.encode()
    simulator.faults.append(Fault("GET", "/jobs", 200, body, times=1000))
    job = await luma.wait(job, 30)
    assert (job.state, job.status) == ("running", "dreaming")


async def test_polls_respect_retry_after(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", 429, b'{"error":"slow down"}', {"retry-after": "25"}))
    with anyio.move_on_after(2 + 24):
        await luma.wait(job)
    assert simulator.requests[POLL] == 1
    assert (await luma.wait(job)).state == "completed"


async def test_retry_after_of_a_day_counts_as_a_minute(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", 429, b'{"error":"slow down"}', {"retry-after": "86400"}))
    assert (await luma.wait(job)).state == "completed"
    assert anyio.current_time() <= 2 + 60


async def test_early_failure_is_detected_early(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(VideoRequest(prompt="A ghost simulate:fail", resolution="1080p"))
    simulator.service.jobs[job.jobid].seconds = 4.0
    assert (await luma.wait(job)).state == "failed"
    assert anyio.current_time() <= 6


async def test_404s_that_are_not_in_a_row_are_ignored(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(VideoRequest(prompt="A fox", resolution="1080p"))
    missing = b'{"error":"Job not found"}'
    there = f'{{"jobid":"{job.jobid}","status":"pending"}}'.encode()
    for _ in range(3):
        simulator.faults.append(Fault("GET", "/jobs", 404, missing, times=2))
        simulator.faults.append(Fault("GET", "/jobs", 200, there))
    assert (await luma.wait(job)).state == "completed"


async def test_a_404_right_after_the_order_is_ignored(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", 404, b'{"error":"Job not found"}'))
    assert (await luma.wait(job.jobid)).state == "completed"


async def test_an_old_job_is_polled_as_its_age_requires(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(VideoRequest(prompt="A stone simulate:stuck"))
    await pass_time(120)
    another_process = client_of(httpx2.ASGITransport(simulator))
    assert (await another_process.wait(job.jobid, 29)).state == "running"
    # At the beginning, every 6 s, and at the end. A new job would also have been polled after 2, 5 and 10 s.
    assert simulator.requests[POLL] == 1 + 4 + 1


async def test_404_of_a_job_with_a_record_is_ignored(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", 404, b'{"error":"Job not found"}', times=2))
    another_process = client_of(httpx2.ASGITransport(simulator))
    assert (await another_process.wait(job)).state == "completed"


async def test_404_of_an_unknown_job_is_an_error(luma: LumaClient, simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 404, b'{"error":"Job not found"}'))
    with pytest.raises(errors.NotFound):
        await luma.wait("j1-bot:luma")
    assert simulator.requests[POLL] == 1


async def fetch_without_request(jobid: str) -> Job:
    return Job(jobid, status="completed")


@pytest.mark.parametrize("job", ["j1", Job("j1", request=FOX)], ids=["jobid", "job"])
async def test_a_wait_s_result_has_the_request(job: Job | str) -> None:
    pollers = Pollers(fetch_without_request, wall_clock)
    request = FOX if isinstance(job, str) else None
    done = await pollers.wait(job, 60, typical=None, known_to_exist=True, request=request)
    assert (done.state, done.request) == ("completed", FOX)
