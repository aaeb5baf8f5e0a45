"""`join_videos`: one film from several videos, and its results and errors."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from tests.conftest import BOTH_APIS
from tests.results import read_result
from tests.server.calls import call, order

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    Server = Callable[..., Client]

FRAMES, RATE = 121, 24
"""The number of frames and the frame rate of each stand-in clip of 5 s."""


async def make_job(client: Client, prompt: str = "A fox", **params: Any) -> str:
    """Order a video, wait for it and return its jobid."""
    _, content = await order(client, prompt, wait_seconds=600, **params)
    assert content["state"] == "completed"
    return str(content["jobid"])


async def join_error(client: Client, **arguments: Any) -> dict[str, Any]:
    """Join videos that cannot be joined and return the error."""
    result = await client.call_tool("join_videos", arguments)
    assert result.is_error
    text, content = read_result(result)
    error: dict[str, Any] = content["error"]
    assert error["message"] in text
    assert error.get("next_step", "") in text
    assert "charged" not in error
    return error


@BOTH_APIS
async def test_the_result_has_the_path_and_a_contact_sheet(server: Server, folder: Path) -> None:
    async with server() as client:
        videos = [await make_job(client, prompt) for prompt in ("A fox", "A bear")]
        [tool] = [tool for tool in (await client.list_tools()).tools if tool.name == "join_videos"]
        result = await client.call_tool("join_videos", {"videos": videos, "title": "Friends"})
    text, content = read_result(result, pictures=1)
    Draft202012Validator(tool.output_schema or {}).validate(content)
    [path] = folder.iterdir()
    assert (path.name, content["saved_files"]) == ("2026-11-22_friends.mp4", [str(path)])
    facts = {"clips": 2, "width": 384, "height": 216, "frame_rate": 24.0, "reencoded": False}
    assert content.items() >= facts.items()
    assert content["duration_seconds"] == pytest.approx(2 * FRAMES / RATE, abs=0.001)
    sheet = content["contact_sheet"]
    assert (sheet["frames"], sheet["times"][0], sheet["times"][-1]) == (12, 0.0, 10.0)
    for part in (
        str(path),
        "2 videos, 10.083 s, 384x216",
        "12 frames",
        "nothing was ordered",
        "nothing was encoded again",
    ):
        assert part in text
    picture = result.content[1]
    assert picture.type == "image"
    assert Image.open(io.BytesIO(base64.b64decode(picture.data))).format == "JPEG"


@pytest.mark.parametrize("name", ["videos", "jobids", "jobIds", "clips", "files", "as JSON"])
async def test_other_names_and_spellings_are_accepted(server: Server, name: str) -> None:
    async with server() as client:
        _, running = await order(client)
        videos: Any = [f" `{running['jobid']}` "] * 2
        if name == "as JSON":
            name, videos = "videos", json.dumps(videos)
        error = await join_error(client, **{name: videos})
    assert [(each["field"], each["jobid"]) for each in error["problems"]] == [("videos[0]", running["jobid"])]


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ({"transition": "Crossfade"}, 0.5),
        ({"crossfade_seconds": "1s"}, 1),
        ({"transition": "crossfade", "crossfade_seconds": 2.5}, 2.5),
        ({"transition": "cut"}, 0),
    ],
    ids=str,
)
async def test_transitions(server: Server, arguments: dict[str, Any], seconds: float) -> None:
    async with server() as client:
        videos = [await make_job(client)] * 2
        _, content = read_result(await client.call_tool("join_videos", {"videos": videos, **arguments}), pictures=1)
    assert content["duration_seconds"] == pytest.approx(2 * FRAMES / RATE - seconds, abs=0.001)
    assert content["reencoded"] == (seconds > 0)


async def test_differences_to_the_first_video_are_reported(server: Server) -> None:
    """Progress never goes back meanwhile."""
    reported: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert (total, bool(message)) == (100, True)
        reported.append(progress)

    async with server() as client:
        videos = [await make_job(client), await make_job(client, aspect_ratio="9:16")]
        result = await client.call_tool("join_videos", {"videos": videos}, progress_callback=on_progress)
    text, content = read_result(result, pictures=1)
    assert content["warnings"] == ["videos[1] had another size: fitted into 384x216."]
    assert content["warnings"][0] in text
    assert content["reencoded"]
    assert reported
    assert reported == sorted(reported)


async def test_a_running_job_has_to_finish_first(server: Server) -> None:
    async with server() as client:
        done = await make_job(client)
        _, running = await order(client, "A bear")
        error = await join_error(client, videos=[done, running["jobid"]])
        assert (error["retry"], error["next_action"], error["jobid"]) == ("later", "get_job", running["jobid"])
        assert f'get_job with {{"jobid": "{running["jobid"]}"}}' in error["next_step"]
        assert "call join_videos again" in error["next_step"]
        await call(client, "get_job", jobid=running["jobid"], wait_seconds=600)
        _, content = read_result(
            await client.call_tool("join_videos", {"videos": [done, running["jobid"]]}), pictures=1
        )
    assert content["clips"] == 2


async def test_the_next_step_for_one_hdr_and_one_sdr_video(server: Server) -> None:
    async with server() as client:
        videos = [await make_job(client), await make_job(client, "A sunrise", dynamic_range="hdr", resolution="540p")]
        error = await join_error(client, videos=videos)
    assert "suggestion" not in error
    assert "dynamic_range of the others, which is charged" in error["next_step"]


async def test_default_values_make_no_crossfades(server: Server) -> None:
    async with server() as client:
        [tool] = [tool for tool in (await client.list_tools()).tools if tool.name == "join_videos"]
        properties = tool.input_schema["properties"]
        defaults = {name: value["default"] for name, value in properties.items() if "default" in value}
        videos = [await make_job(client), await make_job(client, "A bear")]
        _, content = read_result(await client.call_tool("join_videos", {"videos": videos, **defaults}), pictures=1)
    assert content["duration_seconds"] == pytest.approx(2 * FRAMES / RATE, abs=0.001)


async def test_the_suggestion_is_a_call_that_works(server: Server) -> None:
    async with server() as client:
        fox, bear = await make_job(client), await make_job(client, "A bear")
        bright = await make_job(client, "A sunrise", dynamic_range="hdr", resolution="540p")
        error = await join_error(client, videos=[fox, bright, bear], crossfade_seconds=3, title="Three")
        assert error["suggestion"] == {"videos": [fox, bear], "crossfade_seconds": 2.5, "title": "Three"}
        _, content = read_result(await client.call_tool("join_videos", error["suggestion"]), pictures=1)
    assert content["duration_seconds"] == pytest.approx(2 * FRAMES / RATE - 2.5, abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ({}, ["videos"]),
        ({"videos": []}, ["videos"]),
        ({"videos": ["a"]}, ["videos"]),
        ({"videos": "not a list"}, ["videos"]),
        ({"videos": {"jobid": "a"}}, ["videos"]),
        ({"videos": ["a", 7, None]}, ["videos[1]", "videos[2]"]),
        ({"videos": ["a", "b"], "fps": 60}, ["fps", "videos[0]", "videos[1]"]),
        ({"videos": ["a", "b"], "transition": "wipe"}, ["transition", "videos[0]", "videos[1]"]),
        ({"videos": ["a", "b"], "crossfade_seconds": 9}, ["crossfade_seconds", "videos[0]", "videos[1]"]),
        (
            {"videos": ["a", "b"], "transition": "cut", "crossfade_seconds": 1},
            ["crossfade_seconds", "videos[0]", "videos[1]"],
        ),
    ],
    ids=str,
)
async def test_all_problems_are_reported_at_once(
    server: Server, folder: Path, arguments: dict[str, Any], fields: list[str]
) -> None:
    async with server() as client:
        error = await join_error(client, **arguments)
    assert (error["kind"], error["next_action"]) == ("invalid_arguments", "fix_arguments")
    assert [problem["field"] for problem in error["problems"]] == fields
    assert not folder.exists()


async def test_an_unusable_output_folder_is_reported(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    async with server(LUMA_MCP_OUTPUT_DIR=str(tmp_path / "file" / "films")) as client:
        error = await join_error(client, videos=[await make_job(client)] * 2)
    assert (error["kind"], error["next_action"]) == ("download_failed", "fix_setup")
    assert "LUMA_MCP_OUTPUT_DIR" in error["next_step"]


async def test_a_cancelled_call_leaves_no_file(server: Server, folder: Path) -> None:
    async with server() as client:
        videos = [await make_job(client), await make_job(client, aspect_ratio="9:16")]
        with anyio.CancelScope() as scope:

            async def cancel(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
                scope.cancel()
                await anyio.lowlevel.checkpoint()

            await client.call_tool("join_videos", {"videos": videos}, progress_callback=cancel)
        assert scope.cancelled_caught
        # The server processes the cancellation before the next call.
        await call(client, "list_options")
    assert not folder.exists() or list(folder.iterdir()) == []


async def test_without_pyav_the_tool_is_not_listed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    async with server() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        templates = (await client.list_resource_templates()).resource_templates
    assert set(tools) == {"generate_video", "get_job", "list_jobs", "delete_job", "list_options"}
    assert "frames" not in tools["get_job"].input_schema["properties"]
    assert [template.uri_template for template in templates] == ["luma://jobs/{jobid}"]
