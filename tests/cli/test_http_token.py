"""The bearer token of `luma-ray-mcp serve --http`: who has access, and where the token is stored and shown."""

from __future__ import annotations

import json
import re
import socket
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.cli.serving import STEP_TIMEOUT, content, read_to_end, run_server
from tests.conftest import ERAS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.commands import Run

CUSTOM_TOKEN = "a-custom-token-0123456789-abcdefghijkl"
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_options", "arguments": {}}}
HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
unix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")


def post(url: str, *authorization: str) -> httpx2.Response:
    headers = [*HEADERS.items(), *(("Authorization", value) for value in authorization)]
    return httpx2.post(url, json=CALL, headers=headers, timeout=STEP_TIMEOUT)


def read_snippet(process: subprocess.Popen[str]) -> str:
    """Read the output after the URL, up to the last app's entry."""
    assert process.stdout is not None
    lines: list[str] = []
    while '"type": "http"' not in (lines or [""])[-1]:
        lines.append(process.stdout.readline())
    return "".join(lines)


def stop(process: subprocess.Popen[str]) -> str:
    """Stop the server, and return its stderr."""
    process.terminate()
    return process.communicate(timeout=STEP_TIMEOUT)[1]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_server("--simulate", authenticate=True, LUMA_MCP_HTTP_TOKEN=CUSTOM_TOKEN) as (url, _):
        yield url


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        ((), "Bearer"),
        (("Bearer",), 'Bearer error="invalid_token"'),
        (("Bearer wrong",), 'Bearer error="invalid_token"'),
        ((f"Bearer {CUSTOM_TOKEN[:-1]}",), 'Bearer error="invalid_token"'),
        ((f"Bearer {CUSTOM_TOKEN}x",), 'Bearer error="invalid_token"'),
        ((f"Bearer {CUSTOM_TOKEN.upper()}",), 'Bearer error="invalid_token"'),
        ((f"Basic {CUSTOM_TOKEN}",), 'Bearer error="invalid_token"'),
        ((CUSTOM_TOKEN,), 'Bearer error="invalid_token"'),
        ((f"Bearer {CUSTOM_TOKEN}", "Bearer wrong"), 'Bearer error="invalid_token"'),
    ],
)
def test_without_the_token_nothing_is_served(url: str, authorization: tuple[str, ...], challenge: str) -> None:
    response = post(url, *authorization)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, challenge)
    assert CUSTOM_TOKEN not in response.text


@pytest.mark.parametrize(
    "path", ["/", "/mcp/", "/other", f"/mcp?token={CUSTOM_TOKEN}", f"/mcp?access_token={CUSTOM_TOKEN}"]
)
def test_no_path_is_open(url: str, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "DELETE"):
        response = httpx2.request(method, url.removesuffix("/mcp") + path, timeout=STEP_TIMEOUT)
        assert response.status_code == 401


def test_clients_find_no_oauth(url: str) -> None:
    for path in ("oauth-protected-resource", "oauth-protected-resource/mcp", "oauth-authorization-server"):
        assert httpx2.get(f"{url.removesuffix('/mcp')}/.well-known/{path}", timeout=STEP_TIMEOUT).status_code == 404


@pytest.mark.parametrize("path", ["/mcp", "/.well-known/oauth-protected-resource"])
@pytest.mark.parametrize("authorization", ["", "Authorization: Bearer wrong\r\n"], ids=["none", "wrong"])
def test_a_connection_without_the_token_ends_with_the_first_answer(url: str, path: str, authorization: str) -> None:
    request = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}Content-Length: 2\r\n\r\n{{}}"
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=STEP_TIMEOUT) as connection:
        connection.sendall(request.encode() * 2)
        assert read_to_end(connection).count(b"HTTP/1.1 40") == 1


def test_the_refusal_of_a_large_request_is_seen(url: str) -> None:
    body = iter([b"a" * 1_000_000] * 20)
    assert httpx2.post(url, content=body, timeout=STEP_TIMEOUT).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_is_accepted(url: str, scheme: str) -> None:
    assert post(url, f"{scheme} {CUSTOM_TOKEN}").status_code == 200


def test_a_web_page_is_rejected_even_with_the_token(url: str) -> None:
    headers = HEADERS | {"Authorization": f"Bearer {CUSTOM_TOKEN}", "Origin": "https://evil.example.com"}
    assert httpx2.post(url, json=CALL, headers=headers, timeout=STEP_TIMEOUT).status_code == 403


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_with_the_token_is_served(url: str, mode: str) -> None:
    with anyio.fail_after(STEP_TIMEOUT):
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {CUSTOM_TOKEN}"}) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            assert content(await client.call_tool("list_options", {}))["models"]


def test_a_generated_token_is_kept_and_shown_to_apps(tmp_path: Path) -> None:
    shown: list[str] = []
    for _ in range(2):
        with run_server("--simulate", authenticate=True, XDG_STATE_HOME=str(tmp_path)) as (url, process):
            snippet = read_snippet(process)
            [command] = re.findall(r"claude mcp add .*--header '?Authorization: Bearer ([\w-]+)", snippet)
            entries = [json.loads(line.partition(": ")[2]) for line in snippet.splitlines() if '"luma": ' in line]
            assert [entry["url"] for entry in entries] == [url, url]
            tokens = {entry["headers"]["Authorization"].removeprefix("Bearer ") for entry in entries}
            assert tokens == {command}
            assert post(url, f"Bearer {command}").status_code == 200
            assert post(url).status_code == 401
            assert command not in stop(process)
        shown.append(command)
    assert shown[0] == shown[1]
    assert len(shown[0]) >= 32


@unix_only
def test_only_the_user_can_read_the_token(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with run_server("--simulate", authenticate=True, XDG_STATE_HOME=str(state)):
        pass
    [file] = (state / "luma-ray-mcp").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def make_readable(path: Path) -> None:
    path.chmod(0o644)


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def make_short(path: Path) -> None:
    path.write_text("short", encoding="utf-8")


def make_empty(path: Path) -> None:
    path.write_text("", encoding="utf-8")


@unix_only
@pytest.mark.sample(1)
@pytest.mark.parametrize("weaken", [make_readable, make_link, make_short, make_empty])
def test_a_token_that_others_may_know_is_replaced(tmp_path: Path, weaken: object) -> None:
    assert callable(weaken)
    file = tmp_path / "luma-ray-mcp" / "http-token"
    file.parent.mkdir()
    file.write_text(f"{CUSTOM_TOKEN}\n", encoding="utf-8")
    file.chmod(0o600)
    with run_server("--simulate", authenticate=True, XDG_STATE_HOME=str(tmp_path)) as (url, _):
        assert post(url, f"Bearer {CUSTOM_TOKEN}").status_code == 200
    weaken(file)
    with run_server("--simulate", authenticate=True, XDG_STATE_HOME=str(tmp_path)) as (url, process):
        assert post(url, f"Bearer {CUSTOM_TOKEN}").status_code == 401
        new = file.read_text(encoding="utf-8").strip()
        assert post(url, f"Bearer {new}").status_code == 200
        warnings = stop(process)
    assert (str(file) in warnings, CUSTOM_TOKEN in warnings, new in warnings) == (True, False, False)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not file.is_symlink()


def test_servers_that_start_at_once_share_the_token(tmp_path: Path) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path)}
    with (
        run_server("--simulate", authenticate=True, **state) as (first, _),
        run_server("--simulate", authenticate=True, **state) as (second, _),
    ):
        token = (tmp_path / "luma-ray-mcp" / "http-token").read_text(encoding="utf-8").strip()
        assert [post(url, f"Bearer {token}").status_code for url in (first, second)] == [200, 200]


@pytest.mark.parametrize("token", ["short", CUSTOM_TOKEN[:31], "a" * 40, "password" * 5, f"{CUSTOM_TOKEN} with spaces"])
def test_a_weak_token_is_refused_with_what_would_work(run: Run, token: str) -> None:
    done = run("serve", "--http", "--simulate", "--port", "0", LUMA_MCP_HTTP_TOKEN=token)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "LUMA_MCP_HTTP_TOKEN" in line
    assert "32" in line
    assert token not in line


@unix_only
def test_an_unusable_state_folder_is_one_line(run: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("", encoding="utf-8")
    done = run("serve", "--http", "--simulate", "--port", "0", XDG_STATE_HOME=str(state))
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert "LUMA_MCP_HTTP_TOKEN" in line


def test_no_auth_serves_everybody_and_warns_in_one_line(tmp_path: Path) -> None:
    with run_server("--simulate", XDG_STATE_HOME=str(tmp_path)) as (url, process):
        assert post(url).status_code == 200
        [line] = stop(process).splitlines()
    assert ("--no-auth" in line, "credits" in line) == (True, True)
    assert list(tmp_path.iterdir()) == []


def test_the_log_never_has_the_token() -> None:
    environment = {"LUMA_MCP_HTTP_TOKEN": CUSTOM_TOKEN, "LUMA_MCP_LOG_LEVEL": "DEBUG"}
    with run_server("--simulate", authenticate=True, **environment) as (url, process):
        read_snippet(process)
        assert post(url, f"Bearer {CUSTOM_TOKEN}").status_code == 200
        assert post(f"{url}?{CUSTOM_TOKEN}", f"Bearer {CUSTOM_TOKEN}", f"Bearer {CUSTOM_TOKEN}").status_code == 401
        process.terminate()
        printed, log = process.communicate(timeout=STEP_TIMEOUT)
    assert log
    assert CUSTOM_TOKEN not in printed + log
