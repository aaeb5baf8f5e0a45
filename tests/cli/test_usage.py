"""`luma-ray-mcp usage`: who ordered what, and what it cost."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from luma_mcp.api.protocol import Job, VideoRequest
from luma_mcp.journal.protocol import Order, join_api
from luma_mcp.journal.sqlite import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.commands import Run

NOW = datetime.now(UTC)
CREDENTIAL, OTHER = "c0ffee0123456789", "deadbeef01234567"
ADA, BOB = join_api(CREDENTIAL, "ada"), join_api(CREDENTIAL, "bob")
FIGURES = ("tenant", "name", "api", "orders", "completed", "failed", "running", "unknown", "cost", "unit", "unpriced")


@pytest.fixture
def journal(tmp_path: Path) -> str:
    """A journal with the orders of two tenants, and of a user with their own credential."""
    path = tmp_path / "journal.db"

    async def write() -> None:
        await record(path, ADA, "1", "completed", ordered_by="Ada Lovelace", credits_used=20)
        await record(path, ADA, "2", "completed", ordered_by="Ada King", credits_used=50, age=timedelta(days=40))
        await record(path, ADA, "3", "failed", ordered_by="Ada Lovelace", charged="no")
        await record(path, BOB, "4", "running", ordered_by="=HYPERLINK(1)")
        await record(path, OTHER, "5", "completed", model="ray-3.2", price=0.3)

    anyio.run(write)
    return str(path)


async def record(
    path: Path,
    api: str,
    jobid: str,
    state: str,
    *,
    ordered_by: str = "",
    model: str = "ray-v3",
    price: float | None = None,
    age: timedelta = timedelta(),
    **result: Any,
) -> None:
    journal = SqliteJournal(path, api=api, wall_clock=lambda: NOW)
    request = VideoRequest.from_params({"prompt": "A fox", "model": model})
    order = Order(jobid, request, NOW - age, ordered_by=ordered_by, price=price)
    await journal.insert_pending(order, allow_duplicate=False, windows=())
    await journal.mark_sending(order)
    await journal.record_job(order, jobid)
    if state != "running":
        await journal.record_state(Job(jobid, state, **result))
    await journal.aclose()


def test_usage_is_a_table_with_sums(run: Run, journal: str) -> None:
    done = run("usage", LUMA_MCP_JOURNAL=journal)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["tenant", "name", "API", "orders", "completed", "failed", "running", "unknown", "cost"]
    assert lines[1] == ["owner", "of", OTHER, "-", "agents", "1", "1", "0", "0", "0", "$0.30"]
    assert lines[2] == ["all", "-", "agents", "1", "1", "0", "0", "0", "$0.30"]
    assert lines[3] == ["ada", "Ada", "King,", "Ada", "Lovelace", "useapi", "3", "2", "1", "0", "0", "70", "credits"]
    assert lines[4] == ["bob", "=HYPERLINK(1)", "useapi", "1", "0", "0", "1", "0", "0", "credits"]
    assert lines[5] == ["all", "-", "useapi", "4", "2", "1", "1", "0", "70", "credits"]
    assert done.stdout.splitlines()[6] == "Not in the costs: 1 order of which it is not known."


def test_usage_for_programs(run: Run, journal: str) -> None:
    done = run("usage", "--json", LUMA_MCP_JOURNAL=journal)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [[row[name] for name in FIGURES] for row in rows] == [
        ["", "", "agents", 1, 1, 0, 0, 0, 0.3, "dollars", 0],
        ["ada", "Ada King, Ada Lovelace", "useapi", 3, 2, 1, 0, 0, 70.0, "credits", 0],
        ["bob", "=HYPERLINK(1)", "useapi", 1, 0, 0, 1, 0, 0.0, "credits", 1],
    ]
    assert [row["credential"] for row in rows] == [OTHER, CREDENTIAL, CREDENTIAL]


def test_usage_as_csv_has_no_formulas(run: Run, journal: str) -> None:
    done = run("usage", "--csv", LUMA_MCP_JOURNAL=journal)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["name"] for row in rows] == ["", "Ada King, Ada Lovelace", "'=HYPERLINK(1)"]
    assert (rows[1]["cost"], rows[1]["unit"], rows[1]["orders"]) == ("70.0", "credits", "3")


def test_usage_since_a_time(run: Run, journal: str) -> None:
    done = run("usage", "--json", "--since", "30d", LUMA_MCP_JOURNAL=journal)
    ada = json.loads(done.stdout.splitlines()[1])
    assert (ada["name"], ada["orders"], ada["cost"]) == ("Ada Lovelace", 2, 20.0)


UNREADABLE: dict[str, Callable[[Path], dict[str, str]]] = {
    "There is no record of orders": lambda _: {"LUMA_MCP_JOURNAL": "off"},
    "The record of orders cannot be read: the file is a database of another program.": lambda folder: {
        "LUMA_MCP_JOURNAL": str(folder / "other.db")
    },
}


@pytest.mark.parametrize(("text", "settings"), UNREADABLE.items(), ids=["none", "foreign"])
def test_without_a_readable_journal(
    run: Run, tmp_path: Path, *, text: str, settings: Callable[[Path], dict[str, str]]
) -> None:
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE other_table (id)")
    done = run("usage", **settings(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert text in done.stderr


def test_nothing_was_ordered(run: Run, tmp_path: Path) -> None:
    done = run("usage", LUMA_MCP_JOURNAL=str(tmp_path / "new.db"))
    assert (done.returncode, done.stdout) == (0, "Nothing was ordered.\n")
    assert not (tmp_path / "new.db").exists()
    assert run("usage", "--json", LUMA_MCP_JOURNAL=str(tmp_path / "new.db")).stdout == ""
