"""`luma-ray-mcp serve --http`: the real server over real HTTP, for this machine only."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from mcp import Client
from tests.cli.commands import run_process
from tests.cli.serving import STEP_TIMEOUT, run_server
from tests.conftest import ERAS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.commands import Run

EXIT_TIMEOUT = 30


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


only_with_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_server("--simulate", "--speed", "20") as (url, _):
        yield url


def ping(url: str, **headers: str) -> int:
    """Send a request with these headers, and return the HTTP status."""
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
    accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    return httpx2.post(url, content=json.dumps(message), headers=accept | headers, timeout=STEP_TIMEOUT).status_code


def test_a_web_page_cannot_use_it(url: str) -> None:
    port = urlsplit(url).port
    assert ping(url) == 200
    assert ping(url, Origin=f"http://127.0.0.1:{port}") == 200
    for origin in ("https://evil.example.com", "http://127.0.0.1.evil.example.com", "null"):
        assert ping(url, Origin=origin) == 403
    for host in (f"evil.example.com:{port}", "evil.example.com", f"127.0.0.1.evil.example.com:{port}"):
        assert ping(url, Host=host) in (403, 421)


@pytest.fixture
def taken_port() -> Iterator[str]:
    """A port in use, so that the server exits even if it wrongly accepts the options."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield str(taken.getsockname()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "example.com", ""])  # noqa: S104
def test_other_machines_are_not_served(run: Run, taken_port: str, host: str) -> None:
    done = run("serve", "--http", "--simulate", "--port", taken_port, "--host", host)
    assert (done.returncode, done.stdout) == (2, "")
    for text in ("--host", "127.0.0.1", "credits", "not encrypted"):
        assert text in " ".join(done.stderr.split())


OAUTH = {"LUMA_MCP_OAUTH_ISSUER": "https://sign-in.example.com", "LUMA_MCP_PUBLIC_URL": "https://video.example.com"}
UNSAFE: list[tuple[tuple[str, ...], dict[str, str], str]] = [
    (("--simulate", "--no-auth"), OAUTH, "--no-auth"),
    (("--simulate",), {**OAUTH, "LUMA_MCP_TENANTS_FILE": "/nowhere/tenants.toml"}, "LUMA_MCP_TENANTS_FILE"),
    (("--host", "0.0.0.0"), {}, "LUMA_MCP_PUBLIC_URL"),  # noqa: S104
    (("--host", "192.168.1.10", "--no-auth"), {}, "--no-auth"),
]


@pytest.mark.parametrize(("arguments", "environment", "named"), UNSAFE)
def test_settings_that_contradict_each_other_end_it(
    run: Run, taken_port: str, arguments: tuple[str, ...], environment: dict[str, str], named: str
) -> None:
    done = run("serve", "--http", "--port", taken_port, *arguments, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("luma-ray-mcp: ")
    assert named in line


def test_the_program_itself_does_not_serve_other_machines() -> None:
    done = run_process("serve", "--http", "--simulate", "--port", "0", "--host", "0.0.0.0", environment={})  # noqa: S104
    assert (done.returncode, done.stdout) == (2, "")
    assert "credits" in done.stderr


@pytest.mark.parametrize("host", ["localhost", pytest.param("[::1]", marks=only_with_ipv6)])
def test_other_names_of_this_machine_are_served(host: str) -> None:
    with run_server("--simulate", "--host", host) as (url, _):
        assert urlsplit(url).hostname == host.strip("[]")
        assert ping(url) == 200


def test_a_taken_port_is_reported_in_one_line(run: Run, taken_port: str) -> None:
    done = run("serve", "--http", "--simulate", "--port", taken_port)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.strip().splitlines()
    assert taken_port in line
    assert "--port" in line


def test_an_unusable_setting_ends_it_before_it_serves() -> None:
    with run_server("--simulate", LUMA_MCP_LOG_LEVEL="LOUD") as (url, process):
        assert (url, process.wait(STEP_TIMEOUT)) == ("", 2)


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_while_a_call_waits(signal_: signal.Signals) -> None:
    with run_server("--simulate") as (url, process):
        async with anyio.create_task_group() as calls:
            waiting = anyio.Event()

            async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
                waiting.set()

            async def call() -> None:
                try:
                    async with Client(url, mode=ERAS[0]) as client:
                        order = {"prompt": "A fox simulate:stuck", "wait_seconds": 600}
                        await client.call_tool("generate_video", order, progress_callback=on_progress)
                except Exception:  # noqa: BLE001, S110 - the error depends on where the call is cut off
                    pass

            calls.start_soon(call)
            with anyio.fail_after(STEP_TIMEOUT):
                await waiting.wait()
            process.send_signal(signal_)
            code = await anyio.to_thread.run_sync(process.wait, EXIT_TIMEOUT)
            calls.cancel_scope.cancel()
        assert code in (0, -signal_, 128 + signal_)


@pytest.mark.parametrize(("confirm", "warns"), [("always", True), ("expensive", True), ("never", False)])
def test_confirm_has_a_warning_over_http(run: Run, taken_port: str, confirm: str, *, warns: bool) -> None:
    errors = run("serve", "--http", "--simulate", "--port", taken_port, LUMA_MCP_CONFIRM=confirm).stderr
    assert ("LUMA_MCP_CONFIRM" in errors and "2025-11-25" in errors) == warns
