"""LUMA_MCP_MAX_JOBS_PER_HOUR: at most that many orders are sent from this machine per hour."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL, MIDNIGHT
from tests.service.faulty import Fault, FaultyTransport
from tests.service.orders import place
from tests.transports import HoldingTransport, UnreliableTransport

from luma_mcp.errors import InvalidArguments, LimitReached, LumaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.service.conftest import StartService

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

    Start = Callable[..., VideoService]

SLOTS = 30
HOUR = 3600.0


@pytest.fixture(params=["file", "memory"])
def journal_path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "journal.db") if request.param == "file" else "off"


@pytest.fixture
def start(start_service: StartService, simulator: Simulator) -> Start:
    """Starts a service with an hourly limit, with an API that has enough slots for more orders."""
    simulator.service.add_account(EMAIL, SLOTS)

    def start_limited(limit: int, transport: httpx2.AsyncBaseTransport | None = None) -> VideoService:
        return start_service(transport, max_jobs_per_hour=limit)

    return start_limited


async def outcome_of(service: VideoService, prompt: str, **given: Any) -> str:
    """Order a video, and return the outcome or the kind of the error."""
    try:
        return (await place(service, prompt, **given)).outcome
    except LumaError as error:
        return error.kind


async def test_an_order_beyond_the_limit_is_refused(start: Start, simulator: Simulator) -> None:
    service = start(3)
    for number in range(3):
        assert await outcome_of(service, f"Fox {number}") == "created"
        await pass_time(600)
    with pytest.raises(LimitReached) as refused:
        await place(service, "Fox 3")
    error = refused.value
    assert (error.limit, error.next_at) == (3, MIDNIGHT + timedelta(hours=1))
    assert (error.charged, error.retry, error.retry_after) == ("no", "later", 1800)
    assert simulator.requests["POST /videos"] == 3


async def test_the_limit_can_be_checked_before_the_order(start: Start) -> None:
    service = start(1)
    await service.check_limits(await service.validate({"prompt": "A fox"}))
    await place(service)
    with pytest.raises(LimitReached):
        await service.check_limits(await service.validate({"prompt": "A fox"}))


@pytest.mark.parametrize("ordered_at", [0, 1, 40, 59.5])
@pytest.mark.parametrize("wait_for", ["next_at", "retry_after"])
async def test_the_next_order_is_allowed_at_the_stated_time(start: Start, ordered_at: float, wait_for: str) -> None:
    service = start(1)
    await anyio.sleep_until(ordered_at)
    await place(service, "Fox")
    await anyio.sleep_until(600)
    with pytest.raises(LimitReached) as refused:
        await place(service, "Cat")
    error = refused.value
    # The time is shown without seconds.
    assert error.next_at
    assert error.next_at.second == error.next_at.microsecond == 0
    if wait_for == "next_at":
        await anyio.sleep_until((error.next_at - MIDNIGHT).total_seconds())
    else:
        await pass_time(error.retry_after or 0)
    assert await outcome_of(service, "Cat") == "created"


async def test_the_hour_slides(start: Start, simulator: Simulator) -> None:
    service = start(2)
    await place(service, "At once")
    await anyio.sleep_until(1000)
    await place(service, "After 1000 seconds")
    outcomes: dict[float, str] = {}
    for time in (HOUR - 1, HOUR + 1, HOUR + 999, HOUR + 1001, 2 * HOUR):
        await anyio.sleep_until(time)
        outcomes[time] = await outcome_of(service, f"At {time}")
    assert outcomes == {
        HOUR - 1: "limit_reached",
        HOUR + 1: "created",
        HOUR + 999: "limit_reached",
        HOUR + 1001: "created",
        2 * HOUR: "limit_reached",
    }
    assert simulator.requests["POST /videos"] == 4


@pytest.mark.parametrize("behavior", ["moderate", "broke", "expired", "busy"])
async def test_a_rejected_order_does_not_count(start: Start, simulator: Simulator, behavior: str) -> None:
    service = start(1)
    for number in range(2):
        outcome = await outcome_of(service, f"Fox {number} simulate:{behavior}", retry_timeout=0)
        assert outcome not in ("limit_reached", "created")
    assert await outcome_of(service, "Fox") == "created"
    assert len(simulator.service.jobs) == 1


async def test_an_invalid_request_is_rejected_and_does_not_count(start: Start) -> None:
    service = start(1)
    for _ in range(2):
        with pytest.raises(InvalidArguments):
            await place(service, "Fox", model="ray-9")
        assert await outcome_of(service, "Fox") in ("created", "duplicate")


async def test_an_order_that_never_arrived_does_not_count(start: Start, simulator: Simulator) -> None:
    transport = FaultyTransport(simulator, *[Fault.REFUSED] * 30)
    service = start(1, transport)
    assert await outcome_of(service, "Fox") == "network"
    transport.script = []
    assert await outcome_of(service, "Fox") == "created"
    assert len(simulator.service.jobs) == 1


@pytest.mark.parametrize("faults", [1, 30], ids=["found", "not found"])
async def test_an_order_without_an_answer_counts(start: Start, simulator: Simulator, faults: int) -> None:
    # The first request, which reads the API's time, succeeds.
    transport = UnreliableTransport(simulator, None, *[httpx2.ReadTimeout("no answer")] * faults, delivered=True)
    service = start(1, transport)
    lost = await outcome_of(service, "Fox")
    transport.faults = []
    await pass_time(1)
    assert lost == ("recovered" if faults == 1 else "outcome_unknown")
    assert await outcome_of(service, "Another fox") == "limit_reached"
    assert simulator.requests["POST /videos"] == 1


async def test_a_duplicate_counts_only_if_it_is_ordered(start: Start, simulator: Simulator) -> None:
    service = start(2)
    outcomes: list[str] = []
    for allow_duplicate in (False, False, True, False, True):
        outcomes.append(await outcome_of(service, "Fox", allow_duplicate=allow_duplicate))
        await pass_time(1)
    assert outcomes == ["created", "duplicate", "created", "duplicate", "limit_reached"]
    assert simulator.requests["POST /videos"] == 2


async def test_a_job_that_failed_or_was_deleted_still_counts(start: Start) -> None:
    service = start(2)
    await place(service, "Fox simulate:fail")
    done = await place(service, "Cat")
    await service.wait(done.job, 100)
    await service.delete(done.job.jobid)
    assert await outcome_of(service, "Hen") == "limit_reached"


@pytest.mark.parametrize("round_", range(3), ids="abc")
async def test_ten_orders_at_once_do_not_exceed_the_limit(start: Start, simulator: Simulator, round_: int) -> None:
    outcomes: Counter[str] = Counter()
    service = start(3)

    async def order(number: int) -> None:
        outcomes[await outcome_of(service, f"Fox {round_} {number}")] += 1

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(order, number)
    assert outcomes == {"created": 3, "limit_reached": 7}
    assert simulator.requests["POST /videos"] == 3


async def test_an_order_in_flight_counts(start: Start, simulator: Simulator) -> None:
    held = HoldingTransport(simulator)
    service = start(1, held)
    outcomes: list[str] = []

    async def order(prompt: str) -> None:
        outcomes.append(await outcome_of(service, prompt))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order, "Fox")
        await held.delivered.wait()
        await pass_time(1)
        await order("Another fox")
        assert outcomes == ["limit_reached"]
        held.may_answer.set()
    assert outcomes == ["limit_reached", "created"]
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize("journal_path", ["file"], indirect=True)
@pytest.mark.parametrize("round_", range(3), ids="abc")
async def test_two_processes_share_the_limit(start: Start, simulator: Simulator, round_: int) -> None:
    outcomes: Counter[str] = Counter()
    services = (start(3), start(3))

    async def order(service: VideoService, number: int) -> None:
        outcomes[await outcome_of(service, f"Fox {round_} {number}")] += 1

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(order, services[number % 2], number)
    assert outcomes == {"created": 3, "limit_reached": 7}
    assert simulator.requests["POST /videos"] == 3


@pytest.mark.parametrize("journal_path", ["file"], indirect=True)
async def test_a_new_process_counts_the_orders_of_earlier_ones(start: Start) -> None:
    await place(start(1), "Fox")
    await pass_time(1)
    restarted = start(1)
    assert await outcome_of(restarted, "Cat") == "limit_reached"
    await pass_time(HOUR + 1)
    assert await outcome_of(restarted, "Cat") == "created"
