"""The journal never stands in the way of a call: whatever state its file is in, the work goes on."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.conftest import TOKEN

from luma_mcp.api.protocol import Credits, Job, VideoRequest
from luma_mcp.journal.database import VERSION
from luma_mcp.journal.journal import EVERY_API, Journal
from luma_mcp.journal.orders import Order
from luma_mcp.service.paths import api_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
API = api_of("https://api.useapi.net/v1/luma", TOKEN)


def opened(path: Path | None, *, api: str = API, now: datetime = NOW) -> Journal:
    return Journal(path, api=api, wall_clock=lambda: now)


def order(key: str = "fox", prompt: str = "A fox", at: datetime = NOW) -> Order:
    return Order(key, VideoRequest(prompt=prompt, model="ray-v3", resolution="draft"), at)


def ordered(journal: Journal, jobid: str, key: str = "fox", at: datetime = NOW) -> Order:
    placed = order(key, at=at)
    assert journal.claim(placed, another=True) is None
    assert journal.sending(placed)
    journal.answered(placed, jobid)
    return placed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


def test_what_one_process_writes_the_next_one_reads(path: Path) -> None:
    first = opened(path)
    ordered(first, "j1")
    first.wants_files("j1")
    first.saved("j1", ("/videos/fox.mp4",))
    first.close()
    second = opened(path)
    found = second.of_job("j1")
    second.close()
    assert found is not None
    assert (found.state, found.request.prompt, found.save) == ("running", "A fox", True)
    assert found.files == ("/videos/fox.mp4",)


def test_a_second_intent_of_an_order_takes_the_first_one_s_place(path: Path) -> None:
    """Whoever was killed before delivery blocks nobody; whoever was only slow may not send any more."""
    slow, quick = opened(path), opened(path)
    one, two = order(), order()
    assert slow.claim(one, another=False) is None
    assert quick.claim(two, another=False) is None
    assert quick.sending(two)
    assert not slow.sending(one)
    found = slow.claim(order(), another=False)
    assert found is not None
    assert found.id == two.id
    slow.close()
    quick.close()


def test_a_job_that_was_adopted_goes_back_to_the_order_whose_answer_names_it(path: Path) -> None:
    journal = opened(path)
    lost, slow = order("lost"), order("slow")
    for placed in (lost, slow):
        journal.claim(placed, another=False)
        journal.sending(placed)
    assert journal.adopt(lost, "j1")
    journal.answered(slow, "j1")
    assert journal.of_job("j1") is not None
    assert [o.state for o in journal.latest(9) if o.id == lost.id] == ["unknown"]
    assert [o.jobid for o in journal.latest(9) if o.id == slow.id] == ["j1"]
    assert not journal.adopt(lost, "j1")
    journal.close()


def test_other_tokens_and_other_apis_see_nothing_of_it(path: Path) -> None:
    mine = opened(path)
    ordered(mine, "j1")
    for api in (api_of("https://api.useapi.net/v1/luma", "user:2-other"), api_of("http://127.0.0.1:1/v1/luma", TOKEN)):
        other = opened(path, api=api)
        assert other.of_job("j1") is None
        assert other.claim(order(), another=False) is None
        other.close()
    everything = opened(path, api=EVERY_API)
    assert "j1" in {o.jobid for o in everything.latest(9)}
    everything.close()
    mine.close()


def test_the_file_is_the_user_s_alone_and_holds_no_token(path: Path) -> None:
    journal = opened(path)
    ordered(journal, "j1")
    files = list(path.parent.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert all(TOKEN.encode() not in file.read_bytes() for file in files)
    journal.close()


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    journal = opened(path)
    ordered(journal, "j1")
    journal.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def damaged(path: Path) -> None:
    path.write_bytes(b"this is no database, " * 400)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
        database.execute("CREATE TABLE orders (id INTEGER)")
        database.commit()


def folder(path: Path) -> None:
    path.mkdir()


def other_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE orders (something INTEGER)")
        database.commit()


@pytest.mark.parametrize("spoil", [damaged, newer, folder, other_tables])
def test_a_file_that_cannot_be_used_is_set_aside_with_one_line(
    path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    spoil(path)
    journal = opened(path)
    ordered(journal, "j1")
    ordered(journal, "j2", key="cat")
    assert {o.jobid for o in journal.latest(9)} == {"j1", "j2"}
    journal.close()
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(path) in line
    assert "set aside" in line


def test_a_damaged_file_is_kept_and_a_new_one_begun(path: Path) -> None:
    path.parent.mkdir()
    damaged(path)
    content = path.read_bytes()
    journal = opened(path)
    ordered(journal, "j1")
    journal.close()
    again = opened(path)
    assert again.of_job("j1") is not None
    again.close()
    [kept] = path.parent.glob("*.damaged-*")
    assert kept.read_bytes() == content


def test_a_file_of_a_newer_version_is_not_touched(path: Path) -> None:
    path.parent.mkdir()
    newer(path)
    content = path.read_bytes()
    journal = opened(path)
    ordered(journal, "j1")
    journal.close()
    assert path.read_bytes() == content


def test_a_file_that_is_locked_for_long_is_set_aside_and_written_to_later(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = [0.0]
    first = Journal(path, api=API, wall_clock=lambda: NOW, clock=lambda: seconds[0])
    ordered(first, "j0")
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        ordered(first, "j1", key="cat")
        assert first.of_job("j1") is not None
        holder.execute("ROLLBACK")
    seconds[0] = 61.0
    ordered(first, "j2", key="dog")
    first.close()
    second = opened(path)
    assert {o.jobid for o in second.latest(9)} == {"j0", "j1", "j2"}
    second.close()
    assert ["for a minute" in record.getMessage() for record in caplog.records] == [True]


def test_a_place_where_nothing_can_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = opened(tmp_path / "file" / "journal.db")
    ordered(journal, "j1")
    assert journal.of_job("j1") is not None
    journal.close()


def test_without_a_file_nothing_is_written_anywhere(tmp_path: Path) -> None:
    journal = opened(None)
    ordered(journal, "j1")
    assert journal.of_job("j1") is not None
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_several_processes_write_at_a_time(path: Path) -> None:
    """Five processes, ten orders each: all are there, also of one that found the file locked and wrote at its end."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.journal.test_journal import opened, ordered\n"
        "journal = opened(Path(sys.argv[1]))\n"
        "for n in range(10): ordered(journal, f'j{sys.argv[2]}-{n}', key=f'{sys.argv[2]}-{n}')\n"
        "journal.close()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [subprocess.Popen([sys.executable, "-c", program, path, str(n)], env=environment) for n in range(5)]
    assert [process.wait(timeout=60) for process in running] == [0] * 5
    journal = opened(path)
    assert {o.jobid for o in journal.latest(999)} == {f"j{p}-{n}" for p in range(5) for n in range(10)}
    journal.close()


def test_an_asset_is_remembered_for_its_life_and_for_its_account(path: Path) -> None:
    journal = opened(path)
    journal.assets.uploaded("digest", "a@example.com", "ref-a")
    assert journal.assets.find("digest", "a@example.com") == "ref-a"
    assert journal.assets.find("digest", "b@example.com") is None
    assert (journal.assets.account_of("ref-a"), journal.assets.digest_of("ref-a")) == ("a@example.com", "digest")
    journal.close()
    for days, found in ((28, "ref-a"), (30, None)):
        later = opened(path, now=NOW + timedelta(days=days))
        assert later.assets.find("digest", "a@example.com") == found
        later.close()


def test_typical_times_are_those_of_enough_finished_jobs_of_the_kind(path: Path) -> None:
    kind = {"model": "ray-v3", "resolution": "draft"}
    journal = opened(path)
    for n, seconds in enumerate((10, 20, 30, 40, 50)):
        assert journal.typical_seconds(kind) is None
        placed = ordered(journal, f"j{n}", key=str(n))
        ended = placed.ordered_at + timedelta(seconds=seconds)
        credit = Credits(dm_usage=20)
        job = Job(
            jobid=f"j{n}",
            status="completed",
            created=NOW.isoformat(),
            updated=ended.isoformat(),
            credits=credit,
        )
        journal.saw(job)
    assert journal.typical_seconds(kind) == (10, 50)
    assert journal.typical_seconds({"resolution": "1080p"}) is None
    journal.close()


def test_what_a_locked_file_has_missed_is_written_when_the_process_ends(path: Path) -> None:
    first = opened(path)
    ordered(first, "j0")
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        ordered(first, "j1", key="cat")
        holder.execute("ROLLBACK")
    first.close()
    second = opened(path)
    assert {o.jobid for o in second.latest(9)} == {"j0", "j1"}
    second.close()


def test_what_a_locked_file_has_missed_includes_what_was_forgotten(path: Path) -> None:
    """An order that was refused meanwhile is not found again as one whose outcome is unknown."""
    seconds = [0.0]
    journal = Journal(path, api=API, wall_clock=lambda: NOW, clock=lambda: seconds[0])
    refused = order()
    journal.claim(refused, another=False)
    journal.sending(refused)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        journal.drop(refused)
        holder.execute("ROLLBACK")
    seconds[0] = 61.0
    assert journal.unsettled() == []
    journal.close()


def test_what_another_process_has_written_meanwhile_stays(path: Path) -> None:
    seconds = [0.0]
    first = Journal(path, api=API, wall_clock=lambda: NOW, clock=lambda: seconds[0])
    lost = order()
    first.claim(lost, another=False)
    first.sending(lost)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        first.unknown(lost)
        holder.execute("ROLLBACK")
    second = opened(path)
    assert second.adopt(lost, "j1")
    seconds[0] = 61.0
    assert [o.jobid for o in first.latest(9)] == ["j1"]
    first.close()
    second.close()


def test_a_file_that_is_removed_while_it_is_used_is_begun_anew_with_what_is_known(path: Path) -> None:
    first = opened(path)
    ordered(first, "j1")
    for file in path.parent.iterdir():
        file.unlink()
    ordered(first, "j2", key="cat")
    second = opened(path)
    assert {o.jobid for o in second.latest(9)} == {"j1", "j2"}
    first.close()
    second.close()


def test_a_sign_of_life_waits_for_nobody_and_sets_nothing_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = opened(path)
    placed = order()
    journal.claim(placed, another=False)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        journal.alive(placed)
        holder.execute("ROLLBACK")
    journal.close()
    assert caplog.records == []


def notes(path: Path) -> None:
    path.write_text("my notes\n" * 200)


def another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
        database.commit()


@pytest.mark.parametrize("make", [notes, another_program])
def test_a_file_of_somebody_else_is_not_touched(path: Path, make: Callable[[Path], None]) -> None:
    """The setting names the wrong file."""
    path.parent.mkdir()
    make(path)
    path.chmod(0o644)
    content = path.read_bytes()
    journal = Journal(path, api=API, wall_clock=lambda: NOW, movable=False)
    ordered(journal, "j1")
    assert journal.of_job("j1") is not None
    journal.close()
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (content, 0o644)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
