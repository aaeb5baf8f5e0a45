"""Official clients sign in through their own OAuth flow: discovery, registration, PKCE and the resource indicator."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth.oauth2 import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl
from scripts.clients import FOLDER
from scripts.node_packages import install, node

if TYPE_CHECKING:
    from scripts.cluster import Cluster

REDIRECT = "http://127.0.0.1/signed-in"
MODES = pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Storage:
    """What a client keeps about its sign-in."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """Signs somebody in: the identity provider needs no more than that redirects are followed."""

    def __init__(self, login: str) -> None:
        self._login = login
        self._authorize = httpx2.URL()

    async def open(self, url: str) -> None:
        self._authorize = httpx2.URL(url).copy_merge_params({"login_hint": self._login})

    async def come_back(self) -> AuthorizationCodeResult:
        url = self._authorize
        async with httpx2.AsyncClient() as http:
            while not str(url).startswith(REDIRECT):
                response = await http.get(url)
                assert response.is_redirect, response.text
                url = url.join(response.headers["location"])
        return AuthorizationCodeResult(**dict(url.params))


def sign_in(url: str, login: str, storage: Storage) -> OAuthClientProvider:
    """Build the client's own authentication, which signs in when the server wants it."""
    metadata = OAuthClientMetadata(
        client_name="client",
        redirect_uris=[AnyUrl(REDIRECT)],
        token_endpoint_auth_method="none",
        application_type="native",
    )
    browser = Browser(login)
    return OAuthClientProvider(url, metadata, storage, browser.open, browser.come_back)


@MODES
async def test_python_client_signs_in_and_makes_a_video(cluster: Cluster, mode: Any) -> None:
    storage, seen = Storage(), []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        seen.append(progress)

    async with (
        httpx2.AsyncClient(auth=sign_in(cluster.url, "bob", storage), timeout=60) as http,
        Client(streamable_http_client(cluster.url, http_client=http), mode=mode) as client,
    ):
        assert "generate_video" in [tool.name for tool in (await client.list_tools()).tools]
        order = {"prompt": f"an owl at night, {mode}", "wait_seconds": 50}
        result = await client.call_tool("generate_video", order, progress_callback=on_progress)
        assert result.structured_content
        assert result.structured_content["state"] == "completed"
        assert seen
        jobid = result.structured_content["jobid"]
    assert storage.tokens
    headers = {"Authorization": f"Bearer {storage.tokens.access_token}"}
    for replica in cluster.replicas:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(replica.url, http_client=http), mode=mode) as client,
        ):
            found = await client.call_tool("get_job", {"jobid": jobid})
            assert found.structured_content
            assert found.structured_content["state"] == "completed"


def test_typescript_client_signs_in_and_makes_a_video(cluster: Cluster) -> None:
    install(FOLDER)
    environment = {
        "PATH": os.environ["PATH"],
        "URL": cluster.url,
        "OTHER": cluster.replicas[1].url,
        "LOGIN": "alice",
        "LUMA_MCP": "",
    }
    command = [node(FOLDER), "--test", "--test-reporter=spec", "signing_in.mjs"]
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
