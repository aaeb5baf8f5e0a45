"""The hosts' entries: each failure made on purpose, and ended by its mend."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.conftest import TOKEN
from tests.diagnosis.conftest import BIN, Machine

from luma_mcp.diagnosis.checks import CHECKS, examine
from luma_mcp.diagnosis.hosts import bare_path, found

if TYPE_CHECKING:
    from pathlib import Path

    from luma_mcp.diagnosis.finding import Finding

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are typed into a POSIX shell")
HOSTS = [check for check in CHECKS if check.name == "hosts"]
OURS = {"command": sys.executable, "args": ["-m", "luma_mcp"]}
ANOTHER = "from mcp.server.mcpserver import MCPServer; MCPServer('another').run('stdio')"
NOISY = f"import sys; sys.exit('no module named fox; the token is {TOKEN}')"


def write(machine: Machine, text: str) -> Path:
    """Cursor's configuration file."""
    path = machine.home / ".cursor" / "mcp.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def configure(machine: Machine, env: dict[str, str] | None = None, **entry: Any) -> Path:
    """Our entry in it, with the token and the API of the environment, and beside it somebody else's."""
    known = {name: os.environ[name] for name in ("USEAPI_TOKEN", "LUMA_MCP_BASE_URL")}
    ours = {**OURS, "env": known if env is None else env, **entry}
    return write(machine, json.dumps({"mcpServers": {"luma": ours, "other": {"command": "other"}}}))


def look(machine: Machine, **changes: Any) -> Finding:
    [finding] = anyio.run(examine, machine.around(**changes), HOSTS)
    return finding


def test_an_entry_that_starts_passes_and_nothing_else_is_started(machine: Machine) -> None:
    configure(machine)
    finding = look(machine)
    assert finding.status == "passed", finding
    assert "starts: luma-mcp " in finding.detail
    assert TOKEN not in finding.detail


def test_a_host_without_our_entry_is_a_note_with_the_command_that_makes_one(machine: Machine) -> None:
    write(machine, '{"mcpServers": {"other": {"command": "other"}}}')
    finding = look(machine)
    assert (finding.status, finding.mend) == ("note", "luma-mcp install cursor")
    machine.type(finding.mend, "y")
    assert look(machine).status == "passed"


def test_a_server_of_our_name_that_is_another_s_is_not_started(machine: Machine) -> None:
    trace = machine.home / "started"
    configure(machine, command="touch", args=[str(trace)])
    assert look(machine).status == "note"
    assert not trace.exists()


def test_where_there_is_no_host_that_is_a_note(machine: Machine) -> None:
    assert look(machine).status == "note"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"command": str(BIN / "gone" / "luma-mcp"), "args": []}, "cannot be found"),
        ({"command": "luma-mcp", "args": []}, "hosts see no shell's PATH"),
        ({"command": "./luma-mcp", "args": []}, "hosts see no shell's PATH"),
        ({"args": ["-c", NOISY, "luma-mcp"]}, 'no module named fox; the token is ***"'),
        ({"args": ["-c", "print('hello')", "luma-mcp"]}, "does not become a server"),
        ({"args": ["-c", ANOTHER, "luma-mcp"]}, "is another server (another)"),
        ({"env": {}}, "its entry has no token"),
        ({"env": {"USEAPI_TOKEN": "user:1-of-last-year"}}, "does not accept the token of its entry"),
    ],
    ids=["gone", "relative", "dotted", "crashing", "chatty", "another", "tokenless", "outdated"],
)
def test_an_entry_that_does_not_start_is_mended_by_installing_it_anew(
    machine: Machine, entry: dict[str, Any], words: str
) -> None:
    if "USEAPI_TOKEN" in entry.get("env", {}):
        entry["env"]["LUMA_MCP_BASE_URL"] = os.environ["LUMA_MCP_BASE_URL"]
    configure(machine, **entry)
    environment = {n: v for n, v in os.environ.items() if n != "USEAPI_TOKEN" or entry.get("env") != {}}
    finding = look(machine, environment=environment)
    assert (finding.status, finding.mend) == ("failed", "luma-mcp install cursor"), finding
    assert words in finding.detail
    assert [secret for secret in (TOKEN, "last-year") if secret in finding.detail] == []
    machine.type(finding.mend, "y")
    assert look(machine).status == "passed"


def test_a_command_that_never_answers_is_ended_in_its_time(machine: Machine) -> None:
    configure(machine, args=["-c", "import sys; sys.stdin.read()", "luma-mcp"])
    finding = look(machine, seconds=2.0)
    assert (finding.status, finding.mend) == ("failed", "luma-mcp install cursor")
    assert "did not answer within 1.2 s" in finding.detail
    machine.type(finding.mend, "y")
    assert look(machine).status == "passed"


def test_an_entry_with_a_setting_that_cannot_be_used_is_to_be_corrected(machine: Machine) -> None:
    known = {name: os.environ[name] for name in ("USEAPI_TOKEN", "LUMA_MCP_BASE_URL")}
    path = configure(machine, {**known, "LUMA_MCP_OUTPUT_DIR": "clips"})
    finding = look(machine)
    assert (finding.status, finding.mend) == ("failed", f"Correct them in {path}.")
    assert 'LUMA_MCP_OUTPUT_DIR must be a whole path, not "clips"' in finding.detail
    path.write_text(path.read_text().replace('"clips"', json.dumps(str(machine.home / "clips"))))
    assert look(machine).status == "passed"


def test_a_file_that_cannot_be_read_is_told_with_its_place(machine: Machine) -> None:
    path = configure(machine)
    whole = path.read_text()
    path.write_text(whole[:-2])
    finding = look(machine)
    assert finding.status == "failed"
    assert f"{path}, line 1, column " in finding.detail
    assert finding.mend.startswith("Correct the file there; luma-mcp install cursor --print")
    path.write_text(whole)
    assert look(machine).status == "passed"


def test_an_entry_that_simulates_needs_no_token_and_is_installed_anew_as_a_simulation(machine: Machine) -> None:
    configure(machine, {}, command="luma-mcp", args=["--simulate"])
    finding = look(machine)
    assert finding.mend == "luma-mcp install cursor --simulate"
    machine.type(finding.mend, "y")
    assert look(machine, environment={}).status == "passed"


@pytest.mark.parametrize("env", [{}, {"USEAPI_TOKEN": "${input:luma-token}"}])
def test_a_token_that_the_host_may_have_is_no_failure(machine: Machine, env: dict[str, str]) -> None:
    configure(machine, env)
    assert look(machine).status == "note"


def test_the_token_of_an_entry_serves_where_the_terminal_has_none(machine: Machine) -> None:
    configure(machine)
    machine.unset("USEAPI_TOKEN")
    machine.unset("LUMA_MCP_BASE_URL")
    diagnosis = machine.diagnose()
    assert diagnosis.failures == []
    assert diagnosis.one("token").detail == "the one of Cursor's entry is accepted (not shown)"
    machine.type("luma-mcp accounts")


def test_a_host_s_programs_are_found_as_the_host_finds_them(machine: Machine) -> None:
    machine.set(PATH=BIN)
    assert found("sh", bare_path("linux", {})) is not None
    assert found("luma-mcp", bare_path("linux", {})) is None
    assert found(sys.executable, bare_path("darwin", {})) == sys.executable
    assert bare_path("win32", {"SYSTEMROOT": r"D:\Windows"}) == r"D:\Windows\system32;D:\Windows"
