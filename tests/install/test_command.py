"""The commands that start this installation: in a host's entry, and in a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from luma_mcp import __version__
from luma_mcp.install.command import (
    Command,
    command_here,
    format_invocation,
    parse_source,
    resolve_command,
)

if TYPE_CHECKING:
    from luma_mcp.hosts import System

USERS = "/Users"
BIN = Path(sys.executable).parent


def resolve(
    executable: str,
    system: System = "linux",
    *,
    script: bool = True,
    base: str = "/usr/bin/python3",
    commands: dict[str, str] | None = None,
    cache: str | None = None,
    source: str | None = None,
) -> Command:
    return resolve_command(
        executable,
        system,
        base=base,
        exists=lambda _: script,
        which=(commands or {}).get,
        cache=cache,
        source=lambda: source,
    )


@pytest.mark.parametrize(
    ("executable", "system", "command"),
    [
        ("/opt/luma/.venv/bin/python", "linux", "/opt/luma/.venv/bin/luma-ray-mcp"),
        (r"C:\luma\.venv\Scripts\python.exe", "win32", r"C:\luma\.venv\Scripts\luma-ray-mcp.exe"),
        (
            "/srv/.local/share/uv/tools/luma-ray-mcp/bin/python",
            "linux",
            "/srv/.local/share/uv/tools/luma-ray-mcp/bin/luma-ray-mcp",
        ),
        (
            "/srv/.local/share/pipx/venvs/luma-ray-mcp/bin/python",
            "linux",
            "/srv/.local/share/pipx/venvs/luma-ray-mcp/bin/luma-ray-mcp",
        ),
    ],
)
def test_script_beside_this_python_is_the_program(executable: str, system: System, command: str) -> None:
    assert resolve(executable, system) == Command(command)


def test_without_a_script_this_python_runs_the_package() -> None:
    assert resolve("/opt/python3", script=False) == Command("/opt/python3", ("-m", "luma_mcp"))


@pytest.mark.parametrize(
    ("executable", "system"),
    [
        ("/srv/.cache/uv/archive-v0/Xy12/bin/python", "linux"),
        ("/srv/.cache/uv/environments-v2/luma-3f/bin/python", "linux"),
        (r"C:\x\AppData\Local\uv\cache\archive-v0\Xy12\Scripts\python.exe", "win32"),
        ("/srv/.local/share/pipx/.cache/3fa/bin/python", "linux"),
        ("/srv/.cache/pipx/3fa/bin/python", "linux"),
        ("/elsewhere/Xy12/bin/python", "linux"),
    ],
)
@pytest.mark.parametrize(
    ("runner", "args"),
    [
        ("uvx", ("--from", "/srv/luma", "luma-ray-mcp")),
        ("uv", ("tool", "run", "--from", "/srv/luma", "luma-ray-mcp")),
        ("pipx", ("run", "--spec", "/srv/luma", "luma-ray-mcp")),
    ],
)
def test_ephemeral_environment_is_started_by_its_runner(
    executable: str, system: System, runner: str, args: tuple[str, ...]
) -> None:
    found = resolve(executable, system, commands={runner: f"/usr/bin/{runner}"}, cache="/elsewhere", source="/srv/luma")
    assert (found.program, found.args) == (f"/usr/bin/{runner}", args)
    [warning] = found.warnings
    assert f"/usr/bin/{runner}" in warning


def test_ephemeral_environment_is_started_from_its_repository() -> None:
    source = "git+https://example.com/luma-ray-mcp@main"
    found = resolve("/srv/.cache/uv/archive-v0/X/bin/python", commands={"uvx": "/usr/bin/uvx"}, source=source)
    assert found.args == ("--from", source, "luma-ray-mcp")
    found = resolve("/srv/.cache/pipx/3fa/bin/python", commands={"pipx": "/usr/bin/pipx"}, source=source)
    assert found.args == ("run", "--spec", source, "luma-ray-mcp")


def test_package_is_never_started_from_an_index() -> None:
    found = resolve("/srv/.cache/uv/archive-v0/X/bin/python", commands={"uvx": "/usr/bin/uvx"})
    assert (found.program, found.args) == ("/srv/.cache/uv/archive-v0/X/bin/python", ("-m", "luma_mcp"))


def test_warning_about_an_ephemeral_environment_without_runner() -> None:
    found = resolve("/srv/.cache/uv/archive-v0/X/bin/python")
    assert (found.program, found.args) == ("/srv/.cache/uv/archive-v0/X/bin/python", ("-m", "luma_mcp"))
    assert "temporary environment" in found.warnings[0]


@pytest.mark.parametrize(
    ("executable", "system", "reason"),
    [
        ("/tmp/luma/.venv/bin/python", "linux", "temporary"),  # noqa: S108
        ("/private/var/folders/x/T/venv/bin/python", "darwin", "temporary"),
        (r"C:\x\AppData\Local\Temp\venv\Scripts\python.exe", "win32", "temporary"),
        (f"{USERS}/ana/Documents/luma-ray-mcp/.venv/bin/python", "darwin", "protects"),
        (f"{USERS}/ana/Downloads/luma-ray-mcp/.venv/bin/python", "darwin", "protects"),
        ("/Volumes/Stick/luma-ray-mcp/.venv/bin/python", "darwin", "protects"),
        (r"C:\x\OneDrive - Fox\luma-ray-mcp\.venv\Scripts\python.exe", "win32", "protects"),
        (r"\\server\share\luma-ray-mcp\.venv\Scripts\python.exe", "win32", "protects"),
    ],
)
def test_warning_about_temporary_and_protected_folders(executable: str, system: System, reason: str) -> None:
    [warning] = resolve(executable, system).warnings
    assert reason in warning


def test_warning_about_an_environment_of_a_temporary_python() -> None:
    assert resolve("/opt/luma/bin/python", base="/tmp/python/bin/python3").warnings  # noqa: S108
    assert not resolve(f"{USERS}/ana/luma-ray-mcp/.venv/bin/python", "darwin").warnings


@pytest.mark.parametrize(
    ("record", "source"),
    [
        (None, None),
        ("", None),
        ("not JSON", None),
        ("[]", None),
        ('{"url": 3}', None),
        ({"url": "file:///srv/luma-ray-mcp", "dir_info": {"editable": True}}, None),
        ({"url": "file:///srv/luma-ray-mcp", "dir_info": {}}, str(Path("/srv/luma-ray-mcp"))),
        (
            {"url": "https://example.com/l.git", "vcs_info": {"vcs": "git", "requested_revision": "v1"}},
            "git+https://example.com/l.git@v1",
        ),
        ({"url": "https://example.com/l.git", "vcs_info": {"vcs": "git"}}, "git+https://example.com/l.git"),
        ({"url": "https://me:secret@example.com/l.git", "vcs_info": {"vcs": "git"}}, None),
    ],
)
def test_source_is_read_from_the_installers_record(record: dict[str, Any] | str | None, source: str | None) -> None:
    assert parse_source(json.dumps(record) if isinstance(record, dict) else record) == source


def test_path_of_this_installation_is_absolute() -> None:
    found = command_here()
    assert Path(found.program).is_file()
    assert Path(found.program).is_absolute()
    assert Path(found.program).parent == Path(sys.executable).parent


CLONE = Command("/srv/luma/.venv/bin/luma-ray-mcp")
WITH_SPACES_IN_ITS_PATH = Command(r"C:\My files\luma\.venv\Scripts\luma-ray-mcp.exe")


@pytest.mark.parametrize(
    ("command", "system", "environment", "typed"),
    [
        (CLONE, "linux", {}, "/srv/luma/.venv/bin/luma-ray-mcp"),
        (Command("/srv/it's mine/luma-ray-mcp"), "darwin", {}, "'/srv/it'\"'\"'s mine/luma-ray-mcp'"),
        (Command("/opt/a b/python", ("-m", "luma_mcp")), "linux", {}, "'/opt/a b/python' -m luma_mcp"),
        (
            Command(r"C:\luma\.venv\Scripts\luma-ray-mcp.exe"),
            "win32",
            {},
            r"C:\luma\.venv\Scripts\luma-ray-mcp.exe",
        ),
        (WITH_SPACES_IN_ITS_PATH, "win32", {}, r'& "C:\My files\luma\.venv\Scripts\luma-ray-mcp.exe"'),
        (WITH_SPACES_IN_ITS_PATH, "win32", {"PROMPT": "$P$G"}, r'"C:\My files\luma\.venv\Scripts\luma-ray-mcp.exe"'),
    ],
)
def test_invocation_is_quoted_for_the_shell(
    command: Command, system: System, environment: dict[str, str], typed: str
) -> None:
    assert format_invocation(command, system, on_path=None, environment=environment) == typed


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links of POSIX")
def test_invocation_is_the_name_if_path_has_this_installation(tmp_path: Path) -> None:
    """Both uv and pipx create a link to the script in a folder of PATH."""
    script, other, link = tmp_path / "tool" / "luma-ray-mcp", tmp_path / "luma-ray-mcp", tmp_path / "link"
    script.parent.mkdir()
    script.write_text("#!/x/python", encoding="utf-8")
    other.write_text("#!/y/python", encoding="utf-8")
    link.symlink_to(script)
    command = Command(str(script))
    assert format_invocation(command, "linux", on_path=str(link), environment={}) == "luma-ray-mcp"
    # PATH has another installation.
    assert format_invocation(command, "linux", on_path=str(other), environment={}) == str(script)
    assert format_invocation(command, "linux", on_path=str(tmp_path / "gone"), environment={}) == str(script)


def test_copied_launcher_on_path_is_recognized(tmp_path: Path) -> None:
    """On Windows uv and pipx copy the launcher, which contains the path of its Python."""
    for folder in ("tool", "bin"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "luma-ray-mcp.exe").write_bytes(b"MZ #!C:\\x\\python.exe")
    command = Command(str(tmp_path / "tool" / "luma-ray-mcp.exe"))
    on_path = str(tmp_path / "bin" / "luma-ray-mcp.exe")
    assert format_invocation(command, "win32", on_path=on_path, environment={}) == "luma-ray-mcp"


@pytest.mark.skipif(sys.platform == "win32", reason="the command runs in a POSIX shell")
@pytest.mark.parametrize("on_path", [True, False])
def test_printed_invocation_works_in_a_shell(tmp_path: Path, *, on_path: bool) -> None:
    path = f"{BIN}:/usr/bin:/bin" if on_path else "/usr/bin:/bin"
    code = "from luma_mcp.install.command import invocation; print(invocation())"
    environment = {"PATH": path, "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert (printed == "luma-ray-mcp\n") == on_path
    typed = ["/bin/sh", "-c", f"{printed.strip()} --version"]
    done = subprocess.run(typed, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip().endswith(__version__)) == (0, True), done.stderr


def test_invocation_imports_no_slow_modules() -> None:
    slow = ("tomlkit", "urllib.request", "importlib.metadata", "pydantic", "httpx2", "mcp")
    code = (
        "import sys; before = set(sys.modules)\n"
        "from luma_mcp.install.command import invocation; invocation()\n"
        f"print(*(set(sys.modules) - before) & {set(slow)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
