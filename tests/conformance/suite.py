"""The official suite, as it is run: what it lists, and what it writes of a run."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.conformance.expected import ANY_SERVER, FIXTURES, LEFT_OUT, VERSIONS, Server
from tests.conformance.judge import Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

LISTED = re.compile(r"^  - (?P<name>\S+) \[(?P<versions>.*)\]$", re.MULTILINE)
FOLDER = re.compile(r"^server-(?P<name>.+)-\d{4}-\d\d-\d\dT[\d-]+Z$")
JUDGED: dict[Server, tuple[str, ...]] = {"luma-ray-mcp": ANY_SERVER, "fixture": FIXTURES}


def listed(text: str) -> dict[str, tuple[str, ...]]:
    """The scenarios for servers in what `list` prints, and the versions at which each is judged here."""
    section = text.split("Server scenarios", 1)[1].split("\n\n", 1)[0]
    scenarios = {}
    for match in LISTED.finditer(section):
        told = match["versions"].split(",")
        at = VERSIONS[:1] if told == ["extension"] else tuple(version for version in VERSIONS if version in told)
        if at:
            scenarios[match["name"]] = at
    return scenarios


def undecided(scenarios: Iterable[str]) -> list[str]:
    """Scenarios that the tables and the suite do not agree on: new ones, and ones that are gone."""
    return sorted(set(scenarios) ^ {*ANY_SERVER, *FIXTURES, *LEFT_OUT})


def checks_of(folder: Path, server: Server, version: str) -> Iterator[Check]:
    """The checks of the judged scenarios in what a run has written."""
    for run in folder.iterdir():
        match = FOLDER.match(run.name)
        if not match or match["name"] not in JUDGED[server]:
            continue
        for check in json.loads((run / "checks.json").read_text(encoding="utf-8")):
            told = check.get("errorMessage") or check.get("details", {}).get("message", "")
            yield Check(server, version, match["name"], check["id"], check["status"], told)


def missing(scenarios: Mapping[str, tuple[str, ...]], checks: Iterable[Check]) -> list[str]:
    """Scenarios that should have been judged, and of which there is no check at all."""
    found = {(check.server, check.version, check.scenario) for check in checks}
    wanted = [(server, at, name) for server, names in JUDGED.items() for name in names for at in scenarios[name]]
    return [" ".join(wish) for wish in wanted if wish not in found]
