"""Accounts are added and removed at most once, and no error contains the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
from pydantic import SecretStr
from tests.conftest import EMAIL, client_of
from tests.transports import CannedTransport, UnreliableTransport

from luma_mcp import errors
from luma_mcp.api.protocol import VideoRequest
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from luma_mcp.api.useapi.client import LumaClient
    from luma_mcp.simulator.app import Simulator

COOKIE = "s3cr3t-cookie-value-0123"
SESSION = SecretStr(COOKIE)


@pytest.fixture(autouse=True)
def add_session(simulator: Simulator) -> None:
    simulator.service.sessions[COOKIE] = EMAIL


async def test_an_account_is_refreshed_removed_and_added(luma: LumaClient, simulator: Simulator) -> None:
    refreshed = await luma.add_account(SESSION)
    assert (refreshed.email, refreshed.created, refreshed.concurrency) == (EMAIL, False, 4)
    await luma.remove_account(EMAIL)
    assert await luma.accounts() == ()
    assert (await luma.add_account(SESSION)).created is True
    assert list(simulator.service.accounts) == [EMAIL]


async def test_session_that_may_have_arrived_is_not_sent_again(simulator: Simulator) -> None:
    lost = httpx2.ReadError("broken")
    with pytest.raises(errors.NetworkError) as caught:
        await client_of(UnreliableTransport(simulator, lost, delivered=True)).add_account(SESSION)
    assert caught.value.stage == "broken"
    assert simulator.requests["POST /accounts"] == 1


async def test_session_that_did_not_arrive_is_sent_again(simulator: Simulator) -> None:
    never = httpx2.ConnectError("refused")
    added = await client_of(UnreliableTransport(simulator, never)).add_account(SESSION)
    assert (added.email, simulator.requests["POST /accounts"]) == (EMAIL, 1)


async def test_removal_without_a_response_is_not_repeated(simulator: Simulator) -> None:
    """A second request would get "not found"."""
    with pytest.raises(errors.NetworkError):
        await client_of(UnreliableTransport(simulator, httpx2.ReadError("broken"), delivered=True)).remove_account(
            EMAIL
        )
    assert simulator.requests["DELETE /accounts/…"] == 1


async def test_removal_with_an_unreadable_response_succeeds() -> None:
    await client_of(CannedTransport(200, b"<html>")).remove_account(EMAIL)


@pytest.mark.parametrize("status", [400, 402, 500, 200])
async def test_no_error_contains_the_session(status: int) -> None:
    canned = CannedTransport(status, f'{{"error": "What is {COOKIE}? Parameter session ({COOKIE})"}}'.encode())
    with pytest.raises(errors.LumaError) as caught:
        await client_of(canned).add_account(SESSION, retry_timeout=0)
    shown = [str(caught.value), repr(caught.value.__dict__), repr(caught.value.__cause__)]
    assert [text for text in shown if COOKIE in text] == []
    assert caught.value.api_message is not None
    assert "***" in caught.value.api_message


async def test_an_expired_session_names_its_account(luma: LumaClient, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    calls = (
        luma.submit(VideoRequest(prompt="A fox", email=EMAIL)),
        luma.upload(b"\xff\xd8\xff", "image/jpeg", EMAIL),
    )
    for call in calls:
        with pytest.raises(errors.AccountSession) as caught:
            await call
        assert caught.value.email == EMAIL


async def test_an_expired_session_of_an_unknown_account(luma: LumaClient, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    with pytest.raises(errors.AccountSession) as caught:
        await luma.submit(VideoRequest(prompt="A fox"))
    assert caught.value.email is None


async def test_an_account_s_expired_session_names_it(simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", "/accounts/", 596, b'{"error": "Luma account has an error."}'))
    with pytest.raises(errors.AccountSession) as caught:
        await client_of(httpx2.ASGITransport(simulator)).account(EMAIL)
    assert caught.value.email == EMAIL


@pytest.mark.parametrize(
    ("fault", "stage"),
    [
        (httpx2.ConnectError("refused"), "refused"),
        (httpx2.ConnectTimeout("slow"), "timeout"),
        (httpx2.ProxyError("403 Forbidden"), "proxy"),
        (httpx2.ReadTimeout("slow"), "timeout"),
        (httpx2.RemoteProtocolError("odd"), "broken"),
        (httpx2.UnsupportedProtocol("odd"), "unsendable"),
    ],
)
async def test_a_network_error_names_its_stage(
    simulator: Simulator, fault: Exception, stage: errors.FailureStage
) -> None:
    with pytest.raises(errors.NetworkError) as caught:
        await client_of(UnreliableTransport(simulator, fault)).accounts(retry_timeout=0)
    assert caught.value.stage == stage
