"""`luma-ray-mcp doctor` as it is typed: its screen, its JSON, its exit code. What it finds: tests/diagnosis."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.conftest import EMAIL, TOKEN

from luma_mcp.simulator.app import Fault
from luma_mcp.simulator.serve import new_simulator, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from luma_mcp.simulator.app import Simulator

    Run = Callable[..., subprocess.CompletedProcess[str]]

PATIENT = 120
"""Seconds that a command may take on a busy machine before it counts as hanging."""


@pytest.fixture
def simulator() -> Simulator:
    simulator = new_simulator()
    simulator.token = TOKEN
    return simulator


@pytest.fixture
def run(simulator: Simulator, tmp_path: Path) -> Iterator[Run]:
    with running(simulator) as url:
        environment = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
        environment |= {"LUMA_MCP_BASE_URL": url, "USEAPI_TOKEN": TOKEN}

        def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
            done = subprocess.run(
                [sys.executable, "-m", "luma_mcp", "doctor", "--seconds", "60", *arguments],
                env=environment | settings,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                check=False,
                timeout=PATIENT,
            )
            assert TOKEN not in done.stdout + done.stderr
            assert done.stderr == ""
            return done

        yield run


def test_a_machine_on_which_all_is_well_gets_a_screen_of_passes_and_exit_0(run: Run) -> None:
    done = run()
    assert done.returncode == 0
    marks = [line[0] for line in done.stdout.splitlines() if line[:1] in "✓✗–" and line]
    assert marks.count("✓") >= 10
    assert "✗" not in marks
    assert len(done.stdout.splitlines()) <= 24
    assert done.stdout.splitlines()[-1] == "All is well."


def test_each_failure_is_marked_and_followed_by_its_mend_and_the_exit_is_1(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    done = run(LUMA_MCP_MAX_WAIT_SECONDS="soon")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    after = [following.strip() for line, following in pairwise(lines) if line.startswith("✗")]
    assert after == [
        "→ Set LUMA_MCP_MAX_WAIT_SECONDS as this line says, or unset it.",
        f"→ luma-ray-mcp accounts refresh {EMAIL}",
    ]
    assert lines[-1].startswith("2 failures.")


def test_what_the_api_says_is_shown_and_not_obeyed_by_the_terminal(run: Run, simulator: Simulator) -> None:
    evil = "\x1b]0;pwned\x07\x1b[2J\x9b31mfox\u202e\u2066"
    row = {"email": f"{evil}@example.com", "concurrency": 4, "error": f"{evil}\n\u2713 all is well"}
    simulator.faults.append(Fault("GET", "/accounts", 200, json.dumps({row["email"]: row}).encode(), times=9))
    done = run()
    assert done.returncode == 1
    assert "fox@example.com" in done.stdout
    assert [sign for sign in "\x1b\x07\x9b\u202e\u2066" if sign in done.stdout] == []
    assert "\n\u2713 all is well" not in done.stdout
    assert "\\u001b" not in run("--json").stdout


def test_agents_get_json_with_the_same_findings(run: Run, simulator: Simulator) -> None:
    well = json.loads(run("--json").stdout)
    assert well["ok"] is True
    simulator.service.accounts.clear()
    done = run("--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    [failure] = [check for check in told["checks"] if check["status"] == "failed"]
    assert (failure["name"], failure["mend"]) == ("accounts", "luma-ray-mcp accounts add")
    assert {tuple(check) for check in told["checks"]} == {("name", "status", "detail", "mend")}


def test_a_simulation_is_checked_without_a_token(run: Run) -> None:
    done = run("--simulate", USEAPI_TOKEN="", LUMA_MCP_BASE_URL="")
    assert done.returncode == 0, done.stdout
    assert "of the simulation is accepted" in done.stdout


def test_a_terminal_that_knows_no_check_marks_gets_plain_ones(run: Run) -> None:
    done = run(PYTHONIOENCODING="ascii", USEAPI_TOKEN="")
    assert done.returncode == 1
    assert done.stdout.startswith("ok python")
    assert "!! token" in done.stdout
    assert "-> Set USEAPI_TOKEN" in done.stdout
