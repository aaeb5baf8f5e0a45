"""List what prevents a tag from being released.

python -m scripts.check_release TAG OWNER
"""

from __future__ import annotations

import sys

from scripts.changelog import releases
from scripts.generating.project import OWNER, REGISTRY_NAME, ROOT, VERSION


def problems(tag: str, owner: str) -> list[str]:
    """Get all problems, as sentences."""
    found = []
    if tag != f"v{VERSION}":
        found.append(f"The tag is {tag}, but src/luma_mcp/__init__.py says {VERSION}.")
    if not any(release.version == VERSION and release.date for release in releases()):
        found.append(f"CHANGELOG.md has no dated section for {VERSION}.")
    if owner.casefold() != OWNER.casefold():
        found.append(
            f"The owner is {owner}, but scripts/generating/project.py has {OWNER}, which owns the name in the registry."
        )
    if f"mcp-name: {REGISTRY_NAME}" not in (ROOT / "README.md").read_text(encoding="utf-8"):
        found.append(
            f"README.md does not contain mcp-name: {REGISTRY_NAME}, which proves to the registry who owns the package."
        )
    return found


def main() -> int:
    """Return 0 if the tag can be released."""
    found = problems(*sys.argv[1:3])
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
