"""Official clients sign in with their own OAuth flow: discovery, registration, PKCE and resource indicator."""

from __future__ import annotations

import os
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth.oauth2 import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.shared.exceptions import MCPError
from pydantic import AnyUrl
from scripts.clients import FOLDER
from scripts.node_packages import install, node
from tests.conftest import ERAS
from tests.server.declaring import TASKS, call_raw, declaring, task_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scripts.cluster import Cluster

REDIRECT = "http://127.0.0.1/signed-in"
MODES = pytest.mark.parametrize("mode", ERAS)
TASK_METHODS: dict[str, dict[str, Any]] = {"tasks/get": {}, "tasks/cancel": {}, "tasks/update": {"inputResponses": {}}}
TIMEOUT = 60.0
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Storage:
    """The tokens and the registration of a client."""

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
    """Signs a user in by following the redirects of the identity provider.

    `granted`: the scopes that are granted the first time, if not all. `requested`: the scopes of each request of the
    client.
    """

    def __init__(self, login: str, granted: str | None = None) -> None:
        self._login = login
        self._granted = granted
        self._authorize = httpx2.URL()
        self.requested: list[set[str]] = []

    async def open(self, url: str) -> None:
        params = {"login_hint": self._login}
        if self._granted and not self.requested:
            params["scope"] = self._granted
        self._authorize = httpx2.URL(url).copy_merge_params(params)
        self.requested.append(set(httpx2.URL(url).params["scope"].split()))

    async def follow_redirects(self) -> AuthorizationCodeResult:
        url = self._authorize
        async with httpx2.AsyncClient() as http:
            while not str(url).startswith(REDIRECT):
                response = await http.get(url)
                assert response.is_redirect, response.text
                url = url.join(response.headers["location"])
        return AuthorizationCodeResult(**dict(url.params))


def sign_in(cluster: Cluster, browser: Browser, storage: Storage | None = None) -> OAuthClientProvider:
    """Build the client's own authentication, which signs in when the server requires it."""
    metadata = OAuthClientMetadata(
        client_name="client",
        redirect_uris=[AnyUrl(REDIRECT)],
        token_endpoint_auth_method="none",
        application_type="native",
    )
    return OAuthClientProvider(cluster.url, metadata, storage or Storage(), browser.open, browser.follow_redirects)


@asynccontextmanager
async def connect(url: str, auth: OAuthClientProvider, mode: str, *extensions: str) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(auth=auth, timeout=TIMEOUT) as http:
        client = Client(streamable_http_client(url, http_client=http), mode=mode)
        async with declaring(client, *extensions) as client:
            yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool. Returns its structured content."""
    result = await client.call_tool(tool, arguments)
    assert result.structured_content
    return dict(result.structured_content)


@MODES
async def test_python_client_signs_in_and_makes_a_video(cluster: Cluster, mode: str) -> None:
    seen = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        seen.append(progress)

    auth = sign_in(cluster, Browser("bob"))
    order = {"prompt": f"an owl at night, {mode}", "wait_seconds": 50}
    async with connect(cluster.url, auth, mode) as client:
        assert "generate_video" in [tool.name for tool in (await client.list_tools()).tools]
        refusal = await call(client, "generate_video", prompt="an owl", resolution="draft", dynamic_range="hdr")
        assert refusal["error"]["kind"] == "invalid_arguments"
        result = await client.call_tool("generate_video", order, progress_callback=on_progress)
        assert result.structured_content
        assert result.structured_content["state"] == "completed"
        assert seen
        jobid = result.structured_content["jobid"]
    for replica in cluster.replicas:
        async with connect(replica.url, auth, mode) as client:
            assert (await call(client, "get_job", jobid=jobid))["state"] == "completed"
    async with connect(cluster.url, auth, mode) as client:
        assert jobid in [job["jobid"] for job in (await call(client, "list_jobs"))["jobs"]]
        assert "error" not in await call(client, "delete_job", jobid=jobid)


async def test_python_client_continues_a_task_at_the_other_replica(cluster: Cluster) -> None:
    here, there = (replica.url for replica in cluster.replicas)
    auth, stranger = sign_in(cluster, Browser("bob")), sign_in(cluster, Browser("alice"))
    for each in (auth, stranger):
        async with connect(cluster.url, each, ERAS[0]) as client:
            await client.list_tools()
    async with connect(here, auth, ERAS[0], TASKS) as client:
        task = await call_raw(client, "generate_video", prompt="a stoat as a task")
        refusal = await call_raw(client, "generate_video", prompt="a", resolution="draft", dynamic_range="hdr")
    assert task["resultType"] == "task"
    assert refusal["structuredContent"]["error"]["kind"] == "invalid_arguments"
    for url in (here, there):
        async with connect(url, stranger, ERAS[0], TASKS) as client:
            for method, params in TASK_METHODS.items():
                with pytest.raises(MCPError) as rejected:
                    await task_request(client, method, task["taskId"], **params)
                assert rejected.value.code == -32602
    async with connect(there, auth, ERAS[0], TASKS) as client:
        # A generation cannot be stopped.
        assert await task_request(client, "tasks/cancel", task["taskId"]) == {"resultType": "complete"}
        assert (await task_request(client, "tasks/get", task["taskId"]))["taskId"] == task["taskId"]
    async with connect(there, auth, ERAS[0]) as client:
        assert (await call(client, "get_job", jobid=task["taskId"], wait_seconds=50))["state"] == "completed"
    async with connect(there, auth, ERAS[0], TASKS) as client:
        polled = await task_request(client, "tasks/get", task["taskId"])
    assert polled["status"] == "completed"
    assert polled["result"]["structuredContent"]["state"] == "completed"
    assert polled["result"]["structuredContent"]["jobid"] == task["taskId"]


async def test_python_client_gets_no_task_at_2025_11_25(cluster: Cluster) -> None:
    auth = sign_in(cluster, Browser("bob"))
    async with connect(cluster.url, auth, "legacy", TASKS) as client:
        result = await call_raw(client, "generate_video", prompt="a weasel without a task", wait_seconds=0)
        jobid = result["structuredContent"]["jobid"]
        for method, params in TASK_METHODS.items():
            with pytest.raises(MCPError) as rejected:
                await task_request(client, method, jobid, **params)
            assert rejected.value.code == -32601
    async with connect(cluster.replicas[1].url, auth, "legacy", TASKS) as client:
        assert (await call(client, "get_job", jobid=jobid, wait_seconds=50))["state"] == "completed"


@MODES
async def test_python_client_requests_the_scope_for_ordering(cluster: Cluster, mode: str) -> None:
    storage, browser = Storage(), Browser("bob", granted="luma:read")
    async with connect(cluster.url, sign_in(cluster, browser, storage), mode) as client:
        await client.list_tools()
        assert storage.tokens
        assert storage.tokens.scope == "luma:read"
        job = await call(client, "generate_video", prompt=f"a heron at dusk, {mode}", wait_seconds=50)
    assert job["state"] == "completed"
    assert len(browser.requested) == 2
    assert browser.requested[1] >= {"luma:read", "luma:generate"}


def test_typescript_client_signs_in_and_makes_videos(cluster: Cluster) -> None:
    install(FOLDER)
    environment = {
        "PATH": os.environ["PATH"],
        "URL": cluster.url,
        "REPLICAS": " ".join(replica.url for replica in cluster.replicas),
        "LOGIN": "alice",
        "STRANGER": "bob",
        "LUMA_MCP": "",
    }
    command = [node(FOLDER), "--test", "--test-reporter=spec", "sign_in.mjs"]
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
