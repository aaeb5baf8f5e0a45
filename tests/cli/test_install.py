"""`luma-ray-mcp install` and `uninstall`, as people type them; then what was written is started as a host would."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from tests.conftest import EMAIL, TOKEN

from luma_mcp.simulator.app import Simulator
from luma_mcp.simulator.serve import running
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.install.terminal import Terminal

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Open = Callable[..., Terminal]

LUMA_MCP = [sys.executable, "-m", "luma_mcp"]
PATIENT = 120
"""Seconds that a command may take on a busy machine before it counts as hanging."""
NOWHERE = "http://127.0.0.1:9/v1/luma"
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
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the files are where Linux has them")
in_a_terminal = pytest.mark.skipif(sys.platform == "win32", reason="terminals as POSIX has them")
pytestmark = on_linux


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / ".cursor").mkdir(parents=True)
    return home


@pytest.fixture
def cursor(home: Path) -> Path:
    """Cursor's file, with a neighbour of ours in it."""
    path = home / FILES["cursor"]
    path.write_text(NEIGHBOUR, encoding="utf-8")
    return path


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "LUMA_MCP_BASE_URL": NOWHERE}


@pytest.fixture
def run(home: Path, environment: dict[str, str]) -> Run:
    def typed(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LUMA_MCP, *arguments],
            env=environment | settings,
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENT,
            stdin=subprocess.DEVNULL,
        )

    return typed


@pytest.fixture
def in_terminal(home: Path, environment: dict[str, str]) -> Open:
    def opened(*arguments: str, **settings: str) -> Terminal:
        from tests.install.terminal import Terminal

        return Terminal([*LUMA_MCP, *arguments], environment=environment | settings, cwd=home)

    return opened


@pytest.fixture
def simulator() -> Simulator:
    service = Service(clock=time.monotonic)
    service.add_account(EMAIL)
    return Simulator(service, token=TOKEN)


@pytest.fixture
def api(simulator: Simulator, environment: dict[str, str]) -> Iterator[str]:
    with running(simulator) as url:
        environment["LUMA_MCP_BASE_URL"] = url
        yield url


def servers(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    [found] = [value for key, value in data.items() if key in ("mcpServers", "servers", "mcp_servers")]
    return dict(found)


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("host", FILES)
@pytest.mark.usefixtures("api")
async def test_what_was_written_starts_and_reaches_the_api_as_each_host_starts_it(
    run: Run, home: Path, host: str, simulator: Simulator
) -> None:
    done = run("install", host, "--yes", USEAPI_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    asked = simulator.requests.total()
    entry = servers(home / FILES[host])["luma"]
    assert Path(entry["command"]).is_absolute()
    # As an application that was not started in a shell: nothing of a PATH, and what the entry says.
    surroundings = {"PATH": "/nowhere", "HOME": str(home)} | entry["env"]
    server = StdioServerParameters(
        command=entry["command"], args=entry.get("args", []), env=surroundings, cwd=Path(home.anchor)
    )
    with anyio.fail_after(PATIENT):
        async with Client(server) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            listed = await client.call_tool("list_jobs", {})
    assert "generate_video" in names
    assert not listed.is_error
    assert EMAIL in str(listed.structured_content)
    assert simulator.requests.total() > asked


@pytest.mark.parametrize("host", ["claude-desktop", "codex"])
async def test_simulate_needs_no_token_and_what_was_written_says_that_it_is_simulated(
    run: Run, home: Path, host: str
) -> None:
    done = run("install", host, "--yes", "--simulate")
    assert done.returncode == 0, done.stderr
    entry = servers(home / FILES[host])["luma"]
    assert (entry["args"], entry.get("env")) == (["--simulate"], None)
    server = StdioServerParameters(
        command=entry["command"], args=entry["args"], env={"PATH": "/nowhere", "HOME": str(home)}
    )
    with anyio.fail_after(PATIENT):
        async with Client(server) as client:
            assert "SIMULATED" in (client.instructions or "")
            assert (await client.list_tools()).tools


@in_a_terminal
@pytest.mark.usefixtures("api")
def test_a_token_that_is_typed_is_checked_once_and_never_seen(
    in_terminal: Open, cursor: Path, simulator: Simulator
) -> None:
    with in_terminal("install", "cursor") as terminal:
        terminal.read("it is not shown")
        terminal.type(TOKEN)
        shown = terminal.read("Write it?")
        assert "1 Luma account" in shown
        assert ('"USEAPI_TOKEN": "user:…"' in shown, str(cursor) in shown) == (True, True)
        assert cursor.read_text(encoding="utf-8") == NEIGHBOUR
        terminal.type("y")
        assert terminal.end() == 0
    assert simulator.requests == {"GET /accounts": 1}
    assert servers(cursor)["luma"]["env"]["USEAPI_TOKEN"] == TOKEN
    assert [secret for secret in (TOKEN, "4711", "ghp_neighbour") if secret in terminal.screen] == []
    assert "Settings, MCP shows the server" in terminal.screen
    assert "Then ask: " in terminal.screen


@in_a_terminal
@pytest.mark.usefixtures("api")
def test_a_wrong_token_is_asked_for_again(in_terminal: Open, cursor: Path) -> None:
    with in_terminal("install", "cursor", USEAPI_TOKEN="user:1-wrong") as terminal:
        terminal.read("does not accept the token")
        for typed, answer in (("user:2 two words", "one word"), (f"Bearer {TOKEN}", "Write it?")):
            if "it is not shown" not in terminal.screen[-60:]:
                terminal.read("it is not shown")
            terminal.type(typed)
            terminal.read(answer)
        terminal.type("y")
        assert terminal.end() == 0
    assert servers(cursor)["luma"]["env"]["USEAPI_TOKEN"] == TOKEN
    assert "two words" not in terminal.screen


@pytest.mark.usefixtures("api")
def test_a_wrong_token_and_nobody_to_ask_ends_it(run: Run, home: Path, cursor: Path) -> None:
    before = state(home)
    for token, words in (("user:1-wrong", "does not accept the token"), ("", "USEAPI_TOKEN")):
        done = run("install", "cursor", "--yes", USEAPI_TOKEN=token)
        assert (done.returncode, words in done.stderr) == (1, True)
        assert "1-wrong" not in done.stdout + done.stderr
    assert state(home) == before
    assert cursor.exists()


def test_an_api_that_is_not_reached_is_said_to_be_and_no_check_goes_on(run: Run, home: Path) -> None:
    done = run("install", "cursor", "--yes", USEAPI_TOKEN=TOKEN)
    assert done.returncode == 1
    assert "could not be checked" in done.stderr
    assert "--no-check" in done.stderr
    assert state(home) == {}
    assert run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN).returncode == 0
    assert servers(home / FILES["cursor"])["luma"]["env"]["USEAPI_TOKEN"] == TOKEN


@in_a_terminal
def test_an_api_that_is_not_reached_can_be_done_without(in_terminal: Open, home: Path) -> None:
    with in_terminal("install", "cursor", "--yes", USEAPI_TOKEN=TOKEN) as terminal:
        terminal.read("Go on without the check?")
        terminal.type("y")
        assert terminal.end() == 0
    assert "luma" in servers(home / FILES["cursor"])


@pytest.mark.usefixtures("api")
def test_a_token_without_an_account_is_written_and_warned_of(run: Run, home: Path, simulator: Simulator) -> None:
    simulator.service.accounts.clear()
    done = run("install", "cursor", "--yes", USEAPI_TOKEN=TOKEN)
    assert done.returncode == 0
    assert "luma-ray-mcp accounts add" in done.stderr
    assert "luma" in servers(home / FILES["cursor"])


def test_print_prints_the_entry_and_touches_nothing(run: Run, home: Path, cursor: Path) -> None:
    before = state(home)
    done = run("install", "Cursor", "--print", USEAPI_TOKEN=TOKEN, LUMA_MCP_OUTPUT_DIR="/srv/videos")
    assert done.returncode == 0
    [(name, entry)] = json.loads(done.stdout)["mcpServers"].items()
    assert name == "luma"
    assert entry["env"] == {
        "USEAPI_TOKEN": "user:your-token-from-useapi.net",
        "LUMA_MCP_BASE_URL": NOWHERE,
        "LUMA_MCP_OUTPUT_DIR": "/srv/videos",
    }
    assert TOKEN not in done.stdout + done.stderr
    assert str(cursor) in done.stderr
    toml = tomllib.loads(run("install", "codex", "--print", "--simulate").stdout)
    assert toml["mcp_servers"]["luma"]["args"] == ["--simulate"]
    assert toml["mcp_servers"]["luma"]["tool_timeout_sec"] > 240
    assert state(home) == before


def test_a_second_time_changes_nothing_and_says_so(run: Run, home: Path, cursor: Path) -> None:
    first = run("install", "cursor", "--yes", "--simulate")
    assert f"{cursor}.luma-backup-" in first.stdout
    before = state(home)
    second = run("install", "cursor", "--yes", "--simulate")
    assert (second.returncode, "nothing to change" in second.stdout) == (0, True)
    assert state(home) == before


def test_uninstall_gives_back_the_file_and_says_what_stays(run: Run, home: Path, cursor: Path) -> None:
    run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN, LUMA_MCP_OUTPUT_DIR=str(home / "films"))
    assert cursor.read_text(encoding="utf-8") != NEIGHBOUR
    done = run("uninstall", "cursor", "--yes")
    assert done.returncode == 0
    assert cursor.read_text(encoding="utf-8") == NEIGHBOUR
    assert (str(home / "films") in done.stdout, "journal.db" in done.stdout) == (True, True)
    assert TOKEN not in done.stdout + done.stderr
    again = run("uninstall", "cursor", "--yes")
    assert (again.returncode, "nothing to change" in again.stdout) == (0, True)


def test_without_a_terminal_nothing_is_written_unasked(run: Run, home: Path, cursor: Path) -> None:
    before = state(home)
    for arguments, words in (
        (["install", "cursor", "--simulate"], ["--yes"]),
        (["install", "--simulate"], ["luma-ray-mcp install HOST", "Found here: cursor", "--all"]),
        (["install", "--print"], ["luma-ray-mcp install HOST", "gemini-cli"]),
        (["install", "emacs"], ["no host", "claude-desktop"]),
        (["install", "claude"], ["more than one", "claude-desktop, claude-code."]),
        (["install", "ChatGPT"], ["no servers of this machine"]),
        (["uninstall", "--all"], ["luma-ray-mcp uninstall HOST"]),
    ):
        done = run(*arguments)
        assert done.returncode == 1, arguments
        assert [word for word in words if word not in done.stderr] == []
    assert state(home) == before
    assert cursor.exists()


@in_a_terminal
def test_without_a_host_one_of_those_that_are_here_is_chosen(in_terminal: Open, home: Path) -> None:
    (home / ".codex").mkdir()
    with in_terminal("install", "--simulate") as terminal:
        shown = terminal.read("Which one")
        assert ("1  Cursor" in shown, "2  Codex" in shown, "Windsurf" in shown) == (True, True, False)
        terminal.type("2")
        terminal.read("Write it?")
        terminal.type("y")
        assert terminal.end() == 0
    assert state(home).keys() == {FILES["codex"]}


@in_a_terminal
def test_no_is_an_answer(in_terminal: Open, home: Path, cursor: Path) -> None:
    before = state(home)
    for answer in ("n", ""):
        with in_terminal("install", "cursor", "--simulate") as terminal:
            terminal.read("Write it? [y/N]")
            terminal.type(answer)
            assert terminal.end() == 1
        assert "Nothing was changed" in terminal.screen
    assert state(home) == before
    assert cursor.exists()


@in_a_terminal
def test_a_file_that_changes_while_one_thinks_is_read_again(in_terminal: Open, cursor: Path) -> None:
    with in_terminal("install", "cursor", "--simulate") as terminal:
        terminal.read("Write it?")
        newer = NEIGHBOUR.replace('"uvx"', '"npx"')
        cursor.write_text(newer, encoding="utf-8")
        terminal.type("y")
        terminal.read("Once more")
        if "Write it?" not in terminal.screen.split("Once more")[1]:
            terminal.read("Write it?")
        terminal.type("y")
        assert terminal.end() == 0
    assert servers(cursor)["time"]["command"] == "npx"
    assert "luma" in servers(cursor)
    [backup] = cursor.parent.glob("*.luma-backup-*")
    assert backup.read_text(encoding="utf-8") == newer


def test_another_server_of_our_name_goes_only_by_force(run: Run, home: Path, cursor: Path) -> None:
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


def test_all_goes_on_after_a_file_that_cannot_be_read_and_tells_in_its_exit_code(run: Run, home: Path) -> None:
    broken = home / FILES["cursor"]
    broken.write_text('{\n  "mcpServers": {\n', encoding="utf-8")
    (home / ".codex").mkdir()
    done = run("install", "--all", "--simulate", "--yes")
    assert done.returncode == 1
    assert f"{broken}, line 3, column 1: " in done.stderr
    assert "luma" in servers(home / FILES["codex"])
    assert broken.read_text(encoding="utf-8") == '{\n  "mcpServers": {\n'
    assert list(broken.parent.iterdir()) == [broken]


def test_settings_of_the_terminal_go_along_and_wrong_ones_end_it(run: Run, home: Path) -> None:
    wrong = run("install", "cursor", "--simulate", "--yes", LUMA_MCP_MAX_WAIT_SECONDS="soon")
    assert (wrong.returncode, "LUMA_MCP_MAX_WAIT_SECONDS" in wrong.stderr) == (2, True)
    assert state(home) == {}
    run("install", "cursor", "--simulate", "--yes", LUMA_MCP_MAX_WAIT_SECONDS="60", LUMA_MCP_EMAIL="${EMAIL}")
    assert servers(home / FILES["cursor"])["luma"]["env"] == {"LUMA_MCP_MAX_WAIT_SECONDS": "60"}


def test_a_proxy_of_the_terminal_is_named_and_its_password_is_not(run: Run) -> None:
    proxy = "http://me:secret@127.0.0.1:9"
    done = run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN, HTTPS_PROXY=proxy)
    assert done.returncode == 0
    assert "HTTPS_PROXY" in done.stderr
    assert "secret@" not in done.stdout + done.stderr


@pytest.mark.usefixtures("api")
def test_a_second_time_without_a_token_uses_the_one_that_is_there(
    run: Run, home: Path, cursor: Path, simulator: Simulator
) -> None:
    assert run("install", "cursor", "--yes", USEAPI_TOKEN=TOKEN).returncode == 0
    before = state(home)
    second = run("install", "cursor", "--yes")
    assert (second.returncode, "nothing to change" in second.stdout) == (0, True), second.stderr
    assert "the token that is there already" in second.stdout
    assert TOKEN not in second.stdout + second.stderr
    assert simulator.requests == {"GET /accounts": 2}
    assert state(home) == before
    # A host that has none yet gets the same one.
    (home / ".codex").mkdir()
    assert run("install", "--all", "--yes").returncode == 0
    assert servers(home / FILES["codex"])["luma"]["env"]["USEAPI_TOKEN"] == TOKEN
    # One that is not right any more is no token.
    cursor.write_text(cursor.read_text(encoding="utf-8").replace(TOKEN, "user:1-gone"), encoding="utf-8")
    wrong = run("install", "cursor", "--yes")
    assert (wrong.returncode, "does not accept the token" in wrong.stderr) == (1, True)
    assert "1-gone" not in wrong.stdout + wrong.stderr


@pytest.mark.parametrize("there", ["user:your-token-from-useapi.net", "two words"])
def test_what_is_no_token_is_not_taken_for_the_one_that_is_there(run: Run, cursor: Path, there: str) -> None:
    ours = {"command": "luma-ray-mcp", "env": {"USEAPI_TOKEN": there}}
    cursor.write_text(json.dumps({"mcpServers": {"luma": ours}}), encoding="utf-8")
    done = run("install", "cursor", "--yes", "--no-check")
    assert (done.returncode, "There is no token" in done.stderr) == (1, True)


def test_a_token_that_the_host_fills_in_stays(run: Run, home: Path) -> None:
    path = home / FILES["vscode"]
    path.parent.mkdir(parents=True)
    ours = {"command": "luma-ray-mcp", "env": {"USEAPI_TOKEN": "${input:useapi}"}}
    path.write_text(json.dumps({"servers": {"luma": ours}}), encoding="utf-8")
    done = run("install", "vscode", "--yes")
    assert (done.returncode, "the host fills it in" in done.stdout) == (0, True), done.stderr
    assert servers(path)["luma"]["env"]["USEAPI_TOKEN"] == "${input:useapi}"
    assert "holds your token" not in done.stdout


def test_others_that_can_read_the_token_are_warned_of_and_the_mode_stays(run: Run, cursor: Path) -> None:
    cursor.chmod(0o644)
    warning = f"chmod 600 {cursor}"
    assert warning not in run("install", "cursor", "--yes", "--simulate").stdout
    assert warning in run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN).stdout
    assert cursor.stat().st_mode & 0o777 == 0o644
    assert warning not in run("uninstall", "cursor", "--yes").stdout
    cursor.chmod(0o600)
    assert "chmod" not in run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN).stdout


def test_the_copies_that_hold_the_token_are_named(run: Run, cursor: Path) -> None:
    first = run("install", "cursor", "--yes", "--no-check", USEAPI_TOKEN=TOKEN)
    assert "holds your token" not in first.stdout
    done = run("uninstall", "cursor", "--yes")
    [copy] = [path for path in cursor.parent.glob("*.luma-backup-*") if TOKEN in path.read_text(encoding="utf-8")]
    assert f"The copy {copy} holds your token: delete it when you are content." in done.stdout
    assert TOKEN not in done.stdout


def test_a_package_of_another_language_goes_only_by_force_and_its_secrets_are_not_shown(run: Run, cursor: Path) -> None:
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
