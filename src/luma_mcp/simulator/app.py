"""The simulated Luma API as an ASGI app: every endpoint, every error body, media that plays.

Source: useapi.net, Luma API v1, pages of April 2026. Webhooks are accepted, and never called.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from luma_mcp.simulator.orders import NO_SUBSCRIPTION, SESSION_ERROR, order
from luma_mcp.simulator.records import MEDIA, account_record, executing_record, job_record
from luma_mcp.simulator.state import Service, Upload, error

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

PREFIX = "/v1/luma"
LARGEST_ASSET = 20_000_000
NOT_VALIDATED = "Session refreshed but validation failed. Please try again."
IMAGE_TYPES = {
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
"""What it takes, and how such files begin."""


@dataclass
class Fault:
    """An answer to give instead of the true one, `times` over.

    With `after`, the request is carried out first: the answer of an order that was taken is lost.
    A `content-length` in `headers` that is longer than `body` makes a real server break the connection.
    """

    method: str
    path: str
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False
    times: int = 1


class Simulator:
    """The ASGI app around a `Service`. `requests` counts what came in (`"GET /jobs/…"`); a test may read it.

    Args:
        service: what it knows; its accounts must be there.
        token: the only token it accepts; None: any.
    """

    def __init__(self, service: Service, *, token: str | None = None) -> None:
        self.service = service
        self.token = token
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.orders: list[dict[str, Any]] = []
        self._app = Starlette(
            routes=[
                Route(f"{PREFIX}/videos", self._order, methods=["POST"]),
                Route(f"{PREFIX}/jobs", self._executing, methods=["GET"]),
                Route(f"{PREFIX}/jobs/{{jobid}}", self._job, methods=["GET", "DELETE"]),
                Route(f"{PREFIX}/assets/{{email}}", self._upload, methods=["POST"]),
                Route(f"{PREFIX}/accounts", self._accounts, methods=["GET", "POST"]),
                Route(f"{PREFIX}/accounts/{{email}}", self._account, methods=["GET", "DELETE"]),
                Route("/media/{key}/{name}", self._media, methods=["GET"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(PREFIX)
        parts = path.split("/")
        self.requests[f"{scope['method']} /{parts[1]}{'/…' if len(parts) > 2 else ''}"] += 1
        given = {k.decode().lower(): v.decode("latin-1") for k, v in scope["headers"]}.get("authorization", "")
        if not given.startswith("Bearer ") or (self.token and given != f"Bearer {self.token}"):
            await JSONResponse(error("Unauthorized"), 401)(scope, receive, send)
            return
        fault = next((f for f in self.faults if f.method == scope["method"] and path.startswith(f.path)), None)
        if fault is None:
            await self._app(scope, receive, send)
            return
        fault.times -= 1
        if fault.times <= 0:
            self.faults.remove(fault)
        if fault.after:
            await self._app(scope, receive, _discard)
        await Response(fault.body, fault.status, headers=fault.headers)(scope, receive, send)

    async def _order(self, request: Request) -> Response:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form() as form:
                body = {name: value for name, value in form.items() if isinstance(value, str)}
        else:
            try:
                body = json.loads(await request.body())
            except ValueError:
                return JSONResponse(error("Invalid JSON"), 400)
        if not isinstance(body, dict):
            return JSONResponse(error("Invalid JSON"), 400)
        self.orders.append(body)
        status, answer = order(self.service, body)
        return JSONResponse(answer, status)

    async def _executing(self, _: Request) -> Response:
        return JSONResponse(executing_record(self.service))

    async def _job(self, request: Request) -> Response:
        jobid = request.path_params["jobid"]
        if not (jobid.startswith("j") and jobid.endswith("-bot:luma")):
            return JSONResponse(error("Invalid jobid"), 400)
        job = self.service.jobs.get(jobid)
        if job is None:
            ours = any(f"-u{a.user_id}-" in jobid for a in self.service.accounts.values())
            missing = (404, "Job not found") if ours else (403, "Job does not belong to this user")
            return JSONResponse(error(missing[1]), missing[0])
        if request.method == "GET":
            return JSONResponse(job_record(self.service, job, f"{request.base_url}media"))
        if not self.service.finished(job):
            state = self.service.status(job)
            return JSONResponse(error(f"Cannot delete job in state '{state}'. Wait for completion."), 409)
        del self.service.jobs[jobid]
        return JSONResponse({"jobid": jobid, "deleted": True})

    async def _upload(self, request: Request) -> Response:
        email = request.path_params["email"]
        if email not in self.service.accounts:
            return JSONResponse(error(f"Unable to find configuration for email {email}"), 404)
        if not self.service.accounts[email].session_valid:
            return JSONResponse(error(SESSION_ERROR), 596)
        kind, body = request.headers.get("content-type", ""), await request.body()
        beginning = IMAGE_TYPES.get(kind)
        if not beginning or not beginning.match(body) or len(body) > LARGEST_ASSET:
            return JSONResponse(error(f"Unsupported content type {kind}, or empty or too large body"), 400)
        ref = self.service.add_asset(email, Upload(kind, body))
        upload = {"id": ref.rsplit(":", 1)[1], "media": {"url": f"{request.base_url}media/asset/{ref}"}}
        return JSONResponse({"assetRef": ref, "email": email, "upload": upload})

    async def _accounts(self, request: Request) -> Response:
        if request.method == "GET":
            rows = {a.email: account_record(self.service, a) for a in self.service.accounts.values()}
            return JSONResponse(rows) if rows else Response(status_code=404)
        try:
            session = json.loads(await request.body()).get("session")
        except (ValueError, AttributeError):
            session = None
        if not isinstance(session, str) or not session:
            return JSONResponse(error("Parameter session is required"), 400)
        email = self.service.sign_in(session)
        if email is None:
            return JSONResponse(error(NOT_VALIDATED), 500)
        known = self.service.accounts.get(email)
        if known and not known.subscribed:
            return JSONResponse(error(NO_SUBSCRIPTION), 402)
        new = known is None
        account = self.service.add_account(email, known.concurrency if known else 4)
        record = account_record(self.service, account, live=True)
        kept = ("account", "user_id", "concurrency", "luma_session_expires", "credits")
        return JSONResponse({name: record[name] for name in kept} | {"created": new})

    async def _account(self, request: Request) -> Response:
        account = self.service.accounts.get(request.path_params["email"])
        if account is None:
            return Response(status_code=404)
        if request.method == "GET":
            return JSONResponse(account_record(self.service, account, live=True))
        del self.service.accounts[account.email]
        return JSONResponse({"account": account.email, "deleted": True, "remaining": len(self.service.accounts)})

    async def _media(self, request: Request) -> Response:
        name = request.path_params["name"]
        if upload := self.service.uploads.get(name):
            return Response(upload.data, media_type=upload.media_type)
        if name not in {path.name for path in MEDIA.iterdir()}:
            return Response(status_code=404)
        return FileResponse(MEDIA / name)


async def _discard(_: Any) -> None:
    """Where an answer goes that nobody is to get."""
