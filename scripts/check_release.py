"""Tells what keeps a tag from being released.

python -m scripts.check_release TAG OWNER
"""

from __future__ import annotations

import sys

from scripts.changelog import releases
from scripts.generating.project import OWNER, REGISTRY_NAME, ROOT, VERSION


def problems(tag: str, owner: str) -> list[str]:
    """All of them, as sentences."""
    found = []
    if tag != f"v{VERSION}":
        found.append(f"The tag is {tag}, but src/luma_mcp/__init__.py says {VERSION}.")
    if not any(release.version == VERSION and release.date for release in releases()):
        found.append(f"CHANGELOG.md has no dated part for {VERSION}.")
    if owner.casefold() != OWNER.casefold():
        found.append(
            f"This is {owner}'s, but scripts/generating/project.py says {OWNER}, who owns the name in the registry."
        )
    if f"mcp-name: {REGISTRY_NAME}" not in (ROOT / "README.md").read_text(encoding="utf-8"):
        found.append(f"README.md does not say mcp-name: {REGISTRY_NAME}, by which the registry knows who owns it.")
    return found


def main() -> int:
    """0 if it may be released."""
    found = problems(*sys.argv[1:3])
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
