"""A task over stdin and stdout is continued by the next process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from tests.cli.serving import SERVE, STEP_TIMEOUT
from tests.conftest import EMAIL, TOKEN
from tests.server.declaring import TASKS, call_raw, declaring, task_request

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.simulator.app import Simulator, running
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_task_outlives_its_process(tmp_path: Path) -> None:
    now = [0.0]
    service = Service(USEAPI, clock=lambda: now[0])
    service.add_account(EMAIL)
    with running(Simulator(service, token=TOKEN)) as base_url, anyio.fail_after(STEP_TIMEOUT):
        environment = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": base_url, "LUMA_MCP_THUMBNAILS": "0"}
        environment |= {"LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"), "LUMA_MCP_OUTPUT_DIR": str(tmp_path / "Luma")}
        server = StdioServerParameters(command=SERVE[0], args=SERVE[1:], env=environment)
        async with declaring(Client(server, mode="2026-07-28"), TASKS) as client:
            task = await call_raw(client, "generate_video", prompt="A fox", save=True)
            assert (await task_request(client, "tasks/get", task["taskId"]))["status"] == "working"
        now[0] = 100.0
        async with declaring(Client(server, mode="2026-07-28"), TASKS) as client:
            done = await task_request(client, "tasks/get", task["taskId"])
    assert (done["taskId"], done["status"]) == (task["taskId"], "completed")
    assert done["result"]["structuredContent"]["saved_files"] == [str(file) for file in (tmp_path / "Luma").iterdir()]
