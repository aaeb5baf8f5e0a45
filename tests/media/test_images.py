"""Images as the API accepts them, checked by decoding the result and comparing its colors."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image, ImageCms
from PIL.Image import Transpose
from pillow_heif import register_heif_opener

from luma_mcp.media.images import LARGEST_THUMBNAIL, LARGEST_UPLOAD, NormalizedImage, make_thumbnail, normalize
from luma_mcp.media.sources import ImageError

register_heif_opener()

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
UPRIGHT = (RED, GREEN, BLUE, YELLOW)
"""Top left, top right, bottom left, bottom right."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
# fmt: off
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_270,
}
# fmt: on
"""How an upright picture is stored in a file with each EXIF orientation."""
# A profile by which red is blue: whoever drops or ignores it shows red.
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"----").replace(b"bXYZ", b"rXYZ").replace(b"----", b"bXYZ")
# An orientation beside a tag that Pillow reads but cannot write.
ODD_EXIF = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHI4sHHI4sI", 2, 0x112, 3, 1, b"\6", 0x100, 2, 1, b"a", 0)


# In production, warnings of Pillow are ignored. As errors, they would be another reason for a refusal.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")


def quarters(mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", (64, 32))
    for place, color in zip(((0, 0), (32, 0), (0, 16), (32, 16)), UPRIGHT, strict=True):
        image.paste(color, (*place, place[0] + 32, place[1] + 16))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def noise(mode: str, side: int) -> Image.Image:
    return Image.frombytes(mode, (side, side), os.urandom(side * side * len(mode)))


def corners(image: Image.Image) -> list[str]:
    plain, (w, h) = image.convert("RGB"), (image.width, image.height)
    return [named(plain.getpixel(p)) for p in ((4, 4), (w - 5, 4), (4, h - 5), (w - 5, h - 5))]


def named(pixel: Any) -> str:
    """The channels that are on. A value in between is an error."""
    assert all(value < 40 or value > 215 for value in pixel), pixel
    return "".join(name for name, value in zip("rgb", pixel, strict=True) if value > 127)


def oriented(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    return encoded(
        quarters().transpose(TURNS[orientation]), kind, exif=exif if kind == "TIFF" else exif.tobytes(), quality=95
    )


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_turned_picture_becomes_upright(kind: str, orientation: int) -> None:
    picture = normalize(oriented(kind, orientation))
    result = decoded(picture.data)
    assert result.size == (64, 32)
    assert corners(result) == ["r", "g", "b", "rg"]
    assert result.getexif().get(0x112, 1) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 0, 1, 9], ids=repr)
def test_an_upright_picture_is_unchanged(kind: str, orientation: int | None) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x112] = orientation
    data = encoded(quarters(), kind, exif=exif)
    assert normalize(data) == NormalizedImage(data, f"image/{kind.lower()}")


def test_a_jpeg_with_a_second_picture_is_unchanged() -> None:
    data = encoded(quarters(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 32))])
    assert normalize(data) == NormalizedImage(data, "image/jpeg")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "AVIF", "HEIF"])
def test_other_formats_are_converted(kind: str) -> None:
    picture = normalize(encoded(quarters(), kind))
    assert picture.media_type == "image/jpeg"
    assert decoded(picture.data).format == "JPEG"
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]
    assert picture.changes == (f"converted from {kind}",)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(kind: str) -> None:
    data = encoded(quarters(), kind, save_all=True, append_images=[Image.new("RGB", (64, 32), "white")])
    picture = normalize(data)
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]
    assert not getattr(decoded(picture.data), "is_animated", False)
    assert "first frame only" in picture.changes


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(kind: str) -> None:
    gradient = Image.linear_gradient("L").convert("I").point(lambda v: v * 257).convert("I;16")
    result = decoded(normalize(encoded(gradient, kind)).data).convert("L")
    assert [result.getpixel((9, y)) for y in (0, 64, 128, 255)] == pytest.approx([0, 64, 128, 255], abs=2)


def test_fractions_are_scaled_to_8_bits() -> None:
    gradient = Image.linear_gradient("L").convert("F").point(lambda v: v * (1 / 255))
    result = decoded(normalize(encoded(gradient, "TIFF")).data).convert("L")
    assert [result.getpixel((9, y)) for y in (0, 64, 128, 255)] == pytest.approx([0, 64, 128, 255], abs=3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colors(kind: str) -> None:
    picture = normalize(encoded(quarters("CMYK"), kind, quality=95))
    assert decoded(picture.data).mode == "RGB"
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]


def test_a_transparent_palette_stays_transparent() -> None:
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([*BLUE, *RED])
    palette.paste(0, (0, 0, 16, 32))
    result = decoded(normalize(encoded(palette, "GIF", transparency=0)).data).convert("RGBA")
    assert result.getpixel((28, 4)) == (*RED, 255)
    assert result.getchannel("A").getpixel((4, 4)) == 0


@pytest.mark.parametrize(("kind", "mode"), [("HEIF", "RGB"), ("TIFF", "RGB"), ("TIFF", "P"), ("AVIF", "RGB")], ids=repr)
def test_a_color_profile_is_applied(kind: str, mode: str) -> None:
    red = Image.new("RGB", (16, 16), RED).convert(mode)
    assert set(corners(decoded(normalize(encoded(red, kind, icc_profile=SWAPPED)).data))) == {"b"}


def test_a_transparent_thumbnail_has_its_profile_applied() -> None:
    red = Image.new("RGBA", (16, 16), RED)
    assert set(corners(decoded(make_thumbnail(encoded(red, "PNG", icc_profile=SWAPPED))))) == {"b"}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_broken_profile_is_ignored(kind: str) -> None:
    data = encoded(quarters(), kind, icc_profile=b"swordfish" * 30)
    assert corners(decoded(normalize(data).data)) == ["r", "g", "b", "rg"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_picture_of_more_than_20_mb_becomes_smaller(mode: str) -> None:
    data = encoded(noise(mode, 2700), "PNG")
    assert len(data) > LARGEST_UPLOAD
    picture = normalize(data)
    assert len(picture.data) <= LARGEST_UPLOAD
    assert decoded(picture.data).size == (2700, 2700)
    assert picture.changes


CLAIMS = {
    "PNG": (b"IHDR", 4, ">II"),
    "JPEG": (b"\xff\xc0", 5, ">HH"),
    "GIF": (b"GIF8", 6, "<HH"),
    "WEBP": (b"\x9d\x01\x2a", 3, "<HH"),
    "BMP": (b"BM", 18, "<II"),
    "HEIF": (b"ispe", 8, ">II"),
}
"""Where each header has the size: a marker, the offset from it, and the encoding."""


def claiming(kind: str, side: int) -> bytes:
    """A tiny picture whose header claims a size."""
    data = bytearray(encoded(Image.new("RGB", (64, 64)), kind))
    if kind == "TIFF":
        struct.pack_into("<HHIIHHII", data, 10, 256, 4, 1, side, 257, 4, 1, side)
    else:
        mark, offset, form = CLAIMS[kind]
        struct.pack_into(form, data, data.index(mark) + offset, side, side)
    if kind == "PNG":
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize("side", [14_600, 16_383], ids=repr)
@pytest.mark.parametrize("kind", [*CLAIMS, "TIFF"])
def test_a_bomb_is_refused_by_its_header(kind: str, side: int) -> None:
    with pytest.raises(ImageError, match="million pixels"):
        normalize(claiming(kind, side))
    with pytest.raises(ImageError, match="million pixels"):
        make_thumbnail(claiming(kind, side))


def test_a_complete_bomb_is_refused() -> None:
    with pytest.raises(ImageError, match="million pixels"):
        normalize(encoded(Image.new("1", (20_000, 20_000)), "PNG"))


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_that_is_cut_short(kind: str, share: float) -> None:
    data = encoded(noise("RGB", 64), kind)
    with pytest.raises(ImageError, match="damaged or cut short"):
        normalize(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><title>swordfish", "web page"),
        (b"<HTML>swordfish", "web page"),
        (b"%PDF-1.7 swordfish", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>swordfish</svg>", "SVG"),
        (b"<?xml version='1.0'?><svg>swordfish</svg>", "SVG"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2swordfish", "video"),
        (b"\x1aE\xdf\xa3swordfish", "video"),
        (b"swordfish", "JPEG, PNG, WebP, HEIC"),
        (b"\xff\xd8\xff\xe0swordfish", ""),
        (b"\x89PNG\r\n\x1a\nswordfish", ""),
        (random.Random(1).randbytes(5000), "JPEG, PNG, WebP, HEIC"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_other_files_get_a_hint_and_are_not_quoted(data: bytes, hint: str) -> None:
    for make in (normalize, make_thumbnail):
        with pytest.raises(ImageError) as refused:
            make(data)
        assert hint in str(refused.value)
        assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_damaged_metadata_is_ignored(kind: str) -> None:
    data = encoded(quarters(), kind, exif=b"Exif\0\0nonsense")
    assert corners(decoded(normalize(data).data)) == ["r", "g", "b", "rg"]
    assert corners(decoded(make_thumbnail(data))) == ["r", "g", "b", "rg"]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_an_orientation_beside_damaged_metadata(kind: str) -> None:
    picture = normalize(encoded(quarters().transpose(TURNS[6]), kind, exif=ODD_EXIF, quality=95))
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]


@pytest.mark.parametrize("tail", [b"!\xf9\x01\0\0;", b",", b",\0\0\0\0\xff\xff\xff\xff\0", b"!\xf9\2\0\0\0;"], ids=repr)
def test_garbage_after_the_first_frame(tail: bytes) -> None:
    outcome = media_type_or_reason(encoded(quarters(), "GIF")[:-1] + tail)
    assert outcome == "image/jpeg" or "damaged" in outcome


def media_type_or_reason(data: bytes) -> str:
    try:
        return normalize(data).media_type
    except ImageError as refused:
        return refused.reason


def test_a_long_comment_is_dropped() -> None:
    picture = normalize(encoded(quarters(), "GIF", comment=b"swordfish" * 10_000))
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]
    assert b"swordfish" not in picture.data


@pytest.mark.parametrize("size", [(70_000, 4), (4, 70_000)], ids=repr)
def test_a_picture_longer_than_a_jpeg_can_be(size: tuple[int, int]) -> None:
    assert max(decoded(normalize(encoded(Image.new("RGB", size, RED), "BMP")).data).size) <= 65_500


def test_a_converted_picture_is_scaled_to_16_megapixels() -> None:
    picture = normalize(encoded(Image.new("L", (5000, 4000)), "TIFF"))
    assert decoded(picture.data).size == (4472, 3577)
    assert picture.changes == ("converted from TIFF", "scaled to 4472x3577")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_thumbnail_is_a_small_jpeg(mode: str) -> None:
    small = make_thumbnail(encoded(noise(mode, 2000), "PNG"))
    assert decoded(small).format == "JPEG"
    assert len(small) <= LARGEST_THUMBNAIL


def test_a_thumbnail_is_upright() -> None:
    assert corners(decoded(make_thumbnail(oriented("HEIF", 6)))) == ["r", "g", "b", "rg"]


def test_a_small_jpeg_is_its_own_thumbnail() -> None:
    data = encoded(quarters(), "JPEG")
    assert make_thumbnail(data) == data


def test_threads_leave_the_warning_filters_alone() -> None:
    # Of different sizes, so that some threads begin before and end after others.
    pictures = [encoded(noise("RGB", side), "TIFF") for side in (8, 64, 256, 512)]
    # The first one imports Pillow.
    normalize(pictures[0])
    before = list(warnings.filters)
    start = threading.Barrier(8)

    def decode(number: int) -> None:
        start.wait(30)
        for turn in range(8):
            normalize(pictures[(number + turn) % 4])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, range(8)))
    assert list(warnings.filters) == before


def test_pillow_writes_no_warnings() -> None:
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    program = "import sys; from luma_mcp.media.images import normalize; normalize(sys.stdin.buffer.read())"
    command = [sys.executable, "-W", "always", "-c", program]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=True)
    assert done.stderr == b""
