"""Luma's Agents API gets a paid order at most once, and every error says whether something was charged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from tests.conftest import KEY, agents_client_of
from tests.transports import CannedTransport, DrippingTransport, UnreliableTransport

from luma_mcp import errors
from luma_mcp.api.protocol import VideoRequest
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from luma_mcp.api.agents.client import AgentsClient
    from luma_mcp.simulator.agents import AgentsSimulator

FOX = VideoRequest(prompt="A fox in the snow")
HDR = VideoRequest(prompt="A fox in the snow", dynamic_range="hdr")
SUBMIT = "POST /generations"

LOST_RESPONSES = [
    httpx2.ReadTimeout("no answer"),
    httpx2.ReadError("connection reset"),
    httpx2.RemoteProtocolError("Server disconnected without sending a response."),
    httpx2.WriteError("broken pipe"),
    httpx2.WriteTimeout("stuck"),
]
SEND_FAILURES = [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("slow"), httpx2.PoolTimeout("busy")]


class Recorder:
    """Records the steps of a delivery."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def sending(self) -> None:
        self.steps.append("sending")

    async def not_delivered(self) -> None:
        self.steps.append("not delivered")


@pytest.mark.parametrize(
    ("status", "kind", "charged"),
    [
        (400, errors.InvalidArguments, "no"),
        (401, errors.Unauthorized, "no"),
        (402, errors.PaymentRequired, "no"),
        (403, errors.AccessDenied, "no"),
        (404, errors.NotFound, "no"),
        (413, errors.InvalidArguments, "no"),
        (422, errors.InvalidArguments, "no"),
        (429, errors.LumaError, "no"),
        (302, errors.Upstream, "unknown"),
        (405, errors.Upstream, "unknown"),
        (408, errors.OutcomeUnknown, "unknown"),
        (409, errors.Upstream, "unknown"),
        (418, errors.Upstream, "unknown"),
        (499, errors.OutcomeUnknown, "unknown"),
        (500, errors.OutcomeUnknown, "unknown"),
        (502, errors.OutcomeUnknown, "unknown"),
        (503, errors.OutcomeUnknown, "unknown"),
        (504, errors.OutcomeUnknown, "unknown"),
        (522, errors.OutcomeUnknown, "unknown"),
        (200, errors.OutcomeUnknown, "unknown"),
        (201, errors.OutcomeUnknown, "unknown"),
        (204, errors.OutcomeUnknown, "unknown"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>Oops</html>", b'{"detail": "Oops"}'])
async def test_error_of_each_response_to_an_order(
    status: int, body: bytes, kind: type[errors.LumaError], charged: errors.Charged
) -> None:
    canned, recorder = CannedTransport(status, body), Recorder()
    with pytest.raises(kind) as caught:
        # There is time for retries. The client must not order twice.
        await agents_client_of(canned).submit(FOX, retry_timeout=0 if status == 429 else 600, observer=recorder)
    assert (caught.value.status, caught.value.charged) == (status, charged)
    assert caught.value.api_message == ("Oops" if b"detail" in body else None)
    assert len(canned.requests) == 1
    assert recorder.steps == (["sending", "not delivered"] if charged == "no" else ["sending"])
    if charged == "unknown":
        assert caught.value.retry == "never"
    assert anyio.current_time() == 0


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id": "6', b'{"id": 7}', b'{"id": ""}', b'["id"]', b"{}"])
async def test_outcome_of_a_response_without_an_id_is_unknown(body: bytes) -> None:
    canned = CannedTransport(201, body)
    with pytest.raises(errors.OutcomeUnknown):
        await agents_client_of(canned).submit(FOX, retry_timeout=600)
    assert len(canned.requests) == 1


@pytest.mark.parametrize("fault", LOST_RESPONSES, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("delivered", [True, False])
async def test_order_without_a_response_is_not_repeated(
    agents_simulator: AgentsSimulator, fault: Exception, delivered: bool
) -> None:
    network = UnreliableTransport(agents_simulator, fault, delivered=delivered)
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await agents_client_of(network).submit(FOX, retry_timeout=600)
    assert (caught.value.retry, caught.value.charged) == ("never", "unknown")
    assert len(agents_simulator.service.jobs) == agents_simulator.requests[SUBMIT] == int(delivered)


@pytest.mark.parametrize("name", ["lost", "dropped", "truncated", "unstarted"])
async def test_order_with_a_bad_response_is_not_repeated(
    agents: AgentsClient, agents_simulator: AgentsSimulator, name: str
) -> None:
    with pytest.raises(errors.OutcomeUnknown):
        await agents.submit(VideoRequest(f"A fox simulate:{name}"), retry_timeout=600)
    assert agents_simulator.requests[SUBMIT] == 1
    assert len(agents_simulator.service.jobs) == (name != "unstarted")


async def test_outcome_of_an_endless_response_is_unknown(agents_simulator: AgentsSimulator) -> None:
    with pytest.raises(errors.OutcomeUnknown):
        await agents_client_of(DrippingTransport(agents_simulator)).submit(FOX, retry_timeout=600)
    assert anyio.current_time() == 40
    assert agents_simulator.requests[SUBMIT] == 1


@pytest.mark.parametrize("fault", SEND_FAILURES, ids=lambda fault: type(fault).__name__)
async def test_order_that_was_not_sent_is_retried(agents_simulator: AgentsSimulator, fault: Exception) -> None:
    job = await agents_client_of(UnreliableTransport(agents_simulator, fault, fault)).submit(FOX, retry_timeout=10)
    assert list(agents_simulator.service.jobs) == [job.jobid]


async def test_order_that_cannot_be_sent_costs_nothing(agents_simulator: AgentsSimulator) -> None:
    network = UnreliableTransport(agents_simulator, *[httpx2.ConnectError("refused")] * 100)
    with pytest.raises(errors.NetworkError) as caught:
        await agents_client_of(network).submit(FOX, retry_timeout=10)
    assert (caught.value.charged, agents_simulator.service.jobs) == ("no", {})


async def test_order_waits_for_a_slot_if_there_is_time(agents: AgentsClient, agents_simulator: AgentsSimulator) -> None:
    [account] = agents_simulator.service.accounts.values()
    account.concurrency = 1
    await agents.submit(FOX)
    with pytest.raises(errors.Capacity) as caught:
        await agents.submit(FOX)
    assert (caught.value.charged, caught.value.retry, caught.value.retry_after) == ("no", "later", 60)
    assert caught.value.api_message == "Too many concurrent jobs"
    # The API requires a wait of a minute, so the client sends nothing before that.
    await agents.submit(FOX, slot_timeout=600)
    assert (anyio.current_time(), agents_simulator.requests[SUBMIT]) == (60, 4)


async def test_a_limit_of_requests_is_not_a_lack_of_slots(
    agents: AgentsClient, agents_simulator: AgentsSimulator
) -> None:
    agents_simulator.service.per_minute = 1
    await agents.submit(FOX)
    with pytest.raises(errors.Upstream) as caught:
        await agents.submit(FOX)
    assert (caught.value.fault, caught.value.charged, caught.value.retry) == ("throttled", "no", "later")
    assert (caught.value.retry_after, caught.value.api_message) == (60, "Rate limit exceeded")
    await agents.submit(FOX, retry_timeout=60)
    assert (anyio.current_time(), len(agents_simulator.service.jobs)) == (60, 2)


RATE = {"x-ratelimit-limit": "30", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999999999"}


@pytest.mark.parametrize(
    ("body", "headers", "kind", "retry_after"),
    [
        (b'{"detail":"Rate limit exceeded"}', RATE | {"retry-after": "7"}, errors.Upstream, 7),
        (b'{"detail":"Rate limit exceeded"}', {"retry-after": "7"}, errors.Upstream, 7),
        (b'{"detail":"Rate limit exceeded"}', {}, errors.Upstream, None),
        (b'{"detail":"Too many concurrent jobs"}', {"retry-after": "60"}, errors.Capacity, 60),
        (b'{"detail":"Too many concurrent jobs"}', {}, errors.Capacity, None),
        (b"", {"retry-after": "60"}, errors.Capacity, 60),
        # The window is a minute, so a longer wait is not necessary.
        (b"", RATE, errors.Upstream, 60),
        (b"", RATE | {"x-ratelimit-reset": "1"}, errors.Upstream, 0),
        (b"", RATE | {"x-ratelimit-reset": "soon"}, errors.Upstream, None),
        (b"", {}, errors.Upstream, None),
    ],
)
async def test_both_kinds_of_429_are_distinguished(
    body: bytes, headers: dict[str, str], kind: type[errors.LumaError], retry_after: float | None
) -> None:
    with pytest.raises(kind) as caught:
        await agents_client_of(CannedTransport(429, body, headers)).submit(FOX, retry_timeout=0)
    assert type(caught.value) is kind
    assert (caught.value.retry_after, caught.value.charged) == (retry_after, "no")


async def test_a_429_of_anything_else_is_about_requests() -> None:
    canned = CannedTransport(429, b'{"detail":"Too many concurrent jobs"}', {"retry-after": "60"})
    with pytest.raises(errors.Upstream) as caught:
        await agents_client_of(canned).get("j1", retry_timeout=0)
    assert (caught.value.fault, caught.value.charged) == ("throttled", None)


@pytest.mark.parametrize("hdr", [False, True])
async def test_403_names_what_may_be_missing(agents_simulator: AgentsSimulator, hdr: bool) -> None:
    agents_simulator.faults.append(Fault("POST", "/generations", 403, b'{"detail":"Not allowed"}'))
    with pytest.raises(errors.AccessDenied) as caught:
        await agents_client_of(httpx2.ASGITransport(agents_simulator)).submit(HDR if hdr else FOX)
    assert (caught.value.hdr, caught.value.charged, caught.value.retry) == (hdr, "no", "after_change")
    assert ("HDR" in str(caught.value)) == hdr
    assert "Not allowed" in str(caught.value)


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        (b'{"detail": "  No such model "}', "No such model"),
        (b'{"detail": ["First", {"msg": "Second"}, 7, null]}', "First; Second"),
        (b'{"detail": [{"loc": ["body", "video", 0], "msg": "Wrong", "type": "x"}]}', "body.video.0: Wrong"),
        (b'{"detail": [{"loc": ["body"]}]}', "body"),
        (b'{"detail": {"message": "Inside", "code": "c"}}', "Inside"),
        (b'{"detail": {"error": {"message": "Deep"}}}', "Deep"),
        (b'{"detail": {"code": "only_a_code"}}', "only_a_code"),
        (b'{"error": "Another field"}', "Another field"),
        (b'{"message": "Yet another"}', "Yet another"),
        (b'["A list"]', "A list"),
        (b'{"detail": ""}', None),
        (b'{"detail": {}}', None),
        (b'{"detail": 7}', None),
        (b"7", None),
    ],
)
async def test_a_detail_can_have_any_shape(detail: bytes, message: str | None) -> None:
    with pytest.raises(errors.InvalidArguments) as caught:
        await agents_client_of(CannedTransport(422, detail)).submit(FOX)
    assert (caught.value.api_message, caught.value.charged) == (message, "no")


async def test_a_long_detail_is_cut() -> None:
    with pytest.raises(errors.InvalidArguments) as caught:
        await agents_client_of(CannedTransport(400, b'{"detail": "%s"}' % (b"x" * 9_000))).submit(FOX)
    assert caught.value.api_message == "x" * 300


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
async def test_no_error_contains_the_key(status: int) -> None:
    body = f'{{"detail": [{{"loc": ["{KEY}"], "msg": "Unknown key {KEY}"}}]}}'.encode()
    canned = CannedTransport(status, body)
    luma = agents_client_of(canned)
    for call in (luma.submit(FOX, retry_timeout=0), luma.get("j1", retry_timeout=0)):
        with pytest.raises(errors.LumaError) as caught:
            await call
        assert caught.value.api_message == "***: Unknown key ***"
        assert KEY not in f"{caught.value} {caught.value!r} {luma!r}"
    assert {request.headers["authorization"] for request in canned.requests} == {f"Bearer {KEY}"}


async def test_redirects_are_not_followed() -> None:
    """The key is not sent to another host, and an order is not sent twice."""
    canned = CannedTransport(307, headers={"location": "https://elsewhere.example.com/"})
    with pytest.raises(errors.Upstream):
        await agents_client_of(canned).submit(FOX, retry_timeout=600)
    assert [request.url.host for request in canned.requests] == ["agents.lumalabs.ai"]


async def test_invalid_order_is_not_sent(agents: AgentsClient, agents_simulator: AgentsSimulator) -> None:
    with pytest.raises(errors.InvalidArguments) as caught:
        await agents.submit(VideoRequest("A fox", resolution="360p", dynamic_range="hdr"))
    assert caught.value.suggestion is not None
    assert caught.value.suggestion["resolution"] == "720p"
    assert (caught.value.charged, agents_simulator.requests.total()) == ("no", 0)
