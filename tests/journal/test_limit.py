"""Room for an order is checked where the order is recorded, whichever process records it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal.orders import NOW, build_job, build_order, execute, insert, open_journal, start_job

from luma_mcp.journal.protocol import LimitExceeded, RateWindow

if TYPE_CHECKING:
    from tests.journal.orders import Place

    from luma_mcp.api.protocol import Job
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


async def test_waiting_order_with_a_heartbeat_counts(place: Place) -> None:
    """Its process waits for a slot, for longer than a pending order without heartbeats is believed."""
    waiting, times = build_order(), [NOW]
    async with open_journal(place, wall_clock=lambda: times[-1]) as sender, open_journal(place, now=LATER) as other:
        await insert(sender, waiting)
        times.append(LATER - timedelta(seconds=1))
        await sender.heartbeat(waiting)
        assert not await has_room(other)
        assert [order.id for order in await other.list_counted(WINDOW)] == [waiting.id]
        assert await sender.mark_sending(waiting)


async def test_waiting_order_without_a_heartbeat_does_not_count(place: Place) -> None:
    async with open_journal(place) as killed, open_journal(place, now=LATER) as other:
        await insert(killed, build_order())
        if not isinstance(place, Path):
            # It has a clock of its own.
            place.execute("UPDATE luma_orders SET alive_at = alive_at - interval '90 seconds'")
        assert await other.list_counted(WINDOW) == []
        assert await has_room(other)


@pytest.mark.parametrize(("minutes", "counts"), [(-61, False), (-59, True), (300, True), (60 * 24 * 700, False)])
async def test_sent_order_counts_for_an_hour(place: Place, minutes: int, counts: bool) -> None:
    """So does an order of later today: the clock was set back since. One of years ahead comes from a wrong clock."""
    async with open_journal(place) as journal:
        await start_job(journal, "j1", at=NOW + timedelta(minutes=minutes))
        assert [order.jobid for order in await journal.list_counted(WINDOW)] == ["j1"] * counts
        assert await has_room(journal) == (not counts)


async def test_orders_of_other_credentials_do_not_count(place: Place) -> None:
    async with open_journal(place) as mine, open_journal(place, api="other") as other:
        await start_job(other, "j1")
        assert await has_room(mine)


async def test_refused_order_leaves_the_file_as_it_was(place: Place) -> None:
    async with open_journal(place) as journal:
        pending = build_order("cat")
        await insert(journal, pending)
        await start_job(journal, "j1")
        with pytest.raises(LimitExceeded):
            await journal.insert_pending(build_order("cat"), allow_duplicate=False, windows=[WINDOW])
        assert await journal.get(pending.id) is not None
    assert execute(place, "SELECT COUNT(*) FROM orders") == [(2,)]


async def test_duplicate_is_returned_though_there_is_no_room(place: Place) -> None:
    async with open_journal(place) as journal:
        await start_job(journal, "j1")
        found = await journal.insert_pending(build_order(), allow_duplicate=False, windows=[WINDOW])
    assert found is not None
    assert found.jobid == "j1"


# Budgets.

DAY_WINDOW = RateWindow(
    None, NOW - timedelta(days=1), LATER - timedelta(minutes=1), LATER + timedelta(days=1), budget=1.0, unpriced=0.5
)


EARLIER_INSERT = """
INSERT INTO orders (id, api, key, state, request, account, ordered_at, sent_at, alive_at, jobid)
SELECT 'copy', api, key, state, request, account, ordered_at, sent_at, alive_at, 'j2' FROM orders
"""


async def spend(journal: Journal, jobid: str, price: float | None, job: Job | None = None) -> None:
    """Record an order with its price, and how its job ended."""
    order = replace(build_order(jobid), price=price)
    await journal.insert_pending(order, allow_duplicate=True, windows=())
    assert await journal.mark_sending(order)
    await journal.record_job(order, jobid)
    if job:
        await journal.record_state(job)


@pytest.mark.parametrize(
    ("price", "fields", "spent"),
    [
        (0.3, None, 0.3),
        (None, None, 0.5),
        (0.3, {"status": "completed"}, 0.3),
        (0.3, {"status": "completed", "credits_used": 0.2}, 0.2),
        (None, {"status": "completed", "credits_used": 0.2}, 0.2),
        (0.3, {"status": "failed"}, 0.3),
        (0.3, {"status": "failed", "charged": "unknown"}, 0.3),
        (0.3, {"status": "failed", "charged": "no"}, 0),
        (0.3, {"status": "failed", "credits_used": 0}, 0),
        (0.3, {"status": "failed", "credits_used": 0.1}, 0.1),
    ],
)
async def test_what_an_order_counts_for(
    place: Place, price: float | None, fields: dict[str, Any] | None, spent: float
) -> None:
    async with open_journal(place) as journal:
        await spend(journal, "j1", price, build_job("j1", **fields) if fields else None)
    async with open_journal(place) as journal:
        [order] = await journal.list_counted(DAY_WINDOW)
        assert order.get_spent(DAY_WINDOW.unpriced) == spent
        # The statement that inserts an order counts the same.
        for rest, fits in ((1 - spent, True), (1.01 - spent, False)):
            await assert_room(journal, rest, fits=fits)


async def assert_room(journal: Journal, price: float | None, *, fits: bool) -> None:
    order = replace(build_order("cat", at=LATER), price=price)
    if fits:
        await journal.insert_pending(order, allow_duplicate=True, windows=[DAY_WINDOW])
        await journal.drop(order)
        return
    with pytest.raises(LimitExceeded) as exceeded:
        await journal.insert_pending(order, allow_duplicate=True, windows=[DAY_WINDOW])
    assert exceeded.value.window is DAY_WINDOW


async def test_order_without_a_price_needs_something_left(place: Place) -> None:
    async with open_journal(place) as journal:
        await spend(journal, "j1", 0.99)
        await assert_room(journal, None, fits=True)
        await spend(journal, "j2", 0.01)
        await assert_room(journal, None, fits=False)


async def test_sums_of_decimal_fractions_fit(place: Place) -> None:
    """Ten times a tenth is less than one, and three times is more than three tenths."""
    async with open_journal(place) as journal:
        for number in range(9):
            await spend(journal, f"j{number}", 0.1)
        await assert_room(journal, 0.1, fits=True)
        await assert_room(journal, 0.100001, fits=False)


async def test_budget_of_another_credential(place: Place) -> None:
    async with open_journal(place) as mine, open_journal(place, api="other") as other:
        await spend(other, "j1", 1.0)
        await assert_room(mine, 1.0, fits=True)


async def test_file_of_an_earlier_version_gets_prices(path: Path) -> None:
    """Its orders count as much as the most expensive video. Programs of that version go on writing to it."""
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
    for column in ("price", "charged"):
        execute(path, f"ALTER TABLE orders DROP COLUMN {column}")
    execute(path, "PRAGMA user_version = 4")
    async with open_journal(path) as journal:
        [order] = await journal.list_counted(DAY_WINDOW)
        assert (order.price, order.charged, order.get_spent(0.5)) == (None, None, 0.5)
        # As an earlier version does, which names the columns that it knows.
        execute(path, EARLIER_INSERT)
        assert [order.get_spent(0.5) for order in await journal.list_counted(DAY_WINDOW)] == [0.5, 0.5]
        await assert_room(journal, 0.01, fits=False)
    assert execute(path, "PRAGMA user_version") == [(8,)]
