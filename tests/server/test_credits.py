"""Costs in credits: those that similar videos have used, and those that the accounts have left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL, ERAS
from tests.server.calls import call, order
from tests.server.declaring import Person, declaring

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

LEFT = [{"email": EMAIL, "left": 8800, "limit": 10_000}]
every_era = pytest.mark.parametrize("mode", ERAS)


class HangingAccounts(httpx2.ASGITransport):
    """Never responds to requests for accounts."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if "/accounts" in request.url.path:
            await anyio.sleep_forever()
        return await super().handle_async_request(request)


@every_era
async def test_order_states_the_credits_of_similar_videos(server: Server, mode: str) -> None:
    async with server(mode) as client:
        text, content = await order(client)
        assert "expected_credits" not in content
        assert content["credits_left"] == LEFT
        assert "not known yet" in content["cost"]
        assert content["cost"] in text
        await call(client, "get_job", jobid=content["jobid"], wait_seconds=100)
        # The credits depend on the resolution, not on the aspect ratio.
        text, content = await order(client, "A cat", aspect_ratio="1:1")
        assert content["expected_credits"] == [20, 20]
        assert f"Such videos of yours used 20 credits each here. {EMAIL} has 8780 of 10000 credits left." in text
        _, job = await call(client, "get_job", jobid=content["jobid"], wait_seconds=0)
        assert job["expected_credits"] == [20, 20]
        _, content = await order(client, "A hen", resolution="540p")
        assert "expected_credits" not in content


async def test_different_credits_are_shown_as_a_range(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        for number, used in enumerate((20, 35, 0, "many", None)):
            _, job = await order(client, f"Take {number}")
            await pass_time(60)
            record = simulator.service.job_record(simulator.service.jobs[job["jobid"]], "https://cdn.example.com")
            record["credits"] = {"dm_usage": used}
            simulator.faults.append(Fault("GET", "/jobs/", 200, json.dumps(record).encode()))
            await call(client, "get_job", jobid=job["jobid"], wait_seconds=0)
        text, content = await order(client, "A fox")
        assert content["expected_credits"] == [0, 35]
        assert "0 to 35 credits" in text
        text, content = await call(client, "list_options")
    assert content["credits_used"] == {"ray-v3-flash, draft, 5s, sdr": [0, 35]}
    assert "ray-v3-flash, draft, 5s, sdr 0 to 35" in text


async def test_failed_jobs_do_not_count(server: Server) -> None:
    async with server() as client:
        await order(client, "A fox simulate:fail", wait_seconds=100)
        text, content = await call(client, "list_options")
    assert content["credits_used"] == {}
    assert "What a video costs is not known yet" in text


async def test_options_without_a_token(server: Server) -> None:
    async with server(USEAPI_TOKEN="") as client:
        text, content = await call(client, "list_options")
    assert "credits_left" not in content
    assert content["cost"] == (
        "What a video costs is not known yet: none of yours has been completed here. "
        "How many credits are left is not known yet."
    )
    assert content["cost"] in text


async def test_options_with_fixed_values_show_their_credits(server: Server) -> None:
    async with server() as client:
        for resolution in ("draft", "720p"):
            await order(client, resolution, resolution=resolution, wait_seconds=200)
        _, content = await call(client, "list_options", resolution="720p")
        _, others = await call(client, "list_options", resolution="1080p")
    assert content["credits_used"] == {"ray-v3-flash, 720p, 5s, sdr": [100, 100]}
    # The draft used 20 credits and the other video 100.
    assert content["credits_left"] == [{"email": EMAIL, "left": 8680, "limit": 10_000}]
    # Only videos with other options have been completed.
    assert others["cost"].startswith("What a video with these options costs is not known yet")


async def test_question_names_the_expected_credits(server: Server) -> None:
    person = Person()
    async with declaring(server(LUMA_MCP_CONFIRM="always"), asks=person) as client:
        await order(client, wait_seconds=100)
        await order(client, "A cat")
    first, second = person.questions
    assert "It costs credits; how many is not known yet." in first
    assert "such videos of yours used 20 credits each here" in second


@pytest.mark.parametrize("tool", ["generate_video", "get_job", "list_jobs", "list_options"])
async def test_hanging_account_requests_delay_nothing(server: Server, simulator: Simulator, tool: str) -> None:
    hanging = HangingAccounts(simulator)
    arguments: dict[str, Any] = {"generate_video": {"prompt": "A cat", "wait_seconds": 0}}.get(tool, {})
    async with server() as client:
        _, running = await order(client, "A fox")
    if tool == "get_job":
        arguments = {"jobid": running["jobid"], "wait_seconds": 0}
    async with server(transport=hanging) as client:
        begun = anyio.current_time()
        text, content = await call(client, tool, **arguments)
        first = anyio.current_time() - begun
        begun = anyio.current_time()
        await call(client, "get_job", jobid=running["jobid"], wait_seconds=0)
        assert anyio.current_time() == begun
    # The list needs the accounts for the numbers of slots.
    assert first <= {"list_options": 2, "list_jobs": 20}.get(tool, 1)
    assert "error" not in content
    assert "not known yet" in text
    assert "credits_left" not in content


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "/accounts", 500, b"{}", times=99),
        Fault("GET", "/accounts", 404, times=99),
        Fault("GET", f"/accounts/{EMAIL}", 596, b"{}", times=99),
        Fault("GET", f"/accounts/{EMAIL}", 200, b'{"credits": null}', times=99),
        Fault("GET", f"/accounts/{EMAIL}", 200, b'{"credits": {"usage": "x", "limit": true}}', times=99),
        Fault("GET", f"/accounts/{EMAIL}", 200, b'{"credits": {"usage": 5, "limit": 1e300}}', times=99),
        Fault("GET", f"/accounts/{EMAIL}", 200, b'{"credits": {"usage": NaN, "limit": 10}}', times=99),
        Fault("GET", "/accounts", 401, b"{}", times=99),
    ],
    ids=lambda fault: f"{fault.path} {fault.status} {fault.body.decode()}",
)
async def test_failing_account_requests_change_no_order(server: Server, simulator: Simulator, fault: Fault) -> None:
    simulator.faults.append(fault)
    async with server() as client:
        text, content = await order(client, wait_seconds=100)
    assert content["state"] == "completed"
    assert "credits_left" not in content
    assert "How many credits are left is not known yet." in text


async def test_credits_are_fetched_again_after_a_job_or_five_minutes(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, job = await order(client)
        for _ in range(5):
            await call(client, "get_job", jobid=job["jobid"], wait_seconds=0)
        assert simulator.requests["GET /accounts/…"] == 1
        await call(client, "get_job", jobid=job["jobid"], wait_seconds=100)
        assert simulator.requests["GET /accounts/…"] == 2
        await call(client, "get_job", jobid=job["jobid"], wait_seconds=0)
        await call(client, "list_options")
        assert simulator.requests["GET /accounts/…"] == 2
        await pass_time(301)
        await call(client, "list_options")
        assert simulator.requests["GET /accounts/…"] == 3


@pytest.mark.parametrize(
    ("record", "left"),
    [
        ('{"usage": 1, "limit": 12345678}', "12345677 of 12345678 credits left"),
        ('{"usage": "20.5", "limit": "100"}', "79.5 of 100 credits left"),
        ('{"usage": 130, "limit": 100}', "0 of 100 credits left"),
    ],
)
async def test_numbers_of_credits(server: Server, simulator: Simulator, record: str, left: str) -> None:
    simulator.faults.append(Fault("GET", f"/accounts/{EMAIL}", 200, f'{{"credits": {record}}}'.encode()))
    async with server() as client:
        for tool in ("list_options", "list_jobs"):
            text, _ = await call(client, tool)
            assert left in text


async def test_several_accounts(server: Server, simulator: Simulator) -> None:
    simulator.service.add_account("second@example.com")
    async with server(LUMA_MCP_EMAIL="second@example.com") as client:
        _, options = await call(client, "list_options")
        # The order uses this account, so only its credits are shown.
        _, ordered = await order(client)
        text, listed = await call(client, "list_jobs")
    assert [row["email"] for row in options["credits_left"]] == ["second@example.com", EMAIL]
    assert [row["email"] for row in ordered["credits_left"]] == ["second@example.com"]
    assert [row["credits_left"] for row in listed["accounts"]] == [8800, 8800]
    assert text.count("8800 of 10000 credits left") == 2
