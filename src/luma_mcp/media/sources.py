"""What the value of an image parameter refers to: an uploaded image, a jobid, a link, a local file or a data: URI.

Local files are read from allowed folders only, because a path may come from an agent that was tricked into sending it.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from itertools import product
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from luma_mcp.providers import AGENTS, USEAPI, Provider

LARGEST_INPUT = 100_000_000
"""Maximum size of an input image in bytes. The API accepts less; larger images are scaled down."""
LONGEST_PATH = 4096
TOO_LARGE = f"is larger than {LARGEST_INPUT // 1_000_000} MB"
_NETWORK_PATH = "is on another machine (a network path); copy the file to this one, or give an https:// link"

_JOBID = re.compile(r"j[^\s/\\]*-bot:luma")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# One letter and a colon are a drive if a separator follows, or if no second colon makes it an assetRef.
_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/]|[^:]*$)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_CHAT_SCHEMES = {"sandbox", "attachment", "blob", "cid", "content"}
_OTHER_SCHEMES = {"ftp", "ftps", "sftp", "s3", "gs", "javascript", "mailto", "about", "chrome", "ws", "wss", "jar"}
_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
# Where the system opens folders below folders, one that is opened need not be readable, only passable.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _NO_LINK
_CHANGED = "changed while it was being read"
# What systems answer where a link is in the place of a folder or a file.
_REPLACED = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³])\s*(\.|$)", re.IGNORECASE)

# Names differ invisibly: macOS puts a narrow no-break space into the names of screenshots, and some disks store accents
# apart from their letters; editors change quotes and dashes; terminals put backslashes before spaces.
MOST_CANDIDATES, MOST_SHOWN = 20, 5
LONGEST_SHOWN = 100
_QUOTES_AND_DASHES = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u0060\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    }
)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"
    "\U000e0000-\U000e01ef]"
)
# How shells write a single quote between single quotes.
_QUOTED_QUOTE = re.compile(r"""'(\\'|"'")'""")


@dataclass(eq=False)
class ImageError(Exception):
    """Why an image cannot be used, as a clause that follows the parameter's name: "is a link that answers 404".

    Attributes:
        retryable: whether the same value may work later.
        jobid: the earlier job that was named.
        is_unfinished: whether that job must finish before.
    """

    reason: str
    retryable: bool = field(default=False, kw_only=True)
    jobid: str | None = field(default=None, kw_only=True)
    is_unfinished: bool = field(default=False, kw_only=True)


class HostNotFound(ImageError):
    """A link to a host whose name does not exist, as far as this machine's name servers know."""


class ForeignId(ImageError):
    """An id that belongs to the API that is not in use."""


class SourceKind(Enum):
    """Where an image is."""

    ASSET = "asset"
    JOB = "jobid"
    ASSET_OR_JOB = "asset or jobid"
    LINK = "link"
    FILE = "file"
    DATA = "data: URI"


@dataclass(frozen=True, slots=True)
class Source:
    """Location of an image. `text` is the assetRef or file id, jobid, URL, path or data: URI itself.

    `untrimmed`: the path with the white space or quote at its end, in case that belongs to the name. `is_exact`:
    whether `text` is what was given, rather than the path of a file whose name looks the same.
    """

    kind: SourceKind
    text: str
    untrimmed: str = ""
    is_exact: bool = True


def parse_source(
    text: str,
    *,
    provider: Provider = USEAPI,
    is_jobid: Callable[[str], bool] = lambda _: False,
    accepted: str = "",
    has_local_files: bool = True,
    windows: bool = os.name == "nt",
) -> Source:
    """Parse the value of an image parameter. Raise `ImageError` if it is none of the accepted sources.

    `provider`: the API in use. `is_jobid` recognizes the ids of known jobs. `accepted`: what the parameter takes, for
    errors, if that is not an image. `has_local_files`: whether paths are accepted; if not, none is looked at.
    `windows`: read paths as Windows does.
    """
    accepted = accepted or _describe_sources(provider, has_local_files=has_local_files)
    given, text = text.lstrip(), text.strip().strip(_QUOTES).strip()
    match = _SCHEME.match(text)
    scheme = match[1].casefold() if match else ""
    if scheme == "data":
        return Source(SourceKind.DATA, text)
    if scheme in ("http", "https"):
        return Source(SourceKind.LINK, text)
    if scheme == "file" and has_local_files:
        path = _path_of_uri(text, windows=windows)
        return Source(SourceKind.FILE, _check_path(path, accepted, windows=windows))
    if len(text) > LONGEST_PATH:
        better = "a path" if has_local_files else "a link"
        raise ImageError(
            f'looks like bare base64; put "data:image/jpeg;base64," in front of it, or rather give {better}'
        )
    if is_jobid(text):
        return Source(SourceKind.JOB, text)
    _check_scheme(scheme, text, accepted, has_local_files=has_local_files)
    if kind := _get_id_kind(text, provider):
        return Source(kind, text)
    if not has_local_files:
        raise ImageError(f"is taken for a path, and this server reads no files; it must be {accepted}")
    path, untrimmed = _check_path(text, accepted, windows=windows), ""
    # Windows itself drops what is at the end.
    if given != text and not windows:
        with suppress(ImageError):
            untrimmed = _check_path(given, accepted, windows=windows)
    return Source(SourceKind.FILE, path, untrimmed)


def _check_scheme(scheme: str, text: str, accepted: str, *, has_local_files: bool) -> None:
    """Raise `ImageError` for a scheme that cannot be fetched."""
    if scheme in _CHAT_SCHEMES:
        better = "an absolute path or a link" if has_local_files else "a link or a data: URI"
        raise ImageError(f"is inside the chat application, out of reach of this server; give {better}")
    if scheme == "file" or scheme in _OTHER_SCHEMES or (scheme and "://" in text):
        raise ImageError(f"starts with {scheme}: and must be {accepted}")


def _describe_sources(provider: Provider, *, has_local_files: bool) -> str:
    asset = f"an {provider.asset}" if provider.asset.startswith("a") else f"a {provider.asset}"
    link = "an https:// link, an absolute path" if has_local_files else "an https:// link"
    return f"{asset}, the jobid of an earlier video, {link} or a data: URI"


def _get_id_kind(text: str, provider: Provider) -> SourceKind | None:
    """Recognize an id by its form; None if it is none. Raise `ForeignId` for one of the API that is not in use."""
    owner, kind = USEAPI, SourceKind.ASSET
    if _UUID.fullmatch(text):
        owner, kind = AGENTS, SourceKind.ASSET_OR_JOB
    elif _JOBID.fullmatch(text):
        kind = SourceKind.JOB
    elif ":" not in text or re.search(r"[\s/\\]", text) or _DRIVE.match(text):
        return None
    if owner.name != provider.name:
        raise ForeignId(
            f"has the form of a jobid or {owner.asset} of {owner.title}, but this server orders from {provider.title}, "
            "which does not know it"
        )
    return kind


def _path_of_uri(uri: str, *, windows: bool) -> str:
    try:
        host = urlsplit(uri).netloc
    except ValueError:
        raise ImageError("is not a valid file: URI; give an absolute path") from None
    if host.casefold() not in ("", "localhost"):
        raise ImageError(_NETWORK_PATH)
    # Not `urlsplit().path`: an unescaped # or ? is part of the file's name.
    path = unquote(uri.partition(":")[2].removeprefix(f"//{host}"))
    return path[1:] if windows and re.match(r"/[A-Za-z]:", path) else path


def _check_path(text: str, accepted: str, *, windows: bool) -> str:
    """Expand `~` in a path. Raise `ImageError` if it is not absolute, or names a device or another machine."""
    if len(text) > LONGEST_PATH:
        raise ImageError("is longer than a path can be")
    if re.search("[\0\ud800-\udfff]", text):
        raise ImageError("contains a null byte or an incomplete character")
    if re.match(r"[\\/]{2}", text):
        raise ImageError(_NETWORK_PATH)
    if windows:
        for part in re.split(r"[\\/]", _DRIVE.sub("", text, count=1)):
            # A colon after the drive names an alternate data stream.
            if ":" in part or _WINDOWS_DEVICE.match(part.strip()):
                raise ImageError("names a device or a stream, not a file")
    elif _DRIVE.match(text) or text.startswith("\\"):
        raise ImageError("is a Windows path, and this server does not run on Windows; give the path on this machine")
    # Only a bare ~, because ~name would reveal which users exist.
    is_in_home = re.match(r"~([\\/]|$)", text)
    path = os.path.expanduser(text) if is_in_home else text  # noqa: PTH111 - does not raise without a home
    if not re.match(r"[A-Za-z]:[\\/]" if windows else "/", path):
        raise ImageError(f"is not {accepted}; give the absolute path of a file (~ is your home)")
    return path


def read_data_uri(uri: str) -> bytes:
    """Decode a data: URI. Its media type is ignored. Raise `ImageError` if it is empty, too large or invalid."""
    header, comma, payload = uri.partition(",")
    if not comma or not payload.strip():
        raise ImageError("is a data: URI without data")
    if len(payload) > LARGEST_INPUT * 4 // 3 + 4:
        raise ImageError(TOO_LARGE)
    if not header.casefold().rstrip().endswith(";base64"):
        try:
            data = unquote_to_bytes(payload)
        except UnicodeEncodeError:
            raise ImageError("is a data: URI with an incomplete character") from None
        if len(data) > LARGEST_INPUT:
            raise ImageError(TOO_LARGE)
        return data
    # Accept the URL-safe alphabet, line breaks and missing padding, which models often produce.
    text = re.sub(r"\s+", "", unquote(payload)).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError("is a data: URI whose base64 is invalid or cut short") from None


def home_folders() -> tuple[Path, ...]:
    """Get the folders that are allowed unless the settings name others: the user's home, if there is one."""
    try:
        return (Path.home(),)
    except RuntimeError:
        return ()


def open_without_following(path: str, _flags: int = 0) -> int:
    """Open a file or folder for reading, given its real path, without waiting for the writer of a pipe.

    Raise `OSError` if a link has replaced any part of the path. Folder by folder, because only the last part of a path
    can be opened without following a link. On Windows, see `_get_final_path`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    in_one_step = getattr(os, "O_NOFOLLOW_ANY", 0)
    if in_one_step or os.open not in os.supports_dir_fd:
        return os.open(path, flags | in_one_step)
    root, *parts = Path(path).parts
    folder = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(parts[-1] if parts else root, flags | _NO_LINK, dir_fd=folder)
    finally:
        os.close(folder)


def read_file(
    path: str, folders: Sequence[Path] | None = None, *, opener: Callable[[str, int], int] = open_without_following
) -> bytes:
    """Read a file, given its absolute path. Raise `ImageError` if it is not allowed or cannot be read.

    `folders` and `opener`: see `_open_checked`.
    """
    with _open_checked(path, folders, LARGEST_INPUT, opener) as (_, file):
        data = file.read(LARGEST_INPUT + 1)
    # The file may have grown since its size was checked.
    if len(data) > LARGEST_INPUT:
        raise ImageError(TOO_LARGE)
    return data


def check_file(path: str, folders: Sequence[Path], max_bytes: int) -> str:
    """Get the real path of a file that may be read, as `read_file` would. Raise `ImageError` if it may not."""
    with _open_checked(path, folders, max_bytes, advice="move the file there") as (real, _):
        return str(real)


@contextmanager
def _open_checked(
    path: str,
    folders: Sequence[Path] | None,
    max_bytes: int,
    opener: Callable[[str, int], int] = open_without_following,
    advice: str = "copy the file there, or give an https:// link",
) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a file, given its absolute path; yield its real path and itself. Raise `ImageError` if it is not allowed.

    Symbolic links are resolved first. The real file must be a regular file in one of `folders` (None: the user's home),
    with no hidden folder in between. Errors about other locations do not reveal whether anything exists there.
    `opener` opens the file after the checks; with it, a test can replace the file at exactly that moment. `advice`:
    what to do about a file elsewhere.
    """
    if folders is None:
        folders = home_folders()
    try:
        real = _resolve_links(path)
        _check_location(real, folders, advice)
        checked = real.lstat()
        if not stat.S_ISREG(checked.st_mode):
            raise ImageError("is not a file but a folder, a device or a pipe")
        with open(real, "rb", opener=opener) as file:
            opened = os.fstat(file.fileno())
            # The file, or a folder above it, may have been replaced since the checks.
            is_elsewhere = _get_final_path(file.fileno(), real) != real or _resolve_links(path) != real
            if is_elsewhere or not os.path.samestat(opened, checked):
                raise ImageError(_CHANGED)
            if opened.st_size > max_bytes:
                raise ImageError(f"is larger than {max_bytes // 1_000_000} MB")
            yield real, file
    except FileNotFoundError:
        raise ImageError("names a file that does not exist") from None
    except PermissionError:
        raise ImageError("names a file that this server may not read") from None
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in _REPLACED:
            raise ImageError(_CHANGED) from None
        raise ImageError(f"names a file that cannot be read ({type(error).__name__})") from None


def _get_final_path(descriptor: int, expected: Path) -> Path:
    """Get the path of an open file on Windows, which opens only whole paths; elsewhere the expected path."""
    if sys.platform == "win32":
        import ctypes
        import msvcrt

        buffer = ctypes.create_unicode_buffer(LONGEST_PATH)
        handle = ctypes.c_void_p(msvcrt.get_osfhandle(descriptor))
        ctypes.windll.kernel32.GetFinalPathNameByHandleW(handle, buffer, len(buffer), 0)
        return Path(re.sub(r"^\\\\\?\\(UNC(?=\\))?", lambda match: "\\" if match[1] else "", buffer.value))
    return expected


def _resolve_links(path: str) -> Path:
    """Resolve the symbolic links in a path."""
    # Not `Path.resolve`, whose errors distinguish a loop of links from a missing file.
    return Path(os.path.realpath(path))


@cache
def _resolve_folder(folder: Path) -> Path:
    """Resolve the links in an allowed folder's path, once: a link that replaces it later allows nothing else."""
    return _resolve_links(str(folder))


def _check_location(real: Path, folders: Sequence[Path], advice: str = "") -> None:
    """Raise `ImageError` unless a real path is below one of the folders, with no hidden folder in between."""
    for folder in folders:
        root = _resolve_folder(folder)
        below_root = [part for part in (real, *real.parents) if root in part.parents]
        if below_root and not any(map(_is_hidden, below_root)):
            return
    allowed = ", ".join(map(str, folders)) or "none"
    raise ImageError(
        f"names a file outside the allowed folders, or in a hidden one. Allowed: {allowed}, without hidden folders "
        f"(LUMA_MCP_INPUT_DIRS sets them); {advice}"
    )


def _is_hidden(path: Path) -> bool:
    """Whether a name starts with a dot, or macOS (`~/Library`) or Windows (`AppData`) marks the path as hidden."""
    if path.name.startswith("."):
        return True
    try:
        status = path.lstat()
    except OSError:
        return False
    # Each system has one of these fields.
    is_marked_on_mac = getattr(status, "st_flags", 0) & getattr(stat, "UF_HIDDEN", 0x8000)
    return bool(is_marked_on_mac or getattr(status, "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN)


def find_file(path: str, folders: Sequence[Path] | None = None, untrimmed: str = "") -> str:
    """Get the path of the file that an absolute path means: the exact one, else the only one that looks the same.

    `untrimmed` is another exact form of the path. Only `folders` (None: the user's home) are searched, and a path that
    no file looks like is returned as it is. Raise `ImageError` if several look the same.
    """
    for exact in filter(None, (untrimmed, path)):
        if os.path.lexists(exact):
            return exact
    folders = home_folders() if folders is None else folders
    found: set[Path] = set()
    # The path may start with the folder's name, with that of the folder to which it is a link, or with a link to it.
    for given, folder in product({Path(os.path.normpath(path)), _resolve_links(path)}, folders):
        parts, root = given.parts, _resolve_folder(folder)
        for start in {folder, root}:
            depth = len(start.parts)
            if len(parts) > depth and all(map(_looks_like, parts, start.parts)):
                found |= set(_search(root, parts[depth:], folders))
    if len(found) > 1:
        shown = [show_path(str(file)) for file in sorted(found)]
        more = ", …" if len(shown) > MOST_SHOWN else ""
        raise ImageError(
            f"names no file, and the names of {len(shown)} files differ from it only in their spaces, accents or "
            f"punctuation: {', '.join(shown[:MOST_SHOWN])}{more}; give the exact path of one of them"
        )
    return str(found.pop()) if found else path


def _search(root: Path, parts: Sequence[str], folders: Sequence[Path]) -> Iterator[Path]:
    """Find the regular files whose path below `root` looks like these parts. Yields real paths in `folders`."""
    candidates = [root]
    for part in parts:
        matches: set[Path] = set()
        for folder in candidates:
            matches.update(
                _resolve_links(str(folder / name)) for name in _list_names(folder) if _looks_like(part, name)
            )
        candidates = [match for match in sorted(matches)[:MOST_CANDIDATES] if _is_allowed(match, folders)]
    for candidate in candidates:
        with suppress(OSError):
            if stat.S_ISREG(candidate.lstat().st_mode):
                yield candidate


def _list_names(folder: Path) -> list[str]:
    """List a real folder, unless it cannot be read, or a link has replaced it or a folder above it."""
    try:
        if os.listdir not in os.supports_fd:
            return [path.name for path in folder.iterdir()]
        descriptor = open_without_following(str(folder))
        try:
            return os.listdir(descriptor)  # noqa: PTH208 - of the folder that was opened
        finally:
            os.close(descriptor)
    except OSError:
        return []


def _is_allowed(real: Path, folders: Sequence[Path]) -> bool:
    try:
        _check_location(real, folders)
    except ImageError:
        return False
    return True


def _looks_like(given: str, name: str) -> bool:
    """Whether a part of a path, as it was given, looks like a name. A shell's backslashes and quotes may be in it."""
    folded = _fold(name)
    unescaped = given
    if os.sep == "/":
        unescaped = re.sub(r"\\+(?=\W)", "", _QUOTED_QUOTE.sub("'", given)).strip("\"'")
    return folded != "" and folded in (_fold(given), _fold(unescaped))


def _fold(name: str) -> str:
    """Reduce a name to what a reader sees of it."""
    text = unicodedata.normalize("NFKC", unquote(name).translate(_QUOTES_AND_DASHES))
    return " ".join(_INVISIBLE.sub("", text).split())


def show_path(path: str) -> str:
    r"""Format the end of a path, with what distinguishes it from its lookalikes in the form of `\u202f`."""
    shown = ""
    for character in path:
        is_plain = character.isprintable() if character.isascii() else character.isalnum()
        if is_plain and unicodedata.is_normalized("NFKC", character):
            shown += character
        else:
            shown += character.encode("ascii", "backslashreplace").decode()
    return f"…{shown[-LONGEST_SHOWN:]}" if len(shown) > LONGEST_SHOWN else shown
