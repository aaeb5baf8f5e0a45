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

    from luma_mcp.api.useapi.endpoints import Call

_tracer = get_tracer("luma-ray-mcp")


@contextmanager
def request_span(call: Call, base_url: str, *, attempt: int) -> Iterator[RequestSpan]:
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
        request = RequestSpan(span)
        try:
            yield request
        except Exception as error:
            # A rejection has its reason in it.
            request.failed(type(getattr(error, "error", error)).__qualname__)
            raise
        except anyio.get_cancelled_exc_class():
            request.failed("cancelled")
            raise


class RequestSpan:
    """The span of one request, which is told how that went."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._told = False

    def answered(self, status: int) -> None:
        """Notes the HTTP status."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 400:
            self.failed(str(status))

    def failed(self, why: str) -> None:
        """Notes the kind of a failure; the first one is the cause of the others."""
        if not self._told:
            self._told = True
            self._span.set_attribute("error.type", why)
            self._span.set_status(StatusCode.ERROR)
