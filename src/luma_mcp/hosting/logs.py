"""Logs of a server that is reached over HTTP: ids of requests, a line for each, and nothing secret or personal.

Whatever a line is made of, it is masked as a whole: a message may contain what a caller, the API or a database sent.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote, unquote

from luma_mcp.hosting.authentication import METADATA_PATH, PATH, SECRET_HEADERS
from luma_mcp.providers import PROVIDERS
from luma_mcp.service.tenants import current_tenant
from luma_mcp.service.webhooks import PREFIX
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

access_logger = logging.getLogger("luma_mcp.access")

MASK = "***"
CLIENT_LEFT = 499
"""The status of a request whose client has left before it was answered. nginx uses it, too."""
OTHER = "other"
"""Placeholder for unknown paths, methods and tools: a caller can invent any number of them."""
_REQUEST_ID = b"x-request-id"
_SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Shorter values are not treated as secrets: masking them would hide ordinary text.
_SHORTEST_SECRET, _SHORTEST_SENT = 4, 8
# Loggers that write contents of requests and answers, and the lowest level at which they do not.
_QUIET = {"httpx2": "WARNING", "httpcore2": "WARNING", "mcp": "INFO", "sse_starlette": "INFO", "psycopg": "INFO"}

_BEGINS = "|".join(re.escape(provider.begins) for provider in PROVIDERS.values())
_CREDENTIAL = re.compile(rf"({_BEGINS})[!-~]+")
_JSON_WEB_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.?[\w-]*")
_HOOK = re.compile(rf"({PREFIX}/[^/\s]+/)[^/\s\"'?#]+")
# What pydantic says of a value that it refuses, which may be a prompt.
_INPUT = re.compile(r"input_value=.*?(?=, input_type=|$)", re.DOTALL)
# Between the characters that end an address, one of which may be escaped in the URL of a job.
_PART = re.compile(r"(?:(?!%3A)[^\s:/\"'<>,;()\[\]{}=\\])+", re.IGNORECASE)
_ADDRESS = re.compile(r".(@|%40).")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ENCODE = json.JSONEncoder(default=str).encode


@dataclass(slots=True)
class HttpRequest:
    """What is known of a request for its line in the log and for the metrics.

    Attributes:
        path: its template, such as `/hooks/{order}/{mac}`.
        headers: as they were sent, with lower-case names.
        rpc_method, tool: what it calls, as far as that exists.
        outcome: how its tool call has ended.
        received, sent: the bytes of the bodies.
    """

    id: str
    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    status: int = CLIENT_LEFT
    rpc_method: str | None = None
    tool: str | None = None
    outcome: str | None = None
    tenant: str = ""
    received: int = 0
    sent: int = 0
    seconds: float = 0.0

    def find_secrets(self) -> Iterator[str]:
        """Find the credentials in its headers. They are kept nowhere else."""
        for name, value in self.headers:
            if name in SECRET_HEADERS:
                # Without the scheme of `Authorization`.
                credential = value.decode("latin-1").strip().rpartition(" ")[2]
                if len(credential) >= _SHORTEST_SENT:
                    yield credential


current_request: ContextVar[HttpRequest | None] = ContextVar("current_request", default=None)
"""The request that is being handled; also in the handlers of its call."""


class Masker:
    """Removes from a text what no log may contain: secrets, e-mail addresses, the MACs of webhooks.

    Besides the secrets that it is given, those of the request and of the tenant that are being handled.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: list[str] = []
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Remove these as well, in plain form and as parts of a URL."""
        forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), unquote(secret))}
        known = forms.union(self._secrets)
        # The longest first: one may be a part of another.
        self._secrets = sorted((form for form in known if len(form) >= _SHORTEST_SECRET), key=len, reverse=True)

    def mask(self, text: str) -> str:
        """Mask a text."""
        request, credential = current_request.get(), current_tenant.get().credential
        own = [credential.get_secret_value()] if credential else []
        if request:
            own += request.find_secrets()
        for secret in (*self._secrets, *own):
            text = text.replace(secret, MASK)
        text = _CREDENTIAL.sub(MASK, text)
        text = _JSON_WEB_TOKEN.sub(MASK, text)
        text = _HOOK.sub(rf"\1{MASK}", text)
        text = _INPUT.sub(f"input_value={MASK}", text)
        if "@" in text or "%40" in text:
            text = _PART.sub(_mask_address, text)
        return text


def _mask_address(part: re.Match[str]) -> str:
    return MASK if _ADDRESS.search(part[0]) else part[0]


class HttpFormatter(logging.Formatter):
    """Formats a record as one JSON object, or as text in which every line but the first is indented.

    No caller can make a line that looks like another record.
    """

    def __init__(self, masker: Masker, *, as_json: bool) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._masker = masker
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        request = current_request.get()
        request_id = request.id if request else None
        if not self._as_json:
            text = self._masker.mask(super().format(record))
            first, *others = text.split("\n")
            lines = [first, *(f"    {line}" for line in others)]
            if request_id:
                lines[0] += f" [{request_id}]"
            return "\n".join(_CONTROL.sub(_escape, line) for line in lines)
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._masker.mask(record.getMessage()),
            "request_id": request_id,
            "tenant": current_tenant.get().id or (request.tenant if request else None) or None,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self._masker.mask(self.formatException(record.exc_info))
        known = {name: value for name, value in fields.items() if value is not None}
        return _ENCODE(known)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def configure_logging(settings: Settings, secrets: Iterable[str] = (), stream: TextIO | None = None) -> Masker:
    """Log to stderr as the settings say, and return what masks the lines, to which secrets can be added.

    `secrets`: those that are not in the settings.
    """
    masker = Masker([*settings.list_secrets(), *secrets])
    as_json = settings.log_format == "json"
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(HttpFormatter(masker, as_json=as_json))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    root_level = logging.getLogger().level
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(max(logging.getLevelNamesMapping()[level], root_level))
    # Logs of a server for many are collected, and should have a line for each request, even without errors.
    if as_json and root_level <= logging.WARNING:
        access_logger.setLevel(logging.INFO)
    return masker


def get_template(path: str) -> str:
    """Get the template of a path."""
    if path == PATH:
        return path
    if path.startswith(f"{PREFIX}/"):
        return f"{PREFIX}/{{order}}/{{mac}}"
    if path.startswith(METADATA_PATH):
        return METADATA_PATH
    return OTHER


class RequestLog:
    """ASGI middleware, the outermost: gives each request an id, and logs how it was answered.

    A client or a proxy may give the id as `X-Request-Id`. `on_answer` is called with each request at its end.
    """

    def __init__(self, app: ASGIApp, on_answer: Callable[[HttpRequest], None] | None = None) -> None:
        self._app = app
        self._on_answer = on_answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _build_request(scope)
        header = (_REQUEST_ID, request.id.encode())

        async def receive_counted() -> Message:
            message = await receive()
            request.received += len(message.get("body", b""))
            return message

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            request.sent += len(message.get("body", b""))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # Work after the answer does not count: no client waits for it.
                request.seconds = time.monotonic() - began

        before = current_request.set(request)
        began = time.monotonic()
        try:
            await self._app(scope, receive_counted, send_counted)
        except Exception:
            # The server answers it so.
            request.status = 500
            raise
        finally:
            request.seconds = request.seconds or time.monotonic() - began
            _log_access(request)
            if self._on_answer:
                self._on_answer(request)
            current_request.reset(before)


def _build_request(scope: Scope) -> HttpRequest:
    given = [value for name, value in scope["headers"] if name == _REQUEST_ID]
    request_id = secrets.token_hex(16)
    if len(given) == 1 and _SAFE_ID.fullmatch(given[0]):
        request_id = given[0].decode("ascii")
    return HttpRequest(request_id, scope["method"], get_template(scope["path"]), scope["headers"])


def _log_access(request: HttpRequest) -> None:
    calls = (request.rpc_method, request.tool)
    what = " ".join(filter(None, calls))
    fields = {
        "method": request.method,
        "path": request.path,
        "status": request.status,
        "seconds": round(request.seconds, 3),
        "rpc_method": request.rpc_method,
        "tool": request.tool,
        "outcome": request.outcome,
        "received_bytes": request.received,
        "sent_bytes": request.sent,
    }
    values = (request.method, request.path, request.status, request.seconds, what)
    access_logger.info("%s %s %d %.3f s %s", *values, extra={"fields": fields})
