"""Reads the answers of Luma's Agents API: records, and what each failure means. Pure.

Source: the official SDK `luma-agents` 0.5.0 and Luma's documentation, as of 2026-11-25. The pages about errors and
limits were written before the API made videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from luma_mcp import errors
from luma_mcp.api.protocol import Asset, Job, JobFiles, Media
from luma_mcp.api.records import (
    LONGEST_API_MESSAGE,
    LONGEST_REASON,
    LONGEST_STATUS,
    get_field,
    parse_media,
    read_json,
    unreadable,
)
from luma_mcp.api.retry import DeliveryOutcome, parse_retry_after
from luma_mcp.api.transport import Endpoint, RawResponse, RequestFailed

# Requests are counted over so many seconds.
RATE_WINDOW = 60.0

# What each documented status means, if nothing else is known. With each, nothing was ordered.
_ERRORS: dict[int, type[errors.LumaError]] = {
    400: errors.InvalidArguments,
    401: errors.Unauthorized,
    402: errors.PaymentRequired,
    403: errors.AccessDenied,
    413: errors.InvalidArguments,
    422: errors.InvalidArguments,
}
# Statuses below 500 after which an order may have been accepted: a proxy in between may have given up.
_PROVES_NOTHING = (408, 499)

# Luma's documentation says that these are refunded.
_REFUNDED = ("content_moderated", "generation_failed", "output_not_found")
# It says that the same order may succeed after these, and only a changed one after the others.
_REPEATABLE = ("generation_failed", "output_not_found", "rate_limited")


def read_response(endpoint: Endpoint, response: RawResponse, secrets: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON object of a good answer, without the `secrets` that were sent, or raise `RequestFailed`."""
    status = response.status
    record = read_json(response.body, secrets)
    facts: errors.Facts = {
        "status": status,
        "api_message": _parse_detail(record),
        "retry_after": _parse_retry_after(response.headers),
    }
    if 200 <= status < 300:
        is_complete = endpoint.required is None or get_field(record, *endpoint.required) not in (None, "")
        if is_complete and isinstance(record, dict):
            return record
        raise unreadable(endpoint, response, record, facts)
    if endpoint.paid and (status >= 500 or status in _PROVES_NOTHING):
        # The API has no idempotency key and no list of jobs: whatever the answer says, its job may be running.
        cause = f"the API answered with a failure ({status})"
        raise RequestFailed(DeliveryOutcome.LOST, errors.OutcomeUnknown(cause, **facts))
    if status >= 500:
        raise RequestFailed(DeliveryOutcome.FAILED, errors.Upstream("failed", **facts))
    error: errors.LumaError
    if status == 404:
        error = errors.NotFound(endpoint.not_found, **facts)
    elif status == 429:
        error = _build_refusal(endpoint, response.headers, facts)
        raise RequestFailed(DeliveryOutcome.REJECTED_FOR_NOW, error)
    elif status in _ERRORS:
        error = _ERRORS[status](**facts)
    else:
        error = errors.Upstream("unexpected_status", **facts)
        if endpoint.paid:
            error.retry, error.charged = "never", "unknown"
            raise RequestFailed(DeliveryOutcome.FAILED, error)
    raise RequestFailed(DeliveryOutcome.FINAL, error)


def _build_refusal(endpoint: Endpoint, headers: Mapping[str, str], facts: errors.Facts) -> errors.LumaError:
    """Build the error for a 429: too many running jobs, or too many requests.

    The answer about requests has headers with their limit; the one about jobs has only `Retry-After`. Any header may
    be missing, and then the text is all that tells them apart.
    """
    message = (facts["api_message"] or "").casefold()
    is_about_jobs = "concurrent" in message
    if not is_about_jobs and "rate limit" not in message:
        is_about_jobs = "retry-after" in headers and "x-ratelimit-limit" not in headers
    if endpoint.paid and is_about_jobs:
        return errors.Capacity(**facts)
    return errors.Upstream("throttled", **facts)


def _parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Get the seconds to wait, from `Retry-After` or else from the time when the window of requests is over."""
    now = datetime.now(UTC)
    seconds = parse_retry_after(headers.get("retry-after"), now)
    if seconds is None and headers.get("x-ratelimit-remaining", "0").strip() == "0":
        with suppress(ValueError, OverflowError):
            reset = float(headers.get("x-ratelimit-reset", ""))
            # The clock of this machine can be wrong.
            seconds = min(RATE_WINDOW, max(0.0, reset - now.timestamp()))
    return seconds


def _parse_detail(record: Any) -> str | None:
    """Get an error's text. A string is documented; a list of problems or an object is read as well."""
    detail: Any = record
    if isinstance(record, dict):
        detail = record.get("detail") or record.get("error") or record.get("message")
    return "; ".join(_get_texts(detail))[:LONGEST_API_MESSAGE].strip() or None


def _get_texts(detail: Any) -> list[str]:
    """Get the sentences in a part of an error, each with the place that it is about."""
    texts: list[str] = []
    if isinstance(detail, str) and detail.strip():
        texts.append(detail.strip())
    elif isinstance(detail, list):
        for item in detail:
            texts += _get_texts(item)
    elif isinstance(detail, dict):
        place = get_field(detail, "loc", list)
        for name in ("msg", "message", "detail", "error", "code"):
            if texts := _get_texts(detail.get(name)):
                break
        if place:
            path = ".".join(map(str, place))
            texts = [f"{path}: {text}" for text in texts] or [path]
    return texts


def parse_job(record: Mapping[str, Any]) -> Job:
    """Build a job from a generation's record, which has an `id`."""
    kind = get_field(record, "type", str)
    if kind and kind.startswith("video"):
        # An edited and a reframed video are videos, too.
        kind = "video"
    status = (get_field(record, "state", str) or "unknown")[:LONGEST_STATUS]
    code = get_field(record, "failure_code", str)
    reasons = filter(None, (code, get_field(record, "failure_reason", str)))
    job = Job(
        jobid=record["id"],
        status=status,
        kind=kind,
        created=get_field(record, "created_at", str),
        files=_parse_outputs(get_field(record, "output", list) or []),
        failure_reason=": ".join(reasons)[:LONGEST_REASON] or None,
    )
    if job.state != "failed":
        return job
    return replace(
        job,
        charged="no" if code in _REFUNDED else "unknown",
        retry="later" if code in _REPEATABLE else "after_change",
    )


def _parse_outputs(outputs: list[Any]) -> JobFiles:
    """Build the files of a job from its outputs: by their types, since no order is documented."""
    video: Media | None = None
    exr: Media | None = None
    others: list[Media] = []
    for output in outputs:
        media = parse_media(output)
        if media is None:
            continue
        kind = (get_field(output, "type", str) or "").casefold()[:LONGEST_STATUS]
        if kind.partition("/")[0] == "video" and video is None:
            video = replace(media, media_type="video/mp4")
        elif "exr" in kind and exr is None:
            exr = media
        else:
            others.append(replace(media, media_type=kind or None))
    return JobFiles(video=video, video_hdr_exr=exr, others=tuple(others))


def merge_file(record: Mapping[str, Any]) -> dict[str, Any]:
    """Get the record of a file from the answer of `POST /files`, which repeats some of it."""
    return {**(get_field(record, "file", dict) or {}), **record}


def get_file_state(record: Mapping[str, Any]) -> str:
    """Get the state of an uploaded file; "pending" if it is not known."""
    return (get_field(record, "state", str) or "pending").casefold()


def parse_asset(record: Mapping[str, Any]) -> Asset:
    """Build an uploaded file from its record, which has an `id`."""
    reason = get_field(record, "failure_reason", str)
    if get_file_state(record) == "failed":
        return Asset(record["id"], failure_reason=(reason or "no reason was given")[:LONGEST_REASON])
    return Asset(record["id"])
