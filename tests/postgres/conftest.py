"""Tests with a real PostgreSQL server: `make postgres-test` (POSTGRES=1). Otherwise these tests are not collected.

Services are as in `tests/service`. Each acts as if it ran on a separate machine. All use the test's database.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.journal.orders import finish, send_line, start_program, wait_for_line
from tests.service.conftest import StartService, anyio_backend, start_service

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from pydantic import SecretStr
    from tests.postgres.server import Database, PostgresServer

__all__ = ["StartService", "anyio_backend", "start_service"]

if os.environ.get("POSTGRES"):
    from tests.postgres.server import postgres

    __all__ += ["postgres"]
else:
    collect_ignore_glob = ["test_*.py"]

MACHINES = """
import sys
from datetime import UTC, datetime
import anyio
from pydantic import SecretStr
from luma_mcp.journal.postgres import PostgresJournal

async def run(journal, outcomes):
    outcomes.append(await step(journal))

async def main(dsn):
    now = lambda: datetime.now(UTC)
    # Each journal uses a separate connection, as a separate process would.
    own = "{}%20-c%20luma.machine%3D{}"
    journals = [PostgresJournal(SecretStr(own.format(dsn, n)), api="api", wall_clock=now) for n in range(10)]
    for journal in journals:
        await journal.list_latest(1)
    print("ready", flush=True)
    sys.stdin.readline()
    outcomes = []
    async with anyio.create_task_group() as tasks:
        for journal in journals:
            tasks.start_soon(run, journal, outcomes)
    print(*outcomes, flush=True)
    # Closing releases their leases.
    sys.stdin.readline()
    for journal in journals:
        await journal.aclose()

anyio.run(main, sys.argv[1])
"""
"""A program of ten machines that call `step` at the same time. Each line on stdin lets it continue."""


def start_machines(step: str, database: Database, count: int = 1) -> list[subprocess.Popen[str]]:
    """Start programs of ten machines each, and wait until they are ready.

    `step`: Python that defines `async def step(journal)`, whose result is printed.
    """
    programs = [start_program(step + MACHINES, database.url) for _ in range(count)]
    for program in programs:
        assert wait_for_line(program) == "ready"
    return programs


def race(step: str, database: Database) -> list[str]:
    """Run a step at the same time on forty machines in four processes. Returns the sorted results."""
    programs = start_machines(step, database, 4)
    for program in programs:
        send_line(program)
    outcomes = " ".join(wait_for_line(program) for program in programs).split()
    for program in programs:
        send_line(program)
    assert [finish(program) for program in programs] == [0] * 4
    return sorted(outcomes)


@pytest.fixture
def database(postgres: PostgresServer) -> Database:
    return postgres.create_database()


@pytest.fixture
def find_journal(database: Database) -> Callable[[], SecretStr]:
    """Get the address of the journal for each service that is started, as on another machine."""
    return database.dsn_of_machine
