"""Serve the MCP server over HTTP, with authentication and limits for each connection and for all together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import h11
import uvicorn
from mcp.server.transport_security import DEFAULT_MAX_REQUEST_BODY_SIZE, TransportSecuritySettings
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response

from luma_mcp.hosting.authentication import PATH, WILDCARDS, Access, CallerCredential, Mode, OwnerToken
from luma_mcp.hosting.drain import DrainingServer, DrainTimes, TimedProtocol
from luma_mcp.hosting.operations import Operations
from luma_mcp.server.clients import SESSION_HEADER, parse_client
from luma_mcp.service.webhooks import PREFIX
from luma_mcp.settings import DEFAULT_PORTS, LOOPBACK, Settings

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from luma_mcp.hosting.hooks import Hooks

HOOKS = f"{PREFIX}/"
"""Below this path, the API reports finished jobs."""
# Connections of a server for many, if the system permits so many; and other files that it opens.
_MOST_CONNECTIONS, _OTHER_FILES = 10_000, 400
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family)
    # asyncio disables Nagle's algorithm only on sockets whose protocol is stated. With it, every answer on a kept-alive
    # connection would wait 40 ms for the client's acknowledgement.
    return socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, bound.detach())


def build_app(
    server: MCPServer[Any],
    settings: Settings,
    *,
    host: str,
    access: Access | None = None,
    hooks: ASGIApp | None = None,
    around: Sequence[Callable[[ASGIApp], ASGIApp]] = (),
) -> ASGIApp:
    """Build the ASGI application: Streamable HTTP behind authentication, and routes that need none.

    No replica stores sessions.

    Args:
        server: the MCP server.
        settings: what limits requests, the names of this server, and what tokens must be for.
        host: the address that it listens on.
        access: authenticates callers; None: no authentication.
        hooks: handles everything below `HOOKS`; it authenticates its requests itself.
        around: middlewares for all requests, the outermost first. They see secrets of callers in headers.
    """
    largest_body = settings.max_body_bytes or DEFAULT_MAX_REQUEST_BODY_SIZE
    served = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        host=host,
        max_request_body_size=largest_body,
        transport_security=build_transport_security(host, settings.public_url),
    )
    # A redirect would name the address that the proxy uses, not that of the clients.
    served.router.redirect_slashes = settings.public_url is None
    app: ASGIApp = _Sessions(served)
    access = access or Access()
    if access.mode is Mode.OWNER:
        app = OwnerToken(app, access.token or "")
    elif access.mode is Mode.CALLER:
        app = CallerCredential(app, settings.provider)
    elif access.mode is Mode.OAUTH:
        from luma_mcp.hosting.oauth import AccessTokens

        app = AccessTokens(app, settings, path=PATH, largest_body=largest_body, tenants=access.tenants)
    if hooks:
        app = _Branch(HOOKS, hooks, app)
    app = _UnambiguousLength(app)
    for wrap in reversed(around):
        app = wrap(app)
    return app


class _Sessions:
    """ASGI middleware for clients of protocol 2025-11-25 and older, whose session id carries what they declare.

    The server sends nothing outside of calls and stores no sessions, so there is nothing to GET and nothing to DELETE.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        headers = Headers(scope=scope) if scope["type"] == "http" and scope["path"] == PATH else None
        if headers is not None and headers.get(MCP_PROTOCOL_VERSION_HEADER) in (None, *HANDSHAKE_PROTOCOL_VERSIONS):
            if scope["method"] != "POST":
                app = Response(status_code=405, headers={"Allow": "POST"})
            elif SESSION_HEADER not in headers:
                app = self._begin
        await app(scope, receive, send)

    async def _begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request without a session id, and give it one if it begins a session."""
        body = bytearray()

        async def receive_and_keep() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def send_with_session(message: Message) -> None:
            if message["type"] == "http.response.start":
                client = parse_client(body) if message["status"] == 200 else None
                # Otherwise it would be kept for as long as the call waits.
                body.clear()
                if client:
                    MutableHeaders(scope=message)[SESSION_HEADER] = client.build_session_id()
            await send(message)

        await self._app(scope, receive_and_keep, send_with_session)


class _Branch:
    """ASGI application that gives the requests below a path to one application, and all others to another one."""

    def __init__(self, prefix: str, below: ASGIApp, other: ASGIApp) -> None:
        self._prefix = prefix
        self._below = below
        self._other = other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_below = scope["type"] == "http" and scope["path"].startswith(self._prefix)
        await (self._below if is_below else self._other)(scope, receive, send)


class _UnambiguousLength:
    """ASGI middleware that refuses requests with two lengths: a proxy may see another end of them (smuggling).

    RFC 9112, section 6.3. h11 itself refuses two different lengths of the same kind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        if {b"content-length", b"transfer-encoding"} <= names:
            refusal = PlainTextResponse("Two lengths", status_code=400, headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def build_transport_security(host: str, public_url: str | None) -> TransportSecuritySettings:
    """Build the SDK's check of Host and Origin: names of this machine, the bound address, and the public URL.

    A web page that makes its own name lead here (DNS rebinding) sends that name.
    """
    bound = f"[{host}]" if ":" in host else host
    names = ["127.0.0.1", "localhost", "[::1]"]
    if host not in (*LOOPBACK, *WILDCARDS):
        names.append(bound)
    # A client leaves out the port of its protocol.
    hosts = [*(f"{name}:*" for name in names), *names[3:]]
    origins = [f"http://{name}:*" for name in names]
    if public_url:
        url = urlsplit(public_url)
        address = url.netloc.lower()
        hosts += [address, *([] if url.port else [f"{address}:{DEFAULT_PORTS[url.scheme]}"])]
        origins.append(f"{url.scheme}://{address}")
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)


def run(
    app: ASGIApp,
    listener: socket.socket,
    operations: Operations,
    times: DrainTimes,
    *,
    metrics_listener: socket.socket | None = None,
    hooks: Hooks | None = None,
    protocol: type[BoundedProtocol] | None = None,
) -> None:
    """Serve an application until a signal, and then drain it.

    Args:
        app: the application; `operations` observes it.
        listener: where it is served.
        operations: also answers at `metrics_listener`, if there is one.
        times: how the server is stopped.
        metrics_listener: the separate address for those who operate it.
        hooks: what the application gives the calls of the API to; it is closed in the end.
        protocol: how many connections there may be; None: as many as one person needs.
    """
    config = uvicorn.Config(
        app,
        http=protocol or BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        # As long as the head of the next request may take. Proxies that keep connections must end them earlier.
        timeout_keep_alive=round(BoundedProtocol.head_timeout),
        # Nothing here depends on what a proxy says about its client.
        proxy_headers=False,
    )
    alongside = _serving_alongside(operations, metrics_listener, hooks)
    DrainingServer(config, times, operations.waits, alongside).run(sockets=[listener])


@asynccontextmanager
async def _serving_alongside(
    operations: Operations, metrics_listener: socket.socket | None, hooks: Hooks | None
) -> AsyncIterator[None]:
    """Keep the resources open that outlive the server itself."""
    async with AsyncExitStack() as stack:
        if metrics_listener:
            await stack.enter_async_context(operations.serving(metrics_listener))
        if hooks:
            stack.push_async_callback(hooks.aclose)
        yield


class BoundedProtocol(TimedProtocol):
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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room if there is none."""
        super().connection_made(transport)
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


def build_shared_protocol() -> type[BoundedProtocol]:
    """Build the protocol of a server for many, each of whose waiting calls is a connection.

    The system's limit of open files is raised for it, as far as this process may do that.
    """
    most = _MOST_CONNECTIONS
    # Windows has no such limit.
    if find_spec("resource"):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = most + _OTHER_FILES
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < allowed:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
                soft = allowed
        if soft != resource.RLIM_INFINITY:
            most = max(BoundedProtocol.max_connections, min(most, soft - _OTHER_FILES))
    return type("SharedProtocol", (BoundedProtocol,), {"max_connections": most})
