"""Contact sheets in `get_job`, pictures of HDR videos, and previews that browsers can play."""

from __future__ import annotations

import base64
import io
import sys
from typing import TYPE_CHECKING, Any

import anyio
import av
import httpx2
import pytest
from mcp import MCPError
from PIL import Image, ImageStat
from tests.clock import pass_time
from tests.conftest import BOTH_APIS
from tests.results import read_result
from tests.server.calls import call, order

from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client
    from mcp.types import CallToolResult

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

THUMBNAIL = (MEDIA / "16x9-thumbnail.jpg").read_bytes()


class BrokenVideosTransport(httpx2.AsyncBaseTransport):
    """Responds to requests for videos with the given status and data. Other requests go to the simulator."""

    def __init__(self, simulator: Simulator, status: int, data: bytes = b"") -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self._status, self._data = status, data

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith(".mp4"):
            return httpx2.Response(self._status, stream=httpx2.ByteStream(self._data))
        return await self._simulated.handle_async_request(request)


async def make_job(client: Client, prompt: str = "A fox", **params: Any) -> str:
    """Order a video, wait for it and return its jobid."""
    result = await client.call_tool("generate_video", {"prompt": prompt, "wait_seconds": 600, **params})
    assert result.structured_content
    assert result.structured_content["state"] == "completed"
    return str(result.structured_content["jobid"])


def get_picture(result: CallToolResult) -> bytes:
    """Get the only picture of a result."""
    _, picture = result.content
    assert picture.type == "image"
    assert picture.mime_type == "image/jpeg"
    return base64.b64decode(picture.data)


@pytest.mark.parametrize(
    ("api", "frames", "times"),
    [
        ("agents", 1, [2.5]),
        ("useapi", "3", [0.0, 2.5, 5.0]),
        ("agents", 6, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
    ],
)
async def test_a_contact_sheet_replaces_the_thumbnail(server: Server, frames: int | str, times: list[float]) -> None:
    async with server(LUMA_MCP_THUMBNAILS="1") as client:
        jobid = await make_job(client)
        result = await client.call_tool("get_job", {"jobid": jobid, "frames": frames})
    text, content = read_result(result, pictures=1)
    assert content["contact_sheet"] == {"frames": len(times), "times": times}
    assert f"The picture shows {frames} frame{'s' if len(times) > 1 else ''}, at {times[0]:g}" in text
    sheet = Image.open(io.BytesIO(get_picture(result)))
    assert sheet.format == "JPEG"
    # The sheet is larger than one frame if there are several.
    assert (sheet.width * sheet.height > 1.5 * 384 * 216) == (len(times) > 1)


async def test_a_contact_sheet_does_not_depend_on_thumbnails(server: Server) -> None:
    async with server(LUMA_MCP_THUMBNAILS="0") as client:
        jobid = await make_job(client)
        read_result(await client.call_tool("get_job", {"jobid": jobid, "frames": 2}), pictures=1)
        read_result(await client.call_tool("get_job", {"jobid": jobid}), pictures=0)


@pytest.mark.parametrize("frames", [0, 13, "many", 2.5])
async def test_the_number_of_frames_is_limited(server: Server, frames: object) -> None:
    async with server() as client:
        jobid = await make_job(client)
        _, content = await call(client, "get_job", jobid=jobid, frames=frames)
        [problem] = content["error"]["problems"]
        suggestion = content["error"]["suggestion"]
        assert (problem["field"], suggestion["jobid"]) == ("frames", jobid)
        assert 1 <= suggestion["frames"] <= 12
    assert "a whole number from 1 to 12" in problem["message"]


async def test_the_next_step_of_a_running_job_repeats_the_frames(server: Server) -> None:
    async with server() as client:
        _, content = await order(client)
        _, content = await call(client, "get_job", jobid=content["jobid"], frames=4, wait_seconds=0)
    assert (content["state"], content["next_action"]) == ("running", "get_job")
    assert '"frames": 4' in content["next_step"]
    assert "contact_sheet" not in content


@pytest.mark.parametrize(
    ("status", "problem"), [(404, "is a link that answers 404 (nothing is there)"), (200, "is not an MP4 video")]
)
async def test_an_unreadable_video_does_not_fail_its_job(
    server: Server, simulator: Simulator, status: int, problem: str
) -> None:
    async with server(transport=BrokenVideosTransport(simulator, status, b"<html>"), LUMA_MCP_THUMBNAILS="1") as client:
        jobid = await make_job(client)
        result = await client.call_tool("get_job", {"jobid": jobid, "frames": 4})
    text, content = read_result(result, pictures=1)
    assert (content["state"], content["contact_sheet"]) == ("completed", {"problem": problem})
    assert f"There is no contact sheet: the video {problem}." in text
    assert get_picture(result) == THUMBNAIL


async def test_without_pyav_frames_are_rejected_with_the_reason(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    async with server() as client:
        jobid = await make_job(client)
        text, content = await call(client, "get_job", jobid=jobid, frames=4)
        error = content["error"]
        assert "frames needs the Python package PyAV, which is not installed" in error["message"]
        assert (error["next_action"], error["suggestion"]) == ("fix_arguments", {"jobid": jobid})
        assert 'install PyAV beside this server (its extra "film")' in error["next_step"]
        assert error["next_step"] in text
        _, content = await call(client, "get_job", **error["suggestion"])
    assert content["state"] == "completed"


# Thumbnails.


async def test_the_picture_of_an_hdr_video_is_tone_mapped(server: Server) -> None:
    async with server(LUMA_MCP_THUMBNAILS="1") as client:
        jobid = await make_job(client, dynamic_range="hdr")
        result = await client.call_tool("get_job", {"jobid": jobid})
    picture = get_picture(result)
    assert picture != THUMBNAIL
    given, shown = (ImageStat.Stat(Image.open(io.BytesIO(data))).mean for data in (THUMBNAIL, picture))
    assert shown == pytest.approx(given, abs=8)


@pytest.mark.parametrize("api", ["agents"])
async def test_the_picture_is_a_frame_if_the_api_has_none(server: Server) -> None:
    async with server(LUMA_MCP_THUMBNAILS="1") as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 600})
    assert Image.open(io.BytesIO(get_picture(result))).size == (384, 216)


# Previews.


async def get_preview(client: Client, jobid: str) -> bytes:
    [content] = (await client.read_resource(f"luma://jobs/{jobid}/preview")).contents
    assert (content.mime_type, "blob" in content.model_dump()) == ("video/mp4", True)
    return base64.b64decode(content.model_dump()["blob"])


@BOTH_APIS
async def test_the_preview_of_an_hdr_video_plays_in_browsers(server: Server) -> None:
    async with server() as client:
        preview = await get_preview(client, await make_job(client, dynamic_range="hdr"))
    with av.open(io.BytesIO(preview), "r") as video:
        context = video.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.width) == ("h264", "yuv420p", 384)
        assert len(list(video.decode(video=0))) == 121
    assert len(preview) <= 700_000


async def test_jobs_without_a_preview(server: Server, simulator: Simulator) -> None:
    async with server(transport=BrokenVideosTransport(simulator, 404)) as client:
        done = await make_job(client)
        _, running = await order(client, "It still runs")
        for jobid, reason in [
            (done, "is a link that answers 404"),
            (running["jobid"], "is still running. Call get_job"),
            ("unknown", "not known to the API"),
        ]:
            with pytest.raises(MCPError, match=reason):
                await client.read_resource(f"luma://jobs/{jobid}/preview")


@BOTH_APIS
async def test_a_contact_sheet_omits_only_unreadable_videos(server: Server) -> None:
    async with server(LUMA_MCP_THUMBNAILS="1") as client:
        jobids = [await make_job(client, prompt) for prompt in ("One", "Two simulate:dead-link", "Three")]
        result = await client.call_tool("get_job", {"jobids": jobids, "frames": 3})
        text, content = read_result(result, pictures=1)
        assert content["contact_sheet"]["rows"] == {"Video 1": [0.0, 2.5, 5.0], "Video 3": [0.0, 2.5, 5.0]}
        [(label, problem)] = content["contact_sheet"]["problems"].items()
        assert (label, "404" in problem) == ("Video 2", True)
        assert f"There are no frames of Video 2: it {problem}." in text
        assert "Video 1 at 0, 2.5, 5 s" in text
        # If no video can be read, the result has the thumbnails that can be fetched, if any.
        result = await client.call_tool(
            "get_job", {"jobids": [jobids[1], await make_job(client, "4 simulate:dead-link")]}
        )
        _, content = read_result(result)
        assert "contact_sheet" not in content


class SlowThumbnailsTransport(httpx2.AsyncBaseTransport):
    """Delays thumbnails by four seconds, and returns damaged videos."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulated = httpx2.ASGITransport(simulator)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if "/media/" not in request.url.path:
            return await self._simulated.handle_async_request(request)
        if request.url.path.endswith(".mp4"):
            return httpx2.Response(200, stream=httpx2.ByteStream(b"no video"))
        await pass_time(4)
        return await self._simulated.handle_async_request(request)


async def test_several_thumbnails_are_fetched_in_parallel(server: Server, simulator: Simulator) -> None:
    async with server(LUMA_MCP_THUMBNAILS="1", transport=SlowThumbnailsTransport(simulator)) as client:
        _, content = await call(client, "generate_video", prompt="A fox", takes=4, wait_seconds=0)
        await anyio.sleep(300)
        began = anyio.current_time()
        result = await client.call_tool("get_job", {"jobids": [job["jobid"] for job in content["jobs"]]})
    read_result(result, pictures=4)
    assert anyio.current_time() - began < 8
