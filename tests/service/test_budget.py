"""LUMA_MCP_BUDGET_PER_DAY: the maximum cost of the orders of 24 hours, in dollars or credits."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import SecretStr
from tests.clock import pass_time
from tests.conftest import EMAIL, MIDNIGHT, TOKEN, resolve, simulator_of, wall_clock
from tests.service.faulty import Fault, FaultyTransport
from tests.service.orders import place
from tests.service.test_clocks import DatedTransport
from tests.service.virtual_time import BACKENDS, backend_options

from luma_mcp.catalog.agents import AGENTS
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.catalog.validate import find_cheaper
from luma_mcp.errors import BudgetReached, LumaError
from luma_mcp.providers import PROVIDERS
from luma_mcp.service.service import VideoService
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from pathlib import Path

    from luma_mcp.catalog.models import Catalog
    from luma_mcp.simulator.app import Simulator

    Start = Callable[..., VideoService]

DAY = 24 * 3600.0
TWO_YEARS = 2 * 365 * DAY
SLOTS = 30
EACH_CATALOG = pytest.mark.parametrize("catalog", [USEAPI, AGENTS], ids=lambda catalog: catalog.api)
# The cost of the cheapest video: 20 credits, known once one has been completed, or 0.06 dollars.
CHEAPEST: dict[str, float] = {"useapi": 20, "agents": 0.06}


@pytest.fixture(params=BACKENDS[:1])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """One event loop is enough: the journal's tests run on both."""
    return request.param, backend_options(request.param)


@pytest.fixture
def catalog() -> Catalog:
    return AGENTS


@pytest.fixture
def simulator(catalog: Catalog) -> Simulator:
    simulator = simulator_of(catalog)
    simulator.service.add_account(EMAIL, SLOTS)
    return simulator


@pytest.fixture
async def start(catalog: Catalog, simulator: Simulator, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a service on the test's journal, as another process would."""
    started: list[VideoService] = []

    def start_service(
        budget: float | None,
        transport: type[FaultyTransport] = FaultyTransport,
        *faults: Fault,
        ahead: float = 0,
        **options: Any,
    ) -> VideoService:
        values: dict[str, Any] = {"journal": str(tmp_path / "journal.db"), **options}
        values |= {"api": catalog.api, "base_url": PROVIDERS[catalog.api].base_url}
        settings = Settings(token=SecretStr(TOKEN), budget_per_day=budget, **values)
        service = VideoService(
            settings,
            catalog=catalog,
            wall_clock=partial(_wrong_clock, ahead),
            transport=transport(simulator, *faults),
            resolve=resolve,
        )
        started.append(service)
        return service

    yield start_service
    for service in started:
        await service.aclose()


def _wrong_clock(ahead: float) -> datetime:
    return wall_clock() + timedelta(seconds=ahead)


async def outcome_of(service: VideoService, prompt: str, **given: Any) -> str:
    """Order a video, and return the outcome or the kind of the error."""
    try:
        return (await place(service, prompt, retry_timeout=0, **given)).outcome
    except LumaError as error:
        return error.kind


async def refusal_of(service: VideoService, prompt: str = "Refused", **given: Any) -> BudgetReached:
    with pytest.raises(BudgetReached) as refused:
        await place(service, prompt, **given)
    assert refused.value.charged == "no"
    return refused.value


async def complete(service: VideoService, prompt: str, **given: Any) -> None:
    """Order a video and wait for it, so that its cost is known."""
    await service.wait((await place(service, prompt, **given)).job, 600)


def count_jobs(simulator: Simulator) -> int:
    return len(simulator.service.jobs)


@EACH_CATALOG
async def test_orders_beyond_the_budget_are_refused(start: Start, simulator: Simulator, catalog: Catalog) -> None:
    price = CHEAPEST[catalog.api]
    # Without a price list, the cost of the first video is unknown.
    service = start(3 * price)
    await complete(service, "Fox 0")
    for number in (1, 2):
        await pass_time(600)
        assert await outcome_of(service, f"Fox {number}") == "created"
    error = await refusal_of(service, "Fox 3")
    assert (error.budget, error.price, error.retry) == (3 * price, price, "later")
    assert error.spent == pytest.approx(3 * price)
    assert (error.unit, error.is_shared, error.suggestion) == (
        {"useapi": "credits", "agents": "dollars"}[catalog.api],
        True,
        None,
    )
    assert error.next_at == MIDNIGHT + timedelta(days=1)
    assert error.retry_after == (error.next_at - wall_clock()).total_seconds()
    assert count_jobs(simulator) == 3


async def test_an_order_is_allowed_at_the_time_that_the_error_states(start: Start) -> None:
    service = start(1.0)
    for resolution in ("360p", "720p", "720p", "720p"):
        await place(service, f"At {anyio.current_time()}", resolution=resolution)
        await pass_time(3601.5)
    # The cheapest and one of the others must be older than a day: 0.96 - 0.06 - 0.30 + 0.30.
    error = await refusal_of(service, resolution="720p")
    assert error.next_at == MIDNIGHT + timedelta(days=1, hours=1, minutes=1)
    seconds = (error.next_at - MIDNIGHT).total_seconds()
    await anyio.sleep_until(seconds - 61)
    again = await refusal_of(service, resolution="720p")
    assert again.next_at == error.next_at
    await anyio.sleep_until(seconds)
    assert await outcome_of(service, "Allowed", resolution="720p") == "created"


async def test_cheaper_request_that_fits_is_suggested(start: Start) -> None:
    service = start(1.0)
    await place(service, "Fox", resolution="720p")
    error = await refusal_of(service, "Hen", resolution="1080p", duration="10s", aspect_ratio="1:1")
    # The price exceeds the whole budget.
    assert (error.price, error.next_at, error.retry, error.retry_after) == (3.6, None, "after_change", None)
    assert error.suggestion
    assert error.suggestion_price == AGENTS.price(error.suggestion)
    assert error.suggestion["aspect_ratio"] == "1:1"
    suggestion: dict[str, Any] = dict(error.suggestion)
    assert await outcome_of(service, **suggestion) == "created"


def test_suggestion_keeps_images_and_may_be_missing() -> None:
    keyframes = [
        {"image": "https://example.com/a.jpg", "seconds": 0},
        {"image": "https://example.com/a.jpg", "seconds": 9},
    ]
    params: dict[str, Any] = {"prompt": "Fox", "model": "ray-3.2", "resolution": "1080p", "aspect_ratio": "1:1"}
    params |= {"duration": "10s", "dynamic_range": "sdr", "keyframes": keyframes}
    # The second picture needs ten seconds, of which the cheapest video costs 0.18.
    assert find_cheaper(AGENTS, params, 0.18) == {**params, "resolution": "360p"}
    assert find_cheaper(AGENTS, params, 0.17) is None
    assert find_cheaper(USEAPI, {"prompt": "Fox", **USEAPI_DEFAULTS}, 1000) is None


USEAPI_DEFAULTS = {name: choice.default for name, choice in USEAPI.choices.items()}


@pytest.mark.parametrize("round_", range(3), ids="abc")
async def test_two_processes_at_once_share_the_budget(start: Start, simulator: Simulator, round_: int) -> None:
    outcomes: Counter[str] = Counter()
    services = (start(0.20), start(0.20))

    async def order(number: int) -> None:
        outcomes[await outcome_of(services[number % 2], f"Fox {round_} {number}")] += 1

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(order, number)
    assert outcomes == {"created": 3, "budget_reached": 7}
    assert count_jobs(simulator) == 3


@EACH_CATALOG
async def test_new_process_counts_what_was_spent(start: Start, catalog: Catalog) -> None:
    # Prices are recorded even without a budget.
    await complete(start(None), "Fox")
    restarted = start(1.5 * CHEAPEST[catalog.api])
    assert await outcome_of(restarted, "Cat") == "budget_reached"
    await pass_time(DAY)
    assert await outcome_of(restarted, "Cat") == "created"


@pytest.mark.parametrize("fault", [Fault.TIMED_OUT_BEFORE, Fault.TIMED_OUT_AFTER, Fault.FAILED_BEFORE])
async def test_unknown_outcome_counts(start: Start, fault: Fault) -> None:
    # The first request reads the API's time.
    service = start(0.10, FaultyTransport, Fault.NONE, fault)
    assert await outcome_of(service, "Fox") == "outcome_unknown"
    assert (await refusal_of(service)).spent == 0.06
    # It still counts once it no longer blocks identical orders.
    await pass_time(3600)
    await service.list_jobs(9)
    assert (await refusal_of(service)).spent == 0.06


@EACH_CATALOG
@pytest.mark.parametrize("behavior", ["broke", "unauthorized", "busy"])
async def test_rejected_order_does_not_count(
    start: Start, simulator: Simulator, catalog: Catalog, behavior: str
) -> None:
    await complete(start(None), "Known")
    service = start(2 * CHEAPEST[catalog.api])
    for _ in range(2):
        assert await outcome_of(service, f"Fox simulate:{behavior}") not in ("budget_reached", "created")
    assert await outcome_of(service, "Fox") == "created"
    assert count_jobs(simulator) == 2


async def test_refused_connection_does_not_count(start: Start) -> None:
    service = start(0.06, FaultyTransport, Fault.NONE, Fault.REFUSED)
    assert await outcome_of(service, "Fox") == "network"
    assert await outcome_of(service, "Fox") == "created"


@pytest.mark.parametrize(("behavior", "spent"), [("moderate", 0), ("fail", 0), ("exhausted", 0.06)])
@pytest.mark.parametrize("is_seen", [True, False])
async def test_failed_job_counts_unless_it_is_refunded(
    start: Start, behavior: str, spent: float, is_seen: bool
) -> None:
    """Whether or not the failure has been seen."""
    service = start(0.06)
    job = (await place(service, f"Fox simulate:{behavior}")).job
    await pass_time(600)
    if is_seen:
        await service.wait(job.jobid, 0)
    assert await outcome_of(service, "Cat") == ("budget_reached" if spent else "created")


@pytest.mark.parametrize("catalog", [USEAPI])
@pytest.mark.parametrize(
    ("used", "outcome"), [("credits", "budget_reached"), ("credits=0", "created"), ("credits=3", "created")]
)
async def test_failed_job_counts_the_credits_that_it_used(start: Start, used: str, outcome: str) -> None:
    """Each video is expected to use 20 credits."""
    await complete(start(None), "Known")
    service = start(43)
    behaviors = "simulate:fail" if used == "credits" else f"simulate:fail simulate:{used}"
    await complete(service, f"Fox {behaviors}")
    assert await outcome_of(service, "Cat") == outcome


@pytest.mark.parametrize("catalog", [USEAPI])
async def test_credits_that_were_used_replace_the_estimate(start: Start) -> None:
    service = start(210)
    first = await place(service, "Large", resolution="720p")
    assert first.is_unpriced
    await service.wait(first.job, 600)
    # The cost of drafts is unknown, so each counts as much as the most expensive video so far.
    draft = await place(service, "Draft")
    assert not draft.is_unpriced
    error = await refusal_of(service, "Another draft")
    assert (error.spent, error.price, error.basis, error.next_at) == (
        200,
        100,
        "any_video",
        MIDNIGHT + timedelta(days=1),
    )
    await service.wait(draft.job, 600)
    for number in range(4):
        assert await outcome_of(service, f"Draft {number}") == "created"
    error = await refusal_of(service, "One more draft")
    assert (error.spent, error.price, error.basis) == (200, 20, "such_videos")


@pytest.mark.parametrize("catalog", [USEAPI])
async def test_orders_of_unknown_price_are_allowed(start: Start) -> None:
    service = start(1)
    for number in range(2):
        assert (await place(service, f"Fox {number}")).is_unpriced
    duplicate = await place(service, "Fox 1")
    assert (duplicate.outcome, duplicate.is_unpriced) == ("duplicate", False)
    assert not (await place(start(None), "Cat")).is_unpriced
    # They count as soon as their cost is known.
    await complete(service, "Fox 1")
    error = await refusal_of(service)
    assert (error.spent, error.price, error.basis) == (60, 20, "such_videos")


async def test_without_a_journal_file_only_one_process_is_counted(start: Start) -> None:
    service, other = start(0.06, journal="off"), start(0.06, journal="off")
    await place(service, "Fox")
    error = await refusal_of(service)
    assert error.next_at == MIDNIGHT + timedelta(days=1)
    assert not error.is_shared
    assert "Only orders of this process are counted" in str(error)
    assert await outcome_of(other, "Cat") == "created"


async def test_budget_and_hourly_limit_both_apply(start: Start) -> None:
    service = start(0.12, max_jobs_per_hour=1)
    outcomes = [await outcome_of(service, "Fox"), await outcome_of(service, "Cat")]
    for number in range(2):
        await pass_time(3601)
        outcomes.append(await outcome_of(service, f"Hen {number}"))
    assert outcomes == ["created", "limit_reached", "created", "budget_reached"]


@EACH_CATALOG
@pytest.mark.parametrize("ahead", [-TWO_YEARS, TWO_YEARS], ids=["behind", "ahead"])
async def test_wrong_clock_does_not_change_the_budget(start: Start, catalog: Catalog, ahead: float) -> None:
    await complete(start(None, DatedTransport), "Fox")
    budget = 1.5 * CHEAPEST[catalog.api]
    wrong, right = start(budget, DatedTransport, ahead=ahead), start(budget, DatedTransport)
    for service in (wrong, right):
        error = await refusal_of(service)
        assert error.spent == CHEAPEST[catalog.api]
        assert error.next_at == MIDNIGHT + timedelta(days=1)
    await pass_time(DAY)
    assert await outcome_of(start(budget, DatedTransport, ahead=ahead), "Cat") == "created"
    assert await outcome_of(wrong, "Hen") == "budget_reached"
    assert await outcome_of(right, "Hen") == "budget_reached"
    await pass_time(DAY + 60)
    assert await outcome_of(right, "Hen") == "created"


@pytest.mark.parametrize("ahead", [-TWO_YEARS, TWO_YEARS], ids=["behind", "ahead"])
async def test_lost_order_with_a_wrong_clock_counts(start: Start, ahead: float) -> None:
    """Each process reads the API's time before it sends an order."""
    faults = [Fault.NONE, Fault.TIMED_OUT_BEFORE]
    assert await outcome_of(start(0.1, DatedTransport, *faults, ahead=ahead), "Fox") == "outcome_unknown"
    for clock_ahead in (0, ahead):
        error = await refusal_of(start(0.1, DatedTransport, ahead=clock_ahead))
        assert error.next_at
        assert timedelta(hours=23) < error.next_at - wall_clock() <= timedelta(hours=24, minutes=1)
