"""Duration of other orders while a hostile picture is decoded, compared with their duration alone.

    python -m benchmarks.pictures

Starts a server with a simulated API. While it decodes a picture of the table of `tests/media/hostile.py`, one order
without a picture and one with a small picture are placed. Prints the longest delays; exits with 1 if one is above the
target.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.media.hostile import PICTURES, small

TARGET, ALONE = 1.0, 5
COMMAND = [sys.executable, "-m", "luma_mcp", "--simulate", "--speed", "1000000"]
CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}


class Server:
    """A server on stdin and stdout that reads pictures from a folder."""

    def __init__(self, folder: Path) -> None:
        environment = {"LUMA_MCP_JOURNAL": "off", "LUMA_MCP_INPUT_DIRS": str(folder), "LUMA_MCP_THUMBNAILS": "0"}
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self._numbers = itertools.count(1)
        self.answer(self.send("initialize", CLIENT))
        self.send("notifications/initialized", {}, number=None)

    def send(self, method: str, params: dict[str, Any], number: int | None = 0) -> int:
        """Send a request, or a notification if `number` is None. Return its number."""
        if self.process.stdin is None:
            raise RuntimeError("the server has no pipes")
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        if number is not None:
            number = message["id"] = next(self._numbers)
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return number or 0

    def order(self, **images: str) -> int:
        """Send an order that differs from all others. Return its number."""
        arguments = {"prompt": f"A fox {time.perf_counter()}", "wait_seconds": 0, **images}
        return self.send("tools/call", {"name": "generate_video", "arguments": arguments})

    def answer(self, number: int) -> None:
        """Wait for a response, and skip others."""
        if self.process.stdout is None:
            raise RuntimeError("the server has no pipes")
        for line in self.process.stdout:
            if json.loads(line).get("id") == number:
                return
        raise RuntimeError("the server ended")

    def seconds_for_two(self, picture: Path) -> float:
        """Place an order without a picture and one with this picture, and wait for both."""
        begun = time.perf_counter()
        self.answer(self.order())
        self.answer(self.order(image_start=str(picture)))
        return time.perf_counter() - begun


def main() -> int:
    """Print the longest delays. Return 0 if the target is met."""
    delays: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture, hostile = folder / "small.png", folder / "hostile"
        picture.write_bytes(small("PNG"))
        server = Server(folder)
        alone = statistics.median(server.seconds_for_two(picture) for _ in range(ALONE))
        for title, build in PICTURES.items():
            hostile.write_bytes(build())
            number = server.order(image_end=str(hostile))
            delays[title] = server.seconds_for_two(picture) - alone
            server.send("notifications/cancelled", {"requestId": number}, number=None)
        server.process.kill()
        server.process.wait()
    for title, delay in sorted(delays.items(), key=lambda row: -row[1])[:5]:
        print(f"{title:<40}{delay * 1000:>8.0f} ms")
    worst = max(delays.values())
    print(f"{len(delays)} pictures; alone {alone * 1000:.0f} ms, longest delay {worst:.3f} s (target: {TARGET:g} s)")
    return 0 if worst <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
