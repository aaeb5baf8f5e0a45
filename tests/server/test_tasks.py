"""Tasks: a client that supports them gets a task at once, and polls it until the video is ready.

`test_task_servers.py` is about which process answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from tests.clock import pass_time
from tests.conftest import BOTH_APIS
from tests.server.declaring import TASKS, call_raw, declaring, request_raw, task_request

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

UNKNOWN = {
    "no jobid at all": "task-1",
    "unknown job": "j1v-u12345-email:studio@example.com-bot:luma",
    "another user's": "j1v-u99999-email:else@example.com-bot:luma",
    "empty": "",
    "a path": "../accounts",
}
METHODS: dict[str, dict[str, Any]] = {"tasks/get": {}, "tasks/cancel": {}, "tasks/update": {"inputResponses": {}}}


@pytest.fixture
def tasks(server: Server) -> Server:
    """Connects a client that supports tasks."""

    def start(**options: Any) -> Client:
        return declaring(server(**options), TASKS)

    return start


@BOTH_APIS
@pytest.mark.parametrize("wait", [{}, {"wait_seconds": 300}], ids=["no wait", "a long wait"])
async def test_an_order_returns_a_task_at_once(tasks: Server, simulator: Simulator, wait: dict[str, int]) -> None:
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox", **wait)
    [jobid] = simulator.service.jobs
    assert anyio.current_time() == 0
    assert task.pop("statusMessage")
    assert 1000 <= task.pop("pollIntervalMs") <= 10_000
    assert task == {
        "resultType": "task",
        "taskId": jobid,
        "status": "working",
        "createdAt": "2026-11-22T00:00:00Z",
        "lastUpdatedAt": "2026-11-22T00:00:00Z",
        "ttlMs": None,
    }


async def test_a_task_is_working_until_its_video_is_ready(tasks: Server) -> None:
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox")
        await pass_time(20)
        working = await task_request(client, "tasks/get", task["taskId"])
        await pass_time(60)
        done = await task_request(client, "tasks/get", task["taskId"])
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
async def test_a_completed_task_has_the_result_of_the_tool(
    server: Server, tasks: Server, *, arguments: dict[str, str], failed: bool, thumbnails: str
) -> None:
    async with server(LUMA_MCP_THUMBNAILS=thumbnails) as client:
        result = await call_raw(client, "generate_video", **{"prompt": "A fox", "wait_seconds": 300, **arguments})
    async with tasks(LUMA_MCP_THUMBNAILS=thumbnails) as client:
        task = await task_request(client, "tasks/get", result["structuredContent"]["jobid"])
    assert task["status"] == "completed"
    # A task is about a job, not about one call. So it lacks the outcome of the call.
    for name in ("outcome", "charged"):
        del result["structuredContent"][name]
    assert task["result"] == result
    assert task["result"]["isError"] is failed
    assert "error" not in task


@pytest.mark.parametrize("task_id", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("method", METHODS)
async def test_an_unknown_task_is_invalid(tasks: Server, method: str, task_id: str) -> None:
    async with tasks() as client:
        with pytest.raises(MCPError) as rejected:
            await task_request(client, method, task_id, **METHODS[method])
    assert rejected.value.code == -32602
    assert rejected.value.message


@pytest.mark.parametrize("params", [{}, {"taskId": None}, {"taskId": ["j1"]}], ids=["none", "null", "a list"])
@pytest.mark.parametrize("method", METHODS)
async def test_a_request_without_a_task_id_is_invalid(
    tasks: Server, simulator: Simulator, method: str, params: dict[str, Any]
) -> None:
    async with tasks() as client:
        with pytest.raises(MCPError) as rejected:
            await request_raw(client, method, **METHODS[method], **params)
    assert rejected.value.code == -32602
    assert simulator.requests.total() == 0


@pytest.mark.parametrize("method", METHODS)
async def test_an_image_job_is_not_a_task(tasks: Server, simulator: Simulator, method: str) -> None:
    body = b'{"jobid":"j1","type":"image","status":"processing"}'
    simulator.faults.append(Fault("GET", "/jobs", 200, body))
    async with tasks() as client:
        with pytest.raises(MCPError, match="image") as rejected:
            await task_request(client, method, "j1", **METHODS[method])
    assert rejected.value.code == -32602


@BOTH_APIS
async def test_a_cancelled_task_continues(tasks: Server, simulator: Simulator) -> None:
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox")
        assert await task_request(client, "tasks/cancel", task["taskId"]) == {"resultType": "complete"}
        assert (await task_request(client, "tasks/get", task["taskId"]))["status"] == "working"
        await pass_time(100)
        assert (await task_request(client, "tasks/get", task["taskId"]))["status"] == "completed"
        assert await task_request(client, "tasks/cancel", task["taskId"]) == {"resultType": "complete"}
        assert (await task_request(client, "tasks/get", task["taskId"]))["status"] == "completed"
    assert list(simulator.service.jobs) == [task["taskId"]]
    assert not any(request.startswith("DELETE") for request in simulator.requests)


async def test_unexpected_answers_change_nothing(tasks: Server) -> None:
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox")
        answers = {"colour": {"action": "accept", "content": {"colour": "red"}}}
        assert await task_request(client, "tasks/update", task["taskId"], inputResponses=answers) == {
            "resultType": "complete"
        }
        assert (await task_request(client, "tasks/get", task["taskId"]))["status"] == "working"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"prompt": "A fox", "dynamic_range": "hdr", "duration": "10s"}, "invalid_arguments"),
        ({}, "invalid_arguments"),
        ({"prompt": "A fox simulate:moderate"}, "moderated"),
        ({"prompt": "A fox simulate:busy"}, "capacity"),
    ],
    ids=["an invalid combination", "no prompt", "rejected by the API", "no free slot"],
)
async def test_a_rejected_order_creates_no_task(
    tasks: Server, simulator: Simulator, arguments: dict[str, str], kind: str
) -> None:
    async with tasks() as client:
        result = await call_raw(client, "generate_video", **arguments)
    assert (result["resultType"], result["isError"]) == ("complete", True)
    assert result["structuredContent"]["error"]["kind"] == kind
    assert "taskId" not in result
    assert simulator.service.jobs == {}


async def test_only_an_order_becomes_a_task(tasks: Server) -> None:
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox")
        for tool, arguments in (("get_job", {"jobid": task["taskId"], "wait_seconds": 0}), ("list_jobs", {})):
            result = await call_raw(client, tool, **arguments)
            assert (result["resultType"], result["isError"]) == ("complete", False)
            assert "taskId" not in result


@pytest.mark.parametrize("method", METHODS)
async def test_tasks_must_be_declared(server: Server, method: str) -> None:
    async with server() as client:
        result = await call_raw(client, "generate_video", prompt="A fox", wait_seconds=0)
        jobid = result["structuredContent"]["jobid"]
        with pytest.raises(MCPError) as rejected:
            await task_request(client, method, jobid, **METHODS[method])
    assert result["resultType"] == "complete"
    assert rejected.value.code == -32021
    assert rejected.value.error.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}


@pytest.mark.parametrize("method", METHODS)
async def test_the_legacy_protocol_has_no_tasks(tasks: Server, method: str) -> None:
    async with tasks(mode="legacy") as client:
        result = await call_raw(client, "generate_video", prompt="A fox", wait_seconds=0)
        with pytest.raises(MCPError) as rejected:
            await task_request(client, method, result["structuredContent"]["jobid"], **METHODS[method])
    assert result["structuredContent"]["state"] == "running"
    assert "taskId" not in result
    assert rejected.value.code == -32601


async def test_a_repeated_order_is_the_same_task(tasks: Server, simulator: Simulator) -> None:
    async with tasks() as client:
        first = await call_raw(client, "generate_video", prompt="A fox")
        await pass_time(10)
        again = await call_raw(client, "generate_video", prompt="A fox")
    assert again["taskId"] == first["taskId"]
    assert again["createdAt"] == first["createdAt"]
    assert simulator.requests["POST /videos"] == 1


@BOTH_APIS
async def test_the_result_of_a_task_states_the_charge(tasks: Server, tmp_path: Path) -> None:
    """It also warns that the order could not be recorded."""
    folder = tmp_path / "no file"
    folder.mkdir()
    async with tasks(LUMA_MCP_JOURNAL=str(folder)) as client:
        task = await call_raw(client, "generate_video", prompt="A fox")
        again = await call_raw(client, "generate_video", prompt="A fox", new_take=True)
        await pass_time(100)
        results = [await task_request(client, "tasks/get", each["taskId"]) for each in (task, again)]
    for result in results:
        content = result["result"]["structuredContent"]
        assert (content["outcome"], content["charged"]) == ("created", "yes")
        assert "cannot be used at present" in content["warnings"][0]
