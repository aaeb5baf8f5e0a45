"""What a client declares: its name, and whether it supports MCP Apps.

With protocol 2026-07-28, every request declares it. In older versions, only `initialize` does. Over HTTP, any replica
may get the next request, so the session id in the response to `initialize` carries the declaration. Clients send that
id with every later request, and no server stores sessions.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from mcp.server import ServerRequestContext
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.server.mcpserver import Context
from mcp.types import ClientCapabilities, InitializeRequestParams

SESSION_HEADER = "mcp-session-id"
# Characters.
_LONGEST_NAME, _LONGEST_ID = 64, 2048


@dataclass(frozen=True, slots=True)
class Client:
    """A client: `name` as it calls itself, empty if not known."""

    name: str = ""
    supports_apps: bool = False

    def build_session_id(self) -> str:
        """Build a new session id that carries these facts. It proves nothing: any client may claim them."""
        facts = urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")
        return f"{uuid4().hex}.{facts}"

    @classmethod
    def from_session_id(cls, session_id: str) -> Client:
        """Parse a session id; one of another server carries nothing."""
        _, _, facts = session_id[:_LONGEST_ID].partition(".")
        try:
            found = json.loads(urlsafe_b64decode(facts + "=" * (-len(facts) % 4)))
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(found, dict) or not isinstance(found.get("name"), str):
            return cls()
        return cls(found["name"], found.get("supports_apps") is True)


def parse_client(body: bytes | bytearray) -> Client | None:
    """Parse what a client declares in a message; None if the message is not `initialize`."""
    # Other messages may have megabytes of pictures, and need not be parsed here.
    if b'"initialize"' not in body:
        return None
    try:
        message = json.loads(body)
        if message["method"] != "initialize":
            return None
        params = InitializeRequestParams.model_validate(message["params"], by_name=False)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Client(params.client_info.name[:_LONGEST_NAME], _declares_apps(params.capabilities))


def identify(ctx: Context[Any, Any] | ServerRequestContext[Any, Any]) -> Client:
    """Get the client that makes a call."""
    request = ctx.request_context if isinstance(ctx, Context) else ctx
    session = request.session
    if session.client_capabilities is None and request.request is not None:
        return Client.from_session_id(request.request.headers.get(SESSION_HEADER, ""))
    name = session.client_params.client_info.name if session.client_params else ""
    return Client(name, _declares_apps(session.client_capabilities))


def _declares_apps(capabilities: ClientCapabilities | None) -> bool:
    """Whether the capabilities include MCP Apps in HTML, by the rule of the SDK's `client_supports_apps`."""
    extensions = (capabilities and capabilities.extensions) or {}
    types = extensions.get(EXTENSION_ID, {}).get("mimeTypes")
    return isinstance(types, list | tuple) and APP_MIME_TYPE in types


def supports_apps(ctx: Context[Any, Any] | ServerRequestContext[Any, Any]) -> bool:
    """Whether the client that makes a call supports MCP Apps."""
    return identify(ctx).supports_apps
