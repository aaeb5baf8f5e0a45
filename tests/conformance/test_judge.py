"""The judgement on what the conformance suite finds. The suite itself runs with `make conformance`."""

from __future__ import annotations

import pytest
from tests.conformance.expected import ANY_SERVER, FIXTURES, KNOWN, LEFT_OUT, Known
from tests.conformance.judge import Check, judge, tasks_share
from tests.conformance.suite import JUDGED, listed, missing, undecided

PASSING = Check("fixture", "2026-07-28", "tasks-lifecycle", "one", "SUCCESS")
KNOWN_ONE = Known("fixture", "2026-07-28", "tasks-lifecycle", "one", "because")


def test_what_passes_and_is_not_known_to_fail_is_no_news() -> None:
    assert not any(judge([PASSING, PASSING._replace(status="INFO")], []))


@pytest.mark.parametrize("status", ["FAILURE", "WARNING"])
def test_what_fails_is_unexpected_unless_it_is_known(status: str) -> None:
    failing = PASSING._replace(status=status)

    assert judge([failing], []).unexpected == [failing]
    assert judge([failing], [KNOWN_ONE]).known == [failing]
    assert not judge([failing], [KNOWN_ONE]).unexpected


def test_a_known_failure_elsewhere_excuses_nothing() -> None:
    failing = PASSING._replace(status="FAILURE", version="2025-11-25")

    assert judge([failing], [KNOWN_ONE]).unexpected == [failing]


@pytest.mark.parametrize("checks", [[PASSING], []])
def test_what_is_known_to_fail_and_does_not_is_stale(checks: list[Check]) -> None:
    assert judge(checks, [KNOWN_ONE]).stale == [KNOWN_ONE]


def test_the_share_of_tasks_counts_what_was_judged() -> None:
    failing, skipped = PASSING._replace(status="FAILURE"), PASSING._replace(status="SKIPPED")
    other = failing._replace(scenario="tools-list")

    assert tasks_share([PASSING, PASSING, PASSING, failing, skipped, other]) == 0.75
    assert tasks_share([]) == 0


def test_each_scenario_is_judged_at_the_versions_it_applies_to() -> None:
    told = (
        "Server scenarios (test against a server):\n"
        "  - ping [2025-06-18,2025-11-25]\n"
        "  - old [2025-06-18]\n"
        "  - tasks-lifecycle [extension]\n"
        "\nClient scenarios (test against a client):\n  - initialize [2025-11-25]\n"
    )

    assert listed(told) == {"ping": ("2025-11-25",), "tasks-lifecycle": ("2026-07-28",)}


def test_a_scenario_that_is_new_or_gone_is_told() -> None:
    decided = {*ANY_SERVER, *FIXTURES, *LEFT_OUT}

    assert undecided(decided) == []
    assert undecided({*decided, "new"} - {"ping"}) == ["new", "ping"]


def test_a_scenario_without_a_single_check_is_told() -> None:
    scenarios = dict.fromkeys((*ANY_SERVER, *FIXTURES), ("2026-07-28",))
    checks = [
        PASSING._replace(server=server, scenario=name)
        for server, names in JUDGED.items()
        for name in names
        if name != "ping"
    ]

    assert missing(scenarios, checks) == ["luma-ray-mcp 2026-07-28 ping"]


def test_what_is_left_out_is_judged_nowhere_and_every_known_failure_is_judged() -> None:
    assert not {*LEFT_OUT} & {*ANY_SERVER, *FIXTURES}
    for known in KNOWN:
        assert known.scenario in (ANY_SERVER if known.server == "luma-ray-mcp" else FIXTURES)
        assert known.why
