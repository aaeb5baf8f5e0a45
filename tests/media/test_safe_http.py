"""No link reaches this machine or its network, however it is written. Public links are fetched."""

from __future__ import annotations

import math
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.media.network import (
    PUBLIC,
    PUBLIC6,
    Body,
    CannedResponse,
    FakeNetwork,
    FileServer,
    Resolver,
    UrlTransport,
    redirect,
    resolve,
)

from luma_mcp.media.safe_http import HAPPY_EYEBALLS_DELAY, SafeHttpClient
from luma_mcp.media.sources import LARGEST_INPUT, ImageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PRIVATE_LITERALS = """
127.0.0.1 127.0.0.1. 127.1 127.0.1 127.8.9.10 0x7f000001 0x7f.1 0X7F.0.0.1 2130706433 017700000001 0177.1 0 0.0.0.0 0.1
[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:10.0.0.1] [::ffff:169.254.169.254]
[::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1]
[2002:7f00:1::] [2002:a9fe:a9fe::1] [2002:c0a8:1::1] [2001:0:7f00:1::] [2001:0:4136:e378:8000:63bf:80ff:fffe]
[fe80::1] [fe80::1%25eth0] [fe80::1%25lo] [febf::1] [fec0::1] [fc00::1] [fd00:ec2::254] [fd20:ce::254] [ff02::1]
[ff0e::1] [100::1] [2001:db8::1] 127.0.0.0x1
10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254 192.168.0.1 192.168.255.255 169.254.169.254 169.254.170.2 169.254.0.1
2852039166 0xa9fea9fe 0251.0376.169.254 100.64.0.1 100.127.255.254 100.100.100.200 168.63.129.16 [::ffff:168.63.129.16]
192.0.0.1 192.0.0.192 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1
255.255.255.255
１２７.０.０.１ 127。0。0。1 127．0．0．1 127｡1 ①②⑦.⓪.⓪.① ١٢٧.٠.٠.١ 127%2e0%2e0%2e1 %31%32%37.0.0.1 [::1%25 [::1].
localhost localhost. LOCALHOST ｌｏｃａｌｈｏｓｔ ⓛocalhost metadata.google.internal metadata.google.internal. intranet
"""
PRIVATE_NAMES = """
127.0.0.1.nip.io a9fea9fe.nip.io six.example scoped.example mapped.example mixed.example mixed6.example
"""
NOT_HTTP = """
ftp://public.example/a file:///etc/passwd file://public.example/etc/passwd gopher://public.example/ ws://public.example/
wss://public.example/ data:image/png;base64,AAAA javascript:alert(1) dict://public.example/ mailto:a@public.example
"""
CREDENTIALS = """
http://user@public.example/ http://user:pw@public.example/ http://:pw@public.example/ https://user%40x:pw@public.example/
http://public.example@127.0.0.1/ http://public.example:80@127.0.0.1/ http://127.0.0.1@public.example/
http://public.example\\@127.0.0.1/ http://127.0.0.1\\@public.example/ http://public.example%20@127.0.0.1/
"""
CONFUSING = """
http://127.0.0.1#@public.example/ http://127.0.0.1?@public.example/ http://127.0.0.1/@public.example/
http://127.0.0.1:80#public.example http://127.0.0.1:80\\public.example/ http://[::1 http://::1/ http://127.0.0.1:80:80/
http://public.example%00.nip.io/ http://public.example%2f.127.0.0.1.nip.io/ http://public.example%2f@127.0.0.1.nip.io/
http://[public.example]/ http://[127.0.0.1]/ http://[::1]public.example/ http://. http:/// http://:80/ http://?public.example
http://public.example:0/ http://public.example:65536/ http://public.example:99999/ http://public.example:-1/
http://public.example:80a/
"""
SPACED = [
    "http://127.0.0.1\t/",
    "http://127.0.0.1 /",
    "http:// 127.0.0.1/",
    "http://127.0.0.1\r\nHost: public.example/",
    "http://public.example\n.127.0.0.1/",
    "http://public.example\0.127.0.0.1/",
]
LONG = ["http://public.example:" + "9" * 5000, "http://" + "a" * 300 + ".example/"]
NOT_IN_A_HEADER = str.maketrans("\r\n\0", "   ")
LITERALS = PRIVATE_LITERALS.split()
PRIVATE = [*LITERALS, *PRIVATE_NAMES.split()]
ATTACKS = [*f"{NOT_HTTP} {CREDENTIALS} {CONFUSING}".split(), *SPACED, *LONG]
NOT_LINKS = ["", "http:", "http://", "//public.example/", "public.example", "http:public.example", " http://127.0.0.1/"]


@pytest.fixture(autouse=True)
def few_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load one certificate instead of all those of the system, which would take most of the time."""
    monkeypatch.setenv("SSL_CERT_FILE", str(Path(__file__).with_name("public.example.pem")))


async def fetch(network: FakeNetwork, url: str, *, allow_private: bool = False, api_origin: str | None = None) -> bytes:
    client = SafeHttpClient(network=network, resolve=resolve, allow_private=allow_private, api_origin=api_origin)
    try:
        return await client.fetch(url)
    finally:
        await client.aclose()


async def get_refusal(
    network: FakeNetwork, url: str, *, allow_private: bool = False, api_origin: str | None = None
) -> ImageError:
    with pytest.raises(ImageError) as caught:
        await fetch(network, url, allow_private=allow_private, api_origin=api_origin)
    return caught.value


async def get_transport_refusal(
    transport: httpx2.AsyncBaseTransport, url: str = "http://public.example/"
) -> ImageError:
    with pytest.raises(ImageError) as caught:
        await SafeHttpClient(transport=transport, resolve=resolve).fetch(url)
    return caught.value


@pytest.mark.parametrize("host", PRIVATE, ids=repr)
async def test_no_connection_to_a_private_host(host: str) -> None:
    for url in (f"http://{host}/", f"https://{host}:8443/secret?secret"):
        network = FakeNetwork()
        error = await get_refusal(network, url)
        assert network.attempts == []
        assert "secret" not in error.reason


@pytest.mark.parametrize("url", ATTACKS + NOT_LINKS, ids=lambda url: repr(url[:50]))
async def test_no_connection_for_an_unusual_link(url: str) -> None:
    network = FakeNetwork()
    await get_refusal(network, url)
    assert network.attempts == []


@pytest.mark.parametrize("host", PRIVATE, ids=repr)
async def test_no_redirect_to_a_private_host(host: str) -> None:
    for location in (f"http://{host}/latest/", f"//{host}/"):
        network = FakeNetwork({"http://public.example/": redirect(location)})
        await get_refusal(network, "http://public.example/")
        assert network.attempts == [PUBLIC]


@pytest.mark.parametrize("location", [*ATTACKS, "//:80/"], ids=lambda url: repr(url[:50]))
async def test_no_redirect_to_an_unusual_link(location: str) -> None:
    # From https: a location without a host would be a path on the same host if it came from http.
    network = FakeNetwork({"https://public.example/": redirect(location.translate(NOT_IN_A_HEADER))})
    await get_refusal(network, "https://public.example/")
    assert network.attempts == [PUBLIC]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_each_redirect_of_a_chain_is_checked(status: int) -> None:
    network = FakeNetwork(
        {
            "http://public.example/": redirect("/second", status),
            "http://public.example/second": redirect("https://other.example/third", status),
            "https://other.example/third": redirect("//169.254.169.254/latest/meta-data/", status),
        }
    )
    await get_refusal(network, "http://public.example/")
    assert network.attempts == [PUBLIC, PUBLIC, PUBLIC6]


async def test_at_most_five_redirects() -> None:
    chain = {f"http://public.example/{n}": redirect(f"/{n + 1}") for n in range(6)}
    network = FakeNetwork(chain)
    error = await get_refusal(network, "http://public.example/0")
    assert "redirects" in error.reason
    assert len(network.received) == 6
    assert await fetch(FakeNetwork(chain), "http://public.example/1") == b"a picture"


async def test_connection_uses_the_checked_address() -> None:
    network, resolver = FakeNetwork(), Resolver(PUBLIC, "127.0.0.1")
    client = SafeHttpClient(network=network, resolve=resolver)
    assert await client.fetch("http://rebinding.example/") == b"a picture"
    assert (network.attempts, resolver.calls) == ([PUBLIC], 1)


@pytest.mark.parametrize("responses", [{}, {"http://rebinding.example/": redirect("/again")}], ids=["link", "redirect"])
async def test_name_is_checked_again_for_each_request(responses: dict[str, CannedResponse]) -> None:
    network = FakeNetwork(responses)
    client = SafeHttpClient(network=network, resolve=Resolver(PUBLIC, "127.0.0.1"))
    if not responses:
        await client.fetch("http://rebinding.example/")
    with pytest.raises(ImageError, match="LUMA_MCP_ALLOW_PRIVATE_URLS"):
        await client.fetch("http://rebinding.example/")
    assert network.attempts == [PUBLIC]


@pytest.mark.parametrize("host", ["127.0.0.1", "intranet", "mixed.example"], ids=repr)
async def test_injected_transport_does_not_skip_the_check(host: str) -> None:
    transport = UrlTransport({"http://public.example/": redirect(f"http://{host}/")})
    assert not (await get_transport_refusal(transport, f"http://{host}/")).retryable
    assert transport.requests == []
    assert not (await get_transport_refusal(transport)).retryable
    assert [request.url.host for request in transport.requests] == ["public.example"]


@pytest.mark.parametrize(
    ("url", "address", "port", "host", "name"),
    [
        ("http://public.example/a.png", PUBLIC, 80, "public.example", None),
        ("https://public.example/a.png?size=1#top", PUBLIC, 443, "public.example", "public.example"),
        ("https://public.example:443/", PUBLIC, 443, "public.example", "public.example"),
        ("https://public.example./", PUBLIC, 443, "public.example.", "public.example"),
        ("https://Public.Example:8443/", PUBLIC, 8443, "public.example:8443", "public.example"),
        (f"http://{PUBLIC}:81/", PUBLIC, 81, f"{PUBLIC}:81", None),
        (f"https://[{PUBLIC6}]/", PUBLIC6, 443, f"[{PUBLIC6}]", PUBLIC6),
        (f"http://[{PUBLIC6}]:81/", PUBLIC6, 81, f"[{PUBLIC6}]:81", None),
        # The form of public addresses in networks without IPv4.
        ("http://[64:ff9b::5db8:d70e]/", "64:ff9b::5db8:d70e", 80, "[64:ff9b::5db8:d70e]", None),
    ],
    ids=repr,
)
async def test_public_link_is_fetched_with_its_host_name(
    url: str, address: str, port: int, host: str, name: str | None
) -> None:
    network = FakeNetwork()
    assert await fetch(network, url) == b"a picture"
    assert (network.attempts, network.ports) == ([address], [port])
    assert network.received[0].headers["host"] == host
    assert network.received[0].server_name == name


async def test_silent_address_delays_a_link_by_250_ms() -> None:
    start = anyio.current_time()
    network = FakeNetwork(seconds={PUBLIC6: math.inf})
    assert await fetch(network, "https://other.example/") == b"a picture"
    assert network.attempts == [PUBLIC6, PUBLIC]
    # Virtual time: the connect timeout would be 10 s.
    assert anyio.current_time() - start == pytest.approx(HAPPY_EYEBALLS_DELAY)
    assert network.open == 0


async def test_slower_connection_is_closed() -> None:
    network = FakeNetwork(seconds={PUBLIC6: 1, PUBLIC: 1 - HAPPY_EYEBALLS_DELAY})
    assert await fetch(network, "https://other.example/") == b"a picture"
    assert network.accepted == 2
    assert network.open == 0


async def test_connections_made_while_cancelled_are_closed() -> None:
    network = FakeNetwork(seconds={PUBLIC6: 1, PUBLIC: 1 - HAPPY_EYEBALLS_DELAY})
    with anyio.move_on_after(0.5):
        await fetch(network, "https://other.example/")
    assert network.accepted == 2
    assert network.open == 0


async def test_refusing_address_causes_no_delay() -> None:
    start = anyio.current_time()
    network = FakeNetwork(refusing=[PUBLIC6])
    assert await fetch(network, "https://other.example/") == b"a picture"
    assert anyio.current_time() == start


@pytest.mark.parametrize(
    ("network", "cause", "seconds"),
    [
        (FakeNetwork(refusing=[PUBLIC, PUBLIC6]), "ConnectError", 0),
        (FakeNetwork(seconds={PUBLIC: math.inf, PUBLIC6: math.inf}), "ConnectTimeout", 10),
        (FakeNetwork(seconds={PUBLIC: math.inf}, refusing=[PUBLIC6]), "ConnectTimeout", 10),
    ],
    ids=["refused", "silent", "both"],
)
async def test_host_without_a_working_address_is_retryable(network: FakeNetwork, cause: str, seconds: float) -> None:
    start = anyio.current_time()
    error = await get_refusal(network, "https://other.example/")
    assert cause in error.reason
    assert error.retryable
    assert anyio.current_time() - start == pytest.approx(seconds)


async def test_cancelled_request_closes_its_connection() -> None:
    network = FakeNetwork()
    client = SafeHttpClient(network=network, resolve=resolve)
    with anyio.CancelScope() as scope:
        async with client.stream("http://public.example/", {}):
            assert network.open == 1
            scope.cancel()
            await anyio.sleep(1)
    assert network.open == 0


@pytest.mark.parametrize("error", [ValueError, TimeoutError, httpx2.InvalidURL], ids=lambda error: error.__name__)
async def test_error_of_the_reader_is_not_converted(error: type[Exception]) -> None:
    client = SafeHttpClient(network=FakeNetwork(), resolve=resolve)
    with pytest.raises(error, match="of the reader"):
        async with client.stream("http://public.example/", {}):
            raise error("of the reader")


async def test_requests_contain_no_cookies_or_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    cookie = {"set-cookie": "session=1; Path=/", "location": "https://other.example/b"}
    network = FakeNetwork({"https://public.example/a": CannedResponse(302, b"", cookie)})
    client = SafeHttpClient(network=network, resolve=resolve)
    for _ in range(2):
        assert await client.fetch("https://public.example/a") == b"a picture"
    assert [request.headers["host"] for request in network.received] == ["public.example", "other.example"] * 2
    for request in network.received:
        assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding"}


API = "http://127.0.0.1:8700/v1/luma"
OTHER_ORIGINS = """
http://127.0.0.1:8701 http://127.0.0.1 https://127.0.0.1:8700 http://127.0.0.2:8700 http://[::1]:8700
http://localhost:8700 http://127.1:8700 http://me@127.0.0.1:8700
"""


async def test_link_to_a_local_api_is_fetched() -> None:
    network = FakeNetwork()
    assert await fetch(network, "http://127.0.0.1:8700/media/a.png", api_origin=API) == b"a picture"
    assert (network.attempts, network.ports) == (["127.0.0.1"], [8700])


@pytest.mark.parametrize("origin", OTHER_ORIGINS.split(), ids=repr)
async def test_no_other_local_origin_is_fetched(origin: str) -> None:
    network = FakeNetwork({"http://127.0.0.1:8700/": redirect(f"{origin}/")})
    await get_refusal(network, f"{origin}/media/a.png", api_origin=API)
    await get_refusal(network, "http://127.0.0.1:8700/", api_origin=API)
    assert (network.attempts, network.ports) == (["127.0.0.1"], [8700])


@pytest.mark.parametrize("url", ["http://127.0.0.1:81/", "https://intranet/a", "http://[fd00::7]/"], ids=repr)
async def test_private_links_are_fetched_if_allowed(url: str) -> None:
    network = FakeNetwork({"http://public.example/": redirect(url)})
    assert await fetch(network, url, allow_private=True) == b"a picture"
    assert await fetch(network, "http://public.example/", allow_private=True) == b"a picture"


@pytest.mark.parametrize("url", ["ftp://intranet/a", "http://me:pw@intranet/", "http://intranet:99999/"], ids=repr)
async def test_unusual_links_are_rejected_if_private_ones_are_allowed(url: str) -> None:
    network = FakeNetwork()
    await get_refusal(network, url, allow_private=True)
    assert network.attempts == []


class MegabyteTransport(httpx2.AsyncBaseTransport):
    """A transport that sends a megabyte `every` so many seconds, endlessly or until `megabytes` are sent."""

    def __init__(self, megabytes: float = float("inf"), *, every: float = 0) -> None:
        self.sent, self._end, self._every = 0, megabytes, every

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:  # noqa: ARG002
        return httpx2.Response(200, stream=Body(self._chunks()))

    async def _chunks(self) -> AsyncGenerator[bytes]:
        while self.sent < self._end:
            await pass_time(self._every)
            self.sent += 1
            yield bytes(1_000_000)


async def test_endless_response_is_stopped_at_the_limit() -> None:
    transport = MegabyteTransport()
    error = await get_transport_refusal(transport)
    assert "larger than 100 MB" in error.reason
    assert transport.sent == LARGEST_INPUT // 1_000_000 + 1


async def test_picture_of_the_largest_size_is_fetched() -> None:
    client = SafeHttpClient(transport=MegabyteTransport(100), resolve=resolve)
    assert len(await client.fetch("http://public.example/")) == LARGEST_INPUT


async def test_slow_response_is_stopped_after_a_minute() -> None:
    start = anyio.current_time()
    error = await get_transport_refusal(MegabyteTransport(every=20))
    assert error.retryable
    assert anyio.current_time() - start == pytest.approx(60)


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip"], ids=repr)
async def test_compressed_response_is_rejected(encoding: str) -> None:
    network = FakeNetwork({"http://public.example/": CannedResponse(200, b"\x1f\x8b", {"content-encoding": encoding})})
    assert "compressed" in (await get_refusal(network, "http://public.example/")).reason
    assert network.received[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(404, False), (401, False), (403, False), (410, False), (204, False), (408, True), (429, True), (500, True)],
)
async def test_error_of_each_status(status: int, retryable: bool) -> None:
    error = await get_transport_refusal(UrlTransport({"http://public.example/": CannedResponse(status, b"secret")}))
    assert error.reason.startswith(f"is a link that answers {status}")
    assert "secret" not in error.reason
    assert str(error) == error.reason
    assert error.retryable is retryable


@pytest.mark.parametrize(
    ("fault", "reason", "retryable"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "not found", False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "just now", True),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "just now", True),
        (OSError("no network"), "just now", True),
        (UnicodeError("label too long"), "not valid", False),
    ],
    ids=repr,
)
async def test_error_of_a_host_without_an_address(fault: Exception, reason: str, *, retryable: bool) -> None:
    async def fail(host: str, port: int) -> list[str]:  # noqa: ARG001
        raise fault

    client = SafeHttpClient(network=FakeNetwork(), resolve=fail)
    with pytest.raises(ImageError) as caught:
        await client.fetch("http://nowhere.example/")
    assert reason in caught.value.reason
    assert caught.value.retryable is retryable


class BadCertificate(httpx2.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("failed", request=request) from ssl.SSLCertVerificationError(
            "certificate has expired"
        )


async def test_invalid_certificate_is_not_retryable() -> None:
    error = await get_transport_refusal(BadCertificate())
    assert "certificate" in error.reason
    assert not error.retryable


async def test_broken_response_is_retryable() -> None:
    error = await get_transport_refusal(FileServer(b"secret" * 500, breaks=[500]))
    assert "ReadError" in error.reason
    assert error.retryable


# Nothing listens on this port, so a request through this proxy ends in a retryable network error.
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize("host", LITERALS, ids=repr)
async def test_private_address_is_rejected_with_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", NOWHERE)
    client = SafeHttpClient(resolve=resolve)
    for scheme in ("http", "https"):
        with pytest.raises(ImageError) as caught:
            await client.fetch(f"{scheme}://{host}/")
        assert not caught.value.retryable
    await client.aclose()


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("public.example", "http://public.example/"),
        ("example", "https://public.example/"),
        (".example", "http://public.example/"),
        ("*.example", "http://public.example/"),
        ("localhost, public.example", "http://public.example/"),
        ("PUBLIC.example:8080", "http://public.example:8080/"),
        ("intranet,*", "http://public.example/"),
        (PUBLIC, f"http://{PUBLIC}/"),
        ("93.184.0.0/16", f"http://{PUBLIC}/"),
        (f"[{PUBLIC6}]", f"http://[{PUBLIC6}]/"),
    ],
    ids=repr,
)
async def test_host_in_no_proxy_uses_no_proxy(no_proxy: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", NOWHERE)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    network = FakeNetwork()
    assert await fetch(network, url) == b"a picture"
    assert len(network.attempts) == 1


@pytest.mark.parametrize("no_proxy", ["ublic.example", "public.example:81", "10.0.0.0/8", "93.184.215.0/24", ",", "x*"])
async def test_host_outside_no_proxy_uses_the_proxy(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", NOWHERE)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    network = FakeNetwork()
    assert (await get_refusal(network, "http://public.example/")).retryable
    assert network.attempts == []


async def test_local_api_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", NOWHERE)
    assert await fetch(FakeNetwork(), "http://127.0.0.1:8700/media/a.png", api_origin=API) == b"a picture"


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1", "http://[::1"])
async def test_unusable_proxy_is_reported(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    assert "HTTP_PROXY is not" in (await get_refusal(FakeNetwork(), "http://public.example/")).reason


async def test_missing_certificates_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    assert "proxy or certificate variables" in (await get_refusal(FakeNetwork(), "http://public.example/")).reason
