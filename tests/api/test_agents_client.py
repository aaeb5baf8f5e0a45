"""`AgentsClient` with the simulated Agents API, in memory and in virtual time."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import KEY, agents_client_of, resolve, wall_clock
from tests.transports import CannedTransport, UnreliableTransport

import luma_mcp
from luma_mcp import errors
from luma_mcp.api.agents.bodies import build_body
from luma_mcp.api.agents.client import AgentsClient
from luma_mcp.api.protocol import FEATURES, Job, Keyframe, VideoApi, VideoRequest
from luma_mcp.catalog.agents import AGENTS
from luma_mcp.simulator.app import Fault
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from pathlib import Path

    from luma_mcp.simulator.agents import AgentsSimulator

FOX = VideoRequest(prompt="A fox in the snow")
JPEG = b"\xff\xd8\xff"
FILE_ID = "0d3bd9b5-9a9b-4c2f-8a58-7f4e6f7ac2d1"
OTHER_ID = "1d3bd9b5-9a9b-4c2f-8a58-7f4e6f7ac2d1"
VIDEO = (MEDIA / "16x9-5s-sdr.mp4").read_bytes()


async def make_video(luma: AgentsClient, request: VideoRequest = FOX) -> Job:
    return await luma.wait(await luma.submit(request))


async def test_a_job_is_ordered_and_awaited(agents: AgentsClient) -> None:
    async with agents as luma:
        job = await luma.submit(FOX)
        assert (job.state, job.status, job.kind, job.charged) == ("running", "queued", "video", None)
        assert job.request
        assert (job.request.resolution, job.request.model) == ("360p", "ray-3.2")
        done = await luma.wait(job.jobid)
    assert (done.state, done.request, done.created) == ("completed", job.request, "2026-11-22T00:00:00.000Z")
    assert done.files.video
    assert done.files.video.media_type == "video/mp4"
    assert (done.files.video_hdr_exr, done.files.others) == (None, ())
    # Within the duration that the catalog expects.
    assert anyio.current_time() <= 65


async def test_several_jobs_are_awaited_together(agents: AgentsClient) -> None:
    first = await agents.submit(FOX)
    last = await agents.submit(VideoRequest("A cat simulate:fail"))
    results = await agents.wait_all([first, FILE_ID, last.jobid])
    assert [result.jobid for result in results] == [first.jobid, FILE_ID, last.jobid]
    assert isinstance(results[1], errors.NotFound)
    assert [result.state for result in results if isinstance(result, Job)] == ["completed", "failed"]


async def test_a_wait_survives_an_outage(agents: AgentsClient, agents_simulator: AgentsSimulator) -> None:
    job = await agents.wait(await agents.submit(VideoRequest("A fox simulate:outage=20")))
    assert (job.state, job.outage) == ("completed", None)
    stuck = await agents.submit(VideoRequest("A fox simulate:stuck"))
    agents_simulator.faults.append(Fault("GET", "/generations", 503, b"", times=100))
    job = await agents.wait(stuck, 60)
    assert job.outage
    assert (job.state, job.outage.error.status) == ("running", 503)


def test_client_is_a_video_api(agents: AgentsClient) -> None:
    api: VideoApi = agents
    assert (api.catalog, api.features) == (AGENTS, FEATURES["agents"])
    assert luma_mcp.AgentsClient is AgentsClient


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak"])
def test_key_that_is_not_a_valid_header_is_rejected(key: str) -> None:
    with pytest.raises(errors.NotConfigured) as caught:
        AgentsClient(key)
    assert caught.value.setting == "LUMA_AGENTS_API_KEY"


async def test_check_of_the_key_is_free(agents: AgentsClient, agents_simulator: AgentsSimulator) -> None:
    await agents.check()
    assert agents_simulator.requests == {"GET /files": 1}
    other = AgentsClient("luma-api-other", transport=httpx2.ASGITransport(agents_simulator))
    with pytest.raises(errors.Unauthorized):
        await other.check()


START, END = {"file_id": FILE_ID}, {"url": "https://example.com/end.jpg"}


@pytest.mark.parametrize(
    ("params", "video"),
    [
        ({}, {"resolution": "360p", "duration": "5s"}),
        ({"duration": "10s"}, {"resolution": "360p", "duration": "10s"}),
        ({"dynamic_range": "hdr"}, {"resolution": "720p", "duration": "5s", "hdr": True}),
        (
            {"dynamic_range": "hdr_exr", "resolution": "1080p"},
            {"resolution": "1080p", "duration": "5s", "hdr": True, "exr_export": True},
        ),
        ({"loop": True}, {"resolution": "360p", "duration": "5s", "loop": True}),
        ({"loop": False}, {"resolution": "360p", "duration": "5s"}),
        (
            {"loop": True, "image_start": FILE_ID},
            {"resolution": "360p", "duration": "5s", "loop": True, "start_frame": START},
        ),
        ({"image_start": FILE_ID}, {"resolution": "360p", "duration": "5s", "start_frame": START}),
        (
            {"image_start": FILE_ID, "image_end": END["url"]},
            {"resolution": "360p", "duration": "5s", "start_frame": START, "end_frame": END},
        ),
        (
            {"image_start": FILE_ID, "duration": "10s"},
            {"resolution": "360p", "duration": "10s", "keyframes": [START], "keyframe_indexes": [0]},
        ),
        (
            {"image_start": FILE_ID, "image_end": END["url"], "duration": "10s"},
            {"resolution": "360p", "duration": "10s", "keyframes": [START, END], "keyframe_indexes": [0, 240]},
        ),
        (
            {"image_end": END["url"], "dynamic_range": "hdr"},
            {"resolution": "720p", "duration": "5s", "hdr": True, "keyframes": [END], "keyframe_indexes": [120]},
        ),
        (
            {"keyframes": (Keyframe(END["url"], 4.99), Keyframe(FILE_ID, 0.02), Keyframe(FILE_ID, 1))},
            {
                "resolution": "360p",
                "duration": "5s",
                "keyframes": [START, START, END],
                "keyframe_indexes": [0, 24, 120],
            },
        ),
        (
            {"extend": FILE_ID, "resolution": "720p"},
            {"resolution": "720p", "duration": "5s", "start_frame": {"generation_id": FILE_ID}},
        ),
    ],
)
async def test_an_order_has_the_documented_fields(params: dict[str, Any], video: dict[str, Any]) -> None:
    canned = CannedTransport(201, json.dumps({"id": OTHER_ID, "state": "queued"}).encode())
    job = await agents_client_of(canned).submit(VideoRequest("A fox", aspect_ratio="9:16", **params))
    assert json.loads(canned.requests[0].content) == {
        "model": "ray-3.2",
        "type": "video",
        "prompt": "A fox",
        "aspect_ratio": "9:16",
        "video": video,
    }
    assert job.request
    assert build_body(job.request) == json.loads(canned.requests[0].content)


async def parse_record(**record: Any) -> Job:
    return await agents_client_of(CannedTransport(200, json.dumps({"id": FILE_ID} | record).encode())).get(FILE_ID)


@pytest.mark.parametrize(
    ("code", "charged"),
    [
        ("content_moderated", "no"),
        ("generation_failed", "no"),
        ("output_not_found", "no"),
        ("budget_exhausted", "unknown"),
        ("rate_limited", "unknown"),
        ("image_too_large", "unknown"),
        ("unsupported_format", "unknown"),
        ("corrupt_input", "unknown"),
        ("invalid_request", "unknown"),
        ("something_new", "unknown"),
        (None, "unknown"),
    ],
)
async def test_failed_job_says_whether_it_was_charged(code: str | None, charged: str, tmp_path: Path) -> None:
    canned = CannedTransport(200, json.dumps({"id": FILE_ID, "state": "failed", "failure_code": code}).encode())
    luma = agents_client_of(canned)
    job = await luma.get(FILE_ID)
    assert (job.state, job.charged, job.failure_reason) == ("failed", charged, code)
    with pytest.raises(errors.JobFailed) as caught:
        await luma.download(job, tmp_path)
    assert (caught.value.charged, caught.value.api_message) == (charged, code)


async def test_failure_has_its_code_and_its_reason() -> None:
    reasons = {}
    for code, reason in (("c", "Why"), (None, "Why"), ("c", None), (None, None), (7, ["x"])):
        reasons[code, str(reason)] = (
            await parse_record(state="failed", failure_code=code, failure_reason=reason)
        ).failure_reason
    assert reasons == {
        ("c", "Why"): "c: Why",
        (None, "Why"): "Why",
        ("c", "None"): "c",
        (None, "None"): None,
        (7, "['x']"): None,
    }
    running = await parse_record(state="processing", failure_code=None, failure_reason=None)
    assert (running.failure_reason, running.charged) == (None, None)


@pytest.mark.parametrize(
    ("record", "state", "kind"),
    [
        ({}, "running", None),
        ({"state": "queued", "type": "video"}, "running", "video"),
        ({"state": "processing", "type": "video_edit"}, "running", "video"),
        ({"state": "completed", "type": "video_reframe", "output": None}, "completed", "video"),
        ({"state": "COMPLETED", "type": "image"}, "completed", "image"),
        ({"state": "archived", "output": [{"type": "video", "url": "https://a.b/c.mp4"}]}, "completed", None),
        ({"state": "dropped", "failure_code": "generation_failed"}, "failed", None),
        ({"state": 7, "type": [], "output": {"video": 1}, "created_at": 3}, "running", None),
    ],
)
async def test_records_are_read_tolerantly(record: dict[str, Any], state: str, kind: str | None) -> None:
    job = await parse_record(**record)
    assert (job.jobid, job.state, job.kind, job.created) == (FILE_ID, state, kind, None)


async def test_outputs_are_chosen_by_type() -> None:
    outputs = [
        {"type": "exr_archive", "url": "https://a.b/frames.zip", "layer": None},
        {"type": "image", "url": "https://a.b/poster.jpg"},
        {"type": "video", "url": "null"},
        {"type": "Video", "url": "https://a.b/first.mp4"},
        {"type": "video", "url": "https://a.b/second.mp4"},
        {"type": "exr", "url": "https://a.b/second.exr"},
        {"url": "https://a.b/no-type"},
        "https://a.b/text",
        None,
    ]
    files = (await parse_record(state="completed", output=outputs)).files
    assert files.video
    assert files.video_hdr_exr
    assert (files.video.url, files.video.media_type) == ("https://a.b/first.mp4", "video/mp4")
    assert files.video_hdr_exr.url == "https://a.b/frames.zip"
    assert [(media.media_type, media.url.rpartition("/")[2]) for media in files.others] == [
        ("image", "poster.jpg"),
        ("video", "second.mp4"),
        ("exr", "second.exr"),
        (None, "no-type"),
        (None, "text"),
    ]
    assert (await parse_record(state="completed", output=outputs[:2])).files.video is None


async def test_a_jobid_is_one_path_segment() -> None:
    canned = CannedTransport(404, b'{"detail":"Generation not found"}')
    with pytest.raises(errors.NotFound) as caught:
        await agents_client_of(canned).get("../files?limit=1#")
    assert (caught.value.what, caught.value.charged) == ("job", None)
    assert canned.requests[0].url.raw_path == b"/v1/generations/..%2Ffiles%3Flimit%3D1%23"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id": "6', b'{"state": "completed"}'])
async def test_an_unreadable_record_is_fetched_again(body: bytes) -> None:
    canned = CannedTransport(200, body)
    with pytest.raises(errors.Upstream) as caught:
        await agents_client_of(canned).get(FILE_ID, retry_timeout=3)
    assert (caught.value.fault, caught.value.charged) == ("unreadable", None)
    assert len(canned.requests) > 1


async def test_an_image_is_uploaded_and_used(agents: AgentsClient, agents_simulator: AgentsSimulator) -> None:
    asset = await agents.upload(JPEG, "image/jpeg", "")
    [file] = agents_simulator.service.files.values()
    assert (asset.asset_ref, asset.email, asset.failure_reason) == (file.file_id, None, None)
    assert (file.mime_type, file.purpose, file.filename, file.size_bytes) == ("image/jpeg", "input", "image.jpeg", 3)
    assert (await agents.get_asset(asset.asset_ref)) == asset
    job = await make_video(agents, VideoRequest("It runs", image_start=asset.asset_ref))
    assert job.state == "completed"


async def test_an_upload_survives_transient_failures(agents_simulator: AgentsSimulator) -> None:
    lost = httpx2.ReadError("connection reset")
    luma = agents_client_of(UnreliableTransport(agents_simulator, lost, None, lost))
    agents_simulator.faults.append(Fault("GET", "/files/", 503))
    asset = await luma.upload(JPEG, "image/jpeg")
    assert asset.asset_ref in agents_simulator.service.files


async def test_upload_waits_for_the_check_of_an_image(agents: AgentsClient, agents_simulator: AgentsSimulator) -> None:
    agents_simulator.service.check_seconds = 30
    asset = await agents.upload(JPEG, "image/jpeg")
    assert 30 <= anyio.current_time() <= 34
    agents_simulator.service.check_seconds = 90
    with pytest.raises(errors.Upstream) as caught:
        await agents.upload(JPEG, "image/jpeg")
    assert (caught.value.fault, caught.value.retry) == ("file_pending", "later")
    assert anyio.current_time() <= 95
    assert agents_simulator.requests["GET /files/…"] < 40
    pending = list(agents_simulator.service.files)[-1]
    assert (await agents.get_asset(pending)).asset_ref == pending
    assert (await agents.get_asset(asset.asset_ref)).failure_reason is None


async def test_an_image_that_fails_its_check_is_refused(
    agents: AgentsClient, agents_simulator: AgentsSimulator
) -> None:
    agents_simulator.service.check_failure = "Not allowed"
    with pytest.raises(errors.InvalidArguments) as caught:
        await agents.upload(JPEG, "image/jpeg")
    assert caught.value.api_message == "Not allowed"
    assert [problem.code for problem in caught.value.problems] == ["unusable_image"]
    [failed] = agents_simulator.service.files
    assert (await agents.get_asset(failed)).failure_reason == "Not allowed"
    agents_simulator.service.files[failed].deleted = wall_clock()
    for asset_ref in (failed, OTHER_ID):
        with pytest.raises(errors.NotFound) as missing:
            await agents.get_asset(asset_ref)
        assert missing.value.what == "asset"


@pytest.mark.parametrize("reason", ["Not allowed", None])
async def test_an_image_that_fails_at_once_has_its_reason(reason: str | None) -> None:
    file = {"id": FILE_ID, "state": "failed", "failure_reason": reason}
    canned = CannedTransport(201, json.dumps({"id": FILE_ID, "state": "failed", "file": file, "upload": None}).encode())
    with pytest.raises(errors.InvalidArguments) as caught:
        await agents_client_of(canned).upload(JPEG, "image/jpeg")
    assert (caught.value.api_message, len(canned.requests)) == (reason, 1)


async def test_a_new_image_may_not_be_found_at_first(agents: AgentsClient, agents_simulator: AgentsSimulator) -> None:
    agents_simulator.faults.append(Fault("GET", "/files/", 404, times=2))
    asset = await agents.upload(JPEG, "image/jpeg")
    agents_simulator.faults.append(Fault("GET", "/files/", 404))
    with pytest.raises(errors.NotFound):
        await agents.get_asset(asset.asset_ref)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_image_that_is_rejected_at_once_is_named(status: int) -> None:
    canned = CannedTransport(status, b'{"detail":"Too large"}')
    with pytest.raises(errors.InvalidArguments) as caught:
        await agents_client_of(canned).upload(JPEG, "image/jpeg")
    assert str(caught.value) == 'image was rejected by the API. The API says: "Too large".'
    assert len(canned.requests) == 1


async def test_a_video_is_saved_with_its_frames(agents: AgentsClient, tmp_path: Path) -> None:
    job = await make_video(agents, VideoRequest("A fox", dynamic_range="hdr_exr"))
    video, frames = await agents.download(job, tmp_path)
    assert video.read_bytes() == (MEDIA / "16x9-5s-hdr.mp4").read_bytes()
    assert (frames.suffix, zipfile.is_zipfile(frames)) == (".zip", True)


async def test_an_expired_link_is_fetched_again(agents: AgentsClient, tmp_path: Path) -> None:
    job = await make_video(agents)
    await pass_time(2 * 3600)
    [path] = await agents.download(job, tmp_path)
    assert path.read_bytes() == VIDEO


async def test_a_link_that_cannot_be_renewed_is_an_error(agents: AgentsClient, tmp_path: Path) -> None:
    job = await make_video(agents, VideoRequest("A fox simulate:expired-link"))
    with pytest.raises(errors.DownloadError) as caught:
        await agents.download(job, tmp_path)
    assert (caught.value.expired, caught.value.jobid) == (True, job.jobid)


async def test_frames_in_one_file_are_saved_as_such(tmp_path: Path) -> None:
    """The frames can be an archive or one EXR file, and the link may not show which. This is not documented."""
    exr = b"v/1\x01" + bytes(60)

    async def answer(request: httpx2.Request) -> httpx2.Response:
        name = request.url.path.rpartition("/")[2]
        if name == FILE_ID:
            outputs = [{"type": "exr", "url": "https://a.b/x"}, {"type": "video", "url": "https://a.b/y"}]
            return httpx2.Response(200, json={"id": FILE_ID, "state": "completed", "output": outputs})
        data = exr if name == "x" else VIDEO
        return httpx2.Response(200, headers={"content-length": str(len(data))}, stream=httpx2.ByteStream(data))

    luma = AgentsClient(KEY, transport=httpx2.MockTransport(answer), resolve=resolve)
    video, frames = await luma.download(FILE_ID, tmp_path)
    assert (video.suffix, frames.suffix, frames.read_bytes()) == (".mp4", ".exr", exr)
    # The same file is not saved again.
    assert await luma.download(FILE_ID, tmp_path) == (video, frames)
    assert len(list(tmp_path.iterdir())) == 2


async def test_request_of_another_client_is_unknown(agents: AgentsClient, agents_simulator: AgentsSimulator) -> None:
    job = await make_video(agents)
    other = agents_client_of(httpx2.ASGITransport(agents_simulator))
    # The end is unknown as well: only the client that waited for the job knows it.
    assert await other.get(job.jobid) == replace(await agents.get(job.jobid), request=None, updated=None)
