"""A job or an error, as the text and the structured content that an agent reads.

Hosts hand on the one or the other, not always both; so each is complete alone. Nothing is null: what is not
known is left out.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent

from luma_mcp.check import echo
from luma_mcp.errors import Capacity, InvalidArguments, JobFailed, LumaError, Problem
from luma_mcp.matrix import IMAGES, OUTPUTS, TYPICAL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from luma_mcp.luma.records import Job, Media
    from luma_mcp.studio.files import Saved
    from luma_mcp.studio.ordering import How

SIMULATED = "Simulated: nothing is generated and nothing was billed; the video is a stand-in clip."
LONGEST_PROMPT = 120
LONGEST_VALUE = 4000
EXPIRY = "Links may expire: save what is to be kept."


HOW = {
    "same": "Nothing was ordered now: the same order is running already, and this is its job. "
    "To order another take of it, pass new_take true.",
    "found": "The answer to the order was lost on the way; its job was found: the only running one that fits by model, "
    "account and time. Nothing was ordered twice.",
}


@dataclass
class Extras:
    """What a result tells beside the job.

    Attributes:
        how: how the job came to be, as `studio.ordering.Placed` tells it; None where it was only asked for.
        changes: what was done to which picture.
        save: whether files are wanted; `saved`: what became of that.
        thumbnail: a small JPEG of the video.
        typical: from when until when jobs of this kind end on this machine, in seconds.
    """

    how: How | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    save: bool = False
    saved: Saved | None = None
    thumbnail: bytes | None = None
    typical: tuple[float, float] | None = None


def answer(
    text: str, content: Mapping[str, Any], *, is_error: bool = False, picture: bytes | None = None
) -> CallToolResult:
    """A tool's result; `picture` is a JPEG."""
    blocks: list[ContentBlock] = [TextContent(type="text", text=text)]
    if picture:
        data = base64.b64encode(picture).decode("ascii")
        blocks.append(ImageContent(type="image", data=data, mime_type="image/jpeg"))
    return CallToolResult(content=blocks, structured_content=dict(content), is_error=is_error)


def job_result(job: Job, now: datetime, extras: Extras, *, simulated: bool) -> CallToolResult:
    """A running or a finished job; one that failed is an error with the API's reason."""
    content = job_content(job, now, extras)
    notes = [HOW[extras.how]] if extras.how in HOW else []
    notes += [EXPIRY] if job.outputs.video and not content.get("saved_files") else []
    notes += [SIMULATED] if simulated else []
    if told := ([f"{_players(job)}."] if job.outputs.video else []) + notes:
        content["note"] = " ".join(sentence[0].upper() + sentence[1:] for sentence in told)
    if job.state != "failed":
        return answer("\n".join(_job_lines(job, content, notes, extras)), content, picture=extras.thumbnail)
    failed = job_failed(job)
    lines = [failed.message, f"Job: {job.jobid}", *_asset_lines(job, extras), *notes]
    return answer("\n".join(lines), content | {"error": _error(failed)}, is_error=True)


def job_failed(job: Job) -> JobFailed:
    """The error that a failed job is."""
    used = job.credits.dm_usage if job.credits else None
    money = " Whether it used credits is not told." if used is None else f" It used {used:g} credits."
    return JobFailed(
        f'The video was not made; the API says: "{job.why_failed or "no reason given"}".{money} '
        "Change the prompt or the options before ordering again: every order is a new job.",
        api_message=job.why_failed,
        jobid=job.jobid,
    )


def job_content(job: Job, now: datetime, extras: Extras) -> dict[str, Any]:
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
        "elapsed_seconds": round(elapsed, 1) if (elapsed := job.elapsed_seconds(now)) is not None else None,
        "video": _video(job, outputs.video) if outputs.video else None,
        "exr_zip_url": outputs.video_hdr_exr.url if outputs.video_hdr_exr else None,
        "thumbnail_url": outputs.thumbnail.url if outputs.thumbnail else None,
        "last_frame_url": outputs.last_frame.url if outputs.last_frame else None,
        "credits_used": job.credits.dm_usage if job.credits else None,
        "saved_files": list(extras.saved.files) if extras.saved else None,
        "save_problem": extras.saved.problem if extras.saved else None,
        "assets": _assets(job) or None,
        "image_changes": dict(extras.changes) or None,
    }
    return {name: value for name, value in content.items() if value is not None}


def error_result(error: LumaError, *, tool: str) -> CallToolResult:
    """A refusal or a failure of the named tool."""
    lines = [error.message]
    if isinstance(error, InvalidArguments) and error.suggestion:
        lines.append(f"This would work: {tool} {json.dumps(_repeatable(error.suggestion), ensure_ascii=False)}")
    if error.jobid and error.jobid not in error.message:
        lines.append(f"Job: {error.jobid}")
    return answer("\n".join(lines), {"error": _error(error)}, is_error=True)


def _error(error: LumaError) -> dict[str, Any]:
    content: dict[str, Any] = {"kind": error.kind, "message": error.message, "retry": error.retry}
    content |= {name: value for name in ("status", "jobid") if (value := getattr(error, name)) is not None}
    if isinstance(error, InvalidArguments):
        if error.problems:
            content["problems"] = [_problem(p) for p in error.problems]
        if error.suggestion:
            content["suggestion"] = _repeatable(error.suggestion)
    if isinstance(error, Capacity):
        content |= {name: list(ids) for name in ("running", "deletable") if (ids := getattr(error, name))}
    return content


def _repeatable(suggestion: Mapping[str, Any]) -> dict[str, Any]:
    """Without a picture's data: hosts cut results, and the agent has it."""
    long = {n: v for n, v in suggestion.items() if isinstance(v, str) and len(v) > LONGEST_VALUE}
    return {**suggestion, **{name: f"<{name} as you sent it>" for name in long}}


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "field": echo(problem.field),
        "value": echo(problem.value),
        "message": problem.message,
        "allowed": list(problem.allowed),
    }


def shortened(text: str) -> str:
    """Enough of it to know it by."""
    return text if len(text) <= LONGEST_PROMPT else f"{text[:LONGEST_PROMPT]}…"


def _next_step(job: Job, extras: Extras) -> str | None:
    arguments = json.dumps({"jobid": job.jobid} | ({"save": True} if extras.save else {}), ensure_ascii=False)
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


def _players(job: Job) -> str:
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


def _job_lines(job: Job, content: Mapping[str, Any], notes: list[str], extras: Extras) -> list[str]:
    lines = [_headline(job, content, extras)]
    lines += [f"Saved: {file}" for file in content.get("saved_files", ())]
    lines += [f"Not saved: {content['save_problem']}"] if "save_problem" in content else []
    if request := job.request:
        words = (request.model, request.resolution, request.aspect_ratio, request.duration, request.dynamic_range)
        lines.append(f"Ordered: {', '.join(filter(None, words))}; prompt: {shortened(request.prompt)}")
    if video := content.get("video"):
        size = f"{video['width']}x{video['height']}, " if {"width", "height"} <= video.keys() else ""
        length = f"{video['duration_seconds']:g} s, " if "duration_seconds" in video else ""
        lines.append(f"{size}{length}{video.get('format', 'MP4')}: {_players(job)}.")
    for name, label in (("exr_zip_url", "EXR frames (ZIP)"), ("thumbnail_url", "Thumbnail")):
        if name in content:
            lines.append(f"{label}: {content[name]}")
    if "last_frame_url" in content:
        lines.append(f"Last frame: {content['last_frame_url']}")
    if job.state == "completed":
        used = f" Credits used: {content['credits_used']:g}." if "credits_used" in content else ""
        taken = f"Made in {content['elapsed_seconds']:.0f} s." if "elapsed_seconds" in content else ""
        lines.append(f"{taken}{used} Job: {job.jobid}".strip())
    lines += _asset_lines(job, extras)
    return lines + notes + ([content["next_step"]] if "next_step" in content else [])


def _assets(job: Job) -> dict[str, str]:
    words = job.request.words() if job.request else {}
    return {name: words[name] for name in IMAGES if name in words}


def _asset_lines(job: Job, extras: Extras) -> list[str]:
    changes = {name: f" ({change})" for name, change in extras.changes.items()}
    lines = [f"{name}{changes.get(name, '')} is the assetRef {ref}" for name, ref in _assets(job).items()]
    return [*lines, "An assetRef can be passed again; it lives 30 days from its upload."] if lines else []


def _headline(job: Job, content: Mapping[str, Any], extras: Extras) -> str:
    if job.state == "completed":
        video = content.get("video")
        return f"The video is ready: {video['url']}" if video else "The job is completed."
    elapsed = f" after {content['elapsed_seconds']:.0f} s" if "elapsed_seconds" in content else ""
    resolution = job.request.resolution if job.request else None
    low, high = extras.typical or TYPICAL_SECONDS.get(resolution or "", (0, 0))
    usual = f"; {resolution} usually takes {low:.0f} to {high:.0f} s" if high else ""
    return f"The video is being made (status {job.status}{elapsed}{usual}). Job: {job.jobid}"
