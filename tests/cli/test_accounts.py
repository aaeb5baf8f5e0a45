"""`luma-ray-mcp accounts` with the simulated API over real HTTP."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from tests.cli.commands import COOKIE, LUMA_MCP
from tests.conftest import EMAIL

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.commands import Run

    from luma_mcp.simulator.app import Simulator

OTHER = "other@example.com"
EVIL = "\x1b]0;pwned\x07\x1b[2J\x9b31mfox\u202e\u2066@example.com"
CONTROL = "\x1b\x07\x9b\u202e\u2066"
pytestmark = pytest.mark.usefixtures("api_and_token")


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_accounts_are_listed_with_their_errors(run: Run, simulator: Simulator, arguments: tuple[str, ...]) -> None:
    simulator.service.add_account(OTHER, 1).session_valid = False
    done = run("accounts", *arguments)
    assert done.returncode == 0, done.stderr
    heading, first, second = done.stdout.splitlines()
    assert heading.split() == ["account", "slots", "in", "use", "session", "credits", "error"]
    assert [text for text in (EMAIL, "0 of 4", "until 20", "1200 of 10000") if text not in first] == []
    assert [text for text in (OTHER, "0 of 1", "expired") if text not in second] == []
    assert f"luma-ray-mcp accounts refresh {OTHER}" in done.stderr


@pytest.mark.parametrize("command", [("list",), ("remove", "x"), ("remove", EVIL), ("remove", f"x{EVIL}")])
def test_control_characters_are_not_printed(run: Run, simulator: Simulator, command: tuple[str, ...]) -> None:
    """Neither in texts nor in the addresses of printed commands, which people paste."""
    simulator.service.accounts.clear()
    simulator.service.add_account(EVIL)
    rows = {EVIL: {"email": EVIL, "concurrency": 4, "error": EVIL}}
    simulator.faults.append(Fault("GET", "/accounts", 200, json.dumps(rows).encode(), times=9))
    done = run("accounts", *command, typed="n\n")
    shown = done.stdout + done.stderr
    assert "fox" in shown
    assert [sign for sign in CONTROL if sign in shown] == []


def test_without_accounts_the_command_that_adds_one_is_named(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts.clear()
    done = run("accounts")
    assert (done.returncode, "luma-ray-mcp accounts add" in done.stdout) == (0, True)


def test_a_piped_cookie_adds_its_account(run: Run, simulator: Simulator) -> None:
    simulator.service.sessions["another-cookie"] = OTHER
    done = run("accounts", "add", typed="another-cookie\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{OTHER} was added; 4 slots; session until ")
    assert "1200 of 10000 credits used" in done.stdout
    assert OTHER in simulator.service.accounts


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_typed_cookie_is_not_shown(home: Path, environment: dict[str, str]) -> None:
    from tests.install.terminal import Terminal

    command = [*LUMA_MCP, "accounts", "refresh", EMAIL]
    with Terminal(command, environment=environment, cwd=home) as terminal:
        terminal.read("not shown")
        terminal.type(COOKIE)
        assert terminal.wait() == 0
    assert f"{EMAIL} was refreshed" in terminal.screen
    assert "useapi.net's page on Luma accounts shows where to find it" in " ".join(terminal.screen.split())
    assert COOKIE not in terminal.screen


def test_a_refreshed_account_can_make_videos_again(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    assert run("accounts", "refresh", EMAIL, typed=COOKIE).stdout.startswith(f"{EMAIL} was refreshed")
    assert simulator.service.accounts[EMAIL].session_valid


def test_a_cookie_of_another_account_can_be_taken_back(run: Run, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    simulator.service.sessions[COOKIE] = OTHER
    done = run("accounts", "refresh", EMAIL, typed=COOKIE)
    assert (done.returncode, done.stdout) == (1, "")
    for text in (f"belongs to {OTHER}", f"{EMAIL} was not changed", f"luma-ray-mcp accounts remove {OTHER}"):
        assert text in done.stderr
    assert not simulator.service.accounts[EMAIL].session_valid


@pytest.mark.parametrize("typed", ["", "\n", "two words", "Königin", f"name={'x' * 10_000}", f"{COOKIE}\nand more"])
def test_a_value_that_is_no_cookie_is_not_sent(run: Run, simulator: Simulator, typed: str) -> None:
    done = run("accounts", "add", typed=typed)
    assert (done.returncode, done.stdout) == (1, "")
    assert "one word of plain characters" in done.stderr
    assert simulator.requests["POST /accounts"] == 0


@pytest.mark.parametrize(
    ("status", "body", "texts"),
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
def test_a_rejected_cookie_is_sent_once_and_explained(
    run: Run, simulator: Simulator, *, status: int, body: str, texts: list[str]
) -> None:
    simulator.faults.append(Fault("POST", "/accounts", status, body.encode(), times=9))
    done = run("accounts", "refresh", EMAIL, typed=COOKIE)
    assert (done.returncode, done.stdout) == (1, "")
    assert [text for text in texts if text not in done.stderr] == []
    assert simulator.requests["POST /accounts"] == 1


def test_an_expired_cookie_is_rejected(run: Run, simulator: Simulator) -> None:
    simulator.service.sessions[COOKIE] = None
    done = run("accounts", "add", typed=COOKIE)
    assert done.returncode == 1
    assert "could not check the session at Luma" in done.stderr


def test_an_account_is_removed_after_a_question(run: Run, simulator: Simulator) -> None:
    kept = run("accounts", "remove", EMAIL, typed="n\n")
    assert kept.returncode == 1
    assert "cannot be undone" in kept.stderr
    assert "jobs can no longer be looked up" in kept.stderr
    assert EMAIL in simulator.service.accounts
    done = run("accounts", "remove", EMAIL, typed="y\n")
    assert (done.returncode, done.stdout) == (0, f"{EMAIL} was removed.\n")
    assert simulator.service.accounts == {}


def test_yes_skips_the_question_and_case_is_ignored(run: Run, simulator: Simulator) -> None:
    assert run("accounts", "remove", EMAIL.upper(), "--yes").returncode == 0
    assert simulator.service.accounts == {}


def test_removing_an_unknown_account_lists_the_known_ones(run: Run, simulator: Simulator) -> None:
    done = run("accounts", "remove", OTHER, "--yes")
    assert done.returncode == 1
    assert f"{OTHER} is not configured at useapi.net. Configured: {EMAIL}." in done.stderr
    assert EMAIL in simulator.service.accounts


def test_an_account_that_is_already_gone_is_an_error(run: Run, simulator: Simulator) -> None:
    simulator.faults.append(Fault("DELETE", "/accounts", 404))
    done = run("accounts", "remove", EMAIL, "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not know this account" in done.stderr


def test_without_a_token_the_variable_is_named(run: Run) -> None:
    done = run("accounts", USEAPI_TOKEN="")
    assert done.returncode == 1
    assert "USEAPI_TOKEN is not set. Get an API token at https://useapi.net" in done.stderr


@pytest.mark.parametrize("command", ["add", "refresh"])
def test_no_option_takes_a_cookie(run: Run, command: str) -> None:
    shown = run("accounts", command, "--help").stdout
    options = [line.split()[0] for line in shown.splitlines() if line.startswith("  -")]
    assert options == ["-h,"]
