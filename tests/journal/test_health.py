"""The check of a journal's file reports its state and changes nothing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from tests.install.unprivileged import run_unprivileged
from tests.journal.files import (
    another_program,
    damaged,
    damaged_assets,
    damaged_tables,
    empty,
    empty_file_of_another_program,
    folder,
    later_major,
    later_minor,
    make_journal,
    notes,
    other_tables,
)
from tests.journal.orders import open_journal, python_environment, start_job, writer_lock

from luma_mcp.journal.sqlite import check_health

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHECK = """
import json, sys
from pathlib import Path
from luma_mcp.journal.sqlite import check_health
health = check_health(Path(sys.argv[1]))
print(json.dumps([health.state, health.reason, [copy.name for copy in health.damaged_copies]]))
"""


async def test_journal_in_use_is_ok(path: Path) -> None:
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
        await start_job(journal, "j2", "cat")
        health = check_health(path)
        assert (health.state, health.orders, health.reason) == ("ok", 2, "")
        await start_job(journal, "j3", "dog")
        assert journal.problem is None
    assert check_health(path).orders == 3


def test_missing_file_is_not_created(path: Path) -> None:
    assert check_health(path).state == "missing"
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (empty, "ok"),
        (damaged, "damaged"),
        (damaged_tables, "damaged"),
        (damaged_assets, "damaged"),
        (notes, "damaged"),
        (later_major, "newer"),
        (later_minor, "ok"),
        (other_tables, "foreign"),
        (another_program, "foreign"),
        (empty_file_of_another_program, "foreign"),
        (folder, "unusable"),
    ],
)
def test_state_of_each_kind_of_file(path: Path, make: Callable[[Path], None], state: str) -> None:
    path.parent.mkdir()
    make(path)
    before = {file: file.is_file() and file.read_bytes() for file in path.parent.iterdir()}
    health = check_health(path)
    assert (health.state, health.orders, health.damaged_copies) == (state, 0, ())
    assert {file: file.is_file() and file.read_bytes() for file in path.parent.iterdir()} == before


async def test_locked_file_is_reported(path: Path) -> None:
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
    with writer_lock(path):
        assert check_health(path).state == "locked"


async def test_damaged_copies_are_listed_once(path: Path) -> None:
    path.parent.mkdir()
    for name in (
        "journal.db.damaged-2",
        "journal.db.damaged-1",
        "journal.db.damaged-1-wal",
        "journal.db.damaged-1-shm",
    ):
        (path.parent / name).touch()
    assert [copy.name for copy in check_health(path).damaged_copies] == ["journal.db.damaged-1", "journal.db.damaged-2"]


@pytest.mark.parametrize("exists", [False, True])
def test_unreadable_folder_is_unusable(path: Path, exists: bool) -> None:
    """Python's `Path.exists` raises PermissionError there."""
    path.parent.mkdir()
    if exists:
        make_journal(path)
    path.parent.chmod(0)
    try:
        result = run_unprivileged([sys.executable, "-c", CHECK, str(path)], environment=python_environment())
    finally:
        path.parent.chmod(0o700)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == ["unusable", "Permission denied", []]


def test_unwritable_file_is_unusable(path: Path) -> None:
    path.parent.mkdir()
    make_journal(path)
    path.chmod(0o400)
    result = run_unprivileged([sys.executable, "-c", CHECK, str(path)], environment=python_environment())
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0] == "unusable"
