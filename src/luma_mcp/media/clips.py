"""Read a clip: its last frame, size and length. Needs PyAV (`av`), which the extra `film` installs.

`read_clip` runs in processes that `media.decoder` starts, because a video can be made to take hours or crash.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luma_mcp.media.sources import ImageError, open_without_following

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.filter import Graph
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL import Image

LARGEST_CLIP = 500_000_000
"""Bytes of a video that is read: four times what 30 s in 1080p take at a high bit rate."""
CLIP_TIMEOUT = 180.0
"""Seconds that fetching a video may take."""
DAMAGED_CLIP = "is damaged or cut short"
_NO_MP4 = "is not an MP4 video"
# The boxes with which a file of this format can begin.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_TOO_LARGE = "has more than {} million pixels"
_SECONDS_TOLERANCE = 0.5
"""How much earlier than the clip's end its last frame may be shown: longer than a frame of any usual rate."""
# Other formats can name further files and addresses to read.
_FORMAT = "mp4"
# ITU-T H.273: a matrix that is not stated, and those of BT.709, BT.2020 and BT.601.
BT709, BT2020 = 1, 9
_UNSTATED, _BT601 = 2, 6
_SMALLEST_HD = 720
# By transfer characteristics (ITU-T H.273): from the signal of PQ and HLG to light, as a share of 1000 cd/m² (ITU-R
# BT.2100). Of HLG, the light of the display per channel.
_TO_LIGHT = {
    16: (
        "10*pow(max(pow(val/maxval,1/78.84375)-0.8359375,0)"
        "/(18.8515625-18.6875*pow(val/maxval,1/78.84375)),1/0.1593017578125)"
    ),
    18: "pow(if(lte(val/maxval,0.5),pow(val/maxval,2)/3,(exp((val/maxval-0.55991073)/0.17883277)+0.28466892)/12),1.2)",
}
# From the primaries of BT.2020 to those of BT.709 (ITU-R BT.2087).
_TO_BT709 = "rr=1.6605:rg=-0.5876:rb=-0.0728:gr=-0.1246:gg=1.1329:gb=-0.0083:br=-0.0182:bg=-0.1006:bb=1.1187"
# In `ld(0)` the light as a share of white, which has 203 cd/m² (ITU-R BT.2408): unchanged up to 0.6, and compressed
# above, so that what is brighter than white keeps its shades. Then the transfer function of sRGB (IEC 61966-2-1).
_TO_SRGB = (
    "st(0,val/maxval*1000/203);st(0,if(lt(ld(0),0.6),ld(0),0.6+0.4*(1-exp((0.6-ld(0))/0.4))));"
    "maxval*if(lte(ld(0),0.0031308),12.92*ld(0),1.055*pow(ld(0),1/2.4)-0.055)"
)


class PyAvMissing(ImageError):
    """PyAV is not installed, or does not work here."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What was read of a clip: its last frame as a PNG or JPEG, its width and height in pixels, and its seconds."""

    frame: bytes
    size: tuple[int, int]
    seconds: float


class ClipError(ImageError):
    """One of several clips cannot be used. `index`: its position, counted from 0."""

    def __init__(self, reason: str, index: int) -> None:
        super().__init__(reason)
        self.index = index


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What a video file is.

    Attributes:
        size: width and height as it is shown, upright, in pixels.
        frame_rate: frames per second, on average.
        codec: FFmpeg's name, such as "h264" or "hevc".
        is_hdr: whether its transfer characteristics are PQ or HLG.
    """

    size: tuple[int, int]
    seconds: float
    frame_count: int
    frame_rate: float
    codec: str
    is_hdr: bool
    has_sound: bool


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A clip of a contact sheet: its file, and the label of its frames."""

    path: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """A contact sheet: a JPEG, and for each row the times of its frames in seconds, as they are labelled."""

    data: bytes
    times: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """A film to make.

    Attributes:
        paths: the files of its clips, in order.
        target: the file to write, which must not exist.
        crossfades: for each clip but the first, the seconds for which it overlaps the one before it; 0 for a cut.
    """

    paths: tuple[str, ...]
    target: str
    crossfades: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class JoinedClip:
    """A film that was written: what its file is, and whether its clips were encoded again."""

    facts: ClipFacts
    is_reencoded: bool


@contextmanager
def open_clip(path: str, max_pixels: int, threads: int = 1) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open an MP4 file to read its pictures. What goes wrong meanwhile is raised as `ImageError`.

    `path`: its real path, without links.
    """
    try:
        import av
    except ImportError:
        raise PyAvMissing("cannot be read, because PyAV does not work here") from None
    head = b""
    try:
        # A link that has taken the place of a part of the path since that was checked is not followed.
        with ExitStack() as stack:
            file = stack.enter_context(open(path, "rb", opener=open_without_following))
            head = file.read(8)
            file.seek(0)
            options = {"protocol_whitelist": "file"}
            container = stack.enter_context(av.open(file, "r", format=_FORMAT, options=options))
            if not container.streams.video:
                raise ImageError("has no pictures")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                # The index does not say how to decode it.
                raise ImageError(DAMAGED_CLIP)
            check_pixels(stream, max_pixels)
            # Each thread takes memory for itself.
            stream.codec_context.thread_count = threads
            yield container, stream
    except MemoryError:
        raise
    except (av.FFmpegError, ArithmeticError, ValueError, OSError):
        is_mp4 = not head or head.endswith(_FIRST_BOXES)
        raise ImageError(DAMAGED_CLIP if is_mp4 else _NO_MP4) from None


def check_pixels(picture: VideoStream | VideoFrame, max_pixels: int) -> None:
    """Raise `ImageError` if a picture is too large. A frame can have another size than its file states."""
    if picture.width * picture.height > max_pixels:
        raise ImageError(_TOO_LARGE.format(max_pixels // 1_000_000))


def read_clip(path: str, max_pixels: int) -> tuple[Image.Image, float]:
    """Get the last frame that is shown of an MP4 file, in the colors of sRGB, and the clip's seconds.

    Raise `ImageError` if it cannot be read.
    """
    with open_clip(path, max_pixels) as (container, stream):
        frame = _decode_last(container, stream)
        end = _get_end(container, stream)
        shown_at = float(frame.time or 0.0)
        if end - shown_at > _SECONDS_TOLERANCE:
            # The file is shorter than its index states.
            raise ImageError(DAMAGED_CLIP)
        return FrameConverter(stream, max_pixels).convert(frame), end


def encode_frame(image: Image.Image, max_bytes: int) -> bytes:
    """Encode a frame as a PNG, which loses nothing, or as a JPEG if that would have more bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    if buffer.tell() > max_bytes:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _decode_last(container: InputContainer, stream: VideoStream) -> VideoFrame:
    """Decode from the last frame that needs no other one to the end; else, without an index, the whole file."""
    last: VideoFrame | None = None
    if container.duration:
        container.seek(container.duration)
        last = _find_last(container, stream)
    if last is None:
        container.seek(0)
        last = _find_last(container, stream)
    if last is None:
        raise ImageError(DAMAGED_CLIP)
    return last


def _find_last(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """Decode the rest of the file; the frame of it that is shown last."""
    last: VideoFrame | None = None
    for frame in container.decode(stream):
        if last is None or (frame.time or 0.0) >= (last.time or 0.0):
            last = frame
    return last


def _get_end(container: InputContainer, stream: VideoStream) -> float:
    """Get the seconds at which the clip ends, by its index."""
    if stream.duration and stream.time_base:
        return float((stream.start_time or 0) * stream.time_base + stream.duration * stream.time_base)
    return (container.duration or 0) / 1_000_000


def is_hdr(stream: VideoStream) -> bool:
    """Whether a clip is in PQ or HLG."""
    return stream.codec_context.color_trc in _TO_LIGHT


def get_matrix(frame: VideoFrame) -> int:
    """Get the matrix (ITU-T H.273) of a frame's colors, or the one that players assume if it is not stated."""
    if frame.colorspace != _UNSTATED:
        return frame.colorspace
    return BT709 if min(frame.width, frame.height) >= _SMALLEST_HD else _BT601


@dataclass(slots=True)
class FrameConverter:
    """Converts the frames of a clip to upright pictures in sRGB.

    Attributes:
        box: the width and height that a picture may have at most, in pixels; None to keep the size.
    """

    stream: VideoStream
    max_pixels: int
    box: tuple[int, int] | None = None
    _graph: FrameGraph | None = None

    def convert(self, frame: VideoFrame) -> Image.Image:
        """Convert a frame."""
        check_pixels(frame, self.max_pixels)
        rotation = get_rotation(frame)
        width, height = get_shown_size(self.stream, frame)
        if self.box:
            width, height = fit((width, height), self.box)
        if rotation % 180:
            width, height = height, width
        if is_hdr(self.stream):
            self._graph = self._graph or FrameGraph(self.stream)
            frame = self._graph.convert(frame, tone_mapping(self.stream, (width, height), "rgb24"))
        else:
            frame = frame.reformat(width, height, "rgb24", src_colorspace=get_matrix(frame))
        image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
        return image.rotate(rotation, expand=True) if rotation else image


@dataclass(slots=True)
class FrameGraph:
    """Sends the frames of a clip through filters, each of which makes one frame of one."""

    stream: VideoStream
    _graph: Graph | None = None
    _input: tuple[object, ...] = ()

    def convert(self, frame: VideoFrame, steps: Sequence[tuple[str, str]]) -> VideoFrame:
        """Get what the filters make of a frame. `steps`: names and options."""
        # Preparing the filters takes longer than one frame. The size of frames can change within a clip.
        description = (frame.width, frame.height, frame.format.name, *steps)
        if self._graph is None or self._input != description:
            self._graph, self._input = self._build(frame, steps), description
        self._graph.push(frame)
        return self._graph.pull()  # type: ignore[return-value]

    def _build(self, frame: VideoFrame, steps: Sequence[tuple[str, str]]) -> Graph:
        from av.filter import Graph

        graph = Graph()
        # As in decoding.
        graph.threads = 1
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self.stream.time_base
        )
        filters = [graph.add(name, options) for name, options in steps]
        graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
        return graph


def get_rotation(frame: VideoFrame) -> int:
    """Get by how many degrees a frame is turned to be upright, counterclockwise: a multiple of 90."""
    return round(frame.rotation / 90) * 90 % 360


def get_shown_size(stream: VideoStream, frame: VideoFrame) -> tuple[int, int]:
    """Get the width and height of a frame as it is shown: upright, with square pixels."""
    ratio = stream.sample_aspect_ratio or 1
    width, height = max(1, round(frame.width * ratio)), frame.height
    return (height, width) if get_rotation(frame) % 180 else (width, height)


def fit(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """Scale a size down so that it fits into a box, without changing its shape."""
    scale = min(1.0, box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def tone_mapping(stream: VideoStream, size: tuple[int, int], pixel_format: str) -> list[tuple[str, str]]:
    """Build the filters that scale an HDR frame and map it to sRGB.

    FFmpeg's own mapping takes half a minute of preparation for one frame.
    """
    light, srgb = _TO_LIGHT[stream.codec_context.color_trc], _TO_SRGB
    # 16 bits for each color: in fewer, dark shades of light would be lost.
    return [
        ("scale", f"{size[0]}:{size[1]}:in_color_matrix=bt2020"),
        ("format", "gbrp16le"),
        ("lutrgb", f"r='maxval*{light}':g='maxval*{light}':b='maxval*{light}'"),
        ("colorchannelmixer", _TO_BT709),
        ("lutrgb", f"r='{srgb}':g='{srgb}':b='{srgb}'"),
        ("scale", "out_color_matrix=bt709:out_range=tv" if pixel_format.startswith("yuv") else ""),
        ("format", pixel_format),
    ]
