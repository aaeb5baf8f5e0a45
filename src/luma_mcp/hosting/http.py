"""Serve the MCP server over HTTP: who may call it, and how much one connection and all of them may take up."""

from __future__ import annotations

import asyncio
import hmac
import socket
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from luma_mcp.server.messages import UNAUTHORIZED

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer
    from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/mcp"
_PUBLIC_PREFIX = "/.well-known/"
"""Where clients look for OAuth after a 401. They must find nothing, rather than another 401."""
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family)
    # asyncio disables Nagle's algorithm only on sockets whose protocol is stated. With it, every answer on a kept-alive
    # connection would wait 40 ms for the client's acknowledgement.
    return socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, bound.detach())


def run(server: MCPServer[Any], listener: socket.socket, *, host: str, token: str | None) -> None:
    """Serve Streamable HTTP without sessions until a signal; the SDK checks Host and Origin against web pages.

    `token`: what every request must have as its bearer token; None: nothing.
    """
    app: ASGIApp = server.streamable_http_app(streamable_http_path=PATH, stateless_http=True, host=host)
    if token:
        app = BearerAuthentication(app, token)
    config = uvicorn.Config(
        app, http=BoundedProtocol, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listener])


class BearerAuthentication:
    """ASGI middleware that passes on only what has the bearer token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request without the token with 401, and end its connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        # A second header could be what a proxy or another check looks at.
        scheme, _, given = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            await self._app(scope, receive, send)
            return
        # RFC 6750: the error is named only where a token was sent.
        challenge = 'Bearer error="invalid_token"' if values else "Bearer"
        headers = {"WWW-Authenticate": challenge, "Connection": "close"}
        refusal = PlainTextResponse(UNAUTHORIZED, status_code=401, headers=headers)
        if scope["path"].startswith(_PUBLIC_PREFIX):
            refusal = PlainTextResponse("Not Found", status_code=404, headers={"Connection": "close"})
        # One connection could send requests without end. A client that still sends the body would not see the answer.
        while (await receive()).get("more_body"):
            pass
        await refusal(scope, receive, send)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 whose requests must be complete and answers read within the timeouts, on so many connections at most.

    One more takes the place of the oldest that waits for its client, so that half-sent requests and unread answers keep
    nobody out.
    """

    # Seconds for the head of a request, from the connection or the previous answer on.
    head_timeout = 10.0
    # Seconds for the body after it. On this machine, megabytes take milliseconds.
    body_timeout = 30.0
    # Seconds for reading an answer that is too large for the buffers, or the rest of the last one.
    answer_timeout = 30.0
    # Well below the 1024 files that most systems let a process open.
    max_connections = 200

    _timer: asyncio.TimerHandle | None = None
    # What the client is waited for to do, in h11's terms; None while a call is being answered.
    _awaited: type[h11.IDLE | h11.SEND_BODY | h11.SEND_RESPONSE] | None = None
    opened_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room if there is none."""
        super().connection_made(transport)
        self.opened_at = self.loop.time()
        self._set_timer()
        if len(self.connections) <= self.max_connections:
            return
        waiting = [each for each in self.connections if isinstance(each, BoundedProtocol) and each.is_waiting]
        oldest = min(waiting, key=lambda each: each.opened_at)
        if oldest is not self:
            oldest.abort()
            return
        transport.write(_BUSY)
        self._awaited = None
        transport.close()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._set_timer()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._set_timer()

    def resume_writing(self) -> None:
        """Go on after the client has read."""
        super().resume_writing()
        self._set_timer()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._awaited = None
        super().on_response_complete()
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    @property
    def is_waiting(self) -> bool:
        """Whether its client is waited for, and no call is being answered."""
        return self._awaited is not None

    def abort(self) -> None:
        """End the connection; what is being read of a request, or was not read of an answer, is discarded."""
        self._awaited = None
        self.transport.abort()

    def _set_timer(self) -> None:
        state = self.conn.their_state
        awaited: Any = state if state in (h11.IDLE, h11.SEND_BODY) else None
        timeout = self.head_timeout if awaited is h11.IDLE else self.body_timeout
        if self.flow.write_paused or self.transport.is_closing():
            awaited, timeout = h11.SEND_RESPONSE, self.answer_timeout
        # Not for each byte: a request that trickles in would never be late.
        if awaited is self._awaited and awaited is not None:
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._awaited = awaited
        if awaited is not None:
            self._timer = self.loop.call_later(timeout, self.abort)
