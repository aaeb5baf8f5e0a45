"""Failures of real sockets: refused, broken off, no TLS, no such name."""

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
    """A port where something listens that does not speak TLS, nor HTTP: it says one line and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"hello\r\n")
        except OSError:
            return

    thread = threading.Thread(target=answer)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def order_failure(base_url: str) -> errors.LumaError:
    async with LumaClient("user:1-abc", base_url=base_url) as luma:
        with pytest.raises(errors.LumaError) as caught:
            await luma.submit(FOX, retry_timeout=0)
    return caught.value


async def test_a_refused_connection_costs_nothing() -> None:
    error = await order_failure("http://127.0.0.1:9")
    assert isinstance(error, errors.NetworkError)
    assert (error.stage, error.charged) == ("refused", "no")


async def test_a_failed_tls_handshake_costs_nothing(plain_listener: int) -> None:
    error = await order_failure(f"https://127.0.0.1:{plain_listener}")
    assert isinstance(error, errors.NetworkError)
    assert (error.stage, error.charged) == ("tls", "no")


async def test_an_order_to_something_else_than_http_is_unknown(plain_listener: int) -> None:
    error = await order_failure(f"http://127.0.0.1:{plain_listener}")
    assert (error.kind, error.charged) == ("outcome_unknown", "unknown")


async def test_an_unknown_name_costs_nothing() -> None:
    """As the transport raises it: a real lookup would leave this machine."""

    class Nowhere(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            fault = httpx2.ConnectError("[Errno -2] Name or service not known", request=request)
            raise fault from socket.gaierror(-2, "Name or service not known")

    with pytest.raises(errors.NetworkError) as caught:
        await client_of(Nowhere()).submit(FOX, retry_timeout=0)
    assert (caught.value.stage, caught.value.charged) == ("dns", "no")


async def test_an_api_on_this_machine_is_not_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with running(new_simulator()) as base_url:
        async with LumaClient("user:1-abc", base_url=base_url) as luma:
            assert (await luma.submit(FOX, retry_timeout=0)).state == "running"


async def test_a_read_that_breaks_off_is_repeated() -> None:
    simulator = new_simulator()
    with running(simulator) as base_url:
        async with LumaClient("user:1-abc", base_url=base_url, jitter=lambda: 0.0) as luma:
            job = await luma.submit(FOX)
            simulator.faults.append(Fault("GET", "/jobs", 200, b'{"jobid":', {"content-length": "900"}))
            assert (await luma.get(job.jobid)).jobid == job.jobid
    assert simulator.requests["GET /jobs/…"] == 2
