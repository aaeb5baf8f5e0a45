"""After a lost answer, the jobs of other machines: they are not taken for this machine's, or given back."""

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
"""What an order without options makes, too."""
OTHERS: list[dict[str, str]] = [
    {"aspect_ratio": "9:16"},
    {"aspect_ratio": "1:1"},
    {"aspect_ratio": "4:3"},
    {"aspect_ratio": "21:9"},
    {"duration": "10s"},
    {"resolution": "540p", "dynamic_range": "hdr_exr"},
]


class Elsewhere(FaultyTransport):
    """Orders never arrive, and at the same moment other machines order something."""

    def __init__(self, simulator: Simulator, *others: dict[str, str]) -> None:
        super().__init__(simulator, Fault.TIMED_OUT_BEFORE)
        for other in others:
            simulator.service.start(REQUEST | other, EMAIL, webhook=False)


async def adopt(service: VideoService, simulator: Simulator, **given: Any) -> str:
    """Order what the only running job is then taken for; its jobid."""
    result = await place(service, **given)
    [jobid] = simulator.service.jobs
    assert (result.outcome, result.job.jobid) == ("recovered", jobid)
    return jobid


async def assert_nobodys(service: VideoService, jobid: str) -> None:
    """The job belongs to no order, and the only order is unknown again."""
    assert await service.journal.get_by_jobid(jobid) is None
    assert jobid not in await service.journal.owned_jobids()
    [order] = await service.journal.list_unsettled()
    assert (order.state, order.jobid, order.adopted) == ("unknown", None, False)


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: " ".join(other.values()))
async def test_a_job_that_shows_something_else_is_given_back(
    start_service: StartService, simulator: Simulator, other: dict[str, str]
) -> None:
    service = start_service(Elsewhere(simulator, other))
    jobid = await adopt(service, simulator)
    with pytest.raises(OutcomeUnknown) as unknown:
        await service.wait(jobid, 300)
    assert unknown.value.charged == "unknown"
    await assert_nobodys(service, jobid)
    assert simulator.requests["POST /videos"] == 0


@pytest.mark.parametrize("given", [{"aspect_ratio": "9:16"}, {"duration": "10s"}], ids=str)
async def test_options_of_the_order_count(
    start_service: StartService, simulator: Simulator, given: dict[str, str]
) -> None:
    service = start_service(Elsewhere(simulator, {}))
    jobid = await adopt(service, simulator, **given)
    with pytest.raises(OutcomeUnknown):
        await service.wait(jobid, 300)
    await assert_nobodys(service, jobid)


async def test_a_job_that_fits_is_kept(start_service: StartService, simulator: Simulator) -> None:
    """Nothing in its record shows that it is another machine's."""
    service = start_service(Elsewhere(simulator, {}))
    jobid = await adopt(service, simulator)
    assert (await service.wait(jobid, 300)).state == "completed"
    assert jobid in await service.journal.owned_jobids()


async def test_the_next_process_gives_it_back(start_service: StartService, simulator: Simulator) -> None:
    jobid = await adopt(start_service(Elsewhere(simulator, {"duration": "10s"})), simulator)
    service = start_service()
    with pytest.raises(OutcomeUnknown):
        await service.wait(jobid, 300)
    await assert_nobodys(service, jobid)


async def test_an_identical_order_gives_it_back(start_service: StartService, simulator: Simulator) -> None:
    """It orders nothing before it is certain that no job of the first one can be running."""
    service = start_service(Elsewhere(simulator, {"duration": "10s"}))
    jobid = await adopt(service, simulator)
    await pass_time(2 * MINUTE)
    with pytest.raises(OutcomeUnknown):
        await place(service)
    await assert_nobodys(service, jobid)
    with pytest.raises(OutcomeUnknown) as blocked:
        await place(service)
    assert blocked.value.candidates == ()
    assert simulator.requests["POST /videos"] == 0
    await pass_time(15 * MINUTE)
    assert (await place(service)).outcome == "created"


async def test_a_list_of_jobs_gives_it_back(start_service: StartService, simulator: Simulator) -> None:
    """Otherwise it would be offered for deletion as a job of this machine."""
    service = start_service(Elsewhere(simulator, {"duration": "10s"}))
    jobid = await adopt(service, simulator)
    await pass_time(2 * MINUTE)
    listed = (await service.list_jobs(9)).jobs
    await assert_nobodys(service, jobid)
    assert [(job.jobid, job.state) for job in listed] == [(None, "unknown")]


async def test_a_job_that_was_given_back_is_not_adopted_again(
    start_service: StartService, simulator: Simulator
) -> None:
    service = start_service(Elsewhere(simulator, {"duration": "10s"}))
    jobid = await adopt(service, simulator)
    with pytest.raises(OutcomeUnknown):
        await service.wait(jobid, 300)
    await start_service().recover()
    await service.list_jobs(9)
    await assert_nobodys(service, jobid)
    # It can still be looked at.
    assert (await service.wait(jobid, 0)).state == "completed"


async def test_of_two_jobs_of_this_kind_none_is_adopted(start_service: StartService, simulator: Simulator) -> None:
    service = start_service(Elsewhere(simulator, {}, {"duration": "10s"}))
    jobids = tuple(simulator.service.jobs)
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(service)
    assert unknown.value.candidates == jobids
    assert await service.journal.owned_jobids() == set()
    with pytest.raises(OutcomeUnknown) as blocked:
        await place(service)
    assert blocked.value.candidates == jobids
    assert simulator.requests["POST /videos"] == 0


async def test_the_own_job_beside_one_of_another_machine(start_service: StartService, simulator: Simulator) -> None:
    """Nobody can tell which is which, so both are named."""
    simulator.service.start(REQUEST, EMAIL, webhook=False)
    service = start_service(FaultyTransport(simulator, Fault.TIMED_OUT_AFTER))
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(service)
    assert unknown.value.candidates == tuple(simulator.service.jobs)
    assert len(simulator.service.jobs) == 2
    assert await service.journal.owned_jobids() == set()


async def test_a_job_of_this_kind_from_another_time(start_service: StartService, simulator: Simulator) -> None:
    """Somebody else orders such videos in this account, so the one that fits in time may be theirs as well."""
    simulator.service.start(REQUEST | {"prompt": "simulate:stuck"}, EMAIL, webhook=False)
    await pass_time(5 * MINUTE)
    service = start_service(Elsewhere(simulator, {}))
    with pytest.raises(OutcomeUnknown) as unknown:
        await place(service)
    assert unknown.value.candidates == (list(simulator.service.jobs)[1],)
    assert await service.journal.owned_jobids() == set()


async def test_a_job_named_in_an_answer_is_kept_whatever_it_shows(
    start_service: StartService, simulator: Simulator
) -> None:
    service = start_service()
    jobid = (await place(service)).job.jobid
    simulator.service.jobs[jobid].request["aspect_ratio"] = "9:16"
    assert (await service.wait(jobid, 300)).state == "completed"
    assert jobid in await service.journal.owned_jobids()
