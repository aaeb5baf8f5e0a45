"""A program in a terminal, and the person who uses it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

PATIENCE = 60.0
"""Seconds that a text may take to appear on a busy machine."""


class Terminal:
    """A program in a terminal of its own. `screen`: everything that it has shown, with what was typed and echoed."""

    def __init__(self, command: list[str], *, environment: dict[str, str], cwd: Path) -> None:
        self.screen = ""
        self._seen = 0
        self._ours, theirs = pty.openpty()
        try:
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=cwd,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                # Without a controlling terminal, a password is asked for in this one.
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def read(self, until: str) -> str:
        """Wait for a text; what the screen has shown since the previous one, up to its end."""
        seen = self._seen
        deadline = time.monotonic() + PATIENCE
        while until not in self.screen[seen:]:
            if not self._more(deadline):
                raise AssertionError(f"{until!r} did not appear: {self.screen[seen:]!r}")
        self._seen = self.screen.index(until, seen) + len(until)
        return self.screen[seen : self._seen]

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        os.write(self._ours, f"{line}\n".encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._more(deadline):
            pass
        return self.process.wait(timeout=PATIENCE)

    def _more(self, deadline: float) -> bool:
        if not select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:
            # This is how Linux reports that the other side is closed.
            return False
        self.screen += re.sub(r"\x1b\[[0-9;]*m", "", data.decode(errors="replace")).replace("\r\n", "\n")
        return bool(data)
