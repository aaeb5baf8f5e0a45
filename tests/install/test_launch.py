"""The command that a host gets: whole, lasting, and of this installation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from luma_mcp.install.command import Launch, launch, launch_here, source_of
from luma_mcp.install.paths import this_system

if TYPE_CHECKING:
    from luma_mcp.hosts import System

USERS = "/Users"


def started(
    executable: str,
    system: System = "linux",
    *,
    script: bool = True,
    base: str = "/usr/bin/python3",
    commands: dict[str, str] | None = None,
    cache: str | None = None,
    source: str | None = None,
) -> Launch:
    return launch(
        executable,
        system,
        base=base,
        exists=lambda _: script,
        which=(commands or {}).get,
        cache=cache,
        source=source,
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
def test_the_script_beside_this_python_is_the_command(executable: str, system: System, command: str) -> None:
    assert started(executable, system) == Launch(command)


def test_without_a_script_this_python_runs_the_package() -> None:
    assert started("/opt/python3", script=False) == Launch("/opt/python3", ("-m", "luma_mcp"))


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
def test_a_passing_environment_is_not_written_down(
    executable: str, system: System, runner: str, args: tuple[str, ...]
) -> None:
    found = started(executable, system, commands={runner: f"/usr/bin/{runner}"}, cache="/elsewhere", source="/srv/luma")
    assert (found.command, found.args) == (f"/usr/bin/{runner}", args)
    [remark] = found.remarks
    assert f"/usr/bin/{runner}" in remark


def test_a_passing_environment_of_a_repository_is_made_from_it_again() -> None:
    source = "git+https://example.com/luma-ray-mcp@main"
    found = started("/srv/.cache/uv/archive-v0/X/bin/python", commands={"uvx": "/usr/bin/uvx"}, source=source)
    assert found.args == ("--from", source, "luma-ray-mcp")
    found = started("/srv/.cache/pipx/3fa/bin/python", commands={"pipx": "/usr/bin/pipx"}, source=source)
    assert found.args == ("run", "--spec", source, "luma-ray-mcp")


def test_our_name_is_never_run_from_an_index() -> None:
    found = started("/srv/.cache/uv/archive-v0/X/bin/python", commands={"uvx": "/usr/bin/uvx"})
    assert (found.command, found.args) == ("/srv/.cache/uv/archive-v0/X/bin/python", ("-m", "luma_mcp"))


def test_a_passing_environment_that_nothing_can_make_again_is_warned_of() -> None:
    found = started("/srv/.cache/uv/archive-v0/X/bin/python")
    assert (found.command, found.args) == ("/srv/.cache/uv/archive-v0/X/bin/python", ("-m", "luma_mcp"))
    assert "temporary environment" in found.remarks[0]


@pytest.mark.parametrize(
    ("executable", "system", "word"),
    [
        ("/tmp/luma/.venv/bin/python", "linux", "temporary"),  # noqa: S108
        ("/private/var/folders/x/T/venv/bin/python", "darwin", "temporary"),
        (r"C:\x\AppData\Local\Temp\venv\Scripts\python.exe", "win32", "temporary"),
        (f"{USERS}/ana/Documents/luma-ray-mcp/.venv/bin/python", "darwin", "guards"),
        (f"{USERS}/ana/Downloads/luma-ray-mcp/.venv/bin/python", "darwin", "guards"),
        ("/Volumes/Stick/luma-ray-mcp/.venv/bin/python", "darwin", "guards"),
        (r"C:\x\OneDrive - Fox\luma-ray-mcp\.venv\Scripts\python.exe", "win32", "guards"),
        (r"\\server\share\luma-ray-mcp\.venv\Scripts\python.exe", "win32", "guards"),
    ],
)
def test_folders_that_vanish_or_are_guarded_are_warned_of(executable: str, system: System, word: str) -> None:
    [remark] = started(executable, system).remarks
    assert word in remark


def test_a_python_that_vanishes_below_an_environment_that_does_not_is_warned_of() -> None:
    assert started("/opt/luma/bin/python", base="/tmp/python/bin/python3").remarks  # noqa: S108
    assert not started(f"{USERS}/ana/luma-ray-mcp/.venv/bin/python", "darwin").remarks


@pytest.mark.parametrize(
    ("said", "source"),
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
def test_the_origin_is_what_the_installer_wrote_down(said: object, source: str | None) -> None:
    assert source_of(json.dumps(said) if isinstance(said, dict) else said) == source  # type: ignore[arg-type]


def test_this_very_installation_is_found_with_a_whole_path() -> None:
    found = launch_here(this_system(), {})
    assert Path(found.command).is_file()
    assert Path(found.command).is_absolute()
    assert Path(found.command).parent == Path(sys.executable).parent
