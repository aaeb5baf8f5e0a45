"""Odd data after a paid order: the result can be sent, and has the job and the link."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import ERAS
from tests.journal.orders import execute
from tests.media.hostile import endless_jpeg
from tests.results import read_result

from luma_mcp.simulator.app import Fault
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client
    from mcp.types import CallToolResult

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

READY = {"prompt": "A fox", "wait_seconds": 200}
LONE_SURROGATE = "\ud83e"
"""Half of a character, which UTF-8 cannot encode."""
JPEG = (MEDIA / "16x9-thumbnail.jpg").read_bytes()
THUMBNAILS = {
    "not a picture": httpx2.Response(200, content=b"not a picture"),
    "cut short": httpx2.Response(200, content=JPEG[: len(JPEG) // 2]),
    "empty": httpx2.Response(200),
    "gone": httpx2.Response(404),
    "failed": httpx2.Response(500, content=b"oops"),
    "elsewhere": httpx2.Response(302, headers={"location": "http://[bad"}),
    "endless": httpx2.Response(200, content=endless_jpeg()),
    "invalid length": httpx2.Response(200, headers={"content-length": "-1"}, content=JPEG),
}
RECORDS: dict[str, dict[str, Any]] = {
    "created in year 1": {"created": "0001-01-01T00:00:00+14:00"},
    "created in year 9999": {"created": "9999-12-31T23:59:59-14:00"},
    "updated in year 1": {"updated": "0001-01-01T00:00:00+14:00"},
    "updated in year 9999": {"updated": "9999-12-31T23:59:59-14:00"},
    "ended before it began": {"created": "2026-11-23", "updated": "2026-11-21"},
    "no times": {"created": None, "updated": ["never"]},
    "enormous credits": {"credits": {"dm_usage": 1e308}},
    "negative credits": {"credits": {"dm_usage": -1}},
    "credits as text": {"credits": {"dm_usage": "-Infinity"}},
    "no credits": {"credits": [[]]},
    "long status": {"status": "completed", "error": "x" * 100_000},
    "no kind": {"type": None},
    "lone surrogate": {"error": LONE_SURROGATE, "updated": LONE_SURROGATE},
    "another request": {"request": {"prompt": LONE_SURROGATE * 3000, "resolution": "8k", "dynamic_range": "none"}},
    "request of numbers": {"request": {"prompt": 5, "model": []}},
    "empty request": {"request": {"prompt": ""}},
}
VIDEOS: dict[str, dict[str, Any]] = {
    "enormous": {"width": 1e308, "height": 1e308, "duration": 1e308},
    "zero size": {"width": 0, "height": 0, "duration": 0},
    "negative": {"width": -1, "height": -1, "duration": -5},
    "size as text": {"width": "wide", "height": [], "duration": "long"},
    "other type": {"media_type": LONE_SURROGATE},
    "other shape": {"width": 1, "height": 1e300, "duration": 1e-300},
}


class AlteringTransport(httpx2.AsyncBaseTransport):
    """Sends requests to the simulator, and changes the job records in its responses.

    `record` has the changes of a job's record, `video` those of its video. `thumbnail` is the response to requests for
    the thumbnail.
    """

    def __init__(
        self,
        simulator: Simulator,
        record: dict[str, Any] | None = None,
        video: dict[str, Any] | None = None,
        *,
        thumbnail: httpx2.Response | None = None,
    ) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self._record, self._video, self._thumbnail = record or {}, video or {}, thumbnail

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._thumbnail and request.url.path.endswith("thumbnail.jpg"):
            return self._thumbnail
        response = await self._simulated.handle_async_request(request)
        if "application/json" not in response.headers.get("content-type", ""):
            return response
        content = json.loads(await response.aread())
        if "jobid" in content:
            content |= self._record
            if content.get("response"):
                content["response"]["video"] |= self._video
        # JSON escapes allow lone surrogates.
        return httpx2.Response(response.status_code, content=json.dumps(content).encode())


def assert_sendable(result: CallToolResult) -> None:
    """Assert that the result can be sent as JSON in UTF-8 without escapes."""
    content = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    assert json.loads(json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8")) == content


def assert_complete(result: CallToolResult, simulator: Simulator, *, pictures: int = 0) -> dict[str, Any]:
    """Assert that text and structured content have the job and its link. Returns the structured content."""
    assert_sendable(result)
    text, content = read_result(result, pictures=pictures)
    [job] = simulator.service.jobs.values()
    assert content["jobid"] == job.jobid
    assert job.jobid in text
    assert job.key in content["video"]["url"]
    assert content["video"]["url"] in text
    assert content["state"] == "completed"
    assert not result.is_error
    return content


@pytest.mark.parametrize("problem", THUMBNAILS)
async def test_unusable_thumbnail_does_not_hide_the_video(server: Server, simulator: Simulator, problem: str) -> None:
    transport = AlteringTransport(simulator, thumbnail=THUMBNAILS[problem])
    async with server(transport=transport, LUMA_MCP_THUMBNAILS="1") as client:
        content = assert_complete(await client.call_tool("generate_video", READY), simulator)
    assert (content["outcome"], content["charged"]) == ("created", "yes")


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("tool", ["generate_video", "get_job"])
async def test_unwritable_folder_does_not_hide_the_video(
    server: Server, simulator: Simulator, tmp_path: Path, tool: str, mode: str
) -> None:
    (tmp_path / "file").touch()
    async with server(mode, LUMA_MCP_OUTPUT_DIR=str(tmp_path / "file" / "videos")) as client:
        result = await client.call_tool("generate_video", {**READY, "save": True})
        if tool == "get_job":
            [jobid] = simulator.service.jobs
            result = await client.call_tool("get_job", {"jobid": jobid, "save": True})
        content = assert_complete(result, simulator)
    assert content["save_problem"]
    assert content["saved_files"] == []


@pytest.mark.parametrize("mode", ERAS)
async def test_folder_whose_name_is_not_utf_8(server: Server, simulator: Simulator, tmp_path: Path, mode: str) -> None:
    """On Linux, names that are not UTF-8 contain lone surrogates."""
    folder = tmp_path / "videos\udcff"
    async with server(mode, LUMA_MCP_OUTPUT_DIR=str(folder)) as client:
        content = assert_complete(await client.call_tool("generate_video", {**READY, "save": True}), simulator)
        again = await client.call_tool("get_job", {"jobid": content["jobid"], "save": True})
        assert_complete(again, simulator)
        assert_sendable(await client.call_tool("list_jobs", {}))
        assert_sendable(await client.call_tool("delete_job", {"jobid": content["jobid"]}))
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("name", ["prompt", "image_start", "reply_ref", "email"])
async def test_arguments_with_lone_surrogates_are_rejected(server: Server, simulator: Simulator, name: str) -> None:
    async with server() as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", name: f"/A{LONE_SURROGATE}@"})
    assert_sendable(result)
    _, content = read_result(result)
    assert (result.is_error, content["error"]["charged"]) == (True, "no")
    assert simulator.requests["POST /videos"] == 0


@pytest.mark.parametrize("tool", ["get_job", "delete_job"])
async def test_jobids_with_lone_surrogates_are_rejected(server: Server, tool: str) -> None:
    async with server() as client:
        result = await client.call_tool(tool, {"jobid": f"j{LONE_SURROGATE}"})
    assert_sendable(result)
    _, content = read_result(result)
    assert (content["error"]["kind"], content["error"]["retry"]) == ("invalid_arguments", "after_change")


@pytest.mark.parametrize("record", RECORDS)
async def test_odd_record_of_a_finished_job(server: Server, simulator: Simulator, record: str) -> None:
    async with server(transport=AlteringTransport(simulator, RECORDS[record]), LUMA_MCP_THUMBNAILS="1") as client:
        started = await client.call_tool("generate_video", {**READY, "wait_seconds": 0, "save": True})
        assert_sendable(started)
        _, content = read_result(started)
        [jobid] = simulator.service.jobs
        assert (content["jobid"], content["charged"]) == (jobid, "yes")
        await pass_time(100)
        finished = await client.call_tool("get_job", {"jobid": jobid, "wait_seconds": 0})
        content = assert_complete(finished, simulator, pictures=1)
        assert len(content["saved_files"]) == 1
        assert_sendable(await client.call_tool("list_jobs", {}))


@pytest.mark.parametrize("video", VIDEOS)
@pytest.mark.parametrize("fault", [False, True], ids=["answered", "recovered"])
async def test_odd_record_of_a_video(server: Server, simulator: Simulator, video: str, fault: bool) -> None:
    if fault:
        simulator.faults.append(Fault("POST", "/videos", 504, after=True))
    async with server(transport=AlteringTransport(simulator, video=VIDEOS[video])) as client:
        result = await client.call_tool("generate_video", READY)
    assert_sendable(result)
    text, content = read_result(result)
    if fault and result.is_error:
        # The recovered job differs from the order, so it may belong to another machine.
        assert (content["error"]["kind"], content["error"]["charged"]) == ("outcome_unknown", "unknown")
        [jobid] = simulator.service.jobs
        assert jobid in text
        return
    assert_complete(result, simulator)


@pytest.mark.parametrize("mode", ERAS)
async def test_ordered_job_whose_record_is_not_a_video(
    server: Server, simulator: Simulator, tmp_path: Path, mode: str
) -> None:
    """The record contradicts the paid order."""
    async with server(mode, transport=AlteringTransport(simulator, {"type": "image"})) as client:
        result = await client.call_tool("generate_video", READY)
    assert_sendable(result)
    text, content = read_result(result)
    [jobid] = simulator.service.jobs
    assert (content["error"]["jobid"], content["error"]["charged"]) == (jobid, "yes")
    assert jobid in text
    assert execute(tmp_path / "journal.db", "SELECT jobid FROM orders") == [(jobid,)]
