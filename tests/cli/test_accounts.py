"""`luma-ray-mcp accounts`, as the owner of the accounts types it, against the simulated API over real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.conftest import EMAIL, TOKEN

from luma_mcp.simulator.app import Fault, Simulator, new_simulator, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]

LUMA_MCP = [sys.executable, "-m", "luma_mcp"]
COOKIE = "s3cr3t-cookie-value-0123"
OTHER = "other@example.com"
EVIL = "\x1b]0;pwned\x07\x1b[2J\x9b31mfox\u202e\u2066@example.com"
OBEYED = "\x1b\x07\x9b\u202e\u2066"
PATIENT = 120
"""Seconds that a command may take on a busy machine before it counts as hanging."""


@pytest.fixture
def simulator() -> Simulator:
    simulator = new_simulator()
    simulator.token = TOKEN
    simulator.service.sessions[COOKIE] = EMAIL
    return simulator


@pytest.fixture
def environment(simulator: Simulator, tmp_path: Path) -> Iterator[dict[str, str]]:
    with running(simulator) as url:
        home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
        yield {**home, "LUMA_MCP_BASE_URL": url, "USEAPI_TOKEN": TOKEN}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Types a command; `typed` is what is piped in."""

    def run(*arguments: str, typed: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*LUMA_MCP, "accounts", *arguments],
            env=environment | settings,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENT,
        )
        assert [secret for secret in (COOKIE, TOKEN) if secret in done.stdout + done.stderr] == []
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_accounts_are_told_with_slots_session_credits_and_what_is_wrong(
    run: Run, simulator: Simulator, arguments: tuple[str, ...]
) -> None:
    simulator.service.add_account(OTHER, 1).session_valid = False
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    heading, first, second = done.stdout.splitlines()
    assert heading.split() == ["account", "slots", "in", "use", "session", "credits", "error"]
    assert [word for word in (EMAIL, "0 of 4", "until 20", "1200 of 10000") if word not in first] == []
    assert [word for word in (OTHER, "0 of 1", "expired") if word not in second] == []
    assert f"luma-ray-mcp accounts refresh {OTHER}" in done.stderr


@pytest.mark.parametrize("command", [("list",), ("remove", "x"), ("remove", EVIL), ("remove", f"x{EVIL}")])
def test_what_the_api_says_is_shown_and_not_obeyed_by_the_terminal(
    run: Run, simulator: Simulator, command: tuple[str, ...]
) -> None:
    """Neither its words, nor an address in a command that somebody will paste."""
    simulator.service.accounts.clear()
    simulator.service.add_account(EVIL)
    rows = {EVIL: {"email": EVIL, "concurrency": 4, "error": EVIL}}
    simulator.faults.append(Fault("GET", "/accounts", 200, json.dumps(rows).encode(), times=9))
    done = run(*command, typed="n\n")
    told = done.stdout + done.stderr
    assert told.count("fox") >= 1
    assert [sign for sign in OBEYED if sign in told] == []


def test_where_no_account_is_configured_the_command_that_adds_one_is_named(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts.clear()
    done = run()
    assert (done.returncode, "luma-ray-mcp accounts add" in done.stdout) == (0, True)


def test_a_piped_session_adds_its_account_and_tells_which_that_is(run: Run, simulator: Simulator) -> None:
    simulator.service.sessions["another-cookie"] = OTHER
    done = run("add", typed="another-cookie\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{OTHER} was added; 4 slots; session until ")
    assert "1200 of 10000 credits used" in done.stdout
    assert OTHER in simulator.service.accounts


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_in_a_terminal_the_session_is_asked_for_and_not_shown(environment: dict[str, str]) -> None:
    import pty

    ours, theirs = pty.openpty()
    shown = b""
    command = [*LUMA_MCP, "accounts", "refresh", EMAIL]
    with subprocess.Popen(
        command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as asking:
        os.close(theirs)
        while b"not shown" not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, f"{COOKIE}\n".encode())
        try:
            while chunk := os.read(ours, 1000):
                shown += chunk
        except OSError:
            # So a terminal ends that nobody holds any more.
            pass
        assert asking.wait(PATIENT) == 0
    os.close(ours)
    told = shown.decode()
    assert f"{EMAIL} was refreshed" in told
    assert "useapi.net's page on Luma accounts shows where to find it" in " ".join(told.split())
    assert COOKIE not in told


def test_a_refreshed_account_can_make_videos_again(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    assert run("refresh", EMAIL, typed=COOKIE).stdout.startswith(f"{EMAIL} was refreshed")
    assert simulator.service.accounts[EMAIL].session_valid


def test_the_session_of_another_account_is_told_as_such_and_how_to_take_it_back(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    simulator.service.sessions[COOKIE] = OTHER
    done = run("refresh", EMAIL, typed=COOKIE)
    assert (done.returncode, done.stdout) == (1, "")
    for words in (f"belongs to {OTHER}", f"{EMAIL} was not changed", f"luma-ray-mcp accounts remove {OTHER}"):
        assert words in done.stderr
    assert not simulator.service.accounts[EMAIL].session_valid


@pytest.mark.parametrize("typed", ["", "\n", "two words", "Königin", f"name={'x' * 10_000}", f"{COOKIE}\nand more"])
def test_what_cannot_be_a_cookie_s_value_is_not_sent(run: Run, simulator: Simulator, typed: str) -> None:
    done = run("add", typed=typed)
    assert (done.returncode, done.stdout) == (1, "")
    assert "one word of plain characters" in done.stderr
    assert simulator.requests["POST /accounts"] == 0


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            400,
            f'{{"error": "Parameter session ({COOKIE}) is required"}}',
            ["did not accept", "Copy the cookie's whole value"],
        ),
        (401, '{"error": "Unauthorized"}', ["USEAPI_TOKEN"]),
        (402, '{"error": "Account has no subscription"}', ["no subscription", "Renew it"]),
        (
            500,
            '{"error": "Session refreshed but validation failed. Please try again."}',
            ["run this again", "may have been added"],
        ),
        (503, "", ["503", "may have been added", "luma-ray-mcp accounts"]),
        (200, "<html>", ["unreadable", "may have been added", "luma-ray-mcp accounts"]),
    ],
)
def test_a_refused_session_is_told_in_plain_words_with_the_next_step_and_sent_once(
    run: Run, simulator: Simulator, *, status: int, body: str, words: list[str]
) -> None:
    simulator.faults.append(Fault("POST", "/accounts", status, body.encode(), times=9))
    done = run("refresh", EMAIL, typed=COOKIE)
    assert (done.returncode, done.stdout) == (1, "")
    assert [word for word in words if word not in done.stderr] == []
    assert simulator.requests["POST /accounts"] == 1


def test_a_session_that_is_over_already_is_refused_as_the_api_says_it(run: Run, simulator: Simulator) -> None:
    simulator.service.sessions[COOKIE] = None
    done = run("add", typed=COOKIE)
    assert done.returncode == 1
    assert "could not check the session at Luma" in done.stderr


def test_an_account_is_removed_after_a_question_that_tells_what_follows(run: Run, simulator: Simulator) -> None:
    kept = run("remove", EMAIL, typed="n\n")
    assert kept.returncode == 1
    assert "cannot be undone" in kept.stderr
    assert "jobs can no longer be looked up" in kept.stderr
    assert EMAIL in simulator.service.accounts
    done = run("remove", EMAIL, typed="y\n")
    assert (done.returncode, done.stdout) == (0, f"{EMAIL} was removed.\n")
    assert simulator.service.accounts == {}


def test_with_yes_nobody_is_asked_and_the_account_is_found_however_it_is_written(
    run: Run, simulator: Simulator
) -> None:
    assert run("remove", EMAIL.upper(), "--yes").returncode == 0
    assert simulator.service.accounts == {}


def test_an_account_that_is_not_configured_is_not_removed_and_those_that_are_are_named(
    run: Run, simulator: Simulator
) -> None:
    done = run("remove", OTHER, "--yes")
    assert done.returncode == 1
    assert f"{OTHER} is not configured at useapi.net. Configured: {EMAIL}." in done.stderr
    assert EMAIL in simulator.service.accounts


def test_an_account_that_vanishes_before_its_removal_is_a_404_in_words(run: Run, simulator: Simulator) -> None:
    simulator.faults.append(Fault("DELETE", "/accounts", 404))
    done = run("remove", EMAIL, "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not know this account" in done.stderr


def test_without_a_token_the_variable_and_its_source_are_named(run: Run) -> None:
    done = run(USEAPI_TOKEN="")
    assert done.returncode == 1
    assert "USEAPI_TOKEN is not set. Get an API token at https://useapi.net" in done.stderr


def test_no_argument_and_no_option_takes_a_session() -> None:
    for command in ("add", "refresh"):
        done = subprocess.run(
            [*LUMA_MCP, "accounts", command, "--help"], env={}, capture_output=True, text=True, check=True
        )
        options = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  -")]
        assert options == ["-h,"]
