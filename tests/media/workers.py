"""Child processes, from Linux's /proc."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path

from luma_mcp.media.decoder import LARGE

ENDING = 10
"""Seconds within which a process must end: fewer than the large limits allow for decoding."""


def list_children(parent: int) -> set[int]:
    """List the child processes that have not ended."""
    found: set[int] = set()
    for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):
            found |= {int(number) for number in tasks.read_text(encoding="ascii").split() if is_alive(int(number))}
    return found


def is_alive(number: int) -> bool:
    """Whether a process runs. A zombie does not."""
    try:
        status = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def find_worker(parent: int) -> int | None:
    """Find the child process that decodes an image with the large limits, if there is one."""
    for number in list_children(parent):
        with suppress(OSError):
            if str(LARGE.seconds).encode() in Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0"):
                return number
    return None


def wait_for_end(number: int) -> None:
    """Wait until a process has ended."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(number)
        ended, _, _ = select.select([handle], [], [], ENDING)
        os.close(handle)
        assert ended, "the process is still running"


def read_environment(number: int) -> bytes:
    """Read the environment that a process was started with."""
    return Path(f"/proc/{number}/environ").read_bytes()
