"""Child processes, as Linux shows them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


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


def variables(number: int) -> bytes:
    """The environment that a process was started with."""
    return Path(f"/proc/{number}/environ").read_bytes()
