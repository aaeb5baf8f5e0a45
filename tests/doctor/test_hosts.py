"""The hosts' entries: each failure made on purpose, and ended by its mend."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.conftest import TOKEN
from tests.doctor.conftest import BIN, Machine

from luma_mcp.doctor.checks import CHECKS, examine
from luma_mcp.doctor.hosts import bare_path, found
from luma_mcp.install.paths import find, named, this_system

if TYPE_CHECKING:
    from pathlib import Path

    from luma_mcp.doctor.check_result import Finding

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are typed into a POSIX shell")
HOSTS = [check for check in CHECKS if check.name == "hosts"]
OURS = {"command": sys.executable, "args": ["-m", "luma_mcp"]}
ANOTHER = "from mcp.server.mcpserver import MCPServer; MCPServer('another').run('stdio')"
ECHOING = "import json, os; open({file!r}, 'w').write(json.dumps(dict(os.environ))); import sys; sys.exit('seen')"
NOISY = f"import sys; sys.exit('no module named fox; the token is {TOKEN}')"


def write(machine: Machine, text: str) -> Path:
    """Cursor's configuration file."""
    path = machine.home / ".cursor" / "mcp.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def configure(machine: Machine, env: dict[str, str] | None = None, **entry: Any) -> Path:
    """Our entry in it, with the token and the API of the environment, and beside it somebody else's."""
    ours = {**OURS, "env": known() if env is None else env, **entry}
    return write(machine, json.dumps({"mcpServers": {"luma": ours, "other": {"command": "other"}}}))


def look(machine: Machine, **changes: Any) -> Finding:
    [finding] = look_at_all(machine, **changes)
    return finding


def look_at_all(machine: Machine, **changes: Any) -> list[Finding]:
    return anyio.run(examine, machine.around(**changes), HOSTS)


def known() -> dict[str, str]:
    return {name: os.environ[name] for name in ("USEAPI_TOKEN", "LUMA_MCP_BASE_URL")}


def test_an_entry_that_starts_passes_and_nothing_else_is_started(machine: Machine) -> None:
    configure(machine)
    finding = look(machine)
    assert finding.status == "passed", finding
    assert "starts: luma-ray-mcp " in finding.detail
    assert TOKEN not in finding.detail


def test_a_host_without_our_entry_is_a_note_with_the_command_that_makes_one(machine: Machine) -> None:
    write(machine, '{"mcpServers": {"other": {"command": "other"}}}')
    finding = look(machine)
    assert (finding.status, finding.mend) == ("note", "luma-ray-mcp install cursor")
    machine.type(finding.mend, "y")
    assert look(machine).status == "passed"


def test_a_server_of_our_name_that_is_another_s_is_not_started(machine: Machine) -> None:
    trace = machine.home / "started"
    configure(machine, command="touch", args=[str(trace)])
    assert look(machine).status == "note"
    assert not trace.exists()


@pytest.mark.parametrize(
    "arguments",
    [("luma-mcp", ()), ("uvx", ("luma-mcp",)), ("uvx", ("luma-ray-mcp",)), ("pipx", ("run", "luma-mcp"))],
    ids=lambda arguments: " ".join([arguments[0], *arguments[1]]),
)
def test_a_package_of_the_index_is_not_started_and_the_token_is_to_be_replaced(
    machine: Machine, arguments: tuple[str, tuple[str, ...]]
) -> None:
    name, args = arguments
    trace = machine.home / "started"
    command = machine.home / "bin" / name
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\ntouch {trace}\n")
    command.chmod(0o755)
    configure(machine, {**known(), "PATH": str(command.parent)}, command=name, args=list(args))
    finding = look(machine)
    assert finding.status == "failed"
    assert "an unrelated project" in finding.detail
    assert "replace your API token" in str(finding.mend)
    assert not trace.exists()


def test_where_there_is_no_host_that_is_a_note(machine: Machine) -> None:
    assert look(machine).status == "note"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"command": str(BIN / "gone" / "luma-ray-mcp"), "args": []}, "cannot be found"),
        ({"command": "luma-ray-mcp", "args": []}, "hosts see no shell's PATH"),
        ({"command": "./luma-ray-mcp", "args": []}, "hosts see no shell's PATH"),
        ({"args": ["-c", NOISY, "-m", "luma_mcp"]}, 'no module named fox; the token is ***"'),
        ({"args": ["-c", "print('hello')", "-m", "luma_mcp"]}, "does not become a server"),
        ({"args": ["-c", ANOTHER, "-m", "luma_mcp"]}, "is another server (another)"),
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
    assert (finding.status, finding.mend) == ("failed", "luma-ray-mcp install cursor"), finding
    assert words in finding.detail
    assert [secret for secret in (TOKEN, "last-year") if secret in finding.detail] == []
    machine.type(finding.mend, "y")
    assert look(machine).status == "passed"


def test_a_command_that_never_answers_is_ended_in_its_time(machine: Machine) -> None:
    configure(machine, args=["-c", "import sys; sys.stdin.read()", "-m", "luma_mcp"])
    finding = look(machine, seconds=2.0)
    assert (finding.status, finding.mend) == ("failed", "luma-ray-mcp install cursor")
    assert "did not answer within 1.2 s" in finding.detail
    machine.type(finding.mend, "y")
    assert look(machine).status == "passed"


def test_an_entry_with_a_setting_that_cannot_be_used_is_to_be_corrected(machine: Machine) -> None:
    path = configure(machine, {**known(), "LUMA_MCP_OUTPUT_DIR": "clips"})
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
    assert finding.mend.startswith("Correct the file there; luma-ray-mcp install cursor --print")
    path.write_text(whole)
    assert look(machine).status == "passed"


def test_an_entry_that_simulates_needs_no_token_and_is_installed_anew_as_a_simulation(machine: Machine) -> None:
    configure(machine, {}, command="luma-ray-mcp", args=["--simulate"])
    finding = look(machine)
    assert finding.mend == "luma-ray-mcp install cursor --simulate"
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
    machine.type("luma-ray-mcp accounts")


def test_a_host_s_programs_are_found_as_the_host_finds_them(machine: Machine) -> None:
    machine.set(PATH=BIN)
    assert found("sh", bare_path("linux", {})) is not None
    assert found("luma-ray-mcp", bare_path("linux", {})) is None
    assert found(sys.executable, bare_path("darwin", {})) == sys.executable
    assert bare_path("win32", {"SYSTEMROOT": r"D:\Windows"}) == r"D:\Windows\system32;D:\Windows"


def test_a_server_that_is_tried_out_writes_no_journal_and_sees_the_entry_s_variables_and_a_bare_path(
    machine: Machine,
) -> None:
    seen = machine.home / "seen.json"
    env = {**known(), "LUMA_MCP_JOURNAL": str(machine.home / "journal.db"), "FOX": "red"}
    machine.set(LUMA_MCP_SCHEMA="exact")
    configure(machine, env, args=["-c", ECHOING.format(file=str(seen)), "-m", "luma_mcp"])
    assert "seen" in look(machine).detail
    told = json.loads(seen.read_text())
    assert told["LUMA_MCP_JOURNAL"] == "off"
    assert (told["FOX"], told["USEAPI_TOKEN"], told["PATH"]) == ("red", TOKEN, bare_path(this_system(), os.environ))
    assert "LUMA_MCP_SCHEMA" not in told


@pytest.mark.parametrize(
    ("variable", "bad", "good", "words"),
    [
        ("LUMA_MCP_OUTPUT_DIR", "file/clips", "clips", "is no folder"),
        ("LUMA_MCP_INPUT_DIRS", "file", "", "is no folder"),
        ("LUMA_MCP_JOURNAL", "file/journal.db", "journal.db", "cannot be"),
    ],
)
def test_a_setting_of_an_entry_that_this_terminal_does_not_have_is_looked_at_and_mended_in_the_entry(
    machine: Machine, *, variable: str, bad: str, good: str, words: str
) -> None:
    (machine.home / "file").touch()
    configure(machine, {**known(), variable: str(machine.home / bad)})
    diagnosis = machine.diagnose()
    failure = diagnosis.failure("Cursor")
    assert f"of its entry ({variable}): {machine.home / 'file'}" in failure.detail
    assert words in failure.detail
    assert variable in failure.mend
    assert failure.mend.endswith(", and put that into the entry: luma-ray-mcp install cursor")
    machine.set(**{variable: machine.home / good})
    machine.type("luma-ray-mcp install cursor --yes")
    assert machine.diagnose().failures == []


def test_a_folder_of_an_entry_that_is_missing_is_made_by_the_command_that_is_named(machine: Machine) -> None:
    missing = machine.home / "my pictures"
    configure(machine, {**known(), "LUMA_MCP_INPUT_DIRS": str(missing)})
    failure = machine.diagnose().failure("Cursor")
    assert f"(LUMA_MCP_INPUT_DIRS): {missing} does not exist" in failure.detail
    machine.type(failure.mend)
    assert look(machine).status == "passed"


def test_what_an_entry_has_in_common_with_the_terminal_is_told_once(machine: Machine) -> None:
    (machine.home / "file").touch()
    machine.set(LUMA_MCP_OUTPUT_DIR=machine.home / "file")
    configure(machine, {**known(), "LUMA_MCP_OUTPUT_DIR": str(machine.home / "file")})
    assert machine.diagnose().failure("output folder")


def test_an_entry_that_simulates_has_no_journal_that_could_fail(machine: Machine) -> None:
    (machine.home / "file").touch()
    env = {**known(), "LUMA_MCP_JOURNAL": str(machine.home / "file" / "journal.db")}
    configure(machine, env, args=[*OURS["args"], "--simulate"])
    assert look(machine).status == "passed"


@pytest.mark.parametrize(("confirm", "notes"), [("always", 1), ("expensive", 1), ("never", 0)])
def test_a_question_that_a_host_cannot_show_is_a_note(machine: Machine, confirm: str, notes: int) -> None:
    env = {**known(), "LUMA_MCP_CONFIRM": confirm}
    desktop = find(named("claude-desktop")[0], this_system(), os.environ, machine.home)
    assert desktop
    desktop.parent.mkdir(parents=True)
    desktop.write_text(json.dumps({"mcpServers": {"luma": {**OURS, "env": env}}}))
    desktop.chmod(0o600)
    # One that can.
    configure(machine, env)
    diagnosis = machine.diagnose()
    told = [finding for finding in diagnosis.findings if "LUMA_MCP_CONFIRM" in finding.detail]
    assert [(finding.name, finding.status) for finding in told] == [("Claude Desktop", "note")] * notes
    assert diagnosis.failures == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_token_that_others_may_read_is_a_note_ended_by_the_command_that_is_named(machine: Machine, mode: int) -> None:
    path = configure(machine)
    path.chmod(mode)
    [started, told] = look_at_all(machine)
    assert (started.status, told.status, told.mend) == ("passed", "note", f"chmod 600 {path}")
    assert TOKEN not in told.detail
    machine.type(told.mend)
    assert look(machine).status == "passed"


def test_a_file_without_a_token_may_be_read_by_others(machine: Machine) -> None:
    configure(machine, {}, args=[*OURS["args"], "--simulate"]).chmod(0o644)
    assert look(machine).status == "passed"
