"""Compare the checks of the suite with the known failures. Only those may fail, and all of them must."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.conformance.expected import KnownFailure, Server

FAILING = frozenset({"FAILURE", "WARNING"})
"""Warnings count as failures, because a violated SHOULD needs a reason as well."""
MIN_TASKS_SHARE = 0.9
"""The share of the `tasks-*` checks that must pass."""


class Check(NamedTuple):
    """One check of the suite. `status`: SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""

    server: Server
    version: str
    scenario: str
    check: str
    status: str
    message: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The fields that identify the check."""
        return self[:4]


class Verdict(NamedTuple):
    """The result of the comparison.

    Attributes:
        unexpected: checks that fail but are not known to fail.
        known: checks that are known to fail.
        stale: known failures that pass or are no longer checked.
    """

    unexpected: list[Check]
    known: list[Check]
    stale: list[KnownFailure]


def compare(checks: Iterable[Check], expected: Sequence[KnownFailure]) -> Verdict:
    """Compare the checks with those that are known to fail."""
    failing = [check for check in checks if check.status in FAILING]
    keys = {entry[:4] for entry in expected}
    met = {check.key for check in failing}
    return Verdict(
        unexpected=[check for check in failing if check.key not in keys],
        known=[check for check in failing if check.key in keys],
        stale=[entry for entry in expected if entry[:4] not in met],
    )


def tasks_share(checks: Iterable[Check]) -> float:
    """Compute the share of the `tasks-*` checks that passed; 0 if there were none."""
    statuses = Counter(check.status for check in checks if check.scenario.startswith("tasks-"))
    counted = statuses["SUCCESS"] + sum(statuses[status] for status in FAILING)
    return statuses["SUCCESS"] / counted if counted else 0.0


def format_table(checks: Sequence[Check]) -> str:
    """Format a line per scenario, version and server with the numbers of passed, failed and skipped checks."""
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for check in checks:
        counts.setdefault((check.scenario, check.server, check.version), Counter())[check.status] += 1
    lines = [f"{'scenario':46}{'server':14}{'version':12}{'passed':>7}{'failed':>7}{'skipped':>8}"]
    for (scenario, server, version), count in counts.items():
        failed, skipped = sum(count[status] for status in FAILING), count["SKIPPED"]
        lines.append(f"{scenario:46}{server:14}{version:12}{count['SUCCESS']:7}{failed:7}{skipped:8}")
    return "\n".join(lines)
