"""Convert images to what the API accepts: upright, JPEG, PNG or WebP, at most 20 MB.

This runs in processes that `media.decoder` starts, because decoding can take hours or crash. Pillow is imported on
first use: the server imports this module for its types only.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import signal
import struct
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from luma_mcp.media.clips import ClipError, JoinPlan, SheetRow
from luma_mcp.media.sources import ImageError

if TYPE_CHECKING:
    from PIL import Image

LARGEST_UPLOAD = 20_000_000
"""Maximum size in bytes that `POST /assets` accepts. Source: useapi.net, Luma API v1."""
MAX_PIXELS = 210_000_000
"""Larger images are rejected, because a small file can claim any size. Phones take up to 200 million pixels."""
MAX_CONVERTED_PIXELS = 16_000_000
"""Images that must be converted are scaled down to this, eight times the size of a 1080p frame."""
LARGEST_THUMBNAIL, THUMBNAIL_SIDE = 200_000, 768
ACCEPTED_FORMATS = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""Pillow's names of the formats that the API accepts. MPO is a JPEG that contains a second picture, as from phones."""
# A phone's second picture (a depth map or a preview) does not make a file an animation.
_NEVER_ANIMATED = ("MPO", "HEIF")
_ORIENTATION = 0x0112
_UNCHANGED_MODES = {"RGB", "RGBA", "L", "LA", "P", "1"}
_JPEG_QUALITY, _LONGEST_JPEG_SIDE = 92, 65_500

DAMAGED = "is a picture that is damaged or cut short"
_UNDECODABLE = "is a picture that is damaged, cut short or too large to decode; scale it down, or give another one"
_TOO_MANY = "has more than {} million pixels; scale it down first"
_VIDEO = "is a video; give one picture of it"
_RAW = "is a camera's raw photo, which may contain only a small preview that can be read; save it as JPEG or PNG first"
_PREVIEW = "is a TIFF file of which only a small preview can be read; save it as JPEG or PNG first"
_OTHER_FILES = {
    (b"<!doctype html", b"<html"): "leads to a web page, not to a picture; give a direct link to the picture",
    (b"<svg", b"<?xml"): "is an SVG drawing or another XML file; save it as PNG or JPEG first",
    (b"%pdf",): "is a PDF; save the page as PNG or JPEG first",
    # Matroska and WebM. The data is compared in lower case.
    (b"\x1ae\xdf\xa3",): _VIDEO,
    # Fujifilm, Sigma, Minolta, Panasonic, Olympus (three times), Canon.
    (b"fujifilmccd-raw", b"fovb", b"\0mrm", b"iiu\0", b"iiro", b"iirs", b"mmor", b"ii\x1a\0\0\0heapccdr"): _RAW,
}
# Of WebP, and brands of picture formats that use the same container as MP4 videos.
_PICTURE_BRANDS = {b"WEBP", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"}
_CANON_RAW_BRAND = b"crx "

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = (_PNG, b"\xff\xd8\xff", b"GIF8", *_TIFF_STARTS)
# What a PNG looks like: transparency, colors, orientation and frames. A faulty comment must not make it unreadable.
_SHOWN_PNG_CHUNKS = {b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
_XMP = b"XML:com.adobe.xmp\0"
_LARGEST_PROFILE = 16_711_425
"""As large as a color profile in a JPEG can be: 255 segments of 65,535 bytes."""
_LARGEST_XMP = 1_000_000

# Tags and values of TIFF 6.0, its supplements, DNG and TIFF/EP.
_WIDTH, _HEIGHT, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 256, 257, 262, 330, 50706
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_RAW_PHOTOMETRICS = (32803, 34892)
_MAX_DIRECTORIES = 1000
_NICENESS = 5
_CRASHED = 2
"""Exit code of the process after an unexpected error."""
_PREVIEW_SHARE = 4
"""A page is taken for a preview if another one has more than so many times its pixels."""


PROGRESS = b"progress "
"""Begins a line of `run_worker` about its progress."""
_REPORT_INTERVAL = 0.25
"""Seconds."""


class TooManyPixels(ImageError):
    """The picture has more pixels than the limit."""


@dataclass(frozen=True, slots=True)
class NormalizedImage:
    """An image to upload.

    Attributes:
        changes: how it differs from the input; empty if it is the input itself.
        size: width and height of the input in pixels, as it is shown.
    """

    data: bytes
    media_type: str
    changes: tuple[str, ...] = ()
    size: tuple[int, int] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a picture that is used, in shares of its width and height as it is shown."""

    left: float
    top: float
    width: float
    height: float

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut off."""
        return min(self.width, self.height) >= 1


@dataclass(frozen=True, slots=True)
class ImagePreview:
    """A small JPEG of an image, and the width and height of the image itself as it is shown."""

    data: bytes
    size: tuple[int, int]


@dataclass(slots=True)
class _OpenedImage:
    """An image that was opened.

    Attributes:
        data: what can be uploaded if nothing has to be converted.
        size: width and height as it is shown. `image` may be smaller once its pixels have been read, or turned.
        is_selected: whether `data` contains more images than this one.
        is_turned: whether it is not stored upright.
        changes: how `data` differs from the input, and `image` from it.
    """

    image: Image.Image
    data: bytes
    size: tuple[int, int]
    is_selected: bool
    is_turned: bool = field(init=False)
    changes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        orientation = _get_orientation(self.image)
        self.is_turned = orientation != 1
        # The orientations from 5 turn it by a quarter.
        if orientation > 4:
            self.size = self.size[::-1]


def normalize(data: bytes, max_pixels: int = MAX_PIXELS, crop: Crop | None = None) -> NormalizedImage:
    """Convert an image to what the API accepts, if it is not that already. Raise `ImageError` if it is unusable.

    This can take any time and up to three gigabytes of memory: see `media.decoder`.
    """
    decoded = _decode(data, max_pixels)
    image, changes = decoded.image, decoded.changes
    source_format = str(image.format)
    must_convert = decoded.is_selected or image.mode not in _UNCHANGED_MODES or crop is not None
    if source_format not in ACCEPTED_FORMATS:
        changes.insert(0, f"converted from {source_format}")
        must_convert = True
    if decoded.is_turned:
        changes.append("turned upright")
        must_convert = True
    is_small = len(data) <= LARGEST_UPLOAD
    if is_small and not must_convert:
        return NormalizedImage(decoded.data, ACCEPTED_FORMATS[source_format], tuple(changes), decoded.size)
    converted, size = _convert(image), decoded.size
    if crop:
        # What is cut off is measured in pixels of the input, which may have been scaled down.
        size = _get_size(_find_box(crop, size))
        converted = converted.crop(_find_box(crop, converted.size))
    encoded, target_format, result = encode(converted, LARGEST_UPLOAD)
    if result.size != size:
        changes.append(f"scaled to {result.width}x{result.height}")
    elif not is_small:
        changes.append(f"compressed to {len(encoded) / 1e6:.1f} MB")
    return NormalizedImage(encoded, ACCEPTED_FORMATS[target_format], tuple(changes), size)


def _find_box(crop: Crop, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Find the left, upper, right and lower edge of a crop in pixels; it has at least one of them."""
    (left, right), (top, bottom) = (
        _find_edges(crop.left, crop.width, size[0]),
        _find_edges(crop.top, crop.height, size[1]),
    )
    return left, top, right, bottom


def _find_edges(start: float, length: float, pixels: int) -> tuple[int, int]:
    first = min(pixels - 1, round(start * pixels))
    return first, max(first + 1, min(pixels, round((start + length) * pixels)))


def _get_size(box: tuple[int, int, int, int]) -> tuple[int, int]:
    left, top, right, bottom = box
    return right - left, bottom - top


def make_image_preview(data: bytes, max_pixels: int = MAX_PIXELS) -> ImagePreview:
    """Build an upright JPEG of at most 200 kB and 768 pixels. Raise `ImageError` if the image is unusable."""
    decoded = _decode(data, max_pixels)
    return ImagePreview(_shrink(decoded.image), decoded.size)


def _shrink(image: Image.Image) -> bytes:
    small = _put_on_white(_convert(image))
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return encode(small, LARGEST_THUMBNAIL)[0]


def make_thumbnail(data: bytes, max_pixels: int = MAX_PIXELS) -> bytes:
    """Build a JPEG of at most 200 kB. Raise `ImageError` if the image is unusable."""
    image = _decode(data, max_pixels).image
    if image.format == "JPEG" and len(data) <= LARGEST_THUMBNAIL:
        return data
    return _shrink(image)


def measure(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Get the width and height of an image as it is shown, from its header. Raise `ImageError` if it is unusable."""
    return _open(data, max_pixels).size


def _import_decoders(data: bytes) -> tuple[str, ...]:
    """Import the decoders that may be able to read the data, because each costs time; Pillow's names of them."""
    if data[4:8] == b"ftyp":
        from pi_heif import register_heif_opener  # type: ignore[import-untyped]
        from PIL import AvifImagePlugin

        # Each thread takes memory for itself. The other one has this limit from the start.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 4
        register_heif_opener()
        return ("AVIF", "HEIF")
    if data[:4] == b"RIFF":
        import PIL.WebPImagePlugin  # noqa: F401 - registers itself

        return ("WEBP",)
    if data[:4] in _TIFF_STARTS:
        return ("TIFF",)
    return ("JPEG", "PNG", "GIF", "BMP")


def _open(data: bytes, max_pixels: int) -> _OpenedImage:
    """Read an image's header, and select the picture among those that the file contains."""
    from PIL import Image, PngImagePlugin, UnidentifiedImageError

    _check_kind(data)
    # Only once: `warnings.catch_warnings` is not safe in threads, and can leave every warning ignored.
    if PngImagePlugin.MAX_TEXT_CHUNK != _LARGEST_PROFILE:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        PngImagePlugin.MAX_TEXT_CHUNK = _LARGEST_PROFILE
    # Pillow only warns of more pixels than this, and rejects more than twice as many.
    Image.MAX_IMAGE_PIXELS = max_pixels // 2
    formats = _import_decoders(data)
    try:
        if formats == ("TIFF",):
            return _open_tiff(data, max_pixels)
        return _open_other(data, formats)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise TooManyPixels(_TOO_MANY.format(max_pixels // 1_000_000)) from None
    except Exception as error:  # noqa: BLE001 - see `_decoder_errors`
        is_picture = data.startswith(_SIGNATURES) or data[8:12] in _PICTURE_BRANDS
        if is_picture or not isinstance(error, UnidentifiedImageError):
            raise ImageError(DAMAGED) from None
        reason = _VIDEO if data[4:8] == b"ftyp" else "is not a picture that can be read"
        raise ImageError(f"{reason}; JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF and BMP are supported") from None


def _check_kind(data: bytes) -> None:
    """Raise `ImageError` if it is recognized as something else than a picture."""
    if not data:
        raise ImageError("is empty")
    start = data[:512].lstrip().lower()
    for signatures, reason in _OTHER_FILES.items():
        if start.startswith(signatures):
            raise ImageError(reason)
    if data[8:12] == _CANON_RAW_BRAND:
        raise ImageError(_RAW)


def _open_tiff(data: bytes, max_pixels: int) -> _OpenedImage:
    from PIL.TiffImagePlugin import TiffImageFile

    page, pages = _find_page(data)
    image = TiffImageFile(io.BytesIO(data))
    image.seek(page)
    # Pillow checks only the first page.
    if image.width * image.height > max_pixels:
        raise TooManyPixels(_TOO_MANY.format(max_pixels // 1_000_000))
    # Pillow turns it when it reads the pixels, and exchanges width and height sometimes before.
    opened = _OpenedImage(image, data, (image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]), is_selected=pages > 1)
    if pages > 1:
        opened.changes.append(f"page {page + 1} only")
    return opened


def _open_other(data: bytes, formats: tuple[str, ...]) -> _OpenedImage:
    from PIL import Image

    shown = intact = data
    if data.startswith(_PNG):
        shown, intact = _clean_png(data)
    image = Image.open(io.BytesIO(shown), formats=formats)
    is_animated = image.format not in _NEVER_ANIMATED and getattr(image, "is_animated", False)
    opened = _OpenedImage(image, intact, image.size, is_selected=is_animated)
    if intact is not data:
        opened.changes.append("without damaged metadata")
    if is_animated:
        opened.changes.append("first frame only")
        if image.info.get("default_image"):
            # It is for programs that cannot show animations, and not one of the frames.
            image.seek(1)
    return opened


def _decode(data: bytes, max_pixels: int) -> _OpenedImage:
    """Decode an image completely, so that one that is cut short is not uploaded."""
    opened = _open(data, max_pixels)
    width, height = opened.image.size
    is_large = width * height > MAX_CONVERTED_PIXELS
    # Some decoders report a lack of memory as if the file were damaged.
    with _decoder_errors(_UNDECODABLE if is_large else DAMAGED):
        if is_large:
            # A JPEG can be decoded to a half, a quarter or an eighth of its size, with less memory.
            scale = (MAX_CONVERTED_PIXELS / (width * height)) ** 0.5
            opened.image.draft(None, (int(width * scale), int(height * scale)))
        opened.image.load()
    return opened


def _clean_png(data: bytes) -> tuple[bytes, bytes]:
    """Get what a PNG looks like, without other chunks, and the PNG without damaged optional chunks.

    The latter is `data` itself if there are none.
    """
    shown, intact = [data[:8]], [data[:8]]
    position, is_damaged = 8, False
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + length + 12]
        position += length + 12
        # The case of the first letter is the bit that makes a chunk optional.
        if not kind[:1].islower() or position > len(data):
            shown.append(chunk)
            intact.append(chunk)
        elif zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            is_damaged = True
        else:
            intact.append(chunk)
            if _is_shown(kind, chunk[8:-4]):
                shown.append(chunk)
        if kind == b"IEND":
            break
    return b"".join(shown), b"".join([*intact, data[position:]]) if is_damaged else data


def _is_shown(kind: bytes, content: bytes) -> bool:
    """Whether an optional chunk matters to what a PNG looks like, and can be read."""
    if kind == b"iCCP":
        method_and_data = content.partition(b"\0")[2]
        return method_and_data[:1] == b"\0" and _can_inflate(method_and_data[1:], _LARGEST_PROFILE)
    if kind == b"iTXt" and content.startswith(_XMP):
        # Two flags, a language and a translated keyword are before the text, which may have the orientation.
        is_compressed = content[len(_XMP) :][:1] == b"\1"
        text = content[len(_XMP) + 2 :].split(b"\0", 2)[-1]
        return _can_inflate(text, _LARGEST_XMP) if is_compressed else len(text) <= _LARGEST_XMP
    return kind in _SHOWN_PNG_CHUNKS


def _can_inflate(data: bytes, limit: int) -> bool:
    decompressor = zlib.decompressobj()
    try:
        decompressor.decompress(data, limit)
    except zlib.error:
        return False
    return not decompressor.unconsumed_tail


def _find_page(data: bytes) -> tuple[int, int]:
    """Find the picture of a TIFF file: the index of its directory, and the number of directories.

    It is the first one that is not a preview: neither marked as one, nor much smaller than another one.

    Raises:
        ImageError: it is a raw photo, or the picture is in a directory that cannot be decoded.
    """
    # Canon's raw photos begin with a large preview, which would pass for the picture.
    if data[8:10] == b"CR":
        raise ImageError(_RAW)
    areas: list[int] = []
    largest_sub, has_previews = 0, False
    for directory in _directories(data):
        subs = [_read_directory(data, offset) for offset in _get_offsets(directory)]
        for each in (directory, *subs):
            if _DNG_VERSION in each or each.get(_PHOTOMETRIC) in _RAW_PHOTOMETRICS:
                raise ImageError(_RAW)
        areas.append(_get_area(directory))
        largest_sub = max([largest_sub, *map(_get_area, subs)])
        has_previews = has_previews or _is_preview(directory)
    largest = max(areas, default=0)
    if (has_previews and not largest) or largest_sub > _PREVIEW_SHARE * max(largest, 1):
        raise ImageError(_PREVIEW)
    page = next((number for number, area in enumerate(areas) if area * _PREVIEW_SHARE >= largest), 0)
    return page, len(areas)


def _directories(data: bytes) -> Iterator[Any]:
    """Yield the directories (IFDs) of a TIFF file that are linked with each other, the first one first."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    offset = ImageFileDirectory_v2(_get_header(data)).next
    visited: set[int] = set()
    while offset and offset not in visited and len(visited) < _MAX_DIRECTORIES:
        visited.add(offset)
        directory = _read_directory(data, offset)
        yield directory
        offset = directory.next


def _get_header(data: bytes) -> bytes:
    # BigTIFF, as Pillow recognizes it, has a longer one.
    return data[:16] if data[2] == 43 else data[:8]


def _read_directory(data: bytes, offset: int) -> Any:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2(_get_header(data))
    # What follows the last directory is 0; so is what cannot be read.
    directory.next = 0
    file = io.BytesIO(data)
    file.seek(min(offset, len(data)))
    with suppress(OSError, struct.error, SyntaxError):
        directory.load(file)
    return directory


def _get_offsets(directory: Any) -> list[int]:
    value = directory.get(_SUB_DIRECTORIES, ())
    offsets = value if isinstance(value, tuple) else (value,)
    return [offset for offset in offsets if isinstance(offset, int)][:_MAX_DIRECTORIES]


def _get_area(directory: Any) -> int:
    """Get the number of pixels of a TIFF directory; 0 for a preview or a mask."""
    return 0 if _is_preview(directory) else int(directory.get(_WIDTH, 0)) * int(directory.get(_HEIGHT, 0))


def _is_preview(directory: Any) -> bool:
    return bool(int(directory.get(_NEW_SUBFILE_TYPE, 0)) & 0b101) or directory.get(_SUBFILE_TYPE) == 2


@contextmanager
def _decoder_errors(reason: str = DAMAGED) -> Iterator[None]:
    """Raise `ImageError` for whatever a decoder raises."""
    try:
        yield
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - decoders raise exceptions of any kind on damaged data
        raise ImageError(reason) from None


def _get_orientation(image: Image.Image) -> int:
    """Get the orientation of Exif, or else of XMP, from 1 (upright) to 8; 1 if there is none or it is invalid."""
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
        if is_transparent:
            image = image.convert("RGBA")
        elif image.mode not in ("L", "CMYK"):
            image = image.convert("RGB")
        pixels = image.width * image.height
        if pixels > MAX_CONVERTED_PIXELS:
            # Before everything else, because each of the following steps makes a copy.
            scale = (MAX_CONVERTED_PIXELS / pixels) ** 0.5
            image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
        alpha = image.getchannel("A") if is_transparent else None
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
        # Drop comments, the profile, which has been applied, and metadata that Pillow may be unable to write.
        image.info = {}
        image.getexif()[_ORIENTATION] = orientation
        ImageOps.exif_transpose(image, in_place=True)
        image.thumbnail((_LONGEST_JPEG_SIDE, _LONGEST_JPEG_SIDE))
    return image


def encode(image: Image.Image, max_bytes: int) -> tuple[bytes, str, Image.Image]:
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


def run_worker() -> None:
    """Carry out the one task that stdin contains, and end: the process that `media.decoder` starts.

    On stdin: a line of JSON with `task`, the `max_pixels`, `memory` (bytes), `processor_seconds` and `seconds` that it
    may take, and the `length` of the image that follows, or of a clip's path, or of JSON about clips. On stdout: an
    empty line once it begins to decode; for a film, lines with `PROGRESS` and the share that is done; then a line of
    JSON, and the bytes of the resulting image. Without the latter, it took too much or crashed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = json.loads(sys.stdin.buffer.readline())
    _limit_process(request["memory"], request["processor_seconds"])
    _Reporter.seconds = request["seconds"]
    data = sys.stdin.buffer.read(request["length"])
    # After the image, the other end stays open for as long as somebody waits for the result.
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()
    try:
        reply, result = _carry_out(request["task"], data, request["max_pixels"])
    except Exception:  # noqa: BLE001 - decoders raise exceptions of any kind on damaged data
        # Python's own exit code is that of the timer.
        os._exit(_CRASHED)
    sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n" + result)
    sys.stdout.buffer.flush()
    # Exit at once: freeing everything takes time.
    os._exit(0)


def _carry_out(task: str, data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    try:
        return _TASKS[task](data, max_pixels)
    except MemoryError:
        return {"exceeds": "memory"}, b""
    except TooManyPixels as error:
        return {"exceeds": "pixels", "reason": error.reason}, b""
    except ClipError as error:
        return {"reason": error.reason, "index": error.index}, b""
    except ImageError as error:
        return {"reason": error.reason}, b""


def _reply_normalized(data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    image = normalize(data, max_pixels)
    return {"media_type": image.media_type, "changes": image.changes, "size": image.size}, image.data


def _reply_cropped(data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    crop, _, image = data.partition(b"\n")
    cropped = normalize(image, max_pixels, Crop(**json.loads(crop)))
    return {"media_type": cropped.media_type, "changes": cropped.changes, "size": cropped.size}, cropped.data


def _reply_image_preview(data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    preview = make_image_preview(data, max_pixels)
    return {"size": preview.size}, preview.data


def _reply_clip(data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    from luma_mcp.media.clips import encode_frame, read_clip

    frame, seconds = read_clip(data.decode(), max_pixels)
    return {"size": frame.size, "seconds": seconds}, encode_frame(frame, LARGEST_UPLOAD)


def _reply_facts(data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    from luma_mcp.media.films import probe

    return {"facts": asdict(probe(json.loads(data)["path"], max_pixels))}, b""


def _reply_sheet(data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    from luma_mcp.media.films import make_sheet

    request = json.loads(data)
    sheet = make_sheet([SheetRow(*row) for row in request["rows"]], request["frames"], max_pixels)
    return {"times": sheet.times}, sheet.data


def _reply_still(data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    from luma_mcp.media.films import make_still

    return {}, make_still(json.loads(data)["path"], max_pixels)


def _reply_preview(data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    from luma_mcp.media.films import make_preview

    request = json.loads(data)
    make_preview(request["path"], request["target"], max_pixels)
    return {}, b""


def _reply_joined(data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    from luma_mcp.media.films import join

    request = json.loads(data)
    plan = JoinPlan(tuple(request["paths"]), request["target"], tuple(request["crossfades"]))
    try:
        joined = join(plan, max_pixels, _Reporter.report)
    except OSError as error:
        return {"errno": error.errno}, b""
    return {"facts": asdict(joined.facts), "is_reencoded": joined.is_reencoded}, b""


_TASKS: dict[str, Callable[[bytes, int], tuple[dict[str, Any], bytes]]] = {
    "normalize": _reply_normalized,
    "crop": _reply_cropped,
    "image_preview": _reply_image_preview,
    "thumbnail": lambda data, max_pixels: ({}, make_thumbnail(data, max_pixels)),
    "measure": lambda data, max_pixels: ({"size": measure(data, max_pixels)}, b""),
    "clip": _reply_clip,
    "probe": _reply_facts,
    "sheet": _reply_sheet,
    "still": _reply_still,
    "preview": _reply_preview,
    "join": _reply_joined,
}
"""What `media.decoder` asks for: each gives what the reply says, and the resulting image."""


class _Reporter:
    """Reports progress, and gives the process more time whenever it does.

    Attributes:
        seconds: from one report to the next.
    """

    seconds = 0.0
    _next_at = 0.0

    @classmethod
    def report(cls, share: float) -> None:
        """Report the share that is done, but not too often."""
        now = time.monotonic()
        if now < cls._next_at:
            return
        cls._next_at = now + _REPORT_INTERVAL
        faulthandler.dump_traceback_later(cls.seconds, exit=True, file=sys.stderr)
        sys.stdout.buffer.write(b"%s%.4f\n" % (PROGRESS, share))
        sys.stdout.buffer.flush()


def _limit_process(memory: int, seconds: int) -> None:
    """Limit the address space and processor time of this process, where the system can, and let others go first."""
    with suppress(ImportError):
        import resource

        limits = {resource.RLIMIT_AS: memory, resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0}
        for kind, limit in limits.items():
            # macOS does not know a limit of the address space.
            with suppress(OSError, ValueError):
                resource.setrlimit(kind, (limit, limit))
        os.nice(_NICENESS)


def _exit_at_end_of_input() -> None:
    # Not through `sys.stdin`, whose lock would be held when the interpreter ends.
    while os.read(0, 1):
        pass
    os._exit(1)
