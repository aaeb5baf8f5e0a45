"""Errors of requests that cannot be ordered, with all that an agent needs to answer the user.

Text alone and structured content alone must suffice; what is suggested, and what else is possible, must work.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from tests import table
from tests.conftest import EMAIL, IN_MEMORY, TOKEN, wall_clock
from tests.results import read_result

from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from luma_mcp.simulator.app import Simulator

GERMAN = "Ein Fuchs läuft durch den Schnee"
PAGE = b"<!DOCTYPE html><html><title>Fuchs</title></html>"


async def stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


class PictureHost(httpx2.AsyncBaseTransport):
    """Serves example.com with the status in the path, or with a web page. Other requests go to the simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulated = httpx2.ASGITransport(simulator)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.headers["host"] != "example.com":
            return await self._simulated.handle_async_request(request)
        path = request.url.path.strip("/")
        if path.isdigit():
            return httpx2.Response(int(path))
        return httpx2.Response(200, content=stream(PAGE))


async def resolve(host: str, port: int) -> list[str]:  # noqa: ARG001
    if host.startswith("gibt-es-nicht"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if host.startswith("later"):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return ["93.184.215.14"]


async def get_error(simulator: Simulator, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """Order a video that is rejected; return the text and the error, after checking that they agree."""
    settings = Settings.from_environment(IN_MEMORY | {"USEAPI_TOKEN": TOKEN})
    server = build_server(settings, transport=PictureHost(simulator), resolve=resolve, wall_clock=wall_clock)
    async with Client(server) as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0} | arguments)
    assert result.is_error
    text, content = read_result(result)
    error = content["error"]
    assert simulator.orders == []
    assert (error["kind"], error["charged"]) == ("invalid_arguments", "no")
    for part in (error["message"], error.get("next_step", ""), "Nothing was charged."):
        assert part in text
    for problem in error["problems"]:
        assert problem["field"] in text
    if suggestion := error.get("suggestion"):
        assert json.dumps(suggestion, ensure_ascii=False) in text
        assert error["next_action"] == "fix_arguments"
        assert "suggestion" in error["next_step"]
    return text, error


def is_possible(request: dict[str, Any]) -> bool:
    """Whether the tests' own table allows the request with any values for omitted options."""
    given = {name: value for name, value in request.items() if name != "wait_seconds"}
    every = table.full_product({name: given.get(name, "") for name in table.IMAGES})
    # Omitted images stay omitted.
    images = set(table.IMAGES) - given.keys()
    return any(table.is_valid(each) and images.isdisjoint(each) and given.items() <= each.items() for each in every)


CONFLICTS: list[tuple[dict[str, str], dict[str, str], str]] = [
    (
        {"dynamic_range": "hdr", "duration": "10s", "resolution": "1080p"},
        {"dynamic_range": "hdr", "duration": "5s", "resolution": "1080p"},
        'duration "10s" with dynamic_range "sdr"',
    ),
    (
        {"dynamic_range": "hdr", "duration": "10s", "resolution": "draft"},
        {"dynamic_range": "hdr", "duration": "5s", "resolution": "540p"},
        'resolution "draft" and duration "10s" with dynamic_range "sdr"',
    ),
    (
        {"dynamic_range": "hdr_exr", "resolution": "1080p", "model": "ray-v3-flash"},
        {"dynamic_range": "hdr_exr", "resolution": "720p", "model": "ray-v3-flash"},
        'resolution "1080p" with dynamic_range "hdr"',
    ),
    (
        {"dynamic_range": "hdr", "image_character": "asset"},
        {"dynamic_range": "sdr", "image_character": "asset", "model": "ray-v3"},
        'dynamic_range "hdr" without image_character',
    ),
    (
        {"image_start": "asset", "image_character": "asset"},
        {"image_start": "asset"},
        "image_character without image_start",
    ),
]


@pytest.mark.parametrize(("stated", "suggested", "other"), CONFLICTS)
async def test_conflict_gets_a_suggestion_and_an_alternative(
    simulator: Simulator, stated: dict[str, str], suggested: dict[str, str], other: str
) -> None:
    asset = simulator.service.add_asset(EMAIL)
    stated = {name: asset if value == "asset" else value for name, value in stated.items()}
    text, error = await get_error(simulator, **stated)
    suggestion = error["suggestion"]
    assert suggestion.items() >= {n: asset if value == "asset" else value for n, value in suggested.items()}.items()
    assert is_possible(suggestion | {"prompt": "A fox in the snow"})
    assert f"Also possible, if the user prefers it: {other}." in text
    assert other in error["next_step"]
    [way] = error["alternatives"]
    request = {"prompt": "A fox in the snow"} | stated | way.get("change", {})
    for name in way.get("leave_out", []):
        del request[name]
    assert is_possible(request)
    # The alternative keeps what the suggestion changes.
    for name, value in way["keeps"].items():
        assert suggestion.get(name) != value


async def test_all_unavailable_options_are_explained_at_once(simulator: Simulator) -> None:
    text, error = await get_error(
        simulator, resolution="4K", fps=60, duration="20 s", aspect_ratio="square", sound="none", seed=7
    )
    assert error["suggestion"].items() >= {"resolution": "1080p", "duration": "10s", "aspect_ratio": "1:1"}.items()
    assert text.count("there is no sound, frame rate, seed or negative prompt") == 1
    assert json.dumps(error).count("there is no sound") == 1
    assert '"fps" and "seed" are not offered and "sound" is not needed' in text
    assert {problem["field"] for problem in error["problems"]} == {
        "resolution",
        "fps",
        "duration",
        "aspect_ratio",
        "sound",
        "seed",
    }
    assert "did you mean" not in text
    assert len(text) < 1000


@pytest.mark.parametrize("name", ["audio", "generateAudio", "sound"])
@pytest.mark.parametrize("value", [False, "none", "off", "false"])
async def test_options_for_no_sound_are_not_needed(simulator: Simulator, name: str, value: Any) -> None:
    text, error = await get_error(simulator, **{name: value})
    assert f'"{name}" is not needed: there is no sound' in text
    assert [problem["code"] for problem in error["problems"]] == ["not_needed"]
    assert error["suggestion"]["prompt"] == "A fox"


@pytest.mark.parametrize(("name", "value"), [("mute", True), ("no_audio", True)])
async def test_negated_names_of_options_are_understood(simulator: Simulator, name: str, value: Any) -> None:
    assert f'"{name}" is not needed' in (await get_error(simulator, **{name: value}))[0]
    assert f'"{name}" is not offered' in (await get_error(simulator, **{name: not value}))[0]


@pytest.mark.parametrize("name", ["style", "camera_motion", "mood"])
async def test_descriptive_options_belong_in_the_prompt(simulator: Simulator, name: str) -> None:
    text, error = await get_error(simulator, **{name: "anime"})
    assert f'"{name}" is not a parameter: describe it in the prompt instead.' in text
    # A suggestion would drop what the user wants.
    assert "suggestion" not in error
    assert "image_character" not in text


@pytest.mark.parametrize("name", ["n", "num_videos", "sampleCount"])
async def test_names_for_several_videos_lead_to_takes(simulator: Simulator, name: str) -> None:
    text, error = await get_error(simulator, **{name: 4})
    assert f'"{name}" is not a parameter: did you mean "takes"?' in text
    assert error["suggestion"]["takes"] == 4


DEAD_LINKS = {
    "https://gibt-es-nicht.example/fuchs.jpg": "not found",
    "https://example.com/404": "404 (nothing is there)",
    "https://example.com/410": "410 (it was removed)",
    "https://example.com/403": "403 (access is denied)",
    "https://example.com/401": "401 (it needs a login)",
    "https://example.com/seite.html": "web page",
    "ftp://example.com/fuchs.jpg": "ftp",
}


@pytest.mark.parametrize(("link", "reason"), DEAD_LINKS.items())
async def test_dead_link_is_reported_with_the_reason(simulator: Simulator, link: str, reason: str) -> None:
    text, error = await get_error(simulator, prompt=GERMAN, image_start=f"{link}?token=geheim")
    assert (error["retry"], error["next_action"]) == ("after_change", "fix_arguments")
    [problem] = error["problems"]
    assert reason in problem["message"]
    assert "Try again" not in text
    assert problem["next_step"] == error["next_step"] == "Ask the user for another picture or a working link."
    assert problem["value"] == f"{link}?…"
    assert "geheim" not in f"{text}{error}"
    # A video without the picture is not suggested.
    assert "suggestion" not in error


@pytest.mark.parametrize(
    "link", ["https://later.example/fuchs.jpg", "https://example.com/503", "https://example.com/429"]
)
async def test_link_with_a_temporary_problem_can_be_retried(simulator: Simulator, link: str) -> None:
    text, error = await get_error(simulator, prompt=GERMAN, image_start=link)
    assert (error["retry"], error["next_action"], error["next_step"]) == (
        "later",
        "order_later",
        "Try again in a moment.",
    )
    assert link in text


async def test_dead_link_and_conflict_are_reported_together(simulator: Simulator) -> None:
    text, error = await get_error(
        simulator, image_start="https://example.com/404", dynamic_range="hdr", duration="10s", resolution="720p"
    )
    assert [problem["field"] for problem in error["problems"]] == ["duration", "image_start"]
    assert "suggestion" not in error
    assert "Ask the user for another picture" in text
    assert 'duration "10s" with dynamic_range "sdr"' in text


async def test_last_frame_alone_is_possible(simulator: Simulator) -> None:
    settings = Settings.from_environment(IN_MEMORY | {"USEAPI_TOKEN": TOKEN})
    server = build_server(settings, transport=PictureHost(simulator), resolve=resolve, wall_clock=wall_clock)
    async with Client(server) as client:
        arguments = {"prompt": "A fox", "wait_seconds": 0, "image_end": simulator.service.add_asset(EMAIL)}
        assert not (await client.call_tool("generate_video", arguments)).is_error


async def test_list_options_gives_a_suggestion_and_an_alternative() -> None:
    settings = Settings.from_environment(IN_MEMORY)
    async with Client(build_server(settings, wall_clock=wall_clock)) as client:
        result = await client.call_tool("list_options", {"dynamic_range": "hdr", "duration": "10s"})
    text, content = read_result(result)
    assert content["error"]["suggestion"] == {"dynamic_range": "hdr", "duration": "5s"}
    assert content["error"]["alternatives"] == [{"keeps": {"duration": "10s"}, "change": {"dynamic_range": "sdr"}}]
    assert 'duration "10s" with dynamic_range "sdr"' in text
