"""Links over real sockets of this machine: addresses, names and proxies. Runs on asyncio and on trio."""

from __future__ import annotations

import ssl
import threading
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING

import anyio
import httpcore2
import pytest
from tests.media.network import PUBLIC, Resolver

from luma_mcp.media.download import download
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.sources import ImageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from luma_mcp.media.safe_http import Resolve

CERTIFICATE = Path(__file__).with_name("public.example.pem")
LOOPBACK = "127.0.0.1"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LoopbackServer

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def _respond(self, status: int = 200) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        self.send_response(status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def do_GET(self) -> None:
        self._respond()

    def do_CONNECT(self) -> None:
        self._respond(403)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


class LoopbackServer(ThreadingHTTPServer):
    """A server that responds to every GET with the same content, and refuses CONNECT."""

    block_on_close = False

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.content = b"a picture"
        self.connections = 0
        self.requests: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect, for example because they do not accept the certificate."""


@contextmanager
def running_server(*, tls: bool = False) -> Iterator[LoopbackServer]:
    server = LoopbackServer()
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def client(
    resolve: Resolve, *, network: httpcore2.AsyncNetworkBackend | None = None, allow_private: bool = True
) -> AsyncIterator[SafeHttpClient]:
    http = SafeHttpClient(resolve=resolve, network=network, allow_private=allow_private)
    try:
        with anyio.fail_after(60):
            yield http
    finally:
        await http.aclose()


def resolve_to(*addresses: str) -> Resolve:
    async def resolve(host: str, port: int) -> list[str]:  # noqa: ARG001
        return list(addresses)

    return resolve


class Loopback(httpcore2.AnyIOBackend):
    """Real connections to this machine. Any other address refuses connections or does not respond."""

    def __init__(self, *, silent: bool) -> None:
        self.silent = silent
        self.attempts: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.attempts.append(host)
        if host != LOOPBACK:
            if self.silent:
                await anyio.sleep_forever()
            raise httpcore2.ConnectError("refused")
        return await super().connect_tcp(host, port, timeout, local_address, socket_options)


async def test_each_link_has_its_own_connection() -> None:
    with running_server() as server:
        async with client(resolve_to(LOOPBACK)) as http:
            for _ in range(3):
                assert await http.fetch(f"http://public.example:{server.port}/a.png") == b"a picture"
        assert server.connections == 3


async def test_live_address_is_used_beside_a_silent_one() -> None:
    network = Loopback(silent=True)
    with running_server() as server:
        async with client(resolve_to(PUBLIC, LOOPBACK), network=network) as http:
            assert await http.fetch(f"http://public.example:{server.port}/a.png") == b"a picture"
    # Nothing waited for the silent attempt, which would never have ended.
    assert network.attempts == [PUBLIC, LOOPBACK]


async def test_live_address_is_used_beside_a_refusing_one() -> None:
    with running_server() as server:
        # The server listens on one address only, so the other one refuses.
        async with client(resolve_to("127.0.0.2", "::1", LOOPBACK)) as http:
            assert await http.fetch(f"http://public.example:{server.port}/a.png") == b"a picture"


async def test_rebound_name_reaches_no_private_address() -> None:
    network, resolver = Loopback(silent=False), Resolver(PUBLIC, LOOPBACK)
    with running_server() as server:
        async with client(resolver, network=network, allow_private=False) as http:
            with pytest.raises(ImageError, match="ConnectError"):
                await http.fetch(f"http://public.example:{server.port}/a.png")
            with pytest.raises(ImageError, match="LUMA_MCP_ALLOW_PRIVATE_URLS"):
                await http.fetch(f"http://public.example:{server.port}/a.png")
        assert (network.attempts, resolver.calls) == ([PUBLIC], 2)
        assert server.connections == 0


async def test_certificate_must_match_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with running_server(tls=True) as server:
        async with client(resolve_to(LOOPBACK)) as http:
            assert await http.fetch(f"https://public.example:{server.port}/a.png") == b"a picture"
            assert await http.fetch(f"https://public.example.:{server.port}/a.png") == b"a picture"
            for host in ("other.example", LOOPBACK):
                with pytest.raises(ImageError, match="ConnectError"):
                    await http.fetch(f"https://{host}:{server.port}/a.png")
        assert server.requests == ["GET /a.png"] * 2


async def test_certificate_must_be_trusted() -> None:
    with running_server(tls=True) as server:
        async with client(resolve_to(LOOPBACK)) as http:
            with pytest.raises(ImageError, match="ConnectError"):
                await http.fetch(f"https://public.example:{server.port}/a.png")
        assert server.requests == []


@pytest.mark.parametrize("allow_private", [False, True])
async def test_proxy_gets_the_host_name(allow_private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(LOOPBACK)
    with running_server() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"{LOOPBACK}:{proxy.port}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{LOOPBACK}:{proxy.port}")
        async with client(resolver, allow_private=allow_private) as http:
            for _ in range(2):
                assert await http.fetch("http://public.example/a.png") == b"a picture"
            with pytest.raises(ImageError, match="ProxyError") as caught:
                await http.fetch("https://public.example/a.png")
            assert caught.value.retryable
        assert proxy.requests == ["GET http://public.example/a.png"] * 2 + ["CONNECT public.example:443"]
        assert proxy.connections == 3
    assert resolver.calls == 0


class _SocksHandler(StreamRequestHandler):
    """SOCKS version 5 (RFC 1928), without a password. Records the requested host, and responds in its place."""

    def handle(self) -> None:
        _, methods = self.rfile.read(2)
        self.rfile.read(methods)
        self.wfile.write(b"\x05\x00")
        _, _, _, kind = self.rfile.read(4)
        name = self.rfile.read(self.rfile.read(1)[0]) if kind == 3 else b"an address"
        self.rfile.read(2)
        self.server.names.append(name.decode())  # type: ignore[attr-defined]
        self.wfile.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na picture")


@pytest.mark.parametrize("form", ["socks5://{}", "socks5h://{}", "socks://{}/"])
async def test_socks_proxy_gets_the_host_name(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(LOOPBACK)
    with ThreadingTCPServer((LOOPBACK, 0), _SocksHandler) as proxy:
        proxy.names = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("all_proxy", form.format(f"{LOOPBACK}:{proxy.server_address[1]}"))
        try:
            async with client(resolver, allow_private=False) as http:
                assert await http.fetch("http://public.example/a.png") == b"a picture"
        finally:
            proxy.shutdown()
            thread.join()
        assert proxy.names == ["public.example"]  # type: ignore[attr-defined]
    assert resolver.calls == 0


async def test_no_proxy_is_matched_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server() as proxy, running_server() as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://{LOOPBACK}:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "public.example")
        async with client(resolve_to(LOOPBACK)) as http:
            assert await http.fetch(f"http://cdn.public.example:{server.port}/a.png") == b"a picture"
        assert (proxy.requests, server.requests) == ([], ["GET /a.png"])


@pytest.mark.parametrize("host", [LOOPBACK, "localhost", "127.1", "[::1]", "metadata.google.internal", "intranet"])
async def test_proxy_receives_no_private_address(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://{LOOPBACK}:{proxy.port}")
        async with client(resolve_to(PUBLIC), allow_private=False) as http:
            for scheme in ("http", "https"):
                with pytest.raises(ImageError, match="LUMA_MCP_ALLOW_PRIVATE_URLS"):
                    await http.fetch(f"{scheme}://{host}/a.png")
        assert proxy.connections == 0


@pytest.mark.parametrize("name", ["16x9-5s-sdr.mp4", "frames-exr.zip", "16x9-thumbnail.jpg"])
async def test_download_from_a_local_api(tmp_path: Path, name: str) -> None:
    progress: list[tuple[int, int | None]] = []

    async def on_progress(received: int, total: int | None) -> None:
        progress.append((received, total))

    with running_server() as server:
        server.content = (files("luma_mcp.simulator") / "media" / name).read_bytes()
        http = SafeHttpClient(api_origin=f"http://{LOOPBACK}:{server.port}/v1")
        url = f"http://{LOOPBACK}:{server.port}/media/any/{name}"
        try:
            assert await download(url, tmp_path / name, http, on_progress) == tmp_path / name
        finally:
            await http.aclose()
        assert (tmp_path / name).read_bytes() == server.content
        assert progress[-1] == (len(server.content), len(server.content))
