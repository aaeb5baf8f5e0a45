"""Networks in which only a proxy reaches the files of a video, and invalid proxy variables."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from starlette.responses import Response
from tests.conftest import IN_MEMORY, TOKEN
from tests.results import read_result

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Fault, Simulator, running
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

CDN = "cdn.only-the-proxy.example"
"""A host that only the proxy can resolve."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class ApiAndProxy(Simulator):
    """An API whose links lead to `CDN`, and the proxy that reaches this host, on one local port."""

    def __init__(self) -> None:
        service = Service(USEAPI, clock=time.monotonic, speed=1000)
        service.add_account("studio@example.com")
        super().__init__(service, token=TOKEN)
        self.forwarded: list[str] = []
        self.requires_login = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = f"http://{CDN}"
        if scope["path"].startswith(origin):
            if self.requires_login:
                await Response(status_code=407, headers={"proxy-authenticate": "Basic"})(scope, receive, send)
                return
            self.forwarded.append(scope["path"])
            scope["path"] = scope["path"].removeprefix(origin)
            scope["raw_path"] = scope["raw_path"].removeprefix(origin.encode())
        # The API builds its links from the Host header.
        scope["headers"] = [row for row in scope["headers"] if row[0] != b"host"] + [(b"host", CDN.encode())]
        await super().__call__(scope, receive, send)


@contextmanager
def api_and_proxy() -> Iterator[tuple[ApiAndProxy, str, str]]:
    """Run the API and the proxy. Yields the API, its base URL, and the address of the proxy."""
    simulator = ApiAndProxy()
    with running(simulator) as base_url:
        yield simulator, base_url, base_url.split("/")[2]


async def generate(base_url: str, folder: Path, **settings: str) -> tuple[str, dict[str, Any]]:
    """Order a video, wait for it and save it; return the text and the structured content."""
    environment = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": base_url, "LUMA_MCP_OUTPUT_DIR": str(folder)}
    environment = IN_MEMORY | {"LUMA_MCP_THUMBNAILS": "1"} | environment | settings
    with anyio.fail_after(60):
        async with Client(build_server(Settings.from_environment(environment))) as client:
            result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 30, "save": True})
    assert not result.is_error
    pictures = sum(block.type == "image" for block in result.content)
    return read_result(result, pictures=pictures)


@pytest.mark.parametrize(
    ("variable", "form"),
    [
        ("HTTP_PROXY", "http://{}"),
        ("all_proxy", ' "{}" '),
    ],
    ids=repr,
)
async def test_a_host_is_reached_through_the_proxy(
    variable: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with api_and_proxy() as (api, base_url, address):
        monkeypatch.setenv(variable, form.format(address))
        text, content = await generate(base_url, tmp_path)
    assert "save_problem" not in content
    [file] = content["saved_files"]
    assert file in text
    assert {CDN} == {url.split("/")[2] for url in api.forwarded}


async def test_placeholders_and_other_schemes_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_and_proxy() as (_, base_url, address):
        monkeypatch.setenv("HTTP_PROXY", "${HTTP_PROXY}")
        monkeypatch.setenv("HTTPS_PROXY", "http://[nonsense")
        monkeypatch.setenv("ALL_PROXY", f"http://{address}")
        _, content = await generate(base_url, tmp_path)
    assert len(content["saved_files"]) == 1


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:99999", "http://user:swordfish@", "\udcff"], ids=ascii)
async def test_an_invalid_proxy_variable_hides_no_video(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with api_and_proxy() as (api, base_url, _):
        text, content = await generate(base_url, tmp_path)
    assert content["video"]["url"].startswith(f"http://{CDN}/")
    assert content["video"]["url"] in text
    assert "HTTP_PROXY" in content["save_problem"]
    assert content["save_problem"] in text
    assert "swordfish" not in text
    assert len(api.orders) == 1


async def test_a_proxy_that_requires_a_login_hides_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_and_proxy() as (api, base_url, address):
        monkeypatch.setenv("HTTP_PROXY", address)
        api.requires_login = True
        text, content = await generate(base_url, tmp_path)
    assert "proxy requires a login" in content["save_problem"]
    # The state of the link is unknown, so it is not reported as expired.
    assert "expired" not in content["save_problem"]
    assert content["video"]["url"] in text


async def test_an_invalid_folder_name_hides_no_video(tmp_path: Path) -> None:
    """The system cannot encode the name of the folder."""
    with api_and_proxy() as (_, base_url, _):
        text, content = await generate(base_url, tmp_path / "\ud800")
    assert content["video"]["url"] in text
    assert content["save_problem"] in text


@pytest.mark.parametrize("proxy", ["http://[::1", "proxy.corp:notaport", "socks4://x:1", "http://127.0.0.1:99999"])
async def test_an_order_with_an_invalid_proxy_names_the_variable(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    settings = Settings.from_environment(IN_MEMORY | {"USEAPI_TOKEN": TOKEN})
    async with Client(build_server(settings)) as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox"})
    text, content = read_result(result)
    error = content["error"]
    assert (error["kind"], error["charged"]) == ("network", "no")
    assert "ALL_PROXY" in error["message"]
    assert "ALL_PROXY" in text


@pytest.mark.parametrize(("header", "seconds"), [("299.997", "300 s"), ("0.4", "1 s"), ("240, 300", "300 s")])
async def test_retry_after_is_stated_in_text_and_content(
    header: str, seconds: str, connect: Callable[..., Client], simulator: Simulator
) -> None:
    body = b'{"error": "busy", "code": 429}'
    simulator.faults.append(Fault("POST", "/videos", 429, body, {"retry-after": header}, times=20))
    async with connect() as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0})
    text, content = read_result(result)
    assert f"wait {seconds}" in text
    assert f"wait {seconds}" in content["error"]["message"] + str(content.get("next_step", ""))
