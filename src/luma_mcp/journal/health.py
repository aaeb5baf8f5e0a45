"""How a journal's file is, as somebody finds it who changes nothing in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from luma_mcp.journal.database import APPLICATION, VERSION

if TYPE_CHECKING:
    from pathlib import Path

State = Literal["well", "missing", "locked", "damaged", "newer", "foreign", "unusable"]
WAIT_SECONDS = 1.0
"""How long another process's write is waited for. Each of ours takes a few milliseconds."""
_KINDS: dict[int, State] = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
}


@dataclass(frozen=True, slots=True)
class Health:
    """`orders`: how many are in it; `why`: SQLite's words; `kept`: damaged ones that were moved away earlier."""

    state: State
    orders: int = 0
    why: str = ""
    kept: tuple[Path, ...] = ()


def health(path: Path) -> Health:
    """What is in the file, whether it is whole, and whether it could be written to now."""
    kept = tuple(sorted(path.parent.glob(f"{path.name}.damaged-*"))) if path.parent.is_dir() else ()
    if not path.exists():
        return Health("missing", kept=kept)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=WAIT_SECONDS)) as database:
            database.isolation_level = None
            state, orders, why = _examined(database)
    except sqlite3.Error as fault:
        code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
        return Health(_KINDS.get(code, "unusable"), why=str(fault), kept=kept)
    return Health(state, orders, why, kept)


def _examined(database: sqlite3.Connection) -> tuple[State, int, str]:
    [version] = database.execute("PRAGMA user_version").fetchone()
    [owner] = database.execute("PRAGMA application_id").fetchone()
    [tables] = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if owner != APPLICATION and (owner or tables):
        return "foreign", 0, ""
    if version > VERSION:
        return "newer", 0, f"version {version}"
    [found] = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        return "damaged", 0, str(found)
    # Takes the lock of a writer and gives it back: whether the file can be written to, without writing.
    database.execute("BEGIN IMMEDIATE")
    [orders] = database.execute("SELECT COUNT(*) FROM orders").fetchone() if tables else [0]
    database.execute("ROLLBACK")
    return "well", orders, ""
