"""Images from files, links, data: URIs and jobs are uploaded to the right account."""

from __future__ import annotations

import base64
import io
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from PIL import Image
from pillow_heif import register_heif_opener
from tests.clock import pass_time
from tests.conftest import EMAIL, ERAS
from tests.media.hostile import SIDE, endless_jpeg, page, tiff, webp_frames
from tests.server.calls import order, order_error

from luma_mcp.simulator.app import Fault
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

register_heif_opener()

OTHER = "second@example.com"
EXPIRED = "expired@example.com"
DAY = 86_400
SECRET = "the diary of a fox"
UPLOADS = "POST /assets/…"


def picture(form: str = "PNG", colour: str = "red", *, orientation: int = 1) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (60, 40), colour).save(file, form, exif=exif)
    return file.getvalue()


RED = f"data:;base64,{base64.b64encode(picture()).decode()}"
"""A red picture as a data: URI."""


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("kind", ["path", "quoted path", "file: URI", "data: URI", "link"])
async def test_picture_from_any_source_is_uploaded_unchanged(
    server: Server, simulator: Simulator, tmp_path: Path, *, kind: str, mode: str
) -> None:
    shown, path = (MEDIA / "1x1-thumbnail.jpg").read_bytes(), tmp_path / "a fox.jpg"
    path.write_bytes(shown)
    places = {
        "path": str(path),
        "quoted path": f'"{path}"',
        "file: URI": path.as_uri(),
        "data: URI": f"data:image/png;base64,{base64.b64encode(shown).decode()}",
        "link": "https://pictures.example.com/media/any/1x1-thumbnail.jpg",
    }
    async with server(mode) as client:
        text, content = await order(client, image_start=places[kind])
    [(ref, upload)] = simulator.service.uploads.items()
    assert (upload.media_type, upload.data) == ("image/jpeg", shown)
    assert (content["assets"], simulator.orders[0]["imageStart"]) == ({"image_start": ref}, ref)
    assert ref in text


@pytest.mark.parametrize(
    ("data", "size", "done"),
    [
        (picture("HEIF"), (60, 40), "converted"),
        (picture("BMP"), (60, 40), "converted"),
        (picture("JPEG", orientation=6), (40, 60), "upright"),
    ],
)
async def test_unsuitable_picture_is_converted_and_turned_upright(
    server: Server, simulator: Simulator, tmp_path: Path, *, data: bytes, size: Any, done: str
) -> None:
    (tmp_path / "photo.heic").write_bytes(data)
    async with server() as client:
        text, content = await order(client, image_start=str(tmp_path / "photo.heic"))
    [upload] = simulator.service.uploads.values()
    image = Image.open(io.BytesIO(upload.data))
    assert (f"image/{str(image.format).lower()}", image.size) == (upload.media_type, size)
    assert image.getexif().get(0x0112, 1) == 1
    assert done in text
    assert done in content["image_changes"]["image_start"]


@pytest.mark.parametrize(
    ("name", "frame"), [("image_start", "last_frame"), ("image_end", "last_frame"), ("image_character", "thumbnail")]
)
async def test_jobid_is_replaced_by_a_frame_of_its_video(
    server: Server, simulator: Simulator, name: str, frame: str
) -> None:
    async with server() as client:
        _, clip = await order(client, aspect_ratio="21:9", wait_seconds=100)
        _, content = await order(client, prompt="It goes on", model="ray-v3", **{name: clip["jobid"]})
    [(ref, upload)] = simulator.service.uploads.items()
    assert upload.data == (MEDIA / f"21x9-{frame}.jpg").read_bytes()
    assert content["assets"] == {name: ref}


@pytest.mark.parametrize(
    ("earlier", "wait", "reason"),
    [
        ("", 0, "still running"),
        ("simulate:fail", 100, "failed"),
        ("deleted", 100, "was deleted"),
        ("unknown", 0, "does not know"),
        ("another user's", 0, "of another user"),
    ],
)
async def test_jobid_without_a_usable_picture(
    server: Server, simulator: Simulator, *, earlier: str, wait: int, reason: str
) -> None:
    async with server() as client:
        jobid = {"unknown": "j1-u12345-x-bot:luma", "another user's": "j1-u9-x-bot:luma"}.get(earlier, "")
        if not jobid:
            jobid = (await order(client, prompt=f"A fox {earlier}", wait_seconds=wait))[1]["jobid"]
        if earlier == "deleted":
            await client.call_tool("delete_job", {"jobid": jobid})
        before = simulator.requests.copy()
        text, content = await order(client, prompt="It continues", image_start=jobid)
    assert simulator.requests["POST /videos"] == before["POST /videos"]
    [problem] = content["error"]["problems"]
    assert (problem["field"], problem["code"]) == ("image_start", "unusable_image")
    assert reason in problem["message"]
    assert problem["message"] in text
    assert content["error"]["charged"] == "no"
    assert problem["jobid"] == jobid
    # Waiting helps only if the job is still running.
    action, retry, tool = "fix_arguments", "after_change", "list_jobs"
    if reason == "still running":
        action, retry, tool = "get_job", "later", "get_job"
    assert (content["error"]["next_action"], content["error"]["retry"]) == (action, retry)
    assert tool in problem["next_step"]
    assert problem["next_step"] in text
    assert jobid in text


async def test_next_step_with_a_running_job_and_another_problem(server: Server) -> None:
    async with server() as client:
        _, running = await order(client)
        _, content = await order(client, prompt="It continues", image_start=running["jobid"], resolution="4k")
    [_, problem] = content["error"]["problems"]
    assert (problem["field"], problem["jobid"]) == ("image_start", running["jobid"])
    assert content["error"]["next_action"] == "fix_arguments"
    assert f'get_job with {{"jobid": "{running["jobid"]}"}}' in content["error"]["next_step"]


async def test_same_picture_for_both_frames_is_uploaded_once(
    server: Server, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    async with server() as client:
        _, content = await order(client, image_start=str(tmp_path / "a.png"), image_end=RED)
        [ref] = simulator.service.uploads
        await order(client, prompt="Again", image_start=ref)
    assert content["assets"] == {"image_start": ref, "image_end": ref}
    assert (simulator.orders[-1]["imageStart"], simulator.requests[UPLOADS]) == (ref, 1)


async def test_same_picture_from_another_source_is_a_duplicate(
    server: Server, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.service.add_account(OTHER)
    (tmp_path / "a.png").write_bytes(picture())
    async with server() as client:
        _, first = await order(client, image_start=str(tmp_path / "a.png"))
        _, second = await order(client, image_start=RED)
        _, third = await order(client, image_start=first["assets"]["image_start"])
    assert first["jobid"] == second["jobid"] == third["jobid"]
    assert (simulator.requests[UPLOADS], simulator.requests["POST /videos"]) == (1, 1)


@pytest.mark.parametrize(("days", "uploads"), [(0, 1), (28, 1), (31, 2)])
async def test_picture_is_uploaded_again_only_after_expiry(
    server: Server, simulator: Simulator, tmp_path: Path, *, days: int, uploads: int
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture())
    async with server() as client:
        _, first = await order(client, image_start=str(tmp_path / "a.png"))
    await pass_time(days * DAY)
    async with server() as client:
        _, second = await order(client, prompt="A cat", image_end=str(tmp_path / "b.png"))
    assert simulator.requests[UPLOADS] == uploads
    assert (first["assets"]["image_start"] == second["assets"]["image_end"]) == (uploads == 1)


async def test_asset_that_expired_early_is_uploaded_again(server: Server, simulator: Simulator, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    async with server() as client:
        _, first = await order(client, image_start=str(tmp_path / "a.png"))
        del simulator.service.assets[first["assets"]["image_start"]]
        text, second = await order(client, prompt="A cat", image_start=str(tmp_path / "a.png"))
    ref = second["assets"]["image_start"]
    assert ref != first["assets"]["image_start"]
    assert (simulator.orders[-1]["imageStart"], len(simulator.service.jobs)) == (ref, 2)
    assert ref in text


@pytest.mark.parametrize(
    ("stated", "running", "account"),
    [
        ({}, 0, OTHER),
        ({}, 3, EMAIL),
        ({"default": EMAIL}, 0, EMAIL),
        ({"default": EMAIL, "named": OTHER}, 3, OTHER),
        ({"asset": EMAIL}, 0, EMAIL),
        ({"asset": EMAIL, "named": EMAIL}, 0, EMAIL),
    ],
)
async def test_picture_is_uploaded_to_the_right_account(
    server: Server, simulator: Simulator, *, stated: dict[str, str], running: int, account: str
) -> None:
    service = simulator.service
    service.add_account(OTHER, concurrency=5)
    service.add_account(EXPIRED, concurrency=99).session_valid = False
    for _ in range(running):
        service.start({"prompt": "other", "model": "ray-v3", "resolution": "1080p"}, OTHER, webhook=False)
    image_end = service.add_asset(stated["asset"]) if "asset" in stated else None
    async with server(LUMA_MCP_EMAIL=stated.get("default", "")) as client:
        _, content = await order(client, image_start=RED, image_end=image_end, email=stated.get("named"))
    assert service.assets[content["assets"]["image_start"]] == account
    assert service.jobs[content["jobid"]].email == account


@pytest.mark.parametrize(
    ("settings", "named", "images"),
    [
        ({}, OTHER, ["picture", EMAIL]),
        ({"LUMA_MCP_EMAIL": OTHER}, None, ["picture", EMAIL]),
        ({}, OTHER, [EMAIL]),
        ({}, None, [EMAIL, OTHER]),
    ],
)
async def test_assets_of_different_accounts_are_rejected(
    server: Server, simulator: Simulator, *, settings: dict[str, str], named: Any, images: list[str]
) -> None:
    simulator.service.add_account(OTHER)
    values = [RED if owner == "picture" else simulator.service.add_asset(owner) for owner in images]
    async with server(**settings) as client:
        text, _ = await order(client, email=named, **dict(zip(("image_start", "image_end"), values, strict=False)))
    assert (simulator.requests[UPLOADS], simulator.service.jobs) == (0, {})
    without_values = text.replace(values[-1], "").replace(values[0], "")
    assert all(part in without_values for part in (EMAIL, OTHER, "Nothing was charged"))


async def test_unknown_account_is_rejected_with_the_known_ones(server: Server, simulator: Simulator) -> None:
    async with server() as client:
        text, _ = await order(client, image_start=RED, email="stduio@example.com")
    assert (simulator.requests["POST /videos"], "Nothing was charged" in text) == (0, True)
    assert EMAIL in text


UNUSABLE = {
    "missing.png": "does not exist",
    "notes.txt": "not a picture",
    "cut.png": "damaged or cut short",
    "empty.png": "empty",
    "a.pdf": "PDF",
    "photo.jpg": "absolute path",
    "outside": "outside the allowed folders",
    "https://pictures.example.com/media/any/none.jpg": "404",
    "data:image/png;base64,%%%": "base64",
    "sandbox:/mnt/data/fox.png": "chat application",
}


def build_unusable(what: str, folder: Path) -> str:
    contents = {"notes.txt": SECRET.encode(), "cut.png": picture()[:60], "empty.png": b"", "a.pdf": b"%PDF-1.7"}
    if what in contents:
        (folder / what).write_bytes(contents[what])
    if what == "outside":
        return "/etc/passwd"
    return str(folder / what) if what in contents or what == "missing.png" else what


@pytest.mark.parametrize(("what", "reason"), UNUSABLE.items())
async def test_unusable_image_is_rejected_with_the_reason(
    server: Server, simulator: Simulator, tmp_path: Path, *, what: str, reason: str
) -> None:
    async with server() as client:
        text, content = await order(client, image_start=build_unusable(what, tmp_path))
    [problem] = content["error"]["problems"]
    assert (problem["field"], content["error"]["kind"]) == ("image_start", "invalid_arguments")
    assert (reason in text, reason in problem["message"], "Nothing was charged" in text) == (True, True, True)
    assert SECRET not in f"{text}{content}"
    assert (simulator.requests["POST /videos"], simulator.requests[UPLOADS]) == (0, 0)


@pytest.mark.parametrize("start", ["photo.jpg", "missing.png", "notes.txt"])
@pytest.mark.parametrize("rest", [{"resolution": "4k"}, {"image_end": "a.pdf"}])
async def test_problems_of_images_and_options_are_combined(
    server: Server, tmp_path: Path, start: str, rest: dict[str, str]
) -> None:
    others = {n: build_unusable(value, tmp_path) if n == "image_end" else value for n, value in rest.items()}
    async with server() as client:
        _, content = await order(client, image_start=build_unusable(start, tmp_path), **others)
    assert {problem["field"] for problem in content["error"]["problems"]} == {"image_start", *rest}


async def test_failed_upload_costs_nothing_and_can_be_repeated(server: Server, simulator: Simulator) -> None:
    link = "https://pictures.example.com/media/any/{}-thumbnail.jpg".format
    ordered = partial(order, image_start=link("1x1"), image_end=link("4x3"))
    async with server() as client:
        simulator.faults.append(Fault("POST", f"/assets/{EMAIL}", 500, b'{"error":"disk full"}', times=1000))
        text, content = await ordered(client)
        assert (content["error"]["kind"], content["error"]["retry"]) == ("upstream", "later")
        assert "Nothing was charged" in text
        simulator.faults.clear()
        await order(client, prompt="A cat", image_start=link("1x1"))
        await ordered(client)
    assert (len(simulator.service.assets), len(simulator.service.jobs)) == (2, 2)


async def test_failed_video_keeps_its_assets(server: Server) -> None:
    async with server() as client:
        text, content = await order(client, prompt="A fox simulate:fail", image_start=RED, wait_seconds=100)
    assert content["error"]["kind"] == "job_failed"
    assert content["assets"]["image_start"] in text


ENDLESS: dict[str, Callable[[], bytes]] = {
    "one of many scans": endless_jpeg,
    "a large one of many scans": partial(endless_jpeg, 8000, 1000),
}
"""Pictures that take longer to decode than a whole test."""


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ENDLESS)
async def test_endless_picture_delays_no_other_order(
    server: Server, simulator: Simulator, tmp_path: Path, name: str
) -> None:
    finished: list[str] = []

    async def order_video(prompt: str, **images: str) -> None:
        await order(client, prompt=prompt, **images)
        finished.append(prompt)

    (tmp_path / "endless.jpg").write_bytes(ENDLESS[name]())
    (tmp_path / "small.png").write_bytes(picture(colour="blue"))
    async with server() as client, anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(partial(order_video, f"Endless {number}", image_start=str(tmp_path / "endless.jpg")))
        await order_video("Without a picture")
        await order_video("With a small one", image_start=str(tmp_path / "small.png"))
        await order_video("With a link", image_end="https://pictures.example.com/media/any/1x1-thumbnail.jpg")
        assert finished == ["Without a picture", "With a small one", "With a link"]
        tasks.cancel_scope.cancel()
    assert len(simulator.service.jobs) == 3


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(
            partial(webp_frames, SIDE, 1),
            id="memory",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no limit of the address space"),
        ),
        pytest.param(endless_jpeg, id="time"),
    ],
)
async def test_costly_picture_is_rejected_and_not_charged(
    server: Server, simulator: Simulator, tmp_path: Path, build: Callable[[], bytes]
) -> None:
    (tmp_path / "costly").write_bytes(build())
    async with server() as client:
        text, content = await order(client, image_start=str(tmp_path / "costly"))
    error = content["error"]
    assert (error["kind"], error["retry"], error["charged"]) == ("invalid_arguments", "after_change", "no")
    [problem] = error["problems"]
    assert (problem["field"], problem["code"]) == ("image_start", "unusable_image")
    for shown in (text, problem["message"]):
        assert "needs more than 15 seconds or 3 GB of memory" in shown
        assert "an ordinary JPEG or PNG" in shown
    assert "Nothing was charged" in text
    assert simulator.requests["POST /videos"] == simulator.requests[UPLOADS] == 0


@pytest.mark.parametrize("sensor", [32803, 34892], ids=["colors of the sensor", "linear"])
async def test_raw_photo_is_rejected_and_its_preview_not_uploaded(
    server: Server, simulator: Simulator, tmp_path: Path, sensor: int
) -> None:
    preview, sensor_data = page(160, 120, t254=1), page(320, 240, t262=sensor)
    (tmp_path / "photo.dng").write_bytes(tiff(preview, sensor_data, data=bytes(320 * 240)))
    async with server() as client:
        error = await order_error(client, image_start=str(tmp_path / "photo.dng"))
    assert (error["retry"], error["charged"]) == ("after_change", "no")
    assert "raw photo" in error["problems"][0]["message"]
    assert "save it as JPEG or PNG" in error["problems"][0]["message"]
    assert simulator.requests[UPLOADS] == 0


NARROW, ZERO_WIDTH = "\u202f", "\u200b"
LOOKALIKES = [
    ("Screenshot 2026-11-22 at 3.14.07 PM.png", f"Screenshot 2026-11-22 at 3.14.07{NARROW}PM.png"),
    (f"Screenshot at 3.14.07{NARROW}PM.png", "Screenshot at 3.14.07 PM.png"),
    ("Z\u00fcrich/caf\u00e9.png", "Zu\u0308rich/cafe\u0301.png"),
    ("Zu\u0308rich/cafe\u0301.png", "Z\u00fcrich/caf\u00e9.png"),
    (r"My\ Pictures/a\ \(1\).png", "My Pictures/a (1).png"),
    (r"it\'s.png", "it\u2019s.png"),
    (r"it'\''s.png", "it's.png"),
    ("it'\"'\"'s.png", "it's.png"),
    ("'My Pictures'/a.png", "My Pictures/a.png"),
    ("My%20Pictures/caf%C3%A9 1.png", f"My Pictures/caf\u00e9{NARROW}1.png"),
    ("My Pictures/a.png", "My%20Pictures/a.png"),
    ("the \u201cfox\u201d \u2013 1.png", 'the "fox" - 1.png'),
    ("ＡＢＣ　１.png", "ABC 1.png"),
    ("a.png\n", "a.png "),
    ("a  b\n c.png", "a b c.png"),
    (f"fox{ZERO_WIDTH}.png", "fox.png"),
    ("\u2764.png", "\u2764\ufe0f.png"),
    ("\u845b\u57ce.png", "\u845b\U000e0100\u57ce.png"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems change the names of files")
@pytest.mark.parametrize(
    ("form", "given", "name"),
    [*(("{}", *pair) for pair in LOOKALIKES), *((form, *LOOKALIKES[2]) for form in ("file://{}", "\u201c{}\u201d"))],
    ids=ascii,
)
async def test_path_with_lookalike_characters_finds_its_file(
    server: Server, simulator: Simulator, tmp_path: Path, *, given: str, name: str, form: str
) -> None:
    file = tmp_path / "pictures" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(picture())
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "pictures" / "other.png").write_bytes(picture(colour="blue"))
    async with server() as client:
        text, content = await order(client, image_start=form.format(f"{tmp_path}/pictures/{given}"))
    [upload] = simulator.service.uploads.values()
    assert upload.data == picture()
    assert content["image_changes"]["image_start"].startswith("read from ")
    assert content["image_changes"]["image_start"] in text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems change the names of files")
async def test_path_with_lookalike_characters_through_a_link(
    server: Server, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data/pictures")
    (tmp_path / "data" / "pictures" / "a b.png").write_bytes(picture())
    async with server(LUMA_MCP_INPUT_DIRS=str(tmp_path / "data" / "pictures")) as client:
        await order(client, image_start=rf"{tmp_path}/link/a\ b.png")
    assert len(simulator.service.uploads) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems change the names of files")
async def test_exact_path_is_preferred(server: Server, simulator: Simulator, tmp_path: Path) -> None:
    for number, name in enumerate(("a b.png", f"a{NARROW}b.png", "a b.png ", "a b.png'", r"a\ b.png", "a%20b.png")):
        (tmp_path / name).write_bytes(data := picture(colour=f"hsl({number * 50}, 100%, 50%)"))
        async with server() as client:
            _, content = await order(client, prompt=name, image_start=f"{tmp_path}/{name}")
        assert list(simulator.service.uploads.values())[-1].data == data
        assert "image_changes" not in content


@pytest.mark.skipif(sys.platform != "linux", reason="other systems change the names of files")
async def test_ambiguous_lookalikes_are_rejected_and_listed(
    server: Server, simulator: Simulator, tmp_path: Path
) -> None:
    for name in (f"a{NARROW}b.png", "a\u00a0b.png"):
        (tmp_path / name).write_bytes(picture())
    async with server() as client:
        error = await order_error(client, image_start=f"{tmp_path}/a b.png")
        [problem] = error["problems"]
        assert "\\u202fb.png" in problem["message"]
        assert "\\xa0b.png" in problem["message"]
        for number in range(30):
            (tmp_path / f"a{' ' * (number + 2)}b.png").write_bytes(picture())
        error = await order_error(client, image_start=f"{tmp_path}/a b.png")
    assert len(error["message"]) < 2000
    assert simulator.orders == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems change the names of files")
async def test_lookalikes_outside_or_hidden_are_not_used(server: Server, simulator: Simulator, tmp_path: Path) -> None:
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    allowed.mkdir()
    for folder in (outside, allowed / ".hidden", allowed / "x"):
        folder.mkdir()
        (folder / f"a{NARROW}b.png").write_bytes(picture())
    (allowed / f"to{NARROW}outside").symlink_to(outside)
    (allowed / f"x{NARROW}y.png").symlink_to(outside / f"a{NARROW}b.png")
    refused = ["../outside/a b.png", "to outside/a b.png", "x y.png", ".hidden/a b.png", "%2e%2e/outside/a b.png"]
    async with server(LUMA_MCP_INPUT_DIRS=str(allowed)) as client:
        for path in refused:
            error = await order_error(client, image_start=f"{allowed}/{path}")
            assert NARROW not in str(error)
            assert "u202f" not in str(error)
        await order(client, image_start=f"{tmp_path}/allowed/x/a b.png")
    assert len(simulator.service.uploads) == 1
