"""`generate_video` and `get_job` as a client sees them, in both protocol eras."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from jsonschema import Draft202012Validator
from tests.conftest import ERAS, TOKEN
from tests.transports import Unreliable

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client
    from mcp.types import CallToolResult

    from luma_mcp.simulator.app import Simulator


def text_of(result: CallToolResult) -> str:
    [block] = result.content
    assert block.type == "text"
    return block.text


def content_of(result: CallToolResult) -> dict[str, Any]:
    assert result.structured_content is not None
    return dict(result.structured_content)


async def call(
    connect: Callable[..., Client], tool: str, /, *, mode: str = "2026-07-28", **arguments: Any
) -> CallToolResult:
    async with connect(mode=mode) as client:
        return await client.call_tool(tool, arguments)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_prompt_becomes_a_video(connect: Callable[..., Client], simulator: Simulator, mode: str) -> None:
    result = await call(connect, "generate_video", mode=mode, prompt="A fox in the snow", wait_seconds=120)
    [job] = simulator.service.jobs.values()
    assert not result.is_error
    url = f"https://api.useapi.net/media/{job.key}"
    assert content_of(result) == {
        "jobid": job.jobid,
        "status": "completed",
        "state": "completed",
        "request": {
            "prompt": "A fox in the snow",
            "model": "ray-v3-flash",
            "resolution": "draft",
            "aspect_ratio": "16:9",
            "duration": "5s",
            "dynamic_range": "sdr",
        },
        "created": "2026-11-22T00:00:00.000Z",
        "updated": content_of(result)["updated"],
        "elapsed_seconds": round(job.seconds, 1),
        "video": {
            "url": f"{url}/16x9-5s-sdr.mp4",
            "width": 384,
            "height": 216,
            "duration_seconds": 5.04,
            "format": "H.264 MP4",
            "plays_in_browser": True,
        },
        "thumbnail_url": f"{url}/16x9-thumbnail.jpg",
        "last_frame_url": f"{url}/16x9-last_frame.jpg",
        "credits_used": 20,
        "note": "Plays in browsers. Links may expire: save what is to be kept.",
    }
    for word in (f"{url}/16x9-5s-sdr.mp4", f"{url}/16x9-thumbnail.jpg", "plays in browsers", job.jobid):
        assert word in text_of(result)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_wait_that_ends_is_a_success_with_the_jobid_and_one_next_step(
    connect: Callable[..., Client], simulator: Simulator, mode: str
) -> None:
    result = await call(connect, "generate_video", mode=mode, prompt="A fox", resolution="1080p")
    [jobid] = simulator.service.jobs
    assert anyio.current_time() == 45
    assert not result.is_error
    content = content_of(result)
    assert (content["state"], content["status"], content["jobid"]) == ("running", "processing", jobid)
    assert content["elapsed_seconds"] == 45
    assert "get_job" in content["next_step"]
    assert jobid in content["next_step"]
    assert content["next_step"] in text_of(result)
    assert content.keys().isdisjoint({"video", "thumbnail_url", "credits_used"})


async def test_a_wait_of_nothing_returns_at_once(connect: Callable[..., Client], simulator: Simulator) -> None:
    result = await call(connect, "generate_video", prompt="A fox", wait_seconds=0)
    assert anyio.current_time() == 0
    assert content_of(result)["state"] == "running"
    assert simulator.requests == {"POST /videos": 1}


async def test_get_job_waits_for_the_same_result(connect: Callable[..., Client]) -> None:
    async with connect() as client:
        ordered = content_of(await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0}))
        waited = content_of(await client.call_tool("get_job", {"jobid": ordered["jobid"], "wait_seconds": 100}))
        again = content_of(await client.call_tool("get_job", {"jobid": ordered["jobid"]}))
    assert waited["state"] == "completed"
    assert waited["request"] == ordered["request"]
    assert again == waited


async def test_a_server_that_did_not_order_a_job_serves_it_all_the_same(connect: Callable[..., Client]) -> None:
    jobid = content_of(await call(connect, "generate_video", prompt="A fox", wait_seconds=120))["jobid"]
    result = await call(connect, "get_job", jobid=jobid)
    content = content_of(result)
    assert content["state"] == "completed"
    assert "request" not in content
    assert content["video"].keys() == {"url", "width", "height", "duration_seconds", "format"}
    assert "if it is HDR, no browser plays it" in text_of(result)
    assert "If it is HDR, no browser plays it" in content["note"]


@pytest.mark.parametrize("dynamic_range", ["hdr", "hdr_exr"])
async def test_hdr_says_which_players_can_show_it(connect: Callable[..., Client], dynamic_range: str) -> None:
    result = await call(connect, "generate_video", prompt="A fox", dynamic_range=dynamic_range, wait_seconds=300)
    content = content_of(result)
    assert content["video"]["plays_in_browser"] is False
    assert content["video"]["format"].startswith("HEVC Main 10")
    assert "VLC, mpv" in text_of(result)
    assert "VLC, mpv" in content["note"]
    assert ("exr_zip_url" in content) == (dynamic_range == "hdr_exr")
    if dynamic_range == "hdr_exr":
        assert content["exr_zip_url"].endswith(".zip")
        assert content["exr_zip_url"] in text_of(result)


@pytest.mark.parametrize(
    "shape", ['"https://cdn.example.com/frames.zip"', '{"url":"https://cdn.example.com/frames.zip"}']
)
async def test_the_exr_zip_is_found_in_either_shape(
    connect: Callable[..., Client], simulator: Simulator, shape: str
) -> None:
    record = (
        '{"jobid":"j1","type":"video","status":"completed","response":'
        f'{{"video":{{"url":"https://cdn.example.com/v.mp4"}},"video_hdr_exr":{shape}}}}}'
    )
    simulator.faults.append(Fault("GET", "/jobs", 200, record.encode()))
    content = content_of(await call(connect, "get_job", jobid="j1"))
    assert content["exr_zip_url"] == "https://cdn.example.com/frames.zip"
    assert content["video"]["plays_in_browser"] is False


async def test_a_failed_job_is_an_error_with_the_api_s_reason(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    result = await call(connect, "generate_video", prompt="A fox simulate:fail", wait_seconds=100)
    [job] = simulator.service.jobs.values()
    assert result.is_error
    error = content_of(result)["error"]
    assert (error["kind"], error["jobid"]) == ("job_failed", job.jobid)
    assert str(job.fails) in error["message"]
    assert str(job.fails) in text_of(result)
    content = content_of(result)
    assert (content["state"], content["status"], content["jobid"]) == ("failed", "failed", job.jobid)
    assert content["request"]["prompt"] == "A fox simulate:fail"
    assert "next_step" not in content


@pytest.mark.parametrize(
    ("wish", "kind", "retry", "status"),
    [
        ("moderate", "moderated", "after_change", 422),
        ("expired", "account_session", "after_change", 596),
        ("broke", "payment_required", "after_change", 402),
    ],
)
async def test_a_refusal_of_the_api_keeps_its_kind_its_status_and_its_words(
    connect: Callable[..., Client], simulator: Simulator, *, wish: str, kind: str, retry: str, status: int
) -> None:
    result = await call(connect, "generate_video", prompt=f"A fox simulate:{wish}")
    assert result.is_error
    error = content_of(result)["error"]
    assert (error["kind"], error["retry"], error["status"]) == (kind, retry, status)
    assert "The API says: " in error["message"]
    assert "nothing was spent" in error["message"]
    assert text_of(result) == error["message"]
    assert simulator.service.jobs == {}


async def test_a_refusal_before_the_order_names_the_problems_and_one_suggestion_that_works(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    async with connect() as client:
        result = await client.call_tool(
            "generate_video", {"prompt": "A fox", "dynamic_range": "hdr", "duration": "10s"}
        )
        assert simulator.requests.total() == 0
        error = content_of(result)["error"]
        assert error["problems"] == [
            {
                "field": "duration",
                "value": "10s",
                "message": 'duration "10s" does not go with dynamic_range "hdr"; use "5s".',
                "allowed": ["5s"],
            }
        ]
        assert "No job was started and nothing was spent." in text_of(result)
        assert not (await client.call_tool("generate_video", error["suggestion"])).is_error


async def test_a_full_house_is_told_after_a_while_with_nothing_ordered(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    for account in simulator.service.accounts.values():
        account.concurrency = 0
    result = await call(connect, "generate_video", prompt="A fox")
    error = content_of(result)["error"]
    assert (error["kind"], error["retry"], error["status"]) == ("capacity", "later", 429)
    assert 0 < anyio.current_time() <= 20


async def test_an_order_whose_answer_is_lost_is_found_again_and_not_ordered_twice(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    way = Unreliable(simulator, httpx2.ReadTimeout("no answer"), delivered=True)
    async with connect(transport=way) as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox"})
    [jobid] = simulator.service.jobs
    assert content_of(result)["jobid"] == jobid
    assert "its job was found" in text_of(result)
    assert "its job was found" in content_of(result)["note"]
    assert simulator.requests["POST /videos"] == 1


async def test_an_order_that_went_through_is_not_lost_when_following_it_fails(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 401, b'{"error":"Unauthorized"}', times=100))
    result = await call(connect, "generate_video", prompt="A fox")
    [jobid] = simulator.service.jobs
    error = content_of(result)["error"]
    assert (error["kind"], error["jobid"]) == ("unauthorized", jobid)
    assert jobid in text_of(result)
    assert "do not order it again" in text_of(result)


async def test_an_image_job_is_not_taken_for_a_video(connect: Callable[..., Client], simulator: Simulator) -> None:
    body = b'{"jobid":"j1","type":"image","status":"processing"}'
    simulator.faults.append(Fault("GET", "/jobs", 200, body, times=100))
    result = await call(connect, "get_job", jobid="j1")
    assert anyio.current_time() == 0
    assert content_of(result)["error"]["kind"] == "invalid_arguments"
    assert "image" in text_of(result)


@pytest.mark.parametrize("mode", ERAS)
async def test_progress_grows_strictly_at_least_every_5_s_and_names_the_job_first(
    connect: Callable[..., Client], simulator: Simulator, mode: str
) -> None:
    seen: list[tuple[float, float, float | None, str]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((anyio.current_time(), progress, total, message or ""))

    async with connect(mode=mode) as client:
        await client.call_tool(
            "generate_video", {"prompt": "A fox simulate:slow", "wait_seconds": 300}, progress_callback=on_progress
        )
    times = [time for time, *_ in seen]
    values = [progress for _, progress, *_ in seen]
    [jobid] = simulator.service.jobs
    assert jobid in seen[0][3]
    assert all(later > earlier for earlier, later in pairwise(values))
    assert all(later - earlier <= 5 for earlier, later in pairwise(times))
    assert all(len(message) < 200 for *_, message in seen)
    assert (values[0], values[-1], {total for _, _, total, _ in seen}) == (0, 100, {100})
    assert max(values[:-1]) < 100


@pytest.mark.parametrize("mode", ERAS)
async def test_a_cancelled_call_stops_looking_at_once_and_leaves_the_job_alone(
    connect: Callable[..., Client], simulator: Simulator, mode: str
) -> None:
    async with connect(mode=mode) as client:
        with anyio.move_on_after(12):
            await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 300})
        await anyio.sleep_until(13)
        seen = simulator.requests.copy()
        await anyio.sleep_until(200)
        assert simulator.requests == seen
        [jobid] = simulator.service.jobs
        assert content_of(await client.call_tool("get_job", {"jobid": jobid}))["state"] == "completed"


async def test_calls_that_wait_for_one_job_share_its_looks(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    ends: list[str] = []
    async with connect() as client:
        jobid = content_of(await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0}))["jobid"]

        async def wait() -> None:
            result = await client.call_tool("get_job", {"jobid": jobid, "wait_seconds": 300})
            ends.append(content_of(result)["state"])

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(wait)
    assert ends == ["completed"] * 10
    assert simulator.requests["GET /jobs/…"] <= 20


async def test_the_operator_s_longest_wait_ends_a_longer_one_with_the_next_step(connect: Callable[..., Client]) -> None:
    async with connect(environment={"USEAPI_TOKEN": TOKEN, "LUMA_MCP_MAX_WAIT_SECONDS": "10"}) as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 300})
    assert anyio.current_time() == 10
    assert content_of(result)["state"] == "running"


async def test_the_configured_account_is_used_unless_another_or_an_image_decides(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    simulator.service.add_account("second@example.com")
    ref = simulator.service.add_asset("second@example.com")
    async with connect(environment={"USEAPI_TOKEN": TOKEN, "LUMA_MCP_EMAIL": "studio@example.com"}) as client:
        for arguments in ({}, {"email": "second@example.com"}, {"image_start": ref}):
            result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0, **arguments})
            assert not result.is_error
    assert [order.get("email") for order in simulator.orders] == ["studio@example.com", "second@example.com", None]
    accounts = [job.email for job in simulator.service.jobs.values()]
    assert accounts == ["studio@example.com", "second@example.com", "second@example.com"]


@pytest.mark.parametrize("tool", ["generate_video", "get_job"])
async def test_without_a_token_the_variable_and_its_source_are_named(
    connect: Callable[..., Client], simulator: Simulator, tool: str
) -> None:
    async with connect(environment={}) as client:
        assert len((await client.list_tools()).tools) == 5
        result = await client.call_tool(tool, {"prompt": "A fox"} if tool == "generate_video" else {"jobid": "j1"})
    error = content_of(result)["error"]
    assert (error["kind"], error["retry"]) == ("not_configured", "after_change")
    for word in ("USEAPI_TOKEN", "https://useapi.net", "--simulate"):
        assert word in text_of(result)
    assert simulator.requests.total() == 0


async def test_the_token_is_in_no_result(connect: Callable[..., Client], simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 401, f'{{"error":"bad {TOKEN}"}}'.encode()))
    result = await call(connect, "generate_video", prompt="A fox")
    assert content_of(result)["error"]["kind"] == "unauthorized"
    assert TOKEN not in result.model_dump_json()


async def test_error_results_fit_the_advertised_output_schema_too(connect: Callable[..., Client]) -> None:
    """Some clients check structured content of errors as well, and would otherwise show their own failure."""
    async with connect() as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        calls: list[tuple[str, dict[str, Any]]] = [
            ("generate_video", {"prompt": "A fox", "resolution": ["odd"], "lenght": {"a": None}}),
            ("generate_video", {"prompt": "A fox simulate:fail", "wait_seconds": 100}),
            ("get_job", {"jobid": "j1-u12345-x-bot:luma"}),
            ("list_options", {"model": "ray-v9"}),
        ]
        for tool, arguments in calls:
            result = await client.call_tool(tool, arguments)
            assert result.is_error
            Draft202012Validator(schemas[tool] or {}).validate(result.structured_content)
