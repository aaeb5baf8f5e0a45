"""The version is in one place, and what is told of it elsewhere is that. The changelog is one that can be read."""

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


def told(name: str) -> dict[str, Any]:
    text: dict[str, Any] = json.loads((ROOT / name).read_text(encoding="utf-8"))
    return text


def test_every_file_that_names_a_version_names_the_same() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert "version" in PROJECT["dynamic"]
    server = server_json()
    versions = {
        "packaging/manifest.json": told("packaging/manifest.json")["version"],
        "server.json": server["version"],
        "server.json, the package": server["packages"][0]["version"],
        "player/package.json": told("player/package.json").get("version", VERSION),
    }
    assert set(versions.values()) == {VERSION}, versions


def test_the_changelog_begins_with_what_is_not_released() -> None:
    first, *others = releases()
    assert (first.version, first.date) == (UNRELEASED, None)
    assert all(release.date for release in others)


def test_a_version_is_released_or_is_going_to_be() -> None:
    """The newest release is this version, or there are changes that wait for it."""
    unreleased, *released = releases()
    if released and released[0].version == VERSION:
        return
    assert unreleased.sections, f"{VERSION} is not released, and nothing waits for it"
    assert all(release.numbers < tuple(map(int, VERSION.split("."))) for release in released)


@pytest.mark.parametrize("release", releases(), ids=lambda release: release.version)
def test_a_part_of_the_changelog_has_the_form_of_keep_a_changelog(release: Release) -> None:
    if release.date:
        assert date.fromisoformat(release.date)
    assert not re.split(r"^### ", release.text, flags=re.MULTILINE)[0].strip(), "text before the first kind"
    assert set(release.sections) <= set(KINDS)
    assert list(release.sections) == sorted(release.sections, key=KINDS.index)
    for kind, text in release.sections.items():
        lines = [line for line in text.strip().splitlines() if line]
        assert lines, f"{kind} is empty"
        assert all(line.startswith(("- ", "  ")) for line in lines), f"{kind} is not a list"


def test_releases_are_newest_first_and_each_is_there_once() -> None:
    numbers = [release.numbers for release in releases() if release.date]
    assert numbers == sorted(set(numbers), reverse=True)


def test_a_changelog_of_another_form_is_not_read() -> None:
    with pytest.raises(ValueError, match="cannot read the heading"):
        releases("# Changelog\n\n## 1.0 (yesterday)\n\n- all\n")


def test_a_tag_that_is_not_this_version_is_not_released() -> None:
    said = problems("v9.9.9", "somebody-else")
    assert any("The tag is v9.9.9" in problem for problem in said)
    assert any("somebody-else" in problem for problem in said)
    assert not any("in the registry" in problem for problem in problems(f"v{VERSION}", OWNER.upper()))
