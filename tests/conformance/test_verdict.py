"""The comparison with the known failures of the conformance suite. The suite itself runs with `make conformance`."""

from __future__ import annotations

import pytest
from tests.conformance.expected import ANY_SERVER, FIXTURES, KNOWN, LEFT_OUT, KnownFailure
from tests.conformance.suite import SCENARIOS, find_missing, find_undecided, parse_list
from tests.conformance.verdict import Check, compare, tasks_share

PASSING = Check("fixture", "2026-07-28", "tasks-lifecycle", "one", "SUCCESS")
KNOWN_ONE = KnownFailure("fixture", "2026-07-28", "tasks-lifecycle", "one", "because")


def test_passing_checks_are_not_reported() -> None:
    assert not any(compare([PASSING, PASSING._replace(status="INFO")], []))


@pytest.mark.parametrize("status", ["FAILURE", "WARNING"])
def test_failures_are_unexpected_unless_known(status: str) -> None:
    failing = PASSING._replace(status=status)

    assert compare([failing], []).unexpected == [failing]
    assert compare([failing], [KNOWN_ONE]).known == [failing]
    assert not compare([failing], [KNOWN_ONE]).unexpected


def test_known_failure_applies_to_one_version() -> None:
    failing = PASSING._replace(status="FAILURE", version="2025-11-25")

    assert compare([failing], [KNOWN_ONE]).unexpected == [failing]


@pytest.mark.parametrize("checks", [[PASSING], []])
def test_known_failure_that_passes_is_stale(checks: list[Check]) -> None:
    assert compare(checks, [KNOWN_ONE]).stale == [KNOWN_ONE]


def test_share_of_task_checks_counts_passes_and_failures() -> None:
    failing, skipped = PASSING._replace(status="FAILURE"), PASSING._replace(status="SKIPPED")
    other = failing._replace(scenario="tools-list")

    assert tasks_share([PASSING, PASSING, PASSING, failing, skipped, other]) == 0.75
    assert tasks_share([]) == 0


def test_scenarios_are_tested_at_their_versions() -> None:
    text = (
        "Server scenarios (test against a server):\n"
        "  - ping [2025-06-18,2025-11-25]\n"
        "  - old [2025-06-18]\n"
        "  - tasks-lifecycle [extension]\n"
        "\nClient scenarios (test against a client):\n  - initialize [2025-11-25]\n"
    )

    assert parse_list(text) == {"ping": ("2025-11-25",), "tasks-lifecycle": ("2026-07-28",)}


def test_new_or_removed_scenario_is_reported() -> None:
    decided = {*ANY_SERVER, *FIXTURES, *LEFT_OUT}

    assert find_undecided(decided) == []
    assert find_undecided({*decided, "new"} - {"ping"}) == ["new", "ping"]


def test_scenario_without_checks_is_reported() -> None:
    scenarios = dict.fromkeys((*ANY_SERVER, *FIXTURES), ("2026-07-28",))
    checks = [
        PASSING._replace(server=server, scenario=name)
        for server, names in SCENARIOS.items()
        for name in names
        if name != "ping"
    ]

    assert find_missing(scenarios, checks) == ["luma-ray-mcp 2026-07-28 ping"]


def test_tables_are_consistent() -> None:
    assert not {*LEFT_OUT} & {*ANY_SERVER, *FIXTURES}
    for known in KNOWN:
        assert known.scenario in (ANY_SERVER if known.server == "luma-ray-mcp" else FIXTURES)
        assert known.why
