"""Node packages that are pinned in a folder with package.json and package-lock.json, and a Node.js to run them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OLDEST_NODE = (22, 19)
"""What the Inspector needs."""
NO_NPM = "npm is missing. It comes with Node.js: install that from nodejs.org, or Debian's and Ubuntu's package npm."
NO_NODE = "Node.js 22.19 or later is missing, and npm has none for this system that is pinned here."


def install(folder: Path) -> None:
    """What the lock file says, if it is not there yet. No package runs a script of its own on this machine."""
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    if stamp.exists() and stamp.read_text() == lock:
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(NO_NPM)
    print(f"npm ci, in {folder.name}", flush=True)
    # npm's own Node.js may be older than what the packages need: they run on the one that is installed with them.
    subprocess.run([npm, "ci", "--ignore-scripts", "--loglevel=error"], cwd=folder, check=True)
    stamp.write_text(lock)


def node(folder: Path) -> str:
    """A Node.js: the pinned one, which npm has for Linux, else the machine's own if it is new enough."""
    for pinned in sorted(folder.glob("node_modules/node-*/bin/node")):
        return str(pinned)
    own = shutil.which("node")
    if own is None:
        sys.exit(NO_NODE)
    told = subprocess.run([own, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(map(int, told.strip().removeprefix("v").split(".")[:2])) < OLDEST_NODE:
        sys.exit(f"{NO_NODE} This machine's is {told.strip()}.")
    return own
