"""Omitted options follow from the continued clip or the shape of the picture, and the result says so."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from tests.clock import pass_time
from tests.server.calls import call, order, order_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]


def write_picture(folder: Path, width: int, height: int, *, orientation: int = 1) -> str:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(content, "JPEG", exif=exif)
    path = folder / f"{width}x{height}-{orientation}.jpg"
    path.write_bytes(content.getvalue())
    return str(path)


async def finish_job(client: Client, **arguments: Any) -> dict[str, Any]:
    _, ordered = await order(client, wait_seconds=0, **arguments)
    await pass_time(400)
    _, done = await call(client, "get_job", jobid=ordered["jobid"], wait_seconds=0)
    return done


CLIP = {"model": "ray-v3", "resolution": "1080p", "aspect_ratio": "9:16"}


@pytest.mark.parametrize("process", ["the same", "another"])
async def test_continuation_inherits_from_the_clip(server: Server, process: str) -> None:
    async with server() as client, server() as other:
        clip = await finish_job(client, prompt="A fox", **CLIP)
        text, content = await order(client if process == "the same" else other, "It runs on", image_start=clip["jobid"])
    assert {name: content["request"][name] for name in CLIP} == CLIP
    assert content["request"]["duration"] == "5s"
    assert content["continues"] == clip["jobid"]
    assert content["chosen"] == dict.fromkeys((*CLIP, "dynamic_range"), "as in the clip that it continues")
    assert f"It continues the video of job {clip['jobid']}" in text
    assert text.count("as in the clip that it continues") == 1


async def test_stated_options_override_those_of_the_clip(server: Server) -> None:
    async with server() as client:
        clip = await finish_job(client, prompt="A fox", **CLIP)
        _, content = await order(client, "It runs on", image_start=clip["jobid"], resolution="draft")
    assert (content["request"]["resolution"], content["request"]["aspect_ratio"]) == ("draft", "9:16")
    assert "resolution" not in content["chosen"]


async def test_conflicting_options_are_not_inherited(server: Server) -> None:
    """HDR videos cannot be 10 seconds long: the stated duration is kept, and the other options are inherited."""
    async with server() as client:
        clip = await finish_job(client, prompt="A fox", dynamic_range="hdr", resolution="720p", aspect_ratio="1:1")
        _, content = await order(client, "It runs on", image_start=clip["jobid"], duration="10s")
    request = content["request"]
    assert (request["duration"], request["dynamic_range"]) == ("10s", "sdr")
    assert (request["aspect_ratio"], request["resolution"]) == ("1:1", "720p")


async def test_shape_of_a_clip_of_another_machine_is_inherited(
    server: Server, simulator: Simulator, tmp_path: Path
) -> None:
    async with server() as client:
        clip = await finish_job(client, prompt="A fox", aspect_ratio="9:16")
    async with server(LUMA_MCP_JOURNAL=str(tmp_path / "other.db")) as elsewhere:
        _, content = await order(elsewhere, "It runs on", image_start=clip["jobid"])
    assert content["request"]["aspect_ratio"] == "9:16"
    assert content["chosen"] == {"aspect_ratio": "nearest to the picture's shape"}
    assert len(simulator.service.jobs) == 2


@pytest.mark.parametrize(
    ("width", "height", "orientation", "ratio"),
    [(108, 192, 1, "9:16"), (192, 108, 6, "9:16"), (100, 100, 1, "1:1"), (420, 180, 1, "21:9"), (120, 90, 1, "4:3")],
)
async def test_video_gets_the_shape_of_its_picture(
    server: Server, tmp_path: Path, *, width: int, height: int, orientation: int, ratio: str
) -> None:
    picture = write_picture(tmp_path, width, height, orientation=orientation)
    async with server() as client:
        _, content = await order(client, image_start=picture)
    assert content["request"]["aspect_ratio"] == ratio
    assert "warnings" not in content


async def test_picture_of_another_shape_gets_a_warning(server: Server, tmp_path: Path) -> None:
    picture = write_picture(tmp_path, 108, 192)
    async with server() as client:
        text, content = await order(client, image_start=picture, aspect_ratio="16:9")
    assert content["request"]["aspect_ratio"] == "16:9"
    [warning] = content["warnings"]
    assert warning == "image_start is 108x192 and the video is 16:9: it will be cropped or padded."
    assert warning in text


async def test_two_pictures_of_different_shapes_get_a_warning(server: Server, tmp_path: Path) -> None:
    start, end = write_picture(tmp_path, 108, 192), write_picture(tmp_path, 192, 108)
    async with server() as client:
        _, content = await order(client, image_start=start, image_end=end)
    assert content["request"]["aspect_ratio"] == "9:16"
    assert [warning.split()[0] for warning in content["warnings"]] == ["image_end"]


async def test_suggestion_has_the_shape_of_the_picture(server: Server, tmp_path: Path) -> None:
    async with server() as client:
        error = await order_error(
            client, image_start=write_picture(tmp_path, 108, 192), dynamic_range="hdr", duration="10s"
        )
    assert error["suggestion"].items() >= {"aspect_ratio": "9:16", "dynamic_range": "hdr", "duration": "5s"}.items()


async def test_suggestion_inherits_from_the_clip(server: Server) -> None:
    async with server() as client:
        clip = await finish_job(client, prompt="A fox", **CLIP | {"resolution": "720p"})
        error = await order_error(client, image_start=clip["jobid"], dynamic_range="hdr", duration="10s")
    wanted = {"model": "ray-v3", "resolution": "720p", "aspect_ratio": "9:16", "dynamic_range": "hdr", "duration": "5s"}
    assert error["suggestion"].items() >= wanted.items()


async def test_running_clip_cannot_be_continued(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        _, clip = await order(client, wait_seconds=0)
        error = await order_error(client, "It runs on", image_start=clip["jobid"])
    assert (error["next_action"], error["jobid"]) == ("get_job", clip["jobid"])
    assert simulator.requests["POST /videos"] == 1
