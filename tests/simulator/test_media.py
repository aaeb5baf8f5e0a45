"""The media of the simulated service: their bytes, and downloads from a real HTTP server."""

from __future__ import annotations

import io
import struct
import zipfile

import httpx2
import pytest

from luma_mcp.simulator.app import new_simulator, running
from luma_mcp.simulator.state import MEDIA, SECONDS, SIZES

RATIOS = [(ratio, ratio.replace(":", "x")) for ratio in SIZES]


def box(data: bytes, *path: bytes) -> bytes:
    """Get the content of the MP4 box (ISO/IEC 14496-12) at a path."""
    for name in path:
        offset = 0
        while data[offset + 4 : offset + 8] != name:
            size = struct.unpack(">I", data[offset : offset + 4])[0]
            assert size >= 8, f"no {name!r}"
            offset += size
        data = data[offset + 8 : offset + struct.unpack(">I", data[offset : offset + 4])[0]]
    return data


@pytest.mark.parametrize(("ratio", "stem"), RATIOS)
def test_clips_have_the_size_length_and_codec_of_their_record(ratio: str, stem: str) -> None:
    for grade, duration, codec in (("sdr", "5s", b"avc1"), ("sdr", "10s", b"avc1"), ("hdr", "5s", b"hvc1")):
        data = (MEDIA / f"{stem}-{duration}-{grade}.mp4").read_bytes()
        assert data[4:8] == b"ftyp"
        timescale, length = struct.unpack(">II", box(data, b"moov", b"mvhd")[12:20])
        assert length / timescale == pytest.approx(SECONDS[duration], abs=0.01)
        width, height = struct.unpack(">II", box(data, b"moov", b"trak", b"tkhd")[-8:])
        assert (width >> 16, height >> 16) == SIZES[ratio]
        assert codec in box(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


@pytest.mark.parametrize(("ratio", "stem"), RATIOS)
def test_clips_have_a_thumbnail_and_a_last_frame(ratio: str, stem: str) -> None:
    for name in ("thumbnail", "last_frame"):
        data = (MEDIA / f"{stem}-{name}.jpg").read_bytes()
        assert data[:2] == b"\xff\xd8"
        frame = data.index(b"\xff\xc0")
        height, width = struct.unpack(">HH", data[frame + 5 : frame + 9])
        assert (width, height) == SIZES[ratio]


def test_clips_and_exr_frames_are_served_completely() -> None:
    with running(new_simulator()) as base_url:
        media_url = base_url.removesuffix("/v1/luma") + "/media/any"
        clip = httpx2.get(f"{media_url}/16x9-5s-sdr.mp4", trust_env=False)
        frames = httpx2.get(f"{media_url}/frames-exr.zip", trust_env=False)
        missing = httpx2.get(f"{media_url}/2x1-5s-sdr.mp4", trust_env=False)
    assert clip.content == (MEDIA / "16x9-5s-sdr.mp4").read_bytes()
    assert missing.status_code == 404
    with zipfile.ZipFile(io.BytesIO(frames.content)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 3
        for name in archive.namelist():
            assert archive.read(name)[:4] == b"\x76\x2f\x31\x01"
