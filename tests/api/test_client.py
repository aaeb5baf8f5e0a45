"""`LumaClient` with the simulated service: HTTP in memory, in virtual time."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import fields
from typing import TYPE_CHECKING, get_args, get_type_hints

import anyio
import httpx2
import pytest
from tests.conftest import EMAIL, TOKEN, client_of
from tests.transports import CannedTransport, UnreliableTransport

import luma_mcp
from luma_mcp import errors
from luma_mcp.api.protocol import ApiFeatures, VideoApi, VideoRequest
from luma_mcp.catalog.agents import AGENTS
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.simulator.app import Fault, Simulator

if TYPE_CHECKING:
    from luma_mcp.api.useapi.client import LumaClient

FOX = VideoRequest(prompt="A fox in the snow")
CATALOGS = (AGENTS, USEAPI)


async def test_a_job_is_ordered_and_awaited(luma: LumaClient) -> None:
    async with luma:
        job = await luma.submit(FOX)
        assert (job.state, job.kind) == ("running", "video")
        job = await luma.wait(job.jobid)
    assert job.state == "completed"
    assert job.files.video is not None
    assert job.files.video.url.endswith(".mp4")


def test_client_is_a_video_api(luma: LumaClient) -> None:
    api: VideoApi = luma
    assert api.catalog is USEAPI
    assert api.features == ApiFeatures(list_running=True, delete=True, accounts=True)


async def test_every_value_is_sent_with_the_api_s_name(luma: LumaClient, simulator: Simulator) -> None:
    ref = simulator.service.add_asset(EMAIL)
    request = VideoRequest(prompt="A fox", model="ray-v3-reasoning", image_start=ref, reply_url="https://example.com/x")
    job = await luma.submit(request)
    assert simulator.orders == [
        {
            "prompt": "A fox",
            "model": "ray-v3-reasoning",
            "resolution": "720p",
            "aspect_ratio": "16:9",
            "duration": "5s",
            "dynamic_range": "sdr",
            "imageStart": ref,
            "replyUrl": "https://example.com/x",
        }
    ]
    assert job.request == VideoRequest(
        prompt="A fox",
        model="ray-v3-reasoning",
        resolution="720p",
        aspect_ratio="16:9",
        duration="5s",
        dynamic_range="sdr",
        image_start=ref,
        reply_url="https://example.com/x",
    )


async def test_invalid_order_is_not_sent(luma: LumaClient, simulator: Simulator) -> None:
    with pytest.raises(errors.InvalidArguments) as caught:
        await luma.submit(VideoRequest(prompt="A fox", resolution="draft", dynamic_range="hdr"))
    assert caught.value.suggestion is not None
    assert caught.value.suggestion["resolution"] == "540p"
    assert caught.value.charged == "no"
    assert simulator.requests.total() == 0


async def test_a_fetched_job_has_its_request(luma: LumaClient) -> None:
    job = await luma.submit(FOX)
    fetched = await luma.get(job.jobid)
    assert fetched.request == job.request
    assert fetched.request is not None
    assert fetched.request.resolution == "draft"


async def test_jobs_are_listed_while_running_and_then_deleted(luma: LumaClient) -> None:
    job = await luma.submit(FOX)
    assert [(row.jobid, row.account, row.model) for row in await luma.list()] == [(job.jobid, EMAIL, "ray-v3-flash")]
    with pytest.raises(errors.Conflict) as caught:
        await luma.delete(job.jobid)
    assert (caught.value.status, caught.value.retry, caught.value.reason) == (409, "later", "job_running")
    await luma.wait(job.jobid)
    assert await luma.list_running() == ()
    await luma.delete(job.jobid)
    with pytest.raises(errors.NotFound):
        await luma.get(job.jobid)


async def test_an_uploaded_image_belongs_to_its_account(luma: LumaClient, simulator: Simulator) -> None:
    asset = await luma.upload(b"\xff\xd8\xff", "image/jpeg", EMAIL)
    assert asset.email == EMAIL
    await luma.submit(VideoRequest(prompt="It runs", image_start=asset.asset_ref))
    assert simulator.orders[0]["imageStart"] == asset.asset_ref


async def test_accounts_have_free_slots(luma: LumaClient, simulator: Simulator) -> None:
    await luma.submit(FOX)
    simulator.service.add_account("broken@example.com").session_valid = False
    accounts = {account.email: account for account in await luma.accounts()}
    assert accounts[EMAIL].free_slots == 3
    assert accounts["broken@example.com"].free_slots == 0
    assert (await luma.account(EMAIL)).executing == 1


async def test_no_account_is_an_empty_list(luma: LumaClient, simulator: Simulator) -> None:
    """The API then returns 404 with an empty body."""
    simulator.service.accounts.clear()
    assert await luma.accounts() == ()
    with pytest.raises(errors.NotFound) as caught:
        await luma.account(EMAIL)
    assert (caught.value.what, caught.value.api_message) == ("account", None)


async def test_a_jobid_is_one_path_segment() -> None:
    canned = CannedTransport(404)
    with pytest.raises(errors.NotFound) as caught:
        await client_of(canned).get("j1/../x-email:a@b.c?d#e%20 f")
    assert caught.value.what == "job"
    path = canned.requests[0].url.raw_path
    assert path == b"/v1/luma/jobs/j1%2F..%2Fx-email%3Aa%40b.c%3Fd%23e%2520%20f"


@pytest.mark.parametrize(
    ("status", "body", "kind", "charged"),
    [
        (400, b'{"error":"Parameter model (x) valid values: ray-v3-flash"}', errors.InvalidArguments, "no"),
        (401, b'{"error":"Unauthorized"}', errors.Unauthorized, "no"),
        (402, b'{"error":"Account has no subscription or subscription expired"}', errors.PaymentRequired, "no"),
        (403, b'{"error":"Job does not belong to this user"}', errors.Forbidden, "no"),
        (404, b'{"error":"Asset not found"}', errors.NotFound, "no"),
        (404, b"", errors.NotFound, "no"),
        (409, b'{"error":"Cannot delete job in state \'processing\'."}', errors.Conflict, "no"),
        (422, b'{"error":"Content moderation: prompt rejected","code":422}', errors.Moderated, "no"),
        (429, b'{"error":"All configured accounts are running at maximum capacity"}', errors.Capacity, "no"),
        (596, b'{"error":"Luma account has an error."}', errors.AccountSession, "no"),
        (418, b"<html>teapot</html>", errors.Upstream, "unknown"),
        (302, b"", errors.Upstream, "unknown"),
        (500, b'{"error":"Internal error"}', errors.Upstream, "unknown"),
        (503, b'{"error":"Try later"}', errors.Upstream, "unknown"),
        (500, b"", errors.OutcomeUnknown, "unknown"),
        (502, b"<html>Bad Gateway</html>", errors.OutcomeUnknown, "unknown"),
        (504, b"", errors.OutcomeUnknown, "unknown"),
        (200, b"", errors.OutcomeUnknown, "unknown"),
        (200, b"<html>", errors.OutcomeUnknown, "unknown"),
        (200, b'{"jobid": "j1', errors.OutcomeUnknown, "unknown"),
        (200, b'{"jobid": 7}', errors.OutcomeUnknown, "unknown"),
        (200, b'{"jobid": ""}', errors.OutcomeUnknown, "unknown"),
        (200, b'["jobid"]', errors.OutcomeUnknown, "unknown"),
        (201, b"{}", errors.OutcomeUnknown, "unknown"),
    ],
)
async def test_error_of_each_response_to_an_order(
    status: int, body: bytes, kind: type[errors.LumaError], charged: errors.Charged
) -> None:
    canned = CannedTransport(status, body, {"content-type": "application/json" if body[:1] == b"{" else "text/html"})
    with pytest.raises(kind) as caught:
        await client_of(canned).submit(FOX, retry_timeout=0)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.charged) == (status, charged)
    api_message = body.decode().split('"')[3] if b'"error"' in body else None
    assert caught.value.api_message == api_message
    assert (api_message or "") in str(caught.value)
    assert len(canned.requests) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "cause"),
    [
        (b"", "", "it was answered with an empty body (502)"),
        (b"<html>", "text/html; charset=utf-8", "it was answered with unreadable text/html (502)"),
        (b"<html>", "", "it was answered with unreadable content (502)"),
        (b'{"error":"Bad gateway"}', "application/json", "it was answered with no usable fields (502)"),
    ],
)
async def test_unknown_outcome_names_its_cause(body: bytes, content_type: str, cause: str) -> None:
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await client_of(CannedTransport(502, body, {"content-type": content_type})).submit(FOX)
    assert caught.value.cause == cause


async def test_a_404_to_an_order_is_about_its_input() -> None:
    with pytest.raises(errors.NotFound) as caught:
        await client_of(CannedTransport(404, b'{"error":"Asset not found"}')).submit(FOX)
    assert caught.value.what == "order_input"


async def test_a_400_names_the_field_and_its_values() -> None:
    body = b'{"error":"Parameter imageStart (u9) valid values: u1:a, u1:b"}'
    with pytest.raises(errors.InvalidArguments) as caught:
        await client_of(CannedTransport(400, body)).submit(FOX)
    assert list(caught.value.problems) == [
        errors.Problem("image_start", "not_accepted", value="u9", allowed=("u1:a", "u1:b"))
    ]


async def test_a_400_about_a_job_is_about_its_jobid() -> None:
    luma = client_of(CannedTransport(400, b'{"error":"Invalid jobid"}'))
    for call in (luma.get, luma.delete):
        with pytest.raises(errors.InvalidArguments) as caught:
            await call("j1")
        assert list(caught.value.problems) == [errors.Problem("jobid", "unknown_jobid")]
        assert caught.value.charged is None


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"jobid": "j1', b'{"status": "completed"}'])
async def test_an_unreadable_record_is_fetched_again(body: bytes) -> None:
    canned = CannedTransport(200, body)
    with pytest.raises(errors.Upstream) as caught:
        await client_of(canned).get("j1", retry_timeout=3)
    assert (caught.value.fault, caught.value.charged) == ("unreadable", None)
    assert len(canned.requests) > 1


LOST_RESPONSES = [
    httpx2.ReadTimeout("no answer"),
    httpx2.ReadError("connection reset"),
    httpx2.RemoteProtocolError("Server disconnected without sending a response."),
    httpx2.WriteError("broken pipe"),
    httpx2.WriteTimeout("stuck"),
]
SEND_FAILURES = [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("slow"), httpx2.PoolTimeout("busy")]


@pytest.mark.parametrize("fault", LOST_RESPONSES, ids=lambda fault: type(fault).__name__)
async def test_order_without_a_response_is_not_repeated(simulator: Simulator, fault: Exception) -> None:
    luma = client_of(UnreliableTransport(simulator, fault, delivered=True))
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await luma.submit(FOX, retry_timeout=600)
    assert (caught.value.retry, caught.value.charged) == ("never", "unknown")
    assert simulator.requests["POST /videos"] == 1
    assert len(simulator.service.jobs) == 1


@pytest.mark.parametrize("fault", SEND_FAILURES, ids=lambda fault: type(fault).__name__)
async def test_order_that_was_not_sent_is_retried(simulator: Simulator, fault: Exception) -> None:
    job = await client_of(UnreliableTransport(simulator, fault, fault)).submit(FOX, retry_timeout=10)
    assert list(simulator.service.jobs) == [job.jobid]


@pytest.mark.parametrize("fault", SEND_FAILURES, ids=lambda fault: type(fault).__name__)
async def test_an_order_that_cannot_be_sent_costs_nothing(simulator: Simulator, fault: Exception) -> None:
    luma = client_of(UnreliableTransport(simulator, *[fault] * 100))
    with pytest.raises(errors.NetworkError) as caught:
        await luma.submit(FOX, retry_timeout=10)
    assert caught.value.charged == "no"
    assert anyio.current_time() <= 10
    assert simulator.service.jobs == {}


@pytest.mark.parametrize("fault", [*LOST_RESPONSES, *SEND_FAILURES], ids=lambda fault: type(fault).__name__)
async def test_fetching_a_job_survives_transient_failures(simulator: Simulator, fault: Exception) -> None:
    network = UnreliableTransport(simulator)
    luma = client_of(network)
    job = await luma.submit(FOX)
    network.faults = [fault, fault]
    assert (await luma.get(job.jobid, retry_timeout=10)).jobid == job.jobid


async def test_order_is_retried_after_the_api_s_retry_after(simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', {"retry-after": "7"}, times=2))
    await client_of(httpx2.ASGITransport(simulator)).submit(FOX, retry_timeout=20)
    assert anyio.current_time() == 14
    assert len(simulator.service.jobs) == 1


async def test_retry_after_beyond_the_retry_timeout_is_an_error(simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', {"retry-after": "60"}))
    with pytest.raises(errors.Capacity) as caught:
        await client_of(httpx2.ASGITransport(simulator)).submit(FOX, retry_timeout=20)
    assert caught.value.retry_after == 60
    assert anyio.current_time() == 0


async def test_slot_that_becomes_free_in_time_is_used(luma: LumaClient, simulator: Simulator) -> None:
    for account in simulator.service.accounts.values():
        account.concurrency = 1
    await luma.submit(FOX)
    await luma.submit(FOX, retry_timeout=90)
    assert len(simulator.service.jobs) == 2


async def test_no_error_contains_the_token() -> None:
    canned = CannedTransport(401, f'{{"error":"Unknown token {TOKEN}"}}'.encode())
    luma = client_of(canned)
    with pytest.raises(errors.Unauthorized) as caught:
        await luma.get("j1")
    assert canned.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert caught.value.api_message == "Unknown token ***"
    assert TOKEN not in f"{caught.value} {caught.value!r} {luma!r}"


async def test_redirects_are_not_followed() -> None:
    """The token is not sent to another host."""
    canned = CannedTransport(307, headers={"location": "https://elsewhere.example.com/"})
    with pytest.raises(errors.Upstream) as caught:
        await client_of(canned).get("j1", retry_timeout=0)
    assert caught.value.fault == "unexpected_status"
    assert [request.url.host for request in canned.requests] == ["api.useapi.net"]


def test_every_exported_name_exists() -> None:
    for name in luma_mcp.__all__:
        assert getattr(luma_mcp, name) is not None
    exported = set(luma_mcp.__all__)
    assert {kind.__name__ for kind in errors.LumaError.__subclasses__()} <= exported
    with pytest.raises(AttributeError):
        _ = luma_mcp.Nonsense  # type: ignore[attr-defined]  # this is the test


def test_literal_types_match_the_catalog() -> None:
    hints = get_type_hints(VideoRequest)
    for name in USEAPI.choices:
        values: set[str] = set()
        for catalog in CATALOGS:
            values |= set(catalog.choices[name].values)
        *literals, nothing = get_args(hints[name])
        typed: list[str] = []
        for literal in literals:
            typed += get_args(literal)
        assert (set(typed), nothing) == (values, type(None))


def test_every_parameter_of_a_catalog_is_a_documented_field() -> None:
    params: dict[str, str] = {}
    for catalog in CATALOGS:
        params |= {name: row.about for name, row in catalog.params.items()}
    assert {field.name for field in fields(VideoRequest)} == set(params)
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(VideoRequest))).body
    assert isinstance(definition, ast.ClassDef)
    described: dict[str, str] = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            described[ast.unparse(field.target)] = str(ast.literal_eval(text.value))
    for name, about in params.items():
        assert described[name].startswith(about)
