"""`list_jobs` finds jobs by state, prompt and time, and states how many it omits and how to list them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL, MIDNIGHT, TOKEN, wall_clock
from tests.server.calls import call, order
from tests.transports import UnreliableTransport

from luma_mcp.api.protocol import VideoRequest
from luma_mcp.journal.protocol import Order
from luma_mcp.journal.sqlite import SqliteJournal
from luma_mcp.service import api_id
from luma_mcp.settings import BASE_URL
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PROMPTS = {
    "A red FOX in the snow": HOUR,
    "Ein Füchslein im Café": 5 * HOUR,
    "雪の中の狐がジャンプ": 25 * HOUR,
    "A hen, 100% white": 3 * DAY,
}


async def add_orders(tmp_path: Path, ages: Iterable[tuple[str, timedelta]], **values: Any) -> None:
    """Add completed orders of an earlier process, with ages relative to midnight."""
    journal = SqliteJournal(tmp_path / "journal.db", api=api_id(BASE_URL, TOKEN), wall_clock=wall_clock)
    for number, (prompt, age) in enumerate(ages):
        request = VideoRequest(prompt, "ray-v3-flash", "draft", "16:9", "5s", "sdr")
        recorded = {"state": "completed", "credits": 20.0, "seconds": 45.0, **values}
        jobid = f"j{number}v-u12345-email:{EMAIL}:{number}-bot:luma"
        recorded_order = Order(f"key {number}", request, MIDNIGHT - age, jobid=jobid, **recorded)
        await journal.insert_pending(recorded_order, allow_duplicate=True, windows=())
    await journal.aclose()


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"text": "fox"}, [0]),
        ({"text": "snow RED"}, [0]),
        ({"text": "füchslein"}, [1]),
        ({"text": "FU\u0308CHS"}, [1]),
        ({"text": "cafe"}, [1]),
        ({"text": "狐"}, [2]),
        ({"text": "ｼﾞｬﾝﾌﾟ"}, [2]),
        ({"text": "シャンプ"}, []),
        ({"text": "100%"}, [3]),
        ({"text": 100}, [3]),
        ({"text": "_"}, []),
        ({"since": "2h"}, [0]),
        ({"since": "1 day ago"}, [0, 1]),
        ({"before": "90 min"}, [1, 2, 3]),
        ({"since": "yesterday"}, [0, 1]),
        ({"since": "yesterday", "before": "today"}, [0, 1]),
        ({"since": "2026-11-20", "before": "2026-11-21"}, [2]),
        ({"since": "2026-11-21T23:00:00+00:00"}, [0]),
        ({"since": "2026-11-21T18:00-05:00"}, [0]),
        ({"since": "2026-11-20 22:00 UTC", "before": "2026-11-21T20:00Z"}, [1, 2]),
        ({"since": "1w", "text": "a", "state": "completed"}, [0, 1, 3]),
        ({"state": "failed"}, []),
        ({"since": "2027-01-01"}, []),
    ],
    ids=str,
)
async def test_filters(server: Server, tmp_path: Path, filters: dict[str, Any], found: list[int]) -> None:
    await add_orders(tmp_path, PROMPTS.items())
    async with server() as client:
        text, content = await call(client, "list_jobs", **filters)
    prompts = list(PROMPTS)
    assert [job["prompt"] for job in content["jobs"]] == [prompts[position] for position in found]
    assert content["total"] == len(found)
    assert "not_shown" not in content
    assert all(prompts[position] in text for position in found)
    assert text.startswith(f"{len(found)} job{' matches' if len(found) == 1 else 's match'} ")
    assert content["filters"].keys() == filters.keys()


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"since": "soon"}, "since"),
        ({"since": "3 months"}, "since"),
        ({"since": "1" * 400 + "d"}, "since"),
        ({"before": "2026-13-01"}, "before"),
        ({"before": True}, "before"),
        ({"since": "1d", "before": "2d"}, "before"),
        ({"since": "today", "before": "2026-11-22"}, "before"),
        ({"state": "done"}, "state"),
        ({"text": ["fox"]}, "text"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_invalid_filters_are_rejected_with_a_suggestion(
    server: Server, filters: dict[str, Any], field: str
) -> None:
    async with server() as client:
        _, content = await call(client, "list_jobs", **filters)
        error = content["error"]
        assert [problem["field"] for problem in error["problems"]] == [field]
        _, suggested = await call(client, "list_jobs", **error["suggestion"])
    assert suggested["jobs"] == []


async def test_every_job_of_a_long_history_is_found(server: Server, tmp_path: Path) -> None:
    """A job is found behind more than 1,000 newer ones, and the next steps page through all."""
    ages = [(f"Take {number}", timedelta(seconds=number)) for number in range(1, 1230)]
    await add_orders(tmp_path, [*ages, ("A fox", DAY)])
    async with server() as client:
        _, found = await call(client, "list_jobs", text="fox")
        assert [job["prompt"] for job in found["jobs"]] == ["A fox"]
        text, first = await call(client, "list_jobs")
        assert (first["total"], first["not_shown"]) == (1230, 1230 - len(first["jobs"]))
        assert f"{first['not_shown']} of 1230 jobs are not shown" in text
        seen: set[str] = set()
        page: dict[str, Any] = {"limit": 100}
        while True:
            _, content = await call(client, "list_jobs", **page)
            seen |= {job["prompt"] for job in content["jobs"]}
            if "not_shown" not in content:
                break
            page = {"limit": 100, "before": content["next_step"].split('"before": "')[1].split('"')[0]}
    assert len(seen) == 1230


async def test_yesterday_is_a_day_in_utc(server: Server) -> None:
    async with server() as client:
        text, content = await call(client, "list_jobs", since="yesterday", before="today")
    assert content["filters"] == {"since": "2026-11-21T00:00:00Z", "before": "2026-11-22T00:00:00Z"}
    assert text.startswith("0 jobs match since 2026-11-21T00:00:00Z; before 2026-11-22T00:00:00Z.")


async def test_deleted_jobs_are_listed_only_if_requested(server: Server, tmp_path: Path) -> None:
    await add_orders(tmp_path, PROMPTS.items(), deleted=True)
    async with server() as client:
        _, content = await call(client, "list_jobs", text="fox")
        assert content["total"] == 0
        text, content = await call(client, "list_jobs", state="deleted", text="fox")
    [job] = content["jobs"]
    assert (job["state"], job["credits_used"]) == ("deleted", 20)
    assert "link" not in job
    assert content["next_action"] == "none"
    assert "used 20 credits" in text


async def test_every_line_has_the_facts_of_its_job(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, first = await order(client, "A fox", wait_seconds=100)
        _, second = await order(client, "It jumps", image_start=first["jobid"])
        await pass_time(20)
        text, content = await call(client, "list_jobs")
        running, completed = content["jobs"]
        assert (running["age_seconds"], running["continues"]) == (20, first["jobid"])
        assert running["expected_seconds_left"] == [10, 40]
        assert running["expected_credits"] == [20, 20]
        assert (completed["link"], completed["credits_used"]) == (first["video"]["url"], 20)
        for part in (
            "ordered 20 s ago",
            "ready in about 10 to 40 s",
            "such videos of yours used 20 credits",
            "used 20 credits",
        ):
            assert part in text
        for part in (f"continues the video of job {first['jobid']}", f"link: {first['video']['url']}"):
            assert part in text
        assert second["jobid"] in content["next_step"]
        # get_job reports it as well.
        _, again = await call(client, "get_job", jobid=second["jobid"], wait_seconds=0)
        assert again["continues"] == first["jobid"]
        simulator.service.jobs[second["jobid"]].seconds = 10_000
        await pass_time(200)
        text, content = await call(client, "list_jobs", state="running")
    assert content["jobs"][0]["overdue_seconds"] == 160
    assert "expected_seconds_left" not in content["jobs"][0]
    assert "3 minutes longer than usual" in text


@pytest.mark.parametrize("reachable", [True, False])
async def test_no_old_job_is_listed_as_running(
    server: Server, simulator: Simulator, tmp_path: Path, reachable: bool
) -> None:
    ages = [(f"Take {number}", HOUR + timedelta(seconds=number)) for number in range(150)]
    await add_orders(tmp_path, ages, state="running", seconds=None, credits=None)
    transport = None
    if not reachable:
        transport = UnreliableTransport(simulator, *[httpx2.ConnectError("gone")] * 10_000)
    else:
        # Single jobs cannot be looked up.
        simulator.faults.append(Fault("GET", "/jobs/", 503, b"{}", times=10_000))
    async with server(transport=transport) as client:
        _, running = await call(client, "list_jobs", state="running")
        _, unknown = await call(client, "list_jobs", state="unknown")
    assert (running["total"], unknown["total"]) == (0, 150)


async def test_foreign_running_jobs_are_counted(server: Server, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].concurrency = 20
    for _ in range(12):
        request = {"prompt": "x", "model": "ray-v3", "resolution": "1080p"}
        simulator.service.start(request, EMAIL, webhook=False)
    async with server() as client:
        _, content = await call(client, "list_jobs", state="running")
        assert (content["total"], content["not_shown"]) == (12, 12 - len(content["jobs"]))
        _, content = await call(client, "list_jobs", since="1h", limit=12)
        assert len(content["jobs"]) == 12
        _, content = await call(client, "list_jobs", text="x")
    assert content["total"] == 0
