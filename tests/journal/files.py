"""Create files in the place of a journal: damaged ones, and those of other versions and programs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
from tests.journal.orders import open_journal

if TYPE_CHECKING:
    from pathlib import Path

MAJOR = 1000
"""What a higher major number of the format adds to `user_version`."""
PAGE_SIZE = 4096


def empty(path: Path) -> None:
    path.touch()


def damaged(path: Path) -> None:
    path.write_bytes(b"this is no database, " * 400)


def damaged_tables(path: Path) -> None:
    """Create a journal in which only the first page is intact."""
    make_journal(path)
    damage_tables(path)


def damaged_assets(path: Path) -> None:
    """Create a journal in which only one table is damaged, which few statements read."""
    make_journal(path)
    with closing(sqlite3.connect(path)) as database:
        [page] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'assets'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_SIZE)
        file.write(b"\xff" * PAGE_SIZE)


def later_major(path: Path) -> None:
    make_journal(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {MAJOR + 1}")


def later_minor(path: Path) -> None:
    """Create a journal of a later version, with tables and columns that this version does not know."""
    make_journal(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 9")
        database.execute("CREATE TABLE webhooks (url TEXT)")
        database.execute("ALTER TABLE orders ADD COLUMN cost REAL")
        database.execute("ALTER TABLE assets ADD COLUMN colour INTEGER NOT NULL DEFAULT 0")


def other_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE orders (something INTEGER)")


def another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA application_id = 1")
        database.execute("CREATE TABLE bookmarks (url TEXT)")


def empty_file_of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA application_id = 1")


def notes(path: Path) -> None:
    path.write_text("my notes\n" * 200)


def folder(path: Path) -> None:
    path.mkdir()


def make_journal(path: Path) -> None:
    async def main() -> None:
        async with open_journal(path) as journal:
            await journal.list_latest(1)

    anyio.run(main)


def damage_tables(path: Path) -> None:
    """Overwrite everything but the first page. Other connections may still have pages in their caches."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(PAGE_SIZE)
        size = path.stat().st_size - PAGE_SIZE
        file.write(b"\xff" * size)
