"""Child processes, as Linux shows them."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path

from luma_mcp.media.decoder import LARGE

ENDING = 10
"""Seconds that a process may take to end before it counts as running on: less than it may decode with large limits."""


def children(parent: int) -> set[int]:
    """The child processes of a process, without those that have ended."""
    found: set[int] = set()
    for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):
            found |= {int(number) for number in tasks.read_text(encoding="ascii").split() if is_alive(int(number))}
    return found


def is_alive(number: int) -> bool:
    """Whether a process runs; one that has ended and that nobody waits for does not."""
    try:
        status = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def find_worker(parent: int) -> int | None:
    """The process in which a process decodes an image with the large limits, if there is one."""
    for number in children(parent):
        with suppress(OSError):
            if str(LARGE.seconds).encode() in Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0"):
                return number
    return None


def wait_for_end(number: int) -> None:
    """Waits until a process has ended."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(number)
        ended, _, _ = select.select([handle], [], [], ENDING)
        os.close(handle)
        assert ended, "it runs on"


def variables(number: int) -> bytes:
    """The environment that a process was started with."""
    return Path(f"/proc/{number}/environ").read_bytes()
