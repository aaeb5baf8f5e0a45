"""Random network faults and kills: nothing is ordered twice, and nothing is lost.

    make scenarios

runs 20,000 random scenarios instead of the usual ones.
"""

from __future__ import annotations

import os
import random
import tempfile
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import trio
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import SecretStr
from tests.clock import ClockThatWaitsForThreads
from tests.conftest import EMAIL, MIDNIGHT, TOKEN, resolve
from tests.service.faulty import TRANSIENT, Fault, FaultyTransport, ProcessKilled
from tests.service.orders import place
from trio.testing import MockClock

from luma_mcp.api.protocol import FEATURES
from luma_mcp.catalog import get_catalog
from luma_mcp.errors import LumaError, OutcomeUnknown
from luma_mcp.providers import PROVIDERS
from luma_mcp.service.service import DeletedJob, VideoService
from luma_mcp.service.submit import SubmitResult
from luma_mcp.settings import Settings
from luma_mcp.simulator.agents import AgentsService, AgentsSimulator
from luma_mcp.simulator.app import Simulator
from luma_mcp.simulator.state import Service, SimulatedJob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from datetime import datetime

SCENARIOS = int(os.environ.get("SCENARIOS", "200"))
CHUNKS = 20
"""Parts of the scenarios, so that several test workers can share them."""
REQUESTS = {
    "useapi": [
        {"prompt": "A fox", "model": "ray-v3-flash"},
        {"prompt": "A cat", "model": "ray-v3-flash"},
        {"prompt": "A fox", "model": "ray-v3"},
    ],
    "agents": [
        {"prompt": "A fox", "model": "ray-3.2", "aspect_ratio": "16:9"},
        {"prompt": "A cat", "model": "ray-3.2", "aspect_ratio": "16:9"},
        {"prompt": "A fox", "model": "ray-3.2", "aspect_ratio": "1:1"},
    ],
}
APIS = {"useapi": (Service, Simulator), "agents": (AgentsService, AgentsSimulator)}
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - only as a place for temporary folders of their own
"""Used where it exists: thousands of journals are written, and each write is flushed to disk."""


def lists_of(faults: Iterable[Fault]) -> st.SearchStrategy[list[Fault]]:
    return st.lists(st.sampled_from(tuple(faults)), max_size=4)


class Orders(RuleBasedStateMachine):
    """Orders, waits, deletions, restarts and kills on an unreliable network."""

    api: ClassVar[str]

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
        self.clock = MockClock(autojump_threshold=0)
        catalog, kinds = get_catalog(self.api), APIS[self.api]
        api = kinds[0](catalog, clock=self.clock.current_time, wall_clock=self.wall_clock, rng=random.Random(1))
        api.add_account(EMAIL, concurrency=50)
        self.simulator = kinds[1](api, token=TOKEN)
        self.transport = FaultyTransport(self.simulator)
        self.named: set[str] = set()
        self.service = self.start()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.restart()
            self.every_job_is_known()
            self.run(self.service.aclose)
            self.folder.cleanup()

    def wall_clock(self) -> datetime:
        return MIDNIGHT + timedelta(seconds=self.clock.current_time())

    def start(self) -> VideoService:
        journal = str(Path(self.folder.name) / "journal.db")
        configured = Settings(
            api=self.api,
            base_url=PROVIDERS[self.api].base_url,
            token=SecretStr(TOKEN),
            journal=journal,
            thumbnails=False,
        )
        catalog = get_catalog(self.api)
        return VideoService(
            configured, catalog=catalog, wall_clock=self.wall_clock, transport=self.transport, resolve=resolve
        )

    def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Run in virtual time, which continues where the last call ended."""
        return trio.run(call, clock=self.clock, instruments=[ClockThatWaitsForThreads(self.clock)])

    def attempt(self, call: Callable[[], Awaitable[Any]], faults: list[Fault]) -> Any:
        """Return the result or the error of a call with these faults. A killed process is started again."""
        self.transport.script = list(faults)
        try:
            return self.run(call)
        except LumaError as error:
            self.named.update(jobids_of(error))
            return error
        except (ProcessKilled, BaseExceptionGroup) as killed:
            if isinstance(killed, BaseExceptionGroup) and killed.split(ProcessKilled)[1]:
                raise
            self.transport.script = []
            self.restart()
            return killed
        finally:
            self.transport.script = []

    @property
    def jobs(self) -> dict[str, SimulatedJob]:
        return self.simulator.service.jobs

    def running(self, request: dict[str, str]) -> list[str]:
        """The jobs of the request that are running at the API."""
        api = self.simulator.service
        return [i for i, job in self.jobs.items() if request.items() <= job.request.items() and not api.finished(job)]

    @rule(number=st.integers(0, 2), allow_duplicate=st.booleans(), faults=lists_of(Fault))
    def order(self, number: int, faults: list[Fault], *, allow_duplicate: bool) -> None:
        request = REQUESTS[self.api][number]
        before, same = len(self.jobs), self.running(request)
        given: dict[str, Any] = {**request, "allow_duplicate": allow_duplicate}
        result = self.attempt(partial(place, self.service, **given), faults)
        created = list(self.jobs)[before:]
        assert len(created) <= 1, "two jobs for one order"
        if not allow_duplicate and any(jobid in same for jobid in self.running(request)):
            assert not created, "a second job while the first one is running"
        if isinstance(result, SubmitResult):
            # The result may be an earlier job that has ended but was not delivered.
            assert created in ([], [result.job.jobid])
            assert request.items() <= self.jobs[result.job.jobid].request.items()
        elif isinstance(result, LumaError) and result.charged == "no":
            assert not created, "a job that is charged although the error denies it"

    @precondition(lambda self: self.jobs)
    @rule(
        data=st.data(),
        seconds=st.sampled_from([0, 7, 45, 100]),
        faults=st.lists(st.sampled_from(TRANSIENT), max_size=8),
    )
    def wait(self, data: st.DataObject, seconds: float, faults: list[Fault]) -> None:
        jobid = data.draw(st.sampled_from(list(self.jobs)))
        start = self.clock.current_time()
        result = self.attempt(partial(self.service.wait, jobid, seconds), faults)
        if isinstance(result, LumaError) or result.state == "running":
            # The tolerance is for rounding in the subtraction.
            assert self.clock.current_time() - start >= seconds - 1e-6, "a transient failure ended a wait"

    @precondition(lambda self: self.jobs and FEATURES[self.api].delete)
    @rule(data=st.data(), faults=lists_of(TRANSIENT))
    def delete(self, data: st.DataObject, faults: list[Fault]) -> None:
        jobid = data.draw(st.sampled_from(list(self.jobs)))
        job = self.jobs[jobid]
        result = self.attempt(partial(self.service.delete, jobid), faults)
        if isinstance(result, DeletedJob):
            assert self.simulator.service.finished(job), "a running job is reported as deleted"

    @rule(seconds=st.sampled_from([1, 20, 70, 1000]))
    def pass_time(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule(faults=lists_of(TRANSIENT))
    def restart(self, faults: list[Fault] | None = None) -> None:
        self.run(self.service.aclose)
        self.service = self.start()
        with suppress(LumaError):
            self.attempt(self.service.recover, faults or [])

    @rule()
    def list_jobs(self) -> None:
        rows = self.run(partial(self.service.list_jobs, 100)).jobs
        listed = {job.jobid for job in rows}
        for request in REQUESTS[self.api]:
            missing = [jobid for jobid in self.running(request) if jobid not in listed]
            unknown = [row for row in rows if row.jobid is None and request.items() <= row.request.to_dict().items()]
            # A job whose answer was lost is found only if the API lists jobs; otherwise its order is listed.
            assert len(missing) <= (0 if FEATURES[self.api].list_running else len(unknown))

    @invariant()
    def every_job_is_known(self) -> None:
        """Each job belongs to an order, was named in an error, or has an order of unknown outcome."""
        if not hasattr(self, "service"):
            return
        orders = self.run(partial(self.service.journal.list_latest, 1000))
        owned = [order.jobid for order in orders if order.jobid]
        assert len(owned) == len(set(owned)), "two orders have one job"
        for request in REQUESTS[self.api]:
            lost = [i for i, job in self.jobs.items() if request.items() <= job.request.items() and i not in owned]
            unknown = [o for o in orders if o.jobid is None and request.items() <= o.request.to_dict().items()]
            assert len([i for i in lost if i not in self.named]) <= len(unknown), "a job without an order"
        for order in orders:
            if order.jobid and order.jobid in self.jobs:
                request = self.jobs[order.jobid].request
                assert (request["prompt"], request["model"]) == (order.request.prompt, order.request.model)


def jobids_of(error: LumaError) -> set[str]:
    """Get the jobids that an error names."""
    jobids: set[str] = set()
    if error.jobid:
        jobids.add(error.jobid)
    if isinstance(error, OutcomeUnknown):
        jobids.update(error.candidates or ())
    return jobids


@pytest.mark.sample(6)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_order_is_billed_twice_and_none_is_lost(chunk: int) -> None:
    is_usual = "SCENARIOS" not in os.environ
    # Chunks alternate between the APIs.
    machine = type(f"Orders{chunk}", (Orders,), {"api": list(APIS)[chunk % len(APIS)]})
    if is_usual:
        # Without its own seed, each chunk would run the same scenarios.
        seed(chunk)(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(1, SCENARIOS // CHUNKS),
            stateful_step_count=8,
            deadline=None,
            derandomize=is_usual,
            suppress_health_check=list(HealthCheck),
        ),
    )
