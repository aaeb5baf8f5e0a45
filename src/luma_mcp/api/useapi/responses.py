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
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from luma_mcp import errors
from luma_mcp.api.protocol import Account, AddedAccount, Asset, Job, JobFiles, Media, RunningJob, VideoRequest
from luma_mcp.api.retry import DeliveryOutcome, parse_retry_after
from luma_mcp.api.transport import RequestFailed
from luma_mcp.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Mapping

    from luma_mcp.api.transport import Endpoint, RawResponse
    from luma_mcp.catalog.models import Catalog

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

_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def read_response(
    catalog: Catalog, endpoint: Endpoint, response: RawResponse, secrets: tuple[str, ...]
) -> dict[str, Any]:
    """Return the JSON object of a good answer, without the `secrets` that were sent, or raise `RequestFailed`."""
    status = response.status
    record = _parse_object(response.body, secrets)
    facts: errors.Facts = {
        "status": status,
        "api_message": _message(_object(record).get("error"), LONGEST_API_MESSAGE),
        "retry_after": parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC)),
    }
    if 200 <= status < 300:
        if record is not None and _has_required_fields(record, endpoint):
            return record
        if endpoint.method == "DELETE":
            # It has happened, whatever the answer looks like.
            return {}
        raise _unreadable(endpoint, response, record, facts)
    error: errors.LumaError
    if status == 400:
        error = _rejected(catalog, endpoint, facts)
    elif status == 404:
        error = errors.NotFound(endpoint.not_found, **facts)
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
    if record is not None:
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
    status = _text(record.get("status", "created")) or "unknown"
    files = _object(record.get("response"))
    # `errorDetails` is documented for other APIs of the vendor.
    reasons = [_message(record.get("error"), LONGEST_REASON), _message(record.get("errorDetails"), LONGEST_REASON)]
    return Job(
        jobid=record["jobid"],
        status=status[:LONGEST_STATUS],
        kind=_text(record.get("type")),
        created=_text(record.get("created")),
        updated=_text(record.get("updated")),
        files=JobFiles(**{row.name: _parse_media(files.get(row.name)) for row in fields(JobFiles)}),
        credits_used=_number(_object(record.get("credits")).get("dm_usage")),
        failure_reason="; ".join(filter(None, reasons)) or None,
        request=parse_request(catalog, record.get("request")),
    )


def parse_request(catalog: Catalog, value: Any) -> VideoRequest | None:
    """Build the request that a record repeats; None if it repeats none that can be read."""
    record = _object(value)
    params = {name: record[row.api_name] for name, row in catalog.params.items() if record.get(row.api_name)}
    if not all(isinstance(param, str) for param in params.values()):
        return None
    with suppress(TypeError):
        return VideoRequest.from_params(params)
    return None


def parse_running_jobs(record: Mapping[str, Any]) -> tuple[RunningJob, ...]:
    """Build the rows of `GET /jobs`; a row without a jobid is left out."""
    jobs: list[RunningJob] = []
    for row in map(_object, record["jobs"]):
        if isinstance(row.get("jobid"), str):
            kind, account = _text(row.get("type")), _text(row.get("account"))
            model, created = _text(row.get("model")), _text(row.get("created"))
            jobs.append(RunningJob(row["jobid"], kind, account, model, created))
    return tuple(jobs)


def parse_accounts(record: Mapping[str, Any]) -> tuple[Account, ...]:
    """Build the accounts of `GET /accounts`, an object by e-mail address."""
    return tuple(parse_account(email, row) for email, row in record.items() if isinstance(row, dict))


def parse_account(email: str, record: Mapping[str, Any]) -> Account:
    """Build an account from its record."""
    return Account(
        email,
        concurrency=_whole_number(record.get("concurrency")),
        executing=_whole_number(record.get("executing")),
        session_expires=_text(record.get("luma_session_expires")),
        session_valid=_flag(record.get("sessionValid")),
        credits=_object(record.get("credits")) or None,
        error=_text(record.get("error")),
    )


def parse_added_account(record: Mapping[str, Any]) -> AddedAccount:
    """Build the answer of `POST /accounts`."""
    return AddedAccount(**asdict(parse_account(record["account"], record)), created=_flag(record.get("created")))


def parse_asset(record: Mapping[str, Any]) -> Asset:
    """Build the answer of `POST /assets/{email}`."""
    return Asset(asset_ref=record["assetRef"], email=_text(record.get("email")))


def _parse_media(value: Any) -> Media | None:
    """Build a file from an object with a link, or from the link alone: the shape of `video_hdr_exr` is undocumented."""
    record = _object({"url": value} if isinstance(value, str) else value)
    url = _text(record.get("url"))
    if not url:
        return None
    width, height = _whole_number(record.get("width")), _whole_number(record.get("height"))
    return Media(url, _text(record.get("media_type")), width, height, _number(record.get("duration")))


def _message(value: Any, limit: int) -> str | None:
    """Return an error's text; it may also come as an object around the text, though that is not documented."""
    if isinstance(value, dict):
        value = value.get("message") or value.get("error")
    return (_text(value) or "").strip()[:limit] or None


def _object(value: Any) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    """Return a finite number, also one that is written as text."""
    with suppress(TypeError, ValueError, OverflowError):
        number = float(value)
        if math.isfinite(number) and not isinstance(value, bool):
            return number
    return None


def _whole_number(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _flag(value: Any) -> bool | None:
    return _FLAGS.get(str(value).casefold())


def _has_required_fields(record: Mapping[str, Any], endpoint: Endpoint) -> bool:
    required = endpoint.required_fields.items()
    return all(isinstance(record.get(name), kind) and record[name] != "" for name, kind in required)


def _parse_object(body: bytes, secrets: tuple[str, ...]) -> dict[str, Any] | None:
    """Parse a body that is a JSON object; None for anything else."""
    try:
        # NaN and Infinity, which JSON does not have, are absent.
        record = _clean(json.loads(body, parse_constant=lambda _: None), secrets)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


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
