"""`luma-ray-mcp install` and `uninstall` in a terminal. The tests start written entries as a host would."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from tests.cli.commands import LUMA_MCP, TIMEOUT, interrupt_at_request
from tests.conftest import EMAIL, TOKEN
from tests.install.unprivileged import run_unprivileged

from luma_mcp.install.command import command_here, invocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.commands import Run
    from tests.install.terminal import Terminal

    from luma_mcp.simulator.app import Simulator

    Open = Callable[..., Terminal]

FILES = {
    "claude-desktop": ".config/Claude/claude_desktop_config.json",
    "claude-code": ".claude.json",
    "cursor": ".cursor/mcp.json",
    "vscode": ".config/Code/User/mcp.json",
    "windsurf": ".codeium/windsurf/mcp_config.json",
    "codex": ".codex/config.toml",
    "gemini-cli": ".gemini/settings.json",
}
NEIGHBOUR = '{\n  "mcpServers": {\n    "time": {"command": "uvx", "env": {"KEY": "ghp_neighbour"}}\n  }\n}\n'
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="paths of Linux")
in_a_terminal = pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
pytestmark = on_linux


@pytest.fixture(autouse=True)
def cursor_folder(home: Path) -> Path:
    """Cursor's folder, without a configuration file."""
    folder = home / ".cursor"
    folder.mkdir()
    return folder


@pytest.fixture
def cursor(home: Path) -> Path:
    """Cursor's configuration file, with another server."""
    path = home / FILES["cursor"]
    path.write_text(NEIGHBOUR, encoding="utf-8")
    return path


@pytest.fixture
def in_terminal(home: Path, environment: dict[str, str]) -> Open:
    """Run a command in a separate process with a terminal."""

    def open_terminal(*arguments: str, **settings: str) -> Terminal:
        from tests.install.terminal import Terminal

        return Terminal([*LUMA_MCP, *arguments], environment=environment | settings, cwd=home)

    return open_terminal


def servers(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    [found] = [value for key, value in data.items() if key in ("mcpServers", "servers", "mcp_servers")]
    return dict(found)


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def start(entry: dict[str, Any], home: Path) -> dict[str, Any]:
    """Start an entry without a shell's PATH, as an app does. Return the result of `list_jobs`."""
    environment = {"PATH": "/nowhere", "HOME": str(home)} | entry.get("env", {})
    server = StdioServerParameters(
        command=entry["command"], args=entry.get("args", []), env=environment, cwd=Path(home.anchor)
    )
    with anyio.fail_after(TIMEOUT):
        async with Client(server) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            listed = await client.call_tool("list_jobs", {})
    assert "generate_video" in names
    assert not listed.is_error
    return dict(listed.structured_content or {})


@pytest.mark.parametrize("host", FILES)
def test_each_host_gets_the_entry_of_this_installation(run: Run, home: Path, api: str, host: str) -> None:
    done = run("install", host, "--yes", USEAPI_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    entry = servers(home / FILES[host])["luma"]
    assert Path(entry["command"]).is_absolute()
    assert (entry["command"], entry.get("args")) == (command_here().program, None)
    assert entry["env"] == {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_BASE_URL": api}


@pytest.mark.usefixtures("api")
def test_the_written_entry_starts_and_reaches_the_api(run: Run, home: Path, simulator: Simulator) -> None:
    run("install", "codex", "--yes", USEAPI_TOKEN=TOKEN)
    before = simulator.requests.total()
    listed = anyio.run(start, servers(home / FILES["codex"])["luma"], home)
    assert EMAIL in str(listed)
    assert simulator.requests.total() > before


def test_a_simulated_entry_needs_no_token(run: Run, home: Path) -> None:
    for host in ("codex", "claude-desktop"):
        done = run("install", host, "--yes", "--simulate")
        assert done.returncode == 0, done.stderr
        entry = servers(home / FILES[host])["luma"]
        assert (entry["command"], entry["args"]) == (command_here().program, ["--simulate"])
        assert "env" not in entry
    assert anyio.run(start, entry, home)["simulated"] is True


@in_a_terminal
@pytest.mark.usefixtures("api")
def test_a_typed_token_is_checked_once_and_never_shown(in_terminal: Open, cursor: Path, simulator: Simulator) -> None:
    with in_terminal("install", "cursor") as terminal:
        terminal.read("it is not shown")
        terminal.type(TOKEN)
        shown = terminal.read("Write it?")
        assert "1 Luma account" in shown
        assert ('"USEAPI_TOKEN": "user:…"' in shown, str(cursor) in shown) == (True, True)
        assert cursor.read_text(encoding="utf-8") == NEIGHBOUR
        terminal.type("y")
        assert terminal.wait() == 0
    assert simulator.requests == {"GET /accounts": 1}
    assert servers(cursor)["luma"]["env"]["USEAPI_TOKEN"] == TOKEN
    assert [secret for secret in (TOKEN, "4711", "ghp_neighbour") if secret in terminal.screen] == []
    assert "Settings, MCP shows the server" in terminal.screen
    assert "Then ask: " in terminal.screen


@in_a_terminal
@pytest.mark.usefixtures("api")
def test_a_wrong_token_can_be_corrected(in_terminal: Open, cursor: Path) -> None:
    with in_terminal("install", "cursor", USEAPI_TOKEN="user:1-wrong") as terminal:
        terminal.read("does not accept the token")
        for typed, answer in (("user:2 two words", "without spaces"), (f"Bearer {TOKEN}", "Write it?")):
            terminal.read("it is not shown")
            terminal.type(typed)
            terminal.read(answer)
        terminal.type("y")
        assert terminal.wait() == 0
    assert servers(cursor)["luma"]["env"]["USEAPI_TOKEN"] == TOKEN
    assert "two words" not in terminal.screen


@pytest.mark.usefixtures("api")
def test_a_wrong_token_without_a_terminal_is_an_error(run: Run, home: Path, cursor: Path) -> None:
    before = state(home)
    for token, text in (("user:1-wrong", "does not accept the token"), ("", "USEAPI_TOKEN")):
        done = run("install", "cursor", "--yes", USEAPI_TOKEN=token)
        assert (done.returncode, text in done.stderr) == (1, True)
        assert "1-wrong" not in done.stdout + done.stderr
    assert state(home) == before
    assert cursor.exists()


def test_an_unreachable_api_needs_no_check(run: Run, home: Path) -> None:
    done = run("install", "cursor", "--yes", USEAPI_TOKEN=TOKEN)
    assert done.returncode == 1
    assert "could not be checked" in done.stderr
    assert "--no-check" in done.stderr
    assert state(home) == {}
    assert run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN).returncode == 0
    assert servers(home / FILES["cursor"])["luma"]["env"]["USEAPI_TOKEN"] == TOKEN


@in_a_terminal
def test_an_unreachable_api_can_be_ignored(in_terminal: Open, home: Path) -> None:
    with in_terminal("install", "cursor", "--yes", USEAPI_TOKEN=TOKEN) as terminal:
        terminal.read("Continue without the check?")
        terminal.type("y")
        assert terminal.wait() == 0
    assert "luma" in servers(home / FILES["cursor"])


@pytest.mark.usefixtures("api")
def test_a_token_without_an_account_is_written_with_a_warning(run: Run, home: Path, simulator: Simulator) -> None:
    simulator.service.accounts.clear()
    done = run("install", "cursor", "--yes", USEAPI_TOKEN=TOKEN)
    assert done.returncode == 0
    assert f"{invocation()} accounts add" in done.stderr
    assert "luma" in servers(home / FILES["cursor"])


def test_print_writes_nothing(run: Run, home: Path, cursor: Path, environment: dict[str, str]) -> None:
    before = state(home)
    done = run("install", "Cursor", "--print", USEAPI_TOKEN=TOKEN, LUMA_MCP_OUTPUT_DIR="/srv/videos")
    assert done.returncode == 0
    [(name, entry)] = json.loads(done.stdout)["mcpServers"].items()
    assert name == "luma"
    assert entry["env"] == {
        "USEAPI_TOKEN": "user:your-token-from-useapi.net",
        "LUMA_MCP_BASE_URL": environment["LUMA_MCP_BASE_URL"],
        "LUMA_MCP_OUTPUT_DIR": "/srv/videos",
    }
    assert TOKEN not in done.stdout + done.stderr
    assert str(cursor) in done.stderr
    toml = tomllib.loads(run("install", "codex", "--print", "--simulate").stdout)
    assert toml["mcp_servers"]["luma"]["args"] == ["--simulate"]
    assert toml["mcp_servers"]["luma"]["tool_timeout_sec"] > 240
    assert state(home) == before


def test_a_second_install_changes_nothing(run: Run, home: Path, cursor: Path) -> None:
    first = run("install", "cursor", "--yes", "--simulate")
    assert f"{cursor}.luma-backup-" in first.stdout
    before = state(home)
    second = run("install", "cursor", "--yes", "--simulate")
    assert (second.returncode, "nothing to change" in second.stdout) == (0, True)
    assert state(home) == before


def test_uninstall_restores_the_file_and_lists_what_stays(run: Run, home: Path, cursor: Path) -> None:
    run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN, LUMA_MCP_OUTPUT_DIR=str(home / "films"))
    assert cursor.read_text(encoding="utf-8") != NEIGHBOUR
    done = run("uninstall", "cursor", "--yes")
    assert done.returncode == 0
    assert cursor.read_text(encoding="utf-8") == NEIGHBOUR
    assert (str(home / "films") in done.stdout, "journal.db" in done.stdout) == (True, True)
    assert TOKEN not in done.stdout + done.stderr
    again = run("uninstall", "cursor", "--yes")
    assert (again.returncode, "nothing to change" in again.stdout) == (0, True)


def test_without_a_terminal_nothing_is_written(run: Run, home: Path, cursor: Path) -> None:
    before = state(home)
    for arguments, texts in (
        (["install", "cursor", "--simulate"], ["--yes"]),
        (["install", "--simulate"], [f"{invocation()} install HOST", "Found here: cursor", "--all"]),
        (["install", "--print"], [f"{invocation()} install HOST", "gemini-cli"]),
        (["install", "emacs"], ['Unknown host "emacs". The hosts are claude-desktop, ']),
        (["install", "cursr"], ['Unknown host "cursr". Did you mean cursor?']),
        (["uninstall", "cursr"], ['Unknown host "cursr". Did you mean cursor?']),
        (["install", "claude"], ['"claude" can mean claude-desktop or claude-code.']),
        (["install", "ChatGPT"], ["cannot start servers on this machine"]),
        (["uninstall", "--all"], [f"{invocation()} uninstall HOST"]),
    ):
        done = run(*arguments)
        assert done.returncode == 1, arguments
        assert [text for text in texts if text not in done.stderr] == []
    assert state(home) == before
    assert cursor.exists()


@in_a_terminal
@pytest.mark.parametrize(
    ("answer", "hosts"),
    [
        ("2", ["codex"]),
        ("codex", ["codex"]),
        ("CODEX", ["codex"]),
        ("Cursor", ["cursor"]),
        ("ALL", ["cursor", "codex"]),
    ],
)
def test_a_host_is_chosen_by_number_name_or_all(in_terminal: Open, home: Path, answer: str, hosts: list[str]) -> None:
    (home / ".codex").mkdir()
    with in_terminal("install", "--simulate", "--yes") as terminal:
        shown = terminal.read("Which one")
        assert ("1  Cursor" in shown, "2  Codex" in shown, "Windsurf" in shown) == (True, True, False)
        terminal.type(answer)
        assert terminal.wait() == 0
    assert state(home).keys() == {FILES[host] for host in hosts}


@in_a_terminal
def test_an_unknown_answer_can_be_corrected(in_terminal: Open, home: Path) -> None:
    with in_terminal("install", "--simulate", "--yes") as terminal:
        terminal.read("Which one")
        for answer, error in (("3", "Unknown host"), ("cursr", "Did you mean cursor?"), ("claude", "can mean")):
            terminal.type(answer)
            terminal.read(error)
            terminal.read("Which one")
        terminal.type("1")
        assert terminal.wait() == 0
    assert state(home).keys() == {FILES["cursor"]}


def interrupt(process: subprocess.Popen[Any]) -> None:
    """Press Ctrl-C until the process exits: Python handles a signal that comes just before a blocking read after it."""
    for _ in range(TIMEOUT):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            continue
        return


@in_a_terminal
@pytest.mark.usefixtures("cursor")
@pytest.mark.parametrize(
    ("arguments", "prompt"),
    [
        (["install", "--simulate"], "Which one"),
        (["install", "cursor"], "it is not shown"),
        (["install", "cursor", "--simulate"], "Write it?"),
        (["uninstall"], "Which one"),
    ],
)
def test_ctrl_c_at_a_prompt_changes_nothing(in_terminal: Open, home: Path, arguments: list[str], prompt: str) -> None:
    if arguments[0] == "uninstall":
        path = home / FILES["cursor"]
        path.write_text('{"mcpServers": {"luma": {"command": "luma-ray-mcp"}}}', encoding="utf-8")
    before = state(home)
    with in_terminal(*arguments) as terminal:
        terminal.read(prompt)
        interrupt(terminal.process)
        assert terminal.wait() == 130
    assert "Traceback" not in terminal.screen
    assert state(home) == before


def test_ctrl_c_during_the_check_of_the_token_changes_nothing(home: Path, environment: dict[str, str]) -> None:
    done = interrupt_at_request("install", "cursor", "--yes", environment=environment)
    assert done.returncode == 130
    assert state(home) == {}


@in_a_terminal
def test_no_changes_nothing(in_terminal: Open, home: Path, cursor: Path) -> None:
    before = state(home)
    for answer in ("n", ""):
        with in_terminal("install", "cursor", "--simulate") as terminal:
            terminal.read("Write it? [y/N]")
            terminal.type(answer)
            assert terminal.wait() == 1
        assert terminal.screen.count("Nothing was changed") == 1
    assert state(home) == before
    assert cursor.exists()


@in_a_terminal
def test_a_file_changed_meanwhile_is_read_again(in_terminal: Open, cursor: Path) -> None:
    with in_terminal("install", "cursor", "--simulate") as terminal:
        terminal.read("Write it?")
        newer = NEIGHBOUR.replace('"uvx"', '"npx"')
        cursor.write_text(newer, encoding="utf-8")
        terminal.type("y")
        terminal.read("Once more")
        terminal.read("Write it?")
        terminal.type("y")
        assert terminal.wait() == 0
    assert servers(cursor)["time"]["command"] == "npx"
    assert "luma" in servers(cursor)
    [backup] = cursor.parent.glob("*.luma-backup-*")
    assert backup.read_text(encoding="utf-8") == newer


def test_another_server_of_our_name_needs_force(run: Run, home: Path, cursor: Path) -> None:
    cursor.write_text(NEIGHBOUR.replace('"time"', '"luma"'), encoding="utf-8")
    before = state(home)
    for command in (["install", "cursor", "--simulate"], ["uninstall", "cursor"]):
        done = run(*command, "--yes")
        assert (done.returncode, "not luma-ray-mcp: uvx" in done.stdout, "--force" in done.stderr) == (1, True, True)
        assert "ghp_neighbour" not in done.stdout + done.stderr
        assert state(home) == before
    assert run("install", "cursor", "--simulate", "--yes", "--force").returncode == 0
    assert servers(cursor)["luma"]["args"] == ["--simulate"]
    assert "env" not in servers(cursor)["luma"]


def test_all_continues_after_an_unparsable_file(run: Run, home: Path) -> None:
    broken = home / FILES["cursor"]
    broken.write_text('{\n  "mcpServers": {\n', encoding="utf-8")
    (home / ".codex").mkdir()
    done = run("install", "--all", "--simulate", "--yes")
    assert done.returncode == 1
    assert f"{broken}, line 3, column 1: " in done.stderr
    assert "luma" in servers(home / FILES["codex"])
    assert broken.read_text(encoding="utf-8") == '{\n  "mcpServers": {\n'
    assert list(broken.parent.iterdir()) == [broken]


def test_settings_of_the_terminal_are_written(run: Run, home: Path) -> None:
    wrong = run("install", "cursor", "--simulate", "--yes", LUMA_MCP_MAX_WAIT_SECONDS="soon")
    assert (wrong.returncode, "LUMA_MCP_MAX_WAIT_SECONDS" in wrong.stderr) == (2, True)
    assert state(home) == {}
    run("install", "cursor", "--simulate", "--yes", LUMA_MCP_MAX_WAIT_SECONDS="60", LUMA_MCP_EMAIL="${EMAIL}")
    assert servers(home / FILES["cursor"])["luma"]["env"] == {"LUMA_MCP_MAX_WAIT_SECONDS": "60"}


def test_a_proxy_is_named_without_its_password(run: Run) -> None:
    proxy = "http://me:secret@127.0.0.1:9"
    done = run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN, HTTPS_PROXY=proxy)
    assert done.returncode == 0
    assert "HTTPS_PROXY" in done.stderr
    assert "secret@" not in done.stdout + done.stderr


@pytest.mark.usefixtures("api")
def test_the_token_of_the_entry_is_used_again(run: Run, home: Path, cursor: Path, simulator: Simulator) -> None:
    assert run("install", "cursor", "--yes", USEAPI_TOKEN=TOKEN).returncode == 0
    before = state(home)
    second = run("install", "cursor", "--yes")
    assert (second.returncode, "nothing to change" in second.stdout) == (0, True), second.stderr
    assert "the token in the entry is used" in second.stdout
    assert TOKEN not in second.stdout + second.stderr
    assert simulator.requests == {"GET /accounts": 2}
    assert state(home) == before
    # A host without an entry gets the same token.
    (home / ".codex").mkdir()
    assert run("install", "--all", "--yes").returncode == 0
    assert servers(home / FILES["codex"])["luma"]["env"]["USEAPI_TOKEN"] == TOKEN
    # The API rejects the replaced token.
    cursor.write_text(cursor.read_text(encoding="utf-8").replace(TOKEN, "user:1-gone"), encoding="utf-8")
    wrong = run("install", "cursor", "--yes")
    assert (wrong.returncode, "does not accept the token" in wrong.stderr) == (1, True)
    assert "1-gone" not in wrong.stdout + wrong.stderr


@pytest.mark.parametrize("there", ["user:your-token-from-useapi.net", "two words"])
def test_an_unusable_token_of_the_entry_is_not_used(run: Run, cursor: Path, there: str) -> None:
    ours = {"command": "luma-ray-mcp", "env": {"USEAPI_TOKEN": there}}
    cursor.write_text(json.dumps({"mcpServers": {"luma": ours}}), encoding="utf-8")
    done = run("install", "cursor", "--yes", "--no-check")
    assert (done.returncode, "There is no token" in done.stderr) == (1, True)


def test_a_token_filled_in_by_the_host_stays(run: Run, home: Path) -> None:
    path = home / FILES["vscode"]
    path.parent.mkdir(parents=True)
    ours = {"command": "luma-ray-mcp", "env": {"USEAPI_TOKEN": "${input:useapi}"}}
    path.write_text(json.dumps({"servers": {"luma": ours}}), encoding="utf-8")
    done = run("install", "vscode", "--yes")
    assert (done.returncode, "the host fills it in" in done.stdout) == (0, True), done.stderr
    assert servers(path)["luma"]["env"]["USEAPI_TOKEN"] == "${input:useapi}"
    assert "contains your token" not in done.stdout


def test_a_readable_token_is_warned_of_and_the_mode_stays(run: Run, cursor: Path) -> None:
    cursor.chmod(0o644)
    warning = f"chmod 600 {cursor}"
    assert warning not in run("install", "cursor", "--yes", "--simulate").stdout
    assert warning in run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN).stdout
    assert cursor.stat().st_mode & 0o777 == 0o644
    assert warning not in run("uninstall", "cursor", "--yes").stdout
    cursor.chmod(0o600)
    assert "chmod" not in run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN).stdout


def test_backups_with_the_token_are_named(run: Run, cursor: Path) -> None:
    first = run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN)
    assert "contains your token" not in first.stdout
    done = run("uninstall", "cursor", "--yes")
    [copy] = [path for path in cursor.parent.glob("*.luma-backup-*") if TOKEN in path.read_text(encoding="utf-8")]
    assert f"The backup {copy} contains your token: delete it once everything works." in done.stdout
    assert TOKEN not in done.stdout


def test_a_package_of_another_language_needs_force(run: Run, cursor: Path) -> None:
    other = {
        "command": "npx",
        "args": ["-y", "@someone/luma-ray-mcp", "--api-key", "sk-SECRET"],
        "url": "https://SECRET@h",
    }
    cursor.write_text(json.dumps({"mcpServers": {"luma": other}}, indent=2), encoding="utf-8")
    done = run("install", "cursor", "--simulate", "--yes")
    assert (done.returncode, "not luma-ray-mcp: npx" in done.stdout) == (1, True)
    assert "SECRET" not in done.stdout + done.stderr
    assert servers(cursor)["luma"] == other


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "/srv/luma-mcp/.venv/bin/luma-mcp"},
        {"command": "uv", "args": ["run", "--directory", "/srv/luma-mcp", "luma-mcp"]},
        {"command": "/usr/bin/python3", "args": ["-m", "luma_mcp"]},
    ],
    ids=["script", "uv run", "module"],
)
def test_earlier_entries_of_ours_are_replaced_and_removed(run: Run, cursor: Path, entry: dict[str, Any]) -> None:
    text = json.dumps({"mcpServers": {"luma": entry, "time": {"command": "uvx"}}})
    cursor.write_text(text, encoding="utf-8")
    done = run("install", "cursor", "--simulate", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"It replaces one that runs {entry['command']}." in done.stdout
    assert servers(cursor)["luma"]["command"].endswith("luma-ray-mcp")
    assert servers(cursor)["luma"]["args"] == ["--simulate"]
    cursor.write_text(text, encoding="utf-8")
    assert run("uninstall", "cursor", "--yes").returncode == 0
    assert servers(cursor) == {"time": {"command": "uvx"}}


@pytest.mark.parametrize("args", [["luma-mcp"], ["luma-ray-mcp"]])
def test_an_entry_from_an_index_needs_force_and_a_new_token(run: Run, cursor: Path, args: list[str]) -> None:
    theirs = {"command": "uvx", "args": args, "env": {"USEAPI_TOKEN": "user:1-leaked"}}
    cursor.write_text(json.dumps({"mcpServers": {"luma": theirs}}), encoding="utf-8")
    for command in (["install", "cursor", "--simulate"], ["uninstall", "cursor"]):
        done = run(*command, "--yes")
        assert done.returncode == 1
        assert "replace your API token at https://useapi.net" in done.stdout
        assert "1-leaked" not in done.stdout + done.stderr
        assert servers(cursor)["luma"] == theirs
    assert run("install", "cursor", "--simulate", "--yes", "--force").returncode == 0
    assert "env" not in servers(cursor)["luma"]


@pytest.mark.parametrize(
    ("command", "advice"),
    [("install", "--print shows it."), ("uninstall", 'Or remove the entry "luma" from it by hand.')],
)
def test_a_file_that_cannot_be_changed_is_changed_by_hand(run: Run, cursor: Path, command: str, advice: str) -> None:
    cursor.write_text('{"mcpServers": ', encoding="utf-8")
    done = run(command, "cursor", "--yes", *(["--simulate"] if command == "install" else []))
    assert (done.returncode, advice in done.stderr) == (1, True), done.stderr
    if command == "install":
        printed = f"{invocation()} install cursor --print"
        assert printed in done.stderr
        assert run(*printed.removeprefix(invocation()).split()).returncode == 0
    else:
        assert "add the entry" not in done.stderr


def test_a_read_only_file_is_reported_once(run: Run, cursor: Path) -> None:
    cursor.chmod(0o400)
    done = run("install", "cursor", "--yes", "--simulate")
    assert done.returncode == 1
    assert "read-only" in done.stderr
    assert f"Allow writing to {cursor} and try again." in done.stderr
    assert (done.stdout + done.stderr).count("Nothing was changed") == 1


def test_only_our_own_entry_is_shown(run: Run, cursor: Path) -> None:
    done = run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN, LUMA_MCP_OUTPUT_DIR="/srv/videos")
    assert '"USEAPI_TOKEN": "user:…"' in done.stdout
    assert '"LUMA_MCP_OUTPUT_DIR": "/srv/videos"' in done.stdout
    gone = run("uninstall", "cursor", "--yes")
    assert '"USEAPI_TOKEN": "user:…"' in gone.stdout
    for text in (done.stdout, gone.stdout):
        assert [part for part in ("time", "uvx", "KEY", "ghp_neighbour", "4711") if part in text] == []
    assert servers(cursor).keys() == {"time"}


def test_another_token_is_announced(run: Run, cursor: Path) -> None:
    for token, announced in ((TOKEN, False), (TOKEN, False), ("user:12-other", True)):
        done = run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=token)
        assert ("It contains another API token than before." in done.stdout) == announced
    assert servers(cursor)["luma"]["env"]["USEAPI_TOKEN"] == "user:12-other"


def test_an_unreadable_folder_is_an_error_of_its_host_only(home: Path, environment: dict[str, str]) -> None:
    (home / ".codex").mkdir()
    (home / ".cursor").chmod(0)
    try:
        for arguments in (["install", "--all", "--simulate", "--yes"], ["uninstall", "--all", "--yes"]):
            done = run_unprivileged([*LUMA_MCP, *arguments], environment=environment, cwd=home)
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            assert f"{home / FILES['cursor']}: it cannot be read: Permission denied." in done.stderr
            assert "Codex" in done.stdout
            assert "Saved." in done.stdout
    finally:
        (home / ".cursor").chmod(0o755)
