"""Record docs/demo.svg: run `luma-ray-mcp demo` in a terminal and let termtosvg draw what it prints.

    python -m scripts.record_demo TERMTOSVG

TERMTOSVG is the program of that name, from the package termtosvg-ng. Nothing that the demo prints is changed, except
that its folder is shown as `~` and the program without its path. The pace is made for reading. Needs a Unix.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.generating.project import NAME, ROOT

COLUMNS, ROWS = 118, 36
COMMAND = f"{NAME} demo"
# Until here the animation is still, so that a page does not open with an empty terminal.
FIRST_SECONDS = 3.0
MAX_PAUSE = 1.5
PAUSE_PER_LINE = 0.25
LAST_SECONDS = 8.0
# For readers that do not see the picture, and for those who want no motion: they see its first picture.
HEAD = """<title>luma-ray-mcp demo: a rejection, its suggestion, and three clips that become a film</title>
<style>@media (prefers-reduced-motion: reduce) { #screen_view { animation: none !important } }</style>
"""

Event = tuple[float, str]


def record() -> list[Event]:
    """Run the demo and return what it printed, with the seconds since its start."""
    events: list[Event] = []
    program = Path(sys.executable).with_name(NAME)
    with tempfile.TemporaryDirectory() as folder:
        started, previous_folder = time.monotonic(), Path.cwd()

        def read(terminal: int) -> bytes:
            data = os.read(terminal, 65536)
            events.append((time.monotonic() - started, data.decode()))
            return data

        os.environ.update(COLUMNS=str(COLUMNS), TERM="xterm-256color", PATH=f"{program.parent}:{os.environ['PATH']}")
        try:
            os.chdir(folder)
            status = pty.spawn([NAME, "demo"], read)
        finally:
            os.chdir(previous_folder)
        if status:
            sys.exit("the demo failed")
        real_folder = str(Path(folder).resolve())
    return [(seconds, text.replace(real_folder, "~").replace(str(program), NAME)) for seconds, text in events]


def pace(events: list[Event]) -> list[Event]:
    """Return the events line by line, without long pauses, after a first picture that has content."""
    paced: list[Event] = [(0.0, f"$ {COMMAND}\r\n")]
    now = previous = 0.0
    for seconds, text in events:
        now += min(seconds - previous, MAX_PAUSE)
        previous = seconds
        for line in text.splitlines(keepends=True):
            paced.append((max(0.0, now - FIRST_SECONDS), line))
            if line.strip():
                now += PAUSE_PER_LINE
    return paced


def write_cast(path: Path, events: list[Event]) -> None:
    """Write the events in the format asciicast 2, which recorders and players of terminals share."""
    lines = [json.dumps({"version": 2, "width": COLUMNS, "height": ROWS})]
    lines += [json.dumps([round(seconds, 3), "o", text]) for seconds, text in events]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Return 0 once it is recorded."""
    target = ROOT / "docs" / "demo.svg"
    with tempfile.TemporaryDirectory() as folder:
        cast = Path(folder) / "demo.cast"
        write_cast(cast, pace(record()))
        loop_delay = str(round(LAST_SECONDS * 1000))
        render = [sys.argv[1], "render", str(cast), str(target), "-t", "window_frame", "-m", "50", "-D", loop_delay]
        subprocess.run(render, check=True)
    root, rest = target.read_text(encoding="utf-8").split(">", 1)
    target.write_text(f"{root}>\n{HEAD}{rest.lstrip()}", encoding="utf-8", newline="\n")
    print(f"wrote {target.relative_to(ROOT)} ({target.stat().st_size / 1000:.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
