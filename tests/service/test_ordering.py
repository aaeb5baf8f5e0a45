"""Orders that meet: at once in one process, from two processes, and after one whose outcome is unknown."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from pydantic import SecretStr
from tests.clock import pass_time
from tests.conftest import TOKEN, resolve, wall_clock
from tests.service.faulty import Fault, Faulty
from tests.transports import Held

from luma_mcp.catalog.validate import check
from luma_mcp.errors import OutcomeUnknown, Upstream
from luma_mcp.service.service import VideoService
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Fault as ApiFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from luma_mcp.service.submit import SubmitResult
    from luma_mcp.simulator.app import Simulator


@pytest.fixture
async def process(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Callable[..., VideoService]]:
    """Starts a process of its own on the one journal."""
    started: list[VideoService] = []

    def start(
        transport: httpx2.AsyncBaseTransport | None = None, *, email: str | None = None, ahead: float = 0
    ) -> VideoService:
        settings = Settings(token=SecretStr(TOKEN), journal=str(tmp_path / "journal.db"), email=email)
        way = transport or httpx2.ASGITransport(simulator)
        clock = partial(_clock, ahead)
        started.append(VideoService(settings, wall_clock=clock, transport=way, resolve=resolve))
        return started[-1]

    yield start
    for studio in started:
        await studio.aclose()


def _clock(ahead: float) -> datetime:
    return wall_clock() + timedelta(seconds=ahead)


async def unheard(_: str) -> None:
    """Progress that nobody listens to."""


async def place(studio: VideoService, *, another: bool = False, **words: Any) -> SubmitResult:
    request = check({"prompt": "A fox", **words}).nearest or {}
    ordered = await studio.order(request, another=another, save=False, patience=20, tell=unheard)
    return ordered.placed


async def test_two_of_the_same_at_once_are_one_job(process: Callable[..., VideoService], simulator: Simulator) -> None:
    studio, placed = process(), list["SubmitResult"]()

    async def one() -> None:
        placed.append(await place(studio))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        tasks.start_soon(one)
    assert sorted(p.how for p in placed) == ["new", "same"]
    assert {p.job.jobid for p in placed} == set(simulator.service.jobs)
    assert len(simulator.service.jobs) == 1


async def test_another_process_finds_an_order_that_is_on_its_way(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    way = Held(simulator)
    first, second, placed = process(way), process(), list["SubmitResult"]()

    async def one() -> None:
        placed.append(await place(first))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        await way.delivered.wait()
        placed.append(await place(second))
        way.may_answer.set()
    assert simulator.requests["POST /videos"] == 1
    assert [p.job.jobid for p in placed] == [*simulator.service.jobs] * 2


async def test_an_intent_that_another_process_has_taken_over_is_not_sent(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    """The first is held up by a full house; meanwhile the second places the same order."""
    way = Faulty(simulator)
    way.script = [Fault.FULL_WITH_PACE]
    first, second, placed = process(way), process(), list["SubmitResult"]()

    async def one() -> None:
        placed.append(await place(first))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        await pass_time(1)
        placed.append(await place(second))
    assert len(simulator.service.jobs) == 1
    assert [(p.how, p.job.jobid) for p in placed] == [("new", j) for j in simulator.service.jobs] + [
        ("same", j) for j in simulator.service.jobs
    ]


async def test_after_it_finished_the_same_is_a_new_job(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    studio = process()
    first = await place(studio)
    await pass_time(100)
    second = await place(studio)
    assert (first.how, second.how) == ("new", "new")
    assert len(simulator.service.jobs) == 2


@pytest.mark.parametrize("words", [{"duration": "10s"}, {"aspect_ratio": "9:16"}, {"prompt": "A cat"}], ids=str)
async def test_what_differs_is_another_order(
    process: Callable[..., VideoService], simulator: Simulator, words: dict[str, Any]
) -> None:
    studio = process()
    await place(studio)
    assert (await place(studio, **words)).how == "new"
    assert len(simulator.service.jobs) == 2


async def test_an_unknown_outcome_holds_the_same_back_until_no_job_of_it_can_run(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    way = Faulty(simulator)
    studio = process(way)
    way.script = [Fault.TIMED_OUT_BEFORE]
    with pytest.raises(OutcomeUnknown):
        await place(studio)
    with pytest.raises(OutcomeUnknown, match="new_take") as held_back:
        await place(studio)
    assert "Nothing was ordered now" in held_back.value.message
    assert not simulator.service.jobs
    assert (await place(studio, another=True)).how == "new"
    await pass_time(16 * 60)
    assert (await place(studio)).how == "new"
    assert len(simulator.service.jobs) == 2


async def test_a_job_that_began_too_early_is_not_taken_for_a_lost_order_s(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    request = {"prompt": "of another machine", "model": "ray-v3-flash", "resolution": "1080p"}
    await pass_time(1000)
    earlier = simulator.service.start(request, next(iter(simulator.service.accounts)), webhook=False)
    await pass_time(60)
    way = Faulty(simulator)
    way.script = [Fault.TIMED_OUT_BEFORE]
    with pytest.raises(OutcomeUnknown) as lost:
        await place(process(way))
    assert earlier.jobid not in lost.value.message


async def test_a_job_of_another_account_is_not_taken_for_a_lost_order_s(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    simulator.service.add_account("b@example.com")
    request = {"prompt": "of another machine", "model": "ray-v3-flash", "resolution": "1080p"}
    other = simulator.service.start(request, "b@example.com", webhook=False)
    way = Faulty(simulator)
    way.script = [Fault.TIMED_OUT_BEFORE]
    with pytest.raises(OutcomeUnknown) as lost:
        await place(process(way), email=next(iter(simulator.service.accounts)))
    assert other.jobid not in lost.value.message


async def test_a_cancelled_order_that_never_went_out_is_forgotten(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    way = Faulty(simulator)
    way.script = [Fault.FULL_WITH_PACE]
    studio = process(way)
    with anyio.move_on_after(1):
        await place(studio)
    assert studio.journal.unsettled() == []
    assert (await place(process())).how == "new"
    assert len(simulator.service.jobs) == 1


async def test_a_single_404_of_a_young_job_makes_no_second_one(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    """A replica lags behind: neither the list nor the same order again take the job for gone."""
    studio = process()
    [job] = [(await place(studio)).job.jobid]
    simulator.faults.append(ApiFault("GET", "/jobs", 200, b'{"executing":0,"jobs":[]}'))
    simulator.faults.append(ApiFault("GET", f"/jobs/{job}", 404, b'{"error":"Job not found"}', times=2))
    assert [listed.state for listed in (await studio.jobs(limit=9, state=None)).jobs] == ["running"]
    with pytest.raises(Upstream, match="nothing was ordered now"):
        await place(studio)
    assert (await place(studio)).job.jobid == job
    assert len(simulator.service.jobs) == 1


async def test_after_its_job_was_deleted_the_same_is_a_new_job(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    studio = process()
    first = await place(studio)
    await pass_time(100)
    assert await studio.delete(first.job.jobid)
    assert (await place(studio)).how == "new"
    assert first.job.jobid not in simulator.service.jobs


async def test_the_default_account_named_or_not_is_the_same_order(
    process: Callable[..., VideoService], simulator: Simulator
) -> None:
    account = next(iter(simulator.service.accounts))
    studio = process(email=account)
    assert (await place(studio)).how == "new"
    assert (await place(studio, email=account)).how == "same"
    assert (await place(studio, prompt="A fox ")).how == "same"


@pytest.mark.parametrize("ahead", [-3600, 3600])
async def test_a_wall_clock_that_is_set_holds_nobody_up(
    process: Callable[..., VideoService], simulator: Simulator, ahead: float
) -> None:
    """Killed while an order was on its way, and the clock is set before the restart."""
    way = Faulty(simulator)
    way.script = [Fault.KILLED_BEFORE]
    with pytest.raises(BaseExceptionGroup):
        await place(process(way, ahead=ahead))
    begun = anyio.current_time()
    with suppress(OutcomeUnknown):
        await place(process())
    assert anyio.current_time() - begun < 30


@pytest.mark.parametrize("ahead", [-3600, 3600])
async def test_a_lost_order_is_found_although_this_machine_s_clock_is_wrong(
    process: Callable[..., VideoService], simulator: Simulator, ahead: float
) -> None:
    """The API's answers tell its time of day."""
    way = Dated(simulator)
    way.script = [Fault.TIMED_OUT_AFTER]
    placed = await place(process(way, ahead=ahead))
    assert (placed.how, [placed.job.jobid]) == ("found", [*simulator.service.jobs])


class Dated(Faulty):
    """Its answers carry the date, as those of real servers do."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        response.headers["date"] = format_datetime(wall_clock(), usegmt=True)
        return response
