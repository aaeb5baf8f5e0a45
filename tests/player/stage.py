"""The simulated API for the player's browser tests, which move it: a command per line on stdin, an answer on stdout.

Commands are JSON objects with `do`: `finish` (all running jobs, or `jobid`), `age` (their `seconds`), `expire` (links
given so far stop working), `dead` (`true`: no link to a video works), `told` (what was ordered and asked). The first
line out names the base URL.
"""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.responses import Response

from luma_mcp.simulator.app import PREFIX, Simulator
from luma_mcp.simulator.serve import EMAIL, running
from luma_mcp.simulator.state import Service, SimulatedJob

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

SLOTS = 40
"""Enough for the jobs of all tests that share a stage."""


class Stage(Simulator):
    """A simulator whose links to videos can expire."""

    def __init__(self) -> None:
        service = Service(clock=time.monotonic)
        service.add_account(EMAIL, SLOTS)
        super().__init__(service)
        self.generation = 0
        self.dead = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith(".mp4"):
            given = parse_qs(scope["query_string"].decode()).get("link", [""])[0]
            if given != str(self.generation) or self.dead:
                await Response(status_code=403)(scope, receive, send)
                return
        looks = scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(f"{PREFIX}/jobs/")
        await super().__call__(scope, receive, _Signing(send, self.generation) if looks else send)

    def chosen(self, jobid: str | None) -> list[SimulatedJob]:
        """The job of that id, or all that run."""
        return [self.service.jobs[jobid]] if jobid else self.service.executing()

    def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carries out one command."""
        match command["do"]:
            case "finish":
                for job in self.chosen(command.get("jobid")):
                    job.seconds = max(time.monotonic() - job.begun, 0.001)
            case "age":
                for job in self.chosen(command.get("jobid")):
                    job.begun -= command["seconds"]
                    job.created -= timedelta(seconds=command["seconds"])
                    job.seconds += command["seconds"]
            case "expire":
                self.generation += 1
            case "dead":
                self.dead = command["dead"]
            case "told":
                return {"orders": self.orders, "requests": self.requests}
        return {}


class _Signing:
    """Passes an answer on, with a link to its video that carries the present generation."""

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


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def main() -> None:
    """Serves until stdin ends."""
    stage = Stage()
    with running(stage) as url:
        _say({"base_url": url})
        for line in sys.stdin:
            _say(stage.do(json.loads(line)))


if __name__ == "__main__":
    main()
