"""Runs a program in a terminal, and reads and types like a person."""

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

TIMEOUT = 60.0
"""Seconds to wait for a text, with room for a busy machine."""


class Terminal:
    """A program in its own terminal. `screen`: all that it has shown, including the echo of typed text."""

    def __init__(self, command: list[str], *, environment: dict[str, str], cwd: Path) -> None:
        self.screen = ""
        self._position = 0
        self._terminal, program_side = pty.openpty()
        try:
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=cwd,
                stdin=program_side,
                stdout=program_side,
                stderr=program_side,
                # Without a controlling terminal, a password prompt uses this one.
                start_new_session=True,
            )
        finally:
            os.close(program_side)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)

    def read(self, until: str) -> str:
        """Wait for a text. Return the screen from the end of the previous one to the end of this one."""
        start = self._position
        deadline = time.monotonic() + TIMEOUT
        while until not in self.screen[start:]:
            if not self._read_more(deadline):
                raise AssertionError(f"{until!r} did not appear: {self.screen[start:]!r}")
        self._position = self.screen.index(until, start) + len(until)
        return self.screen[start : self._position]

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        os.write(self._terminal, f"{line}\n".encode())

    def wait(self) -> int:
        """Read until the program exits, and return its exit code."""
        deadline = time.monotonic() + TIMEOUT
        while self._read_more(deadline):
            pass
        return self.process.wait(timeout=TIMEOUT)

    def _read_more(self, deadline: float) -> bool:
        if not select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._terminal, 65536)
        except OSError:
            # Linux reports in this way that the program's side is closed.
            return False
        self.screen += re.sub(r"\x1b\[[0-9;]*m", "", data.decode(errors="replace")).replace("\r\n", "\n")
        return bool(data)
