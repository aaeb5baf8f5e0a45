"""Images that are made to take time or memory: each is decoded, or refused, within the limits, and blocks nothing."""

from __future__ import annotations

import io
import os
import re
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from PIL import Image
from tests.media.hostile import PICTURES, deflated_tiff, encoded, endless_jpeg
from tests.media.workers import children, variables

from luma_mcp.media.decoder import LARGE, SMALL, Decoder, Limits
from luma_mcp.media.images import LARGEST_THUMBNAIL, NormalizedImage
from luma_mcp.media.sources import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

# As long as on a busy machine a process may take that has little to do.
LONG = 300.0
QUICK = Decoder(small=replace(SMALL, processor_seconds=1), large=replace(LARGE, processor_seconds=3))
COSTLY = r"needs more than \d+ seconds or [\d.]+ GB of memory to decode; scale it down, or save it again as"


@pytest.fixture
def anyio_backend() -> str:
    """Real processes need real time."""
    return "asyncio"


def picture(kind: str = "PNG", side: int = 40) -> bytes:
    return encoded(Image.new("RGB", (side + 20, side), "red"), kind)


def spent() -> float:
    """The processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("name", PICTURES)
async def test_a_hostile_picture_keeps_the_limits(name: str) -> None:
    data = PICTURES[name]()
    assert len(data) < 6_000_000
    before = spent()
    try:
        result = await QUICK.normalize(data)
    except ImageError as error:
        assert re.search("damaged|million pixels|not a picture|only a small preview|needs more", error.reason)
        assert not error.retryable
    else:
        image = Image.open(io.BytesIO(result.data))
        assert result.media_type == f"image/{str(image.format).lower()}"
    # The system ends a process up to a second late.
    assert spent() - before < QUICK.small.processor_seconds + QUICK.large.processor_seconds + 2
    # Of the largest child so far, in kilobytes, on macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1000
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit < LARGE.memory


@pytest.mark.parametrize(
    "limits",
    [Limits(LARGE.pixels, LARGE.memory, 1, LONG), Limits(LARGE.pixels, LARGE.memory, 1000, 2.0)],
    ids=["of the processor", "by the clock"],
)
@pytest.mark.parametrize("build", [endless_jpeg, lambda: endless_jpeg(8000, 1000)], ids=["repeated", "large"])
async def test_a_time_limit(build: Callable[[], bytes], limits: Limits) -> None:
    with pytest.raises(ImageError, match=COSTLY) as costly:
        await Decoder(small=limits, large=limits).normalize(build())
    assert not costly.value.retryable


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no limit of the address space")
@pytest.mark.parametrize(
    "build",
    [lambda: deflated_tiff(12_000), lambda: encoded(Image.new("RGB", (12_000, 12_000)), "WEBP", quality=0)],
    ids=["TIFF", "WebP"],
)
async def test_a_memory_limit(build: Callable[[], bytes]) -> None:
    tight = Limits(LARGE.pixels, 500_000_000, 100, LONG)
    with pytest.raises(ImageError, match=COSTLY):
        await Decoder(small=tight, large=tight).normalize(build())


async def test_a_picture_beyond_the_small_limits_is_decoded_with_the_large_ones() -> None:
    data = picture()
    for small in (replace(SMALL, pixels=100), replace(SMALL, memory=1_000), replace(SMALL, seconds=0.001)):
        assert await Decoder(small=small).normalize(data) == NormalizedImage(data, "image/png")


async def test_small_pictures_do_not_wait_for_large_ones() -> None:
    hostile, decoder = endless_jpeg(), Decoder()
    undecided: list[int] = []
    async with anyio.create_task_group() as tasks:

        async def decode(number: int) -> None:
            undecided.append(number)
            await decoder.normalize(hostile)

        for number in range(5):
            tasks.start_soon(decode, number)
        for kind in ("PNG", "JPEG", "WEBP", "AVIF"):
            await decoder.normalize(picture(kind))
        assert await decoder.measure(picture()) == (60, 40)
        assert undecided == [0, 1, 2, 3, 4]
        tasks.cancel_scope.cancel()


async def test_pictures_take_no_threads_of_others() -> None:
    hostile, decoder = endless_jpeg(), Decoder()
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(decoder.normalize, hostile)
        await anyio.wait_all_tasks_blocked()
        assert await anyio.to_thread.run_sync(len, "abc") == 3
        tasks.cancel_scope.cancel()


async def test_thumbnails_are_decoded_within_the_limits() -> None:
    small = Image.open(io.BytesIO(await Decoder().make_thumbnail(picture(side=1000))))
    assert (small.format, max(small.size)) == ("JPEG", 768)
    with pytest.raises(ImageError, match=COSTLY):
        await QUICK.make_thumbnail(endless_jpeg(4000, 5000) + bytes(LARGEST_THUMBNAIL))


async def test_a_file_that_is_no_picture_has_no_size() -> None:
    assert await Decoder().measure(b"swordfish") is None


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux shows them")
async def test_a_cancelled_picture_leaves_no_process() -> None:
    before = children(os.getpid())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Decoder().normalize, endless_jpeg())
        while not children(os.getpid()) - before:
            await anyio.sleep(0)
        tasks.cancel_scope.cancel()
    while children(os.getpid()) - before:
        await anyio.sleep(0)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux shows them")
async def test_the_process_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USEAPI_TOKEN", "HTTPS_PROXY", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "swordfish")
    before = children(os.getpid())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Decoder().normalize, endless_jpeg())
        while not (started := children(os.getpid()) - before):
            await anyio.sleep(0)
        while b"-I" not in Path(f"/proc/{min(started)}/cmdline").read_bytes():
            await anyio.sleep(0)
        assert b"swordfish" not in variables(min(started))
        tasks.cancel_scope.cancel()


async def test_the_current_folder_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIL", "luma_mcp", "json", "faulthandler"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the current folder')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    data = picture()
    assert await Decoder().normalize(data) == NormalizedImage(data, "image/png")


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/false"])
async def test_a_process_that_does_not_start(monkeypatch: pytest.MonkeyPatch, executable: str) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(ImageError, match="did not start") as unstarted:
        await Decoder().normalize(picture())
    assert unstarted.value.retryable
