"""Records docs/demo.svg: runs `luma-ray-mcp demo` in a terminal of its own and draws what it shows.

    python -m scripts.record_demo

What is shown is what was written. The pace is made for reading: long pauses are cut short, and what appears at once
appears line by line. Lines wrap between words. The folder that it ran in is shown as `~`. Needs a Unix.
"""

from __future__ import annotations

import os
import pty
import sys
import tempfile
import time
from pathlib import Path

from scripts.generating.project import ROOT
from scripts.generating.snippets import COMMAND
from scripts.recording.svg import animation
from scripts.recording.terminal import Terminal

COLUMNS = 118
TYPED = "luma-ray-mcp demo"
LONGEST_PAUSE = 0.9
AT_THE_END = 6.0
TITLE = "luma-ray-mcp demo: a refusal, its suggestion, and two clips, the second going on where the first ended"

Event = tuple[float, str]


def record() -> list[Event]:
    """When the demo wrote what, in seconds from its start."""
    events: list[Event] = []
    program = Path(sys.executable).with_name("luma-ray-mcp")
    with tempfile.TemporaryDirectory() as folder:
        began, before = time.monotonic(), Path.cwd()

        def read(terminal: int) -> bytes:
            data = os.read(terminal, 65536)
            events.append((time.monotonic() - began, data.decode()))
            return data

        os.environ.update(COLUMNS=str(COLUMNS), TERM="xterm-256color")
        try:
            os.chdir(folder)
            status = pty.spawn([str(program), "demo"], read)
        finally:
            os.chdir(before)
        if status:
            sys.exit("the demo failed")
        real = str(Path(folder).resolve())
    return [(at, text.replace(real, "~").replace(str(program), COMMAND)) for at, text in events]


def reading(line: str) -> float:
    """Seconds that a line stays the newest."""
    if line.lstrip().startswith("|"):
        return 0.1
    return 0.3 + len(line) / 140 if line.strip() else 0.1


def paced(events: list[Event]) -> list[Event]:
    """The same, line by line, for people to follow."""
    now, last, shown = 0.0, 0.0, []
    for at, text in events:
        now += min(at - last, LONGEST_PAUSE)
        last = at
        for line in text.splitlines(keepends=True):
            shown.append((now, line))
            now += reading(line) if line.endswith("\n") else 0.0
    return shown


def typed() -> list[Event]:
    """The command, as a person types it."""
    return [(0.0, "$ "), *((0.6 + 0.07 * n, letter) for n, letter in enumerate(TYPED)), (1.9, "\n")]


def draw(events: list[Event]) -> str:
    """The picture."""
    terminal, start = Terminal(COLUMNS), typed()
    for at, text in start:
        terminal.write(text, at)
    end = start[-1][0]
    for at, text in paced(events):
        end = start[-1][0] + at
        terminal.write(text, end)
    return animation(terminal, round(end + AT_THE_END, 1), TITLE)


def main() -> int:
    """0: it is recorded."""
    drawn = draw(record())
    (ROOT / "docs" / "demo.svg").write_text(drawn, encoding="utf-8", newline="\n")
    print(f"wrote docs/demo.svg ({len(drawn) / 1000:.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
