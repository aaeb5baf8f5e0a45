"""Convert images to what the API accepts: upright, JPEG, PNG or WebP, at most 20 MB.

Pillow is imported on first use, because a server that only lists its tools does not need it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luma_mcp.media.sources import ImageError

if TYPE_CHECKING:
    from PIL import Image

LARGEST_UPLOAD = 20_000_000
"""Maximum size in bytes that `POST /assets` accepts. Source: useapi.net, Luma API v1."""
MAX_PIXELS = 120_000_000
"""Larger images are rejected, because a small file can claim any size. Common phones take up to 108 million pixels."""
MAX_CONVERTED_PIXELS = 16_000_000
"""Images that must be converted are scaled down to this, eight times the size of a 1080p frame."""
LARGEST_THUMBNAIL, THUMBNAIL_SIDE = 200_000, 768
ACCEPTED_FORMATS = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""Pillow's names of the formats that the API accepts. MPO is a JPEG that contains a second picture, as from phones."""
_READABLE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
# A phone's second picture (a depth map or a preview) does not make a file an animation.
_NEVER_ANIMATED = ("MPO", "HEIF")
_ORIENTATION = 0x0112
_UNCHANGED_MODES = {"RGB", "RGBA", "L", "LA", "P", "1"}
_SCALABLE_MODES = {"RGB", "RGBA", "L", "LA", "CMYK"}
_JPEG_QUALITY, _LONGEST_JPEG_SIDE = 92, 65_500

_DAMAGED = "is a picture that is damaged or cut short"
_VIDEO = "is a video; give one picture of it"
_OTHER_FILES = {
    (b"<!doctype html", b"<html"): "leads to a web page, not to a picture; give a direct link to the picture",
    (b"<svg", b"<?xml"): "is an SVG drawing or another XML file; save it as PNG or JPEG first",
    (b"%pdf",): "is a PDF; save the page as PNG or JPEG first",
    # Matroska and WebM. The data is compared in lower case.
    (b"\x1ae\xdf\xa3",): _VIDEO,
}
# Brands of picture formats that use the same container as MP4 videos.
_PICTURE_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"}


@dataclass(frozen=True, slots=True)
class NormalizedImage:
    """An image to upload. `changes` describes how it differs from the input; empty if it is the input itself."""

    data: bytes
    media_type: str
    changes: tuple[str, ...] = ()


def normalize(data: bytes) -> NormalizedImage:
    """Convert an image to what the API accepts, if it is not that already. Raise `ImageError` if it is unusable.

    This takes up to several seconds and a gigabyte of memory: call it in a worker thread, one at a time.
    """
    image = _decode(data)
    source_format = str(image.format)
    with _decoder_errors():
        is_animated = source_format not in _NEVER_ANIMATED and getattr(image, "is_animated", False)
    changes: list[str] = []
    if source_format not in ACCEPTED_FORMATS:
        changes.append(f"converted from {source_format}")
    if is_animated:
        changes.append("first frame only")
    if _get_orientation(image) != 1:
        changes.append("turned upright")
    is_small = len(data) <= LARGEST_UPLOAD
    if is_small and not changes and image.mode in _UNCHANGED_MODES:
        return NormalizedImage(data, ACCEPTED_FORMATS[source_format])
    sides = set(image.size)
    encoded, target_format, result = _encode(_convert(image), LARGEST_UPLOAD)
    # A set, because turning upright may swap width and height.
    if set(result.size) != sides:
        changes.append(f"scaled to {result.width}x{result.height}")
    elif not is_small:
        changes.append(f"compressed to {len(encoded) / 1e6:.1f} MB")
    return NormalizedImage(encoded, ACCEPTED_FORMATS[target_format], tuple(changes))


def make_thumbnail(data: bytes) -> bytes:
    """Build a JPEG of at most 200 kB, in a worker thread. Raise `ImageError` if the image is unusable."""
    image = _decode(data)
    if image.format == "JPEG" and len(data) <= LARGEST_THUMBNAIL:
        return data
    image = _put_on_white(_convert(image))
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return _encode(image, LARGEST_THUMBNAIL)[0]


def measure(data: bytes) -> tuple[int, int] | None:
    """Get the width and height of an image as it is shown, from its header; None if that cannot be read."""
    from PIL import Image

    _set_up_decoders()
    with suppress(Exception):
        image = Image.open(io.BytesIO(data), formats=_READABLE_FORMATS)
        width, height = image.size
        # These turn it by a quarter.
        if _get_orientation(image) in (5, 6, 7, 8):
            width, height = height, width
        return width, height
    return None


def _set_up_decoders() -> None:
    from PIL import Image

    # Pillow only warns of more pixels than this, and rejects more than twice as many.
    if Image.MAX_IMAGE_PIXELS != MAX_PIXELS // 2:
        from pillow_heif import register_heif_opener

        register_heif_opener()
        # Only once: `warnings.catch_warnings` is not safe in threads, and can leave every warning ignored.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2


def _decode(data: bytes) -> Image.Image:
    """Decode an image completely, so that one that is cut short is not uploaded."""
    from PIL import Image, UnidentifiedImageError

    _set_up_decoders()
    if not data:
        raise ImageError("is empty")
    start = data[:512].lstrip().lower()
    for signatures, reason in _OTHER_FILES.items():
        if start.startswith(signatures):
            raise ImageError(reason)
    try:
        image = Image.open(io.BytesIO(data), formats=_READABLE_FORMATS)
        # `open` reads only the header.
        image.load()
    except Image.DecompressionBombError:
        raise ImageError(f"has more than {MAX_PIXELS // 1_000_000} million pixels; scale it down first") from None
    except Exception as error:  # noqa: BLE001 - see `_decoder_errors`
        if not isinstance(error, UnidentifiedImageError) or data[8:12] in _PICTURE_BRANDS:
            raise ImageError(_DAMAGED) from None
        reason = _VIDEO if data[4:8] == b"ftyp" else "is not a picture that can be read"
        raise ImageError(f"{reason}; JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF and BMP are supported") from None
    return image


@contextmanager
def _decoder_errors() -> Iterator[None]:
    """Raise `ImageError` for whatever a decoder raises."""
    try:
        yield
    except Exception:  # noqa: BLE001 - decoders raise exceptions of any kind on damaged data
        raise ImageError(_DAMAGED) from None


def _get_orientation(image: Image.Image) -> int:
    """Get the Exif orientation, from 1 (upright) to 8; 1 if there is none or it is invalid."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged metadata does not make the picture unusable
        return 1
    return int(orientation) if orientation in range(1, 9) else 1


def _convert(image: Image.Image) -> Image.Image:
    """Convert to upright, 8 bits per channel and sRGB, without metadata that a decoder might ignore."""
    from PIL import ImageCms, ImageOps

    profile = image.info.get("icc_profile")
    orientation = _get_orientation(image)
    with _decoder_errors():
        pixels = image.width * image.height
        if pixels > MAX_CONVERTED_PIXELS and image.mode in _SCALABLE_MODES:
            # Before everything else, because each of the following steps makes a copy.
            scale = (MAX_CONVERTED_PIXELS / pixels) ** 0.5
            image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
        is_transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        if image.mode in ("L", "LA", "1") or image.mode[0] in "IF":
            # It describes gray, and is not applicable to what gray is converted to.
            profile = None
        if image.mode[0] in "IF":
            # `convert` would cut off all values above 255.
            factor = 1 / 256
            if image.mode == "F":
                factor = 255 / max(1.0, float(image.getextrema()[1]))  # type: ignore[arg-type]  # one channel has one pair
            else:
                image = image.convert("I")
            image = image.point(lambda value: value * factor).convert("L")
        alpha = image.convert("RGBA").getchannel("A") if is_transparent else None
        if image.mode != "CMYK":
            image = image.convert("RGB")
        if profile:
            # With a broken profile, slightly wrong colors are better than no picture.
            with suppress(ImageCms.PyCMSError, OSError, ValueError):
                source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
                target = ImageCms.createProfile("sRGB")
                image = ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image
        image = image.convert("RGB")
        if alpha:
            image.putalpha(alpha)
        # Drops comments, the profile, which is applied by now, and metadata that Pillow may be unable to write.
        image.info = {}
        image.getexif()[_ORIENTATION] = orientation
        ImageOps.exif_transpose(image, in_place=True)
        image.thumbnail((_LONGEST_JPEG_SIDE, _LONGEST_JPEG_SIDE))
    return image


def _encode(image: Image.Image, max_bytes: int) -> tuple[bytes, str, Image.Image]:
    """Get the bytes, at most so many, their format and their image: first without transparency, then smaller."""
    while True:
        target_format = "PNG" if image.mode == "RGBA" else "JPEG"
        buffer = io.BytesIO()
        image.save(buffer, target_format, quality=_JPEG_QUALITY)
        if buffer.tell() <= max_bytes:
            return buffer.getvalue(), target_format, image
        if image.mode == "RGBA":
            image = _put_on_white(image)
        else:
            image = image.resize((max(1, image.width * 4 // 5), max(1, image.height * 4 // 5)))


def _put_on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    from PIL import Image

    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image)
    return background.convert("RGB")
