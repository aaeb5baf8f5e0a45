"""`save` stores a finished video in the output folder, and results show a thumbnail."""

from __future__ import annotations

import base64
import io
import os
import re
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from PIL import Image
from tests.clock import pass_time
from tests.conftest import BOTH_APIS, ERAS, MIDNIGHT
from tests.results import read_result
from tests.server.calls import call, order

from luma_mcp.simulator.app import Fault
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

DAY = f"{MIDNIGHT.astimezone():%Y-%m-%d}"
VIDEO, FRAMES = MEDIA / "16x9-5s-sdr.mp4", MEDIA / "frames-exr.zip"
READY = {"prompt": "A fox in the snow", "wait_seconds": 200}


class Media(httpx2.AsyncBaseTransport):
    """Serves files with certain suffixes with the given responses. Other requests go to the simulator."""

    def __init__(self, simulator: Simulator, **responses: Callable[[], httpx2.Response]) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self._responses = responses

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        for name, build_response in self._responses.items():
            if request.url.path.endswith(f".{name}"):
                return build_response()
        return await self._simulated.handle_async_request(request)


def sent(data: bytes, seconds: int = 0, status: int = 200) -> Callable[[], httpx2.Response]:
    """Build a function that returns a response whose body takes `seconds`, in virtual time."""

    async def pieces() -> AsyncIterator[bytes]:
        size = len(data) // max(seconds, 1) + 1
        for at in range(0, len(data), size):
            await pass_time(min(seconds, 1))
            yield data[at : at + size]

    return lambda: httpx2.Response(status, headers={"content-length": str(len(data))}, content=pieces())


@pytest.mark.parametrize("mode", ERAS)
async def test_file_name_has_the_day_the_prompt_and_an_id(server: Server, folder: Path, mode: str) -> None:
    async with server(mode) as client:
        text, content = read_result(await client.call_tool("generate_video", {**READY, "save": True}))
    [file] = folder.iterdir()
    assert re.fullmatch(rf"{DAY}\Wa\Wfox\Win\Wthe\Wsnow\W\w{{4,12}}\.mp4", file.name.replace("_", "-"))
    assert file.read_bytes() == VIDEO.read_bytes()
    assert content["saved_files"] == [str(file)]
    assert (str(file) in text, content["video"]["url"] in text) == (True, True)


CONSONANT = "\u0915\u094d\u0937"


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("हिन्दी में लोमड़ी", "हिन्दी-में-लोमड़ी"),
        ("தமிழ் நரி பனியில் ஓடுகிறது, மிக வேகமாக!", "தமிழ்-நரி-பனியில்-ஓடுகிறது-மிக"),
        ("สุนัขจิ้งจอก วิ่ง", "สุนัขจิ้งจอก-วิ่ง"),
        ("שׁוּעָל בַּשֶּׁלֶג", "שׁוּעָל-בַּשֶּׁלֶג"),
        ("İSTANBUL'da TİLKİ", "istanbul-da-tilki"),
        ("می\u200cخواهم روباه", "می\u200cخواهم-روباه"),
        ("\u1820\u1837\u1822\u182d\u180e\u1820 \u1824\u1828", "\u1820\u1837\u1822\u182d\u180e\u1820-\u1824\u1828"),
        ("שו\u200fעל ثع\u061cلب", "שועל-ثعلب"),
        ("Καΐκι ΟΔΟΣ", "καΐκι-οδος"),
        ("cafe\u0301 Donau\u00addampf", "café-donaudampf"),
        ("👨\u200d👩\u200d👧 at 1\ufe0f\u20e3 ❤\ufe0f", "at-1"),
        # The title is cut between two characters as readers see them.
        (CONSONANT * 30, CONSONANT * 10),
        ("a " + "g\u0308" * 30, "a-" + "g\u0308" * 19),
        ("雪山を走る赤い狐" * 9, ("雪山を走る赤い狐" * 9)[:32]),
        ("\u0301\u0308", "video"),
    ],
    ids=ascii,
)
async def test_file_name_keeps_whole_words_in_any_script(server: Server, folder: Path, prompt: str, title: str) -> None:
    async with server() as client:
        await client.call_tool("generate_video", {**READY, "prompt": prompt, "save": True})
    [file] = folder.iterdir()
    assert unicodedata.normalize("NFC", file.name).split("_")[1] == unicodedata.normalize("NFC", title)
    assert len(os.fsencode(file.name)) <= 143


async def test_nothing_is_saved_unless_requested(server: Server, folder: Path) -> None:
    async with server() as client:
        _, content = read_result(await client.call_tool("generate_video", READY))
    assert "saved_files" not in content
    assert not folder.exists()


async def test_frames_of_hdr_exr_are_saved_too(server: Server, folder: Path) -> None:
    async with server() as client:
        _, content = read_result(
            await client.call_tool("generate_video", {**READY, "dynamic_range": "hdr_exr", "save": True})
        )
    assert sorted(map(str, folder.iterdir())) == sorted(content["saved_files"])
    saved = {Path(file).suffix: Path(file).read_bytes() for file in content["saved_files"]}
    assert saved == {".mp4": (MEDIA / "16x9-5s-hdr.mp4").read_bytes(), ".zip": FRAMES.read_bytes()}


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("stated_at", ["generate_video", "get_job", "neither"])
async def test_save_is_remembered_for_get_job(server: Server, folder: Path, stated_at: str, mode: str) -> None:
    async with server(mode) as client:
        arguments = {"prompt": "A fox", "wait_seconds": 0, "save": stated_at == "generate_video"}
        text, running = read_result(await client.call_tool("generate_video", arguments))
    assert ('"save": true' in running["next_step"], running["next_step"] in text) == (
        stated_at == "generate_video",
        True,
    )
    async with server(mode) as client:
        stated = {"save": True} if stated_at == "get_job" else {}
        _, content = read_result(
            await client.call_tool("get_job", {"jobid": running["jobid"], "wait_seconds": 100, **stated})
        )
    assert content["request"]["prompt"] == "A fox"
    assert content.get("saved_files", []) == [str(file) for file in (folder.iterdir() if folder.exists() else ())]
    assert folder.exists() == (stated_at != "neither")


@pytest.mark.parametrize("again", ["generate_video", "get_job"])
async def test_later_request_to_save_is_remembered(server: Server, folder: Path, again: str) -> None:
    async with server() as client:
        _, running = await order(client)
        arguments = {"prompt": "A fox"}
        if again == "get_job":
            arguments = {"jobid": running["jobid"]}
        await call(client, again, **arguments, save=True, wait_seconds=0)
        _, content = await call(client, "get_job", jobid=running["jobid"], wait_seconds=100)
    assert content["saved_files"] == [str(file) for file in folder.iterdir()]


async def test_download_may_take_longer_than_the_wait(server: Server, simulator: Simulator) -> None:
    async with server(transport=Media(simulator, mp4=sent(VIDEO.read_bytes(), 8))) as client:
        _, running = await order(client)
        await pass_time(100)
        _, content = await call(client, "get_job", jobid=running["jobid"], wait_seconds=0, save=True)
    assert len(content["saved_files"]) == 1


@BOTH_APIS
async def test_next_process_saves_the_requested_files(server: Server, folder: Path) -> None:
    async with server() as client:
        await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0, "save": True})
    await pass_time(300)
    async with server() as client:
        await pass_time(30)
        _, content = read_result(await client.call_tool("list_jobs", {}))
    assert content["jobs"][0]["saved_files"] == [str(file) for file in folder.iterdir()]


@BOTH_APIS
async def test_file_is_saved_once_and_nothing_is_overwritten(server: Server, folder: Path) -> None:
    async with server() as client:
        _, first = read_result(await client.call_tool("generate_video", {**READY, "save": True}))
        _, again = read_result(await client.call_tool("get_job", {"jobid": first["jobid"], "save": True}))
    [file] = folder.iterdir()
    assert again["saved_files"] == first["saved_files"] == [str(file)]
    file.write_text("my own notes")
    async with server(LUMA_MCP_JOURNAL="off") as client:
        _, third = read_result(await client.call_tool("get_job", {"jobid": first["jobid"], "save": True}))
    [other] = map(Path, third["saved_files"])
    assert (file.read_text(), other.read_bytes()) == ("my own notes", VIDEO.read_bytes())


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        ("no room", ["no room", "LUMA_MCP_OUTPUT_DIR"]),
        ("a file in its place", ["LUMA_MCP_OUTPUT_DIR"]),
        ("read-only", ["cannot be written to", "LUMA_MCP_OUTPUT_DIR"]),
    ],
)
async def test_unusable_folder_leaves_the_link(
    server: Server, simulator: Simulator, folder: Path, *, fault: str, parts: list[str]
) -> None:
    if fault == "read-only":
        # Not even root can create a folder there.
        folder = Path("/sys/kernel/Luma")
    endless = Media(simulator, mp4=lambda: httpx2.Response(200, headers={"content-length": f"{10**18}"}))
    if fault == "a file in its place":
        folder.parent.mkdir()
        folder.write_text("")
    transport = endless if fault == "no room" else None
    async with server(transport=transport, LUMA_MCP_OUTPUT_DIR=str(folder)) as client:
        result = await client.call_tool("generate_video", {**READY, "save": True})
    text, content = read_result(result)
    assert (result.is_error, content["state"], content["saved_files"]) == (False, "completed", [])
    assert content["video"]["url"] in text
    assert all(part in content["save_problem"] for part in [str(folder), *parts])
    assert content["save_problem"] in text


async def test_long_download_is_continued_by_the_next_call(server: Server, simulator: Simulator, folder: Path) -> None:
    async with server(transport=Media(simulator, mp4=sent(VIDEO.read_bytes(), 100))) as client:
        _, running = read_result(await client.call_tool("generate_video", {**READY, "wait_seconds": 0, "save": True}))
        await pass_time(100)
        text, content = read_result(await client.call_tool("get_job", {"jobid": running["jobid"], "wait_seconds": 0}))
        assert (content["state"], content["saved_files"], list(folder.glob("*.mp4"))) == ("completed", [], [])
        assert "get_job" in content["next_step"]
        assert all(content[name] in text for name in ("save_problem", "next_step"))
        arguments = {"jobid": running["jobid"], "wait_seconds": 300, "save": True}
        _, content = read_result(await client.call_tool("get_job", arguments))
    assert Path(content["saved_files"][0]).read_bytes() == VIDEO.read_bytes()


@pytest.mark.parametrize("seconds", [20, 400])
async def test_download_progress_grows_and_names_the_files(server: Server, simulator: Simulator, seconds: int) -> None:
    seen: list[tuple[float, str]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert total == 100
        seen.append((progress, message or ""))

    transport = Media(simulator, mp4=sent(VIDEO.read_bytes(), 20), zip=sent(FRAMES.read_bytes(), seconds))
    arguments = {"prompt": "A fox", "dynamic_range": "hdr_exr", "save": True, "wait_seconds": 600}
    async with server(transport=transport) as client:
        _, content = read_result(await client.call_tool("generate_video", arguments, progress_callback=on_progress))
    assert len(content["saved_files"]) == 2
    for file in content["saved_files"]:
        assert any(Path(file).name in message for _, message in seen)
    assert all(later > earlier for (earlier, _), (later, _) in pairwise(seen))
    assert max(progress for progress, _ in seen[:-1]) < seen[-1][0] == 100


@BOTH_APIS
async def test_expired_link_is_fetched_again(server: Server, simulator: Simulator) -> None:
    old = b'{"jobid":"%s","status":"completed","response":{"video":{"url":"https://cdn.example.com/media/k/gone.mp4"}}}'
    async with server() as client:
        _, running = read_result(await client.call_tool("generate_video", {**READY, "wait_seconds": 0}))
        await pass_time(100)
        simulator.faults.append(Fault("GET", "/jobs/", 200, old % running["jobid"].encode()))
        _, content = read_result(await client.call_tool("get_job", {"jobid": running["jobid"], "save": True}))
    assert Path(content["saved_files"][0]).read_bytes() == VIDEO.read_bytes()


def photo(side: int) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("large", [False, True])
async def test_completed_result_shows_a_small_jpeg(
    server: Server, simulator: Simulator, *, large: bool, mode: str
) -> None:
    given = photo(900) if large else (MEDIA / "16x9-thumbnail.jpg").read_bytes()
    transport = Media(simulator, jpg=sent(given))
    async with server(mode, transport, LUMA_MCP_THUMBNAILS="1") as client:
        running = await client.call_tool("generate_video", {**READY, "wait_seconds": 0})
        shown = await client.call_tool("generate_video", READY)
    assert [block.type for block in running.content] == ["text"]
    block = shown.content[1]
    assert block.type == "image"
    data = base64.b64decode(block.data)
    assert (block.mime_type, Image.open(io.BytesIO(data)).format) == ("image/jpeg", "JPEG")
    assert (len(data) <= 200_000, data == given) == (True, not large)


@pytest.mark.parametrize(
    ("thumbnails", "response"),
    [
        ("0", sent(photo(9))),
        ("1", sent(b"gone", status=404)),
        ("1", sent(b"<html>sign in</html>")),
        ("1", sent(photo(9), 60)),
    ],
    ids=["off", "gone", "a page", "slow"],
)
async def test_result_without_a_thumbnail_has_the_same_content(
    server: Server, simulator: Simulator, thumbnails: str, response: Callable[[], httpx2.Response]
) -> None:
    async with server(LUMA_MCP_THUMBNAILS="1") as client:
        _, ordered = read_result(await client.call_tool("generate_video", READY), pictures=1)
        jobid = ordered["jobid"]
        shown = await client.call_tool("get_job", {"jobid": jobid})
    async with server(ERAS[0], Media(simulator, jpg=response), LUMA_MCP_THUMBNAILS=thumbnails) as client:
        bare = await client.call_tool("get_job", {"jobid": jobid})
    assert (len(shown.content), len(bare.content), read_result(shown, pictures=1)) == (2, 1, read_result(bare))
