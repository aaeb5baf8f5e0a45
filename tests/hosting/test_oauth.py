"""Access tokens: which ones are accepted, and the responses to the others."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from tests.hosting.identity import (
    AUDIENCE,
    ED,
    EVERYTHING,
    ISSUER,
    KINDS,
    METADATA,
    OPENID,
    OTHER_RSA,
    PUBLIC_URL,
    RSA,
    SMALL_RSA,
    IdentityProvider,
    assemble,
    publish,
)

from luma_mcp.hosting.oauth import (
    KEYS_LIFETIME,
    LEEWAY,
    LONGEST_TOKEN,
    SHORTEST_REFETCH,
    AccessTokens,
    InvalidToken,
    SigningKeys,
    TokenVerifier,
)
from luma_mcp.service.tenants import current_tenant
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

NOW = int(time.time())
HOUR = 3600
PUBLIC_PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


class Clock:
    """A manual clock, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def show_tenant(scope: Scope, receive: Receive, send: Send) -> None:
    """Return what the MCP server would get: the tenant, the headers and the body."""
    tenant = current_tenant.get()
    content = {
        "id": tenant.id,
        "name": tenant.name,
        "scopes": sorted(tenant.scopes or ()),
        "owns_credential": tenant.owns_credential,
        "headers": [name.decode() for name, _ in scope["headers"]],
        "body": (await Request(scope, receive).body()).decode(),
    }
    await JSONResponse(content)(scope, receive, send)


class Resource(httpx2.AsyncBaseTransport):
    """A protected resource and its identity provider, with a client for both."""

    def __init__(self, provider: IdentityProvider | None = None, **settings: str) -> None:
        self.provider = provider or IdentityProvider()
        self.clock = Clock()
        self.reachable = True
        stated = {
            "LUMA_MCP_OAUTH_ISSUER": self.provider.issuer,
            "LUMA_MCP_PUBLIC_URL": PUBLIC_URL,
            "USEAPI_TOKEN": "user:1-paid",
        }
        keys = SigningKeys(self.provider.issuer, transport=self, clock=self.clock)
        parsed = Settings.from_environment(stated | settings)
        app = AccessTokens(show_tenant, parsed, path="/mcp", largest_body=10_000, keys=keys)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=PUBLIC_URL)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Carry a request to the provider."""
        if not self.reachable:
            raise httpx2.ConnectError("nobody there")
        return await httpx2.ASGITransport(self.provider).handle_async_request(request)

    async def call(self, token: str | None, message: Any = CALL, **headers: str) -> httpx2.Response:
        authorization = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return await self.client.post("/mcp", json=message, headers=authorization | headers)


def challenge(response: httpx2.Response) -> dict[str, str]:
    """Parse the parameters of a Bearer challenge."""
    scheme, _, rest = response.headers["www-authenticate"].partition(" ")
    assert scheme == "Bearer"
    return dict(re.findall(r'(\w+)="([^"]*)"', rest))


@pytest.mark.parametrize(("algorithm", "kid"), [("RS256", "rsa"), ("PS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")])
async def test_a_token_of_every_allowed_algorithm_is_accepted(algorithm: str, kid: str) -> None:
    resource = Resource()
    response = await resource.call(resource.provider.sign(KINDS[algorithm], kid, algorithm))
    assert response.status_code == 200
    content = response.json()
    assert content["scopes"] == sorted(EVERYTHING.split())
    assert content["owns_credential"] is False
    assert (content["name"], "anna" in content["id"]) == ("anna", False)


VALID: dict[str, dict[str, Any]] = {
    "several audiences": {"aud": ["https://other.example.com", AUDIENCE]},
    "expired within the leeway": {"exp": NOW - LEEWAY // 2},
    "not yet valid within the leeway": {"nbf": NOW + LEEWAY // 2, "iat": NOW + LEEWAY // 2},
    "type JWT": {"typ": "JWT"},
    "type application/at+jwt": {"typ": "application/at+jwt"},
    "no type": {"typ": None},
    "scp as a string": {"scope": None, "scp": EVERYTHING},
    "scp as a list": {"scope": None, "scp": EVERYTHING.split()},
    "no iat": {"iat": None},
}


@pytest.mark.parametrize("claims", VALID.values(), ids=VALID)
async def test_differences_between_providers_are_accepted(claims: dict[str, Any]) -> None:
    resource = Resource()
    # The table was built when the tests were collected, which may be minutes ago.
    since = int(time.time()) - NOW
    moved = {name: value + since for name, value in claims.items() if isinstance(value, int)}
    assert (await resource.call(resource.provider.sign(**claims | moved))).status_code == 200


CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": NOW + HOUR, "scope": EVERYTHING}
# The tables are built when the tests are collected, which may be minutes before the last one runs.
SIGN = partial(IdentityProvider().sign, exp=NOW + HOUR)


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def forge(header: dict[str, Any]) -> str:
    """Build a token with this header, signed with a foreign key."""
    return assemble(header, CLAIMS, jwt.get_algorithm_by_name("RS256").sign(b"anything", OTHER_RSA))


def sign_by_hmac() -> str:
    """Build a token signed by HMAC with the public key, for a verifier that lets the token choose the algorithm."""
    text = assemble({"alg": "HS256", "typ": "at+jwt", "kid": "rsa"}, CLAIMS).rpartition(".")[0]
    return f"{text}.{encode(hmac.digest(PUBLIC_PEM, text.encode(), 'sha256'))}"


def swap_claims() -> str:
    """Build a token with the claims of another one."""
    header, _, signature = SIGN().split(".")
    return ".".join((header, SIGN(sub="bob").split(".")[1], signature))


NO_JWT, UNREADABLE, NO_ALGORITHM = "it is not a JWT", "it cannot be read", "its algorithm is not allowed"
FORGED, NO_KEY, NO_ACCESS_TOKEN = "its signature is wrong", "its key is unknown", "it is not an access token"
OTHER_AUDIENCE, OTHER_ISSUER, LACKING = "it is for another audience", "it is of another issuer", "it lacks exp, iss"
EXPIRED, NOT_YET = "it has expired", "it is not valid yet"
INVALID: dict[str, tuple[str, str]] = {
    "wrong audience": (SIGN(aud="https://other.example.com/mcp"), OTHER_AUDIENCE),
    "the beginning of the audience": (SIGN(aud=PUBLIC_URL), OTHER_AUDIENCE),
    "no audience": (SIGN(aud=None), LACKING),
    "no audience in a list": (SIGN(aud=[]), LACKING),
    "expired": (SIGN(exp=NOW - 2 * LEEWAY), EXPIRED),
    "no expiry": (SIGN(exp=None), LACKING),
    "an expiry that is no number": (SIGN(exp="never"), UNREADABLE),
    "not yet valid": (SIGN(nbf=NOW + 100 * LEEWAY), NOT_YET),
    "issued in the future": (SIGN(iat=NOW + 100 * LEEWAY), NOT_YET),
    "unsigned": (assemble({"alg": "none", "typ": "at+jwt"}, CLAIMS, b"x"), NO_ALGORITHM),
    "unsigned, without a signature": (assemble({"alg": "none", "typ": "at+jwt"}, CLAIMS), NO_JWT),
    "unsigned, in capitals": (assemble({"alg": "NONE"}, CLAIMS, b"x"), NO_ALGORITHM),
    "unsigned, no algorithm": (assemble({}, CLAIMS, b"x"), NO_ALGORITHM),
    "HS256 with the public key": (sign_by_hmac(), NO_ALGORITHM),
    "wrongly signed": (SIGN(OTHER_RSA), FORGED),
    "the signature of other claims": (swap_claims(), FORGED),
    "a signature of one byte": (assemble({"alg": "RS256", "kid": "rsa"}, CLAIMS, b"x"), FORGED),
    "a key in its header": (forge({"alg": "RS256", "kid": "rsa", "jwk": publish(OTHER_RSA, "rsa")}), FORGED),
    "a key elsewhere": (forge({"alg": "RS256", "kid": "rsa", "jku": "https://evil.example.com/keys"}), FORGED),
    "a key of another algorithm": (forge({"alg": "ES256", "kid": "rsa"}), NO_KEY),
    "an algorithm that is not listed": (SIGN(algorithm="RS512"), NO_ALGORITHM),
    "critical extensions": (forge({"alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1}), UNREADABLE),
    "other issuer": (SIGN(iss="https://evil.example.com"), OTHER_ISSUER),
    "an issuer with a slash": (SIGN(iss=f"{ISSUER}/"), OTHER_ISSUER),
    "no issuer": (SIGN(iss=None), LACKING),
    "missing sub": (SIGN(sub=None), LACKING),
    "empty sub": (SIGN(sub=""), LACKING),
    "unknown kid": (SIGN(kid="new"), NO_KEY),
    "a path as kid": (SIGN(kid="../../../../dev/null"), NO_KEY),
    "an id token by its nonce": (SIGN(nonce="1"), NO_ACCESS_TOKEN),
    "an id token by its at_hash": (SIGN(at_hash="1"), NO_ACCESS_TOKEN),
    "an id token by its use": (SIGN(token_use="id"), NO_ACCESS_TOKEN),
    "a logout token": (SIGN(typ="logout+jwt"), NO_ACCESS_TOKEN),
    "a type that is no text": (assemble({"alg": "RS256", "kid": "rsa", "typ": 1}, CLAIMS, b"x"), UNREADABLE),
    "huge": (SIGN(groups=["g" * 1000] * (LONGEST_TOKEN // 1000)), NO_JWT),
    "encrypted": ("a.b.c.d.e", NO_JWT),
    "opaque": ("opaque-token", NO_JWT),
    "two tokens": (f"{SIGN()},{SIGN()}", NO_JWT),
    "a header that is a list": (assemble([1], CLAIMS, b"x"), UNREADABLE),
    "a header that is no JSON": (f"{encode(b'[' * 5000)}.e30.eA", UNREADABLE),
}


@pytest.mark.parametrize(("token", "reason"), INVALID.values(), ids=INVALID)
async def test_a_token_that_is_not_valid(token: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    resource = Resource()
    response = await resource.call(token)
    fields = challenge(response)
    assert (response.status_code, fields["error"]) == (401, "invalid_token")
    assert reason in fields["error_description"]
    assert fields["scope"] == EVERYTHING
    assert fields["resource_metadata"] == f"{PUBLIC_URL}/.well-known/oauth-protected-resource/mcp"
    for text in (response.text, caplog.text, str(response.headers)):
        assert token not in text
        assert "anna" not in text


AUTHORIZATIONS = {
    "empty": [""],
    "the scheme alone": ["Bearer"],
    "another scheme": [f"Basic {SIGN()}"],
    "no scheme": [SIGN()],
    "two of them": [f"Bearer {SIGN()}", f"Bearer {SIGN()}"],
    "two of them, one empty": ["", f"Bearer {SIGN()}"],
}


@pytest.mark.parametrize("values", AUTHORIZATIONS.values(), ids=AUTHORIZATIONS)
async def test_an_authorization_that_is_no_bearer_token(values: list[str]) -> None:
    response = await Resource().client.post("/mcp", json=CALL, headers=[("Authorization", value) for value in values])
    assert (response.status_code, challenge(response)["error"]) == (401, "invalid_token")


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/", "/metrics", "/hooks", "/.well-known/../mcp", "//mcp"])
async def test_without_a_token_a_challenge_without_an_error(path: str) -> None:
    response = await Resource().client.post(path, json=CALL)
    assert response.status_code == 401
    assert challenge(response) == {
        "scope": EVERYTHING,
        "resource_metadata": f"{PUBLIC_URL}/.well-known/oauth-protected-resource/mcp",
    }


# Scopes

LIST = CALL
READING = [
    {"method": "tools/list"},
    {"method": "initialize", "params": {}},
    {"method": "server/discover"},
    {"method": "ping"},
    {"method": "resources/read", "params": {"uri": "luma://jobs"}},
    {"method": "completion/complete"},
    {"method": "tasks/get", "params": {"taskId": "1"}},
    *({"method": "tools/call", "params": {"name": name}} for name in ("get_job", "list_jobs", "list_options")),
]
GENERATING = [
    {"method": "tasks/cancel", "params": {"taskId": "1"}},
    {"method": "tasks/update", "params": {"taskId": "1"}},
    *({"method": "tools/call", "params": {"name": name}} for name in ("generate_video", "delete_job", "new_tool")),
]


@pytest.mark.parametrize("message", READING, ids=str)
async def test_reading_needs_one_scope(message: dict[str, Any]) -> None:
    resource = Resource()
    token = resource.provider.sign(scope="luma:read")
    response = await resource.call(token, {"jsonrpc": "2.0", "id": 1, **message})
    assert response.status_code == 200
    assert json.loads(response.json()["body"])["method"] == message["method"]


@pytest.mark.parametrize("message", GENERATING, ids=str)
async def test_ordering_needs_another_scope(message: dict[str, Any]) -> None:
    resource = Resource()
    # Headers that say something else change nothing.
    headers = {"Mcp-Method": "tools/list", "Mcp-Name": "list_jobs"}
    call = {"jsonrpc": "2.0", "id": 1, **message}
    response = await resource.call(resource.provider.sign(scope="luma:read"), call, **headers)
    fields = challenge(response)
    assert (response.status_code, fields["error"], fields["scope"]) == (403, "insufficient_scope", EVERYTHING)
    assert (await resource.call(resource.provider.sign(), call)).status_code == 200


HIDDEN_CALLS = {
    "a repeated method": b'{"method": "tools/call", "params": {"name": "generate_video"}, "method": "tools/list"}',
    "a repeated name": b'{"method": "tools/call", "params": {"name": "generate_video", "name": "list_jobs"}}',
    "a batch": b'[{"method": "tools/list"}, {"method": "tools/call", "params": {"name": "generate_video"}}]',
    "an escaped name": rb'{"method": "tools\u002fcall", "params": {"name": "generate\u005fvideo"}}',
    "UTF-16": '{"method": "tools/list"}'.encode("utf-16"),
    "no JSON": b"{",
    "no object": b"7",
    "no method": b"{}",
    "a name that is a list": b'{"method": "tools/call", "params": {"name": ["list_jobs"]}}',
    "nested too deeply": b"[" * 9000,
}


@pytest.mark.parametrize("body", HIDDEN_CALLS.values(), ids=HIDDEN_CALLS)
async def test_a_call_that_others_could_read_otherwise_needs_the_other_scope(body: bytes) -> None:
    resource = Resource()
    headers = {"Authorization": f"Bearer {resource.provider.sign(scope='luma:read')}"}
    response = await resource.client.post("/mcp", content=body, headers=headers)
    assert (response.status_code, challenge(response)["error"]) == (403, "insufficient_scope")


async def test_a_large_request_is_not_read_for_its_scope() -> None:
    resource = Resource()
    headers = {"Authorization": f"Bearer {resource.provider.sign(scope='luma:read')}"}
    response = await resource.client.post("/mcp", content=b" " * 10_001, headers=headers)
    assert response.status_code == 413


@pytest.mark.parametrize("scopes", ["", "luma:generate", "openid", "luma:reader", "LUMA:READ"])
async def test_nothing_without_the_scope_for_reading(scopes: str) -> None:
    resource = Resource()
    response = await resource.call(resource.provider.sign(scope=scopes))
    assert response.status_code == 403
    fields = challenge(response)
    assert (fields["error"], fields["scope"]) == ("insufficient_scope", "luma:read")


@pytest.mark.parametrize("value", [{"scope": 7}, {"scope": None, "scp": {"luma:read": 1}}, {"scope": [["luma:read"]]}])
async def test_unreadable_scopes_are_ignored(value: dict[str, Any]) -> None:
    resource = Resource()
    assert (await resource.call(resource.provider.sign(**value))).status_code == 403


async def test_required_scopes_are_checked_and_named() -> None:
    resource = Resource(LUMA_MCP_OAUTH_REQUIRED_SCOPES="studio film")
    assert challenge(await resource.call(None))["scope"] == f"studio film {EVERYTHING}"
    missing = await resource.call(resource.provider.sign(scope=f"studio {EVERYTHING}"))
    assert (missing.status_code, challenge(missing)["scope"]) == (403, "studio film luma:read")
    assert (await resource.call(resource.provider.sign(scope=f"studio film {EVERYTHING}"))).status_code == 200


async def test_advertised_scopes_are_named_and_short_ones_checked() -> None:
    advertised = "api://film/luma:read api://film/luma:generate offline_access"
    resource = Resource(LUMA_MCP_OAUTH_ADVERTISED_SCOPES=advertised)
    assert challenge(await resource.call(None))["scope"] == advertised
    metadata = await resource.client.get("/.well-known/oauth-protected-resource")
    assert metadata.json()["scopes_supported"] == advertised.split()
    order = {"method": "tools/call", "params": {"name": "generate_video"}}
    refused = await resource.call(resource.provider.sign(scope=None, scp="luma:read"), order)
    assert (refused.status_code, challenge(refused)["scope"]) == (403, advertised)
    refused = await resource.call(resource.provider.sign(scope=advertised), order)
    assert (refused.status_code, challenge(refused)["scope"]) == (403, "api://film/luma:read offline_access")
    assert (await resource.call(resource.provider.sign(scope=None, scp=EVERYTHING), order)).status_code == 200


# Metadata


@pytest.mark.parametrize("path", ["", "/mcp"])
async def test_the_metadata_of_the_resource(path: str) -> None:
    response = await Resource().client.get(f"/.well-known/oauth-protected-resource{path}")
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, "*")
    assert response.json() == {
        "resource": AUDIENCE,
        "authorization_servers": [ISSUER],
        "scopes_supported": EVERYTHING.split(),
        "bearer_methods_supported": ["header"],
        "resource_name": "luma-ray-mcp",
    }


async def test_other_well_known_addresses_have_nothing() -> None:
    resource = Resource()
    for path in ("oauth-authorization-server", "openid-configuration", "oauth-protected-resource/other"):
        assert (await resource.client.get(f"/.well-known/{path}")).status_code == 404
    assert (await resource.client.post("/.well-known/oauth-protected-resource")).status_code == 404


async def test_a_public_url_with_a_path() -> None:
    resource = Resource(LUMA_MCP_PUBLIC_URL="https://tools.example.com/luma/mcp")
    url = challenge(await resource.call(None))["resource_metadata"]
    assert url == "https://tools.example.com/.well-known/oauth-protected-resource/luma/mcp"
    for path in (url.removeprefix("https://tools.example.com"), "/.well-known/oauth-protected-resource/mcp"):
        metadata = (await resource.client.get(path)).json()
        assert metadata["resource"] == "https://tools.example.com/luma/mcp"
    assert (await resource.call(resource.provider.sign())).status_code == 401
    assert (await resource.call(resource.provider.sign(aud="https://tools.example.com/luma/mcp"))).status_code == 200


async def test_custom_audience() -> None:
    resource = Resource(LUMA_MCP_OAUTH_AUDIENCE="api://film")
    assert (await resource.call(resource.provider.sign())).status_code == 401
    assert (await resource.call(resource.provider.sign(aud="api://film"))).status_code == 200


# The tenant


async def test_the_tenant_is_the_issuer_and_the_sub() -> None:
    resource, other = Resource(), Resource(IdentityProvider("https://other.example.com", path=ROOT_METADATA))
    ids = [
        (await each.call(each.provider.sign(sub=sub, **claims))).json()["id"]
        for each, sub, claims in (
            (resource, "anna", {}),
            (resource, "anna", {"scope": "luma:read", "email": "new@example.com", "client_id": "x"}),
            (resource, "bob", {"email": "anna"}),
            (other, "anna", {}),
        )
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


async def test_token_is_not_passed_on() -> None:
    resource = Resource()
    headers = {"Cookie": "a=b", "X-UseAPI-Token": "user:1-mine", "Mcp-Method": "tools/list"}
    passed_on = (await resource.call(resource.provider.sign(), **headers)).json()["headers"]
    assert "mcp-method" in passed_on
    assert not {"authorization", "cookie", "x-useapi-token"} & set(passed_on)


@pytest.mark.parametrize("name", ["access_token", "token", "api_key", "Access_Token", "x-useapi-token"])
async def test_a_token_in_the_url_is_refused(name: str) -> None:
    resource = Resource()
    token = resource.provider.sign()
    headers = {"Authorization": f"Bearer {token}"}
    both = await resource.client.post(f"/mcp?{name}={token}", json=CALL, headers=headers)
    alone = await resource.client.post(f"/mcp?{name}={token}", json=CALL)
    assert (both.status_code, alone.status_code) == (400, 401)
    assert token not in both.text + alone.text


# Keys


async def test_keys_are_fetched_once() -> None:
    resource = Resource()
    for _ in range(3):
        assert (await resource.call(resource.provider.sign())).status_code == 200
    assert resource.provider.requests == {METADATA: 1, "/realms/film/keys": 1}


async def test_calls_at_once_fetch_keys_once() -> None:
    resource = Resource()
    async with anyio.create_task_group() as calls:
        for _ in range(10):
            calls.start_soon(resource.call, resource.provider.sign())
    assert resource.provider.requests["/realms/film/keys"] == 1


async def test_a_new_key_is_found_and_unknown_ones_are_not_looked_for_too_often() -> None:
    resource = Resource()
    assert (await resource.call(resource.provider.sign())).status_code == 200
    resource.provider.keys = [publish(OTHER_RSA, "new")]
    resource.clock.now += SHORTEST_REFETCH
    assert (await resource.call(resource.provider.sign(OTHER_RSA, "new"))).status_code == 200
    for number in range(20):
        assert (await resource.call(resource.provider.sign(kid=f"made-up-{number}"))).status_code == 401
    assert resource.provider.requests["/realms/film/keys"] == 2
    # The provider has withdrawn it.
    assert (await resource.call(resource.provider.sign())).status_code == 401


async def test_a_withdrawn_key_is_not_accepted_for_long() -> None:
    resource = Resource()
    assert (await resource.call(resource.provider.sign())).status_code == 200
    resource.provider.keys = [publish(OTHER_RSA, "new")]
    resource.clock.now += KEYS_LIFETIME + 1
    assert (await resource.call(resource.provider.sign())).status_code == 401


async def test_a_token_that_was_accepted_expires() -> None:
    provider, wall_clock = IdentityProvider(), Clock()
    wall_clock.now = NOW
    keys = SigningKeys(ISSUER, transport=httpx2.ASGITransport(provider))
    verifier = TokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE, wall_clock=wall_clock)
    token = provider.sign(exp=NOW + HOUR)
    for wall_clock.now in (NOW, NOW + HOUR, NOW + HOUR + LEEWAY - 1):
        assert (await verifier.verify(token))["sub"] == "anna"
    wall_clock.now = NOW + HOUR + LEEWAY
    with pytest.raises(InvalidToken, match="expired"):
        await verifier.verify(token)


async def test_known_keys_stay_in_use_while_the_provider_is_unreachable() -> None:
    resource = Resource()
    assert (await resource.call(resource.provider.sign())).status_code == 200
    resource.reachable = False
    resource.clock.now += KEYS_LIFETIME + 1
    assert (await resource.call(resource.provider.sign())).status_code == 200
    # Whether the provider has this key is not known.
    unknown = await resource.call(resource.provider.sign(OTHER_RSA, "new"))
    assert (unknown.status_code, unknown.headers["retry-after"]) == (503, "60")
    assert "www-authenticate" not in unknown.headers


async def test_an_unreachable_provider_is_not_the_fault_of_the_token() -> None:
    resource = Resource()
    resource.reachable = False
    assert (await resource.call(resource.provider.sign())).status_code == 503
    resource.reachable = True
    assert (await resource.call(resource.provider.sign())).status_code == 503
    resource.clock.now += SHORTEST_REFETCH
    assert (await resource.call(resource.provider.sign())).status_code == 200


async def test_a_token_without_kid_needs_a_provider_with_one_key() -> None:
    resource = Resource()
    assert (await resource.call(resource.provider.sign(kid=None))).status_code == 200
    resource = Resource()
    resource.provider.keys.append(publish(OTHER_RSA, "second"))
    assert (await resource.call(resource.provider.sign(kid=None))).status_code == 401


KEYS = {
    "for encryption": publish(RSA, "rsa", use="enc"),
    "for another algorithm": publish(RSA, "rsa", alg="RS512"),
    "too short": publish(SMALL_RSA, "rsa"),
    "a secret": {"kty": "oct", "k": encode(PUBLIC_PEM), "kid": "rsa"},
    "with its private part": {**jwt.get_algorithm_by_name("RS256").to_jwk(RSA, as_dict=True), "kid": "rsa"},
    "of an unknown kind": {"kty": ["RSA"], "kid": "rsa"},
    "incomplete": {"kty": "RSA", "kid": "rsa", "n": "AQAB"},
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_a_key_that_is_not_for_signing_tokens_is_ignored(key: dict[str, Any]) -> None:
    resource = Resource()
    resource.provider.keys = [key, "no key", publish(ED, "ed")]  # type: ignore[list-item]
    signer = SMALL_RSA if "incomplete" not in str(key) and key == KEYS["too short"] else RSA
    with warnings.catch_warnings():
        # PyJWT warns of the short one.
        warnings.simplefilter("ignore")
        token = resource.provider.sign(signer)
    assert (await resource.call(token)).status_code == 401
    assert (await resource.call(resource.provider.sign(ED, "ed", "EdDSA"))).status_code == 200


ROOT_METADATA = "/.well-known/oauth-authorization-server"


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        (ISSUER, METADATA),
        (ISSUER, OPENID),
        (ISSUER, "/.well-known/openid-configuration/realms/film"),
        ("https://film.example.com", ROOT_METADATA),
        ("https://film.example.com/", "/.well-known/openid-configuration"),
    ],
)
async def test_metadata_is_found_at_each_well_known_address(issuer: str, path: str) -> None:
    provider = IdentityProvider(issuer, path=path)
    provider.documents[path]["jwks_uri"] = "https://keys.example.com/keys"
    assert (await Resource(provider).call(provider.sign())).status_code == 200


DOCUMENTS = {
    "of another issuer": {"issuer": "https://evil.example.com", "jwks_uri": f"{ISSUER}/keys"},
    "of almost this issuer": {"issuer": f"{ISSUER}/", "jwks_uri": f"{ISSUER}/keys"},
    "without an issuer": {"jwks_uri": f"{ISSUER}/keys"},
    "keys without encryption": {"issuer": ISSUER, "jwks_uri": "http://sign-in.example.com/realms/film/keys"},
    "keys on this machine": {"issuer": ISSUER, "jwks_uri": "http://127.0.0.1/realms/film/keys"},
    "keys in a file": {"issuer": ISSUER, "jwks_uri": "file:///etc/keys"},
    "no address of keys": {"issuer": ISSUER},
    "an address that is none": {"issuer": ISSUER, "jwks_uri": ["https://sign-in.example.com/keys"]},
    "a list": [1],
    "too large": {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "more": "a" * 1_000_001},
    "no JSON": Response("<html>"),
    "a redirect": RedirectResponse("https://evil.example.com/metadata"),
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
async def test_metadata_that_is_not_trusted(document: Any) -> None:
    provider = IdentityProvider()
    provider.documents[METADATA] = document
    assert (await Resource(provider).call(provider.sign())).status_code == 503
    assert provider.requests["/realms/film/keys"] == 0


async def test_an_empty_set_of_keys_replaces_nothing() -> None:
    resource = Resource()
    assert (await resource.call(resource.provider.sign())).status_code == 200
    resource.provider.keys = []
    resource.clock.now += KEYS_LIFETIME + 1
    assert (await resource.call(resource.provider.sign())).status_code == 200
