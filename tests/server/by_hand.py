"""A server over HTTP, and requests written by hand, which no client of the SDK would send."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import uvicorn
from tests.conftest import EMAIL, IN_MEMORY, TOKEN
from tests.server.declaring import SETTINGS

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Simulator, running
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = "127.0.0.1"
META = "io.modelcontextprotocol"


@contextmanager
def serving(**environment: str) -> Iterator[tuple[str, Simulator]]:
    """Run the server over HTTP in a thread, with an API whose time stands still; yields its URL and the API."""
    service = Service(USEAPI, clock=lambda: 0.0)
    service.add_account(EMAIL, concurrency=50)
    with running(api := Simulator(service, token=TOKEN)) as base_url:
        own = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": base_url}
        with _served(Settings.from_environment(IN_MEMORY | own | environment)) as url:
            yield url, api


@contextmanager
def _served(settings: Settings) -> Iterator[str]:
    app = build_server(settings).streamable_http_app(stateless_http=True, host=HERE)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    listener = socket.create_server((HERE, 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="mcp")
    thread.start()
    try:
        yield f"http://{HERE}:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join()


def posted(
    url: str, method: str, named: str | None, *extensions: str, more: dict[str, Any] | None = None, **params: Any
) -> dict[str, Any]:
    """Post one request, and return its response.

    Args:
        url: of the server.
        method: of the request.
        named: the header `Mcp-Name`, if there is one.
        extensions: those that its client declares.
        more: other capabilities that it declares.
        params: of the request.
    """
    declared = {"extensions": {extension: SETTINGS[extension] for extension in extensions}} | (more or {})
    meta: dict[str, Any] = {f"{META}/protocolVersion": "2026-07-28", f"{META}/clientCapabilities": declared}
    meta[f"{META}/clientInfo"] = {"name": "by hand", "version": "1"}
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method} | (
        {} if named is None else {"Mcp-Name": named}
    )
    headers["Accept"] = "application/json, text/event-stream"
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    answer = httpx2.post(url, json=message, headers=headers, timeout=30)
    if answer.headers["content-type"].startswith("text/event-stream"):
        [data] = [line for line in answer.text.splitlines() if line.startswith("data: ") and '"id"' in line]
        answer = httpx2.Response(answer.status_code, text=data.removeprefix("data: "))
    return dict(answer.json())
