"""The first process creates and updates the tables. Tables that are too old or too new are reported."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from tests.conftest import TOKEN
from tests.journal.orders import python_environment
from tests.postgres.server import PASSWORD
from tests.service.orders import place

from luma_mcp.errors import JournalUnavailable
from luma_mcp.journal.postgres import check_health
from luma_mcp.journal.postgres_schema import VERSION
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres.conftest import StartService
    from tests.postgres.server import Database

    from luma_mcp.simulator.app import Simulator


def run(*arguments: str, journal: str, **settings: str) -> tuple[int, str]:
    """Run a command as a user does. Returns its exit code and its output."""
    environment = {**python_environment(), "USEAPI_TOKEN": TOKEN, "LUMA_MCP_JOURNAL": journal, **settings}
    command = [sys.executable, "-m", "luma_mcp", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def add_version(database: Database, *, oldest: int) -> None:
    """Mark the tables as updated by a later version, which supports programs from schema version `oldest` on."""
    database.execute("INSERT INTO luma_schema (version, oldest) VALUES (%s, %s)", VERSION + 1, oldest)


def test_migrate_creates_the_tables_once(database: Database) -> None:
    code, text = run("migrate", "--dry-run", journal=database.url)
    assert (code, text.strip()) == (1, f"The tables are to be brought from version 0 to {VERSION}.")
    assert check_health(database.dsn).state == "missing"
    code, text = run("migrate", journal=database.url)
    assert (code, text.strip()) == (0, f"The tables were brought from version 0 to {VERSION}.")
    code, text = run("migrate", journal=database.url)
    assert (code, text.strip()) == (0, f"The tables have version {VERSION}: nothing is to be done.")
    assert check_health(database.dsn).state == "ok"


async def test_compatible_newer_tables_are_used(
    start_service: StartService, simulator: Simulator, database: Database
) -> None:
    await place(start_service())
    add_version(database, oldest=VERSION)
    database.execute("ALTER TABLE luma_orders ADD COLUMN tenant text")
    assert (await place(start_service())).outcome == "duplicate"
    assert len(simulator.service.jobs) == 1


async def test_incompatible_newer_tables_are_rejected(
    start_service: StartService, simulator: Simulator, database: Database
) -> None:
    service = start_service()
    result = await place(service, "A fox")
    add_version(database, oldest=VERSION + 1)
    other = start_service()
    with pytest.raises(JournalUnavailable) as refused:
        await place(other, "A cat")
    assert f"version {VERSION + 1}" in refused.value.problem
    assert "too old" in refused.value.problem
    assert len(simulator.service.jobs) == 1
    assert (await other.wait(result.job.jobid, 600)).state == "completed"
    health = check_health(database.dsn)
    assert (health.state, f"version {VERSION + 1}" in health.reason) == ("newer", True)
    code, text = run("migrate", journal=database.url)
    assert (code, "too old" in text) == (1, True)


async def test_missing_tables_are_reported_while_migrations_are_off(
    start_service: StartService, simulator: Simulator, database: Database
) -> None:
    with pytest.raises(JournalUnavailable, match="not migrated"):
        await place(start_service(journal_migrate=False))
    assert simulator.service.jobs == {}
    assert check_health(database.dsn).state == "missing"


# The address is a secret.


@pytest.mark.parametrize(
    "arguments", [("--help",), ("jobs",), ("doctor",), ("install", "cursor", "--print"), ("migrate",)]
)
@pytest.mark.parametrize("state", ["reachable", "unreachable", "wrong password", "malformed"])
def test_no_command_shows_the_address(
    database: Database, tmp_path: Path, arguments: tuple[str, ...], state: str
) -> None:
    journal = {
        "reachable": database.url,
        "unreachable": f"postgresql://studio:{PASSWORD}@127.0.0.1:1/orders",
        "wrong password": database.url.replace(PASSWORD, f"not-{PASSWORD}"),
        "malformed": f"postgresql:{PASSWORD}",
    }[state]
    places = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "LUMA_MCP_BASE_URL": "http://127.0.0.1:1"}
    _, text = run(*arguments, journal=journal, LUMA_MCP_LOG_LEVEL="DEBUG", **places)
    assert PASSWORD not in text
    assert "studio" not in text


def test_doctor_reports_problems_of_the_database(database: Database, tmp_path: Path) -> None:
    places = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "LUMA_MCP_BASE_URL": "http://127.0.0.1:1"}

    def check(journal: str, **settings: str) -> tuple[str, str]:
        _, text = run("doctor", "--json", journal=journal, **settings, **places)
        [found] = [each for each in json.loads(text)["checks"] if each["name"] == "journal"]
        return found["status"], found["detail"]

    status, detail = check(database.url)
    assert (status, "made or updated with the first order" in detail) == ("passed", True)
    status, detail = check(database.url, LUMA_MCP_JOURNAL_MIGRATE="0")
    assert (status, "no tables yet" in detail) == ("failed", True)
    run("migrate", journal=database.url)
    assert check(database.url, LUMA_MCP_JOURNAL_MIGRATE="0")[0] == "passed"
    add_version(database, oldest=VERSION + 1)
    status, detail = check(database.url)
    assert (status, f"version {VERSION + 1}" in detail) == ("failed", True)
    status, detail = check(f"postgresql://studio:{PASSWORD}@127.0.0.1:1/orders")
    assert (status, "cannot be reached" in detail) == ("failed", True)


def test_address_is_hidden_in_the_settings(database: Database) -> None:
    settings = Settings.from_environment({"LUMA_MCP_JOURNAL": database.url})
    assert isinstance(settings.journal, SecretStr)
    assert PASSWORD not in repr(settings)
