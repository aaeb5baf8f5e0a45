"""A job or an error, as the text and the structured content that an agent reads.

Hosts hand on the one or the other, not always both; so each is complete alone. Nothing is null: what is not
known is left out.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent

from luma_mcp.catalog.validate import echo
from luma_mcp.errors import Capacity, InvalidArguments, JobFailed, LumaError, Problem
from luma_mcp.server.job_content import ResultContext, assets, job_content, players, typical_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from luma_mcp.api.protocol import Job

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


def answer(
    text: str, content: Mapping[str, Any], *, is_error: bool = False, picture: bytes | None = None
) -> CallToolResult:
    """A tool's result; `picture` is a JPEG."""
    blocks: list[ContentBlock] = [TextContent(type="text", text=text)]
    if picture:
        data = base64.b64encode(picture).decode("ascii")
        blocks.append(ImageContent(type="image", data=data, mime_type="image/jpeg"))
    return CallToolResult(content=blocks, structured_content=dict(content), is_error=is_error)


def job_result(job: Job, now: datetime, extras: ResultContext, *, simulated: bool) -> CallToolResult:
    """A running or a finished job; one that failed is an error with the API's reason."""
    content = job_content(job, now, extras)
    notes = [HOW[extras.how]] if extras.how in HOW else []
    notes += [EXPIRY] if job.outputs.video and not content.get("saved_files") else []
    notes += [SIMULATED] if simulated else []
    if told := ([f"{players(job)}."] if job.outputs.video else []) + notes:
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


def _job_lines(job: Job, content: Mapping[str, Any], notes: list[str], extras: ResultContext) -> list[str]:
    lines = [_headline(job, content, extras)]
    lines += [f"Saved: {file}" for file in content.get("saved_files", ())]
    lines += [f"Not saved: {content['save_problem']}"] if "save_problem" in content else []
    if request := job.request:
        words = (request.model, request.resolution, request.aspect_ratio, request.duration, request.dynamic_range)
        lines.append(f"Ordered: {', '.join(filter(None, words))}; prompt: {shortened(request.prompt)}")
    if video := content.get("video"):
        size = f"{video['width']}x{video['height']}, " if {"width", "height"} <= video.keys() else ""
        length = f"{video['duration_seconds']:g} s, " if "duration_seconds" in video else ""
        lines.append(f"{size}{length}{video.get('format', 'MP4')}: {players(job)}.")
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


def _asset_lines(job: Job, extras: ResultContext) -> list[str]:
    changes = {name: f" ({change})" for name, change in extras.changes.items()}
    lines = [f"{name}{changes.get(name, '')} is the assetRef {ref}" for name, ref in assets(job).items()]
    return [*lines, "An assetRef can be passed again; it lives 30 days from its upload."] if lines else []


def _headline(job: Job, content: Mapping[str, Any], extras: ResultContext) -> str:
    if job.state == "completed":
        video = content.get("video")
        return f"The video is ready: {video['url']}" if video else "The job is completed."
    elapsed = f" after {content['elapsed_seconds']:.0f} s" if "elapsed_seconds" in content else ""
    resolution = job.request.resolution if job.request else None
    span = typical_seconds(job, extras)
    usual = "; {} usually takes {:.0f} to {:.0f} s".format(resolution, *span) if span else ""
    return f"The video is being made (status {job.status}{elapsed}{usual}). Job: {job.jobid}"
