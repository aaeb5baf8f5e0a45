"""What an image parameter's text means: an assetRef, a jobid, a link, a local file or a data: URI. Pure."""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_to_bytes, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = 100_000_000
"""Bytes of a picture as it is offered; what the API takes is smaller, and made from it."""
LONGEST_PATH = 4096
OFFERS = "an assetRef, the jobid of an earlier video, an https:// link, a whole path or a data: URI"

_JOBID = re.compile(r"j[^\s/\\]*-bot:luma")
_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/]|[^:]*$)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_CHAT_ONLY = {"sandbox", "attachment", "blob", "cid", "content"}
_NOT_FETCHED = {"ftp", "ftps", "sftp", "s3", "gs", "javascript", "mailto", "about", "chrome", "ws", "wss", "jar"}
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³])\s*(\.|$)", re.IGNORECASE)


class ImageError(Exception):
    """What keeps an image from being used, in words that follow the parameter's name.

    `passing`: the same may work in a while.
    """

    def __init__(self, fault: str, *, passing: bool = False) -> None:
        super().__init__(fault)
        self.fault = fault
        self.passing = passing


class Kind(Enum):
    """Where an image is."""

    ASSET = "assetRef"
    JOB = "jobid"
    LINK = "link"
    FILE = "file"
    DATA = "data: URI"


@dataclass(frozen=True, slots=True)
class Source:
    """An image's place: `text` is the assetRef, jobid, URL, path or data: URI itself."""

    kind: Kind
    text: str


def parse_source(
    text: str, *, is_jobid: Callable[[str], bool] = lambda _: False, windows: bool = os.name == "nt"
) -> Source:
    """What the text means.

    Args:
        text: an image parameter's value.
        is_jobid: whether it is the id of a job that this machine knows; ids are otherwise known by their ending.
        windows: whether paths are read as Windows does.

    Raises:
        ImageError: nothing that an image can be.
    """
    text = text.strip().strip("\"'`")
    scheme = found[1].casefold() if (found := _SCHEME.match(text)) else ""
    if scheme == "data":
        return Source(Kind.DATA, text)
    if scheme in ("http", "https"):
        return Source(Kind.LINK, text)
    if scheme == "file":
        return Source(Kind.FILE, _path(_from_uri(text, windows=windows), windows=windows))
    if len(text) > LONGEST_PATH:
        raise ImageError(
            'looks like base64 alone; write "data:image/jpeg;base64," in front of it, or better give a path'
        )
    if is_jobid(text) or _JOBID.fullmatch(text):
        return Source(Kind.JOB, text)
    if scheme in _CHAT_ONLY:
        raise ImageError("is inside the chat application, where this server cannot reach; give a whole path or a link")
    if scheme in _NOT_FETCHED or (scheme and "://" in text):
        raise ImageError(f"is a {scheme} address; it takes {OFFERS}")
    if ":" in text and not re.search(r"[\s/\\]", text) and not _DRIVE.match(text):
        return Source(Kind.ASSET, text)
    return Source(Kind.FILE, _path(text, windows=windows))


def _from_uri(uri: str, *, windows: bool) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise ImageError("is not a file: URI that can be read; give a whole path") from None
    if parts.netloc.casefold() not in ("", "localhost"):
        raise ImageError(_NETWORK)
    # A name that has # or ? in it as they are is still one name.
    path = unquote(uri.partition(":")[2].removeprefix(f"//{parts.netloc}" if parts.netloc or "://" in uri else ""))
    return path[1:] if windows and re.match(r"/[A-Za-z]:", path) else path


_NETWORK = "is on another machine (a network path); copy the file to this one, or give an https:// link"


def _path(text: str, *, windows: bool) -> str:
    """A whole path, `~` expanded.

    Raises:
        ImageError: a path that is not whole, or that names a device or another machine.
    """
    if len(text) > LONGEST_PATH:
        raise ImageError("is longer than a path can be")
    if re.search("[\0\ud800-\udfff]", text):
        raise ImageError("has a null byte, or half a character, in it")
    if re.match(r"[\\/]{2}", text):
        raise ImageError(_NETWORK)
    if windows:
        parts = re.split(r"[\\/]", _DRIVE.sub("", text, count=1))
        if any(":" in part or _DEVICE.match(part.strip()) for part in parts):
            raise ImageError("names a device or a stream, not a file")
    elif _DRIVE.match(text) or text.startswith("\\"):
        raise ImageError("is a Windows path, and this server does not run on Windows; give the path as it is here")
    # A bare ~ only: ~name would tell which users there are.
    path = os.path.expanduser(text) if re.match(r"~([\\/]|$)", text) else text  # noqa: PTH111 - may stay as it is
    whole = bool(re.match(r"[A-Za-z]:[\\/]", path)) if windows else path.startswith("/")
    if not whole:
        raise ImageError(f"is not {OFFERS}; a file is named by its whole path (~ is your home)")
    return path


def read_data_uri(uri: str) -> bytes:
    """The bytes of a data: URI; what it says of their type is not believed.

    Raises:
        ImageError: it holds none, too many, or what is not base64.
    """
    head, comma, payload = uri.partition(",")
    if not comma or not payload.strip():
        raise ImageError("is a data: URI without data")
    if len(payload) > LARGEST * 4 // 3 + 4:
        raise ImageError(too_large())
    if not head.casefold().rstrip().endswith(";base64"):
        try:
            data = unquote_to_bytes(payload)
        except UnicodeEncodeError:
            raise ImageError("is a data: URI with half a character in it") from None
        if len(data) > LARGEST:
            raise ImageError(too_large())
        return data
    text = re.sub(r"\s+", "", unquote(payload)).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError("is a data: URI whose base64 is broken or cut short") from None


def too_large() -> str:
    """That there are more bytes than are read."""
    return f"is larger than {LARGEST // 1_000_000} MB"
