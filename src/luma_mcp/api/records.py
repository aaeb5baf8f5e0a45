"""Reads JSON from an API tolerantly. Pure.

Any answer may be cut short, and a proxy may answer with HTML. A part that has another shape than documented is absent:
a record that was paid for is never rejected for one odd field.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from typing import Any, TypeVar

from luma_mcp import errors
from luma_mcp.api.protocol import Media
from luma_mcp.api.retry import DeliveryOutcome
from luma_mcp.api.transport import Endpoint, RawResponse, RequestFailed
from luma_mcp.text import strip_control

# Characters of an error's message, of a failed job's reason, and of a job's status.
LONGEST_API_MESSAGE, LONGEST_REASON, LONGEST_STATUS = 300, 2000, 100


# Fields that are passed on as they are. No secret is removed from them: a short token could stand there by chance.
_OPAQUE = frozenset({"jobid", "id", "url", "assetRef", "account", "email"})

_T = TypeVar("_T", str, int, float, bool, dict[str, Any], list[Any])
_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def read_json(body: bytes, secrets: tuple[str, ...]) -> Any:
    """Parse a JSON value and remove the `secrets` that were sent from it; None if the body is no JSON."""
    with suppress(ValueError, RecursionError):
        # NaN and Infinity, which JSON does not have, are absent.
        return _clean(json.loads(body, parse_constant=lambda _: None), secrets)
    return None


def unreadable(endpoint: Endpoint, response: RawResponse, record: object, facts: errors.Facts) -> RequestFailed:
    """Build the failure for an answer that proves nothing, whatever its status."""
    content_type = re.sub(r"[^\w/.+-].*", "", response.headers.get("content-type", ""))
    detail = f"unreadable {content_type or 'content'}" if response.body else "an empty body"
    if isinstance(record, dict):
        detail = "no usable fields"
    if endpoint.paid:
        cause = f"it was answered with {detail} ({response.status})"
        return RequestFailed(DeliveryOutcome.LOST, errors.OutcomeUnknown(cause, **facts))
    return RequestFailed(DeliveryOutcome.FAILED, errors.Upstream("unreadable", detail=detail, **facts))


def parse_media(value: Any) -> Media | None:
    """Build a file from an object with a link, or from the link alone: the shape of `video_hdr_exr` is undocumented."""
    record = {"url": value} if isinstance(value, str) else value
    url = (get_field(record, "url", str) or "").strip()
    # Anything else, such as "null" or a path, is not a usable link.
    if not re.match(r"https?://[^/?#\s]", url, re.IGNORECASE):
        return None
    width, height = get_field(record, "width", int), get_field(record, "height", int)
    return Media(url, get_field(record, "media_type", str), width, height, get_field(record, "duration", float))


def get_message(record: Any, name: str, limit: int) -> str | None:
    """Get an error's text; it may also come as an object around the text, though that is not documented."""
    error = get_field(record, name, dict)
    if error:
        return get_message(error, "message", limit) or get_message(error, "error", limit)
    return (get_field(record, name, str) or "").strip()[:limit] or None


def get_field(record: Any, name: str, kind: type[_T]) -> _T | None:
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
