"""`luma-ray-mcp doctor` as it is typed: its screen, its JSON, its exit code. tests/doctor is about its checks."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.conftest import EMAIL, TOKEN

from luma_mcp.install.command import invocation
from luma_mcp.simulator.app import Fault, new_simulator, running

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


def test_a_working_machine_passes_on_one_screen(run: Run) -> None:
    done = run()
    assert done.returncode == 0
    marks = [line[0] for line in done.stdout.splitlines() if line[:1] in "✓✗–" and line]
    assert marks.count("✓") >= 10
    assert "✗" not in marks
    assert len(done.stdout.splitlines()) <= 24
    assert done.stdout.splitlines()[-1] == "All checks passed."


def test_each_problem_is_followed_by_its_fix(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    done = run(LUMA_MCP_MAX_WAIT_SECONDS="soon")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    after = [following.strip() for line, following in pairwise(lines) if line.startswith("✗")]
    assert after == [
        "→ Set LUMA_MCP_MAX_WAIT_SECONDS as this line says, or unset it.",
        f"→ {invocation()} accounts refresh {EMAIL}",
        "→ Set LUMA_MCP_MAX_WAIT_SECONDS as the lines above say, or unset them.",
    ]
    assert lines[-1] == f"3 problems found. Each fix follows the arrow; then rerun {invocation()} doctor."


def test_control_characters_of_the_api_are_not_printed(run: Run, simulator: Simulator) -> None:
    evil = "\x1b]0;pwned\x07\x1b[2J\x9b31mfox\u202e\u2066"
    row = {"email": f"{evil}@example.com", "concurrency": 4, "error": f"{evil}\n\u2713 all is well"}
    simulator.faults.append(Fault("GET", "/accounts", 200, json.dumps({row["email"]: row}).encode(), times=9))
    done = run()
    assert done.returncode == 1
    assert "fox@example.com" in done.stdout
    assert [sign for sign in "\x1b\x07\x9b\u202e\u2066" if sign in done.stdout] == []
    assert "\n\u2713 all is well" not in done.stdout
    assert "\\u001b" not in run("--json").stdout


def test_json_has_the_same_results(run: Run, simulator: Simulator) -> None:
    assert json.loads(run("--json").stdout)["ok"] is True
    simulator.service.accounts.clear()
    done = run("--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (1, False)
    [failure] = [check for check in report["checks"] if check["status"] == "failed"]
    assert (failure["name"], failure["fix"]) == ("accounts", f"{invocation()} accounts add")
    assert {tuple(check) for check in report["checks"]} == {("name", "status", "detail", "fix")}


def test_a_simulation_is_checked_without_a_token(run: Run) -> None:
    done = run("--simulate", USEAPI_TOKEN="", LUMA_MCP_BASE_URL="")
    assert done.returncode == 0, done.stdout
    assert "the token of the simulation is accepted" in done.stdout


def test_a_terminal_without_check_marks_gets_ascii(run: Run) -> None:
    done = run(PYTHONIOENCODING="ascii", USEAPI_TOKEN="")
    assert done.returncode == 1
    assert done.stdout.startswith("ok python")
    assert "!! token" in done.stdout
    assert "-> Set USEAPI_TOKEN" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_ctrl_c_ends_it_with_130_and_no_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/luma"
        environment = {"HOME": str(tmp_path), "LUMA_MCP_BASE_URL": url, "USEAPI_TOKEN": TOKEN}
        command = [sys.executable, "-m", "luma_mcp", "doctor", "--seconds", "60"]
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            # The request has arrived, and nothing answers it.
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                printed, errors = process.communicate(timeout=PATIENT)
    assert (process.returncode, printed) == (130, "")
    assert "Traceback" not in errors
