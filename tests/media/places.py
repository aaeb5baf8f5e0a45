"""Places on the network as a test wants them: what stands where, who was asked, and a file that is served in parts."""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest

from luma_mcp.media.download import NotSaved, save
from luma_mcp.media.safe_http import SafeHttpClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

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
    """As getaddrinfo answers: a numeric form of any kind is an address; other names are in the table."""
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        pass
    try:
        return NAMES[host.casefold().rstrip(".")]
    except KeyError:
        raise socket.gaierror(-2, "Name or service not known") from None


class Stream(httpx2.AsyncByteStream):
    """A body that nothing has read yet, as it comes from a network."""

    def __init__(self, pieces: AsyncGenerator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def aclose(self) -> None:
        await self._pieces.aclose()


async def pieces_of(*pieces: bytes) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield piece


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """As a server writes them, which may be what it likes: UTF-8, too."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"a picture"
    headers: dict[str, str] = field(default_factory=dict)


class Network(httpx2.AsyncBaseTransport):
    """All hosts in one: `answers` by URL as the link names it (any other is a picture), `asked` in order."""

    def __init__(self, answers: dict[str, Answer] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[httpx2.Request] = []

    @property
    def addresses(self) -> list[str]:
        """What was connected to."""
        return [request.url.host for request in self.asked]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        url = f"{request.url.scheme}://{request.headers['host']}{request.url.path}"
        answer = self.answers.get(url, Answer())
        return httpx2.Response(answer.status, headers=raw(answer.headers), stream=Stream(pieces_of(answer.body)))


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(status, b"", {"location": location})


PIECE = 500


@dataclass
class Shelf(httpx2.AsyncBaseTransport):
    """Serves one file in pieces, by Range if it is asked to; each of `breaks` ends one answer after so many bytes."""

    content: bytes
    etag: str = '"a"'
    headers: dict[str, str] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    always_breaks: int | None = None
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    heeds_if_range: bool = True
    says_length: bool = True
    on_request: Callable[[httpx2.Request], None] = lambda _: None
    asked: list[str | None] = field(default_factory=list)
    if_range: list[str | None] = field(default_factory=list)
    sent: int = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.on_request(request)
        wanted, condition = request.headers.get("range"), request.headers.get("if-range")
        self.asked.append(wanted)
        self.if_range.append(condition)
        if self.statuses:
            return httpx2.Response(self.statuses.pop(0), stream=Stream(pieces_of(b"<html>not now</html>")))
        total, headers = len(self.content), {"etag": self.etag} if self.etag else {}
        valid = not self.heeds_if_range or condition in (None, self.etag, self.headers.get("last-modified"))
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "") if self.ranges and valid else None
        start = int(found[1]) if found else 0
        if start >= total > 0:
            return httpx2.Response(416, headers={"content-range": f"bytes */{total}"})
        if found:
            headers["content-range"] = f"bytes {start}-{total - 1}/{total}"
        if self.says_length:
            headers["content-length"] = str(total - start)
        stream = Stream(self._pieces(self.content[start:]))
        return httpx2.Response(206 if found else 200, headers=raw(headers | self.headers), stream=stream)

    async def _pieces(self, content: bytes) -> AsyncGenerator[bytes]:
        until = self.breaks.pop(0) if self.breaks else self.always_breaks
        for at in range(0, len(content) if until is None else until, PIECE):
            piece = content[at : min(at + PIECE, len(content) if until is None else until)]
            self.sent += len(piece)
            yield piece
        if until is not None:
            raise httpx2.ReadError("the connection broke")


URL = "https://public.example/fox.mp4"


def video(mark: bytes, length: int = 4000) -> bytes:
    """Bytes of which no two parts are alike."""
    return (b"\0\0\0\x18ftypmp42" + b"".join(b"%s%d " % (mark, n) for n in range(length)))[:length]


OLD, NEW, LONGER = video(b"old"), video(b"new"), video(b"longer", 5200)


async def saved(
    transport: httpx2.AsyncBaseTransport, target: Path, tell: Callable[[int, int | None], object] | None = None
) -> Path:
    """Saves with connections of its own, as another process would; in vain for an hour at most, of virtual time."""

    async def telling(here: int, total: int | None) -> None:
        if tell:
            tell(here, total)

    links = SafeHttpClient(transport=transport, resolve=resolve)
    with anyio.fail_after(3600):
        return await save(URL, target, links, telling)


async def not_saved(transport: httpx2.AsyncBaseTransport, target: Path) -> NotSaved:
    with pytest.raises(NotSaved) as caught:
        await saved(transport, target)
    return caught.value


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def leave_part(target: Path, *, seconds_ago: float) -> None:
    """Leaves what a process leaves that is killed: a part under the name that it writes to."""
    names: list[Path] = []

    with anyio.CancelScope() as scope:

        def stop(here: int, total: int | None) -> None:  # noqa: ARG001
            if here == 1500:
                names.extend(target.parent.iterdir())
                scope.cancel()

        await saved(Shelf(OLD), target, stop)
    (part,) = target.parent.iterdir()
    part.rename(names[0])
    last_write = time.time() - seconds_ago
    os.utime(names[0], (last_write, last_write))
