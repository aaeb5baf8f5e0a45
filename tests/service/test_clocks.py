"""A local clock that is wrong by years: no order is repeated, forgotten, or blocked for years."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL, MIDNIGHT, wall_clock
from tests.service.faulty import Fault, FaultyTransport
from tests.service.orders import place

from luma_mcp.errors import LimitReached, LumaError, OutcomeUnknown

if TYPE_CHECKING:
    from tests.service.conftest import StartService

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

TWO_YEARS = 2 * 365 * 24 * 3600.0
MINUTE, HOUR = 60.0, 3600.0
SLOTS = 30


class DatedTransport(FaultyTransport):
    """Adds the API's time to its responses, as real servers do."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        response.headers["date"] = format_datetime(wall_clock(), usegmt=True)
        return response


class DatedReadsTransport(FaultyTransport):
    """Adds the API's time to responses to GET requests, but not to those to orders."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if request.method == "GET":
            response.headers["date"] = format_datetime(wall_clock(), usegmt=True)
        return response


Transport = type[FaultyTransport]
EACH_WRONG_CLOCK = pytest.mark.parametrize("ahead", [-TWO_YEARS, TWO_YEARS], ids=["behind", "ahead"])
EACH_TRANSPORT = pytest.mark.parametrize("transport", [DatedTransport, FaultyTransport], ids=["dated", "undated"])


@pytest.fixture(autouse=True)
def slots(simulator: Simulator) -> None:
    simulator.service.add_account(EMAIL, SLOTS)


async def error_of(service: VideoService, prompt: str) -> LumaError | None:
    try:
        await place(service, prompt)
    except LumaError as error:
        return error
    return None


async def is_blocked(service: VideoService) -> bool:
    """Whether an order of unknown outcome blocks an identical one."""
    error = await error_of(service, "A fox")
    if isinstance(error, OutcomeUnknown):
        assert error.age is not None
        assert error.age < HOUR
        return True
    assert error is None
    return False


async def is_limited(service: VideoService, prompt: str) -> bool:
    error = await error_of(service, prompt)
    if isinstance(error, LimitReached):
        assert error.next_at
        assert timedelta() <= error.next_at - wall_clock() <= timedelta(hours=1, minutes=1)
        return True
    assert error is None
    return False


@EACH_TRANSPORT
@EACH_WRONG_CLOCK
@pytest.mark.parametrize("knows_time", [True, False])
async def test_a_lost_order_blocks_for_a_quarter_of_an_hour(
    start_service: StartService, simulator: Simulator, transport: Transport, ahead: float, knows_time: bool
) -> None:
    """Counted from the correction of the clock, unless an earlier response showed the API's time."""
    faults = [Fault.NONE] * knows_time + [Fault.TIMED_OUT_BEFORE]
    wrong = start_service(transport(simulator, *faults), clock_ahead=ahead)
    if knows_time:
        await place(wrong, "A cat")
    with pytest.raises(OutcomeUnknown):
        await place(wrong)
    assert await is_blocked(wrong)
    corrected = start_service(transport(simulator))
    assert await is_blocked(corrected)
    await pass_time(14 * MINUTE)
    assert await is_blocked(corrected)
    await pass_time(2 * MINUTE)
    assert not await is_blocked(corrected)
    assert simulator.requests["POST /videos"] == 1 + knows_time


@EACH_WRONG_CLOCK
@EACH_TRANSPORT
async def test_a_clock_that_becomes_wrong_unblocks_no_order(
    start_service: StartService, simulator: Simulator, transport: Transport, ahead: float
) -> None:
    with pytest.raises(OutcomeUnknown):
        await place(start_service(transport(simulator, Fault.TIMED_OUT_BEFORE)))
    wrong = start_service(transport(simulator), clock_ahead=ahead)
    assert await is_blocked(wrong)
    await pass_time(14 * MINUTE)
    assert await is_blocked(wrong)
    assert await is_blocked(start_service(transport(simulator)))
    await pass_time(2 * MINUTE)
    assert not await is_blocked(wrong)
    assert simulator.requests["POST /videos"] == 1


@EACH_WRONG_CLOCK
@EACH_TRANSPORT
async def test_a_wrong_clock_removes_no_order(
    start_service: StartService, simulator: Simulator, transport: Transport, ahead: float
) -> None:
    """The wrong clock makes earlier orders seem years old. After the correction, its own orders seem so."""
    faulty = transport(simulator)
    service = start_service(faulty)
    finished = (await place(service, "Finished")).job.jobid
    await service.wait(finished, 300)
    running = (await place(service, "Running simulate:stuck")).job.jobid
    faulty.script = [Fault.TIMED_OUT_BEFORE]
    with pytest.raises(OutcomeUnknown):
        await place(service, "Lost", model="ray-v3")
    before = {(order.key, order.jobid) for order in await service.journal.list_latest(9)}
    assert {finished, running} < {jobid for _, jobid in before}

    wrong = start_service(transport(simulator), clock_ahead=ahead)
    await place(wrong, "Of the wrong clock")
    await wrong.list_jobs(9)
    await wrong.recover()
    corrected = start_service(transport(simulator))
    await place(corrected, "Of the right clock")
    await corrected.list_jobs(9)
    after = {(order.key, order.jobid) for order in await corrected.journal.list_latest(9)}
    assert before < after
    assert len(after) == len(before) + 2
    assert (await place(corrected, "Running simulate:stuck")).job.jobid == running


@EACH_WRONG_CLOCK
@EACH_TRANSPORT
async def test_a_running_job_is_found_again_with_a_wrong_clock(
    start_service: StartService, simulator: Simulator, transport: Transport, ahead: float
) -> None:
    first = await place(start_service(transport(simulator)), "A fox simulate:stuck")
    for clock_ahead in (ahead, 0):
        again = await place(start_service(transport(simulator), clock_ahead=clock_ahead), "A fox simulate:stuck")
        assert (again.outcome, again.job.jobid) == ("duplicate", first.job.jobid)
    assert simulator.requests["POST /videos"] == 1


@EACH_WRONG_CLOCK
@pytest.mark.parametrize("fault", [Fault.NONE, Fault.TIMED_OUT_AFTER])
async def test_a_finished_job_ordered_with_a_wrong_clock_is_returned(
    start_service: StartService, simulator: Simulator, ahead: float, fault: Fault
) -> None:
    """Its record shows when it ran. Once it has been delivered, an identical order starts a new job."""
    wrong = start_service(DatedReadsTransport(simulator, fault), clock_ahead=ahead)
    first = await place(wrong)
    await pass_time(5 * MINUTE)
    await wrong.wait(first.job.jobid, 0)
    [order] = await wrong.journal.list_latest(1)
    assert order.by_api_clock
    assert abs(order.ordered_at - MIDNIGHT) < timedelta(minutes=1)
    corrected = start_service(DatedTransport(simulator))
    again = await place(corrected)
    assert (again.outcome, again.job.jobid) == ("duplicate", first.job.jobid)
    await corrected.mark_delivered(first.job.jobid)
    assert (await place(corrected)).outcome == "created"


@EACH_WRONG_CLOCK
async def test_a_wrong_clock_does_not_end_the_repeat_window(
    start_service: StartService, simulator: Simulator, ahead: float
) -> None:
    """The API shows its time before the order."""
    right = start_service(DatedTransport(simulator))
    first = await place(right)
    await pass_time(5 * MINUTE)
    await right.wait(first.job.jobid, 0)
    again = await place(start_service(DatedTransport(simulator), clock_ahead=ahead))
    assert (again.outcome, again.job.jobid) == ("duplicate", first.job.jobid)
    await pass_time(10 * MINUTE)
    assert (await place(start_service(DatedTransport(simulator), clock_ahead=ahead))).outcome == "created"


@EACH_WRONG_CLOCK
@EACH_TRANSPORT
async def test_a_wrong_clock_does_not_block_the_limit_for_years(
    start_service: StartService, simulator: Simulator, transport: Transport, ahead: float
) -> None:
    wrong = start_service(transport(simulator), clock_ahead=ahead, max_jobs_per_hour=1)
    await place(wrong, "A fox")
    corrected = start_service(transport(simulator), max_jobs_per_hour=1)
    await pass_time(HOUR + MINUTE)
    assert not await is_limited(corrected, "A cat")
    assert await is_limited(corrected, "A hen")
    await pass_time(HOUR + MINUTE)
    assert not await is_limited(wrong, "A hen")


@EACH_WRONG_CLOCK
@pytest.mark.parametrize("fault", [Fault.NONE, Fault.TIMED_OUT_AFTER, Fault.TIMED_OUT_BEFORE, Fault.FAILED_BEFORE])
async def test_a_wrong_clock_does_not_bypass_the_hourly_limit(
    start_service: StartService, simulator: Simulator, ahead: float, fault: Fault
) -> None:
    """The API's responses show its time, even if the order itself got no response."""
    wrong = start_service(DatedTransport(simulator, fault), clock_ahead=ahead, max_jobs_per_hour=1)
    error = await error_of(wrong, "A fox")
    assert error is None or isinstance(error, OutcomeUnknown)
    await pass_time(MINUTE)
    assert await is_limited(start_service(DatedTransport(simulator), max_jobs_per_hour=1), "A cat")
    assert await is_limited(wrong, "A cat")
    await pass_time(HOUR)
    assert not await is_limited(wrong, "A cat")


@EACH_WRONG_CLOCK
async def test_orders_from_before_the_clock_became_wrong_count(
    start_service: StartService, simulator: Simulator, ahead: float
) -> None:
    await place(start_service(DatedTransport(simulator), max_jobs_per_hour=1), "A fox")
    wrong = start_service(DatedTransport(simulator), clock_ahead=ahead, max_jobs_per_hour=1)
    assert await is_limited(wrong, "A cat")
    assert simulator.requests["POST /videos"] == 1


@EACH_WRONG_CLOCK
async def test_the_journal_records_the_api_s_time(
    start_service: StartService, simulator: Simulator, ahead: float
) -> None:
    service = start_service(DatedTransport(simulator), clock_ahead=ahead)
    await pass_time(MINUTE)
    await place(service)
    [order] = await service.journal.list_latest(1)
    assert abs(order.ordered_at - MIDNIGHT - timedelta(minutes=1)) < timedelta(seconds=5)
