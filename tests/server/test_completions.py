"""Completions: the values that still go with what is filled in, and the jobids of this machine."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from mcp.types import PromptReference, ResourceTemplateReference
from tests import table
from tests.clock import pass_time
from tests.conftest import EMAIL, ERAS, TOKEN
from tests.results import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
ROOM = 200


@pytest.fixture
def server(connect: Server, simulator: Simulator, tmp_path: Path) -> Server:
    simulator.service.add_account(EMAIL, ROOM)

    def start(mode: str = ERAS[0], **settings: str) -> Client:
        own = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db")}
        return connect(mode=mode, environment={**own, **settings})

    return start


async def completed(client: Client, prompt: str, name: str, begun: str = "", **filled: str) -> list[str]:
    ref = PromptReference(type="ref/prompt", name=prompt)
    found = await client.complete(ref, {"name": name, "value": begun}, context_arguments=filled or None)
    assert found.completion.total == len(found.completion.values)
    assert not found.completion.has_more
    return list(found.completion.values)


async def jobids(client: Client, begun: str = "") -> Completion:
    ref = ResourceTemplateReference(type="ref/resource", uri="luma://jobs/{jobid}")
    return (await client.complete(ref, {"name": "jobid", "value": begun})).completion


async def ordered(client: Client, count: int, **arguments: Any) -> list[str]:
    """The jobids of so many new jobs, newest first."""
    found: list[str] = []
    for number in range(count):
        order = {"prompt": f"Fox {number}", "wait_seconds": 0, **arguments}
        found.insert(0, told(await client.call_tool("generate_video", order))[1]["jobid"])
        await pass_time(1)
    return found


def possible(name: str, filled: dict[str, str], images: dict[str, str]) -> list[str]:
    """What the hand-written table has for the parameter beside the others, in the table's order."""
    rest = [other for other in CHOICES if other not in (name, *filled)]
    return [
        value
        for value in CHOICES[name]
        if any(
            table.is_valid({**filled, **images, name: value, **dict(zip(rest, others, strict=True))})
            for others in product(*(CHOICES[other] for other in rest))
        )
    ]


def options_of(prompt: str) -> list[str]:
    """A film's shots have their own lengths."""
    return [name for name in CHOICES if (prompt, name) != ("short_film", "duration")]


@pytest.mark.parametrize("prompt", PROMPTS)
async def test_values_are_those_that_the_table_has_beside_what_is_filled_in(connect: Server, prompt: str) -> None:
    async with connect() as client:
        for name in options_of(prompt):
            assert await completed(client, prompt, name) == possible(name, {}, PROMPTS[prompt])
            for first, second in product(CHOICES, repeat=2):
                for values in product(CHOICES[first], CHOICES[second]):
                    filled = dict(zip((first, second), values, strict=True))
                    if name not in filled and first < second:
                        assert await completed(client, prompt, name, **filled) == possible(
                            name, filled, PROMPTS[prompt]
                        )


@pytest.mark.parametrize("mode", ERAS)
async def test_what_is_narrowed_is_plain_to_see(connect: Server, mode: str) -> None:
    async with connect(mode=mode) as client:
        assert await completed(client, "make_video", "resolution", dynamic_range="hdr_exr") == ["540p", "720p"]
        assert await completed(client, "make_video", "resolution", model="ray-v3-reasoning") == ["720p", "1080p"]
        assert await completed(client, "make_video", "dynamic_range", duration="10s") == ["sdr"]
        assert await completed(client, "make_video", "model", resolution="draft") == ["ray-v3-flash", "ray-v3"]


async def test_what_is_filled_in_for_the_argument_itself_or_is_no_value_narrows_nothing(connect: Server) -> None:
    async with connect() as client:
        for filled in ({"resolution": "draft"}, {"model": "sora"}, {"idea": "hdr"}, {"fps": "60"}, {"duration": ""}):
            assert await completed(client, "make_video", "resolution", **filled) == list(table.RESOLUTIONS)


@pytest.mark.parametrize(
    ("name", "begun", "values"),
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
async def test_values_that_begin_so_come_before_those_that_contain_it(
    connect: Server, name: str, begun: str, values: list[str]
) -> None:
    async with connect() as client:
        assert await completed(client, "make_video", name, begun) == values


@pytest.mark.parametrize("name", ["idea", "prompt", "story", "look", "motion", "", "image_start", "MODEL", "raw"])
async def test_an_argument_with_nothing_to_choose_from_completes_to_nothing(server: Server, name: str) -> None:
    async with server() as client:
        await ordered(client, 1)
        for prompt in (*PROMPTS, "no_such_prompt"):
            assert await completed(client, prompt, name) == []


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
async def test_an_argument_that_the_prompt_does_not_have_completes_to_nothing(
    server: Server, prompt: str, name: str
) -> None:
    async with server() as client:
        await ordered(client, 1)
        assert await completed(client, prompt, name) == []


async def test_a_film_has_a_few_shots(connect: Server) -> None:
    async with connect() as client:
        assert await completed(client, "short_film", "shots") == [str(number) for number in range(2, 9)]


@pytest.mark.parametrize("mode", ERAS)
async def test_jobids_are_those_of_this_machine_newest_first(server: Server, simulator: Simulator, mode: str) -> None:
    simulator.service.start({"prompt": "x", "model": "ray-v3", "resolution": "540p"}, EMAIL, webhook=False)
    async with server(mode) as client:
        assert (await jobids(client)).values == []
        known = await ordered(client, 3)
    async with server(mode) as client:
        assert (await jobids(client)).values == known
        assert await completed(client, "continue_clip", "jobid") == known
        assert await completed(client, "animate_picture", "picture") == known


async def test_jobids_that_begin_so_come_before_those_that_contain_it(server: Server) -> None:
    async with server() as client:
        known = await ordered(client, 3)
        assert (await jobids(client, known[1][:20])).values[0] == known[1]
        assert (await jobids(client, known[2][-20:])).values == [known[2]]
        assert (await jobids(client, known[0].upper())).values == [known[0]]
        assert (await jobids(client, "no such job")).values == []


async def test_an_order_without_a_jobid_is_not_among_them(server: Server) -> None:
    async with server() as client:
        await client.call_tool("generate_video", {"prompt": "A fox simulate:moderate", "wait_seconds": 0})
        assert (await jobids(client)).values == []


async def test_more_than_a_hundred_are_capped_and_that_is_said(server: Server) -> None:
    async with server() as client:
        known = await ordered(client, 120)
        found = await jobids(client)
    assert (found.values, found.total, found.has_more) == (known[:100], 120, True)


async def test_without_a_token_there_are_no_jobids_and_the_values_are_there_all_the_same(server: Server) -> None:
    async with server() as client:
        await ordered(client, 1)
    async with server(USEAPI_TOKEN="") as client:
        assert (await jobids(client)).values == []
        assert await completed(client, "make_video", "duration") == ["5s", "10s"]
