"""An order is delivered at most once, and every delivery is recorded, whenever its caller is cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from tests.conftest import client_of
from tests.transports import HoldingTransport, UnreliableTransport, counting_server
from trio.testing import MockClock

from luma_mcp import errors
from luma_mcp.api.protocol import VideoRequest
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from luma_mcp.simulator.app import Simulator

FOX = VideoRequest(prompt="A fox in the snow")


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Servers run on asyncio, whose cancellation differs from trio's."""
    options: dict[str, Any] = {}
    if request.param == "trio":
        options["clock"] = MockClock(autojump_threshold=0)
    return request.param, options


class Recorder:
    """Records the steps. `on_step` is called during each step, like a slow write to the journal."""

    def __init__(self, on_step: Callable[[str], Awaitable[None]] | None = None) -> None:
        self.steps: list[str] = []
        self._on_step = on_step

    async def sending(self) -> None:
        await self._step("sending")

    async def not_delivered(self) -> None:
        await self._step("not delivered")

    async def _step(self, name: str) -> None:
        if self._on_step:
            await self._on_step(name)
        await anyio.lowlevel.checkpoint()
        self.steps.append(name)


async def test_each_delivery_and_each_failure_is_recorded(simulator: Simulator) -> None:
    refused = httpx2.ConnectError("refused")
    full = Fault("POST", "/videos", 429, b'{"error":"full"}')
    simulator.faults.append(full)
    recorder = Recorder()
    await client_of(UnreliableTransport(simulator, refused)).submit(FOX, observer=recorder)
    assert recorder.steps == ["sending", "not delivered", "sending", "not delivered", "sending"]
    assert len(simulator.service.jobs) == 1


@pytest.mark.parametrize(
    ("status", "steps"),
    [
        (422, ["sending", "not delivered"]),
        (500, ["sending"]),
        (502, ["sending"]),
        (302, ["sending"]),
    ],
)
async def test_only_a_certain_failure_is_recorded_as_not_delivered(
    simulator: Simulator, status: int, steps: list[str]
) -> None:
    simulator.faults.append(Fault("POST", "/videos", status, b'{"error":"no"}'))
    recorder = Recorder()
    with pytest.raises(errors.LumaError):
        await client_of(httpx2.ASGITransport(simulator)).submit(FOX, observer=recorder)
    assert recorder.steps == steps


async def test_observer_can_prevent_an_order(simulator: Simulator) -> None:
    async def refuse(_: str) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await client_of(httpx2.ASGITransport(simulator)).submit(FOX, observer=Recorder(refuse))
    assert simulator.requests.total() == 0


async def test_cancelled_caller_sends_nothing(simulator: Simulator) -> None:
    recorder = Recorder()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await client_of(httpx2.ASGITransport(simulator)).submit(FOX, observer=recorder)
    assert recorder.steps == []
    assert simulator.requests.total() == 0


async def test_order_is_delivered_if_cancelled_while_recorded(simulator: Simulator) -> None:
    """The order is recorded as sent, so it is sent, and its job is returned."""
    jobids: list[str] = []
    with anyio.CancelScope() as scope:

        async def cancel(_: str) -> None:
            scope.cancel()

        recorder = Recorder(cancel)
        job = await client_of(httpx2.ASGITransport(simulator)).submit(FOX, observer=recorder)
        jobids.append(job.jobid)
        await anyio.lowlevel.checkpoint()
        jobids.append("not cancelled")
    assert recorder.steps == ["sending"]
    assert jobids == list(simulator.service.jobs)


async def test_cancelling_during_delivery_waits_for_the_answer(simulator: Simulator) -> None:
    network = HoldingTransport(simulator)
    jobids: list[str] = []

    async def order() -> None:
        jobids.append((await client_of(network).submit(FOX)).jobid)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(order)
            await network.delivered.wait()
            tasks.cancel_scope.cancel()
            network.may_answer.set()
    assert jobids == list(simulator.service.jobs)


async def test_cancelling_while_a_failure_is_recorded_ends_there(simulator: Simulator) -> None:
    """The failed delivery is recorded, and there is no retry."""
    with anyio.CancelScope() as scope:

        async def cancel(step: str) -> None:
            if step == "not delivered":
                scope.cancel()

        recorder = Recorder(cancel)
        await client_of(UnreliableTransport(simulator, httpx2.ConnectError("refused"))).submit(FOX, observer=recorder)
    assert scope.cancelled_caught
    assert recorder.steps == ["sending", "not delivered"]
    assert simulator.requests.total() == 0


async def test_cancelling_between_deliveries_ends_there(simulator: Simulator) -> None:
    failed = anyio.Event()
    recorder = Recorder()
    luma = client_of(UnreliableTransport(simulator, httpx2.ConnectError("refused")))

    async def watch(step: str) -> None:
        if step == "not delivered":
            failed.set()

    recorder = Recorder(watch)
    async with anyio.create_task_group() as tasks:

        async def order() -> None:
            await luma.submit(FOX, observer=recorder)

        tasks.start_soon(order)
        await failed.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert recorder.steps == ["sending", "not delivered"]
    assert simulator.requests.total() == 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_each_order_has_its_own_connection() -> None:
    """If the API closed a reused connection at that moment, the outcome of the order would be unknown."""
    async with counting_server(b'{"jobid":"j1"}') as (url, requests), LumaClient("user:1-abc", base_url=url) as luma:
        await luma.get("j1")
        await luma.submit(FOX)
        await luma.submit(FOX)
        await luma.delete("j1")
        await luma.get("j1")
    # Reads reuse a connection, so the server does keep connections open.
    assert requests == [("GET", 1), ("POST", 2), ("POST", 3), ("DELETE", 4), ("GET", 1)]
