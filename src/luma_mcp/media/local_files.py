"""Local files, from allowed folders only: a call may come from an agent that was talked into something."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from luma_mcp.media.sources import LARGEST, ImageError, too_large

if TYPE_CHECKING:
    from collections.abc import Sequence

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""A link that was put in place after the check is not followed, and a pipe is not waited for."""


def home_folder() -> tuple[Path, ...]:
    """What is allowed where nobody says otherwise."""
    try:
        return (Path.home(),)
    except RuntimeError:
        return ()


def read_file(path: str, folders: Sequence[Path]) -> bytes:
    """The file's bytes.

    SafeHttpClient are resolved before anything else; the real file must lie in one of `folders` with no hidden folder
    between, and be a regular one. Of what lies outside not even its existence is told.

    Args:
        path: a whole path.
        folders: the allowed ones; a hidden folder is allowed only as one of them.

    Raises:
        ImageError: it may not be, or cannot be, read.
    """
    try:
        real = _real(path)
        _check_place(real, folders)
        before = real.lstat()
        if not stat.S_ISREG(before.st_mode):
            raise ImageError("is not a file: a folder, a device or a pipe")
        with open(real, "rb", opener=_opener) as file:
            status = os.fstat(file.fileno())
            # What the file, or a folder on the way, was swapped for in the meantime is not read.
            if _real(path) != real or not os.path.samestat(status, before):
                raise ImageError("changed while it was looked at")
            if status.st_size > LARGEST:
                raise ImageError(too_large())
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise ImageError(f"names a file that does not exist: {path}") from None
    except PermissionError:
        raise ImageError(f"names a file that this server may not read: {path}") from None
    except (OSError, ValueError, RuntimeError) as fault:
        raise ImageError(f"names a file that cannot be read ({type(fault).__name__}): {path}") from None
    if len(data) > LARGEST:
        raise ImageError(too_large())
    return data


def _opener(name: str, _: int) -> int:
    return os.open(name, _FLAGS)


def _real(path: str) -> Path:
    # Not `Path.resolve`, which tells loops from what does not exist.
    return Path(os.path.realpath(path))


def _check_place(real: Path, folders: Sequence[Path]) -> None:
    for folder in folders:
        root = folder.resolve()
        if root in real.parents:
            parts = real.relative_to(root).parts
            ways = [root.joinpath(*parts[: n + 1]) for n in range(len(parts))]
            if not any(map(_is_hidden, ways)):
                return
    allowed = ", ".join(map(str, folders)) or "none"
    raise ImageError(
        f"names a file outside the allowed folders, or in a hidden one. Allowed: {allowed}, without hidden folders "
        "(LUMA_MCP_INPUT_DIRS sets them); copy it there, or give an https:// link"
    )


def _is_hidden(path: Path) -> bool:
    """By its name, or as macOS (`~/Library`) and Windows (`AppData`) mark it."""
    if path.name.startswith("."):
        return True
    try:
        status = path.lstat()
    except OSError:
        return False
    flags, attributes = getattr(status, "st_flags", 0), getattr(status, "st_file_attributes", 0)
    return bool(flags & getattr(stat, "UF_HIDDEN", 0x8000) or attributes & stat.FILE_ATTRIBUTE_HIDDEN)
