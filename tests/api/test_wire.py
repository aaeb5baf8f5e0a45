"""What an API, a gateway or a machine's set-up can do to a request, and what must never come of it."""

from __future__ import annotations

import ssl
import traceback

import anyio
import httpx2
import pytest
from tests.conftest import TOKEN, client_of
from tests.transports import Canned, Dripping, Unreliable

from luma_mcp import errors
from luma_mcp.api.protocol import VideoRequest
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.simulator.app import Fault, Simulator

FOX = VideoRequest(prompt="A fox in the snow")
DEEP = b'{"jobid":' + b"[" * 200_000


async def test_an_order_whose_answer_never_ends_is_outcome_unknown_in_time(simulator: Simulator) -> None:
    with pytest.raises(errors.OutcomeUnknown):
        await client_of(Dripping(simulator)).submit(FOX)
    assert anyio.current_time() == 40
    assert len(simulator.service.jobs) == 1


async def test_reading_an_answer_that_never_ends_gives_up_in_time(simulator: Simulator) -> None:
    with pytest.raises(errors.NetworkError):
        await client_of(Dripping(simulator)).get("j1-bot:luma", patience=0)
    assert anyio.current_time() == 15


@pytest.mark.parametrize("body", [DEEP, b'{"jobid":"' + b"x" * 3_000_000 + b'"}'], ids=["deep", "huge"])
async def test_an_answer_too_deep_or_too_large_is_unreadable(body: bytes) -> None:
    with pytest.raises(errors.OutcomeUnknown):
        await client_of(Canned(200, body)).submit(FOX)
    with pytest.raises(errors.Upstream):
        await client_of(Canned(200, body)).get("j1", patience=0)


async def test_half_a_character_in_an_answer_is_replaced(simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/jobs", 401, rb'{"error":"bad \ud83d token"}'))
    with pytest.raises(errors.Unauthorized) as caught:
        await client_of(httpx2.ASGITransport(simulator)).get("j1")
    assert caught.value.api_message == "bad � token"
    caught.value.message.encode()


async def test_a_short_token_is_not_looked_for_in_what_is_passed_on_as_it_is() -> None:
    body = b'{"jobid":"j1-email:joe@example.com","error":"joe","response":{"video":{"url":"https://x/joe.mp4"}}}'
    luma = LumaClient("joe", transport=Canned(200, body))
    job = await luma.get("j1")
    assert job.outputs.video is not None
    assert (job.jobid, job.outputs.video.url) == ("j1-email:joe@example.com", "https://x/joe.mp4")
    assert job.error == "***"


async def test_numbers_that_are_none_are_taken_as_absent() -> None:
    body = b'{"jobid":"j1","status":"completed","credits":{"dm_usage":NaN,"dm_relaxed_usage":1e999}}'
    job = await client_of(Canned(200, body)).get("j1")
    assert job.credits is not None
    assert (job.credits.dm_usage, job.credits.dm_relaxed_usage) == (None, None)


@pytest.mark.parametrize("status", [408, 499, 502, 504, 522])
async def test_a_gateway_that_lost_the_answer_leaves_the_outcome_unknown_whatever_it_says(status: int) -> None:
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await client_of(Canned(status, b'{"error":"Gateway"}')).submit(FOX)
    assert (caught.value.status, caught.value.api_message) == (status, "Gateway")


async def test_no_program_is_told_to_repeat_an_order_that_the_api_says_has_failed() -> None:
    with pytest.raises(errors.Upstream) as ordering:
        await client_of(Canned(500, b'{"error":"oops"}')).submit(FOX)
    assert ordering.value.retry == "never"
    with pytest.raises(errors.Upstream) as reading:
        await client_of(Canned(500, b'{"error":"oops"}')).get("j1", patience=0)
    assert reading.value.retry == "later"


async def test_a_pace_of_nothing_is_no_leave_to_hammer() -> None:
    full = Canned(429, b'{"error":"full"}', {"retry-after": "0"})
    with pytest.raises(errors.Capacity):
        await client_of(full).submit(FOX, patience=20)
    assert 2 <= len(full.requests) <= 6


async def test_a_full_house_without_a_pace_is_asked_again_after_two_seconds_and_then_less_often(
    simulator: Simulator,
) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', times=2))
    await client_of(httpx2.ASGITransport(simulator)).submit(FOX, patience=20)
    assert anyio.current_time() == 0.75 * 2 + 0.75 * 4


async def test_a_deletion_whose_answer_is_lost_is_not_repeated(simulator: Simulator) -> None:
    way = Unreliable(simulator, delivered=True)
    luma = client_of(way)
    job = await luma.submit(FOX)
    await luma.wait(job)
    way.faults = [httpx2.ReadTimeout("no answer")]
    with pytest.raises(errors.NetworkError):
        await luma.delete(job.jobid, patience=60)
    assert simulator.requests["DELETE /jobs/…"] == 1


async def test_a_certificate_that_is_not_trusted_is_not_tried_again(simulator: Simulator) -> None:
    fault = httpx2.ConnectError("certificate verify failed")
    fault.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    way = Unreliable(simulator, fault, fault)
    with pytest.raises(errors.NetworkError):
        await client_of(way).submit(FOX, patience=60)
    assert len(way.faults) == 1
    assert anyio.current_time() == 0


@pytest.mark.parametrize("jobid", ["", ".", "..", "x" * 3000, "\ud800"], ids=lambda jobid: repr(jobid)[:9])
async def test_what_cannot_be_a_jobid_is_not_sent(jobid: str) -> None:
    canned = Canned(200, b"{}")
    for call in (client_of(canned).get, client_of(canned).delete):
        with pytest.raises(errors.InvalidArguments):
            await call(jobid)
    assert canned.requests == []


@pytest.mark.parametrize("token", ["", "user:1 abc", "user:1-äbc", "user:1-abc\n"], ids=repr)
def test_a_token_that_no_header_can_carry_is_refused_without_being_repeated(token: str) -> None:
    with pytest.raises(errors.NotConfigured) as caught:
        LumaClient(token)
    assert "1-abc" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://x"])
async def test_a_proxy_setting_that_cannot_work_is_a_network_error(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    async with LumaClient(TOKEN) as luma:
        with pytest.raises(errors.NetworkError) as caught:
            await luma.submit(FOX)
    assert "HTTPS_PROXY" in caught.value.message
    assert "nothing was spent" in caught.value.message


async def test_a_base_url_that_is_none_is_a_network_error() -> None:
    async with LumaClient(TOKEN, base_url="https://127.0.0.1:x/v1") as luma:
        with pytest.raises(errors.NetworkError):
            await luma.get("j1")
