"""Pictures as the API takes them: proved by decoding what is made and looking at its colours."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms
from PIL.Image import Transpose
from pillow_heif import register_heif_opener

from luma_mcp.media.images import LARGEST_THUMBNAIL, LARGEST_UPLOAD, Picture, prepare, thumbnail
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
"""How an upright picture lies in the file for it to be turned upright by each EXIF orientation."""
# A profile by which red is blue: whoever leaves it away, or does not apply it, shows red.
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"----").replace(b"bXYZ", b"rXYZ").replace(b"----", b"bXYZ")
# An orientation to act on, next to a tag that Pillow reads but cannot write again.
ODD_EXIF = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHI4sHHI4sI", 2, 0x112, 3, 1, b"\6", 0x100, 2, 1, b"a", 0)


def quarters(mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", (64, 32))
    for place, colour in zip(((0, 0), (32, 0), (0, 16), (32, 16)), UPRIGHT, strict=True):
        image.paste(colour, (*place, place[0] + 32, place[1] + 16))
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
    """The channels that are on, and an error for what is between: no colour is nearly right."""
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
def test_a_turned_picture_ends_upright(kind: str, orientation: int) -> None:
    picture = prepare(oriented(kind, orientation))
    result = decoded(picture.data)
    assert result.size == (64, 32)
    assert corners(result) == ["r", "g", "b", "rg"]
    assert result.getexif().get(0x112, 1) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 0, 1, 9], ids=repr)
def test_a_picture_that_lies_right_is_sent_byte_for_byte(kind: str, orientation: int | None) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x112] = orientation
    data = encoded(quarters(), kind, exif=exif)
    assert prepare(data) == Picture(data, f"image/{kind.lower()}")


def test_a_phone_s_jpeg_with_a_second_picture_behind_is_sent_byte_for_byte() -> None:
    data = encoded(quarters(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 32))])
    assert prepare(data) == Picture(data, "image/jpeg")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "AVIF", "HEIF"])
def test_what_the_api_does_not_take_is_converted(kind: str) -> None:
    picture = prepare(encoded(quarters(), kind))
    assert picture.media_type == "image/jpeg"
    assert decoded(picture.data).format == "JPEG"
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]
    assert picture.changes == (f"converted from {kind}",)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    data = encoded(quarters(), kind, save_all=True, append_images=[Image.new("RGB", (64, 32), "white")])
    picture = prepare(data)
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]
    assert not getattr(decoded(picture.data), "is_animated", False)
    assert "first frame only" in picture.changes


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_picture_of_16_bits_is_not_cut_off(kind: str) -> None:
    gradient = Image.linear_gradient("L").convert("I").point(lambda v: v * 257).convert("I;16")
    result = decoded(prepare(encoded(gradient, kind)).data).convert("L")
    assert [result.getpixel((9, y)) for y in (0, 64, 128, 255)] == pytest.approx([0, 64, 128, 255], abs=2)


def test_a_picture_of_fractions_is_not_black() -> None:
    gradient = Image.linear_gradient("L").convert("F").point(lambda v: v * (1 / 255))
    result = decoded(prepare(encoded(gradient, "TIFF")).data).convert("L")
    assert [result.getpixel((9, y)) for y in (0, 64, 128, 255)] == pytest.approx([0, 64, 128, 255], abs=3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_picture_in_print_colours_keeps_them(kind: str) -> None:
    picture = prepare(encoded(quarters("CMYK"), kind, quality=95))
    assert decoded(picture.data).mode == "RGB"
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]


def test_a_palette_s_transparency_is_kept() -> None:
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([*BLUE, *RED])
    palette.paste(0, (0, 0, 16, 32))
    result = decoded(prepare(encoded(palette, "GIF", transparency=0)).data).convert("RGBA")
    assert result.getpixel((28, 4)) == (*RED, 255)
    assert result.getchannel("A").getpixel((4, 4)) == 0


@pytest.mark.parametrize(("kind", "mode"), [("HEIF", "RGB"), ("TIFF", "RGB"), ("TIFF", "P"), ("AVIF", "RGB")], ids=repr)
def test_a_colour_profile_is_applied(kind: str, mode: str) -> None:
    red = Image.new("RGB", (16, 16), RED).convert(mode)
    assert set(corners(decoded(prepare(encoded(red, kind, icc_profile=SWAPPED)).data))) == {"b"}


def test_a_thumbnail_has_the_profile_s_colours_also_where_it_was_transparent() -> None:
    red = Image.new("RGBA", (16, 16), RED)
    assert set(corners(decoded(thumbnail(encoded(red, "PNG", icc_profile=SWAPPED))))) == {"b"}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_broken_profile_costs_no_picture(kind: str) -> None:
    data = encoded(quarters(), kind, icc_profile=b"swordfish" * 30)
    assert corners(decoded(prepare(data).data)) == ["r", "g", "b", "rg"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_picture_of_more_than_20_mb_ends_below(mode: str) -> None:
    data = encoded(noise(mode, 2700), "PNG")
    assert len(data) > LARGEST_UPLOAD
    picture = prepare(data)
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
"""Where a header says the size, from what marks it, and how."""


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


@pytest.mark.parametrize("side", [12_000, 16_383], ids=repr)
@pytest.mark.parametrize("kind", [*CLAIMS, "TIFF"])
def test_a_bomb_is_refused_by_its_header(kind: str, side: int) -> None:
    with pytest.raises(ImageError, match="million pixels"):
        prepare(claiming(kind, side))
    with pytest.raises(ImageError, match="million pixels"):
        thumbnail(claiming(kind, side))


def test_a_bomb_that_is_whole_is_refused() -> None:
    with pytest.raises(ImageError, match="million pixels"):
        prepare(encoded(Image.new("1", (20_000, 20_000)), "PNG"))


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_that_is_cut_short_is_refused_as_damaged(kind: str, share: float) -> None:
    data = encoded(noise("RGB", 64), kind)
    with pytest.raises(ImageError, match="damaged or cut short"):
        prepare(data[: int(len(data) * share)])


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
def test_what_is_no_picture_is_refused_with_a_hint_and_not_quoted(data: bytes, hint: str) -> None:
    for make in (prepare, thumbnail):
        with pytest.raises(ImageError) as refused:
            make(data)
        assert hint in str(refused.value)
        assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_notes_that_make_no_sense_cost_no_picture(kind: str) -> None:
    data = encoded(quarters(), kind, exif=b"Exif\0\0nonsense")
    assert corners(decoded(prepare(data).data)) == ["r", "g", "b", "rg"]
    assert corners(decoded(thumbnail(data))) == ["r", "g", "b", "rg"]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_a_picture_is_turned_also_where_its_other_notes_make_no_sense(kind: str) -> None:
    picture = prepare(encoded(quarters().transpose(TURNS[6]), kind, exif=ODD_EXIF, quality=95))
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]


@pytest.mark.parametrize("tail", [b"!\xf9\x01\0\0;", b",", b",\0\0\0\0\xff\xff\xff\xff\0", b"!\xf9\2\0\0\0;"], ids=repr)
def test_what_follows_a_gif_s_first_frame_ends_in_a_picture_or_a_refusal(tail: bytes) -> None:
    said = answer(encoded(quarters(), "GIF")[:-1] + tail)
    assert said == "image/jpeg" or "damaged" in said


def answer(data: bytes) -> str:
    try:
        return prepare(data).media_type
    except ImageError as refused:
        return refused.fault


def test_a_long_comment_costs_no_picture() -> None:
    picture = prepare(encoded(quarters(), "GIF", comment=b"swordfish" * 10_000))
    assert corners(decoded(picture.data)) == ["r", "g", "b", "rg"]
    assert b"swordfish" not in picture.data


@pytest.mark.parametrize("size", [(70_000, 4), (4, 70_000)], ids=repr)
def test_a_picture_longer_than_a_jpeg_can_be_is_scaled(size: tuple[int, int]) -> None:
    assert max(decoded(prepare(encoded(Image.new("RGB", size, RED), "BMP")).data).size) <= 65_500


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_thumbnail_of_a_large_picture_is_a_small_jpeg(mode: str) -> None:
    small = thumbnail(encoded(noise(mode, 2000), "PNG"))
    assert decoded(small).format == "JPEG"
    assert len(small) <= LARGEST_THUMBNAIL


def test_a_thumbnail_is_upright() -> None:
    assert corners(decoded(thumbnail(oriented("HEIF", 6)))) == ["r", "g", "b", "rg"]


def test_a_small_jpeg_is_its_own_thumbnail() -> None:
    data = encoded(quarters(), "JPEG")
    assert thumbnail(data) == data
