"""An identity provider for tests: it publishes its metadata and keys, and signs any token."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

ISSUER = "https://sign-in.example.com/realms/film"
PUBLIC_URL = "https://video.example.com"
AUDIENCE = f"{PUBLIC_URL}/mcp"
EVERYTHING = "luma:read luma:generate"
METADATA = "/.well-known/oauth-authorization-server/realms/film"
OPENID = "/realms/film/.well-known/openid-configuration"

RSA, OTHER_RSA = (rsa.generate_private_key(public_exponent=65_537, key_size=2048) for _ in range(2))
SMALL_RSA = rsa.generate_private_key(public_exponent=65_537, key_size=1024)  # noqa: S505 - it must be refused
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KINDS = {"RS256": RSA, "PS256": RSA, "ES256": EC, "EdDSA": ED}
"""By algorithm, a key for it."""


def publish(key: Any, kid: str | None, **fields: Any) -> dict[str, Any]:
    """The public part of a key as a provider publishes it."""
    algorithm = {RSA: "RS256", OTHER_RSA: "RS256", SMALL_RSA: "RS256", EC: "ES256", ED: "EdDSA"}[key]
    published = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    published = {name: value for name, value in published.items() if name not in ("alg", "key_ops")}
    return {**published, **({"kid": kid} if kid else {}), **fields}


class IdentityProvider:
    """An ASGI application with the provider's documents. `requests` counts the requests for each."""

    def __init__(self, issuer: str = ISSUER, *, path: str = METADATA) -> None:
        self.issuer = issuer
        self.keys = [publish(RSA, "rsa"), publish(EC, "ec"), publish(ED, "ed")]
        self.documents: dict[str, Any] = {path: {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}}
        self.requests: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        path = scope["path"]
        self.requests[path] += 1
        document = {"keys": self.keys} if path.endswith("/keys") else self.documents.get(path)
        answer: Response = document if isinstance(document, Response) else JSONResponse(document or {})
        answer.status_code = 404 if document is None else answer.status_code
        await answer(scope, receive, send)

    def move(self, issuer: str) -> IdentityProvider:
        """Change the address in the documents and tokens to the one at which the provider is served."""
        self.issuer = issuer
        self.documents = {"/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}}
        return self

    def sign(
        self,
        key: Any = RSA,
        kid: str | None = "rsa",
        algorithm: str = "RS256",
        *,
        typ: str | None = "at+jwt",
        **claims: Any,
    ) -> str:
        """An access token that is valid unless a claim says otherwise; None leaves out a claim."""
        now = int(time.time())
        valid = {"iss": self.issuer, "aud": AUDIENCE, "sub": "anna", "iat": now, "exp": now + 300, "scope": EVERYTHING}
        stated = {name: value for name, value in (valid | claims).items() if value is not None}
        header = {"typ": typ, **({"kid": kid} if kid else {})}
        return jwt.encode(stated, key, algorithm=algorithm, headers=header)


def assemble(header: Any, claims: Any, signature: bytes = b"") -> str:
    """Build a token from these parts, which a library would reject."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
