"""Takes: several orders of one request, each protected like any other, and videos that already exist."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.service.orders import place

from luma_mcp.errors import BudgetReached, LimitReached, OutcomeUnknown, Upstream
from luma_mcp.service.submit import SubmitResult
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from tests.service.conftest import StartService

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

DAY = 86_400


async def finish(service: VideoService, prompt: str = "A fox", **options: int) -> str:
    """Order a video, mark it as delivered, and return its jobid."""
    result = await place(service, prompt, **options)
    await service.wait(result.job.jobid, 600)
    await service.mark_delivered(result.job.jobid)
    return result.job.jobid


async def test_takes_are_separate_orders_and_the_first_is_plain(
    start_service: StartService, simulator: Simulator
) -> None:
    service = start_service()
    plain = await place(service)
    first, second = await place(service, take=1), await place(service, take=2)
    assert (first.outcome, first.job.jobid) == ("duplicate", plain.job.jobid)
    assert second.outcome == "created"
    assert (await place(service, take=2)).job.jobid == second.job.jobid
    assert len(simulator.service.jobs) == 2


async def test_takes_without_a_job_are_missing(start_service: StartService) -> None:
    service = start_service()
    validated = await service.validate({"prompt": "A fox"})
    assert await service.find_takes(validated, 3) == ({}, (1, 2, 3))
    second = await place(service, take=2)
    found, missing = await service.find_takes(validated, 3)
    assert missing == (1, 3)
    result = found[2]
    assert isinstance(result, SubmitResult)
    assert (result.outcome, result.job.jobid) == ("duplicate", second.job.jobid)


async def test_later_takes_are_not_missing_after_an_unknown_outcome(
    start_service: StartService, simulator: Simulator
) -> None:
    service = start_service()
    simulator.faults.append(Fault("POST", "/videos", 504, after=True))
    simulator.faults.append(Fault("GET", "/jobs", 500, times=99))
    with pytest.raises(OutcomeUnknown):
        await place(service, take=2)
    validated = await service.validate({"prompt": "A fox"})
    found, missing = await service.find_takes(validated, 3)
    assert isinstance(found.pop(2), OutcomeUnknown)
    assert (found, missing) == ({}, (1,))


async def test_takes_are_looked_up_in_parallel(start_service: StartService, simulator: Simulator) -> None:
    service = start_service()
    validated = await service.validate({"prompt": "A fox"})
    jobids = [(await place(service, take=take)).job.jobid for take in (1, 2, 3, 4)]
    simulator.faults += [Fault("GET", f"/jobs/{jobid}", 500, times=999) for jobid in jobids]
    began = anyio.current_time()
    with pytest.raises(Upstream):
        await service.find_duplicate(validated)
    time_of_one = anyio.current_time() - began
    found, missing = await service.find_takes(validated, 4)
    assert anyio.current_time() - began < 3 * time_of_one
    assert [error.jobid for error in map(found.__getitem__, (1, 2, 3, 4)) if isinstance(error, Upstream)] == jobids
    assert missing == ()


async def test_the_hourly_limit_must_allow_all_takes(start_service: StartService, simulator: Simulator) -> None:
    service = start_service(max_jobs_per_hour=3)
    await place(service, "Another one")
    validated = await service.validate({"prompt": "A fox"})
    await service.check_limits(validated, 2)
    with pytest.raises(LimitReached) as refused:
        await service.check_limits(validated, 3)
    assert (refused.value.orders, refused.value.room, refused.value.charged) == (3, 2, "no")
    assert refused.value.next_at
    with pytest.raises(LimitReached) as refused:
        await service.check_limits(validated, 4)
    # The limit never allows this many.
    assert (refused.value.next_at, refused.value.retry) == (None, "after_change")
    assert len(simulator.service.jobs) == 1


async def test_the_budget_must_allow_all_takes(start_service: StartService) -> None:
    service = start_service(budget_per_day=100)
    # This video uses 20 credits, which becomes the estimate for the others.
    await finish(service, "Another one")
    validated = await service.validate({"prompt": "A fox"})
    await service.check_limits(validated, 4)
    with pytest.raises(BudgetReached) as refused:
        await service.check_limits(validated, 5)
    assert (refused.value.orders, refused.value.room, refused.value.price) == (5, 4, 20)


async def test_a_video_of_any_age_is_found_again(start_service: StartService, simulator: Simulator) -> None:
    service = start_service()
    jobid = await finish(service)
    await anyio.sleep(3 * DAY)
    again = await place(start_service(), any_age=True)
    assert (again.outcome, again.job.jobid, again.job.state) == ("duplicate", jobid, "completed")
    assert (await place(start_service())).outcome == "created"
    assert len(simulator.service.jobs) == 2


@pytest.mark.parametrize("reason", ["deleted", "failed", "forgotten"])
async def test_a_video_that_is_gone_is_ordered_again(start_service: StartService, reason: str) -> None:
    service = start_service()
    prompt = {"failed": "A fox simulate:fail", "forgotten": "A fox simulate:forgotten=60"}.get(reason, "A fox")
    jobid = await finish(service, prompt)
    if reason == "deleted":
        await service.delete(jobid)
    await anyio.sleep(3600)
    again = await place(service, prompt, any_age=True)
    assert again.outcome == "created"
    assert again.job.jobid != jobid


async def test_the_key_of_a_plain_order_matches_earlier_versions(start_service: StartService) -> None:
    validated = await start_service().validate({"prompt": "A fox"})
    # Earlier versions stored the SHA-256 of the params as JSON, in this order.
    params = (
        '{"aspect_ratio": "16:9", "duration": "5s", "dynamic_range": "sdr", "model": "ray-v3-flash", '
        '"prompt": "A fox", "resolution": "draft"}'
    )
    assert validated.key == hashlib.sha256(params.encode()).hexdigest()
    assert replace(validated, take=2).key != validated.key
