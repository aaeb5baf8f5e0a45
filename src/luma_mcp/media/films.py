"""Contact sheets, stills, previews and films. Needs PyAV (`av`), which the extra `film` installs.

All of this runs in processes that `media.decoder` starts, because a video can be made to take hours or crash.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from luma_mcp.media.clips import (
    DAMAGED_CLIP,
    ClipError,
    ClipFacts,
    ContactSheet,
    FrameConverter,
    JoinedClip,
    JoinPlan,
    PyAvMissing,
    SheetRow,
    check_pixels,
    fit,
    get_rotation,
    get_shown_size,
    is_hdr,
    open_clip,
)
from luma_mcp.media.images import LARGEST_THUMBNAIL, THUMBNAIL_SIDE, encode
from luma_mcp.media.sources import ImageError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL import Image

LARGEST_SHEET = 300_000
"""Bytes of a contact sheet."""
LARGEST_PREVIEW, PREVIEW_SIDE = 700_000, 640
"""Bytes of a preview, and pixels of its longer side."""
_MOST_FRAMES = 200_000
"""More than an hour at 50 frames per second."""
_LONGEST = 7200.0
"""Seconds of a clip. Damaged files can claim years."""
_HIGHEST_RATE = 120
# Each decodes a frame of its own, which takes memory.
_THREADS = 2

# The longer sides that models see without scaling them down, and a size of text that stays legible if they do.
_SHEET_BOX = (1568, 1176)
_GAP, _TIME_SIZE, _LABEL_SIZE = 8, 20, 26
# Of the time below a frame, with its text.
_TIME_HEIGHT = _TIME_SIZE + 6
_BACKGROUND, _TEXT = "#101014", "#f2f2f2"
_SHEET_QUALITIES = (88, 80, 72, 64, 56, 48, 40)

_BLACKEST = 12
"""The mean brightness, of 255, of a frame that counts as black."""
_SECONDS_TO_LEAVE_BLACK = 3.0


@dataclass(frozen=True, slots=True)
class _Scan:
    """What the packets of a clip and its first frame show.

    Attributes:
        rate: frames per second.
        is_regular: whether its frames follow each other at this rate.
        times: when its frames are shown, in the stream's time base, in ascending order.
        keyframes: the times of the frames from which decoding can begin.
        transfer: transfer characteristics (ITU-T H.273), which clips of one film have in common.
        copy_key: what must be equal in clips that are joined without encoding them again.
        is_copyable: whether it can be joined in this way at all.
    """

    facts: ClipFacts
    rate: Fraction
    is_regular: bool
    times: Sequence[int]
    keyframes: Sequence[int]
    time_base: Fraction
    transfer: int
    copy_key: tuple[object, ...]
    is_copyable: bool

    def get_time(self, number: int) -> float:
        """Get the seconds after which a frame is shown."""
        return float((self.times[number] - self.times[0]) * self.time_base)


def probe(path: str, max_pixels: int) -> ClipFacts:
    """Get what an MP4 file is. Raise `ImageError` if it cannot be read."""
    return _scan_file(path, max_pixels).facts


def make_sheet(rows: Sequence[SheetRow], frames: int, max_pixels: int) -> ContactSheet:
    """Build a contact sheet with so many frames of each clip: a JPEG of at most `LARGEST_SHEET` bytes.

    Raise `ClipError` if a clip cannot be read.
    """
    scans: list[_Scan] = []
    for index, row in enumerate(rows):
        with _naming(index):
            scans.append(_scan_file(row.path, max_pixels))
    frames = min(frames, max(scan.facts.frame_count for scan in scans))
    label_height = _LABEL_SIZE + _GAP if any(row.label for row in rows) else 0
    sheet = _Sheet(len(rows), frames, scans[0].facts.size, label_height)
    times: list[tuple[float, ...]] = []
    for index, (row, scan) in enumerate(zip(rows, scans, strict=True)):
        sheet.draw_label(index, row.label)
        numbers = _space_evenly(scan.facts.frame_count, frames)
        row_times = tuple(scan.get_time(number) for number in numbers)
        times.append(row_times)
        with _naming(index), open_clip(row.path, max_pixels, _THREADS) as (container, stream):
            converter = FrameConverter(stream, max_pixels, sheet.cell)
            for place, frame in enumerate(_decode_at(container, stream, scan, numbers)):
                sheet.draw_frame(index, place, converter.convert(frame), f"{row_times[place]:.1f} s")
    return ContactSheet(_encode_sheet(sheet.image), tuple(times))


def make_still(path: str, max_pixels: int) -> bytes:
    """Build a JPEG of at most `LARGEST_THUMBNAIL` bytes of the first frame that is not black.

    If a clip stays black, it is its brightest frame so far. Raise `ImageError` if it cannot be read.
    """
    from PIL import ImageStat

    brightest, best = -1.0, None
    with open_clip(path, max_pixels, _THREADS) as (container, stream):
        converter = FrameConverter(stream, max_pixels, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        for frame in container.decode(stream):
            image = converter.convert(frame)
            brightness = ImageStat.Stat(image.convert("L")).mean[0]
            if brightness > brightest:
                brightest, best = brightness, image
            if brightest > _BLACKEST or (frame.time or 0.0) > _SECONDS_TO_LEAVE_BLACK:
                break
    if best is None:
        raise ImageError(DAMAGED_CLIP)
    return encode(best, LARGEST_THUMBNAIL)[0]


def make_preview(path: str, target: str, max_pixels: int) -> None:
    raise NotImplementedError


def join(plan: JoinPlan, max_pixels: int, report: Callable[[float], None]) -> JoinedClip:
    raise NotImplementedError


@contextmanager
def _naming(index: int) -> Iterator[None]:
    """Add to an error which of several clips it is about."""
    try:
        yield
    except PyAvMissing:
        raise
    except ImageError as error:
        raise ClipError(error.reason, index) from None


def _scan_file(path: str, max_pixels: int) -> _Scan:
    with open_clip(path, max_pixels) as (container, stream):
        return _scan(container, stream, max_pixels)


def _scan(container: InputContainer, stream: VideoStream, max_pixels: int) -> _Scan:
    """Read all packets of a clip, and decode its first frame. What its index promises must be there."""
    packets = _Packets.read(container, stream)
    times = sorted(packets.times)
    keyframes = sorted(packets.keyframes)
    if not keyframes or stream.time_base is None or stream.frames > len(times) + packets.discarded:
        raise ImageError(DAMAGED_CLIP)
    container.seek(keyframes[0], stream=stream)
    first = next(container.decode(stream), None)
    if first is None:
        raise ImageError(DAMAGED_CLIP)
    check_pixels(first, max_pixels)
    seconds = float((packets.end - times[0]) * stream.time_base)
    rate, is_regular = _find_rate(stream, times, seconds)
    if is_regular:
        seconds = float(len(times) / rate)
    context = stream.codec_context
    codec = context.codec.canonical_name
    facts = ClipFacts(
        size=get_shown_size(stream, first),
        seconds=seconds,
        frame_count=len(times),
        frame_rate=float(rate),
        codec=codec,
        is_hdr=is_hdr(stream),
        has_sound=bool(container.streams.audio),
    )
    colors = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)
    picture = (context.pix_fmt, context.width, context.height, stream.sample_aspect_ratio, colors)
    copy_key = (codec, context.profile, picture, rate, bytes(context.extradata or b""))
    # Frames before the first keyframe, in the order of display, may need frames of the clip before it.
    begins_clean = packets.times[0] == times[0] == keyframes[0]
    is_copyable = is_regular and begins_clean and not packets.discarded and not get_rotation(first)
    return _Scan(facts, rate, is_regular, times, keyframes, stream.time_base, context.color_trc, copy_key, is_copyable)


@dataclass(slots=True)
class _Packets:
    """The packets of a clip, as they are stored.

    Attributes:
        times: when their frames are shown, in the stream's time base.
        keyframes: likewise, of those from which decoding can begin.
        end: when the last frame ends.
        discarded: number of frames that are stored but not shown.
    """

    times: list[int] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)
    end: int = 0
    discarded: int = 0

    @classmethod
    def read(cls, container: InputContainer, stream: VideoStream) -> _Packets:
        """Read all packets of a clip. Raise `ImageError` if there are too many, or damaged ones."""
        packets = cls()
        for packet in container.demux(stream):
            # The last one is empty.
            if packet.size:
                packets.add(packet)
        return packets

    def add(self, packet: Packet[VideoStream]) -> None:
        """Note a packet."""
        if packet.is_corrupt or packet.pts is None:
            raise ImageError(DAMAGED_CLIP)
        if len(self.times) == _MOST_FRAMES:
            raise ImageError("has too many frames")
        if packet.is_discard:
            self.discarded += 1
            return
        self.times.append(packet.pts)
        if packet.is_keyframe:
            self.keyframes.append(packet.pts)
        self.end = max(self.end, packet.pts + (packet.duration or 0))


def _find_rate(stream: VideoStream, times: Sequence[int], seconds: float) -> tuple[Fraction, bool]:
    """Find how many frames a second a clip has, and whether they are shown at regular intervals."""
    if seconds <= 0 or seconds > _LONGEST or stream.time_base is None:
        raise ImageError(DAMAGED_CLIP if seconds <= 0 else "claims to be longer than two hours")
    # Timestamps are rounded to a tick, or to a millisecond before.
    tolerance = max(Fraction(3, 2) * stream.time_base, Fraction(1, 900))
    for rate in (stream.guessed_rate, stream.average_rate):
        if rate:
            drift = [abs((time - times[0]) * stream.time_base - number / rate) for number, time in enumerate(times)]
            if max(drift) <= tolerance:
                return rate, True
    return Fraction(len(times) / seconds).limit_denominator(1001), False


def _space_evenly(count: int, frames: int) -> list[int]:
    """Choose so many of the frames 0 to `count` - 1, the first and the last one included; the middle one of one."""
    frames = min(frames, count)
    if frames == 1:
        return [count // 2]
    return [round(number * (count - 1) / (frames - 1)) for number in range(frames)]


def _decode_at(
    container: InputContainer, stream: VideoStream, scan: _Scan, numbers: Sequence[int]
) -> Iterator[VideoFrame]:
    """Decode the frames with these numbers, which ascend, and others only where they are needed for that."""
    wanted = [scan.times[number] for number in numbers]
    decoded = None
    reached = 0
    for time in wanted:
        keyframe = scan.keyframes[max(0, bisect_right(scan.keyframes, time) - 1)]
        if decoded is None or keyframe > reached:
            container.seek(keyframe, stream=stream)
            decoded = _decode_sparsely(container, stream, wanted)
        for frame in decoded:
            if frame.pts is not None and frame.pts >= time:
                reached = frame.pts
                yield frame
                break
        else:
            raise ImageError(DAMAGED_CLIP)


def _decode_sparsely(container: InputContainer, stream: VideoStream, wanted: Sequence[int]) -> Iterator[VideoFrame]:
    """Decode the rest of a clip without the unwanted frames that no other one depends on."""
    for packet in container.demux(stream):
        stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        yield from stream.decode(packet)


@dataclass(slots=True)
class _Sheet:
    """A contact sheet: for each clip its label, if there are labels, and lines of frames with their times below.

    Attributes:
        clips: their number.
        frames: of each clip.
        shape: width and height of the clips. Those of another shape are shown within the same area.
        cell: width and height of the area of a frame, in pixels, as large as possible.
        columns: frames in a line.
        label_height: pixels of a clip's label.
    """

    clips: int
    frames: int
    shape: tuple[int, int]
    label_height: int
    cell: tuple[int, int] = (0, 0)
    columns: int = 1
    image: Image.Image = field(init=False)

    def __post_init__(self) -> None:
        from PIL import Image

        best = (0, 0)
        for columns in range(1, self.frames + 1):
            lines = ceil(self.frames / columns)
            height = (_SHEET_BOX[1] - _GAP) // self.clips - self.label_height
            box = ((_SHEET_BOX[0] - _GAP) // columns - _GAP, height // lines - _TIME_HEIGHT - _GAP)
            cell = fit(self.shape, (max(1, box[0]), max(1, box[1])))
            # Among equally large ones, with as few empty places as possible.
            rank = (cell[0] * cell[1], self.frames - columns * lines)
            if rank > best or columns == 1:
                best, self.cell, self.columns = rank, cell, columns
        size = (self.columns * (self.cell[0] + _GAP) + _GAP, self._find_top(self.clips) + _GAP)
        self.image = Image.new("RGB", size, _BACKGROUND)

    def draw_label(self, clip: int, label: str) -> None:
        """Write a clip's label above its frames, as far as there is room."""
        self._write(label, (_GAP, self._find_top(clip) + _GAP), _LABEL_SIZE, self.image.width - 2 * _GAP)

    def draw_frame(self, clip: int, place: int, frame: Image.Image, label: str) -> None:
        """Show a frame in the middle of its place, with its time below."""
        line, column = divmod(place, self.columns)
        left = _GAP + column * (self.cell[0] + _GAP)
        top = self._find_top(clip) + self.label_height + _GAP + line * self._line_height
        x, y = left + (self.cell[0] - frame.width) // 2, top + (self.cell[1] - frame.height) // 2
        self.image.paste(frame, (x, y))
        self._write(label, (left, top + self.cell[1] + 2), _TIME_SIZE, self.cell[0])

    @property
    def _line_height(self) -> int:
        return self.cell[1] + _TIME_HEIGHT + _GAP

    def _find_top(self, clip: int) -> int:
        return clip * (self.label_height + ceil(self.frames / self.columns) * self._line_height)

    def _write(self, text: str, position: tuple[int, int], size: int, width: int) -> None:
        from PIL import ImageDraw, ImageFont

        draw, font = ImageDraw.Draw(self.image), ImageFont.load_default(size)
        shown = text
        while shown and draw.textlength(shown, font) > width:
            text = text[:-1]
            shown = text and f"{text}…"
        draw.text(position, shown, _TEXT, font)


def _encode_sheet(image: Image.Image) -> bytes:
    """Encode a contact sheet with the best quality with which it is not too large."""
    for quality in _SHEET_QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= LARGEST_SHEET:
            return buffer.getvalue()
    return encode(image, LARGEST_SHEET)[0]
