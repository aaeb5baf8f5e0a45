"""What a client plainly meant is accepted; whatever is not is refused, with the nearest name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator


async def ordered(connect: Callable[..., Client], simulator: Simulator, **arguments: Any) -> dict[str, Any]:
    """What reaches the API when `generate_video` is called so."""
    async with connect() as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0} | arguments)
        assert not result.is_error, result.content
    [order] = simulator.orders
    return order


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
async def test_spellings_that_are_plain_are_accepted(
    connect: Callable[..., Client], simulator: Simulator, name: str, value: Any, meant: str
) -> None:
    assert (await ordered(connect, simulator, **{name: value}))[name] == meant


async def test_the_api_s_camel_case_names_are_accepted(connect: Callable[..., Client], simulator: Simulator) -> None:
    ref = simulator.service.add_asset("studio@example.com")
    order = await ordered(
        connect, simulator, imageStart=ref, imageEnd=ref, replyUrl="https://example.com/hook", replyRef="7"
    )
    sent = {name: order[name] for name in ("imageStart", "imageEnd", "replyUrl", "replyRef")}
    assert sent == {"imageStart": ref, "imageEnd": ref, "replyUrl": "https://example.com/hook", "replyRef": "7"}


@pytest.mark.parametrize("nothing", [None, "", "  "], ids=repr)
async def test_null_and_empty_mean_left_out(
    connect: Callable[..., Client], simulator: Simulator, nothing: str | None
) -> None:
    order = await ordered(connect, simulator, model=nothing, image_start=nothing, email=nothing, resolution=nothing)
    assert (order["model"], order["resolution"]) == ("ray-v3-flash", "draft")
    assert order.keys().isdisjoint({"imageStart", "email"})


@pytest.mark.parametrize("wait", ["0", "0s", 0, 0.0], ids=repr)
async def test_a_wait_may_be_a_number_as_text(connect: Callable[..., Client], simulator: Simulator, wait: Any) -> None:
    await ordered(connect, simulator, wait_seconds=wait)


async def refused(connect: Callable[..., Client], tool: str = "generate_video", **arguments: Any) -> dict[str, Any]:
    async with connect() as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content is not None
    error = result.structured_content["error"]
    assert error["kind"] == "invalid_arguments"
    return dict(error)


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
async def test_an_unknown_argument_is_refused_with_the_nearest_name(
    connect: Callable[..., Client], simulator: Simulator, unknown: str, nearest: str
) -> None:
    error = await refused(connect, prompt="A fox", **{unknown: "16:9"})
    problem = next(p for p in error["problems"] if p["field"] == unknown)
    assert f'did you mean "{nearest}"?' in problem["message"]
    assert {p["field"] for p in error["problems"]} == {unknown}
    assert simulator.requests.total() == 0


async def test_what_an_unknown_argument_plainly_meant_is_carried_into_the_suggestion(
    connect: Callable[..., Client],
) -> None:
    error = await refused(connect, prompt="A fox", ratio="9:16", wait_seconds=30)
    assert error["suggestion"] == {
        "prompt": "A fox",
        "model": "ray-v3-flash",
        "resolution": "draft",
        "aspect_ratio": "9:16",
        "duration": "5s",
        "dynamic_range": "sdr",
        "wait_seconds": 30,
    }


@pytest.mark.parametrize(
    "said", [{"first_frame": ["https://example.com/a.png"]}, {"hdr": True}, {"seconds": "a few"}, {"image": 7}], ids=str
)
async def test_nothing_is_suggested_that_has_lost_what_was_said(
    connect: Callable[..., Client], said: dict[str, Any]
) -> None:
    error = await refused(connect, prompt="A fox", **said)
    assert [p["field"] for p in error["problems"]] == list(said)
    assert "suggestion" not in error


async def test_an_unknown_argument_with_no_counterpart_is_to_be_left_out_and_the_rest_would_work(
    connect: Callable[..., Client],
) -> None:
    error = await refused(connect, prompt="A fox", seed=7)
    assert "leave it out" in error["message"]
    assert "aspect_ratio" in error["message"]
    assert error["suggestion"]["prompt"] == "A fox"


async def test_two_spellings_of_one_argument_that_differ_are_refused(
    connect: Callable[..., Client], simulator: Simulator
) -> None:
    error = await refused(connect, prompt="A fox", image_start="u1:a", imageStart="u1:b")
    assert [p["field"] for p in error["problems"]] == ["imageStart"]
    assert simulator.requests.total() == 0


@pytest.mark.parametrize(
    ("wait", "nearest"),
    [(-1, 0), (601, 600), (10**400, 600), ("soon", 45), (True, 45), ([5], 45)],
    ids=lambda w: repr(w)[:9],
)
async def test_a_wait_outside_its_range_is_refused_and_the_nearest_one_suggested(
    connect: Callable[..., Client], wait: Any, nearest: int
) -> None:
    error = await refused(connect, prompt="A fox", wait_seconds=wait)
    assert [p["field"] for p in error["problems"]] == ["wait_seconds"]
    assert error["suggestion"]["wait_seconds"] == nearest


async def test_the_prompt_is_sent_to_the_letter(connect: Callable[..., Client], simulator: Simulator) -> None:
    prompt = "  A fox,\n\tin the “snow” – 狐 🦊  "
    assert (await ordered(connect, simulator, prompt=prompt))["prompt"] == prompt


async def test_get_job_without_a_jobid_says_what_it_wants(connect: Callable[..., Client]) -> None:
    error = await refused(connect, "get_job")
    assert [p["field"] for p in error["problems"]] == ["jobid"]
    error = await refused(connect, "get_job", job="j1")
    assert 'did you mean "jobid"?' in error["message"]
    assert error["suggestion"] == {"jobid": "j1"}


@pytest.mark.parametrize("value", ["-720", -720, "7-2-0", 10**400, "nan"], ids=lambda value: repr(value)[:9])
async def test_what_only_resembles_a_value_is_not_taken_for_it(connect: Callable[..., Client], value: Any) -> None:
    error = await refused(connect, prompt="A fox", resolution=value)
    assert [p["field"] for p in error["problems"]] == ["resolution"]


@pytest.mark.parametrize("value", [["draft"], {"is": "draft"}, True, 3.5])
async def test_a_value_of_another_type_is_refused_and_not_crashed_on(
    connect: Callable[..., Client], value: Any
) -> None:
    error = await refused(connect, prompt="A fox", resolution=value)
    assert [p["field"] for p in error["problems"]] == ["resolution"]


@pytest.mark.parametrize(
    "said",
    [
        {"image_start": "data:," + "A" * 500_000, "imageStart": "data:," + "B" * 500_000},
        {"wait_seconds": "9" * 500_000},
        {"model": "m" * 500_000},
        {"x" * 500_000: 1},
        {"image_start": "data:," + "A" * 500_000, "model": "ray-v4"},
    ],
    ids=lambda said: ", ".join(name[:20] for name in said),
)
async def test_what_is_long_is_not_sent_back_whole(connect: Callable[..., Client], said: dict[str, Any]) -> None:
    """Hosts cut results at a megabyte, and the agent has what it sent."""
    async with connect() as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", **said})
    assert result.is_error
    assert len(result.model_dump_json()) < 50_000
