"""GET from a public address, and from no other: not from this machine, its network, or a cloud's metadata service.

Every redirect is checked as the first address is. A name is looked up once, all its addresses are checked, and
the connection is made to one of those, so that an answer that changes meanwhile changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import aclosing, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import anyio
import httpx2

from luma_mcp.media.sources import LARGEST, ImageError, too_large

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    Resolve = Callable[[str, int], Awaitable[list[str]]]

MOST_REDIRECTS = 5
FETCH_SECONDS = 60.0
CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "fec0::/10")))
"""Addresses of cloud services and of old local networks that count as public in some or all versions of Python."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def look_up(host: str, port: int) -> list[str]:
    """All addresses of a host, as this machine finds them."""
    return [str(row[4][0]) for row in await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class SafeHttpClient:
    """Reads links. `own`: an API on this machine, whose host and port may be read though they are private.

    Args:
        transport: what carries the requests; a test passes its own.
        resolve: finds the addresses of a host.
        allow_private: whether links may lead into the own network.
        own: the API's base URL, if it is on this machine.
    """

    def __init__(
        self,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        resolve: Resolve = look_up,
        allow_private: bool = False,
        own: str | None = None,
    ) -> None:
        self._transport = transport
        self._resolve = resolve
        self._allow_private = allow_private
        self._own = _place(httpx2.URL(own)) if own else None
        self._http: dict[bool, httpx2.AsyncClient] = {}

    async def aclose(self) -> None:
        """Closes the connections."""
        while self._http:
            await self._http.popitem()[1].aclose()

    async def fetch(self, url: str) -> bytes:
        """The bytes behind a link.

        Raises:
            ImageError: it may not be followed, or brings nothing that can be used.
        """
        content = bytearray()
        try:
            with anyio.fail_after(FETCH_SECONDS):
                async with self.get(url, {"Accept": "image/*, */*;q=0.1", "Accept-Encoding": "identity"}) as response:
                    if response.status_code != 200:
                        later = response.status_code in (408, 429) or response.status_code >= 500
                        raise ImageError(f"is a link that answers {response.status_code}", passing=later)
                    if response.headers.get("content-encoding", "identity").casefold() != "identity":
                        raise ImageError("is a link whose answer is compressed; give a direct link to the picture")
                    async with aclosing(response.aiter_raw()) as chunks:
                        async for chunk in chunks:
                            content += chunk
                            if len(content) > LARGEST:
                                raise ImageError(too_large())
        except TimeoutError:
            raise ImageError(f"is a link that took longer than {FETCH_SECONDS:.0f} s", passing=True) from None
        except httpx2.HTTPError as fault:
            raise ImageError(f"is a link that could not be read ({type(fault).__name__})", passing=True) from None
        return bytes(content)

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        """The streamed answer at the end of all redirects.

        Raises:
            ImageError: an address on the way that must not be read.
            httpx2.HTTPError: the network failed.
        """
        for _ in range(MOST_REDIRECTS + 1):
            place = _parsed(url)
            try:
                http = self._client(own=_place(place) == self._own)
            except (ImportError, ValueError, OSError) as fault:
                name = type(fault).__name__
                raise ImageError(
                    f"is a link, and this machine's proxy or certificate variables forbid it ({name})"
                ) from None
            response = await _asked(http, place, await self._checked_addresses(place), headers)
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                url = str(place.join(response.headers["location"]))
            except (httpx2.InvalidURL, ValueError):
                raise ImageError(_NOWHERE) from None
            finally:
                await response.aclose()
        raise ImageError(f"is a link with more than {MOST_REDIRECTS} redirects")

    def _client(self, *, own: bool) -> httpx2.AsyncClient:
        """`own`: to this machine, never through a proxy."""
        if own not in self._http:
            self._http[own] = httpx2.AsyncClient(
                transport=self._transport,
                trust_env=not own,
                timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                # Connections are known by their address, not by the name that their certificate was checked for:
                # so none is used twice. And nothing that one site sets reaches another.
                limits=httpx2.Limits(max_keepalive_connections=0),
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            )
        return self._http[own]

    async def _checked_addresses(self, place: httpx2.URL) -> list[str]:
        """The addresses of the host, any of which may be connected to."""
        host, port = place.raw_host.decode("ascii").strip("[]"), place.port or _DEFAULT_PORTS[place.scheme]
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            try:
                addresses = await self._resolve(host, port)
            except (OSError, UnicodeError):
                addresses = []
        if not addresses:
            raise ImageError("is a link to a host that was not found", passing=True)
        if not self._allow_private and _place(place) != self._own and not all(map(is_public, addresses)):
            raise ImageError(
                "is a link into this machine or its network, which is not followed (LUMA_MCP_ALLOW_PRIVATE_URLS "
                "allows it); give a public link or a whole path"
            )
        return addresses


async def _asked(
    http: httpx2.AsyncClient, place: httpx2.URL, addresses: Sequence[str], headers: Mapping[str, str]
) -> httpx2.Response:
    """The answer from the first of the addresses that can be connected to."""
    fault: Exception | None = None
    for address in addresses:
        request = http.build_request(
            "GET",
            place.copy_with(host=address),
            headers={**headers, "Host": place.netloc.decode("ascii")},
            extensions={"sni_hostname": place.raw_host.decode("ascii").strip("[]").rstrip(".")},
        )
        try:
            return await http.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            fault = error
        except ValueError:
            # The client itself looks at where a redirect leads, and cannot read it.
            raise ImageError(_NOWHERE) from None
    raise fault or httpx2.ConnectError("no address")


_NOWHERE = "is a link that leads to what is not an address"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _parsed(url: str) -> httpx2.URL:
    try:
        place = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise ImageError("is not a link that can be read") from None
    if place.scheme not in _DEFAULT_PORTS:
        raise ImageError("is, or leads to, an address that is neither http nor https")
    if place.userinfo:
        raise ImageError("is a link with a name or a password in it, which would be passed on; give one without")
    if not place.raw_host or (place.port is not None and not 0 < place.port < 65536):
        raise ImageError("is a link without a host or with a port that is none")
    return place


def _place(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or _DEFAULT_PORTS.get(url.scheme, 0)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it stands inside another."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        translated = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped
        if translated:
            return is_public(str(translated))
        carried = ip.sixtofour or (ip.teredo and ip.teredo[1])
        if carried and not is_public(str(carried)):
            return False
    special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _NOT_PUBLIC)
    return ip.is_global and not special
