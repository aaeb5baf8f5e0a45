"""The simulated Agents API works with the official SDK, whose types accept every order of our client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import luma_agents
import pytest
from luma_agents import AsyncLuma
from luma_agents.types import CreateFileResponse, File, GenerationCreateParams
from pydantic import BaseModel, ConfigDict, TypeAdapter, with_config
from tests.clock import pass_time
from tests.conftest import EMAIL, KEY, agents_client_of

from luma_mcp import OutcomeUnknown, VideoRequest
from luma_mcp.api.protocol import Keyframe
from luma_mcp.catalog.agents import AGENTS
from luma_mcp.simulator.agents import AGENTS_BEHAVIORS, AgentsSimulator
from luma_mcp.simulator.app import Fault, new_simulator, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from luma_mcp.api.agents.client import AgentsClient

JPEG = b"\xff\xd8\xff"
FOX: dict[str, Any] = {"prompt": "A fox", "model": "ray-3.2", "type": "video"}


@with_config(ConfigDict(extra="forbid", strict=True))
class Order(GenerationCreateParams):
    """The SDK's type of an order. Other fields are forbidden at any depth."""


ORDERS = TypeAdapter(Order)


def build_sdk(simulator: AgentsSimulator, **options: Any) -> AsyncLuma:
    http = httpx.AsyncClient(transport=httpx.ASGITransport(simulator, raise_app_exceptions=False))
    base_url = "http://simulated/v1"
    return AsyncLuma(auth_token=KEY, base_url=base_url, http_client=http, _strict_response_validation=True, **options)


@pytest.fixture
async def sdk(agents_simulator: AgentsSimulator) -> AsyncIterator[AsyncLuma]:
    async with build_sdk(agents_simulator, max_retries=0) as client:
        yield client


@pytest.fixture
async def api(agents_simulator: AgentsSimulator) -> AsyncIterator[httpx2.AsyncClient]:
    headers, base_url = {"Authorization": f"Bearer {KEY}"}, "http://simulated/v1"
    transport = httpx2.ASGITransport(agents_simulator)
    async with httpx2.AsyncClient(transport=transport, base_url=base_url, headers=headers) as http:
        yield http


def assert_documented(record: BaseModel) -> None:
    """Check that the SDK's types have all fields of a record. The SDK itself checks their types."""
    assert not record.model_extra
    for value in vars(record).values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, BaseModel):
                assert_documented(item)


def consume(value: Any) -> Any:
    """Read iterables in typed dictionaries, because pydantic validates them only when they are read."""
    if isinstance(value, dict):
        return {name: consume(item) for name, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [consume(item) for item in value]
    return value


async def upload(sdk: AsyncLuma, api: httpx2.AsyncClient, data: bytes = JPEG, **about: Any) -> File:
    """Upload a file as the SDK does, in three steps, and wait until it is checked."""
    created = await sdk.files.create(mime_type="image/jpeg", size_bytes=len(data), **about)
    assert_documented(created)
    assert (created.state, created.id) == ("pending", created.file.id)
    assert created.upload
    assert created.upload.method == "PUT"
    assert created.upload.headers
    # Without the key, because the real link is on another host.
    headers = {**created.upload.headers, "Authorization": ""}
    assert (await api.put(created.upload.url, content=data, headers=headers)).status_code == 200
    assert (await sdk.files.complete(created.id)).state == "pending"
    await pass_time(1)
    return await sdk.files.get(created.id)


async def test_sdk_orders_a_video_and_waits_for_it(sdk: AsyncLuma, api: httpx2.AsyncClient) -> None:
    ordered = await sdk.generations.create(**FOX, aspect_ratio="9:16", video={"resolution": "540p", "duration": "10s"})
    assert_documented(ordered)
    assert (ordered.state, ordered.output, ordered.type, ordered.model) == ("queued", [], "video", "ray-3.2")
    assert ordered.created_at == "2026-11-22T00:00:00.000Z"
    await pass_time(20)
    assert (await sdk.generations.get(ordered.id)).state == "processing"
    await pass_time(80)
    done = await sdk.generations.get(ordered.id)
    assert_documented(done)
    assert done.state == "completed"
    assert done.output
    assert [output.type for output in done.output] == ["video"]
    video = await api.get(done.output[0].url)
    assert video.content[4:8] == b"ftyp"
    assert "9x16-10s-sdr" in done.output[0].url


async def test_sdk_gets_the_reason_of_a_failed_job(sdk: AsyncLuma) -> None:
    codes: dict[str, str | None] = {}
    for name in ("fail", "moderate", "exhausted", "unexplained"):
        ordered = await sdk.generations.create(**FOX | {"prompt": f"A fox simulate:{name} simulate:instant"})
        failed = await sdk.generations.get(ordered.id)
        assert_documented(failed)
        assert (failed.state, failed.output) == ("failed", [])
        assert bool(failed.failure_reason) == bool(failed.failure_code)
        codes[name] = failed.failure_code
    assert codes == {
        "fail": "generation_failed",
        "moderate": "content_moderated",
        "exhausted": "budget_exhausted",
        "unexplained": None,
    }


async def test_the_sdk_uploads_lists_and_deletes_files(sdk: AsyncLuma, api: httpx2.AsyncClient) -> None:
    first = await upload(sdk, api, filename="fox.jpg", user_id="u1", expires_at="2026-12-01T00:00:00Z")
    assert_documented(first)
    assert (first.state, first.mime_type, first.size_bytes, first.purpose) == ("ready", "image/jpeg", 3, "input")
    assert (first.filename, first.user_id) == ("fox.jpg", "u1")
    assert first.expires_at
    others = [await upload(sdk, api, purpose="reference") for _ in range(3)]
    page = await sdk.files.list(limit=3)
    assert_documented(page)
    assert [file.id for file in page.data] == [file.id for file in reversed(others)]
    assert page.has_more
    assert page.next_cursor
    last = await sdk.files.list(limit=3, cursor=page.next_cursor)
    assert ([file.id for file in last.data], last.has_more, last.next_cursor) == ([first.id], False, None)
    assert [file.id for file in (await sdk.files.list(purpose="input")).data] == [first.id]
    await sdk.files.delete(first.id)
    deleted = await sdk.files.get(first.id)
    assert (deleted.state, deleted.deleted_at is None) == ("deleted", False)
    assert first.id not in {file.id for file in (await sdk.files.list()).data}
    assert [file.id for file in (await sdk.files.list(state="deleted")).data] == [first.id]


async def test_uploaded_file_can_be_used_until_it_is_deleted(sdk: AsyncLuma, api: httpx2.AsyncClient) -> None:
    file = await upload(sdk, api)
    await sdk.generations.create(**FOX, video={"start_frame": {"file_id": file.id}})
    await sdk.files.delete(file.id)
    with pytest.raises(luma_agents.NotFoundError):
        await sdk.generations.create(**FOX, video={"start_frame": {"file_id": file.id}})


async def test_a_file_can_be_sent_inline(api: httpx2.AsyncClient) -> None:
    response = await api.post("/files", files={"file": ("a.jpg", JPEG, "image/jpeg")}, data={"purpose": "input"})
    assert response.status_code == 201
    created = CreateFileResponse.model_validate(response.json())
    assert_documented(created)
    assert (created.state, created.upload, created.file.filename) == ("pending", None, "a.jpg")
    await pass_time(1)
    assert (await api.get(f"/files/{created.id}")).json()["state"] == "ready"


@pytest.mark.parametrize(
    ("name", "data", "state"),
    [
        ("simulate:pending.jpg", JPEG, "pending"),
        ("simulate:pending=9.jpg", JPEG, "pending"),
        ("simulate:pending=2.jpg", JPEG, "ready"),
        ("simulate:fail.jpg", JPEG, "failed"),
        ("a.jpg", b"no picture", "failed"),
    ],
)
async def test_a_file_s_check_can_take_long_or_fail(
    api: httpx2.AsyncClient, name: str, data: bytes, state: str
) -> None:
    created = (await api.post("/files", files={"file": (name, data, "image/jpeg")})).json()
    await pass_time(5)
    file = (await api.get(f"/files/{created['id']}")).json()
    assert (file["state"], file["failure_reason"] is None) == (state, state != "failed")
    response = await api.post("/generations", json=FOX | {"video": {"start_frame": {"file_id": created["id"]}}})
    assert response.status_code == (201 if state == "ready" else 400)


async def test_uploads_that_do_not_match_are_refused(api: httpx2.AsyncClient) -> None:
    created = (await api.post("/files", json={"mime_type": "image/png", "size_bytes": 3})).json()
    url, path = created["upload"]["url"], f"/files/{created['id']}/complete"
    assert (await api.post(path)).status_code == 409
    assert (await api.put(url, content=JPEG, headers={"Content-Type": "image/jpeg"})).status_code == 403
    assert (await api.put(url, content=b"much more", headers={"Content-Type": "image/png"})).status_code == 403
    assert (await api.put("http://simulated/uploads/none", content=JPEG)).status_code == 403
    assert (await api.post("/files/none/complete")).status_code == 404
    wrong: list[Any] = [{}, {"mime_type": "image/png"}, {"mime_type": 1, "size_bytes": 3}, {"purpose": "x"}, [], None]
    wrong += [{"mime_type": "image/png", "size_bytes": 3, "expires_at": value} for value in ("soon", 7)]
    for body in wrong:
        assert (await api.post("/files", json=body)).status_code == 400
    assert (await api.post("/files", files={"other": ("a.jpg", JPEG)})).status_code == 400
    assert (await api.post("/files", files={"file": ("a.jpg", b"0" * 52_428_801, "image/jpeg")})).status_code == 413
    assert (await api.get("/files", params={"limit": "101"})).status_code == 400
    assert (await api.get("/files/none")).status_code == 404


KEYFRAMES = [{"url": "https://example.com/a.jpg"}, {"data": "AAAA", "media_type": "image/png"}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"video": {"keyframes": KEYFRAMES, "keyframe_indexes": [0, 240], "duration": "10s"}}, 201),
        ({"video": {"keyframes": KEYFRAMES, "keyframe_indexes": [0, 120], "hdr": True, "resolution": "1080p"}}, 201),
        ({"video": {"hdr": True, "exr_export": True}, "aspect_ratio": "21:9"}, 201),
        ({"video": {"loop": True, "start_frame": KEYFRAMES[0]}}, 201),
        ({"video": None, "aspect_ratio": None, "user_id": "u1"}, 201),
        ({"video": {"resolution": "4k"}}, 400),
        ({"video": {"duration": "7s"}}, 400),
        ({"aspect_ratio": "3:2"}, 400),
        ({"model": "ray-2"}, 400),
        ({"model": None}, 400),
        ({"type": None}, 400),
        ({"type": "video_edit", "source": KEYFRAMES[0]}, 400),
        ({"prompt": ""}, 400),
        ({"prompt": None}, 400),
        ({"prompt": "x" * 6_001}, 400),
        ({"seed": 7}, 400),
        ({"video": {"edit": {}}}, 400),
        ({"video": []}, 400),
        ({"video": {"loop": 1}}, 400),
        ({"video": {"exr_export": True}}, 400),
        ({"video": {"start_frame": "https://example.com/a.jpg"}}, 400),
        ({"video": {"start_frame": {}}}, 400),
        ({"video": {"start_frame": {"url": 7}}}, 400),
        ({"video": {"start_frame": {"data": "AAAA"}}}, 400),
        ({"video": {"start_frame": {"data": "?", "media_type": "image/png"}}}, 422),
        ({"video": {"start_frame": {"url": "http://example.com/a.jpg"}}}, 422),
        ({"video": {"start_frame": KEYFRAMES[0] | {"file_id": "1"}}}, 400),
        ({"video": {"start_frame": {"file_id": "1"}}}, 404),
        ({"video": {"start_frame": {"generation_id": "1"}}}, 404),
        ({"video": {"end_frame": {"generation_id": "1"}}}, 422),
        ({"video": {"hdr": True, "resolution": "540p"}}, 422),
        ({"video": {"hdr": True, "duration": "10s"}}, 422),
        ({"video": {"hdr": True, "start_frame": KEYFRAMES[0]}}, 422),
        ({"video": {"duration": "10s", "end_frame": KEYFRAMES[0]}}, 422),
        ({"video": {"loop": True, "end_frame": KEYFRAMES[0]}}, 422),
        ({"video": {"loop": True, "duration": "10s"}}, 422),
        ({"video": {"keyframes": KEYFRAMES, "keyframe_indexes": [0]}}, 422),
        ({"video": {"keyframes": KEYFRAMES, "keyframe_indexes": [0, 0]}}, 422),
        ({"video": {"keyframes": KEYFRAMES, "keyframe_indexes": [0, 1.5]}}, 422),
        ({"video": {"keyframes": KEYFRAMES, "keyframe_indexes": [0, 121]}}, 422),
        ({"video": {"keyframes": KEYFRAMES, "keyframe_indexes": [0, 9], "loop": True}}, 422),
        ({"video": {"keyframes": [{"generation_id": "1"}], "keyframe_indexes": [0]}}, 422),
        ({"video": {"keyframes": {}, "keyframe_indexes": [0]}}, 422),
    ],
)
async def test_orders_are_checked(
    api: httpx2.AsyncClient, agents_simulator: AgentsSimulator, body: dict[str, Any], status: int
) -> None:
    response = await api.post("/generations", json=FOX | body)
    assert response.status_code == status, response.text
    assert len(agents_simulator.service.jobs) == (status == 201)
    if status != 201:
        assert list(response.json()) == ["detail"]


async def test_defaults_of_an_order_and_invalid_bodies(
    api: httpx2.AsyncClient, agents_simulator: AgentsSimulator
) -> None:
    await api.post("/generations", json=FOX)
    [job] = agents_simulator.service.jobs.values()
    assert job.request == {
        "prompt": "A fox",
        "model": "ray-3.2",
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "duration": "5s",
        "dynamic_range": "sdr",
    }
    assert (await api.post("/generations", content=b"no JSON")).status_code == 400
    assert (await api.post("/generations", json=["no object"])).status_code == 400


async def test_a_clip_is_extended_up_to_half_a_minute(sdk: AsyncLuma, api: httpx2.AsyncClient) -> None:
    now = "simulate:instant"
    clip = await sdk.generations.create(**FOX | {"prompt": now}, aspect_ratio="1:1", video={"duration": "10s"})
    for _ in range(4):
        frame: Any = {"start_frame": {"generation_id": clip.id}}
        clip = await sdk.generations.create(**FOX | {"prompt": now}, aspect_ratio="9:16", video=frame)
    [output] = (await sdk.generations.get(clip.id)).output or []
    assert "1x1-10s" in output.url
    with pytest.raises(luma_agents.UnprocessableEntityError):
        await sdk.generations.create(**FOX, video={"start_frame": {"generation_id": clip.id}})
    slow = await sdk.generations.create(**FOX)
    with pytest.raises(luma_agents.BadRequestError):
        await sdk.generations.create(**FOX, video={"start_frame": {"generation_id": slow.id}})
    hdr = await sdk.generations.create(**FOX | {"prompt": now}, video={"hdr": True})
    body = FOX | {"video": {"start_frame": {"generation_id": hdr.id}}}
    assert (await api.post("/generations", json=body)).status_code == 422


async def test_links_work_for_an_hour_and_are_renewed(sdk: AsyncLuma, api: httpx2.AsyncClient) -> None:
    prompt = "A fox simulate:instant"
    ordered = await sdk.generations.create(**FOX | {"prompt": prompt}, video={"hdr": True, "exr_export": True})
    old = (await sdk.generations.get(ordered.id)).output or []
    assert [output.type for output in old] == ["exr", "video"]
    await pass_time(3599)
    assert {(await api.get(output.url)).status_code for output in old} == {200}
    await pass_time(2)
    assert {(await api.get(output.url)).status_code for output in old} == {403}
    new = (await sdk.generations.get(ordered.id)).output or []
    assert {(await api.get(output.url)).status_code for output in new} == {200}
    assert (await api.get(f"{new[0].url}oops")).status_code == 200


ORDER_ERRORS = {
    "unauthorized": luma_agents.AuthenticationError,
    "suspended": luma_agents.PermissionDeniedError,
    "no-hdr": luma_agents.PermissionDeniedError,
    "broke": luma_agents.APIStatusError,
    "bad-link": luma_agents.UnprocessableEntityError,
    "limited": luma_agents.RateLimitError,
    "busy": luma_agents.RateLimitError,
    "down": luma_agents.InternalServerError,
}


@pytest.mark.parametrize(("name", "error"), ORDER_ERRORS.items())
async def test_sdk_raises_its_error_for_each_refusal(
    sdk: AsyncLuma, agents_simulator: AgentsSimulator, name: str, error: type[luma_agents.APIStatusError]
) -> None:
    with pytest.raises(error) as caught:
        await sdk.generations.create(**FOX | {"prompt": f"A fox simulate:{name}"}, video={"hdr": True})
    assert isinstance(caught.value.body, dict)
    assert caught.value.body.keys() == {"detail"}
    if name == "broke":
        assert caught.value.status_code == 402
    assert agents_simulator.service.jobs == {}


def test_each_refusal_has_a_test() -> None:
    names = {name for name, behavior in AGENTS_BEHAVIORS.items() if behavior.group == "order" and behavior.answer}
    assert names == ORDER_ERRORS.keys()


async def test_state_of_the_account_can_refuse_orders(
    api: httpx2.AsyncClient, agents_simulator: AgentsSimulator
) -> None:
    service = agents_simulator.service
    hdr = FOX | {"video": {"hdr": True}}
    service.has_hdr = False
    assert (await api.post("/generations", json=hdr)).status_code == 403
    assert (await api.post("/generations", json=FOX)).status_code == 201
    assert (await api.post("/generations", json=FOX | {"prompt": "simulate:no-hdr"})).status_code == 201
    service.is_suspended = True
    assert (await api.post("/generations", json=FOX)).status_code == 403
    service.is_suspended, service.accounts[EMAIL].subscribed = False, False
    assert (await api.post("/generations", json=FOX)).status_code == 402
    service.accounts[EMAIL].subscribed, service.accounts[EMAIL].concurrency = True, 2
    response = await api.post("/generations", json=FOX)
    assert (response.status_code, response.headers["retry-after"]) == (429, "60")
    assert (response.json(), "x-ratelimit-limit" in response.headers) == ({"detail": "Too many concurrent jobs"}, False)


async def test_orders_are_limited_per_minute(api: httpx2.AsyncClient, agents_simulator: AgentsSimulator) -> None:
    agents_simulator.service.per_minute = 2
    responses: list[tuple[int, str, str | None]] = []
    for time in (0, 20, 40, 60, 61):
        await anyio.sleep_until(time)
        response = await api.post("/generations", json=FOX)
        remaining, retry_after = response.headers["x-ratelimit-remaining"], response.headers.get("retry-after")
        responses.append((response.status_code, remaining, retry_after))
        assert response.headers["x-ratelimit-limit"] == "2"
    assert responses == [(201, "1", None), (201, "0", None), (429, "0", "20"), (201, "0", None), (429, "0", "19")]
    assert response.headers["x-ratelimit-reset"] == "1795305680"
    assert response.json() == {"detail": "Rate limit exceeded"}


async def test_a_limit_can_refuse_every_order(api: httpx2.AsyncClient, agents_simulator: AgentsSimulator) -> None:
    agents_simulator.service.per_minute = 0
    response = await api.post("/generations", json=FOX)
    assert (response.status_code, response.headers["retry-after"]) == (429, "60")


async def test_every_response_has_the_documented_headers(
    api: httpx2.AsyncClient, agents_simulator: AgentsSimulator
) -> None:
    agents_simulator.faults.append(Fault("GET", "/generations", 502))
    for status, path in ((502, "/generations/x"), (404, "/generations/x"), (200, "/files")):
        response = await api.get(path, headers={"X-Request-Id": "mine"})
        assert response.status_code == status
        assert (response.headers["x-api-version"], response.headers["x-request-id"]) == ("2026-04-01", "mine")
    response = await api.get("/files", headers={"Authorization": "Bearer luma-api-other"})
    assert (response.status_code, response.json()) == (401, {"detail": "Invalid API key"})
    assert len(response.headers["x-request-id"]) == 36


async def test_sdk_pays_three_times_where_our_client_pays_once(agents_simulator: AgentsSimulator) -> None:
    prompt = "A fox simulate:lost"
    async with build_sdk(agents_simulator) as sdk:
        with pytest.raises(luma_agents.InternalServerError):
            await sdk.generations.create(**FOX | {"prompt": prompt})
    assert len(agents_simulator.service.jobs) == 3
    agents_simulator.service.jobs.clear()
    with pytest.raises(OutcomeUnknown):
        await agents_client_of(httpx2.ASGITransport(agents_simulator)).submit(VideoRequest(prompt), retry_timeout=600)
    assert len(agents_simulator.service.jobs) == 1


async def test_the_sdk_s_types_accept_every_order(agents: AgentsClient, agents_simulator: AgentsSimulator) -> None:
    service = agents_simulator.service
    service.per_minute, service.accounts[EMAIL].concurrency = 10_000, 10_000
    files = [(await agents.upload(JPEG, "image/jpeg")).asset_ref for _ in range(2)]
    clip = await agents.submit(VideoRequest("A fox simulate:instant"))
    values: dict[str, Any] = {
        "image_start": files[0],
        "image_end": "https://example.com/end.jpg",
        "loop": True,
        "extend": clip.jobid,
        "keyframes": (Keyframe(files[0], 0.5), Keyframe(files[1], 4)),
    }
    one_of_each = [combination for combination in AGENTS.combinations if combination["aspect_ratio"] == "9:16"]
    for combination in one_of_each:
        params: dict[str, Any] = {}
        for name, value in combination.items():
            if name in AGENTS.choices:
                params[name] = value
            elif value:
                params[name] = values[name]
        await agents.submit(VideoRequest("A fox", **params))
    orders = agents_simulator.orders
    for ratio in AGENTS.choices["aspect_ratio"].values:
        await agents.submit(VideoRequest("A fox", aspect_ratio=ratio))  # type: ignore[arg-type]  # one of the type's
    assert len(orders) == len(service.jobs) == len(one_of_each) + 7
    for order in orders:
        assert consume(ORDERS.validate_python(order)) == order
        assert (order["type"], order["model"]) == ("video", "ray-3.2")


@pytest.mark.parametrize("wrong", [{"seed": 1}, {"video": {"seed": 1}}, {"video": {"duration": "7s"}}, {"prompt": 7}])
def test_types_of_the_sdk_reject_undocumented_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ORDERS.validate_python(FOX | wrong)


@pytest.mark.parametrize("wrong", [{"keyframes": [{"asset": "1"}]}, {"keyframe_indexes": ["0"]}])
def test_the_sdk_s_types_check_each_keyframe(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        consume(ORDERS.validate_python(FOX | {"video": wrong}))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_simulator_runs_on_a_real_server() -> None:
    with running(new_simulator(api="agents")) as url:
        async with httpx2.AsyncClient(headers={"Authorization": "Bearer any"}) as http:
            response = await http.get(f"{url}/files")
    assert (url[-3:], response.json()) == ("/v1", {"data": [], "has_more": False, "next_cursor": None})
