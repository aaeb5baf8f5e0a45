"""Run the server over HTTP, and send hand-written requests that no client of the SDK would send."""

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

HOST = "127.0.0.1"
META = "io.modelcontextprotocol"


@contextmanager
def run_server(**environment: str) -> Iterator[tuple[str, Simulator]]:
    """Run the server over HTTP in a thread, with a simulated API whose clock is stopped. Yields the URL and the API."""
    service = Service(USEAPI, clock=lambda: 0.0)
    service.add_account(EMAIL, concurrency=50)
    with running(api := Simulator(service, token=TOKEN)) as base_url:
        required = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": base_url}
        with _run_http(Settings.from_environment(IN_MEMORY | required | environment)) as url:
            yield url, api


@contextmanager
def _run_http(settings: Settings) -> Iterator[str]:
    app = build_server(settings).streamable_http_app(stateless_http=True, host=HOST)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    listener = socket.create_server((HOST, 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="mcp")
    thread.start()
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join()


def post(
    url: str,
    method: str,
    mcp_name: str | None,
    *extensions: str,
    capabilities: dict[str, Any] | None = None,
    **params: Any,
) -> dict[str, Any]:
    """Post one request and return the response.

    Args:
        url: URL of the server.
        method: Method of the request.
        mcp_name: Value of the `Mcp-Name` header, if any.
        extensions: Extensions that the client declares.
        capabilities: Other capabilities that the client declares.
        params: Parameters of the request.
    """
    declared = {"extensions": {extension: SETTINGS[extension] for extension in extensions}} | (capabilities or {})
    meta: dict[str, Any] = {f"{META}/protocolVersion": "2026-07-28", f"{META}/clientCapabilities": declared}
    meta[f"{META}/clientInfo"] = {"name": "by hand", "version": "1"}
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method} | (
        {} if mcp_name is None else {"Mcp-Name": mcp_name}
    )
    headers["Accept"] = "application/json, text/event-stream"
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    response = httpx2.post(url, json=message, headers=headers, timeout=30)
    if response.headers["content-type"].startswith("text/event-stream"):
        [data] = [line for line in response.text.splitlines() if line.startswith("data: ") and '"id"' in line]
        response = httpx2.Response(response.status_code, text=data.removeprefix("data: "))
    return dict(response.json())
