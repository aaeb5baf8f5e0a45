"""Attacks on a server with sign-in, over a real socket: none succeeds, and no secret is disclosed.

The requests have a valid token where that makes the attack stronger.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from starlette.responses import PlainTextResponse
from tests.cli.serving import STEP_TIMEOUT, read_to_end, run_server
from tests.hosting.identity import IdentityProvider
from tests.hosting.serving import serving

from luma_mcp.hosting.authentication import Access, Mode
from luma_mcp.hosting.http import BoundedProtocol, build_app
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

PUBLIC_HOST = "video.example.com"
AUDIENCE = f"https://{PUBLIC_HOST}/mcp"
SECRET_KEY = "a-key-for-questions-0123456789-abcdefghij"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "attacker", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_options", "arguments": {}}}
BODY = json.dumps(CALL)
LARGEST_BODY = 20_000


@dataclass
class Target:
    """A running server and its identity provider."""

    port: int
    provider: IdentityProvider
    secrets: list[str] = field(default_factory=list)

    def sign(self, sub: str = "anna", **claims: Any) -> str:
        """A valid token, which must not appear in any output."""
        token = self.provider.sign(sub=sub, aud=AUDIENCE, **claims)
        self.secrets.append(token)
        return token

    def send(self, raw: bytes) -> bytes:
        """Send these bytes, and read until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=STEP_TIMEOUT) as connection:
            # It may be refused, and the connection closed, before all of it was sent.
            with suppress(ConnectionError):
                connection.sendall(raw)
            return read_to_end(connection)

    def request(
        self, *headers: str, body: str = BODY, target: str = "/mcp", host: str = PUBLIC_HOST, token: str | None = None
    ) -> bytes:
        """Send a POST with the usual headers and these, which take precedence. Return the response."""
        return self.send(build_request(*headers, body=body, target=target, host=host, token=token or self.sign()))

    def call(self, token: str, message: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send a call of 2026-07-28. Return the status and the message."""
        params = message["params"]
        named = [f"Mcp-Name: {params['name']}"] if "name" in params else []
        headers = [f"MCP-Protocol-Version: {MODERN}", f"Mcp-Method: {message['method']}", *named]
        whole = {"jsonrpc": "2.0", "id": 1, **message, "params": {**params, "_meta": META}}
        answer = self.request(*headers, body=json.dumps(whole), token=token)
        text = answer.partition(b"\r\n\r\n")[2].decode()
        events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        return status_of(answer), json.loads(events[-1] if events else text)


def build_request(*headers: str, body: str, target: str, host: str, token: str) -> bytes:
    stated = {header.partition(":")[0].lower() for header in headers}
    usual = {
        "Host": host,
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "Content-Length": str(len(body.encode())),
        "Connection": "close",
    }
    lines = [
        f"POST {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in usual.items() if name.lower() not in stated),
    ]
    return "\r\n".join([*lines, *headers, "", body]).encode()


def status_of(answer: bytes) -> int:
    """The status of the first response, or 0 if there is none."""
    return int(answer[9:12]) if answer else 0


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with ExitStack() as stack:
        provider = IdentityProvider()
        url = stack.enter_context(serving(provider))
        provider.move(url)
        environment = {
            "LUMA_MCP_OAUTH_ISSUER": url,
            "LUMA_MCP_PUBLIC_URL": f"https://{PUBLIC_HOST}",
            "LUMA_MCP_LOG_LEVEL": "DEBUG",
            "LUMA_MCP_LOG_FORMAT": "json",
            "LUMA_MCP_MAX_BODY_BYTES": str(LARGEST_BODY),
            "LUMA_MCP_CONFIRM": "always",
            "LUMA_MCP_SECRET_KEYS": SECRET_KEY,
        }
        server, process = stack.enter_context(
            run_server("--simulate", "--speed", "50", authenticate=True, **environment)
        )
        running = Target(urlsplit(server).port or 0, provider, [SECRET_KEY])
        assert process.stderr
        lines: list[str] = []
        # A full pipe would stop the server.
        reader = threading.Thread(target=lines.extend, args=(process.stderr,))
        reader.start()
        yield running
        process.terminate()
        reader.join()
    log = "".join(lines)
    assert "list_options" in log
    for secret in running.secrets:
        assert secret not in log
    for line in lines:
        # What is no JSON object was written before logging began, or by an attacker.
        assert line.startswith("luma-ray-mcp: ") or isinstance(json.loads(line), dict)
    assert "\x1b" not in log


def test_valid_request_is_served(target: Target) -> None:
    for host in (PUBLIC_HOST, f"{PUBLIC_HOST}:443", f"127.0.0.1:{target.port}", f"localhost:{target.port}"):
        assert status_of(target.request(host=host)) == 200
    assert status_of(target.request(f"Origin: https://{PUBLIC_HOST}")) == 200


HOSTS = [
    "evil.example.com",
    "evil.example.com:443",
    f"{PUBLIC_HOST}.evil.example.com",
    f"evil.example.com#{PUBLIC_HOST}",
    f"{PUBLIC_HOST}@evil.example.com",
    f"evil.{PUBLIC_HOST}",
    f"{PUBLIC_HOST}:444",
    f"{PUBLIC_HOST}, evil.example.com",
    "127.0.0.1.evil.example.com:80",
    "localhost.evil.example.com",
    "169.254.169.254",
    "0.0.0.0",  # noqa: S104
    "",
    "\x1b[31mevil",
]


@pytest.mark.parametrize("host", HOSTS)
def test_other_names_of_the_server(target: Target, host: str) -> None:
    """DNS rebinding: a web page calls the server with the page's host name."""
    assert status_of(target.request(host=host)) in (400, 421)


ORIGINS = [
    "https://evil.example.com",
    "null",
    f"http://{PUBLIC_HOST}",
    f"https://{PUBLIC_HOST}.evil.example.com",
    "file://",
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_foreign_web_pages(target: Target, origin: str) -> None:
    assert status_of(target.request(f"Origin: {origin}")) == 403


def test_headers_of_proxies_are_ignored(target: Target) -> None:
    headers = [
        "X-Forwarded-Host: evil.example.com",
        "Forwarded: host=evil.example.com;proto=http",
        "X-Original-URL: /x",
    ]
    for path in ("/mcp", "/.well-known/oauth-protected-resource"):
        lines = [f"GET {path} HTTP/1.1", "Host: evil.example.com", "Connection: close", *headers, "", ""]
        answer = target.send("\r\n".join(lines).encode())
        assert b"evil" not in answer
        assert PUBLIC_HOST.encode() in answer
    assert status_of(target.request(*headers)) == 200


SMUGGLED = build_request("X: smuggled", body=BODY, target="/mcp", host=PUBLIC_HOST, token="nobody").decode()
CHUNKED = f"{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n"
LENGTHS: dict[str, tuple[list[str], str]] = {
    "a length and chunks": ([f"Content-Length: {len(CHUNKED)}", "Transfer-Encoding: chunked"], CHUNKED + SMUGGLED),
    "a short length and chunks": (["Content-Length: 4", "Transfer-Encoding: chunked"], CHUNKED + SMUGGLED),
    "chunks in two lines and a length": (
        ["Content-Length: 4", "Transfer-Encoding:\r\n chunked"],
        CHUNKED + SMUGGLED,
    ),
    "two lengths": ([f"Content-Length: {len(BODY)}", "Content-Length: 0"], BODY + SMUGGLED),
    "two lengths in one header": ([f"Content-Length: {len(BODY)}, 0"], BODY + SMUGGLED),
    "a length with a sign": ([f"Content-Length: +{len(BODY)}"], BODY + SMUGGLED),
    "a negative length": (["Content-Length: -1"], BODY + SMUGGLED),
    "a length in another base": (["Content-Length: 0x10"], BODY + SMUGGLED),
    "an unknown encoding": (["Content-Length: 4", "Transfer-Encoding: xchunked"], CHUNKED + SMUGGLED),
    "two encodings": (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], CHUNKED + SMUGGLED),
    "a list of encodings": (["Transfer-Encoding: identity, chunked"], CHUNKED + SMUGGLED),
    "an encoding of no bytes": (["Transfer-Encoding: \x0bchunked"], CHUNKED + SMUGGLED),
    "a space before the colon": (["Content-Length : 4", f"Content-Length: {len(BODY)}"], BODY + SMUGGLED),
    "a null byte": (["X: a\0b"], BODY),
    "a carriage return": (["X: a\rContent-Length: 0"], BODY),
    "a name that is no name": (["X Y: a"], BODY),
    "a line without a colon": (["nothing"], BODY),
    "another Host after a line feed": (["X: a\nHost: evil.example.com"], BODY),
    "a Host that goes on": ([f"Host: {PUBLIC_HOST}\r\n .evil.example.com"], BODY),
    "two Hosts": ([f"Host: {PUBLIC_HOST}", "Host: evil.example.com"], BODY),
    "an invalid size of a chunk": (["Transfer-Encoding: chunked"], "0x5\r\n" + BODY),
    "a chunk without an end": (["Transfer-Encoding: chunked"], f"{len(BODY):x}\r\n{BODY}0\r\n\r\n"),
}


@pytest.mark.parametrize(("headers", "body"), LENGTHS.values(), ids=LENGTHS)
def test_requests_with_an_ambiguous_end_or_host(target: Target, headers: list[str], body: str) -> None:
    """Request smuggling: a proxy and the server see different requests in the same bytes."""
    keep = ["Connection: keep-alive"] if body.endswith(SMUGGLED) else []
    answer = target.request(*keep, *headers, body=body)
    assert status_of(answer) in (400, 421, 501)
    # What follows is not read as a request.
    assert answer.count(b"HTTP/1.1 ") == 1


def test_lines_that_end_differently_are_one_request(target: Target) -> None:
    """A bare line feed ends a line as well, so it cannot hide a header."""
    raw = build_request("Connection: close", body=BODY, target="/mcp", host=PUBLIC_HOST, token=target.sign())
    head, _, body = raw.partition(b"\r\n\r\n")
    answer = target.send(head.replace(b"\r\n", b"\n") + b"\n\n" + body)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status_of(answer) in (200, 400)


OTHER_PROTOCOLS = [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /mcp\r\n\r\n",
    b"GET /mcp HTTP/9.9\r\n\r\n",
    b"CONNECT evil.example.com:443 HTTP/1.1\r\nHost: video.example.com\r\n\r\n",
    b"TRACE /mcp HTTP/1.1\r\nHost: video.example.com\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: video.example.com\r\n\r\n",
    b"GET http://evil.example.com/mcp HTTP/1.1\r\nHost: video.example.com\r\n\r\n",
    b"GET /mcp HTTP/1.1\r\nHost: video.example.com\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET /mcp HTTP/1.1\r\nHost: video.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 100,
]


@pytest.mark.parametrize("raw", OTHER_PROTOCOLS, ids=repr)
def test_other_protocols_and_methods(target: Target, raw: bytes) -> None:
    assert status_of(target.send(raw)) in (0, 400, 401)


# The answer to what is too long can get lost with the rest of it.
SIZES: dict[str, tuple[list[str], str, tuple[int, ...]]] = {
    "a long header": ([f"X: {'a' * 2_000_000}"], BODY, (0, 400, 431)),
    "many headers": ([f"X-{number}: a" for number in range(200_000)], BODY, (0, 400, 431)),
    "a long body": ([], " " * LARGEST_BODY + BODY, (413,)),
    "a long body in chunks": (
        ["Transfer-Encoding: chunked"],
        f"{LARGEST_BODY + 1:x}\r\n{' ' * (LARGEST_BODY + 1)}\r\n0\r\n\r\n",
        (413,),
    ),
    "a length that is a lie": (["Content-Length: 99999999999999"], BODY, (413,)),
    "deep nesting": ([], "[" * 10_000, (400,)),
    "deep nesting of objects": ([], '{"a":' * 3_000, (400,)),
    "a long number": ([], f'{{"jsonrpc": "2.0", "id": {"9" * 10_000}, "method": "ping"}}', (400,)),
    "a compressed body": (["Content-Encoding: gzip"], "\x1f\x7f\x08", (400, 415)),
    "another type": (["Content-Type: text/plain"], BODY, (400, 415)),
    "a form": (["Content-Type: application/x-www-form-urlencoded"], "a=b", (400, 415)),
}


@pytest.mark.parametrize(("headers", "body", "statuses"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("version", ["2025-11-25", MODERN])
def test_bodies_that_are_not_read(
    target: Target, headers: list[str], body: str, statuses: tuple[int, ...], version: str
) -> None:
    if "Transfer-Encoding: chunked" in headers:
        raw = build_request(*headers, body=body, target="/mcp", host=PUBLIC_HOST, token=target.sign())
        length = next(line for line in raw.split(b"\r\n") if line.startswith(b"Content-Length"))
        answer = target.send(raw.replace(length + b"\r\n", b""))
    else:
        answer = target.request(f"MCP-Protocol-Version: {version}", *headers, body=body)
    assert status_of(answer) in statuses
    assert status_of(target.request()) == 200


def test_long_body_without_a_token_is_not_read(target: Target) -> None:
    assert status_of(target.request("Authorization: Bearer x", body=" " * 1_000_000)) == 401


TARGETS = [
    "/mcp?access_token={}",
    "/mcp?token={}",
    "/mcp?a=b&api_key={}",
    "/mcp?access%5Ftoken={}",
    "/mcp?x-useapi-token={}",
]


@pytest.mark.parametrize("url", TARGETS)
def test_tokens_in_urls(target: Target, url: str) -> None:
    token = target.sign()
    beside = target.request(target=url.format(token), token=token)
    instead = target.request("Authorization: none", target=url.format(token))
    without = target.send(f"POST {url.format(token)} HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\n\r\n".encode())
    assert [status_of(answer) for answer in (beside, instead, without)] == [400, 401, 401]
    assert token.encode() not in beside + instead + without


def test_repeated_authorization(target: Target) -> None:
    good, other = target.sign(), target.sign("bob")
    for values in ((good, other), (good, good), (good, "x"), ("x", good)):
        answer = target.request(*(f"Authorization: Bearer {value}" for value in values))
        assert status_of(answer) == 401
    assert status_of(target.request(f"Authorization: Bearer {good}, Bearer {other}")) == 401
    assert status_of(target.request(f"Authorization: Bearer {good} Bearer {other}")) == 401


PATHS = [
    "/hooks/../mcp",
    "/hooks/order/..%2f..%2fmcp",
    "/hooks/%2e%2e/mcp",
    "/hooks/..\\mcp",
    "//hooks//mcp",
    "/hooks/a/b/../../../mcp",
    "/hooks/%00/mcp",
    "/mcp/../hooks/a/b",
    "/.well-known/../mcp",
    "/.well-known/oauth-protected-resource/../../mcp",
    "/mcp/",
    "/MCP",
    "/mcp%2f",
    "/mcp;a=b",
    "/metrics",
    "/readyz",
    "/livez",
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
]


@pytest.mark.parametrize("path", PATHS)
def test_other_paths_are_not_found(target: Target, path: str) -> None:
    for headers in ([], ["Authorization: Bearer x"]):
        lines = [f"POST {path} HTTP/1.1", f"Host: {PUBLIC_HOST}", *headers, "Connection: close", "Content-Length: 0"]
        answer = target.send("\r\n".join([*lines, "", ""]).encode())
        assert status_of(answer) in (401, 404)
    assert status_of(target.request(target=path)) in (404, 405)


@pytest.mark.parametrize(
    "path", ["/hooks/../mcp", "/hooks/order/..%2f..%2fmcp", "/hooks/%2e%2e/mcp", "/hooks/a/b/../../../mcp"]
)
def test_a_path_below_hooks_never_reaches_the_server(path: str) -> None:
    seen: list[str] = []

    async def hooks(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await PlainTextResponse("hook", status_code=404)(scope, receive, send)

    settings = Settings.from_environment({"LUMA_MCP_JOURNAL": "off"})
    app = build_app(build_server(settings), settings, host="127.0.0.1", access=Access(Mode.CALLER), hooks=hooks)
    with (
        serving(app) as url,
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=STEP_TIMEOUT) as connection,
    ):
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert read_to_end(connection).endswith(b"hook")
    assert len(seen) == 1


class ImpatientProtocol(BoundedProtocol):
    """The protocol with short time limits."""

    head_timeout = body_timeout = answer_timeout = 0.3


@pytest.mark.parametrize("sent", [b"", b'{"jsonrpc": "2.0", ', BODY.encode()[:-1]], ids=repr)
def test_slow_bodies_call_nothing(sent: bytes) -> None:
    settings = Settings.from_environment({"LUMA_MCP_JOURNAL": "off"})
    calls: list[str] = []
    server = build_server(settings, on_result=lambda name, _: calls.append(name))
    app = build_app(server, settings, host="127.0.0.1", access=Access(Mode.CALLER))
    with serving(app, protocol=ImpatientProtocol) as url:
        port = urlsplit(url).port or 0
        host = f"127.0.0.1:{port}"
        head = build_request(
            "X-UseAPI-Token: user:1-mine", f"Content-Length: {len(BODY)}", body="", target="/mcp", host=host, token="x"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=STEP_TIMEOUT) as connection:
            connection.sendall(head + sent)
            assert read_to_end(connection) == b""
        assert calls == []
        with socket.create_connection(("127.0.0.1", port), timeout=STEP_TIMEOUT) as connection:
            connection.sendall(head + BODY.encode())
            assert status_of(read_to_end(connection)) == 200
    assert calls == ["list_options"]


INJECTED = [
    "X-Request-Id: a\x1b[2J{}",
    'X-Request-Id: {{"level": "INFO"}}',
    "X-Request-Id: " + "a" * 500,
    "User-Agent: \x1b]0;owned\x07",
    "MCP-Protocol-Version: \x1b[31m2026-07-28",
    "Mcp-Method: \x85 ERROR luma_mcp: all is lost",
    "Origin: https://evil.example.com/\x1b[31m",
    'Origin: "}}\x7f{{"level": "CRITICAL", "message": "forged"}}',
]


@pytest.mark.parametrize("header", INJECTED)
def test_headers_cannot_add_lines_to_the_log(target: Target, header: str) -> None:
    """The log is read after the server has exited."""
    answer = target.request(header.format("b"))
    assert b"\x1b" not in answer
    for name in ("a\nlevel: CRITICAL", "\x1b[31m", "\u2028CRITICAL"):
        message = {**CALL, "method": name, "params": {"name": name}}
        target.request(body=json.dumps(message))
        target.request(body=json.dumps({**CALL, "params": {"name": name, "arguments": {name: name}}}))


# Replayed confirmations

ORDER = {"name": "generate_video", "arguments": {"prompt": "A fox", "wait_seconds": 0, "new_take": True}}


def ask(target: Target, token: str, order: dict[str, Any] = ORDER) -> dict[str, Any]:
    status, message = target.call(token, {"method": "tools/call", "params": order})
    assert (status, message["result"]["resultType"]) == (200, "input_required")
    return dict(message["result"])


def agree(
    target: Target, token: str, question: dict[str, Any], order: dict[str, Any] = ORDER, **changed: Any
) -> tuple[int, dict[str, Any]]:
    answers = {key: {"action": "accept", "content": {"order": True}} for key in question["inputRequests"]}
    params = {**order, "inputResponses": answers, "requestState": question["requestState"], **changed}
    return target.call(token, {"method": "tools/call", "params": params})


def list_jobids(target: Target, token: str) -> set[str]:
    _, message = target.call(token, {"method": "tools/call", "params": {"name": "list_jobs", "arguments": {}}})
    return {job["jobid"] for job in message["result"]["structuredContent"]["jobs"]}


def test_replayed_confirmation_orders_nothing(target: Target) -> None:
    token = target.sign("carla")
    question = ask(target, token)
    before = list_jobids(target, token)
    first = agree(target, token, question)[1]["result"]["structuredContent"]["jobid"]
    for _ in range(3):
        content = agree(target, target.sign("carla"), question)[1]["result"]["structuredContent"]
        assert content.get("jobid", first) == first
        assert content["charged"] == "no" or content.get("jobid") == first
    assert list_jobids(target, token) - before == {first}


def test_confirmation_of_another_user_is_refused(target: Target) -> None:
    question = ask(target, target.sign("dora"))
    status, message = agree(target, target.sign("eve"), question)
    assert (status, message["error"]["code"]) == (400, -32602)
    assert "result" not in message


CHANGES: dict[str, dict[str, Any]] = {
    "other arguments": {"arguments": {**ORDER["arguments"], "prompt": "A whale", "resolution": "1080p"}},  # type: ignore[dict-item]
    "more takes": {"arguments": {**ORDER["arguments"], "takes": 4}},  # type: ignore[dict-item]
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_confirmation_of_another_order_is_refused(target: Target, changed: dict[str, Any]) -> None:
    token = target.sign("frida")
    status, message = agree(target, token, ask(target, token), **changed)
    assert (status, message["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("position", [0, 3, 10, 40, -1])
def test_a_changed_state_is_refused(target: Target, position: int) -> None:
    token = target.sign("gina")
    question = ask(target, token)
    state = question["requestState"]
    other = "A" if state[position] != "A" else "B"
    position %= len(state)
    question["requestState"] = state[:position] + other + state[position + 1 :]
    status, message = agree(target, token, question)
    assert (status, message["error"]["code"]) == (400, -32602)


def test_invented_state_is_refused(target: Target) -> None:
    token = target.sign("hanna")
    question = ask(target, token)
    forged = {"question": {"id": "1", "text": "?", "key": "1", "takes": [1, 2, 3, 4]}, "state": "{}"}
    for state in (json.dumps(forged), "", "v1.", "v1.AAAA", 7):
        status, message = agree(target, token, question, requestState=state)
        assert (status, message["error"]["code"]) == (400, -32602)
