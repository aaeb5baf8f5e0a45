"""The API's webhooks at the end of jobs: authenticated hints, which are confirmed by a poll."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from pydantic import SecretStr
from tests.clock import pass_time
from tests.conftest import TOKEN, resolve, wall_clock
from tests.service.orders import place
from tests.transports import HoldingTransport

from luma_mcp.catalog import get_catalog
from luma_mcp.hosting.hooks import LARGEST_BODY, Hooks, build_hooks
from luma_mcp.service.service import VideoService
from luma_mcp.service.webhooks import WebhookUrls, build_webhook_urls
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Fault, new_simulator, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from luma_mcp.simulator.app import Simulator

PUBLIC = "https://video.example.com"
KEY, OLD_KEY, OTHER_KEY = ("first-key-of-this-test-0123456789", "older-key-of-this-test-0123456789", "x" * 40)
POLL = "GET /jobs/…"


def build_settings(tmp_path: Path | None, *keys: str, public_url: str | None = PUBLIC, **settings: Any) -> Settings:
    secret_keys = tuple(map(SecretStr, keys or (KEY,)))
    journal = str(tmp_path / "journal.db") if tmp_path else "off"
    own = {"token": SecretStr(TOKEN), "journal": journal, "public_url": public_url, "secret_keys": secret_keys}
    return Settings(**{**own, **settings})


def build_urls(key: str) -> WebhookUrls:
    """Build the object that creates and verifies webhook URLs with a key."""
    urls = build_webhook_urls(build_settings(None, key), get_catalog("useapi"))
    assert urls
    return urls


def start(settings: Settings, transport: httpx2.AsyncBaseTransport) -> VideoService:
    return VideoService(
        settings, catalog=get_catalog(settings.api), wall_clock=wall_clock, transport=transport, resolve=resolve
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return build_settings(tmp_path)


@pytest.fixture
async def service(settings: Settings, simulator: Simulator) -> AsyncIterator[VideoService]:
    service = start(settings, httpx2.ASGITransport(simulator))
    yield service
    await service.aclose()


@pytest.fixture
async def hooks(settings: Settings, service: VideoService) -> AsyncIterator[Hooks]:
    built = build_hooks(settings, lambda: [service])
    assert built
    yield built
    await built.aclose()


async def call(hooks: Hooks, url: str, method: str = "POST", body: bytes = b"{}", **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(hooks)) as client:
        return await client.request(method, url, content=body, **options)


def reply_url_of(simulator: Simulator) -> str:
    """The webhook URL in the last order."""
    return str(simulator.orders[-1]["replyUrl"])


async def follow(service: VideoService, jobid: str, ends: list[tuple[str, float]]) -> None:
    job = await service.wait(jobid, 600)
    ends.append((job.state, anyio.current_time()))


async def test_call_is_confirmed_by_one_poll_at_once(hooks: Hooks, service: VideoService, simulator: Simulator) -> None:
    job = (await place(service, "A fox simulate:takes=55")).job
    ends: list[tuple[str, float]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, service, job.jobid, ends)
        await anyio.sleep_until(54.9)
        seen = simulator.requests[POLL]
        await anyio.sleep_until(55)
        answer = await call(hooks, reply_url_of(simulator))
    assert (answer.status_code, answer.content) == (204, b"")
    assert ends == [("completed", 55)]
    assert simulator.requests[POLL] == seen + 1


async def test_body_is_not_trusted(hooks: Hooks, service: VideoService, simulator: Simulator) -> None:
    """The body says that the job has failed, and it comes too early."""
    job = (await place(service, "A fox simulate:takes=55")).job
    ends: list[tuple[str, float]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, service, job.jobid, ends)
        await pass_time(20)
        claimed = json.dumps({"jobid": job.jobid, "status": "failed", "error": "no"}).encode()
        assert (await call(hooks, reply_url_of(simulator), body=claimed)).status_code == 204
    assert [state for state, _ in ends] == ["completed"]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 60_000, b"x" * LARGEST_BODY])
async def test_any_body_is_accepted(hooks: Hooks, service: VideoService, simulator: Simulator, body: bytes) -> None:
    await place(service)
    assert (await call(hooks, reply_url_of(simulator), body=body)).status_code == 204


async def test_repeated_and_late_calls_get_the_same_response(
    hooks: Hooks, service: VideoService, simulator: Simulator
) -> None:
    job = (await place(service)).job
    assert (await service.wait(job.jobid, 600)).state == "completed"
    seen = simulator.requests[POLL]
    for _ in range(3):
        assert (await call(hooks, reply_url_of(simulator))).status_code == 204
        await pass_time(100)
    # Nobody waits, so nothing is fetched.
    assert simulator.requests[POLL] == seen


async def test_calls_in_another_order_than_the_jobs_end(
    hooks: Hooks, service: VideoService, simulator: Simulator
) -> None:
    jobids = [(await place(service, f"Fox {n} simulate:takes={50 + n}")).job.jobid for n in range(3)]
    urls = [order["replyUrl"] for order in simulator.orders]
    ends: list[tuple[str, float]] = []
    async with anyio.create_task_group() as tasks:
        for jobid in jobids:
            tasks.start_soon(follow, service, jobid, ends)
        await anyio.sleep_until(52)
        for url in reversed(urls):
            await call(hooks, url)
    assert [state for state, _ in ends] == ["completed"] * 3
    assert max(end for _, end in ends) <= 52


def forge(url: str) -> Iterator[str]:
    base, order_id, mac = url.rsplit("/", 2)
    yield f"{base}/{order_id}/{mac[:-1]}{'A' if mac[-1] != 'A' else 'B'}"
    yield f"{base}/{order_id}/{mac.swapcase()}"
    yield f"{base}/{order_id}/{mac}="
    yield f"{base}/{order_id}/{mac[:20]}"
    yield f"{base}/{order_id}/é"
    yield f"{base}/{order_id}/{mac}/"
    yield f"{base}/{order_id}/"
    yield f"{base}/{order_id}"
    yield f"{base}/{'0' * 64}/{mac}"
    yield f"{base}/{order_id.upper()}/{mac}"
    yield f"{base}/../../mcp"
    yield f"{base}/..%2f..%2fetc%2fpasswd/{mac}"
    yield f"{base}/{order_id}%0d%0aSet-Cookie:x/{mac}"


async def test_forged_path_is_not_found(hooks: Hooks, service: VideoService, simulator: Simulator) -> None:
    job = (await place(service, "A fox simulate:takes=300")).job
    other_key = build_urls(OTHER_KEY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, service, job.jobid, [])
        await pass_time(100)
        seen = simulator.requests[POLL]
        urls = [*forge(reply_url_of(simulator)), other_key.build("0" * 64) or ""]
        for url in urls:
            answer = await call(hooks, url)
            assert (answer.status_code, answer.text) in [(404, "Not Found"), (307, "")]
        assert simulator.requests[POLL] == seen
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_post_is_allowed(hooks: Hooks, service: VideoService, simulator: Simulator, method: str) -> None:
    await place(service)
    assert (await call(hooks, reply_url_of(simulator), method)).status_code == 405


@pytest.mark.parametrize("states_length", [True, False])
async def test_megabyte_is_not_read(
    hooks: Hooks, service: VideoService, simulator: Simulator, states_length: bool
) -> None:
    await place(service)
    read: list[int] = []

    async def receive() -> dict[str, Any]:
        read.append(8192)
        return {"type": "http.request", "body": b"x" * 8192, "more_body": sum(read) < 1_000_000}

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    path = httpx2.URL(reply_url_of(simulator)).path
    headers = [(b"content-length", b"1000000")] if states_length else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b"", "root_path": ""}
    await hooks(scope, receive, send)
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]
    assert sum(read) <= (0 if states_length else LARGEST_BODY + 8192)


async def test_call_before_the_answer_is_recorded_waits_for_it(settings: Settings, simulator: Simulator) -> None:
    held = HoldingTransport(simulator)
    service = start(settings, held)
    hooks = build_hooks(settings, lambda: [service])
    assert hooks
    ends: list[tuple[str, float]] = []

    async def order() -> None:
        job = (await place(service, "A fox simulate:takes=14")).job
        await follow(service, job.jobid, ends)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order)
        await held.delivered.wait()
        tasks.start_soon(call, hooks, reply_url_of(simulator))
        await pass_time(12)
        held.may_answer.set()
    # Found with the look-up after 15 s; the next poll would have been later.
    assert ends == [("completed", 15)]
    await hooks.aclose()
    await service.aclose()


async def test_lost_call_costs_one_poll_delay_only(service: VideoService, simulator: Simulator, hooks: Hooks) -> None:
    first = (await place(service, "A cat simulate:takes=40")).job
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, service, first.jobid, [])
        await pass_time(40)
        await call(hooks, reply_url_of(simulator))
    begun = anyio.current_time()
    lost = (await place(service, "A fox simulate:takes=40")).job
    assert (await service.wait(lost.jobid, 600)).state == "completed"
    assert anyio.current_time() - begun - 40 <= 4 * 5


# Which orders have an address.


async def test_key_after_rotation(tmp_path: Path, simulator: Simulator) -> None:
    before, after = build_settings(tmp_path, OLD_KEY), build_settings(tmp_path, KEY, OLD_KEY)
    later = build_settings(tmp_path, KEY)
    service = start(before, httpx2.ASGITransport(simulator))
    await place(service)
    url = reply_url_of(simulator)
    statuses = []
    for settings in (before, after, later):
        hooks = build_hooks(settings, lambda: [service])
        assert hooks
        statuses.append((await call(hooks, url)).status_code)
        await hooks.aclose()
    assert statuses == [204, 204, 404]
    await service.aclose()


async def test_address_is_not_part_of_the_order(service: VideoService, simulator: Simulator) -> None:
    result = await place(service, "A fox")
    url = reply_url_of(simulator)
    job = await service.wait(result.job.jobid, 600)
    [order] = await service.journal.list_latest(9)
    listed = await service.list_jobs(9)
    for value in (result, job, order, listed):
        assert "/hooks/" not in repr(value)
    assert url.startswith(f"{PUBLIC}/hooks/{order.id}/")
    assert len(url) < 250
    # It is a repetition, although its address would be another one.
    assert (await place(service, "A fox")).outcome == "duplicate"


async def test_address_that_the_api_repeats_is_hidden(service: VideoService, simulator: Simulator) -> None:
    job = (await place(service)).job
    record = {
        "jobid": job.jobid,
        "status": "completed",
        "request": {"prompt": "A fox", "replyUrl": reply_url_of(simulator)},
    }
    simulator.faults.append(Fault("GET", "/jobs", 200, json.dumps(record).encode(), times=9))
    found = await service.wait(job.jobid, 0)
    assert found.request is not None
    assert (found.request.prompt, found.request.reply_url) == ("A fox", None)


async def test_address_that_the_api_rejects_is_hidden(simulator: Simulator) -> None:
    class Echo(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await super().handle_async_request(request)
            message = f"Parameter replyUrl ({reply_url_of(simulator)}) is not accepted"
            return httpx2.Response(400, json={"error": message})

    echoing = start(build_settings(None), Echo(simulator))
    with pytest.raises(Exception, match="is not accepted") as refused:
        await place(echoing)
    assert "/hooks/" not in str(refused.value)
    assert "/hooks/" not in repr(vars(refused.value))
    await echoing.aclose()


async def test_caller_s_own_address_takes_precedence(service: VideoService, simulator: Simulator) -> None:
    await place(service, reply_url="https://caller.example/done")
    assert reply_url_of(simulator) == "https://caller.example/done"


async def test_order_that_is_sent_again_keeps_its_address(simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"busy","code":429}', times=2))
    bodies: list[dict[str, Any]] = []

    class Recording(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.method == "POST":
                bodies.append(json.loads(await request.aread()))
            return await super().handle_async_request(request)

    recording = start(build_settings(None), Recording(simulator))
    await place(recording)
    assert len(bodies) == 3
    assert len({body["replyUrl"] for body in bodies}) == 1
    await recording.aclose()


@pytest.mark.parametrize(
    "change",
    [{"public_url": None}, {"secret_keys": ()}, {"public_url": f"https://{'x' * 60}.example/{'y' * 1000}"}],
    ids=["no URL", "no keys", "long URL"],
)
async def test_without_webhooks_orders_have_no_address(simulator: Simulator, change: dict[str, Any]) -> None:
    service = start(build_settings(None, **change), httpx2.ASGITransport(simulator))
    await place(service)
    assert "replyUrl" not in simulator.orders[-1]
    await service.aclose()


def test_api_without_webhooks_gets_no_address() -> None:
    settings = build_settings(None, api="agents")
    assert build_webhook_urls(settings, get_catalog("agents")) is None
    assert build_hooks(settings, list) is None


async def test_mac_depends_on_the_order_and_the_purpose() -> None:
    urls = build_urls(KEY)
    one, two = ((urls.build(digit * 64) or "").rsplit("/", 1)[1] for digit in "01")
    assert urls.is_valid("0" * 64, one)
    assert not urls.is_valid("1" * 64, one)
    assert one != two
    assert KEY not in one


async def test_orders_in_memory_are_found(simulator: Simulator) -> None:
    settings = build_settings(None)
    service = start(settings, httpx2.ASGITransport(simulator))
    hooks = build_hooks(settings, lambda: [service])
    assert hooks
    job = (await place(service, "A fox simulate:takes=55")).job
    ends: list[tuple[str, float]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, service, job.jobid, ends)
        await anyio.sleep_until(55)
        await call(hooks, reply_url_of(simulator))
    assert ends == [("completed", 55)]
    await service.aclose()


async def test_path_is_in_no_log(
    hooks: Hooks, service: VideoService, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("httpx2", "httpcore2"):
        # As `serve` does: this test's own client logs what it calls.
        caplog.set_level(logging.WARNING, logger=name)
    with caplog.at_level(logging.DEBUG):
        await place(service)
        url = reply_url_of(simulator)
        for path in (url, *forge(url)):
            await call(hooks, path)
            await call(hooks, path, body=b"x" * 100_000)
    mac = url.rsplit("/", 1)[1]
    assert mac not in caplog.text
    assert TOKEN not in caplog.text


# The simulator calls.


class Caller(HTTPServer):
    """Receives the webhooks of a simulator. `bodies`: their bodies."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict[str, Any]] = []
        self.called = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/done"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Caller)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(json.loads(body))
        self.send_response(204)
        self.end_headers()
        self.server.called.release()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def caller() -> Iterator[Caller]:
    with Caller() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("behaviors", "count"), [("", 1), (" simulate:webhook-repeated", 2), (" simulate:webhook-lost", 0)]
)
def test_simulator_calls_at_the_end_of_a_job(caller: Caller, behaviors: str, count: int) -> None:
    headers = {"Authorization": "Bearer user:1-x"}
    with running(new_simulator()) as url, httpx2.Client(headers=headers) as client:
        order = {"prompt": f"A fox simulate:instant{behaviors}", "replyUrl": caller.url, "replyRef": "mine"}
        job = client.post(f"{url}/videos", json=order).json()
        # Comes last, so that a call too many would have been seen.
        last = {"prompt": "The last simulate:takes=1", "replyUrl": caller.url}
        client.post(f"{url}/videos", json=last)
        for _ in range(count + 1):
            assert caller.called.acquire(timeout=30)
    bodies = [body for body in caller.bodies if body["jobid"] == job["jobid"]]
    assert [(body["status"], body["replyRef"]) for body in bodies] == [("completed", "mine")] * count
    assert all(body["response"]["video"]["url"].startswith("http://127.0.0.1") for body in bodies)


def test_simulator_calls_no_other_machine(caller: Caller) -> None:
    headers = {"Authorization": "Bearer user:1-x"}
    elsewhere = caller.url.replace("127.0.0.1", "127.0.0.1.example.com")
    with running(new_simulator()) as url, httpx2.Client(headers=headers) as client:
        for reply_url in (elsewhere, elsewhere.replace("http:", "https:"), caller.url):
            client.post(f"{url}/videos", json={"prompt": "A fox simulate:instant", "replyUrl": reply_url})
        assert caller.called.acquire(timeout=30)
    assert len(caller.bodies) == 1
