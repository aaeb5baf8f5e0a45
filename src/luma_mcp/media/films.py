"""Contact sheets, stills, previews and films. Needs PyAV (`av`), which the extra `film` installs.

All of this runs in processes that `media.decoder` starts, because a video can be made to take hours or crash.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice, pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from luma_mcp.media.clips import (
    BT709,
    BT2020,
    DAMAGED_CLIP,
    ClipError,
    ClipFacts,
    ContactSheet,
    FrameConverter,
    FrameGraph,
    JoinedClip,
    JoinPlan,
    PyAvMissing,
    SheetRow,
    check_pixels,
    fit,
    get_matrix,
    get_rotation,
    get_shown_size,
    is_hdr,
    open_clip,
    tone_mapping,
)
from luma_mcp.media.images import LARGEST_THUMBNAIL, THUMBNAIL_SIDE, encode
from luma_mcp.media.sources import ImageError

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.filter.context import FilterContext
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
_LOWEST_RATE, _HIGHEST_RATE = 1, 120
_RATES = f"{_LOWEST_RATE} to {_HIGHEST_RATE}"
# The highest bit rate of a preview; how much less than that to try, because encoders miss it; frames per second.
_PREVIEW_BITS, _PREVIEW_FACTORS, _PREVIEW_RATE = 4_000_000, (0.9, 0.7, 0.45), 30
# Each decodes a frame of its own, which takes memory.
_THREADS = 2

# The longer sides that models see without scaling them down, and a size of text that stays legible if they do.
_SHEET_BOX = (1568, 1176)
_GAP, _TIME_SIZE, _LABEL_SIZE = 8, 20, 26
# Pixels for the time below a frame.
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
        places: for each of these times its position.
        keyframes: the times of the frames from which decoding can begin.
        transfer: transfer characteristics (ITU-T H.273), which clips of one film have in common.
        delay: by how many frames decoding is ahead of showing.
        copy_key: what must be equal in clips that are joined without encoding them again.
        is_copyable: whether it can be joined in this way at all.
    """

    facts: ClipFacts
    rate: Fraction
    is_regular: bool
    times: Sequence[int]
    places: dict[int | None, int]
    keyframes: Sequence[int]
    time_base: Fraction
    transfer: int
    delay: int
    copy_key: tuple[object, ...]
    is_copyable: bool

    def check_fits(self, first: _Scan) -> None:
        """Raise `ImageError` if this clip cannot be joined with the first one of a film."""
        if not _LOWEST_RATE <= self.rate <= _HIGHEST_RATE:
            raise ImageError(f"has {float(self.rate):g} frames per second, and only {_RATES} can be joined")
        if self.facts.is_hdr != first.facts.is_hdr:
            raise ImageError("cannot be joined with the first one, because only one of them is in HDR")
        if self.facts.is_hdr and self.transfer != first.transfer:
            raise ImageError("cannot be joined with the first one, because one is in PQ and the other in HLG")

    def count_repeats(self, rate: Fraction) -> list[int]:
        """Count for each frame how often it is shown in a film with this frame rate."""
        starts = [round((time - self.times[0]) * self.time_base * rate) for time in self.times]
        total = max(1, round(Fraction(self.facts.seconds) * rate))
        return [max(0, end - start) for start, end in pairwise([*starts, max(total, starts[-1])])]

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
    has_labels = any(row.label for row in rows)
    label_height = has_labels * (_LABEL_SIZE + _GAP)
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
    """Write a small SDR copy of a clip: an MP4 of at most `LARGEST_PREVIEW` bytes.

    Raise `ImageError` if the clip cannot be read or is too long for that, and `OSError` if it cannot be written.
    """
    scan = _scan_file(path, max_pixels)
    bits_per_second = min(_PREVIEW_BITS, 8 * LARGEST_PREVIEW / scan.facts.seconds)
    for factor in _PREVIEW_FACTORS:
        bits = round(bits_per_second * factor)
        options = {"preset": "veryfast", "crf": "24", "maxrate": str(bits), "bufsize": str(bits)}
        size = _make_even(fit(scan.facts.size, (PREVIEW_SIDE, PREVIEW_SIDE)))
        rate = max(Fraction(_LOWEST_RATE), min(scan.rate, Fraction(_PREVIEW_RATE)))
        form = _Form(size, rate, _SDR, options)
        with _open_film(target) as film:
            encoder = _Encoder(film, form)
            for frame in _read_frames(path, scan, form, max_pixels):
                encoder.encode(frame)
            encoder.finish()
        if Path(target).stat().st_size <= LARGEST_PREVIEW:
            return
    raise ImageError("is too long for a preview")


def join(plan: JoinPlan, max_pixels: int, report: Callable[[float], None]) -> JoinedClip:
    """Join clips to one MP4, of the first one's size and frame rate.

    Clips that match are copied as they are, unless there are crossfades. `report`: called with the share that is done.

    Raises:
        ClipError: a clip cannot be read, or not be joined with the first one.
        ImageError: the film would be too long, or has not become as long as its clips.
        OSError: the target cannot be written.
    """
    scans: list[_Scan] = []
    for index, path in enumerate(plan.paths):
        with _naming(index):
            scans.append(_scan_file(path, max_pixels))
            scans[-1].check_fits(scans[0])
        report(0.0)
    film = _Film(plan, scans, max_pixels, report)
    if film.total / film.rate > _LONGEST:
        raise ImageError("would be longer than two hours")
    film.check_crossfades()
    if film.is_copyable:
        film.copy()
    else:
        film.encode()
    report(1.0)
    written = _scan_file(plan.target, max_pixels)
    if not written.is_regular or written.rate != film.rate or written.facts.frame_count != film.total:
        facts = written.facts
        raise ImageError(f"has {facts.frame_count} frames in {facts.seconds:.3f} s instead of {film.total}")
    return JoinedClip(written.facts, is_reencoded=not film.is_copyable)


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
    places: dict[int | None, int] = {time: place for place, time in enumerate(times)}
    delay = max(number - places[time] for number, time in enumerate(packets.times))
    copy_key = (codec, context.profile, picture, rate, bytes(context.extradata or b""))
    # Frames before the first keyframe, in the order of display, may need frames of the clip before it.
    begins_clean = packets.times[0] == times[0] == keyframes[0]
    is_copyable = is_regular and begins_clean and not packets.discarded and not get_rotation(first)
    return _Scan(
        facts=facts,
        rate=rate,
        is_regular=is_regular,
        times=times,
        places=places,
        keyframes=keyframes,
        time_base=stream.time_base,
        transfer=context.color_trc,
        delay=delay,
        copy_key=copy_key,
        is_copyable=is_copyable,
    )


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
    if seconds <= 0 or stream.time_base is None:
        raise ImageError(DAMAGED_CLIP)
    if seconds > _LONGEST:
        raise ImageError("claims to be longer than two hours")
    for rate in (stream.guessed_rate, stream.average_rate):
        if rate and _is_regular(times, stream.time_base, rate):
            return rate, True
    return Fraction(len(times) / seconds).limit_denominator(10_000), False


def _is_regular(times: Sequence[int], time_base: Fraction, rate: Fraction) -> bool:
    """Whether frames are shown at this rate. Timestamps are rounded to a tick, or to a millisecond before."""
    tolerance = max(Fraction(3, 2) * time_base, Fraction(1, 900))
    for number, time in enumerate(times):
        drift = (time - times[0]) * time_base - number / rate
        if abs(drift) > tolerance:
            return False
    return True


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


class _Colors(NamedTuple):
    """How colors are stored: FFmpeg's encoder and pixel format, and primaries, transfer and matrix (ITU-T H.273)."""

    encoder: str
    pixel_format: str
    primaries: int
    transfer: int
    matrix: int


_SDR = _Colors("libx264", "yuv420p", BT709, BT709, BT709)
_FULL_RANGE = 2
# FFmpeg's names of matrices. Where there is none, colors are stored without one.
_MATRICES = {BT709: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m", BT2020: "bt2020"}
# By the number of degrees by which frames are turned counterclockwise.
_TURNS = {0: [], 90: [("transpose", "cclock")], 180: [("hflip", ""), ("vflip", "")], 270: [("transpose", "clock")]}
# High enough for no visible loss of quality. A longer lookahead would take more memory.
_FILM_OPTIONS = {
    "libx264": {"preset": "faster", "crf": "17", "rc-lookahead": "10"},
    "libx265": {
        "preset": "faster",
        "crf": "17",
        "x265-params": "log-level=none:frame-threads=1:rc-lookahead=5:bframes=2:ref=2",
    },
}
_KEYFRAME_SECONDS = 2


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of an encoded film: its size in pixels, frames per second, colors, and options of the encoder."""

    size: tuple[int, int]
    rate: Fraction
    colors: _Colors
    options: dict[str, str]


@contextmanager
def _open_film(path: str) -> Iterator[OutputContainer]:
    """Open an MP4 file to write it, with its index at the beginning. Raise `OSError`."""
    import av

    try:
        with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as film:
            yield film
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from None


class _Encoder:
    """Encodes frames, one after another, to the only stream of a film."""

    def __init__(self, film: OutputContainer, form: _Form) -> None:
        self._film, self._form = film, form
        options = form.options | {"g": str(ceil(form.rate * _KEYFRAME_SECONDS))}
        try:
            stream = film.add_stream(form.colors.encoder, rate=form.rate, options=options)
        except ValueError:
            raise PyAvMissing(f"cannot be encoded, because PyAV has no {form.colors.encoder} here") from None
        self._stream = cast("VideoStream", stream)
        context = self._stream.codec_context
        context.width, context.height = form.size
        context.pix_fmt = form.colors.pixel_format
        context.color_primaries = form.colors.primaries
        context.color_trc = form.colors.transfer
        context.colorspace = form.colors.matrix
        context.color_range = 1
        context.thread_count = _THREADS
        if form.colors.encoder == "libx265":
            # Apple's players require this tag.
            context.codec_tag = "hvc1"
        self.count = 0

    def encode(self, frame: VideoFrame) -> None:
        """Encode the next frame."""
        frame.pts, frame.time_base = self.count, 1 / self._form.rate
        # The encoder chooses; frames of the source have their types.
        frame.pict_type = 0
        self._film.mux(self._stream.encode(frame))
        self.count += 1

    def finish(self) -> None:
        """Encode what the encoder still holds."""
        self._film.mux(self._stream.encode(None))


def _read_frames(path: str, scan: _Scan, form: _Form, max_pixels: int) -> Iterator[VideoFrame]:
    """Decode a clip to frames of a film: as many as it needs at its frame rate, in its size and colors."""
    repeats = iter(scan.count_repeats(form.rate))
    # Encoding takes most of the time, so that more threads for decoding would only take memory.
    with open_clip(path, max_pixels) as (container, stream):
        graph = FrameGraph(stream)
        for frame, repeat in zip(container.decode(stream), repeats, strict=False):
            check_pixels(frame, max_pixels)
            if repeat:
                converted = graph.convert(frame, _choose_filters(stream, frame, form))
                for _ in range(repeat):
                    yield converted
        if any(repeats):
            raise ImageError(DAMAGED_CLIP)


def _choose_filters(stream: VideoStream, frame: VideoFrame, form: _Form) -> list[tuple[str, str]]:
    """Choose the filters that turn, scale and pad a frame and convert its colors."""
    width, height = get_shown_size(stream, frame)
    factor = min(form.size[0] / width, form.size[1] / height)
    width, height = _make_even((width * factor, height * factor))
    steps = list(_TURNS[get_rotation(frame)])
    if is_hdr(stream) and form.colors == _SDR:
        steps += tone_mapping(stream, (width, height), form.colors.pixel_format)
    else:
        matrix = _MATRICES.get(get_matrix(frame), "auto")
        in_range = "pc" if frame.color_range == _FULL_RANGE else "tv"
        source = f"in_color_matrix={matrix}:in_range={in_range}"
        target = f"out_color_matrix={_MATRICES[form.colors.matrix]}:out_range=tv"
        steps.append(("scale", f"{width}:{height}:flags=lanczos:{source}:{target}"))
        steps.append(("format", form.colors.pixel_format))
    return [*steps, ("pad", f"{form.size[0]}:{form.size[1]}:-1:-1")]


def _make_even(size: tuple[float, float]) -> tuple[int, int]:
    """Round a size to what encoders accept."""
    return max(2, 2 * round(size[0] / 2)), max(2, 2 * round(size[1] / 2))


@dataclass(slots=True)
class _Film:
    """A film that is made of several clips."""

    plan: JoinPlan
    scans: Sequence[_Scan]
    max_pixels: int
    report: Callable[[float], None]
    lengths: list[int] = field(init=False)
    overlaps: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.lengths = [sum(scan.count_repeats(self.rate)) for scan in self.scans]
        self.overlaps = [round(seconds * self.rate) for seconds in self.plan.crossfades]

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return self.scans[0].rate

    @property
    def total(self) -> int:
        """Number of frames."""
        return sum(self.lengths) - sum(self.overlaps)

    @property
    def is_copyable(self) -> bool:
        """Whether all clips can be copied without encoding them again."""
        first = self.scans[0]
        can_copy = all(scan.is_copyable and scan.copy_key == first.copy_key for scan in self.scans)
        return can_copy and not any(self.overlaps)

    def check_crossfades(self) -> None:
        """Raise `ClipError` if a clip is shorter than its crossfades."""
        for index, length in enumerate(self.lengths):
            if sum(self.overlaps[max(0, index - 1) : index + 1]) > length:
                raise ClipError("is shorter than its crossfades", index)

    def copy(self) -> None:
        """Write the clips as they are, one after another."""
        delay = max(scan.delay for scan in self.scans)
        offset = count = 0
        target = None
        with _open_film(self.plan.target) as film:
            for index, (path, scan) in enumerate(zip(self.plan.paths, self.scans, strict=True)):
                for packet in self._read_packets(index, path):
                    if target is None:
                        target = film.add_stream_from_template(packet.stream, opaque=True)
                        target.time_base = 1 / self.rate
                        if scan.facts.codec == "hevc":
                            target.codec_context.codec_tag = "hvc1"
                    packet.stream = target
                    packet.time_base = 1 / self.rate
                    packet.pts, packet.dts, packet.duration = offset + scan.places[packet.pts], count - delay, 1
                    film.mux(packet)
                    count += 1
                    self.report(count / self.total)
                offset += self.lengths[index]

    def encode(self) -> None:
        """Encode all frames again."""
        first = self.scans[0]
        colors = _SDR
        if first.facts.is_hdr:
            colors = _Colors("libx265", "yuv420p10le", BT2020, first.transfer, BT2020)
        form = _Form(_make_even(first.facts.size), self.rate, colors, _FILM_OPTIONS[colors.encoder])
        clips = [self._read_clip(index, form) for index in range(len(self.scans))]
        with _open_film(self.plan.target) as film:
            encoder = _Encoder(film, form)
            for frame in self._mix(clips):
                encoder.encode(frame)
                self.report(encoder.count / self.total)
            encoder.finish()

    def _mix(self, clips: Sequence[Iterator[VideoFrame]]) -> Iterator[VideoFrame]:
        """Yield the frames of all clips. Those that overlap are read at the same time, because frames are large."""
        begun = 0
        for index, overlap in enumerate([*self.overlaps, 0]):
            yield from islice(clips[index], self.lengths[index] - begun - overlap)
            for number in range(overlap):
                frame, later = next(clips[index]), next(clips[index + 1])
                yield _blend(frame, later, (number + 1) / (overlap + 1))
            begun = overlap
            # Reads on to the end, and closes the file.
            deque(clips[index], maxlen=0)

    def _read_clip(self, index: int, form: _Form) -> Iterator[VideoFrame]:
        with _naming(index):
            yield from _read_frames(self.plan.paths[index], self.scans[index], form, self.max_pixels)

    def _read_packets(self, index: int, path: str) -> Iterator[Packet[VideoStream]]:
        with _naming(index), open_clip(path, self.max_pixels) as (container, stream):
            for packet in container.demux(stream):
                if packet.size:
                    yield packet


def _blend(frame: VideoFrame, later: VideoFrame, share: float) -> VideoFrame:
    """Mix two frames. `share`: how much of the later one, from 0 to 1."""
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    mixer = graph.add("blend", f"all_mode=normal:all_opacity={share}")
    sources: list[FilterContext] = []
    for place, picture in enumerate((later, frame)):
        picture.pts, picture.time_base = 0, Fraction(1, 1000)
        source = graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
        )
        source.link_to(mixer, 0, place)
        sources.append(source)
    mixer.link_to(graph.add("buffersink"))
    graph.configure()
    for source, picture in zip(sources, (later, frame), strict=True):
        source.push(picture)
    return graph.pull()  # type: ignore[return-value]
