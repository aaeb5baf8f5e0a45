"""Decode images and clips in processes of their own, with limits: one can be made to take hours, gigabytes or a crash.

Each image has its own process, which is killed when it reaches its limits or its caller is cancelled. The first attempt
has small limits, which suffice for most images, and many run at a time. An image that exceeds them is tried again with
large limits, one at a time: a small image never waits for a large one. `anyio.to_process` would reuse processes, for
which limits cannot be reset, and pass all variables on to them.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import anyio
import anyio.to_thread

from luma_mcp.media.clips import DAMAGED_CLIP, Clip, ClipError, ClipFacts, ContactSheet, JoinedClip, JoinPlan, SheetRow
from luma_mcp.media.images import DAMAGED, LARGEST_UPLOAD, MAX_PIXELS, PROGRESS, Crop, ImagePreview, NormalizedImage
from luma_mcp.media.sources import ImageError

logger = logging.getLogger(__name__)

Task = Literal[
    "normalize", "crop", "image_preview", "thumbnail", "measure", "clip", "probe", "sheet", "still", "preview", "join"
]
ProgressCallback = Callable[[float], Awaitable[None]]
"""Called with the share that is done, from 0 to 1."""

QUEUE_TIMEOUT = 60.0
"""Seconds for which a large image waits for other large ones."""
_SMALL_AT_ONCE = 16
_LARGEST_REPLY = LARGEST_UPLOAD + 1_000_000
# Twice a frame in 4K.
_VIDEO_PIXELS = 17_000_000
_VIDEOS_AT_ONCE = 2
_IMAGE_TASKS = ("normalize", "crop", "image_preview", "thumbnail", "measure")
# Exit codes: of the timer; of SIGKILL, by the limit of processor time or by a system that is out of memory.
_ENDED_BY_LIMITS = (1, -9)
# Isolated from the current folder and from variables, with the modules that this process has. The timer works also
# while a decoder holds the interpreter, and after this process has ended.
_PROGRAM = """\
import faulthandler, os, sys
faulthandler.dump_traceback_later(float(sys.argv[1]), exit=True, file=open(os.devnull, "w"))
sys.path[:] = sys.argv[2:]
from luma_mcp.media.images import run_worker
run_worker()
"""
# Variables that Python may need to find its libraries and to start on Windows. Others may contain secrets.
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "SYSTEMROOT", "WINDIR")
# The C library otherwise reserves up to 128 MB of address space for each thread.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What decoding an image may take.

    Attributes:
        pixels: as its header says.
        memory: bytes of address space, of which Python and the decoders take 200 MB. Applies where the system has it.
        processor_seconds: applies where the system has it.
        seconds: from the start of the process to its end, or to its next report of progress.
    """

    pixels: int
    memory: int
    processor_seconds: int
    seconds: float


SMALL = Limits(16_000_000, 700_000_000, 2, 6.0)
"""More than a photo of 12 million pixels needs."""
LARGE = Limits(MAX_PIXELS, 3_000_000_000, 15, 40.0)
VIDEO = Limits(_VIDEO_PIXELS, 1_500_000_000, 120, 180.0)
"""A contact sheet of ten seconds in 1080p takes 2 to 5 seconds of the processor; one of four takes in 4K the most."""
FILM = Limits(_VIDEO_PIXELS, 4_000_000_000, 8 * 3600, 180.0)
"""A film can take as long as its clips are; it reports its progress."""


class _LimitsExceededError(Exception):
    """The process that decodes an image reached its limits, crashed or did not start. `error`: what to report."""

    def __init__(self, error: ImageError) -> None:
        super().__init__(error.reason)
        self.error = error


class _Worker:
    """The process that decodes one image or works on videos. Each method blocks, so that it is called in a thread."""

    def __init__(self, task: Task, data: bytes, limits: Limits) -> None:
        self.task = task
        self.limits = limits
        request = {
            "task": task,
            "max_pixels": limits.pixels,
            "memory": limits.memory,
            "processor_seconds": limits.processor_seconds,
            "seconds": limits.seconds,
            "length": len(data),
        }
        self._input = (json.dumps(request).encode() + b"\n", data)
        self._process: subprocess.Popen[bytes] | None = None
        self._is_killed = False
        self._start_lock = threading.Lock()

    def start(self) -> bytes:
        """Start it; the first line that it writes. Raise `OSError`."""
        path = [entry for entry in sys.path if entry]
        command = [sys.executable, "-I", "-c", _PROGRAM, str(self.limits.seconds), *path]
        variables = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        with self._start_lock:
            if self._is_killed:
                return b""
            self._process = subprocess.Popen(  # noqa: S603 - this Python and a fixed program
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT | variables,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        # It may end without reading everything.
        with suppress(OSError):
            self._stdin.writelines(self._input)
            self._stdin.flush()
        # Its input stays open: the worker ends if this process does.
        return self.read_line()

    def read_line(self) -> bytes:
        """Wait for the next line that it writes; empty if it has ended."""
        return self._stdout.readline(_LARGEST_REPLY)

    def finish(self) -> tuple[bytes, int]:
        """Wait for its end; what it wrote after the lines that were read, and its exit code."""
        return self._stdout.read(_LARGEST_REPLY), self._close()

    def kill(self) -> None:
        """End it, and wait until it has ended."""
        self._is_killed = True
        with self._start_lock:
            if self._process:
                self._process.kill()
                self._close()

    @property
    def _stdin(self) -> IO[bytes]:
        if self._process is None or self._process.stdin is None:
            raise OSError("the process has no input")
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        if self._process is None or self._process.stdout is None:
            raise OSError("the process has no output")
        return self._process.stdout

    def _close(self) -> int:
        self._stdout.close()
        with suppress(OSError):
            self._stdin.close()
        return self._process.wait() if self._process else 0


@dataclass(slots=True)
class Decoder:
    """Decodes images and videos for one service.

    Attributes:
        small: limits of the first attempt to decode an image, or to read the last frame of a clip.
        large: limits of the second attempt.
        video: limits of everything else that reads videos.
        film: limits of joining clips.
    """

    small: Limits = SMALL
    large: Limits = LARGE
    video: Limits = VIDEO
    film: Limits = FILM
    _small_slots: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, _SMALL_AT_ONCE))
    # Each can take gigabytes.
    _large_slot: anyio.Semaphore = field(default_factory=partial(anyio.Semaphore, 1))
    _video_slots: anyio.Semaphore = field(default_factory=partial(anyio.Semaphore, _VIDEOS_AT_ONCE))
    _film_slot: anyio.Semaphore = field(default_factory=partial(anyio.Semaphore, 1))
    # A separate limiter: images must not use up the threads of files and name resolution. The slots limit their number.
    _threads: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, inf))

    async def normalize(self, data: bytes) -> NormalizedImage:
        """Convert an image to what the API accepts, as `images.normalize` does.

        Raises:
            ImageError: it is unusable, or exceeds the limits. `retryable` if this machine is too busy.
        """
        return _parse_image(*await self._run("normalize", data))

    async def crop(self, data: bytes, crop: Crop) -> NormalizedImage:
        """Convert a part of an image to what the API accepts. Raises what `normalize` does."""
        return _parse_image(*await self._run("crop", json.dumps(asdict(crop)).encode() + b"\n" + data))

    async def make_image_preview(self, data: bytes) -> ImagePreview:
        """Build an upright JPEG of at most 200 kB and 768 pixels of an image. Raises what `normalize` does."""
        reply, preview = await self._run("image_preview", data)
        return ImagePreview(preview, _parse_size(reply))

    async def make_thumbnail(self, data: bytes) -> bytes:
        """Build a JPEG of at most 200 kB. Raise `ImageError` if the image is unusable or exceeds the small limits."""
        # A result is complete without a thumbnail, so it does not wait for a large image.
        try:
            _, result = await self._attempt_small("thumbnail", data)
        except _LimitsExceededError as exceeded:
            raise exceeded.error from None
        return result

    async def measure(self, data: bytes) -> tuple[int, int] | None:
        """Get the width and height of an image as it is shown, from its header; None if that cannot be read."""
        with suppress(ImageError):
            reply, _ = await self._run("measure", data)
            return _parse_size(reply)
        return None

    async def read_clip(self, path: str) -> Clip:
        """Read an MP4 file: its last frame, size and length.

        Raises:
            ImageError: it is unusable, or exceeds the limits. `retryable` if this machine is too busy.
        """
        reply, frame = await self._run("clip", path.encode())
        return Clip(frame, _parse_size(reply), reply["seconds"])

    async def probe(self, path: str) -> ClipFacts:
        """Get what an MP4 file is, from all of its packets. Raise `ImageError` if it is unusable."""
        reply, _ = await self._read_videos("probe", path=path)
        return _parse_facts(reply)

    async def make_sheet(self, rows: Sequence[SheetRow], frames: int) -> ContactSheet:
        """Build a contact sheet: a JPEG of at most 300 kB with so many frames of each clip, evenly spaced.

        Raises:
            ClipError: one of the clips is unusable.
            ImageError: they exceed the limits. `retryable` if this machine is too busy.
        """
        reply, data = await self._read_videos("sheet", rows=[(row.path, row.label) for row in rows], frames=frames)
        return ContactSheet(data, tuple(map(tuple, reply["times"])))

    async def make_still(self, path: str) -> bytes:
        """Build a JPEG of at most 200 kB of the first frame that is not black. Raise `ImageError`."""
        _, data = await self._read_videos("still", path=path)
        return data

    async def make_preview(self, path: str) -> bytes:
        """Build a small SDR copy of a clip: H.264 in an MP4 of at most 700 kB and 640 pixels. Raise `ImageError`."""
        # A file is needed, because an MP4 that is written as a stream cannot begin with its index.
        with tempfile.TemporaryDirectory(prefix="luma-") as folder:
            target = Path(folder, "preview.mp4")
            await self._read_videos("preview", path=path, target=str(target))
            return await anyio.Path(target).read_bytes()

    async def join(self, plan: JoinPlan, on_progress: ProgressCallback) -> JoinedClip:
        """Join clips to one MP4. If this fails or is cancelled, no file remains.

        Raises:
            ClipError: one of the clips is unusable.
            ImageError: they exceed the limits, or what was written is not as long as the clips.
            OSError: the target exists or cannot be written.
        """
        target = anyio.Path(plan.target)
        # Created here, so that it may also be removed here.
        await (await target.open("xb")).aclose()
        data = json.dumps({"paths": plan.paths, "target": plan.target, "crossfades": plan.crossfades}).encode()
        is_complete = False
        try:
            async with self._film_slot:
                reply, _ = await _decode(_Worker("join", data, self.film), self._threads, on_progress)
            if number := reply.get("errno"):
                raise OSError(number, os.strerror(number), plan.target)
            is_complete = True
            return JoinedClip(_parse_facts(reply), reply["is_reencoded"])
        except _LimitsExceededError as exceeded:
            raise exceeded.error from None
        finally:
            if not is_complete:
                with anyio.CancelScope(shield=True):
                    await target.unlink(missing_ok=True)

    async def _read_videos(self, task: Task, **request: Any) -> tuple[dict[str, Any], bytes]:
        with anyio.move_on_after(QUEUE_TIMEOUT) as queue:
            await self._video_slots.acquire()
        if queue.cancelled_caught:
            raise ImageError("could not be read, because other videos were still being read", retryable=True)
        try:
            return await _decode(_Worker(task, json.dumps(request).encode(), self.video), self._threads)
        except _LimitsExceededError as exceeded:
            raise exceeded.error from None
        finally:
            self._video_slots.release()

    async def _run(self, task: Task, data: bytes) -> tuple[dict[str, Any], bytes]:
        with suppress(_LimitsExceededError):
            return await self._attempt_small(task, data)
        with anyio.move_on_after(QUEUE_TIMEOUT) as queue:
            await self._large_slot.acquire()
        if queue.cancelled_caught:
            raise ImageError("is large, and other large pictures were still being decoded", retryable=True)
        try:
            return await _decode(_Worker(task, data, self.large), self._threads)
        except _LimitsExceededError as exceeded:
            raise exceeded.error from None
        finally:
            self._large_slot.release()

    async def _attempt_small(self, task: Task, data: bytes) -> tuple[dict[str, Any], bytes]:
        async with self._small_slots:
            return await _decode(_Worker(task, data, self.small), self._threads)


async def _decode(
    worker: _Worker, threads: anyio.CapacityLimiter, on_progress: ProgressCallback | None = None
) -> tuple[dict[str, Any], bytes]:
    """Run a worker within its limits; its reply, and the image that it made. Kill it if this is cancelled."""
    limits = worker.limits
    gigabytes = limits.memory / 1e9
    cost = f"needs more than {limits.processor_seconds} seconds or {gigabytes:g} GB of memory to decode"
    too_costly, damaged = ImageError(cost), ImageError(DAMAGED_CLIP)
    if worker.task in _IMAGE_TASKS:
        too_costly = ImageError(f"{cost}; scale it down, or save it again as an ordinary JPEG or PNG")
        damaged = ImageError(DAMAGED)
    not_started = ImageError("could not be checked: the process that decodes pictures did not start", retryable=True)
    try:
        output = await _communicate(worker, threads, on_progress)
    except TimeoutError:
        raise _LimitsExceededError(too_costly) from None
    except OSError as failure:
        logger.warning("The process that decodes pictures did not start: %s", failure)
        raise _LimitsExceededError(not_started) from None
    if output.reply.endswith(b"\n"):
        reply: dict[str, Any] = json.loads(output.reply)
        if "exceeds" in reply:
            raise _LimitsExceededError(ImageError(reply["reason"]) if "reason" in reply else too_costly)
        if "index" in reply:
            raise ClipError(reply["reason"], reply["index"])
        if "reason" in reply:
            raise ImageError(reply["reason"])
        return reply, output.result
    if output.first_line != b"\n":
        logger.warning("The process that decodes pictures did not start: exit code %s", output.exit_code)
        raise _LimitsExceededError(not_started)
    error = too_costly if output.exit_code in _ENDED_BY_LIMITS else damaged
    raise _LimitsExceededError(error)


class _Output(NamedTuple):
    """What a worker wrote: an empty line once it begins to decode, a line of JSON, and the image."""

    first_line: bytes
    reply: bytes
    result: bytes
    exit_code: int


async def _communicate(
    worker: _Worker, threads: anyio.CapacityLimiter, on_progress: ProgressCallback | None
) -> _Output:
    """Start a worker and read what it writes. Raise `TimeoutError` if that takes too long, and `OSError`."""
    in_thread = partial(anyio.to_thread.run_sync, limiter=threads, abandon_on_cancel=True)
    try:
        with anyio.fail_after(worker.limits.seconds) as scope:
            first_line = await in_thread(worker.start)
            while (line := await in_thread(worker.read_line)).startswith(PROGRESS):
                # The time that the callback takes does not count.
                scope.deadline = inf
                if on_progress:
                    await on_progress(float(line.removeprefix(PROGRESS)))
                scope.deadline = anyio.current_time() + worker.limits.seconds
            result, exit_code = await in_thread(worker.finish)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(worker.kill, limiter=threads)
    return _Output(first_line, line, result, exit_code)


def _parse_image(reply: dict[str, Any], data: bytes) -> NormalizedImage:
    return NormalizedImage(data, reply["media_type"], tuple(reply["changes"]), _parse_size(reply))


def _parse_size(reply: dict[str, Any]) -> tuple[int, int]:
    width, height = reply["size"]
    return width, height


def _parse_facts(reply: dict[str, Any]) -> ClipFacts:
    facts = dict(reply["facts"])
    facts["size"] = tuple(facts["size"])
    return ClipFacts(**facts)
