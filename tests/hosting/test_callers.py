"""Two callers of one server over real HTTP, with the official client: with their own credentials, and with sign-in."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from mcp import Client
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import ProtectedResourceMetadata
from starlette.responses import JSONResponse
from tests.cli.serving import STEP_TIMEOUT, content
from tests.conftest import ERAS, IN_MEMORY, KEY, TOKEN
from tests.hosting.identity import IdentityProvider
from tests.hosting.serving import serving

from luma_mcp.hosting.authentication import CREDENTIAL_HEADERS, Access, Mode
from luma_mcp.hosting.http import build_app
from luma_mcp.hosting.tenants_file import TenantsFile
from luma_mcp.providers import PROVIDERS
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Simulator, new_simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

PUBLIC_URL = "https://video.example.com"
PAID = {"useapi": TOKEN, "agents": KEY}
every_era = pytest.mark.parametrize("mode", ERAS)
every_api = pytest.mark.parametrize("api", PAID)


@pytest.fixture
def anyio_backend() -> str:
    """Calls over real HTTP."""
    return "asyncio"


class Accounts:
    """The API, in which each credential has its own account. `headers`: those of all requests."""

    def __init__(self, api: str, credentials: list[str]) -> None:
        self.by_credential: dict[str, Simulator] = {}
        for credential in credentials:
            self.by_credential[credential] = new_simulator(api=api, speed=100)
        self.headers: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers += [value for _, value in scope["headers"]]
        credential = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        if scope["path"].startswith("/media/"):
            credential = next(iter(self.by_credential))
        account = self.by_credential.get(credential)
        if account is None:
            await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
            return
        await account(scope, receive, send)

    def count_orders(self) -> dict[str, int]:
        """The number of orders by credential."""
        return {credential: len(each.orders) for credential, each in self.by_credential.items()}


@contextmanager
def hosted(accounts: Accounts, access: Access, **environment: str) -> Iterator[str]:
    """Run a server over real HTTP. Yields the URL of its endpoint."""
    settings = Settings.from_environment({**IN_MEMORY, "LUMA_MCP_PUBLIC_URL": PUBLIC_URL, **environment})
    server = build_server(settings, transport=httpx2.ASGITransport(accounts))
    with serving(build_app(server, settings, host="127.0.0.1", access=access)) as url:
        yield f"{url}/mcp"


@asynccontextmanager
async def connected(url: str, mode: str, **headers: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=STEP_TIMEOUT) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def order(client: Client, prompt: str = "A fox") -> dict[str, Any]:
    result = content(await client.call_tool("generate_video", {"prompt": prompt, "wait_seconds": 0}))
    assert result["state"] == "running", result
    return result


async def see(client: Client, jobid: str) -> dict[str, Any]:
    return content(await client.call_tool("get_job", {"jobid": jobid, "wait_seconds": 0}))


async def list_jobids(client: Client) -> set[str]:
    return {job["jobid"] for job in content(await client.call_tool("list_jobs", {}))["jobs"]}


@every_era
@every_api
async def test_callers_with_own_credentials_have_own_accounts(api: str, mode: str) -> None:
    begins, header = PROVIDERS[api].begins, CREDENTIAL_HEADERS[api]
    anna, bob = f"{begins}1-anna", f"{begins}2-bob"
    accounts = Accounts(api, [anna, bob])
    with hosted(accounts, Access(Mode.CALLER), LUMA_MCP_API=api) as url:
        async with (
            connected(url, mode, **{header: anna}) as of_anna,
            connected(url, mode, **{header: f"Bearer {bob}", "Authorization": "Bearer ignored"}) as of_bob,
        ):
            first, second = await order(of_anna), await order(of_bob)
            assert accounts.count_orders() == {anna: 1, bob: 1}
            assert await list_jobids(of_anna) == {first["jobid"]}
            assert await list_jobids(of_bob) == {second["jobid"]}
            assert (await see(of_anna, first["jobid"]))["jobid"] == first["jobid"]
            assert (await see(of_bob, first["jobid"]))["error"]["kind"] == "not_found"
        async with connected(url, mode, **{header: f"{begins}3-nobody"}) as of_nobody:
            refused = await of_nobody.call_tool("generate_video", {"prompt": "A fox"})
            assert content(refused)["error"]["kind"] == "unauthorized"
    assert b"Bearer ignored" not in accounts.headers


@every_era
async def test_callers_who_signed_in_share_the_credential_and_see_only_their_own(mode: str) -> None:
    accounts, provider = Accounts("useapi", [TOKEN]), IdentityProvider()
    with serving(provider) as issuer:
        provider = provider.move(issuer)
        tokens = {name: provider.sign(sub=name, aud=f"{PUBLIC_URL}/mcp") for name in ("anna", "bob")}
        environment = {"LUMA_MCP_OAUTH_ISSUER": issuer, "USEAPI_TOKEN": TOKEN}
        with hosted(accounts, Access(Mode.OAUTH), **environment) as url:
            async with (
                connected(url, mode, Authorization=f"Bearer {tokens['anna']}") as of_anna,
                connected(url, mode, Authorization=f"Bearer {tokens['bob']}") as of_bob,
            ):
                first, second = await order(of_anna), await order(of_bob)
                assert first["jobid"] != second["jobid"]
                assert accounts.count_orders() == {TOKEN: 2}
                assert await list_jobids(of_anna) == {first["jobid"]}
                assert await list_jobids(of_bob) == {second["jobid"]}
                assert (await see(of_bob, first["jobid"]))["error"]["kind"] == "not_found"
    # The tokens of callers end at this server.
    sent = b" ".join(accounts.headers).decode()
    assert TOKEN in sent
    for token in tokens.values():
        assert token not in sent


@pytest.mark.parametrize("journal", ["off", "journal.db"], ids=["in memory", "in a file"])
async def test_an_order_is_made_once_while_its_caller_changes(tmp_path: Path, journal: str) -> None:
    """With an e-mail address that has changed, and limits that do so between the calls."""
    accounts, provider = Accounts("useapi", [TOKEN]), IdentityProvider()
    file = tmp_path / "tenants.toml"
    place = journal if journal == "off" else str(tmp_path / journal)
    with serving(provider) as issuer:
        provider = provider.move(issuer)
        environment = {"LUMA_MCP_OAUTH_ISSUER": issuer, "USEAPI_TOKEN": TOKEN, "LUMA_MCP_JOURNAL": place}
        settings = Settings.from_environment({"LUMA_MCP_PUBLIC_URL": PUBLIC_URL, **environment})
        file.touch(0o600)
        access = Access(Mode.OAUTH, tenants=TenantsFile(file, settings))
        found: set[str] = set()

        async def run(client: Client) -> None:
            found.add((await order(client))["jobid"])

        with hosted(accounts, access, **environment) as url:
            async with AsyncExitStack() as stack:
                clients: list[Client] = []
                for email in ("anna@example.com", "anna@example.org"):
                    token = provider.sign(aud=f"{PUBLIC_URL}/mcp", email=email, email_verified=True)
                    connecting = connected(url, ERAS[0], Authorization=f"Bearer {token}")
                    clients.append(await stack.enter_async_context(connecting))
                async with anyio.create_task_group() as tasks:
                    for number in range(8):
                        file.write_text(f"[users.anna]\nmax_jobs_per_hour = {100 + number}\n")
                        tasks.start_soon(run, clients[number % 2])
                        await anyio.lowlevel.checkpoint()
    assert accounts.count_orders() == {TOKEN: 1}
    assert len(found) == 1


async def test_credentials_and_limits_come_from_the_file_of_tenants(tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text(
        'allow = "listed"\n[users.anna]\nmax_jobs_per_hour = 1\n[groups.film]\ncredential = "user:2-film"\n'
    )
    file.chmod(0o600)
    accounts, provider = Accounts("useapi", [TOKEN, "user:2-film"]), IdentityProvider()
    with serving(provider) as issuer:
        provider = provider.move(issuer)
        environment = {"LUMA_MCP_OAUTH_ISSUER": issuer, "USEAPI_TOKEN": TOKEN}
        settings = Settings.from_environment({"LUMA_MCP_PUBLIC_URL": PUBLIC_URL, **environment})
        access = Access(Mode.OAUTH, tenants=TenantsFile(file, settings))
        with hosted(accounts, access, **environment) as url:

            def sign(sub: str, **claims: Any) -> dict[str, str]:
                return {"Authorization": f"Bearer {provider.sign(sub=sub, aud=f'{PUBLIC_URL}/mcp', **claims)}"}

            async with connected(url, ERAS[0], **sign("anna")) as of_anna:
                await order(of_anna)
                limited = await of_anna.call_tool("generate_video", {"prompt": "A cat"})
                assert content(limited)["error"]["kind"] == "limit_reached"
            async with connected(url, ERAS[0], **sign("bob", groups=["film"])) as of_bob:
                await order(of_bob)
            assert accounts.count_orders() == {TOKEN: 1, "user:2-film": 1}
            async with httpx2.AsyncClient() as http:
                response = await http.post(url, headers=sign("eve"), json={})
            assert response.status_code == 403
            assert "www-authenticate" not in response.headers


@every_era
async def test_a_step_up_is_named_to_the_official_client(mode: str) -> None:
    accounts, provider = Accounts("useapi", [TOKEN]), IdentityProvider()
    with serving(provider) as issuer:
        provider = provider.move(issuer)
        refused: list[httpx2.Response] = []

        async def keep(response: httpx2.Response) -> None:
            if response.status_code in (401, 403):
                refused.append(response)

        token = provider.sign(aud=f"{PUBLIC_URL}/mcp", scope="luma:read")
        environment = {"LUMA_MCP_OAUTH_ISSUER": issuer, "USEAPI_TOKEN": TOKEN}
        with hosted(accounts, Access(Mode.OAUTH), **environment) as url:
            async with connected(url, mode, Authorization=f"Bearer {token}") as client:
                assert content(await client.call_tool("list_options", {}))["models"]
            headers = {"Authorization": f"Bearer {token}"}
            async with httpx2.AsyncClient(headers=headers, event_hooks={"response": [keep]}) as http:
                with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the client makes of it
                    async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                        await client.call_tool("generate_video", {"prompt": "A fox"})
            async with httpx2.AsyncClient() as http:
                first = await http.post(url, json={})
                metadata_url = extract_resource_metadata_from_www_auth(first)
                assert metadata_url == f"{PUBLIC_URL}/.well-known/oauth-protected-resource/mcp"
                assert metadata_url in build_protected_resource_metadata_discovery_urls(None, f"{PUBLIC_URL}/mcp")
                path = metadata_url.removeprefix(PUBLIC_URL)
                metadata = ProtectedResourceMetadata.model_validate_json(
                    (await http.get(url.removesuffix("/mcp") + path)).content
                )
    assert [response.status_code for response in refused] == [403]
    assert extract_scope_from_www_auth(refused[0]) == "luma:read luma:generate"
    assert str(metadata.resource) == f"{PUBLIC_URL}/mcp"
    assert [str(each).rstrip("/") for each in metadata.authorization_servers] == [issuer]
    assert accounts.count_orders() == {TOKEN: 0}
