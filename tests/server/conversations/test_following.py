"""Requests about earlier orders: find, follow, cancel and delete videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.clock import pass_time
from tests.conftest import BOTH_APIS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.server.conversations.chat import Chat

    from luma_mcp.simulator.app import Simulator

    StartChat = Callable[..., AbstractAsyncContextManager[Chat]]

DAY = 86_400


@BOTH_APIS
async def test_what_is_running(chat: StartChat, api: str) -> None:
    """User: tell me what is running at the moment."""
    async with chat() as agent:
        done = await agent.make("A fox")
        slow = await agent.order("A city", resolution="1080p", wait_seconds=0)
        await pass_time(30)
        listed = await agent.call("list_jobs", state="running")
        [job] = listed.content["jobs"]
        assert (job["jobid"], job["state"], job["prompt"]) == (slow.jobid, "running", "A city")
        # The age of the job and the time it still needs.
        assert job["age_seconds"] == 30
        low, high = job["expected_seconds_left"]
        assert 0 < low < high < 300
        listed.assert_has(slow.jobid, "A city").assert_lacks(done.jobid, "delete_job")
        if api == "useapi":
            # The number of slots.
            listed.assert_has("4")
        await pass_time(200)
        finished = await agent.get(slow.jobid)
    finished.assert_has(finished.content["video"]["url"])


async def test_cancel_it(chat: StartChat, simulator: Simulator) -> None:
    """User: stop, I do not want that video after all."""
    async with chat() as agent:
        running = await agent.order("A city", wait_seconds=0)
        refused = await agent.call("delete_job", jobid=running.jobid)
        assert refused.error["kind"] == "conflict"
        # The job cannot be stopped, and no reply suggests a refund.
        refused.assert_has("neither deleted nor stopped", running.jobid).assert_lacks("refund", "free slot")
        still = await agent.get(running.jobid, wait_seconds=0)
    assert still.content["state"] == "running"
    assert len(simulator.service.jobs) == 1


async def test_delete_the_old_ones(chat: StartChat, simulator: Simulator) -> None:
    """User: delete my old videos."""
    async with chat() as agent:
        kept = await agent.make("A fox", save=True)
        lost = await agent.make("A hen")
        await pass_time(2 * DAY)
        tools = await agent.describe()
        # The description states what will be lost before the agent calls the tool.
        assert "links stop working" in tools["delete_job"]
        assert "Ask the user first" in tools["delete_job"]
        with_files = await agent.call("delete_job", jobid=kept.jobid)
        with_files.assert_has("may stop working", *kept.content["saved_files"]).assert_lacks("slot")
        without = await agent.call("delete_job", jobid=lost.jobid)
        without.assert_has("may stop working", "not saved").assert_lacks("slot", "files stay", "are kept")
        listed = await agent.call("list_jobs")
        assert listed.content["jobs"] == []
        listed.assert_lacks(kept.jobid, lost.jobid)
        deleted = await agent.call("list_jobs", state="deleted")
        assert {job["jobid"] for job in deleted.content["jobs"]} == {kept.jobid, lost.jobid}
        gone = await agent.get(lost.jobid)
    gone.assert_has("deleted", "A hen")
    assert Path(kept.content["saved_files"][0]).exists()
    assert simulator.service.jobs == {}


@BOTH_APIS
async def test_yesterday_s_video(chat: StartChat, api: str, simulator: Simulator) -> None:
    """User: find the fox video from yesterday."""
    async with chat() as agent:
        await agent.make("A fox in spring")
        await pass_time(3 * DAY)
        fox = await agent.make("A fox in the snow")
        await agent.make("A hen")
        await pass_time(DAY)
        await agent.make("A fox at home")
    # The next day, in a new chat with a new server.
    async with chat() as agent:
        listed = await agent.call("list_jobs", text="FOX", since="36h", before="12h")
        [job] = listed.content["jobs"]
        assert (job["jobid"], job["state"]) == (fox.jobid, "completed")
        listed.assert_has(fox.jobid, "A fox in the snow")
        if api == "useapi":
            listed.assert_has(fox.content["video"]["url"])
        else:
            # Links of the Agents API expire after an hour.
            listed.assert_has("current link").assert_lacks(fox.content["video"]["url"])
        listed.assert_lacks("A hen", "A fox in spring", "A fox at home")
        found = await agent.get(job["jobid"])
    found.assert_has(found.content["video"]["url"])
    assert len(simulator.orders) == 4


@BOTH_APIS
async def test_job_that_luma_forgot(chat: StartChat, simulator: Simulator) -> None:
    """User: show me that video again (Luma has removed its record)."""
    async with chat() as agent:
        fox = await agent.make("A fox", save=True)
        simulator.service.jobs.clear()
        gone = await agent.get(fox.jobid)
    gone.assert_has("no longer has", "A fox", *fox.content["saved_files"], fox.content["video"]["url"])
    gone.assert_lacks("jobid is wrong")
    assert gone.error["next_action"] != "list_jobs"


@BOTH_APIS
async def test_it_is_stuck_make_it_again(chat: StartChat, simulator: Simulator) -> None:
    """User: it is stuck, make it again."""
    async with chat() as agent:
        order = await agent.order("A fox simulate:stuck")
        waiting = await agent.get(order.jobid, wait_seconds=60)
        waiting.assert_has("more than such videos usually take").assert_lacks("is being made")
        # An identical order returns the running job.
        same = await agent.order("A fox simulate:stuck", wait_seconds=0)
        assert (same.jobid, same.content["charged"]) == (order.jobid, "no")
        await pass_time(1_200)
        late = await agent.get(order.jobid, wait_seconds=0)
        assert late.content["next_action"] == "ask_user"
        late.assert_has("stuck", "new_take", "charged as well", "support").assert_lacks("Do not order it again")
        # The user agrees.
        again = await agent.order("A fox simulate:stuck", new_take=True, wait_seconds=0)
    assert again.content["outcome"] == "created"
    assert again.jobid != order.jobid
    assert len(simulator.orders) == 2
