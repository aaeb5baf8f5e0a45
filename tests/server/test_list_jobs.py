"""What was ordered is known: nothing is ordered twice, `list_jobs` finds it again, `delete_job` frees its slot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL, ERAS, TOKEN
from tests.results import told
from tests.transports import Unreliable

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

OTHER = "second@example.com"


@pytest.fixture
def server(connect: Server, tmp_path: Path) -> Server:
    """A server that keeps a journal, and saves to the test's folder."""

    def start(mode: str = ERAS[0], transport: httpx2.AsyncBaseTransport | None = None, **settings: str) -> Client:
        own = {"LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"), "LUMA_MCP_OUTPUT_DIR": str(tmp_path)}
        return connect(mode=mode, transport=transport, environment={"USEAPI_TOKEN": TOKEN, **own, **settings})

    return start


async def order(client: Client, prompt: str = "A fox", **arguments: Any) -> tuple[str, dict[str, Any]]:
    return told(await client.call_tool("generate_video", {"prompt": prompt, "wait_seconds": 0, **arguments}))


async def listed(client: Client, **arguments: Any) -> tuple[str, dict[str, Any]]:
    return told(await client.call_tool("list_jobs", arguments))


@pytest.mark.parametrize("mode", ERAS)
async def test_the_list_has_what_runs_and_what_was_ordered_newest_first_with_all_that_is_known(
    server: Server, simulator: Simulator, mode: str
) -> None:
    simulator.service.add_account(OTHER, concurrency=2)
    async with server(mode) as client:
        _, saved = await order(client, save=True, wait_seconds=100, email=EMAIL)
        _, failed = await order(client, "A cat simulate:fail", wait_seconds=100, email=EMAIL)
    elsewhere = simulator.service.start({"prompt": "x", "model": "ray-v3", "resolution": "1080p"}, OTHER, webhook=False)
    await pass_time(1)
    async with server(mode) as client:
        _, running = await order(client, "A hen", duration="10s", aspect_ratio="1:1", email=OTHER)
        text, content = await listed(client)
    jobs = content["jobs"]
    assert [(job["jobid"], job["state"], job.get("prompt")) for job in jobs] == [
        (running["jobid"], "running", "A hen"),
        (elsewhere.jobid, "running", None),
        (failed["jobid"], "failed", "A cat simulate:fail"),
        (saved["jobid"], "completed", "A fox"),
    ]
    options = {"model": "ray-v3-flash", "resolution": "draft", "aspect_ratio": "1:1", "duration": "10s"}
    assert jobs[0].items() >= (options | {"dynamic_range": "sdr"}).items()
    assert (jobs[1]["model"], jobs[3]["saved_files"]) == ("ray-v3", saved["saved_files"])
    assert "could not make this video" in jobs[2]["reason"]
    assert [(a["email"], a["in_use"], a["slots"]) for a in content["accounts"]] == [(EMAIL, 0, 4), (OTHER, 2, 2)]
    for word in (*(job["jobid"] for job in jobs), "A hen", "10s", "1:1", jobs[2]["reason"], *saved["saved_files"]):
        assert word in text
    assert f"{OTHER}: 2 of 2 slots in use" in text
    assert content["next_step"] in text


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
)
async def test_the_list_can_be_limited_and_asked_for_a_state(
    server: Server, arguments: dict[str, Any], prompts: list[str]
) -> None:
    async with server() as client:
        for prompt in ("one", "two", "three simulate:fail"):
            await order(client, prompt)
            await pass_time(1)
        await pass_time(100)
        for prompt in ("four", "five"):
            await order(client, prompt)
            await pass_time(1)
        text, content = await listed(client, **arguments)
    assert [job["prompt"] for job in content["jobs"]] == prompts
    assert ("No jobs" in text) == (not prompts)


async def test_without_the_api_the_list_is_the_journal_s_and_says_so(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        await order(client)
    way = Unreliable(simulator, *[httpx2.ConnectError("gone")] * 1000)
    async with server(ERAS[0], way) as client:
        text, content = await listed(client)
    assert content["jobs"][0]["prompt"] == "A fox"
    assert (content["accounts"], content["problem"] in text) == ([], True)


SAME = [{}, {"resolution": "DRAFT"}, {"model": "ray-v3-flash", "duration": 5}, {"wait_seconds": 1, "save": True}]


@pytest.mark.parametrize("process", ["the same", "another"])
@pytest.mark.parametrize("again", SAME)
async def test_the_same_order_while_its_job_runs_returns_that_job_and_says_so(
    server: Server, simulator: Simulator, again: dict[str, Any], process: str
) -> None:
    async with server() as client:
        _, first = await order(client)
        if process == "the same":
            text, second = await order(client, **again)
    if process == "another":
        async with server() as client:
            text, second = await order(client, **again)
    assert (second["jobid"], simulator.requests["POST /videos"]) == (first["jobid"], 1)
    assert "new_take" in second["note"]
    assert second["note"] in text


@pytest.mark.parametrize("differs", [{"prompt": "A cat"}, {"duration": "10s"}, {"email": EMAIL}, {"new_take": True}])
async def test_another_order_or_a_new_take_is_another_job(
    server: Server, simulator: Simulator, differs: dict[str, Any]
) -> None:
    async with server() as client:
        _, first = await order(client)
        _, second = await order(client, **differs)
    assert len({first["jobid"], second["jobid"]}) == len(simulator.service.jobs) == 2
    assert "note" not in second


@pytest.mark.parametrize("wish", ["", " simulate:fail"])
async def test_the_same_order_after_its_job_has_finished_is_a_new_job(
    server: Server, simulator: Simulator, wish: str
) -> None:
    async with server() as client:
        await order(client, f"A fox{wish}")
        await pass_time(100)
        await order(client, f"A fox{wish}")
    assert len(simulator.service.jobs) == 2


async def test_the_same_order_many_times_at_once_is_one_job(server: Server, simulator: Simulator) -> None:
    jobids = set()
    async with server() as one, server() as two:

        async def ask(client: Client) -> None:
            jobids.add((await order(client))[1]["jobid"])

        async with anyio.create_task_group() as tasks:
            for client in (one, two) * 3:
                tasks.start_soon(ask, client)
    assert len(simulator.service.jobs) == len(jobids) == 1


@pytest.mark.parametrize("process", ["the same", "another"])
async def test_an_order_of_unknown_outcome_is_not_repeated_unless_a_new_take_is_asked_for(
    server: Server, simulator: Simulator, process: str
) -> None:
    async with server(ERAS[0], Unreliable(simulator, httpx2.ReadTimeout("no answer"))) as client:
        answers = [await order(client)]
        if process == "the same":
            answers += [await order(client)]
    async with server() as client:
        answers += [await order(client)]
        for text, content in answers:
            assert (content["error"]["kind"], content["error"]["retry"]) == ("outcome_unknown", "never")
            assert "new_take" in text
        assert simulator.service.jobs == {}
        text, content = await listed(client, state="unknown")
        assert [job["prompt"] for job in content["jobs"]] == ["A fox"]
        assert content["note"] in text
        assert (await order(client, new_take=True))[1]["state"] == "running"


async def test_an_order_whose_answer_was_lost_is_found_by_the_next_process(
    server: Server, simulator: Simulator
) -> None:
    async with server(ERAS[0], Unreliable(simulator, httpx2.ReadTimeout("no answer"), delivered=True)) as client:
        simulator.faults.append(Fault("GET", "/jobs", 503, b"{}", times=1000))
        _, lost = await order(client)
        simulator.faults.clear()
    [jobid] = simulator.service.jobs
    assert lost["error"]["kind"] == "outcome_unknown"
    async with server() as client:
        text, found = await order(client)
        _, content = await listed(client)
    assert (found["jobid"], simulator.requests["POST /videos"]) == (jobid, 1)
    assert found["note"] in text
    assert [(job["jobid"], job["prompt"]) for job in content["jobs"]] == [(jobid, "A fox")]


async def test_a_finished_job_is_deleted_and_its_files_and_its_line_stay(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, job = await order(client, save=True, wait_seconds=100)
        text, content = told(await client.call_tool("delete_job", {"jobid": job["jobid"]}))
        _, after = await listed(client)
    assert (simulator.service.jobs, content["deleted"], content["saved_files"]) == ({}, True, job["saved_files"])
    assert all(Path(file).exists() and file in text for file in job["saved_files"])
    assert (after["jobs"][0]["prompt"], after["jobs"][0]["deleted"]) == ("A fox", True)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_running_job_is_not_deleted_and_it_is_said_that_nothing_stops_it(
    server: Server, simulator: Simulator, mode: str
) -> None:
    async with server(mode) as client:
        _, job = await order(client)
        text, content = told(await client.call_tool("delete_job", {"jobid": job["jobid"]}))
    assert (content["error"]["kind"], content["error"]["retry"]) == ("conflict", "later")
    assert "stopped" in text
    assert job["jobid"] in simulator.service.jobs


async def test_a_full_house_names_the_jobs_that_hold_the_slots_and_those_that_could_be_deleted(
    server: Server, simulator: Simulator
) -> None:
    simulator.service.accounts[EMAIL].concurrency = 1
    async with server() as client:
        finished = [
            (await order(client, prompt, wait_seconds=100))[1]["jobid"] for prompt in ("one", "two simulate:fail")
        ]
        _, running = await order(client, "three simulate:stuck")
        text, content = await order(client, "four", wait_seconds=5)
        error = content["error"]
        assert (error["kind"], error["running"]) == ("capacity", [running["jobid"]])
        assert sorted(error["deletable"]) == sorted(finished)
        assert all(
            jobid in text
            for jobid in (
                running["jobid"],
                *finished,
            )
        )
        assert ("delete_job" in text, "nothing was spent" in text) == (True, True)
        await client.call_tool("delete_job", {"jobid": finished[0]})
        _, content = await order(client, "four", wait_seconds=5)
        assert content["error"]["deletable"] == finished[1:]


async def test_a_job_that_the_api_has_forgotten_is_not_offered_for_deletion_for_ever(
    server: Server, simulator: Simulator
) -> None:
    async with server() as client:
        _, job = await order(client, wait_seconds=100)
        del simulator.service.jobs[job["jobid"]]
        await client.call_tool("delete_job", {"jobid": job["jobid"]})
        simulator.service.accounts[EMAIL].concurrency = 0
        _, content = await order(client, "A cat", wait_seconds=5)
    assert "deletable" not in content["error"]


async def test_usual_times_are_this_machine_s_once_enough_jobs_of_a_kind_have_ended(server: Server) -> None:
    messages: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        messages.append(message or "")

    async with server() as client:
        before = told(await client.call_tool("list_options", {}))[1]
        took = [
            (await order(client, f"Take {n} simulate:slow", wait_seconds=300))[1]["elapsed_seconds"] for n in range(8)
        ]
    async with server() as client:
        text, after = told(await client.call_tool("list_options", {}))
        arguments = {"prompt": "A fox", "wait_seconds": 4}
        result = await client.call_tool("generate_video", arguments, progress_callback=on_progress)
    assert (before["typical_seconds_measured"], after["typical_seconds_measured"]) == ([], ["draft"])
    low, high = after["typical_seconds"]["draft"]
    assert min(took) - 1 <= low < high <= max(took) + 1
    assert {**after["typical_seconds"], "draft": 0} == {**before["typical_seconds"], "draft": 0}
    for told_to_agent in (text, told(result)[0], messages[0]):
        assert f"{low} to {high} s" in told_to_agent


@pytest.mark.parametrize("setting", ["journal.db", "off", "a folder"])
async def test_orders_go_out_whatever_becomes_of_the_journal_and_the_token_is_never_in_it(
    server: Server, tmp_path: Path, setting: str
) -> None:
    (tmp_path / "a folder").mkdir()
    journal = "off" if setting == "off" else str(tmp_path / setting)
    async with server(LUMA_MCP_JOURNAL=journal) as client:
        _, first = await order(client)
        _, second = await order(client)
        assert first["jobid"] == second["jobid"]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert bool(files) == (setting == "journal.db")
    assert all(TOKEN.encode() not in file.read_bytes() for file in files)


async def test_a_deleted_job_is_said_to_be_deleted_and_its_files_are_named(
    server: Server, simulator: Simulator
) -> None:
    async with server() as client:
        _, done = await order(client, wait_seconds=100, save=True)
        await client.call_tool("delete_job", {"jobid": done["jobid"]})
        begun, asked = anyio.current_time(), simulator.requests["GET /jobs/…"]
        text, content = told(await client.call_tool("get_job", {"jobid": done["jobid"], "wait_seconds": 60}))
    assert (content["error"]["kind"], content["error"]["jobid"]) == ("not_found", done["jobid"])
    assert "deleted" in text
    assert "jobid is wrong" not in text
    assert done["saved_files"][0] in text
    assert (anyio.current_time(), simulator.requests["GET /jobs/…"]) == (begun, asked)
