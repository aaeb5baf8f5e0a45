"""Lines on stdin that are not JSON-RPC messages: each gets a response, and later lines are served."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.commands import LUMA_MCP
from tests.conftest import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

PARSE_ERROR, INVALID_REQUEST = -32700, -32600
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_options","arguments":{"model":%s}}}'
PING = b'{"jsonrpc":"2.0","id":%s,"method":"ping"}'
CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
# The line, and the code and the id of the response.
INVALID = {
    "half an emoji of JavaScript": (CALL % rb'"\ud83e"', PARSE_ERROR, 7),
    "half an emoji in UTF-8": (CALL % b'"\xf0\x9f\xa6"', PARSE_ERROR, 7),
    "latin-1": (CALL % '"Vidéo"'.encode("latin-1"), PARSE_ERROR, 7),
    "UTF-16": ((CALL % b'"x"').decode().encode("utf-16-le"), PARSE_ERROR, None),
    "400 levels": (CALL % (b"[" * 400 + b"]" * 400), PARSE_ERROR, 7),
    "100,000 levels": (CALL % (b'{"a":' * 100_000 + b"1" + b"}" * 100_000), PARSE_ERROR, 7),
    "deep before the id": (
        b'{"method":"ping","params":{"a":' + b"[" * 500 + b"]" * 500 + b'},"id":"x"}',
        PARSE_ERROR,
        "x",
    ),
    "NaN": (CALL % b"NaN", PARSE_ERROR, 7),
    "Infinity": (CALL % b"-Infinity", PARSE_ERROR, 7),
    "cut off": ((CALL % b'"x"')[:70], PARSE_ERROR, 7),
    "no JSON": (b"hello", PARSE_ERROR, None),
    "a trailing comma": (b'{"jsonrpc":"2.0","id":7,"method":"ping",}', PARSE_ERROR, 7),
    "an id inside": (b'{"method":"ping","params":{"id":1,"a":"\\ud83e"}}', PARSE_ERROR, None),
    "two ids": (b'{"id":1,"id":2,"a":"\\ud83e"}', PARSE_ERROR, None),
    "no jsonrpc": (b'{"id":7,"method":"ping"}', INVALID_REQUEST, 7),
    "an old version": (b'{"jsonrpc":"1.0","id":"a","method":"ping"}', INVALID_REQUEST, "a"),
    "no method": (b'{"jsonrpc":"2.0","id":7}', INVALID_REQUEST, 7),
    "a list of parameters": (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}', INVALID_REQUEST, 7),
    "a batch": (b"[" + PING % b"7" + b"]", INVALID_REQUEST, None),
    "a text": (b'"ping"', INVALID_REQUEST, None),
    "nothing in it": (b"{}", INVALID_REQUEST, None),
    "null as id": (PING % b"null", INVALID_REQUEST, None),
    "a boolean as id": (PING % b"true", INVALID_REQUEST, None),
    "a fraction as id": (PING % b"1.5", INVALID_REQUEST, 1.5),
    "a list as id": (PING % b"[7]", INVALID_REQUEST, None),
    "too long": (CALL % (b'"' + b"x" * 68_000_000 + b'"'), INVALID_REQUEST, 7),
}
SERVED = {
    "a byte order mark": b"\xef\xbb\xbf" + PING % b"7",
    "CRLF": PING % b"7" + b"\r",
    "blank lines": b"\n \r\n" + PING % b"7",
    "a negative id": PING % b"-7",
    "an id of 40 digits": PING % (b"9" * 40),
    "an additional member": b'{"jsonrpc":"2.0","id":"NaN","method":"ping","extra":{"id":null}}',
    "50 MB": b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":"' + b"x" * 50_000_000 + b'"}}',
}
UNANSWERED = {
    "a notification": b'{"jsonrpc":"2.0","method":"notifications/other","params":{"id":null}}',
    # The client may have sent a request with this id, and would take an error as its response.
    "an invalid response": b'{"jsonrpc":"2.0","id":7,"result":null}',
    "an unreadable response": b'{"jsonrpc":"2.0","id":7,"result":{"action":"\\ud83e"}}',
}


class Server:
    """A server after the handshake of 2025-11-25."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        initialize = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": CLIENT}
        self.send(json.dumps(initialize).encode())
        assert self.receive()["id"] == 0
        self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    def send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all lines, because no line may end it."""
    environment = {"LUMA_MCP_JOURNAL": "off", "USEAPI_TOKEN": TOKEN}
    with subprocess.Popen(
        LUMA_MCP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.parametrize(("line", "code", "request_id"), INVALID.values(), ids=INVALID)
def test_an_invalid_line_is_answered(server: Server, line: bytes, code: int, request_id: object) -> None:
    server.send(line)
    answer = server.receive()
    assert (answer["error"]["code"], answer["id"]) == (code, request_id)
    assert "nothing was done" in answer["error"]["message"]
    server.send(PING % b'"next"')
    assert server.receive() == {"jsonrpc": "2.0", "id": "next", "result": {}}


@pytest.mark.parametrize("line", SERVED.values(), ids=SERVED)
def test_an_unusual_line_is_served(server: Server, line: bytes) -> None:
    server.send(line)
    assert server.receive()["result"] == {}


@pytest.mark.parametrize("line", UNANSWERED.values(), ids=UNANSWERED)
def test_line_that_is_not_a_request_gets_no_response(server: Server, line: bytes) -> None:
    server.send(line)
    server.send(PING % b'"next"')
    assert server.receive()["id"] == "next"
