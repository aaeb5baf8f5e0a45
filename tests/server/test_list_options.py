"""`list_options`: the whole catalog, the values that fit a choice, and the exact schema. It works without a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from tests import table
from tests.results import read_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    Connect = Callable[..., Client]


async def list_options(connect: Connect, **arguments: Any) -> tuple[str, dict[str, Any]]:
    async with connect(environment={}) as client:
        return read_result(await client.call_tool("list_options", arguments))


async def test_whole_catalog(connect: Connect) -> None:
    text, content = await list_options(connect)
    listed = {}
    for model in content["models"]:
        for name, limits in model["dynamic_ranges"].items():
            listed[model["name"], name] = (set(limits["resolutions"]), set(limits["durations"]))
    assert listed == {key: (value, table.DURATIONS_OF[key[1]]) for key, value in table.RESOLUTIONS_OF.items()}
    assert {model["name"]: model["image_character"] for model in content["models"]} == {
        "ray-v3-flash": [],
        "ray-v3": ["sdr"],
        "ray-v3-reasoning": [],
    }
    assert content["defaults"]["model"] == "ray-v3-flash"
    assert content["typical_seconds"]["draft"] == [30, 60]
    assert content["output_formats"]["hdr"]["plays_in_browser"] is False
    for part in (*table.MODELS, *table.RESOLUTIONS, *table.ASPECT_RATIOS, "HEVC Main 10", "30 to 60"):
        assert part in text
    assert "image_character: model ray-v3" in text


async def test_values_that_fit_a_choice(connect: Connect) -> None:
    text, content = await list_options(connect, model="Ray-V3-Reasoning", dynamic_range="hdr_exr")
    assert content["chosen"] == {"model": "ray-v3-reasoning", "dynamic_range": "hdr_exr"}
    assert content["allowed"] == {
        "resolution": ["720p"],
        "aspect_ratio": list(table.ASPECT_RATIOS),
        "duration": ["5s"],
        "image_start": True,
        "image_end": True,
        "image_character": False,
    }
    assert "Still possible with model ray-v3-reasoning; dynamic_range hdr_exr: resolution 720p" in text


async def test_exact_schema(connect: Connect) -> None:
    text, content = await list_options(connect, include_schema="true")
    exact = Draft202012Validator(content["schema"])
    assert exact.is_valid({"prompt": "A fox", "model": "ray-v3-reasoning"})
    assert not exact.is_valid({"prompt": "A fox", "model": "ray-v3-reasoning", "resolution": "draft"})
    assert '"then"' in text


async def test_invalid_choice_gets_a_suggestion(connect: Connect) -> None:
    text, content = await list_options(connect, model="ray-v3-reasoning", resolution="540p")
    error = content["error"]
    assert error["suggestion"] == {"model": "ray-v3-reasoning", "resolution": "720p"}
    # This tool never costs anything.
    assert "charged" not in error
    assert "charged" not in text
