"""`luma-ray-mcp serve --http` with requests that are never complete, too large, or too many."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio.to_thread
import httpx2
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from tests.cli.serving import STEP_TIMEOUT, read_to_end, run_server

from luma_mcp.hosting.http import BoundedProtocol, listen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

HEAD = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n"
INCOMPLETE_REQUESTS = [
    b"",
    b"P",
    b"POST /mcp HTTP/1.1\r\n",
    HEAD,
    HEAD + b"X-Long: " + b"a" * 1000,
    HEAD + b"Content-Length: 5\r\n\r\n",
    HEAD + b"Content-Length: 5\r\n\r\n{}",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    # After a complete request on the same connection.
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + HEAD,
]


class ImpatientProtocol(BoundedProtocol):
    """The protocol with short time limits."""

    head_timeout = body_timeout = answer_timeout = 0.3
    max_connections = 5


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    await PlainTextResponse(await request.body() or b"nothing")(scope, receive, send)


@contextmanager
def serve_with_short_limits(app: ASGIApp = echo) -> Iterator[int]:
    """Run a server with short time limits in a thread, and yield its port."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http=ImpatientProtocol, ws="none", lifespan="off", log_config=None, timeout_keep_alive=STEP_TIMEOUT
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("sent", INCOMPLETE_REQUESTS, ids=repr)
def test_a_request_that_is_never_complete_is_not_kept(sent: bytes) -> None:
    with (
        serve_with_short_limits() as port,
        socket.create_connection(("127.0.0.1", port), timeout=STEP_TIMEOUT) as connection,
    ):
        connection.sendall(sent)
        assert b"500" not in read_to_end(connection)
        assert httpx2.get(f"http://127.0.0.1:{port}/", timeout=STEP_TIMEOUT).text == "nothing"


def test_a_request_that_trickles_in_is_not_kept() -> None:
    with (
        serve_with_short_limits() as port,
        socket.create_connection(("127.0.0.1", port), timeout=STEP_TIMEOUT) as connection,
    ):
        connection.sendall(HEAD)
        ended = threading.Event()

        def trickle() -> None:
            try:
                while not ended.wait(0.02):
                    connection.sendall(b"X-A: b\r\n")
            except OSError:
                ended.set()

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert read_to_end(connection) == b""
        finally:
            ended.set()
            thread.join()


def test_half_sent_requests_keep_nobody_out() -> None:
    with serve_with_short_limits() as port:
        held = [socket.create_connection(("127.0.0.1", port), timeout=STEP_TIMEOUT) for _ in range(50)]
        for connection in held:
            connection.sendall(HEAD[:30])
        assert httpx2.get(f"http://127.0.0.1:{port}/", timeout=STEP_TIMEOUT).text == "nothing"
        for connection in held:
            with connection:
                assert read_to_end(connection) == b""


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"], ids=["kept alive", "closed"])
def test_answers_that_nobody_reads_keep_nobody_out(last: bytes) -> None:
    ended = threading.Semaphore(0)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        large = scope["path"] == "/large"
        await PlainTextResponse(b"a" * 8_000_000 if large else b"small")(scope, receive, send)
        if large:
            ended.release()

    with serve_with_short_limits(answer) as port, ExitStack() as stack:
        for _ in range(ImpatientProtocol.max_connections + 3):
            connection = socket.create_connection(("127.0.0.1", port), timeout=STEP_TIMEOUT)
            stack.enter_context(connection)
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n" + last + b"\r\n")
            assert ended.acquire(timeout=STEP_TIMEOUT)
        assert httpx2.get(f"http://127.0.0.1:{port}/", timeout=STEP_TIMEOUT).text == "small"


def test_one_call_too_many_is_refused_and_none_is_cut() -> None:
    held, answered = threading.Semaphore(0), threading.Event()

    async def hold(scope: Scope, receive: Receive, send: Send) -> None:
        held.release()
        await anyio.to_thread.run_sync(answered.wait)
        await PlainTextResponse("done")(scope, receive, send)

    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with serve_with_short_limits(hold) as port, ExitStack() as stack:
        connections: list[socket.socket] = []
        for number in range(ImpatientProtocol.max_connections + 3):
            connection = socket.create_connection(("127.0.0.1", port), timeout=STEP_TIMEOUT)
            connections.append(stack.enter_context(connection))
            connection.sendall(request)
            if number < ImpatientProtocol.max_connections:
                assert held.acquire(timeout=STEP_TIMEOUT)
        answers = [read_to_end(connection) for connection in connections[ImpatientProtocol.max_connections :]]
        answered.set()
        answers += [read_to_end(connection) for connection in connections[: ImpatientProtocol.max_connections]]
    assert [answer[9:12] for answer in answers] == [b"503"] * 3 + [b"200"] * ImpatientProtocol.max_connections


async def test_answers_are_sent_at_once() -> None:
    """Nagle's algorithm is off: it would delay the rest of a response until the client's acknowledgement."""
    seen: list[int] = []
    ready = asyncio.Event()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        ready.set()

    listener = listen("127.0.0.1", 0)
    async with await asyncio.start_server(accept, sock=listener):
        with socket.create_connection(listener.getsockname()):
            await ready.wait()
    assert [value != 0 for value in seen] == [True]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_server("--simulate") as (url, _):
        yield url


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_is_too_large_is_refused(url: str, framing: str) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": "a" * 6_000_000}}).encode()
    content = body if framing == "length" else iter([body[:1_000_000], body[1_000_000:]])
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    # Or the server closes the connection before it has read everything.
    with suppress(httpx2.HTTPError):
        assert httpx2.post(url, content=content, headers=headers, timeout=STEP_TIMEOUT).status_code == 413
    assert httpx2.get(url.removesuffix("/mcp"), timeout=STEP_TIMEOUT).status_code == 404


def test_a_head_that_is_too_large_is_refused(url: str) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=STEP_TIMEOUT) as connection:
        connection.sendall(HEAD + b"X-Long: " + b"a" * 100_000)
        assert read_to_end(connection)[:13] in (b"HTTP/1.1 400 ", b"")
