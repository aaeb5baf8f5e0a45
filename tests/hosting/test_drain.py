"""A server that is being stopped finishes its calls, with both versions of the protocol. It is the real program."""

from __future__ import annotations

import asyncio
import http.client
import re
import signal
import socket
import subprocess
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from mcp import Client
from pydantic import SecretStr
from tests.cli.killable import Address, Api
from tests.cli.serving import STEP_TIMEOUT, content, run_server
from tests.conftest import ERAS, TOKEN

from luma_mcp.api.polling import Waits
from luma_mcp.hosting.drain import LOCAL, cap_waits, find_times
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

MODES = pytest.mark.parametrize("mode", ERAS)
HOSTED: dict[str, Any] = {"LUMA_MCP_PUBLIC_URL": "http://127.0.0.1"}
"""With it, the server is for others than its owner, although it listens on loopback."""
METRICS: dict[str, Any] = {"LUMA_MCP_METRICS_ADDRESS": "127.0.0.1:0"}
STUCK: dict[str, Any] = {"prompt": "A fox simulate:stuck", "wait_seconds": 600}


@pytest.fixture
def anyio_backend() -> str:
    """Calls over real HTTP."""
    return "asyncio"


class Call:
    """A call of `generate_video`. `content`: its result."""

    def __init__(self, url: str, mode: str) -> None:
        self._url, self._mode = url, mode
        self._begun = anyio.Event()
        self.content: dict[str, Any] = {}

    async def wait_until_started(self) -> None:
        """Wait until progress names the job."""
        with anyio.fail_after(STEP_TIMEOUT):
            await self._begun.wait()

    async def run(self, **arguments: Any) -> None:
        async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
            if message and "Job" in message:
                self._begun.set()

        # It is cut where the server is killed.
        with suppress(Exception):
            async with Client(self._url, mode=self._mode) as client:
                # Which it would do before it believes the result, when the server may have ended.
                await client.list_tools()
                result = await client.call_tool("generate_video", arguments, progress_callback=on_progress)
                self.content = content(result)


@asynccontextmanager
async def calling(url: str, mode: str, **arguments: Any) -> AsyncIterator[Call]:
    """Run a call concurrently with the block, and wait for both."""
    call = Call(url, mode)
    async with anyio.create_task_group() as calls:
        calls.start_soon(partial(call.run, **arguments))
        yield call


async def wait_until_ended(process: subprocess.Popen[str]) -> int:
    return await anyio.to_thread.run_sync(process.wait, STEP_TIMEOUT)


def metrics_url(process: subprocess.Popen[str]) -> str:
    """Get the URL of the metrics from the program's output."""
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"http://\S+(?=/metrics)", line):
            return found[0]
    raise AssertionError("it serves no metrics")


async def drain(process: subprocess.Popen[str], operator: str) -> None:
    """Send the signal, and wait until the server drains."""
    process.send_signal(signal.SIGTERM)
    with anyio.fail_after(STEP_TIMEOUT):
        async with httpx2.AsyncClient(base_url=operator) as client:
            answer = await client.get("/readyz")
            while answer.status_code == 200:
                answer = await client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "draining")


class SlowApi(Api):
    """An API that responds to an order when a test releases it."""

    def __init__(self) -> None:
        super().__init__()
        self.ordered, self.released = threading.Event(), threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            self.ordered.set()
            await asyncio.to_thread(self.released.wait, STEP_TIMEOUT)
        await super().__call__(scope, receive, send)


@contextmanager
def serving(api: Api) -> Iterator[dict[str, Any]]:
    """Serve an API. Yields the settings for it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = Address(listener)
        with address.serving(api):
            yield {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": f"{address.origin}{PREFIX}"}


@MODES
@pytest.mark.parametrize("settings", [{}, HOSTED | {"LUMA_MCP_DRAIN_SECONDS": "6"}], ids=["owner", "hosted"])
async def test_long_wait_returns_the_running_job(mode: str, settings: dict[str, Any]) -> None:
    with run_server("--simulate", **settings) as (url, process):
        async with calling(url, mode, **STUCK) as call:
            await call.wait_until_started()
            process.send_signal(signal.SIGTERM)
        assert call.content.get("state") == "running", call.content
        assert call.content["jobid"]
        assert call.content["next_action"] == "get_job"
        assert await wait_until_ended(process) in (-signal.SIGTERM, 128 + signal.SIGTERM)


@MODES
async def test_a_job_that_ends_during_the_drain_is_returned(mode: str) -> None:
    api = Api()
    with serving(api) as settings, run_server(**settings, **HOSTED) as (url, process):
        async with calling(url, mode, prompt="A fox", wait_seconds=40) as call:
            await call.wait_until_started()
            process.send_signal(signal.SIGTERM)
            api.now += 600
        assert call.content["state"] == "completed"
        await wait_until_ended(process)


@MODES
async def test_a_new_call_does_not_wait_during_the_drain(mode: str) -> None:
    with run_server("--simulate", **HOSTED, **METRICS) as (url, process):
        operator, second = metrics_url(process), Call(url, mode)
        async with calling(url, mode, **STUCK) as first:
            await first.wait_until_started()
            await drain(process, operator)
            assert httpx2.get(f"{operator}/livez").status_code == 200
            assert "luma_mcp_draining 1.0" in httpx2.get(f"{operator}/metrics").text
            await second.run(prompt="An owl simulate:stuck", wait_seconds=600)
            assert second.content["state"] == "running"
            assert not first.content, "it should go on waiting"
            process.kill()


async def test_a_client_that_tried_to_listen_keeps_its_connection() -> None:
    """Clients of the older protocol try it at the beginning, and send their calls on the same connection."""
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    with run_server("--simulate", **HOSTED, **METRICS) as (url, process):
        operator, connection = metrics_url(process), http.client.HTTPConnection(urlsplit(url).netloc)
        async with calling(url, ERAS[1], **STUCK) as call:
            await call.wait_until_started()
            connection.request("GET", "/mcp", headers=headers)
            connection.getresponse().read()
            await drain(process, operator)
            connection.request("POST", "/mcp", '{"jsonrpc": "2.0", "id": 1, "method": "ping"}', headers)
            assert connection.getresponse().status == 200
            connection.close()
            process.kill()


@MODES
async def test_order_in_flight_is_finished(mode: str) -> None:
    api = SlowApi()
    with serving(api) as settings, run_server(**settings, **METRICS) as (url, process):
        async with calling(url, mode, prompt="A fox", wait_seconds=40) as call:
            assert await anyio.to_thread.run_sync(api.ordered.wait, STEP_TIMEOUT)
            await drain(process, metrics_url(process))
            api.released.set()
        assert call.content["outcome"] == "created"
        assert len(api.orders) == 1
        await wait_until_ended(process)


@MODES
async def test_order_that_takes_too_long_still_gets_its_response(mode: str, tmp_path: Path) -> None:
    api = SlowApi()
    order: dict[str, Any] = {"prompt": "A fox", "wait_seconds": 0}
    journal = {"LUMA_MCP_DRAIN_SECONDS": "0", "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db")}
    with serving(api) as credential:
        settings = credential | HOSTED | journal
        with run_server(**settings) as (url, process):
            async with calling(url, mode, **order) as call:
                assert await anyio.to_thread.run_sync(api.ordered.wait, STEP_TIMEOUT)
                process.send_signal(signal.SIGTERM)
            # The client was cut off, and the order goes on.
            assert not call.content
            with pytest.raises(subprocess.TimeoutExpired):
                await anyio.to_thread.run_sync(process.wait, 1)
            api.released.set()
            await wait_until_ended(process)
        with run_server(**settings) as (url, _):
            again = Call(url, mode)
            await again.run(**order)
    assert again.content["outcome"] == "duplicate"
    assert len(api.orders) == 1


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(second: signal.Signals) -> None:
    with run_server("--simulate", **HOSTED, **METRICS) as (url, process):
        operator = metrics_url(process)
        async with calling(url, ERAS[1], **STUCK) as call:
            await call.wait_until_started()
            await drain(process, operator)
            process.send_signal(second)
            assert await wait_until_ended(process) == 128 + second
        assert not call.content


def hosted(**settings: Any) -> Settings:
    return Settings(public_url="https://video.example.com", **settings)


def test_waits_end_before_the_drain_does() -> None:
    assert cap_waits(hosted()).max_wait_seconds == 45
    assert cap_waits(hosted(drain_seconds=300)).max_wait_seconds == 285
    assert cap_waits(hosted(drain_seconds=10)).max_wait_seconds == 5
    assert cap_waits(hosted(drain_seconds=0)).max_wait_seconds == 0
    assert cap_waits(hosted(max_wait_seconds=10)).max_wait_seconds == 10
    assert cap_waits(Settings(has_local_files=False)).max_wait_seconds == 45


def test_the_owner_of_a_server_waits_as_long_as_before() -> None:
    assert cap_waits(Settings(drain_seconds=4)).max_wait_seconds == Settings().max_wait_seconds
    assert find_times(Settings(drain_seconds=4)) is LOCAL


def test_replicas_accept_calls_until_load_balancers_notice() -> None:
    alone, replica = find_times(hosted()), find_times(hosted(journal=SecretStr("postgresql://db/luma")))
    assert (replica.least, replica.accepting) == (6, 6)
    # Nobody else serves the clients of a single server.
    assert (alone.least, alone.accepting) == (0, 59)


async def test_waits_end_together() -> None:
    waits, ended = Waits(), []

    async def wait(seconds: float) -> None:
        with waits.until(anyio.current_time() + seconds):
            await anyio.sleep(seconds + 1)
        ended.append(seconds)

    with anyio.fail_after(STEP_TIMEOUT):
        async with anyio.create_task_group() as tasks:
            for seconds in (0.01, 600, 700):
                tasks.start_soon(wait, seconds)
            await anyio.wait_all_tasks_blocked()
            assert (waits.count, waits.is_ending) == (3, False)
            waits.end(anyio.current_time() + 0.02)
            assert waits.is_ending
        with waits.until(anyio.current_time() + 600):
            await anyio.sleep(600)
    assert sorted(ended) == [0.01, 600, 700]
    assert waits.count == 0
