"""Requests for a video: the order matches the request, and impossible requests are rejected free of charge."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from tests.clock import pass_time
from tests.conftest import BOTH_APIS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.server.conversations.chat import Chat, Reply

    from luma_mcp.simulator.app import Simulator

    StartChat = Callable[..., AbstractAsyncContextManager[Chat]]

# The cheapest model and resolution, and the model with all features, by API.
CHEAPEST = {"useapi": ("ray-v3-flash", "draft"), "agents": ("ray-3.2", "360p")}
BEST = {"useapi": "ray-v3", "agents": "ray-3.2"}


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """A portrait photo on the user's disk."""
    content = io.BytesIO()
    Image.new("RGB", (270, 480), "green").save(content, "JPEG")
    path = tmp_path / "grandma.jpg"
    path.write_bytes(content.getvalue())
    return str(path)


def get_start(body: dict[str, Any]) -> str:
    """Get the first frame of an order from its body, for either API."""
    if "video" in body:
        [name] = body["video"]["start_frame"].values()
    else:
        name = body["imageStart"]
    return str(name)


def count_uploads(simulator: Simulator) -> int:
    return simulator.requests["POST /assets/…"] + simulator.requests["POST /files"]


def get_requested(reply: Reply, *names: str) -> tuple[Any, ...]:
    """Get values of the ordered request, and check that the text has the same."""
    values = tuple(reply.content["request"][name] for name in names)
    for value in values:
        assert value in reply.text
    return values


@BOTH_APIS
async def test_fox_of_five_seconds(chat: StartChat, api: str, simulator: Simulator) -> None:
    """User: make me a 5 second video of a fox in the snow."""
    async with chat() as agent:
        done = await agent.make("A fox in the snow", duration="5s")
    assert get_requested(done, "duration", "model", "resolution") == ("5s", *CHEAPEST[api])
    done.assert_has(done.content["video"]["url"], {"useapi": "20", "agents": "$0.06"}[api], done.jobid)
    assert (done.content["state"], done.content["next_action"]) == ("completed", "none")
    # No further call is needed, so the reply suggests none.
    done.assert_lacks("call get_job", "call generate_video", "new_take", "delete_job")
    assert len(simulator.orders) == 1


@BOTH_APIS
async def test_vertical_in_best_quality(chat: StartChat, api: str, simulator: Simulator) -> None:
    """User: a vertical video of the sea, in the best quality you have."""
    async with chat() as agent:
        options = await agent.call("list_options")
        options.assert_has("1080p", "9:16", BEST[api])
        done = await agent.make("The sea", aspect_ratio="vertical", resolution="1080p", model=BEST[api])
        if done.is_error:
            # An ambiguous spelling is rejected, with the intended request as the suggestion.
            suggestion = done.error["suggestion"]
            done = await agent.make(**suggestion)
    assert get_requested(done, "aspect_ratio", "resolution", "model") == ("9:16", "1080p", BEST[api])
    assert len(simulator.orders) == 1


@BOTH_APIS
async def test_hdr_of_ten_seconds(chat: StartChat, simulator: Simulator) -> None:
    """User: ten seconds of a city at night, HDR, 1080p."""
    async with chat() as agent:
        refused = await agent.order("A city at night", duration="10s", dynamic_range="hdr", resolution="1080p")
        refused.assert_has("hdr", "10s", "5s", "charged")
        assert (refused.error["charged"], refused.error["next_action"]) == ("no", "fix_arguments")
        suggestion = refused.error["suggestion"]
        # The suggestion keeps HDR and the resolution, and shortens the video. The alternative is mentioned.
        kept = {"dynamic_range": "hdr", "resolution": "1080p", "duration": "5s", "prompt": "A city at night"}
        assert suggestion.items() >= kept.items()
        refused.assert_has("sdr")
        assert simulator.orders == []
        done = await agent.make(**suggestion)
    assert get_requested(done, "dynamic_range", "duration") == ("hdr", "5s")
    # The user has to know that browsers do not play it.
    assert done.content["video"]["plays_in_browser"] is False
    assert "browser" in done.text


async def test_reasoning_model_as_cheap_as_possible(chat: StartChat) -> None:
    """User: use the reasoning model, but make it as cheap as possible."""
    async with chat() as agent:
        refused = await agent.order("A chess game", model="ray-v3-reasoning", resolution="draft")
        refused.assert_has("720p")
        assert refused.error["charged"] == "no"
        assert refused.error["suggestion"]["model"] == "ray-v3-reasoning"
        done = await agent.make("A chess game", model="ray-v3-reasoning")
    assert get_requested(done, "model", "resolution", "duration") == ("ray-v3-reasoning", "720p", "5s")


@BOTH_APIS
async def test_bring_a_photo_to_life(chat: StartChat, simulator: Simulator, photo: str) -> None:
    """User: bring grandma.jpg to life."""
    async with chat() as agent:
        done = await agent.order("She smiles", image_start=photo, wait_seconds=120)
    # The video has the shape of the portrait photo.
    assert get_requested(done, "aspect_ratio") == ("9:16",)
    done.assert_has(done.content["assets"]["image_start"], "picture's shape")
    assert get_start(simulator.orders[0]) == done.content["assets"]["image_start"]


@BOTH_APIS
async def test_the_same_photo_at_the_end(chat: StartChat, simulator: Simulator, photo: str) -> None:
    """User: and now one that ends with that photo."""
    async with chat() as agent:
        first = await agent.make("She smiles", image_start=photo)
        done = await agent.make("A painting becomes a photo", image_end=first.content["assets"]["image_start"])
    assert "image_start" not in done.content["request"]
    assert done.content["request"]["image_end"] == first.content["assets"]["image_start"]
    # The text states the shape of the video, which no first frame determines.
    get_requested(done, "aspect_ratio")
    assert count_uploads(simulator) == 1


@BOTH_APIS
async def test_continue_the_clip(chat: StartChat, api: str, simulator: Simulator) -> None:
    """User: make it go on (after a vertical clip in 1080p with the large model)."""
    options = {"model": BEST[api], "resolution": "1080p", "aspect_ratio": "9:16"}
    async with chat() as agent:
        clip = await agent.make("A fox runs", **options)
        done = await agent.make("The fox jumps", image_start=clip.jobid)
    assert get_requested(done, *options) == tuple(options.values())
    done.assert_has(clip.jobid, "continues", {"useapi": "300", "agents": "$1.20"}[api])
    assert get_start(simulator.orders[1])


async def test_face_as_a_character_in_hdr(chat: StartChat, simulator: Simulator, photo: str) -> None:
    """User: put my face into an HDR clip."""
    async with chat() as agent:
        refused = await agent.order("A knight rides", image_character=photo, dynamic_range="hdr", resolution="720p")
        refused.assert_has("image_character", "hdr", "sdr")
        assert refused.error["charged"] == "no"
        suggestion = refused.error["suggestion"]
        # The suggestion keeps the face, which is the point of the request.
        kept = {"image_character": photo, "dynamic_range": "sdr", "model": "ray-v3", "resolution": "720p"}
        assert suggestion.items() >= kept.items()
        assert (simulator.orders, simulator.requests["POST /assets/…"]) == ([], 0)
        done = await agent.make(**suggestion)
    assert get_requested(done, "model", "dynamic_range") == ("ray-v3", "sdr")


async def test_exr_at_1080p(chat: StartChat, simulator: Simulator) -> None:
    """User: EXR frames at 1080p for compositing."""
    async with chat() as agent:
        refused = await agent.order("Smoke", dynamic_range="hdr_exr", resolution="1080p")
        refused.assert_has("hdr_exr", "1080p", "720p")
        assert refused.error["suggestion"].items() >= {"dynamic_range": "hdr_exr", "resolution": "720p"}.items()
        # The alternative for users who need 1080p more than EXR is HDR.
        assert '"hdr"' in refused.data
        assert simulator.orders == []
        done = await agent.make(**refused.error["suggestion"])
    done.assert_has(done.content["exr_zip_url"])


@BOTH_APIS
async def test_save_it(chat: StartChat, simulator: Simulator) -> None:
    """User: nice, save it to my disk."""
    async with chat() as agent:
        done = await agent.make("A fox in the snow")
        saved = await agent.get(done.jobid, save=True)
    [file] = saved.content["saved_files"]
    assert Path(file).read_bytes()[4:8] == b"ftyp"
    saved.assert_has(file)
    # The file is saved, so an expiring link needs no warning.
    saved.assert_lacks("may expire")
    assert len(simulator.orders) == 1


@BOTH_APIS
async def test_four_variations(chat: StartChat, simulator: Simulator) -> None:
    """User: make four variations of a neon street, I will choose one."""
    async with chat() as agent:
        first = await agent.order("A neon street", wait_seconds=0)
        same = await agent.order("A neon street", wait_seconds=0)
        # Without new_take, no second video is ordered, and the reply explains how to get one.
        assert same.content["outcome"] == "duplicate"
        assert (same.jobid, same.content["charged"]) == (first.jobid, "no")
        assert same.text.splitlines()[0].startswith("No new video was ordered")
        same.assert_has("No new video was ordered", "new_take").assert_lacks("Do not order")
        others = [await agent.order("A neon street", new_take=True, wait_seconds=0) for _ in range(3)]
        jobids = [first.jobid, *(other.jobid for other in others)]
        assert len(set(jobids)) == len(simulator.orders) == 4
        await pass_time(60)
        for jobid in jobids:
            done = await agent.get(jobid)
            done.assert_has(done.content["video"]["url"])


@BOTH_APIS
async def test_film_of_three_shots(chat: StartChat, simulator: Simulator) -> None:
    """User: a 30 second film of a journey, in three shots that follow each other."""
    async with chat() as agent:
        refused = await agent.order("A journey", duration="30s")
        refused.assert_has("5s", "10s")
        assert refused.error["charged"] == "no"
        shot = await agent.make("A train leaves", duration="10s", aspect_ratio="21:9", resolution="720p")
        for prompt in ("It crosses a bridge", "It arrives"):
            following = await agent.make(prompt, image_start=shot.jobid, duration="10s")
            assert get_requested(following, "aspect_ratio", "resolution", "duration") == ("21:9", "720p", "10s")
            following.assert_has(shot.jobid)
            shot = following
        listed = await agent.call("list_jobs")
    assert len(simulator.orders) == 3
    continued = [job.get("continues") for job in listed.content["jobs"]]
    assert continued == [listed.content["jobs"][1]["jobid"], listed.content["jobs"][2]["jobid"], None]


async def test_how_long_and_what_does_it_cost(chat: StartChat, simulator: Simulator) -> None:
    """User: tell me how long a 1080p video takes, and what it costs."""
    async with chat() as agent:
        before = await agent.call("list_options", resolution="1080p")
        before.assert_has("1080p", "not known yet")
        assert before.content["typical_seconds"]["1080p"]
        assert simulator.orders == []
        for _ in range(3):
            await agent.make("A fox", resolution="1080p", new_take=True)
            await pass_time(1)
        after = await agent.call("list_options", resolution="1080p")
    # 300 credits each; the account had used 1,200 of 10,000 before.
    after.assert_has("300", "7900").assert_lacks("not known yet")


@BOTH_APIS
async def test_4k_60_fps_20_s_square_without_sound(chat: StartChat, simulator: Simulator) -> None:
    """User: 4K, 60 fps, 20 seconds, square, no sound."""
    async with chat() as agent:
        arguments = {"resolution": "4k", "fps": 60, "duration": "20s", "aspect_ratio": "square", "audio": False}
        refused = await agent.order("Waves", **arguments)
        refused.assert_has("1080p", "10s", "1:1", "fps", "sound", "frame rate")
        refused.assert_lacks('did you mean "aspect_ratio"', "no such")
        assert simulator.orders == []
        suggestion = refused.error["suggestion"]
        wanted = {"resolution": "1080p", "duration": "10s", "aspect_ratio": "1:1", "prompt": "Waves"}
        assert suggestion.items() >= wanted.items()
        assert not {"fps", "audio"} & suggestion.keys()
        # The valid names are listed once, not once per unknown name.
        for channel in (refused.text, refused.data):
            assert channel.count("image_character") <= 1
        done = await agent.make(**suggestion)
    assert get_requested(done, "resolution", "duration", "aspect_ratio") == ("1080p", "10s", "1:1")
