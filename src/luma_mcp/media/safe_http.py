"""HTTP GET from public addresses only: not from this machine, its network or a cloud's metadata service.

Addresses are checked when a connection is made, so changing a name's address after a check (DNS rebinding) has no
effect. Each redirect is checked like the first link. A proxy gets the host name and connects itself: see SECURITY.md.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio
import httpcore2
import httpx2

from luma_mcp.media.sources import LARGEST_INPUT, HostNotFound, ImageError
from luma_mcp.settings import DEFAULT_PORTS, ProxyVariableError, find_proxy

Resolve = Callable[[str, int], Awaitable[list[str]]]

MAX_REDIRECTS = 5
LONGEST_CAUSE_CHAIN = 10
FETCH_TIMEOUT = 60.0
HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds between the starts of two connection attempts to one host. Source: RFC 8305, section 5."""
_TIMEOUTS = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 10.0}
# Addresses of cloud services and of old local networks that some or all versions of Python count as public.
_NOT_PUBLIC = [ipaddress.ip_network(text) for text in ("168.63.129.16/32", "192.0.0.0/24", "fec0::/10")]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# A last label that starts with a digit would make it an address, such as 127.1 or 127.0.0.0x1.
_PUBLIC_NAME = re.compile(r"(?!.*\.(localhost|localdomain|local|internal|home\.arpa)$)([a-z0-9_-]+\.)+[a-z][a-z0-9-]*")
_PRIVATE = (
    "is a link into this machine or its network, which is not followed (LUMA_MCP_ALLOW_PRIVATE_URLS allows it); give "
    "a public link or the picture itself"
)
_NOT_FOUND = "is a link to a host that was not found: check its name"
# What name servers answer about a name that does not exist, or has no address; the second is not on every system.
_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_STATUS_MEANINGS = {
    401: " (it needs a login)",
    403: " (access is denied)",
    404: " (nothing is there)",
    410: " (it was removed)",
}
_USER_AGENT = f"python-httpx2/{httpx2.__version__}"


async def resolve_host(host: str, port: int) -> list[str]:
    """Resolve a host name to all of its addresses."""
    rows = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(row[4][0]) for row in rows]


def _has_invalid_certificate(error: httpx2.HTTPError) -> bool:
    """Whether connecting ended at the host's certificate, by the chain of causes."""
    cause: BaseException | None = error
    # The chain can be circular if an exception was raised again.
    for _ in range(LONGEST_CAUSE_CHAIN):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        if cause is not None:
            cause = cause.__cause__ or cause.__context__
    return False


def is_retryable(status: int) -> bool:
    """Whether the same request may succeed later, by the HTTP status of its response."""
    return status in (408, 429) or status >= 500


@dataclass(eq=False, kw_only=True)
class SafeHttpClient:
    """Fetches links from public addresses.

    Attributes:
        transport: carries the requests once their addresses are checked; for tests.
        resolve: resolves host names.
        allow_private: whether links may lead into the local network.
        api_origin: base URL of an API on this machine. Links to the same origin are allowed, and use no proxy.
        network: makes the connections, to checked addresses; for tests.
    """

    transport: httpx2.AsyncBaseTransport | None = None
    resolve: Resolve = resolve_host
    allow_private: bool = False
    api_origin: str | None = None
    network: httpcore2.AsyncNetworkBackend | None = None
    _transports: dict[tuple[str | None, bool], httpx2.AsyncBaseTransport] = field(default_factory=dict, init=False)

    async def aclose(self) -> None:
        """Close the connections."""
        while self._transports:
            _, transport = self._transports.popitem()
            await transport.aclose()

    async def fetch(self, url: str) -> bytes:
        """Fetch an image. Raise `ImageError` if the link is not allowed or does not lead to usable data."""
        content = bytearray()

        async def write(chunk: bytes) -> None:
            content.extend(chunk)

        await self.copy(url, write, max_bytes=LARGEST_INPUT, seconds=FETCH_TIMEOUT)
        return bytes(content)

    async def copy(
        self, url: str, write: Callable[[bytes], Awaitable[object]], *, max_bytes: int, seconds: float
    ) -> None:
        """Fetch at most so many bytes within so many seconds, and write them chunk by chunk. Raise `ImageError`."""
        received = 0
        try:
            with anyio.fail_after(seconds):
                async with self.stream(url, {"Accept": "image/*, */*;q=0.1"}) as response:
                    status = response.status_code
                    if status != 200:
                        answer = f"{status}{_STATUS_MEANINGS.get(status, '')}"
                        raise ImageError(f"is a link that answers {answer}", retryable=is_retryable(status))
                    async with aclosing(response.aiter_raw()) as chunks:
                        async for chunk in chunks:
                            received += len(chunk)
                            if received > max_bytes:
                                raise ImageError(f"is larger than {max_bytes // 1_000_000} MB")
                            await write(chunk)
        except TimeoutError:
            raise ImageError(f"is a link that took longer than {seconds:.0f} s", retryable=True) from None
        except httpx2.HTTPError as error:
            if _has_invalid_certificate(error):
                problem = f"is a link to a host whose certificate is not valid ({type(error).__name__})"
                raise ImageError(problem) from None
            raise ImageError(f"is a link that could not be read ({type(error).__name__})", retryable=True) from None

    @asynccontextmanager
    async def stream(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        """Follow redirects and yield the final response, unread. Raise `ImageError` or `httpx2.HTTPError`."""
        target = httpx2.URL()
        for _ in range(MAX_REDIRECTS + 1):
            try:
                # A redirect may be relative to the link before it.
                target = target.join(url)
            except (httpx2.InvalidURL, ValueError):
                raise ImageError("is, or redirects to, an invalid link") from None
            # Not through `httpx2.AsyncClient`, which would send the cookies of one site to the next.
            transport = await self._get_transport(target)
            extensions: dict[str, object] = {"timeout": _TIMEOUTS}
            # Not for http, where it would be the name that the certificate of a proxy must have.
            if target.scheme == "https":
                # Certificates name hosts without the final dot.
                extensions["sni_hostname"] = target.raw_host.decode("ascii").rstrip(".")
            request = httpx2.Request(
                "GET",
                target,
                headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **headers},
                extensions=extensions,
            )
            response = await transport.handle_async_request(request)
            try:
                if response.status_code == httpx2.codes.PROXY_AUTHENTICATION_REQUIRED:
                    # The host has not been asked yet.
                    raise ImageError("is a link, and this machine's proxy requires a login")
                if not response.has_redirect_location:
                    encoding = response.headers.get("content-encoding", "identity").casefold()
                    if response.is_success and encoding != "identity":
                        raise ImageError("is a link whose answer is compressed, so its size is unknown")
                    yield response
                    return
                url = response.headers["location"]
            finally:
                await response.aclose()
        raise ImageError(f"is a link with more than {MAX_REDIRECTS} redirects")

    async def _get_transport(self, url: httpx2.URL) -> httpx2.AsyncBaseTransport:
        """Check a link, and get what makes connections to its host, reusing what others have used."""
        if url.scheme not in DEFAULT_PORTS:
            raise ImageError("is, or redirects to, an address that is neither http nor https")
        if url.userinfo:
            raise ImageError("is a link that contains a user name or password, which would be passed on")
        if not url.raw_host or (url.port is not None and not 0 < url.port < 65536):
            raise ImageError("is a link without a host or with an invalid port")
        is_api = url.join("/") == httpx2.URL(self.api_origin or "").join("/")
        allow_private = self.allow_private or is_api
        host = url.raw_host.decode("ascii")
        if self.transport is not None:
            if not allow_private:
                await self._resolve_checked(host, url.port or DEFAULT_PORTS[url.scheme])
            return self.transport
        proxy = None if is_api else _find_checked_proxy(url, allow_private=allow_private)
        key = (proxy, allow_private)
        if key not in self._transports:
            try:
                if proxy:
                    limits = httpx2.Limits(max_keepalive_connections=0)
                    self._transports[key] = httpx2.AsyncHTTPTransport(proxy=proxy, limits=limits)
                else:
                    resolve = partial(self._resolve_checked, allow_private=allow_private)
                    network = self.network or httpcore2.AnyIOBackend()
                    self._transports[key] = _DirectTransport(_CheckedBackend(resolve, network))
            except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
                problem = f"proxy or certificate variables are invalid ({type(error).__name__})"
                raise ImageError(f"is a link, and this machine's {problem}") from None
        return self._transports[key]

    async def _resolve_checked(self, host: str, port: int, *, allow_private: bool = False) -> list[str]:
        """Resolve a host, and check that all of its addresses may be connected to."""
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            try:
                addresses = await self.resolve(host, port)
            except UnicodeError:
                raise ImageError("is a link to a host whose name is not valid") from None
            except OSError as error:
                if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_HOST:
                    raise HostNotFound(_NOT_FOUND) from None
                problem = "is a link to a host whose name could not be looked up just now"
                raise ImageError(problem, retryable=True) from None
        if not addresses:
            raise HostNotFound(_NOT_FOUND)
        if not allow_private and not all(map(is_public, addresses)):
            raise ImageError(_PRIVATE)
        return addresses


@dataclass(eq=False)
class _CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that `resolve` returns, whichever answers first (happy eyeballs, RFC 8305)."""

    resolve: Resolve
    network: httpcore2.AsyncNetworkBackend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        streams: list[httpcore2.AsyncNetworkStream] = []
        errors: list[Exception] = []

        async def attempt(address: str, ended: anyio.Event) -> None:
            try:
                streams.append(await self.network.connect_tcp(address, port, timeout, local_address, socket_options))
                group.cancel_scope.cancel()
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                errors.append(error)
            finally:
                ended.set()

        winner = None
        try:
            with anyio.fail_after(timeout):
                addresses = await self.resolve(host, port)
                async with anyio.create_task_group() as group:
                    for address in addresses:
                        ended = anyio.Event()
                        group.start_soon(attempt, address, ended)
                        with anyio.move_on_after(HAPPY_EYEBALLS_DELAY):
                            await ended.wait()
                winner = next(iter(streams), None)
        except TimeoutError:
            errors.append(httpcore2.ConnectTimeout())
        finally:
            # Several attempts may succeed at once, and also while this is cancelled.
            with anyio.CancelScope(shield=True):
                for stream in streams:
                    if stream is not winner:
                        await stream.aclose()
        if winner is None:
            raise errors[-1]
        return winner


class _DirectTransport(httpx2.AsyncHTTPTransport):
    """httpx2's transport with a network backend of ours, for which it has no parameter."""

    def __init__(self, backend: httpcore2.AsyncNetworkBackend) -> None:
        context = httpx2.create_ssl_context()
        # This pool may open no connection: if a version of httpx2 keeps its pool elsewhere, links fail instead of
        # being fetched from unchecked addresses.
        super().__init__(verify=context, limits=httpx2.Limits(max_connections=0))
        # Without kept connections, each link's address is checked.
        self._pool = httpcore2.AsyncConnectionPool(
            context, max_connections=None, max_keepalive_connections=0, network_backend=backend
        )


def _find_checked_proxy(url: httpx2.URL, *, allow_private: bool) -> str | None:
    """Find the proxy for a link; None for a direct connection. Check the name, which the proxy resolves itself."""
    try:
        proxy = find_proxy(str(url))
    except ProxyVariableError as error:
        raise ImageError(f"is a link, and this machine's {error} is not the URL of a proxy") from None
    name = url.raw_host.decode("ascii").rstrip(".")
    # Nothing else is known about the host.
    if proxy and not allow_private and not _PUBLIC_NAME.fullmatch(name) and not is_public(name):
        raise ImageError(_PRIVATE)
    return proxy


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also if another one is embedded in it."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        translated = ip.ipv4_mapped
        if ip in _NAT64:
            translated = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if translated:
            return is_public(str(translated))
        carried = ip.sixtofour or (ip.teredo and ip.teredo[1])
        if carried and not is_public(str(carried)):
            return False
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _NOT_PUBLIC)
    return ip.is_global and not is_special
