"""Write small clips whose frames are known, and read them."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.video.stream import VideoStream

PQ, HLG = 16, 18
"""Transfer characteristics (ITU-T H.273)."""
SIZE = (96, 64)
# Nearly lossless.
_SDR = {"qp": "2", "preset": "ultrafast"}
_HDR = {"preset": "ultrafast", "x265-params": "log-level=none:lossless=1"}


def gray(level: int, size: tuple[int, int] = SIZE, pixel_format: str = "yuv420p") -> av.VideoFrame:
    """Build a frame of one shade."""
    frame = av.VideoFrame(*size, pixel_format)
    depth = 10 if "10" in pixel_format else 8
    for plane, value in zip(frame.planes, (level, 1 << depth - 1, 1 << depth - 1), strict=True):
        sample = value.to_bytes(1 if depth == 8 else 2, "little")
        plane.update(sample * (plane.buffer_size // len(sample)))
    return frame


def steps(levels: Sequence[int], width: int) -> av.VideoFrame:
    """Build a 10-bit frame with a vertical stripe of each shade, `width` pixels wide."""
    frame = gray(0, (len(levels) * width, 64), "yuv420p10le")
    plane = frame.planes[0]
    line = b"".join(level.to_bytes(2, "little") * width for level in levels)
    plane.update(line.ljust(plane.line_size, b"\0") * plane.height)
    return frame


def noise(size: tuple[int, int] = SIZE, seed: int = 0) -> av.VideoFrame:
    """Build a frame that is hard to compress."""
    frame, source = gray(0, size), random.Random(seed)
    for plane in frame.planes:
        plane.update(source.randbytes(plane.buffer_size))
    return frame


def write_clip(
    path: Path,
    frames: Iterable[av.VideoFrame],
    rate: float | Fraction = 24,
    *,
    transfer: int = 1,
    times: Sequence[int] | None = None,
    rotation: int = 0,
    sound: bool = False,
    **options: Any,
) -> Path:
    """Write an MP4 file: H.264, or lossless HEVC if `transfer` is HDR. `times`: of the frames, in ms."""
    is_hdr = transfer in (PQ, HLG)
    rate = Fraction(rate).limit_denominator(1001)
    stream: VideoStream | None = None
    voice: AudioStream | None = None
    with av.open(str(path), "w", format="mp4") as container:
        for number, frame in enumerate(frames):
            if stream is None:
                codec, defaults = ("libx265", _HDR) if is_hdr else ("libx264", _SDR)
                stream = cast("VideoStream", container.add_stream(codec, rate=rate, options=defaults | options))
                context = stream.codec_context
                context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
                context.color_trc, context.color_range = transfer, 1
                context.color_primaries = context.colorspace = 9 if is_hdr else 1
                context.time_base = Fraction(1, 1000) if times else 1 / rate
                if rotation:
                    stream.set_display_rotation(rotation)
                voice = container.add_stream("aac", rate=48000, layout="stereo") if sound else None
            frame.pts, frame.time_base = times[number] if times else number, context.time_base
            container.mux(stream.encode(frame))
        if stream:
            container.mux(stream.encode(None))
        if voice:
            silence = av.AudioFrame("fltp", "stereo", 1024)
            silence.rate, silence.pts = 48000, 0
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            container.mux([*voice.encode(silence), *voice.encode(None)])
    return path


def write_shades(
    path: Path, levels: Iterable[int], rate: float = 24, size: tuple[int, int] = SIZE, **options: Any
) -> Path:
    """Write a clip whose frames each have one shade."""
    return write_clip(path, (gray(level, size) for level in levels), rate, **options)


def read_frames(path: Path) -> list[av.VideoFrame]:
    """Read all frames of a clip."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def read_shades(path: Path) -> list[int]:
    """Read the shade in the middle of each frame."""
    shades: list[int] = []
    for frame in read_frames(path):
        plane = frame.planes[0]
        shades.append(bytes(plane)[frame.height // 2 * plane.line_size + frame.width // 2])
    return shades
