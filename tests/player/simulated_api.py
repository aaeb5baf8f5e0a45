"""The simulated API for the player's browser tests, which control it with one command per line on stdin.

Commands are JSON objects with `command`: `finish` (all running jobs, or `jobid`), `age` (make them `seconds` older),
`fail` (let the running job `jobid` fail), `expire` (the links given so far stop working), `break_links` (`broken`:
whether no link to a video works), `limit_orders` (after `orders` more, no credits are left; null: no limit), `fault`
(the next request with that `method` and `path` gets `status` and `body`), `picture` (of the upload `asset`: its size,
and its colors at `points`, which are shares of it), `report` (what was ordered and requested). Each command gets a line
of output; the very first line names the base URL. With the argument `agents`, it is Luma's own Agents API, which knows
only the last two commands.
"""

from __future__ import annotations

import io
import json
import re
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from PIL import Image
from starlette.responses import JSONResponse, Response

from luma_mcp.catalog.agents import AGENTS
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.simulator.agents import AgentsService, AgentsSimulator
from luma_mcp.simulator.app import EMAIL, PREFIX, Fault, Simulator, running
from luma_mcp.simulator.state import Service, SimulatedJob, Upload

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

SLOTS = 40
"""Enough for the jobs of all tests that share one API."""


class ControlledSimulator(Simulator):
    """A simulator whose links to videos can expire."""

    def __init__(self) -> None:
        service = Service(USEAPI, clock=time.monotonic)
        service.add_account(EMAIL, SLOTS)
        super().__init__(service)
        self.generation = 0
        self.broken = False
        self.orders_left: int | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith(".mp4"):
            generation = parse_qs(scope["query_string"].decode()).get("link", [""])[0]
            if generation != str(self.generation) or self.broken:
                await Response(status_code=403)(scope, receive, send)
                return
        is_order = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == f"{PREFIX}/videos"
        if is_order and self.orders_left is not None:
            if self.orders_left == 0:
                await JSONResponse({"error": "No credits are left"}, 402)(scope, receive, send)
                return
            self.orders_left -= 1
        is_job = scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(f"{PREFIX}/jobs/")
        if is_job:
            send = _LinkSigner(send, self.generation)
        await super().__call__(scope, receive, send)

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run one command."""
        match command["command"]:
            case "finish":
                for job in self._get_jobs_of(command):
                    job.seconds = max(time.monotonic() - job.begun, 0.001)
            case "age":
                for job in self._get_jobs_of(command):
                    job.begun -= command["seconds"]
                    job.created -= timedelta(seconds=command["seconds"])
                    job.seconds += command["seconds"]
            case "fail":
                [job] = self._get_jobs_of(command)
                job.fails = "the model could not make this video"
                job.seconds = max(time.monotonic() - job.begun, 0.001)
            case "limit_orders":
                self.orders_left = command["orders"]
            case "expire":
                self.generation += 1
            case "break_links":
                self.broken = command["broken"]
            case "fault":
                body = json.dumps(command["body"]).encode()
                self.faults.append(Fault(command["method"], command["path"], command["status"], body))
            case _:
                return _inspect(self, command)
        return {}

    def _get_jobs_of(self, command: dict[str, Any]) -> list[SimulatedJob]:
        """The job that a command names, or all running jobs."""
        jobid = command.get("jobid")
        return [self.service.jobs[jobid]] if jobid else self.service.executing()


class InspectedSimulator(AgentsSimulator):
    """A simulator that only says what it has received."""

    def __init__(self) -> None:
        service = AgentsService(AGENTS, clock=time.monotonic)
        service.add_account(EMAIL, SLOTS)
        super().__init__(service)

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run one command."""
        return _inspect(self, command)


def _inspect(simulator: Simulator, command: dict[str, Any]) -> dict[str, Any]:
    match command["command"]:
        case "picture":
            return _describe_picture(simulator.service.uploads[command["asset"]], command["points"])
        case "report":
            return {"orders": simulator.orders, "requests": simulator.requests}
    return {}


def _describe_picture(upload: Upload, points: list[tuple[float, float]]) -> dict[str, Any]:
    with Image.open(io.BytesIO(upload.data)) as opened:
        image = opened.convert("RGB")
    pixels = [(int(x * (image.width - 1)), int(y * (image.height - 1))) for x, y in points]
    colors = [image.getpixel(pixel) for pixel in pixels]
    return {"media_type": upload.media_type, "size": image.size, "colors": colors, "bytes": len(upload.data)}


class _LinkSigner:
    """Passes a response on, with links to videos that carry the current generation."""

    def __init__(self, send: Send, generation: int) -> None:
        self._send = send
        self._generation = generation
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = re.sub(rb'\.mp4"', f'.mp4?link={self._generation}"'.encode(), self._body)
        kept = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
        await self._send({**self._start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})


def _write(answer: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until stdin ends."""
    simulator = InspectedSimulator() if sys.argv[1:] == ["agents"] else ControlledSimulator()
    with running(simulator) as url:
        _write({"base_url": url})
        for line in sys.stdin:
            _write(simulator.run(json.loads(line)))


if __name__ == "__main__":
    main()
