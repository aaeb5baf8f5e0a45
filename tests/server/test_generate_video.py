"""`generate_video` as a client sees it, in both versions of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from jsonschema import Draft202012Validator
from tests.conftest import EMAIL, ERAS, TOKEN
from tests.results import read_result
from tests.server.calls import call, order, order_error
from tests.transports import UnreliableTransport

from luma_mcp.providers import AGENTS, PROVIDERS, USEAPI, Provider
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Connect = Callable[..., Client]

FOX = {
    "prompt": "A fox in the snow",
    "model": "ray-v3-flash",
    "resolution": "draft",
    "aspect_ratio": "16:9",
    "duration": "5s",
    "dynamic_range": "sdr",
}
every_era = pytest.mark.parametrize("mode", ERAS)


@every_era
async def test_prompt_becomes_a_video(connect: Connect, simulator: Simulator, mode: str) -> None:
    async with connect(mode=mode) as client:
        text, content = await order(client, "A fox in the snow", wait_seconds=120)
    [job] = simulator.service.jobs.values()
    url = f"https://api.useapi.net/media/{job.key}"
    assert content == {
        "jobid": job.jobid,
        "status": "completed",
        "state": "completed",
        "outcome": "created",
        "charged": "yes",
        "next_action": "none",
        "request": FOX,
        "created": "2026-11-22T00:00:00Z",
        "updated": content["updated"],
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
        "credits_left": [{"email": EMAIL, "left": 8780, "limit": 10_000}],
        "cost": f"{EMAIL} has 8780 of 10000 credits left.",
        "note": "Plays in browsers. Links may expire, so save what you want to keep.",
    }
    assert text.splitlines() == [
        f"The video is ready: {url}/16x9-5s-sdr.mp4",
        "384x216, 5.04 s, H.264 MP4.",
        f"Thumbnail: {url}/16x9-thumbnail.jpg",
        f"Last frame: {url}/16x9-last_frame.jpg",
        "Request: ray-v3-flash, draft, 16:9, 5s, sdr; prompt: A fox in the snow",
        f"Ordered at 2026-11-22 00:00 UTC. Made in {job.seconds:.0f} s. It used 20 credits. Job: {job.jobid}",
        content["cost"],
        content["note"],
    ]


@every_era
async def test_expired_wait_is_a_success_with_one_next_step(connect: Connect, simulator: Simulator, mode: str) -> None:
    async with connect(mode=mode) as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "resolution": "1080p"})
    text, content = read_result(result)
    [jobid] = simulator.service.jobs
    assert anyio.current_time() == 45
    assert not result.is_error
    assert (content["state"], content["status"], content["jobid"]) == ("running", "processing", jobid)
    assert (content["elapsed_seconds"], content["typical_seconds"]) == (45, [135, 225])
    assert content["next_action"] == "get_job"
    assert content["next_step"] == (
        f'Call get_job with {{"jobid": "{jobid}"}} to wait for the video. Do not order it again.'
    )
    assert text.splitlines() == [
        f"The video is being made (status processing after 45 s; 1080p usually takes 135 to 225 s). Job: {jobid}",
        "Request: ray-v3-flash, 1080p, 16:9, 5s, sdr; prompt: A fox",
        content["cost"],
        content["next_step"],
    ]
    assert content.keys().isdisjoint({"video", "thumbnail_url", "credits_used", "note"})


async def test_no_wait_returns_at_once(connect: Connect, simulator: Simulator) -> None:
    async with connect() as client:
        _, content = await order(client)
    assert anyio.current_time() == 0
    assert content["state"] == "running"
    assert simulator.requests["POST /videos"] == 1
    assert simulator.requests["GET /jobs/…"] == 0


@pytest.mark.parametrize("dynamic_range", ["hdr", "hdr_exr"])
async def test_hdr_result_names_players(connect: Connect, dynamic_range: str) -> None:
    async with connect() as client:
        text, content = await order(client, dynamic_range=dynamic_range, wait_seconds=300)
    assert content["video"]["plays_in_browser"] is False
    assert content["video"]["format"].startswith("HEVC Main 10")
    assert "VLC, mpv" in content["note"]
    assert content["note"] in text
    assert ("exr_zip_url" in content) == (dynamic_range == "hdr_exr")
    if dynamic_range == "hdr_exr":
        assert content["exr_zip_url"].endswith(".zip")
        assert content["exr_zip_url"] in text


async def test_failed_job_is_an_error_with_the_api_s_reason(connect: Connect, simulator: Simulator) -> None:
    async with connect() as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox simulate:fail", "wait_seconds": 100})
    text, content = read_result(result)
    [job] = simulator.service.jobs.values()
    assert result.is_error
    assert (content["state"], content["status"], content["jobid"]) == ("failed", "failed", job.jobid)
    assert content["request"]["prompt"] == "A fox simulate:fail"
    error = content["error"]
    assert (error["kind"], error["jobid"], error["reason"]) == ("job_failed", job.jobid, str(job.fails))
    assert content["next_action"] == error["next_action"] == "fix_arguments"
    assert f'The video was not made; the API says: "{job.fails}".' in error["message"]
    assert text.startswith(f"{error['message']} {error['next_step']}")


@pytest.mark.parametrize(
    ("behavior", "kind", "retry", "status", "action"),
    [
        ("moderate", "moderated", "after_change", 422, "fix_arguments"),
        ("expired", "account_session", "after_change", 596, "fix_setup"),
        ("broke", "payment_required", "after_change", 402, "fix_setup"),
    ],
)
async def test_rejection_by_the_api_is_reported(
    connect: Connect, simulator: Simulator, *, behavior: str, kind: str, retry: str, status: int, action: str
) -> None:
    async with connect() as client:
        text, content = await order(client, f"A fox simulate:{behavior}")
    error = content["error"]
    assert (error["kind"], error["retry"], error["status"], error["next_action"]) == (kind, retry, status, action)
    assert error["charged"] == "no"
    assert f'The API says: "{error["reason"]}".' in error["message"]
    assert "Nothing was charged." in error["message"]
    assert text == f"{error['message']} {error['next_step']}"
    assert simulator.service.jobs == {}


async def test_no_error_names_a_shell_command(connect: Connect) -> None:
    for behavior in ("moderate", "expired", "broke"):
        async with connect() as client:
            text, _ = await order(client, f"A fox simulate:{behavior}")
        assert "luma-ray-mcp" not in text


async def test_invalid_request_gets_a_suggestion_that_works(connect: Connect, simulator: Simulator) -> None:
    async with connect() as client:
        text, content = await order(client, dynamic_range="hdr", duration="10s")
        assert simulator.requests.total() == 0
        error = content["error"]
        message = 'duration "10s" cannot be combined with dynamic_range "hdr"; use "5s".'
        assert error["problems"] == [
            {"field": "duration", "code": "conflict", "value": "10s", "message": message, "allowed": ["5s"]}
        ]
        assert (error["charged"], error["message"]) == ("no", f"{message} Nothing was charged.")
        assert message in text
        assert not (await client.call_tool("generate_video", error["suggestion"])).is_error


async def test_full_slots_are_reported_at_the_end_of_the_wait(connect: Connect, simulator: Simulator) -> None:
    for account in simulator.service.accounts.values():
        account.concurrency = 0
    async with connect() as client:
        error = await order_error(client, wait_seconds=45)
    assert (error["kind"], error["retry"], error["status"]) == ("capacity", "later", 429)
    assert (error["charged"], error["next_action"]) == ("no", "order_later")
    assert 35 <= anyio.current_time() <= 45


async def test_order_waits_for_a_free_slot(connect: Connect, simulator: Simulator) -> None:
    """Progress reports the wait, and the order is sent once a slot is free."""
    simulator.service.accounts[EMAIL].concurrency = 1
    messages: list[str | None] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        messages.append(message)

    async with connect() as client:
        _, first = await order(client, wait_seconds=0)
        arguments = {"prompt": "A cat", "wait_seconds": 120}
        result = await client.call_tool("generate_video", arguments, progress_callback=listen)
    second = result.structured_content
    assert second
    assert (second["outcome"], len(simulator.service.jobs)) == ("created", 2)
    assert second["jobid"] != first["jobid"]
    assert any(message and message.startswith("Waiting for a free slot, 1 of 1 in use") for message in messages)


async def test_order_whose_answer_is_lost_is_recovered(connect: Connect, simulator: Simulator) -> None:
    lossy = UnreliableTransport(simulator, httpx2.ReadTimeout("no answer"), delivered=True)
    async with connect(transport=lossy) as client:
        text, content = await order(client, wait_seconds=45)
    [jobid] = simulator.service.jobs
    assert (content["jobid"], content["outcome"], content["charged"]) == (jobid, "recovered", "yes")
    assert "its job was found" in content["notice"]
    assert text.startswith(content["notice"])
    assert simulator.requests["POST /videos"] == 1


async def test_order_is_reported_when_polling_its_job_fails(connect: Connect, simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 401, b'{"error":"Unauthorized"}', times=100))
    async with connect() as client:
        text, content = await order(client, wait_seconds=45)
    [jobid] = simulator.service.jobs
    error = content["error"]
    assert (error["kind"], error["jobid"], error["charged"]) == ("unauthorized", jobid, "yes")
    assert error["next_action"] == "get_job"
    assert error["message"].startswith("The video was ordered, but following its job failed.")
    # The next step also names what prevents get_job from working.
    assert "USEAPI_TOKEN" in error["next_step"]
    assert f'get_job with {{"jobid": "{jobid}"}}, and do not order it again' in error["next_step"]
    assert error["next_step"] in text


async def test_configured_account_is_used_unless_overridden(connect: Connect, simulator: Simulator) -> None:
    simulator.service.add_account("second@example.com")
    ref = simulator.service.add_asset("second@example.com")
    async with connect(environment={"USEAPI_TOKEN": TOKEN, "LUMA_MCP_EMAIL": "studio@example.com"}) as client:
        for arguments in ({}, {"email": "second@example.com"}, {"image_start": ref}):
            assert "error" not in (await order(client, **arguments))[1]
    assert [order.get("email") for order in simulator.orders] == ["studio@example.com", "second@example.com", None]
    accounts = [job.email for job in simulator.service.jobs.values()]
    assert accounts == ["studio@example.com", "second@example.com", "second@example.com"]


@pytest.mark.parametrize(
    ("tool", "arguments"), [("generate_video", {"prompt": "A fox"}), ("get_job", {"jobid": "j1"}), ("list_jobs", {})]
)
async def test_missing_token(connect: Connect, simulator: Simulator, tool: str, arguments: dict[str, Any]) -> None:
    async with connect(environment={}) as client:
        assert len((await client.list_tools()).tools) == 6
        text, content = await call(client, tool, **arguments)
    error = content["error"]
    assert (error["kind"], error["retry"], error["next_action"]) == ("not_configured", "after_change", "fix_setup")
    for provider in PROVIDERS.values():
        assert provider.variable in error["message"]
        assert provider.console in error["next_step"]
    assert error["next_step"] in text
    assert simulator.requests.total() == 0


@pytest.mark.parametrize(("api", "other"), [("agents", USEAPI), ("useapi", AGENTS)])
async def test_a_credential_of_the_other_api_is_named(connect: Connect, api: str, other: Provider) -> None:
    provider = PROVIDERS[api]
    environment = {"LUMA_MCP_API": api, other.variable: f"{other.begins}1-hidden"}
    async with connect(environment=environment) as client:
        text, content = await call(client, "generate_video", prompt="A fox")
    error = content["error"]
    assert (error["kind"], error["charged"]) == ("not_configured", "no")
    for variable in (f"{provider.variable} is not set", f"{other.variable} is set, but"):
        assert variable in error["message"]
    assert "unset LUMA_MCP_API" in error["next_step"]
    assert "hidden" not in text


async def test_token_is_in_no_result(connect: Connect, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 401, f'{{"error":"bad {TOKEN}"}}'.encode()))
    async with connect() as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox"})
    assert read_result(result)[1]["error"]["kind"] == "unauthorized"
    assert TOKEN not in result.model_dump_json()


async def test_error_results_fit_the_output_schema(connect: Connect) -> None:
    """Some clients validate the structured content of errors as well, and would report a failure of their own."""
    async with connect() as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        calls: list[tuple[str, dict[str, Any]]] = [
            ("generate_video", {"prompt": "A fox", "resolution": ["odd"], "lenght": {"a": None}}),
            ("generate_video", {"prompt": "A fox simulate:fail", "wait_seconds": 100}),
            ("get_job", {"jobid": "j1-u12345-x-bot:luma"}),
            ("list_jobs", {"limit": 0}),
            ("delete_job", {}),
            ("list_options", {"model": "ray-v9"}),
        ]
        for tool, arguments in calls:
            result = await client.call_tool(tool, arguments)
            assert result.is_error
            Draft202012Validator(schemas[tool] or {}).validate(result.structured_content)
