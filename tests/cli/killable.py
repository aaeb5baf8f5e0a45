"""A server that can be killed at a given step of an order, and an API that reports when that step is reached."""

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
from tests.cli.serving import STARTING
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

Hold = Literal["order", "answer", "media"]
"""The next order before it is carried out, its answer after that, the next media body half way."""


class Reached:
    """A step that somebody reaches, or has reached."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(STARTING), "it was not reached"


class Api(Simulator):
    """The simulator on time of its own. What it holds, it holds until the connection is gone.

    Attributes:
        now: its time in seconds, for tests to move.
        hold: what it holds, once; `passed`: how many orders are carried out before that.
        held, answered, delivered: it holds that; the response to an order, or a whole media body, was sent.
        downloads: how many requests of media there were.
    """

    def __init__(self, service: Service | None = None, token: str = TOKEN) -> None:
        super().__init__(service or Service(USEAPI, clock=lambda: self.now), token=token)
        self.service.add_account(EMAIL, SLOTS)
        self.now = 0.0
        self.hold: Hold | None = None
        self.passed = 0
        self.held, self.answered, self.delivered = Reached(), Reached(), Reached()
        self.downloads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ordering, media = scope["method"] == "POST", scope["path"].startswith("/media/")
        self.downloads += media
        may_hold = ordering and len(self.orders) >= self.passed
        if may_hold and self.hold == "order":
            await self._held(receive)
        elif may_hold and self.hold == "answer":
            await super().__call__(scope, receive, _nowhere)
            await self._held(receive)
        elif media and self.hold == "media":
            await super().__call__(scope, receive, self._half(receive, send))
        else:
            await super().__call__(scope, receive, send)
            if ordering or media:
                (self.answered if ordering else self.delivered).set()

    async def _held(self, receive: Receive) -> None:
        self.hold = None
        self.held.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    def _half(self, receive: Receive, send: Send) -> Send:
        async def sends_half(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            elif self.hold:
                body = message["body"]
                await send({**message, "body": body[: len(body) // 2], "more_body": True})
                await self._held(receive)

        return sends_half


class AgentsApi(Api, AgentsSimulator):
    """The other API."""

    def __init__(self) -> None:
        super().__init__(AgentsService(AGENTS, clock=lambda: self.now), KEY)


async def _nowhere(_: Message) -> None:
    """Where a response goes that is held for ever."""


class Address:
    """A port of this machine, at which connections are refused until an API is served there."""

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


class Started(NamedTuple):
    """A process of the server's and its streams."""

    process: subprocess.Popen[str] | BaseProcess
    stdin: IO[str]
    stdout: IO[str]


def start_process(environment: dict[str, str]) -> Started:
    """Start `python -m luma_mcp` with these variables.

    Where the system can fork, it is forked from a process that has imported everything, which takes over a second.
    """
    if sys.platform == "win32":
        command, pipe = [sys.executable, "-m", "luma_mcp"], subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
        assert process.stdin
        assert process.stdout
        return Started(process, process.stdin, process.stdout)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "luma_mcp.cli.serve", "luma_mcp.server.app"])
    requests, to_server = context.Pipe(duplex=False)
    from_server, responses = context.Pipe(duplex=False)
    with requests, to_server, from_server, responses:
        forked = context.Process(target=serve, args=(requests, responses, environment))
        forked.start()
        stdin = os.fdopen(os.dup(to_server.fileno()), "w", encoding="utf-8")
        return Started(forked, stdin, os.fdopen(os.dup(from_server.fileno()), encoding="utf-8"))


def serve(stdin: Connection, stdout: Connection, environment: dict[str, str]) -> None:
    """Be `python -m luma_mcp` with these streams and variables."""
    os.dup2(stdin.fileno(), 0)
    os.dup2(stdout.fileno(), 1)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    main([], prog_name="luma-ray-mcp")


class Server:
    """`python -m luma_mcp` and its host, which can kill it. It is killed at the latest when the block ends."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process, self._stdin, self._stdout = start_process(environment)
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._listening = threading.Thread(target=self._listen, name="host")
        self._listening.start()
        self._calls = 0
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        self._send({"id": 0, "method": "initialize", "params": client})
        self._until(lambda message: message.get("id") == 0)
        self._send({"method": "notifications/initialized"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stdin.close()
        self._stdout.close()

    def kill(self) -> None:
        """SIGKILL, and its end."""
        self._process.kill()
        if isinstance(self._process, BaseProcess):
            self._process.join(STARTING)
        else:
            self._process.wait(STARTING)
        self._listening.join(STARTING)

    def begin(self, tool: str, **arguments: Any) -> None:
        """Calls a tool, and does not wait for its answer."""
        self._calls += 1
        call = {"name": tool, "arguments": arguments, "_meta": {"progressToken": self._calls}}
        self._send({"id": self._calls, "method": "tools/call", "params": call})

    def answer(self) -> dict[str, Any]:
        """The structured content of the latest call's result."""
        answered = self._until(lambda message: message.get("id") == self._calls)
        return dict(answered["result"]["structuredContent"])

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        self.begin(tool, **arguments)
        return self.answer()

    def progress(self, beginning: str) -> str:
        """The message of the first progress that begins so."""
        return _message(self._until(lambda message: _message(message).startswith(beginning)))

    def _send(self, message: dict[str, Any]) -> None:
        self._stdin.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
        self._stdin.flush()

    def _listen(self) -> None:
        for line in self._stdout:
            self._messages.put(json.loads(line))
        self._messages.put(None)

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            message = self._messages.get(timeout=STARTING)
            assert message is not None, "the server is gone"
            if wanted(message):
                return message
            assert "id" not in message, f"answered too early: {message}"


def _message(message: dict[str, Any]) -> str:
    return str(message.get("params", {}).get("message", ""))
