"""A file that is being written, from its first byte until it stands under its name: never over another file.

While it is written it has a name of its own (`.NAME.TAG.RANDOM.part`), which nobody else writes to. A write that
breaks off is put down as `.NAME.TAG.part`; whoever comes next takes it up from there by renaming it, which only
one can. TAG tells what the bytes are of.
"""

from __future__ import annotations

import glob
import os
import re
import time
import uuid
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ABANDONED = 60.0
"""Seconds without a byte after which a part is taken to be of a process that is gone."""


STALE = 7 * 86_400.0
"""Seconds after which nobody goes on with a part any more."""
_PART = re.compile(r"\.[0-9a-f]{8}(\.[0-9a-f]{8})?\.part$")


class Part:
    """The bytes of `target` that are here so far."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path: Path | None = None
        self.tag = ""

    @property
    def size(self) -> int:
        """How many there are."""
        return self._path.stat().st_size if self._path and self._path.exists() else 0

    def open(self, mode: str) -> BinaryIO:
        """The file to write to: `"wb"` from the start, `"r+b"` over what is here."""
        self._path = self._path or self._own_name()
        return self._path.open(mode)  # type: ignore[return-value]

    def begins_with(self, beginning: bytes, at: int) -> bool:
        """Whether these bytes stand there."""
        if not self._path:
            return False
        with self._path.open("rb") as file:
            file.seek(at)
            return file.read(len(beginning)) == beginning

    def take_up(self) -> bool:
        """Goes on with what an earlier write of the same bytes left; whether there was any."""
        put_down, abandoned = self._named("part"), time.time() - ABANDONED
        pattern = f"{glob.escape(self._named('').name)}*part"
        for part in self._target.parent.glob(pattern):
            with suppress(OSError):
                status, own = part.stat(), self._own_name()
                if status.st_size and (part == put_down or status.st_mtime < abandoned):
                    part.rename(own)
                    own.touch()
                    self._path = own
                    return True
        return False

    def put_down(self) -> None:
        """Leaves what is here to whoever comes next."""
        if self._path:
            with suppress(OSError):
                there = self._named("part")
                if there.exists() and there.stat().st_size >= self.size:
                    self._path.unlink()
                else:
                    self._path.replace(there)
            self._path = None

    def discard(self) -> None:
        """Throws away what is here."""
        if self._path:
            with suppress(OSError):
                self._path.unlink()
            self._path = None

    def already_there(self, size: int) -> Path | None:
        """The file itself, if this or another process has written it before."""
        for path in self._names():
            if not path.exists():
                return None
            if _has(path, size):
                return path
        return None

    def move_into_place(self) -> Path:
        """The file under its name, or where another file has that, under the next that is free."""
        if not self._path:
            raise FileNotFoundError(f"nothing was written of {self._target}")
        for path in self._names():
            try:
                _rename_to_new(self._path, path)
            except FileExistsError:
                if not _has(path, self.size):
                    continue
                self.discard()
            self._path = None
            self._sweep()
            return path
        raise AssertionError("the names never end")

    def _sweep(self) -> None:
        """Removes what processes that are gone have left of this file, and long ago of any other."""
        now = time.time()
        for part in self._target.parent.glob(".*.part"):
            with suppress(OSError):
                age = now - part.stat().st_mtime
                own = part.name.startswith(f".{self._target.name}.")
                if _PART.search(part.name) and age > (ABANDONED if own else STALE):
                    part.unlink()

    def _names(self) -> Iterator[Path]:
        yield self._target
        yield from (self._target.with_stem(f"{self._target.stem}-{n}") for n in count(2))

    def _own_name(self) -> Path:
        return self._named(f"{uuid.uuid4().hex[:8]}.part")

    def _named(self, end: str) -> Path:
        return self._target.with_name(f".{self._target.name}.{self.tag}.{end}")


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _rename_to_new(part: Path, target: Path) -> None:
    """Moves a file to a name that must not exist yet.

    Raises:
        FileExistsError: it does.
    """
    if os.name == "nt":
        part.rename(target)
        return
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links.
        if target.exists():
            raise FileExistsError(target) from None
        part.rename(target)
    else:
        part.unlink()
