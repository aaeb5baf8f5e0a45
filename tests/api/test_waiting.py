"""Waiting for a job: the schedule, one stream of looks, deadlines, faults, cancellation. In virtual time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import client_of
from tests.transports import Unreliable

from luma_mcp import errors
from luma_mcp.api.polling import next_poll_delay
from luma_mcp.api.protocol import Job, VideoRequest
from luma_mcp.catalog.useapi import TYPICAL_SECONDS
from luma_mcp.simulator.app import Fault, Simulator

if TYPE_CHECKING:
    from luma_mcp.api.useapi.client import LumaClient

FOX = VideoRequest(prompt="A fox in the snow")
LOOK = "GET /jobs/…"


def looks(kind: str, seconds: float) -> list[float]:
    """The ages at which a job of that kind is looked at that runs for so long."""
    ages = [next_poll_delay(0, TYPICAL_SECONDS[kind])]
    while ages[-1] < seconds:
        ages.append(ages[-1] + next_poll_delay(ages[-1], TYPICAL_SECONDS[kind]))
    return ages


@pytest.mark.parametrize("kind", TYPICAL_SECONDS)
def test_looks_are_densest_while_most_jobs_of_the_kind_end(kind: str) -> None:
    begin, end = TYPICAL_SECONDS[kind]
    ages = looks(kind, 2 * end)
    gaps = {age: later - age for age, later in pairwise(ages)}
    dense = [gap for age, gap in gaps.items() if begin <= age < end]
    sparse = [gap for age, gap in gaps.items() if 10 <= age < begin - 10 or age >= end]
    assert max(dense) < min(sparse)


def test_a_job_of_unknown_kind_is_looked_at_every_few_seconds() -> None:
    assert [next_poll_delay(age, None) for age in (20, 80, 600)] == [3.0, 4.0, 6.0]


async def test_a_finished_job_is_seen_soon_after_its_end(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    await luma.wait(job)
    lag = anyio.current_time() - simulator.service.jobs[job.jobid].seconds
    assert 0 <= lag <= next_poll_delay(45, TYPICAL_SECONDS["draft"])


async def test_a_deadline_is_no_error_and_returns_the_job_as_it_is(luma: LumaClient) -> None:
    job = await luma.submit(VideoRequest(prompt="A fox", resolution="1080p"))
    seen = await luma.wait(job, 45)
    assert (seen.state, seen.status) == ("running", "processing")
    assert anyio.current_time() == 45


async def test_a_job_that_ends_just_before_the_deadline_is_seen_at_the_deadline(
    luma: LumaClient, simulator: Simulator
) -> None:
    job = await luma.submit(VideoRequest(prompt="A fox", resolution="1080p"))
    simulator.service.jobs[job.jobid].seconds = 44.0
    assert (await luma.wait(job, 45)).state == "completed"


async def test_a_wait_of_nothing_looks_once(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    assert (await luma.wait(job.jobid, 0)).state == "running"
    assert simulator.requests[LOOK] == 1
    assert anyio.current_time() == 0


async def test_all_who_wait_for_a_job_share_one_stream_of_looks(simulator: Simulator) -> None:
    alone = client_of(httpx2.ASGITransport(simulator))
    job = await alone.submit(FOX)
    simulator.service.jobs[job.jobid].seconds = 50
    await alone.wait(job.jobid)
    looks_of_one = simulator.requests[LOOK]
    assert looks_of_one > 5

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
    assert simulator.requests[LOOK] == looks_of_one


async def test_when_the_waiter_that_looks_is_cancelled_another_looks_in_its_place(
    luma: LumaClient, simulator: Simulator
) -> None:
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


async def test_cancelling_stops_at_once_and_no_look_follows(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    with anyio.move_on_after(7):
        await luma.wait(job.jobid)
    assert anyio.current_time() == 7
    seen = simulator.requests[LOOK]
    await anyio.sleep_until(200)
    assert simulator.requests[LOOK] == seen


PASSING = [
    Fault("GET", "/jobs", 500, b'{"error":"oops"}', times=3),
    Fault("GET", "/jobs", 502, b"<html>", times=3),
    Fault("GET", "/jobs", 200, b'{"jobid": "j', times=3),
    Fault("GET", "/jobs", 429, b'{"error":"slow down"}', {"retry-after": "9"}, times=3),
    Fault("GET", "/jobs", 404, b'{"error":"Job not found"}', times=2),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: f"{fault.status}")
async def test_a_passing_fault_of_a_look_never_ends_a_wait(
    luma: LumaClient, simulator: Simulator, fault: Fault
) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(replace(fault))
    assert (await luma.wait(job)).state == "completed"
    assert simulator.faults == []


async def test_a_network_that_drops_for_a_minute_does_not_end_a_wait(simulator: Simulator) -> None:
    way = Unreliable(simulator)
    luma = client_of(way)
    job = await luma.submit(FOX)
    way.faults = [httpx2.ConnectError("no route")] * 20
    assert (await luma.wait(job)).state == "completed"


async def test_a_wait_for_a_job_that_was_never_seen_outlives_faults_too(simulator: Simulator) -> None:
    way = Unreliable(simulator)
    job = await client_of(way).submit(FOX)
    way.faults = [httpx2.ReadTimeout("slow")] * 10
    assert (await client_of(way).wait(job.jobid, 300)).state == "completed"


async def test_a_wait_through_an_outage_ends_at_its_time_with_what_was_last_seen(simulator: Simulator) -> None:
    way = Unreliable(simulator)
    luma = client_of(way)
    job = await luma.submit(FOX)
    way.faults = [httpx2.ConnectError("no route")] * 1000
    assert (await luma.wait(job, 60)).state == "running"
    assert 60 <= anyio.current_time() <= 65


async def test_a_job_that_could_never_be_seen_is_the_network_s_error(simulator: Simulator) -> None:
    luma = client_of(Unreliable(simulator, *[httpx2.ConnectError("no route")] * 1000))
    with pytest.raises(errors.NetworkError):
        await luma.wait("j1-bot:luma", 30)
    assert 30 <= anyio.current_time() <= 35


@pytest.mark.parametrize(("status", "kind"), [(401, errors.Unauthorized), (596, errors.AccountSession)])
async def test_what_no_waiting_can_mend_ends_a_wait(
    luma: LumaClient, simulator: Simulator, status: int, kind: type[errors.LumaError]
) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", status, b'{"error":"no"}', times=1000))
    with pytest.raises(kind):
        await luma.wait(job)


async def test_a_job_that_stays_missing_is_believed_to_be(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", 404, b'{"error":"Job not found"}', times=1000))
    with pytest.raises(errors.NotFound):
        await luma.wait(job)


async def test_any_unknown_status_is_a_running_one(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    body = f'{{"jobid":"{job.jobid}","type":"video","status":"dreaming","novel":{{"x":1}}}}'.encode()
    simulator.faults.append(Fault("GET", "/jobs", 200, body, times=1000))
    seen = await luma.wait(job, 30)
    assert (seen.state, seen.status) == ("running", "dreaming")


async def test_the_pace_that_the_api_asks_of_looks_is_kept(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", 429, b'{"error":"slow down"}', {"retry-after": "25"}))
    with anyio.move_on_after(2 + 24):
        await luma.wait(job)
    assert simulator.requests[LOOK] == 1
    assert (await luma.wait(job)).state == "completed"


async def test_a_pace_of_a_day_does_not_blind_a_wait_for_longer_than_a_minute(
    luma: LumaClient, simulator: Simulator
) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", 429, b'{"error":"slow down"}', {"retry-after": "86400"}))
    assert (await luma.wait(job)).state == "completed"
    assert anyio.current_time() <= 2 + 60


async def test_a_job_that_fails_early_is_seen_early(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(VideoRequest(prompt="A ghost simulate:fail", resolution="1080p"))
    simulator.service.jobs[job.jobid].seconds = 4.0
    assert (await luma.wait(job)).state == "failed"
    assert anyio.current_time() <= 6


async def test_missing_now_and_then_is_not_missing(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(VideoRequest(prompt="A fox", resolution="1080p"))
    missing = b'{"error":"Job not found"}'
    there = f'{{"jobid":"{job.jobid}","status":"pending"}}'.encode()
    for _ in range(3):
        simulator.faults.append(Fault("GET", "/jobs", 404, missing, times=2))
        simulator.faults.append(Fault("GET", "/jobs", 200, there))
    assert (await luma.wait(job)).state == "completed"


async def test_a_404_right_after_the_order_is_a_lagging_replica(luma: LumaClient, simulator: Simulator) -> None:
    job = await luma.submit(FOX)
    simulator.faults.append(Fault("GET", "/jobs", 404, b'{"error":"Job not found"}'))
    assert (await luma.wait(job.jobid)).state == "completed"


async def test_an_old_job_is_looked_at_as_its_age_wants_not_as_a_new_one(
    luma: LumaClient, simulator: Simulator
) -> None:
    job = await luma.submit(VideoRequest(prompt="A stone simulate:stuck"))
    await pass_time(120)
    another_process = client_of(httpx2.ASGITransport(simulator))
    assert (await another_process.wait(job.jobid, 29)).state == "running"
    # At the beginning, every 6 s, and at the end; a new job would have been looked at after 2, 5 and 10 s as well.
    assert simulator.requests[LOOK] == 1 + 4 + 1
