"""Reads the answers of useapi.net: records, and what each failure means. Pure.

Source: useapi.net, Luma API v1, pages of April 2026. Some 404s have an empty body, a proxy may answer with HTML, and
any answer may be cut short.

Records are read tolerantly: unknown fields are ignored, any unknown status means that the job is running, and a part
that has another shape than documented is absent. A record that was paid for is never rejected for one odd field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from luma_mcp import errors
from luma_mcp.api.protocol import Account, AddedAccount, Asset, Job, JobFiles, RunningJob, VideoRequest
from luma_mcp.api.records import (
    LONGEST_API_MESSAGE,
    LONGEST_REASON,
    LONGEST_STATUS,
    get_field,
    get_message,
    parse_media,
    read_json,
    unreadable,
)
from luma_mcp.api.retry import DeliveryOutcome, parse_retry_after
from luma_mcp.api.transport import Endpoint, RawResponse, RequestFailed
from luma_mcp.catalog.models import Catalog

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


def read_response(
    catalog: Catalog, endpoint: Endpoint, response: RawResponse, secrets: tuple[str, ...]
) -> dict[str, Any]:
    """Return the JSON object of a good answer, without the `secrets` that were sent, or raise `RequestFailed`."""
    status = response.status
    is_success = 200 <= status < 300
    record = read_json(response.body, secrets)
    if is_success and endpoint.method == "DELETE":
        # The operation has succeeded, whatever the answer contains.
        return {}
    is_complete = endpoint.required is None or get_field(record, *endpoint.required) not in (None, "")
    if is_success and is_complete and isinstance(record, dict):
        return record
    facts: errors.Facts = {
        "status": status,
        "api_message": get_message(record, "error", LONGEST_API_MESSAGE),
        "retry_after": parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC)),
    }
    if is_success:
        raise unreadable(endpoint, response, record, facts)
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
        return unreadable(endpoint, response, record, facts)
    error = errors.Upstream("failed" if is_failure else "unexpected_status", **facts)
    if endpoint.paid:
        # The API's message is the only evidence that nothing was ordered, so the error does not advise to repeat
        # it, and its job is looked for.
        error.retry, error.charged = "never", "unknown"
    return RequestFailed(DeliveryOutcome.FAILED if is_failure or endpoint.paid else DeliveryOutcome.FINAL, error)


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
    status = get_field({"status": "created", **record}, "status", str) or "unknown"
    files = get_field(record, "response", dict) or {}
    # `errorDetails` is documented for other APIs of the vendor.
    reasons = [get_message(record, name, LONGEST_REASON) for name in ("error", "errorDetails")]
    return Job(
        jobid=record["jobid"],
        status=status[:LONGEST_STATUS],
        kind=get_field(record, "type", str),
        created=get_field(record, "created", str),
        updated=get_field(record, "updated", str),
        files=_parse_files(files),
        credits_used=get_field(record.get("credits"), "dm_usage", float),
        failure_reason="; ".join(filter(None, reasons)) or None,
        request=_parse_request(catalog, get_field(record, "request", dict) or {}),
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
        jobid = get_field(row, "jobid", str)
        if jobid is not None:
            kind, account = get_field(row, "type", str), get_field(row, "account", str)
            jobs.append(RunningJob(jobid, kind, account, get_field(row, "model", str), get_field(row, "created", str)))
    return tuple(jobs)


def parse_accounts(record: Mapping[str, Any]) -> tuple[Account, ...]:
    """Build the accounts of `GET /accounts`, an object by e-mail address."""
    return tuple(parse_account(email, row) for email, row in record.items() if isinstance(row, dict))


def parse_account(email: str, record: Mapping[str, Any]) -> Account:
    """Build an account from its record."""
    return Account(
        email,
        concurrency=get_field(record, "concurrency", int),
        executing=get_field(record, "executing", int),
        session_expires=get_field(record, "luma_session_expires", str),
        session_valid=get_field(record, "sessionValid", bool),
        credits=get_field(record, "credits", dict) or None,
        error=get_field(record, "error", str),
    )


def parse_added_account(record: Mapping[str, Any]) -> AddedAccount:
    """Build the answer of `POST /accounts`."""
    return AddedAccount(**asdict(parse_account(record["account"], record)), created=get_field(record, "created", bool))


def parse_asset(record: Mapping[str, Any]) -> Asset:
    """Build the answer of `POST /assets/{email}`."""
    return Asset(asset_ref=record["assetRef"], email=get_field(record, "email", str))


def _parse_files(record: dict[str, Any]) -> JobFiles:
    """Build the files of a job from its part `response`."""
    return JobFiles(
        video=parse_media(record.get("video")),
        video_hdr_exr=parse_media(record.get("video_hdr_exr")),
        thumbnail=parse_media(record.get("thumbnail")),
        last_frame=parse_media(record.get("last_frame")),
    )
