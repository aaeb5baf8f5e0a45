"""Tells what a built site would fetch from elsewhere: scripts, styles, fonts, pictures.

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
_ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)


class Page(HTMLParser):
    """What a page fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an address."""
        said = dict(attrs)
        if tag == "link" and said.get("rel") in ("canonical", "alternate", "next", "prev", "edit"):
            return
        if address := said.get(FETCHING.get(tag, "")):
            self.fetched.append(address)


def elsewhere(folder: Path) -> list[str]:
    """Each page or style with an address that it would fetch from another server."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(folder)}: {address}" for address in page.fetched if _ELSEWHERE.match(address)]
    for path in sorted(folder.rglob("*.css")):
        styles = path.read_text(encoding="utf-8")
        addresses = re.findall(r"url\([\"']?([^)\"']+)", styles) + re.findall(r"@import\s+[\"']([^\"']+)", styles)
        found += [f"{path.relative_to(folder)}: {address}" for address in addresses if _ELSEWHERE.match(address)]
    return found


def main() -> int:
    """0 if it fetches nothing."""
    folder = Path(sys.argv[1])
    if not (folder / "index.html").exists():
        sys.exit(f"there is no site in {folder}")
    found = elsewhere(folder)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
