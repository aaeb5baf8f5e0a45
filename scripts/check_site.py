"""List what a built site would fetch from other servers: scripts, styles, fonts, pictures.

python -m scripts.check_site FOLDER
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

FETCHING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}
_OTHER_SERVER = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)


class Page(HTMLParser):
    """Collects what a page fetches without a click."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the address that a tag fetches, if it fetches one."""
        attributes = dict(attrs)
        if tag == "link" and attributes.get("rel") in ("canonical", "alternate", "next", "prev", "edit"):
            return
        if address := attributes.get(FETCHING.get(tag, "")):
            self.fetched.append(address)


def find_external(folder: Path) -> list[str]:
    """Get each page or style sheet with an address that it would fetch from another server."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(folder)}: {address}" for address in page.fetched if _OTHER_SERVER.match(address)]
    for path in sorted(folder.rglob("*.css")):
        styles = path.read_text(encoding="utf-8")
        addresses = re.findall(r"url\([\"']?([^)\"']+)", styles) + re.findall(r"@import\s+[\"']([^\"']+)", styles)
        found += [f"{path.relative_to(folder)}: {address}" for address in addresses if _OTHER_SERVER.match(address)]
    return found


def main() -> int:
    """Return 0 if it fetches nothing."""
    folder = Path(sys.argv[1])
    if not (folder / "index.html").exists():
        sys.exit(f"there is no site in {folder}")
    found = find_external(folder)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
