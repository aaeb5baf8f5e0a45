"""Images that use much time or memory are decoded or rejected within the limits, and block nothing."""

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
from anyio.lowlevel import checkpoint
from PIL import Image
from tests.media.hostile import PICTURES, deflated_tiff, encode, endless_jpeg, webp_frames
from tests.media.workers import find_worker, wait_for_end

from luma_mcp.media.decoder import LARGE, SMALL, Decoder, Limits
from luma_mcp.media.images import LARGEST_THUMBNAIL, NormalizedImage
from luma_mcp.media.sources import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

# Long enough for a small task in a process on a busy machine.
LONG = 300.0
STARTS = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG", "image/webp": b"RIFF"}
QUICK = Decoder(small=replace(SMALL, processor_seconds=1), large=replace(LARGE, processor_seconds=3))
REFUSALS = "damaged|million pixels|not a picture|only a small preview|needs more"
COSTLY = r"needs more than \d+ seconds or [\d.]+ GB of memory to decode; scale it down, or save it again as"


@pytest.fixture
def anyio_backend() -> str:
    """Use real time, because real processes do not run in virtual time."""
    return "asyncio"


def picture(kind: str = "PNG", side: int = 40) -> bytes:
    return encode(Image.new("RGB", (side + 20, side), "red"), kind)


def get_processor_seconds() -> float:
    """Get the processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.sample(9)
@pytest.mark.parametrize("name", PICTURES)
async def test_hostile_picture_stays_within_the_limits(name: str) -> None:
    data = PICTURES[name]()
    assert len(data) < 6_000_000
    before = get_processor_seconds()
    try:
        result = await QUICK.normalize(data)
        is_accepted = result.data.startswith(STARTS[result.media_type])
    except ImageError as error:
        is_accepted = bool(re.search(REFUSALS, error.reason)) and not error.retryable
    assert is_accepted
    # The system ends a process up to a second late.
    assert get_processor_seconds() - before < QUICK.small.processor_seconds + QUICK.large.processor_seconds + 2
    # The peak of the largest child so far, in kilobytes (on macOS in bytes).
    unit = 1 if sys.platform == "darwin" else 1000
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit < LARGE.memory


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "limits",
    [Limits(LARGE.pixels, LARGE.memory, 1, LONG), Limits(LARGE.pixels, LARGE.memory, 1000, 2.0)],
    ids=["of the processor", "by the clock"],
)
@pytest.mark.parametrize("build", [endless_jpeg, lambda: endless_jpeg(8000, 1000)], ids=["repeated", "large"])
async def test_time_limits(build: Callable[[], bytes], limits: Limits) -> None:
    with pytest.raises(ImageError, match=COSTLY) as costly:
        await Decoder(small=limits, large=limits).normalize(build())
    assert not costly.value.retryable


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no limit of the address space")
@pytest.mark.parametrize(
    ("build", "memory"),
    [
        (lambda: deflated_tiff(14_000), 250_000_000),
        (lambda: encode(Image.new("L", (7000, 7000)), "GIF"), 150_000_000),
        (lambda: webp_frames(12_000, 1), 1_300_000_000),
    ],
    ids=["TIFF", "GIF", "WebP"],
)
async def test_memory_limit(build: Callable[[], bytes], memory: int) -> None:
    tight = Limits(LARGE.pixels, memory, 100, LONG)
    # Some decoders do not say why they fail.
    with pytest.raises(ImageError, match=f"{COSTLY}|damaged, cut short or too large to decode"):
        await Decoder(small=tight, large=tight).normalize(build())


async def test_picture_beyond_small_limits_is_decoded_with_large_ones() -> None:
    data = picture()
    for small in (replace(SMALL, pixels=100), replace(SMALL, memory=1_000), replace(SMALL, seconds=0.001)):
        assert await Decoder(small=small).normalize(data) == NormalizedImage(data, "image/png")


async def test_small_pictures_do_not_wait_for_large_ones() -> None:
    hostile, decoder = endless_jpeg(), Decoder()
    started: list[int] = []
    async with anyio.create_task_group() as tasks:

        async def decode(number: int) -> None:
            started.append(number)
            await decoder.normalize(hostile)

        for number in range(5):
            tasks.start_soon(decode, number)
        for kind in ("PNG", "JPEG", "WEBP", "AVIF"):
            await decoder.normalize(picture(kind))
        assert await decoder.measure(picture()) == (60, 40)
        assert started == [0, 1, 2, 3, 4]
        tasks.cancel_scope.cancel()


async def test_pictures_do_not_use_the_default_threads() -> None:
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


async def test_file_that_is_not_a_picture_has_no_size() -> None:
    assert await Decoder().measure(b"swordfish") is None


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc, which only Linux has")
async def test_cancelled_picture_leaves_no_process() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Decoder(small=LARGE).normalize, endless_jpeg())
        while (process := find_worker(os.getpid())) is None:
            await checkpoint()
        tasks.cancel_scope.cancel()
    assert process
    await anyio.to_thread.run_sync(wait_for_end, process)


async def test_modules_in_the_current_folder_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIL", "luma_mcp", "json", "faulthandler"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the current folder')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    data = picture()
    assert await Decoder().normalize(data) == NormalizedImage(data, "image/png")


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/false"])
async def test_process_that_does_not_start_is_a_retryable_error(
    monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(ImageError, match="did not start") as unstarted:
        await Decoder().normalize(picture())
    assert unstarted.value.retryable
