"""A server is killed with SIGKILL at any step of an order: the next one finds the job and saves the file.

One order must never become two jobs, because each job is billed.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.killable import HOST, Address, AgentsApi, Api, HoldPoint, Server
from tests.conftest import EMAIL

from luma_mcp.providers import PROVIDERS
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[[], Server]

FOX_ORDER = {"prompt": "A fox", "wait_seconds": 0}
JOB_SECONDS = 600.0
"""Longer than any simulated job takes."""


for_agents = pytest.mark.parametrize("api", [AgentsApi], indirect=True, ids=["agents"])


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Api:
    """The simulated API: that of useapi.net, unless the test has another one."""
    kind: type[Api] = getattr(request, "param", Api)
    return kind()


@pytest.fixture
def address() -> Iterator[Address]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        yield Address(listener)


@pytest.fixture
def serve_api(address: Address, api: Api) -> Iterator[None]:
    with address.serving(api):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "Luma"


@pytest.fixture
def start(address: Address, api: Api, folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a server. All servers of a test share the journal, the folder and the API."""
    environment = {
        PROVIDERS[api.service.catalog.api].variable: api.token or "",
        "LUMA_MCP_BASE_URL": f"{address.origin}{api.prefix}",
        "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"),
        "LUMA_MCP_OUTPUT_DIR": str(folder),
        "LUMA_MCP_THUMBNAILS": "0",
    }
    with ExitStack() as servers:
        yield lambda: servers.enter_context(Server(environment))


def assert_one_job_and_its_file(api: Api, server: Server, jobid: str, folder: Path) -> None:
    assert [jobid] == list(api.service.jobs)
    api.now += JOB_SECONDS
    done = server.call("get_job", jobid=jobid, save=True, wait_seconds=0)
    assert done["state"] == "completed"
    assert_saved(done, folder)
    assert len(api.orders) == 1


def assert_saved(done: dict[str, Any], folder: Path) -> None:
    [file] = map(Path, done["saved_files"])
    assert list_finished_files(folder) == [file]
    assert file.read_bytes() == (MEDIA / "16x9-5s-sdr.mp4").read_bytes()


def list_finished_files(folder: Path) -> list[Path]:
    """The files in the folder, without unfinished downloads."""
    return [path for path in folder.iterdir() if not path.name.endswith(".part")]


def test_killed_before_a_connection_the_order_can_be_repeated(
    address: Address, api: Api, start: Start, folder: Path
) -> None:
    first = start()
    first.start_call("generate_video", prompt="A fox", wait_seconds=60)
    # Progress is reported while the connection is refused repeatedly: the order is recorded, but not sent.
    first.wait_for_progress("Ordering")
    first.kill()
    with address.serving(api):
        second = start()
        assert second.call("list_jobs")["jobs"] == []
        ordered = second.call("generate_video", **FOX_ORDER)
        assert_one_job_and_its_file(api, second, ordered["jobid"], folder)


@pytest.mark.usefixtures("serve_api")
def test_killed_before_the_order_arrived_it_needs_new_take(api: Api, start: Start, folder: Path) -> None:
    api.hold = "order"
    first = start()
    first.start_call("generate_video", **FOX_ORDER)
    api.held.wait()
    first.kill()
    second = start()
    [listed] = second.call("list_jobs")["jobs"]
    assert (listed["state"], listed["prompt"]) == ("unknown", "A fox")
    error = second.call("generate_video", **FOX_ORDER)["error"]
    assert error["kind"] == "outcome_unknown"
    assert "new_take" in error["next_step"]
    assert api.orders == []
    ordered = second.call("generate_video", **FOX_ORDER, new_take=True)
    assert_one_job_and_its_file(api, second, ordered["jobid"], folder)


@pytest.mark.usefixtures("serve_api")
def test_killed_before_the_response_the_job_is_listed(api: Api, start: Start, folder: Path) -> None:
    kill_before_the_response(api, start)
    second = start()
    [listed] = second.call("list_jobs")["jobs"]
    assert (listed["state"], listed["prompt"]) == ("running", "A fox")
    assert_one_job_and_its_file(api, second, listed["jobid"], folder)


@pytest.mark.usefixtures("serve_api")
def test_killed_before_the_response_the_job_is_reused(api: Api, start: Start, folder: Path) -> None:
    kill_before_the_response(api, start)
    second = start()
    found = second.call("generate_video", **FOX_ORDER)
    assert found["outcome"] in ("duplicate", "recovered")
    assert_one_job_and_its_file(api, second, found["jobid"], folder)


def kill_before_the_response(api: Api, start: Start) -> None:
    api.hold = "answer"
    first = start()
    first.start_call("generate_video", **FOX_ORDER)
    api.held.wait()
    first.kill()


@pytest.mark.usefixtures("serve_api")
def test_killed_before_the_response_another_job_is_a_candidate(api: Api, start: Start) -> None:
    kill_before_the_response(api, start)
    api.service.start({**api.orders[0], "prompt": "A hare"}, EMAIL, webhook=False)
    error = start().call("generate_video", **FOX_ORDER)["error"]
    assert error["kind"] == "outcome_unknown"
    assert all(jobid in error["message"] for jobid in api.service.jobs)
    assert len(api.orders) == 1


@for_agents
@pytest.mark.usefixtures("serve_api")
def test_killed_before_the_response_of_an_api_without_a_list(api: Api, start: Start, folder: Path) -> None:
    kill_before_the_response(api, start)
    second = start()
    [listed] = second.call("list_jobs")["jobs"]
    assert (listed["state"], listed["prompt"], "jobid" in listed) == ("unknown", "A fox", False)
    for server in (second, start()):
        error = server.call("generate_video", **FOX_ORDER)["error"]
        assert (error["kind"], error["charged"]) == ("outcome_unknown", "unknown")
        assert PROVIDERS["agents"].console in error["next_step"]
    assert len(api.orders) == 1
    # The user has checked the console, and orders another one.
    ordered = second.call("generate_video", **FOX_ORDER, new_take=True)
    assert list(api.service.jobs)[1:] == [ordered["jobid"]]
    api.now += JOB_SECONDS
    assert_saved(second.call("get_job", jobid=ordered["jobid"], save=True, wait_seconds=0), folder)


# While the response is being sent, only a list of the running jobs shows the job reliably.
@pytest.mark.usefixtures("serve_api")
@pytest.mark.parametrize(
    ("api", "received"),
    [(Api, False), (Api, True), (AgentsApi, True)],
    indirect=["api"],
    ids=["sent", "received", "received, agents"],
)
def test_killed_after_the_response_the_job_is_reused(api: Api, start: Start, folder: Path, received: bool) -> None:
    first = start()
    first.start_call("generate_video", **FOX_ORDER)
    api.answered.wait()
    jobid = first.read_result()["jobid"] if received else None
    first.kill()
    second = start()
    same = second.call("generate_video", **FOX_ORDER)
    assert jobid in (None, same["jobid"])
    assert same["outcome"] in ("duplicate", "recovered")
    assert_one_job_and_its_file(api, second, same["jobid"], folder)


@pytest.mark.usefixtures("serve_api")
def test_killed_while_waiting_the_next_server_saves_the_file(api: Api, start: Start, folder: Path) -> None:
    first = start()
    first.start_call("generate_video", prompt="A fox", save=True, wait_seconds=60)
    message = first.wait_for_progress("Job ")
    first.kill()
    [jobid] = api.service.jobs
    assert jobid in message
    api.now += JOB_SECONDS
    second = start()
    api.delivered.wait()
    done = second.call("get_job", jobid=jobid, wait_seconds=0)
    assert_saved(done, folder)
    assert (len(api.orders), api.downloads) == (1, 1)


@pytest.mark.usefixtures("serve_api")
@pytest.mark.parametrize("minutes", [0, 10], ids=["at once", "later"])
def test_killed_during_a_download_the_file_is_complete_later(
    api: Api, start: Start, folder: Path, minutes: int
) -> None:
    first = start()
    jobid = first.call("generate_video", **FOX_ORDER)["jobid"]
    api.now += JOB_SECONDS
    api.hold = "media"
    first.start_call("get_job", jobid=jobid, save=True, wait_seconds=0)
    first.wait_for_progress("Saving ")
    first.kill()
    assert list_finished_files(folder) == []
    [part] = folder.iterdir()
    before = part.stat()
    assert before.st_size > 0
    os.utime(part, (before.st_atime - minutes * 60, before.st_mtime - minutes * 60))
    second = start()
    assert_one_job_and_its_file(api, second, jobid, folder)


@pytest.mark.usefixtures("serve_api")
def test_same_order_at_two_servers_makes_one_job(api: Api, start: Start) -> None:
    servers = start(), start()
    for n in range(1, 6):
        for server in servers:
            server.start_call("generate_video", prompt=f"Fox {n}", wait_seconds=0)
        results = [server.read_result() for server in servers]
        newest = list(api.service.jobs)[-1]
        assert [result.get("jobid") for result in results] == [newest, newest], results
        assert len(api.orders) == n


@pytest.mark.usefixtures("serve_api")
@pytest.mark.parametrize("api", [Api, AgentsApi], indirect=True, ids=["useapi", "agents"])
@pytest.mark.parametrize("hold", ["order", "answer"])
@pytest.mark.sample(2)
def test_killed_between_takes_none_is_ordered_twice(api: Api, start: Start, hold: HoldPoint) -> None:
    api.hold, api.passed = hold, 1
    first = start()
    first.start_call("generate_video", **FOX_ORDER, takes=3)
    api.held.wait()
    first.kill()
    second = start()
    [paid, *lost] = api.service.jobs
    assert second.call("generate_video", **FOX_ORDER)["jobid"] == paid
    is_found = bool(lost) and api.service.catalog.api == "useapi"
    # The same takes, fewer, and more.
    for takes in (3, 2, 4):
        result = second.call("generate_video", **FOX_ORDER, takes=takes)
        takes_found = [job["take"] for job in result["jobs"]]
        if is_found:
            # The list of running jobs shows that of the second take.
            assert takes_found == list(range(1, takes + 1))
            assert [job["jobid"] for job in result["jobs"]][:2] == [paid, *lost]
        else:
            assert takes_found == [1]
            charged = {order["take"]: order["error"]["charged"] for order in result["failed_orders"]}
            assert charged == {2: "unknown"} | dict.fromkeys(range(3, takes + 1), "no")
    assert len(api.service.jobs) == (4 if is_found else 1 + len(lost))
