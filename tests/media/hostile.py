"""Small files that make a decoder use much time or memory, or fail. `PICTURES` has a function that builds each."""

from __future__ import annotations

import io
import random
import struct
import zlib
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SIDE = 14_400
"""A square of it has 207 million pixels, which is just accepted."""
TOO_LONG = 30_000


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def small(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    return encode(Image.new(mode, (64, 64)), kind, **options)


# JPEG


@cache
def endless_jpeg(side: int = 4000, scans: int = 5000) -> bytes:
    """Build a progressive JPEG whose last scan is repeated. Each scan covers the whole picture."""
    data = encode(Image.new("RGB", (side, side), "gray"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    data = small("JPEG")
    inserted = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return data[:2] + inserted + data[2:]


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(small("JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def looping_exif() -> bytes:
    # Its only directory refers to itself as the Exif directory and as the next directory.
    return jpeg_with((0xE1, b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)))


def many_restarts() -> bytes:
    return small("JPEG")[:-2] + b"\xff\xd0" * 500_000 + b"\xff\xd9"


# PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def zeros(length: int) -> bytes:
    """Compress that many zeros, to about a thousandth, by repeating the same million of them."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    million = compressor.compress(bytes(1_000_000)) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = compressor.compress(bytes(length % 1_000_000)) + compressor.flush()
    checksum = length % 65_521 << 16 | 1
    return b"\x78\xda" + million * (length // 1_000_000) + rest + struct.pack(">I", checksum)


def png(
    width: int,
    height: int,
    *,
    depth: int = 8,
    color: int = 2,
    interlace: int = 0,
    rows: bytes = b"",
    before: bytes = b"",
) -> bytes:
    """Build a PNG with these compressed rows, by default too few, and with chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    rows = rows or zeros(100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_with(before: bytes) -> bytes:
    return png(8, 8, rows=zlib.compress(bytes(25 * 8)), before=before)


def many_frames() -> bytes:
    control = struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 1, 0, 0)
    frame = chunk(b"fcTL", control) + chunk(b"fdAT", bytes(8))
    return png_with(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + frame * 20_000)


# GIF


def gif(width: int, height: int, frames: bytes = b"") -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frames + b";"


def gif_frame(width: int, height: int, codes: bytes = b"\x44\x01") -> bytes:
    blocks = [bytes([len(part)]) + part for part in (codes[at : at + 255] for at in range(0, len(codes), 255))]
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02" + b"".join(blocks) + b"\0"


# WebP


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for kind, part in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width: int, height: int, flags: int = 2) -> tuple[bytes, bytes]:
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"VP8X", bytes([flags, 0, 0, 0]) + size


def lossless_claim(side: int) -> bytes:
    return webp((b"VP8L", b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + b"\0"))


def webp_frames(side: int, count: int) -> bytes:
    part = small("WEBP", lossless=True)[12:]
    frame = (b"ANMF", bytes(6) + struct.pack("<I", 63)[:3] * 2 + bytes(4) + part)
    return webp(webp_canvas(side, side), (b"ANIM", bytes(6)), *[frame] * count)


# TIFF


def tiff(*directories: Mapping[int, tuple[int, ...]], data: bytes = b"", loop: bool = False) -> bytes:
    """Build a TIFF of directories (values by tag), with the data at offset 8. `loop`: the last refers to the first."""
    start = 8 + len(data)
    file = b"II*\0" + struct.pack("<I", start) + data
    for number, tags in enumerate(directories):
        entries, extra = b"", b""
        extra_at = start + 2 + 12 * len(tags) + 4
        for tag, values in sorted(tags.items()):
            field = struct.pack(f"<{len(values)}I", *values)
            if len(field) > 4:
                field, extra = struct.pack("<I", extra_at + len(extra)), extra + field
            entries += struct.pack("<HHI", tag, 4, len(values)) + field
        start = extra_at + len(extra)
        following = start if number + 1 < len(directories) else 0
        if loop and not following:
            following = 8 + len(data)
        file += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + extra
    return file


def page(width: int, height: int, length: int = 0, **extra: int) -> dict[int, tuple[int, ...]]:
    """Build the tags of a gray picture with uncompressed pixels at offset 8. `extra`: more tags, such as `t254=1`."""
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    values[279] = length or width * height
    values |= {int(name[1:]): value for name, value in extra.items()}
    return {tag: (value,) for tag, value in values.items()}


def deflated_tiff(side: int, compression: int = 8, depth: int = 8) -> bytes:
    data = zeros(side * side * depth // 8)
    return tiff(page(side, side, len(data), t259=compression, t258=depth), data=data)


def huge_tags() -> bytes:
    """Build a TIFF whose tags each claim a gigabyte. Readers read as much of it as the file has."""
    tags = b"".join(struct.pack("<HHII", 40_000 + number, 7, 90_000, 8) for number in range(3000))
    return b"II*\0" + struct.pack("<I", 100_008) + bytes(100_000) + struct.pack("<H", 3000) + tags + bytes(4)


def many_strips() -> bytes:
    strips = 30_000
    tags = page(1, strips) | {278: (1,), 273: (8,) * strips, 279: (1,) * strips}
    return tiff(tags, data=bytes(8))


def many_subdirectories() -> bytes:
    return tiff(page(8, 8) | {330: (72,) * 50_000}, data=bytes(64))


def circular_pages() -> bytes:
    return tiff(page(8, 8), page(8, 8), data=bytes(64), loop=True)


def many_pages() -> bytes:
    return tiff(*[page(8, 8)] * 3000, data=bytes(64))


# BMP


def bmp(width: int, height: int, *, compression: int = 0, data: bytes = b"") -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(data), 0, 0, 2, 0)
    offset = 14 + len(head) + 8
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + head + bytes(8) + data


def run_lengths(side: int) -> bytes:
    row = b"\xff\0" * (side // 255) + bytes([side % 255, 0]) + b"\0\0"
    return bmp(side, side, compression=1, data=row * side)


# AVIF and HEIC: boxes


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def nested_boxes(brand: bytes, depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = box(b"meta", bytes(4), inner)
    return box(b"ftyp", brand, bytes(4), b"mif1") + inner


def avif_claiming(side: int) -> bytes:
    data = bytearray(small("AVIF"))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, side, side)
    return bytes(data)


def boxes_without_end(brand: bytes) -> bytes:
    return box(b"ftyp", brand, bytes(4), brand) + struct.pack(">I4sQ", 1, b"meta", 2**63 - 1) + bytes(64)


def many_items(brand: bytes) -> bytes:
    """Build a file that claims four billion items, each at a separate offset."""
    places = box(b"iloc", b"\1\0\0\0", b"\x44\0", struct.pack(">H", 65535), bytes(600_000))
    kinds = box(b"iinf", b"\1\0\0\0", struct.pack(">I", 2**32 - 1), box(b"infe", bytes(20)) * 10_000)
    handler = box(b"hdlr", bytes(8), b"pict", bytes(13))
    return box(b"ftyp", brand, bytes(4), brand) + box(b"meta", bytes(4), handler, places, kinds)


PICTURES: dict[str, Callable[[], bytes]] = {
    "JPEG, one scan 5000 times": endless_jpeg,
    "JPEG, one scan 1000 times": partial(endless_jpeg, 8000, 1000),
    "JPEG, 65535 x 3000 claimed": partial(jpeg_claiming, 65_535, 3000),
    "JPEG, 65535 x 65535 claimed": partial(jpeg_claiming, 65_535, 65_535),
    "JPEG, directories in a circle": looping_exif,
    "JPEG, 500000 restart markers": many_restarts,
    "JPEG, 20000 comments": lambda: jpeg_with(*[(0xFE, b"x")] * 20_000),
    "JPEG, 255 parts of a profile": lambda: jpeg_with(
        *[(0xE2, b"ICC_PROFILE\0" + bytes([number, 255]) + bytes(500)) for number in range(1, 256)]
    ),
    "JPEG, valid, 207 megapixels": lambda: encode(Image.new("L", (SIDE, SIDE)), "JPEG"),
    "JPEG, progressive, 207 megapixels": lambda: encode(Image.new("L", (SIDE, SIDE)), "JPEG", progressive=True),
    "PNG, 30000 x 30000 claimed": lambda: png(TOO_LONG, TOO_LONG),
    "PNG, 2147483647 x 1 claimed": lambda: png(2**31 - 1, 1),
    "PNG, 1 bit, 207 megapixels": lambda: png(SIDE, SIDE, depth=1, color=0, rows=zeros((SIDE // 8 + 1) * SIDE)),
    "PNG, 16 bits, 80 megapixels": lambda: png(9000, 9000, depth=16, color=6, rows=zeros((9000 * 8 + 1) * 9000)),
    "PNG, interlaced, 49 megapixels": lambda: png(7000, 7000, interlace=1, rows=zeros(7000 * 7000 * 3 + 7000 * 9)),
    "PNG, 200 MB after the rows": lambda: png(8, 8, rows=zeros(200_000_000)),
    "PNG, zTXt of 100 MB": lambda: png_with(chunk(b"zTXt", b"Comment\0\0" + zeros(100_000_000))),
    "PNG, iTXt of 100 MB": lambda: png_with(chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(100_000_000))),
    "PNG, XMP of 100 MB": lambda: png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(100_000_000))),
    "PNG, iCCP of 100 MB": lambda: png_with(chunk(b"iCCP", b"profile\0\0" + zeros(100_000_000))),
    "PNG, 50 zTXt of 1 MB": lambda: png_with(chunk(b"zTXt", b"Comment\0\0" + zeros(1_000_000)) * 50),
    "PNG, 100000 empty chunks": lambda: png_with(chunk(b"tEXt", b"a\0") * 100_000),
    "PNG, 20000 of 2 billion frames": many_frames,
    "GIF, 65535 x 65535 claimed": lambda: gif(65_535, 65_535, gif_frame(65_535, 65_535)),
    "GIF, 207 megapixels without data": lambda: gif(SIDE, SIDE, gif_frame(SIDE, SIDE)),
    "GIF, a frame larger than the picture": lambda: gif(1, 1, gif_frame(SIDE, SIDE)),
    "GIF, 20000 frames": lambda: gif(64, 64, gif_frame(64, 64) * 20_000),
    "GIF, only codes that clear": lambda: gif(4000, 4000, gif_frame(4000, 4000, b"\x24\x49\x92" * 100_000)),
    "GIF, extensions without end": lambda: gif(8, 8, b"!\xff" + b"\xff" * 500_000),
    "WebP, 34 bytes, 16383 x 16383": lambda: lossless_claim(16_383),
    "WebP, 34 bytes, 207 megapixels": lambda: lossless_claim(SIDE),
    "WebP, canvas of 207 megapixels": lambda: webp_frames(SIDE, 1),
    "WebP, canvas of 16777216 x 16777216": lambda: webp(webp_canvas(2**24, 2**24), (b"ANIM", bytes(6))),
    "WebP, 5000 frames": lambda: webp_frames(2000, 5000),
    "WebP, noise as lossless data": lambda: webp(
        (b"VP8L", b"\x2f" + struct.pack("<I", 3999 | 3999 << 14) + random.Random(1).randbytes(50_000))
    ),
    "TIFF, 30000 x 30000 claimed": lambda: tiff(page(TOO_LONG, TOO_LONG), data=bytes(8)),
    "TIFF, 207 megapixels deflated": lambda: deflated_tiff(SIDE),
    "TIFF, 16 bits, 100 megapixels": lambda: deflated_tiff(10_000, depth=16),
    "TIFF, 207 megapixels without data": lambda: tiff(page(SIDE, SIDE), data=bytes(8)),
    "TIFF, pages in a circle": circular_pages,
    "TIFF, 3000 pages": many_pages,
    "TIFF, 50000 directories in one": many_subdirectories,
    "TIFF, tags of 270 MB": huge_tags,
    "TIFF, 30000 strips": many_strips,
    "BMP, 100 megapixels in runs": lambda: run_lengths(10_000),
    "BMP, 207 megapixels without data": lambda: bmp(SIDE, SIDE),
    "BMP, 2147483647 x 2147483647": lambda: bmp(2**31 - 1, 2**31 - 1),
    "AVIF, 14400 x 14400 claimed": lambda: avif_claiming(SIDE),
    "AVIF, 30000 x 30000 claimed": lambda: avif_claiming(TOO_LONG),
    "AVIF, 2000 boxes in each other": lambda: nested_boxes(b"avif", 2000),
    "AVIF, a box without end": lambda: boxes_without_end(b"avif"),
    "AVIF, four billion items": lambda: many_items(b"avif"),
    "HEIC, 2000 boxes in each other": lambda: nested_boxes(b"heic", 2000),
    "HEIC, a box without end": lambda: boxes_without_end(b"heic"),
    "HEIC, four billion items": lambda: many_items(b"heic"),
}
