"""Jobs of other machines after a lost answer: they are not adopted, or are released once they differ from the order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL
from tests.service.faulty import Fault, FaultyTransport
from tests.service.orders import place

from luma_mcp.errors import OutcomeUnknown

if TYPE_CHECKING:
    from tests.service.conftest import StartService

    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

MINUTE = 60.0
REQUEST = {
    "prompt": "of another machine",
    "model": "ray-v3-flash",
    "resolution": "draft",
    "aspect_ratio": "16:9",
    "duration": "5s",
    "dynamic_range": "sdr",
}
"""The same values as an order without options."""
DIFFERENCES: list[dict[str, str]] = [
    {"aspect_ratio": "9:16"},
    {"aspect_ratio": "1:1"},
    {"aspect_ratio": "4:3"},
    {"aspect_ratio": "21:9"},
    {"duration": "10s"},
    {"resolution": "540p", "dynamic_range": "hdr_exr"},
]


class ForeignJobsTransport(FaultyTransport):
    """Loses the first order, while other machines start jobs with the given differences."""

    def __init__(self, simulator: Simulator, *differences: dict[str, str]) -> None:
        super().__init__(simulator, Fault.TIMED_OUT_BEFORE)
        for difference in differences:
            simulator.service.start(REQUEST | difference, EMAIL, webhook=False)


async def adopt(service: VideoService, simulator: Simulator, **given: Any) -> str:
    """Order a video, assert that the only running job was adopted for it, and return its jobid."""
    result = await place(service, **given)
    [jobid] = simulator.service.jobs
    assert (result.outcome, result.job.jobid) == ("recovered", jobid)
    return jobid


async def assert_released(service: VideoService, jobid: str) -> None:
    """Assert that the job belongs to no order, and that the outcome of the only order is unknown again."""
    assert await service.journal.get_by_jobid(jobid) is None
    assert jobid not in await service.journal.owned_jobids()
    [order] = await service.journal.list_unsettled()
    assert (order.state, order.jobid, order.adopted) == ("unknown", None, False)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: " ".join(difference.values()))
async def test_an_adopted_job_that_differs_is_released(
    start_service: StartService, simulator: Simulator, difference: dict[str, str]
) -> None:
    service = start_service(ForeignJobsTransport(simulator, difference))
    jobid = await adopt(service, simulator)
    with pytest.raises(OutcomeUnknown) as unknown:
        await service.wait(jobid, 300)
    assert unknown.value.charged == "unknown"
    await assert_released(service, jobid)
    assert simulator.requests["POST /videos"] == 0


@pytest.mark.parametrize("given", [{"aspect_ratio": "9:16"}, {"duration": "10s"}], ids=str)
async def test_the_options_of_the_order_are_compared(
    start_service: StartService, simulator: Simulator, given: dict[str, str]
) -> None:
    service = start_service(ForeignJobsTransport(simulator, {}))
    jobid = await adopt(service, simulator, **given)
    with pytest.raises(OutcomeUnknown):
        await service.wait(jobid, 300)
    await assert_released(service, jobid)


async def test_an_adopted_job_that_fits_is_kept(start_service: StartService, simulator: Simulator) -> None:
    """Nothing in its record shows that it belongs to another machine."""
    service = start_service(ForeignJobsTransport(simulator, {}))
    jobid = await adopt(service, simulator)
    assert (await service.wait(jobid, 300)).state == "completed"
    assert jobid in await service.journal.owned_jobids()


async def test_the_next_process_releases_the_job(start_service: StartService, simulator: Simulator) -> None:
    jobid = await adopt(start_service(ForeignJobsTransport(simulator, {"duration": "10s"})), simulator)
    service = start_service()
    with pytest.raises(OutcomeUnknown):
        await service.wait(jobid, 300)
    await assert_released(service, jobid)


async def test_an_identical_order_releases_the_job(start_service: StartService, simulator: Simulator) -> None:
    """It orders nothing until the first order's job can no longer be running."""
    service = start_service(ForeignJobsTransport(simulator, {"duration": "10s"}))
    jobid = await adopt(service, simulator)
    await pass_time(2 * MINUTE)
    with pytest.raises(OutcomeUnknown):
        await place(service)
    await assert_released(service, jobid)
    with pytest.raises(OutcomeUnknown) as blocked:
        await place(service)
    assert blocked.value.candidates == ()
    assert simulator.requests["POST /videos"] == 0
    await pass_time(15 * MINUTE)
    assert (await place(service)).outcome == "created"


async def test_listing_the_jobs_releases_the_job(start_service: StartService, simulator: Simulator) -> None:
    """Otherwise it would be offered for deletion as a job of this machine."""
    service = start_service(ForeignJobsTransport(simulator, {"duration": "10s"}))
    jobid = await adopt(service, simulator)
    await pass_time(2 * MINUTE)
    listed = (await service.list_jobs(9)).jobs
    await assert_released(service, jobid)
    assert [(job.jobid, job.state) for job in listed] == [(None, "unknown")]


async def test_a_released_job_is_not_adopted_again(start_service: StartService, simulator: Simulator) -> None:
    service = start_service(ForeignJobsTransport(simulator, {"duration": "10s"}))
    jobid = await adopt(service, simulator)
    with pytest.raises(OutcomeUnknown):
        await service.wait(jobid, 300)
    await start_service().recover()
    await service.list_jobs(9)
    await assert_released(service, jobid)
    # It can still be looked up.
    assert (await service.wait(jobid, 0)).state == "completed"


async def test_neither_of_two_matching_jobs_is_adopted(start_service: StartService, simulator: Simulator) -> None:
    service = start_service(ForeignJobsTransport(simulator, {}, {"duration": "10s"}))
    jobids = tuple(simulator.service.jobs)
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(service)
    assert unknown.value.candidates == jobids
    assert await service.journal.owned_jobids() == set()
    with pytest.raises(OutcomeUnknown) as blocked:
        await place(service)
    assert blocked.value.candidates == jobids
    assert simulator.requests["POST /videos"] == 0


async def test_an_own_job_beside_a_matching_foreign_one(start_service: StartService, simulator: Simulator) -> None:
    """They cannot be told apart, so both are named as candidates."""
    simulator.service.start(REQUEST, EMAIL, webhook=False)
    service = start_service(FaultyTransport(simulator, Fault.TIMED_OUT_AFTER))
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(service)
    assert unknown.value.candidates == tuple(simulator.service.jobs)
    assert len(simulator.service.jobs) == 2
    assert await service.journal.owned_jobids() == set()


async def test_a_matching_job_of_another_time_prevents_adoption(
    start_service: StartService, simulator: Simulator
) -> None:
    """Another machine orders such videos in this account, so a job at the right time may be foreign as well."""
    simulator.service.start(REQUEST | {"prompt": "simulate:stuck"}, EMAIL, webhook=False)
    await pass_time(5 * MINUTE)
    service = start_service(ForeignJobsTransport(simulator, {}))
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(service)
    assert unknown.value.candidates == (list(simulator.service.jobs)[1],)
    assert await service.journal.owned_jobids() == set()


async def test_a_job_named_by_the_api_is_kept_even_if_it_differs(
    start_service: StartService, simulator: Simulator
) -> None:
    service = start_service()
    jobid = (await place(service)).job.jobid
    simulator.service.jobs[jobid].request["aspect_ratio"] = "9:16"
    assert (await service.wait(jobid, 300)).state == "completed"
    assert jobid in await service.journal.owned_jobids()
