"""What came back: a readable answer, or a failure named for the situation. Pure.

Source of statuses and bodies: useapi.net, Luma API v1, pages of April 2026. Some 404s have an empty body, a
proxy may answer with HTML, and any answer may be cut short.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx2

from luma_mcp import errors
from luma_mcp.api.protocol import reason
from luma_mcp.api.retry import DeliveryOutcome, parse_retry_after
from luma_mcp.api.useapi.endpoints import DELETE_JOB, GET_JOB, SUBMIT, Call
from luma_mcp.catalog.useapi import API_NAMES
from luma_mcp.catalog.validate import either
from luma_mcp.errors import NO_MONEY, REFRESH_ANY, FailureStage, LumaError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

OPAQUE = frozenset({"jobid", "url", "assetRef", "account", "email"})
LONGEST_QUOTE = 300
LONGEST_CHAIN = 20
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal would obey rather than show: control characters, and what turns the direction of writing around."""


_MEANINGS: dict[int, tuple[type[LumaError], str]] = {
    401: (errors.Unauthorized, "The API does not accept the token: check that USEAPI_TOKEN is whole and current."),
    402: (errors.PaymentRequired, "No subscription, or no credits left: the owner of the account must renew it."),
    403: (errors.Forbidden, "The job belongs to another user: ask with the token that ordered it."),
    409: (errors.Conflict, "A running job can be neither deleted nor stopped: wait until it has finished."),
    422: (errors.Moderated, "Content moderation refused it: change the prompt or the image."),
    429: (errors.Capacity, "All slots are in use: order again when a running job has finished (30 s to 3 minutes)."),
    596: (
        errors.AccountSession,
        (
            f"The Luma account's session has expired; waiting does not help. Its owner ends that in a terminal: "
            f"{REFRESH_ANY}. Another account can be named with email."
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came over the wire: lower-case header names, the body without its content encoding."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RequestFailed(Exception):
    """No usable answer: what became of the request, and the error to raise if it is not sent again."""

    def __init__(self, fate: DeliveryOutcome, error: LumaError) -> None:
        super().__init__(str(error))
        self.fate = fate
        self.error = error


def read_answer(call: Call, answer: Answer, *secrets: str) -> dict[str, Any]:
    """The JSON object of a 2xx answer; `secrets`: what was sent, and must not be repeated.

    Raises:
        RequestFailed: anything else.
    """
    status, record = answer.status, _json_object(answer.body, secrets)
    if 200 <= status < 300:
        if record is not None and all(isinstance(record.get(n), t) and record[n] != "" for n, t in call.needs.items()):
            return record
        if call.method == "DELETE":
            return {}
        raise _unreadable(call, answer, record)
    words = _words(record)
    said = _said(words)
    pace = parse_retry_after(answer.headers.get("retry-after"), datetime.now(UTC))
    money = f" {NO_MONEY}" if call is SUBMIT else ""
    if status == 400:
        raise RequestFailed(DeliveryOutcome.FINAL, _refused(call, words))
    if status == 404:
        raise RequestFailed(DeliveryOutcome.FINAL, errors.NotFound(call.missing + said, status=404, api_message=words))
    if status in _MEANINGS:
        kind, meaning = _MEANINGS[status]
        asked = f" It asks to wait {pace:.0f} s." if pace is not None else ""
        fate = DeliveryOutcome.REFUSED if status == 429 else DeliveryOutcome.FINAL
        raise RequestFailed(
            fate, kind(f"{meaning}{money}{said}{asked}", status=status, api_message=words, retry_after=pace)
        )
    if call is SUBMIT and (status in GATEWAY or (status >= 500 and words is None)):
        raise _unreadable(call, answer, record)
    failed = "failed" if status >= 500 else "gave an unexpected answer"
    # An order that the API itself says has failed: its word is all there is, so nobody is told to repeat it.
    step = (
        "It gave no jobid for the order; whether a job runs is not certain." if call is SUBMIT else "Try again later."
    )
    error = errors.Upstream(
        f"The API {failed} ({status}). {step}{said}", status=status, api_message=words, retry_after=pace
    )
    error.retry = "never" if call is SUBMIT else "later"
    raise RequestFailed(DeliveryOutcome.FAILED if status >= 500 else DeliveryOutcome.FINAL, error)


def no_answer(call: Call, why: str, way: FailureStage = "timeout") -> RequestFailed:
    """The request went out, and no answer came back."""
    if call is SUBMIT:
        return RequestFailed(DeliveryOutcome.LOST, _unknown(f"The order went out, but {why}"))
    return RequestFailed(DeliveryOutcome.LOST, _network(f"The API was asked, but {why}. Try again in a moment.", way))


def transport_failed(call: Call, fault: Exception) -> RequestFailed:
    """What a failure of the transport means for this call."""
    money = f" {NO_MONEY}" if call is SUBMIT else ""
    if isinstance(fault, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
        why, way = _connect_fault(fault)
        fate = DeliveryOutcome.FINAL if way == "tls" else DeliveryOutcome.NEVER_ARRIVED
        return RequestFailed(fate, _network(f"The API was not reached: {why}.{money}", way))
    if not isinstance(fault, httpx2.HTTPError) or isinstance(fault, _NOT_SENDABLE):
        return RequestFailed(DeliveryOutcome.FINAL, not_sendable(fault, money))
    if isinstance(fault, httpx2.TimeoutException):
        return no_answer(call, "no answer came in time")
    return no_answer(call, "the connection broke", "broken")


def not_sendable(fault: Exception, money: str = "") -> errors.NetworkError:
    """What forbids a request on this machine. The fault is named, not quoted: it could repeat the token."""
    return _network(
        f"The request could not be sent ({type(fault).__name__}): check LUMA_MCP_BASE_URL, and the proxy and "
        f"certificate variables of the environment (HTTPS_PROXY, SSL_CERT_FILE).{money}",
        "unsendable",
    )


def _network(message: str, way: FailureStage) -> errors.NetworkError:
    error = errors.NetworkError(message)
    error.way = way
    return error


_NOT_SENDABLE = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
GATEWAY = frozenset({408, 499, 502, 504, *range(520, 528)})
"""Statuses of a gateway that has lost the answer, or the patience: what it fronts may have taken the order."""


def _unknown(what: str, **details: Any) -> errors.OutcomeUnknown:
    return errors.OutcomeUnknown(
        f"{what}: a job may be running and may be billed. It was not sent again, so that nothing is paid twice.",
        **details,
    )


def _unreadable(call: Call, answer: Answer, record: dict[str, Any] | None) -> RequestFailed:
    kind = re.sub(r"[^\w/.+-].*", "", answer.headers.get("content-type", "")) or "content"
    what = "no usable fields" if record is not None else "an empty body" if not answer.body else f"unreadable {kind}"
    words = _words(record)
    said = _said(words)
    details: dict[str, Any] = {"status": answer.status, "api_message": words}
    if call is SUBMIT:
        return RequestFailed(
            DeliveryOutcome.LOST, _unknown(f"The order was answered with {what} ({answer.status}){said}", **details)
        )
    message = f"The API answered with {what} ({answer.status}). Try again later.{said}"
    return RequestFailed(DeliveryOutcome.FAILED, errors.Upstream(message, **details))


def _refused(call: Call, words: str | None) -> errors.InvalidArguments:
    """The API's own refusal; its sentence about a parameter becomes a problem that names the field."""
    said = f'The API refused the request: "{words or "no reason given"}".'
    message = f"{said} {NO_MONEY}" if call is SUBMIT else said
    problems = []
    if named := re.match(r"Parameter (\w+) \((.*?)\) valid values: (.+)", words or ""):
        field = next((n for n, api_name in API_NAMES.items() if api_name == named[1]), named[1])
        values = tuple(re.split(r",\s*", named[3]))
        problems = [Problem(field, named[2], f'{field} "{named[2]}" is not accepted; use {either(values)}.', values)]
    elif call in (GET_JOB, DELETE_JOB):
        what = "jobid is not one that the API knows; pass it exactly as generate_video returned it."
        problems = [Problem("jobid", None, what)]
    return errors.InvalidArguments(message, problems=problems, status=400, api_message=words)


def _connect_fault(fault: BaseException) -> tuple[str, FailureStage]:
    """In words, and for programs."""
    cause: BaseException | None = fault
    # A chain of causes can go in a circle, where somebody raises one exception again.
    for _ in range(LONGEST_CHAIN):
        if isinstance(cause, ssl.SSLError):
            return "its TLS certificate or handshake failed (a proxy, or a private certificate authority?)", "tls"
        if isinstance(cause, socket.gaierror):
            return "its name could not be looked up (DNS; is this machine online?)", "dns"
        cause = (cause.__cause__ or cause.__context__) if cause else None
    if isinstance(fault, httpx2.TimeoutException):
        return "connecting took too long (is this machine online?)", "timeout"
    if isinstance(fault, httpx2.ProxyError):
        return "the proxy did not let it through (HTTPS_PROXY)", "proxy"
    return "the connection was refused or is not possible (is this machine online?)", "refused"


def plain(text: str) -> str:
    """Without what a terminal would obey; newlines and tabs stay."""
    return _UNPRINTABLE.sub("", text)


def _json_object(body: bytes, secrets: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        record = _clean(json.loads(body, parse_constant=lambda _: None), secrets)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _clean(value: Any, secrets: tuple[str, ...], name: str = "") -> Any:
    """Without the secrets, should the API repeat one, without half characters, which no answer can carry, and plain.

    What is passed on as it is (`OPAQUE`) is left whole: a short token could stand in it by chance.
    """
    if isinstance(value, str):
        text = plain(value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        for secret in () if name in OPAQUE else secrets:
            text = text.replace(secret, "***")
        return text
    if isinstance(value, list):
        return [_clean(item, secrets, name) for item in value]
    if isinstance(value, dict):
        return {_clean(n, secrets, "jobid"): _clean(item, secrets, str(n)) for n, item in value.items()}
    return value


def _said(words: str | None) -> str:
    return f' The API says: "{words}".' if words else ""


def _words(record: dict[str, Any] | None) -> str | None:
    """The API's own words."""
    words = reason((record or {}).get("error"))
    return words[:LONGEST_QUOTE] if words else None
