"""Failures of real sockets, as they are told: refused, broken off, no TLS, no such name."""

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
from luma_mcp.simulator.app import Fault
from luma_mcp.simulator.serve import new_simulator, running

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


async def failure(base_url: str) -> errors.LumaError:
    async with LumaClient("user:1-abc", base_url=base_url) as luma:
        with pytest.raises(errors.LumaError) as caught:
            await luma.submit(FOX, patience=0)
    return caught.value


async def test_a_refused_connection_spends_nothing() -> None:
    error = await failure("http://127.0.0.1:9")
    assert error.kind == "network"
    assert "refused" in error.message
    assert "nothing was spent" in error.message


async def test_tls_that_fails_is_told_as_such_and_spends_nothing(plain_listener: int) -> None:
    error = await failure(f"https://127.0.0.1:{plain_listener}")
    assert error.kind == "network"
    assert "TLS" in error.message
    assert "nothing was spent" in error.message


async def test_something_that_does_not_speak_http_may_have_taken_the_order(plain_listener: int) -> None:
    error = await failure(f"http://127.0.0.1:{plain_listener}")
    assert error.kind == "outcome_unknown"


async def test_a_name_that_does_not_exist_is_told_as_such_and_spends_nothing() -> None:
    """As the transport raises it: a real look-up would leave this machine."""

    class Nowhere(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            fault = httpx2.ConnectError("[Errno -2] Name or service not known", request=request)
            raise fault from socket.gaierror(-2, "Name or service not known")

    with pytest.raises(errors.NetworkError) as caught:
        await client_of(Nowhere()).submit(FOX, patience=0)
    assert "DNS" in caught.value.message
    assert "nothing was spent" in caught.value.message


async def test_an_api_on_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with running(new_simulator()) as base_url:
        async with LumaClient("user:1-abc", base_url=base_url) as luma:
            assert (await luma.submit(FOX, patience=0)).state == "running"


async def test_an_answer_that_breaks_off_is_read_again_when_only_reading() -> None:
    simulator = new_simulator()
    with running(simulator) as base_url:
        async with LumaClient("user:1-abc", base_url=base_url, chance=lambda: 0.0) as luma:
            job = await luma.submit(FOX)
            simulator.faults.append(Fault("GET", "/jobs", 200, b'{"jobid":', {"content-length": "900"}))
            assert (await luma.get(job.jobid)).jobid == job.jobid
    assert simulator.requests["GET /jobs/…"] == 2
