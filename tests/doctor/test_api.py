"""The checks of the API, the token and the accounts: each test causes a failure and applies its fix."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from tests.cli.commands import COOKIE
from tests.conftest import EMAIL, TOKEN
from tests.doctor.conftest import CERTIFICATE, Machine, serve_over_tls

from luma_mcp.doctor.checks import CHECKS, proxy_of, run_checks
from luma_mcp.install.command import invocation
from luma_mcp.simulator.app import PREFIX, Fault, Simulator, running

if TYPE_CHECKING:
    from collections.abc import Iterator

API = [check for check in CHECKS if check.name == "api"]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has 127.0.0.2")
OTHER_EMAIL = "other@example.com"


@contextmanager
def respond_with(data: bytes) -> Iterator[int]:
    """Listen at a port, answer every connection with these bytes, and close it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        if sys.platform == "linux":
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def find_closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def test_working_setup_passes_without_secrets_in_the_report(machine: Machine) -> None:
    report = machine.check()
    assert report.failures == []
    assert "0 of 4 slots in use; session until 20" in report.get(f"account {EMAIL}").detail
    assert "credits 1200 of 10000 used" in report.get(f"account {EMAIL}").detail
    assert TOKEN not in repr(report)


def test_checks_only_read(machine: Machine, simulator: Simulator) -> None:
    before = sorted(machine.home.rglob("*"))
    machine.check()
    assert {call.split()[0] for call in simulator.requests} == {"GET"}
    assert sorted(machine.home.rglob("*")) == before


def test_api_is_checked_without_a_token(machine: Machine) -> None:
    machine.unset("USEAPI_TOKEN")
    report = machine.check()
    failure = report.failure("token")
    assert failure.fix.startswith("Set USEAPI_TOKEN to the complete API token that https://useapi.net shows")
    assert report.get("api").status == "passed"
    machine.set(USEAPI_TOKEN=TOKEN)
    assert machine.check().failures == []


def test_rejected_token(machine: Machine) -> None:
    machine.set(USEAPI_TOKEN="user:1-of-last-year")
    report = machine.check()
    assert report.failure("token").fix.startswith("Set USEAPI_TOKEN to the complete API token")
    assert "last-year" not in repr(report)
    machine.set(USEAPI_TOKEN=TOKEN)
    assert machine.check().failures == []


def test_expired_subscription(machine: Machine, simulator: Simulator) -> None:
    unpaid = Fault("GET", "/accounts", 402, b'{"error": "Account has no subscription"}', times=1000)
    simulator.faults.append(unpaid)
    assert machine.check().failure("token").fix == "Renew the subscription at https://useapi.net."
    simulator.faults.remove(unpaid)
    assert machine.check().failures == []


def test_closed_port(machine: Machine, simulator: Simulator) -> None:
    port = find_closed_port()
    machine.set(LUMA_MCP_BASE_URL=f"http://127.0.0.1:{port}{PREFIX}")
    report = machine.check()
    failure = report.failure("api")
    assert "refused" in failure.detail
    assert failure.fix.startswith(f"Start the server that should answer at http://127.0.0.1:{port}{PREFIX}")
    assert report.get("token").status == "note"
    with running(simulator) as url:
        machine.set(LUMA_MCP_BASE_URL=url)
        assert machine.check().failures == []


def test_other_service_at_the_address_differs_from_a_failing_api(machine: Machine, simulator: Simulator) -> None:
    url = os.environ["LUMA_MCP_BASE_URL"]
    pages = (b"hello\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\n\r\n<h1>Sign in</h1>")
    for page in pages:
        with respond_with(page) as port:
            machine.set(LUMA_MCP_BASE_URL=f"http://127.0.0.1:{port}{PREFIX}")
            assert "unset LUMA_MCP_BASE_URL" in machine.check().failure("api").fix
    machine.set(LUMA_MCP_BASE_URL=url)
    down = Fault("GET", "/accounts", 500, b'{"error": "Internal server error"}', times=1000)
    simulator.faults.append(down)
    failure = machine.check().failure("api")
    assert "Internal server error" in failure.detail
    assert failure.fix.startswith("Wait a while")
    simulator.faults.remove(down)
    assert machine.check().failures == []


@LINUX
def test_untrusted_certificate(machine: Machine, simulator: Simulator) -> None:
    with serve_over_tls(simulator) as url:
        machine.set(LUMA_MCP_BASE_URL=url)
        failure = machine.check().failure("api")
        assert "TLS" in failure.detail
        assert failure.fix.startswith("Set SSL_CERT_FILE to the PEM file")
        machine.set(SSL_CERT_FILE=CERTIFICATE)
        assert machine.check().failures == []


@LINUX
def test_missing_certificate_file(machine: Machine, simulator: Simulator) -> None:
    with serve_over_tls(simulator) as url:
        machine.set(LUMA_MCP_BASE_URL=url, SSL_CERT_FILE=machine.home / "gone.pem")
        failure = machine.check().failure("api")
        assert failure.fix.startswith("Unset those of SSL_CERT_FILE")
        machine.set(SSL_CERT_FILE=CERTIFICATE)
        assert machine.check().failures == []


@LINUX
def test_broken_proxy_is_named_without_its_password(machine: Machine, simulator: Simulator) -> None:
    with serve_over_tls(simulator) as url, respond_with(b"HTTP/1.1 403 Forbidden\r\n\r\n") as refusing:
        machine.set(LUMA_MCP_BASE_URL=url, SSL_CERT_FILE=CERTIFICATE)
        for port in (refusing, find_closed_port()):
            machine.set(HTTPS_PROXY=f"http://fox:hunter2@127.0.0.1:{port}")
            report = machine.check()
            fix = f"Set HTTPS_PROXY to a proxy that works (127.0.0.1:{port} does not), or unset it."
            assert report.failure("api").fix == fix
            assert "hunter2" not in repr(report)
        machine.unset("HTTPS_PROXY")
        assert machine.check().failures == []


def test_unknown_host_name(machine: Machine, simulator: Simulator) -> None:
    """The transport raises the error, because a real look-up would leave this machine."""

    class FailingLookup(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            fault = httpx2.ConnectError("Name or service not known", request=request)
            raise fault from socket.gaierror(socket.EAI_NONAME, os.strerror(errno.ENOENT))

    machine.set(LUMA_MCP_BASE_URL="https://api.luma.example/v1/luma")
    failure = machine.check(transport=FailingLookup()).failure("api")
    assert failure.fix == "Correct LUMA_MCP_BASE_URL (api.luma.example is not known), or unset it."
    machine.unset("LUMA_MCP_BASE_URL")
    failure = machine.check(transport=FailingLookup()).failure("api")
    assert failure.fix == "Connect this machine to a network whose DNS knows api.useapi.net."
    assert machine.check(transport=httpx2.ASGITransport(simulator)).failures == []


async def test_slow_api_passes_with_more_time(machine: Machine, simulator: Simulator) -> None:
    """In virtual time: the API answers after 20 seconds; a check may take 8 by default."""

    class SlowTransport(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await anyio.sleep(10)
            return await super().handle_async_request(request)

    transport = SlowTransport(simulator)
    started = anyio.current_time()
    [api, _] = await run_checks(machine.environment(transport=transport, seconds=8.0), API)
    assert anyio.current_time() - started < 10
    assert (api.status, api.fix) == ("failed", f"Allow more time: {invocation()} doctor --seconds 30")
    results = await run_checks(machine.environment(transport=transport, seconds=30.0), API)
    assert [result for result in results if result.status != "passed"] == []


@pytest.mark.skipif(sys.platform == "win32", reason="the commands run in a POSIX shell")
def test_printed_command_adds_a_missing_account(machine: Machine, simulator: Simulator) -> None:
    simulator.service.accounts.clear()
    failure = machine.check().failure("accounts")
    assert failure.fix == f"{invocation()} accounts add"
    machine.type(failure.fix, typed=COOKIE)
    assert machine.check().failures == []


@pytest.mark.skipif(sys.platform == "win32", reason="the commands run in a POSIX shell")
@pytest.mark.parametrize("email", [EMAIL, "o'fox+luma@example.com"])
def test_printed_command_renews_an_expired_session(machine: Machine, simulator: Simulator, email: str) -> None:
    simulator.service.accounts.clear()
    simulator.service.sessions[COOKIE] = email
    simulator.service.add_account(email).session_valid = False
    failure = machine.check().failure(f"account {email}")
    assert "expired" in failure.detail
    assert failure.fix.startswith(f"{invocation()} accounts refresh ")
    machine.type(failure.fix, typed=COOKIE)
    assert machine.check().failures == []


@pytest.mark.parametrize(
    "answer",
    [
        (596, b'{"error": "Luma account has an error. Please check your account configuration"}'),
        (200, b'{"sessionValid": false}'),
        (200, b'{"error": "Unable to sign in"}'),
    ],
)
def test_each_sign_of_an_expired_session_is_a_failure(
    machine: Machine, simulator: Simulator, answer: tuple[int, bytes]
) -> None:
    simulator.faults.append(Fault("GET", f"/accounts/{EMAIL.replace('@', '%40')}", *answer, times=9))
    simulator.faults.append(Fault("GET", f"/accounts/{EMAIL}", *answer, times=9))
    assert machine.check().failure(f"account {EMAIL}").fix == f"{invocation()} accounts refresh {EMAIL}"


def test_control_characters_of_the_api_are_removed(machine: Machine, simulator: Simulator) -> None:
    evil = "\x1b]0;pwned\x07\x1b[2J\x9b31mfox\u202e\r\n\tin the snow"
    rows = {f"{evil}@example.com": {"error": evil}}
    simulator.faults.append(Fault("GET", "/accounts", 200, json.dumps(rows).encode(), times=9))
    result = machine.check().get("account ]0;pwned[2J31mfox\n\tin the snow@example.com")
    assert '"]0;pwned[2J31mfox\n\tin the snow"' in result.detail


def test_account_that_cannot_be_fetched_is_a_note(machine: Machine, simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", f"/accounts/{EMAIL}", 503, times=99))
    result = machine.check().get(f"account {EMAIL}")
    assert result.status == "note"
    assert "0 of 4 slots" in result.detail


def test_setting_with_an_unknown_account_is_a_failure(machine: Machine) -> None:
    machine.set(LUMA_MCP_EMAIL=OTHER_EMAIL)
    failure = machine.check().failure("accounts")
    assert failure.fix == f"Set LUMA_MCP_EMAIL to one of {EMAIL}, or unset it."
    machine.set(LUMA_MCP_EMAIL=EMAIL)
    assert machine.check().failures == []


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://api.useapi.net/v1", {"HTTPS_PROXY": "http://fox:pw@proxy:3128"}, "proxy:3128"),
        ("https://api.useapi.net/v1", {"https_proxy": "proxy:3128"}, "proxy:3128"),
        ("https://api.useapi.net/v1", {"ALL_PROXY": "socks5://proxy"}, "proxy"),
        ("https://api.useapi.net/v1", {"HTTPS_PROXY": "http://proxy", "NO_PROXY": "localhost, .useapi.net"}, None),
        ("https://api.useapi.net/v1", {"HTTPS_PROXY": "http://proxy", "no_proxy": "*"}, None),
        ("https://api.useapi.net/v1", {"HTTP_PROXY": "http://proxy"}, None),
        ("http://127.0.0.1:9/v1", {"HTTP_PROXY": "http://proxy"}, None),
    ],
)
def test_proxy_of_requests_is_detected(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy
