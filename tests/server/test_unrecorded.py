"""An unusable journal: results of orders warn about it, or nothing is ordered, depending on the settings."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import ERAS
from tests.install.unprivileged import run_unprivileged
from tests.journal.files import another_program, folder, later_major, make_journal
from tests.journal.orders import execute, python_environment
from tests.server.calls import call, order, order_error
from tests.transports import UnreliableTransport

from luma_mcp.settings import Settings, SettingsError
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

REQUIRED = {"LUMA_MCP_JOURNAL_REQUIRED": "1"}
LONG_WAIT = 200
"""In seconds. Longer than any job of these tests."""
FOLDER_PROGRAM = """
import json, sys
from pathlib import Path
import anyio, httpx2
from mcp import Client
from tests.clock import ClockThatWaitsForThreads
from tests.conftest import IN_MEMORY, TOKEN, resolve, simulator_of, wall_clock
from tests.server.calls import order
from trio.testing import MockClock
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings

async def main():
    simulator = simulator_of(USEAPI)
    environment = IN_MEMORY | {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_JOURNAL": sys.argv[1]}
    contents = []
    for required in ("1", "0"):
        settings = Settings.from_environment(environment | {"LUMA_MCP_JOURNAL_REQUIRED": required})
        transport = httpx2.ASGITransport(simulator)
        server = build_server(settings, transport=transport, resolve=resolve, wall_clock=wall_clock)
        async with Client(server) as client:
            text, content = await order(client)
            contents.append([text, content, simulator.requests["POST /videos"]])
    print(json.dumps(contents))

clock = MockClock(autojump_threshold=0)
instruments = [ClockThatWaitsForThreads(clock)]
anyio.run(main, backend="trio", backend_options={"clock": clock, "instruments": instruments})
"""


@contextmanager
def lock(path: Path, *, readable: bool = True) -> Iterator[Callable[[], object]]:
    """Lock the file as another program. Yields a function that releases it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE" if readable else "BEGIN EXCLUSIVE")
        yield partial(holder.execute, "ROLLBACK")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def assert_warned(text: str, content: dict[str, Any], problem: str) -> None:
    [warning] = content["warnings"]
    assert f"({problem})" in warning
    assert "may be charged twice" in warning
    assert f"Warning: {warning}" in text


UNUSABLE = [
    (later_major, "the file was written by a later version that does not share it"),
    (another_program, "the file is a database of another program"),
    (folder, "the file cannot be used (unable to open database file)"),
]


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(("make", "problem"), UNUSABLE)
async def test_result_of_an_order_warns(
    server: Server, journal: Path, make: Callable[[Path], None], problem: str, mode: str
) -> None:
    await anyio.to_thread.run_sync(make, journal)
    async with server(mode) as client:
        for outcome, prompt, seconds in [
            ("created", "A fox", 0),
            ("duplicate", "A fox", 0),
            ("created", "A cat", LONG_WAIT),
            ("created", "A hen simulate:fail", LONG_WAIT),
        ]:
            text, content = await order(client, prompt, wait_seconds=seconds)
            assert content["outcome"] == outcome
            assert_warned(text, content, problem)


async def test_result_without_a_problem_has_no_warnings(server: Server, journal: Path) -> None:
    async with server() as client:
        text, content = await order(client)
    assert "warnings" not in content
    assert "Warning" not in text
    assert execute(journal, "SELECT jobid FROM orders") == [(content["jobid"],)]


async def test_journal_that_is_off_needs_no_warning(server: Server) -> None:
    """The owner has turned it off on purpose."""
    async with server(LUMA_MCP_JOURNAL="off") as client:
        text, content = await order(client)
    assert "warnings" not in content
    assert "Warning" not in text


async def test_locked_journal_warns(server: Server, journal: Path) -> None:
    await anyio.to_thread.run_sync(make_journal, journal)
    async with server() as client:
        with lock(journal):
            text, content = await order(client)
            assert_warned(text, content, "another process keeps the file locked")
    # The order was recorded when the server ended.
    assert execute(journal, "SELECT jobid FROM orders") == [(content["jobid"],)]


async def test_error_of_unknown_outcome_warns(server: Server, simulator: Simulator, journal: Path) -> None:
    await anyio.to_thread.run_sync(another_program, journal)
    lossy = UnreliableTransport(simulator, httpx2.ReadTimeout("no answer"))
    async with server(transport=lossy) as client:
        for _ in range(2):
            text, content = await order(client)
            assert content["error"]["kind"] == "outcome_unknown"
            assert_warned(text, content, "the file is a database of another program")


async def test_error_after_an_order_warns(server: Server, simulator: Simulator, journal: Path) -> None:
    await anyio.to_thread.run_sync(another_program, journal)
    async with server() as client:
        text, content = await order(client, "A fox simulate:revoked", wait_seconds=45)
    [jobid] = simulator.service.jobs
    assert (content["error"]["jobid"], content["error"]["charged"]) == (jobid, "yes")
    assert_warned(text, content, "the file is a database of another program")


@pytest.mark.parametrize("status", [400, 401, 402, 422])
async def test_order_that_the_api_rejects_warns(
    server: Server, simulator: Simulator, journal: Path, status: int
) -> None:
    """The order was sent without checking those of other processes."""
    await anyio.to_thread.run_sync(another_program, journal)
    simulator.faults.append(Fault("POST", "/videos", status, b'{"error": "The API rejects this"}'))
    async with server() as client:
        text, content = await order(client, "A fox")
    assert content["error"]["charged"] == "no"
    assert_warned(text, content, "the file is a database of another program")


async def test_request_that_is_not_sent_needs_no_warning(server: Server, journal: Path) -> None:
    await anyio.to_thread.run_sync(another_program, journal)
    async with server() as client:
        text, content = await order(client, resolution="8k")
    assert content["error"]["charged"] == "no"
    assert "warnings" not in content
    assert "Warning" not in text


# A required journal.


@pytest.mark.parametrize(("make", "problem"), UNUSABLE)
async def test_order_is_rejected_without_a_usable_required_journal(
    server: Server, simulator: Simulator, journal: Path, make: Callable[[Path], None], problem: str
) -> None:
    await anyio.to_thread.run_sync(make, journal)
    async with server(**REQUIRED) as client:
        for arguments in ({}, {"new_take": True}, {"wait_seconds": LONG_WAIT}):
            error = await order_error(client, **arguments)
            assert (error["kind"], error["charged"], error["next_action"]) == ("journal_unavailable", "no", "fix_setup")
            assert problem in error["message"]
            assert "LUMA_MCP_JOURNAL_REQUIRED" in error["next_step"]
        await call(client, "list_jobs")
    assert simulator.requests["POST /videos"] == 0
    assert simulator.service.jobs == {}


async def test_order_is_rejected_while_a_required_journal_is_locked(
    server: Server, simulator: Simulator, journal: Path
) -> None:
    await anyio.to_thread.run_sync(make_journal, journal)
    async with server(**REQUIRED) as client:
        with lock(journal):
            error = await order_error(client)
    assert (error["kind"], error["charged"], error["retry"]) == ("journal_unavailable", "no", "later")
    assert simulator.requests["POST /videos"] == 0
    assert execute(journal, "SELECT * FROM orders") == []


async def test_order_with_a_usable_required_journal(server: Server, simulator: Simulator) -> None:
    async with server(**REQUIRED) as client:
        _, content = await order(client)
    assert content["outcome"] == "created"
    assert "warnings" not in content
    assert simulator.requests["POST /videos"] == 1


def test_required_journal_cannot_be_off() -> None:
    with pytest.raises(SettingsError, match="LUMA_MCP_JOURNAL_REQUIRED cannot be combined with LUMA_MCP_JOURNAL=off"):
        Settings.from_environment({"LUMA_MCP_JOURNAL": "off", **REQUIRED})


def test_unwritable_journal_folder(journal: Path) -> None:
    """With a readable journal in the folder, and without one."""
    make_journal(journal)
    journal.with_name("journal.db.lock").unlink()
    command = [sys.executable, "-c", FOLDER_PROGRAM, str(journal)]
    for _ in range(2):
        journal.parent.chmod(0o500)
        try:
            finished = run_unprivileged(command, environment=python_environment())
        finally:
            journal.parent.chmod(0o700)
        assert finished.returncode == 0, finished.stderr
        refused, warned = json.loads(finished.stdout)
        _, content, ordered = refused
        assert (content["error"]["kind"], content["error"]["charged"], ordered) == ("journal_unavailable", "no", 0)
        text, content, ordered = warned
        assert_warned(text, content, "the file cannot be used (Permission denied)")
        assert ordered == 1
        journal.unlink(missing_ok=True)


# Temporary locks.


@pytest.mark.parametrize(("readable", "required"), [(True, "1"), (False, "0")])
async def test_order_waits_for_a_locked_journal(
    server: Server, simulator: Simulator, journal: Path, readable: bool, required: str
) -> None:
    """Virtual time passes only between attempts, so the first attempt has failed by then."""
    await anyio.to_thread.run_sync(make_journal, journal)
    results: list[tuple[str, dict[str, Any]]] = []
    async with server(LUMA_MCP_JOURNAL_REQUIRED=required) as client:

        async def order_video() -> None:
            results.append(await order(client, wait_seconds=45))

        with lock(journal, readable=readable) as release:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(order_video)
                await pass_time(0.1)
                assert simulator.requests["POST /videos"] == 0
                release()
        # The order is recorded before the server ends.
        [(text, content)] = results
        assert execute(journal, "SELECT jobid FROM orders") == [(content["jobid"],)]
    assert content["outcome"] == "created"
    assert "warnings" not in content
    assert "Warning" not in text


# The hourly limit.


@pytest.mark.parametrize("is_usable", [True, False])
async def test_limit_without_a_shared_journal_counts_one_process(
    server: Server, simulator: Simulator, journal: Path, is_usable: bool
) -> None:
    if not is_usable:
        await anyio.to_thread.run_sync(another_program, journal)
    errors = []
    for _ in range(2):
        async with server(LUMA_MCP_MAX_JOBS_PER_HOUR="1") as client:
            await order(client)
            errors.append(await order_error(client, "A cat"))
    for error in errors:
        assert (error["kind"], error["charged"]) == ("limit_reached", "no")
        assert ("for this server process alone" in error["message"]) == (not is_usable)
    assert simulator.requests["POST /videos"] == (1 if is_usable else 2)


async def test_limit_without_a_journal_counts_one_process(server: Server) -> None:
    async with server(LUMA_MCP_JOURNAL="off", LUMA_MCP_MAX_JOBS_PER_HOUR="1") as client:
        await order(client)
        error = await order_error(client, "A cat")
    assert "for this server process alone" in error["message"]
