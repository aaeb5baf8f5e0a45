"""Read the official suite's output: its list of scenarios, and the files that it writes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.conformance.expected import ANY_SERVER, FIXTURES, LEFT_OUT, VERSIONS, Server
from tests.conformance.verdict import Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

LISTED = re.compile(r"^  - (?P<name>\S+) \[(?P<versions>.*)\]$", re.MULTILINE)
FOLDER = re.compile(r"^server-(?P<name>.+)-\d{4}-\d\d-\d\dT[\d-]+Z$")
SCENARIOS: dict[Server, tuple[str, ...]] = {"luma-ray-mcp": ANY_SERVER, "fixture": FIXTURES}


def parse_list(text: str) -> dict[str, tuple[str, ...]]:
    """Parse the output of `list`: the scenarios for servers, with the versions at which each is tested here."""
    section = text.split("Server scenarios", 1)[1].split("\n\n", 1)[0]
    scenarios = {}
    for match in LISTED.finditer(section):
        listed = match["versions"].split(",")
        at = VERSIONS[:1] if listed == ["extension"] else tuple(version for version in VERSIONS if version in listed)
        if at:
            scenarios[match["name"]] = at
    return scenarios


def find_undecided(scenarios: Iterable[str]) -> list[str]:
    """Find scenarios that are only in the suite or only in the tables."""
    return sorted(set(scenarios) ^ {*ANY_SERVER, *FIXTURES, *LEFT_OUT})


def read_checks(folder: Path, server: Server, version: str) -> Iterator[Check]:
    """Read the checks of the tested scenarios from the files of a run."""
    for run in folder.iterdir():
        match = FOLDER.match(run.name)
        if not match or match["name"] not in SCENARIOS[server]:
            continue
        for check in json.loads((run / "checks.json").read_text(encoding="utf-8")):
            message = check.get("errorMessage") or check.get("details", {}).get("message", "")
            yield Check(server, version, match["name"], check["id"], check["status"], message)


def find_missing(scenarios: Mapping[str, tuple[str, ...]], checks: Iterable[Check]) -> list[str]:
    """Find scenarios that should have been tested but have no check."""
    found = {(check.server, check.version, check.scenario) for check in checks}
    wanted = [(server, at, name) for server, names in SCENARIOS.items() for name in names for at in scenarios[name]]
    return [" ".join(wish) for wish in wanted if wish not in found]
