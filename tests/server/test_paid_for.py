"""Whatever goes wrong once an order is out, the agent learns of the job, and of no job that is not its own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from mcp import Client
from pydantic import SecretStr
from tests.clock import pass_time
from tests.conftest import ERAS, TOKEN, wall_clock
from tests.results import told
from tests.transports import Held, Unreliable

from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from luma_mcp.simulator.app import Simulator


async def test_a_lost_order_is_not_taken_for_a_job_that_is_known_to_be_another(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    way = Unreliable(simulator)
    async with connect(transport=way) as client:
        await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0})
        await client.call_tool("generate_video", {"prompt": "A fox", "model": "ray-v3", "wait_seconds": 0})
        way.faults = [httpx2.ReadTimeout("no answer")]
        text, content = told(await client.call_tool("generate_video", {"prompt": "A cat", "wait_seconds": 0}))
    assert content["error"]["kind"] == "outcome_unknown"
    assert "No running job that it could be was found" in text
    assert all(jobid not in text for jobid in simulator.service.jobs)


async def test_a_lost_order_is_not_taken_for_a_job_of_another_model(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    async with connect() as another_process:
        await another_process.call_tool("generate_video", {"prompt": "A fox", "model": "ray-v3", "wait_seconds": 0})
    way = Unreliable(simulator, httpx2.ReadTimeout("no answer"), delivered=True)
    async with connect(transport=way) as client:
        text, content = told(await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0}))
    another, lost = simulator.service.jobs
    assert content["jobid"] == lost
    assert another not in text


async def test_a_server_that_ends_closes_its_connections(connect: Callable[..., Client], simulator: Simulator) -> None:
    closed: list[bool] = []

    class Closing(httpx2.ASGITransport):
        async def aclose(self) -> None:
            closed.append(True)

    async with connect(transport=Closing(simulator)) as client:
        await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0})
        assert not closed
    assert closed


async def test_jobs_that_cannot_be_listed_are_not_said_to_be_none(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    gone = httpx2.ConnectError("gone")
    way = Unreliable(simulator, httpx2.ReadTimeout("no answer"), gone, gone)
    async with connect(transport=way) as client:
        text, content = told(await client.call_tool("generate_video", {"prompt": "A fox"}))
    assert content["error"]["kind"] == "outcome_unknown"
    assert "could not be looked up" in text
    assert "No running job" not in text


async def test_an_order_that_the_api_says_has_failed_names_what_it_may_have_become(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    async with connect() as another_process:
        await another_process.call_tool("generate_video", {"prompt": "A cat", "wait_seconds": 0})
    simulator.faults.append(Fault("POST", "/videos", 500, b'{"error":"oops"}', after=True))
    async with connect() as client:
        text, content = told(await client.call_tool("generate_video", {"prompt": "A fox"}))
    assert (content["error"]["kind"], content["error"]["retry"]) == ("upstream", "never")
    assert all(jobid in text for jobid in simulator.service.jobs)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_that_is_cancelled_while_it_orders_leaves_the_jobid_in_the_log(
    connect: Callable[..., Client], simulator: Simulator, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    way = Held(simulator)
    with caplog.at_level(logging.WARNING):
        async with connect(mode=mode, transport=way) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "generate_video", {"prompt": "A fox", "wait_seconds": 0})
            await way.delivered.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                # In virtual time: until the cancellation, a message of its own in the older era, has arrived.
                await pass_time(1)
            way.may_answer.set()
    [jobid] = simulator.service.jobs
    assert jobid in caplog.text


async def test_an_ordered_job_that_the_api_does_not_list_is_to_be_asked_for_later(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 404, b'{"error":"Job not found"}', times=100))
    async with connect() as client:
        text, content = told(await client.call_tool("generate_video", {"prompt": "A fox"}))
    [jobid] = simulator.service.jobs
    assert (content["error"]["retry"], content["error"]["jobid"]) == ("later", jobid)
    assert "do not order it again" in text
    assert "jobid is wrong" not in text


async def test_a_failure_of_our_own_keeps_no_jobid_from_the_agent(simulator: Simulator) -> None:
    def clock_that_breaks() -> datetime:
        if simulator.service.jobs:
            raise RuntimeError("no time")
        return wall_clock()

    settings = Settings(token=SecretStr(TOKEN), journal="off")
    server = build_server(settings, transport=httpx2.ASGITransport(simulator), wall_clock=clock_that_breaks)
    async with Client(server, mode="2026-07-28") as client:
        text, content = told(await client.call_tool("generate_video", {"prompt": "A fox"}))
    [jobid] = simulator.service.jobs
    assert content["error"]["jobid"] == jobid
    assert jobid in text
    assert "do not order it again" in text


async def test_the_time_that_ordering_took_counts_as_waiting(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', {"retry-after": "15"}))
    async with connect() as client:
        _, content = told(await client.call_tool("generate_video", {"prompt": "A fox", "resolution": "1080p"}))
    assert content["state"] == "running"
    assert anyio.current_time() == 45


async def test_an_order_is_not_retried_for_longer_than_the_call_may_wait(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', times=100))
    async with connect() as client:
        _, content = told(await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0}))
    assert content["error"]["kind"] == "capacity"
    assert simulator.requests["POST /videos"] == 1


async def test_get_job_waits_no_longer_than_the_operator_allows(connect: Callable[..., Client]) -> None:
    async with connect(environment={"USEAPI_TOKEN": TOKEN, "LUMA_MCP_MAX_WAIT_SECONDS": "7"}) as client:
        _, ordered = told(await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0}))
        _, content = told(await client.call_tool("get_job", {"jobid": ordered["jobid"], "wait_seconds": 300}))
    assert content["state"] == "running"
    assert anyio.current_time() == 7


async def test_a_completed_job_without_a_link_is_to_be_asked_for_again(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 200, b'{"jobid":"j1","type":"video","status":"completed"}'))
    async with connect() as client:
        text, content = told(await client.call_tool("get_job", {"jobid": '"j1"'}))
    assert content["state"] == "completed"
    assert "video" not in content
    assert content["next_step"] in text


@pytest.mark.parametrize("mode", ERAS)
async def test_an_odd_answer_reaches_the_client_as_something_it_can_read(
    connect: Callable[..., Client], simulator: Simulator, mode: str
) -> None:
    body = rb'{"jobid":"j1","status":"completed","credits":{"dm_usage":NaN},"response":{"video":{"url":"https://x/\ud83d"}}}'
    simulator.faults.append(Fault("GET", "/jobs", 200, body))
    async with connect(mode=mode) as client:
        _, content = told(await client.call_tool("get_job", {"jobid": "j1"}))
    assert content["video"]["url"] == "https://x/�"
    assert "credits_used" not in content


@pytest.mark.parametrize("jobid", ["abc", "..", 123])
async def test_a_wrong_jobid_is_told_how_a_right_one_is_passed(connect: Callable[..., Client], jobid: Any) -> None:
    async with connect() as client:
        text, content = told(await client.call_tool("get_job", {"jobid": jobid}))
    assert content["error"]["kind"] == "invalid_arguments"
    assert "exactly as" in text


async def test_a_simulated_result_says_so(simulator: Simulator) -> None:
    settings = Settings(token=SecretStr(TOKEN), simulated=True, thumbnails=False)
    server = build_server(settings, transport=httpx2.ASGITransport(simulator), wall_clock=wall_clock)
    async with Client(server, mode="2026-07-28") as client:
        for seconds in (0, 100):
            arguments = {"prompt": "A fox", "wait_seconds": seconds}
            text, content = told(await client.call_tool("generate_video", arguments))
            assert "stand-in clip" in text
            assert "stand-in clip" in content["note"]
