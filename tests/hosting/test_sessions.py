"""Sessions of protocol 2025-11-25 over HTTP: a session id carries what the client has declared, and nothing is kept."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import Implementation
from tests.conftest import ERAS, TOKEN
from tests.hosting.serving import serving
from tests.server.calls import order
from tests.server.declaring import APPS, SETTINGS, call_raw, declaring, request_raw
from tests.server.panel import Panel, draw_noise

from luma_mcp.hosting.authentication import Access, Mode
from luma_mcp.hosting.http import build_app
from luma_mcp.server.app import build_server
from luma_mcp.server.clients import SESSION_HEADER, parse_client
from luma_mcp.server.clients import Client as Declared
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import new_simulator, running

if TYPE_CHECKING:
    Connect = Callable[..., AbstractAsyncContextManager[Client]]

ACCEPT = {"Accept": "application/json, text/event-stream"}
OLDER = ERAS[1]


@pytest.fixture
def anyio_backend() -> str:
    """HTTP is served on asyncio."""
    return "asyncio"


@contextmanager
def hosted(url: str, journal: str, access: Access | None = None) -> Iterator[str]:
    """Run one replica. Yields its address."""
    names = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": url, "LUMA_MCP_JOURNAL": journal, "LUMA_MCP_THUMBNAILS": "0"}
    settings = Settings.from_environment(names)
    with serving(build_app(build_server(settings), settings, host="127.0.0.1", access=access)) as origin:
        yield f"{origin}/mcp"


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[str]]:
    """The addresses of two replicas that share a journal."""
    journal = str(tmp_path / "journal.db")
    with running(new_simulator(speed=1000)) as url, hosted(url, journal) as first, hosted(url, journal) as second:
        yield [first, second]


class RoundRobin(httpx2.AsyncHTTPTransport):
    """A load balancer: each request goes to the next replica."""

    def __init__(self, replicas: list[str]) -> None:
        super().__init__()
        self.replicas = replicas
        self.answers: list[httpx2.Response] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = httpx2.URL(self.replicas[len(self.answers) % len(self.replicas)])
        request.url = url
        request.headers["Host"] = f"{url.host}:{url.port}"
        answer = await super().handle_async_request(request)
        self.answers.append(answer)
        return answer


@asynccontextmanager
async def connected(
    balancer: RoundRobin, *extensions: str, name: str = "a client", mode: str = OLDER
) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(transport=balancer, timeout=60) as http:
        client = Client(streamable_http_client(balancer.replicas[0], http_client=http), mode=mode)
        async with declaring(client, *extensions, named=Implementation(name=name, version="1")) as client:
            yield client


@pytest.mark.parametrize("mode", ERAS)
async def test_every_replica_knows_that_a_client_shows_apps(replicas: list[str], mode: str) -> None:
    async with connected(RoundRobin(replicas), APPS, mode=mode) as client:
        listings = [await request_raw(client, "tools/list") for _ in range(2)]
        resources = [await request_raw(client, "resources/list") for _ in range(2)]
    for listing in listings:
        tools = {tool["name"]: tool for tool in listing["tools"]}
        assert {"add_picture", "upload_picture"} <= tools.keys()
        assert tools["generate_video"]["_meta"]["ui"]["resourceUri"] == "ui://luma-ray-mcp/player.html"
    for listing in resources:
        assert "ui://luma-ray-mcp/picture.html" in [each["uri"] for each in listing["resources"]]


async def test_a_picture_is_uploaded_with_the_older_protocol(replicas: list[str]) -> None:
    data = draw_noise(400)
    async with connected(RoundRobin(replicas), APPS) as client:
        panel = Panel.open(client)
        await panel.send(data)
        done = await panel.finish(data)
        _, made = await order(client, image_start=done["asset"], wait_seconds=60)
    assert (made["state"], made["assets"]) == ("completed", {"image_start": done["asset"]})


async def test_a_client_that_declares_no_apps_sees_what_one_without_a_session_sees(replicas: list[str]) -> None:
    async with connected(RoundRobin(replicas)) as client:
        listing = await request_raw(client, "tools/list")
        answer = await call_raw(client, "upload_picture", upload="a" * 32)
        unknown = await call_raw(client, "no_such_tool", upload="a" * 32)
    assert json.loads(json.dumps(unknown).replace("no_such_tool", "upload_picture")) == answer
    assert listing["tools"] == await list_tools(replicas[0], None)
    assert not any("_meta" in tool or "picture" in tool["name"] for tool in listing["tools"])


async def list_tools(url: str, session_id: str | None) -> list[dict[str, Any]]:
    """List the tools as a client with this session id, or with none."""
    headers = ACCEPT if session_id is None else {**ACCEPT, SESSION_HEADER: session_id}
    async with httpx2.AsyncClient(headers=headers) as http:
        answer = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert answer.status_code == 200, answer.text
    tools: list[dict[str, Any]] = parse_event(answer.text)["result"]["tools"]
    return tools


def parse_event(text: str) -> dict[str, Any]:
    """Read the only message of an answer."""
    [data] = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    parsed: dict[str, Any] = json.loads(data)
    return parsed


def encode(facts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(facts).encode()).decode()


FOREIGN = [
    "",
    ".",
    "5f0c7f2b8a3e4d6c9b1a2f3e4d5c6b7a",
    "a.b.c.d",
    "x.%%%",
    "x.A",
    f"x.{encode([])}",
    f"x.{encode(None)}",
    f"x.{encode({'supports_apps': True})}",
    f"x.{encode({'name': 5, 'supports_apps': True})}",
    f"x.{encode({'name': 'x', 'supports_apps': 'yes'})}",
    f"x.{base64.urlsafe_b64encode(b'[' * 1500).decode()}",
    f"x.{base64.urlsafe_b64encode(bytes([255, 254])).decode()}",
    f"x.{encode({'name': 'x' * 5000, 'supports_apps': True})}",
]


@pytest.mark.parametrize("session_id", FOREIGN, ids=range(len(FOREIGN)))
async def test_a_session_id_of_another_server_declares_nothing(replicas: list[str], session_id: str) -> None:
    assert await list_tools(replicas[0], session_id) == await list_tools(replicas[0], None)


def initialize(name: str, extensions: dict[str, Any]) -> bytes:
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"extensions": extensions},
        "clientInfo": {"name": name, "version": "1"},
    }
    return json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).encode()


NAMES = ["Visual Studio Code", "", "é" * 500, "\N{CLAPPER BOARD}" * 64, 'a"b\n', "\ud800"]
EXTENSIONS: list[dict[str, Any]] = [{}, {APPS: SETTINGS[APPS]}, {APPS: {}}, {APPS: {"mimeTypes": ["text/html"]}}]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("extensions", EXTENSIONS, ids=range(len(EXTENSIONS)))
def test_a_session_id_carries_the_name_and_whether_apps_are_shown(name: str, extensions: dict[str, Any]) -> None:
    """Its name decides how long a call waits for it."""
    found = parse_client(initialize(name, extensions))
    assert found
    session_id = found.build_session_id()
    assert Declared.from_session_id(session_id) == found == Declared(name[:64], extensions == {APPS: SETTINGS[APPS]})
    # What the protocol permits in it, and what proxies pass on.
    assert all("!" <= character <= "~" for character in session_id)
    assert len(session_id) < 2048
    assert session_id != found.build_session_id()


BEGUN = json.loads(initialize("x", {}))
NOT_BEGUN = [
    b"",
    b"{",
    b"\xff",
    b"[]",
    b"[" * 100_000,
    json.dumps([BEGUN]).encode(),
    json.dumps({**BEGUN, "method": "tools/list"}).encode(),
    json.dumps({**BEGUN, "params": None}).encode(),
    json.dumps({**BEGUN, "params": {**BEGUN["params"], "clientInfo": {}}}).encode(),
]


@pytest.mark.parametrize("body", NOT_BEGUN, ids=range(len(NOT_BEGUN)))
def test_only_initialize_begins_a_session(body: bytes) -> None:
    assert parse_client(body) is None


async def test_only_the_first_answer_has_a_session_id(replicas: list[str]) -> None:
    balancer = RoundRobin(replicas)
    async with connected(balancer, APPS) as client:
        await client.list_tools()
    [first, *others] = balancer.answers
    assert SESSION_HEADER in first.headers
    assert not any(SESSION_HEADER in answer.headers for answer in others)
    assert {answer.status_code for answer in others} <= {200, 202, 405}


JSON = {**ACCEPT, "Content-Type": "application/json"}
REFUSED: list[tuple[dict[str, str], dict[str, Any], int]] = [
    (JSON | {"Accept": "text/html"}, BEGUN, 406),
    (JSON | {"Content-Type": "text/plain"}, BEGUN, 400),
    (JSON | {"Origin": "https://example.com"}, BEGUN, 403),
    (JSON, BEGUN | {"jsonrpc": "1.0"}, 400),
    # A notification, which has no answer.
    (JSON, {name: value for name, value in BEGUN.items() if name != "id"}, 202),
]


@pytest.mark.parametrize(("headers", "message", "status"), REFUSED, ids=range(len(REFUSED)))
async def test_a_refused_initialize_begins_no_session(
    replicas: list[str], headers: dict[str, str], message: dict[str, Any], status: int
) -> None:
    async with httpx2.AsyncClient() as http:
        answer = await http.post(replicas[0], content=json.dumps(message), headers=headers)
    assert (answer.status_code, SESSION_HEADER in answer.headers) == (status, False)


async def test_a_session_begins_only_after_authentication(tmp_path: Path) -> None:
    token = "a-token-of-thirty-two-characters"
    with hosted("http://127.0.0.1:9", str(tmp_path / "journal.db"), Access(Mode.OWNER, token)) as url:
        async with httpx2.AsyncClient(headers={**ACCEPT, "Content-Type": "application/json"}) as http:
            refused = await http.post(url, content=initialize("x", {}))
            served = await http.post(url, content=initialize("x", {}), headers={"Authorization": f"Bearer {token}"})
    assert (refused.status_code, SESSION_HEADER in refused.headers) == (401, False)
    assert (served.status_code, SESSION_HEADER in served.headers) == (200, True)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PUT"])
async def test_only_post_is_allowed(replicas: list[str], method: str) -> None:
    """A client that listens would hold a connection for as long as it runs, and there is nothing to delete."""
    session = {SESSION_HEADER: Declared("x").build_session_id()}
    async with httpx2.AsyncClient(headers={"Accept": "text/event-stream"}) as http:
        answer = await http.request(method, replicas[0], headers=session)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
