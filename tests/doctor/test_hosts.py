"""The checks of the hosts' entries: each test causes a failure and applies its fix."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.conftest import TOKEN
from tests.doctor.conftest import BIN, QUICK_SERVER, Machine, Report, as_ordinary_user

from luma_mcp import __version__
from luma_mcp.doctor.checks import host_checks, run_checks
from luma_mcp.install.command import Command, command_here, invocation
from luma_mcp.install.entry import bare_path, find_program
from luma_mcp.install.paths import find_config, match_hosts, this_system

if TYPE_CHECKING:
    from pathlib import Path

    from luma_mcp.doctor.checks import CheckResult

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands run in a POSIX shell")
INSTALL_COMMAND = f"{invocation()} install cursor"
OUR_ENTRY = {"command": sys.executable, "args": [*QUICK_SERVER, "luma-ray-mcp", "generate_video", "-m", "luma_mcp"]}
"""Our entry in most tests. It starts faster than `python -m luma_mcp`."""
DUMP_ENVIRONMENT = (
    "import json, os; open({file!r}, 'w').write(json.dumps(dict(os.environ))); import sys; sys.exit('dumped')"
)
FAIL_WITH_TOKEN = f"import sys; sys.exit('no module named fox; the token is {TOKEN}')"


def write(machine: Machine, text: str) -> Path:
    """Write Cursor's configuration file."""
    path = machine.home / ".cursor" / "mcp.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def configure(machine: Machine, env: dict[str, str] | None = None, **fields: Any) -> Path:
    """Write a configuration with our entry, which has the environment's token and API, and with another server."""
    ours = {**OUR_ENTRY, "env": get_credentials() if env is None else env, **fields}
    return write(machine, json.dumps({"mcpServers": {"luma": ours, "other": {"command": "other"}}}))


def read_entry(machine: Machine) -> dict[str, Any]:
    """Our entry in the file, without empty values."""
    servers = json.loads((machine.home / ".cursor" / "mcp.json").read_text())["mcpServers"]
    return {name: value for name, value in servers["luma"].items() if value}


def build_installed_entry() -> dict[str, Any]:
    """The entry that `install` writes. `test_installed_entry_starts` starts it; the other tests do not."""
    return {"command": command_here().program, "env": get_credentials()}


def check(machine: Machine, **changes: Any) -> CheckResult:
    [result] = check_all(machine, **changes)
    return result


def check_all(machine: Machine, **changes: Any) -> list[CheckResult]:
    environment = machine.environment(**changes)
    return anyio.run(run_checks, environment, host_checks(environment))


def get_credentials() -> dict[str, str]:
    return {name: os.environ[name] for name in ("USEAPI_TOKEN", "LUMA_MCP_BASE_URL")}


def test_installed_entry_starts(machine: Machine) -> None:
    configure(machine, **build_installed_entry(), args=[])
    result = check(machine)
    assert result.status == "passed", result
    assert f"starts: luma-ray-mcp {__version__}, 6 tools" in result.detail
    assert TOKEN not in result.detail


def test_printed_command_adds_a_missing_entry(machine: Machine) -> None:
    write(machine, '{"mcpServers": {"other": {"command": "other"}}}')
    result = check(machine)
    assert (result.status, result.fix) == ("note", INSTALL_COMMAND)
    from tests.install.terminal import Terminal

    with Terminal(["/bin/sh", "-c", result.fix], environment=os.environ.copy(), cwd=machine.home) as terminal:
        terminal.read("Write it?")
        terminal.type("y")
        assert terminal.wait() == 0
    assert read_entry(machine) == build_installed_entry()


def test_another_server_with_our_name_is_not_started(machine: Machine) -> None:
    marker = machine.home / "started"
    configure(machine, command="touch", args=[str(marker)])
    assert check(machine).status == "note"
    assert not marker.exists()


@pytest.mark.parametrize(
    "arguments",
    [("luma-mcp", ()), ("uvx", ("luma-mcp",)), ("uvx", ("luma-ray-mcp",)), ("pipx", ("run", "luma-mcp"))],
    ids=lambda arguments: " ".join([arguments[0], *arguments[1]]),
)
def test_package_from_an_index_is_not_started(machine: Machine, arguments: tuple[str, tuple[str, ...]]) -> None:
    name, args = arguments
    marker = machine.home / "started"
    command = machine.home / "bin" / name
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\ntouch {marker}\n")
    command.chmod(0o755)
    configure(machine, {**get_credentials(), "PATH": str(command.parent)}, command=name, args=list(args))
    result = check(machine)
    assert result.status == "failed"
    assert "an unrelated project" in result.detail
    assert result.fix.startswith(f"{INSTALL_COMMAND} --force, then replace your API token")
    assert not marker.exists()


def test_former_installation_is_not_started(machine: Machine) -> None:
    marker = machine.home / "started"
    command = machine.home / "luma-mcp"
    command.write_text(f"#!/bin/sh\ntouch {marker}\n")
    command.chmod(0o755)
    configure(machine, command=str(command), args=[])
    result = check(machine)
    assert (result.status, "luma-mcp, which belongs to an unrelated project" in result.detail) == ("failed", True)
    assert result.fix.startswith(f"{INSTALL_COMMAND}, then replace your API token")
    assert not marker.exists()
    machine.type(f"{INSTALL_COMMAND} --yes")
    assert read_entry(machine) == build_installed_entry()


def test_python_without_our_package_is_not_started(machine: Machine) -> None:
    """Its module of our name belongs to an unrelated project."""
    marker = machine.home / "started"
    python = machine.home / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\ntouch {marker}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    configure(machine, command=str(python))
    result = check(machine)
    assert (result.status, "luma-ray-mcp is not installed there" in result.detail) == ("failed", True)
    assert result.fix.startswith(f"{INSTALL_COMMAND}, then replace your API token")
    assert not marker.exists()
    # With our script beside it, it is one of our environments.
    (python.parent / "luma-ray-mcp").touch()
    assert check(machine).status == "passed"
    assert marker.exists()


def test_no_host_is_a_note(machine: Machine) -> None:
    command = Command(sys.executable, tuple(OUR_ENTRY["args"]))
    report = Report(anyio.run(run_checks, machine.environment(command=command)))
    assert report.get("hosts").status == "note"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"command": str(BIN / "gone" / "luma-ray-mcp"), "args": []}, "cannot be found"),
        ({"command": "luma-ray-mcp", "args": []}, "hosts do not have a shell's PATH"),
        ({"command": "./luma-ray-mcp", "args": []}, "hosts do not have a shell's PATH"),
        (
            {"args": ["-c", FAIL_WITH_TOKEN, "-m", "luma_mcp"]},
            'ends with exit code 1; it says: "no module named fox; the token is ***"',
        ),
        ({"args": ["-c", "print('hello')", "-m", "luma_mcp"]}, "ends with exit code 0"),
        ({"args": [*QUICK_SERVER, "another", "fox", "-m", "luma_mcp"]}, "is another server (another)"),
        ({"env": {}}, "its entry has no token"),
        ({"env": {"USEAPI_TOKEN": "user:1-of-last-year"}}, "the API does not accept the token of Cursor's entry"),
    ],
    ids=["missing", "name only", "relative", "crashes", "exits", "another server", "no token", "old token"],
)
def test_printed_command_replaces_a_broken_entry(machine: Machine, fields: dict[str, Any], reason: str) -> None:
    if "USEAPI_TOKEN" in fields.get("env", {}):
        fields["env"]["LUMA_MCP_BASE_URL"] = os.environ["LUMA_MCP_BASE_URL"]
    configure(machine, **fields)
    environment = {n: v for n, v in os.environ.items() if n != "USEAPI_TOKEN" or fields.get("env") != {}}
    [result] = [result for result in check_all(machine, variables=environment) if result.status == "failed"]
    assert (result.status, result.fix) == ("failed", INSTALL_COMMAND), result
    assert reason in result.detail
    assert [secret for secret in (TOKEN, "last-year") if secret in result.detail] == []
    machine.type(f"{result.fix} --yes")
    assert read_entry(machine) == build_installed_entry()


def test_command_that_never_answers_is_stopped(machine: Machine) -> None:
    configure(machine, args=["-c", "import sys; sys.stdin.read()", "-m", "luma_mcp"])
    result = check(machine, seconds=2.0)
    assert (result.status, result.fix) == ("failed", INSTALL_COMMAND)
    assert "no answer within 2 s" in result.detail
    machine.type(f"{result.fix} --yes")
    assert read_entry(machine) == build_installed_entry()


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("LUMA_MCP_OUTPUT_DIR", "clips", 'not "clips"'),
        ("LUMA_MCP_JOURNAL", "journal.db", 'not "journal.db"'),
        ("LUMA_MCP_MAX_WAIT_SECONDS", "soon", 'not "soon"'),
    ],
)
def test_server_that_exits_because_of_a_setting_is_a_failure(
    machine: Machine, variable: str, value: str, reason: str
) -> None:
    path = configure(machine, {**get_credentials(), variable: value}, args=["-m", "luma_mcp"])
    result = check(machine)
    assert (result.status, result.fix) == ("failed", f"Correct its settings in {path}.")
    assert f"its command {sys.executable} ends with exit code 2; it says: " in result.detail
    assert f"{variable} must be" in result.detail
    assert reason in result.detail
    configure(machine)
    assert check(machine).status == "passed"


def test_invalid_file_is_reported_with_the_position(machine: Machine) -> None:
    path = configure(machine)
    complete = path.read_text()
    path.write_text(complete[:-2])
    result = check(machine)
    assert result.status == "failed"
    assert f"{path}, line 1, column " in result.detail
    assert result.fix == f"Correct the file; {INSTALL_COMMAND} --print shows the entry."
    path.write_text(complete)
    assert check(machine).status == "passed"


def test_broken_simulated_entry_is_replaced_by_a_simulated_one(machine: Machine) -> None:
    configure(machine, {}, command="luma-ray-mcp", args=["--simulate"])
    result = check(machine)
    assert result.fix == f"{INSTALL_COMMAND} --simulate"
    machine.type(f"{result.fix} --yes")
    assert read_entry(machine) == {"command": command_here().program, "args": ["--simulate"]}
    configure(machine, {}, args=[*OUR_ENTRY["args"], "--simulate"])
    assert check(machine, variables={}).status == "passed"


@pytest.mark.parametrize("env", [{}, {"USEAPI_TOKEN": "${input:luma-token}"}])
def test_token_that_the_host_may_have_is_a_note(machine: Machine, env: dict[str, str]) -> None:
    configure(machine, env)
    assert check(machine).status == "note"


def test_token_of_an_entry_is_used_in_the_terminal(machine: Machine) -> None:
    configure(machine)
    machine.unset("USEAPI_TOKEN")
    machine.unset("LUMA_MCP_BASE_URL")
    report = machine.check()
    assert report.failures == []
    assert report.get("token").detail == "the token of Cursor's entry is accepted (not shown)"
    machine.type(f"{invocation()} accounts")


def test_programs_are_found_on_the_hosts_path(machine: Machine) -> None:
    machine.set(PATH=BIN)
    assert find_program("sh", bare_path("linux", {})) is not None
    assert find_program("luma-ray-mcp", bare_path("linux", {})) is None
    assert find_program(sys.executable, bare_path("darwin", {})) == sys.executable
    assert bare_path("win32", {"SYSTEMROOT": r"D:\Windows"}) == r"D:\Windows\system32;D:\Windows"


def test_started_server_gets_only_the_entrys_variables(machine: Machine) -> None:
    dump = machine.home / "environment.json"
    env = {**get_credentials(), "LUMA_MCP_JOURNAL": str(machine.home / "journal.db"), "FOX": "red"}
    machine.set(LUMA_MCP_SCHEMA="exact")
    configure(machine, env, args=["-c", DUMP_ENVIRONMENT.format(file=str(dump)), "-m", "luma_mcp"])
    assert "dumped" in check(machine).detail
    variables = json.loads(dump.read_text())
    # The server has recorded nothing.
    assert variables["LUMA_MCP_JOURNAL"] == "off"
    assert (variables["FOX"], variables["USEAPI_TOKEN"], variables["PATH"]) == (
        "red",
        TOKEN,
        bare_path(this_system(), os.environ),
    )
    assert "LUMA_MCP_SCHEMA" not in variables


@pytest.mark.parametrize(
    ("variable", "bad", "good", "reason"),
    [
        ("LUMA_MCP_OUTPUT_DIR", "file/clips", "clips", "is not a folder"),
        ("LUMA_MCP_INPUT_DIRS", "file", "", "is not a folder"),
        ("LUMA_MCP_JOURNAL", "file/journal.db", "journal.db", "cannot be"),
    ],
)
def test_setting_of_the_entry_is_checked(machine: Machine, *, variable: str, bad: str, good: str, reason: str) -> None:
    (machine.home / "file").touch()
    configure(machine, {**get_credentials(), variable: str(machine.home / bad)})
    report = machine.check()
    failure = report.failure("Cursor")
    assert f"of its entry ({variable}): {machine.home / 'file'}" in failure.detail
    assert reason in failure.detail
    assert variable in failure.fix
    assert failure.fix.endswith(f", then write that into the entry: {INSTALL_COMMAND}")
    machine.set(**{variable: machine.home / good})
    machine.type(f"{INSTALL_COMMAND} --yes")
    assert read_entry(machine)["env"] == {**get_credentials(), variable: str(machine.home / good)}
    configure(machine, read_entry(machine)["env"])
    assert machine.check().failures == []


def test_printed_command_creates_a_missing_folder_of_the_entry(machine: Machine) -> None:
    missing = machine.home / "my pictures"
    configure(machine, {**get_credentials(), "LUMA_MCP_INPUT_DIRS": str(missing)})
    failure = machine.check().failure("Cursor")
    assert f"(LUMA_MCP_INPUT_DIRS): {missing} does not exist" in failure.detail
    machine.type(failure.fix)
    assert check(machine).status == "passed"


def test_setting_shared_with_the_terminal_is_reported_once(machine: Machine) -> None:
    (machine.home / "file").touch()
    machine.set(LUMA_MCP_OUTPUT_DIR=machine.home / "file")
    configure(machine, {**get_credentials(), "LUMA_MCP_OUTPUT_DIR": str(machine.home / "file")})
    assert machine.check().failure("output folder")


def test_journal_of_a_simulated_entry_is_not_checked(machine: Machine) -> None:
    (machine.home / "file").touch()
    env = {**get_credentials(), "LUMA_MCP_JOURNAL": str(machine.home / "file" / "journal.db")}
    configure(machine, env, args=[*OUR_ENTRY["args"], "--simulate"])
    assert check(machine).status == "passed"


@pytest.mark.parametrize(("confirm", "notes"), [("always", 1), ("expensive", 1), ("never", 0)])
def test_host_without_elicitation_is_a_note(machine: Machine, confirm: str, notes: int) -> None:
    env = {**get_credentials(), "LUMA_MCP_CONFIRM": confirm}
    desktop = find_config(match_hosts("claude-desktop")[0], this_system(), os.environ, machine.home)
    assert desktop
    desktop.parent.mkdir(parents=True)
    desktop.write_text(json.dumps({"mcpServers": {"luma": {**OUR_ENTRY, "env": env}}}))
    desktop.chmod(0o600)
    # A host that supports elicitation.
    configure(machine, env)
    report = machine.check()
    confirm_notes = [result for result in report.results if "LUMA_MCP_CONFIRM" in result.detail]
    assert [(result.name, result.status) for result in confirm_notes] == [("Claude Desktop", "note")] * notes
    assert report.failures == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_token_that_other_users_can_read_is_a_note(machine: Machine, mode: int) -> None:
    path = configure(machine)
    path.chmod(mode)
    [started, warning] = check_all(machine)
    assert (started.status, warning.status, warning.fix) == ("passed", "note", f"chmod 600 {path}")
    assert TOKEN not in warning.detail
    machine.type(warning.fix)
    assert check(machine).status == "passed"


def test_file_without_a_token_may_be_readable(machine: Machine) -> None:
    configure(machine, {}, args=[*OUR_ENTRY["args"], "--simulate"]).chmod(0o644)
    assert check(machine).status == "passed"


@pytest.mark.parametrize(
    ("timeout", "notes"), [("", 1), ("tool_timeout_sec = 60\n", 1), ("tool_timeout_sec = 660\n", 0)]
)
def test_too_short_timeout_of_codex_is_a_note(machine: Machine, timeout: str, notes: int) -> None:
    path = machine.home / ".codex" / "config.toml"
    path.parent.mkdir()
    env = "".join(f"{name} = {json.dumps(value)}\n" for name, value in get_credentials().items())
    command = f"command = {json.dumps(OUR_ENTRY['command'])}\nargs = {json.dumps(OUR_ENTRY['args'])}"
    path.write_text(f"[mcp_servers.luma]\n{command}\n{timeout}[mcp_servers.luma.env]\n{env}")
    path.chmod(0o600)
    results = check_all(machine)
    assert [result.status for result in results] == ["passed"] + ["note"] * notes
    if notes:
        assert results[1].fix == f"Set tool_timeout_sec to 660 in {path}."


def test_unreadable_folder_of_a_host_is_a_failure(machine: Machine) -> None:
    path = configure(machine)
    path.parent.chmod(0)
    report = as_ordinary_user(machine.check)
    path.parent.chmod(0o700)
    assert report.failure("Cursor").detail == f"{path}: it cannot be read: Permission denied"
