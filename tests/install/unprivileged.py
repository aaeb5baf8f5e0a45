"""A process to which file modes apply, also where the tests run as root."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIMEOUT = 120
"""Seconds that a command may take on a busy machine."""
DROP_PRIVILEGES = """
import ctypes, os, sys
# Without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, with which root reads and writes everywhere.
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
ctypes.CDLL(None).prctl(24, 2, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def unprivileged(
    command: list[str], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command, whose program is an absolute path."""
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
