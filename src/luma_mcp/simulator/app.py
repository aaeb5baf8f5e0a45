"""The simulated Luma API as an ASGI app and as an HTTP server on loopback.

Every endpoint, every error body, and media that plays. Webhooks are called on this machine, while a server runs.
Source: useapi.net, Luma API v1, pages of April 2026.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from luma_mcp.catalog import get_catalog
from luma_mcp.catalog.models import Catalog
from luma_mcp.simulator.state import (
    MEDIA,
    NO_SUBSCRIPTION,
    SESSION_ERROR,
    Answer,
    Service,
    Upload,
    error,
)
from luma_mcp.simulator.webhooks import WebhookCaller

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from luma_mcp.simulator.rendering import Renderer

HOST = "127.0.0.1"
PREFIX = "/v1/luma"
TOKEN = "user:0-simulated"  # noqa: S105 - not a secret: `new_simulator` accepts any token
EMAIL = "studio@example.com"
MAX_ASSET_BYTES = 20_000_000
ACCEPTED = (200, 201)
RENDERED_FILES = {"video.mp4": "video/mp4", "thumbnail.jpg": "image/jpeg", "last_frame.jpg": "image/jpeg"}
"""Files that are made for each job if the service renders, and their types."""
# What an upload may be, and how such files begin.
IMAGE_SIGNATURES = {
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}


@dataclass
class Fault:
    """An answer to give instead of the true one, `times` over.

    With `after`, the request is carried out first, so that only its answer is lost. A `content-length` in `headers`
    that is longer than `body` makes a real server break the connection.
    """

    method: str
    path: str
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False
    times: int = 1


class Simulator:
    """The ASGI app around a `Service`, which must have its accounts.

    Attributes:
        token: the only token to accept; None accepts any.
        connection_error: what is raised where a connection breaks. A server closes the connection then; without one,
            it must be what the client's transport raises.
        faults: for tests to fill.
        requests: how many requests came in, as `"GET /jobs/…"`.
        orders: the bodies of all orders.
    """

    def __init__(
        self, service: Service, *, token: str | None = None, connection_error: type[Exception] = ConnectionError
    ) -> None:
        self.service = service
        self.token = token
        self.connection_error = connection_error
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.orders: list[dict[str, Any]] = []
        self._app = Starlette(routes=self.build_routes())

    prefix: ClassVar[str] = PREFIX

    @cached_property
    def _renderer(self) -> Renderer:
        from luma_mcp.simulator.rendering import Renderer

        return Renderer()

    def build_routes(self) -> list[Route]:
        """Build the routes of the API's endpoints, and that of its files."""
        return [
            Route(f"{PREFIX}/videos", self._post_video, methods=["POST"]),
            Route(f"{PREFIX}/jobs", self._get_jobs, methods=["GET"]),
            Route(f"{PREFIX}/jobs/{{jobid}}", self._handle_job, methods=["GET", "DELETE"]),
            Route(f"{PREFIX}/assets/{{email}}", self._post_asset, methods=["POST"]),
            Route(f"{PREFIX}/accounts", self._handle_accounts, methods=["GET", "POST"]),
            Route(f"{PREFIX}/accounts/{{email}}", self._handle_account, methods=["GET", "DELETE"]),
            Route("/media/{key}/{name}", self.get_media, methods=["GET"]),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(f"{self.prefix}/"):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(self.prefix)
        first, *rest = path.strip("/").split("/")
        endpoint = f"/{first}/…" if rest else f"/{first}"
        self.requests[f"{scope['method']} {endpoint}"] += 1
        authorization = Request(scope).headers.get("authorization", "")
        if not authorization.startswith("Bearer ") or (self.token and authorization != f"Bearer {self.token}"):
            status, body = self.service.behaviors["unauthorized"].answer or (401, {})
            await JSONResponse(body, status)(scope, receive, send)
            return
        if outage := self.service.current_outage():
            behavior, behaviors = outage
            await self.build_response(behavior.answer, behaviors)(scope, receive, send)
            return
        # After the token: a fault stands in for what the API answers, and it checks the token first.
        fault = self._take_fault(scope["method"], path)
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault.after:
            await self._app(scope, receive, _discard)
        await Response(fault.body, fault.status, headers=fault.headers)(scope, receive, send)

    def _take_fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.method == method and path.startswith(fault.path):
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    async def _post_video(self, request: Request) -> Response:
        body: Any = None
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form() as form:
                body = {name: value for name, value in form.items() if isinstance(value, str)}
        else:
            with suppress(ValueError):
                body = json.loads(await request.body())
        if not isinstance(body, dict):
            return JSONResponse(error("Invalid JSON"), 400)
        self.orders.append(body)
        return self.build_response(self.service.submit(body), self.service.requested_behaviors(body.get("prompt")))

    def build_response(self, answer: Answer | None, behaviors: Mapping[str, float]) -> Response:
        """Build the response to an order, or what stands in for any response; None breaks the connection."""
        if answer is None or (answer[0] in (*ACCEPTED, 504) and "dropped" in behaviors):
            return _BrokenResponse(self.connection_error)
        status, body = answer
        response: Response = JSONResponse(body, status)
        if status in ACCEPTED and "truncated" in behaviors:
            content = bytes(response.body)
            response = Response(content[: len(content) // 2], status, media_type="application/json")
        if status == 429 and "retry-after" in behaviors:
            response.headers["Retry-After"] = f"{behaviors['retry-after']:.0f}"
        return response

    async def _get_jobs(self, _: Request) -> Response:
        return JSONResponse(self.service.executing_record())

    async def _handle_job(self, request: Request) -> Response:
        jobid = request.path_params["jobid"]
        if not (jobid.startswith("j") and jobid.endswith("-bot:luma")):
            return JSONResponse(error("Invalid jobid"), 400)
        job = self.service.find(jobid)
        if job is None:
            # The API knows a jobid's owner from the jobid itself.
            if any(f"-u{account.user_id}-" in jobid for account in self.service.accounts.values()):
                return JSONResponse(error("Job not found"), 404)
            return JSONResponse(error("Job does not belong to this user"), 403)
        if request.method == "GET":
            return JSONResponse(self.service.job_record(job, f"{request.base_url}media"))
        if not self.service.finished(job):
            state = self.service.status(job)
            return JSONResponse(error(f"Cannot delete job in state '{state}'. Wait for completion."), 409)
        del self.service.jobs[jobid]
        return JSONResponse({"jobid": jobid, "deleted": True})

    async def _post_asset(self, request: Request) -> Response:
        email = request.path_params["email"]
        if email not in self.service.accounts:
            return JSONResponse(error(f"Unable to find configuration for email {email}"), 404)
        if not self.service.accounts[email].session_valid:
            return JSONResponse(error(SESSION_ERROR), 596)
        media_type, body = request.headers.get("content-type", ""), await request.body()
        signature = IMAGE_SIGNATURES.get(media_type)
        if not signature or not signature.match(body) or len(body) > MAX_ASSET_BYTES:
            return JSONResponse(error(f"Unsupported content type {media_type}, or empty or too large body"), 400)
        ref = self.service.add_asset(email, Upload(media_type, body))
        upload = {"id": ref.rsplit(":", 1)[1], "media": {"url": f"{request.base_url}media/asset/{ref}"}}
        return JSONResponse({"assetRef": ref, "email": email, "upload": upload})

    async def _handle_accounts(self, request: Request) -> Response:
        if request.method == "POST":
            return self._add_account(await request.body())
        if not self.service.accounts:
            return Response(status_code=404)
        accounts = self.service.accounts.items()
        return JSONResponse({email: self.service.account_record(account) for email, account in accounts})

    def _add_account(self, body: bytes) -> Response:
        session = None
        with suppress(ValueError, AttributeError):
            session = json.loads(body).get("session")
        if not isinstance(session, str) or not session:
            return JSONResponse(error("Parameter session is required"), 400)
        email = self.service.sign_in(session)
        if email is None:
            return JSONResponse(error("Session refreshed but validation failed. Please try again."), 500)
        known = self.service.accounts.get(email)
        if known and not known.subscribed:
            return JSONResponse(error(NO_SUBSCRIPTION), 402)
        account = self.service.add_account(email, known.concurrency if known else 4)
        record = self.service.account_record(account, live=True)
        names = ("account", "user_id", "concurrency", "luma_session_expires", "credits")
        return JSONResponse({"created": known is None, **{name: record[name] for name in names}})

    async def _handle_account(self, request: Request) -> Response:
        account = self.service.accounts.get(request.path_params["email"])
        if account is None:
            return Response(status_code=404)
        if request.method == "GET":
            return JSONResponse(self.service.account_record(account, live=True))
        del self.service.accounts[account.email]
        return JSONResponse({"account": account.email, "deleted": True, "remaining": len(self.service.accounts)})

    async def get_media(self, request: Request) -> Response:
        name = request.path_params["name"]
        upload = self.service.uploads.get(name)
        if upload:
            return Response(upload.data, media_type=upload.media_type)
        job = self.service.find_by_key(request.path_params["key"])
        if self.service.renders and job and name in RENDERED_FILES:
            if not self.service.links_work(job.key):
                return Response(status_code=403)
            shot = self.service.build_shot(job)
            data = await anyio.to_thread.run_sync(self._renderer.get, shot, name)
            return build_file_response(request, data, RENDERED_FILES[name])
        # Only names that are there: the rest of a path could lead out of the folder.
        if name not in {path.name for path in MEDIA.iterdir()}:
            return Response(status_code=404)
        if not self.service.links_work(request.path_params["key"]):
            return Response(status_code=403)
        return FileResponse(MEDIA / name)


def build_file_response(request: Request, data: bytes, media_type: str) -> Response:
    """Build the response with a file, or with the part of it that is requested."""
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"Accept-Ranges": "bytes", "ETag": etag}
    part = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if part is None or request.headers.get("if-range", etag) != etag:
        return Response(data, media_type=media_type, headers=headers)
    start, end = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
    if start > end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Response(data[start : end + 1], 206, media_type=media_type, headers=headers)


class _BrokenResponse(Response):
    """A response whose connection breaks after its head."""

    def __init__(self, connection_error: type[Exception]) -> None:
        super().__init__(headers={"content-length": "1"})
        self._connection_error = connection_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        # Without a head, the server would answer with 500 instead of closing the connection.
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        raise self._connection_error("a simulated break")


def _is_no_break(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], ConnectionError))


async def _discard(_: Any) -> None:
    """ASGI `send` that discards the answer."""


def new_simulator(
    *,
    api: str = "useapi",
    catalog: Catalog | None = None,
    speed: float = 1.0,
    concurrency: int = 4,
    renders: bool = False,
) -> Simulator:
    """Build a simulator of an API on this machine's clocks, with one account of so many slots.

    `renders`: each job gets clips of its own, if PyAV is installed. Otherwise, all get the small ones that are stored.
    """
    renders = renders and find_spec("av") is not None
    catalog = catalog or get_catalog(api)
    if catalog.api == "agents":
        from luma_mcp.simulator.agents import AgentsService, AgentsSimulator

        agents = AgentsService(catalog, clock=time.monotonic, speed=speed, renders=renders)
        agents.add_account(EMAIL, concurrency)
        return AgentsSimulator(agents)
    service = Service(catalog, clock=time.monotonic, speed=speed, renders=renders)
    service.add_account(EMAIL, concurrency)
    return Simulator(service)


def serve(simulator: Simulator, *, port: int = 0) -> None:
    """Serve until interrupted, after printing the base URL on a line of its own."""
    server, listener, url = _listen(simulator, port)
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])


@contextmanager
def running(simulator: Simulator) -> Iterator[str]:
    """Serve in a thread while the block runs; yields the base URL."""
    server, listener, url = _listen(simulator)
    # Its own thread and event loop, so that tests and commands with any loop can use it.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="simulator")
    thread.start()
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join()


def _listen(simulator: Simulator, port: int = 0) -> tuple[uvicorn.Server, socket.socket, str]:
    """Build a server, its socket and its base URL."""
    config = uvicorn.Config(simulator, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    # A connection break that was requested is not logged as an error of the simulator.
    logging.getLogger("uvicorn.error").addFilter(_is_no_break)
    # The socket listens before the server's loop starts, so that a client can connect at once.
    bound = socket.create_server((HOST, port))
    # asyncio disables Nagle's algorithm only where the protocol is stated; with it, each answer would wait for 40 ms.
    listener = socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, bound.detach())
    origin = f"http://{HOST}:{listener.getsockname()[1]}"
    simulator.service.on_webhook = WebhookCaller(simulator.service, f"{origin}/media").schedule
    return uvicorn.Server(config), listener, f"{origin}{simulator.prefix}"
