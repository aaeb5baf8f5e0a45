"""Clients of a deployment: raw requests of both protocol versions, and the official Python client."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

if TYPE_CHECKING:
    from scripts.cluster import Cluster

TIMEOUT = 90.0
"""Seconds after which a call counts as hanging."""
META = "io.modelcontextprotocol"
Protocol = Literal["2025-11-25", "2026-07-28", "official client"]
JOBIDS = {
    "useapi": re.compile(r"j\d+v-u\d+-email:[^:\s\"]+:[-0-9a-f]+-bot:luma"),
    "agents": re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
}
"""What a job's id looks like, by API. Files of the second one have ids of the same kind."""


@dataclass(eq=False, slots=True)
class Call:
    """A call of a tool.

    Attributes:
        user: the name of the caller.
        place: `nginx`, or the number of the replica.
        sent, ended: when, by the monotonic clock.
        content: the structured content of its response; empty without a response.
        text: its whole response.
        problem: why there is no response; empty if there is one.
    """

    user: str
    tool: str
    arguments: dict[str, Any]
    place: str
    protocol: Protocol
    sent: float
    ended: float = 0.0
    content: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    problem: str = ""

    @property
    def error(self) -> dict[str, Any]:
        """The error in its response; empty if there is none."""
        return dict(self.content.get("error", {}))

    @property
    def jobid(self) -> str | None:
        """The job in its response."""
        return self.content.get("jobid") or self.error.get("jobid")

    @property
    def is_final(self) -> bool:
        """Whether its response reports the end of a job."""
        return self.content.get("state") in ("completed", "failed")

    def __str__(self) -> str:
        response = self.problem or self.text[:700]
        return f"{self.user}, {self.tool} {self.arguments} at {self.place} ({self.protocol}): {response}"


class Callers:
    """Calls tools of a deployment as its users. Used in one event loop."""

    def __init__(self, cluster: Cluster, users: tuple[str, ...]) -> None:
        self._urls = {"nginx": cluster.url, **{str(n): each.url for n, each in enumerate(cluster.replicas)}}
        self._tokens = {user: cluster.mint(user) for user in users}
        # A new connection for each call, because a reused one may be closed at that moment.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        self._http = httpx2.AsyncClient(timeout=TIMEOUT, limits=limits)

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._http.aclose()

    async def call(self, user: str, tool: str, arguments: dict[str, Any], place: str, protocol: Protocol) -> Call:
        """Call a tool. Returns the call even if there is no response."""
        call = Call(user, tool, arguments, place, protocol, time.monotonic())
        try:
            if protocol == "official client":
                await self._call_as_client(call)
            else:
                await self._call_by_hand(call)
        except httpx2.TimeoutException:
            call.problem = f"no response within {TIMEOUT:.0f} s"
        except Exception as error:  # noqa: BLE001 - the official client raises many kinds of errors
            call.problem = _describe(error)
        call.ended = time.monotonic()
        return call

    async def _call_by_hand(self, call: Call) -> None:
        headers = {
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {self._tokens[call.user]}",
            "MCP-Protocol-Version": call.protocol,
        }
        params: dict[str, Any] = {"name": call.tool, "arguments": call.arguments}
        if call.protocol == "2026-07-28":
            headers |= {"Mcp-Method": "tools/call", "Mcp-Name": call.tool}
            client = {"name": "campaign", "version": "1"}
            about = {"protocolVersion": call.protocol, "clientCapabilities": {}, "clientInfo": client}
            params["_meta"] = {f"{META}/{name}": value for name, value in about.items()}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        response = await self._http.post(self._urls[call.place], json=body, headers=headers)
        if response.status_code != 200:
            call.problem = f"HTTP {response.status_code}: {response.text[:200]}"
            return
        message = _read_message(response)
        if message is None:
            call.problem = "the response ends before the result"
        elif "result" not in message:
            call.problem = f"an error of the protocol: {message}"
        else:
            call.text = json.dumps(message["result"], ensure_ascii=False)
            call.content = message["result"].get("structuredContent") or {}

    async def _call_as_client(self, call: Call) -> None:
        headers = {"Authorization": f"Bearer {self._tokens[call.user]}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=TIMEOUT) as http,
            Client(streamable_http_client(self._urls[call.place], http_client=http)) as client,
        ):
            result = await client.call_tool(call.tool, call.arguments)
            call.content = dict(result.structured_content or {})
            call.text = result.model_dump_json(by_alias=True, exclude_none=True)


def _read_message(response: httpx2.Response) -> dict[str, Any] | None:
    """Read the JSON-RPC response from the body, which may be a stream of events."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return dict(response.json())
    for line in response.text.splitlines():
        if line.startswith("data: ") and '"id"' in line:
            message = json.loads(line.removeprefix("data: "))
            if "id" in message:
                return dict(message)
    return None


def _describe(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
