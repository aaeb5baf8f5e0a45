"""What the suite found, held against what is known to fail: more than that must not, and nothing less."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.conformance.expected import Known, Server

FAILING = frozenset({"FAILURE", "WARNING"})
"""A SHOULD that is not met only warns; it needs a reason all the same."""
TASKS_MARK = 0.9
"""The share of the checks of `tasks-*` that must pass."""


class Check(NamedTuple):
    """One check, as the suite has judged it: SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""

    server: Server
    version: str
    scenario: str
    check: str
    status: str
    message: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What it is known by."""
        return self[:4]


class Verdict(NamedTuple):
    """The whole.

    Attributes:
        unexpected: checks that fail, and are not known to.
        known: checks that fail as they are known to.
        stale: what is known to fail, and does not, or is not checked any more.
    """

    unexpected: list[Check]
    known: list[Check]
    stale: list[Known]


def judge(checks: Iterable[Check], expected: Sequence[Known]) -> Verdict:
    """Holds the one against the other."""
    failing = [check for check in checks if check.status in FAILING]
    keys = {entry[:4] for entry in expected}
    met = {check.key for check in failing}
    return Verdict(
        unexpected=[check for check in failing if check.key not in keys],
        known=[check for check in failing if check.key in keys],
        stale=[entry for entry in expected if entry[:4] not in met],
    )


def tasks_share(checks: Iterable[Check]) -> float:
    """The share of the checks of `tasks-*` that pass, of those that were judged; 0 if none was."""
    statuses = Counter(check.status for check in checks if check.scenario.startswith("tasks-"))
    judged = statuses["SUCCESS"] + sum(statuses[status] for status in FAILING)
    return statuses["SUCCESS"] / judged if judged else 0.0


def table(checks: Sequence[Check]) -> str:
    """A line for each scenario at each version on each server: checks that passed, failed or warned, were skipped."""
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for check in checks:
        counts.setdefault((check.scenario, check.server, check.version), Counter())[check.status] += 1
    lines = [f"{'scenario':46}{'server':10}{'version':12}{'passed':>7}{'failed':>7}{'skipped':>8}"]
    for (scenario, server, version), count in counts.items():
        failed, skipped = sum(count[status] for status in FAILING), count["SKIPPED"]
        lines.append(f"{scenario:46}{server:10}{version:12}{count['SUCCESS']:7}{failed:7}{skipped:8}")
    return "\n".join(lines)
