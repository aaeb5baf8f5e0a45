"""Decoding of a picture that never finishes, in a real server: it ends when the call or the server ends."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.commands import LUMA_MCP
from tests.cli.serving import STEP_TIMEOUT
from tests.conftest import TOKEN
from tests.media.hostile import endless_jpeg
from tests.media.workers import find_worker, read_environment, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="the test reads /proc")


class Server:
    """A server on stdin and stdout, which is decoding the picture of an order."""

    def __init__(self, folder: Path) -> None:
        (folder / "endless.jpg").write_bytes(endless_jpeg())
        self.process = subprocess.Popen(
            [*LUMA_MCP, "--simulate"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"USEAPI_TOKEN": TOKEN, "LUMA_MCP_JOURNAL": "off", "LUMA_MCP_INPUT_DIRS": str(folder)},
            text=True,
        )
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        self.send(1, "initialize", client)
        self.send(None, "notifications/initialized", {})
        self.order(2, image_start=str(folder / "endless.jpg"))
        self.worker = self._wait_for_worker()

    def send(self, number: int | None, method: str, params: dict[str, Any]) -> None:
        assert self.process.stdin
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        if number is None:
            del message["id"]
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def order(self, number: int, **arguments: str) -> None:
        arguments = {"prompt": f"A fox {number}", **arguments}
        self.send(number, "tools/call", {"name": "generate_video", "arguments": {**arguments, "wait_seconds": 0}})

    def read_responses(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout
        for line in self.process.stdout:
            message = json.loads(line)
            if "id" in message:
                yield message

    def _wait_for_worker(self) -> int:
        while (number := find_worker(self.process.pid)) is None:
            # Gives the processor to the server.
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
            assert self.process.returncode is None
        return number


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    with started.process:
        yield started
        started.process.kill()


@pytest.mark.sample(2)
@pytest.mark.parametrize("end", ["killed", "terminated", "stdin closed", "Ctrl-C"])
def test_decoding_ends_with_the_server(server: Server, end: str) -> None:
    assert server.process.stdin
    if end == "stdin closed":
        server.process.stdin.close()
    else:
        server.process.send_signal({"Ctrl-C": signal.SIGINT, "terminated": signal.SIGTERM}.get(end, signal.SIGKILL))
    server.process.wait(STEP_TIMEOUT)
    wait_for_end(server.worker)


def test_decoding_ends_with_a_cancelled_call(server: Server) -> None:
    server.send(None, "notifications/cancelled", {"requestId": 2})
    wait_for_end(server.worker)


def test_other_calls_are_answered_during_decoding(server: Server) -> None:
    server.order(3)
    answered = [message["id"] for _, message in zip(range(2), server.read_responses(), strict=False)]
    assert answered == [1, 3]


def test_worker_does_not_get_the_token(server: Server) -> None:
    assert TOKEN.encode() in read_environment(server.process.pid)
    assert TOKEN.encode() not in read_environment(server.worker)
    # The worker does not share the server's stdout.
    streams = [Path(f"/proc/{process}/fd/1").readlink() for process in (server.process.pid, server.worker)]
    assert streams[0] != streams[1]
