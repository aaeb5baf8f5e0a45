"""Who may call a server over HTTP: the required settings for an address, and callers with their own credential."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from tests.cli.serving import STEP_TIMEOUT
from tests.conftest import ERAS, KEY, TOKEN
from tests.hosting.serving import serving
from tests.hosting.test_oauth import CALL, show_tenant

from luma_mcp.hosting.authentication import Access, CallerCredential, Mode, choose_mode
from luma_mcp.hosting.http import build_app
from luma_mcp.providers import PROVIDERS
from luma_mcp.service.tenants import OWNER, current_tenant
from luma_mcp.settings import Settings, SettingsError

HTTP_TOKEN = "an-own-token-0123456789-abcdefghijkl"
ISSUER = "https://sign-in.example.com"
PUBLIC = {"LUMA_MCP_PUBLIC_URL": "https://video.example.com"}
OAUTH = {"LUMA_MCP_OAUTH_ISSUER": ISSUER, **PUBLIC}
OWN = {"USEAPI_TOKEN": TOKEN}
LOCAL, REMOTE, EVERYWHERE = "127.0.0.1", "192.168.1.10", "0.0.0.0"  # noqa: S104

MODES: list[tuple[str, dict[str, str], Mode]] = [
    (LOCAL, OWN, Mode.OWNER),
    (LOCAL, {"LUMA_AGENTS_API_KEY": KEY}, Mode.OWNER),
    (LOCAL, {}, Mode.CALLER),
    (LOCAL, {"LUMA_MCP_API": "agents"}, Mode.CALLER),
    # As long as nobody else reaches it, a server that only shows what can be made is of use.
    (LOCAL, {"LUMA_MCP_HTTP_TOKEN": HTTP_TOKEN}, Mode.OWNER),
    (LOCAL, OWN | OAUTH, Mode.OAUTH),
    ("::1", OWN, Mode.OWNER),
    ("localhost", OWN, Mode.OWNER),
    (REMOTE, OWN | {"LUMA_MCP_HTTP_TOKEN": HTTP_TOKEN}, Mode.OWNER),
    (REMOTE, {}, Mode.CALLER),
    (REMOTE, OWN | OAUTH, Mode.OAUTH),
    (EVERYWHERE, OWN | PUBLIC | {"LUMA_MCP_HTTP_TOKEN": HTTP_TOKEN}, Mode.OWNER),
    (EVERYWHERE, PUBLIC, Mode.CALLER),
    (EVERYWHERE, OAUTH | {"LUMA_MCP_TENANTS_FILE": "/etc/luma/tenants.toml"}, Mode.OAUTH),
]
REFUSED: list[tuple[str, dict[str, str], tuple[str, ...]]] = [
    (REMOTE, OWN, ("LUMA_MCP_HTTP_TOKEN", "LUMA_MCP_OAUTH_ISSUER", "unset USEAPI_TOKEN", "TLS", "127.0.0.1")),
    (REMOTE, {"LUMA_AGENTS_API_KEY": KEY}, ("LUMA_MCP_HTTP_TOKEN", "unset LUMA_AGENTS_API_KEY")),
    (EVERYWHERE, OWN, ("LUMA_MCP_HTTP_TOKEN",)),
    ("::", OWN, ("LUMA_MCP_HTTP_TOKEN",)),
    ("", OWN, ("LUMA_MCP_HTTP_TOKEN",)),
    ("127.0.0.2", OWN, ("LUMA_MCP_HTTP_TOKEN",)),
    ("localhost.example.com", OWN, ("LUMA_MCP_HTTP_TOKEN",)),
    (REMOTE, {"LUMA_MCP_HTTP_TOKEN": HTTP_TOKEN}, ("USEAPI_TOKEN",)),
    (EVERYWHERE, OWN | {"LUMA_MCP_HTTP_TOKEN": HTTP_TOKEN}, ("LUMA_MCP_PUBLIC_URL",)),
    ("::", {}, ("LUMA_MCP_PUBLIC_URL",)),
    (LOCAL, OWN | OAUTH | {"LUMA_MCP_HTTP_TOKEN": HTTP_TOKEN}, ("LUMA_MCP_HTTP_TOKEN", "LUMA_MCP_OAUTH_ISSUER")),
    (LOCAL, OWN | {"LUMA_MCP_OAUTH_ISSUER": ISSUER}, ("LUMA_MCP_PUBLIC_URL",)),
    (LOCAL, OAUTH, ("USEAPI_TOKEN", "LUMA_MCP_TENANTS_FILE")),
    (LOCAL, OWN | OAUTH | {"LUMA_MCP_OAUTH_ADVERTISED_SCOPES": "one"}, ("LUMA_MCP_OAUTH_ADVERTISED_SCOPES",)),
    (LOCAL, OWN | {"LUMA_MCP_TENANTS_FILE": "/etc/luma/tenants.toml"}, ("LUMA_MCP_OAUTH_ISSUER",)),
]


@pytest.mark.parametrize(("host", "environment", "mode"), MODES)
def test_settings_determine_who_is_served(host: str, environment: dict[str, str], mode: Mode) -> None:
    assert choose_mode(Settings.from_environment(environment), host) is mode


@pytest.mark.parametrize(("host", "environment", "named"), REFUSED)
def test_missing_setting_is_named(host: str, environment: dict[str, str], named: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as raised:
        choose_mode(Settings.from_environment(environment), host)
    lines = str(raised.value).splitlines()
    assert 1 <= len(lines) <= 2
    for text in named:
        assert text in str(raised.value)
    for secret in (TOKEN, KEY, HTTP_TOKEN):
        assert secret not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "environment"), [(REMOTE, OWN), (EVERYWHERE, PUBLIC), (LOCAL, OWN | OAUTH), (LOCAL, OWN | PUBLIC)]
)
def test_no_auth_is_for_this_machine_and_without_sign_in(host: str, environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="--no-auth"):
        choose_mode(Settings.from_environment(environment), host, authenticate=False)
    assert choose_mode(Settings.from_environment(OWN), LOCAL, authenticate=False) is Mode.OPEN


# Callers with their own credential

HEADERS = {"useapi": "X-UseAPI-Token", "agents": "X-Luma-Api-Key"}
CREDENTIALS = {"useapi": TOKEN, "agents": KEY}
every_api = pytest.mark.parametrize("api", HEADERS)


async def call(api: str, *headers: tuple[str, str], url: str = "/mcp") -> httpx2.Response:
    app = CallerCredential(show_tenant, PROVIDERS[api])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="https://video.example.com") as client:
        return await client.post(url, json=CALL, headers=[*headers])


@every_api
@pytest.mark.parametrize("prefix", ["", "Bearer ", " "])
async def test_the_tenant_is_the_digest_of_the_credential(api: str, prefix: str) -> None:
    credential = CREDENTIALS[api]
    response = await call(api, (HEADERS[api], prefix + credential))
    content = response.json()
    assert (response.status_code, content["owns_credential"], content["scopes"]) == (200, True, [])
    assert len(content["id"]) == 32
    assert content["id"] == (await call(api, (HEADERS[api], credential))).json()["id"]
    assert content["id"] != (await call(api, (HEADERS[api], f"{credential}2"))).json()["id"]
    assert credential not in response.text
    assert HEADERS[api].lower() not in content["headers"]


@every_api
async def test_without_a_credential_the_header_is_named(api: str) -> None:
    for headers in ([], [("Authorization", f"Bearer {CREDENTIALS[api]}")]):
        response = await call(api, *headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == f'ApiKey header="{HEADERS[api]}"'
        assert HEADERS[api] in response.text
        assert CREDENTIALS[api] not in response.text


def unusable(api: str) -> list[list[tuple[str, str]]]:
    own, other = HEADERS[api], HEADERS["agents" if api == "useapi" else "useapi"]
    credential, foreign = CREDENTIALS[api], CREDENTIALS["agents" if api == "useapi" else "useapi"]
    return [
        [(other, foreign)],
        [(own, foreign)],
        [(own, f"Bearer {foreign}")],
        [(own, credential), (other, foreign)],
        [(own, credential), (other, "")],
        [(own, credential), (own, credential)],
        [(own, credential), (own, "")],
        [(own, f"{credential},{credential}")],
        [(own, f"{credential}, {credential}2")],
        [(own, "")],
        [(own, "Bearer")],
        [(own, "Bearer ")],
        [(own, f"{credential} {credential}")],
        [(own, f"{credential}\té")],
    ]


@every_api
@pytest.mark.parametrize("number", range(len(unusable("useapi"))))
async def test_malformed_credential_is_refused(api: str, number: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    headers = unusable(api)[number]
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    response = await call(api, *encoded)  # type: ignore[arg-type]
    assert response.status_code == 400
    assert HEADERS[api] in response.text
    for secret in CREDENTIALS.values():
        assert secret not in response.text + caplog.text


async def test_ids_of_different_kinds_differ() -> None:
    # The same text as a credential of either API.
    ids = {(await call(api, (HEADERS[api], "same-text"))).json()["id"] for api in HEADERS}
    assert len(ids) == 2


@pytest.mark.parametrize("url", [f"/mcp?token={TOKEN}", f"/mcp?X-UseAPI-Token={TOKEN}", f"/mcp?a=1&api_key={TOKEN}"])
async def test_a_credential_in_the_url_is_refused(url: str) -> None:
    response = await call("useapi", ("X-UseAPI-Token", TOKEN), url=url)
    assert response.status_code == 400
    assert TOKEN not in response.text
    assert (await call("useapi", url=url)).status_code == 401


# What handlers see


class Barrier:
    """Lets calls wait until a number of them are running."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._complete = anyio.Event()

    async def join(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._complete.set()
        with anyio.fail_after(STEP_TIMEOUT):
            await self._complete.wait()


def build_test_server(size: int) -> MCPServer[Any]:
    """A server with a tool that returns the tenant of its call, once a number of calls are running."""
    server = MCPServer[Any]("test")
    meetings: list[Barrier] = []

    @server.tool()
    async def who() -> str:
        """Say whose call it is."""
        before = current_tenant.get().id
        if not meetings:
            meetings.append(Barrier(size))
        await meetings[0].join()
        assert current_tenant.get().id == before
        return before

    return server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def ask_who(url: str, credential: str, mode: str, found: dict[tuple[str, str], str]) -> None:
    async with (
        httpx2.AsyncClient(headers={"X-UseAPI-Token": credential}, timeout=STEP_TIMEOUT) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        result = await client.call_tool("who", {})
        assert result.structured_content
        found[credential, mode] = result.structured_content["result"]


async def test_handlers_of_both_versions_see_the_tenant_of_their_call() -> None:
    credentials = [f"user:{number}-secret" for number in range(5)]
    found: dict[tuple[str, str], str] = {}
    server = build_test_server(len(credentials) * len(ERAS))
    app = build_app(server, Settings(), host="127.0.0.1", access=Access(Mode.CALLER))
    with serving(app) as url:
        async with anyio.create_task_group() as calls:
            for credential in credentials:
                for mode in ERAS:
                    calls.start_soon(ask_who, url, credential, mode, found)
        # The next request on a connection of somebody else is of nobody.
        async with httpx2.AsyncClient() as http:
            for headers in ({"X-UseAPI-Token": credentials[0]}, {}):
                response = await http.post(f"{url}/mcp", json=CALL, headers=headers)
            assert response.status_code == 401
    assert current_tenant.get() is OWNER
    for credential in credentials:
        identity = (await call("useapi", ("X-UseAPI-Token", credential))).json()["id"]
        assert [found[credential, mode] for mode in ERAS] == [identity] * len(ERAS)
