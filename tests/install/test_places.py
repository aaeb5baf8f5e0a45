"""Where the hosts have their files, on every system, looked up on any."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from luma_mcp.hosts import HOSTS
from luma_mcp.install.paths import INSTALLABLE, config_path, find, is_here, named

HOST = {host.id: host for host in HOSTS}
ANA = {"darwin": Path("/people/ana"), "linux": Path("/people/ana"), "win32": Path(r"C:\people\ana")}
ROAMING = {"APPDATA": r"C:\people\ana\AppData\Roaming"}
PLACES = {
    # Each from the makers' own pages.
    ("claude-desktop", "darwin"): "/people/ana/Library/Application Support/Claude/claude_desktop_config.json",
    ("claude-desktop", "linux"): "/people/ana/.config/Claude/claude_desktop_config.json",
    ("claude-desktop", "win32"): r"C:\people\ana\AppData\Roaming\Claude\claude_desktop_config.json",
    ("claude-code", "darwin"): "/people/ana/.claude.json",
    ("claude-code", "linux"): "/people/ana/.claude.json",
    ("claude-code", "win32"): r"C:\people\ana\.claude.json",
    ("cursor", "darwin"): "/people/ana/.cursor/mcp.json",
    ("cursor", "linux"): "/people/ana/.cursor/mcp.json",
    ("cursor", "win32"): r"C:\people\ana\.cursor\mcp.json",
    ("vscode", "darwin"): "/people/ana/Library/Application Support/Code/User/mcp.json",
    ("vscode", "linux"): "/people/ana/.config/Code/User/mcp.json",
    ("vscode", "win32"): r"C:\people\ana\AppData\Roaming\Code\User\mcp.json",
    ("windsurf", "darwin"): "/people/ana/.codeium/windsurf/mcp_config.json",
    ("windsurf", "linux"): "/people/ana/.codeium/windsurf/mcp_config.json",
    ("windsurf", "win32"): r"C:\people\ana\.codeium\windsurf\mcp_config.json",
    ("codex", "darwin"): "/people/ana/.codex/config.toml",
    ("codex", "linux"): "/people/ana/.codex/config.toml",
    ("codex", "win32"): r"C:\people\ana\.codex\config.toml",
    ("gemini-cli", "darwin"): "/people/ana/.gemini/settings.json",
    ("gemini-cli", "linux"): "/people/ana/.gemini/settings.json",
    ("gemini-cli", "win32"): r"C:\people\ana\.gemini\settings.json",
}


def pure(path: Path | None, system: str) -> PureWindowsPath | PurePosixPath:
    return PureWindowsPath(str(path)) if system == "win32" else PurePosixPath(str(path))


@pytest.mark.parametrize(("host", "system"), PLACES)
def test_each_host_s_file_is_where_its_makers_say(host: str, system: str) -> None:
    path = config_path(HOST[host], system, ROAMING if system == "win32" else {}, ANA[system])  # type: ignore[arg-type]
    assert pure(path, system) == pure(Path(PLACES[host, system]), system)


def test_every_host_that_can_be_installed_for_is_in_this_test() -> None:
    assert {host for host, _ in PLACES} == {host.id for host in INSTALLABLE}


@pytest.mark.parametrize(
    ("host", "environment", "expected"),
    [
        ("vscode", {"XDG_CONFIG_HOME": "/elsewhere/config"}, "/elsewhere/config/Code/User/mcp.json"),
        ("vscode", {"XDG_CONFIG_HOME": "not/whole"}, "/people/ana/.config/Code/User/mcp.json"),
        ("vscode", {"XDG_CONFIG_HOME": ""}, "/people/ana/.config/Code/User/mcp.json"),
        ("codex", {"CODEX_HOME": "/srv/codex"}, "/srv/codex/config.toml"),
        ("codex", {"CODEX_HOME": " "}, "/people/ana/.codex/config.toml"),
        ("claude-code", {"CLAUDE_CONFIG_DIR": "/srv/claude"}, "/srv/claude/.claude.json"),
        ("codex", {"CODEX_HOME": "relx"}, "/people/ana/.codex/config.toml"),
        ("codex", {"CODEX_HOME": "~/x"}, "/people/ana/x/config.toml"),
        ("codex", {"CODEX_HOME": "~bob/x"}, "/people/ana/.codex/config.toml"),
        ("claude-code", {"CLAUDE_CONFIG_DIR": "~"}, "/people/ana/.claude.json"),
        ("claude-code", {"CLAUDE_CONFIG_DIR": "./here"}, "/people/ana/.claude.json"),
        ("vscode", {"XDG_CONFIG_HOME": "~/cfg"}, "/people/ana/cfg/Code/User/mcp.json"),
        ("cursor", {"CODEX_HOME": "/srv/codex"}, "/people/ana/.cursor/mcp.json"),
    ],
)
def test_variables_move_the_files_that_they_are_for(host: str, environment: dict[str, str], expected: str) -> None:
    assert str(config_path(HOST[host], "linux", environment, ANA["linux"])) == str(Path(expected))


def test_windows_without_its_variables_has_them_below_the_home() -> None:
    path = config_path(HOST["vscode"], "win32", {}, ANA["win32"])
    assert pure(path, "win32") == PureWindowsPath(r"C:\people\ana\AppData\Roaming\Code\User\mcp.json")


def test_a_host_that_starts_no_servers_here_has_no_file() -> None:
    assert config_path(HOST["chatgpt"], "linux", {}, ANA["linux"]) is None


def test_the_packaged_claude_desktop_reads_its_own_copy(tmp_path: Path) -> None:
    plain = tmp_path / "Roaming" / "Claude" / "claude_desktop_config.json"
    environment = {"LOCALAPPDATA": str(tmp_path / "Local"), "APPDATA": str(tmp_path / "Roaming")}
    # A Windows path is not whole here, and the folders of this machine are not on Windows: the defaults lead there.
    home = tmp_path / "home"
    local = home / "AppData" / "Local"
    desktop = HOST["claude-desktop"]
    found = find(desktop, "win32", {}, home)
    assert found == config_path(desktop, "win32", {}, home)
    folder = local / "Packages" / "Claude_pzs8sxrjxfjjc" / "LocalCache" / "Roaming" / "Claude"
    folder.mkdir(parents=True)
    assert find(desktop, "win32", {}, home) == folder / "claude_desktop_config.json"
    assert find(desktop, "linux", environment, home) == config_path(desktop, "linux", environment, home)
    assert find(HOST["cursor"], "win32", {}, home) == config_path(HOST["cursor"], "win32", {}, home)
    assert not plain.exists()


def test_a_host_is_here_by_its_file_or_by_a_folder_of_its_own(tmp_path: Path) -> None:
    cursor, claude = tmp_path / ".cursor" / "mcp.json", tmp_path / ".claude.json"
    assert not is_here(cursor, tmp_path)
    assert not is_here(claude, tmp_path)
    cursor.parent.mkdir()
    claude.write_text("{}", encoding="utf-8")
    assert is_here(cursor, tmp_path)
    assert is_here(claude, tmp_path)


@pytest.mark.parametrize(
    ("word", "ids"),
    [
        ("claude-desktop", ["claude-desktop"]),
        ("Claude Desktop", ["claude-desktop"]),
        ("VS Code", ["vscode"]),
        ("VSCODE", ["vscode"]),
        (" vs_code ", ["vscode"]),
        ("Codex", ["codex"]),
        ("gemini", ["gemini-cli"]),
        ("GeminiCLI", ["gemini-cli"]),
        ("claude", ["claude-desktop", "claude-code"]),
        ("ChatGPT", ["chatgpt"]),
        ("emacs", []),
        ("", []),
        ("--", []),
    ],
)
def test_a_host_is_meant_however_it_is_written(word: str, ids: list[str]) -> None:
    assert [host.id for host in named(word)] == ids
