"""Tasks: a client that takes them gets its order's task at once, and asks for it until the video is there.

`test_task_servers.py` is about who serves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from tests.clock import pass_time
from tests.conftest import ERAS, TOKEN
from tests.server.declaring import TASKS, about_task, asked, called, declaring

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

UNKNOWN = {
    "no jobid at all": "task-1",
    "nobody's": "j1v-u12345-email:studio@example.com-bot:luma",
    "another user's": "j1v-u99999-email:else@example.com-bot:luma",
    "empty": "",
    "a path": "../accounts",
}
METHODS: dict[str, dict[str, Any]] = {"tasks/get": {}, "tasks/cancel": {}, "tasks/update": {"inputResponses": {}}}


@pytest.fixture
def server(connect: Server, tmp_path: Path) -> Server:
    """A server with a journal, and a client that takes tasks, or as it is said; settings by name."""

    def start(*extensions: str, mode: str = ERAS[0], transport: Any = None, **settings: str) -> Client:
        own = {"LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"), "LUMA_MCP_OUTPUT_DIR": str(tmp_path / "Luma")}
        environment = {"USEAPI_TOKEN": TOKEN, **own, **settings}
        return declaring(connect(mode=mode, transport=transport, environment=environment), *(extensions or [TASKS]))

    return start


@pytest.fixture
def plain(connect: Server, tmp_path: Path) -> Server:
    """The same for a client that declares nothing."""

    def start(mode: str = ERAS[0], **settings: str) -> Client:
        journal = {"LUMA_MCP_JOURNAL": str(tmp_path / "journal.db")}
        return connect(mode=mode, environment={"USEAPI_TOKEN": TOKEN, **journal, **settings})

    return start


@pytest.mark.parametrize("wait", [{}, {"wait_seconds": 300}], ids=["no wait", "a long wait"])
async def test_an_order_is_answered_at_once_with_a_flat_task(
    server: Server, simulator: Simulator, wait: dict[str, int]
) -> None:
    async with server() as client:
        task = await called(client, "generate_video", prompt="A fox", **wait)
    [jobid] = simulator.service.jobs
    assert anyio.current_time() == 0
    assert task.pop("statusMessage")
    assert 1000 <= task.pop("pollIntervalMs") <= 10_000
    assert task == {
        "resultType": "task",
        "taskId": jobid,
        "status": "working",
        "createdAt": "2026-11-22T00:00:00.000Z",
        "lastUpdatedAt": "2026-11-22T00:00:00.000Z",
        "ttlMs": None,
    }


async def test_a_task_works_until_its_video_is_there(server: Server) -> None:
    async with server() as client:
        task = await called(client, "generate_video", prompt="A fox")
        await pass_time(20)
        working = await about_task(client, "tasks/get", task["taskId"])
        await pass_time(60)
        done = await about_task(client, "tasks/get", task["taskId"])
    assert (working["resultType"], working["taskId"], working["status"]) == ("complete", task["taskId"], "working")
    assert "20 s" in working["statusMessage"]
    assert working.keys().isdisjoint({"result", "error", "inputRequests"})
    assert (done["status"], done["createdAt"], done["ttlMs"]) == ("completed", task["createdAt"], None)
    assert "2026-11-22T00:00:30" < done["lastUpdatedAt"] < "2026-11-22T00:01:00"
    assert done["result"]["structuredContent"]["state"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "failed"),
    [({}, False), ({"dynamic_range": "hdr_exr", "resolution": "720p"}, False), ({"prompt": "A simulate:fail"}, True)],
    ids=["a video", "a video and frames", "a job that failed"],
)
@pytest.mark.parametrize("thumbnails", ["0", "1"], ids=["no thumbnail", "a thumbnail"])
async def test_the_completed_task_has_the_very_result_that_a_plain_client_gets(
    server: Server, plain: Server, *, arguments: dict[str, str], failed: bool, thumbnails: str
) -> None:
    async with plain(LUMA_MCP_THUMBNAILS=thumbnails) as client:
        result = await called(client, "generate_video", **{"prompt": "A fox", "wait_seconds": 300, **arguments})
    async with server(LUMA_MCP_THUMBNAILS=thumbnails) as client:
        task = await about_task(client, "tasks/get", result["structuredContent"]["jobid"])
    assert task["status"] == "completed"
    assert task["result"] == result
    assert task["result"]["isError"] is failed
    assert "error" not in task


@pytest.mark.parametrize("task_id", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("method", METHODS)
async def test_an_unknown_task_is_an_invalid_parameter(server: Server, method: str, task_id: str) -> None:
    async with server() as client:
        with pytest.raises(MCPError) as refused:
            await about_task(client, method, task_id, **METHODS[method])
    assert refused.value.code == -32602
    assert refused.value.message


@pytest.mark.parametrize("params", [{}, {"taskId": None}, {"taskId": ["j1"]}], ids=["none", "null", "a list"])
@pytest.mark.parametrize("method", METHODS)
async def test_a_request_without_a_task_s_id_is_an_invalid_parameter(
    server: Server, simulator: Simulator, method: str, params: dict[str, Any]
) -> None:
    async with server() as client:
        with pytest.raises(MCPError) as refused:
            await asked(client, method, **METHODS[method], **params)
    assert refused.value.code == -32602
    assert simulator.requests.total() == 0


async def test_an_image_job_is_no_task(server: Server, simulator: Simulator) -> None:
    body = b'{"jobid":"j1","type":"image","status":"processing"}'
    simulator.faults.append(Fault("GET", "/jobs", 200, body))
    async with server() as client:
        with pytest.raises(MCPError, match="image") as refused:
            await about_task(client, "tasks/get", "j1")
    assert refused.value.code == -32602


async def test_a_cancelled_task_is_acknowledged_and_its_job_goes_on(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        task = await called(client, "generate_video", prompt="A fox")
        assert await about_task(client, "tasks/cancel", task["taskId"]) == {"resultType": "complete"}
        assert (await about_task(client, "tasks/get", task["taskId"]))["status"] == "working"
        await pass_time(100)
        assert (await about_task(client, "tasks/get", task["taskId"]))["status"] == "completed"
        assert await about_task(client, "tasks/cancel", task["taskId"]) == {"resultType": "complete"}
        assert (await about_task(client, "tasks/get", task["taskId"]))["status"] == "completed"
    assert list(simulator.service.jobs) == [task["taskId"]]
    assert not any(request.startswith("DELETE") for request in simulator.requests)


async def test_answers_that_nobody_asked_for_are_acknowledged_and_change_nothing(server: Server) -> None:
    async with server() as client:
        task = await called(client, "generate_video", prompt="A fox")
        answers = {"colour": {"action": "accept", "content": {"colour": "red"}}}
        assert await about_task(client, "tasks/update", task["taskId"], inputResponses=answers) == {
            "resultType": "complete"
        }
        assert (await about_task(client, "tasks/get", task["taskId"]))["status"] == "working"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"prompt": "A fox", "dynamic_range": "hdr", "duration": "10s"}, "invalid_arguments"),
        ({}, "invalid_arguments"),
        ({"prompt": "A fox simulate:moderate"}, "moderated"),
        ({"prompt": "A fox simulate:busy"}, "capacity"),
    ],
    ids=["an invalid combination", "no prompt", "refused by the API", "a full house"],
)
async def test_a_refused_order_is_an_ordinary_error_and_no_task(
    server: Server, simulator: Simulator, arguments: dict[str, str], kind: str
) -> None:
    async with server() as client:
        result = await called(client, "generate_video", **arguments)
    assert (result["resultType"], result["isError"]) == ("complete", True)
    assert result["structuredContent"]["error"]["kind"] == kind
    assert "taskId" not in result
    assert simulator.service.jobs == {}


async def test_only_an_order_becomes_a_task(server: Server) -> None:
    async with server() as client:
        task = await called(client, "generate_video", prompt="A fox")
        for tool, arguments in (("get_job", {"jobid": task["taskId"], "wait_seconds": 0}), ("list_jobs", {})):
            result = await called(client, tool, **arguments)
            assert (result["resultType"], result["isError"]) == ("complete", False)
            assert "taskId" not in result


@pytest.mark.parametrize("method", METHODS)
async def test_a_client_that_did_not_declare_tasks_gets_results_and_is_told_what_it_lacks(
    plain: Server, method: str
) -> None:
    async with plain() as client:
        result = await called(client, "generate_video", prompt="A fox", wait_seconds=0)
        jobid = result["structuredContent"]["jobid"]
        with pytest.raises(MCPError) as refused:
            await about_task(client, method, jobid, **METHODS[method])
    assert result["resultType"] == "complete"
    assert refused.value.code == -32021
    assert refused.value.error.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}


@pytest.mark.parametrize("method", METHODS)
async def test_before_2026_there_are_no_tasks_whatever_the_client_declares(server: Server, method: str) -> None:
    async with server(mode="legacy") as client:
        result = await called(client, "generate_video", prompt="A fox", wait_seconds=0)
        with pytest.raises(MCPError) as refused:
            await about_task(client, method, result["structuredContent"]["jobid"], **METHODS[method])
    assert result["structuredContent"]["state"] == "running"
    assert "taskId" not in result
    assert refused.value.code == -32601


async def test_the_same_order_again_is_the_same_task_and_one_job(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        first = await called(client, "generate_video", prompt="A fox")
        await pass_time(10)
        again = await called(client, "generate_video", prompt="A fox")
    assert again["taskId"] == first["taskId"]
    assert again["createdAt"] == first["createdAt"]
    assert simulator.requests["POST /videos"] == 1
