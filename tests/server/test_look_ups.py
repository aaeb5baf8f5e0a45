"""What an agent learns of a job that is late, odd, without a usable link, or that cannot be looked up."""

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


def in_both(text: str, content: dict[str, Any], *parts: str) -> None:
    """The text and the structured content contain each part."""
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
    in_both(text, content, "could not be looked up in the last 45 s", "continues", "last known status is created")
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
    # Long before the wait is over.
    assert anyio.current_time() - started == 20
    error = content["error"]
    assert (error["kind"], error["retry"], error["next_action"]) == (kind, "later", "get_job")
    in_both(
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
    in_both(text, content, "It was completed.", done["video"]["url"], *done["saved_files"])
    assert "continues" not in text
    assert content["error"]["last_known"]["video_url"] == done["video"]["url"]


@BOTH_APIS
async def test_job_of_another_machine_that_cannot_be_looked_up(server: Server, connect: Server) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:unreachable")
    async with connect() as client:
        text, content = await call(client, "get_job", jobid=ordered["jobid"])
    # Whether there is such a job is not known.
    in_both(text, content, ordered["jobid"], "Nothing that happens here stops the job.")
    assert "last_known" not in content["error"]


async def test_rejected_token_does_not_stop_the_job(server: Server) -> None:
    async with server() as client:
        text, content = await order(client, "A fox simulate:revoked=60", wait_seconds=45)
        assert (content["error"]["kind"], content["error"]["charged"]) == ("unauthorized", "yes")
        jobid = content["error"]["jobid"]
        text, content = await call(client, "get_job", jobid=jobid)
    assert content["error"]["next_action"] == "fix_setup"
    in_both(text, content, "USEAPI_TOKEN", "The job continues", "afterwards", jobid, "A fox")


async def test_resource_of_a_job_that_cannot_be_looked_up(server: Server) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:unreachable")
        with pytest.raises(Exception, match="The job continues") as failure:
            await client.read_resource(f"luma://jobs/{ordered['jobid']}")
    assert ordered["jobid"] in str(failure.value)


async def wait_for(client: Client, tool: str, **arguments: Any) -> Reports:
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
            reports = await wait_for(client, tool, **arguments, wait_seconds=5)
            # Of 45 s, and never backwards from call to call.
            assert reports.values[0] == pytest.approx(90 * (anyio.current_time() - 5) / 45)
    async with connect() as client:
        # Only the API's record shows how old it is.
        reports = await wait_for(client, "get_job", jobid=ordered["jobid"], wait_seconds=5)
    assert reports.values[0] > 25


async def test_progress_of_a_look_up_that_takes_long(server: Server) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:unreachable=25 simulate:stuck")
        await pass_time(15)
        reports = await wait_for(client, "get_job", jobid=ordered["jobid"], wait_seconds=30)
    assert reports.messages[0].endswith("Looking up the job")
    assert reports.values[0] >= 90 * 15 / 45


@pytest.mark.parametrize("save", [False, True])
async def test_progress_of_an_overdue_job_stays_below_99(server: Server, *, save: bool) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:stuck simulate:aged=900000")
        reports = await wait_for(client, "get_job", jobid=ordered["jobid"], wait_seconds=600, save=save)
    assert 88 < reports.values[0] < reports.values[-1] < 99


@pytest.mark.parametrize("words", ["", "simulate:no-link"])
async def test_finished_job_is_not_said_to_take_time(server: Server, words: str) -> None:
    async with server() as client:
        _, ordered = await order(client, f"A fox {words}")
        await pass_time(100)
        reports = await wait_for(client, "get_job", jobid=ordered["jobid"])
    assert reports.messages == ["The job is completed." if words else "The video is ready."]


async def test_overdue_job_is_described_in_both_forms(server: Server) -> None:
    async with server() as client:
        text, content = await order(client, "A fox simulate:stuck simulate:aged=400")
        in_both(text, content, "6 minutes more than such videos usually take")
        assert (content["overdue_seconds"], content["next_action"]) == (340, "get_job")
        text, content = await order(client, "A hen simulate:stuck simulate:aged=7260")
        in_both(text, content, "2 hours more than such videos usually take", "Ask the user", "charged as well")
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
    # Not even its resolution is known, so it is compared with the slowest.
    in_both(text, content, "more than such videos usually take", "Ask the user")


async def test_undocumented_status_is_reported_with_what_comes_with_it(server: Server) -> None:
    async with server() as client:
        text, running = await order(client, "A fox simulate:odd simulate:stuck", wait_seconds=10)
        in_both(text, running, "waiting, which the API does not document")
        assert "is being made" not in text
        _, done = await order(client, "A hen simulate:odd", wait_seconds=100)
        assert (done["state"], done["status"], done["next_action"]) == ("completed", "finalized", "none")
        text, failed = await order(client, "A cow simulate:odd simulate:fail", wait_seconds=100)
    assert failed["error"]["kind"] == "job_failed"
    in_both(text, failed, "could not make this video")


async def test_reason_of_a_running_job_is_reported(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, ordered = await order(client)
        record = {"jobid": ordered["jobid"], "status": "pending", "error": "Waiting for capacity"}
        simulator.faults.append(Fault("GET", "/jobs", 200, json.dumps(record).encode()))
        text, content = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=0)
    in_both(text, content, "Waiting for capacity")
    assert content["state"] == "running"


@pytest.mark.parametrize("name", ["no-link", "empty-link", "null-link", "relative-link"])
@pytest.mark.parametrize("options", [{}, {"dynamic_range": "hdr_exr", "resolution": "540p"}], ids=["sdr", "hdr_exr"])
async def test_unusable_link_is_never_ready(server: Server, name: str, options: dict[str, str]) -> None:
    async with server(LUMA_MCP_THUMBNAILS="1") as client:
        prompt = f"A fox simulate:{name} simulate:instant"
        text, content = await order(client, prompt, wait_seconds=100, save=True, **options)
        resource = await client.read_resource(f"luma://jobs/{content['jobid']}")
    assert content["state"] == "completed"
    assert content.keys().isdisjoint({"video", "exr_zip_url", "thumbnail_url", "last_frame_url", "saved_files"})
    in_both(text, content, "no usable link to the video", "tell the user", "charged again")
    for channel in (text, json.dumps(content), getattr(resource.contents[0], "text", "")):
        assert "is ready" not in channel
        assert "Links may expire" not in channel


@BOTH_APIS
@pytest.mark.parametrize("name", ["dead-link", "expired-link"])
async def test_link_that_does_not_work_is_not_ready(server: Server, name: str) -> None:
    async with server() as client:
        text, content = await order(client, f"A fox simulate:{name}", wait_seconds=100, save=True)
    in_both(text, content, "the link to its video does not work", "tell the user")
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
    in_both(text, content, "no usable link to the EXR frames")
    assert "exr_zip_url" not in content


@BOTH_APIS
async def test_new_job_is_awaited_although_a_replica_lags(server: Server) -> None:
    async with server() as client:
        _, content = await order(client, "A fox simulate:lagging=25", wait_seconds=100)
    assert content["state"] == "completed"


async def test_new_job_is_not_called_gone(server: Server) -> None:
    async with server() as client:
        _, ordered = await order(client, "A fox simulate:lagging=50")
        text, content = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=0)
        in_both(text, content, ordered["jobid"], "does not list the job", "A fox")
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
    in_both(text, content, "Luma no longer has this job", "It was completed", done["video"]["url"])
    assert content["error"]["last_known"]["state"] == "completed"


async def test_refusal_does_not_count_slots_that_are_free(server: Server) -> None:
    async with server() as client:
        text, content = await order(client, "A fox simulate:busy")
    in_both(text, content, "although only 0 of 4 are counted as in use")
