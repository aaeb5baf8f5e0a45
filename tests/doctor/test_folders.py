"""Folders, the journal and the settings: each failure made on purpose, and ended by its mend."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.doctor.conftest import BIN, Machine

from luma_mcp.journal.database import Database, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="the commands are typed into a POSIX shell")
RESTRICTED = """
import ctypes, os, sys
# Without the rights of root to write and to read everywhere (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH).
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
ctypes.CDLL(None).prctl(24, 2, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def as_a_person(machine: Machine) -> str:
    """What doctor tells somebody to whom file modes apply."""
    command = [sys.executable, "-m", "luma_mcp", "doctor"]
    within = [sys.executable, "-c", RESTRICTED, *command] if sys.platform == "linux" else command
    done = subprocess.run(
        [*within, "--seconds", "60"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        cwd=machine.home,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    return done.stdout


@pytest.mark.parametrize("name", ["file", "file/deeper"])
def test_an_output_folder_that_is_no_folder_is_to_be_another(machine: Machine, name: str) -> None:
    (machine.home / "file").touch()
    machine.set(LUMA_MCP_OUTPUT_DIR=machine.home / name)
    failure = machine.diagnose().failure("output folder")
    assert "is no folder" in failure.detail
    assert failure.mend == "Set LUMA_MCP_OUTPUT_DIR to a folder that you may write to."
    machine.set(LUMA_MCP_OUTPUT_DIR=machine.home / "Clips")
    assert machine.diagnose().failures == []
    assert not (machine.home / "Clips").exists()


@POSIX
def test_an_output_folder_of_somebody_else_is_to_be_another(machine: Machine) -> None:
    theirs = machine.home / "theirs"
    theirs.mkdir(mode=0o500)
    machine.set(LUMA_MCP_OUTPUT_DIR=theirs)
    told = as_a_person(machine)
    assert f"{theirs} cannot be written to: Permission denied" in told
    machine.set(LUMA_MCP_OUTPUT_DIR=machine.home)
    assert "All is well." in as_a_person(machine)


@POSIX
def test_an_input_folder_that_is_missing_is_made_by_the_command_that_is_named(machine: Machine) -> None:
    missing = machine.home / "my pictures" / "it's new"
    machine.set(LUMA_MCP_INPUT_DIRS=os.pathsep.join([str(machine.home), str(missing)]))
    failure = machine.diagnose().failure("input folders")
    assert f"{missing} does not exist" in failure.detail
    machine.type(failure.mend)
    assert machine.diagnose().failures == []


def test_an_input_folder_that_is_a_file_is_to_be_taken_out(machine: Machine) -> None:
    file = machine.home / "photo.png"
    file.touch()
    machine.set(LUMA_MCP_INPUT_DIRS=os.pathsep.join([str(machine.home), str(file)]))
    assert machine.diagnose().failure("input folders").mend == f"Take {file} out of LUMA_MCP_INPUT_DIRS."
    machine.set(LUMA_MCP_INPUT_DIRS=machine.home)
    assert machine.diagnose().failures == []


@POSIX
def test_an_input_folder_that_may_not_be_read_is_opened_by_the_command_that_is_named(machine: Machine) -> None:
    closed = machine.home / "closed"
    closed.mkdir(mode=0)
    machine.set(LUMA_MCP_INPUT_DIRS=closed)
    told = as_a_person(machine)
    assert f"{closed} cannot be read: Permission denied" in told
    machine.type(f"chmod u+rx {closed}")
    assert f"→ chmod u+rx {closed}" in told
    assert "All is well." in as_a_person(machine)


def journal(machine: Machine) -> Path:
    """A journal with two orders in it, as a server has left it."""
    path = machine.home / "state" / "journal.db"
    database = Database(path)
    for order in ("a", "b"):
        row = {"id": order, "api": "", "key": "", "state": "running", "request": "{}", "ordered_at": 0.0}
        database.write(partial(put, table="orders", row=row))
    database.close()
    machine.set(LUMA_MCP_JOURNAL=path)
    return path


def test_a_journal_that_is_well_tells_how_many_orders_it_has_and_stays_as_it_is(machine: Machine) -> None:
    path = journal(machine)
    before = path.read_bytes()
    finding = machine.diagnose().one("journal")
    assert (finding.status, "2 orders" in finding.detail) == ("passed", True)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["journal.db"]


def test_a_journal_beside_a_damaged_one_tells_where_that_is_kept(machine: Machine) -> None:
    path = journal(machine)
    shutil.copy(path, f"{path}.damaged-20261122-120000")
    assert "kept as journal.db.damaged-20261122-120000" in machine.diagnose().one("journal").detail


@pytest.mark.parametrize("lock", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
def test_a_locked_journal_is_well_when_whoever_holds_it_lets_go(machine: Machine, lock: str) -> None:
    path = journal(machine)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute(lock)
        failure = machine.diagnose().failure("journal")
        assert "is locked by another process" in failure.detail
        assert failure.mend.startswith(f"Close the program that holds {path} open")
    assert machine.diagnose().failures == []


def overwritten(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be looked at. " * 100)


def scratched(path: Path) -> None:
    data = bytearray(path.read_bytes())
    # The first page keeps its header, and what it says of the tables is gone.
    data[100:4096] = b"\xff" * 3996
    path.write_bytes(data)


def worn(path: Path) -> None:
    data = bytearray(path.read_bytes())
    # The page of the orders: the file opens, and its tables can be listed.
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)


@POSIX
@pytest.mark.parametrize("damage", [overwritten, scratched, worn])
def test_a_damaged_journal_is_moved_away_by_the_command_that_is_named(
    machine: Machine, damage: Callable[[Path], None]
) -> None:
    path = journal(machine)
    for _ in range(2):
        damage(path)
        failure = machine.diagnose().failure("journal")
        assert "is damaged" in failure.detail
        machine.type(failure.mend)
        assert machine.diagnose().failures == []
        assert not path.exists()
        journal(machine)


def version(path: Path, pragma: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(pragma)


@pytest.mark.parametrize(
    ("pragma", "words"),
    [("PRAGMA user_version = 999", "newer luma-ray-mcp"), ("PRAGMA application_id = 7", "another program")],
)
def test_a_journal_that_is_not_for_this_program_is_left_alone_for_another_file(
    machine: Machine, pragma: str, words: str
) -> None:
    path = journal(machine)
    version(path, pragma)
    before = path.read_bytes()
    failure = machine.diagnose().failure("journal")
    assert words in failure.detail
    assert "Set LUMA_MCP_JOURNAL to another file, or to off." in failure.mend
    assert path.read_bytes() == before
    machine.set(LUMA_MCP_JOURNAL=machine.home / "another.db")
    assert machine.diagnose().failures == []


@POSIX
def test_a_journal_that_may_not_be_written_is_opened_by_the_command_that_is_named(machine: Machine) -> None:
    path = journal(machine)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    told = as_a_person(machine)
    assert f"{path} cannot be used" in told
    mend = f"chmod u+rwx {path.parent} && chmod u+rw {path}"
    assert f"→ {mend}" in told
    machine.type(mend)
    assert "All is well." in as_a_person(machine)


def test_a_journal_in_the_place_of_a_folder_is_to_be_another(machine: Machine) -> None:
    for place in (machine.home, machine.home / "file" / "journal.db"):
        (machine.home / "file").touch()
        machine.set(LUMA_MCP_JOURNAL=place)
        assert machine.diagnose().failure("journal").mend == "Set LUMA_MCP_JOURNAL to another file, or to off."
    machine.set(LUMA_MCP_JOURNAL="off")
    assert machine.diagnose().failures == []
    assert machine.diagnose().one("journal").status == "note"


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
def test_a_setting_that_cannot_be_used_is_to_be_set_as_its_line_says_or_unset(
    machine: Machine, name: str, value: str
) -> None:
    machine.set(**{name: value})
    findings = machine.diagnose()
    [failure] = findings.failures
    assert (failure.name, failure.mend) == ("settings", f"Set {name} as this line says, or unset it.")
    assert failure.detail.startswith(f"{name} must be ")
    machine.unset(name)
    assert machine.diagnose().failures == []


def test_a_token_that_cannot_be_one_is_not_shown(machine: Machine) -> None:
    machine.set(USEAPI_TOKEN="user:1 hunter2")
    diagnosis = machine.diagnose()
    assert {failure.name for failure in diagnosis.failures} == {"settings", "token"}
    assert "hunter2" not in repr(diagnosis)


@pytest.mark.parametrize("name", ["LUMA_MCP_EMAIL", "LUMA_MCP_OUTPUT_DIR", "LUMA_MCP_LOG_LEVEL"])
def test_a_token_in_another_variable_is_not_shown_and_belongs_elsewhere(machine: Machine, name: str) -> None:
    machine.set(**{name: "user:1-hunter2@mine"})
    diagnosis = machine.diagnose()
    assert "USEAPI_TOKEN" in diagnosis.failure("settings").detail
    assert "hunter2" not in repr(diagnosis)


def test_each_setting_is_told_with_where_it_came_from_but_for_the_token(machine: Machine) -> None:
    machine.set(LUMA_MCP_SCHEMA="exact", LUMA_MCP_LOG_LEVEL="${LEVEL}", LUMA_MCP_OUTPUT_DRI="/x")
    told = [finding for finding in machine.diagnose().findings if finding.name == "settings"]
    assert [finding.status for finding in told] == ["note", "note", "passed"]
    details = "\n".join(finding.detail for finding in told)
    for words in (
        "LUMA_MCP_OUTPUT_DRI is no setting; LUMA_MCP_OUTPUT_DIR is one",
        "LUMA_MCP_LOG_LEVEL still is a placeholder",
        "from the environment: USEAPI_TOKEN (not shown), LUMA_MCP_BASE_URL=http://127.0.0.1:",
        "LUMA_MCP_SCHEMA=exact",
    ):
        assert words in details


@POSIX
def test_a_package_of_a_version_that_does_not_go_is_replaced_by_the_command_that_is_named(machine: Machine) -> None:
    """The version is made up by what Python takes for the package; the command's place is taken by what it would do."""
    shadow = machine.home / "shadow" / "mcp-9.9.dist-info"
    shadow.mkdir(parents=True)
    (shadow / "METADATA").write_text("Metadata-Version: 2.1\nName: mcp\nVersion: 9.9\n")
    machine.set(PYTHONPATH=shadow.parent)
    told = as_a_person(machine)
    assert "mcp 9.9 is here, and luma-ray-mcp needs mcp<3,>=2.3" in told
    assert f"→ {BIN / 'python'}" in told
    assert "pip install 'mcp<3,>=2.3'" in told
    (shadow / "METADATA").write_text("Metadata-Version: 2.1\nName: mcp\nVersion: 2.3.0\n")
    assert "All is well." in as_a_person(machine)
