"""Pictures, files and earlier clips as inputs of orders with Luma's Agents API."""

from __future__ import annotations

import base64
import io
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from PIL import Image
from tests.clock import pass_time
from tests.server.calls import order, order_error

from luma_mcp.media.clips import read_clip
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.agents import AgentsSimulator

    Server = Callable[..., Client]

KEY = "luma-api-very-secret-key"
UNKNOWN = "0b3f6f0e-6d8a-4a4e-9a39-2f1d6a3c9d10"
LINK = "https://pictures.example.com/media/any/1x1-thumbnail.jpg"
DAY = 86_400
POSTED, UPLOADS = "POST /generations", "POST /files"


def picture(colour: str = "red", size: tuple[int, int] = (60, 40)) -> str:
    """Draw a picture as a data: URI."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return f"data:;base64,{base64.b64encode(file.getvalue()).decode()}"


class RecordingTransport(httpx2.AsyncBaseTransport):
    """Records the fetched links of videos in `fetched`. The next `refusals` of them fail."""

    def __init__(self, simulator: AgentsSimulator) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self.refusals = 0
        self.fetched: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith(".mp4"):
            self.fetched.append(str(request.url))
            self.refusals -= 1
            if self.refusals >= 0:
                # Links of different times differ.
                await pass_time(1)
                return httpx2.Response(403)
        return await self._simulated.handle_async_request(request)


@pytest.fixture
def transport(agents_simulator: AgentsSimulator) -> RecordingTransport:
    return RecordingTransport(agents_simulator)


@pytest.fixture
def server(
    connect: Callable[..., Client], agents_simulator: AgentsSimulator, transport: RecordingTransport, tmp_path: Path
) -> Server:
    """Connects a client to a server for the Agents API, with the given journal."""
    agents_simulator.token = KEY

    def start(journal: str = "journal.db") -> Client:
        environment = {
            "LUMA_AGENTS_API_KEY": KEY,
            "LUMA_MCP_JOURNAL": str(tmp_path / journal),
            "LUMA_MCP_INPUT_DIRS": str(tmp_path),
        }
        return connect(transport=transport, environment=environment)

    return start


async def make_job(client: Client, prompt: str = "A clip", **params: Any) -> str:
    """Order a video, wait for it and return its jobid."""
    _, content = await order(client, prompt=prompt, wait_seconds=600, **params)
    assert content["state"] == "completed"
    return str(content["jobid"])


async def test_not_found_order_without_inputs_means_a_wrong_address(
    connect: Callable[..., Client], transport: RecordingTransport
) -> None:
    environment = {"LUMA_AGENTS_API_KEY": KEY, "LUMA_MCP_BASE_URL": "https://agents.lumalabs.ai"}
    async with connect(transport=transport, environment=environment) as client:
        error = await order_error(client)
        assert (error["kind"], error["charged"], error["next_action"]) == ("not_found", "no", "fix_setup")
        assert "LUMA_MCP_BASE_URL" in error["next_step"]


@pytest.mark.parametrize(("name", "asks_for_a_picture"), [("image_start", True), ("extend", False)])
async def test_an_id_of_the_other_api_is_rejected(server: Server, name: str, asks_for_a_picture: bool) -> None:
    async with server() as client:
        error = await order_error(client, **{name: "user:1-luma:2-asset:3"})
        assert "has the form of a jobid or assetRef of useapi.net" in error["message"]
        assert ("give the picture itself" in error["message"]) == asks_for_a_picture


def problems_of(error: dict[str, Any]) -> dict[str, str]:
    return {problem["field"]: problem["message"] for problem in error["problems"]}


def get_ordered_video(simulator: AgentsSimulator) -> dict[str, Any]:
    """Get the video options of the latest order."""
    return dict(simulator.orders[-1]["video"])


# Keyframes.


async def test_keyframes_come_from_every_source(
    server: Server, agents_simulator: AgentsSimulator, tmp_path: Path
) -> None:
    (tmp_path / "fox.jpg").write_bytes((MEDIA / "3x4-thumbnail.jpg").read_bytes())
    async with server() as client:
        jobid = await make_job(client)
        _, first = await order(client, image_start=picture("blue"))
        file_id = first["assets"]["image_start"]
        sources = [str(tmp_path / "fox.jpg"), LINK, picture(), jobid, file_id, LINK]
        keyframes = [{"image": image, "seconds": number} for number, image in enumerate(sources)]
        before = agents_simulator.requests[UPLOADS]
        await order(client, keyframes=keyframes)
    sent = [frame["file_id"] for frame in get_ordered_video(agents_simulator)["keyframes"]]
    assert get_ordered_video(agents_simulator)["keyframe_indexes"] == [0, 24, 48, 72, 96, 120]
    # The link is used twice, and the file id was uploaded before.
    assert agents_simulator.requests[UPLOADS] - before == 4
    assert (sent[1], sent[4]) == (sent[5], file_id)
    assert agents_simulator.service.uploads[sent[1]].data == (MEDIA / "1x1-thumbnail.jpg").read_bytes()


async def test_the_same_keyframes_are_a_duplicate(server: Server, agents_simulator: AgentsSimulator) -> None:
    red, blue = ({"image": picture(colour), "seconds": time} for colour, time in (("red", 0), ("blue", 5)))
    async with server() as client:
        _, first = await order(client, keyframes=[red, blue])
        _, again = await order(client, keyframes=[blue, {**red, "seconds": 0.0}])
        assert again["jobid"] == first["jobid"]
        for keyframes in ([red, {**blue, "seconds": 4}], [{**blue, "seconds": 0}, {**red, "seconds": 5}]):
            _, other = await order(client, keyframes=keyframes)
            assert other["jobid"] != first["jobid"]
    assert (agents_simulator.requests[POSTED], agents_simulator.requests[UPLOADS]) == (3, 2)


async def test_all_problems_of_keyframes_are_reported_at_once(
    server: Server, agents_simulator: AgentsSimulator, tmp_path: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    images = [str(tmp_path / "none.png"), picture(), str(tmp_path / "a.pdf")]
    keyframes = [{"image": image, "seconds": number} for number, image in enumerate(images)]
    async with server() as client:
        error = await order_error(client, keyframes=[*keyframes, {"image": picture("blue"), "seconds": 99}])
    problems = problems_of(error)
    assert list(problems) == ["keyframes[3].seconds", "keyframes[0].image", "keyframes[2].image"]
    assert "does not exist" in problems["keyframes[0].image"]
    assert "PDF" in problems["keyframes[2].image"]
    assert (error["charged"], agents_simulator.requests[POSTED], agents_simulator.requests[UPLOADS]) == ("no", 0, 0)


async def test_the_shape_follows_the_first_keyframe(server: Server, agents_simulator: AgentsSimulator) -> None:
    tall, wide = picture("red", (30, 40)), picture("blue", (160, 90))
    keyframes = [{"image": wide, "seconds": 3}, {"image": tall, "seconds": 1}]
    async with server() as client:
        text, content = await order(client, keyframes=keyframes)
    assert agents_simulator.orders[-1]["aspect_ratio"] == content["request"]["aspect_ratio"] == "3:4"
    assert "keyframes[0].image" in text
    assert "nearest to the picture's shape" in text


# Files.


async def test_a_file_id_of_another_journal_is_used(server: Server, agents_simulator: AgentsSimulator) -> None:
    async with server("other.db") as other:
        _, first = await order(other, image_start=picture())
    file_id = first["assets"]["image_start"]
    async with server() as client:
        await order(client, prompt="It goes on", image_end=file_id)
    assert get_ordered_video(agents_simulator)["end_frame"] == {"file_id": file_id}
    assert agents_simulator.requests[UPLOADS] == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("failed", "could not use (The file was rejected by moderation)"),
        ("deleted", "no longer has"),
        (UNKNOWN, "knows neither as a file nor as a job"),
        ("u12345-email:a@b.example-image:1", "of useapi.net, but this server orders from Luma's Agents API"),
        ("j1-u12345-x-bot:luma", "of useapi.net, but this server orders from Luma's Agents API"),
        ("photo.jpg", "a file id, the jobid of an earlier video"),
    ],
)
async def test_an_unusable_id_is_rejected_with_the_reason(
    server: Server, agents_simulator: AgentsSimulator, value: str, reason: str
) -> None:
    async with server() as client:
        _, first = await order(client, image_start=picture())
        file_id = first["assets"]["image_start"]
        if value == "failed":
            agents_simulator.service.files[file_id].failure = "The file was rejected by moderation"
        elif value == "deleted":
            del agents_simulator.service.files[file_id]
        used = file_id if value in ("failed", "deleted") else value
        error = await order_error(client, prompt="It goes on", image_end=used)
    assert reason in problems_of(error)["image_end"]
    assert (error["charged"], agents_simulator.requests[POSTED]) == ("no", 1)


async def test_an_id_of_the_agents_api_is_rejected_by_the_other(connect: Callable[..., Client]) -> None:
    async with connect() as client:
        error = await order_error(client, image_start=UNKNOWN)
    assert "of Luma's Agents API, but this server orders from useapi.net" in problems_of(error)["image_start"]


@pytest.mark.parametrize("state", ["kept", "deleted", "failed"])
async def test_an_earlier_upload_is_checked_before_it_is_used(
    server: Server, agents_simulator: AgentsSimulator, state: str
) -> None:
    """It is not documented how long files are kept, so the file is looked up, even after months."""
    async with server() as client:
        _, first = await order(client, image_start=picture())
        file_id = first["assets"]["image_start"]
        await pass_time(200 * DAY)
        file = agents_simulator.service.files[file_id]
        if state == "deleted":
            file.deleted = agents_simulator.service.wall_clock()
        elif state == "failed":
            file.failure = "The file is gone"
        _, again = await order(client, prompt="It goes on", image_start=picture())
    is_reused = again["assets"]["image_start"] == file_id
    assert (is_reused, agents_simulator.requests[UPLOADS]) == (state == "kept", 1 if state == "kept" else 2)


async def test_a_rejected_upload_names_its_picture(server: Server, agents_simulator: AgentsSimulator) -> None:
    agents_simulator.service.check_failure = "The file was rejected by moderation"
    async with server() as client:
        error = await order_error(client, keyframes=[{"image": picture(), "seconds": 0}])
    assert list(problems_of(error)) == ["keyframes[0].image"]
    assert "The file was rejected by moderation" in error["message"]
    assert (error["charged"], agents_simulator.requests[POSTED]) == ("no", 0)


# Continuations of the last frame.


@pytest.mark.parametrize("name", ["image_start", "image_end", "keyframes"])
async def test_a_jobid_is_replaced_by_the_last_frame(
    server: Server, agents_simulator: AgentsSimulator, name: str
) -> None:
    async with server() as client:
        jobid = await make_job(client, aspect_ratio="3:4", duration="10s")
        given = {name: [{"image": jobid, "seconds": 0}] if name == "keyframes" else jobid}
        _, content = await order(client, prompt="It goes on", **given)
    [upload] = agents_simulator.service.uploads.values()
    last, _ = read_clip(str(MEDIA / "3x4-10s-sdr.mp4"), 10_000_000)
    assert Image.open(io.BytesIO(upload.data)).tobytes() == last.tobytes()
    assert (upload.media_type, content["request"]["aspect_ratio"]) == ("image/png", "3:4")
    assert content.get("continues") == (None if name == "image_end" else jobid)


@pytest.mark.parametrize("refusals", [1, 2])
async def test_an_expired_link_is_renewed_once(
    server: Server, agents_simulator: AgentsSimulator, transport: RecordingTransport, refusals: int
) -> None:
    async with server() as client:
        jobid = await make_job(client)
        transport.refusals = refusals
        if refusals == 1:
            await order(client, prompt="It goes on", image_start=jobid)
        else:
            error = await order_error(client, prompt="It goes on", image_start=jobid)
            assert "video is a link that answers 403" in problems_of(error)["image_start"]
            assert error["charged"] == "no"
    assert len(set(transport.fetched)) == len(transport.fetched) == 2
    assert agents_simulator.requests[UPLOADS] == 2 - refusals


@pytest.mark.parametrize(
    ("earlier", "wait", "reason", "action"),
    [
        ("A clip", 0, "still running", "get_job"),
        ("A clip simulate:fail", 600, "failed", "fix_arguments"),
        ("A clip simulate:no-link", 600, "without a usable picture", "fix_arguments"),
        ("A clip simulate:dead-link", 600, "video is a link that answers 404", "fix_arguments"),
    ],
)
async def test_a_clip_without_a_usable_frame_is_rejected(
    server: Server, agents_simulator: AgentsSimulator, *, earlier: str, wait: int, reason: str, action: str
) -> None:
    async with server() as client:
        _, content = await order(client, prompt=earlier, wait_seconds=wait)
        jobid = content.get("jobid") or content["error"]["jobid"]
        error = await order_error(client, prompt="It goes on", image_start=jobid)
    assert reason in problems_of(error)["image_start"]
    assert (error["charged"], error["next_action"]) == ("no", action)
    assert (agents_simulator.requests[POSTED], agents_simulator.requests[UPLOADS]) == (1, 0)


@pytest.mark.parametrize("given", [{"image_start": "JOB"}, {"keyframes": [{"image": "JOB", "seconds": 5}]}])
async def test_without_pyav_no_frame_is_extracted(
    server: Server,
    agents_simulator: AgentsSimulator,
    transport: RecordingTransport,
    monkeypatch: pytest.MonkeyPatch,
    given: Any,
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    async with server() as client:
        jobid = await make_job(client)
        given = {"image_start": jobid} if "image_start" in given else {"keyframes": [{"image": jobid, "seconds": 5}]}
        error = await order_error(client, prompt="It goes on", **given)
    [problem] = error["problems"]
    assert "PyAV, which is not installed" in problem["message"]
    assert "install PyAV" in problem["next_step"]
    assert (error["charged"], transport.fetched, agents_simulator.requests[UPLOADS]) == ("no", [], 0)


# Extensions.


async def test_an_extension_inherits_shape_and_resolution(server: Server, agents_simulator: AgentsSimulator) -> None:
    async with server() as client:
        jobid = await make_job(client, aspect_ratio="9:16", resolution="720p")
        text, content = await order(client, prompt="It goes on", extend=f" {jobid} ")
    body = agents_simulator.orders[-1]
    assert (body["aspect_ratio"], body["video"]["resolution"]) == ("9:16", "720p")
    assert body["video"]["start_frame"] == {"generation_id": jobid}
    assert (content["continues"], content["request"]["aspect_ratio"]) == (jobid, "9:16")
    assert f"extends the video of job {jobid}" in text
    assert "as in the clip that it continues" in text


async def test_a_clip_is_extended_to_at_most_thirty_seconds(server: Server, agents_simulator: AgentsSimulator) -> None:
    async with server() as client:
        jobid = await make_job(client, duration="10s", resolution="540p")
        for number in range(4):
            jobid = await make_job(client, prompt=f"It goes on {number}", extend=jobid)
        error = await order_error(client, prompt="It goes on for ever", extend=jobid)
    assert "30 s, which would become 35 s long" in problems_of(error)["extend"]
    assert (error["charged"], agents_simulator.requests[POSTED]) == ("no", 5)


@pytest.mark.parametrize(
    ("made", "given", "field", "reason", "action"),
    [
        ({}, {}, "extend", "in 360p, and no price is known", "fix_arguments"),
        ({}, {"resolution": "720p"}, "extend", "in 360p, and no price is known", "fix_arguments"),
        ({"resolution": "720p", "dynamic_range": "hdr"}, {}, "extend", "extends only SDR videos", "fix_arguments"),
        ({"resolution": "540p"}, {"aspect_ratio": "9:16"}, "aspect_ratio", 'use "16:9"', "fix_arguments"),
        ({"resolution": "540p", "prompt": "simulate:fail"}, {}, "extend", "failed", "fix_arguments"),
        ({"resolution": "540p", "wait_seconds": 0}, {}, "extend", "still running", "get_job"),
        (None, {"extend": UNKNOWN}, "extend", "does not know", "fix_arguments"),
        (None, {"extend": LINK}, "extend", "is not the jobid of a completed video", "fix_arguments"),
        (None, {"extend": "j1-u12345-x-bot:luma"}, "extend", "of useapi.net", "fix_arguments"),
    ],
)
async def test_an_invalid_extension_is_rejected_with_the_reason(
    server: Server, agents_simulator: AgentsSimulator, *, made: Any, given: Any, field: str, reason: str, action: str
) -> None:
    async with server() as client:
        if made is not None:
            _, content = await order(client, **{"prompt": "A clip", "wait_seconds": 600, **made})
            given = {"extend": content.get("jobid") or content["error"]["jobid"], **given}
        before = agents_simulator.requests[POSTED]
        error = await order_error(client, prompt="It goes on", **given)
    assert reason in problems_of(error)[field]
    assert (error["charged"], error["next_action"]) == ("no", action)
    assert agents_simulator.requests[POSTED] == before


async def test_the_suggestion_has_the_shape_of_the_extended_clip(server: Server) -> None:
    async with server() as client:
        jobid = await make_job(client, resolution="540p", aspect_ratio="1:1")
        error = await order_error(client, prompt="It goes on", extend=jobid, aspect_ratio="9:16")
        _, content = await order(client, **error["suggestion"])
    assert content["continues"] == jobid
    assert (error["suggestion"]["extend"], error["suggestion"]["aspect_ratio"]) == (jobid, "1:1")


@pytest.mark.parametrize("with_pyav", [True, False])
async def test_a_clip_of_another_journal_is_measured_with_pyav(
    server: Server, agents_simulator: AgentsSimulator, monkeypatch: pytest.MonkeyPatch, *, with_pyav: bool
) -> None:
    if not with_pyav:
        monkeypatch.setitem(sys.modules, "av", None)
    async with server("other.db") as other:
        jobid = await make_job(other, aspect_ratio="4:3", resolution="540p", duration="10s")
    async with server() as client:
        if with_pyav:
            await order(client, prompt="It goes on", extend=jobid)
            assert agents_simulator.orders[-1]["aspect_ratio"] == "4:3"
        else:
            error = await order_error(client, prompt="It goes on", extend=jobid)
            assert "was not ordered from here" in problems_of(error)["extend"]
            assert error["problems"][0]["next_step"].startswith("Ask the user to install PyAV")
