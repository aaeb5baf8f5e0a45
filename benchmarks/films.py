"""Processor time and memory of contact sheets and films.

    python -m benchmarks.films

Works on two clips of ten seconds in 1080p, in separate processes like the server. Joining them without encoding
must be so many times faster than encoding them again, a contact sheet must take less than half the playing time of its
clip, and neither may take too much memory. Time is that of the processor, so that other work on the machine does not
count: alone on two processors, it takes less. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import av
from tests.media.videos import write_clip

from luma_mcp.media.clips import JoinPlan, SheetRow
from luma_mcp.media.decoder import Decoder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECONDS, SIZE = 10, (1920, 1080)
FASTER, SHARE_OF_PLAYING_TIME, MEGABYTES = 20, 0.5, 300


def draw(number: int, texture: bytes) -> av.VideoFrame:
    """A frame of a moving texture: harder to decode than a real one of the same size."""
    frame = av.VideoFrame(*SIZE, "yuv420p")
    for plane in frame.planes:
        start = number * 2 * (plane.line_size + 3)
        plane.update(texture[start : start + plane.buffer_size])
    return frame


def write(path: Path) -> str:
    """Write a clip as Luma's: H.264, 24 frames per second, about 10 megabits per second."""
    texture = bytearray()
    source = random.Random(7)
    # A smooth gradient with some noise.
    for number in range(4 * SIZE[1] // 8):
        line = bytes((number // 8 + place // 16 + source.randrange(3)) % 200 + 20 for place in range(2048))
        texture += line * 8
    frames = (draw(number, bytes(texture)) for number in range(24 * SECONDS))
    return str(write_clip(path, frames, preset="veryfast", qp="26", bf="3"))


async def ignore(share: float) -> None:
    """Ignore progress."""


def measure(action: str, *paths: str) -> tuple[float, float]:
    """Run an action of the decoder in a separate process. Return the seconds and megabytes of the decoder's process."""
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.films", action, *paths], check=True, capture_output=True, text=True
    ).stdout
    seconds, megabytes = output.split()
    return float(seconds), float(megabytes)


def run(action: str, *paths: str) -> None:
    """Run an action, and print its seconds and megabytes."""
    decoder = Decoder()
    work: Callable[[], Awaitable[object]] = partial(decoder.make_sheet, [SheetRow(paths[0])], 12)
    if action != "sheet":
        crossfade = 0.5 if action == "encode" else 0.0
        work = partial(decoder.join, JoinPlan(paths[:2], paths[2], (crossfade,)), ignore)
    anyio.run(work)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1_000_000 if sys.platform == "darwin" else 1000
    print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def main() -> int:
    """Print the measurements. Return 0 if all targets are met."""
    with tempfile.TemporaryDirectory() as folder:
        clip = write(Path(folder, "clip.mp4"))
        print(f"two clips of {SECONDS} s in 1080p, {Path(clip).stat().st_size / 1e6:.1f} MB each")
        sheet = measure("sheet", clip)
        copied = measure("copy", clip, clip, str(Path(folder, "copied.mp4")))
        encoded = measure("encode", clip, clip, str(Path(folder, "encoded.mp4")))
    faster = encoded[0] / copied[0]
    limit = SECONDS * SHARE_OF_PLAYING_TIME
    print(f"contact sheet    {sheet[0]:7.2f} s {sheet[1]:5.0f} MB (targets: {limit:g} s, {MEGABYTES} MB)")
    print(f"joined by copying{copied[0]:7.2f} s {copied[1]:5.0f} MB (target: {MEGABYTES} MB)")
    print(f"encoded again    {encoded[0]:7.2f} s {encoded[1]:5.0f} MB")
    print(f"copying is {faster:.0f} times faster (target: {FASTER})")
    is_good = sheet[0] < limit and faster >= FASTER
    return 0 if is_good and max(sheet[1], copied[1]) < MEGABYTES else 1


if __name__ == "__main__":
    if sys.argv[1:]:
        run(*sys.argv[1:])
    else:
        sys.exit(main())
