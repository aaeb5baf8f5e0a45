"""Operation of a server that is reached over HTTP: liveness, readiness, logs, and metrics.

Nothing here asks the API that makes the videos: an outage there must not take down every replica.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn
from anyio import to_thread
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider
from pydantic import SecretStr
from starlette.responses import PlainTextResponse, Response

from luma_mcp.api.polling import Waits
from luma_mcp.hosting.logs import OTHER, HttpRequest, RequestLog, current_request
from luma_mcp.service.tenants import current_tenant
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import MCPServer
    from mcp.types import CallToolResult
    from starlette.types import ASGIApp, Receive, Scope, Send

PATHS = ("/livez", "/readyz", "/metrics")
# Seconds for which the result of a database check is reused, so that frequent probes cost the database nothing.
FRESH = 2.0
# Seconds for the answer of a database. Kubernetes waits for one second, unless its manifest says more.
DATABASE_TIMEOUT = 3.0
# Seconds: answers from memory, from the API, and waits for jobs.
_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600)
# The SDK's middleware that makes a span of each message.
_TRACING = "OpenTelemetryMiddleware"
# Form of the protocol's method names.
_METHOD = re.compile(r"[A-Za-z]{1,30}(/[A-Za-z_]{1,30}){0,3}")

CheckDatabase = Callable[[], Awaitable[str | None]]
"""Describes in a clause why a database cannot be used; None if it can."""


def find_database_check(settings: Settings) -> CheckDatabase | None:
    """Find how the journal's database is checked; None if the journal is none."""
    if not isinstance(settings.journal, SecretStr):
        return None
    # Imported here, because only those who share a database have psycopg.
    from luma_mcp.journal.postgres import find_problem

    async def check(dsn: SecretStr) -> str | None:
        # Abandoned if it takes longer: the thread ends by its own timeouts.
        with anyio.move_on_after(DATABASE_TIMEOUT):
            return await to_thread.run_sync(find_problem, dsn, abandon_on_cancel=True)
        return "the database does not answer in time"

    return partial(check, settings.journal)


class Readiness:
    """Whether a server takes calls.

    Args:
        waits: the waits of its calls, which end when it is being stopped.
        check_database: checks the journal's database, if it is one.
    """

    def __init__(self, waits: Waits, check_database: CheckDatabase | None) -> None:
        self._waits = waits
        self._check = check_database
        self._problem: str | None = None
        self._checked_at = float("-inf")
        self._lock = anyio.Lock()

    async def find_database_problem(self) -> str | None:
        """Find out why the database cannot be used; None if it can, or if there is none."""
        if self._check is None:
            return None
        async with self._lock:
            if anyio.current_time() - self._checked_at >= FRESH:
                self._problem = await self._check()
                self._checked_at = anyio.current_time()
        return self._problem

    async def find_problem(self) -> str | None:
        """Find out why the server takes no calls; None if it does."""
        return "draining" if self._waits.is_ending else await self.find_database_problem()


class Metrics:
    """The metrics, in a registry of their own. No label is about a tenant or a job, or is made up by a caller."""

    def __init__(self, waits: Waits) -> None:
        # Imported here, because only those who want metrics have it.
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

        self._registry = CollectorRegistry()
        self._format = generate_latest
        options: dict[str, Any] = {"namespace": "luma_mcp", "registry": self._registry}
        calls = Counter("calls", "Calls of tools, by how they ended.", ["tool", "outcome"], **options)
        seconds = Histogram("call_seconds", "How long calls took.", ["tool"], buckets=_BUCKETS, **options)
        orders = Counter("orders", "Orders of videos, by what became of them.", ["outcome"], **options)
        responses = Counter("http_responses", "HTTP requests, by status.", ["status"], **options)
        size = Counter("http_body_bytes", "Bytes of HTTP bodies.", ["direction"], **options)
        # By their labels, of which there are few.
        self._calls, self._seconds = cache(calls.labels), cache(seconds.labels)
        self._orders, self._responses, self._bytes = map(cache, (orders.labels, responses.labels, size.labels))
        self._database = Gauge("database_problem", "1 while the journal's database cannot be used.", **options)
        waiting = Gauge("waits", "Calls that wait for a job or for a slot.", **options)
        waiting.set_function(lambda: waits.count)
        draining = Gauge("draining", "1 while the server is being stopped.", **options)
        draining.set_function(lambda: waits.is_ending)
        ProcessCollector(registry=self._registry)

    def count_answer(self, request: HttpRequest) -> None:
        """Count a request that was answered."""
        self._responses(str(request.status)).inc()
        self._bytes("received").inc(request.received)
        self._bytes("sent").inc(request.sent)

    def count_call(self, tool: str, outcome: str, seconds: float) -> None:
        """Count a call of a tool."""
        self._calls(tool, outcome).inc()
        self._seconds(tool).observe(seconds)

    def count_orders(self, outcomes: Iterator[str]) -> None:
        """Count orders."""
        for outcome in outcomes:
            self._orders(outcome).inc()

    def format(self, *, has_database_problem: bool) -> bytes:
        """Format them as Prometheus reads them."""
        self._database.set(has_database_problem)
        return self._format(self._registry)


class Operations:
    """Observes a server, and answers its operator: an ASGI application for LUMA_MCP_METRICS_ADDRESS.

    Attributes:
        waits: the waits of the server's calls. Once they are ended, the server is shutting down.
    """

    def __init__(self, settings: Settings) -> None:
        self.waits = Waits()
        self._readiness = Readiness(self.waits, find_database_check(settings))
        self._metrics = Metrics(self.waits) if settings.metrics_address else None
        self._tools: frozenset[str] | None = None

    def observe(self, server: MCPServer[Any], app: ASGIApp) -> ASGIApp:
        """Observe the messages of a server, and the requests of the application that serves it."""
        if isinstance(get_tracer_provider(), ProxyTracerProvider):
            # The SDK's spans would lead nowhere, and take memory for each waiting call.
            server.middleware[:] = [each for each in server.middleware if type(each).__name__ != _TRACING]
        server.middleware.insert(0, partial(self._observe_message, server))
        return RequestLog(app, self._metrics.count_answer if self._metrics else None)

    def note_result(self, tool: str, result: CallToolResult) -> None:
        """Note how a call has ended; the server calls it with the result of each tool."""
        content = result.structured_content or {}
        request = current_request.get()
        if request:
            request.outcome = str(content.get("error", {}).get("kind", "error")) if result.is_error else "ok"
        if tool == "generate_video" and self._metrics:
            self._metrics.count_orders(_find_orders(content))

    async def _observe_message(
        self, server: MCPServer[Any], ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        request = current_request.get()
        if request is None:
            return await call_next(ctx)
        request.rpc_method = ctx.method if _METHOD.fullmatch(ctx.method) else OTHER
        request.tenant = current_tenant.get().id
        if ctx.method != "tools/call":
            return await call_next(ctx)
        name = (ctx.params or {}).get("name")
        if self._tools is None:
            self._tools = frozenset(tool.name for tool in await server.list_tools())
        request.tool = name if name in self._tools else OTHER
        began = anyio.current_time()
        try:
            result = await call_next(ctx)
            is_error = isinstance(result, dict) and result.get("isError")
            # A result that comes from no tool is a question before an order, or an error of the SDK.
            request.outcome = request.outcome or ("protocol_error" if is_error else "question")
        except Exception:
            request.outcome = "protocol_error"
            raise
        else:
            return result
        finally:
            request.outcome = request.outcome or "cancelled"
            if self._metrics:
                self._metrics.count_call(request.tool, request.outcome, anyio.current_time() - began)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for `/livez`, `/readyz` or `/metrics`."""
        response: Response = PlainTextResponse("Not Found", status_code=404)
        if scope["path"] in PATHS and scope["method"] not in ("GET", "HEAD"):
            response = PlainTextResponse("Method Not Allowed", status_code=405, headers={"Allow": "GET, HEAD"})
        elif scope["path"] == "/livez":
            response = PlainTextResponse("ok")
        elif scope["path"] == "/readyz":
            problem = await self._readiness.find_problem()
            response = PlainTextResponse(problem or "ok", status_code=503 if problem else 200)
        elif scope["path"] == "/metrics" and self._metrics:
            problem = await self._readiness.find_database_problem()
            content = self._metrics.format(has_database_problem=problem is not None)
            response = Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")
        await response(scope, receive, send)

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Answer at an address of its own while the block runs, in the same event loop."""
        config = uvicorn.Config(
            self, ws="none", lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        server = _InnerServer(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


class _InnerServer(uvicorn.Server):
    """A server beside another one, which handles the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def _find_orders(content: dict[str, Any]) -> Iterator[str]:
    """Yield the outcome of each order of a call.

    `created`, `duplicate` and `recovered` as the result says; of a failed call `refused`, if that cost nothing, else
    `unknown`.
    """
    for order in (*content.get("jobs", ()), *content.get("failed_orders", ())) or (content,):
        charged = order.get("error", {}).get("charged")
        # An error after the order has no outcome.
        yield str(order.get("outcome") or {"yes": "created", "no": "refused"}.get(charged, "unknown"))
