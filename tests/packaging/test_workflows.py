"""The workflows: permissions, pinned actions, order of the jobs. scripts/check_workflows.py lints them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.packaging.documents import ROOT

if TYPE_CHECKING:
    from pathlib import Path

GITHUB = ROOT / ".github"
WORKFLOWS = sorted([*GITHUB.glob("workflows/*.yml"), *GITHUB.glob("actions/*/action.yml")])
RELEASE = (GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8")
TESTS = (GITHUB / "workflows" / "tests.yml").read_text(encoding="utf-8")


def jobs(workflow: str) -> dict[str, str]:
    """The text of each job, by name."""
    parts = re.split(r"^  (\w+):\n", workflow.split("\njobs:\n")[1], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.relative_to(GITHUB)))
def test_external_actions_are_pinned_by_commit(path: Path) -> None:
    uses = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
    for action, remark in uses:
        if action.startswith("./"):
            assert (ROOT / action / "action.yml").exists()
        else:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", remark), f"{action} has no comment with its version"


def test_each_action_has_one_version() -> None:
    found: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for name, commit in re.findall(r"uses: ([\w./-]+)@(\w+)", path.read_text(encoding="utf-8")):
            found.setdefault(name, set()).add(commit)
    assert {name for name, commits in found.items() if len(commits) > 1} == set()


@pytest.mark.parametrize("path", [p for p in WORKFLOWS if p.parent.name == "workflows"], ids=lambda path: path.name)
def test_workflows_have_read_permission_by_default(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "\npermissions:\n  contents: read\n\n" in text
    assert "pull_request_target" not in text
    assert "secrets." not in text
    # Text from other people, such as a title, must not become part of a command.
    assert not re.search(r"run:.*\$\{\{ *github\.", text)


def test_only_publishing_jobs_have_write_permission() -> None:
    permissions = {name: set(re.findall(r"([\w-]+): write", text)) for name, text in jobs(RELEASE).items()}
    assert {name: rights for name, rights in permissions.items() if rights} == {
        "publish": {"id-token"},
        "registry": {"id-token"},
        "release": {"contents"},
    }
    assert "write" not in TESTS


def test_only_tested_builds_are_published() -> None:
    needs = {name: re.findall(r"needs: \[?([\w, ]+)\]?", text) for name, text in jobs(RELEASE).items()}
    assert needs == {
        "build": [],
        "wheel": ["build"],
        "bundle": ["build"],
        "publish": ["wheel, bundle"],
        "registry": ["publish"],
        "release": ["publish"],
    }
    # There is one build, so the tested files are the published ones.
    assert len(re.findall(r"hatchling build", RELEASE)) == 1
    assert "environment: pypi" in jobs(RELEASE)["publish"]


def test_tests_run_on_every_supported_system_and_python() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    supported = re.findall(r"Python :: (3\.\d+)", pyproject)
    versions = ", ".join(f'"{version}"' for version in supported)
    assert f"python: [{versions}]" in TESTS
    assert "system: [ubuntu-latest, macos-latest, windows-latest]" in TESTS
