"""Parts of uploaded pictures are kept for a quarter of an hour, separately for each tenant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.journal.orders import API, LONG, Clock, degrade, execute, open_journal, start_job

from luma_mcp.journal.protocol import join_api

if TYPE_CHECKING:
    from tests.journal.orders import Place

    from luma_mcp.journal.protocol import Journal

ADA, BOB = join_api(API, "ada"), join_api(API, "bob")
UPLOAD, OTHER = "a" * 32, "b" * 32
MOST = 1000


async def add(journal: Journal, offset: int, data: bytes, upload: str = UPLOAD) -> int | None:
    return await journal.add_part(upload, offset, data, most=MOST)


def let_time_pass(place: Place, minutes: float) -> None:
    """Make parts older. This changes their times, because a database uses its own clock."""
    sql = "UPDATE parts SET began_at = began_at - ?"
    if not isinstance(place, Path):
        sql = "UPDATE parts SET began_at = began_at - make_interval(secs => ?)"
    execute(place, sql, 60 * minutes)


def count_parts(place: Place) -> int:
    [[number]] = execute(place, "SELECT COUNT(*) FROM parts")
    return int(number)


async def test_parts_are_joined_in_order(place: Place) -> None:
    whole = bytes(range(256)) * 2
    async with open_journal(place) as journal:
        assert await journal.read_parts(UPLOAD) == b""
        for offset in range(0, len(whole), 100):
            data = whole[offset : offset + 100]
            assert await add(journal, offset, data) == offset + len(data)
        assert await journal.read_parts(UPLOAD) == whole


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 99])
async def test_part_with_a_wrong_offset_is_not_kept(place: Place, offset: int) -> None:
    async with open_journal(place) as journal:
        assert await add(journal, 0, b"abc") == 3
        assert await add(journal, offset, b"xyz") == 3
        assert await add(journal, 3, b"") == 3
        assert await journal.read_parts(UPLOAD) == b"abc"


async def test_equal_parts_that_arrive_together_are_kept_once(place: Place) -> None:
    """The parts arrive at different machines."""
    async with open_journal(place, busy_seconds=LONG) as one, open_journal(place, busy_seconds=LONG) as other:
        received: list[int | None] = []

        async def send(journal: Journal) -> None:
            received.append(await add(journal, 0, b"abc"))

        async with anyio.create_task_group() as tasks:
            for journal in (one, other) * 3:
                tasks.start_soon(send, journal)
        assert received == [3] * 6
        assert await add(other, 3, b"def") == 6
        assert await one.read_parts(UPLOAD) == b"abcdef"


async def test_size_of_a_tenant_s_parts_is_limited(place: Place) -> None:
    async with open_journal(place) as journal:
        assert await add(journal, 0, bytes(600)) == 600
        assert await add(journal, 0, bytes(401), OTHER) is None
        assert await add(journal, 0, bytes(400), OTHER) == 400
        assert await add(journal, 600, b"x") is None
        await journal.remove_parts(OTHER)
        assert await add(journal, 600, b"x") == 601


async def test_parts_and_their_limit_are_separate_for_each_tenant(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place, api=BOB) as bob, open_journal(place) as owner:
        assert await add(ada, 0, bytes(MOST)) == MOST
        for other in (bob, owner):
            assert await other.read_parts(UPLOAD) == b""
            assert await add(other, MOST, b"x") == 0
            await other.remove_parts(UPLOAD)
            assert await add(other, 0, b"xyz") == 3
        assert await ada.read_parts(UPLOAD) == bytes(MOST)


async def test_removed_parts_are_gone(place: Place) -> None:
    async with open_journal(place) as journal:
        await add(journal, 0, b"abc")
        await add(journal, 0, b"def", OTHER)
        await journal.remove_parts(UPLOAD)
        await journal.remove_parts()
        assert await journal.read_parts(UPLOAD) == b""
        assert await journal.read_parts(OTHER) == b"def"
    assert count_parts(place) == 1


@pytest.mark.parametrize(
    ("minutes", "is_kept"), [(14, True), (16, False), (-14, True), (-60 * 24 * 365, False)], ids=str
)
async def test_parts_expire_even_with_a_wrong_clock(place: Place, minutes: int, *, is_kept: bool) -> None:
    """Parts from the future have the time of a wrong clock, and would never expire."""
    async with open_journal(place, api=ADA) as journal, open_journal(place, api=BOB) as other:
        await add(journal, 0, b"abc")
        let_time_pass(place, minutes)
        assert await journal.read_parts(UPLOAD) == (b"abc" if is_kept else b"")
        assert count_parts(place) == 1
        await other.remove_parts()
        assert count_parts(place) == is_kept
        assert await add(journal, 3, b"") == (3 if is_kept else 0)


async def test_all_parts_expire_with_the_first_one(place: Place) -> None:
    async with open_journal(place) as journal:
        await add(journal, 0, b"abc")
        let_time_pass(place, 10)
        assert await add(journal, 3, b"def") == 6
        let_time_pass(place, 6)
        assert await add(journal, 6, b"ghi") == 0
    assert count_parts(place) == 0


async def test_journal_in_memory_keeps_parts() -> None:
    async with open_journal(None) as journal:
        assert await add(journal, 0, b"abc") == 3
        assert await journal.read_parts(UPLOAD) == b"abc"


async def test_upload_restarts_after_the_file_was_locked(path: Path) -> None:
    clock = Clock()
    async with open_journal(path, clock=clock) as journal:
        await add(journal, 0, b"abc", OTHER)
        await degrade(journal, path)
        assert await add(journal, 3, b"def", OTHER) == 0
        assert await add(journal, 0, b"abc") == 3
        clock.pass_retry_time()
        assert await add(journal, 3, b"def") == 0
        assert await journal.read_parts(OTHER) == b"abc"


async def test_file_of_an_earlier_version_gets_the_parts_table(path: Path) -> None:
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
    execute(path, "DROP TABLE parts")
    execute(path, "PRAGMA user_version = 7")
    async with open_journal(path) as journal:
        assert await add(journal, 0, b"abc") == 3
        assert await journal.owned_jobids() == {"j1"}
