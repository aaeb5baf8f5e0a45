"""Unambiguous spellings of arguments are accepted; others are rejected with the nearest name."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from tests.results import read_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Connect = Callable[..., Client]


async def get_sent_order(connect: Connect, simulator: Simulator, **arguments: Any) -> dict[str, Any]:
    """Call `generate_video` and get the order that the API received."""
    async with connect() as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0} | arguments)
        assert not result.is_error, result.content
    [order] = simulator.orders
    return order


async def get_error(connect: Connect, tool: str = "generate_video", **arguments: Any) -> dict[str, Any]:
    """Call a tool with arguments that are rejected and return the error."""
    async with connect() as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    error = read_result(result)[1]["error"]
    assert (error["kind"], error["next_action"]) == ("invalid_arguments", "fix_arguments")
    return dict(error)


def get_fields(error: dict[str, Any]) -> list[str]:
    return [problem["field"] for problem in error["problems"]]


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("duration", 10, "10s"),
        ("duration", "10", "10s"),
        ("duration", 10.0, "10s"),
        ("duration", "10 seconds", "10s"),
        ("duration", "10S", "10s"),
        ("resolution", 720, "720p"),
        ("resolution", "720", "720p"),
        ("resolution", "720P", "720p"),
        ("resolution", " Draft ", "draft"),
        ("model", "Ray-V3-Flash", "ray-v3-flash"),
        ("model", "ray_v3", "ray-v3"),
        ("dynamic_range", "SDR", "sdr"),
        ("dynamic_range", "HDR-EXR", "hdr_exr"),
        ("aspect_ratio", "9:16", "9:16"),
        ("aspect_ratio", "21x9", "21:9"),
        ("aspect_ratio", "9 / 16", "9:16"),
    ],
    ids=repr,
)
async def test_clear_spellings_are_accepted(
    connect: Connect, simulator: Simulator, *, name: str, value: Any, meant: str
) -> None:
    assert (await get_sent_order(connect, simulator, **{name: value}))[name] == meant


async def test_camel_case_names_are_accepted(connect: Connect, simulator: Simulator) -> None:
    ref = simulator.service.add_asset("studio@example.com")
    texts = {"replyUrl": "https://example.com/hook", "replyRef": "7"}
    order = await get_sent_order(connect, simulator, imageStart=ref, imageEnd=ref, **texts)
    assert order.items() >= {"imageStart": ref, "imageEnd": ref, **texts}.items()


@pytest.mark.parametrize("nothing", [None, "", "  "], ids=repr)
async def test_null_and_empty_mean_left_out(connect: Connect, simulator: Simulator, nothing: str | None) -> None:
    order = await get_sent_order(
        connect, simulator, model=nothing, image_start=nothing, email=nothing, resolution=nothing
    )
    assert (order["model"], order["resolution"]) == ("ray-v3-flash", "draft")
    assert order.keys().isdisjoint({"imageStart", "email"})


@pytest.mark.parametrize("wait", ["0", "0s", 0, 0.0], ids=repr)
async def test_wait_may_be_text(connect: Connect, simulator: Simulator, wait: Any) -> None:
    await get_sent_order(connect, simulator, wait_seconds=wait)


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("first_frame", "image_start"),
        ("lenght", "duration"),
        ("aspect", "aspect_ratio"),
        ("ratio", "aspect_ratio"),
        ("resolutoin", "resolution"),
        ("dynamicrange", "dynamic_range"),
    ],
)
async def test_unknown_argument_gets_the_nearest_name(
    connect: Connect, simulator: Simulator, unknown: str, nearest: str
) -> None:
    error = await get_error(connect, prompt="A fox", **{unknown: "16:9"})
    [problem] = error["problems"]
    assert (problem["field"], problem["code"]) == (unknown, "unknown_parameter")
    assert f'did you mean "{nearest}"?' in problem["message"]
    assert simulator.requests.total() == 0


async def test_suggestion_keeps_unambiguous_values(connect: Connect) -> None:
    error = await get_error(connect, prompt="A fox", ratio="9x16", wait_seconds=30)
    assert error["suggestion"] == {
        "prompt": "A fox",
        "model": "ray-v3-flash",
        "resolution": "draft",
        "aspect_ratio": "9:16",
        "duration": "5s",
        "dynamic_range": "sdr",
        "wait_seconds": 30,
    }


async def test_suggestion_prefers_the_real_name(connect: Connect) -> None:
    error = await get_error(connect, prompt="A fox", aspect_ratio="9:16", ratio="1:1")
    assert get_fields(error) == ["ratio"]
    assert error["suggestion"]["aspect_ratio"] == "9:16"


@pytest.mark.parametrize(
    "stated",
    [{"first_frame": ["https://example.com/a.png"]}, {"hdr": True}, {"seconds": "a few"}, {"image": 7}],
    ids=str,
)
async def test_no_suggestion_drops_a_stated_value(connect: Connect, stated: dict[str, Any]) -> None:
    error = await get_error(connect, prompt="A fox", **stated)
    assert get_fields(error) == list(stated)
    assert "suggestion" not in error


async def test_unknown_argument_without_a_similar_name(connect: Connect) -> None:
    error = await get_error(connect, prompt="A fox", xyzzy=7)
    assert "leave it out" in error["message"]
    assert "aspect_ratio" in error["message"]
    # The valid names are listed once, however many names are unknown.
    more = await get_error(connect, prompt="A fox", xyzzy=7, foo=8, bar=9)
    assert more["message"].count("image_character") == 1
    assert str(more).count("image_character") == 1
    assert error["suggestion"]["prompt"] == "A fox"


@pytest.mark.parametrize("name", ["seed", "audio", "negative_prompt", "fps", "generateAudio"])
async def test_options_of_other_generators_are_not_offered(connect: Connect, name: str) -> None:
    error = await get_error(connect, prompt="A fox", **{name: "7"})
    assert f'"{name}" is not offered: there is no sound, frame rate, seed or negative prompt' in error["message"]
    assert "did you mean" not in error["message"]
    assert error["suggestion"]["prompt"] == "A fox"


async def test_two_spellings_with_different_values_are_rejected(connect: Connect, simulator: Simulator) -> None:
    error = await get_error(connect, prompt="A fox", image_start="u1:a", imageStart="u1:b")
    assert get_fields(error) == ["imageStart"]
    assert simulator.requests.total() == 0


@pytest.mark.parametrize(
    ("wait", "nearest"),
    [(-1, 0), (601, 600), (10**400, 600), ("soon", 45), (True, 45), ([5], 45)],
    ids=lambda value: repr(value)[:9],
)
async def test_wait_out_of_range_is_rejected(connect: Connect, wait: Any, nearest: int) -> None:
    error = await get_error(connect, prompt="A fox", wait_seconds=wait)
    assert get_fields(error) == ["wait_seconds"]
    assert "from 0 to 600" in error["message"]
    assert error["suggestion"]["wait_seconds"] == nearest


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        ({"limit": 0}, {"limit": 1}),
        ({"limit": 2.5}, {"limit": 2}),
        ({"limit": "many", "state": "done"}, {"limit": 10, "state": "running"}),
        ({"since": "last week"}, {"since": "7d"}),
        ({"before": 5}, {"before": "7d"}),
        ({"text": ["fox"]}, {"text": "fox"}),
        ({"limt": 7}, {"limit": 7}),
    ],
    ids=str,
)
async def test_invalid_options_of_list_jobs_are_rejected(
    connect: Connect, arguments: Any, suggestion: dict[str, Any]
) -> None:
    error = await get_error(connect, "list_jobs", **arguments)
    assert get_fields(error) == list(arguments)
    assert error["suggestion"] == suggestion


@pytest.mark.parametrize("flag", ["maybe", 2, [True]], ids=repr)
async def test_flag_must_be_true_or_false(connect: Connect, flag: Any) -> None:
    error = await get_error(connect, prompt="A fox", save=flag)
    [problem] = error["problems"]
    assert (problem["field"], problem["allowed"]) == ("save", ["true", "false"])
    assert error["suggestion"]["save"] is False


async def test_prompt_is_sent_unchanged(connect: Connect, simulator: Simulator) -> None:
    prompt = "  A fox,\n\tin the “snow” – 狐 🦊  "
    assert (await get_sent_order(connect, simulator, prompt=prompt))["prompt"] == prompt


async def test_get_job_needs_a_jobid(connect: Connect) -> None:
    error = await get_error(connect, "get_job")
    assert get_fields(error) == ["jobid"]
    error = await get_error(connect, "get_job", job="j1")
    assert 'did you mean "jobid"?' in error["message"]
    assert error["suggestion"] == {"jobid": "j1"}


@pytest.mark.parametrize("value", ["-720", -720, "7-2-0", 10**400, "nan"], ids=lambda value: repr(value)[:9])
async def test_similar_but_invalid_value_is_rejected(connect: Connect, value: Any) -> None:
    assert get_fields(await get_error(connect, prompt="A fox", resolution=value)) == ["resolution"]


@pytest.mark.parametrize("value", [["draft"], {"is": "draft"}, True, 3.5], ids=repr)
async def test_value_of_another_type_is_rejected(connect: Connect, value: Any) -> None:
    assert get_fields(await get_error(connect, prompt="A fox", resolution=value)) == ["resolution"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"image_start": "data:," + "A" * 500_000, "imageStart": "data:," + "B" * 500_000},
        {"wait_seconds": "9" * 500_000},
        {"model": "m" * 500_000},
        {"x" * 500_000: 1},
        {"image_start": "data:," + "A" * 500_000, "model": "ray-v4"},
    ],
    ids=lambda arguments: ", ".join(name[:20] for name in arguments),
)
async def test_long_values_are_not_sent_back(connect: Connect, arguments: dict[str, Any]) -> None:
    """Hosts truncate results at a megabyte, and the agent already has the values."""
    async with connect() as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", **arguments})
    assert result.is_error
    assert len(result.model_dump_json()) < 50_000


async def test_long_jobid_is_not_sent_back(connect: Connect) -> None:
    error = await get_error(connect, "get_job", jobid=["j" * 500_000])
    assert len(str(error["problems"][0]["value"])) < 100


async def test_suggestion_refers_to_a_long_image(connect: Connect) -> None:
    file = io.BytesIO()
    Image.effect_noise((100, 100), 50).save(file, "PNG")
    picture = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    error = await get_error(connect, prompt="A fox", image_start=picture, model="ray-v4")
    assert get_fields(error) == ["model"]
    assert error["suggestion"]["image_start"] == "<image_start as you sent it>"
