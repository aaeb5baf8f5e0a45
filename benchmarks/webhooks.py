"""Delay until a waiting agent gets a job's result, with the API's webhooks and with polling alone.

    python benchmarks/webhooks.py

Two servers follow draft jobs of 30 to 60 s at the same time, in real time, each with its own simulator. One has a
public URL on this machine, which its simulator calls over HTTP at the end of each job. Prints the delays from the end
of a job to the end of its wait, and the polls per job. Exits with 1 if the median with webhooks is more than a tenth of
that without, or if webhooks do not save polls.
"""

from __future__ import annotations

import socket
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio
import uvicorn
from pydantic import SecretStr

from luma_mcp.catalog import get_catalog
from luma_mcp.hosting.hooks import build_hooks
from luma_mcp.service.service import VideoService
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import TOKEN, Simulator, new_simulator, running

JOBS = 30
LARGEST_RATIO = 0.1
POLL = "GET /jobs/…"


@dataclass
class Side:
    """One server and its simulator. `delays`: seconds for each job."""

    name: str
    simulator: Simulator
    service: VideoService
    delays: list[float] = field(default_factory=list)

    async def follow_all(self) -> None:
        """Order all jobs, and wait for each of them as an agent does."""
        async with anyio.create_task_group() as tasks:
            for number in range(JOBS):
                tasks.start_soon(self._follow, number)

    async def _follow(self, number: int) -> None:
        validated = await self.service.validate({"prompt": f"Fox {number}", "resolution": "draft"})
        ordered = await self.service.submit(validated, retry_timeout=20, on_progress=_ignore)
        found = await self.service.wait(ordered.job, 600)
        job = self.simulator.service.jobs[found.jobid]
        self.delays.append(anyio.current_time() - job.begun - job.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.delays)

    @property
    def polls(self) -> float:
        return self.simulator.requests[POLL] / JOBS

    def print_row(self) -> None:
        """Print what was measured."""
        print(f"{self.name:<16}{self.median:>10.3f} s{max(self.delays):>10.3f} s{self.polls:>14.1f}")


async def _ignore(step: str, detail: str | None = None, /) -> None:
    """Ignore progress."""


def start(name: str, folder: str, stack: ExitStack, public_url: str | None = None) -> tuple[Side, Settings]:
    """Start a server with its simulator."""
    simulator = new_simulator(concurrency=JOBS)
    settings = Settings(
        token=SecretStr(TOKEN),
        base_url=stack.enter_context(running(simulator)),
        journal=str(Path(folder, f"{name}.db")),
        public_url=public_url,
        secret_keys=(SecretStr("a-key-of-the-benchmark-0123456789"),),
    )
    service = VideoService(settings, catalog=get_catalog("useapi"), wall_clock=lambda: datetime.now(UTC))
    return Side(name, simulator, service), settings


async def measure(stack: ExitStack) -> tuple[Side, Side]:
    """Follow all jobs with and without webhooks."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    listener = socket.create_server(("127.0.0.1", 0))
    called, settings = start("webhooks", folder, stack, f"http://127.0.0.1:{listener.getsockname()[1]}")
    polling, _ = start("polling", folder, stack)
    hooks = build_hooks(settings, lambda: [called.service])
    assert hooks
    server = uvicorn.Server(uvicorn.Config(hooks, log_config=None, access_log=False, lifespan="off"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        async with anyio.create_task_group() as waits:
            for side in (called, polling):
                waits.start_soon(side.follow_all)
        server.should_exit = True
    await hooks.aclose()
    for side in (called, polling):
        await side.service.aclose()
    return called, polling


def main() -> int:
    """Print the table; return 0 if the targets are met."""
    with ExitStack() as stack:
        called, polling = anyio.run(measure, stack)
    print(f"{JOBS} jobs{'':<9}{'median':>12}{'worst':>12}{'polls per job':>14}")
    for side in (called, polling):
        side.print_row()
    ratio = called.median / polling.median
    print(f"\nwith webhooks: {ratio:.3f} of the median delay with {called.polls / polling.polls:.2f} of the polls")
    if ratio <= LARGEST_RATIO and called.polls < polling.polls:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
