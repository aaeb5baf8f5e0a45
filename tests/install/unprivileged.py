"""Runs a process without root's privileges, so that file modes apply to it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIMEOUT = 120
"""Seconds for a command, with room for a busy machine."""
DROP_PRIVILEGES = """
import ctypes, os, sys
# Drops CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, which let root read and write every file.
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
ctypes.CDLL(None).prctl(24, 2, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def run_unprivileged(
    command: list[str], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command. Its program is an absolute path."""
    if sys.platform == "linux":
        command = [sys.executable, "-c", DROP_PRIVILEGES, *command]
    return subprocess.run(
        command,
        env={**(os.environ if environment is None else environment), "PYTHONIOENCODING": "utf-8"},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=TIMEOUT,
    )
