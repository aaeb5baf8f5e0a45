"""Any picture's bytes to bytes that the API takes: upright, JPEG, PNG or WebP, at most 20 MB. Pillow does it.

Pillow is imported at first use: a server that only lists its tools needs none of it.
"""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from luma_mcp.media.sources import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

LARGEST_UPLOAD = 20_000_000
"""Bytes that `POST /assets` takes. Source: useapi.net, Luma API v1."""
MOST_PIXELS = 120_000_000
"""A small file can claim any size; the largest photos that phones take in wide use have 108 million pixels."""
ENOUGH_PIXELS = 16_000_000
"""What is made anew is made no larger: eight times what a 1080p video shows."""
LARGEST_THUMBNAIL = 200_000
THUMBNAIL_SIDE = 768
TAKEN = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""Pillow's names for what the API takes. MPO is the JPEG of phones that put a second picture behind the first."""
READ = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
_ORIENTATION = 0x0112
_PLAIN = {"RGB", "RGBA", "L", "LA", "P", "1"}
_SCALABLE = {"RGB", "RGBA", "L", "LA", "CMYK"}
_QUALITY = 92
_PAGE = "leads to a web page, not to a picture; give a direct link to the picture"
_DRAWING = "is an SVG drawing or another XML file; save it as PNG or JPEG first"
_NOT_PICTURES = {
    b"<!doctype html": _PAGE,
    b"<html": _PAGE,
    b"<svg": _DRAWING,
    b"<?xml": _DRAWING,
    b"%pdf": "is a PDF; save the page as PNG or JPEG first",
    b"\x1aE\xdf\xa3": "is a video; give one picture of it",
}
_BROKEN_IF = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"}
"""Brands of pictures in files that are built like videos."""
_LONGEST_SIDE = 65_500
"""Of a JPEG, in pixels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What to upload. `changes`: what was done to it, in words; none where it is sent as it came."""

    data: bytes
    media_type: str
    changes: tuple[str, ...] = ()


def prepare(data: bytes) -> Picture:
    """The picture as the API takes it; as it came, where that is so already. Takes seconds: call it in a thread.

    Raises:
        ImageError: not a picture, a broken one, or one that claims to be enormous.
    """
    image = _opened(data)
    form = str(image.format)
    with _decoding():
        animated = form not in ("MPO", "HEIF") and bool(getattr(image, "is_animated", False))
    turned = _orientation(image) != 1
    small = len(data) <= LARGEST_UPLOAD
    if form in TAKEN and small and not turned and not animated and image.mode in _PLAIN:
        return Picture(data, TAKEN[form])
    changes = [f"converted from {form}"] * (form not in TAKEN) + ["first frame only"] * animated
    changes += ["turned upright"] * turned
    size = image.size[::-1] if turned else image.size
    made, kind, result = _within(_plain(image), LARGEST_UPLOAD)
    if set(result.size) != set(size):
        changes.append(f"scaled to {result.width}x{result.height}")
    elif not small:
        changes.append(f"compressed to {len(made) / 1e6:.1f} MB")
    return Picture(made, TAKEN[kind], tuple(changes))


def thumbnail(data: bytes) -> bytes:
    """A JPEG of at most 200 KB. Call it in a thread.

    Raises:
        ImageError: not a picture, or a broken one.
    """
    image = _opened(data)
    if image.format == "JPEG" and len(data) <= LARGEST_THUMBNAIL:
        return data
    image = _on_white(_plain(image))
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return _within(image, LARGEST_THUMBNAIL)[0]


@cache
def _pillow() -> Any:
    from PIL import Image
    from pillow_heif import register_heif_opener

    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    register_heif_opener()
    return Image


def _opened(data: bytes) -> Image:
    """The picture, decoded whole, so that one that is cut short is not uploaded."""
    pillow = _pillow()
    if not data:
        raise ImageError("is empty")
    start = data[:512].lstrip().lower()
    for beginning, what in _NOT_PICTURES.items():
        if start.startswith(beginning.lower()):
            raise ImageError(what)
    with _decoding():
        try:
            image: Image = pillow.open(io.BytesIO(data), formats=READ)
        except pillow.DecompressionBombError:
            raise ImageError(_ENORMOUS) from None
        except pillow.UnidentifiedImageError:
            if data[8:12] in _BROKEN_IF:
                raise
            video = data[4:8] == b"ftyp"
            what = "is a video; give one picture of it" if video else "is not a picture that can be read"
            raise ImageError(f"{what}; JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF and BMP can be") from None
        if image.width * image.height > MOST_PIXELS:
            raise ImageError(_ENORMOUS)
        image.load()
    return image


@contextmanager
def _decoding() -> Iterator[None]:
    """Whatever a decoder makes of a damaged file is said in one way; what it thinks of the others is not said."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except Exception:  # noqa: BLE001 - decoders raise what they like
        raise ImageError(_DAMAGED) from None


def _orientation(image: Image) -> int:
    """As the camera noted it, from 1 to 8; 1, upright, where it noted nothing that can be read."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - the notes are damaged, not the picture
        return 1
    return found if found in range(1, 9) else 1


_ENORMOUS = f"has more than {MOST_PIXELS // 1_000_000} million pixels; scale it down first"
_DAMAGED = "is a picture that is damaged or cut short"


def _plain(image: Image) -> Image:
    """Upright, 8 bits, in sRGB: nothing that depends on what a decoder knows of orientation, depth or profiles."""
    profile, turn = image.info.get("icc_profile"), _turns().get(_orientation(image))
    with _decoding():
        if image.width * image.height > ENOUGH_PIXELS and image.mode in _SCALABLE:
            # First of all: each step below makes a copy.
            share = (ENOUGH_PIXELS / (image.width * image.height)) ** 0.5
            image = image.resize((max(1, int(image.width * share)), max(1, int(image.height * share))))
        transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        if image.mode[0] in "IF":
            image, profile = _8_bits(image), None
        elif image.mode in ("L", "LA", "1"):
            profile = None
        alpha = image.convert("RGBA").getchannel("A") if transparent else None
        colours = image if image.mode == "CMYK" else image.convert("RGB")
        plain = (_in_srgb(colours, profile) if profile else colours).convert("RGB")
        if alpha:
            plain.putalpha(alpha)
        # Comments and profiles do not go along.
        plain.info = {}
        plain = plain.transpose(turn) if turn is not None else plain
        plain.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return plain


def _turns() -> dict[int, Any]:
    """What undoes each orientation (Exif 2.3, tag Orientation)."""
    turn = _pillow().Transpose
    return {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }


def _8_bits(image: Image) -> Image:
    """A plain conversion would cut off what is above 255."""
    if image.mode == "F":
        top = max(1.0, float(image.getextrema()[1]))  # type: ignore[arg-type]
        return image.point(lambda value: value * (255 / top)).convert("L")
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")


def _in_srgb(image: Image, profile: bytes) -> Image:
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        # A broken profile costs a shade, not the picture.
        return image
    return converted or image


def _within(image: Image, largest: int) -> tuple[bytes, str, Image]:
    """Encoded in at most so many bytes, in what format, and what was encoded. Colours go last, size before them."""
    while True:
        kind = "PNG" if image.mode == "RGBA" else "JPEG"
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=_QUALITY)
        if buffer.tell() <= largest:
            return buffer.getvalue(), kind, image
        if image.mode == "RGBA":
            image = _on_white(image)
        else:
            image = image.resize((max(1, image.width * 4 // 5), max(1, image.height * 4 // 5)))


def _on_white(image: Image) -> Image:
    if image.mode != "RGBA":
        return image
    white = _pillow().new("RGBA", image.size, "white")
    white.alpha_composite(image)
    result: Image = white.convert("RGB")
    return result
