"""Reading a file, and replacing it whole or not at all, with a copy of what it was."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from luma_mcp.install.errors import Changed, InstallError, NotWritable

if TYPE_CHECKING:
    from datetime import datetime

KEPT = 3
"""Copies of earlier states that stay beside a file."""
PRIVATE = 0o600
"""What may hold a token is nobody else's to read."""
UNTOUCHED = "Nothing was changed."
_BACKUP = re.compile(r"\.luma-backup-(\d{8}-\d{6})(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a file held when it was looked at.

    Attributes:
        path: as it is named.
        target: what a link there leads to; else the same.
        data: its bytes; None: it is not there.
    """

    path: Path
    target: Path
    data: bytes | None


def read(path: Path) -> Snapshot:
    """Looks at a file, through a link if it is one.

    Raises:
        InstallError: it is no file, or cannot be read.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise InstallError(path, "this link leads round in a circle.", "Mend the link, and try again.")
        if target.exists() and not target.is_file():
            raise InstallError(path, "this is a folder, not a file." if target.is_dir() else "this is no file.", _MOVE)
        return Snapshot(path, target, target.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Snapshot(path, target, None)
    except OSError as error:
        raise InstallError(path, f"it cannot be read: {error.strerror}.", "Look at its permissions.") from error


_MOVE = "Move it away, and try again."


def replace(snapshot: Snapshot, text: str, now: datetime) -> Path | None:
    """Writes the file anew, after a copy of what it was; the copy's path, if there was something to copy.

    Raises:
        Changed: it is not as it was in the snapshot.
        NotWritable: the system does not let us; the file is as it was.
    """
    target = snapshot.target
    try:
        if snapshot.data is None:
            target.parent.mkdir(parents=True, exist_ok=True)
        _check_writable(snapshot)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".luma", dir=target.parent)
        new = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            _keep_rights(target, new)
            backup = _copy(snapshot, now) if snapshot.data else None
            _exchange(snapshot, new, backup)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        _refuse(snapshot.path, error)
    if backup:
        _prune(snapshot.path)
    with suppress(OSError):
        _sync_folder(target.parent)
    return backup


def copies(path: Path) -> list[Path]:
    """The copies beside a file, oldest first.

    Raises:
        OSError: their folder cannot be listed.
    """
    beside = (file.name for file in path.parent.iterdir() if file.name.startswith(path.name))
    found = [match for name in beside if (match := _BACKUP.fullmatch(name, len(path.name)))]
    return [path.with_name(match.string) for match in sorted(found, key=lambda match: (match[1], int(match[2] or 1)))]


def copies_with(path: Path, secret: str) -> list[Path]:
    """Those of the copies that hold a secret; what cannot be read is left out."""
    with suppress(OSError):
        return [copy for copy in copies(path) if secret.encode() in copy.read_bytes()]
    return []


def is_read_by_others(path: Path) -> bool:
    """Whether other users of this machine may read a file; not known on Windows."""
    with suppress(OSError):
        return os.name == "posix" and bool(path.stat().st_mode & 0o044)
    return False


def _exchange(snapshot: Snapshot, new: Path, backup: Path | None) -> None:
    """Looks for the last time, and at once puts the new file in the place of the old one."""
    try:
        if read(snapshot.path) != snapshot:
            raise Changed(snapshot.path, "it was changed by somebody else meanwhile.", "Try again.")
        new.replace(snapshot.target)
    except (OSError, InstallError):
        if backup:
            backup.unlink(missing_ok=True)
        raise


def _refuse(path: Path, error: OSError) -> NoReturn:
    what = f"it cannot be written: {error.strerror or type(error).__name__}."
    raise NotWritable(
        path, what, f"{UNTOUCHED} Look at the permissions of the file and of its folder, and whether it is open."
    ) from error


def _check_writable(snapshot: Snapshot) -> None:
    """A file that is write-protected could be replaced all the same, and its owner has said not to."""
    for place, what in ((snapshot.target, "it"), (snapshot.target.parent, "its folder")):
        if place.exists() and not (place.stat().st_mode & 0o222 and os.access(place, os.W_OK)):
            mend = f"{UNTOUCHED} Allow writing to {place}, and try again."
            raise NotWritable(snapshot.path, f"{what} is read-only.", mend)


def _keep_rights(old: Path, new: Path) -> None:
    """Gives the new file the mode and the owner of the old one; without an old one it is private."""
    if not old.exists():
        return
    rights = old.stat()
    new.chmod(stat.S_IMODE(rights.st_mode))
    if hasattr(os, "chown") and (rights.st_uid, rights.st_gid) != (new.stat().st_uid, new.stat().st_gid):
        os.chown(new, rights.st_uid, rights.st_gid)
        new.chmod(stat.S_IMODE(rights.st_mode))


def _copy(snapshot: Snapshot, now: datetime) -> Path:
    """A copy beside the file; of a link, beside the link: where it leads to may be published."""
    base = f"{snapshot.path.name}.luma-backup-{now:%Y%m%d-%H%M%S}"
    for name in (base, *(f"{base}-{number}" for number in range(2, 100))):
        backup = snapshot.path.with_name(name)
        with suppress(FileExistsError):
            handle = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), PRIVATE)
            with os.fdopen(handle, "wb") as file:
                file.write(snapshot.data or b"")
                file.flush()
                os.fsync(file.fileno())
            return backup
    raise FileExistsError(17, "there are too many copies of this second", str(base))


def _prune(path: Path) -> None:
    with suppress(OSError):
        for old in copies(path)[:-KEPT]:
            old.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
