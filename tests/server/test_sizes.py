"""Every result stays below the limit of hosts: 6,000 bytes of text and of structured content."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL, MIDNIGHT, TOKEN, wall_clock
from tests.results import read_result
from tests.server.calls import call, order
from tests.transports import UnreliableTransport

from luma_mcp.api.protocol import VideoRequest
from luma_mcp.journal.protocol import Order, OrderState
from luma_mcp.journal.sqlite import SqliteJournal
from luma_mcp.service import api_id
from luma_mcp.settings import BASE_URL
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

MAX_BYTES = 6000
LONG = {"CJK": "狐" * 2000, "emoji": "🦊 " * 1000, "quotes": '"' * 2000}
LINK = f"https://cdn.example.com/{'x' * 1900}"
STATES = ("running", "completed", "failed", "unknown", "deleted")
every_text = pytest.mark.parametrize("long", LONG.values(), ids=LONG)


def assert_short(text: str, content: dict[str, Any]) -> None:
    compact = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    assert len(text.encode()) <= MAX_BYTES
    assert len(compact.encode()) <= MAX_BYTES


async def short_call(client: Client, tool: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    text, content = read_result(await client.call_tool(tool, arguments))
    assert_short(text, content)
    return text, content


async def add_history(tmp_path: Path, count: int, prompt: str) -> None:
    """Add orders of an earlier process, in every state, with the longest values that a journal can have."""
    journal = SqliteJournal(tmp_path / "journal.db", api=api_id(BASE_URL, TOKEN), wall_clock=wall_clock)
    files = [tmp_path / f"{number}-{'v' * 200}.mp4" for number in range(100)]
    for file in files:
        file.touch()
    for number in range(count):
        request = VideoRequest(prompt, "ray-v3-reasoning", "1080p", "16:9", "10s", "sdr", email=EMAIL)
        state: OrderState = ("running", "completed", "failed", "unknown", "completed")[number % 5]
        recorded = Order(
            f"key {number}",
            request,
            MIDNIGHT - timedelta(hours=1, seconds=number),
            account=f"{'a' * 60}@example.com",
            state=state,
            jobid=f"j{number}v-u12345-email:{'a' * 60}@example.com:{number}-bot:luma",
            seconds=200.5,
            credits=300.0,
            error=prompt if state == "failed" else None,
            files=tuple(map(str, files)),
            deleted=number % 5 == 4,
            link=LINK,
            continues=f"j{number}v-u12345-email:{'a' * 60}@example.com:{number + 1}-bot:luma",
        )
        await journal.insert_pending(recorded, allow_duplicate=True, windows=())
    await journal.aclose()


@every_text
async def test_lists_of_a_long_history(server: Server, tmp_path: Path, long: str) -> None:
    await add_history(tmp_path, 60, long)
    async with server() as client:
        requests: list[dict[str, Any]] = [
            {},
            *({"state": state} for state in STATES),
            {"text": long[:1000]},
            {"limit": 10},
        ]
        for arguments in requests:
            text, content = await short_call(client, "list_jobs", **arguments)
            assert len(content["jobs"]) + content.get("not_shown", 0) == content["total"]
            if content["total"] > 10:
                assert f"{content['not_shown']} of {content['total']} jobs are not shown" in text
        _, longer = await call(client, "list_jobs", limit=40)
    assert len(longer["jobs"]) == 40


@every_text
async def test_orders_and_jobs_with_long_prompts(server: Server, simulator: Simulator, long: str) -> None:
    reply = {"reply_url": f"https://example.com/{'x' * 1000}", "reply_ref": long * 3}
    async with server() as client:
        _, ordered = await short_call(client, "generate_video", prompt=long, wait_seconds=0, **reply)
        _, again = await short_call(client, "generate_video", prompt=long, wait_seconds=0, **reply)
        assert (again["outcome"], again["jobid"]) == ("duplicate", ordered["jobid"])
        _, done = await short_call(client, "get_job", jobid=ordered["jobid"], wait_seconds=100, save=True)
        # A client may order it again, so the prompt is complete or left out.
        assert done["request"].get("prompt", long) == long
        assert ("prompt" in done["request"]) != ("prompt" in done.get("left_out", ()))
        simulator.service.jobs.clear()
        await short_call(client, "get_job", jobid=ordered["jobid"])
        await short_call(client, "generate_video", prompt=long, resolution="4k", model="ray-v3", **reply)
        await short_call(client, "generate_video", prompt=long * 3)
        await short_call(
            client, "generate_video", **{f"{name}{number}": long for name in "abc" for number in range(90)}
        )
        for tool in ("get_job", "delete_job", "list_jobs", "list_options"):
            await short_call(client, tool, jobid=long, limit=long, state=long, since=long, text=[long], model=long)
        await short_call(client, "get_job", jobid=long)
        await short_call(client, "generate_video", prompt=long, image_start=long, image_end=f"https://{long}")


@every_text
async def test_files_and_links_of_a_job(server: Server, simulator: Simulator, tmp_path: Path, long: str) -> None:
    await add_history(tmp_path, 5, long)
    record = {
        "jobid": "j1v-u12345-bot:luma",
        "status": "completed",
        "created": "2026-11-21 23:00:00 UTC",
        "updated": "2026-11-21T23:01:00.123Z",
        "response": {name: {"url": LINK} for name in ("video", "video_hdr_exr", "thumbnail", "last_frame")},
    }
    failed = {"jobid": "j2v-u12345-bot:luma", "status": "failed", "error": long, "errorDetails": long}
    async with server() as client:
        simulator.faults.append(Fault("GET", "/jobs/", 200, json.dumps(record).encode()))
        text, content = await short_call(client, "get_job", jobid="j1v-u12345-bot:luma", wait_seconds=0)
        assert (content["created"], content["updated"]) == ("2026-11-21T23:00:00Z", "2026-11-21T23:01:00Z")
        assert content["video"]["url"] == LINK
        assert LINK in text
        simulator.faults.append(Fault("GET", "/jobs/", 200, json.dumps(failed).encode()))
        await short_call(client, "get_job", jobid="j2v-u12345-bot:luma", wait_seconds=0)
        _, listed = await call(client, "list_jobs", state="completed")
        for tool in ("get_job", "delete_job"):
            text, content = await short_call(client, tool, jobid=listed["jobs"][0]["jobid"])
            assert "95 more" in text


async def test_capacity_error_with_two_hundred_running_jobs(server: Server, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].concurrency = 200
    async with server() as client:
        for number in range(200):
            simulator.service.start(
                {"prompt": f"{number} simulate:stuck", "model": "ray-v3", "resolution": "draft"}, EMAIL, webhook=False
            )
        text, content = await short_call(client, "generate_video", prompt="A fox", wait_seconds=0)
        error = content["error"]
        assert (error["kind"], len(error["running"]), error["running_not_shown"]) == ("capacity", 5, 195)
        assert "and 195 more" in text
        text, content = await short_call(client, "list_jobs")
    assert content["total"] == 200
    assert f"{content['not_shown']} of 200 jobs are not shown" in text


async def test_lost_answer_with_two_hundred_candidates(server: Server, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].concurrency = 300
    for number in range(200):
        request = {"prompt": f"{number}", "model": "ray-v3-flash", "resolution": "1080p"}
        simulator.service.start(request, EMAIL, webhook=False)
    async with server(transport=UnreliableTransport(simulator, httpx2.ReadTimeout("no answer"))) as client:
        text, content = await short_call(client, "generate_video", prompt="A fox", wait_seconds=0)
    error = content["error"]
    assert (error["kind"], len(error["running"]), error["running_not_shown"]) == ("outcome_unknown", 5, 195)
    assert "and 195 more" in text


async def test_many_accounts(server: Server, simulator: Simulator) -> None:
    for number in range(200):
        simulator.service.add_account(f"account-{number}-{'a' * 40}@example.com")
    async with server() as client:
        text, content = await short_call(client, "list_jobs")
        assert (len(content["accounts"]), content["accounts_not_shown"]) == (5, 196)
        assert "and 196 more accounts" in text
        _, content = await short_call(client, "list_options")
        assert len(content["credits_left"]) == 5
        picture = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
        await short_call(client, "generate_video", prompt="A fox", email="nobody@example.com", image_start=picture)
        await short_call(client, "generate_video", prompt="A fox", email="nobody@example.com")


async def test_options_after_every_kind_of_video(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        for number, combination in enumerate(simulator.service.catalog.combinations):
            choices = {name: value for name, value in combination.items() if isinstance(value, str)}
            if combination["aspect_ratio"] == "16:9" and not any(
                combination[name] for name in ("image_start", "image_end", "image_character")
            ):
                simulator.service.accounts[EMAIL].concurrency += 1
                await order(client, f"Take {number}", **choices)
        await pass_time(1000)
        for job in list(simulator.service.jobs):
            await call(client, "get_job", jobid=job, wait_seconds=0)
        assert anyio.current_time() >= 1000
        _, content = await short_call(client, "list_options")
    assert len(content["credits_used"]) > 30
