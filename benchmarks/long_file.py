"""Processor seconds and memory of `install` and `uninstall` for a file of 40 MB, as an agent's history makes it.

    python benchmarks/long_file.py [MEGABYTES]

Three files of that size: as Claude Code writes it, with emoji; the same for a host whose file may have comments, with
comments; and one of many short members. Exits with 1 if a command takes more than 3 seconds or 400 MB, or changes
anything but the entry.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SECONDS, MEGABYTES = 3.0, 400
MEASURE = """
import re, resource, runpy, sys, time
from pathlib import Path
try:
    runpy.run_module("luma_mcp", run_name="__main__")
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "linux" else 1024)
    if sys.platform == "linux":
        # Not the maximum that getrusage reports, because that includes the parent's memory.
        peak = int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])
    print(time.process_time(), peak / 1024, file=sys.stderr)
"""


def build_history(size: int) -> dict[str, Any]:
    """The content of a file of about that many bytes."""
    question = "Why does this fail? 🦊 " + "It worked yesterday, before I changed the configuration. " * 3
    entry = {"display": question, "pastedContents": {}, "cost": 0.25, "seen": [1, 2, 3], "path": "/srv/work"}
    each = len(json.dumps(entry, ensure_ascii=False).encode())
    history = [entry] * (size // each // 50)
    projects = {f"/srv/work/{number}": {"history": history, "mcpServers": {}} for number in range(50)}
    return {"numStartups": 7, "mcpServers": {"time": {"command": "uvx"}}, "projects": projects, "userID": "é"}


def measure(name: str, home: Path, *command: str) -> bool:
    """Run a command, and print its time and memory. Return whether they are acceptable."""
    environment = {**os.environ, "HOME": str(home), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command, "--yes"], env=environment, capture_output=True, text=True, check=False
    )
    seconds, megabytes = (float(number) for number in done.stderr.split()[-2:])
    print(f"{name:<28}{command[0]:<12}{seconds:5.1f} s {megabytes:6.0f} MB   exit {done.returncode}")
    return seconds <= SECONDS and megabytes <= MEGABYTES and not done.returncode


def main() -> None:
    """Measure each file, and compare it with its original content afterwards."""
    size = int((sys.argv[1:] or ["40"])[0]) * 1_000_000
    history = build_history(size)
    text = json.dumps(history, ensure_ascii=False, indent=2)
    short = {f"member {number}": "x" * 380 for number in range(size // 400)} | {"mcpServers": {}, "last": 1}
    files = {
        "as Claude Code writes it": ("claude-code", ".claude.json", text),
        "with comments": ("cursor", ".cursor/mcp.json", text.replace('"display"', '// prompt\n"display"') + "// end\n"),
        "many short members": ("claude-code", ".claude.json", json.dumps(short, indent=2)),
    }
    acceptable = True
    for name, (host, place, before) in files.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, place)
            path.parent.mkdir(exist_ok=True)
            path.write_text(before, encoding="utf-8")
            acceptable &= measure(name, Path(folder), "install", host, "--simulate")
            added = path.read_text(encoding="utf-8")
            acceptable &= '"luma": {' in added
            acceptable &= measure(name, Path(folder), "uninstall", host)
            acceptable &= path.read_text(encoding="utf-8") == before
    sys.exit(not acceptable)


if __name__ == "__main__":
    main()
