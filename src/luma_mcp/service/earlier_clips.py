"""Earlier videos as the input of new ones: their last frame, their shape and their length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from math import log

from luma_mcp.api.protocol import Job
from luma_mcp.catalog.models import Catalog, ClipInput
from luma_mcp.journal.protocol import Journal, count_clip_seconds
from luma_mcp.media import can_read_clips
from luma_mcp.media.clips import Clip, PyAvMissing
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.sources import ImageError
from luma_mcp.providers import PROVIDERS
from luma_mcp.service.clip_files import ClipFiles, about_job, check_is_video

_MISSING = "and reading the video needs the Python package PyAV, which is not installed on the server's machine"
# Pixels of a clip in 16:9. In other shapes Luma's clips have about as many.
_PIXELS = {"360p": 640 * 360, "540p": 960 * 540, "720p": 1280 * 720, "1080p": 1920 * 1080}
_PIXELS_TOLERANCE = 0.25


@dataclass(frozen=True, slots=True)
class EarlierClip:
    """A completed video that is made longer.

    Attributes:
        jobid: its job.
        inherited: the choices that the longer clip takes over, as far as they are known.
        seconds: the length of the longer clip.
    """

    jobid: str
    inherited: dict[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class EarlierClips:
    """Reads earlier videos. Raises `ImageError` for unusable ones, and `LumaError` for errors of the API."""

    clips: ClipFiles
    journal: Journal
    http: SafeHttpClient
    catalog: Catalog
    decoder: Decoder

    async def fetch_frame(self, jobid: str, parts: Iterable[str]) -> bytes:
        """Fetch the picture of a finished job that comes first in `parts`, or cut its last frame from its video."""
        job = await self._fetch_finished(jobid)
        for part in parts:
            if frame := getattr(job.files, part):
                try:
                    return await self.http.fetch(frame.url)
                except ImageError as error:
                    raise about_job(error, jobid, f"names a job whose {part.replace('_', ' ')}") from None
        check_is_video(job, "picture")
        if job.files.video is None:
            raise ImageError(f"names a job without a usable picture ({job.status})", jobid=jobid)
        if not can_read_clips():
            reason = f"names a job whose last frame is only in its video, {_MISSING}"
            raise PyAvMissing(reason, jobid=jobid)
        return (await self._read(job)).frame

    async def find(self, jobid: str, row: ClipInput) -> EarlierClip:
        """Find out what the longer clip takes over from an earlier one. `row`: the parameter that names it."""
        job = await self._fetch_finished(jobid)
        check_is_video(job, "video")
        title = PROVIDERS[self.catalog.api].title
        order = await self.journal.get_by_jobid(jobid)
        seconds = await count_clip_seconds(self.journal, order) if order else None
        inherited: dict[str, str] = {}
        if order:
            request = order.request.to_dict()
            inherited = {name: request[name] for name in ("aspect_ratio", "resolution") if name in request}
            if request.get("dynamic_range", "sdr") != "sdr":
                raise ImageError(f"names an HDR video, and {title} extends only SDR videos", jobid=jobid)
        if seconds is None or "aspect_ratio" not in inherited:
            size, seconds = await self._measure(job)
            inherited = self._describe_size(size) | inherited
        smallest = self._find_smallest()
        resolutions = self.catalog.choices["resolution"].values
        resolution = inherited.get("resolution")
        if resolution in resolutions and resolutions.index(resolution) < resolutions.index(smallest):
            reason = f"names a video in {resolution}, and no price is known for extending one in less than {smallest}"
            raise ImageError(f"{reason}; order it in {smallest} or more to extend it", jobid=jobid)
        total = seconds + row.seconds
        # The length of a file differs from the nominal one by a frame or so.
        if total > row.max_seconds + 1:
            reason = f"names a video of {seconds:.0f} s, which would become {total:.0f} s long"
            raise ImageError(f"{reason}; {title} extends videos to {row.max_seconds} s at most", jobid=jobid)
        return EarlierClip(jobid, inherited, total)

    async def _fetch_finished(self, jobid: str) -> Job:
        """Fetch a finished job, successful or not."""
        try:
            return await self.clips.fetch_job(jobid)
        except ImageError as error:
            if error.is_unfinished:
                raise replace(error, reason=f"{error.reason}; order this video when that one has finished") from None
            raise

    async def _measure(self, job: Job) -> tuple[tuple[int, int], float]:
        """Get a clip's width and height in pixels and its seconds, from its record or else from its file."""
        video = job.files.video
        if video and video.width and video.height and video.duration:
            return (video.width, video.height), video.duration
        if not can_read_clips():
            reason = f"names a job that was not ordered from here, so its shape and length are not known, {_MISSING}"
            raise PyAvMissing(reason, jobid=job.jobid)
        clip = await self._read(job)
        return clip.size, clip.seconds

    async def _read(self, job: Job) -> Clip:
        try:
            async with self.clips.open(job) as path:
                return await self.decoder.read_clip(path)
        except PyAvMissing as error:
            raise PyAvMissing(f"names a job whose video {error.reason}", jobid=job.jobid) from None
        except ImageError as error:
            raise about_job(error, job.jobid) from None

    def _describe_size(self, size: tuple[int, int]) -> dict[str, str]:
        """Get the aspect ratio of a size, and its resolution if it is about that of one."""
        ratios = self.catalog.choices["aspect_ratio"].values
        described = {"aspect_ratio": min(ratios, key=partial(shape_difference, size))}
        for name in self.catalog.choices["resolution"].values:
            if name in _PIXELS and abs(size[0] * size[1] / _PIXELS[name] - 1) <= _PIXELS_TOLERANCE:
                described["resolution"] = name
        return described

    def _find_smallest(self) -> str:
        """Find the lowest resolution in which a video can be extended."""
        values = self.catalog.remaining_values({"extend": True})["resolution"]
        return str(values[0])


def shape_difference(size: tuple[int, int], ratio: str) -> float:
    """How far a size is from an aspect ratio such as `16:9`; 0 for the same shape."""
    wide, _, high = ratio.partition(":")
    return abs(log(size[0] / size[1]) - log(int(wide) / int(high)))
