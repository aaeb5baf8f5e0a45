"""`get_job` as a client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.conftest import BOTH_APIS, ERAS, TOKEN
from tests.server.calls import call, order

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Connect = Callable[..., Client]


@BOTH_APIS
async def test_get_job_waits_for_the_same_result(connect: Connect) -> None:
    async with connect() as client:
        _, ordered = await order(client)
        _, waited = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=100)
        _, again = await call(client, "get_job", jobid=ordered["jobid"])
    assert waited["state"] == "completed"
    assert waited["request"] == ordered["request"]
    # The outcome and the charge belong to the order, not to calls of get_job.
    assert waited.keys().isdisjoint({"outcome", "charged"})
    assert again == waited


@pytest.mark.parametrize("spelling", [{"job_id": "{}"}, {"jobId": "{}"}, {"jobid": '"{}"'}, {"jobid": "`{}`"}], ids=str)
async def test_spellings_of_a_jobid(connect: Connect, spelling: dict[str, str]) -> None:
    async with connect() as client:
        _, ordered = await order(client)
        arguments = {name: text.format(ordered["jobid"]) for name, text in spelling.items()}
        _, content = await call(client, "get_job", **arguments, wait_seconds=0)
    assert content["jobid"] == ordered["jobid"]


async def test_job_of_another_server(connect: Connect) -> None:
    async with connect() as client:
        _, ordered = await order(client, wait_seconds=120)
    async with connect() as client:
        text, content = await call(client, "get_job", jobid=ordered["jobid"])
    assert content["state"] == "completed"
    assert "request" not in content
    assert content["video"].keys() == {"url", "width", "height", "duration_seconds", "format"}
    assert "If it is HDR, no browser plays it" in content["note"]
    assert content["note"] in text


@pytest.mark.parametrize(
    "shape", ['"https://cdn.example.com/frames.zip"', '{"url":"https://cdn.example.com/frames.zip"}']
)
async def test_exr_zip_in_either_shape(connect: Connect, simulator: Simulator, shape: str) -> None:
    record = (
        '{"jobid":"j1","type":"video","status":"completed","response":'
        f'{{"video":{{"url":"https://cdn.example.com/v.mp4"}},"video_hdr_exr":{shape}}}}}'
    )
    simulator.faults.append(Fault("GET", "/jobs", 200, record.encode()))
    async with connect() as client:
        _, content = await call(client, "get_job", jobid="j1")
    assert content["exr_zip_url"] == "https://cdn.example.com/frames.zip"
    assert content["video"]["plays_in_browser"] is False


async def test_image_job_is_not_a_video(connect: Connect, simulator: Simulator) -> None:
    body = b'{"jobid":"j1","type":"image","status":"processing"}'
    simulator.faults.append(Fault("GET", "/jobs", 200, body, times=100))
    async with connect() as client:
        text, content = await call(client, "get_job", jobid="j1")
    assert anyio.current_time() == 0
    assert content["error"]["kind"] == "invalid_arguments"
    assert content["error"]["problems"][0]["code"] == "not_a_video"
    assert "image" in text


@BOTH_APIS
@pytest.mark.parametrize("mode", ERAS)
async def test_cancelled_call_stops_polling_but_not_the_job(connect: Connect, simulator: Simulator, mode: str) -> None:
    async with connect(mode=mode) as client:
        with anyio.move_on_after(12):
            await order(client, wait_seconds=300)
        await anyio.sleep_until(13)
        seen = simulator.requests.copy()
        await anyio.sleep_until(200)
        assert simulator.requests == seen
        [jobid] = simulator.service.jobs
        assert (await call(client, "get_job", jobid=jobid))[1]["state"] == "completed"


@BOTH_APIS
async def test_calls_that_wait_for_one_job_share_its_polls(connect: Connect, simulator: Simulator) -> None:
    states: list[str] = []
    async with connect() as client:
        _, ordered = await order(client)

        async def wait() -> None:
            _, content = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=300)
            states.append(content["state"])

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(wait)
    assert states == ["completed"] * 10
    assert simulator.requests["GET /jobs/…"] <= 20


async def test_wait_is_limited_by_the_setting(connect: Connect) -> None:
    async with connect(environment={"USEAPI_TOKEN": TOKEN, "LUMA_MCP_MAX_WAIT_SECONDS": "7"}) as client:
        _, ordered = await order(client)
        _, content = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=300)
    assert content["state"] == "running"
    assert anyio.current_time() == 7


async def test_completed_job_without_a_link(connect: Connect, simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 200, b'{"jobid":"j1","type":"video","status":"completed"}'))
    async with connect() as client:
        text, content = await call(client, "get_job", jobid='"j1"')
    assert (content["state"], content["next_action"]) == ("completed", "get_job")
    assert "video" not in content
    assert content["next_step"] in text


@pytest.mark.parametrize("mode", ERAS)
async def test_odd_record_is_returned_as_valid_text(connect: Connect, simulator: Simulator, mode: str) -> None:
    body = rb'{"jobid":"j1","status":"completed","credits":{"dm_usage":NaN},"response":{"video":{"url":"https://x/\ud83d"}}}'
    simulator.faults.append(Fault("GET", "/jobs", 200, body))
    async with connect(mode=mode) as client:
        _, content = await call(client, "get_job", jobid="j1")
    assert content["video"]["url"] == "https://x/�"
    assert "credits_used" not in content


@pytest.mark.parametrize("jobid", ["abc", "..", 123])
async def test_malformed_jobid(connect: Connect, jobid: Any) -> None:
    async with connect() as client:
        text, content = await call(client, "get_job", jobid=jobid)
    assert content["error"]["kind"] == "invalid_arguments"
    assert "exactly as" in text


async def test_unknown_jobid(connect: Connect) -> None:
    async with connect() as client:
        text, content = await call(client, "get_job", jobid="j1-u12345-x-bot:luma")
    error = content["error"]
    assert (error["kind"], error["jobid"], error["next_action"]) == ("not_found", "j1-u12345-x-bot:luma", "list_jobs")
    assert "The jobid is wrong, or the record has expired." in text
    assert "charged" not in error
