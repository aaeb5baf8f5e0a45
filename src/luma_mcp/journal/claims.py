"""Writing an intent, in one transaction: one open order of a kind, and no more within a time than are allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luma_mcp.journal.database import put, rows
from luma_mcp.journal.orders import Order, as_row, from_row

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime


COUNTS_TOWARDS_LIMIT = "ordered_at > ? AND (state <> 'intent' OR COALESCE(alive_at, ordered_at) > ?)"
"""Which orders take a place: the one rule, for who writes an intent and for who tells when there is room again."""


class LimitExceeded(Exception):
    """There is no room for another order."""


@dataclass(frozen=True, slots=True)
class RateWindow:
    """So many orders since a time; of intents those count that gave a sign of life after `pending`."""

    most: int
    since: datetime
    pending: datetime

    @property
    def times(self) -> tuple[float, float]:
        """What `COUNTS_TOWARDS_LIMIT` compares with."""
        return self.since.timestamp(), self.pending.timestamp()


def claim(
    db: sqlite3.Connection, api: str, order: Order, *, another: bool, room: RateWindow | None
) -> Order | LimitExceeded | None:
    """Writes the intent and gives None; or writes nothing, and gives the same order that is open, or `LimitExceeded`."""
    if not another:
        found = db.execute(
            "SELECT id FROM orders WHERE api = ? AND key = ? AND state IN ('sent', 'unknown', 'running') "
            "ORDER BY ordered_at DESC LIMIT 1",
            (api, order.key),
        ).fetchone()
        if found and (placed := from_row(row_of(db, found[0]))):
            return placed
        if found:
            # What cannot be read cannot be followed either.
            db.execute("UPDATE orders SET state = 'given_up' WHERE id = ?", found)
        db.execute("DELETE FROM orders WHERE api = ? AND key = ? AND state = 'intent'", (api, order.key))
    if room:
        counted = db.execute(
            f"SELECT COUNT(*) FROM orders WHERE api = ? AND {COUNTS_TOWARDS_LIMIT}",  # noqa: S608 - our own words
            (api, *room.times),
        ).fetchone()
        if counted[0] >= room.most:
            return LimitExceeded()
    put(db, "orders", as_row(order, api))
    return None


def row_of(db: sqlite3.Connection, order_id: str) -> dict[str, Any] | None:
    """An order's row."""
    return next(iter(rows(db, "SELECT * FROM orders WHERE id = ?", (order_id,))), None)
