"""Traces: `opentelemetry-instrument` sends them to the configured endpoint, without private data."""

from __future__ import annotations

import http.server
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.cli.serving import STEP_TIMEOUT
from tests.conftest import TOKEN

from luma_mcp.simulator.app import EMAIL, new_simulator, running

if TYPE_CHECKING:
    from collections.abc import Iterator

UNKNOWN_JOBID = "j112226-u999-email:somebody@example.com:0000-bot:luma"
PROMPT = "A fox in a private prompt"


@contextmanager
def run_collector() -> Iterator[tuple[str, list[bytes]]]:
    """Run an OTLP endpoint on this machine. Yield its URL and the list of bodies that it receives."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


def build_command(**environment: str) -> StdioServerParameters:
    """Build the command that the reference documents."""
    only_traces = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "LUMA_MCP_JOURNAL": "off"}
    return StdioServerParameters(
        command=str(Path(sys.executable).with_name("opentelemetry-instrument")),
        args=[sys.executable, "-m", "luma_mcp"],
        env={"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"} | only_traces | environment,
    )


async def make_video(**environment: str) -> None:
    """Make a video, and cause two errors."""
    with running(new_simulator(speed=1000)) as base_url, anyio.fail_after(STEP_TIMEOUT):
        server = build_command(USEAPI_TOKEN=TOKEN, LUMA_MCP_BASE_URL=base_url, LUMA_MCP_THUMBNAILS="0", **environment)
        async with Client(server) as client:
            result = await client.call_tool("generate_video", {"prompt": PROMPT})
            assert not result.is_error
            assert (await client.call_tool("get_job", {"jobid": UNKNOWN_JOBID})).is_error
            with pytest.raises(MCPError):
                await client.read_resource(f"luma://jobs/{UNKNOWN_JOBID}")


def parse_spans(bodies: list[bytes]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (span.name, {a.key: a.value.string_value or a.value.int_value for a in span.attributes})
        for body in bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


async def test_an_endpoint_gets_spans_of_calls_and_requests() -> None:
    with run_collector() as (endpoint, bodies):
        await make_video(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    found = parse_spans(bodies)
    names = [name for name, _ in found]
    assert "tools/call generate_video" in names
    assert names.count("POST /videos") == 1
    order = dict(found)["POST /videos"]
    assert order["http.request.method"] == "POST"
    assert order["url.template"] == "/videos"
    assert order["http.response.status_code"] == 200
    assert dict(found)["GET /jobs/{jobid}"]["server.address"] == "127.0.0.1"
    rejected = [attributes for name, attributes in found if attributes.get("http.response.status_code") == 403]
    assert {attributes["error.type"] for attributes in rejected} == {"403"}


async def test_traces_have_no_token_account_or_prompt() -> None:
    with run_collector() as (endpoint, bodies):
        await make_video(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    everything = b"".join(bodies)
    assert b"/videos" in everything
    for private in (TOKEN, EMAIL, PROMPT, UNKNOWN_JOBID, "somebody@example.com"):
        assert private.encode() not in everything


async def test_nothing_is_sent_if_tracing_is_disabled() -> None:
    with run_collector() as (endpoint, bodies):
        await make_video(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_SDK_DISABLED="true")
    assert bodies == []
