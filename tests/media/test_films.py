"""Contact sheets, stills, previews and films of real files: content, length, and rejected files."""

from __future__ import annotations

import errno
import io
import os
import resource
import struct
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import av
import pytest
from PIL import Image, ImageChops, ImageStat
from tests.media.videos import HLG, PQ, gray, noise, read_frames, read_shades, steps, write_clip, write_shades
from tests.media.workers import list_children

from luma_mcp.media.clips import ClipError, ClipFacts, JoinPlan, SheetRow
from luma_mcp.media.decoder import VIDEO, Decoder
from luma_mcp.media.films import LARGEST_PREVIEW, LARGEST_SHEET, join, make_preview, make_sheet, make_still, probe
from luma_mcp.media.images import LARGEST_THUMBNAIL
from luma_mcp.media.sources import ImageError
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Generator

    from luma_mcp.media.clips import JoinedClip

SHAPES = ["9x16", "3x4", "1x1", "4x3", "16x9", "21x9"]
PIXELS = VIDEO.pixels
LEVELS = [40, 60, 80, 100, 120, 140, 160, 180, 200]


@pytest.fixture
def anyio_backend() -> str:
    """Use real time, because real processes do not run in virtual time."""
    return "asyncio"


def join_here(target: Path, *paths: Path, crossfade: float = 0.0) -> JoinedClip:
    """Join clips in this process."""
    plan = JoinPlan(tuple(map(str, paths)), str(target), (crossfade,) * (len(paths) - 1))
    joined = join(plan, PIXELS, lambda _: None)
    assert_regular(target, joined.facts)
    return joined


def assert_regular(path: Path, facts: ClipFacts) -> None:
    """Assert that every frame of a film can be decoded and that the frames are evenly spaced."""
    with av.open(str(path)) as container:
        times = [(frame.pts or 0) * (frame.time_base or 0) for frame in container.decode(video=0)]
        assert container.duration
        seconds = container.duration / av.time_base
    rate = Fraction(facts.frame_rate).limit_denominator(1001)
    assert (len(times), times[0], {later - time for time, later in pairwise(times)}) == (
        facts.frame_count,
        0,
        {1 / rate},
    )
    assert abs(seconds - facts.seconds) < 1 / rate
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def to_srgb(level: int) -> int:
    """Convert a shade of a BT.709 clip to the shade in a picture."""
    return round((level - 16) * 255 / 219)


def get_shades(data: bytes) -> list[int]:
    """Get the shades that each fill at least a hundredth of a picture, in ascending order."""
    histogram = Image.open(io.BytesIO(data)).convert("L").histogram()
    return [shade for shade in range(1, 255) if sum(histogram[shade - 1 : shade + 2]) > sum(histogram) / 100]


def shows(data: bytes, *levels: int) -> bool:
    """Whether a contact sheet shows frames of exactly these shades."""
    found = get_shades(data)
    expected = [to_srgb(level) for level in levels]
    is_there = all(any(abs(shade - each) < 3 for shade in found) for each in expected)
    # The background is dark.
    return is_there and all(shade < 25 or any(abs(shade - each) < 5 for each in expected) for shade in found)


# Facts


def test_facts_of_clips(tmp_path: Path) -> None:
    plain = write_shades(tmp_path / "a.mp4", LEVELS, 30, sound=True)
    assert probe(str(plain), PIXELS) == ClipFacts((96, 64), 0.3, 9, 30.0, "h264", is_hdr=False, has_sound=True)
    upright = write_shades(tmp_path / "b.mp4", LEVELS, rotation=90)
    assert probe(str(upright), PIXELS).size == (64, 96)
    hdr = probe(str(MEDIA / "9x16-5s-hdr.mp4"), PIXELS)
    assert hdr == ClipFacts((216, 384), 121 / 24, 121, 24.0, "hevc", is_hdr=True, has_sound=False)


def test_facts_of_a_clip_with_irregular_frames(tmp_path: Path) -> None:
    clip = write_shades(tmp_path / "clip.mp4", LEVELS[:4], times=[0, 40, 500, 1000])
    facts = probe(str(clip), PIXELS)
    assert (facts.frame_count, facts.seconds >= 1.0, facts.seconds < 1.6) == (4, True, True)


# Contact sheets


@pytest.mark.parametrize(
    ("frames", "numbers"),
    [(1, [4]), (2, [0, 8]), (3, [0, 4, 8]), (5, [0, 2, 4, 6, 8]), (9, range(9)), (12, range(9))],
)
def test_frames_of_a_contact_sheet(tmp_path: Path, frames: int, numbers: list[int]) -> None:
    """They include the first and the last frame. A clip may have fewer frames."""
    clip = write_shades(tmp_path / "clip.mp4", LEVELS, bf="3")
    sheet = make_sheet([SheetRow(str(clip))], frames, PIXELS)
    assert sheet.times == (tuple(number / 24 for number in numbers),)
    assert shows(sheet.data, *(LEVELS[number] for number in numbers))


@pytest.mark.parametrize("keyframes", [1, 4, 250])
def test_contact_sheet_at_any_distance_of_keyframes(tmp_path: Path, keyframes: int) -> None:
    levels = [200 if number in (0, 33, 66, 99) else 60 for number in range(100)]
    clip = write_shades(tmp_path / "clip.mp4", levels, g=str(keyframes), bf="2")
    assert shows(make_sheet([SheetRow(str(clip))], 4, PIXELS).data, 200)


@pytest.mark.sample(7)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("frames", [1, 6, 12])
def test_contact_sheet_of_each_aspect_ratio(shape: str, frames: int) -> None:
    sheet = make_sheet([SheetRow(str(MEDIA / f"{shape}-10s-sdr.mp4"))], frames, PIXELS)
    image = Image.open(io.BytesIO(sheet.data))
    assert (image.format, max(image.size) <= 1568, len(sheet.data) <= LARGEST_SHEET) == ("JPEG", True, True)


def test_contact_sheet_of_several_clips(tmp_path: Path) -> None:
    dark = write_shades(tmp_path / "a.mp4", [70, 80, 90, 100])
    light = write_shades(tmp_path / "b.mp4", [170, 180, 190, 200], 8, (64, 96))
    rows = [SheetRow(str(dark), "Take 1"), SheetRow(str(light), "Take 2, whose label is much longer than the picture")]
    sheet = make_sheet(rows, 2, PIXELS)
    assert sheet.times == ((0.0, 3 / 24), (0.0, 3 / 8))
    assert shows(sheet.data, 70, 100, 170, 200)
    without_labels = make_sheet([SheetRow(row.path) for row in rows], 2, PIXELS)
    assert Image.open(io.BytesIO(sheet.data)).height > Image.open(io.BytesIO(without_labels.data)).height


def test_contact_sheet_that_is_hard_to_compress_is_small(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [noise((640, 360), number) for number in range(12)])
    assert len(make_sheet([SheetRow(str(clip))], 12, PIXELS).data) <= LARGEST_SHEET


async def test_contact_sheet_error_names_the_damaged_clip(tmp_path: Path) -> None:
    clip = write_shades(tmp_path / "a.mp4", LEVELS)
    (tmp_path / "b.mp4").write_bytes(clip.read_bytes()[:-500])
    with pytest.raises(ClipError, match="damaged or cut short") as error:
        await Decoder().make_sheet([SheetRow(str(clip)), SheetRow(str(tmp_path / "b.mp4"))], 4)
    assert error.value.index == 1


# HDR


def expect_srgb(code: int) -> float:
    """Compute the shade of a gray in PQ, by SMPTE ST 2084 and the mapping that `media/clips.py` describes."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    signal = ((code - 64) / 876) ** (1 / m2)
    nits = 10_000 * (max(signal - c1, 0) / (c2 - c3 * signal)) ** (1 / m1)
    # White has 203 cd/m², and 1000 is the maximum. Highlights are compressed.
    light = min(nits, 1000) / 203
    if light > 0.6:
        light = 0.6 + 0.4 * (1 - exp((0.6 - light) / 0.4))
    shade: float = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return 255 * shade


def test_ramp_in_pq_has_the_expected_shades(tmp_path: Path) -> None:
    codes = range(64, 941, 28)
    clip = write_clip(tmp_path / "clip.mp4", [steps(codes, 16)] * 8, transfer=PQ)
    still = Image.open(io.BytesIO(make_still(str(clip), PIXELS)))
    assert still.size == (16 * len(codes), 64)
    for number, code in enumerate(codes):
        stripe = still.crop((16 * number + 4, 8, 16 * number + 12, 56))
        assert ImageStat.Stat(stripe).mean == pytest.approx([expect_srgb(code)] * 3, abs=3)
    # 58 % of the signal is white; in between, shades ascend from black to almost white.
    assert (expect_srgb(64), 215 < expect_srgb(round(64 + 0.58 * 876)) < 250) == (0.0, True)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_shades_ascend_on_contact_sheets_in_hdr(tmp_path: Path, transfer: int) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [steps(range(64, 941, 28), 16)] * 8, transfer=transfer)
    image = Image.open(io.BytesIO(make_sheet([SheetRow(str(clip))], 1, PIXELS).data)).convert("L")
    line = [image.getpixel((16 + 16 * number, 40)) for number in range(32)]
    assert line == sorted(line)  # type: ignore[type-var]
    assert (line[0] < 5, line[-1] > 240) == (True, True)  # type: ignore[operator]


# Stills


@pytest.mark.parametrize(
    ("levels", "shown"), [([100, 200], 100), ([16, 17, 18, 120, 200], 120), ([16, 22, 18], 22)], ids=str
)
def test_still_is_not_black(tmp_path: Path, levels: list[int], shown: int) -> None:
    data = make_still(str(write_shades(tmp_path / "clip.mp4", levels)), PIXELS)
    assert ImageStat.Stat(Image.open(io.BytesIO(data))).mean == pytest.approx([to_srgb(shown)] * 3, abs=2)


def test_still_is_small(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [noise((1920, 1080))], preset="ultrafast")
    data = make_still(str(clip), PIXELS)
    assert (len(data) <= LARGEST_THUMBNAIL, max(Image.open(io.BytesIO(data)).size) <= 768) == (True, True)


# Previews


@pytest.mark.parametrize("shape", ["16x9", "3x4"])
async def test_preview_of_hdr_looks_like_sdr(tmp_path: Path, shape: str) -> None:
    preview = tmp_path / "preview.mp4"
    preview.write_bytes(await Decoder().make_preview(str(MEDIA / f"{shape}-5s-hdr.mp4")))
    facts = probe(str(preview), PIXELS)
    assert_regular(preview, facts)
    original = read_frames(MEDIA / f"{shape}-5s-sdr.mp4")
    assert (facts.codec, facts.is_hdr, facts.frame_count) == ("h264", False, len(original))
    for number in (0, 60, 120):
        frame = read_frames(preview)[number]
        assert (frame.format.name, frame.color_trc, frame.colorspace) == ("yuv420p", 1, 1)
        pictures = [each.to_image() for each in (frame, original[number])]  # type: ignore[no-untyped-call]
        assert max(ImageStat.Stat(ImageChops.difference(*pictures)).mean) < 6


def test_preview_is_small(tmp_path: Path) -> None:
    clip = write_shades(tmp_path / "clip.mp4", LEVELS * 4, 60, (480, 720))
    make_preview(str(clip), str(tmp_path / "preview.mp4"), PIXELS)
    facts = probe(str(tmp_path / "preview.mp4"), PIXELS)
    assert (facts.size, facts.frame_rate, facts.frame_count) == ((428, 640), 30.0, 18)


def test_preview_that_is_hard_to_compress_is_small(tmp_path: Path) -> None:
    """The result of the first attempt is too large."""
    clip = write_clip(tmp_path / "clip.mp4", [noise((240, 360), number) for number in range(60)], qp="24")
    make_preview(str(clip), str(tmp_path / "preview.mp4"), PIXELS)
    assert (tmp_path / "preview.mp4").stat().st_size <= LARGEST_PREVIEW


# Films without encoding


@pytest.mark.parametrize("shape", SHAPES)
def test_clips_that_match_are_copied(tmp_path: Path, shape: str) -> None:
    clips = [MEDIA / f"{shape}-{seconds}s-sdr.mp4" for seconds in (5, 10, 5)]
    joined = join_here(tmp_path / "film.mp4", *clips)
    assert (joined.is_reencoded, joined.facts.frame_count) == (False, 121 + 241 + 121)
    originals: list[bytes] = []
    for clip in clips:
        originals += [bytes(frame.planes[0]) for frame in read_frames(clip)]
    assert [bytes(frame.planes[0]) for frame in read_frames(tmp_path / "film.mp4")] == originals


@pytest.mark.parametrize("rate", [24, 30, Fraction(30000, 1001)], ids=str)
@pytest.mark.parametrize("reordered", [0, 3])
def test_copied_clips_at_each_frame_rate(tmp_path: Path, rate: float, reordered: int) -> None:
    clips = [write_shades(tmp_path / f"{n}.mp4", [*LEVELS, 100 + n], rate, bf=str(reordered)) for n in range(3)]
    joined = join_here(tmp_path / "film.mp4", *clips)
    assert (joined.is_reencoded, joined.facts.frame_rate) == (False, float(rate))
    assert read_shades(tmp_path / "film.mp4") == [*LEVELS, 100, *LEVELS, 101, *LEVELS, 102]


def test_copied_hdr_stays_hdr(tmp_path: Path) -> None:
    joined = join_here(tmp_path / "film.mp4", *[MEDIA / "16x9-5s-hdr.mp4"] * 2)
    assert (joined.is_reencoded, joined.facts.is_hdr, joined.facts.codec) == (False, True, "hevc")
    assert_hdr10(tmp_path / "film.mp4", PQ)


def assert_hdr10(path: Path, transfer: int) -> None:
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.codec_tag, context.profile, context.pix_fmt) == ("hvc1", "Main 10", "yuv420p10le")
        assert (context.color_trc, context.color_primaries, context.colorspace) == (transfer, 9, 9)
    # System players read the colors from there.
    assert b"colrnclx" + struct.pack(">HHH", 9, transfer, 9) in path.read_bytes()


# Films that are re-encoded


def test_clips_of_different_frame_rates(tmp_path: Path) -> None:
    slow = write_shades(tmp_path / "24.mp4", [50] * 48, 24)
    fast = write_shades(tmp_path / "30.mp4", range(60, 180, 2), 30)
    joined = join_here(tmp_path / "film.mp4", slow, fast)
    assert (joined.is_reencoded, joined.facts.frame_rate, joined.facts.seconds) == (True, 24.0, 4.0)
    expected = [60 + 2 * round(number * 30 / 24) for number in range(48)]
    # The next or previous frame is equally close.
    assert read_shades(tmp_path / "film.mp4")[48:] == pytest.approx(expected, abs=4)
    joined = join_here(tmp_path / "film2.mp4", fast, slow)
    assert (joined.facts.frame_count, joined.facts.frame_rate) == (120, 30.0)


def test_irregular_frames_become_regular(tmp_path: Path) -> None:
    plain = write_shades(tmp_path / "a.mp4", [50] * 24)
    irregular = write_shades(tmp_path / "b.mp4", [100, 150, 200], times=[0, 250, 1000])
    join_here(tmp_path / "film.mp4", plain, irregular)
    film = read_shades(tmp_path / "film.mp4")
    assert film[:48] == pytest.approx([50] * 24 + [100] * 6 + [150] * 18, abs=2)
    assert film[48:] == pytest.approx([200] * len(film[48:]), abs=2)


def test_other_shapes_are_padded_to_the_first_one(tmp_path: Path) -> None:
    wide = write_shades(tmp_path / "wide.mp4", [180] * 4, size=(128, 64))
    tall = write_shades(tmp_path / "tall.mp4", [180] * 4, size=(192, 384))
    joined = join_here(tmp_path / "film.mp4", wide, tall)
    assert (joined.is_reencoded, joined.facts.size, joined.facts.frame_count) == (True, (128, 64), 8)
    frame = read_frames(tmp_path / "film.mp4")[6].to_image().convert("L")  # type: ignore[no-untyped-call]
    # It is scaled to a width of 32.
    assert [frame.getpixel((x, 32)) for x in (8, 42, 54, 64, 74, 86, 120)] == pytest.approx(
        [0, 0, to_srgb(180), to_srgb(180), to_srgb(180), 0, 0], abs=4
    )


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_clips_become_upright(tmp_path: Path, rotation: int) -> None:
    halves = gray(60)
    plane = halves.planes[0]
    plane.update(bytes([200]) * (plane.buffer_size // 2) + bytes([60]) * (plane.buffer_size // 2))
    clip = write_clip(tmp_path / "clip.mp4", [halves] * 2, rotation=rotation)
    joined = join_here(tmp_path / "film.mp4", clip, clip)
    assert joined.is_reencoded
    film = read_frames(tmp_path / "film.mp4")[0].to_image()  # type: ignore[no-untyped-call]
    still = Image.open(io.BytesIO(make_still(str(clip), PIXELS)))
    # The light half, which is stored on top, is turned counterclockwise.
    light = {90: (8, 48), 180: (48, 56), 270: (56, 48)}[rotation]
    for picture in (film.convert("L"), still.convert("L")):
        assert picture.size == ((96, 64) if rotation == 180 else (64, 96))
        x, y = light
        opposite = (picture.width - x, picture.height - y)
        assert (picture.getpixel(light) > 200, picture.getpixel(opposite) < 60) == (True, True)  # type: ignore[operator]


@pytest.mark.sample(3)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_aspect_ratio_can_be_reencoded(tmp_path: Path, shape: str) -> None:
    clips = [MEDIA / f"{shape}-5s-sdr.mp4", MEDIA / "16x9-5s-sdr.mp4", MEDIA / f"{shape}-5s-sdr.mp4"]
    joined = join_here(tmp_path / "film.mp4", *clips, crossfade=0.5)
    size = probe(str(clips[0]), PIXELS).size
    assert (joined.is_reencoded, joined.facts.size, joined.facts.frame_count) == (True, size, 3 * 121 - 2 * 12)
    # The end of the film looks like that of its last clip.
    pictures = [read_frames(path)[-1].to_image() for path in (tmp_path / "film.mp4", clips[2])]  # type: ignore[no-untyped-call]
    assert max(ImageStat.Stat(ImageChops.difference(*pictures)).mean) < 3


def test_crossfades(tmp_path: Path) -> None:
    clips = [write_shades(tmp_path / f"{level}.mp4", [level] * 24) for level in (60, 180, 100)]
    joined = join_here(tmp_path / "film.mp4", *clips, crossfade=0.5)
    assert (joined.is_reencoded, joined.facts.frame_count) == (True, 3 * 24 - 2 * 12)
    up = [60 + 120 * number / 13 for number in range(1, 13)]
    down = [180 - 80 * number / 13 for number in range(1, 13)]
    assert read_shades(tmp_path / "film.mp4") == pytest.approx([60] * 12 + up + down + [100] * 12, abs=3)


def test_crossfades_and_cuts_in_one_film(tmp_path: Path) -> None:
    clips = [str(write_shades(tmp_path / f"{level}.mp4", [level] * 24)) for level in (60, 180, 100)]
    joined = join(JoinPlan(tuple(clips), str(tmp_path / "film.mp4"), (0.0, 0.25)), PIXELS, lambda _: None)
    assert joined.facts.frame_count == 3 * 24 - 6
    assert read_shades(tmp_path / "film.mp4")[20:28] == pytest.approx([60] * 4 + [180] * 4, abs=2)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_reencoded_hdr_stays_hdr(tmp_path: Path, transfer: int) -> None:
    first = write_clip(tmp_path / "a.mp4", [gray(300, pixel_format="yuv420p10le")] * 12, transfer=transfer)
    second = write_clip(tmp_path / "b.mp4", [gray(700, pixel_format="yuv420p10le")] * 12, transfer=transfer)
    joined = join_here(tmp_path / "film.mp4", first, second, crossfade=1 / 24)
    assert (joined.is_reencoded, joined.facts.is_hdr, joined.facts.frame_count) == (True, True, 23)
    assert_hdr10(tmp_path / "film.mp4", transfer)
    levels = [int.from_bytes(bytes(frame.planes[0])[:2], "little") for frame in read_frames(tmp_path / "film.mp4")]
    assert levels == pytest.approx([300] * 11 + [500] + [700] * 11, abs=8)


# Clips that are rejected


def test_incompatible_clips_are_rejected(tmp_path: Path) -> None:
    sdr = write_shades(tmp_path / "sdr.mp4", LEVELS)
    pq, hlg = (write_clip(tmp_path / f"{t}.mp4", [steps([300], 64)] * 9, transfer=t) for t in (PQ, HLG))
    for clips, reason in [((sdr, pq), "only one of them is in HDR"), ((pq, hlg), "one is in PQ and the other in HLG")]:
        with pytest.raises(ClipError, match=reason) as error:
            join_here(tmp_path / "film.mp4", *clips)
        assert error.value.index == 1
    with pytest.raises(ClipError, match="shorter than its crossfades") as error:
        join_here(tmp_path / "film.mp4", sdr, sdr, sdr, crossfade=0.25)
    assert error.value.index == 1
    assert not (tmp_path / "film.mp4").exists()


def replace_in(data: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    """Replace bytes at an offset from the name of an MP4 box."""
    start = data.index(box) + offset
    return data[:start] + value + data[start + len(value) :]


def build_damaged_file(name: str, path: Path) -> bytes:
    """Build a file that is not a complete clip, or a clip with odd values."""
    whole = write_shades(path / "whole.mp4", LEVELS * 20).read_bytes()
    index = whole.index(b"moov") - 4
    playlist = f"#EXTM3U\n#EXTINF:10,\n{(path / 'whole.mp4').as_uri()}\n#EXT-X-ENDLIST\n"
    files = {
        "empty": b"",
        "text": b"swordfish",
        "picture": make_still(str(path / "whole.mp4"), PIXELS),
        "playlist": playlist.encode(),
        "list of files": b"ffconcat version 1.0\nfile whole.mp4\n",
        "no index": whole[:index],
        "half an index": whole[: index + 400],
        "half of the frames": whole[:index][: index // 2] + whole[index:],
        "zeros for frames": whole[:60] + bytes(index - 60) + whole[index:],
        "millions of frames": replace_in(whole, b"stsz", 12, struct.pack(">I", 90_000_000)),
        "millions of equal frames": replace_in(whole, b"stsz", 8, struct.pack(">II", 10, 90_000_000)),
        "years": replace_in(whole, b"stts", 8, struct.pack(">III", 1, 180, 0x7FFFFFFF)),
        "no frame rate": replace_in(whole, b"stts", 8, struct.pack(">III", 1, 180, 0)),
        "a jump in time": replace_in(whole, b"stts", 8, struct.pack(">IIIII", 2, 100, 512, 80, 900_000_000)),
    }
    if name == "huge":
        return write_clip(path / "huge.mp4", [gray(90, (6000, 3000))]).read_bytes()
    return files[name]


DAMAGES = ["empty", "text", "picture", "playlist", "list of files", "no index", "half an index", "half of the frames"]
DAMAGES += ["zeros for frames", "millions of frames", "millions of equal frames", "years", "huge"]


@pytest.mark.parametrize("name", DAMAGES)
async def test_damaged_file_is_rejected(tmp_path: Path, name: str) -> None:
    good, bad, target = write_shades(tmp_path / "good.mp4", LEVELS), tmp_path / "bad.mp4", tmp_path / "film.mp4"
    bad.write_bytes(build_damaged_file(name, tmp_path))
    decoder = Decoder()
    for work in (decoder.probe, decoder.make_preview):
        with pytest.raises(ImageError, match=r"damaged|not an MP4|million pixels|claims|has no") as refusal:
            await work(str(bad))
        assert not refusal.value.retryable
    with pytest.raises(ClipError) as error:
        await decoder.join(JoinPlan((str(good), str(bad)), str(target), (0.0,)), ignore)
    assert (error.value.index, error.value.reason, target.exists()) == (1, refusal.value.reason, False)


async def test_file_that_ends_between_two_frames_is_rejected(tmp_path: Path) -> None:
    """Its index comes first and lists more frames."""
    clip = write_shades(tmp_path / "clip.mp4", LEVELS)
    join_here(tmp_path / "film.mp4", clip, clip)
    with av.open(str(tmp_path / "film.mp4")) as film:
        begins = [packet.pos for packet in film.demux(video=0) if packet.pos is not None]
    bad = tmp_path / "bad.mp4"
    bad.write_bytes((tmp_path / "film.mp4").read_bytes()[: begins[12]])
    with pytest.raises(ImageError, match="damaged or cut short"):
        await Decoder().probe(str(bad))


@pytest.mark.parametrize("name", ["no frame rate", "a jump in time", "half of the frames", "zeros for frames"])
async def test_still_of_an_odd_file_is_a_picture_or_an_error(tmp_path: Path, name: str) -> None:
    """The first frame may be readable."""
    (tmp_path / "clip.mp4").write_bytes(build_damaged_file(name, tmp_path))
    with suppress(ImageError):
        assert (await Decoder().make_still(str(tmp_path / "clip.mp4"))).startswith(b"\xff\xd8")


@pytest.mark.parametrize("name", ["no frame rate", "a jump in time"])
async def test_odd_times_do_not_make_endless_films(tmp_path: Path, name: str) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(build_damaged_file(name, tmp_path))
    try:
        joined = await Decoder().join(JoinPlan((str(clip),) * 2, str(tmp_path / "film.mp4"), (0.0,)), ignore)
    except ImageError:
        assert not (tmp_path / "film.mp4").exists()
    else:
        assert joined.facts.frame_count == 2 * 180


async def ignore(share: float) -> None:
    """Ignore the progress."""


# Joining in a separate process


async def test_progress_ascends(tmp_path: Path) -> None:
    shares: list[float] = []

    async def record(share: float) -> None:
        shares.append(share)

    await Decoder().join(long_film(tmp_path), record)
    assert (len(shares) > 1, shares == sorted(shares), shares[0] >= 0, shares[-1] <= 1) == (True, True, True, True)


def long_film(path: Path) -> JoinPlan:
    """Plan a film that takes several seconds to encode."""
    clips = [write_clip(path / f"{n}.mp4", [noise((640, 360), n)] * 60, preset="ultrafast") for n in range(2)]
    return JoinPlan(tuple(map(str, clips)), str(path / "film.mp4"), (0.5,))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc, which only Linux has")
async def test_cancelled_film_leaves_nothing(tmp_path: Path) -> None:
    plan, before = long_film(tmp_path), list_children(os.getpid())
    with anyio.CancelScope() as scope:

        async def cancel(share: float) -> None:
            if share > 0:
                scope.cancel()
                await anyio.lowlevel.checkpoint()

        await Decoder().join(plan, cancel)
    assert scope.cancelled_caught
    assert (Path(plan.target).exists(), list_children(os.getpid()) - before) == (False, set())


async def test_existing_file_is_not_touched(tmp_path: Path) -> None:
    clip = write_shades(tmp_path / "clip.mp4", LEVELS)
    target = tmp_path / "film.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        await Decoder().join(JoinPlan((str(clip),) * 2, str(target), (0.0,)), ignore)
    assert target.read_bytes() == b"precious"
    with pytest.raises(FileNotFoundError):
        await Decoder().join(JoinPlan((str(clip),) * 2, str(tmp_path / "nowhere" / "film.mp4"), (0.0,)), ignore)


@contextmanager
def limit_file_size(limit: int) -> Generator[None]:
    """Limit the size of files that this process and its children can write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("crossfade", [0.0, 0.5])
async def test_film_that_cannot_be_written_leaves_no_file(tmp_path: Path, crossfade: float) -> None:
    clip = str(MEDIA / "16x9-5s-sdr.mp4")
    with limit_file_size(20_000), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        await Decoder().join(JoinPlan((clip, clip), str(tmp_path / "film.mp4"), (crossfade,)), ignore)
    assert not (tmp_path / "film.mp4").exists()


async def test_reading_a_file_has_a_time_limit(tmp_path: Path) -> None:
    clip = write_shades(tmp_path / "clip.mp4", LEVELS)
    limits = replace(VIDEO, seconds=0.001)
    with pytest.raises(ImageError, match=r"needs more than 120 seconds or 1.5 GB of memory to decode$"):
        await Decoder(video=limits).probe(str(clip))
