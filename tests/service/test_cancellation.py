"""Calls that are cancelled while they order: the journal stays correct."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import client_of, resolve, wall_clock
from tests.service.faulty import Fault, FaultyTransport
from tests.service.orders import ignore_progress, place
from tests.transports import HoldingTransport

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.errors import Moderated
from luma_mcp.journal.protocol import RateWindow
from luma_mcp.journal.sqlite import SqliteJournal
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.service.clip_files import ClipFiles
from luma_mcp.service.prices import PriceEstimator
from luma_mcp.service.reconcile import Reconciler
from luma_mcp.service.requests import RequestBuilder
from luma_mcp.service.submit import OrderSubmitter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.service.conftest import StartService

    from luma_mcp.api.protocol import VideoRequest
    from luma_mcp.journal.protocol import Order
    from luma_mcp.service.requests import ProgressStep
    from luma_mcp.service.submit import SubmitResult
    from luma_mcp.simulator.app import Simulator

    OrderCancelledAt = Callable[..., Awaitable[None]]


class CancellingJournal:
    """A journal that cancels the caller before or after one step."""

    def __init__(self, journal: SqliteJournal, step: str, scope: anyio.CancelScope, when: str) -> None:
        self._journal = journal
        self._step = step
        self._scope = scope
        self._when = when
        self.cancelled = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._journal, name)
        if name != self._step:
            return method

        async def cancel_and_call(*args: Any, **options: Any) -> Any:
            self.cancelled = True
            if self._when == "before":
                self._scope.cancel()
            result = await method(*args, **options)
            if self._when == "after":
                # A journal on the network would notice the cancellation only after its response.
                self._scope.cancel()
                await anyio.lowlevel.checkpoint()
            return result

        return cancel_and_call


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal.db", api="test", wall_clock=wall_clock)
    yield journal
    await journal.aclose()


class FailingJournal:
    """A journal that fails at one step. The real one never does, but a paid job must not depend on that."""

    def __init__(self, journal: SqliteJournal, step: str) -> None:
        self._journal = journal
        self._step = step

    def __getattr__(self, name: str) -> Any:
        if name != self._step:
            return getattr(self._journal, name)

        async def fail(*_: Any) -> None:
            raise RuntimeError(name)

        return fail


async def expect(_: VideoRequest) -> float | None:
    return None


async def submit(journal: Any, transport: httpx2.AsyncBaseTransport, prompt: str = "A fox") -> SubmitResult:
    """Submit an order with the given journal."""
    api = client_of(transport)
    http = SafeHttpClient(transport=transport, resolve=resolve)
    requests = RequestBuilder(
        api,
        journal,
        http,
        catalog=USEAPI,
        folders=(),
        default_account=None,
        decoder=Decoder(),
        clips=ClipFiles(api, journal, http),
    )
    reconciler = Reconciler(api, journal, wall_clock)
    submitter = OrderSubmitter(
        api,
        journal,
        requests,
        reconciler,
        wall_clock,
        max_per_hour=0,
        budget=0,
        prices=PriceEstimator(USEAPI, journal),
        repeat_window=timedelta(),
        is_shared=True,
        is_required=False,
        expect=expect,
    )
    return await submitter.submit(
        await requests.validate({"prompt": prompt}),
        allow_duplicate=False,
        reuse_only=False,
        save=False,
        retry_timeout=20,
        on_progress=ignore_progress,
    )


@pytest.fixture(params=["before", "after"])
def order_cancelled_at(request: pytest.FixtureRequest, journal: SqliteJournal) -> OrderCancelledAt:
    """Submits an order in a scope that is cancelled before or after a step."""

    async def order(step: str, transport: httpx2.AsyncBaseTransport, prompt: str = "A fox") -> None:
        with anyio.CancelScope() as scope:
            cancelling = CancellingJournal(journal, step, scope, request.param)
            await submit(cancelling, transport, prompt)
        assert cancelling.cancelled

    return order


async def list_orders(journal: SqliteJournal) -> list[Order]:
    """List all orders, including pending ones."""
    long_ago = wall_clock() - timedelta(days=1)
    return await journal.list_counted(RateWindow(1, since=long_ago, pending_since=long_ago, until=wall_clock()))


@pytest.mark.parametrize("step", ["get_open", "insert_pending"])
async def test_a_call_cancelled_before_sending_orders_nothing(
    order_cancelled_at: OrderCancelledAt, journal: SqliteJournal, simulator: Simulator, step: str
) -> None:
    await order_cancelled_at(step, httpx2.ASGITransport(simulator))
    assert simulator.requests["POST /videos"] == 0
    assert await list_orders(journal) == []


@pytest.mark.parametrize("step", ["mark_sending", "record_job"])
async def test_a_call_cancelled_after_sending_records_its_job(
    order_cancelled_at: OrderCancelledAt,
    journal: SqliteJournal,
    simulator: Simulator,
    step: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        await order_cancelled_at(step, httpx2.ASGITransport(simulator))
    [jobid] = simulator.service.jobs
    [order] = await list_orders(journal)
    assert (order.jobid, order.state) == (jobid, "running")
    assert jobid in caplog.text


async def test_a_call_cancelled_on_429_leaves_nothing(
    order_cancelled_at: OrderCancelledAt, journal: SqliteJournal, simulator: Simulator
) -> None:
    await order_cancelled_at("mark_not_delivered", FaultyTransport(simulator, Fault.FULL_WITH_DELAY))
    assert simulator.requests["POST /videos"] == 0
    assert await list_orders(journal) == []


async def test_a_call_cancelled_on_rejection_leaves_nothing(
    order_cancelled_at: OrderCancelledAt, journal: SqliteJournal, simulator: Simulator
) -> None:
    with pytest.raises(Moderated):
        await order_cancelled_at("drop", httpx2.ASGITransport(simulator), "A fox simulate:moderate")
    assert await list_orders(journal) == []


async def test_a_lost_order_of_a_cancelled_call_is_recorded(
    order_cancelled_at: OrderCancelledAt, journal: SqliteJournal, simulator: Simulator
) -> None:
    await order_cancelled_at("mark_unknown", FaultyTransport(simulator, Fault.TIMED_OUT_AFTER))
    assert [order.state for order in await list_orders(journal)] == ["unknown"]


async def test_a_call_cancelled_during_recovery_records_its_job(
    order_cancelled_at: OrderCancelledAt, journal: SqliteJournal, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await order_cancelled_at("adopt", FaultyTransport(simulator, Fault.TIMED_OUT_AFTER))
    [jobid] = simulator.service.jobs
    assert [order.jobid for order in await list_orders(journal)] == [jobid]
    assert jobid in caplog.text


async def test_a_call_cancelled_while_slots_are_full_leaves_nothing(
    start_service: StartService, simulator: Simulator
) -> None:
    # The first request, which reads the API's time, succeeds.
    service = start_service(FaultyTransport(simulator, Fault.NONE, Fault.FULL_WITH_DELAY), max_jobs_per_hour=1)
    with anyio.move_on_after(1):
        await place(service)
    assert (await place(start_service(max_jobs_per_hour=1))).outcome == "created"
    assert len(simulator.service.jobs) == 1


async def test_a_call_cancelled_in_flight_keeps_its_job(
    start_service: StartService, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    held = HoldingTransport(simulator)
    with caplog.at_level(logging.WARNING):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(place, start_service(held))
            await held.delivered.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await pass_time(5)
            held.may_answer.set()
    [jobid] = simulator.service.jobs
    assert jobid in caplog.text
    assert (await place(start_service())).job.jobid == jobid
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize("when", ["preparing", "ordering"])
async def test_a_call_cancelled_in_a_progress_callback_orders_nothing(
    start_service: StartService, simulator: Simulator, when: str
) -> None:
    service = start_service()
    with anyio.CancelScope() as scope:

        async def cancel(step: ProgressStep, _: str | None = None, /) -> None:
            if step == when:
                scope.cancel()

        validated = await service.validate({"prompt": "A fox"})
        await service.submit(validated, retry_timeout=0, on_progress=cancel)
    assert simulator.requests["POST /videos"] == 0


async def test_a_job_that_cannot_be_recorded_is_returned(
    journal: SqliteJournal, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    result = await submit(FailingJournal(journal, "record_job"), httpx2.ASGITransport(simulator))
    assert [result.job.jobid] == [*simulator.service.jobs]
    assert result.job.jobid in caplog.text


async def test_a_failing_heartbeat_does_not_interrupt_delivery(journal: SqliteJournal, simulator: Simulator) -> None:
    held = HoldingTransport(simulator)
    results: list[SubmitResult] = []

    async def order() -> None:
        results.append(await submit(FailingJournal(journal, "heartbeat"), held))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order)
        await held.delivered.wait()
        await pass_time(5)
        held.may_answer.set()
    assert [result.job.jobid for result in results] == [*simulator.service.jobs]


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_an_order_interrupted_by_task_cancel_is_recovered(
    start_service: StartService, simulator: Simulator
) -> None:
    """`Task.cancel` ignores the shield, as documented. Still nothing is ordered twice."""
    held = HoldingTransport(simulator)
    call = asyncio.create_task(place(start_service(held)))
    await held.delivered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    result = await place(start_service())
    assert (result.outcome, [result.job.jobid]) == ("recovered", [*simulator.service.jobs])
    assert simulator.requests["POST /videos"] == 1
