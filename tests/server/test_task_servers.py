"""Who serves a task: any process with the token, after any fault, with the files that were wanted."""

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
from tests.conftest import TOKEN
from tests.server.declaring import TASKS, about_task, called, declaring
from tests.transports import Unreliable

from luma_mcp.simulator.app import Fault
from luma_mcp.simulator.records import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

VIDEO = MEDIA / "16x9-5s-sdr.mp4"
JOURNALS = [("off", "off"), ("a.db", "b.db"), ("a.db", "a.db")]


@pytest.fixture
def server(connect: Server, tmp_path: Path) -> Server:
    """A server with the journal of that name, and a client that takes tasks."""

    def start(journal: str = "a.db", transport: Any = None) -> Client:
        own = {"LUMA_MCP_JOURNAL": "off" if journal == "off" else str(tmp_path / journal)}
        own["LUMA_MCP_OUTPUT_DIR"] = str(tmp_path / "Luma")
        return declaring(connect(transport=transport, environment={"USEAPI_TOKEN": TOKEN, **own}), TASKS)

    return start


@pytest.mark.parametrize(("first", "second"), JOURNALS, ids=["no journal", "another's journal", "one journal"])
@pytest.mark.parametrize("wish", ["", " simulate:fail"], ids=["a video", "a failure"])
async def test_another_process_serves_the_task(server: Server, first: str, second: str, wish: str) -> None:
    async with server(first) as client:
        task = await called(client, "generate_video", prompt=f"A fox{wish}")
    async with server(second) as client:
        working = await about_task(client, "tasks/get", task["taskId"])
        assert (working["taskId"], working["status"]) == (task["taskId"], "working")
        assert working["createdAt"] == task["createdAt"]
        assert await about_task(client, "tasks/cancel", task["taskId"]) == {"resultType": "complete"}
        await pass_time(100)
        done = await about_task(client, "tasks/get", task["taskId"])
    assert done["status"] == "completed"
    assert done["result"]["isError"] is bool(wish)
    assert done["result"]["structuredContent"]["jobid"] == task["taskId"]


@pytest.mark.parametrize("journals", [("a.db", "a.db"), ("off", None)], ids=["another process", "no journal"])
async def test_files_that_the_order_wanted_are_saved_when_the_task_completes(
    server: Server, tmp_path: Path, journals: tuple[str, str | None]
) -> None:
    first, second = journals
    async with server(first) as client:
        task = await called(client, "generate_video", prompt="A fox", save=True)
        working = await about_task(client, "tasks/get", task["taskId"])
        assert (working["status"], (tmp_path / "Luma").exists()) == ("working", False)
        await pass_time(100)
        if second is None:
            done = await about_task(client, "tasks/get", task["taskId"])
    if second is not None:
        async with server(second) as client:
            done = await about_task(client, "tasks/get", task["taskId"])
    [file] = done["result"]["structuredContent"]["saved_files"]
    assert [Path(file)] == list((tmp_path / "Luma").iterdir())
    assert Path(file).read_bytes() == VIDEO.read_bytes()


async def test_without_the_wish_no_file_is_saved(server: Server, tmp_path: Path) -> None:
    async with server() as client:
        task = await called(client, "generate_video", prompt="A fox")
        await pass_time(100)
        done = await about_task(client, "tasks/get", task["taskId"])
    assert "saved_files" not in done["result"]["structuredContent"]
    assert not (tmp_path / "Luma").exists()


@pytest.mark.parametrize("seconds", [0, 100], ids=["while it runs", "when it is there"])
@pytest.mark.parametrize("known", [True, False], ids=["a job it has seen", "a job it never saw"])
async def test_trouble_on_the_way_to_the_api_is_an_error_and_not_the_end_of_the_task(
    server: Server, simulator: Simulator, *, known: bool, seconds: int
) -> None:
    way = Unreliable(simulator)
    async with server(transport=way) as client:
        task = await called(client, "generate_video", prompt="A fox")
        if known:
            await about_task(client, "tasks/get", task["taskId"])
        await pass_time(seconds)
        begun = anyio.current_time()
        way.faults = [httpx2.ConnectError("refused")] * 30
        with pytest.raises(MCPError) as trouble:
            await about_task(client, "tasks/get", task["taskId"])
        assert trouble.value.code == -32603
        assert trouble.value.error.data == {"kind": "network", "retry": "later"}
        assert anyio.current_time() - begun <= 15
        way.faults = []
        await pass_time(100)
        done = await about_task(client, "tasks/get", task["taskId"])
    assert (done["status"], done["result"]["isError"]) == ("completed", False)


async def test_a_token_that_is_refused_is_an_error_and_not_the_end_of_the_task(
    server: Server, simulator: Simulator
) -> None:
    async with server() as client:
        task = await called(client, "generate_video", prompt="A fox")
        simulator.faults.append(Fault("GET", "/jobs", 401, b'{"error":"Unauthorized"}'))
        with pytest.raises(MCPError) as trouble:
            await about_task(client, "tasks/get", task["taskId"])
        assert trouble.value.code == -32603
        assert (await about_task(client, "tasks/get", task["taskId"]))["status"] == "working"


@pytest.mark.parametrize("resolution", ["draft", "1080p"])
async def test_a_client_that_asks_as_often_as_it_is_told_has_the_video_soon_with_few_requests(
    server: Server, simulator: Simulator, resolution: str
) -> None:
    asked = 0
    async with server() as client:
        task = await called(client, "generate_video", prompt="A fox", resolution=resolution)
        while task["status"] == "working":
            asked += 1
            pause = task["pollIntervalMs"]
            assert type(pause) is int
            assert 1000 <= pause <= 60_000
            await pass_time(pause / 1000)
            task = await about_task(client, "tasks/get", task["taskId"])
    [job] = simulator.service.jobs.values()
    assert anyio.current_time() - job.seconds <= 10
    assert asked <= 10 + job.seconds / 6
    assert simulator.requests["GET /jobs/…"] <= asked


async def test_an_order_whose_answer_is_lost_is_found_and_becomes_a_task(server: Server, simulator: Simulator) -> None:
    way = Unreliable(simulator, httpx2.ReadTimeout("no answer"), delivered=True)
    async with server(transport=way) as client:
        task = await called(client, "generate_video", prompt="A fox")
        working = await about_task(client, "tasks/get", task["taskId"])
    assert ([task["taskId"]], working["status"]) == (list(simulator.service.jobs), "working")
    assert simulator.requests["POST /videos"] == 1


async def test_what_was_done_to_a_picture_is_told_when_the_task_completes(server: Server) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "BMP")
    picture = f"data:image/bmp;base64,{base64.b64encode(file.getvalue()).decode()}"
    async with server() as client:
        task = await called(client, "generate_video", prompt="A fox", image_start=picture)
        await pass_time(100)
        result = (await about_task(client, "tasks/get", task["taskId"]))["result"]
    assert list(result["structuredContent"]["image_changes"]) == ["image_start"]
    assert result["structuredContent"]["image_changes"]["image_start"] in result["content"][0]["text"]
