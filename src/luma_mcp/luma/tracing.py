"""A span around each request to the API (OpenTelemetry).

They go nowhere, and cost next to nothing, until somebody sets up an OpenTelemetry SDK. Names and attributes are those
of the semantic conventions for HTTP clients.

No span has a jobid, an account, a prompt or a header: whoever reads traces need not know them.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from opentelemetry.trace import SpanKind, StatusCode, get_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span

    from luma_mcp.luma.calls import Call

_tracer = get_tracer("luma-mcp")


@contextmanager
def request_span(call: Call, base_url: str, *, attempt: int) -> Iterator[Span]:
    """One request, from its connection to the end of its answer; `attempt` counts from 1."""
    attributes: dict[str, str | int] = {
        "http.request.method": call.method,
        "url.template": call.path,
    }
    # A base URL that is none is the request's own error.
    with suppress(ValueError):
        url = urlsplit(base_url)
        attributes["server.address"] = url.hostname or ""
        attributes["server.port"] = url.port or (80 if url.scheme == "http" else 443)
    if attempt > 1:
        attributes["http.request.resend_count"] = attempt - 1
    with _tracer.start_as_current_span(
        f"{call.method} {call.path}",
        kind=SpanKind.CLIENT,
        attributes=attributes,
        # Their texts are for the one who ordered.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as error:
            failed(span, type(error).__qualname__)
            raise
        except anyio.get_cancelled_exc_class():
            failed(span, "cancelled")
            raise


def answered(span: Span, status: int) -> None:
    """Notes the HTTP status."""
    span.set_attribute("http.response.status_code", status)
    if status >= 400:
        failed(span, str(status))


def failed(span: Span, why: str) -> None:
    """Notes the kind of a failure."""
    span.set_attribute("error.type", why)
    span.set_status(StatusCode.ERROR)
