"""Concurrent and repeated orders: in one process, from two processes, and after an unknown outcome."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL, wall_clock
from tests.service.faulty import Fault, FaultyTransport
from tests.service.orders import place
from tests.transports import HoldingTransport

from luma_mcp.errors import (
    AccountSession,
    Capacity,
    Conflict,
    JobReference,
    LumaError,
    Moderated,
    NetworkError,
    OutcomeUnknown,
    PaymentRequired,
    Unauthorized,
    Upstream,
)
from luma_mcp.simulator.app import Fault as ApiFault

if TYPE_CHECKING:
    from tests.service.conftest import StartService

    from luma_mcp.service.requests import ProgressStep
    from luma_mcp.service.service import VideoService
    from luma_mcp.service.submit import SubmitResult
    from luma_mcp.simulator.app import Simulator

FOREIGN_REQUEST = {"prompt": "of another machine", "model": "ray-v3-flash", "resolution": "1080p"}


class DatedTransport(FaultyTransport):
    """Adds the API's time to its responses, as real servers do."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        response.headers["date"] = format_datetime(wall_clock(), usegmt=True)
        return response


class WithoutEndTimes(FaultyTransport):
    """Removes the end times from job records, because those of Luma's Agents API have none."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        record = json.loads(await response.aread())
        record.pop("updated", None)
        return httpx2.Response(response.status_code, json=record)


class PausedOrder:
    """An order that stops at a step until `may_continue` is set."""

    def __init__(self, service: VideoService, *, step: ProgressStep = "preparing", **options: Any) -> None:
        self.service = service
        self.step = step
        self.options = options
        self.arrived, self.may_continue = anyio.Event(), anyio.Event()
        self.result: SubmitResult | None = None

    async def submit(self) -> None:
        validated = await self.service.validate({"prompt": "A fox"})
        self.result = await self.service.submit(
            validated, retry_timeout=0, on_progress=self._on_progress, **self.options
        )

    async def _on_progress(self, step: ProgressStep, _: str | None = None, /) -> None:
        if step == self.step:
            self.arrived.set()
            await self.may_continue.wait()


async def deliver(service: VideoService, jobid: str) -> None:
    """Let the job finish, and mark its result as delivered."""
    await pass_time(100)
    await service.wait(jobid, 0)
    await service.mark_delivered(jobid)


async def test_two_identical_orders_at_once_are_one_job(service: VideoService, simulator: Simulator) -> None:
    results: list[SubmitResult] = []

    async def order() -> None:
        results.append(await place(service))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order)
        tasks.start_soon(order)
    assert sorted(result.outcome for result in results) == ["created", "duplicate"]
    assert {result.job.jobid for result in results} == set(simulator.service.jobs)
    assert len(simulator.service.jobs) == 1


async def test_identical_orders_are_submitted_one_at_a_time(service: VideoService, simulator: Simulator) -> None:
    steps: list[ProgressStep] = []
    results: list[SubmitResult] = []
    go_on = anyio.Event()
    validated = await service.validate({"prompt": "A fox"})

    async def on_progress(step: ProgressStep, _: str | None = None, /) -> None:
        steps.append(step)
        if step == "ordering":
            await go_on.wait()

    async def order() -> None:
        results.append(await service.submit(validated, retry_timeout=0, on_progress=on_progress))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order)
        tasks.start_soon(order)
        await pass_time(1)
        with anyio.move_on_after(1):
            # A cancelled waiter must not break the lock for the others.
            await order()
        tasks.start_soon(order)
        await pass_time(1)
        assert (steps.count("preparing"), steps.count("ordering")) == (4, 1)
        go_on.set()
    assert sorted(result.outcome for result in results) == ["created", "duplicate", "duplicate"]
    assert simulator.requests["POST /videos"] == 1


async def test_different_orders_do_not_wait_for_each_other(start_service: StartService, simulator: Simulator) -> None:
    held = HoldingTransport(simulator)
    service = start_service(held)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(place, service, "A fox")
        await held.delivered.wait()
        tasks.start_soon(place, service, "A cat")
        await pass_time(1)
        assert len(simulator.service.jobs) == 2
        held.may_answer.set()


async def test_another_process_finds_an_order_in_flight(start_service: StartService, simulator: Simulator) -> None:
    held = HoldingTransport(simulator)
    first, second = start_service(held), start_service()
    results: list[SubmitResult] = []

    async def order() -> None:
        results.append(await place(first))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order)
        await held.delivered.wait()
        results.append(await place(second))
        held.may_answer.set()
    assert simulator.requests["POST /videos"] == 1
    assert [result.job.jobid for result in results] == [*simulator.service.jobs] * 2


async def test_an_order_waits_while_the_sender_is_alive(start_service: StartService, simulator: Simulator) -> None:
    """The sender's heartbeats continue after its call is cancelled, so no other process searches for its job."""
    held = HoldingTransport(simulator)
    first, second = start_service(held), start_service()
    results: list[SubmitResult] = []

    async def order() -> None:
        results.append(await place(second))

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as call:
            async with anyio.create_task_group() as calls:
                calls.start_soon(place, first)
                await held.delivered.wait()
                tasks.start_soon(order)
                call.cancel()
                with anyio.CancelScope(shield=True):
                    await pass_time(20)
                    assert results == []
                    assert simulator.requests["GET /jobs"] == 0
                    held.may_answer.set()
    assert [result.outcome for result in results] == ["duplicate"]


async def test_a_pending_order_is_not_sent_after_an_identical_one(
    start_service: StartService, simulator: Simulator
) -> None:
    """The first process waits for a free slot. Meanwhile the second one sends the same order."""
    first, second = start_service(FaultyTransport(simulator, Fault.FULL_WITH_DELAY)), start_service()
    results: list[SubmitResult] = []

    async def order() -> None:
        results.append(await place(first))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order)
        await pass_time(1)
        results.append(await place(second))
    [jobid] = simulator.service.jobs
    assert [(result.outcome, result.job.jobid) for result in results] == [("created", jobid), ("duplicate", jobid)]


async def test_an_undelivered_finished_job_is_returned(service: VideoService, simulator: Simulator) -> None:
    first = await place(service)
    await pass_time(100)
    second = await place(service)
    assert (second.outcome, second.job.jobid, second.job.state) == ("duplicate", first.job.jobid, "completed")
    assert second.job.request == first.job.request
    assert len(simulator.service.jobs) == 1


@pytest.mark.parametrize("reason", ["delivered", "window passed", "deleted"])
async def test_an_identical_order_after_the_first_is_a_new_job(
    service: VideoService, simulator: Simulator, reason: str
) -> None:
    first = await place(service)
    await pass_time(100)
    done = await service.wait(first.job.jobid, 0)
    if reason == "delivered":
        await service.mark_delivered(first.job.jobid)
    elif reason == "deleted":
        await service.delete(first.job.jobid)
    else:
        elapsed = done.elapsed_seconds(wall_clock())
        assert elapsed
        await pass_time(elapsed + 601 - 100)
    assert (await place(service)).outcome == "created"
    assert simulator.requests["POST /videos"] == 2


async def test_a_hosted_server_returns_a_recent_video_again(start_service: StartService, simulator: Simulator) -> None:
    """A client that repeats an order within a minute may have lost the answer, as when a proxy or a replica fails."""
    services = [start_service(has_local_files=False) for _ in range(2)]
    first = await place(services[0])
    await deliver(services[0], first.job.jobid)
    await pass_time(50)
    for service in services:
        again = await place(service)
        assert (again.outcome, again.job.jobid, again.job.state) == ("duplicate", first.job.jobid, "completed")
    # That answer may be lost as well.
    await services[1].mark_delivered(first.job.jobid)
    await pass_time(50)
    assert (await place(services[0])).outcome == "duplicate"
    await pass_time(20)
    assert (await place(services[0])).outcome == "created"
    assert simulator.requests["POST /videos"] == 2


async def test_a_hosted_server_orders_again_after_a_failed_job(
    start_service: StartService, simulator: Simulator
) -> None:
    service = start_service(has_local_files=False)
    first = await place(service, prompt="simulate:fail")
    await deliver(service, first.job.jobid)
    assert (await place(service, prompt="simulate:fail")).outcome == "created"
    assert simulator.requests["POST /videos"] == 2


async def test_the_repeat_window_allows_for_an_unknown_end_time(
    start_service: StartService, simulator: Simulator
) -> None:
    """A job without an end time in its record may have run for a quarter of an hour."""
    service = start_service(WithoutEndTimes(simulator))
    first = await place(service)
    await pass_time(24 * 60)
    again = await place(service)
    assert (again.outcome, again.job.jobid) == ("duplicate", first.job.jobid)
    await pass_time(2 * 60)
    assert (await place(service)).outcome == "created"


@pytest.mark.parametrize("transport", [FaultyTransport, WithoutEndTimes])
async def test_a_repeat_window_of_0_returns_no_finished_job(
    start_service: StartService, simulator: Simulator, transport: type[FaultyTransport]
) -> None:
    service = start_service(transport(simulator), repeat_window_seconds=0)
    await place(service)
    await pass_time(100)
    assert (await place(service)).outcome == "created"
    assert simulator.requests["POST /videos"] == 2


@pytest.mark.parametrize("fault", [Fault.FAILED_AFTER, Fault.TIMED_OUT_AFTER])
async def test_a_call_that_waited_for_a_recovered_order_reuses_it(
    start_service: StartService, simulator: Simulator, fault: Fault
) -> None:
    """Even if the first job has finished and was delivered in the meantime."""
    service = start_service(FaultyTransport(simulator, fault))
    paused = PausedOrder(service)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(paused.submit)
        await paused.arrived.wait()
        first = await place(service)
        await deliver(service, first.job.jobid)
        paused.may_continue.set()
    assert paused.result is not None
    assert (paused.result.outcome, paused.result.job.jobid) == ("duplicate", first.job.jobid)
    assert (await place(service)).outcome == "created"


@pytest.mark.parametrize("window", [600, 0])
async def test_a_call_made_before_the_job_ended_gets_its_video(
    start_service: StartService, simulator: Simulator, window: int
) -> None:
    """Even if its clock was wrong until the API's first response."""
    paused = PausedOrder(start_service(DatedTransport(simulator), clock_ahead=3600, repeat_window_seconds=window))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(paused.submit)
        await paused.arrived.wait()
        other = start_service(DatedTransport(simulator))
        first = await place(other)
        await deliver(other, first.job.jobid)
        paused.may_continue.set()
    assert paused.result is not None
    assert paused.result.job.jobid == first.job.jobid
    assert simulator.requests["POST /videos"] == 1


async def test_identical_calls_at_once_get_the_same_finished_job(
    start_service: StartService, simulator: Simulator
) -> None:
    """Including the call that searches for the job after the other one has received it."""
    service = start_service()
    first = await place(service)
    await pass_time(100)
    paused = PausedOrder(start_service())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(paused.submit)
        await paused.arrived.wait()
        assert (await place(service)).outcome == "duplicate"
        await deliver(service, first.job.jobid)
        paused.may_continue.set()
    assert paused.result is not None
    assert paused.result.job.jobid == first.job.jobid
    assert simulator.requests["POST /videos"] == 1


async def test_an_order_made_and_finished_during_uploads_is_found(
    start_service: StartService, simulator: Simulator
) -> None:
    paused = PausedOrder(start_service(), step="ordering")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(paused.submit)
        await paused.arrived.wait()
        other = start_service()
        first = await place(other)
        await deliver(other, first.job.jobid)
        paused.may_continue.set()
    assert paused.result is not None
    assert paused.result.job.jobid == first.job.jobid
    assert simulator.requests["POST /videos"] == 1
    # The pending order of the paused call was removed.
    assert [order.jobid for order in await other.journal.list_latest(9)] == [first.job.jobid]


async def test_a_finished_job_is_found_once_the_journal_is_unlocked(
    start_service: StartService, simulator: Simulator, journal_path: str
) -> None:
    """An order waits for the file, and then searches it again. The test takes as long as SQLite's lock timeout."""
    service = start_service()
    first = await place(service)
    await deliver(service, first.job.jobid)
    await pass_time(3600)
    paused = PausedOrder(start_service(), step="ordering", any_age=True, patience=1000)
    async with anyio.create_task_group() as tasks:
        with closing(sqlite3.connect(journal_path, isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            tasks.start_soon(paused.submit)
            await paused.arrived.wait()
            assert paused.service.journal.problem is not None
        paused.may_continue.set()
    assert paused.result is not None
    assert paused.result.job.jobid == first.job.jobid
    assert paused.service.journal.problem is None
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize("received", ["first", "second"])
async def test_the_undelivered_one_of_two_finished_jobs_is_returned(
    service: VideoService, simulator: Simulator, received: str
) -> None:
    first = await place(service)
    second = await place(service, allow_duplicate=True)
    jobids = {"first": first.job.jobid, "second": second.job.jobid}
    await pass_time(100)
    for jobid in jobids.values():
        await service.wait(jobid, 0)
    await service.mark_delivered(jobids.pop(received))
    [missing] = jobids.values()
    again = await place(service)
    assert (again.outcome, again.job.jobid) == ("duplicate", missing)
    await service.mark_delivered(missing)
    assert (await place(service)).outcome == "created"
    assert simulator.requests["POST /videos"] == 3


@pytest.mark.parametrize("given", [{"duration": "10s"}, {"aspect_ratio": "9:16"}, {"prompt": "A cat"}], ids=str)
async def test_different_parameters_make_a_new_order(
    service: VideoService, simulator: Simulator, given: dict[str, Any]
) -> None:
    await place(service)
    assert (await place(service, **given)).outcome == "created"
    assert len(simulator.service.jobs) == 2


async def test_an_allowed_duplicate_is_a_new_job(service: VideoService, simulator: Simulator) -> None:
    await place(service)
    assert (await place(service, allow_duplicate=True)).outcome == "created"
    assert len(simulator.service.jobs) == 2


async def test_reuse_only_orders_nothing(service: VideoService, simulator: Simulator) -> None:
    with pytest.raises(Conflict) as none_running:
        await place(service, reuse_only=True)
    first = await place(service)
    for allow_duplicate in (False, True):
        again = await place(service, reuse_only=True, allow_duplicate=allow_duplicate)
        assert again.job.jobid == first.job.jobid
    await pass_time(100)
    await service.wait(first.job.jobid, 0)
    await service.mark_delivered(first.job.jobid)
    with pytest.raises(Conflict) as finished:
        await place(service, reuse_only=True, allow_duplicate=True)
    for conflict in (none_running.value, finished.value):
        assert (conflict.reason, conflict.charged) == ("just_finished", "no")
    assert simulator.requests["POST /videos"] == 1


async def test_a_duplicate_is_looked_up_once(service: VideoService, simulator: Simulator) -> None:
    await place(service)
    before = simulator.requests["GET /jobs/…"]
    await place(service)
    assert simulator.requests["GET /jobs/…"] == before + 1


async def test_finding_a_duplicate_orders_nothing(service: VideoService, simulator: Simulator) -> None:
    validated = await service.validate({"prompt": "A fox"})
    assert await service.find_duplicate(validated) is None
    first = await place(service)
    duplicate = await service.find_duplicate(validated)
    assert duplicate
    assert (duplicate.outcome, duplicate.job.jobid) == ("duplicate", first.job.jobid)
    assert duplicate.job.request == first.job.request
    assert simulator.requests["POST /videos"] == 1


async def test_an_unknown_outcome_blocks_the_same_order_for_a_while(
    start_service: StartService, simulator: Simulator
) -> None:
    service = start_service(FaultyTransport(simulator, Fault.TIMED_OUT_BEFORE))
    with pytest.raises(OutcomeUnknown) as lost:
        await place(service)
    assert (lost.value.age, lost.value.candidates, lost.value.charged) == (None, (), "unknown")
    await pass_time(60)
    with pytest.raises(OutcomeUnknown) as blocked:
        await place(service)
    assert blocked.value.age == pytest.approx(60, abs=5)
    assert not simulator.service.jobs
    assert (await place(service, allow_duplicate=True)).outcome == "created"
    await pass_time(16 * 60)
    assert (await place(service)).outcome == "created"
    assert len(simulator.service.jobs) == 2


async def test_a_failure_with_a_message_proves_nothing(start_service: StartService, simulator: Simulator) -> None:
    """It blocks identical orders as well, because its job may be running."""
    service = start_service(FaultyTransport(simulator, Fault.FAILED_BEFORE))
    for age in (None, pytest.approx(2, abs=3)):
        with pytest.raises(OutcomeUnknown) as unknown:
            await place(service)
        assert unknown.value.age == age
        assert (unknown.value.charged, unknown.value.retry) == ("unknown", "later")
    assert simulator.requests["POST /videos"] == 0
    # If the API had started a job, it would be listed by now.
    await pass_time(120)
    assert (await place(service)).outcome == "created"


async def test_an_unknown_outcome_quotes_the_api_error(start_service: StartService, simulator: Simulator) -> None:
    service = start_service(FaultyTransport(simulator, Fault.FAILED_BEFORE))
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(service)
    assert (unknown.value.status, unknown.value.api_message) == (500, "Internal error")


@pytest.mark.parametrize("fault", [Fault.FAILED_AFTER, Fault.TIMED_OUT_AFTER, Fault.GATEWAY_AFTER, Fault.TRUNCATED])
async def test_the_job_of_a_lost_answer_is_recovered(
    start_service: StartService, simulator: Simulator, fault: Fault
) -> None:
    result = await place(start_service(FaultyTransport(simulator, fault)))
    assert (result.outcome, [result.job.jobid]) == ("recovered", [*simulator.service.jobs])
    assert result.job.request
    assert result.job.request.prompt == "A fox"


async def test_an_unknown_outcome_names_the_possible_jobs(start_service: StartService, simulator: Simulator) -> None:
    jobs = [simulator.service.start(FOREIGN_REQUEST, EMAIL, webhook=False) for _ in range(2)]
    service = start_service(FaultyTransport(simulator, Fault.FAILED_BEFORE))
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(service)
    assert unknown.value.candidates == tuple(job.jobid for job in jobs)


async def test_a_job_that_fits_two_lost_orders_is_adopted_by_neither(
    start_service: StartService, simulator: Simulator
) -> None:
    service = start_service(FaultyTransport(simulator, Fault.TIMED_OUT_BEFORE))
    with pytest.raises(OutcomeUnknown):
        await place(service, "A cat")
    second = start_service(FaultyTransport(simulator, Fault.TIMED_OUT_AFTER))
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(second)
    assert unknown.value.candidates == tuple(simulator.service.jobs)


async def test_the_job_of_another_order_is_no_candidate(start_service: StartService, simulator: Simulator) -> None:
    service = start_service(FaultyTransport(simulator, Fault.NONE, Fault.TIMED_OUT_BEFORE))
    await place(service, "A cat")
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(service)
    assert unknown.value.candidates == ()


async def test_jobs_that_cannot_be_listed_are_not_reported_as_none(
    start_service: StartService, simulator: Simulator
) -> None:
    faults = [Fault.TIMED_OUT_BEFORE, Fault.REFUSED, Fault.REFUSED]
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(start_service(FaultyTransport(simulator, *faults)))
    assert unknown.value.candidates is None


async def test_an_earlier_job_is_no_candidate(start_service: StartService, simulator: Simulator) -> None:
    await pass_time(1000)
    simulator.service.start(FOREIGN_REQUEST, EMAIL, webhook=False)
    await pass_time(60)
    with pytest.raises(OutcomeUnknown) as lost:
        await place(start_service(FaultyTransport(simulator, Fault.TIMED_OUT_BEFORE)))
    assert lost.value.candidates == ()


async def test_a_job_of_another_account_is_no_candidate(start_service: StartService, simulator: Simulator) -> None:
    simulator.service.add_account("b@example.com")
    simulator.service.start(FOREIGN_REQUEST, "b@example.com", webhook=False)
    with pytest.raises(OutcomeUnknown) as lost:
        await place(start_service(FaultyTransport(simulator, Fault.TIMED_OUT_BEFORE), email=EMAIL))
    assert lost.value.candidates == ()


async def test_a_single_404_of_a_young_job_orders_no_second_one(service: VideoService, simulator: Simulator) -> None:
    """A replica lags behind: neither the list nor an identical order treats the job as gone."""
    jobid = (await place(service)).job.jobid
    simulator.faults.append(ApiFault("GET", "/jobs", 200, b'{"executing":0,"jobs":[]}'))
    simulator.faults.append(ApiFault("GET", f"/jobs/{jobid}", 404, b'{"error":"Job not found"}', times=2))
    assert [job.state for job in (await service.list_jobs(9)).jobs] == ["running"]
    with pytest.raises(Upstream) as not_listed:
        await place(service)
    error = not_listed.value
    assert (error.fault, error.jobid, error.charged, error.retry) == ("not_listed", jobid, "no", "later")
    assert (await place(service)).job.jobid == jobid
    assert len(simulator.service.jobs) == 1


async def test_a_running_job_that_cannot_be_fetched_is_named(service: VideoService, simulator: Simulator) -> None:
    jobid = (await place(service)).job.jobid
    simulator.faults.append(ApiFault("GET", "/jobs/", 401, b'{"error":"Unauthorized"}'))
    with pytest.raises(Unauthorized) as error:
        await place(service)
    assert (error.value.jobid, error.value.charged) == (jobid, "no")
    assert simulator.requests["POST /videos"] == 1


async def test_the_default_account_is_the_same_stated_or_not(start_service: StartService) -> None:
    service = start_service(email=EMAIL)
    assert (await place(service)).outcome == "created"
    assert (await place(service, email=EMAIL)).outcome == "duplicate"
    assert (await place(service, "A fox ")).outcome == "duplicate"


@pytest.mark.parametrize("ahead", [-3600, 3600])
async def test_a_changed_wall_clock_delays_no_order(
    start_service: StartService, simulator: Simulator, ahead: float
) -> None:
    """The process is killed while an order is in flight, and the clock is changed before the restart."""
    with pytest.raises(BaseExceptionGroup):
        await place(start_service(FaultyTransport(simulator, Fault.KILLED_BEFORE), clock_ahead=ahead))
    start = anyio.current_time()
    # If the clock was an hour behind, the order looks too old to block another one.
    with suppress(OutcomeUnknown):
        await place(start_service())
    assert anyio.current_time() - start < 30


@pytest.mark.parametrize("ahead", [-3600, 3600])
async def test_a_lost_order_is_found_with_a_wrong_clock(
    start_service: StartService, simulator: Simulator, ahead: float
) -> None:
    """The API's responses show its time."""
    result = await place(start_service(DatedTransport(simulator, Fault.TIMED_OUT_AFTER), clock_ahead=ahead))
    assert (result.outcome, [result.job.jobid]) == ("recovered", [*simulator.service.jobs])


@pytest.mark.parametrize(
    ("behavior", "kind"),
    [("moderate", Moderated), ("broke", PaymentRequired), ("expired", AccountSession), ("busy", Capacity)],
)
async def test_a_rejected_order_costs_nothing_and_blocks_nothing(
    service: VideoService, behavior: str, kind: type[LumaError]
) -> None:
    for _ in range(2):
        with pytest.raises(kind) as rejected:
            await place(service, f"A fox simulate:{behavior}", retry_timeout=0)
        assert rejected.value.charged == "no"
    assert await service.journal.list_latest(10) == []


async def test_an_order_that_never_arrived_costs_nothing(start_service: StartService, simulator: Simulator) -> None:
    transport = FaultyTransport(simulator, *[Fault.REFUSED] * 30)
    service = start_service(transport)
    with pytest.raises(NetworkError) as refused:
        await place(service)
    assert refused.value.charged == "no"
    transport.script = []
    assert (await place(service)).outcome == "created"


async def test_full_slots_are_explained(service: VideoService, simulator: Simulator) -> None:
    finished = (await place(service, "A finished fox")).job.jobid
    await pass_time(100)
    await service.wait(finished, 0)
    simulator.service.accounts[EMAIL].concurrency = 1
    running = (await place(service, "A fox that runs through a forest of forty oaks")).job.jobid
    with pytest.raises(Capacity) as full:
        await place(service, "A cat", retry_timeout=0)
    assert full.value.running == (JobReference(running, "A fox that runs through a forest of fort…"),)
    assert (full.value.in_use, full.value.slots, full.value.deletable) == (1, 1, ())
    assert full.value.seconds is not None
    # Only the API's own numbers show that finished jobs occupy slots.
    row = {"email": EMAIL, "concurrency": 2, "executing": 2}
    simulator.faults.append(ApiFault("GET", "/accounts", 200, json.dumps({EMAIL: row}).encode()))
    simulator.faults.append(ApiFault("POST", "/videos", 429, b'{"error":"full"}'))
    with pytest.raises(Capacity) as occupied:
        await place(service, "A cat", retry_timeout=0)
    assert occupied.value.deletable == (JobReference(finished, "A finished fox"),)
