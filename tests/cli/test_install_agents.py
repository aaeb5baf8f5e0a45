"""`luma-ray-mcp install` with the credential of either API: what it writes, checks and never shows."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.commands import LUMA_MCP
from tests.conftest import TOKEN

from luma_mcp.simulator.app import Simulator, new_simulator, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.commands import Run

KEY = "luma-api-4711-very-secret-key"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="paths of Linux")


@pytest.fixture
def simulator() -> Simulator:
    simulator = new_simulator(api="agents", speed=1000)
    simulator.token = KEY
    return simulator


@pytest.fixture
def api(simulator: Simulator, environment: dict[str, str]) -> Iterator[str]:
    with running(simulator) as url:
        environment["LUMA_MCP_BASE_URL"] = url
        yield url


@pytest.fixture
def cursor(home: Path) -> Path:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    return path


def write(path: Path, **env: str) -> None:
    """Write our entry with these variables, in a private file."""
    path.write_text(json.dumps({"mcpServers": {"luma": {"command": "luma-ray-mcp", "env": env}}}), encoding="utf-8")
    path.chmod(0o600)


def read_variables(path: Path) -> dict[str, Any]:
    """Read the variables of our entry."""
    env = json.loads(path.read_text(encoding="utf-8"))["mcpServers"]["luma"]["env"]
    assert isinstance(env, dict)
    return env


def test_a_key_is_checked_and_only_what_is_needed_is_written(
    run: Run, cursor: Path, api: str, simulator: Simulator
) -> None:
    done = run("install", "cursor", "--yes", LUMA_AGENTS_API_KEY=KEY)
    assert (done.returncode, "The key works." in done.stdout) == (0, True), done.stderr
    assert read_variables(cursor) == {"LUMA_AGENTS_API_KEY": KEY, "LUMA_MCP_BASE_URL": api}
    assert '"LUMA_AGENTS_API_KEY": "luma-api-…"' in done.stdout
    assert simulator.requests == {"GET /files": 1}
    again = run("install", "cursor", "--yes")
    assert "the key in the entry is used" in again.stdout
    assert "There is nothing to change." in again.stdout
    cursor.chmod(0o644)
    assert "can read this file and the key in it" in run("install", "cursor", "--yes").stdout
    gone = run("uninstall", "cursor", "--yes")
    for printed in (done, again, gone):
        assert KEY not in printed.stdout + printed.stderr


def test_a_key_that_is_not_accepted_changes_nothing(run: Run, cursor: Path, api: str) -> None:
    done = run("install", "cursor", "--yes", LUMA_AGENTS_API_KEY="luma-api-wrong", LUMA_MCP_BASE_URL=api)
    assert (done.returncode, cursor.exists()) == (1, False)
    assert "no token or key that an API accepts" in done.stderr
    assert "wrong" not in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_what_is_typed_tells_which_api_it_is_for(
    home: Path, environment: dict[str, str], cursor: Path, api: str
) -> None:
    from tests.install.terminal import Terminal

    with Terminal([*LUMA_MCP, "install", "cursor"], environment=environment, cwd=home) as terminal:
        question = terminal.read("it is not shown")
        for text in ("API token from useapi.net (user:…)", "API key from platform.lumalabs.ai (luma-api-…)"):
            assert text in question
        terminal.type(KEY)
        terminal.read("Write it?")
        terminal.type("y")
        assert terminal.wait() == 0
        assert KEY not in terminal.screen
    assert read_variables(cursor) == {"LUMA_AGENTS_API_KEY": KEY, "LUMA_MCP_BASE_URL": api}


def test_no_credential_names_both_ways(run: Run, cursor: Path) -> None:
    done = run("install", "cursor", "--yes")
    assert (done.returncode, cursor.exists()) == (1, False)
    for text in ("USEAPI_TOKEN", "https://useapi.net", "LUMA_AGENTS_API_KEY", "https://platform.lumalabs.ai"):
        assert text in done.stderr
    stated = run("install", "cursor", "--yes", LUMA_MCP_API="agents", USEAPI_TOKEN=TOKEN).stderr
    assert "Set LUMA_AGENTS_API_KEY to your API key" in stated
    assert "USEAPI_TOKEN is set, but LUMA_MCP_API selects Luma's Agents API." in stated


def test_two_credentials_write_the_one_in_use(run: Run, cursor: Path, environment: dict[str, str]) -> None:
    del environment["LUMA_MCP_BASE_URL"]
    both = {"USEAPI_TOKEN": TOKEN, "LUMA_AGENTS_API_KEY": KEY}
    done = run("install", "cursor", "--yes", "--no-check", **both)
    assert read_variables(cursor) == {"USEAPI_TOKEN": TOKEN}
    assert "USEAPI_TOKEN and LUMA_AGENTS_API_KEY are both set: the entry is for useapi.net." in done.stderr
    cursor.unlink()
    done = run("install", "cursor", "--yes", "--no-check", **both, LUMA_MCP_API="agents")
    assert read_variables(cursor) == {"LUMA_AGENTS_API_KEY": KEY, "LUMA_MCP_API": "agents"}
    assert "are both set" not in done.stderr


def test_a_switch_gives_no_credential_to_the_other_api(run: Run, cursor: Path, environment: dict[str, str]) -> None:
    """The entry keeps its credentials, but uses the API of the new one, at that API's address."""
    del environment["LUMA_MCP_BASE_URL"]
    write(cursor, USEAPI_TOKEN=TOKEN, LUMA_MCP_BASE_URL="https://proxy.example.com/luma", LUMA_MCP_CONFIRM="always")
    done = run("install", "cursor", "--yes", "--no-check", LUMA_AGENTS_API_KEY=KEY)
    assert read_variables(cursor) == {
        "USEAPI_TOKEN": TOKEN,
        "LUMA_MCP_CONFIRM": "always",
        "LUMA_AGENTS_API_KEY": KEY,
        "LUMA_MCP_API": "agents",
        "LUMA_MCP_BASE_URL": "https://agents.lumalabs.ai/v1",
    }
    assert "It uses Luma's Agents API; before, it used useapi.net." in done.stdout
    assert "USEAPI_TOKEN stays in it, unused: remove it by hand if you do not need it there." in done.stdout
    # The same in the other direction.
    run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN)
    env = read_variables(cursor)
    assert (env["LUMA_MCP_API"], env["LUMA_MCP_BASE_URL"]) == ("useapi", "https://api.useapi.net/v1/luma")


def test_a_placeholder_is_that_of_the_api_in_use(run: Run) -> None:
    shown = run("install", "cursor", "--print", LUMA_AGENTS_API_KEY=KEY).stdout
    assert '"LUMA_AGENTS_API_KEY": "luma-api-your-key-from-platform.lumalabs.ai"' in shown
    assert "USEAPI_TOKEN" not in shown
    assert '"USEAPI_TOKEN": "user:your-token-from-useapi.net"' in run("install", "cursor", "--print").stdout


def test_a_simulated_entry_is_of_the_api_in_use(run: Run, cursor: Path) -> None:
    run("install", "cursor", "--simulate", "--yes", LUMA_AGENTS_API_KEY=KEY)
    assert read_variables(cursor) == {"LUMA_MCP_API": "agents"}


def test_backups_with_either_credential_are_named(run: Run, cursor: Path) -> None:
    write(cursor, USEAPI_TOKEN=TOKEN, LUMA_AGENTS_API_KEY=KEY)
    done = run("uninstall", "cursor", "--yes")
    assert [text for text in ("contains your token", "contains your key") if text not in done.stdout] == []
    assert [secret for secret in (TOKEN, KEY) if secret in done.stdout + done.stderr] == []
