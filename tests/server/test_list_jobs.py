"""Orders are remembered: duplicates return the same job, `list_jobs` lists jobs, and `delete_job` deletes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import BOTH_APIS, EMAIL, ERAS, TOKEN
from tests.results import read_result
from tests.server.calls import call, order, order_error
from tests.transports import UnreliableTransport

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

OTHER = "second@example.com"
every_era = pytest.mark.parametrize("mode", ERAS)
every_process = pytest.mark.parametrize("process", ["the same", "another"])


@every_era
async def test_list_is_newest_first_with_all_facts(server: Server, simulator: Simulator, mode: str) -> None:
    simulator.service.add_account(OTHER, concurrency=2)
    async with server(mode) as client:
        _, saved = await order(client, save=True, wait_seconds=100, email=EMAIL)
        _, failed = await order(client, "A cat simulate:fail", wait_seconds=100, email=EMAIL)
    elsewhere = simulator.service.start({"prompt": "x", "model": "ray-v3", "resolution": "1080p"}, OTHER, webhook=False)
    await pass_time(1)
    async with server(mode) as client:
        _, running = await order(client, "A hen", duration="10s", aspect_ratio="1:1", email=OTHER)
        text, content = await call(client, "list_jobs")
    jobs = content["jobs"]
    assert [(job["jobid"], job["state"], job.get("prompt")) for job in jobs] == [
        (running["jobid"], "running", "A hen"),
        (elsewhere.jobid, "running", None),
        (failed["jobid"], "failed", "A cat simulate:fail"),
        (saved["jobid"], "completed", "A fox"),
    ]
    assert jobs[0]["age_seconds"] == 0
    assert jobs[0]["expected_seconds_left"] == [30, 60]
    assert jobs[3]["link"] == saved["video"]["url"]
    options = {"model": "ray-v3-flash", "resolution": "draft", "aspect_ratio": "1:1", "duration": "10s"}
    assert jobs[0].items() >= (options | {"dynamic_range": "sdr", "account": OTHER}).items()
    assert (jobs[1]["model"], jobs[3]["saved_files"]) == ("ray-v3", saved["saved_files"])
    assert "could not make this video" in jobs[2]["reason"]
    assert [(a["email"], a["in_use"], a["slots"]) for a in content["accounts"]] == [(EMAIL, 0, 4), (OTHER, 2, 2)]
    lines = text.splitlines()
    assert jobs[0]["created"] == "2026-11-22T00:01:34Z"
    progress = "ordered 0 s ago (2026-11-22 00:01 UTC), ready in about 30 to 60 s, credits not known yet"
    assert lines[:2] == [
        f"- running, {progress}, ray-v3-flash, draft, 1:1, 10s, sdr, on {OTHER}: A hen",
        f"  job: {running['jobid']}",
    ]
    for part in (*(job["jobid"] for job in jobs), jobs[2]["reason"], *saved["saved_files"]):
        assert part in text
    assert lines[-2:] == [f"{OTHER}: 2 of 2 slots in use, 8800 of 10000 credits left", content["next_step"]]
    assert content["next_action"] == "get_job"


@pytest.mark.parametrize(
    ("arguments", "prompts"),
    [
        ({}, ["five", "four", "three simulate:fail", "two", "one"]),
        ({"limit": 2}, ["five", "four"]),
        ({"limit": "1", "state": "COMPLETED"}, ["two"]),
        ({"state": "running"}, ["five", "four"]),
        ({"state": "failed"}, ["three simulate:fail"]),
        ({"state": "unknown"}, []),
    ],
    ids=str,
)
async def test_limit_and_state(server: Server, arguments: dict[str, Any], prompts: list[str]) -> None:
    async with server() as client:
        for prompt in ("one", "two", "three simulate:fail"):
            await order(client, prompt)
            await pass_time(1)
        await pass_time(100)
        for prompt in ("four", "five"):
            await order(client, prompt)
            await pass_time(1)
        text, content = await call(client, "list_jobs", **arguments)
    assert [job["prompt"] for job in content["jobs"]] == prompts
    assert text.startswith("0 jobs match state unknown.") == (not prompts)
    # The list already has all facts about a failed job.
    assert content["next_action"] == ("none" if arguments.get("state") in ("failed", "unknown") else "get_job")
    assert "delete" not in text


async def test_without_the_api_the_list_is_local_history(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        await order(client)
    unreachable = UnreliableTransport(simulator, *[httpx2.ConnectError("gone")] * 1000)
    async with server(transport=unreachable) as client:
        text, content = await call(client, "list_jobs")
    assert content["jobs"][0]["prompt"] == "A fox"
    assert content["accounts"] == []
    assert content["problem"].startswith("Could not fetch running jobs; showing local history. ")
    assert content["problem"] in text


@every_process
@pytest.mark.parametrize(
    "again",
    [{}, {"resolution": "DRAFT"}, {"model": "ray-v3-flash", "duration": 5}, {"wait_seconds": 1, "save": True}],
    ids=str,
)
async def test_identical_order_returns_the_running_job(
    server: Server, simulator: Simulator, *, again: dict[str, Any], process: str
) -> None:
    async with server() as client:
        _, first = await order(client)
        if process == "the same":
            text, second = await order(client, **again)
    if process == "another":
        async with server() as client:
            text, second = await order(client, **again)
    assert (second["jobid"], simulator.requests["POST /videos"]) == (first["jobid"], 1)
    assert (first["outcome"], first["charged"]) == ("created", "yes")
    assert (second["outcome"], second["charged"]) == ("duplicate", "no")
    first_line = "No new video was ordered: this is the job you already have. new_take=true makes another."
    assert text.splitlines()[0] == second["notice"] == first_line
    assert "Do not order it again" not in text


@pytest.mark.parametrize(
    "differs", [{"prompt": "A cat"}, {"duration": "10s"}, {"email": EMAIL}, {"new_take": True}], ids=str
)
async def test_different_order_is_another_job(server: Server, simulator: Simulator, differs: dict[str, Any]) -> None:
    async with server() as client:
        _, first = await order(client)
        _, second = await order(client, **differs)
    assert len({first["jobid"], second["jobid"]}) == len(simulator.service.jobs) == 2
    assert second["outcome"] == "created"
    assert "note" not in second


@pytest.mark.parametrize("behavior", ["", " simulate:fail"])
@pytest.mark.parametrize("process", ["the same", "another"])
async def test_identical_order_after_the_result_is_a_new_job(
    server: Server, simulator: Simulator, behavior: str, process: str
) -> None:
    async with server() as client, server() as other:
        _, first = await order(client, f"A fox{behavior}")
        await pass_time(100)
        await call(client, "get_job", jobid=first["jobid"], wait_seconds=0)
        await order(client if process == "the same" else other, f"A fox{behavior}")
    assert len(simulator.service.jobs) == 2


@pytest.mark.parametrize("behavior", ["", " simulate:fail"])
@every_process
async def test_identical_order_after_a_missed_result_returns_it(
    server: Server, simulator: Simulator, behavior: str, process: str
) -> None:
    """The host cancels a call, the job finishes, and the agent repeats the order twice."""
    async with server() as client, server() as other:
        with anyio.move_on_after(20):
            await call(client, "generate_video", prompt=f"A fox{behavior}")
        await pass_time(100)
        again = client if process == "the same" else other
        text, content = await order(again, f"A fox{behavior}")
        assert (content["outcome"], content["charged"], content["state"]) == (
            "duplicate",
            "no",
            "failed" if behavior else "completed",
        )
        assert text.splitlines()[0].startswith("No new video was ordered: this is the job you already have.")
        # Now the result has been delivered.
        _, new = await order(again, f"A fox{behavior}")
    assert new["outcome"] == "created"
    assert len(simulator.service.jobs) == 2


async def test_result_after_the_host_s_timeout_is_not_delivered(server: Server, simulator: Simulator) -> None:
    """A host with a timeout of 60 s has dropped a call that waits 300 s, without telling the server."""
    async with server(client_name="claude-ai") as client:
        await call(client, "generate_video", prompt="A fox simulate:slow", wait_seconds=300)
        assert anyio.current_time() > 60
        _, again = await order(client, "A fox simulate:slow")
    assert (again["outcome"], len(simulator.service.jobs)) == ("duplicate", 1)


@BOTH_APIS
async def test_identical_orders_at_once_are_one_job(server: Server, simulator: Simulator) -> None:
    jobids = set()
    async with server() as one, server() as two:

        async def order_once(client: Client) -> None:
            jobids.add((await order(client))[1]["jobid"])

        async with anyio.create_task_group() as tasks:
            for client in (one, two) * 3:
                tasks.start_soon(order_once, client)
    assert len(simulator.service.jobs) == len(jobids) == 1


@BOTH_APIS
@every_process
async def test_unknown_outcome_blocks_a_repetition(
    server: Server, simulator: Simulator, api: str, process: str
) -> None:
    # If the API cannot list jobs, the first request reads its time.
    first: tuple[Exception | None, ...] = (None,) if api == "agents" else ()
    async with server(transport=UnreliableTransport(simulator, *first, httpx2.ReadTimeout("no answer"))) as client:
        results = [await order(client)]
        if process == "the same":
            results += [await order(client)]
    async with server() as client:
        results += [await order(client)]
        for text, content in results:
            error = content["error"]
            assert (error["kind"], error["retry"], error["charged"]) == ("outcome_unknown", "never", "unknown")
            assert error["next_action"] == "ask_user"
            assert "new_take" in error["next_step"]
            assert error["next_step"] in text
        assert "An identical order was sent" in results[-1][1]["error"]["message"]
        assert simulator.service.jobs == {}
        text, content = await call(client, "list_jobs", state="unknown")
        assert [job["prompt"] for job in content["jobs"]] == ["A fox"]
        assert content["note"] in text
        assert (await order(client, new_take=True))[1]["state"] == "running"


async def test_lost_order_is_recovered_by_the_next_process(server: Server, simulator: Simulator) -> None:
    lossy = UnreliableTransport(simulator, httpx2.ReadTimeout("no answer"), delivered=True)
    async with server(transport=lossy) as client:
        simulator.faults.append(Fault("GET", "/jobs", 503, b"{}", times=1000))
        error = await order_error(client)
        simulator.faults.clear()
    [jobid] = simulator.service.jobs
    assert error["kind"] == "outcome_unknown"
    async with server() as client:
        text, found = await order(client)
        _, content = await call(client, "list_jobs")
    assert (found["jobid"], simulator.requests["POST /videos"]) == (jobid, 1)
    assert text.startswith(found["notice"])
    assert [(job["jobid"], job["prompt"]) for job in content["jobs"]] == [(jobid, "A fox")]


async def test_deleted_job_keeps_its_files_and_can_be_listed(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, job = await order(client, save=True, wait_seconds=100)
        text, content = await call(client, "delete_job", jobid=job["jobid"])
        _, after = await call(client, "list_jobs")
        _, deleted = await call(client, "list_jobs", state="deleted")
    assert (simulator.service.jobs, content["deleted"], content["saved_files"]) == ({}, True, job["saved_files"])
    assert content["note"] == text
    assert text.startswith(
        "The job had finished, and is deleted. Links to its video may stop working; its files on this"
    )
    assert "slot" not in text
    assert all(Path(file).exists() and file in text for file in job["saved_files"])
    assert (after["jobs"], [listed["prompt"] for listed in deleted["jobs"]]) == ([], ["A fox"])


async def test_deleting_an_unsaved_job_warns_of_the_loss(server: Server) -> None:
    async with server() as client:
        _, job = await order(client, wait_seconds=100)
        text, content = await call(client, "delete_job", jobid=job["jobid"])
    assert "was not saved on this machine" in text
    assert "saved_files" not in content


@every_era
async def test_running_job_is_not_deleted(server: Server, simulator: Simulator, mode: str) -> None:
    async with server(mode) as client:
        _, job = await order(client)
        text, content = await call(client, "delete_job", jobid=job["jobid"])
    error = content["error"]
    assert (error["kind"], error["retry"], error["next_action"]) == ("conflict", "later", "get_job")
    assert "neither deleted nor stopped" in text
    assert job["jobid"] in simulator.service.jobs


async def test_full_slots_name_the_running_jobs(server: Server, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].concurrency = 1
    finished = []
    async with server() as client:
        for prompt in ("one", "two simulate:fail"):
            _, job = await order(client, prompt, wait_seconds=100)
            finished.append(job["jobid"])
        _, running = await order(client, "three simulate:stuck")
        text, content = await order(client, "four", wait_seconds=5)
        error = content["error"]
        assert (error["kind"], error["running"]) == ("capacity", [running["jobid"]])
        for part in (f"{running['jobid']} (three simulate:stuck)", "1 of 1 are in use", "Nothing was charged."):
            assert part in text
        # Finished jobs occupy no slot, so deleting them would not help.
        assert "deletable" not in error
        assert "delete" not in text


async def test_forgotten_job_is_not_offered_for_deletion(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, job = await order(client, wait_seconds=100)
        del simulator.service.jobs[job["jobid"]]
        text, content = await call(client, "delete_job", jobid=job["jobid"])
        assert (content["deleted"], "already gone" in text) == (True, True)
        simulator.service.accounts[EMAIL].concurrency = 0
        error = await order_error(client, "A cat", wait_seconds=5)
    assert "deletable" not in error


async def test_typical_times_are_measured_on_this_machine(server: Server) -> None:
    messages: list[str] = []
    took: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        messages.append(message or "")

    async with server() as client:
        _, before = await call(client, "list_options")
        for number in range(8):
            _, job = await order(client, f"Take {number} simulate:slow", wait_seconds=300)
            took.append(job["elapsed_seconds"])
    async with server() as client:
        options_text, after = await call(client, "list_options")
        arguments = {"prompt": "A fox", "wait_seconds": 4}
        result = await client.call_tool("generate_video", arguments, progress_callback=on_progress)
    assert (before["typical_seconds_measured"], after["typical_seconds_measured"]) == ([], ["draft"])
    low, high = after["typical_seconds"]["draft"]
    assert min(took) - 1 <= low < high <= max(took) + 1
    assert {**after["typical_seconds"], "draft": 0} == {**before["typical_seconds"], "draft": 0}
    job_text, content = read_result(result)
    assert content["typical_seconds"] == [low, high]
    for text in (options_text, job_text, messages[0]):
        assert f"{low} to {high} s" in text


@pytest.mark.parametrize("setting", ["journal.db", "off", "a folder"])
async def test_orders_work_with_any_journal_setting(server: Server, tmp_path: Path, setting: str) -> None:
    (tmp_path / "a folder").mkdir()
    journal = "off"
    if setting != "off":
        journal = str(tmp_path / setting)
    async with server(LUMA_MCP_JOURNAL=journal) as client:
        _, first = await order(client)
        _, second = await order(client)
        assert first["jobid"] == second["jobid"]
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".lock"]
    assert bool(files) == (setting == "journal.db")
    assert all(TOKEN.encode() not in file.read_bytes() for file in files)


async def test_deleted_job_is_reported_as_deleted(server: Server) -> None:
    async with server() as client:
        _, done = await order(client, wait_seconds=100, save=True)
        await call(client, "delete_job", jobid=done["jobid"])
        text, content = await call(client, "get_job", jobid=done["jobid"], wait_seconds=60)
    error = content["error"]
    assert (error["kind"], error["jobid"], error["next_action"]) == ("not_found", done["jobid"], "none")
    assert "The job was deleted." in error["message"]
    assert "jobid is wrong" not in text
    assert done["saved_files"][0] in text


@pytest.mark.parametrize("saved", [True, False])
async def test_job_that_luma_forgot_is_described_from_the_journal(
    server: Server, simulator: Simulator, *, saved: bool
) -> None:
    async with server() as client:
        _, job = await order(client, save=saved, wait_seconds=100)
        simulator.service.jobs.clear()
        text, content = await call(client, "get_job", jobid=job["jobid"], wait_seconds=0)
    error = content["error"]
    assert "jobid is wrong" not in text
    for part in (
        "Luma no longer has this job. The job was ordered from here at 2026-11-22 00:00 UTC, ",
        ' s ago: "A fox".',
        "completed",
    ):
        assert part in error["message"]
    assert job["video"]["url"] in error["message"]
    assert all(file in error["message"] for file in job.get("saved_files", ()))
    assert (error["next_action"], error["jobid"]) == ("none", job["jobid"])


@BOTH_APIS
async def test_job_that_vanished_is_not_listed_as_running(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, job = await order(client, wait_seconds=0)
        simulator.service.jobs.clear()
        await pass_time(1000)
        text, content = await call(client, "get_job", jobid=job["jobid"], wait_seconds=0)
        _, listed = await call(client, "list_jobs")
    assert content["error"]["next_action"] == "ask_user"
    assert "How it ended is not known." in text
    assert [each["state"] for each in listed["jobs"]] == ["unknown"]


async def test_user_decides_about_a_long_overdue_job(server: Server) -> None:
    async with server() as client:
        _, job = await order(client, "A fox simulate:stuck", wait_seconds=0)
        await pass_time(100)
        text, late = await call(client, "get_job", jobid=job["jobid"], wait_seconds=0)
        assert "is being made" not in text
        assert "more than such videos usually take" in text
        assert late["next_action"] == "get_job"
        await pass_time(700)
        text, overdue = await call(client, "get_job", jobid=job["jobid"], wait_seconds=0)
    assert overdue["next_action"] == "ask_user"
    assert "new_take=true" in overdue["next_step"]
    assert "Do not order" not in text


async def test_credits_of_finished_jobs_are_listed(server: Server) -> None:
    async with server() as client:
        _, done = await order(client, wait_seconds=100)
        text, content = await call(client, "list_jobs")
    assert content["jobs"][0]["credits_used"] == done["credits_used"]
    assert f", used {done['credits_used']:g} credits" in text


async def test_unreachable_api_does_not_hide_the_job(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, job = await order(client, wait_seconds=0)
        simulator.faults.append(Fault("GET", "/jobs", 503, b"{}", times=1000))
        text, content = await call(client, "get_job", jobid=job["jobid"], wait_seconds=0)
    error = content["error"]
    assert (error["jobid"], error["next_action"]) == (job["jobid"], "get_job")
    assert "The job continues" in error["next_step"]
    assert job["jobid"] in text
