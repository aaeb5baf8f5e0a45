"""Room for an order is checked where the order is recorded, whichever process records it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.journal.orders import NOW, build_order, execute, insert, open_journal, start_job

from luma_mcp.journal.protocol import LimitExceeded, RateWindow

if TYPE_CHECKING:
    from pathlib import Path

    from luma_mcp.journal.protocol import Journal

LATER = NOW + timedelta(seconds=90)
WINDOW = RateWindow(1, NOW - timedelta(hours=1), LATER - timedelta(minutes=1), LATER + timedelta(days=1))
"""For one order per hour, as checked at `LATER`."""


async def has_room(journal: Journal) -> bool:
    order = build_order("cat", at=LATER)
    try:
        assert await journal.insert_pending(order, allow_duplicate=True, windows=[WINDOW]) is None
    except LimitExceeded:
        assert await journal.get(order.id) is None
        return False
    return True


async def test_waiting_order_with_a_heartbeat_counts(path: Path) -> None:
    """Its process waits for a slot, for longer than a pending order without heartbeats is believed."""
    waiting, times = build_order(), [NOW]
    async with open_journal(path, wall_clock=lambda: times[-1]) as sender, open_journal(path, now=LATER) as other:
        await insert(sender, waiting)
        times.append(LATER - timedelta(seconds=1))
        await sender.heartbeat(waiting)
        assert not await has_room(other)
        assert [order.id for order in await other.list_counted(WINDOW)] == [waiting.id]
        assert await sender.mark_sending(waiting)


async def test_waiting_order_without_a_heartbeat_does_not_count(path: Path) -> None:
    async with open_journal(path) as killed, open_journal(path, now=LATER) as other:
        await insert(killed, build_order())
        assert await other.list_counted(WINDOW) == []
        assert await has_room(other)


@pytest.mark.parametrize(("minutes", "counts"), [(-61, False), (-59, True), (300, True), (60 * 24 * 700, False)])
async def test_sent_order_counts_for_an_hour(path: Path, minutes: int, counts: bool) -> None:
    """So does an order of later today: the clock was set back since. One of years ahead comes from a wrong clock."""
    async with open_journal(path) as journal:
        await start_job(journal, "j1", at=NOW + timedelta(minutes=minutes))
        assert [order.jobid for order in await journal.list_counted(WINDOW)] == ["j1"] * counts
        assert await has_room(journal) == (not counts)


async def test_orders_of_other_credentials_do_not_count(path: Path) -> None:
    async with open_journal(path) as mine, open_journal(path, api="other") as other:
        await start_job(other, "j1")
        assert await has_room(mine)


async def test_refused_order_leaves_the_file_as_it_was(path: Path) -> None:
    async with open_journal(path) as journal:
        pending = build_order("cat")
        await insert(journal, pending)
        await start_job(journal, "j1")
        with pytest.raises(LimitExceeded):
            await journal.insert_pending(build_order("cat"), allow_duplicate=False, windows=[WINDOW])
        assert await journal.get(pending.id) is not None
    assert execute(path, "SELECT COUNT(*) FROM orders") == [(2,)]


async def test_duplicate_is_returned_though_there_is_no_room(path: Path) -> None:
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
        found = await journal.insert_pending(build_order(), allow_duplicate=False, windows=[WINDOW])
    assert found is not None
    assert found.jobid == "j1"
