"""Any process with the token serves a task, after any fault, and saves the requested files."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from mcp.shared.exceptions import MCPError
from PIL import Image
from tests.clock import pass_time
from tests.server.declaring import TASKS, call_raw, declaring, task_request
from tests.transports import UnreliableTransport

from luma_mcp.simulator.app import Fault
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

VIDEO = MEDIA / "16x9-5s-sdr.mp4"
JOURNALS = [("off", "off"), ("a.db", "b.db"), ("a.db", "a.db")]


@pytest.fixture
def tasks(server: Server, tmp_path: Path) -> Server:
    """Connects a client that supports tasks to a server with the given journal."""

    def start(journal: str = "a.db", transport: Any = None) -> Client:
        path = journal if journal == "off" else str(tmp_path / journal)
        return declaring(server(transport=transport, LUMA_MCP_JOURNAL=path), TASKS)

    return start


@pytest.mark.parametrize(("first", "second"), JOURNALS, ids=["no journal", "another journal", "one journal"])
@pytest.mark.parametrize("behavior", ["", " simulate:fail"], ids=["a video", "a failure"])
async def test_another_process_serves_the_task(tasks: Server, first: str, second: str, behavior: str) -> None:
    async with tasks(first) as client:
        task = await call_raw(client, "generate_video", prompt=f"A fox{behavior}")
    async with tasks(second) as client:
        working = await task_request(client, "tasks/get", task["taskId"])
        assert (working["taskId"], working["status"]) == (task["taskId"], "working")
        assert working["createdAt"] == task["createdAt"]
        assert await task_request(client, "tasks/cancel", task["taskId"]) == {"resultType": "complete"}
        await pass_time(100)
        done = await task_request(client, "tasks/get", task["taskId"])
    assert done["status"] == "completed"
    assert done["result"]["isError"] is bool(behavior)
    assert done["result"]["structuredContent"]["jobid"] == task["taskId"]


@pytest.mark.parametrize("journals", [("a.db", "a.db"), ("off", None)], ids=["another process", "no journal"])
async def test_requested_files_are_saved_when_the_task_completes(
    tasks: Server, folder: Path, journals: tuple[str, str | None]
) -> None:
    first, second = journals
    async with tasks(first) as client:
        task = await call_raw(client, "generate_video", prompt="A fox", save=True)
        working = await task_request(client, "tasks/get", task["taskId"])
        assert (working["status"], folder.exists()) == ("working", False)
        await pass_time(100)
        if second is None:
            done = await task_request(client, "tasks/get", task["taskId"])
    if second is not None:
        async with tasks(second) as client:
            done = await task_request(client, "tasks/get", task["taskId"])
    [file] = done["result"]["structuredContent"]["saved_files"]
    assert [Path(file)] == list(folder.iterdir())
    assert Path(file).read_bytes() == VIDEO.read_bytes()


async def test_files_are_not_saved_unless_requested(tasks: Server, folder: Path) -> None:
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox")
        await pass_time(100)
        done = await task_request(client, "tasks/get", task["taskId"])
    assert "saved_files" not in done["result"]["structuredContent"]
    assert not folder.exists()


@pytest.mark.parametrize("seconds", [0, 100], ids=["running", "finished"])
@pytest.mark.parametrize("known", [True, False], ids=["polled before", "never polled"])
async def test_a_network_error_does_not_end_the_task(
    tasks: Server, simulator: Simulator, *, known: bool, seconds: int
) -> None:
    network = UnreliableTransport(simulator)
    async with tasks(transport=network) as client:
        task = await call_raw(client, "generate_video", prompt="A fox")
        if known:
            await task_request(client, "tasks/get", task["taskId"])
        await pass_time(seconds)
        started = anyio.current_time()
        network.faults = [httpx2.ConnectError("refused")] * 30
        with pytest.raises(MCPError) as failure:
            await task_request(client, "tasks/get", task["taskId"])
        assert failure.value.code == -32603
        assert failure.value.error.data == {"kind": "network", "retry": "later"}
        assert anyio.current_time() - started <= 15
        network.faults = []
        await pass_time(100)
        done = await task_request(client, "tasks/get", task["taskId"])
    assert (done["status"], done["result"]["isError"]) == ("completed", False)


async def test_a_rejected_token_does_not_end_the_task(tasks: Server, simulator: Simulator) -> None:
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox")
        simulator.faults.append(Fault("GET", "/jobs", 401, b'{"error":"Unauthorized"}'))
        with pytest.raises(MCPError) as failure:
            await task_request(client, "tasks/get", task["taskId"])
        assert failure.value.code == -32603
        assert (await task_request(client, "tasks/get", task["taskId"]))["status"] == "working"


@pytest.mark.parametrize("resolution", ["draft", "1080p"])
async def test_the_poll_interval_needs_few_requests(tasks: Server, simulator: Simulator, resolution: str) -> None:
    polls = 0
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox", resolution=resolution)
        while task["status"] == "working":
            polls += 1
            interval = task["pollIntervalMs"]
            assert type(interval) is int
            assert 1000 <= interval <= 60_000
            await pass_time(interval / 1000)
            task = await task_request(client, "tasks/get", task["taskId"])
    [job] = simulator.service.jobs.values()
    assert anyio.current_time() - job.seconds <= 10
    assert polls <= 10 + job.seconds / 6
    assert simulator.requests["GET /jobs/…"] <= polls


async def test_a_recovered_order_becomes_a_task(tasks: Server, simulator: Simulator) -> None:
    network = UnreliableTransport(simulator, httpx2.ReadTimeout("no answer"), delivered=True)
    async with tasks(transport=network) as client:
        task = await call_raw(client, "generate_video", prompt="A fox")
        working = await task_request(client, "tasks/get", task["taskId"])
    assert ([task["taskId"]], working["status"]) == (list(simulator.service.jobs), "working")
    assert simulator.requests["POST /videos"] == 1


async def test_a_completed_task_names_image_changes(tasks: Server) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "BMP")
    picture = f"data:image/bmp;base64,{base64.b64encode(file.getvalue()).decode()}"
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox", image_start=picture)
        await pass_time(100)
        result = (await task_request(client, "tasks/get", task["taskId"]))["result"]
    assert list(result["structuredContent"]["image_changes"]) == ["image_start"]
    assert result["structuredContent"]["image_changes"]["image_start"] in result["content"][0]["text"]


async def test_status_message_of_an_overdue_task(tasks: Server) -> None:
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt="A fox simulate:stuck simulate:odd simulate:aged=3600")
        working = await task_request(client, "tasks/get", task["taskId"])
    for each in (task, working):
        assert each["status"] == "working"
        assert "59 minutes more than such videos usually take" in each["statusMessage"]
    assert "waiting, which the API does not document" in working["statusMessage"]


@pytest.mark.parametrize("name", ["null-link", "dead-link"])
async def test_task_without_a_usable_link_is_not_ready(tasks: Server, name: str) -> None:
    async with tasks() as client:
        task = await call_raw(client, "generate_video", prompt=f"A fox simulate:{name}", save=True)
        await pass_time(100)
        done = await task_request(client, "tasks/get", task["taskId"])
    assert done["status"] == "completed"
    assert done["statusMessage"].startswith("The job is completed, but")
    assert done["result"]["structuredContent"]["message"] == done["statusMessage"]
