"""Uploads from the panel: it sends a picture in parts, which the server joins, crops, uploads and deletes."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from PIL import Image
from pillow_heif import register_heif_opener
from tests.clock import pass_time
from tests.conftest import BOTH_APIS, CREDENTIALS, EMAIL, ERAS, wall_clock
from tests.server.calls import order
from tests.server.declaring import APPS, declaring
from tests.server.panel import PART, Panel, draw_halves, draw_noise
from tests.transports import UnreliableTransport

from luma_mcp.journal.sqlite import SqliteJournal
from luma_mcp.providers import PROVIDERS
from luma_mcp.service import api_id
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

register_heif_opener()

OTHER = "second@example.com"
RED, BLUE = (255, 0, 0), (0, 0, 255)
RIGHT_HALF = {"left": 0.5, "top": 0, "width": 0.5, "height": 1}
UPLOADS = {"useapi": "POST /assets/…", "agents": "POST /files"}
"""The first request of an upload, by API."""
LARGEST = 20_000_000
every_era = pytest.mark.parametrize("mode", ERAS)


def open_picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def get_upload(simulator: Simulator, ref: str) -> bytes:
    """Get the bytes of an asset that the API has received."""
    data = simulator.service.find_upload(ref)
    assert data is not None
    return data


def is_nearly(pixel: Any, colour: tuple[int, int, int]) -> bool:
    """Whether a pixel has a colour, within the precision of JPEG."""
    return all(abs(one - other) < 40 for one, other in zip(pixel, colour, strict=True))


def count_parts(path: Path) -> int:
    """Count the parts in the journal's file."""
    with closing(sqlite3.connect(path / "journal.db")) as database:
        [number] = database.execute("SELECT COUNT(*) FROM parts").fetchone()
    return int(number)


# Uploaded pictures.


@BOTH_APIS
@every_era
async def test_a_whole_picture_is_uploaded_unchanged(server: Server, simulator: Simulator, mode: str) -> None:
    data = draw_halves((1200, 800), "JPEG")
    async with declaring(server(mode), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data, 5000)
        done = await panel.finish(data)
    assert get_upload(simulator, done["asset"]) == data
    assert (done["state"], done["use_as"], done["width"], done["height"]) == ("uploaded", "image_start", 1200, 800)
    assert "changes" not in done


@BOTH_APIS
@every_era
async def test_the_api_receives_the_cropped_pixels(server: Server, simulator: Simulator, mode: str) -> None:
    data = draw_halves((80, 40))
    async with declaring(server(mode), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        done = await panel.finish(data, crop={"left": 0.25, "top": 0.5, "width": 0.5, "height": 0.5})
    image = open_picture(get_upload(simulator, done["asset"]))
    assert image.size == (done["width"], done["height"]) == (40, 20)
    assert is_nearly(image.getpixel((2, 10)), RED)
    assert is_nearly(image.getpixel((37, 10)), BLUE)
    # The user knows about the crop, so it is not reported.
    assert "changes" not in done


async def test_a_rotated_photo_is_cropped_as_shown(server: Server, simulator: Simulator) -> None:
    """The stored picture is red on the left and blue on the right. It is shown with red above blue."""
    data = draw_halves((80, 40), "JPEG", orientation=6)
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        done = await panel.finish(data, crop={"left": 0, "top": 0.75, "width": 1, "height": 0.25})
    image = open_picture(get_upload(simulator, done["asset"]))
    assert image.size == (40, 20)
    assert is_nearly(image.getpixel((20, 10)), BLUE)


async def test_transparency_is_kept_in_a_crop(server: Server, simulator: Simulator) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (80, 40), (255, 0, 0, 90)).save(file, "PNG")
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(file.getvalue())
        done = await panel.finish(file.getvalue(), crop=RIGHT_HALF)
    image = Image.open(io.BytesIO(get_upload(simulator, done["asset"])))
    assert (image.size, image.mode) == ((40, 40), "RGBA")


async def test_a_crop_of_the_whole_picture_changes_nothing(server: Server, simulator: Simulator) -> None:
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        done = await panel.finish(data, crop={"left": 0, "top": 0, "width": 1.0000001, "height": 1})
    assert get_upload(simulator, done["asset"]) == data


async def test_the_smallest_crop_is_one_pixel(server: Server, simulator: Simulator) -> None:
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        done = await panel.finish(data, crop={"left": 0.999, "top": 0.999, "width": 0.001, "height": 0.001})
    image = open_picture(get_upload(simulator, done["asset"]))
    assert image.size == (1, 1)
    assert is_nearly(image.getpixel((0, 0)), BLUE)


async def test_heic_is_shown_and_converted(server: Server, simulator: Simulator) -> None:
    """Most browsers cannot show it, so the page gets a small JPEG before the picture is uploaded."""
    data = draw_halves((1600, 800), "HEIF")
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        result = await client.call_tool("upload_picture", {"upload": panel.upload, "action": "preview"})
        block = result.content[1]
        assert block.type == "image"
        shown = Image.open(io.BytesIO(base64.b64decode(block.data)))
        assert result.structured_content == {"state": "preview", "width": 1600, "height": 800}
        assert (shown.format, shown.size, block.mime_type) == ("JPEG", (768, 384), "image/jpeg")
        assert is_nearly(shown.convert("RGB").getpixel((5, 5)), RED)
        # The picture does not have to be sent again.
        done = await panel.finish(data, crop=RIGHT_HALF)
    image = open_picture(get_upload(simulator, done["asset"]))
    assert image.size == (800, 800)
    assert is_nearly(image.getpixel((5, 5)), BLUE)
    assert done["changes"] == "converted from HEIF"


@pytest.mark.parametrize("orientation", [1, 6])
async def test_the_preview_is_upright(server: Server, orientation: int) -> None:
    data = draw_halves((80, 40), "JPEG", orientation=orientation)
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        result = await client.call_tool("upload_picture", {"upload": panel.upload, "action": "preview"})
    block, content = result.content[1], result.structured_content
    assert block.type == "image"
    assert content is not None
    size = Image.open(io.BytesIO(base64.b64decode(block.data))).size
    assert size == (content["width"], content["height"]) == ((80, 40) if orientation == 1 else (40, 80))


async def test_the_thumbnail_is_small(server: Server) -> None:
    data = draw_noise(1200)
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data, 390_000)
        result = await client.call_tool("upload_picture", {"upload": panel.upload, **panel.build_end(data)})
    text, thumbnail = result.content
    assert thumbnail.type == "image"
    assert len(base64.b64decode(thumbnail.data)) <= 200_000
    assert text.type == "text"
    assert result.structured_content is not None
    assert result.structured_content["asset"] in text.text


# Orders with the picture.


@pytest.mark.parametrize(
    ("api", "use_as"),
    [
        *itertools.product(("useapi", "agents"), ("image_start", "image_end")),
        # The Agents API has no character.
        ("useapi", "image_character"),
    ],
)
async def test_the_picture_is_used_in_an_order(server: Server, simulator: Simulator, api: str, use_as: str) -> None:
    data = draw_halves((160, 90))
    model = {"model": "ray-v3"} if use_as == "image_character" else {}
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        done = await panel.finish(data, use_as, crop=RIGHT_HALF)
        requests = simulator.requests[UPLOADS[api]]
        _, content = await order(client, wait_seconds=300, **{use_as: done["asset"]}, **model)
    assert done["use_as"] == use_as
    assert (content["state"], content["assets"]) == ("completed", {use_as: done["asset"]})
    assert simulator.requests[UPLOADS[api]] == requests
    [sent] = simulator.orders
    assert done["asset"] in str(sent)


async def test_the_same_file_is_not_uploaded_again(server: Server, simulator: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(draw_halves())
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(path.read_bytes())
        done = await panel.finish(path.read_bytes())
        _, content = await order(client, image_start=str(path))
    assert content["assets"]["image_start"] == done["asset"]
    assert simulator.requests[UPLOADS["useapi"]] == 1


async def test_different_crops_are_different_uploads(server: Server, simulator: Simulator) -> None:
    data, sizes = draw_halves((80, 40)), []
    async with declaring(server(), APPS) as client:
        for crop in (RIGHT_HALF, RIGHT_HALF | {"height": 0.5}, {**RIGHT_HALF, "left": 0, "width": 1}, RIGHT_HALF):
            panel = Panel.open(client)
            await panel.send(data)
            done = await panel.finish(data, crop=crop)
            sizes.append(open_picture(get_upload(simulator, done["asset"])).size)
    assert sizes == [(40, 40), (40, 20), (80, 40), (40, 40)]
    assert simulator.requests[UPLOADS["useapi"]] == 3


async def test_the_stated_account_is_used(server: Server, simulator: Simulator) -> None:
    simulator.service.add_account(OTHER)
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        done = await panel.finish(data, email=OTHER)
        _, content = await order(client, image_start=done["asset"])
    assert done["account"] == simulator.service.assets[done["asset"]] == OTHER
    assert simulator.service.jobs[content["jobid"]].email == OTHER


async def test_the_default_account_is_used(server: Server, simulator: Simulator) -> None:
    simulator.service.add_account(OTHER)
    data = draw_halves()
    async with declaring(server(LUMA_MCP_EMAIL=OTHER), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        assert (await panel.finish(data))["account"] == OTHER


async def test_the_result_states_when_the_asset_expires(server: Server) -> None:
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        assert (await panel.finish(data))["expires_at"].startswith("2026-12-22T")
        # The time of the earlier upload is unknown, and so is the expiry.
        await panel.send(data)
        assert "expires_at" not in await panel.finish(data)


# Parts.


async def test_a_repeated_part_does_no_harm(server: Server, simulator: Simulator) -> None:
    """The page repeats a part if the answer was lost."""
    data = draw_noise(400)
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        assert await panel.send_part(0, data[:PART]) == PART
        assert await panel.send_part(0, data[:PART]) == PART
        assert await panel.send_part(PART, data[PART:]) == len(data)
        assert await panel.send_part(PART, data[PART:]) == len(data)
        done = await panel.finish(data)
    assert get_upload(simulator, done["asset"]) == data


async def test_the_same_part_several_times_at_once_is_kept_once(server: Server) -> None:
    data = draw_noise(400)
    received: list[int] = []
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)

        async def send() -> None:
            received.append(await panel.send_part(0, data[:PART]))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(send)
        assert received == [PART] * 5
        assert await panel.count_received() == PART


@pytest.mark.parametrize("offset", [1, PART - 1, PART + 1, 3 * PART])
async def test_a_part_with_a_wrong_offset_is_not_kept(server: Server, offset: int) -> None:
    data = draw_noise(400)
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send_part(0, data[:PART])
        assert await panel.send_part(offset, data[PART:]) == PART


async def test_parts_may_become_smaller(server: Server, simulator: Simulator) -> None:
    data = draw_noise(400)
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send_part(0, data[:PART])
        for sent in range(PART, len(data), 16_000):
            await panel.send_part(sent, data[sent : sent + 16_000])
        done = await panel.finish(data)
    assert get_upload(simulator, done["asset"]) == data


async def test_an_unknown_upload_has_received_nothing(server: Server) -> None:
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        assert await panel.count_received() == 0
        for arguments in ({"action": "preview"}, panel.build_end(b"abc")):
            assert await panel.call(**arguments) == {"state": "receiving", "received": 0}


async def test_an_incomplete_picture_is_not_uploaded(server: Server, simulator: Simulator) -> None:
    data = draw_noise(400)
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send_part(0, data[:PART])
        assert await panel.call(**panel.build_end(data)) == {"state": "receiving", "received": PART}
        await panel.send_part(PART, data[PART:])
        await panel.finish(data)
    assert simulator.requests[UPLOADS["useapi"]] == 1


async def test_concurrent_uploads_are_kept_apart(server: Server, simulator: Simulator) -> None:
    pictures = [draw_halves((80, 40)), draw_halves((60, 60))]
    async with declaring(server(), APPS) as client:
        panels = [Panel.open(client) for _ in pictures]
        for position in range(0, max(map(len, pictures)), 50):
            for panel, data in zip(panels, pictures, strict=True):
                await panel.send_part(position, data[position : position + 50])
        for panel, data in zip(panels, pictures, strict=True):
            assert get_upload(simulator, (await panel.finish(data))["asset"]) == data


@pytest.mark.parametrize("digest", [True, False], ids=["with a digest", "without"])
async def test_a_lost_answer_leads_to_the_same_asset(server: Server, simulator: Simulator, *, digest: bool) -> None:
    """The page does not know that the picture was uploaded and sends it again. It is uploaded only once."""
    data, done = draw_noise(400), []
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        end = panel.build_end(data)
        if not digest:
            # Some pages cannot compute the digest.
            del end["sha256"]
        for _ in range(2):
            assert await panel.call(**end) == {"state": "receiving", "received": 0}
            await panel.send(data)
            done.append(await panel.call(pictures=1, **end, crop=RIGHT_HALF))
    assert done[0]["asset"] == done[1]["asset"]
    assert simulator.requests[UPLOADS["useapi"]] == 1


async def test_finishing_twice_at_once_uploads_once(server: Server, simulator: Simulator) -> None:
    data = draw_halves()
    answers: list[dict[str, Any]] = []
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)

        async def finish() -> None:
            result = await client.call_tool("upload_picture", {"upload": panel.upload, **panel.build_end(data)})
            answers.append(result.structured_content or {})

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(finish)
    assert sorted(answer["state"] for answer in answers) == ["receiving", "uploaded"]
    assert simulator.requests[UPLOADS["useapi"]] == 1


# Deletion of parts.


async def test_parts_are_deleted_after_the_upload(server: Server, tmp_path: Path) -> None:
    data = draw_noise(400)
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        assert count_parts(tmp_path) > 0
        await panel.finish(data)
        assert count_parts(tmp_path) == 0


async def test_discarded_parts_are_deleted(server: Server, tmp_path: Path) -> None:
    """Free pages of the file contain nothing of them either."""
    data = draw_noise(400)
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        stored = (tmp_path / "journal.db").read_bytes()
        assert data[50_000:50_500] in stored
        assert await panel.call(action="discard") == {"state": "discarded"}
        assert await panel.count_received() == 0
        # A page may repeat the call when it is closed.
        assert await panel.call(action="discard") == {"state": "discarded"}
    assert count_parts(tmp_path) == 0
    stored = (tmp_path / "journal.db").read_bytes()
    for position in range(0, len(data) - 500, 1000):
        assert data[position : position + 500] not in stored


async def test_parts_expire_a_quarter_of_an_hour_after_the_first(server: Server, tmp_path: Path) -> None:
    data = draw_noise(400)
    async with declaring(server(), APPS) as client:
        panel, other = Panel.open(client), Panel.open(client)
        await panel.send_part(0, data[:PART])
        await pass_time(14 * 60)
        assert await panel.send_part(PART, data[PART:]) == len(data)
        await pass_time(2 * 60)
        assert await panel.call(**panel.build_end(data)) == {"state": "receiving", "received": 0}
        # Any other call deletes expired parts.
        assert await other.count_received() == 0
    assert count_parts(tmp_path) == 0


async def test_the_next_server_deletes_expired_parts(server: Server, tmp_path: Path) -> None:
    async with declaring(server(), APPS) as client:
        await Panel.open(client).send_part(0, b"abc")
    await pass_time(16 * 60)
    assert count_parts(tmp_path) == 1
    async with server():
        await pass_time(5)
    assert count_parts(tmp_path) == 0


# Rejected files and arguments.


def draw_truncated(form: str) -> bytes:
    return draw_halves((400, 300), form)[:-200]


UNUSABLE = {
    "a PDF": (b"%PDF-1.7\n" + bytes(500), "PDF"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "a video": (b"\0\0\0\x18ftypmp42" + bytes(500), "video"),
    "a web page": (b"<!doctype html><title>Fox</title>", "web page"),
    "text": (b"The diary of a fox", "not a picture"),
    "a damaged PNG": (draw_truncated("PNG"), "damaged"),
    "a damaged JPEG": (draw_truncated("JPEG"), "damaged"),
    "a damaged HEIC": (draw_halves((400, 300), "HEIF")[:-200], "damaged"),
}


@pytest.mark.parametrize(("data", "reason"), UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("action", ["preview", "finish"])
async def test_unusable_files_are_rejected_and_not_kept(
    server: Server, simulator: Simulator, tmp_path: Path, *, data: bytes, reason: str, action: str
) -> None:
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        error = await panel.error(**({"action": "preview"} if action == "preview" else panel.build_end(data)))
        assert await panel.count_received() == 0
    [problem] = error["problems"]
    assert (error["kind"], error["retry"]) == ("invalid_arguments", "after_change")
    assert (problem["field"], problem["code"]) == ("data", "unusable_file")
    assert error["message"].startswith("The file ")
    assert reason in error["message"]
    assert simulator.requests[UPLOADS["useapi"]] == 0
    assert count_parts(tmp_path) == 0


async def test_more_than_20_mb_is_rejected_and_not_kept(server: Server, tmp_path: Path) -> None:
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send_part(0, bytes(PART))
        error = await panel.error(offset=LARGEST - 2, data=base64.b64encode(b"abc").decode())
        assert (error["problems"][0]["code"], "20 MB" in error["message"]) == ("unusable_file", True)
        assert await panel.count_received() == 0
    assert count_parts(tmp_path) == 0


async def test_unfinished_uploads_of_a_tenant_are_limited_to_60_mb(server: Server, api: str, tmp_path: Path) -> None:
    """More uploads are rejected until one of them is finished, is discarded or has expired."""
    journal = SqliteJournal(
        tmp_path / "journal.db", api=api_id(PROVIDERS[api].base_url, CREDENTIALS[api]), wall_clock=wall_clock
    )
    for number in range(3):
        assert await journal.add_part(f"{number:032x}", 0, bytes(LARGEST), most=3 * LARGEST) == LARGEST
    await journal.aclose()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        error = await panel.error(offset=0, data="YWJj")
        assert (error["problems"][0]["code"], error["retry"]) == ("too_many_uploads", "later")
        await Panel(client, f"{1:032x}").call(action="discard")
        assert await panel.send_part(0, b"abc") == 3


async def test_a_picture_that_differs_from_its_digest_is_rejected(server: Server, simulator: Simulator) -> None:
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        end = panel.build_end(data) | {"sha256": hashlib.sha256(b"another picture").hexdigest()}
        error = await panel.error(**end)
        assert (error["problems"][0]["code"], error["retry"]) == ("unusable_file", "later")
        # The page has to send it again from the beginning.
        assert await panel.count_received() == 0
        await panel.send(data + b"more")
        assert (await panel.error(**panel.build_end(data)))["retry"] == "later"
    assert simulator.requests[UPLOADS["useapi"]] == 0


@pytest.mark.parametrize(
    "crop",
    [
        {"left": 0.6, "top": 0, "width": 0.5, "height": 1},
        {"left": -0.1, "top": 0, "width": 0.5, "height": 1},
        {"left": 0, "top": 0, "width": 0, "height": 1},
        {"left": 0, "top": 0, "width": 1, "height": 40},
        {"left": 0, "top": 0, "width": float("1e-400"), "height": 1},
        {"left": 0, "top": 0, "width": "all", "height": 1},
        {"left": 0, "top": 0, "width": True, "height": 1},
        {"left": 0, "top": 0, "width": float("nan"), "height": 1},
        {"left": 0, "top": 0, "width": 10**400, "height": 1},
        {"left": 0, "top": 0, "width": 1},
        {"left": 0, "top": 0, "width": 1, "height": 1, "angle": 5},
        "everything",
        [0, 0, 1, 1],
    ],
    ids=str,
)
async def test_an_invalid_crop_is_rejected(server: Server, crop: Any) -> None:
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        error = await panel.error(**panel.build_end(data), crop=crop)
        [problem] = error["problems"]
        assert (problem["field"], problem["code"]) == ("crop", "out_of_range")
        # The parts are kept.
        await panel.finish(data, crop=RIGHT_HALF)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"upload": "no id"}, "upload"),
        ({"upload": "A" * 32}, "upload"),
        ({"upload": 7}, "upload"),
        ({"offset": -1, "data": "YWJj"}, "offset"),
        ({"offset": "0", "data": "YWJj"}, "offset"),
        ({"offset": 0, "data": "YWJ"}, "data"),
        ({"offset": 0, "data": "YW Jj"}, "data"),
        ({"offset": 0, "data": "YWJ_"}, "data"),
        ({"offset": 0, "data": "ü" * 8}, "data"),
        ({"offset": 0, "data": [1, 2]}, "data"),
        ({"offset": 0, "data": base64.b64encode(bytes(393_217)).decode()}, "data"),
        ({"action": "upload"}, "action"),
        ({"action": "finish", "use_as": "image_start"}, "size"),
        ({"action": "finish", "use_as": "image_start", "size": True}, "size"),
        ({"action": "finish", "size": 3}, "use_as"),
        ({"action": "finish", "size": 3, "use_as": "image_middle"}, "use_as"),
        ({"action": "finish", "size": 3, "use_as": ["image_start"]}, "use_as"),
        ({"action": "finish", "size": 3, "use_as": {"image": "start"}}, "use_as"),
        ({"action": "finish", "size": 3, "use_as": "image_start", "sha256": "abc"}, "sha256"),
        ({"action": "finish", "size": 3, "use_as": "image_start", "email": "no address"}, "email"),
        ({"file_name": "fox.jpg"}, "file_name"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_invalid_arguments_are_rejected(server: Server, arguments: dict[str, Any], field: str) -> None:
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        error = await panel.error(**arguments)
        assert [problem["field"] for problem in error["problems"]] == [field]
        assert await panel.count_received() == 0


# Failures of the API.


@BOTH_APIS
async def test_upload_can_be_repeated_after_an_api_failure(server: Server, simulator: Simulator, api: str) -> None:
    data = draw_halves()
    method, _, path = UPLOADS[api].partition(" ")
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        simulator.faults.append(Fault(method, path.rstrip("…"), 500, times=99))
        error = await panel.error(**panel.build_end(data))
        simulator.faults.clear()
        assert (error["kind"], error["retry"]) == ("upstream", "later")
        assert await panel.count_received() == len(data)
        done = await panel.finish(data)
    assert get_upload(simulator, done["asset"]) == data


async def test_upload_can_be_repeated_after_a_lost_connection(server: Server, simulator: Simulator) -> None:
    data = draw_halves()
    transport = UnreliableTransport(simulator)
    async with declaring(server(transport=transport), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        transport.faults = [httpx2.ConnectError("")] * 99
        error = await panel.error(**panel.build_end(data))
        transport.faults.clear()
        assert (error["kind"], error["retry"]) == ("network", "later")
        await panel.finish(data)


async def test_a_picture_that_moderation_rejects_is_not_kept(server: Server, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/assets/", 422, b'{"error": "Not this one"}'))
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        error = await panel.error(**panel.build_end(data))
        assert (error["kind"], error["reason"], error["charged"]) == ("moderated", "Not this one", "no")
        # The message must not mention a prompt.
        assert "rejected the picture." in error["message"]
        assert "prompt" not in str(error)
        assert await panel.count_received() == 0


async def test_a_picture_that_the_api_rejects_is_not_kept(server: Server, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/assets/", 400, b'{"error": "Too small"}'))
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        error = await panel.error(**panel.build_end(data))
        assert (error["problems"][0]["code"], error["reason"]) == ("unusable_file", "Too small")
        assert await panel.count_received() == 0


async def test_an_unknown_account_is_rejected_and_parts_are_kept(server: Server) -> None:
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        error = await panel.error(**panel.build_end(data), email="nobody@example.com")
        [problem] = error["problems"]
        assert (problem["field"], problem["code"], problem["allowed"]) == ("email", "unknown_account", [EMAIL])
        assert (await panel.finish(data))["account"] == EMAIL


async def test_an_expired_session_is_reported_and_parts_are_kept(server: Server, simulator: Simulator) -> None:
    data = draw_halves()
    async with declaring(server(), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        simulator.service.accounts[EMAIL].session_valid = False
        error = await panel.error(**panel.build_end(data))
        assert error["kind"] == "account_session"
        simulator.service.accounts[EMAIL].session_valid = True
        await panel.finish(data)


async def test_without_a_credential_parts_are_rejected(connect: Server) -> None:
    async with declaring(connect(environment={}), APPS) as client:
        assert (await Panel.open(client).error(offset=0, data="YWJj"))["kind"] == "not_configured"


async def test_no_part_is_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    data = draw_noise(300)
    text = base64.b64encode(data[:PART]).decode()
    with caplog.at_level("DEBUG"):
        async with declaring(server(LUMA_MCP_LOG_LEVEL="DEBUG"), APPS) as client:
            panel = Panel.open(client)
            await panel.send(data)
            await panel.error(offset=0, data=text[:-1])
            await panel.error(**panel.build_end(data), crop=text)
            await panel.finish(data)
    for position in range(0, 20_000, 4000):
        assert text[position : position + 40] not in caplog.text
