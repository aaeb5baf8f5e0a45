"""The response of a deployment behind nginx to each kind of wrong token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from scripts.cluster import Cluster

WRONG: dict[str, dict[str, str]] = {
    "wrong audience": {"aud": "https://elsewhere.example/mcp"},
    "expired": {"expires": "-3600"},
    "unsigned": {"by": "nobody"},
    "wrongly signed": {"by": "stranger"},
    "other issuer": {"iss": "https://elsewhere.example"},
}
ORDER = {"name": "generate_video", "arguments": {"prompt": "never ordered", "wait_seconds": 0}}


def call(cluster: Cluster, token: str | None, method: str, params: dict[str, Any]) -> httpx2.Response:
    """Send one request of protocol 2025-11-25, which needs no other headers."""
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx2.post(cluster.url, json=body, headers=headers)


def read_challenge(response: httpx2.Response) -> dict[str, str]:
    """Read the parameters of the challenge."""
    header = response.headers["www-authenticate"]
    assert header.startswith("Bearer")
    return dict(re.findall(r'(\w+)="([^"]*)"', header))


@pytest.mark.parametrize("claims", WRONG.values(), ids=WRONG)
def test_wrong_token_gets_401_with_an_error(cluster: Cluster, claims: dict[str, str]) -> None:
    response = call(cluster, cluster.mint(**claims), "tools/call", ORDER)
    challenge = read_challenge(response)
    assert (response.status_code, challenge["error"]) == (401, "invalid_token")
    metadata = httpx2.get(challenge["resource_metadata"]).json()
    assert metadata["resource"] == cluster.url
    assert metadata["authorization_servers"] == [cluster.issuer]


def test_missing_token_gets_401_without_an_error(cluster: Cluster) -> None:
    response = call(cluster, None, "tools/call", ORDER)
    challenge = read_challenge(response)
    assert response.status_code == 401
    assert "error" not in challenge
    assert "luma:read" in challenge["scope"]


def test_missing_scope_gets_403_that_names_it(cluster: Cluster) -> None:
    token = cluster.mint(scope="luma:read")
    assert call(cluster, token, "tools/list", {}).status_code == 200
    response = call(cluster, token, "tools/call", ORDER)
    challenge = read_challenge(response)
    assert (response.status_code, challenge["error"]) == (403, "insufficient_scope")
    assert "luma:generate" in challenge["scope"].split()


def test_metadata_is_at_the_root_and_at_the_path(cluster: Cluster) -> None:
    base = cluster.url.removesuffix("/mcp")
    found = [httpx2.get(f"{base}/.well-known/oauth-protected-resource{path}").json() for path in ("", "/mcp")]
    assert found[0] == found[1]
    assert found[0]["resource"] == cluster.url
