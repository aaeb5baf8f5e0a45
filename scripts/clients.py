"""Test the server with official clients: the Inspector's command line, and two versions of the TypeScript client.

    python -m scripts.clients

Installs them (npm, by lock file) and runs tests/clients with `node --test`. Needs the network only to install.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.node_packages import install, node

FOLDER = Path(__file__).parent.parent / "tests" / "clients"


def main() -> int:
    """Return the exit code of `node --test`."""
    install(FOLDER)
    command = os.environ.get("LUMA_MCP") or str(Path(sys.executable).with_name("luma-ray-mcp"))
    tests = sorted(str(path) for path in FOLDER.glob("*.test.mjs"))
    # The test files mostly wait for the server, so more of them run than the machine has cores.
    run = [node(FOLDER), "--test", "--test-reporter=spec", "--test-concurrency=3", *tests]
    return subprocess.run(run, cwd=FOLDER, env=os.environ | {"LUMA_MCP": command}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
