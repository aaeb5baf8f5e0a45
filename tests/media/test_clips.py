"""Reading the last frame of a clip: frame order, colors, and files that have no last frame."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from luma_mcp.media.clips import read_clip
from luma_mcp.media.decoder import SMALL, Decoder
from luma_mcp.media.sources import ImageError
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from pathlib import Path

CLIP = MEDIA / "16x9-10s-sdr.mp4"
LIMIT = 10_000_000


@pytest.fixture
def anyio_backend() -> str:
    """Use real time, because real processes do not run in virtual time."""
    return "asyncio"


def decode_all(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]


async def test_last_frame_is_the_one_shown_last() -> None:
    clip = await Decoder().read_clip(str(CLIP))
    *_, last = decode_all(CLIP)
    assert Image.open(io.BytesIO(clip.frame)).tobytes() == last.tobytes()
    assert (clip.size, round(clip.seconds)) == (last.size, 10)


def test_last_frame_of_reordered_frames(tmp_path: Path) -> None:
    """Frames can be stored after frames that are shown later."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"bf": "3", "b-adapt": "0", "qp": "1"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv444p"
        for number in range(60):
            picture = Image.new("RGB", (64, 64), (number * 4, 0, 0))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode(None))
    frame, seconds = read_clip(str(path), LIMIT)
    red, *_ = ImageStat.Stat(frame).mean
    assert (round(seconds, 1), abs(red - 59 * 4) < 2) == (2.5, True)


@pytest.mark.parametrize("shape", ["16x9", "3x4"])
def test_hdr_frame_looks_like_the_sdr_frame(shape: str) -> None:
    frame, _ = read_clip(str(MEDIA / f"{shape}-5s-hdr.mp4"), LIMIT)
    still = Image.open(MEDIA / f"{shape}-last_frame.jpg")
    difference = ImageStat.Stat(ImageChops.difference(frame, still.convert("RGB")))
    # Without tone mapping it is more than 30.
    assert (frame.size, max(difference.mean) < 6) == (still.size, True)


DATA = CLIP.read_bytes()
PLAYLIST = f"#EXTM3U\n#EXTINF:10,\n{CLIP.as_uri()}\n#EXT-X-ENDLIST\n".encode()


@pytest.mark.parametrize(
    "data",
    [b"", b"swordfish", PLAYLIST, b"ffconcat version 1.0\nfile clip.mp4\n", DATA[:-4000], DATA[: len(DATA) // 2]],
    ids=["empty", "text", "playlist", "list of files", "without its end", "half"],
)
async def test_incomplete_or_invalid_clip_is_rejected(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(data)
    with pytest.raises(ImageError, match=r"damaged or cut short|not an MP4 video"):
        await Decoder().read_clip(str(tmp_path / "clip.mp4"))


async def test_clip_beyond_the_limits_is_rejected() -> None:
    with pytest.raises(ImageError, match="million pixels"):
        await Decoder(small=replace(SMALL, pixels=100), large=replace(SMALL, pixels=100)).read_clip(str(CLIP))
    quick = replace(SMALL, seconds=0.001)
    with pytest.raises(ImageError, match=r"needs more than 2 seconds or 0.7 GB of memory to decode$"):
        await Decoder(small=quick, large=quick).read_clip(str(CLIP))
