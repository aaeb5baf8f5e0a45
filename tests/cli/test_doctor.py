"""`luma-ray-mcp doctor`: its output, its JSON and its exit code. The checks are tested in tests/doctor."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.cli.commands import interrupt_at_request, run_process
from tests.conftest import EMAIL

from luma_mcp.install.command import invocation
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from tests.cli.commands import Run

    from luma_mcp.simulator.app import Simulator

DOCTOR = ("doctor", "--seconds", "60")
BROKEN = {"LUMA_MCP_LOG_LEVEL": "loud"}
"""An invalid setting, with which the two servers that the command starts exit at once. That saves time."""


@pytest.mark.usefixtures("api_and_token")
def test_working_setup_fits_on_one_screen(run: Run) -> None:
    done = run(*DOCTOR)
    assert (done.returncode, done.stderr) == (0, "")
    marks = [line[0] for line in done.stdout.splitlines() if line[:1] in "✓✗–" and line]
    assert marks.count("✓") >= 10
    assert "✗" not in marks
    assert len(done.stdout.splitlines()) <= 24
    assert done.stdout.splitlines()[-1] == "All checks passed."


@pytest.mark.usefixtures("api_and_token")
def test_each_problem_is_followed_by_its_fix(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    done = run(*DOCTOR, **BROKEN)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    after = [following.strip() for line, following in pairwise(lines) if line.startswith("✗")]
    assert after == [
        "→ Set LUMA_MCP_LOG_LEVEL as this line says, or unset it.",
        f"→ {invocation()} accounts refresh {EMAIL}",
        "→ Set LUMA_MCP_LOG_LEVEL as the lines above say, or unset them.",
    ]
    assert lines[-1] == f"3 problems found. Each fix follows the arrow; then rerun {invocation()} doctor."


@pytest.mark.usefixtures("api_and_token")
def test_control_characters_of_the_api_are_not_printed(run: Run, simulator: Simulator) -> None:
    evil = "\x1b]0;pwned\x07\x1b[2J\x9b31mfox\u202e\u2066"
    row = {"email": f"{evil}@example.com", "concurrency": 4, "error": f"{evil}\n\u2713 all is well"}
    simulator.faults.append(Fault("GET", "/accounts", 200, json.dumps({row["email"]: row}).encode(), times=9))
    done = run(*DOCTOR, **BROKEN)
    assert done.returncode == 1
    assert "fox@example.com" in done.stdout
    assert [sign for sign in "\x1b\x07\x9b\u202e\u2066" if sign in done.stdout] == []
    assert "\n\u2713 all is well" not in done.stdout
    assert "\\u001b" not in run(*DOCTOR, "--json", **BROKEN).stdout


@pytest.mark.usefixtures("api_and_token")
def test_json_has_the_same_results(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts.clear()
    done = run(*DOCTOR, "--json", **BROKEN)
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr, report["ok"]) == (1, "", False)
    failures = {check["name"]: check["fix"] for check in report["checks"] if check["status"] == "failed"}
    assert failures.keys() == {"settings", "accounts", "server"}
    assert failures["accounts"] == f"{invocation()} accounts add"
    assert {tuple(check) for check in report["checks"]} == {("name", "status", "detail", "fix")}


def test_a_simulation_is_checked_without_a_token(run: Run) -> None:
    done = run(*DOCTOR, "--simulate", "--json", LUMA_MCP_BASE_URL="")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True), done.stdout
    assert "the token of the simulation is accepted" in done.stdout


@pytest.mark.usefixtures("api")
def test_a_terminal_without_check_marks_gets_ascii(environment: dict[str, str]) -> None:
    done = run_process(*DOCTOR, environment=environment | BROKEN | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("ok python")
    assert "!! token" in done.stdout
    assert "-> Set USEAPI_TOKEN" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_it_with_130_and_no_traceback(environment: dict[str, str]) -> None:
    done = interrupt_at_request(*DOCTOR, environment=environment)
    assert (done.returncode, done.stdout) == (130, "")
