"""Finds the file that is meant where a path looks right and names nothing.

Names differ invisibly: macOS puts a narrow no-break space into the names of screenshots, and stores accents apart from
their letters on some disks; editors change quotes and dashes; terminals put backslashes before spaces.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from luma_mcp.media.sources import (
    ImageError,
    check_location,
    home_folders,
    open_without_following,
    resolve_folder,
    resolve_links,
)

MOST_CANDIDATES, MOST_SHOWN = 20, 5
LONGEST_SHOWN = 100
_QUOTES_AND_DASHES = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u0060\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    }
)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]")


def find_file(path: str, folders: Sequence[Path] | None = None, untrimmed: str = "") -> str:
    """Get the path of the file that an absolute path means: the exact one, else the only one that looks the same.

    `untrimmed` is another exact form of the path. Only `folders` (None: the user's home) are searched, and a path that
    no file looks like is returned as it is. Raise `ImageError` if several look the same.
    """
    for exact in filter(None, (untrimmed, path)):
        if os.path.lexists(exact):
            return exact
    folders = home_folders() if folders is None else folders
    parts = Path(os.path.normpath(path)).parts
    found: set[Path] = set()
    for folder in folders:
        root = resolve_folder(folder)
        # The path may start with the folder's name, or with that of the folder to which it is a link.
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
            matches.update(resolve_links(str(folder / name)) for name in _list_names(folder) if _looks_like(part, name))
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
        check_location(real, folders)
    except ImageError:
        return False
    return True


def _looks_like(given: str, name: str) -> bool:
    """Whether a part of a path, as it was given, looks like a name. A shell's backslashes and quotes may be in it."""
    folded = _fold(name)
    unescaped = given
    if os.sep == "/":
        unescaped = re.sub(r"\\+(?=\W)", "", given).strip("\"'")
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
