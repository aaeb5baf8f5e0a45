"""Reads the answers of useapi.net: records, and what each failure means. Pure.

Source: useapi.net, Luma API v1, pages of April 2026. Some 404s have an empty body, a proxy may answer with HTML, and
any answer may be cut short.

Records are read tolerantly: unknown fields are ignored, any unknown status means that the job is running, and a part
that has another shape than documented is absent. A record that was paid for is never rejected for one odd field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

from luma_mcp import errors
from luma_mcp.api.protocol import Account, AddedAccount, Asset, Job, JobFiles, Media, RunningJob, VideoRequest
from luma_mcp.api.retry import DeliveryOutcome, parse_retry_after
from luma_mcp.api.transport import Endpoint, RawResponse, RequestFailed
from luma_mcp.catalog.models import Catalog
from luma_mcp.text import strip_control

# Characters of an error's message, of a failed job's reason, and of a job's status.
LONGEST_API_MESSAGE, LONGEST_REASON, LONGEST_STATUS = 300, 2000, 100

# Statuses of a gateway that lost the answer, or did not wait for it: the API behind it may have accepted an order. Its
# outcome is unknown then, and also after any other 5xx without a message of the API's own, after a successful answer
# that cannot be read, and without an answer.
PROVES_NOTHING = frozenset({408, 499, 502, 504, *range(520, 528)})

# What each documented status means; 400 and 404 are read by functions of their own.
_ERRORS: dict[int, type[errors.LumaError]] = {
    401: errors.Unauthorized,
    402: errors.PaymentRequired,
    403: errors.Forbidden,
    409: errors.Conflict,
    422: errors.Moderated,
    429: errors.Capacity,
    596: errors.AccountSession,
}

# Fields that are passed on as they are. No secret is removed from them: a short token could stand there by chance.
_OPAQUE = frozenset({"jobid", "url", "assetRef", "account", "email"})

_T = TypeVar("_T", str, int, float, bool, dict[str, Any], list[Any])
_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def read_response(
    catalog: Catalog, endpoint: Endpoint, response: RawResponse, secrets: tuple[str, ...]
) -> dict[str, Any]:
    """Return the JSON object of a good answer, without the `secrets` that were sent, or raise `RequestFailed`."""
    status = response.status
    is_success = 200 <= status < 300
    record: Any = None
    with suppress(ValueError, RecursionError):
        # NaN and Infinity, which JSON does not have, are absent.
        record = _clean(json.loads(response.body, parse_constant=lambda _: None), secrets)
    if is_success and endpoint.method == "DELETE":
        # It has happened, whatever the answer looks like.
        return {}
    is_complete = endpoint.required is None or _get(record, *endpoint.required) not in (None, "")
    if is_success and is_complete and isinstance(record, dict):
        return record
    facts: errors.Facts = {
        "status": status,
        "api_message": _message(record, "error", LONGEST_API_MESSAGE),
        "retry_after": parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC)),
    }
    if is_success:
        raise _unreadable(endpoint, response, record, facts)
    error: errors.LumaError
    if status == 400:
        error = _rejected(catalog, endpoint, facts)
    elif status == 404:
        error = errors.NotFound(endpoint.not_found, **facts)
    elif status == 429 and not endpoint.paid:
        # Only an order needs a slot.
        error = errors.Upstream("throttled", **facts)
    elif status in _ERRORS:
        error = _ERRORS[status](**facts)
    else:
        raise _undocumented(endpoint, response, record, facts)
    raise RequestFailed(DeliveryOutcome.REJECTED_FOR_NOW if status == 429 else DeliveryOutcome.FINAL, error)


def _undocumented(endpoint: Endpoint, response: RawResponse, record: object, facts: errors.Facts) -> RequestFailed:
    """Build the failure for a status that is not documented."""
    is_failure = response.status >= 500
    if endpoint.paid and (response.status in PROVES_NOTHING or (is_failure and facts["api_message"] is None)):
        return _unreadable(endpoint, response, record, facts)
    error = errors.Upstream("failed" if is_failure else "unexpected_status", **facts)
    if endpoint.paid:
        # The API's message is the only evidence that nothing was ordered, so nobody is advised to repeat it, and its
        # job is looked for.
        error.retry, error.charged = "never", "unknown"
    return RequestFailed(DeliveryOutcome.FAILED if is_failure or endpoint.paid else DeliveryOutcome.FINAL, error)


def _unreadable(endpoint: Endpoint, response: RawResponse, record: object, facts: errors.Facts) -> RequestFailed:
    """Build the failure for an answer that proves nothing, whatever its status."""
    content_type = re.sub(r"[^\w/.+-].*", "", response.headers.get("content-type", ""))
    detail = f"unreadable {content_type or 'content'}" if response.body else "an empty body"
    if isinstance(record, dict):
        detail = "no usable fields"
    if endpoint.paid:
        cause = f"it was answered with {detail} ({response.status})"
        return RequestFailed(DeliveryOutcome.LOST, errors.OutcomeUnknown(cause, **facts))
    return RequestFailed(DeliveryOutcome.FAILED, errors.Upstream("unreadable", detail=detail, **facts))


def _rejected(catalog: Catalog, endpoint: Endpoint, facts: errors.Facts) -> errors.InvalidArguments:
    """Build the error for a 400; the API's sentence about a parameter becomes a problem that names the field."""
    problems: list[errors.Problem] = []
    # The API has no other form for this than its sentence.
    match = re.match(r"Parameter (\w+) \((.*?)\) valid values: (.+)", facts["api_message"] or "")
    if match:
        api_name, value, allowed = match.groups()
        names = {row.api_name: name for name, row in catalog.params.items()}
        values = tuple(re.split(r",\s*", allowed))
        problems.append(errors.Problem(names.get(api_name, api_name), "not_accepted", value=value, allowed=values))
    elif "{jobid}" in endpoint.path:
        problems.append(errors.Problem("jobid", "unknown_jobid"))
    return errors.InvalidArguments(problems, **facts)


def parse_job(catalog: Catalog, record: Mapping[str, Any]) -> Job:
    """Build a job from its record, which has a `jobid`."""
    status = _get({"status": "created", **record}, "status", str) or "unknown"
    files = _get(record, "response", dict) or {}
    # `errorDetails` is documented for other APIs of the vendor.
    reasons = [_message(record, name, LONGEST_REASON) for name in ("error", "errorDetails")]
    return Job(
        jobid=record["jobid"],
        status=status[:LONGEST_STATUS],
        kind=_get(record, "type", str),
        created=_get(record, "created", str),
        updated=_get(record, "updated", str),
        files=_parse_files(files),
        credits_used=_get(record.get("credits"), "dm_usage", float),
        failure_reason="; ".join(filter(None, reasons)) or None,
        request=_parse_request(catalog, _get(record, "request", dict) or {}),
    )


def _parse_request(catalog: Catalog, record: Mapping[str, Any]) -> VideoRequest | None:
    """Build the request that a job's record repeats; None if it repeats none that can be read."""
    params = {name: record[row.api_name] for name, row in catalog.params.items() if record.get(row.api_name)}
    with suppress(TypeError):
        if {str}.issuperset(map(type, params.values())):
            return VideoRequest.from_params(params)
    return None


def parse_running_jobs(record: Mapping[str, Any]) -> tuple[RunningJob, ...]:
    """Build the rows of `GET /jobs`; a row without a jobid is left out."""
    jobs: list[RunningJob] = []
    for row in record["jobs"]:
        jobid = _get(row, "jobid", str)
        if jobid is not None:
            kind, account = _get(row, "type", str), _get(row, "account", str)
            jobs.append(RunningJob(jobid, kind, account, _get(row, "model", str), _get(row, "created", str)))
    return tuple(jobs)


def parse_accounts(record: Mapping[str, Any]) -> tuple[Account, ...]:
    """Build the accounts of `GET /accounts`, an object by e-mail address."""
    return tuple(parse_account(email, row) for email, row in record.items() if isinstance(row, dict))


def parse_account(email: str, record: Mapping[str, Any]) -> Account:
    """Build an account from its record."""
    return Account(
        email,
        concurrency=_get(record, "concurrency", int),
        executing=_get(record, "executing", int),
        session_expires=_get(record, "luma_session_expires", str),
        session_valid=_get(record, "sessionValid", bool),
        credits=_get(record, "credits", dict) or None,
        error=_get(record, "error", str),
    )


def parse_added_account(record: Mapping[str, Any]) -> AddedAccount:
    """Build the answer of `POST /accounts`."""
    return AddedAccount(**asdict(parse_account(record["account"], record)), created=_get(record, "created", bool))


def parse_asset(record: Mapping[str, Any]) -> Asset:
    """Build the answer of `POST /assets/{email}`."""
    return Asset(asset_ref=record["assetRef"], email=_get(record, "email", str))


def _parse_files(record: dict[str, Any]) -> JobFiles:
    """Build the files of a job from its part `response`."""
    return JobFiles(
        video=_parse_media(record.get("video")),
        video_hdr_exr=_parse_media(record.get("video_hdr_exr")),
        thumbnail=_parse_media(record.get("thumbnail")),
        last_frame=_parse_media(record.get("last_frame")),
    )


def _parse_media(value: Any) -> Media | None:
    """Build a file from an object with a link, or from the link alone: the shape of `video_hdr_exr` is undocumented."""
    record = {"url": value} if isinstance(value, str) else value
    url = (_get(record, "url", str) or "").strip()
    # Anything else, such as "null" or a path, leads nowhere.
    if not re.match(r"https?://[^/?#\s]", url, re.IGNORECASE):
        return None
    width, height = _get(record, "width", int), _get(record, "height", int)
    return Media(url, _get(record, "media_type", str), width, height, _get(record, "duration", float))


def _message(record: Any, name: str, limit: int) -> str | None:
    """Get an error's text; it may also come as an object around the text, though that is not documented."""
    error = _get(record, name, dict)
    if error:
        return _message(error, "message", limit) or _message(error, "error", limit)
    return (_get(record, name, str) or "").strip()[:limit] or None


def _get(record: Any, name: str, kind: type[_T]) -> _T | None:
    """Get a field of a JSON object; None if it is absent or of another type.

    Numbers are finite. They, and flags, may also be written as text.
    """
    value: Any = record.get(name) if isinstance(record, dict) else None
    if kind is bool:
        value = _FLAGS.get(str(value).casefold())
    elif kind in (int, float):
        number = math.nan
        with suppress(TypeError, ValueError, OverflowError):
            number = math.nan if isinstance(value, bool) else float(value)
        value = number if math.isfinite(number) else None
        if kind is int:
            value = int(number) if number.is_integer() else None
    return value if isinstance(value, kind) else None


def _clean(value: Any, secrets: tuple[str, ...], name: str = "") -> Any:
    """Copy a JSON value without secrets, control characters and lone surrogates (which no answer could carry)."""
    if isinstance(value, str):
        text = strip_control(value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        if name not in _OPAQUE:
            for secret in secrets:
                text = text.replace(secret, "***")
        return text
    if isinstance(value, list):
        return [_clean(item, secrets, name) for item in value]
    if isinstance(value, dict):
        # A key may be an e-mail address, so it is opaque.
        return {_clean(key, secrets, "email"): _clean(item, secrets, key) for key, item in value.items()}
    return value
