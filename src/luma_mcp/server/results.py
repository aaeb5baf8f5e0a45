"""Results of tools: structured content and text, from a job or an error.

Some hosts hand the model only one of the two, so each is complete alone. Nothing is null: what is not known is absent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent

from luma_mcp.api.protocol import Job, parse_time
from luma_mcp.catalog.models import Catalog
from luma_mcp.catalog.validate import shorten
from luma_mcp.errors import (
    BudgetReached,
    Capacity,
    Charged,
    InvalidArguments,
    JobFailed,
    LumaError,
    OutcomeUnknown,
    format_problem,
)
from luma_mcp.providers import Provider
from luma_mcp.server import messages
from luma_mcp.text import make_encodable, without_none
from luma_mcp.text import shorten as cut

if TYPE_CHECKING:
    from luma_mcp.media.clips import ContactSheet
    from luma_mcp.server.tools import ServerContext
    from luma_mcp.service.credits import AccountCredits
    from luma_mcp.service.films import Film
    from luma_mcp.service.submit import Outcome

# Bytes of a result's text, and of its structured content as compact JSON: hosts cut longer ones.
MAX_BYTES = 6000
# Bytes of a suggestion. What makes it longer, such as a picture's data, is not sent back: the agent has it.
MAX_SUGGESTED = 1500
# Bytes of a value that is worth leaving out.
MIN_LEFT_OUT = 100
# What a result is about. It is never left out.
_KEPT = frozenset({"jobid", "url", "message", "next_step", "suggestion", "left_out"})


def build_result(
    text: str,
    content: Mapping[str, Any],
    *,
    is_error: bool = False,
    pictures: Sequence[bytes] = (),
    max_bytes: int | None = MAX_BYTES,
) -> CallToolResult:
    """Build a tool's result; `pictures` are JPEGs. None as `max_bytes`: the caller asked for that much."""
    if max_bytes:
        content, text = fit_content(content), messages.fit_text(text, max_bytes)
    blocks: list[ContentBlock] = [TextContent(type="text", text=make_encodable(text))]
    for picture in pictures:
        data = base64.b64encode(picture).decode("ascii")
        blocks.append(ImageContent(type="image", data=data, mime_type="image/jpeg"))
    return CallToolResult(content=blocks, structured_content=make_encodable(dict(content)), is_error=is_error)


def count_bytes(value: Any) -> int:
    """Count the bytes of a text, or of a JSON value in compact form."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode(errors="replace"))


def fits(text: str, content: Mapping[str, Any]) -> bool:
    """Whether a result is short enough for every host."""
    return max(count_bytes(text), count_bytes(content)) <= MAX_BYTES


def fit_content(content: Mapping[str, Any], max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Make structured content short enough: lists become shorter and say so, and the longest texts are left out.

    A text that is cut is of no use to programs, which would order a cut prompt. `left_out` names them.
    """
    if count_bytes(content) <= max_bytes:
        return dict(content)
    fitted: dict[str, Any] = json.loads(json.dumps(content))
    while count_bytes(fitted) > max_bytes:
        found = max(_find_values(fitted), key=lambda each: count_bytes(each[0][each[1]]), default=None)
        if found is None:
            break
        container, name = found
        if isinstance(container[name], list) and len(container[name]) > 1:
            half = len(container[name]) // 2
            not_shown = f"{name}_not_shown"
            container[not_shown] = container.get(not_shown, 0) + len(container[name]) - half
            del container[name][half:]
        else:
            del container[name]
            fitted.setdefault("left_out", []).append(name)
    return fitted


def _find_values(container: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each value that may be left out, as its container and its name."""
    for name, value in container.items():
        if isinstance(value, dict) and name not in _KEPT:
            yield from _find_values(value)
        elif isinstance(value, str | list) and name not in _KEPT and count_bytes(value) >= MIN_LEFT_OUT:
            yield container, name


def format_iso(time: datetime | None) -> str | None:
    """Format a time as structured content has it: `2026-11-22T18:30:00Z`."""
    if time is not None:
        # In the first and the last year the time in UTC may not exist.
        with suppress(OverflowError):
            return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return None


def credits_content(rows: Iterable[AccountCredits]) -> list[dict[str, Any]]:
    """Build the structured content of what accounts have left."""
    return [{"email": row.email, "left": row.left, "limit": row.limit} for row in rows]


def build_job_content(context: ServerContext, job: Job, result_context: messages.ResultContext) -> dict[str, Any]:
    """Build the structured content of a job; durations in seconds, sizes in pixels."""
    catalog, simulated, provider = context.catalog, context.settings.simulated, context.provider
    outcome, saved, files = result_context.outcome, result_context.saved, job.files
    elapsed, expected = job.elapsed_seconds(context.require_service().now()), result_context.expected
    content: dict[str, Any] = {
        "jobid": job.jobid,
        "status": job.status,
        "state": job.state,
        "outcome": outcome,
        "charged": None,
        "created": format_iso(parse_time(job.created)),
        "updated": format_iso(parse_time(job.updated)),
        "elapsed_seconds": None if elapsed is None else round(elapsed, 1),
        "credits_used": job.credits_used,
        # Of a failed job, it is in the error.
        "reason": job.failure_reason if job.state == "running" else None,
        "continues": result_context.continues,
        "image_changes": dict(result_context.image_changes) or None,
        "simulated": simulated or None,
    }
    if outcome:
        content["notice"] = messages.OUTCOMES.get(outcome)
        content["chosen"] = {name: messages.CHOSEN[reason] for name, reason in result_context.chosen.items()} or None
        content["warnings"] = _build_warnings(job, result_context) or None
        content["charged"] = _get_charge(job, outcome, simulated=simulated)
    if job.state == "failed":
        content["error"] = build_error_content(_build_failure(job, simulated=simulated), "get_job", provider)
        content["next_action"] = content["error"]["next_action"]
    else:
        content["next_action"], content["next_step"] = messages.choose_next_step(job, result_context, elapsed, provider)
        # A finished video needs no message.
        if job.state == "running" or content["next_step"]:
            content["message"] = messages.job_headline(job, elapsed=elapsed, expected=expected, saved=saved)
    if job.state == "running" and expected:
        content["typical_seconds"] = [round(seconds) for seconds in expected]
        content["overdue_seconds"] = round(elapsed - expected[1]) if elapsed and elapsed > expected[1] else None
    content |= _build_job_cost(catalog, job, result_context, simulated=simulated)
    dynamic_range = "hdr_exr" if files.video_hdr_exr else ""
    if job.request:
        params = job.request.to_dict()
        if provider.managed_by == "operator":
            # Whose account it is does not concern its users.
            params.pop("email", None)
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
    content["contact_sheet"] = _build_sheet(result_context.sheet, result_context.sheet_problem)
    if saved:
        content["saved_files"] = list(saved.files)
        content["save_problem"] = saved.problem
    content["note"] = messages.job_note(
        catalog, job, output, result_context, simulated=simulated, saves=context.settings.has_local_files
    )
    return fit_content(without_none(content))


def _build_sheet(sheet: ContactSheet | None, problem: str | None = None) -> dict[str, Any] | None:
    """Build what is in a contact sheet of one video: the times of its frames in seconds; or why there is none."""
    if sheet is None:
        return {"problem": problem} if problem else None
    [times] = sheet.times
    return {"frames": len(times), "times": round_times(times)}


def round_times(times: Iterable[float]) -> list[float]:
    """Round the times of frames, in seconds, as they are on the picture."""
    return [round(time, 1) for time in times]


def build_film_content(film: Film, clips: int, *, simulated: bool) -> dict[str, Any]:
    """Build the structured content of a film that was joined from so many clips."""
    facts = film.facts
    content: dict[str, Any] = {
        "message": f"The film is saved: {film.path}",
        "saved_files": [str(film.path)],
        "duration_seconds": round(facts.seconds, 3),
        "width": facts.size[0],
        "height": facts.size[1],
        "frame_rate": round(facts.frame_rate, 3),
        "clips": clips,
        "reencoded": film.is_reencoded,
        "contact_sheet": _build_sheet(film.sheet),
        "warnings": messages.film_warnings(film) or None,
        "note": messages.film_note(film, simulated=simulated),
        "simulated": simulated or None,
    }
    return without_none(content)


def _journal_warning(problem: str, refuses_orders: bool) -> str:
    text = messages.REFUSING_JOURNAL_WARNING if refuses_orders else messages.JOURNAL_WARNING
    return text.format(problem=problem)


def _build_warnings(job: Job, result_context: messages.ResultContext) -> list[str]:
    ratio = job.request.aspect_ratio if job.request else None
    warnings = messages.format_misfits(result_context.misfits, ratio or "of another shape")
    if result_context.journal_problem:
        warnings.append(_journal_warning(result_context.journal_problem, result_context.journal_refuses))
    if result_context.is_unpriced:
        warnings.append(messages.UNPRICED_WARNING)
    return warnings


def _get_charge(job: Job, outcome: Outcome, *, simulated: bool) -> Charged | None:
    """Get whether this call's order costs credits. What a failed job costs is not known from its order."""
    if simulated or outcome == "duplicate":
        return "no"
    return job.build_failure().charged if job.state == "failed" else "yes"


def _build_failure(job: Job, *, simulated: bool) -> JobFailed:
    """Build the error of a job that has failed. A simulated one is never charged."""
    failure = job.build_failure()
    if simulated:
        failure.charged = "no"
    return failure


def _build_job_cost(
    catalog: Catalog, job: Job, result_context: messages.ResultContext, *, simulated: bool
) -> dict[str, Any]:
    """Build what a job costs by the API's price list; where there is none, in credits."""
    if not catalog.prices:
        return build_cost_content(result_context, is_running=job.state == "running", simulated=simulated)
    is_failed = job.state == "failed"
    if is_failed and _build_failure(job, simulated=simulated).charged == "no":
        # The error says so.
        return {}
    price = catalog.price(job.request.to_dict()) if job.request else None
    content: dict[str, Any] = {}
    if price is not None:
        content = {"price": price, "currency": "USD", "price_date": catalog.price_date}
    content["cost"] = messages.format_price(catalog, price, is_failed=is_failed, simulated=simulated)
    return content


def build_cost_content(
    result_context: messages.ResultContext, *, is_running: bool = True, simulated: bool
) -> dict[str, Any]:
    """Build what a job is expected to cost while it runs, and what is left."""
    expected = result_context.expected_credits if is_running else None
    left = None if result_context.credits_left is None else credits_content(result_context.credits_left)
    cost = messages.format_cost(expected, left, is_running=is_running, simulated=simulated)
    content = {"expected_credits": expected and list(expected), "credits_left": left or None, "cost": cost}
    return {name: value for name, value in content.items() if value}


def build_error_result(error: LumaError, tool: str, provider: Provider, *, simulated: bool) -> CallToolResult:
    """Build the result of a call of the tool that failed."""
    facts = build_error_content(error, tool, provider)
    warnings: list[str] = []
    if error.journal_problem:
        warnings.append(_journal_warning(error.journal_problem, error.journal_refuses))
    content = without_none({"error": facts, "warnings": warnings or None, "simulated": simulated or None})
    content = fit_content(content)
    return build_result(messages.error_text(content["error"], tool, warnings), content, is_error=True)


def build_error_content(error: LumaError, tool: str, provider: Provider) -> dict[str, Any]:
    """Build the structured content of an error of the tool."""
    can_cost = tool in messages.PAYING_TOOLS or isinstance(error, JobFailed)
    message, action, next_step = messages.explain_error(error, tool, provider)
    content: dict[str, Any] = {
        "kind": error.kind,
        "message": message,
        "reason": error.api_message and cut(error.api_message, messages.MAX_REASON),
        "retry": error.retry,
        # Only where an order was involved: look-ups never cost anything.
        "charged": error.charged if can_cost else None,
        "next_action": action,
        "next_step": next_step or None,
        "status": error.status,
        "jobid": error.jobid,
    }
    content["last_known"] = _build_last_known(error)
    if isinstance(error, InvalidArguments):
        problems: list[dict[str, Any]] = []
        for each in tuple(error.problems)[: messages.MAX_PROBLEMS]:
            problem = {"field": each.field, "code": each.code, "value": shorten(each.value), "jobid": each.jobid}
            problem["message"], problem["did_you_mean"] = format_problem(each), each.did_you_mean
            problem["next_step"] = messages.image_step(each, tool)
            # The names of all parameters, and what is not offered, are the same for every problem: see the message.
            if each.code not in ("unknown_parameter", "no_such_feature", "not_needed"):
                problem["allowed"] = list(each.allowed) or None
            problems.append(without_none(problem))
        content["problems"] = problems or None
        content["problems_not_shown"] = len(error.problems) - len(problems) or None
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
            content["suggestion"] = _shorten_suggestion(error.suggestion)
    elif isinstance(error, BudgetReached):
        content |= _build_budget(error)
    elif isinstance(error, Capacity):
        content["running"] = [job.jobid for job in error.running] or None
        content["running_not_shown"] = error.more_running or None
        content["deletable"] = [job.jobid for job in error.deletable] or None
    elif isinstance(error, OutcomeUnknown):
        candidates = error.candidates or ()
        content["running"] = list(candidates[: messages.MAX_NAMED]) or None
        content["running_not_shown"] = max(0, len(candidates) - messages.MAX_NAMED) or None
    return without_none(content)


def _build_budget(error: BudgetReached) -> dict[str, Any]:
    """Build the facts of a budget that has no room for an order; amounts in `unit`."""
    content: dict[str, Any] = {"budget": error.budget, "spent": round(error.spent, 6), "unit": error.unit}
    content["counted"] = ("this_process", "all_processes")[error.is_shared]
    if error.price is not None:
        content |= {"price": error.price, "price_basis": error.basis}
    if error.next_at and error.retry_after:
        content |= {"available_at": format_iso(error.next_at), "available_in_seconds": ceil(error.retry_after)}
    if error.suggestion:
        content["suggestion"] = _shorten_suggestion(error.suggestion)
        content["suggestion_price"] = error.suggestion_price
    return content


def _shorten_suggestion(params: Mapping[str, object]) -> dict[str, object]:
    """Replace what makes a suggestion too long by a reference to what the agent sent."""
    suggestion = dict(params)
    while count_bytes(suggestion) > MAX_SUGGESTED:
        longest = max(suggestion, key=lambda name: count_bytes(suggestion[name]))
        suggestion[longest] = f"<{longest} as you sent it>"
    return suggestion


def _build_last_known(error: LumaError) -> dict[str, Any] | None:
    """Build what this machine knows of a job that could not be looked up; None if it knows nothing."""
    record = error.record
    if record is None:
        return None
    content: dict[str, Any] = {
        "state": record.state,
        "prompt": cut(record.prompt, messages.MAX_PROMPT),
        "age_seconds": round(record.age),
    }
    content |= {"ordered": format_iso(record.ordered_at), "usually_ready_by": format_iso(record.ready_by)}
    files = list(error.saved_files[: messages.MAX_NAMED]) or None
    return without_none({**content, "video_url": record.link, "saved_files": files})
