"""Parse CHANGELOG.md, and print the notes of one release.

python -m scripts.changelog [VERSION]
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from scripts.generating.project import ROOT, VERSION

# The kinds of changes in Keep a Changelog.
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
UNRELEASED = "Unreleased"


@dataclass(frozen=True, slots=True)
class Release:
    """A section of the page: `version` (or "Unreleased"), `date` as it is written, and the text below the heading."""

    version: str
    date: str | None
    text: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers, for comparisons."""
        return tuple(int(n) for n in re.findall(r"\d+", self.version))

    @property
    def sections(self) -> dict[str, str]:
        """Its changes by kind."""
        parts = re.split(r"^### (.+)\n", self.text, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))


def releases(text: str | None = None) -> list[Release]:
    """Get all releases in the order of the page.

    Raises:
        ValueError: a heading has another form.
    """
    page = text if text is not None else (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)\n", page, flags=re.MULTILINE)
    found = []
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        match = re.fullmatch(r"\[([^]]+)\](?: - (\d{4}-\d{2}-\d{2}))?", heading)
        if not match:
            raise ValueError(f"CHANGELOG.md: cannot read the heading {heading!r}")
        found.append(Release(match[1], match[2], body.strip()))
    return found


def main() -> int:
    """Return 0 if there is such a release."""
    version = sys.argv[1] if len(sys.argv) > 1 else VERSION
    for release in releases():
        if release.version == version:
            print(release.text)
            return 0
    print(f"CHANGELOG.md has no section for {version}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
