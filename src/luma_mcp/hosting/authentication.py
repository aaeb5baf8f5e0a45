"""Who may call the server over HTTP, and on whose behalf: one owner with a bearer token, or callers with credentials.

Credentials of callers are removed from the request here, so that no handler can log them or pass them on. `oauth.py`
handles access tokens of an identity provider.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from starlette.responses import PlainTextResponse, Response

from luma_mcp.providers import PROVIDERS, Provider
from luma_mcp.server import messages
from luma_mcp.service.tenants import OWNER, Tenant, current_tenant
from luma_mcp.settings import LOOPBACK, Settings, SettingsError, find_other_api, parse_credential

if TYPE_CHECKING:
    from pydantic import SecretStr
    from starlette.types import ASGIApp, Receive, Scope, Send

    from luma_mcp.hosting.tenants_file import TenantsFile

PATH = "/mcp"
"""Path of the MCP endpoint."""
WELL_KNOWN = "/.well-known/"
"""Where clients look for OAuth metadata after a 401. Without OAuth, they must get a 404 rather than another 401."""
METADATA_PATH = f"{WELL_KNOWN}oauth-protected-resource"
CREDENTIAL_HEADERS = {"useapi": "X-UseAPI-Token", "agents": "X-Luma-Api-Key"}
"""By API, the header with a caller's own credential."""
WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - they are recognized here, not used
"""Addresses that stand for all of the machine's."""
# Names of parameters in which some clients and proxies put tokens.
_SECRET_PARAMETERS = frozenset(
    {"access_token", "api_key", "apikey", "authorization", "bearer", "credential", "key", "secret", "token"}
    | {header.casefold() for header in CREDENTIAL_HEADERS.values()}
)
SECRET_HEADERS = frozenset(
    {b"authorization", b"proxy-authorization", b"cookie"}
    | {header.lower().encode() for header in CREDENTIAL_HEADERS.values()}
)
# What separates identities of different kinds, so that one can never have the id of another.
_ID_LABEL = "luma-ray-mcp tenant"
_ID_LENGTH = 32


class Mode(Enum):
    """Who may call a server over HTTP."""

    OPEN = "every program of this machine"
    OWNER = "whoever has the bearer token; everything belongs to the owner"
    CALLER = "whoever has a credential of the API; each orders with their own"
    OAUTH = "whoever has an access token of the identity provider"


@dataclass(slots=True)
class Access:
    """The authentication of a server, and what it needs.

    Attributes:
        token: with `Mode.OWNER`, the bearer token.
        tenants: with `Mode.OAUTH`, what each tenant may do; None: the same for all.
        has_local_files: whether callers may use files of this machine, which must then belong to them.
    """

    mode: Mode = Mode.OPEN
    token: str | None = None
    tenants: TenantsFile | None = None
    has_local_files: bool = True

    @property
    def is_shared(self) -> bool:
        """Whether callers order with credentials of the operator."""
        return self.mode is Mode.OAUTH

    def list_credentials(self, settings: Settings) -> list[SecretStr]:
        """List the credentials of the operator, with which callers order."""
        found = [settings.token] if settings.token else []
        return found + (self.tenants.list_credentials() if self.tenants else [])


def choose_mode(settings: Settings, host: str, *, authenticate: bool = True) -> Mode:
    """Choose who may call a server that listens on `host`. `authenticate`: False if the command line says --no-auth.

    Raises:
        SettingsError: nothing that is set is safe on this address, or settings contradict each other.
    """
    problems = _find_contradictions(settings, authenticate=authenticate)
    is_loopback = host in LOOPBACK
    if settings.oauth_issuer:
        mode = Mode.OAUTH
    elif not authenticate:
        mode = Mode.OPEN
        if not is_loopback:
            problems.append("--no-auth is for this machine only: leave out --host, or --no-auth")
        elif settings.public_url and urlsplit(settings.public_url).hostname not in LOOPBACK:
            problems.append("--no-auth cannot be combined with LUMA_MCP_PUBLIC_URL: everybody could spend your credits")
    elif settings.http_token or settings.token:
        mode = Mode.OWNER
        if not is_loopback and not settings.http_token:
            problems += _explain_modes(settings, host)
        elif not is_loopback and not settings.token:
            variable = settings.provider.variable
            problems.append(f"LUMA_MCP_HTTP_TOKEN needs a credential to order with: set {variable} too, or neither")
    else:
        mode = Mode.CALLER
    if not problems and host in WILDCARDS and not settings.public_url:
        problems.append(
            f"LUMA_MCP_PUBLIC_URL must be set with --host {host}: requests for other names than that of the URL are "
            "refused"
        )
    if problems:
        raise SettingsError("\n".join(problems))
    return mode


def _explain_modes(settings: Settings, host: str) -> list[str]:
    """Say what an address that other machines reach needs, in two lines."""
    choice = "Set LUMA_MCP_HTTP_TOKEN (for you alone) or LUMA_MCP_OAUTH_ISSUER (sign-in for a team)"
    if not settings.simulated:
        choice += f", or unset {settings.provider.variable} (callers send their own)"
    return [
        f"--host {host}: other machines could spend your credits. {choice}",
        "The connection is not encrypted, so put a proxy with TLS before it. --host 127.0.0.1 is for this machine only",
    ]


def _find_contradictions(settings: Settings, *, authenticate: bool) -> list[str]:
    problems: list[str] = []
    if settings.oauth_issuer is None:
        if settings.tenants_file:
            problems.append("LUMA_MCP_TENANTS_FILE needs LUMA_MCP_OAUTH_ISSUER: it is about users who sign in")
        return problems
    if not authenticate:
        problems.append("LUMA_MCP_OAUTH_ISSUER cannot be combined with --no-auth")
    if settings.http_token:
        problems.append("LUMA_MCP_OAUTH_ISSUER cannot be combined with LUMA_MCP_HTTP_TOKEN: unset one of them")
    if not settings.public_url:
        problems.append("LUMA_MCP_OAUTH_ISSUER needs LUMA_MCP_PUBLIC_URL: tokens are issued for that URL")
    if not (settings.token or settings.tenants_file):
        variable = settings.provider.variable
        problems.append(f"LUMA_MCP_OAUTH_ISSUER needs a credential to order with: {variable} or LUMA_MCP_TENANTS_FILE")
    if len(settings.oauth_advertised_scopes) == 1:
        problems.append("LUMA_MCP_OAUTH_ADVERTISED_SCOPES must name two scopes at least: for reading and for ordering")
    return problems


def build_tenant_id(kind: str, *parts: str) -> str:
    """Build the id of a tenant from what identifies it: a digest that reveals nothing of it."""
    # None of the parts can contain the separator.
    text = "\n".join((_ID_LABEL, kind, *parts))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def get_user_name(claims: Mapping[str, Any]) -> str:
    """Get the name under which the operator knows the user of a token."""
    names = ("email", "preferred_username", "upn", "sub")
    # Without verification, a user could sign up with the address of another person.
    for name in names if claims.get("email_verified", True) is True else names[1:]:
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


class Refusal(Exception):
    """A request that is not served, and the answer to it."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


class Authentication:
    """ASGI middleware that passes on only requests that may be served, each with its tenant as `current_tenant`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Public responses, by path: they need no authentication.
        self.public: dict[str, Response] = {}

    async def identify(self, headers: list[tuple[bytes, bytes]]) -> Tenant:
        """Get the tenant of a request. `headers`: lower-case names and values. Raises `Refusal`."""
        raise NotImplementedError

    def serve(self, tenant: Tenant, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # noqa: ARG002
        """Serve a request of this tenant. Raises `Refusal`, before anything is sent."""
        # Not a separate coroutine, which would take memory for each waiting call.
        return self._app(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it and end its connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        page = self.public.get(scope["path"])
        if page is not None and scope["method"] in ("GET", "HEAD"):
            await page(scope, receive, send)
            return
        try:
            tenant = await self.identify(scope["headers"])
            check_url(scope["query_string"])
            # Not in a copy of the scope, which would take memory for each waiting call.
            scope["headers"] = [header for header in scope["headers"] if header[0] not in SECRET_HEADERS]
            token = current_tenant.set(tenant)
            try:
                await self.serve(tenant, scope, receive, send)
            finally:
                current_tenant.reset(token)
        except Refusal as refusal:
            await refuse(refusal, scope, receive, send)


def check_url(query: bytes) -> None:
    """Refuse a request whose URL has a token: URLs are logged, and tokens are not."""
    for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name.strip().casefold() in _SECRET_PARAMETERS:
            raise Refusal(400, messages.URL_WITH_CREDENTIAL)


async def refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that is not served, and end its connection."""
    # One connection could send requests without end. A client that still sends the body would not see the answer.
    headers = {**refusal.headers, "Connection": "close"}
    answer = PlainTextResponse(refusal.text, status_code=refusal.status, headers=headers)
    if scope["path"].startswith(WELL_KNOWN):
        answer = PlainTextResponse("Not Found", status_code=404, headers={"Connection": "close"})
    while (await receive()).get("more_body"):
        pass
    await answer(scope, receive, send)


def get_only(headers: list[tuple[bytes, bytes]], name: str) -> str | None:
    """Get the value of a header; None without one. Raises `ValueError` if it is repeated."""
    wanted = name.lower().encode()
    values = [value for each, value in headers if each == wanted]
    # A second header could be what a proxy or another check looks at.
    if len(values) > 1:
        raise ValueError
    return values[0].decode("latin-1").strip() if values else None


def parse_bearer(text: str) -> str:
    """Parse the token of an `Authorization` header. Raises `ValueError` if it is of another scheme."""
    scheme, _, token = text.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ValueError
    return token.strip()


class OwnerToken(Authentication):
    """Serves the one owner, who has the bearer token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        super().__init__(app)
        if not token:
            raise ValueError("no token")
        self._token = token.encode()

    async def identify(self, headers: list[tuple[bytes, bytes]]) -> Tenant:
        """Get the owner, if the request has the token."""
        # RFC 6750: the error is named only where a token was sent.
        challenge = "Bearer"
        if any(name == b"authorization" for name, _ in headers):
            challenge = 'Bearer error="invalid_token"'
        try:
            given = parse_bearer(get_only(headers, "authorization") or "")
        except ValueError:
            given = ""
        if not hmac.compare_digest(given.encode("latin-1"), self._token):
            raise Refusal(401, messages.UNAUTHORIZED, {"WWW-Authenticate": challenge})
        return OWNER


class CallerCredential(Authentication):
    """Serves callers that send a credential for the API in use. It belongs to the caller, and is never stored.

    Whether the API accepts the credential shows when it is used; until then, nothing that costs anything is done.
    """

    def __init__(self, app: ASGIApp, provider: Provider) -> None:
        super().__init__(app)
        self._provider = provider
        self._header = CREDENTIAL_HEADERS[provider.name]
        self._facts = {
            "noun": provider.noun,
            "site": provider.site,
            "title": provider.title,
            "example": provider.example,
            "header": self._header,
        }

    async def identify(self, headers: list[tuple[bytes, bytes]]) -> Tenant:
        """Get the tenant that a credential stands for."""
        api = self._provider.name
        others = {CREDENTIAL_HEADERS[each].lower().encode() for each in PROVIDERS if each != api}
        if any(name in others for name, _ in headers):
            raise self._refuse(400, messages.CREDENTIAL_OF_ANOTHER_API)
        try:
            text = get_only(headers, self._header)
            if text is None:
                # No registered scheme uses a separate header, so this one names it.
                challenge = {"WWW-Authenticate": f'ApiKey header="{self._header}"'}
                raise self._refuse(401, messages.CREDENTIAL_MISSING, challenge)
            # A proxy that joins repeated headers puts a comma between them, which no credential has.
            credential = parse_credential(api, text.replace(",", " "))
        except ValueError:
            raise self._refuse(400, messages.CREDENTIAL_UNUSABLE) from None
        if find_other_api(api, credential.get_secret_value()):
            raise self._refuse(400, messages.CREDENTIAL_OF_ANOTHER_API)
        return Tenant(build_tenant_id(api, credential.get_secret_value()), credential, owns_credential=True)

    def _refuse(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> Refusal:
        return Refusal(status, text.format(**self._facts), headers)
