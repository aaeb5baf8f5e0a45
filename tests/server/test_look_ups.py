"""Results about jobs that are late, odd, without a usable link, or that cannot be looked up."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.clock import pass_time
from tests.conftest import BOTH_APIS
from tests.server.calls import call, order
from tests.server.test_progress import Reports

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

OUTAGES = {"unreachable": "network", "outage": "upstream", "throttled": "upstream"}


def assert_in_both(text: str, content: dict[str, Any], *parts: str) -> None:
    """Assert that the text and the structured content contain each part."""
    data = json.dumps(content, ensure_ascii=False)
    for part in parts:
        assert part in text
        assert part in data


@pytest.mark.parametrize("name", OUTAGES)
async def test_order_whose_job_cannot_be_looked_up(server: Server, name: str) -> None:
    async with server() as client:
        text, content = await order(client, f"A fox simulate:{name}=300", wait_seconds=45)
        await pass_time(300)
        _, done = await call(client, "get_job", jobid=content["jobid"])
    assert (content["state"], content["charged"], content["next_action"]) == ("running", "yes", "get_job")
    assert_in_both(
        text, content, "could not be looked up in the last 45 s", "continues", "last known status is created"
    )
    assert "is being made" not in text
    assert done["state"] == "completed"
    assert "could not be looked up" not in json.dumps(done)


@BOTH_APIS
@pytest.mark.parametrize(("name", "kind"), OUTAGES.items())
async def test_job_that_cannot_be_looked_up(server: Server, simulator: Simulator, name: str, kind: str) -> None:
    async with server() as client:
        _, ordered = await order(client, f"A fox simulate:{name}=300")
        started = anyio.current_time()
        text, content = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=240)
    # The call gives up long before its wait is over.
    assert anyio.current_time() - started == 20
    error = content["error"]
    assert (error["kind"], error["retry"], error["next_action"]) == (kind, "later", "get_job")
    assert_in_both(
        text, content, ordered["jobid"], "The job continues", "20 s ago", "A fox", "ready by 00:01 UTC", "in a minute"
    )
    assert error["last_known"] == {
        "state": "running",
        "prompt": f"A fox simulate:{name}=300",
        "age_seconds": 20,
        "ordered": "2026-11-22T00:00:00Z",
        "usually_ready_by": "2026-11-22T00:01:00Z",
    }
    assert "slots" not in text
    assert len(simulator.orders) == 1


async def test_finished_job_that_cannot_be_looked_up(server: Server) -> None:
    async with server() as client:
        _, done = await order(client, wait_seconds=100, save=True)
        await order(client, "A hen simulate:unreachable")
        text, content = await call(client, "get_job", jobid=done["jobid"])
    assert_in_both(text, content, "It was completed.", done["video"]["url"], *done["saved_files"])
    assert "continues" not in text
    assert content["error"]["last_known"]["video_url"] == done["video"]["url"]


@BOTH_APIS
async def test_job_of_another_machine_that_cannot_be_looked_up(server: Server, connect: Server) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:unreachable")
    async with connect() as client:
        text, content = await call(client, "get_job", jobid=ordered["jobid"])
    # The server does not know whether there is such a job.
    assert_in_both(text, content, ordered["jobid"], "Nothing that happens here stops the job.")
    assert "last_known" not in content["error"]


async def test_rejected_token_does_not_stop_the_job(server: Server) -> None:
    async with server() as client:
        text, content = await order(client, "A fox simulate:revoked=60", wait_seconds=45)
        assert (content["error"]["kind"], content["error"]["charged"]) == ("unauthorized", "yes")
        jobid = content["error"]["jobid"]
        text, content = await call(client, "get_job", jobid=jobid)
    assert content["error"]["next_action"] == "fix_setup"
    assert_in_both(text, content, "USEAPI_TOKEN", "The job continues", "afterwards", jobid, "A fox")


async def test_resource_of_a_job_that_cannot_be_looked_up(server: Server) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:unreachable")
        with pytest.raises(Exception, match="The job continues") as failure:
            await client.read_resource(f"luma://jobs/{ordered['jobid']}")
    assert ordered["jobid"] in str(failure.value)


async def record_progress(client: Client, tool: str, **arguments: Any) -> Reports:
    reports = Reports()
    await client.call_tool(tool, arguments, progress_callback=reports)
    assert all(later > earlier for earlier, later in pairwise(reports.values))
    return reports


async def test_progress_starts_from_the_age_of_the_job(server: Server, connect: Server) -> None:
    prompt = "A fox simulate:takes=50"
    async with server() as client:
        _, ordered = await order(client, prompt)
        await pass_time(30)
        for tool, arguments in (("get_job", {"jobid": ordered["jobid"]}), ("generate_video", {"prompt": prompt})):
            reports = await record_progress(client, tool, **arguments, wait_seconds=5)
            # Progress is relative to 45 s, and never goes back between calls.
            assert reports.values[0] == pytest.approx(90 * (anyio.current_time() - 5) / 45)
    async with connect() as client:
        # The age is known only from the API's record.
        reports = await record_progress(client, "get_job", jobid=ordered["jobid"], wait_seconds=5)
    assert reports.values[0] > 25


async def test_progress_of_a_slow_look_up(server: Server) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:unreachable=25 simulate:stuck")
        await pass_time(15)
        reports = await record_progress(client, "get_job", jobid=ordered["jobid"], wait_seconds=30)
    assert reports.messages[0].endswith("Looking up the job")
    assert reports.values[0] >= 90 * 15 / 45


@pytest.mark.parametrize("save", [False, True])
async def test_progress_of_an_overdue_job_stays_below_99(server: Server, *, save: bool) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:stuck simulate:aged=900000")
        reports = await record_progress(client, "get_job", jobid=ordered["jobid"], wait_seconds=600, save=save)
    assert 88 < reports.values[0] < reports.values[-1] < 99


@pytest.mark.parametrize("behavior", ["", "simulate:no-link"])
async def test_finished_job_reports_no_time_estimate(server: Server, behavior: str) -> None:
    async with server() as client:
        _, ordered = await order(client, f"A fox {behavior}")
        await pass_time(100)
        reports = await record_progress(client, "get_job", jobid=ordered["jobid"])
    assert reports.messages == ["The job is completed." if behavior else "The video is ready."]


async def test_overdue_job_is_reported_in_text_and_content(server: Server) -> None:
    async with server() as client:
        text, content = await order(client, "A fox simulate:stuck simulate:aged=400")
        assert_in_both(text, content, "6 minutes more than such videos usually take")
        assert (content["overdue_seconds"], content["next_action"]) == (340, "get_job")
        text, content = await order(client, "A hen simulate:stuck simulate:aged=7260")
        assert_in_both(text, content, "2 hours more than such videos usually take", "Ask the user", "charged as well")
        assert (content["overdue_seconds"], content["next_action"]) == (7200, "ask_user")
        _, ordered = await order(client, "A cow simulate:late=900")
        await pass_time(1000)
        _, done = await call(client, "get_job", jobid=ordered["jobid"])
    assert (done["state"], done["next_action"]) == ("completed", "none")


async def test_overdue_job_of_another_machine(server: Server, connect: Server) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:stuck simulate:aged=7200")
    async with connect() as client:
        text, content = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=0)
    # Its resolution is unknown, so it is compared with the slowest one.
    assert_in_both(text, content, "more than such videos usually take", "Ask the user")


async def test_undocumented_status_is_reported(server: Server) -> None:
    async with server() as client:
        text, running = await order(client, "A fox simulate:odd simulate:stuck", wait_seconds=10)
        assert_in_both(text, running, "waiting, which the API does not document")
        assert "is being made" not in text
        _, done = await order(client, "A hen simulate:odd", wait_seconds=100)
        assert (done["state"], done["status"], done["next_action"]) == ("completed", "finalized", "none")
        text, failed = await order(client, "A cow simulate:odd simulate:fail", wait_seconds=100)
    assert failed["error"]["kind"] == "job_failed"
    assert_in_both(text, failed, "could not make this video")


async def test_reason_of_a_running_job_is_reported(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, ordered = await order(client)
        record = {"jobid": ordered["jobid"], "status": "pending", "error": "Waiting for capacity"}
        simulator.faults.append(Fault("GET", "/jobs", 200, json.dumps(record).encode()))
        text, content = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=0)
    assert_in_both(text, content, "Waiting for capacity")
    assert content["state"] == "running"


@pytest.mark.parametrize("name", ["no-link", "empty-link", "null-link", "relative-link"])
@pytest.mark.parametrize("options", [{}, {"dynamic_range": "hdr_exr", "resolution": "540p"}], ids=["sdr", "hdr_exr"])
async def test_job_with_an_unusable_link_is_not_ready(server: Server, name: str, options: dict[str, str]) -> None:
    async with server(LUMA_MCP_THUMBNAILS="1") as client:
        prompt = f"A fox simulate:{name} simulate:instant"
        text, content = await order(client, prompt, wait_seconds=100, save=True, **options)
        resource = await client.read_resource(f"luma://jobs/{content['jobid']}")
    assert content["state"] == "completed"
    assert content.keys().isdisjoint({"video", "exr_zip_url", "thumbnail_url", "last_frame_url", "saved_files"})
    assert_in_both(text, content, "no usable link to the video", "tell the user", "charged again")
    for channel in (text, json.dumps(content), getattr(resource.contents[0], "text", "")):
        assert "is ready" not in channel
        assert "Links may expire" not in channel


@BOTH_APIS
@pytest.mark.parametrize("name", ["dead-link", "expired-link"])
async def test_job_with_a_dead_link_is_not_ready(server: Server, name: str) -> None:
    async with server() as client:
        text, content = await order(client, f"A fox simulate:{name}", wait_seconds=100, save=True)
    assert_in_both(text, content, "the link to its video does not work", "tell the user")
    assert "is ready" not in text
    assert "Links may expire" not in text
    assert (content["next_action"], content["saved_files"]) == ("get_job", [])


async def test_missing_frames_are_reported(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, ordered = await order(client, "Smoke", dynamic_range="hdr_exr", resolution="720p")
        media = {"video": {"url": "https://cdn.example.com/v.mp4"}, "video_hdr_exr": {"url": "null"}}
        record = {"jobid": ordered["jobid"], "status": "completed", "response": media}
        simulator.faults.append(Fault("GET", "/jobs", 200, json.dumps(record).encode()))
        text, content = await call(client, "get_job", jobid=ordered["jobid"])
    assert_in_both(text, content, "no usable link to the EXR frames")
    assert "exr_zip_url" not in content


@BOTH_APIS
async def test_wait_continues_while_a_replica_lags(server: Server) -> None:
    async with server() as client:
        _, content = await order(client, "A fox simulate:lagging=25", wait_seconds=100)
    assert content["state"] == "completed"


async def test_unlisted_new_job_is_not_reported_as_gone(server: Server) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:lagging=50")
        text, content = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=0)
        assert_in_both(text, content, ordered["jobid"], "does not list the job", "A fox")
        assert (content["error"]["kind"], content["error"]["next_action"]) == ("upstream", "get_job")
        assert "no longer" not in text
        await pass_time(60)
        _, done = await call(client, "get_job", jobid=ordered["jobid"])
    assert done["state"] == "completed"


@BOTH_APIS
async def test_forgotten_job_is_described_from_the_record(server: Server) -> None:
    async with server() as client:
        _, done = await order(client, "A fox simulate:forgotten=60", wait_seconds=100)
        await pass_time(100)
        text, content = await call(client, "get_job", jobid=done["jobid"])
    assert_in_both(text, content, "Luma no longer has this job", "It was completed", done["video"]["url"])
    assert content["error"]["last_known"]["state"] == "completed"


async def test_capacity_error_states_the_slots_in_use(server: Server) -> None:
    async with server() as client:
        text, content = await order(client, "A fox simulate:busy")
    assert_in_both(text, content, "although only 0 of 4 are counted as in use")
