"""Server processes that a scenario starts, calls and kills, and a small client for them.

Where the system can fork, processes are forked from one that has imported everything, and then act as
`python -m luma_mcp`, because a new interpreter takes a second of processor time.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection
    from pathlib import Path

STEP_TIMEOUT = 60.0
"""Seconds that a step may take on a busy machine before it counts as hanging."""
PROTOCOL = "2025-11-25"
_SMALL_PIPE = 4096
"""Bytes. After a few responses, a client that does not read blocks its server."""
_SET_PIPE_SIZE = 1031
_CAPABILITIES = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2


def _serve(stdin: Connection, stdout: Connection, log: str, environment: dict[str, str], clock_error: float) -> None:
    """Act as `python -m luma_mcp` with these streams and variables, on a clock that is wrong by `clock_error`."""
    os.dup2(stdin.fileno(), 0)
    os.dup2(stdout.fileno(), 1)
    os.dup2(os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), 2)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    if sys.platform == "linux":
        _drop_capabilities()
    if not clock_error:
        from luma_mcp.cli.main import main

        main([], prog_name="luma-ray-mcp")
        return
    from luma_mcp.server.app import build_server
    from luma_mcp.settings import Settings

    error = timedelta(seconds=clock_error)
    settings = Settings.from_environment(os.environ)
    build_server(settings, wall_clock=lambda: datetime.now(UTC) + error).run("stdio")


def _drop_capabilities() -> None:
    """Drop the capabilities with which root bypasses file modes."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        for place in (0, 1):
            sets[place] &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
        libc.capset(header, sets)


def _start(
    environment: dict[str, str], log: Path, clock_error: float
) -> tuple[subprocess.Popen[str] | BaseProcess, IO[str], IO[str]]:
    """Start a process. Returns it and its streams."""
    if sys.platform == "win32":
        with log.open("a") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "luma_mcp"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                text=True,
            )
        assert process.stdin
        assert process.stdout
        return process, process.stdin, process.stdout
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "luma_mcp.cli.serve", "luma_mcp.server.app", "luma_mcp.service.service"])
    requests, to_server = context.Pipe(duplex=False)
    from_server, responses = context.Pipe(duplex=False)
    with requests, to_server, from_server, responses:
        forked = context.Process(target=_serve, args=(requests, responses, str(log), environment, clock_error))
        forked.start()
        if sys.platform == "linux":
            import fcntl

            fcntl.fcntl(from_server.fileno(), _SET_PIPE_SIZE, _SMALL_PIPE)
        stdin = os.fdopen(os.dup(to_server.fileno()), "w", encoding="utf-8")
        return forked, stdin, os.fdopen(os.dup(from_server.fileno()), encoding="utf-8")


@dataclass(eq=False, slots=True)
class Call:
    """A call of a tool. `ended`: when it got its response, was cancelled or was killed, by the monotonic clock."""

    server: Server
    tool: str
    arguments: dict[str, Any]
    batch: int
    number: int
    sent: float
    responses: list[dict[str, Any]] = field(default_factory=list)
    was_cancelled: bool = False
    was_killed: bool = False
    ended: float | None = None

    @property
    def prompt(self) -> str:
        return str(self.arguments.get("prompt", ""))

    @property
    def is_over(self) -> bool:
        """Whether no further response is expected."""
        return bool(self.responses) or self.was_cancelled or self.was_killed

    @property
    def content(self) -> dict[str, Any]:
        """The structured content of its response. Empty without a response and for protocol errors."""
        result: dict[str, Any] = {}
        if self.responses:
            result = self.responses[0].get("result", {})
        return dict(result.get("structuredContent") or {})

    @property
    def text(self) -> str:
        """Its whole response."""
        return json.dumps(self.responses, ensure_ascii=False)

    @property
    def is_warned(self) -> bool:
        """Whether the response warns that the journal is not in use."""
        return bool(self.content.get("warnings"))


class Server:
    """A process and its client.

    Attributes:
        started: its start, by the monotonic clock.
        touched: generations of the journal's file that it has certainly opened.
        is_alive: whether it has been neither killed nor stopped.
    """

    def __init__(
        self, name: str, environment: Mapping[str, str], log: Path, clock_error: float, on_message: Callable[[], None]
    ) -> None:
        self.name = name
        self.log = log
        self.clock_error = clock_error
        self.is_alive = True
        self.touched: set[int] = set()
        self.cpu_seconds = 0.0
        self._on_message = on_message
        self._calls: dict[int, Call] = {}
        self._number = 0
        self._reads = threading.Event()
        self._reads.set()
        self.is_ready = False
        self.problems: list[str] = []
        self.started = time.monotonic()
        self._process, self._stdin, self._stdout = _start(dict(environment), log, clock_error)
        self._listening = threading.Thread(target=self._listen, name=f"client of {name}")
        self._listening.start()
        client = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "campaign", "version": "1"}}
        self._send({"id": 0, "method": "initialize", "params": client})
        self._send({"method": "notifications/initialized"})

    def begin(self, tool: str, arguments: dict[str, Any], batch: int) -> Call:
        """Call a tool, and do not wait for its response."""
        self._number += 1
        call = Call(self, tool, arguments, batch, self._number, time.monotonic())
        self._calls[call.number] = call
        self._send({"id": call.number, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        return call

    def cancel(self, call: Call) -> None:
        """Cancel a call. Its response is ignored."""
        if not call.is_over:
            call.was_cancelled, call.ended = True, time.monotonic()
            params = {"requestId": call.number, "reason": "the host's limit"}
            self._send({"method": "notifications/cancelled", "params": params})

    def stop_reading(self) -> None:
        """Stop reading the server's output."""
        self._reads.clear()

    def continue_reading(self) -> None:
        """Continue reading the server's output."""
        self._reads.set()

    def kill(self) -> None:
        """Kill the process with SIGKILL, and wait for its end."""
        self._measure()
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """Close its input, as a host does, and wait for its end."""
        self._measure()
        self._stdin.close()
        self._wait()
        self._end()

    def _measure(self) -> None:
        if sys.platform == "linux" and self.is_alive:
            try:
                with open(f"/proc/{self._process.pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - not a file
                    values = stat.read().rpartition(")")[2].split()
            except OSError:
                return
            self.cpu_seconds = (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")

    def _wait(self) -> None:
        if isinstance(self._process, BaseProcess):
            self._process.join(STEP_TIMEOUT)
            if self._process.is_alive():
                self.problems.append("did not end when its input was closed")
                self._process.kill()
                self._process.join(STEP_TIMEOUT)
        else:
            self._process.wait(STEP_TIMEOUT)

    def _end(self) -> None:
        self._wait()
        self.continue_reading()
        self._listening.join(STEP_TIMEOUT)
        now = time.monotonic()
        for call in self._calls.values():
            if not call.is_over:
                call.was_killed, call.ended = True, now
        self.is_alive = False
        for stream in (self._stdin, self._stdout):
            try:
                stream.close()
            except OSError:
                continue
        self._on_message()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
            self._stdin.flush()
        except OSError as error:
            self.problems.append(f"is gone: {error}")

    def _listen(self) -> None:
        while self._reads.wait():
            line = self._stdout.readline()
            # A killed process may have written half a line.
            if not line.endswith("\n"):
                break
            message = json.loads(line)
            number = message.get("id")
            if number == 0:
                self.is_ready = True
            elif number in self._calls:
                call = self._calls[number]
                call.responses.append(message)
                call.ended = call.ended or time.monotonic()
            elif number is not None:
                self.problems.append(f"response without a call: {message}")
            self._on_message()

    def __str__(self) -> str:
        wrong = f" (clock wrong by {self.clock_error:.0f} s)" if self.clock_error else ""
        return f"{self.name}{wrong}"
