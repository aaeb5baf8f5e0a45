"""Normalizing images for the API, checked by decoding the result and comparing its colors."""

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
from tests.media.hostile import chunk, page, tiff, zeros

from luma_mcp.media.images import LARGEST_THUMBNAIL, LARGEST_UPLOAD, NormalizedImage, make_thumbnail, measure, normalize
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
# A profile that turns red into blue. Code that drops or ignores it shows red.
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"----").replace(b"bXYZ", b"rXYZ").replace(b"----", b"bXYZ")
# An orientation next to a tag that Pillow reads but cannot write.
ODD_EXIF = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHI4sHHI4sI", 2, 0x112, 3, 1, b"\6", 0x100, 2, 1, b"a", 0)


# In production, warnings of Pillow are ignored. As errors, they would cause additional refusals.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")


def quarters(mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", (64, 32))
    for place, color in zip(((0, 0), (32, 0), (0, 16), (32, 16)), UPRIGHT, strict=True):
        image.paste(color, (*place, place[0] + 32, place[1] + 16))
    return image.convert(mode)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def noise(mode: str, side: int) -> Image.Image:
    return Image.frombytes(mode, (side, side), os.urandom(side * side * len(mode)))


def get_corners(image: Image.Image) -> list[str]:
    plain, (w, h) = image.convert("RGB"), (image.width, image.height)
    return [name_color(plain.getpixel(p)) for p in ((4, 4), (w - 5, 4), (4, h - 5), (w - 5, h - 5))]


def name_color(pixel: Any) -> str:
    """Name the channels that are on. A value in between is an error."""
    assert all(value < 40 or value > 215 for value in pixel), pixel
    return "".join(name for name, value in zip("rgb", pixel, strict=True) if value > 127)


def build_oriented(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    return encode(
        quarters().transpose(TURNS[orientation]), kind, exif=exif if kind == "TIFF" else exif.tobytes(), quality=95
    )


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_rotated_picture_becomes_upright(kind: str, orientation: int) -> None:
    picture = normalize(build_oriented(kind, orientation))
    result = decode(picture.data)
    assert result.size == (64, 32)
    assert get_corners(result) == ["r", "g", "b", "rg"]
    assert result.getexif().get(0x112, 1) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 0, 1, 9], ids=repr)
def test_upright_picture_is_unchanged(kind: str, orientation: int | None) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x112] = orientation
    data = encode(quarters(), kind, exif=exif)
    assert normalize(data) == NormalizedImage(data, f"image/{kind.lower()}")


def test_jpeg_with_a_second_picture_is_unchanged() -> None:
    data = encode(quarters(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 32))])
    assert normalize(data) == NormalizedImage(data, "image/jpeg")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "AVIF", "HEIF"])
def test_other_formats_are_converted(kind: str) -> None:
    picture = normalize(encode(quarters(), kind))
    assert picture.media_type == "image/jpeg"
    assert decode(picture.data).format == "JPEG"
    assert get_corners(decode(picture.data)) == ["r", "g", "b", "rg"]
    assert picture.changes == (f"converted from {kind}",)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation_is_used(kind: str) -> None:
    data = encode(quarters(), kind, save_all=True, append_images=[Image.new("RGB", (64, 32), "white")])
    picture = normalize(data)
    assert get_corners(decode(picture.data)) == ["r", "g", "b", "rg"]
    assert not getattr(decode(picture.data), "is_animated", False)
    assert "first frame only" in picture.changes


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(kind: str) -> None:
    gradient = Image.linear_gradient("L").convert("I").point(lambda v: v * 257).convert("I;16")
    result = decode(normalize(encode(gradient, kind)).data).convert("L")
    assert [result.getpixel((9, y)) for y in (0, 64, 128, 255)] == pytest.approx([0, 64, 128, 255], abs=2)


def test_fractions_are_scaled_to_8_bits() -> None:
    gradient = Image.linear_gradient("L").convert("F").point(lambda v: v * (1 / 255))
    result = decode(normalize(encode(gradient, "TIFF")).data).convert("L")
    assert [result.getpixel((9, y)) for y in (0, 64, 128, 255)] == pytest.approx([0, 64, 128, 255], abs=3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colors(kind: str) -> None:
    picture = normalize(encode(quarters("CMYK"), kind, quality=95))
    assert decode(picture.data).mode == "RGB"
    assert get_corners(decode(picture.data)) == ["r", "g", "b", "rg"]


def test_transparent_palette_stays_transparent() -> None:
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([*BLUE, *RED])
    palette.paste(0, (0, 0, 16, 32))
    result = decode(normalize(encode(palette, "GIF", transparency=0)).data).convert("RGBA")
    assert result.getpixel((28, 4)) == (*RED, 255)
    assert result.getchannel("A").getpixel((4, 4)) == 0


@pytest.mark.parametrize(("kind", "mode"), [("HEIF", "RGB"), ("TIFF", "RGB"), ("TIFF", "P"), ("AVIF", "RGB")], ids=repr)
def test_color_profile_is_applied(kind: str, mode: str) -> None:
    red = Image.new("RGB", (16, 16), RED).convert(mode)
    assert set(get_corners(decode(normalize(encode(red, kind, icc_profile=SWAPPED)).data))) == {"b"}


def test_transparent_thumbnail_has_its_profile_applied() -> None:
    red = Image.new("RGBA", (16, 16), RED)
    assert set(get_corners(decode(make_thumbnail(encode(red, "PNG", icc_profile=SWAPPED))))) == {"b"}


@pytest.mark.parametrize("kind", FORMATS)
def test_broken_profile_is_ignored(kind: str) -> None:
    data = encode(quarters(), kind, icc_profile=b"swordfish" * 30)
    assert get_corners(decode(normalize(data).data)) == ["r", "g", "b", "rg"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("mode", ["RGBA", "RGB"])
def test_picture_of_more_than_20_mb_is_compressed(mode: str) -> None:
    data = encode(noise(mode, 2700), "PNG", compress_level=0)
    assert len(data) > LARGEST_UPLOAD
    picture = normalize(data)
    assert len(picture.data) <= LARGEST_UPLOAD
    assert decode(picture.data).size == (2700, 2700)
    assert picture.changes


CLAIMS = {
    "PNG": (b"IHDR", 4, ">II"),
    "JPEG": (b"\xff\xc0", 5, ">HH"),
    "GIF": (b"GIF8", 6, "<HH"),
    "WEBP": (b"\x9d\x01\x2a", 3, "<HH"),
    "BMP": (b"BM", 18, "<II"),
    "HEIF": (b"ispe", 8, ">II"),
}
"""Position of the size in each header: a marker, the offset from it, and the encoding."""


def build_claim(kind: str, side: int) -> bytes:
    """Build a tiny picture whose header claims a larger size."""
    data = bytearray(encode(Image.new("RGB", (64, 64)), kind))
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
def test_decompression_bomb_is_rejected_by_its_header(kind: str, side: int) -> None:
    with pytest.raises(ImageError, match="million pixels"):
        normalize(build_claim(kind, side))
    with pytest.raises(ImageError, match="million pixels"):
        make_thumbnail(build_claim(kind, side))


def test_complete_decompression_bomb_is_rejected() -> None:
    with pytest.raises(ImageError, match="million pixels"):
        normalize(encode(Image.new("1", (20_000, 20_000)), "PNG"))


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_picture_is_rejected(kind: str, share: float) -> None:
    data = encode(noise("RGB", 64), kind)
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
def test_error_about_other_files_hints_and_quotes_nothing(data: bytes, hint: str) -> None:
    for make in (normalize, make_thumbnail):
        with pytest.raises(ImageError) as refused:
            make(data)
        assert hint in str(refused.value)
        assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_damaged_metadata_is_ignored(kind: str) -> None:
    data = encode(quarters(), kind, exif=b"Exif\0\0nonsense")
    assert get_corners(decode(normalize(data).data)) == ["r", "g", "b", "rg"]
    assert get_corners(decode(make_thumbnail(data))) == ["r", "g", "b", "rg"]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_orientation_is_read_despite_damaged_metadata(kind: str) -> None:
    picture = normalize(encode(quarters().transpose(TURNS[6]), kind, exif=ODD_EXIF, quality=95))
    assert get_corners(decode(picture.data)) == ["r", "g", "b", "rg"]


@pytest.mark.parametrize("tail", [b"!\xf9\x01\0\0;", b",", b",\0\0\0\0\xff\xff\xff\xff\0", b"!\xf9\2\0\0\0;"], ids=repr)
def test_garbage_after_the_first_frame_is_ignored_or_reported(tail: bytes) -> None:
    outcome = get_media_type_or_reason(encode(quarters(), "GIF")[:-1] + tail)
    assert outcome == "image/jpeg" or "damaged" in outcome


def get_media_type_or_reason(data: bytes) -> str:
    try:
        return normalize(data).media_type
    except ImageError as refused:
        return refused.reason


def test_long_comment_is_dropped() -> None:
    picture = normalize(encode(quarters(), "GIF", comment=b"swordfish" * 10_000))
    assert get_corners(decode(picture.data)) == ["r", "g", "b", "rg"]
    assert b"swordfish" not in picture.data


@pytest.mark.parametrize("size", [(70_000, 4), (4, 70_000)], ids=repr)
def test_picture_too_long_for_a_jpeg_is_scaled(size: tuple[int, int]) -> None:
    assert max(decode(normalize(encode(Image.new("RGB", size, RED), "BMP")).data).size) <= 65_500


def test_converted_picture_is_scaled_to_16_megapixels() -> None:
    picture = normalize(encode(Image.new("L", (5000, 4000)), "TIFF"))
    assert decode(picture.data).size == (4472, 3577)
    assert picture.changes == ("converted from TIFF", "scaled to 4472x3577")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_thumbnail_is_a_small_jpeg(mode: str) -> None:
    small = make_thumbnail(encode(noise(mode, 2000), "PNG", compress_level=0))
    assert decode(small).format == "JPEG"
    assert len(small) <= LARGEST_THUMBNAIL


def test_thumbnail_is_upright() -> None:
    assert get_corners(decode(make_thumbnail(build_oriented("HEIF", 6)))) == ["r", "g", "b", "rg"]


def test_small_jpeg_is_its_own_thumbnail() -> None:
    data = encode(quarters(), "JPEG")
    assert make_thumbnail(data) == data


def test_threads_do_not_change_the_warning_filters() -> None:
    # The sizes differ, so that the work of the threads overlaps.
    pictures = [encode(noise("RGB", side), "TIFF") for side in (8, 64, 256, 512)]
    # The first call imports Pillow.
    normalize(pictures[0])
    before = list(warnings.filters)
    start = threading.Barrier(8)

    def normalize_many(number: int) -> None:
        start.wait(30)
        for turn in range(8):
            normalize(pictures[(number + turn) % 4])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(normalize_many, range(8)))
    assert list(warnings.filters) == before


def test_pillow_prints_no_warnings() -> None:
    data = encode(quarters(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    program = "import sys; from luma_mcp.media.images import normalize; normalize(sys.stdin.buffer.read())"
    command = [sys.executable, "-W", "always", "-c", program]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=True)
    assert done.stderr == b""


# Files that contain several images


def large_page(**extra: int) -> dict[int, tuple[int, ...]]:
    """Build the tags of a page of 64 x 32 gray pixels whose data begins at offset 8."""
    return page(64, 32, **extra)


def preview(**extra: int) -> dict[int, tuple[int, ...]]:
    return page(16, 8, **extra)


def with_subdirectory(directory: dict[int, tuple[int, ...]], sub: dict[int, tuple[int, ...]]) -> bytes:
    """Build a TIFF whose first directory refers to a subdirectory."""
    second = tiff(sub, data=bytes(64 * 32))[8 + 64 * 32 :]
    start = 8 + 64 * 32
    return tiff(directory | {330: (start,)}, data=bytes(64 * 32) + second)


GRADIENT = bytes(range(0, 256, 4)) * 32
"""Pixels of a page of 64 x 32, from black on the left to almost white on the right."""


@pytest.mark.parametrize(
    ("pages", "number"),
    [
        ([preview(t254=1), large_page()], 2),
        ([preview(t255=2), large_page()], 2),
        ([preview(), large_page()], 2),
        ([preview(t254=1), page(20, 10, t254=1), large_page()], 3),
        ([large_page(t254=1), page(48, 32)], 2),
        ([large_page(), preview(t254=1)], 1),
        ([large_page(t254=2), large_page(t254=2)], 1),
        ([large_page(), page(64, 64, t254=2)], 1),
    ],
)
def test_page_that_is_not_a_preview_is_used(pages: list[dict[int, tuple[int, ...]]], number: int) -> None:
    picture = normalize(tiff(*pages, data=GRADIENT * 2))
    chosen = pages[number - 1]
    assert picture.size == decode(picture.data).size == (chosen[256][0], chosen[257][0])
    assert picture.changes == ("converted from TIFF", f"page {number} only")


RAW_PHOTOS = {
    "DNG": with_subdirectory(preview(t254=1, t50706=0x01040000), large_page(t262=32803)),
    "DNG without a preview": tiff(page(64, 32, t50706=0x01040000), data=GRADIENT),
    "linear DNG": tiff(large_page(t262=34892), data=GRADIENT),
    "NEF": with_subdirectory(preview(t254=1), large_page(t262=32803, t259=34713)),
    "ARW": with_subdirectory(preview(t254=1, t259=6), large_page(t262=32803, t259=32767)),
    "PEF": tiff(large_page(t262=32803, t259=65535), preview(t259=6), data=GRADIENT),
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + tiff(large_page(), data=GRADIENT)[8:],
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100),
    "CRW": b"II\x1a\0\0\0HEAPCCDR" + bytes(100),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "ORF": b"IIRO\x08\0\0\0" + bytes(100),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(100),
    "X3F": b"FOVb" + bytes(100),
}


@pytest.mark.parametrize("name", RAW_PHOTOS)
def test_raw_photo_is_rejected(name: str) -> None:
    for make in (normalize, make_thumbnail, measure):
        with pytest.raises(ImageError, match=r"raw photo.*save it as JPEG or PNG"):
            make(RAW_PHOTOS[name])


@pytest.mark.parametrize(
    "data",
    [
        with_subdirectory(preview(t254=1), large_page(t259=34713)),
        with_subdirectory(preview(), large_page()),
        tiff(preview(t254=1), data=GRADIENT),
    ],
)
def test_preview_without_a_readable_picture_is_rejected(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"only a small preview.*save it as JPEG or PNG"):
        normalize(data)


def test_smaller_copies_in_subdirectories_are_ignored() -> None:
    picture = normalize(with_subdirectory(large_page(), preview(t254=1)))
    assert (picture.size, picture.changes) == ((64, 32), ("converted from TIFF",))


def test_default_image_of_an_animation_is_not_its_first_frame() -> None:
    placeholder = Image.new("RGB", (64, 32), "white")
    data = encode(placeholder, "PNG", save_all=True, append_images=[quarters(), placeholder], default_image=True)
    picture = normalize(data)
    assert get_corners(decode(picture.data)) == ["r", "g", "b", "rg"]
    assert picture.changes == ("first frame only",)


@pytest.mark.parametrize("number", [0, 1])
def test_primary_image_of_a_heic_file_is_used(number: int) -> None:
    images = [Image.new("RGB", (64, 32), "white"), Image.new("RGB", (64, 32), "white")]
    images[number] = quarters()
    data = encode(images[0], "HEIF", save_all=True, append_images=images[1:], primary_index=number, quality=95)
    picture = normalize(data)
    assert get_corners(decode(picture.data)) == ["r", "g", "b", "rg"]


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "JPEG2000", "TGA", "PCX"])
def test_rejection_of_other_formats_lists_supported_ones(kind: str) -> None:
    with pytest.raises(ImageError, match="JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF and BMP are supported"):
        normalize(encode(quarters().resize((128, 128)), kind))


# Metadata


def with_chunks(*chunks: bytes, mode: str = "RGB") -> bytes:
    """Build the PNG of the quarters with these chunks before its pixels."""
    data = encode(quarters(mode), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def damaged_chunk(kind: bytes, body: bytes) -> bytes:
    return chunk(kind, body)[:-4] + b"oops"


def profile_chunk(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile))


# Valid: readers use only the parts in its table.
LARGE_PROFILE = struct.pack(">I", len(SWAPPED) + 3_000_000) + SWAPPED[4:] + bytes(3_000_000)

ODD_CHUNKS = {
    "a large profile": profile_chunk(LARGE_PROFILE),
    "a profile that inflates to 100 MB": chunk(b"iCCP", b"profile\0\0" + zeros(100_000_000)),
    "a profile that is not compressed": chunk(b"iCCP", b"profile\0\0" + SRGB),
    "a profile of an unknown compression": chunk(b"iCCP", b"profile\0\7" + zlib.compress(SRGB)),
    "an empty profile": chunk(b"iCCP", b""),
    "compressed text": chunk(b"zTXt", b"Comment\0\0" + zeros(5_000_000)),
    "text of an unknown compression": chunk(b"zTXt", b"Comment\0\7" + zeros(5000)),
    "compressed international text": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(5_000_000)),
    "much text in many chunks": chunk(b"zTXt", b"Comment\0\0" + zeros(1_000_000)) * 80,
    "a gamma that is cut short": chunk(b"gAMA", b"\0"),
    "a resolution that is cut short": chunk(b"pHYs", b"\0\0"),
    "primaries that are cut short": chunk(b"cHRM", bytes(5)),
    "an unknown chunk": chunk(b"abCd", bytes(1000)),
    "damaged Exif": chunk(b"eXIf", b"nonsense"),
}


@pytest.mark.parametrize("name", ODD_CHUNKS)
def test_odd_metadata_of_a_png_is_accepted(name: str) -> None:
    data = with_chunks(ODD_CHUNKS[name])
    assert normalize(data) == NormalizedImage(data, "image/png")


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"pHYs", b"gAMA", b"eXIf", b"tIME", b"abCd"])
def test_optional_chunk_with_a_wrong_checksum_is_dropped(kind: bytes) -> None:
    text = chunk(b"tEXt", b"Author\0somebody")
    data = with_chunks(damaged_chunk(kind, b"Comment\0\0nonsense"), text)
    # A strict reader would reject the upload. The rest of the metadata is kept.
    assert normalize(data) == NormalizedImage(with_chunks(text), "image/png", ("without damaged metadata",))


def test_required_chunk_with_a_wrong_checksum_is_rejected() -> None:
    data = bytearray(encode(quarters("P"), "PNG"))
    at = data.index(b"PLTE")
    (length,) = struct.unpack_from(">I", data, at - 4)
    data[at + 4 + length] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        normalize(bytes(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_large_profile_is_applied(kind: str) -> None:
    red = Image.new("RGB", (16, 16), RED)
    data = encode(red, kind, icc_profile=LARGE_PROFILE, exif=b"Exif\0\0")
    assert set(get_corners(decode(make_thumbnail(data if kind == "PNG" else pad(data, kind))))) == {"b"}


def pad(data: bytes, kind: str) -> bytes:
    """Make a JPEG too large to be its own thumbnail, with bytes after its end, which nothing reads."""
    return data + bytes(LARGEST_THUMBNAIL) if kind == "JPEG" else data


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
XMP_ELEMENT = b"<x:xmpmeta><rdf:Description><tiff:Orientation>%d</tiff:Orientation></rdf:Description></x:xmpmeta>"


def with_xmp(kind: str, xmp: bytes, turn: Transpose) -> bytes:
    turned = quarters().transpose(turn)
    if kind == "PNG":
        data = encode(turned, "PNG")
        return data[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + data[33:]
    if kind == "TIFF":
        return encode(turned, kind, tiffinfo={700: xmp})
    return encode(turned, kind, xmp=xmp, quality=95)


@pytest.mark.parametrize("form", [XMP, XMP_ELEMENT], ids=["attribute", "element"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_that_is_only_in_xmp(kind: str, form: bytes, orientation: int) -> None:
    picture = normalize(with_xmp(kind, form % orientation, TURNS[orientation]))
    assert get_corners(decode(picture.data)) == ["r", "g", "b", "rg"]
    assert (picture.size, "turned upright" in picture.changes) == ((64, 32), True)


def test_orientation_in_compressed_xmp_of_a_png() -> None:
    data = encode(quarters().transpose(TURNS[6]), "PNG")
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP % 6))
    assert get_corners(decode(normalize(data[:33] + xmp + data[33:]).data)) == ["r", "g", "b", "rg"]


def test_exif_takes_precedence_over_xmp() -> None:
    exif = Image.Exif()
    exif[0x112] = 1
    data = encode(quarters(), "JPEG", exif=exif, xmp=XMP % 6)
    assert normalize(data) == NormalizedImage(data, "image/jpeg")


def test_photo_of_200_megapixels_is_accepted() -> None:
    """The largest sensors of phones have this size."""
    photo = Image.new("L", (16_320, 12_240), "white")
    data = encode(photo, "JPEG")
    assert normalize(data) == NormalizedImage(data, "image/jpeg")
    assert normalize(data).size == (16_320, 12_240)
    turned = normalize(
        encode(photo, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x112, 3, 1, 6, 0))
    )
    assert turned.size == (12_240, 16_320)
    assert turned.changes == ("turned upright", "scaled to 3464x4618")
