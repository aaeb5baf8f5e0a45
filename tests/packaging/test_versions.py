"""Every file has the same version, and the changelog has the required format."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from scripts.changelog import KINDS, UNRELEASED, releases
from scripts.check_release import problems
from scripts.generating.project import OWNER, PROJECT, VERSION
from scripts.generating.registry import server_json
from tests.packaging.documents import ROOT

if TYPE_CHECKING:
    from scripts.changelog import Release


def read_json(name: str) -> dict[str, Any]:
    text: dict[str, Any] = json.loads((ROOT / name).read_text(encoding="utf-8"))
    return text


def test_every_file_has_the_same_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert "version" in PROJECT["dynamic"]
    server = server_json()
    versions = {
        "packaging/manifest.json": read_json("packaging/manifest.json")["version"],
        "server.json": server["version"],
        "server.json, the package": server["packages"][0]["version"],
        "player/package.json": read_json("player/package.json").get("version", VERSION),
    }
    assert set(versions.values()) == {VERSION}, versions


def test_changelog_begins_with_unreleased_changes() -> None:
    first, *others = releases()
    assert (first.version, first.date) == (UNRELEASED, None)
    assert all(release.date for release in others)


def test_version_is_released_or_has_unreleased_changes() -> None:
    unreleased, *released = releases()
    if released and released[0].version == VERSION:
        return
    assert unreleased.sections, f"{VERSION} is not released and has no changes"
    assert all(release.numbers < tuple(map(int, VERSION.split("."))) for release in released)


@pytest.mark.parametrize("release", releases(), ids=lambda release: release.version)
def test_changelog_section_follows_keep_a_changelog(release: Release) -> None:
    if release.date:
        assert date.fromisoformat(release.date)
    assert not re.split(r"^### ", release.text, flags=re.MULTILINE)[0].strip(), "text before the first kind"
    assert set(release.sections) <= set(KINDS)
    assert list(release.sections) == sorted(release.sections, key=KINDS.index)
    for kind, text in release.sections.items():
        lines = [line for line in text.strip().splitlines() if line]
        assert lines, f"{kind} is empty"
        assert all(line.startswith(("- ", "  ")) for line in lines), f"{kind} is not a list"


def test_releases_are_unique_and_newest_first() -> None:
    numbers = [release.numbers for release in releases() if release.date]
    assert numbers == sorted(set(numbers), reverse=True)


def test_changelog_in_another_format_is_rejected() -> None:
    with pytest.raises(ValueError, match="cannot read the heading"):
        releases("# Changelog\n\n## 1.0 (yesterday)\n\n- all\n")


def test_wrong_tag_or_owner_prevents_a_release() -> None:
    found = problems("v9.9.9", "somebody-else")
    assert any("The tag is v9.9.9" in problem for problem in found)
    assert any("somebody-else" in problem for problem in found)
    assert not any("in the registry" in problem for problem in problems(f"v{VERSION}", OWNER.upper()))
