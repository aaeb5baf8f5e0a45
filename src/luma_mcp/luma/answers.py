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
from typing import Any

import httpx2

from luma_mcp import errors
from luma_mcp.check import either
from luma_mcp.errors import NO_MONEY, LumaError, Problem
from luma_mcp.luma.retry import ORDER, READ, Effect, Fate, parse_retry_after
from luma_mcp.matrix import API_NAMES

LONGEST_QUOTE = 300


@dataclass(frozen=True, slots=True)
class Call:
    """One endpoint. `needs`: fields without which a 2xx answer is unreadable; `missing`: what a 404 means."""

    method: str
    path: str
    effect: Effect
    needs: dict[str, type]
    missing: str


_NO_JOB = "No such job: the jobid is wrong, or the record has expired. Pass it exactly as it was returned."
_NO_ACCOUNT = "No such account is configured at useapi.net."
SUBMIT = Call(
    "POST",
    "/videos",
    ORDER,
    {"jobid": str},
    f"An assetRef is unknown or has expired (they live 30 days), or the account is not configured. {NO_MONEY}",
)
GET_JOB = Call("GET", "/jobs/{}", READ, {"jobid": str}, _NO_JOB)
LIST_JOBS = Call("GET", "/jobs", READ, {"jobs": list}, _NO_JOB)
DELETE_JOB = Call("DELETE", "/jobs/{}", ORDER, {}, _NO_JOB)
LIST_ACCOUNTS = Call("GET", "/accounts", READ, {}, _NO_ACCOUNT)
GET_ACCOUNT = Call("GET", "/accounts/{}", READ, {}, _NO_ACCOUNT)

_MEANINGS: dict[int, tuple[type[LumaError], str]] = {
    401: (errors.Unauthorized, "The API does not accept the token: check that USEAPI_TOKEN is whole and current."),
    402: (errors.PaymentRequired, "No subscription, or no credits left: the owner of the account must renew it."),
    403: (errors.Forbidden, "The job belongs to another user's token."),
    409: (errors.Conflict, "A running job can be neither deleted nor stopped: wait until it has finished."),
    422: (errors.Moderated, "Content moderation refused it: change the prompt or the image."),
    429: (errors.Capacity, "All slots are in use: order again when a running job has finished (30 s to 3 minutes)."),
    596: (
        errors.AccountSession,
        (
            "The Luma account's session has expired: its owner must add the account again at useapi.net; waiting does "
            "not help. Another account can be named with email."
        ),
    ),
}


class Rejected(Exception):
    """No usable answer: what became of the request, and the error to raise if it is not sent again."""

    def __init__(self, fate: Fate, error: LumaError) -> None:
        super().__init__(str(error))
        self.fate = fate
        self.error = error


def read_answer(call: Call, response: httpx2.Response, token: str) -> dict[str, Any]:
    """The JSON object of a 2xx answer.

    Raises:
        Rejected: anything else.
    """
    status = response.status_code
    body = _json_object(response)
    if response.is_success:
        if body is not None and all(isinstance(body.get(n), t) and body[n] != "" for n, t in call.needs.items()):
            return body
        raise _unreadable(call, response, body, token)
    words = _quote(body, token)
    said = f' The API says: "{words}"' if words else ""
    if status == 400:
        raise Rejected(Fate.FINAL, _refused(call, words))
    if status == 404:
        raise Rejected(Fate.FINAL, errors.NotFound(call.missing + said, status=404, api_message=words))
    pace = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    if status in _MEANINGS:
        kind, meaning = _MEANINGS[status]
        money = f" {NO_MONEY}" if call is SUBMIT else ""
        asked = f" It asks to wait {pace:.0f} s." if pace is not None else ""
        fate = Fate.REFUSED if status == 429 else Fate.FINAL
        raise Rejected(fate, kind(f"{meaning}{money}{said}{asked}", status=status, api_message=words, retry_after=pace))
    if status < 500:
        error = errors.Upstream(
            f"The API gave an unexpected answer ({status}).{said}", status=status, api_message=words
        )
        raise Rejected(Fate.FINAL, error)
    if call is SUBMIT and words is None:
        raise _unreadable(call, response, body, token)
    order = " It gave no jobid for the order; look for a running job before ordering again." if call is SUBMIT else ""
    error = errors.Upstream(
        f"The API failed ({status}).{order}{said}", status=status, api_message=words, retry_after=pace
    )
    raise Rejected(Fate.FAILED, error)


def no_answer(call: Call, fault: httpx2.HTTPError) -> Rejected:
    """What a failure of the transport means for this call."""
    if isinstance(fault, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
        why, hopeless = _connect_fault(fault)
        money = f" {NO_MONEY}" if call is SUBMIT else ""
        fate = Fate.FINAL if hopeless else Fate.NEVER_ARRIVED
        return Rejected(fate, errors.NetworkError(f"The API was not reached: {why}.{money}"))
    if isinstance(fault, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return Rejected(Fate.FINAL, errors.NetworkError("The request could not be sent: check LUMA_MCP_BASE_URL."))
    why = "no answer came in time" if isinstance(fault, httpx2.TimeoutException) else "the connection broke"
    if call is SUBMIT:
        return Rejected(Fate.LOST, _unknown(f"The order went out, but {why}"))
    return Rejected(Fate.LOST, errors.NetworkError(f"The API was asked, but {why}."))


def _unknown(what: str, **details: Any) -> errors.OutcomeUnknown:
    return errors.OutcomeUnknown(
        f"{what}: a job may be running and may be billed. It was not sent again, so that nothing is paid twice.",
        **details,
    )


def _unreadable(call: Call, response: httpx2.Response, body: dict[str, Any] | None, token: str) -> Rejected:
    status = response.status_code
    kind = response.headers.get("content-type", "").split(";")[0] or "no content type"
    what = "no usable fields" if body is not None else "an empty body" if not response.content else f"unreadable {kind}"
    if call is SUBMIT:
        return Rejected(Fate.LOST, _unknown(f"The order was answered with {what} ({status})", status=status))
    words = _quote(body, token)
    return Rejected(
        Fate.FAILED, errors.Upstream(f"The API answered with {what} ({status}).", status=status, api_message=words)
    )


def _refused(call: Call, words: str | None) -> errors.InvalidArguments:
    """The API's own refusal; its sentence about a parameter becomes a problem that names the field."""
    said = f'The API refused the request: "{words or "no reason given"}".'
    message = f"{said} {NO_MONEY}" if call is SUBMIT else said
    problems = []
    if named := re.match(r"Parameter (\w+) \((.*?)\) valid values: (.+)", words or ""):
        field = next((n for n, api_name in API_NAMES.items() if api_name == named[1]), named[1])
        values = tuple(re.split(r",\s*", named[3]))
        problems = [Problem(field, named[2], f'{field} "{named[2]}" is not accepted; use {either(values)}.', values)]
    return errors.InvalidArguments(message, problems=problems, status=400, api_message=words)


def _connect_fault(fault: BaseException) -> tuple[str, bool]:
    """In words, and whether trying again is hopeless."""
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "its TLS certificate or handshake failed (a proxy or a private certificate authority?)", True
        if isinstance(cause, socket.gaierror):
            return "its name could not be looked up (DNS; is this machine online?)", False
        cause = cause.__cause__ or cause.__context__
    if isinstance(fault, httpx2.TimeoutException):
        return "connecting took too long", False
    return "the connection was refused or is not possible", False


def _json_object(response: httpx2.Response) -> dict[str, Any] | None:
    try:
        body = json.loads(response.content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _quote(body: dict[str, Any] | None, token: str) -> str | None:
    """The API's own words, without the token should they repeat it."""
    words = (body or {}).get("error")
    if not isinstance(words, str) or not words.strip():
        return None
    return words.replace(token, "***").strip()[:LONGEST_QUOTE]
