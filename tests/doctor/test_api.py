"""What stands between this machine and a video at the API: each failure made on purpose, and ended by its mend."""

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
from tests.conftest import EMAIL, TOKEN
from tests.doctor.conftest import CERTIFICATE, COOKIE, Machine, over_tls

from luma_mcp.doctor.api import proxy_of
from luma_mcp.doctor.checks import CHECKS, examine
from luma_mcp.simulator.app import PREFIX, Fault, Simulator
from luma_mcp.simulator.serve import running

if TYPE_CHECKING:
    from collections.abc import Iterator

API = [check for check in CHECKS if check.name == "api"]
POSIX = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is a machine's own on Linux alone")
OTHER = "other@example.com"


@contextmanager
def saying(words: bytes) -> Iterator[int]:
    """A port where something listens that says this to whoever comes, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(words)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        if sys.platform == "linux":
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def test_where_all_is_well_nothing_fails_and_no_secret_is_told(machine: Machine) -> None:
    diagnosis = machine.diagnose()
    assert diagnosis.failures == []
    assert "0 of 4 slots in use; session until 20" in diagnosis.one(f"account {EMAIL}").detail
    assert "credits 1200 of 10000 used" in diagnosis.one(f"account {EMAIL}").detail
    assert TOKEN not in repr(diagnosis)


def test_a_diagnosis_orders_nothing_and_changes_nothing(machine: Machine, simulator: Simulator) -> None:
    before = sorted(machine.home.rglob("*"))
    machine.diagnose()
    assert {call.split()[0] for call in simulator.requests} == {"GET"}
    assert sorted(machine.home.rglob("*")) == before


def test_a_token_that_is_not_there_is_named_with_its_source_and_the_api_is_looked_at_all_the_same(
    machine: Machine,
) -> None:
    machine.unset("USEAPI_TOKEN")
    diagnosis = machine.diagnose()
    failure = diagnosis.failure("token")
    assert failure.mend.startswith("Set USEAPI_TOKEN to the API token, whole, as https://useapi.net shows it")
    assert diagnosis.one("api").status == "passed"
    machine.set(USEAPI_TOKEN=TOKEN)
    assert machine.diagnose().failures == []


def test_a_token_that_the_api_does_not_know_is_to_be_set_anew(machine: Machine) -> None:
    machine.set(USEAPI_TOKEN="user:1-of-last-year")
    diagnosis = machine.diagnose()
    assert diagnosis.failure("token").mend.startswith("Set USEAPI_TOKEN to the API token")
    assert "last-year" not in repr(diagnosis)
    machine.set(USEAPI_TOKEN=TOKEN)
    assert machine.diagnose().failures == []


def test_a_subscription_that_has_run_out_is_to_be_renewed(machine: Machine, simulator: Simulator) -> None:
    unpaid = Fault("GET", "/accounts", 402, b'{"error": "Account has no subscription"}', times=1000)
    simulator.faults.append(unpaid)
    assert machine.diagnose().failure("token").mend == "Renew the subscription at https://useapi.net."
    simulator.faults.remove(unpaid)
    assert machine.diagnose().failures == []


def test_where_nothing_listens_the_api_is_to_be_started(machine: Machine, simulator: Simulator) -> None:
    port = closed_port()
    machine.set(LUMA_MCP_BASE_URL=f"http://127.0.0.1:{port}{PREFIX}")
    diagnosis = machine.diagnose()
    failure = diagnosis.failure("api")
    assert "refused" in failure.detail
    assert failure.mend.startswith(f"Start what is to answer at http://127.0.0.1:{port}{PREFIX}")
    assert diagnosis.one("token").status == "note"
    with running(simulator) as url:
        machine.set(LUMA_MCP_BASE_URL=url)
        assert machine.diagnose().failures == []


def test_what_does_not_speak_http_or_is_not_the_api_is_told_from_an_api_that_fails(
    machine: Machine, simulator: Simulator
) -> None:
    url = os.environ["LUMA_MCP_BASE_URL"]
    pages = (b"hello\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\n\r\n<h1>Sign in</h1>")
    for words in pages:
        with saying(words) as port:
            machine.set(LUMA_MCP_BASE_URL=f"http://127.0.0.1:{port}{PREFIX}")
            assert "unset LUMA_MCP_BASE_URL" in machine.diagnose().failure("api").mend
    machine.set(LUMA_MCP_BASE_URL=url)
    down = Fault("GET", "/accounts", 500, b'{"error": "Internal server error"}', times=1000)
    simulator.faults.append(down)
    failure = machine.diagnose().failure("api")
    assert "Internal server error" in failure.detail
    assert failure.mend.startswith("Wait a while")
    simulator.faults.remove(down)
    assert machine.diagnose().failures == []


@POSIX
def test_a_certificate_that_nobody_knows_is_made_known_by_the_variable_that_is_named(
    machine: Machine, simulator: Simulator
) -> None:
    with over_tls(simulator) as url:
        machine.set(LUMA_MCP_BASE_URL=url)
        failure = machine.diagnose().failure("api")
        assert "TLS" in failure.detail
        assert failure.mend.startswith("Set SSL_CERT_FILE to the PEM file")
        machine.set(SSL_CERT_FILE=CERTIFICATE)
        assert machine.diagnose().failures == []


@POSIX
def test_a_certificate_file_that_is_not_there_is_to_be_unset(machine: Machine, simulator: Simulator) -> None:
    with over_tls(simulator) as url:
        machine.set(LUMA_MCP_BASE_URL=url, SSL_CERT_FILE=machine.home / "gone.pem")
        failure = machine.diagnose().failure("api")
        assert failure.mend.startswith("Unset those of SSL_CERT_FILE")
        machine.set(SSL_CERT_FILE=CERTIFICATE)
        assert machine.diagnose().failures == []


@POSIX
def test_a_proxy_that_is_gone_or_refuses_is_named_without_its_password(machine: Machine, simulator: Simulator) -> None:
    with over_tls(simulator) as url, saying(b"HTTP/1.1 403 Forbidden\r\n\r\n") as refusing:
        machine.set(LUMA_MCP_BASE_URL=url, SSL_CERT_FILE=CERTIFICATE)
        for port in (refusing, closed_port()):
            machine.set(HTTPS_PROXY=f"http://fox:hunter2@127.0.0.1:{port}")
            diagnosis = machine.diagnose()
            mend = f"Set HTTPS_PROXY to a proxy that works (127.0.0.1:{port} does not), or unset it."
            assert diagnosis.failure("api").mend == mend
            assert "hunter2" not in repr(diagnosis)
        machine.unset("HTTPS_PROXY")
        assert machine.diagnose().failures == []


def test_a_name_that_dns_does_not_know_is_told_as_such_and_passes_in_another_network(
    machine: Machine, simulator: Simulator
) -> None:
    """As the transport raises it: a real look-up would leave this machine."""

    class Nowhere(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            fault = httpx2.ConnectError("Name or service not known", request=request)
            raise fault from socket.gaierror(socket.EAI_NONAME, os.strerror(errno.ENOENT))

    machine.set(LUMA_MCP_BASE_URL="https://api.luma.example/v1/luma")
    failure = machine.diagnose(transport=Nowhere()).failure("api")
    assert failure.mend == "Correct LUMA_MCP_BASE_URL (api.luma.example is not known), or unset it."
    machine.unset("LUMA_MCP_BASE_URL")
    failure = machine.diagnose(transport=Nowhere()).failure("api")
    assert failure.mend == "Connect this machine to a network whose DNS knows api.useapi.net."
    assert machine.diagnose(transport=httpx2.ASGITransport(simulator)).failures == []


async def test_an_api_that_does_not_answer_ends_the_check_in_its_time_and_passes_with_more(
    machine: Machine, simulator: Simulator
) -> None:
    """On a clock that jumps: it answers after 20 seconds, and a check has 8, unless it is given more."""

    class Slow(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await anyio.sleep(10)
            return await super().handle_async_request(request)

    transport = Slow(simulator)
    begun = anyio.current_time()
    [api, _] = await examine(machine.around(transport=transport, seconds=8.0), API)
    assert anyio.current_time() - begun < 10
    assert (api.status, api.mend) == ("failed", "Give it more time: luma-ray-mcp doctor --seconds 30")
    findings = await examine(machine.around(transport=transport, seconds=30.0), API)
    assert [finding for finding in findings if finding.status != "passed"] == []


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are typed into a POSIX shell")
def test_where_no_account_is_configured_the_command_that_is_named_adds_one(
    machine: Machine, simulator: Simulator
) -> None:
    simulator.service.accounts.clear()
    failure = machine.diagnose().failure("accounts")
    assert failure.mend == "luma-ray-mcp accounts add"
    machine.type(failure.mend, piped=COOKIE)
    assert machine.diagnose().failures == []


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are typed into a POSIX shell")
@pytest.mark.parametrize("email", [EMAIL, "o'fox+luma@example.com"])
def test_an_expired_session_is_refreshed_by_the_command_that_is_named(
    machine: Machine, simulator: Simulator, email: str
) -> None:
    simulator.service.accounts.clear()
    simulator.service.sessions[COOKIE] = email
    simulator.service.add_account(email).session_valid = False
    failure = machine.diagnose().failure(f"account {email}")
    assert "expired" in failure.detail
    assert failure.mend.startswith("luma-ray-mcp accounts refresh ")
    machine.type(failure.mend, piped=COOKIE)
    assert machine.diagnose().failures == []


@pytest.mark.parametrize(
    "answer",
    [
        (596, b'{"error": "Luma account has an error. Please check your account configuration"}'),
        (200, b'{"sessionValid": false}'),
        (200, b'{"error": "Unable to sign in"}'),
    ],
)
def test_every_way_in_which_the_api_tells_of_an_expired_session_is_a_failure(
    machine: Machine, simulator: Simulator, answer: tuple[int, bytes]
) -> None:
    simulator.faults.append(Fault("GET", f"/accounts/{EMAIL.replace('@', '%40')}", *answer, times=9))
    simulator.faults.append(Fault("GET", f"/accounts/{EMAIL}", *answer, times=9))
    assert machine.diagnose().failure(f"account {EMAIL}").mend == f"luma-ray-mcp accounts refresh {EMAIL}"


def test_what_the_api_says_is_plain_before_anybody_prints_it(machine: Machine, simulator: Simulator) -> None:
    evil = "\x1b]0;pwned\x07\x1b[2J\x9b31mfox\u202e\r\n\tin the snow"
    rows = {f"{evil}@example.com": {"error": evil}}
    simulator.faults.append(Fault("GET", "/accounts", 200, json.dumps(rows).encode(), times=9))
    finding = machine.diagnose().one("account ]0;pwned[2J31mfox\n\tin the snow@example.com")
    assert '"]0;pwned[2J31mfox\n\tin the snow"' in finding.detail


def test_an_account_that_could_not_be_asked_for_is_no_failure(machine: Machine, simulator: Simulator) -> None:
    simulator.faults.append(Fault("GET", f"/accounts/{EMAIL}", 503, times=99))
    finding = machine.diagnose().one(f"account {EMAIL}")
    assert finding.status == "note"
    assert "0 of 4 slots" in finding.detail


def test_an_account_that_the_settings_name_and_nobody_has_configured_is_told_with_those_that_are(
    machine: Machine,
) -> None:
    machine.set(LUMA_MCP_EMAIL=OTHER)
    failure = machine.diagnose().failure("accounts")
    assert failure.mend == f"Set LUMA_MCP_EMAIL to one that is ({EMAIL}), or unset it."
    machine.set(LUMA_MCP_EMAIL=EMAIL)
    assert machine.diagnose().failures == []


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
def test_the_proxy_is_told_that_requests_go_through(url: str, environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_of(url, environment) == proxy
