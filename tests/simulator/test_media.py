"""The simulated service's media are real, checked by their bytes, over a real HTTP server."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest

from luma_mcp.media.download import save
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.simulator.records import MEDIA, SECONDS, SIZES
from luma_mcp.simulator.serve import new_simulator, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATIOS = [(ratio, ratio.replace(":", "x")) for ratio in SIZES]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def media_url() -> Iterator[str]:
    with running(new_simulator()) as base_url:
        yield base_url.removesuffix("/v1/luma") + "/media/any"


def box(data: bytes, *path: bytes) -> bytes:
    """The content of an MP4 box (ISO/IEC 14496-12) at that path."""
    for name in path:
        at = 0
        while data[at + 4 : at + 8] != name:
            size = struct.unpack(">I", data[at : at + 4])[0]
            assert size >= 8, f"no {name!r}"
            at += size
        data = data[at + 8 : at + struct.unpack(">I", data[at : at + 4])[0]]
    return data


@pytest.mark.parametrize(("ratio", "stem"), RATIOS)
def test_every_clip_has_the_size_length_and_codec_that_its_record_tells(ratio: str, stem: str) -> None:
    for grade, duration, codec in (("sdr", "5s", b"avc1"), ("sdr", "10s", b"avc1"), ("hdr", "5s", b"hvc1")):
        data = (MEDIA / f"{stem}-{duration}-{grade}.mp4").read_bytes()
        assert data[4:8] == b"ftyp"
        timescale, length = struct.unpack(">II", box(data, b"moov", b"mvhd")[12:20])
        assert length / timescale == pytest.approx(SECONDS[duration], abs=0.01)
        width, height = struct.unpack(">II", box(data, b"moov", b"trak", b"tkhd")[-8:])
        assert (width >> 16, height >> 16) == SIZES[ratio]
        assert codec in box(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


@pytest.mark.parametrize(("ratio", "stem"), RATIOS)
def test_every_clip_has_a_first_and_a_last_frame(ratio: str, stem: str) -> None:
    for name in ("thumbnail", "last_frame"):
        data = (MEDIA / f"{stem}-{name}.jpg").read_bytes()
        assert data[:2] == b"\xff\xd8"
        frame = data.index(b"\xff\xc0")
        height, width = struct.unpack(">HH", data[frame + 5 : frame + 9])
        assert (width, height) == SIZES[ratio]


async def test_a_clip_and_a_zip_of_exr_frames_are_served_whole(media_url: str, tmp_path: Path) -> None:
    links = SafeHttpClient(own=media_url)
    clip = await save(f"{media_url}/16x9-5s-sdr.mp4", tmp_path / "clip.mp4", links, unheard)
    frames = await save(f"{media_url}/frames-exr.zip", tmp_path / "frames.zip", links, unheard)
    await links.aclose()
    assert clip.read_bytes() == (MEDIA / "16x9-5s-sdr.mp4").read_bytes()
    with zipfile.ZipFile(io.BytesIO(frames.read_bytes())) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 3
        for name in archive.namelist():
            assert archive.read(name)[:4] == b"\x76\x2f\x31\x01"
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "frames.zip"}


async def unheard(here: int, total: int | None) -> None:
    """Progress that nobody listens to."""
