"""A server that is killed with SIGKILL at any step of an order: the next one finds the job, and the file is there.

One order is one job, whoever is killed when: a second one is billed.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.killable import HOST, Address, AgentsApi, Api, Hold, Server
from tests.conftest import EMAIL

from luma_mcp.providers import PROVIDERS
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[[], Server]

FOX = {"prompt": "A fox", "wait_seconds": 0}
LONG = 600.0
"""Seconds within which a simulated job of any kind ends."""


agents = pytest.mark.parametrize("api", [AgentsApi], indirect=True, ids=["agents"])


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Api:
    """The API that users have, unless the test says otherwise."""
    kind: type[Api] = getattr(request, "param", Api)
    return kind()


@pytest.fixture
def address() -> Iterator[Address]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        yield Address(listener)


@pytest.fixture
def served(address: Address, api: Api) -> Iterator[None]:
    with address.serving(api):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "Luma"


@pytest.fixture
def start(address: Address, api: Api, folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a server; all of a test share the journal, the folder and the API."""
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
    api.now += LONG
    done = server.call("get_job", jobid=jobid, save=True, wait_seconds=0)
    assert done["state"] == "completed"
    assert_whole(done, folder)
    assert len(api.orders) == 1


def assert_whole(done: dict[str, Any], folder: Path) -> None:
    [file] = map(Path, done["saved_files"])
    assert finished(folder) == [file]
    assert file.read_bytes() == (MEDIA / "16x9-5s-sdr.mp4").read_bytes()


def finished(folder: Path) -> list[Path]:
    """What stands under a name that a person would take for a video."""
    return [path for path in folder.iterdir() if not path.name.endswith(".part")]


def test_killed_before_a_connection_the_order_can_be_repeated(
    address: Address, api: Api, start: Start, folder: Path
) -> None:
    first = start()
    first.begin("generate_video", prompt="A fox", wait_seconds=60)
    # Progress is reported while the connection is refused again and again: the order is recorded, and not sent.
    first.progress("Ordering")
    first.kill()
    with address.serving(api):
        second = start()
        assert second.call("list_jobs")["jobs"] == []
        ordered = second.call("generate_video", **FOX)
        assert_one_job_and_its_file(api, second, ordered["jobid"], folder)


@pytest.mark.usefixtures("served")
def test_killed_before_the_order_arrived_it_needs_new_take(api: Api, start: Start, folder: Path) -> None:
    api.hold = "order"
    first = start()
    first.begin("generate_video", **FOX)
    api.held.wait()
    first.kill()
    second = start()
    [listed] = second.call("list_jobs")["jobs"]
    assert (listed["state"], listed["prompt"]) == ("unknown", "A fox")
    error = second.call("generate_video", **FOX)["error"]
    assert error["kind"] == "outcome_unknown"
    assert "new_take" in error["next_step"]
    assert api.orders == []
    ordered = second.call("generate_video", **FOX, new_take=True)
    assert_one_job_and_its_file(api, second, ordered["jobid"], folder)


@pytest.mark.usefixtures("served")
def test_killed_before_the_response_the_job_is_listed(api: Api, start: Start, folder: Path) -> None:
    kill_before_the_response(api, start)
    second = start()
    [listed] = second.call("list_jobs")["jobs"]
    assert (listed["state"], listed["prompt"]) == ("running", "A fox")
    assert_one_job_and_its_file(api, second, listed["jobid"], folder)


@pytest.mark.usefixtures("served")
def test_killed_before_the_response_the_job_is_reused(api: Api, start: Start, folder: Path) -> None:
    kill_before_the_response(api, start)
    second = start()
    found = second.call("generate_video", **FOX)
    assert found["outcome"] in ("duplicate", "recovered")
    assert_one_job_and_its_file(api, second, found["jobid"], folder)


def kill_before_the_response(api: Api, start: Start) -> None:
    api.hold = "answer"
    first = start()
    first.begin("generate_video", **FOX)
    api.held.wait()
    first.kill()


@pytest.mark.usefixtures("served")
def test_killed_before_the_response_another_job_is_a_candidate(api: Api, start: Start) -> None:
    kill_before_the_response(api, start)
    api.service.start({**api.orders[0], "prompt": "A hare"}, EMAIL, webhook=False)
    error = start().call("generate_video", **FOX)["error"]
    assert error["kind"] == "outcome_unknown"
    assert all(jobid in error["message"] for jobid in api.service.jobs)
    assert len(api.orders) == 1


@agents
@pytest.mark.usefixtures("served")
def test_killed_before_the_response_of_an_api_without_a_list(api: Api, start: Start, folder: Path) -> None:
    kill_before_the_response(api, start)
    second = start()
    [listed] = second.call("list_jobs")["jobs"]
    assert (listed["state"], listed["prompt"], "jobid" in listed) == ("unknown", "A fox", False)
    for server in (second, start()):
        error = server.call("generate_video", **FOX)["error"]
        assert (error["kind"], error["charged"]) == ("outcome_unknown", "unknown")
        assert PROVIDERS["agents"].console in error["next_step"]
    assert len(api.orders) == 1
    # The person has looked there, and orders another one.
    ordered = second.call("generate_video", **FOX, new_take=True)
    assert list(api.service.jobs)[1:] == [ordered["jobid"]]
    api.now += LONG
    assert_whole(second.call("get_job", jobid=ordered["jobid"], save=True, wait_seconds=0), folder)


# As it is sent, only a list of the running jobs shows the job for sure.
@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("api", "received"),
    [(Api, False), (Api, True), (AgentsApi, True)],
    indirect=["api"],
    ids=["as it is sent", "as the agent has it", "as the agent of the other API has it"],
)
def test_killed_after_the_response_the_job_is_reused(api: Api, start: Start, folder: Path, received: bool) -> None:
    first = start()
    first.begin("generate_video", **FOX)
    api.answered.wait()
    jobid = first.answer()["jobid"] if received else None
    first.kill()
    second = start()
    same = second.call("generate_video", **FOX)
    assert jobid in (None, same["jobid"])
    assert same["outcome"] in ("duplicate", "recovered")
    assert_one_job_and_its_file(api, second, same["jobid"], folder)


@pytest.mark.usefixtures("served")
def test_killed_while_waiting_the_next_server_saves_the_file(api: Api, start: Start, folder: Path) -> None:
    first = start()
    first.begin("generate_video", prompt="A fox", save=True, wait_seconds=60)
    message = first.progress("Job ")
    first.kill()
    [jobid] = api.service.jobs
    assert jobid in message
    api.now += LONG
    second = start()
    api.delivered.wait()
    done = second.call("get_job", jobid=jobid, wait_seconds=0)
    assert_whole(done, folder)
    assert (len(api.orders), api.downloads) == (1, 1)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("minutes", [0, 10], ids=["at once", "later"])
def test_killed_during_a_download_the_file_is_whole_later(api: Api, start: Start, folder: Path, minutes: int) -> None:
    first = start()
    jobid = first.call("generate_video", **FOX)["jobid"]
    api.now += LONG
    api.hold = "media"
    first.begin("get_job", jobid=jobid, save=True, wait_seconds=0)
    first.progress("Saving ")
    first.kill()
    assert finished(folder) == []
    [part] = folder.iterdir()
    begun = part.stat()
    assert begun.st_size > 0
    os.utime(part, (begun.st_atime - minutes * 60, begun.st_mtime - minutes * 60))
    second = start()
    assert_one_job_and_its_file(api, second, jobid, folder)


@pytest.mark.usefixtures("served")
def test_two_servers_with_the_same_order_make_one_job(api: Api, start: Start) -> None:
    servers = start(), start()
    for n in range(1, 6):
        for server in servers:
            server.begin("generate_video", prompt=f"Fox {n}", wait_seconds=0)
        answers = [server.answer() for server in servers]
        newest = list(api.service.jobs)[-1]
        assert [answer.get("jobid") for answer in answers] == [newest, newest], answers
        assert len(api.orders) == n


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("api", [Api, AgentsApi], indirect=True, ids=["useapi", "agents"])
@pytest.mark.parametrize("hold", ["order", "answer"])
@pytest.mark.sample(2)
def test_killed_between_takes_none_is_ordered_twice(api: Api, start: Start, hold: Hold) -> None:
    api.hold, api.passed = hold, 1
    first = start()
    first.begin("generate_video", **FOX, takes=3)
    api.held.wait()
    first.kill()
    second = start()
    [paid, *lost] = api.service.jobs
    assert second.call("generate_video", **FOX)["jobid"] == paid
    is_found = bool(lost) and api.service.catalog.api == "useapi"
    # The same takes, fewer, and more.
    for takes in (3, 2, 4):
        result = second.call("generate_video", **FOX, takes=takes)
        taken = [job["take"] for job in result["jobs"]]
        if is_found:
            # The list of running jobs shows that of the second take.
            assert taken == list(range(1, takes + 1))
            assert [job["jobid"] for job in result["jobs"]][:2] == [paid, *lost]
        else:
            assert taken == [1]
            charged = {order["take"]: order["error"]["charged"] for order in result["failed_orders"]}
            assert charged == {2: "unknown"} | dict.fromkeys(range(3, takes + 1), "no")
    assert len(api.service.jobs) == (4 if is_found else 1 + len(lost))
