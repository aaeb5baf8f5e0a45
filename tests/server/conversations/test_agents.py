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
# Terms that apply only to the other API.
OTHER_API_TERMS = ("useapi", "assetRef", "delete_job", "credits", "slot", "reply_url", "account", "Luma account")


@pytest.fixture
def api() -> str:
    return "agents"


@pytest.fixture
async def agent(chat: StartChat) -> AsyncIterator[Chat]:
    async with chat() as started:
        yield started


def check_free(reply: Reply, simulator: AgentsSimulator) -> dict[str, Any]:
    """Check that an order was rejected before anything was sent, and return the suggestion."""
    assert (reply.error["charged"], reply.error["next_action"]) == ("no", "fix_arguments")
    reply.assert_has("charged").assert_lacks(*OTHER_API_TERMS[:-2])
    assert simulator.orders == []
    return dict(reply.error["suggestion"])


async def test_descriptions_name_no_missing_feature(server: Callable[..., Client]) -> None:
    """No tool, prompt or instruction mentions features that this API lacks."""
    async with server() as client:
        tools = (await client.list_tools()).tools
        prompts = (await client.list_prompts()).prompts
        described = " ".join(each.model_dump_json() for each in (*tools, *prompts))
        described += str(client.instructions)
    assert [tool.name for tool in tools] == ["generate_video", "get_job", "list_jobs", "list_options", "join_videos"]
    for name in OTHER_API_TERMS:
        assert name.casefold() not in described.casefold(), name


async def test_reasoning_model(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: use the reasoning model, but make it as cheap as possible."""
    refused = await agent.order("A chess game", model="ray-v3-reasoning", resolution="draft")
    refused.assert_has("ray-v3-reasoning", "ray-3.2")
    suggestion = check_free(refused, simulator)
    assert (suggestion["model"], suggestion["resolution"]) == ("ray-3.2", "360p")
    done = await agent.make(**suggestion)
    done.assert_has("$0.06", done.content["video"]["url"])


async def test_face_as_a_character(agent: Chat, simulator: AgentsSimulator, tmp_path: Path) -> None:
    """User: put my face into a clip."""
    photo = str(tmp_path / "me.jpg")
    refused = await agent.order("A knight rides", image_character=photo, dynamic_range="hdr", resolution="720p")
    # The reply explains the closest alternative, so that the agent can ask the user.
    refused.assert_has("image_character", "not offered", "image_start", "describe the character in the prompt")
    suggestion = check_free(refused, simulator)
    assert suggestion["dynamic_range"] == "hdr"
    assert simulator.requests["POST /files"] == 0


async def test_exr_at_1080p(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: EXR frames at 1080p for compositing."""
    options = await agent.call("list_options", resolution="1080p", dynamic_range="hdr_exr")
    options.assert_has("$3.60")
    done = await agent.make("Smoke", dynamic_range="hdr_exr", resolution="1080p")
    done.assert_has(done.content["exr_zip_url"], "$3.60", "EXR", "no browser plays it")
    assert simulator.orders[0]["video"]["exr_export"] is True


async def test_stop_and_delete(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: stop that video, and delete the old one."""
    tools = await agent.describe()
    assert "Nothing stops a running job, and nothing deletes one" in tools["get_job"]
    running = await agent.order("A city", wait_seconds=0)
    refused = await agent.call("list_jobs", state="deleted")
    # Jobs cannot be deleted, so they cannot be listed as deleted either.
    assert refused.is_error
    refused.assert_has("running").assert_lacks('"deleted" or', "or deleted", "delete_job")
    still = await agent.get(running.jobid, wait_seconds=0)
    assert still.content["state"] == "running"
    assert len(simulator.service.jobs) == 1


async def test_how_long_and_what_does_it_cost(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: tell me how long a 1080p video takes, and what it costs."""
    before = await agent.call("list_options", resolution="1080p")
    # The price list is known before the first order.
    before.assert_has("1080p", "1.2", "3.6", "Luma's price list", "2026-10-08").assert_lacks(
        *OTHER_API_TERMS, "not known"
    )
    assert (simulator.orders, before.content["typical_seconds"]["1080p"]) == ([], [60, 240])
    for _ in range(5):
        done = await agent.make("A fox", resolution="1080p", new_take=True)
        done.assert_has("$1.20").assert_lacks(*OTHER_API_TERMS)
    after = await agent.call("list_options", resolution="1080p")
    # The API's records have no end times, so the server measured them.
    assert after.content["typical_seconds_measured"] == ["1080p"]
    low, high = after.content["typical_seconds"]["1080p"]
    assert 60 <= low < high <= 245


async def test_film_as_one_clip(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: 15 seconds of a train as a single clip."""
    clip = await agent.make("A train leaves", aspect_ratio="21:9", resolution="720p")
    for prompt in ("It crosses a bridge", "It arrives"):
        longer = await agent.make(prompt, extend=clip.jobid)
        longer.assert_has(clip.jobid, "$0.30", "extend")
        request = longer.content["request"]
        assert (request["aspect_ratio"], request["resolution"], request["extend"]) == ("21:9", "720p", clip.jobid)
        assert f"It extends the video of job {clip.jobid}: one clip with both" in longer.text
        clip = longer
    draft = await agent.make("A train leaves", aspect_ratio="21:9")
    refused = await agent.order("It goes on", extend=draft.jobid)
    # The price of this extension is unknown. The last frame of the clip works instead.
    refused.assert_has("no price is known", "540p", "image_start").assert_lacks("Pass a picture")
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
    # This API accepts the order and fails the job later.
    assert (failed.error["kind"], failed.error["charged"]) == ("job_failed", "no")
    assert (failed.error["retry"], failed.error["next_action"]) == ("after_change", "fix_arguments")
    failed.assert_has("moderation", "change the prompt", "is not charged").assert_lacks(
        "try again in a moment", *OTHER_API_TERMS
    )
    listed = await agent.call("list_jobs", state="failed")
    listed.assert_has("moderation").assert_lacks("not known", *OTHER_API_TERMS)
    assert listed.content["jobs"][0]["charged"] == "no"


async def test_job_fails_at_unknown_cost(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: make a fox (the job fails, and no document says what that costs)."""
    failed = await agent.make("A fox simulate:exhausted")
    assert (failed.error["kind"], failed.error["charged"]) == ("job_failed", "unknown")
    failed.assert_has("budget_exhausted", "charged is not known", failed.error["jobid"])
    failed.assert_lacks(
        "nothing was charged", "is not charged", "not charged", "try again in a moment", *OTHER_API_TERMS
    )
    listed = await agent.call("list_jobs", state="failed")
    listed.assert_has("budget_exhausted")
    assert listed.content["jobs"][0]["charged"] == "unknown"
    assert "whether it was charged is not known" in listed.text
    assert len(simulator.orders) == 1


async def test_job_fails_that_may_succeed(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: make a fox (the job fails for a reason after which Luma's documents advise to order again)."""
    failed = await agent.make("A fox simulate:fail")
    assert (failed.error["kind"], failed.error["charged"]) == ("job_failed", "no")
    assert (failed.error["retry"], failed.error["next_action"]) == ("later", "order_later")
    failed.assert_has("is not charged", "the same order may succeed", "if the user wants").assert_lacks(
        "change the prompt"
    )
    again = await agent.order("A fox simulate:fail", wait_seconds=0)
    # The repeated order starts a new job.
    assert (again.content["outcome"], len(simulator.orders)) == ("created", 2)


@pytest.mark.parametrize("behavior", ["lost", "dropped", "truncated", "down"])
async def test_reply_is_lost(chat: StartChat, simulator: AgentsSimulator, behavior: str) -> None:
    """User: make a fox (the answer to the order is lost on its way, or is a failure)."""
    prompt = f"A fox simulate:{behavior}"
    async with chat() as agent:
        lost = await agent.order(prompt)
        check_unknown(lost)
        # The agent repeats the order to be sure. So does the next chat, after a restart.
        check_unknown(await agent.order(prompt))
    async with chat() as agent:
        await pass_time(600)
        again = await agent.order(prompt)
        check_unknown(again).assert_has("10 minutes ago", "Nothing was ordered now")
        listed = await agent.call("list_jobs")
        [job] = listed.content["jobs"]
        assert (job["state"], job["charged"], "jobid" in job) == ("unknown", "unknown", False)
        listed.assert_has("response was lost", CONSOLE, "before you order it again")
        listed.assert_lacks(*OTHER_API_TERMS, "what became of it", "get_job")
        assert len(simulator.orders) == 1
        # The user has checked the console and wants another video.
        await agent.order(prompt, new_take=True, wait_seconds=0)
        assert len(simulator.orders) == 2


def check_unknown(reply: Reply) -> Reply:
    """Check the error of an order that may have been placed."""
    error = reply.error
    assert (error["kind"], error["charged"], error["retry"]) == ("outcome_unknown", "unknown", "never")
    assert error["next_action"] == "ask_user"
    # No tool can find out more, so the reply names none.
    reply.assert_has("may be running and charged", "cannot list jobs", CONSOLE, "15 minutes", "new_take")
    return reply.assert_lacks("nothing was charged", "list_jobs", "get_job", "two minutes", *OTHER_API_TERMS)


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
    refused.assert_has("As many jobs are running", "Nothing was charged", running[0].jobid)
    refused.assert_lacks(*OTHER_API_TERMS, "30 s to 3 minutes")
    assert len(simulator.service.jobs) == 4
    # Once a job has ended, an order is accepted while the agent waits.
    del simulator.service.jobs[running[0].jobid]
    fifth = await agent.order("A fifth one", wait_seconds=150)
    assert fifth.content["outcome"] == "created"


async def test_foreign_jobs_use_up_the_limit(agent: Chat) -> None:
    """User: make a fox (other machines with the same key use up the limit)."""
    refused = await agent.order("A fox simulate:busy", wait_seconds=0)
    assert (refused.error["charged"], refused.error["next_action"]) == ("no", "order_later")
    refused.assert_has("60 s", "a minute or two").assert_lacks(*OTHER_API_TERMS, "30 s to 3 minutes", "get_job")


async def test_too_many_orders_in_a_minute(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: a clip of each of these 31 animals."""
    simulator.service.per_minute = 2
    for number in range(2):
        await agent.order(f"Animal {number}", wait_seconds=0)
    refused = await agent.order("Animal 2", wait_seconds=0)
    # The order is not treated as lost.
    assert (refused.error["charged"], refused.error["retry"]) == ("no", "later")
    refused.assert_has("no more requests at present", "60 s", "Nothing was charged").assert_lacks(
        "running and charged", *OTHER_API_TERMS
    )
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
    refused.assert_has("Nothing was charged", *facts).assert_lacks(
        "useapi", "token", "subscription", "try again in a moment"
    )


async def test_no_money_left(agent: Chat) -> None:
    """User: make a fox (402)."""
    refused = await agent.order("A fox simulate:broke", wait_seconds=0)
    assert refused.error["charged"] == "no"
    refused.assert_has("too few credits", CONSOLE).assert_lacks("subscription")


async def test_no_access_to_hdr(agent: Chat) -> None:
    """User: a fox in HDR (the key has no access to it)."""
    refused = await agent.order("A fox simulate:no-hdr", dynamic_range="hdr", wait_seconds=0)
    assert (refused.error["charged"], refused.error["next_action"]) == ("no", "ask_user")
    refused.assert_has("HDR", "SDR", CONSOLE)
    sdr = await agent.order("A fox simulate:no-hdr", wait_seconds=0)
    assert sdr.content["outcome"] == "created"


async def test_list_without_the_api(agent: Chat, simulator: AgentsSimulator) -> None:
    """User: what is running? (The network is down)."""
    order = await agent.order("A fox", wait_seconds=0)
    simulator.faults.append(Fault("GET", "/generations", 503, times=99))
    listed = await agent.call("list_jobs")
    listed.assert_has(order.jobid, "Could not fetch running jobs", "503")
    simulator.faults.clear()
    await pass_time(60)
    # The end of the job is seen without a list of the API.
    updated = await agent.call("list_jobs", state="completed")
    updated.assert_has(order.jobid).assert_lacks("Could not fetch", *OTHER_API_TERMS)


async def test_overdue_job_is_listed_as_running(agent: Chat) -> None:
    """User: what is running? (One has been stuck for an hour)."""
    order = await agent.order("A fox simulate:stuck", wait_seconds=0)
    await pass_time(3600)
    listed = await agent.call("list_jobs", state="running")
    assert [job["jobid"] for job in listed.content["jobs"]] == [order.jobid]
    assert listed.content["next_action"] == "ask_user"
    listed.assert_has("overdue", order.jobid)


async def test_unknown_jobid(agent: Chat) -> None:
    """User: show me the job that I found in another machine's log."""
    gone = await agent.get("00000000-0000-4000-8000-000000000000")
    assert gone.error["next_action"] == "list_jobs"
    gone.assert_has("another key", "list_jobs").assert_lacks(*OTHER_API_TERMS)
