"""A server that tests can kill at a step of an order, and an API that reports when the step is reached."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import subprocess
import sys
import threading
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, Self

import uvicorn
from tests.cli.serving import STEP_TIMEOUT
from tests.conftest import EMAIL, TOKEN

from luma_mcp.catalog.agents import AGENTS
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.cli.main import main
from luma_mcp.simulator.agents import AgentsService, AgentsSimulator
from luma_mcp.simulator.app import Simulator
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from starlette.types import Message, Receive, Scope, Send

HOST = "127.0.0.1"
KEY = "luma-api-4711-killed"
SLOTS = 20

HoldPoint = Literal["order", "answer", "media"]
"""What to hold: the next order before it is executed, its response after that, or the next media file half way."""


class StepEvent:
    """An event for a step. Waiting for it has a time limit."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(STEP_TIMEOUT), "the step was not reached"


class Api(Simulator):
    """The simulator with a manual clock. It can hold one request until the client disconnects.

    Attributes:
        now: the time in seconds, which tests set.
        hold: what to hold, once.
        passed: how many orders to execute before that.
        held: it holds that request.
        answered: it has sent the response to an order.
        delivered: it has sent a complete media file.
        downloads: the number of requests for media.
    """

    def __init__(self, service: Service | None = None, token: str = TOKEN) -> None:
        super().__init__(service or Service(USEAPI, clock=lambda: self.now), token=token)
        self.service.add_account(EMAIL, SLOTS)
        self.now = 0.0
        self.hold: HoldPoint | None = None
        self.passed = 0
        self.held, self.answered, self.delivered = StepEvent(), StepEvent(), StepEvent()
        self.downloads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ordering, media = scope["method"] == "POST", scope["path"].startswith("/media/")
        self.downloads += media
        may_hold = ordering and len(self.orders) >= self.passed
        if may_hold and self.hold == "order":
            await self._hold_request(receive)
        elif may_hold and self.hold == "answer":
            await super().__call__(scope, receive, _discard)
            await self._hold_request(receive)
        elif media and self.hold == "media":
            await super().__call__(scope, receive, self._send_half(receive, send))
        else:
            await super().__call__(scope, receive, send)
            if ordering or media:
                (self.answered if ordering else self.delivered).set()

    async def _hold_request(self, receive: Receive) -> None:
        self.hold = None
        self.held.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    def _send_half(self, receive: Receive, send: Send) -> Send:
        async def send_half_of_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            elif self.hold:
                body = message["body"]
                await send({**message, "body": body[: len(body) // 2], "more_body": True})
                await self._hold_request(receive)

        return send_half_of_body


class AgentsApi(Api, AgentsSimulator):
    """The same for the Agents API."""

    def __init__(self) -> None:
        super().__init__(AgentsService(AGENTS, clock=lambda: self.now), KEY)


async def _discard(_: Message) -> None:
    """Discard a message of the response to a held request."""


class Address:
    """A port of this machine. It refuses connections until an API is served at it."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.origin = f"http://{HOST}:{listener.getsockname()[1]}"

    @contextmanager
    def serving(self, api: Simulator) -> Iterator[None]:
        self._listener.listen()
        config = uvicorn.Config(api, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, name="api")
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


class ServerProcess(NamedTuple):
    """A process of the server, and its streams."""

    process: subprocess.Popen[str] | BaseProcess
    stdin: IO[str]
    stdout: IO[str]


def start_process(environment: dict[str, str]) -> ServerProcess:
    """Start `python -m luma_mcp` with these variables.

    If the system can fork, the process is forked from one that has imported everything. The imports take over a second.
    """
    if sys.platform == "win32":
        command, pipe = [sys.executable, "-m", "luma_mcp"], subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
        assert process.stdin
        assert process.stdout
        return ServerProcess(process, process.stdin, process.stdout)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "luma_mcp.cli.serve", "luma_mcp.server.app"])
    requests, to_server = context.Pipe(duplex=False)
    from_server, responses = context.Pipe(duplex=False)
    with requests, to_server, from_server, responses:
        forked = context.Process(target=serve, args=(requests, responses, environment))
        forked.start()
        stdin = os.fdopen(os.dup(to_server.fileno()), "w", encoding="utf-8")
        return ServerProcess(forked, stdin, os.fdopen(os.dup(from_server.fileno()), encoding="utf-8"))


def serve(stdin: Connection, stdout: Connection, environment: dict[str, str]) -> None:
    """Run `python -m luma_mcp` in this process, with these streams and variables."""
    os.dup2(stdin.fileno(), 0)
    os.dup2(stdout.fileno(), 1)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    main([], prog_name="luma-ray-mcp")


class Server:
    """`python -m luma_mcp`, and a host that can kill it. The end of the block kills it as well."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process, self._stdin, self._stdout = start_process(environment)
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read_messages, name="host")
        self._reader.start()
        self._calls = 0
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        self._send({"id": 0, "method": "initialize", "params": client})
        self._read_until(lambda message: message.get("id") == 0)
        self._send({"method": "notifications/initialized"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stdin.close()
        self._stdout.close()

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end of the process."""
        self._process.kill()
        if isinstance(self._process, BaseProcess):
            self._process.join(STEP_TIMEOUT)
        else:
            self._process.wait(STEP_TIMEOUT)
        self._reader.join(STEP_TIMEOUT)

    def start_call(self, tool: str, **arguments: Any) -> None:
        """Call a tool without waiting for the result."""
        self._calls += 1
        call = {"name": tool, "arguments": arguments, "_meta": {"progressToken": self._calls}}
        self._send({"id": self._calls, "method": "tools/call", "params": call})

    def read_result(self) -> dict[str, Any]:
        """Wait for the latest call's result, and return its structured content."""
        response = self._read_until(lambda message: message.get("id") == self._calls)
        return dict(response["result"]["structuredContent"])

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        self.start_call(tool, **arguments)
        return self.read_result()

    def wait_for_progress(self, beginning: str) -> str:
        """Wait for a progress message that begins with this text, and return it."""
        return _get_progress_message(
            self._read_until(lambda message: _get_progress_message(message).startswith(beginning))
        )

    def _send(self, message: dict[str, Any]) -> None:
        self._stdin.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
        self._stdin.flush()

    def _read_messages(self) -> None:
        for line in self._stdout:
            self._messages.put(json.loads(line))
        self._messages.put(None)

    def _read_until(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            message = self._messages.get(timeout=STEP_TIMEOUT)
            assert message is not None, "the server has exited"
            if matches(message):
                return message
            assert "id" not in message, f"answered too early: {message}"


def _get_progress_message(message: dict[str, Any]) -> str:
    return str(message.get("params", {}).get("message", ""))
