"""Failures: the user learns what happened, whether it was charged, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
from tests.clock import pass_time
from tests.conftest import BOTH_APIS
from tests.transports import UnreliableTransport

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.server.conversations.chat import Chat

    from luma_mcp.simulator.app import Simulator

    StartChat = Callable[..., AbstractAsyncContextManager[Chat]]


async def test_moderated_prompt(chat: StartChat, simulator: Simulator) -> None:
    """User: a video of something that is not allowed."""
    async with chat() as agent:
        refused = await agent.order("Something simulate:moderate")
        error = refused.error
        assert (error["kind"], error["charged"]) == ("moderated", "no")
        assert (error["retry"], error["next_action"]) == ("after_change", "fix_arguments")
        refused.assert_has("moderation", "change the prompt").assert_lacks("try again in a moment")
    assert simulator.service.jobs == {}


async def test_reply_is_lost(chat: StartChat, simulator: Simulator) -> None:
    """User: make a fox (the answer to the order is lost on its way)."""
    async with chat() as agent:
        found = await agent.order("A fox simulate:lost")
        # The video was ordered once, and its job was found.
        assert found.content["outcome"] == "recovered"
        found.assert_has("was lost", "nothing was ordered twice", found.jobid)
        # The agent repeats the call, because it cannot be sure that it worked.
        again = await agent.make("A fox simulate:lost")
        again.assert_has("no new video was ordered", again.content["video"]["url"])
        assert again.jobid == found.jobid
    assert len(simulator.service.jobs) == len(simulator.orders) == 1


async def test_api_is_down(chat: StartChat, simulator: Simulator) -> None:
    """User: make a fox (Luma's API fails)."""
    async with chat() as agent:
        failed = await agent.order("A fox simulate:down")
        error = failed.error
        # Whether the video was ordered is unknown, and the reply says so.
        assert (error["kind"], error["charged"], error["retry"]) == ("outcome_unknown", "unknown", "later")
        failed.assert_has("may be running and charged", "two minutes").assert_lacks("nothing was charged", "new_take")
        listed = await agent.call("list_jobs")
        assert [job["state"] for job in listed.content["jobs"]] == ["unknown"]
        await pass_time(150)
        again = await agent.order("A fox simulate:down")
        assert again.error["charged"] == "unknown"
    assert simulator.service.jobs == {}


@BOTH_APIS
async def test_api_is_unreachable_while_it_runs(chat: StartChat, api: str, simulator: Simulator) -> None:
    """User: is it ready? (The network is down)."""
    async with chat() as agent:
        order = await agent.order("A fox in the snow", wait_seconds=0)
        simulator.faults.append(Fault("GET", {"useapi": "/jobs", "agents": "/generations"}[api], 503, times=999))
        offline = await agent.get(order.jobid, wait_seconds=60)
        offline.assert_has(order.jobid, "continues").assert_lacks("order it again in a moment")
        assert offline.error["next_action"] == "get_job"
        simulator.faults.clear()
        done = await agent.get(order.jobid)
    done.assert_has(done.content["video"]["url"])
    assert len(simulator.orders) == 1


async def test_all_slots_are_busy(chat: StartChat, simulator: Simulator) -> None:
    """User: and a fifth one (while four are running)."""
    async with chat() as agent:
        running = [await agent.order(f"Clip {number} simulate:stuck", wait_seconds=0) for number in range(4)]
        refused = await agent.order("A fifth one", wait_seconds=120)
        error = refused.error
        assert (error["kind"], error["charged"], error["retry"]) == ("capacity", "no", "later")
        assert error["next_action"] == "get_job"
        refused.assert_has("4 of 4", running[0].jobid).assert_lacks("delete_job", "its slot", "frees")
        listed = await agent.call("list_jobs")
        listed.assert_has("4").assert_lacks("delete_job")
    assert len(simulator.service.jobs) == 4


@BOTH_APIS
async def test_order_waits_for_a_slot(chat: StartChat, simulator: Simulator) -> None:
    """User: and a fifth one (while four are about to finish)."""
    async with chat() as agent:
        for number in range(4):
            await agent.order(f"Clip {number}", wait_seconds=0)
        fifth = await agent.order("A fifth one", wait_seconds=300)
    assert fifth.content["state"] == "completed"
    assert len(simulator.service.jobs) == 5


async def test_job_fails(chat: StartChat, simulator: Simulator) -> None:
    """User: make a fox (the job fails)."""
    async with chat() as agent:
        failed = await agent.make("A fox simulate:fail")
        assert failed.error["kind"] == "job_failed"
        failed.assert_has("could not make this video", "credits", failed.error["jobid"])
        assert failed.error["charged"] == "unknown"
        failed.assert_lacks("nothing was charged", "was not charged", "try again in a moment")
        listed = await agent.call("list_jobs", state="failed")
    listed.assert_has("could not make this video")
    assert len(simulator.orders) == 1


class DeadLink(UnreliableTransport):
    """Responds to requests for the link with 404; other requests go to the simulator."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.startswith("/urlaub"):
            return httpx2.Response(404, content=b"Nicht gefunden")
        return await super().handle_async_request(request)


@BOTH_APIS
async def test_german_with_a_dead_link(chat: StartChat, simulator: Simulator) -> None:
    """User: Mach aus https://bilder.example/urlaub.jpg ein Video, Wellen wie aus Glas."""
    prompt = "Wellen wie aus Glas, gemächlich, Abendlicht über der Förde"
    async with chat(transport=DeadLink(simulator)) as agent:
        refused = await agent.order(prompt, image_start="https://bilder.example/urlaub.jpg")
        error = refused.error
        assert (error["charged"], error["retry"]) == ("no", "after_change")
        refused.assert_has("image_start", "404", "https://bilder.example/urlaub.jpg").assert_lacks(
            "try again in a moment"
        )
        assert simulator.orders == []
        done = await agent.order(prompt)
    done.assert_has(prompt)
    assert simulator.orders[0]["prompt"] == prompt
