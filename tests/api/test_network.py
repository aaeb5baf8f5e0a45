"""Failures of real sockets: refused and broken connections, no TLS, unknown names."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.conftest import client_of

from luma_mcp import errors
from luma_mcp.api.protocol import VideoRequest
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.simulator.app import Fault, new_simulator, running

if TYPE_CHECKING:
    from collections.abc import Iterator

FOX = VideoRequest(prompt="A fox")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def plain_listener() -> Iterator[int]:
    """A port with a server that supports neither TLS nor HTTP: it sends one line and closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"hello\r\n")
        except OSError:
            return

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def submit_and_fail(base_url: str) -> errors.LumaError:
    async with LumaClient("user:1-abc", base_url=base_url) as luma:
        with pytest.raises(errors.LumaError) as caught:
            await luma.submit(FOX, retry_timeout=0)
    return caught.value


async def test_refused_connection_costs_nothing() -> None:
    error = await submit_and_fail("http://127.0.0.1:9")
    assert isinstance(error, errors.NetworkError)
    assert (error.stage, error.charged) == ("refused", "no")


async def test_failed_tls_handshake_costs_nothing(plain_listener: int) -> None:
    error = await submit_and_fail(f"https://127.0.0.1:{plain_listener}")
    assert isinstance(error, errors.NetworkError)
    assert (error.stage, error.charged) == ("tls", "no")


async def test_outcome_of_an_order_to_another_protocol_is_unknown(plain_listener: int) -> None:
    error = await submit_and_fail(f"http://127.0.0.1:{plain_listener}")
    assert (error.kind, error.charged) == ("outcome_unknown", "unknown")


async def test_unknown_name_costs_nothing() -> None:
    """The transport raises the error, because a real lookup would leave this machine."""

    class FailingLookup(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            fault = httpx2.ConnectError("[Errno -2] Name or service not known", request=request)
            raise fault from socket.gaierror(-2, "Name or service not known")

    with pytest.raises(errors.NetworkError) as caught:
        await client_of(FailingLookup()).submit(FOX, retry_timeout=0)
    assert (caught.value.stage, caught.value.charged) == ("dns", "no")


async def test_api_on_this_machine_is_called_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with running(new_simulator()) as base_url:
        async with LumaClient("user:1-abc", base_url=base_url) as luma:
            assert (await luma.submit(FOX, retry_timeout=0)).state == "running"


async def test_interrupted_read_is_repeated() -> None:
    simulator = new_simulator()
    with running(simulator) as base_url:
        async with LumaClient("user:1-abc", base_url=base_url, jitter=lambda: 0.0) as luma:
            job = await luma.submit(FOX)
            simulator.faults.append(Fault("GET", "/jobs", 200, b'{"jobid":', {"content-length": "900"}))
            assert (await luma.get(job.jobid)).jobid == job.jobid
    assert simulator.requests["GET /jobs/…"] == 2
