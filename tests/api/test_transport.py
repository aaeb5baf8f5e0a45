"""Requests with a misbehaving API, gateway or machine, and the harm that they must not cause."""

from __future__ import annotations

import ssl
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.clock import pass_time
from tests.conftest import EMAIL, MIDNIGHT, TOKEN, client_of
from tests.transports import CannedTransport, DrippingTransport, UnreliableTransport

from luma_mcp import errors
from luma_mcp.api.protocol import VideoRequest
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.simulator.app import Fault, Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

FOX = VideoRequest(prompt="A fox in the snow")
DEEP = b'{"jobid":' + b"[" * 200_000


async def test_endless_response_to_an_order_is_an_unknown_outcome(simulator: Simulator) -> None:
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await client_of(DrippingTransport(simulator)).submit(FOX)
    assert caught.value.cause == "no complete answer came in time"
    assert anyio.current_time() == 40
    assert len(simulator.service.jobs) == 1


async def test_endless_response_to_a_read_is_an_error(simulator: Simulator) -> None:
    with pytest.raises(errors.NetworkError) as caught:
        await client_of(DrippingTransport(simulator)).get("j1-bot:luma", retry_timeout=0)
    assert caught.value.stage == "timeout"
    assert anyio.current_time() == 15


@pytest.mark.parametrize("body", [DEEP, b'{"jobid":"' + b"x" * 3_000_000 + b'"}'], ids=["deep", "huge"])
async def test_response_that_is_too_deep_or_too_large_is_unreadable(body: bytes) -> None:
    with pytest.raises(errors.OutcomeUnknown):
        await client_of(CannedTransport(200, body)).submit(FOX)
    with pytest.raises(errors.Upstream):
        await client_of(CannedTransport(200, body)).get("j1", retry_timeout=0)


async def test_incomplete_character_in_a_response_is_replaced(simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 401, rb'{"error":"bad \ud83d token"}'))
    with pytest.raises(errors.Unauthorized) as caught:
        await client_of(httpx2.ASGITransport(simulator)).get("j1")
    assert caught.value.api_message == "bad � token"
    str(caught.value).encode()


async def test_control_characters_in_a_response_are_removed() -> None:
    body = rb'{"jobid":"j1","status":"\u001b[31mred\u202e","error":["\u0007"]}'
    job = await client_of(CannedTransport(200, body)).get("j1")
    assert job.status == "[31mred"


async def test_short_token_is_masked_only_in_texts() -> None:
    body = b'{"jobid":"j1-email:joe@example.com","error":"joe","response":{"video":{"url":"https://x/joe.mp4"}}}'
    job = await LumaClient("joe", transport=CannedTransport(200, body)).get("j1")
    assert job.files.video is not None
    assert (job.jobid, job.files.video.url) == ("j1-email:joe@example.com", "https://x/joe.mp4")
    assert job.failure_reason == "***"


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
async def test_numbers_that_json_does_not_allow_are_absent(number: str) -> None:
    body = f'{{"jobid":"j1","status":"completed","credits":{{"dm_usage":{number}}}}}'.encode()
    job = await client_of(CannedTransport(200, body)).get("j1")
    assert (job.state, job.credits_used) == ("completed", None)


@pytest.mark.parametrize("status", [408, 499, 502, 504, 522])
async def test_outcome_of_a_gateway_s_failure_is_unknown(status: int) -> None:
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await client_of(CannedTransport(status, b'{"error":"Gateway"}')).submit(FOX)
    assert (caught.value.status, caught.value.api_message) == (status, "Gateway")


async def test_failed_order_is_not_retryable() -> None:
    with pytest.raises(errors.Upstream) as ordering:
        await client_of(CannedTransport(500, b'{"error":"oops"}')).submit(FOX)
    assert (ordering.value.retry, ordering.value.charged) == ("never", "unknown")
    with pytest.raises(errors.Upstream) as reading:
        await client_of(CannedTransport(500, b'{"error":"oops"}')).get("j1", retry_timeout=0)
    assert (reading.value.retry, reading.value.charged) == ("later", None)


async def test_retry_after_of_0_causes_no_burst() -> None:
    full = CannedTransport(429, b'{"error":"full"}', {"retry-after": "0"})
    with pytest.raises(errors.Capacity):
        await client_of(full).submit(FOX, retry_timeout=20)
    assert 2 <= len(full.requests) <= 6


async def test_429_without_retry_after_is_retried_with_backoff(simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', times=2))
    await client_of(httpx2.ASGITransport(simulator)).submit(FOX, retry_timeout=20)
    assert anyio.current_time() == 0.75 * 2 + 0.75 * 4


async def test_deletion_without_a_response_is_not_repeated(simulator: Simulator) -> None:
    network = UnreliableTransport(simulator, delivered=True)
    luma = client_of(network)
    job = await luma.submit(FOX)
    await luma.wait(job)
    network.faults = [httpx2.ReadTimeout("no answer")]
    with pytest.raises(errors.NetworkError):
        await luma.delete(job.jobid, retry_timeout=60)
    assert simulator.requests["DELETE /jobs/…"] == 1


async def test_untrusted_certificate_is_not_retried(simulator: Simulator) -> None:
    fault = httpx2.ConnectError("certificate verify failed")
    fault.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    network = UnreliableTransport(simulator, fault, fault)
    with pytest.raises(errors.NetworkError) as caught:
        await client_of(network).submit(FOX, retry_timeout=60)
    assert (caught.value.stage, caught.value.charged) == ("tls", "no")
    assert len(network.faults) == 1
    assert anyio.current_time() == 0


async def test_circular_causes_of_an_error_are_handled(simulator: Simulator) -> None:
    fault, cause = httpx2.ConnectError("refused"), OSError("refused")
    fault.__cause__, cause.__cause__ = cause, fault
    with pytest.raises(errors.NetworkError) as caught:
        await client_of(UnreliableTransport(simulator, fault)).get("j1", retry_timeout=0)
    assert caught.value.stage == "refused"


@pytest.mark.parametrize("jobid", ["", ".", "..", "x" * 3000, "\ud800"], ids=lambda jobid: repr(jobid)[:9])
async def test_invalid_jobid_is_not_sent(jobid: str) -> None:
    canned = CannedTransport(200, b"{}")
    for call in (client_of(canned).get, client_of(canned).delete):
        with pytest.raises(errors.InvalidArguments) as caught:
            await call(jobid)
        assert [(problem.field, problem.code) for problem in caught.value.problems] == [("jobid", "wrong_format")]
    assert canned.requests == []


@pytest.mark.parametrize("token", ["", "user:1 abc", "user:1-äbc", "user:1-abc\n"], ids=repr)
def test_token_that_is_not_a_valid_header_is_not_in_the_error(token: str) -> None:
    with pytest.raises(errors.NotConfigured) as caught:
        LumaClient(token)
    assert caught.value.setting == "USEAPI_TOKEN"
    assert "1-abc" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("proxy", ["socks4://user:pass-word@127.0.0.1:9", "nonsense://user:pass-word@x"])
async def test_an_unusable_proxy_is_a_network_error(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    async with LumaClient(TOKEN) as luma:
        with pytest.raises(errors.NetworkError) as caught:
            await luma.submit(FOX)
    assert (caught.value.stage, caught.value.charged) == ("unsendable", "no")
    assert "pass-word" not in "".join(traceback.format_exception(caught.value))


async def test_an_unusable_base_url_is_a_network_error() -> None:
    async with LumaClient(TOKEN, base_url="https://127.0.0.1:x/v1") as luma:
        with pytest.raises(errors.NetworkError) as caught:
            await luma.get("j1")
    assert caught.value.stage == "unsendable"


async def test_time_of_the_api_is_that_of_a_response_plus_elapsed_time() -> None:
    canned = CannedTransport(200, b'{"jobid":"j1"}', {"date": "Sun, 22 Nov 2026 00:01:30 GMT"})
    luma = client_of(canned)
    assert luma.now() is None
    await luma.get("j1")
    assert luma.now() == MIDNIGHT + timedelta(seconds=90)
    await pass_time(5)
    assert luma.now() == MIDNIGHT + timedelta(seconds=95)


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


async def test_each_delivery_has_a_span(spans: InMemorySpanExporter, simulator: Simulator) -> None:
    network = UnreliableTransport(simulator, httpx2.ConnectError("refused"))
    luma = client_of(network)
    job = await luma.submit(FOX)
    with pytest.raises(errors.Conflict):
        await luma.delete(job.jobid)
    shown = [(span.name, dict(span.attributes or {})) for span in spans.get_finished_spans()]
    order = {
        "http.request.method": "POST",
        "url.template": "/videos",
        "server.address": "api.useapi.net",
        "server.port": 443,
    }
    deletion = order | {"http.request.method": "DELETE", "url.template": "/jobs/{jobid}"}
    assert shown == [
        ("POST /videos", order | {"error.type": "NetworkError"}),
        ("POST /videos", order | {"http.request.resend_count": 1, "http.response.status_code": 200}),
        ("DELETE /jobs/{jobid}", deletion | {"http.response.status_code": 409, "error.type": "409"}),
    ]


async def test_span_of_an_unreadable_response_names_the_error(spans: InMemorySpanExporter) -> None:
    with pytest.raises(errors.OutcomeUnknown):
        await client_of(CannedTransport(200, b"<html>")).submit(FOX)
    [span] = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (200, "OutcomeUnknown")


async def test_spans_contain_no_private_data(spans: InMemorySpanExporter, simulator: Simulator) -> None:
    luma = client_of(httpx2.ASGITransport(simulator))
    job = await luma.submit(VideoRequest(prompt=FOX.prompt, email=EMAIL))
    await luma.account(EMAIL)
    with pytest.raises(errors.Conflict):
        await luma.delete(job.jobid)
    with anyio.move_on_after(1):
        await client_of(DrippingTransport(simulator)).get(job.jobid)
    everything = "".join(span.to_json() for span in spans.get_finished_spans())
    assert everything.count('"error.type"') == 2
    for private in (job.jobid, EMAIL, FOX.prompt, TOKEN, "Cannot delete"):
        assert private not in everything
