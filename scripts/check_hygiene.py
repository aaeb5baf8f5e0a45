"""List the committed files that name a package registry's host, a machine's path, or a token.

    python scripts/check_hygiene.py

Packages are pinned by name, version and hash, so that any mirror can serve them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Concatenated, so that this file does not match itself.
HOSTS = ("pypi" + ".org", "python" + "hosted.org", "registry.npm" + "js", "deb.deb" + "ian")
FORBIDDEN = {
    "a package registry's host": "|".join(map(re.escape, HOSTS)),
    "a machine's path": r"(?<![\w.-])/(?:home|root|Users|work)/\w",
    "what looks like a token": r"user:\d{3,}-[A-Za-z0-9]{16,}",
}


def main() -> int:
    """Return 0 if there are none."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = 0
    for name in filter(None, listed.stdout.split("\0")):
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for what, pattern in FORBIDDEN.items():
            for match in re.finditer(pattern, text):
                line = text.count("\n", 0, match.start()) + 1
                print(f"{name}:{line} names {what}: {match[0]}")
                found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
