"""A job as structured content: every fact under one name. Nothing is null: what is not known is left out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from luma_mcp.catalog.useapi import IMAGES, OUTPUTS, TYPICAL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from luma_mcp.api.protocol import Job, Media
    from luma_mcp.service.downloads import Saved
    from luma_mcp.service.submit import How


@dataclass
class ResultContext:
    """What a result tells beside the job.

    Attributes:
        how: how the job came to be, as `studio.ordering.SubmitResult` tells it; None where it was only asked for.
        changes: what was done to which picture.
        save: whether files are wanted; `saved`: what became of that.
        thumbnail: a small JPEG of the video.
        typical: from when until when jobs of this kind end on this machine, in seconds.
        player: whether the client shows the player beside the result.
    """

    how: How | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    save: bool = False
    saved: Saved | None = None
    thumbnail: bytes | None = None
    typical: tuple[float, float] | None = None
    player: bool = False


def job_content(job: Job, now: datetime, extras: ResultContext) -> dict[str, Any]:
    """The structured content of a job that has not failed; durations in seconds, sizes in pixels."""
    outputs = job.outputs
    content: dict[str, Any] = {
        "jobid": job.jobid,
        "status": job.status,
        "state": job.state,
        "next_step": _next_step(job, extras),
        "request": job.request.words() if job.request else None,
        "created": job.created,
        "updated": job.updated,
        "typical_seconds": _rounded(typical_seconds(job, extras)) if job.state == "running" else None,
        "elapsed_seconds": round(elapsed, 1) if (elapsed := job.elapsed_seconds(now)) is not None else None,
        "video": _video(job, outputs.video) if outputs.video else None,
        "exr_zip_url": outputs.video_hdr_exr.url if outputs.video_hdr_exr else None,
        "thumbnail_url": outputs.thumbnail.url if outputs.thumbnail else None,
        "last_frame_url": outputs.last_frame.url if outputs.last_frame else None,
        "credits_used": job.credits.dm_usage if job.credits else None,
        "saved_files": list(extras.saved.files) if extras.saved else None,
        "save_problem": extras.saved.problem if extras.saved else None,
        "assets": assets(job) or None,
        "image_changes": dict(extras.changes) or None,
    }
    return {name: value for name, value in content.items() if value is not None}


def _rounded(span: tuple[float, float] | None) -> list[int] | None:
    return [round(seconds) for seconds in span] if span else None


def _next_step(job: Job, extras: ResultContext) -> str | None:
    arguments = json.dumps({"jobid": job.jobid} | ({"save": True} if extras.save else {}), ensure_ascii=False)
    if job.state == "running" and extras.player:
        return (
            "The player in the chat shows the progress and then the video by itself, and tells you when it is ready: "
            f"do not wait, and do not order it again. Only if you need the video for what comes next, call get_job "
            f"with {arguments}."
        )
    if job.state == "running":
        return f"Call get_job with {arguments} to wait for the video. Do not order it again."
    if job.state == "completed" and not job.outputs.video:
        return f"Call get_job with {arguments} again: the job is completed, but without a video link."
    if extras.saved and extras.saved.unfinished:
        return f"Call get_job with {arguments} to go on with the download."
    return None


def _dynamic_range(job: Job) -> str | None:
    """What the video is; a record that another process ordered does not tell sdr from hdr."""
    if job.request and job.request.dynamic_range:
        return job.request.dynamic_range
    return "hdr_exr" if job.outputs.video_hdr_exr else None


def players(job: Job) -> str:
    output = OUTPUTS.get(_dynamic_range(job) or "")
    return output.note if output else f"if it is HDR, {OUTPUTS['hdr'].note}"


def _video(job: Job, video: Media) -> dict[str, Any]:
    output = OUTPUTS.get(_dynamic_range(job) or "")
    content = {
        "url": video.url,
        "width": video.width,
        "height": video.height,
        "duration_seconds": video.duration,
        "format": output.format if output else video.media_type,
        "plays_in_browser": output.plays_in_browser if output else None,
    }
    return {name: value for name, value in content.items() if value is not None}


def assets(job: Job) -> dict[str, str]:
    words = job.request.words() if job.request else {}
    return {name: words[name] for name in IMAGES if name in words}


def typical_seconds(job: Job, extras: ResultContext) -> tuple[float, float] | None:
    """From when until when such jobs end, on this machine or as documented; None if nothing is known."""
    resolution = job.request.resolution if job.request else None
    return extras.typical or TYPICAL_SECONDS.get(resolution or "")
