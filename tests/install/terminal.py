"""A program in a terminal, and the person in front of it."""

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
"""Seconds that an answer may take on a busy machine before it counts as missing."""


class Terminal:
    """Starts a program in a terminal of its own; what is on its screen is in `screen`, what is typed and echoed too."""

    def __init__(self, command: list[str], *, environment: dict[str, str], cwd: Path) -> None:
        self.screen = ""
        self._ours, theirs = pty.openpty()
        try:
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=cwd,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                # Without a controlling terminal of ours, a password is asked for here.
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
        """What has come on the screen since it was last looked at, up to a text."""
        seen = len(self.screen)
        end = time.monotonic() + PATIENCE
        while until not in self.screen[seen:]:
            if not self._more(end):
                raise AssertionError(f"{until!r} did not come: {self.screen[seen:]!r}")
        return self.screen[seen:]

    def type(self, line: str) -> None:
        """Types a line, with Enter."""
        os.write(self._ours, f"{line}\n".encode())

    def end(self) -> int:
        """Reads to the end; the exit code."""
        end = time.monotonic() + PATIENCE
        while self._more(end):
            pass
        return self.process.wait(timeout=PATIENCE)

    def _more(self, end: float) -> bool:
        if not select.select([self._ours], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:
            # Linux tells so that the other side is closed.
            return False
        self.screen += re.sub(r"\x1b\[[0-9;]*m", "", data.decode(errors="replace")).replace("\r\n", "\n")
        return bool(data)
