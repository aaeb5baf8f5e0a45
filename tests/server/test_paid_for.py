"""Failures after an order was sent: the agent gets the jobid of its own job, and no other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from mcp import Client
from pydantic import SecretStr
from tests.clock import pass_time
from tests.conftest import ERAS, TOKEN, wall_clock
from tests.server.calls import call, order, order_error
from tests.transports import HoldingTransport, UnreliableTransport

from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from luma_mcp.simulator.app import Simulator

    Connect = Callable[..., Client]


async def test_lost_order_is_not_matched_to_jobs_of_other_orders(connect: Connect, simulator: Simulator) -> None:
    lossy = UnreliableTransport(simulator)
    async with connect(transport=lossy) as client:
        await order(client)
        await order(client, model="ray-v3")
        lossy.faults = [httpx2.ReadTimeout("no answer")]
        text, content = await order(client, "A cat")
    error = content["error"]
    assert (error["kind"], error["charged"]) == ("outcome_unknown", "unknown")
    assert "It was not sent again" in text
    assert "No matching running job was found." in text
    assert all(jobid not in text for jobid in simulator.service.jobs)


async def test_lost_order_is_not_matched_to_another_model(connect: Connect, simulator: Simulator) -> None:
    async with connect() as another_process:
        await order(another_process, model="ray-v3")
    lossy = UnreliableTransport(simulator, httpx2.ReadTimeout("no answer"), delivered=True)
    async with connect(transport=lossy) as client:
        text, content = await order(client)
    another, lost = simulator.service.jobs
    assert content["jobid"] == lost
    assert another not in text


async def test_server_closes_its_connections(connect: Connect, simulator: Simulator) -> None:
    closed: list[bool] = []

    class Closing(httpx2.ASGITransport):
        async def aclose(self) -> None:
            closed.append(True)

    async with connect(transport=Closing(simulator)) as client:
        await order(client)
        assert not closed
    assert closed


async def test_unlisted_jobs_are_not_reported_as_none(connect: Connect, simulator: Simulator) -> None:
    gone = httpx2.ConnectError("gone")
    async with connect(transport=UnreliableTransport(simulator, httpx2.ReadTimeout("no answer"), gone, gone)) as client:
        text, content = await order(client)
    assert content["error"]["kind"] == "outcome_unknown"
    assert "could not be looked up" in text
    assert "No matching running job" not in text


async def test_failure_with_a_body_names_the_possible_jobs(connect: Connect, simulator: Simulator) -> None:
    """A 500 with a message proves nothing: the job may be running."""
    async with connect() as another_process:
        await order(another_process, "A cat")
    simulator.faults.append(Fault("POST", "/videos", 500, b'{"error":"oops"}', after=True))
    async with connect() as client:
        text, content = await order(client)
    error = content["error"]
    assert (error["kind"], error["retry"], error["charged"]) == ("outcome_unknown", "later", "unknown")
    assert (error["status"], error["reason"]) == (500, "oops")
    assert sorted(error["running"]) == sorted(simulator.service.jobs)
    assert all(jobid in text for jobid in simulator.service.jobs)


@pytest.mark.parametrize("mode", ERAS)
async def test_cancelled_order_logs_its_jobid(
    connect: Connect, simulator: Simulator, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    held = HoldingTransport(simulator)
    with caplog.at_level(logging.WARNING):
        async with connect(mode=mode, transport=held) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(order, client)
            await held.delivered.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                # The older protocol sends the cancellation as a message, which takes (virtual) time.
                await pass_time(1)
            held.may_answer.set()
    [jobid] = simulator.service.jobs
    assert jobid in caplog.text


@pytest.mark.parametrize("mode", ERAS)
async def test_cancelled_wait_logs_its_jobid(
    connect: Connect, simulator: Simulator, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    with caplog.at_level(logging.WARNING):
        async with connect(mode=mode) as client:
            with anyio.move_on_after(12):
                await order(client, wait_seconds=300)
            await pass_time(1)
    [jobid] = simulator.service.jobs
    assert jobid in caplog.text


async def test_ordered_job_that_is_not_listed_yet(connect: Connect, simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 404, b'{"error":"Job not found"}', times=100))
    async with connect() as client:
        text, content = await order(client, wait_seconds=45)
    [jobid] = simulator.service.jobs
    assert (content["jobid"], content["state"]) == (jobid, "running")
    assert (content["charged"], content["next_action"]) == ("yes", "get_job")
    assert "does not list the job" in content["message"]
    assert content["message"] in text
    assert "Do not order it again" in text
    assert "jobid is wrong" not in text


async def test_identical_order_whose_job_cannot_be_fetched(connect: Connect, simulator: Simulator) -> None:
    async with connect() as client:
        _, first = await order(client)
        simulator.faults.append(Fault("GET", "/jobs", 401, b'{"error":"Unauthorized"}', times=100))
        text, content = await order(client)
    error = content["error"]
    assert (error["jobid"], error["charged"], error["next_action"]) == (first["jobid"], "no", "get_job")
    assert "An identical order was placed before, and nothing was ordered now." in text
    assert "pass new_take true, but ask the user first" in text
    assert simulator.requests["POST /videos"] == 1


async def test_internal_error_after_the_order_names_the_job(simulator: Simulator) -> None:
    def broken_clock() -> datetime:
        if simulator.service.jobs:
            raise RuntimeError("no time")
        return wall_clock()

    settings = Settings(token=SecretStr(TOKEN), journal="off")
    server = build_server(settings, transport=httpx2.ASGITransport(simulator), wall_clock=broken_clock)
    async with Client(server, mode=ERAS[0]) as client:
        text, content = await order(client, wait_seconds=45)
    [jobid] = simulator.service.jobs
    error = content["error"]
    assert (error["jobid"], error["charged"]) == (jobid, "yes")
    assert jobid in text
    assert "do not order it again" in text


async def test_internal_error_before_the_order(simulator: Simulator) -> None:
    def broken_clock() -> datetime:
        if anyio.current_time() > 1:
            raise RuntimeError("no time")
        return wall_clock()

    settings = Settings(token=SecretStr(TOKEN), journal="off")
    server = build_server(settings, transport=httpx2.ASGITransport(simulator), wall_clock=broken_clock)
    async with Client(server, mode=ERAS[0]) as client:
        await call(client, "list_jobs")
        await pass_time(2)
        text, content = await order(client)
    error = content["error"]
    assert (error["kind"], error["next_action"]) == ("upstream", "list_jobs")
    assert "This program failed (RuntimeError)." in text
    assert simulator.service.jobs == {}


async def test_ordering_counts_towards_the_wait(connect: Connect, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', {"retry-after": "15"}))
    async with connect() as client:
        _, content = await order(client, resolution="1080p", wait_seconds=45)
    assert content["state"] == "running"
    assert anyio.current_time() == 45


async def test_order_is_not_retried_beyond_the_wait(connect: Connect, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', times=100))
    async with connect() as client:
        error = await order_error(client)
    assert error["kind"] == "capacity"
    assert simulator.requests["POST /videos"] == 1


async def test_simulated_results_are_labelled(simulator: Simulator) -> None:
    settings = Settings(token=SecretStr(TOKEN), simulated=True, thumbnails=False, journal="off")
    server = build_server(settings, transport=httpx2.ASGITransport(simulator), wall_clock=wall_clock)
    async with Client(server, mode=ERAS[0]) as client:
        for seconds in (0, 100):
            text, content = await order(client, wait_seconds=seconds)
            assert (content["simulated"], content["charged"]) == (True, "no")
            assert "stand-in clip" in content["note"]
            assert content["note"] in text
        _, listing = await call(client, "list_jobs")
        _, failure = await order(client, resolution="4k")
    assert listing["simulated"] is True
    assert (failure["simulated"], failure["error"]["kind"]) == (True, "invalid_arguments")


async def test_a_simulated_failure_is_reported_as_not_charged(simulator: Simulator) -> None:
    settings = Settings(token=SecretStr(TOKEN), simulated=True, thumbnails=False, journal="off")
    server = build_server(settings, transport=httpx2.ASGITransport(simulator), wall_clock=wall_clock)
    async with Client(server, mode=ERAS[0]) as client:
        text, content = await order(client, prompt="A fox simulate:fail", wait_seconds=100)
    assert (content["state"], content["charged"], content["error"]["charged"]) == ("failed", "no", "no")
    assert "not known whether" not in text
