"""The documents lead somewhere: no link, picture or anchor of README and docs is broken, and no page is lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from tests.packaging.documents import PAGES, ROOT, anchors, links

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
LARGEST_DEMO = 300_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_in_the_repository_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z-]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} is not there"
        if page.is_relative_to(DOCS):
            assert target.is_relative_to(DOCS), f"{link} leads out of the site"
        if anchor:
            assert anchor in anchors(target), f"{link} names a place that is not there"


def test_every_page_of_the_site_is_in_its_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w./-]+\.md", menu))
    assert named == {str(page.relative_to(DOCS).as_posix()) for page in PAGES if page.is_relative_to(DOCS)}


def test_every_word_of_the_errors_is_in_the_troubleshooting_or_explains_itself() -> None:
    """What a person cannot guess the mend of has its place there."""
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    needs_telling = (
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
    for kind in needs_telling:
        assert f"`{kind}`" in page


def test_the_recorded_demo_is_small_whole_and_fetches_nothing() -> None:
    demo = (DOCS / "demo.svg").read_text(encoding="utf-8")
    assert len(demo) < LARGEST_DEMO
    root = ET.fromstring(demo)  # noqa: S314 - our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = "".join(root.itertext())
    for told in ("luma-ray-mcp demo", "list_options", "Rejected:", "generate_video", ".mp4"):
        assert told in words
    assert not re.search(r"(?:href|src)=(?![\"']#)|url\(|@import|<script", demo)
