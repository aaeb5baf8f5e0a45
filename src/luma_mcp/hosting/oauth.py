"""Access tokens of an identity provider: this server as a resource server of OAuth 2.1.

Tokens are JWTs (RFC 9068, and what providers issue in its place), verified with the keys that the provider publishes.
What a refused client needs for its sign-in is in the challenge (RFC 6750) and in the metadata of the protected resource
(RFC 9728). A token proves who calls; orders are paid with a credential of the operator.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.responses import Response

from luma_mcp.hosting.authentication import (
    METADATA_PATH,
    WELL_KNOWN,
    Authentication,
    Refusal,
    build_tenant_id,
    get_only,
    get_user_name,
    parse_bearer,
    refuse,
)
from luma_mcp.server import messages
from luma_mcp.service.tenants import Tenant
from luma_mcp.settings import LOOPBACK, ProxyVariableError, Settings, find_proxy

if TYPE_CHECKING:
    import httpx2
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from luma_mcp.hosting.tenants_file import TenantsFile

logger = logging.getLogger(__name__)

READ, GENERATE = "luma:read", "luma:generate"
"""The scopes of the tools, as tokens name them."""
READING_TOOLS = frozenset({"get_job", "list_jobs", "list_options", "join_videos"})
"""Tools for which `READ` is enough; every other one needs `GENERATE`, also one that does not exist yet."""
CHANGING_METHODS = frozenset({"tasks/update", "tasks/cancel"})
"""Methods besides `tools/call` that need `GENERATE`."""
# Fixed, so that no token chooses how it is verified: no `none`, and no secret that verifies as well as signs.
ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
# By type and curve of a published key, the algorithms that it can be for.
_KEY_ALGORITHMS = {
    ("RSA", ""): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_SMALLEST_RSA_KEY = 2048
# Bytes. Tokens with many groups have a few thousand.
LONGEST_TOKEN = 16_384
LEEWAY = 60
"""Seconds that the provider's clock may differ."""
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
# What the header of an access token says that it is; some providers say nothing.
_TOKEN_TYPES = (None, "at+jwt", "application/at+jwt", "jwt", "application/jwt")
# What marks a token that is about a sign-in and not for a resource.
_ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash", "s_hash")
_OTHER_TOKEN_USES = ("id", "refresh", "offline", "logout")
_NO_ACCESS_TOKEN = "it is not an access token"  # noqa: S105 - a reason
# By the name of PyJWT's error; nothing of a token is repeated.
_REASONS = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet",
    "InvalidAudienceError": "it is for another audience",
    "InvalidIssuerError": "it is of another issuer",
    "InvalidSignatureError": "its signature is wrong",
    "MissingRequiredClaimError": "it lacks exp, iss, aud or sub",
}

# Seconds after which published keys are fetched again, so that one that the provider withdrew is not accepted for long.
KEYS_LIFETIME = 3600.0
# Seconds between two attempts to fetch them, at least, whatever keys tokens name.
SHORTEST_REFETCH = 15.0
_FETCH_TIMEOUT = 10.0
_LARGEST_DOCUMENT = 1_000_000
_MOST_KEYS = 100
_METADATA_SECONDS = 3600
# Tokens that are remembered.
_MOST_VERIFIED = 2000


class ProviderUnreachable(Exception):
    """The identity provider's keys could not be fetched, so it is not known whether a token is valid."""


class InvalidToken(Exception):
    """A token that is not accepted; the argument is the reason, which quotes nothing of the token."""


class SigningKeys:
    """The keys that an identity provider publishes, fetched when they are needed.

    While the provider cannot be reached, the keys that were fetched before stay in use.
    """

    def __init__(
        self,
        issuer: str,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember the issuer. `transport` carries the requests, and `clock` counts seconds; tests pass their own."""
        self._issuer = issuer
        self._transport = transport
        self._clock = clock
        self._lock = anyio.Lock()
        # By algorithm, the keys with their ids.
        self._keys: dict[str, list[tuple[str | None, Any]]] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._is_reachable = False

    async def get(self, key_id: str | None, algorithm: str) -> Any:
        """Get the key with this id; None if the provider has none. Without an id: its only key for the algorithm.

        Raises:
            ProviderUnreachable: there is no such key, and whether the provider has a new one could not be found out.
        """
        key = self._find(key_id, algorithm)
        is_old = self._clock() - self._fetched_at > KEYS_LIFETIME
        # One request fetches; the others need not wait for it if they have a key.
        if key is None or (is_old and not self._lock.locked()):
            await self._fetch_again()
            key = self._find(key_id, algorithm)
        if key is None and not self._is_reachable:
            raise ProviderUnreachable
        return key

    def _find(self, key_id: str | None, algorithm: str) -> Any:
        candidates = [key for each, key in self._keys.get(algorithm, ()) if key_id in (None, each)]
        return candidates[0] if len(candidates) == 1 else None

    async def _fetch_again(self) -> None:
        async with self._lock:
            # Another call may have fetched them while this one waited for the lock.
            if self._clock() - self._tried_at < SHORTEST_REFETCH:
                return
            self._tried_at = self._clock()
            self._is_reachable = False
            try:
                keys = await self._fetch()
            except (OSError, ValueError, ProxyVariableError) as error:
                reason = str(error) or type(error).__name__
                logger.warning("the keys of the identity provider cannot be fetched: %s", reason)
                return
            except Exception:
                # Unreadable keys are the provider's fault, and no evidence against a token.
                logger.exception("the keys of the identity provider cannot be read")
                return
            self._keys, self._fetched_at, self._is_reachable = keys, self._clock(), True

    async def _fetch(self) -> dict[str, list[tuple[str | None, Any]]]:
        """Fetch the keys. Raises `OSError` or `ValueError`."""
        import httpx2

        is_local = urlsplit(self._issuer).hostname in LOOPBACK
        try:
            transport = self._transport or httpx2.AsyncHTTPTransport(
                proxy=None if is_local else find_proxy(self._issuer), trust_env=not is_local
            )
            with anyio.fail_after(_FETCH_TIMEOUT):
                # Redirects are not followed: only the addresses that the issuer names are asked.
                async with httpx2.AsyncClient(transport=transport, timeout=_FETCH_TIMEOUT) as client:
                    address = await self._discover(client)
                    return parse_keys(await _fetch_document(client, address))
        except (httpx2.HTTPError, httpx2.InvalidURL, ImportError) as error:
            # Its text could contain the password of a proxy.
            raise OSError(type(error).__name__) from None

    async def _discover(self, client: httpx2.AsyncClient) -> str:
        """Find the address of the keys in the provider's metadata (RFC 8414, or of OpenID Connect)."""
        for url in list_metadata_urls(self._issuer):
            try:
                document = await _fetch_document(client, url)
            except ValueError:
                continue
            # Otherwise one issuer on a shared host could speak for another.
            if document.get("issuer") != self._issuer:
                logger.warning("%s is the metadata of another issuer than LUMA_MCP_OAUTH_ISSUER", url)
                continue
            address = document.get("jwks_uri")
            if isinstance(address, str) and _is_secure(address, self._issuer):
                return address
        raise ValueError("it publishes no metadata of this issuer")


def list_metadata_urls(issuer: str) -> list[str]:
    """List where the metadata of an issuer can be, in the order in which they are looked at."""
    url = urlsplit(issuer)
    origin, path = f"{url.scheme}://{url.netloc}", url.path.rstrip("/")
    urls = [
        f"{origin}{WELL_KNOWN}oauth-authorization-server{path}",
        f"{origin}{path}{WELL_KNOWN}openid-configuration",
        f"{origin}{WELL_KNOWN}openid-configuration{path}",
    ]
    return list(dict.fromkeys(urls))


def _is_secure(address: str, issuer: str) -> bool:
    """Whether keys from there are the provider's: https, or http on this machine if the issuer is there, too."""
    url = urlsplit(address)
    is_local = url.hostname in LOOPBACK and urlsplit(issuer).hostname in LOOPBACK
    return bool(url.hostname) and (url.scheme == "https" or (url.scheme == "http" and is_local))


async def _fetch_document(client: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    """Fetch a JSON object. Raises `ValueError` if that is not what is there."""
    content = bytearray()
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with client.stream("GET", url, headers=headers) as response:
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        async with aclosing(response.aiter_bytes()) as parts:
            async for part in parts:
                content += part
                if len(content) > _LARGEST_DOCUMENT:
                    raise ValueError("its document is too large")
    document = json.loads(content)
    if not isinstance(document, dict):
        raise ValueError("its document is no JSON object")  # noqa: TRY004 - a value from elsewhere
    return document


def parse_keys(document: Mapping[str, Any]) -> dict[str, list[tuple[str | None, Any]]]:
    """Parse a JSON Web Key Set to the keys that can verify tokens, by algorithm. Raises `ValueError` if it has none."""
    import jwt

    keys: dict[str, list[tuple[str | None, Any]]] = {}
    published = document.get("keys")
    for entry in published[:_MOST_KEYS] if isinstance(published, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
            continue
        kind = (str(entry.get("kty")), str(entry.get("crv", "")))
        for algorithm in _KEY_ALGORITHMS.get(kind, ()):
            if entry.get("alg", algorithm) != algorithm:
                continue
            try:
                key = jwt.PyJWK(entry, algorithm=algorithm).key
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            if getattr(key, "key_size", _SMALLEST_RSA_KEY) >= _SMALLEST_RSA_KEY or algorithm == "ES256":
                keys.setdefault(algorithm, []).append((entry.get("kid"), key))
    if not keys:
        raise ValueError("it publishes no key that can be used")
    return keys


@dataclass(frozen=True, slots=True)
class _Verified:
    """The claims of a token whose signature was verified, and the key that it was verified with."""

    claims: dict[str, Any]
    key_id: str | None
    algorithm: str
    key: Any


class TokenVerifier:
    """Verifies access tokens. It remembers those of the latest calls, because a signature takes longer than most calls.

    `wall_clock`: the time of day, as seconds of the epoch.
    """

    def __init__(
        self, keys: SigningKeys, *, issuer: str, audience: str, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._wall_clock = wall_clock
        # By the digest of the token, the oldest first.
        self._verified: dict[bytes, _Verified] = {}

    async def verify(self, token: str) -> dict[str, Any]:
        """Get the claims of a valid token.

        Raises:
            InvalidToken: it is not valid, or not for this server.
            ProviderUnreachable: whether it is valid could not be found out.
        """
        if len(token) > LONGEST_TOKEN or not _TOKEN.fullmatch(token):
            raise InvalidToken("it is not a JWT")
        digest = hashlib.sha256(token.encode()).digest()
        verified = self._verified.get(digest)
        # A key that the provider has withdrawn, or has published again, is another one.
        if verified is None or await self._keys.get(verified.key_id, verified.algorithm) is not verified.key:
            verified = await self._verify(token)
            self._verified.pop(digest, None)
            self._verified[digest] = verified
            if len(self._verified) > _MOST_VERIFIED:
                del self._verified[next(iter(self._verified))]
        if int(verified.claims["exp"]) <= self._wall_clock() - LEEWAY:
            raise InvalidToken(_REASONS["ExpiredSignatureError"])
        return verified.claims

    async def _verify(self, token: str) -> _Verified:
        try:
            verified = await self._decode(token)
        except (InvalidToken, ProviderUnreachable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a token, it is not accepted
            name = type(error).__name__
            logger.info("a token could not be verified: %s", name)
            raise InvalidToken(_REASONS.get(name, "it cannot be read")) from None
        claims = verified.claims
        use = claims.get("token_use", claims.get("typ"))
        is_other = isinstance(use, str) and use.casefold() in _OTHER_TOKEN_USES
        if is_other or any(name in claims for name in _ID_TOKEN_CLAIMS):
            raise InvalidToken(_NO_ACCESS_TOKEN)
        if not claims["sub"]:
            raise InvalidToken(_REASONS["MissingRequiredClaimError"])
        return verified

    async def _decode(self, token: str) -> _Verified:
        """Get the claims of a token if its signature is the provider's. Raises any error if it is not valid."""
        # Only servers with sign-in need it.
        import jwt

        header = jwt.get_unverified_header(token)
        algorithm, kind, key_id = header.get("alg"), header.get("typ"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise InvalidToken("its algorithm is not allowed")
        if "crit" in header or (kind.casefold() if kind else None) not in _TOKEN_TYPES:
            raise InvalidToken(_NO_ACCESS_TOKEN)
        key = await self._keys.get(key_id, algorithm)
        if key is None:
            raise InvalidToken("its key is unknown")
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return _Verified(claims, key_id, algorithm, key)


def parse_scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Parse the scopes of a token: `scope` (RFC 9068), or `scp` as some providers name it."""
    value = claims.get("scope", claims.get("scp"))
    if isinstance(value, str):
        value = value.split()
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()


class AccessTokens(Authentication):
    """Serves callers with an access token of the identity provider, as far as its scopes permit."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        *,
        path: str,
        largest_body: int,
        tenants: TenantsFile | None = None,
        keys: SigningKeys | None = None,
    ) -> None:
        """Prepare for the settings, which have an issuer and a public URL. `path`: that of the MCP endpoint.

        `largest_body`: bytes of a request. `tenants`: what each tenant may do; None: the same for all.
        """
        super().__init__(app)
        resource = f"{settings.public_url}{path}"
        url = urlsplit(resource)
        self._issuer = settings.oauth_issuer or ""
        self._verifier = TokenVerifier(
            keys or SigningKeys(self._issuer), issuer=self._issuer, audience=settings.oauth_audience or resource
        )
        self._tenants = tenants
        self._required = settings.oauth_required_scopes
        self._advertised = settings.oauth_advertised_scopes
        self._metadata_url = f"{url.scheme}://{url.netloc}{METADATA_PATH}{url.path}"
        self._check_body = RequestBodyLimitMiddleware(self._serve_permitted, largest_body)
        metadata = {
            "resource": resource,
            "authorization_servers": [self._issuer],
            "scopes_supported": self._name_scopes(READ, GENERATE),
            "bearer_methods_supported": ["header"],
            "resource_name": "luma-ray-mcp",
        }
        # Clients in browsers read it, too.
        headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": f"max-age={_METADATA_SECONDS}"}
        page = Response(json.dumps(metadata), media_type="application/json", headers=headers)
        # A proxy may or may not pass on a prefix of the public URL.
        self.public = dict.fromkeys((METADATA_PATH, f"{METADATA_PATH}{path}", f"{METADATA_PATH}{url.path}"), page)

    async def identify(self, headers: list[tuple[bytes, bytes]]) -> Tenant:
        """Get the tenant of an access token."""
        try:
            authorization = get_only(headers, "authorization")
            token = parse_bearer(authorization) if authorization is not None else None
        except ValueError:
            raise self._refuse_token("it is not one bearer token") from None
        if token is None:
            # RFC 6750: without a token, no error.
            headers_of_answer = self._challenge(self._name_scopes(READ, GENERATE))
            raise Refusal(401, messages.NOT_SIGNED_IN, headers_of_answer)
        try:
            claims = await self._verifier.verify(token)
        except InvalidToken as error:
            logger.info("a token was refused: %s", error)
            raise self._refuse_token(str(error)) from None
        except ProviderUnreachable:
            raise Refusal(503, messages.PROVIDER_UNREACHABLE, {"Retry-After": "60"}) from None
        scopes = parse_scopes(claims)
        if not scopes.issuperset((READ, *self._required)):
            raise self._refuse_scopes(READ)
        identity = build_tenant_id("oauth", self._issuer, claims["sub"])
        if self._tenants is None:
            return Tenant(identity, owns_credential=False, name=get_user_name(claims), scopes=scopes)
        tenant = self._tenants.find(identity, claims, scopes)
        if tenant is None:
            raise Refusal(403, messages.USER_NOT_ALLOWED)
        return tenant

    def serve(self, tenant: Tenant, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request, if the scopes permit what it is about."""
        if tenant.scopes is not None and GENERATE in tenant.scopes:
            return super().serve(tenant, scope, receive, send)
        # Only the body decides what is executed: headers could claim something else.
        return self._check_body(scope, receive, send)

    async def _serve_permitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request for which `READ` is enough, and refuse every other one."""
        # The middleware before this one delivers the body as one message.
        first = await receive()
        unread = [first]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        body = first.get("body", b"")
        if body and needs_generate(body):
            await refuse(self._refuse_scopes(READ, GENERATE), scope, replay, send)
        else:
            await self._app(scope, replay, send)

    def _name_scopes(self, *scopes: str) -> list[str]:
        """Name what must be requested for these scopes, `READ` first, as clients request it."""
        if not self._advertised:
            return list(dict.fromkeys((*self._required, *scopes)))
        names = dict(zip((READ, GENERATE), self._advertised, strict=False))
        return [*(names[scope] for scope in scopes), *self._advertised[2:]]

    def _challenge(self, scopes: Iterable[str], **fields: str) -> dict[str, str]:
        # None of the values has a quotation mark: they are settings, and texts of this module.
        values = {**fields, "scope": " ".join(scopes), "resource_metadata": self._metadata_url}
        return {"WWW-Authenticate": "Bearer " + ", ".join(f'{name}="{value}"' for name, value in values.items())}

    def _refuse_token(self, reason: str) -> Refusal:
        scopes = self._name_scopes(READ, GENERATE)
        challenge = self._challenge(scopes, error="invalid_token", error_description=f"Not accepted: {reason}")
        return Refusal(401, messages.SIGN_IN_REFUSED.format(reason=reason), challenge)

    def _refuse_scopes(self, *needed: str) -> Refusal:
        scopes = self._name_scopes(*needed)
        text = messages.SCOPE_MISSING.format(scopes=" ".join(scopes))
        return Refusal(403, text, self._challenge(scopes, error="insufficient_scope"))


def needs_generate(body: bytes) -> bool:
    """Whether a request needs `GENERATE`; also True in case of doubt: it must be parsed here as it will be executed."""
    try:
        message = json.loads(body.decode(), object_pairs_hook=_build_object)
        method = message["method"]
        if method == "tools/call":
            return message["params"]["name"] not in READING_TOOLS
    except (ValueError, KeyError, TypeError, RecursionError):
        return True
    return not isinstance(method, str) or method in CHANGING_METHODS


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object of unique names: of repeated ones, another parser could take another value."""
    built = dict(pairs)
    if len(built) != len(pairs):
        raise ValueError("a repeated name")
    return built
