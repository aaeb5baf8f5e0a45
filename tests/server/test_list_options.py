"""`list_options`: the whole table, what still goes with a choice, and the exact schema. Without a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from tests import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client


async def options(connect: Callable[..., Client], **arguments: Any) -> tuple[str, dict[str, Any]]:
    async with connect(environment={}) as client:
        result = await client.call_tool("list_options", arguments)
    assert not result.is_error
    assert result.structured_content is not None
    [block] = result.content
    assert block.type == "text"
    return block.text, result.structured_content


async def test_it_tells_the_whole_table(connect: Callable[..., Client]) -> None:
    text, content = await options(connect)
    told = {
        (model["name"], name): (set(reach["resolutions"]), set(reach["durations"]))
        for model in content["models"]
        for name, reach in model["dynamic_ranges"].items()
    }
    assert told == {key: (value, table.DURATIONS_OF[key[1]]) for key, value in table.RESOLUTIONS_OF.items()}
    assert {m["name"]: m["image_character"] for m in content["models"]} == {
        "ray-v3-flash": [],
        "ray-v3": ["sdr"],
        "ray-v3-reasoning": [],
    }
    assert content["defaults"]["model"] == "ray-v3-flash"
    assert content["typical_seconds"]["draft"] == [30, 60]
    assert content["output_formats"]["hdr"]["plays_in_browser"] is False
    for word in (
        *table.MODELS,
        *table.RESOLUTIONS,
        *table.ASPECT_RATIOS,
        "HEVC Main 10",
        "30 to 60",
        "image_character",
    ):
        assert word in text


async def test_it_tells_what_still_goes_with_what_was_fixed(connect: Callable[..., Client]) -> None:
    text, content = await options(connect, model="Ray-V3-Reasoning", dynamic_range="hdr_exr")
    assert content["chosen"] == {"model": "ray-v3-reasoning", "dynamic_range": "hdr_exr"}
    assert content["allowed"] == {
        "resolution": ["720p"],
        "aspect_ratio": list(table.ASPECT_RATIOS),
        "duration": ["5s"],
        "image_start": True,
        "image_end": True,
        "image_character": False,
    }
    assert "still possible: resolution 720p" in text


async def test_it_returns_the_exact_schema_when_asked(connect: Callable[..., Client]) -> None:
    text, content = await options(connect, include_schema="true")
    exact = Draft202012Validator(content["schema"])
    assert exact.is_valid({"prompt": "A fox", "model": "ray-v3-reasoning"})
    assert not exact.is_valid({"prompt": "A fox", "model": "ray-v3-reasoning", "resolution": "draft"})
    assert '"then"' in text


async def test_an_impossible_choice_is_refused_with_a_possible_one(connect: Callable[..., Client]) -> None:
    async with connect(environment={}) as client:
        result = await client.call_tool("list_options", {"model": "ray-v3-reasoning", "resolution": "540p"})
    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["error"]["suggestion"] == {"model": "ray-v3-reasoning", "resolution": "720p"}
