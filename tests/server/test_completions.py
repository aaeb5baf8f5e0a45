"""Completions: values that fit the other arguments, and jobids of this machine."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from mcp.types import PromptReference, ResourceTemplateReference
from tests import table
from tests.clock import pass_time
from tests.conftest import EMAIL, ERAS
from tests.server.calls import order

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client
    from mcp.types import Completion

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

CHOICES = {
    "model": table.MODELS,
    "resolution": table.RESOLUTIONS,
    "aspect_ratio": table.ASPECT_RATIOS,
    "duration": table.DURATIONS,
    "dynamic_range": table.DYNAMIC_RANGES,
}
FIRST_FRAME = {"image_start": "a picture"}
PROMPTS = {"make_video": {}, "animate_picture": FIRST_FRAME, "continue_clip": FIRST_FRAME, "short_film": {}}
SLOTS = 200


@pytest.fixture(autouse=True)
def slots(simulator: Simulator) -> None:
    """Add enough slots for all jobs of a test."""
    simulator.service.add_account(EMAIL, SLOTS)


async def complete(client: Client, prompt: str, name: str, typed: str = "", **given: str) -> list[str]:
    ref = PromptReference(type="ref/prompt", name=prompt)
    found = await client.complete(ref, {"name": name, "value": typed}, context_arguments=given or None)
    assert found.completion.total == len(found.completion.values)
    assert not found.completion.has_more
    return list(found.completion.values)


async def complete_jobid(client: Client, typed: str = "") -> Completion:
    ref = ResourceTemplateReference(type="ref/resource", uri="luma://jobs/{jobid}")
    return (await client.complete(ref, {"name": "jobid", "value": typed})).completion


async def order_videos(client: Client, count: int) -> list[str]:
    """Order `count` videos and return their jobids, newest first."""
    jobids: list[str] = []
    for number in range(count):
        _, content = await order(client, f"Fox {number}")
        jobids.insert(0, content["jobid"])
        await pass_time(1)
    return jobids


def get_possible_values(name: str, given: dict[str, str], images: dict[str, str]) -> list[str]:
    """Get the values of an option that fit the others, according to the tests' own table and in its order."""
    rest = [other for other in CHOICES if other not in (name, *given)]
    return [
        value
        for value in CHOICES[name]
        if any(
            table.is_valid({**given, **images, name: value, **dict(zip(rest, others, strict=True))})
            for others in product(*(CHOICES[other] for other in rest))
        )
    ]


def options_of(prompt: str) -> list[str]:
    """Get the options of a prompt. A film has none for the duration, because its shots differ."""
    return [name for name in CHOICES if (prompt, name) != ("short_film", "duration")]


@pytest.mark.parametrize("prompt", PROMPTS)
async def test_values_fit_the_other_arguments(connect: Server, prompt: str) -> None:
    async with connect() as client:
        for name in options_of(prompt):
            assert await complete(client, prompt, name) == get_possible_values(name, {}, PROMPTS[prompt])
            for first, second in product(CHOICES, repeat=2):
                for values in product(CHOICES[first], CHOICES[second]):
                    given = dict(zip((first, second), values, strict=True))
                    if name not in given and first < second:
                        assert await complete(client, prompt, name, **given) == get_possible_values(
                            name, given, PROMPTS[prompt]
                        )


@pytest.mark.parametrize("mode", ERAS)
async def test_examples_of_fitting_values(connect: Server, mode: str) -> None:
    async with connect(mode=mode) as client:
        assert await complete(client, "make_video", "resolution", dynamic_range="hdr_exr") == ["540p", "720p"]
        assert await complete(client, "make_video", "resolution", model="ray-v3-reasoning") == ["720p", "1080p"]
        assert await complete(client, "make_video", "dynamic_range", duration="10s") == ["sdr"]
        assert await complete(client, "make_video", "model", resolution="draft") == ["ray-v3-flash", "ray-v3"]


async def test_own_and_invalid_values_exclude_nothing(connect: Server) -> None:
    async with connect() as client:
        for given in ({"resolution": "draft"}, {"model": "sora"}, {"idea": "hdr"}, {"fps": "60"}, {"duration": ""}):
            assert await complete(client, "make_video", "resolution", **given) == list(table.RESOLUTIONS)


@pytest.mark.parametrize(
    ("name", "typed", "values"),
    [
        ("model", "ray-v3-r", ["ray-v3-reasoning"]),
        ("model", "RAY-V3", ["ray-v3-flash", "ray-v3", "ray-v3-reasoning"]),
        ("resolution", "0", ["540p", "720p", "1080p"]),
        ("resolution", "10", ["1080p"]),
        ("dynamic_range", "h", ["hdr", "hdr_exr"]),
        ("dynamic_range", "dr", ["sdr", "hdr", "hdr_exr"]),
        ("aspect_ratio", "1", ["1:1", "16:9", "9:16", "21:9"]),
        ("aspect_ratio", "9", ["9:16", "16:9", "21:9"]),
        ("duration", " 5", ["5s"]),
        ("duration", "7", []),
    ],
)
async def test_values_with_the_typed_prefix_come_first(
    connect: Server, name: str, typed: str, values: list[str]
) -> None:
    async with connect() as client:
        assert await complete(client, "make_video", name, typed) == values


@pytest.mark.parametrize("name", ["idea", "prompt", "story", "look", "motion", "", "image_start", "MODEL", "raw"])
async def test_free_text_has_no_completions(server: Server, name: str) -> None:
    async with server() as client:
        await order_videos(client, 1)
        for prompt in (*PROMPTS, "no_such_prompt"):
            assert await complete(client, prompt, name) == []


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("short_film", "duration"),
        ("make_video", "shots"),
        ("make_video", "jobid"),
        ("continue_clip", "picture"),
        ("no_such_prompt", "model"),
    ],
)
async def test_an_argument_of_another_prompt_has_no_completions(server: Server, prompt: str, name: str) -> None:
    async with server() as client:
        await order_videos(client, 1)
        assert await complete(client, prompt, name) == []


async def test_a_film_has_two_to_eight_shots(connect: Server) -> None:
    async with connect() as client:
        assert await complete(client, "short_film", "shots") == [str(number) for number in range(2, 9)]


@pytest.mark.parametrize("mode", ERAS)
async def test_jobids_are_those_of_this_machine_newest_first(server: Server, simulator: Simulator, mode: str) -> None:
    simulator.service.start({"prompt": "x", "model": "ray-v3", "resolution": "540p"}, EMAIL, webhook=False)
    async with server(mode) as client:
        assert (await complete_jobid(client)).values == []
        known = await order_videos(client, 3)
    async with server(mode) as client:
        assert (await complete_jobid(client)).values == known
        assert await complete(client, "continue_clip", "jobid") == known
        assert await complete(client, "animate_picture", "picture") == known


async def test_jobids_with_the_typed_prefix_come_first(server: Server) -> None:
    async with server() as client:
        known = await order_videos(client, 3)
        assert (await complete_jobid(client, known[1][:20])).values[0] == known[1]
        assert (await complete_jobid(client, known[2][-20:])).values == [known[2]]
        assert (await complete_jobid(client, known[0].upper())).values == [known[0]]
        assert (await complete_jobid(client, "no such job")).values == []


async def test_an_order_without_a_jobid_is_left_out(server: Server) -> None:
    async with server() as client:
        await order(client, "A fox simulate:moderate")
        assert (await complete_jobid(client)).values == []


async def test_at_most_a_hundred_jobids_are_returned(server: Server) -> None:
    async with server() as client:
        known = await order_videos(client, 102)
        found = await complete_jobid(client)
    assert (found.values, found.total, found.has_more) == (known[:100], 102, True)


async def test_values_need_no_token_and_jobids_do(server: Server) -> None:
    async with server() as client:
        await order_videos(client, 1)
    async with server(USEAPI_TOKEN="") as client:
        assert (await complete_jobid(client)).values == []
        assert await complete(client, "make_video", "duration") == ["5s", "10s"]
