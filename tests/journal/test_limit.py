"""Limits are checked in the transaction that records an order, whichever process records it."""

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
"""One order per hour, checked at `LATER`."""


async def has_room(journal: Journal) -> bool:
    order = build_order("cat", at=LATER)
    try:
        assert await journal.insert_pending(order, allow_duplicate=True, windows=[WINDOW]) is None
    except LimitExceeded:
        assert await journal.get(order.id) is None
        return False
    return True


async def test_waiting_order_with_a_heartbeat_counts(place: Place) -> None:
    """Its process waits for a slot, longer than a pending order without heartbeats would count."""
    order, times = build_order(), [NOW]
    async with open_journal(place, wall_clock=lambda: times[-1]) as sender, open_journal(place, now=LATER) as other:
        await insert(sender, order)
        times.append(LATER - timedelta(seconds=1))
        await sender.heartbeat(order)
        assert not await has_room(other)
        assert [counted.id for counted in await other.list_counted(WINDOW)] == [order.id]
        assert await sender.mark_sending(order)


async def test_waiting_order_without_a_heartbeat_does_not_count(place: Place) -> None:
    async with open_journal(place) as killed, open_journal(place, now=LATER) as other:
        await insert(killed, build_order())
        if not isinstance(place, Path):
            # The database has its own clock.
            place.execute("UPDATE luma_orders SET alive_at = alive_at - interval '90 seconds'")
        assert await other.list_counted(WINDOW) == []
        assert await has_room(other)


@pytest.mark.parametrize(("minutes", "counts"), [(-61, False), (-59, True), (300, True), (60 * 24 * 700, False)])
async def test_sent_order_counts_for_an_hour(place: Place, minutes: int, counts: bool) -> None:
    """An order from later today counts too, because the clock may have been set back. One from years ahead does not."""
    async with open_journal(place) as journal:
        await start_job(journal, "j1", at=NOW + timedelta(minutes=minutes))
        assert [order.jobid for order in await journal.list_counted(WINDOW)] == ["j1"] * counts
        assert await has_room(journal) == (not counts)


async def test_orders_of_other_credentials_do_not_count(place: Place) -> None:
    async with open_journal(place) as mine, open_journal(place, api="other") as other:
        await start_job(other, "j1")
        assert await has_room(mine)


async def test_rejected_order_changes_nothing(place: Place) -> None:
    async with open_journal(place) as journal:
        pending = build_order("cat")
        await insert(journal, pending)
        await start_job(journal, "j1")
        with pytest.raises(LimitExceeded):
            await journal.insert_pending(build_order("cat"), allow_duplicate=False, windows=[WINDOW])
        assert await journal.get(pending.id) is not None
    assert execute(place, "SELECT COUNT(*) FROM orders") == [(2,)]


async def test_duplicate_is_returned_even_if_the_limit_is_reached(place: Place) -> None:
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


async def record_spending(journal: Journal, jobid: str, price: float | None, job: Job | None = None) -> None:
    """Record an order with its price, and the end of its job."""
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
async def test_spending_of_each_kind_of_order(
    place: Place, price: float | None, fields: dict[str, Any] | None, spent: float
) -> None:
    async with open_journal(place) as journal:
        await record_spending(journal, "j1", price, build_job("j1", **fields) if fields else None)
    async with open_journal(place) as journal:
        [order] = await journal.list_counted(DAY_WINDOW)
        assert order.get_spent(DAY_WINDOW.unpriced) == spent
        # The statement that inserts an order computes the same amount.
        for rest, fits in ((1 - spent, True), (1.01 - spent, False)):
            await assert_fits(journal, rest, fits=fits)


async def assert_fits(journal: Journal, price: float | None, *, fits: bool) -> None:
    order = replace(build_order("cat", at=LATER), price=price)
    if fits:
        await journal.insert_pending(order, allow_duplicate=True, windows=[DAY_WINDOW])
        await journal.drop(order)
        return
    with pytest.raises(LimitExceeded) as exceeded:
        await journal.insert_pending(order, allow_duplicate=True, windows=[DAY_WINDOW])
    assert exceeded.value.window is DAY_WINDOW


async def test_order_without_a_price_needs_a_remaining_budget(place: Place) -> None:
    async with open_journal(place) as journal:
        await record_spending(journal, "j1", 0.99)
        await assert_fits(journal, None, fits=True)
        await record_spending(journal, "j2", 0.01)
        await assert_fits(journal, None, fits=False)


async def test_rounding_errors_do_not_exceed_the_budget(place: Place) -> None:
    """In floating point, ten tenths are less than one and three tenths are more than 0.3."""
    async with open_journal(place) as journal:
        for number in range(9):
            await record_spending(journal, f"j{number}", 0.1)
        await assert_fits(journal, 0.1, fits=True)
        await assert_fits(journal, 0.100001, fits=False)


async def test_spending_of_other_credentials_does_not_count(place: Place) -> None:
    async with open_journal(place) as mine, open_journal(place, api="other") as other:
        await record_spending(other, "j1", 1.0)
        await assert_fits(mine, 1.0, fits=True)


async def test_file_of_an_earlier_version_gets_price_columns(path: Path) -> None:
    """Its orders count as the most expensive video. Programs of that version continue to write to it."""
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
    for column in ("price", "charged"):
        execute(path, f"ALTER TABLE orders DROP COLUMN {column}")
    execute(path, "PRAGMA user_version = 4")
    async with open_journal(path) as journal:
        [order] = await journal.list_counted(DAY_WINDOW)
        assert (order.price, order.charged, order.get_spent(0.5)) == (None, None, 0.5)
        # An earlier version inserts like this, with the columns that it knows.
        execute(path, EARLIER_INSERT)
        assert [order.get_spent(0.5) for order in await journal.list_counted(DAY_WINDOW)] == [0.5, 0.5]
        await assert_fits(journal, 0.01, fits=False)
    assert execute(path, "PRAGMA user_version") == [(8,)]
