"""The checks of folders, the journal and the settings: each test causes a failure and applies its fix."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.conftest import MIDNIGHT
from tests.doctor.conftest import as_ordinary_user

from luma_mcp.api.protocol import VideoRequest
from luma_mcp.journal.protocol import Order
from luma_mcp.journal.sqlite import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.doctor.conftest import Machine

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="the commands run in a POSIX shell")


@pytest.mark.parametrize("name", ["file", "file/deeper"])
def test_output_folder_that_is_a_file_is_a_failure(machine: Machine, name: str) -> None:
    (machine.home / "file").touch()
    machine.set(LUMA_MCP_OUTPUT_DIR=machine.home / name)
    failure = machine.check().failure("output folder")
    assert "is not a folder" in failure.detail
    assert failure.fix == "Set LUMA_MCP_OUTPUT_DIR to a folder that you may write to."
    machine.set(LUMA_MCP_OUTPUT_DIR=machine.home / "Clips")
    assert machine.check().failures == []
    assert not (machine.home / "Clips").exists()


@POSIX
def test_read_only_output_folder_is_a_failure(machine: Machine) -> None:
    read_only = machine.home / "read-only"
    read_only.mkdir(mode=0o500)
    machine.set(LUMA_MCP_OUTPUT_DIR=read_only)
    failure = as_ordinary_user(machine.check).failure("output folder")
    assert failure.detail == f"{read_only} cannot be written to: Permission denied"
    machine.set(LUMA_MCP_OUTPUT_DIR=machine.home)
    assert as_ordinary_user(machine.check).failures == []


@POSIX
def test_printed_command_creates_a_missing_input_folder(machine: Machine) -> None:
    missing = machine.home / "my pictures" / "it's new"
    machine.set(LUMA_MCP_INPUT_DIRS=os.pathsep.join([str(machine.home), str(missing)]))
    failure = machine.check().failure("input folders")
    assert f"{missing} does not exist" in failure.detail
    machine.type(failure.fix)
    assert machine.check().failures == []


def test_input_folder_that_is_a_file_is_a_failure(machine: Machine) -> None:
    file = machine.home / "photo.png"
    file.touch()
    machine.set(LUMA_MCP_INPUT_DIRS=os.pathsep.join([str(machine.home), str(file)]))
    assert machine.check().failure("input folders").fix == f"Remove {file} from LUMA_MCP_INPUT_DIRS."
    machine.set(LUMA_MCP_INPUT_DIRS=machine.home)
    assert machine.check().failures == []


@POSIX
def test_printed_command_makes_an_input_folder_readable(machine: Machine) -> None:
    closed = machine.home / "closed"
    closed.mkdir(mode=0)
    machine.set(LUMA_MCP_INPUT_DIRS=closed)
    failure = as_ordinary_user(machine.check).failure("input folders")
    assert failure.detail == f"{closed} cannot be read: Permission denied"
    assert failure.fix == f"chmod u+rx {closed}"
    machine.type(failure.fix)
    assert as_ordinary_user(machine.check).failures == []


def create_journal(machine: Machine) -> Path:
    """Create a journal with two orders, as a server leaves it."""
    path = machine.home / "state" / "journal.db"
    machine.set(LUMA_MCP_JOURNAL=path)
    anyio.run(record_orders, path, 2)
    return path


async def record_orders(path: Path, count: int) -> None:
    journal = SqliteJournal(path, api="", wall_clock=lambda: MIDNIGHT)
    for number in range(count):
        order = Order(key=str(number), request=VideoRequest("a fox"), ordered_at=MIDNIGHT)
        await journal.insert_pending(order, allow_duplicate=False, windows=())
    await journal.aclose()


def test_intact_journal_is_not_changed(machine: Machine) -> None:
    path = create_journal(machine)
    before, files = path.read_bytes(), sorted(path.parent.iterdir())
    result = machine.check().get("journal")
    assert (result.status, "2 orders" in result.detail) == ("passed", True)
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == files


def test_damaged_copy_beside_the_journal_is_named(machine: Machine) -> None:
    path = create_journal(machine)
    shutil.copy(path, f"{path}.damaged-20261122-120000")
    assert "kept as journal.db.damaged-20261122-120000" in machine.check().get("journal").detail


@pytest.mark.parametrize("lock", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
def test_locked_journal_is_a_failure_while_it_is_locked(machine: Machine, lock: str) -> None:
    path = create_journal(machine)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute(lock)
        failure = machine.check().failure("journal")
        assert "is locked by another process" in failure.detail
        assert failure.fix.startswith(f"Close the program that has {path} open")
    assert machine.check().failures == []


def overwrite_file(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be examined.  " * 100)


def overwrite_schema(path: Path) -> None:
    data = bytearray(path.read_bytes())
    # Only the header of the first page stays. The list of tables after it is lost.
    data[100:4096] = b"\xff" * 3996
    path.write_bytes(data)


def overwrite_rows(path: Path) -> None:
    data = bytearray(path.read_bytes())
    # The page of the orders. The file can be opened, and its tables can be listed.
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)


@POSIX
@pytest.mark.parametrize("damage", [overwrite_file, overwrite_schema, overwrite_rows])
def test_printed_command_moves_a_damaged_journal(machine: Machine, damage: Callable[[Path], None]) -> None:
    path = create_journal(machine)
    for _ in range(2):
        damage(path)
        failure = machine.check().failure("journal")
        assert "is damaged" in failure.detail
        machine.type(failure.fix)
        assert machine.check().failures == []
        assert not path.exists()
        create_journal(machine)


def set_pragma(path: Path, pragma: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(pragma)


@pytest.mark.parametrize(
    ("pragma", "problem"),
    [("PRAGMA user_version = 999000", "newer luma-ray-mcp"), ("PRAGMA application_id = 7", "another program")],
)
def test_journal_of_another_program_is_not_changed(machine: Machine, pragma: str, problem: str) -> None:
    path = create_journal(machine)
    set_pragma(path, pragma)
    before = path.read_bytes()
    failure = machine.check().failure("journal")
    assert problem in failure.detail
    assert "Set LUMA_MCP_JOURNAL to another file, or to off." in failure.fix
    assert path.read_bytes() == before
    machine.set(LUMA_MCP_JOURNAL=machine.home / "another.db")
    assert machine.check().failures == []


@POSIX
def test_printed_command_makes_a_journal_writable(machine: Machine) -> None:
    path = create_journal(machine)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    failure = as_ordinary_user(machine.check).failure("journal")
    assert failure.detail.startswith(f"{path} cannot be used")
    assert failure.fix == f"chmod u+rwx {path.parent} && chmod u+rw {path}"
    machine.type(failure.fix)
    assert as_ordinary_user(machine.check).failures == []


def test_folder_in_place_of_the_journal_is_a_failure(machine: Machine) -> None:
    for place in (machine.home, machine.home / "file" / "journal.db"):
        (machine.home / "file").touch()
        machine.set(LUMA_MCP_JOURNAL=place)
        assert machine.check().failure("journal").fix == "Set LUMA_MCP_JOURNAL to another file, or to off."
    machine.set(LUMA_MCP_JOURNAL="off")
    assert machine.check().failures == []
    assert machine.check().get("journal").status == "note"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LUMA_MCP_MAX_WAIT_SECONDS", "soon"),
        ("LUMA_MCP_OUTPUT_DIR", "clips"),
        ("LUMA_MCP_EMAIL", "nobody"),
        ("LUMA_MCP_LOG_LEVEL", "loud"),
        ("LUMA_MCP_SCHEMA", "loose"),
    ],
)
def test_invalid_setting_is_a_failure(machine: Machine, name: str, value: str) -> None:
    machine.set(**{name: value})
    failure = machine.check().failure("settings")
    assert failure.fix == f"Set {name} as this line says, or unset it."
    assert failure.detail.startswith(f"{name} must be ")
    machine.unset(name)
    assert machine.check().failures == []


def test_server_that_exits_because_of_a_setting_is_a_failure(machine: Machine) -> None:
    machine.set(LUMA_MCP_SCHEMA="loose")
    [settings, server] = machine.check(server=True).failures
    assert (settings.name, server.name) == ("settings", "server")
    assert server.detail.startswith("ends with exit code 2; it says: ")
    assert "LUMA_MCP_SCHEMA must be " in server.detail
    assert server.fix == "Set LUMA_MCP_SCHEMA as the lines above say, or unset them."


def test_invalid_token_is_not_shown(machine: Machine) -> None:
    machine.set(USEAPI_TOKEN="user:1 hunter2")
    report = machine.check(server=True)
    assert {failure.name for failure in report.failures} == {"settings", "token", "server"}
    assert "hunter2" not in repr(report)


@pytest.mark.parametrize("name", ["LUMA_MCP_EMAIL", "LUMA_MCP_OUTPUT_DIR", "LUMA_MCP_LOG_LEVEL"])
def test_token_in_another_variable_is_not_shown(machine: Machine, name: str) -> None:
    machine.set(**{name: "user:1-hunter2@mine"})
    report = machine.check(server=True)
    [settings, server] = report.failures
    assert (settings.name, server.name) == ("settings", "server")
    assert "USEAPI_TOKEN" in settings.detail
    assert "hunter2" not in repr(report)


def test_settings_are_shown_without_the_token(machine: Machine) -> None:
    machine.set(LUMA_MCP_SCHEMA="exact", LUMA_MCP_LOG_LEVEL="${LEVEL}", LUMA_MCP_OUTPUT_DRI="/x")
    results = [result for result in machine.check().results if result.name == "settings"]
    assert [result.status for result in results] == ["note", "note", "passed"]
    details = "\n".join(result.detail for result in results)
    for part in (
        "LUMA_MCP_OUTPUT_DRI is not a setting; did you mean LUMA_MCP_OUTPUT_DIR?",
        "LUMA_MCP_LOG_LEVEL is still a placeholder",
        "from the environment: USEAPI_TOKEN (not shown), LUMA_MCP_BASE_URL=http://127.0.0.1:",
        "LUMA_MCP_SCHEMA=exact",
    ):
        assert part in details


def test_package_in_a_wrong_version_is_a_failure(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version comes from the metadata that Python finds first."""
    shadow = machine.home / "shadow" / "mcp-9.9.dist-info"
    shadow.mkdir(parents=True)
    (shadow / "METADATA").write_text("Metadata-Version: 2.1\nName: mcp\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(shadow.parent)
    failure = machine.check().failure("packages")
    assert failure.detail == "mcp 9.9 is installed, but luma-ray-mcp needs mcp<3,>=2.3"
    assert failure.fix.startswith("Reinstall luma-ray-mcp")
    (shadow / "METADATA").write_text("Metadata-Version: 2.1\nName: mcp\nVersion: 2.3.0\n")
    assert machine.check().failures == []


@POSIX
@pytest.mark.parametrize(
    ("name", "variable", "fix"),
    [
        ("output folder", "LUMA_MCP_OUTPUT_DIR", "Set LUMA_MCP_OUTPUT_DIR to a folder that you may write to."),
        ("input folders", "LUMA_MCP_INPUT_DIRS", "chmod u+rx"),
        ("journal", "LUMA_MCP_JOURNAL", "LUMA_MCP_JOURNAL"),
    ],
)
def test_path_in_an_unreadable_folder_is_a_failure(machine: Machine, name: str, variable: str, fix: str) -> None:
    closed = machine.home / "closed"
    (closed / "deep").mkdir(parents=True)
    closed.chmod(0)
    machine.set(**{variable: closed / "deep" / "here"})
    report = as_ordinary_user(machine.check)
    closed.chmod(0o700)
    assert fix in report.failure(name).fix
