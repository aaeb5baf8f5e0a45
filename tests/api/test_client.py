"""`LumaClient` against the simulated service, over HTTP semantics but in memory, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from tests.conftest import EMAIL, TOKEN, client_of
from tests.transports import Canned, Held, Unreliable

from luma_mcp import errors
from luma_mcp.api.protocol import VideoRequest
from luma_mcp.simulator.app import Fault, Simulator

if TYPE_CHECKING:
    from luma_mcp.api.useapi.client import LumaClient

FOX = VideoRequest(prompt="A fox in the snow")


async def test_an_order_is_followed_to_its_video(luma: LumaClient) -> None:
    async with luma:
        job = await luma.submit(FOX)
        assert (job.state, job.type) == ("running", "video")
        job = await luma.wait(job.jobid)
    assert job.state == "completed"
    assert job.outputs.video is not None
    assert job.outputs.video.url.endswith(".mp4")


async def test_every_value_is_sent_explicitly_and_under_the_api_s_names(luma: LumaClient, simulator: Simulator) -> None:
    ref = simulator.service.add_asset(EMAIL)
    request = VideoRequest(prompt="A fox", model="ray-v3-reasoning", image_start=ref, reply_url="https://example.com/x")
    await luma.submit(request)
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


async def test_an_impossible_order_is_refused_before_anything_is_sent(luma: LumaClient, simulator: Simulator) -> None:
    with pytest.raises(errors.InvalidArguments) as caught:
        await luma.submit(VideoRequest(prompt="A fox", resolution="draft", dynamic_range="hdr"))
    assert caught.value.suggestion is not None
    assert caught.value.suggestion["resolution"] == "540p"
    assert simulator.requests.total() == 0


async def test_the_job_remembers_what_was_ordered_though_the_api_does_not_repeat_it(luma: LumaClient) -> None:
    job = await luma.submit(FOX)
    seen = await luma.get(job.jobid)
    assert seen.request == job.request
    assert seen.request is not None
    assert seen.request.resolution == "draft"


async def test_jobs_are_listed_while_they_run_and_deleted_when_they_have_finished(luma: LumaClient) -> None:
    job = await luma.submit(FOX)
    assert [(row.jobid, row.account, row.model) for row in await luma.list()] == [(job.jobid, EMAIL, "ray-v3-flash")]
    with pytest.raises(errors.Conflict) as caught:
        await luma.delete(job.jobid)
    assert (caught.value.status, caught.value.retry) == (409, "later")
    await luma.wait(job.jobid)
    assert await luma.list() == ()
    await luma.delete(job.jobid)
    with pytest.raises(errors.NotFound):
        await luma.get(job.jobid)


async def test_accounts_tell_their_free_slots(luma: LumaClient, simulator: Simulator) -> None:
    await luma.submit(FOX)
    simulator.service.add_account("broken@example.com").session_valid = False
    accounts = {account.email: account for account in await luma.accounts()}
    assert accounts[EMAIL].free_slots == 3
    assert accounts["broken@example.com"].free_slots == 0
    assert (await luma.account(EMAIL)).executing == 1


async def test_no_configured_account_is_an_empty_list_although_the_api_answers_404_with_no_body(
    luma: LumaClient, simulator: Simulator
) -> None:
    simulator.service.accounts.clear()
    assert await luma.accounts() == ()
    with pytest.raises(errors.NotFound) as caught:
        await luma.account(EMAIL)
    assert caught.value.api_message is None


async def test_a_jobid_is_sent_as_one_path_segment_whatever_is_in_it() -> None:
    canned = Canned(404)
    with pytest.raises(errors.NotFound):
        await client_of(canned).get("j1/../x-email:a@b.c?d#e%20 f")
    path = canned.requests[0].url.raw_path
    assert path == b"/v1/luma/jobs/j1%2F..%2Fx-email%3Aa%40b.c%3Fd%23e%2520%20f"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error":"Parameter model (x) valid values: ray-v3-flash, ray-v3, ray-v4"}', errors.InvalidArguments),
        (401, b'{"error":"Unauthorized"}', errors.Unauthorized),
        (402, b'{"error":"Account has no subscription or subscription expired"}', errors.PaymentRequired),
        (403, b'{"error":"Job does not belong to this user"}', errors.Forbidden),
        (404, b'{"error":"Asset not found"}', errors.NotFound),
        (404, b"", errors.NotFound),
        (409, b'{"error":"Cannot delete job in state \'processing\'."}', errors.Conflict),
        (422, b'{"error":"Content moderation: prompt rejected","code":422}', errors.Moderated),
        (429, b'{"error":"All configured accounts are running at maximum capacity","code":429}', errors.Capacity),
        (596, b'{"error":"Luma account has an error."}', errors.AccountSession),
        (418, b"<html>teapot</html>", errors.Upstream),
        (302, b"", errors.Upstream),
        (500, b'{"error":"Internal error"}', errors.Upstream),
        (503, b'{"error":"Try later"}', errors.Upstream),
        (502, b"<html>Bad Gateway</html>", errors.OutcomeUnknown),
        (504, b"", errors.OutcomeUnknown),
        (200, b"", errors.OutcomeUnknown),
        (200, b"<html>", errors.OutcomeUnknown),
        (200, b'{"jobid": "j1', errors.OutcomeUnknown),
        (200, b'{"jobid": 7}', errors.OutcomeUnknown),
        (200, b'{"jobid": ""}', errors.OutcomeUnknown),
        (200, b'["jobid"]', errors.OutcomeUnknown),
        (201, b"{}", errors.OutcomeUnknown),
    ],
)
async def test_every_answer_to_an_order_has_an_error_named_for_the_situation(
    status: int, body: bytes, kind: type[errors.LumaError]
) -> None:
    canned = Canned(status, body, {"content-type": "application/json" if body[:1] == b"{" else "text/html"})
    with pytest.raises(kind) as caught:
        await client_of(canned).submit(FOX, patience=0)
    assert type(caught.value) is kind
    assert caught.value.status == status
    words = body.decode().split('"')[3] if b'"error"' in body else None
    assert caught.value.api_message == words
    assert (words or "") in caught.value.message
    assert len(canned.requests) == 1
    if kind not in (errors.OutcomeUnknown, errors.Upstream):
        assert "nothing was spent" in caught.value.message


async def test_the_api_s_own_refusal_of_a_parameter_names_the_field_and_what_it_takes() -> None:
    body = b'{"error":"Parameter imageStart (u9) valid values: u1:a, u1:b"}'
    with pytest.raises(errors.InvalidArguments) as caught:
        await client_of(Canned(400, body)).submit(FOX)
    [problem] = caught.value.problems
    assert (problem.field, problem.value, problem.allowed) == ("image_start", "u9", ("u1:a", "u1:b"))


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"jobid": "j1', b'{"status": "completed"}'])
async def test_an_unreadable_job_record_is_read_again_and_then_an_upstream_failure(body: bytes) -> None:
    canned = Canned(200, body)
    with pytest.raises(errors.Upstream):
        await client_of(canned).get("j1", patience=3)
    assert len(canned.requests) > 1


LOST = [
    httpx2.ReadTimeout("no answer"),
    httpx2.ReadError("connection reset"),
    httpx2.RemoteProtocolError("Server disconnected without sending a response."),
    httpx2.WriteError("broken pipe"),
    httpx2.WriteTimeout("stuck"),
]


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: type(fault).__name__)
async def test_an_order_whose_answer_is_lost_is_not_sent_again(simulator: Simulator, fault: Exception) -> None:
    luma = client_of(Unreliable(simulator, fault, delivered=True))
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await luma.submit(FOX, patience=600)
    assert caught.value.retry == "never"
    assert simulator.requests["POST /videos"] == 1
    assert len(simulator.service.jobs) == 1


NEVER_SENT = [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("slow"), httpx2.PoolTimeout("busy")]


@pytest.mark.parametrize("fault", NEVER_SENT, ids=lambda fault: type(fault).__name__)
async def test_an_order_that_never_left_is_sent_again_within_its_patience(
    simulator: Simulator, fault: Exception
) -> None:
    job = await client_of(Unreliable(simulator, fault, fault)).submit(FOX, patience=10)
    assert list(simulator.service.jobs) == [job.jobid]


@pytest.mark.parametrize("fault", NEVER_SENT, ids=lambda fault: type(fault).__name__)
async def test_an_order_that_cannot_leave_ends_as_a_network_error_with_nothing_spent(
    simulator: Simulator, fault: Exception
) -> None:
    luma = client_of(Unreliable(simulator, *[fault] * 100))
    with pytest.raises(errors.NetworkError) as caught:
        await luma.submit(FOX, patience=10)
    assert "nothing was spent" in caught.value.message
    assert anyio.current_time() <= 10
    assert simulator.service.jobs == {}


@pytest.mark.parametrize("fault", [*LOST, *NEVER_SENT], ids=lambda fault: type(fault).__name__)
async def test_reading_a_job_survives_passing_faults(simulator: Simulator, fault: Exception) -> None:
    way = Unreliable(simulator)
    luma = client_of(way)
    job = await luma.submit(FOX)
    way.faults = [fault, fault]
    assert (await luma.get(job.jobid, patience=10)).jobid == job.jobid


async def test_a_full_house_is_tried_again_at_the_pace_that_the_api_asks_for(simulator: Simulator) -> None:
    full = Fault("POST", "/videos", 429, b'{"error":"full"}', {"retry-after": "7"}, times=2)
    simulator.faults.append(full)
    await client_of(httpx2.ASGITransport(simulator)).submit(FOX, patience=20)
    assert anyio.current_time() == 14
    assert len(simulator.service.jobs) == 1


async def test_a_pace_longer_than_the_patience_is_told_and_not_waited_for(simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', {"retry-after": "60"}))
    with pytest.raises(errors.Capacity) as caught:
        await client_of(httpx2.ASGITransport(simulator)).submit(FOX, patience=20)
    assert caught.value.retry_after == 60
    assert anyio.current_time() == 0


async def test_a_slot_that_becomes_free_within_the_patience_is_taken(luma: LumaClient, simulator: Simulator) -> None:
    for account in simulator.service.accounts.values():
        account.concurrency = 1
    await luma.submit(FOX)
    await luma.submit(FOX, patience=90)
    assert len(simulator.service.jobs) == 2


async def test_a_cancelled_order_is_not_torn_between_its_delivery_and_its_answer(simulator: Simulator) -> None:
    way = Held(simulator)
    jobids = []

    async def order() -> None:
        jobids.append((await client_of(way).submit(FOX)).jobid)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(order)
            await way.delivered.wait()
            tasks.cancel_scope.cancel()
            way.may_answer.set()
    assert jobids == list(simulator.service.jobs)


async def test_the_token_goes_to_the_api_and_into_no_error_even_if_the_api_repeats_it() -> None:
    canned = Canned(401, f'{{"error":"Unknown token {TOKEN}"}}'.encode())
    luma = client_of(canned)
    with pytest.raises(errors.Unauthorized) as caught:
        await luma.get("j1")
    assert canned.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert caught.value.api_message == "Unknown token ***"
    assert TOKEN not in f"{caught.value} {caught.value!r} {luma!r}"


async def test_redirects_are_not_followed_so_the_token_goes_nowhere_else() -> None:
    canned = Canned(307, headers={"location": "https://elsewhere.example.com/"})
    with pytest.raises(errors.Upstream):
        await client_of(canned).get("j1", patience=0)
    assert [request.url.host for request in canned.requests] == ["api.useapi.net"]
