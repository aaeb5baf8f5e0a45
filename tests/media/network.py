"""Test doubles of a network: a resolver, hosts, and a server of one file."""

from __future__ import annotations

import math
import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpcore2
import httpx2

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

PUBLIC, PUBLIC6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
NAMES = {
    "public.example": [PUBLIC],
    "other.example": [PUBLIC6, PUBLIC],
    "localhost": ["127.0.0.1", "::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "a9fea9fe.nip.io": ["169.254.169.254"],
    "intranet": ["10.1.2.3"],
    "six.example": ["fd00::7"],
    "scoped.example": ["fe80::1%2"],
    "mapped.example": ["::ffff:192.168.0.1"],
    "mixed.example": [PUBLIC, "10.0.0.1"],
    "mixed6.example": [PUBLIC, "::1"],
}


async def resolve(host: str, port: int) -> list[str]:  # noqa: ARG001
    """Resolve names as getaddrinfo does: parse any numeric address, and look up other names in `NAMES`."""
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        pass
    try:
        return NAMES[host.casefold().rstrip(".")]
    except KeyError:
        raise socket.gaierror(-2, "Name or service not known") from None


class Resolver:
    """A name server that returns each of the addresses once, in order, and the last one from then on."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.calls = 0

    async def __call__(self, host: str, port: int) -> list[str]:  # noqa: ARG002
        self.calls += 1
        return [self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]]


class Body(httpx2.AsyncByteStream):
    """A response body that is streamed."""

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def aclose(self) -> None:
        await self._chunks.aclose()


async def chunks_of(*chunks: bytes) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk


def encode_headers(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Encode headers in UTF-8, as some servers do."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]


@dataclass
class CannedResponse:
    status: int = 200
    body: bytes = b"a picture"
    headers: dict[str, str] = field(default_factory=dict)


def redirect(location: str, status: int = 302) -> CannedResponse:
    return CannedResponse(status, b"", {"location": location})


@dataclass
class ReceivedRequest:
    """A request that a host has received."""

    url: str
    headers: dict[str, str]
    server_name: str | None
    """The name that the client requires in the TLS certificate; None without TLS."""


class FakeNetwork(httpcore2.AsyncNetworkBackend):
    """All hosts of the internet, below HTTP. `responses` are by URL; any other URL returns a picture.

    `seconds` is how long a connection to each address takes, infinite for an address that does not respond.
    """

    def __init__(
        self,
        responses: dict[str, CannedResponse] | None = None,
        *,
        seconds: dict[str, float] | None = None,
        refusing: Iterable[str] = (),
    ) -> None:
        self.responses = responses or {}
        self.seconds = seconds or {}
        self.refusing = set(refusing)
        self.attempts: list[str] = []
        self.ports: list[int] = []
        self.received: list[ReceivedRequest] = []
        self.accepted = self.open = 0

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        self.attempts.append(host)
        self.ports.append(port)
        seconds = self.seconds.get(host, 0)
        # Shielded, so that a connection is made even if it is cancelled at that moment.
        with anyio.CancelScope(shield=seconds < math.inf):
            await anyio.sleep(seconds)
        if host in self.refusing:
            raise httpcore2.ConnectError("refused")
        self.accepted += 1
        self.open += 1
        return _Connection(self)


class _Connection(httpcore2.AsyncNetworkStream):
    def __init__(self, network: FakeNetwork) -> None:
        self._network = network
        self._server_name: str | None = None
        self._request = self._response = b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        self._request += buffer
        if self._request.endswith(b"\r\n\r\n"):
            self._response = self._respond()
            self._request = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109
        response, self._response = self._response, b""
        return response

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,  # noqa: ARG002
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        self._server_name = server_hostname
        return self

    async def aclose(self) -> None:
        self._network.open -= 1
        await anyio.lowlevel.checkpoint()

    def _respond(self) -> bytes:
        start, *lines = self._request.decode().rstrip().split("\r\n")
        headers = {name.casefold(): value for name, _, value in (line.partition(": ") for line in lines)}
        scheme = "http" if self._server_name is None else "https"
        url = f"{scheme}://{headers['host']}{start.split()[1]}"
        self._network.received.append(ReceivedRequest(url, headers, self._server_name))
        response = self._network.responses.get(url, CannedResponse())
        fields = encode_headers({"content-length": str(len(response.body)), **response.headers})
        head = [b"HTTP/1.1 %d OK" % response.status, *(b"%b: %b" % pair for pair in fields)]
        return b"\r\n".join([*head, b"", response.body])


class UrlTransport(httpx2.AsyncBaseTransport):
    """A transport that returns responses by URL; any other URL returns a picture."""

    def __init__(self, responses: dict[str, CannedResponse] | None = None) -> None:
        self._responses = responses or {}
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        response = self._responses.get(str(request.url), CannedResponse())
        return httpx2.Response(
            response.status, headers=encode_headers(response.headers), stream=Body(chunks_of(response.body))
        )


CHUNK = 500


@dataclass
class FileServer(httpx2.AsyncBaseTransport):
    """A server of one file, in chunks and ranges. Each of `breaks` cuts one response after that many bytes."""

    content: bytes
    etag: str = '"a"'
    headers: dict[str, str] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    always_breaks: int | None = None
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    obeys_if_range: bool = True
    sends_length: bool = True
    on_request: Callable[[httpx2.Request], None] = lambda _: None
    requested: list[str | None] = field(default_factory=list)
    """The Range of each request."""
    if_range: list[str | None] = field(default_factory=list)
    sent: int = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.on_request(request)
        wanted, condition = request.headers.get("range"), request.headers.get("if-range")
        self.requested.append(wanted)
        self.if_range.append(condition)
        if self.statuses:
            return httpx2.Response(self.statuses.pop(0), stream=Body(chunks_of(b"<html>not now</html>")))
        total, headers = len(self.content), {"etag": self.etag} if self.etag else {}
        valid = not self.obeys_if_range or condition in (None, self.etag, self.headers.get("last-modified"))
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "") if self.ranges and valid else None
        start = int(found[1]) if found else 0
        if start >= total > 0:
            return httpx2.Response(416, headers={"content-range": f"bytes */{total}"}, stream=Body(chunks_of()))
        if found:
            headers["content-range"] = f"bytes {start}-{total - 1}/{total}"
        if self.sends_length:
            headers["content-length"] = str(total - start)
        body = Body(self._chunks(self.content[start:]))
        return httpx2.Response(206 if found else 200, headers=encode_headers(headers | self.headers), stream=body)

    async def _chunks(self, content: bytes) -> AsyncGenerator[bytes]:
        until = self.breaks.pop(0) if self.breaks else self.always_breaks
        for at in range(0, len(content) if until is None else until, CHUNK):
            chunk = content[at : min(at + CHUNK, len(content) if until is None else until)]
            self.sent += len(chunk)
            yield chunk
        if until is not None:
            raise httpx2.ReadError("the connection broke")


def video(mark: bytes, length: int = 4000) -> bytes:
    """Build the bytes of a file, in which no part occurs twice."""
    return (b"\0\0\0\x18ftypmp42" + b"".join(b"%s%d " % (mark, n) for n in range(length)))[:length]


URL = "https://public.example/fox.mp4"
OLD, NEW, LONGER = video(b"old"), video(b"new"), video(b"longer", 5200)
