"""Whatever the network does, and whenever the process is killed: nothing is ordered twice, and nothing is lost.

    SCENARIOS=20000 make test

runs more, and other, scenarios than the usual ones.
"""

from __future__ import annotations

import os
import random
import re
import tempfile
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import SecretStr
from tests.clock import ClockThatWaitsForThreads
from tests.conftest import EMAIL, MIDNIGHT, TOKEN, resolve
from tests.service.faulty import PASSING, Fault, Faulty, Killed
from trio.testing import MockClock

from luma_mcp.catalog.validate import check
from luma_mcp.errors import LumaError
from luma_mcp.service.recovery import recover
from luma_mcp.service.service import VideoService
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Simulator
from luma_mcp.simulator.state import Service, SimulatedJob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from datetime import datetime

SCENARIOS = int(os.environ.get("SCENARIOS", "2000"))
WORDS = [
    {"prompt": "A fox", "model": "ray-v3-flash"},
    {"prompt": "A cat", "model": "ray-v3-flash"},
    {"prompt": "A fox", "model": "ray-v3"},
]
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - only as a place for temporary folders of their own
"""Where there is such a place: thousands of journals are written, and each goes through to its disk."""


def some(faults: Iterable[Fault]) -> st.SearchStrategy[list[Fault]]:
    return st.lists(st.sampled_from(tuple(faults)), max_size=4)


async def unheard(_: str) -> None:
    """Progress that nobody listens to."""


class Orders(RuleBasedStateMachine):
    """A person who orders, waits, restarts and is killed, on a bad network."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
        self.clock = MockClock(autojump_threshold=0)
        service = Service(clock=self.clock.current_time, wall_clock=self.wall_clock, chance=random.Random(1))
        service.add_account(EMAIL, concurrency=50)
        self.simulator = Simulator(service, token=TOKEN)
        self.way = Faulty(self.simulator)
        self.named: set[str] = set()
        self.studio = self.started()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.restart()
            self.every_job_is_known()
            self.run(self.studio.aclose)
            self.folder.cleanup()

    def wall_clock(self) -> datetime:
        return MIDNIGHT + timedelta(seconds=self.clock.current_time())

    def started(self) -> VideoService:
        journal = str(Path(self.folder.name) / "journal.db")
        environment = Settings(token=SecretStr(TOKEN), journal=journal, thumbnails=False)
        return VideoService(environment, wall_clock=self.wall_clock, transport=self.way, resolve=resolve)

    def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """In virtual time, which goes on where the last call ended."""
        return trio.run(call, clock=self.clock, instruments=[ClockThatWaitsForThreads(self.clock)])

    def attempt(self, call: Callable[[], Awaitable[Any]], faults: list[Fault]) -> Any:
        """What a call returns or raises on a way with these faults; a process that was killed is started again."""
        self.way.script = list(faults)
        try:
            return self.run(call)
        except LumaError as error:
            self.named |= set(re.findall(r"j\S+-bot:luma", error.message))
            return error
        except (Killed, BaseExceptionGroup) as killed:
            if isinstance(killed, BaseExceptionGroup) and killed.split(Killed)[1]:
                raise
            self.way.script = []
            self.restart()
            return killed
        finally:
            self.way.script = []

    @property
    def jobs(self) -> dict[str, SimulatedJob]:
        return self.simulator.service.jobs

    def running(self, words: dict[str, str]) -> list[str]:
        """The jobs of that order that run, in truth."""
        service = self.simulator.service
        return [i for i, job in self.jobs.items() if words.items() <= job.request.items() and not service.finished(job)]

    @rule(words=st.sampled_from(WORDS), another=st.booleans(), faults=some(Fault))
    def order(self, words: dict[str, str], faults: list[Fault], *, another: bool) -> None:
        request = check(words).nearest or {}
        before, same = len(self.jobs), self.running(words)

        async def call() -> Any:
            return await self.studio.order(request, another=another, save=False, patience=20, tell=unheard)

        result = self.attempt(call, faults)
        made = list(self.jobs)[before:]
        assert len(made) <= 1, "two jobs for one order"
        if any(jobid in same for jobid in self.running(words)) and not another:
            assert not made, "a second job while the first one runs"
        if hasattr(result, "placed"):
            assert result.placed.job.jobid in (made or same)
            assert self.jobs[result.placed.job.jobid].request["prompt"] == words["prompt"]

    @precondition(lambda self: self.jobs)
    @rule(
        data=st.data(), seconds=st.sampled_from([0, 7, 45, 100]), faults=st.lists(st.sampled_from(PASSING), max_size=8)
    )
    def wait(self, data: st.DataObject, seconds: float, faults: list[Fault]) -> None:
        jobid = data.draw(st.sampled_from(list(self.jobs)))
        begun = self.clock.current_time()

        async def call() -> Any:
            return await self.studio.follow(jobid, seconds)

        result = self.attempt(call, faults)
        if isinstance(result, LumaError) or result.state == "running":
            # But for what is lost where floating-point times are subtracted.
            assert self.clock.current_time() - begun >= seconds - 1e-6, "a passing fault has ended a wait"

    @rule(seconds=st.sampled_from([1, 20, 70, 1000]))
    def pass_time(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule(faults=some(PASSING))
    def restart(self, faults: list[Fault] | None = None) -> None:
        self.run(self.studio.aclose)
        self.studio = self.started()
        with suppress(LumaError):
            self.attempt(partial(recover, self.studio), faults or [])

    @rule()
    def look(self) -> None:
        listing = self.run(lambda: self.studio.jobs(limit=100, state=None))
        listed = {job.jobid for job in listing.jobs}
        assert listed >= {jobid for words in WORDS for jobid in self.running(words)}

    @invariant()
    def every_job_is_known(self) -> None:
        """It belongs to an order, or was named; or an order is told to be unknown for each that is not."""
        if not hasattr(self, "studio"):
            return
        orders = self.studio.journal.latest(1000)
        owned = [order.jobid for order in orders if order.jobid]
        assert len(owned) == len(set(owned)), "two orders have one job"
        for words in WORDS:
            lost = [i for i, job in self.jobs.items() if words.items() <= job.request.items() and i not in owned]
            unknown = [o for o in orders if o.jobid is None and words.items() <= o.request.words().items()]
            assert len([i for i in lost if i not in self.named]) <= len(unknown), "a job that nobody knows of"
        for order in orders:
            if order.jobid:
                request = self.jobs[order.jobid].request
                assert (request["prompt"], request["model"]) == (order.request.prompt, order.request.model)


TestOrders = Orders.TestCase
TestOrders.settings = settings(
    max_examples=SCENARIOS,
    stateful_step_count=8,
    deadline=None,
    derandomize="SCENARIOS" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
