"""The paths of the hosts' files on every system, resolved on this one."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from tests.install.unprivileged import run_unprivileged

from luma_mcp.hosts import HOSTS
from luma_mcp.install.paths import (
    INSTALLABLE,
    closest_host,
    config_path,
    find_config,
    is_present,
    match_hosts,
    present_hosts,
)

HOST = {host.id: host for host in HOSTS}
HOME = {"darwin": Path("/people/ana"), "linux": Path("/people/ana"), "win32": Path(r"C:\people\ana")}
ROAMING = {"APPDATA": r"C:\people\ana\AppData\Roaming"}
PATHS = {
    # From the vendors' documentation.
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


def to_pure_path(path: Path | None, system: str) -> PureWindowsPath | PurePosixPath:
    return PureWindowsPath(str(path)) if system == "win32" else PurePosixPath(str(path))


@pytest.mark.parametrize(("host", "system"), PATHS)
def test_config_path_is_the_documented_one(host: str, system: str) -> None:
    path = config_path(HOST[host], system, ROAMING if system == "win32" else {}, HOME[system])  # type: ignore[arg-type]
    assert to_pure_path(path, system) == to_pure_path(Path(PATHS[host, system]), system)


def test_every_installable_host_has_an_expected_path() -> None:
    assert {host for host, _ in PATHS} == {host.id for host in INSTALLABLE}


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
def test_variables_change_the_paths_of_their_host(host: str, environment: dict[str, str], expected: str) -> None:
    assert str(config_path(HOST[host], "linux", environment, HOME["linux"])) == str(Path(expected))


def test_windows_falls_back_to_folders_in_the_home_folder() -> None:
    path = config_path(HOST["vscode"], "win32", {}, HOME["win32"])
    assert to_pure_path(path, "win32") == PureWindowsPath(r"C:\people\ana\AppData\Roaming\Code\User\mcp.json")


def test_host_without_local_servers_has_no_file() -> None:
    assert config_path(HOST["chatgpt"], "linux", {}, HOME["linux"]) is None


def test_packaged_claude_desktop_has_its_own_file(tmp_path: Path) -> None:
    plain = tmp_path / "Roaming" / "Claude" / "claude_desktop_config.json"
    environment = {"LOCALAPPDATA": str(tmp_path / "Local"), "APPDATA": str(tmp_path / "Roaming")}
    # A Windows path is not absolute on other systems, so the default folders are used.
    home = tmp_path / "home"
    local = home / "AppData" / "Local"
    desktop = HOST["claude-desktop"]
    found = find_config(desktop, "win32", {}, home)
    assert found == config_path(desktop, "win32", {}, home)
    folder = local / "Packages" / "Claude_pzs8sxrjxfjjc" / "LocalCache" / "Roaming" / "Claude"
    folder.mkdir(parents=True)
    assert find_config(desktop, "win32", {}, home) == folder / "claude_desktop_config.json"
    assert find_config(desktop, "linux", environment, home) == config_path(desktop, "linux", environment, home)
    assert find_config(HOST["cursor"], "win32", {}, home) == config_path(HOST["cursor"], "win32", {}, home)
    assert not plain.exists()


def test_host_is_present_if_its_file_or_folder_exists(tmp_path: Path) -> None:
    cursor, claude = tmp_path / ".cursor" / "mcp.json", tmp_path / ".claude.json"
    assert not is_present(cursor, tmp_path)
    assert not is_present(claude, tmp_path)
    cursor.parent.mkdir()
    claude.write_text("{}", encoding="utf-8")
    assert is_present(cursor, tmp_path)
    assert is_present(claude, tmp_path)


@pytest.mark.parametrize(
    ("text", "ids"),
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
def test_hosts_match_in_any_spelling(text: str, ids: list[str]) -> None:
    assert [host.id for host in match_hosts(text)] == ids


@pytest.mark.parametrize(
    ("text", "host"),
    [("cursr", "cursor"), ("Windsruf", "windsurf"), ("vs-coed", "vscode"), ("claude desktp", "claude-desktop")],
)
def test_closest_host_of_a_misspelled_name(text: str, host: str) -> None:
    closest = closest_host(text)
    assert closest
    assert closest.id == host


def test_unknown_name_has_no_closest_host() -> None:
    assert closest_host("emacs") is None
    assert closest_host("") is None


@pytest.mark.skipif(sys.platform == "win32", reason="file modes of POSIX")
def test_unreadable_folder_raises_no_error(tmp_path: Path) -> None:
    """In a process without root's privileges, Path.exists raises PermissionError there."""
    for folder in (".cursor", ".codex", ".codeium"):
        (tmp_path / folder).mkdir(mode=0)
    with_host = tmp_path / ".gemini"
    with_host.mkdir()
    code = (
        "from pathlib import Path; from luma_mcp.install.paths import *\n"
        f"found = present_hosts('linux', {{}}, Path({str(tmp_path)!r}))\n"
        "print(*[host.id for host, _ in found])\n"
        f"print(find_config(HOSTS[0], 'win32', {{'LOCALAPPDATA': ''}}, Path({str(tmp_path / '.cursor')!r})))"
    )
    done = run_unprivileged([sys.executable, "-c", code])
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "cursor codex gemini-cli"


def test_present_hosts_come_with_their_files(tmp_path: Path) -> None:
    (tmp_path / ".cursor").mkdir()
    [(host, path)] = present_hosts("linux", {}, tmp_path)
    assert (host.id, path) == ("cursor", tmp_path / ".cursor" / "mcp.json")
