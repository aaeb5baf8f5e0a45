"""Requests that Luma's Agents API answers differently: other models, prices in dollars, no list and no deletion.

The other modules hold the conversations that are the same with both APIs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from tests.clock import pass_time

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from mcp import Client
    from tests.server.conversations.chat import Chat, Reply

    from luma_mcp.simulator.agents import AgentsSimulator

    StartChat = Callable[..., AbstractAsyncContextManager[Chat]]

CONSOLE = "https://platform.lumalabs.ai"
# What exists only with the other API.
ELSEWHERE = ("useapi", "assetRef", "delete_job", "credits", "slot", "reply_url", "account", "Luma account")


@pytest.fixture
def api() -> str:
    return "agents"


@pytest.fixture
async def agent(chat: StartChat) -> AsyncIterator[Chat]:
    async with chat() as started:
        yield started


def check_free(reply: Reply, simulator: AgentsSimulator) -> dict[str, Any]:
    """Check that an order was refused before anything was sent, and get what is suggested."""
    assert (reply.error["charged"], reply.error["next_action"]) == ("no", "fix_arguments")
    reply.says("charged").avoids(*ELSEWHERE[:-2])
    assert simulator.orders == []
    return dict(reply.error["suggestion"])


async def test_what_agents_know(server: Callable[..., Client]) -> None:
    """No tool, description or prompt names what this API does not have."""
    async with server() as client:
        tools = (await client.list_tools()).tools
        prompts = (await client.list_prompts()).prompts
        described = " ".join(each.model_dump_json() for each in (*tools, *prompts))
        described += str(client.instructions)
    assert [tool.name for tool in tools] == ["generate_video", "get_job", "list_jobs", "list_options", "join_videos"]
    for name in ELSEWHERE:
        assert name.casefold() not in described.casefold(), name


async def test_reasoning_model(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: use the reasoning model, but make it as cheap as possible."""
    refused = await agent.order("A chess game", model="ray-v3-reasoning", resolution="draft")
    refused.says("ray-v3-reasoning", "ray-3.2")
    suggestion = check_free(refused, simulator)
    assert (suggestion["model"], suggestion["resolution"]) == ("ray-3.2", "360p")
    done = await agent.make(**suggestion)
    done.says("$0.06", done.content["video"]["url"])


async def test_face_as_a_character(agent: Chat, simulator: AgentsSimulator, tmp_path: Path) -> None:
    """User: put my face into a clip."""
    photo = str(tmp_path / "me.jpg")
    refused = await agent.order("A knight rides", image_character=photo, dynamic_range="hdr", resolution="720p")
    # There is no such input, so the agent learns what comes closest, and can ask.
    refused.says("image_character", "not offered", "image_start", "describe the character in the prompt")
    suggestion = check_free(refused, simulator)
    assert suggestion["dynamic_range"] == "hdr"
    assert simulator.requests["POST /files"] == 0


async def test_exr_at_1080p(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: EXR frames at 1080p for compositing."""
    options = await agent.call("list_options", resolution="1080p", dynamic_range="hdr_exr")
    options.says("$3.60")
    done = await agent.make("Smoke", dynamic_range="hdr_exr", resolution="1080p")
    done.says(done.content["exr_zip_url"], "$3.60", "EXR", "no browser plays it")
    assert simulator.orders[0]["video"]["exr_export"] is True


async def test_stop_and_delete(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: stop that video, and delete the old one."""
    tools = await agent.describe()
    assert "Nothing stops a running job, and nothing deletes one" in tools["get_job"]
    running = await agent.order("A city", wait_seconds=0)
    refused = await agent.call("list_jobs", state="deleted")
    # What cannot be deleted is not listed as deleted either.
    assert refused.is_error
    refused.says("running").avoids('"deleted" or', "or deleted", "delete_job")
    still = await agent.get(running.jobid, wait_seconds=0)
    assert still.content["state"] == "running"
    assert len(simulator.service.jobs) == 1


async def test_how_long_and_what_does_it_cost(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: tell me how long a 1080p video takes, and what it costs."""
    before = await agent.call("list_options", resolution="1080p")
    # The price list is known before the first order.
    before.says("1080p", "1.2", "3.6", "Luma's price list", "2026-10-08").avoids(*ELSEWHERE, "not known")
    assert (simulator.orders, before.content["typical_seconds"]["1080p"]) == ([], [60, 240])
    for _ in range(5):
        done = await agent.make("A fox", resolution="1080p", new_take=True)
        done.says("$1.20").avoids(*ELSEWHERE)
    after = await agent.call("list_options", resolution="1080p")
    # The records have no time of the end; it was seen.
    assert after.content["typical_seconds_measured"] == ["1080p"]
    low, high = after.content["typical_seconds"]["1080p"]
    assert 60 <= low < high <= 245


async def test_film_as_one_clip(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: 15 seconds of a train as a single clip."""
    clip = await agent.make("A train leaves", aspect_ratio="21:9", resolution="720p")
    for prompt in ("It crosses a bridge", "It arrives"):
        longer = await agent.make(prompt, extend=clip.jobid)
        longer.says(clip.jobid, "$0.30", "extend")
        request = longer.content["request"]
        assert (request["aspect_ratio"], request["resolution"], request["extend"]) == ("21:9", "720p", clip.jobid)
        assert f"It extends the video of job {clip.jobid}: one clip with both" in longer.text
        clip = longer
    draft = await agent.make("A train leaves", aspect_ratio="21:9")
    refused = await agent.order("It goes on", extend=draft.jobid)
    # No price is known for it. What works is the clip's last frame.
    refused.says("no price is known", "540p", "image_start").avoids("Pass a picture")
    assert refused.error["charged"] == "no"
    assert len(simulator.orders) == 4


async def test_loop_and_keyframes(agent: Chat, tmp_path: Path) -> None:
    """User: a loop of the sea; then a clip that passes these pictures."""
    looped = await agent.make("The sea", loop=True)
    assert "loop" in looped.text
    assert looped.content["request"]["loop"] is True
    keyframes: list[dict[str, Any]] = []
    for second, color in enumerate(("red", "green")):
        path = tmp_path / f"{color}.png"
        Image.new("RGB", (480, 270), color).save(path)
        keyframes.append({"image": str(path), "seconds": second * 5})
    done = await agent.make("Colors", keyframes=keyframes)
    assert "2 keyframes" in done.text
    assert len(done.content["request"]["keyframes"]) == 2


async def test_moderated_prompt(agent: Chat) -> None:
    """User: a video of something that is not allowed."""
    failed = await agent.make("Something simulate:moderate")
    # This API accepts the order, and moderation fails its job.
    assert (failed.error["kind"], failed.error["charged"]) == ("job_failed", "no")
    assert (failed.error["retry"], failed.error["next_action"]) == ("after_change", "fix_arguments")
    failed.says("moderation", "change the prompt", "is not charged").avoids("try again in a moment", *ELSEWHERE)
    listed = await agent.call("list_jobs", state="failed")
    listed.says("moderation").avoids("not known", *ELSEWHERE)
    assert listed.content["jobs"][0]["charged"] == "no"


async def test_job_fails_at_unknown_cost(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: make a fox (the job fails, and no document says what that costs)."""
    failed = await agent.make("A fox simulate:exhausted")
    assert (failed.error["kind"], failed.error["charged"]) == ("job_failed", "unknown")
    failed.says("budget_exhausted", "charged is not known", failed.error["jobid"])
    failed.avoids("nothing was charged", "is not charged", "not charged", "try again in a moment", *ELSEWHERE)
    listed = await agent.call("list_jobs", state="failed")
    listed.says("budget_exhausted")
    assert listed.content["jobs"][0]["charged"] == "unknown"
    assert "whether it was charged is not known" in listed.text
    assert len(simulator.orders) == 1


async def test_job_fails_that_may_succeed(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: make a fox (the job fails for a reason after which Luma's documents advise to order again)."""
    failed = await agent.make("A fox simulate:fail")
    assert (failed.error["kind"], failed.error["charged"]) == ("job_failed", "no")
    assert (failed.error["retry"], failed.error["next_action"]) == ("later", "order_later")
    failed.says("is not charged", "the same order may succeed", "if the user wants").avoids("change the prompt")
    again = await agent.order("A fox simulate:fail", wait_seconds=0)
    # It is a new order, not the failed job once more.
    assert (again.content["outcome"], len(simulator.orders)) == ("created", 2)


@pytest.mark.parametrize("behavior", ["lost", "dropped", "truncated", "down"])
async def test_reply_is_lost(chat: StartChat, simulator: AgentsSimulator, behavior: str) -> None:
    """User: make a fox (the answer to the order is lost on its way, or is a failure)."""
    prompt = f"A fox simulate:{behavior}"
    async with chat() as agent:
        lost = await agent.order(prompt)
        check_unknown(lost)
        # An agent that is not sure repeats it; so does the next chat, after a restart.
        check_unknown(await agent.order(prompt))
    async with chat() as agent:
        await pass_time(600)
        again = await agent.order(prompt)
        check_unknown(again).says("10 minutes ago", "Nothing was ordered now")
        listed = await agent.call("list_jobs")
        [job] = listed.content["jobs"]
        assert (job["state"], job["charged"], "jobid" in job) == ("unknown", "unknown", False)
        listed.says("response was lost", CONSOLE, "before you order it again")
        listed.avoids(*ELSEWHERE, "what became of it", "get_job")
        assert len(simulator.orders) == 1
        # The user has looked, and wants another one.
        await agent.order(prompt, new_take=True, wait_seconds=0)
        assert len(simulator.orders) == 2


def check_unknown(reply: Reply) -> Reply:
    """Check what is said of an order that may have been placed."""
    error = reply.error
    assert (error["kind"], error["charged"], error["retry"]) == ("outcome_unknown", "unknown", "never")
    assert error["next_action"] == "ask_user"
    # No tool can find out more, so none is named.
    reply.says("may be running and charged", "cannot list jobs", CONSOLE, "15 minutes", "new_take")
    return reply.avoids("nothing was charged", "list_jobs", "get_job", "two minutes", *ELSEWHERE)


async def test_the_same_order_after_15_minutes(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: try it again (long after the answer was lost)."""
    check_unknown(await agent.order("A fox simulate:unstarted"))
    await pass_time(901)
    check_unknown(await agent.order("A fox simulate:unstarted"))
    assert len(simulator.orders) == 2


async def test_too_many_jobs(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: and a fifth one (while four are running)."""
    running = [await agent.order(f"Clip {number} simulate:stuck", wait_seconds=0) for number in range(4)]
    refused = await agent.order("A fifth one", wait_seconds=90)
    error = refused.error
    assert (error["kind"], error["charged"], error["retry"]) == ("capacity", "no", "later")
    assert error["next_action"] == "get_job"
    refused.says("As many jobs are running", "Nothing was charged", running[0].jobid)
    refused.avoids(*ELSEWHERE, "30 s to 3 minutes")
    assert len(simulator.service.jobs) == 4
    # An order after one of them has ended is accepted while the agent waits.
    del simulator.service.jobs[running[0].jobid]
    fifth = await agent.order("A fifth one", wait_seconds=150)
    assert fifth.content["outcome"] == "created"


async def test_jobs_of_elsewhere_are_in_the_way(agent: Chat) -> None:
    """User: make a fox (others with the same key have used it up)."""
    refused = await agent.order("A fox simulate:busy", wait_seconds=0)
    assert (refused.error["charged"], refused.error["next_action"]) == ("no", "order_later")
    refused.says("60 s", "a minute or two").avoids(*ELSEWHERE, "30 s to 3 minutes", "get_job")


async def test_too_many_orders_in_a_minute(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: a clip of each of these 31 animals."""
    simulator.service.per_minute = 2
    for number in range(2):
        await agent.order(f"Animal {number}", wait_seconds=0)
    refused = await agent.order("Animal 2", wait_seconds=0)
    # It is not taken for an order whose answer is lost.
    assert (refused.error["charged"], refused.error["retry"]) == ("no", "later")
    refused.says("no more requests at present", "60 s", "Nothing was charged").avoids("running and charged", *ELSEWHERE)
    waited = await agent.order("Animal 2", wait_seconds=120)
    assert waited.content["outcome"] == "created"


@pytest.mark.parametrize(
    ("behavior", "facts"),
    [
        ("unauthorized", ("key", "LUMA_AGENTS_API_KEY")),
        ("suspended", ("suspended", CONSOLE)),
        ("bad-link", ("Could not fetch the image", "Change what the API objects to")),
    ],
)
async def test_refused_by_the_api(agent: Chat, behavior: str, facts: tuple[str, ...]) -> None:
    """User: make a fox (the API refuses the order)."""
    refused = await agent.order(f"A fox simulate:{behavior}", wait_seconds=0)
    assert (refused.error["charged"], bool(refused.error["next_step"])) == ("no", True)
    refused.says("Nothing was charged", *facts).avoids("useapi", "token", "subscription", "try again in a moment")


async def test_no_money_left(agent: Chat) -> None:
    """User: make a fox (402)."""
    refused = await agent.order("A fox simulate:broke", wait_seconds=0)
    assert refused.error["charged"] == "no"
    refused.says("too few credits", CONSOLE).avoids("subscription")


async def test_no_access_to_hdr(agent: Chat) -> None:
    """User: a fox in HDR (the key has no access to it)."""
    refused = await agent.order("A fox simulate:no-hdr", dynamic_range="hdr", wait_seconds=0)
    assert (refused.error["charged"], refused.error["next_action"]) == ("no", "ask_user")
    refused.says("HDR", "SDR", CONSOLE)
    sdr = await agent.order("A fox simulate:no-hdr", wait_seconds=0)
    assert sdr.content["outcome"] == "created"


async def test_list_without_the_api(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: what is running? (The network is down)."""
    order = await agent.order("A fox", wait_seconds=0)
    simulator.faults.append(Fault("GET", "/generations", 503, times=99))
    listed = await agent.call("list_jobs")
    listed.says(order.jobid, "Could not fetch running jobs", "503")
    simulator.faults.clear()
    await pass_time(60)
    # No list of the API is needed to see that it has ended.
    updated = await agent.call("list_jobs", state="completed")
    updated.says(order.jobid).avoids("Could not fetch", *ELSEWHERE)


async def test_overdue_job_is_listed_as_running(agent: Chat) -> None:
    """User: what is running? (One has been stuck for an hour)."""
    order = await agent.order("A fox simulate:stuck", wait_seconds=0)
    await pass_time(3600)
    listed = await agent.call("list_jobs", state="running")
    assert [job["jobid"] for job in listed.content["jobs"]] == [order.jobid]
    assert listed.content["next_action"] == "ask_user"
    listed.says("overdue", order.jobid)


async def test_unknown_jobid(agent: Chat) -> None:
    """User: show me the job that I found in another machine's log."""
    gone = await agent.get("00000000-0000-4000-8000-000000000000")
    assert gone.error["next_action"] == "list_jobs"
    gone.says("another key", "list_jobs").avoids(*ELSEWHERE)
