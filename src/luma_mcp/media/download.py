"""What a link brings, to a file: checked for length and kind, and resumed where it broke off."""

from __future__ import annotations

import errno
import re
import shutil
from contextlib import aclosing
from hashlib import blake2b
from os import SEEK_END
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx2

from luma_mcp.media.partial_file import Part
from luma_mcp.media.sources import ImageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from luma_mcp.media.safe_http import SafeHttpClient

    Tell = Callable[[int, int | None], Awaitable[None]]

TRIES = 5
"""Broken connections in a row, none of which brought a byte, before a download is given up for now."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
BEGINNINGS: dict[str, tuple[int, bytes]] = {".mp4": (4, b"ftyp"), ".zip": (0, b"PK")}
"""What files of a kind have, and where: an error page must not become a video."""


LARGEST_UNTOLD = 5_000_000_000
"""Bytes that are taken of a file whose length nobody tells."""


class NotSaved(Exception):
    """Why there is no file, in words. `expired`: the link is no longer good; a new one may be."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.expired = expired


class _Later(Exception):
    """The place of the file has a passing trouble of its own."""


async def save(url: str, target: Path, links: SafeHttpClient, tell: Tell) -> Path:
    """Saves what is behind a link; the path of the file, which is `target` unless that is another file's.

    Args:
        url: where it is.
        target: the file to be; its folder is made if need be.
        links: reads links.
        tell: is told the bytes that are here, and how many there will be, if that is known.

    Raises:
        NotSaved: it could not be; what has been loaded is kept for the next try.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return await _Download(url, target, links, tell).run()
    except ImageError as fault:
        raise NotSaved(f"Its link {fault.fault}.") from None
    except OSError as fault:
        raise NotSaved(_in_words(fault, target.parent)) from fault


class _Download:
    def __init__(self, url: str, target: Path, links: SafeHttpClient, tell: Tell) -> None:
        self._url, self._target, self._links, self._tell = url, target, links, tell
        self._part = Part(target)
        self._total: int | None = None
        self._validator = ""

    async def run(self) -> Path:
        fruitless = most = 0
        try:
            while True:
                broken = "the connection broke"
                try:
                    if done := await self._round():
                        return done
                except (httpx2.HTTPError, _Later) as fault:
                    broken = str(fault) or type(fault).__name__
                except ImageError as fault:
                    if not fault.passing:
                        raise
                    broken = f"it {fault.fault}"
                size = self._part.size
                fruitless, most = (0, size) if size > most else (fruitless + 1, most)
                if fruitless >= TRIES:
                    raise NotSaved(f"The download broke off ({broken}). What is here is kept for the next try.")
                await anyio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2**fruitless))
        finally:
            self._part.put_down()

    async def _round(self) -> Path | None:
        """One answer: the file if it is whole then, None if there is more to come."""
        have = self._part.size
        if have and have == self._total:
            return self._whole()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self._validator:
                headers["If-Range"] = self._validator
        async with self._links.get(self._url, headers) as answer:
            goes_on = _range(answer) == (have, self._total) and _validator(answer) in ("", self._validator)
            if have and answer.status_code == 206 and goes_on:
                return await self._read(answer, "r+b")
            if have and answer.status_code in (206, 416):
                self._part.discard()
                return None
            if answer.status_code != 200:
                raise _refusal(answer.status_code)
            return await self._begun(answer)

    async def _begun(self, answer: httpx2.Response) -> Path | None:
        """An answer of the whole."""
        if answer.headers.get("content-encoding", "identity").casefold() != "identity":
            raise NotSaved("Its link brought a compressed answer.")
        # The answer is of the whole: what is here is of something else, or not wanted any more.
        self._part.discard()
        self._total, self._validator = _length(answer), _validator(answer)
        self._part.tag = blake2b(f"{self._validator} {self._total}".encode(), digest_size=4).hexdigest()
        if self._total is not None:
            if there := self._part.already_there(self._total):
                return there
            if shutil.disk_usage(self._target.parent).free < self._total:
                raise OSError(errno.ENOSPC, "no room")
        if self._part.take_up():
            return None
        return await self._read(answer, "wb")

    async def _read(self, answer: httpx2.Response, mode: str) -> Path | None:
        try:
            file = self._part.open(mode)
        except FileNotFoundError:
            # Another process has taken it for abandoned, and goes on with it.
            return None
        with file:
            file.seek(0, SEEK_END)
            async with aclosing(answer.aiter_raw()) as chunks:
                async for chunk in chunks:
                    # In a thread: a slow disk must not hold up the other calls.
                    await anyio.to_thread.run_sync(file.write, chunk)
                    await self._tell(file.tell(), self._total)
                    if self._total is None and file.tell() > LARGEST_UNTOLD:
                        raise NotSaved("Its link brings more than a video can be.", expired=True)
        return None if self._part.size < (self._total or 0) else self._whole()

    def _whole(self) -> Path:
        """The file, checked for length and kind, under its name."""
        size = self._part.size
        at, beginning = BEGINNINGS.get(self._target.suffix, (0, b""))
        if size != (self._total or size) or not self._part.begins_with(beginning, at):
            self._part.discard()
            raise NotSaved("Its link brought something else than the file: an error page, perhaps.", expired=True)
        return self._part.move_into_place()


def _in_words(fault: OSError, folder: Path) -> str:
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"There is no room left in {folder}. Make some, or set LUMA_MCP_OUTPUT_DIR to another folder."
    if isinstance(fault, PermissionError) or fault.errno == errno.EROFS:
        return f"The folder {folder} cannot be written to. Set LUMA_MCP_OUTPUT_DIR to another one."
    why = fault.strerror or type(fault).__name__
    return f"The folder {folder} cannot be used ({why}). Set LUMA_MCP_OUTPUT_DIR to another one."


def _refusal(status: int) -> Exception:
    if status in (408, 429) or status >= 500:
        return _Later(f"its place answered {status}")
    return NotSaved(f"Its link answers {status}; it may have expired.", expired=True)


def _length(answer: httpx2.Response) -> int | None:
    text = answer.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


def _validator(answer: httpx2.Response) -> str:
    """What tells one content from another; a weak one cannot tell parts."""
    tag = str(answer.headers.get("etag", ""))
    found = tag if tag and not tag.startswith("W/") else str(answer.headers.get("last-modified", ""))
    return found if found.isascii() else ""


def _range(answer: httpx2.Response) -> tuple[int, int | None] | None:
    """Where a part begins, and how long the whole is."""
    found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", answer.headers.get("content-range", ""))
    return (int(found[1]), int(found[2])) if found else None
