"""Traces for those who collect them: off, unless OpenTelemetry's own environment variables say where they go."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
MISSING = (
    "luma-ray-mcp: {name} is set, but the packages that send traces are missing: install the extra otel "
    '(uv tool install ".[otel]" in the clone).'
)


@contextmanager
def tracing() -> Iterator[None]:
    """Sends the spans of the block to the endpoint that is named (OTLP over HTTP), if one is."""
    name = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if name is None or os.environ.get("OTEL_SDK_DISABLED", "").casefold() == "true":
        yield
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        # The videos do not wait for their traces.
        click.echo(MISSING.format(name=name), err=True)
        yield
        return
    about = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "luma-ray-mcp"}
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(_without_texts(OTLPSpanExporter())))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def _without_texts(exporter: SpanExporter) -> SpanExporter:
    """Leaves out what errors say: it is for the one who ordered, and can name jobs, accounts and files."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Status

    class WithoutTexts(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return exporter.export([plain(span) for span in spans])

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return exporter.force_flush(timeout_millis)

    def plain(span: ReadableSpan) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=span.attributes,
            links=span.links,
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    return WithoutTexts()
