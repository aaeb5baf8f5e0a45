"""Install the Node packages that a folder pins in package-lock.json, and find a Node.js to run them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What the Inspector needs.
MIN_NODE = (22, 19)
NO_NPM = "npm is missing. It comes with Node.js: install that from nodejs.org, or Debian's and Ubuntu's package npm."
NO_NODE = "Node.js 22.19 or later is missing, and npm has none for this system that is pinned here."


def install(folder: Path) -> None:
    """Install what the lock file lists, if that is not done yet. Packages' install scripts are not run."""
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    if stamp.exists() and stamp.read_text() == lock:
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(NO_NPM)
    print(f"npm ci, in {folder.name}", flush=True)
    # The machine's Node.js may be older than what the packages need: they run on the one that is installed with them.
    subprocess.run([npm, "ci", "--ignore-scripts", "--loglevel=error"], cwd=folder, check=True)
    stamp.write_text(lock)


def node(folder: Path) -> str:
    """Get the path of a Node.js: the pinned one, which npm has for Linux, or the machine's own if it is new enough."""
    for pinned in sorted(folder.glob("node_modules/node-*/bin/node")):
        return str(pinned)
    own = shutil.which("node")
    if own is None:
        sys.exit(NO_NODE)
    version = subprocess.run([own, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.removeprefix("v").split(".")[:2])) < MIN_NODE:
        sys.exit(f"{NO_NODE} This machine's is {version}.")
    return own
