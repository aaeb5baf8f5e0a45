"""Results of tools: structured content and text, from a job or an error.

Some hosts hand the model only one of the two, so each is complete alone. Nothing is null: what is not known is absent.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent

from luma_mcp.api.protocol import Job
from luma_mcp.catalog.validate import shorten
from luma_mcp.errors import (
    Capacity,
    InvalidArguments,
    JobFailed,
    LumaError,
    OutcomeUnknown,
    format_problem,
)
from luma_mcp.server import messages
from luma_mcp.text import make_encodable
from luma_mcp.text import shorten as shorten_text

if TYPE_CHECKING:
    from luma_mcp.server.tools import ServerContext

# A picture's data is not sent back: hosts cut long results, and the agent has it.
MAX_SUGGESTED = 4000


def build_result(
    text: str, content: Mapping[str, Any], *, is_error: bool = False, picture: bytes | None = None
) -> CallToolResult:
    """Build a tool's result; `picture` is a JPEG."""
    blocks: list[ContentBlock] = [TextContent(type="text", text=make_encodable(text))]
    if picture:
        data = base64.b64encode(picture).decode("ascii")
        blocks.append(ImageContent(type="image", data=data, mime_type="image/jpeg"))
    return CallToolResult(content=blocks, structured_content=make_encodable(dict(content)), is_error=is_error)


def build_job_content(context: ServerContext, job: Job, result_context: messages.ResultContext) -> dict[str, Any]:
    """Build the structured content of a job; durations in seconds, sizes in pixels."""
    catalog, simulated = context.catalog, context.settings.simulated
    outcome, saved, files = result_context.outcome, result_context.saved, job.files
    elapsed, expected = job.elapsed_seconds(context.require_service().now()), result_context.expected
    content: dict[str, Any] = {
        "jobid": job.jobid,
        "status": job.status,
        "state": job.state,
        "outcome": outcome,
        "charged": None,
        "created": job.created,
        "updated": job.updated,
        "elapsed_seconds": None if elapsed is None else round(elapsed, 1),
        "credits_used": job.credits_used,
        # Of a failed job, it is in the error.
        "reason": job.failure_reason if job.state == "running" else None,
        "image_changes": dict(result_context.image_changes) or None,
        "simulated": simulated or None,
    }
    if outcome:
        content["notice"] = messages.OUTCOMES.get(outcome)
        content["chosen"] = {name: messages.CHOSEN[reason] for name, reason in result_context.chosen.items()} or None
        content["continues"] = result_context.continues
        ratio = job.request.aspect_ratio if job.request else None
        warnings = messages.format_misfits(result_context.misfits, ratio or "of another shape")
        if result_context.journal_problem:
            warnings.append(messages.JOURNAL_WARNING.format(problem=result_context.journal_problem))
        content["warnings"] = warnings or None
        # Whether this call's order costs credits.
        content["charged"] = "no" if simulated or outcome == "duplicate" else "yes"
    if job.state == "failed":
        error = JobFailed(jobid=job.jobid, api_message=job.failure_reason, credits_used=job.credits_used)
        content["error"] = build_error_content(error, "get_job")
        content["next_action"] = content["error"]["next_action"]
    else:
        content["next_action"], content["next_step"] = messages.choose_next_step(job, result_context, elapsed)
        # That a video is ready is plain.
        if job.state == "running" or content["next_step"]:
            content["message"] = messages.job_headline(job, elapsed=elapsed, expected=expected, saved=saved)
    if job.state == "running" and expected:
        content["typical_seconds"] = [round(seconds) for seconds in expected]
        content["overdue_seconds"] = round(elapsed - expected[1]) if elapsed and elapsed > expected[1] else None
    dynamic_range = "hdr_exr" if files.video_hdr_exr else ""
    if job.request:
        params = job.request.to_dict()
        content["request"] = params
        content["assets"] = {name: params[name] for name in catalog.images if name in params} or None
        dynamic_range = job.request.dynamic_range or dynamic_range
    output = catalog.outputs.get(dynamic_range)
    if files.video:
        media = files.video
        video = {"url": media.url, "width": media.width, "height": media.height, "duration_seconds": media.duration}
        video["format"] = media.media_type or None
        if output:
            # The catalog knows better than the record, whose media type is the same for SDR and HDR.
            video |= {"format": output.format, "plays_in_browser": output.plays_in_browser}
        content["video"] = without_none(video)
    links = {"exr_zip_url": files.video_hdr_exr, "thumbnail_url": files.thumbnail, "last_frame_url": files.last_frame}
    content |= {name: link.url for name, link in links.items() if link}
    if saved:
        content["saved_files"] = list(saved.files)
        content["save_problem"] = saved.problem
    content["note"] = messages.job_note(catalog, job, output, result_context, simulated=simulated)
    return without_none(content)


def without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in content.items() if value is not None}


def build_error_result(error: LumaError, tool: str, *, simulated: bool) -> CallToolResult:
    """Build the result of a call of the tool that failed."""
    facts = build_error_content(error, tool)
    warnings: list[str] = []
    if error.journal_problem:
        warnings.append(messages.JOURNAL_WARNING.format(problem=error.journal_problem))
    content = without_none({"error": facts, "warnings": warnings or None, "simulated": simulated or None})
    return build_result(messages.error_text(facts, tool, warnings), content, is_error=True)


def build_error_content(error: LumaError, tool: str) -> dict[str, Any]:
    """Build the structured content of an error of the tool."""
    can_cost = tool == "generate_video" or isinstance(error, JobFailed)
    message, action, next_step = messages.explain_error(error, tool)
    content: dict[str, Any] = {
        "kind": error.kind,
        "message": message,
        "reason": error.api_message,
        "retry": error.retry,
        # Only where an order was at stake; that a look-up costs nothing goes without saying.
        "charged": error.charged if can_cost else None,
        "next_action": action,
        "next_step": next_step or None,
        "status": error.status,
        "jobid": error.jobid,
    }
    content["last_known"] = _build_last_known(error)
    if isinstance(error, InvalidArguments):
        problems: list[dict[str, Any]] = []
        for each in error.problems:
            problem = {"field": each.field, "code": each.code, "value": shorten(each.value), "jobid": each.jobid}
            problem["message"], problem["did_you_mean"] = format_problem(each), each.did_you_mean
            problem["next_step"] = messages.image_step(each)
            # The names of all parameters, and what is not offered, are the same for every problem: see the message.
            if each.code not in ("unknown_parameter", "no_such_feature", "not_needed"):
                problem["allowed"] = list(each.allowed) or None
            problems.append(without_none(problem))
        content["problems"] = problems or None
        alternatives: list[dict[str, Any]] = []
        for way in error.alternatives:
            facts = {
                "keeps": dict(way.keeps),
                "change": dict(way.change) or None,
                "leave_out": list(way.leave_out) or None,
            }
            alternatives.append(without_none(facts))
        content["alternatives"] = alternatives or None
        if error.suggestion:
            content["suggestion"] = suggestion = dict(error.suggestion)
            for name, value in suggestion.items():
                # What is long, such as an image's data, is replaced by a reference to what the agent sent.
                if isinstance(value, str) and len(value) > MAX_SUGGESTED:
                    suggestion[name] = f"<{name} as you sent it>"
    elif isinstance(error, Capacity):
        content["running"] = [job.jobid for job in error.running] or None
        content["deletable"] = [job.jobid for job in error.deletable] or None
    elif isinstance(error, OutcomeUnknown):
        content["running"] = list(error.candidates or ()) or None
    return without_none(content)


def _build_last_known(error: LumaError) -> dict[str, Any] | None:
    """Build what this machine knows of a job that could not be looked up; None if it knows nothing."""
    record = error.record
    if record is None:
        return None
    content: dict[str, Any] = {
        "state": record.state,
        "prompt": shorten_text(record.prompt, messages.MAX_PROMPT),
        "age_seconds": round(record.age),
    }
    content["ordered"] = f"{record.ordered_at:%Y-%m-%d %H:%M} UTC"
    if record.ready_by:
        content["usually_ready_by"] = f"{record.ready_by:%Y-%m-%d %H:%M} UTC"
    return without_none({**content, "video_url": record.link, "saved_files": list(error.saved_files) or None})
