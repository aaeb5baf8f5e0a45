"""README and docs: no broken link, picture or anchor, and every page is in the menu."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from tests.packaging.documents import PAGES, ROOT, find_anchors, find_links

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
MAX_DEMO_CHARACTERS = 300_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_has_a_target(page: Path) -> None:
    for link in find_links(page):
        if re.match(r"[a-z-]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"the target of {link} does not exist"
        if page.is_relative_to(DOCS):
            assert target.is_relative_to(DOCS), f"the target of {link} is not part of the site"
        if anchor:
            assert anchor in find_anchors(target), f"{link} has an unknown anchor"


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w./-]+\.md", menu))
    assert named == {str(page.relative_to(DOCS).as_posix()) for page in PAGES if page.is_relative_to(DOCS)}


def test_troubleshooting_covers_the_errors_that_need_an_explanation() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    needs_explanation = (
        "not_configured",
        "unauthorized",
        "payment_required",
        "capacity",
        "limit_reached",
        "budget_reached",
        "account_session",
        "network",
        "outcome_unknown",
    )
    for kind in needs_explanation:
        assert f"`{kind}`" in page


def test_recorded_demo_is_small_complete_and_self_contained() -> None:
    demo = (DOCS / "demo.svg").read_text(encoding="utf-8")
    assert len(demo) < MAX_DEMO_CHARACTERS
    root = ET.fromstring(demo)  # noqa: S314 - our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = "".join(root.itertext())
    for expected in ("luma-ray-mcp demo", "list_options", "Rejected:", "generate_video", ".mp4"):
        assert expected in text
    assert not re.search(r"(?:href|src)=(?![\"']#)|url\(|@import|<script", demo)
