"""`Journal`: the orders of this machine, from the intent to the files."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from luma_mcp.journal.assets import Assets
from luma_mcp.journal.claims import COUNTS_TOWARDS_LIMIT, LimitExceeded, claim, row_of
from luma_mcp.journal.database import Database, put
from luma_mcp.journal.orders import Order, OrderState, as_row, from_row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from luma_mcp.api.protocol import Job
    from luma_mcp.journal.claims import RateWindow

ENOUGH = 5
"""Finished jobs of a kind before their times say more than the documented ones."""
RECENT = 50
KEPT = timedelta(days=400)


EVERY_API = "*"


class Journal:
    """What was ordered with one token at one API.

    Args:
        path: its file; None: memory alone.
        api: tells tokens and APIs apart; never the token itself. `EVERY_API`: all of them, to read only.
        wall_clock: the time of day, in UTC.
        clock: seconds; tells when a file that could not be used is tried again.
        movable: whether a file that is no database may be moved away.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        api: str,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        movable: bool = True,
    ) -> None:
        self._database = Database(path, clock, movable=movable)
        self.assets = Assets(self._database, api=api, wall_clock=wall_clock)
        self._api = api
        self._wall_clock = wall_clock

    def close(self) -> None:
        """Closes its file."""
        self._database.close()

    def claim(self, order: Order, *, another: bool, room: RateWindow | None = None) -> Order | None:
        """Writes the intent, unless the same order is open: then that one, and nothing is written.

        Whoever else had only the intent of the same order loses it, and may not send it any more.
        With `another`, the order stands beside any other.

        Raises:
            LimitExceeded: there is no `room` for it; nothing is written.
        """

        def work(db: sqlite3.Connection) -> Order | LimitExceeded | None:
            db.execute("DELETE FROM orders WHERE ordered_at < ?", ((self._wall_clock() - KEPT).timestamp(),))
            return claim(db, self._api, order, another=another, room=room)

        found = self._database.write(work)
        if isinstance(found, LimitExceeded):
            # Memory may have had room.
            self.drop_intent(order)
            raise found
        if found is None:
            self._database.remember("orders", as_row(order, self._api))
        return found

    def sending(self, order: Order) -> bool:
        """Notes that it is about to go out; False if the intent was lost to somebody else."""
        return self._advance(order, "sent", sent_at=self._wall_clock().timestamp())

    def alive(self, order: Order) -> None:
        """Notes that this process is still at it."""
        values = (self._wall_clock().timestamp(), order.id)
        self._database.try_to_write(lambda db: db.execute("UPDATE orders SET alive_at = ? WHERE id = ?", values))

    def not_delivered(self, order: Order) -> None:
        """Notes that it surely did not arrive."""
        self._advance(order, "intent")

    def drop(self, order: Order) -> None:
        """Forgets an order of which nothing came."""
        self._database.write(lambda db: db.execute("DELETE FROM orders WHERE id = ?", (order.id,)))

    def drop_intent(self, order: Order) -> None:
        """Forgets an order that was not delivered."""
        sql = "DELETE FROM orders WHERE id = ? AND state = 'intent'"
        self._database.write(lambda db: db.execute(sql, (order.id,)))

    def unknown(self, order: Order) -> None:
        """Notes that no answer came, and no job was found."""
        self._update("state = 'unknown' WHERE id = ? AND jobid IS NULL", order.id)

    def give_up(self, order: Order) -> None:
        """Notes that no job of it can run any more."""
        self._update("state = 'given_up' WHERE id = ? AND jobid IS NULL", order.id)

    def answered(self, order: Order, jobid: str) -> None:
        """Notes the jobid that the API gave to it. Whoever took that job for its own is told otherwise."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE orders SET jobid = NULL, state = 'unknown' WHERE api = ? AND jobid = ? AND id <> ?",
                (self._api, jobid, order.id),
            )
            row = row_of(db, order.id) or as_row(order, self._api)
            put(db, "orders", row | {"jobid": jobid, "state": "running"})

        self._database.write(work)

    def adopt(self, order: Order, jobid: str) -> bool:
        """Gives a job to an order whose answer was lost; False if another order has it."""

        def work(db: sqlite3.Connection) -> bool:
            owner = db.execute("SELECT id FROM orders WHERE api = ? AND jobid = ?", (self._api, jobid)).fetchone()
            if owner:
                return bool(owner[0] == order.id)
            db.execute("UPDATE orders SET jobid = ?, state = 'running' WHERE id = ?", (jobid, order.id))
            return True

        return self._database.write(work)

    def saw(self, job: Job) -> None:
        """Notes how a job ended; of one that runs only that it does, should it have been given up."""
        if job.state == "running":
            known = self.of_job(job.jobid)
            if known and known.state == "given_up":
                self._update("state = 'running' WHERE api = ? AND jobid = ?", self._api, job.jobid)
            return
        used = job.credits.dm_usage if job.credits else None
        seconds = job.elapsed_seconds(self._wall_clock())
        self._update(
            "state = ?, seconds = ?, credits = ?, error = ? WHERE api = ? AND jobid = ?",
            *(job.state, seconds, used, job.why_failed, self._api, job.jobid),
        )

    def gone(self, jobid: str) -> None:
        """Notes that the API does not know the job any more."""
        self._update("state = 'given_up' WHERE api = ? AND jobid = ? AND state = 'running'", self._api, jobid)

    def wants_files(self, jobid: str) -> None:
        """Notes that the job's files are to be saved."""
        self._update("save = 1 WHERE api = ? AND jobid = ?", self._api, jobid)

    def saved(self, jobid: str, files: tuple[str, ...]) -> None:
        """Notes where a job's files are."""
        self._update("files = ? WHERE api = ? AND jobid = ?", json.dumps(files), self._api, jobid)

    def deleted(self, jobid: str) -> None:
        """Notes that its slot was freed; only a finished job's can be."""
        ended = "state = CASE state WHEN 'running' THEN 'completed' ELSE state END"
        self._update(f"deleted = 1, {ended} WHERE api = ? AND jobid = ?", self._api, jobid)

    def now(self, order: Order) -> Order | None:
        """The order as it is now; None if it was forgotten."""
        return next(iter(self._orders("id = ?", order.id)), None)

    def of_job(self, jobid: str) -> Order | None:
        """The order of a job."""
        return next(iter(self._orders("jobid = ?", jobid)), None)

    def open_order(self, key: str) -> Order | None:
        """The latest order of that key of which a job may run."""
        return next(iter(self._orders("key = ? AND state IN ('sent', 'unknown', 'running')", key)), None)

    def unsettled(self) -> list[Order]:
        """The orders whose answer is missing."""
        return self._orders("state IN ('sent', 'unknown')")

    def without_files(self, since: datetime, before: datetime) -> list[Order]:
        """The orders between these times whose files were wanted and are not there."""
        wanted = "save = 1 AND files = '[]' AND state IN ('running', 'completed') AND deleted = 0"
        times = "ordered_at >= ? AND ordered_at < ?"
        return self._orders(f"{wanted} AND {times}", since.timestamp(), before.timestamp())

    def latest(self, limit: int) -> list[Order]:
        """The orders, newest first; without those that were never delivered."""
        return self._orders("state <> 'intent'", limit=limit)

    def counted(self, room: RateWindow) -> list[Order]:
        """The orders that take a place in it, newest first."""
        return self._orders(COUNTS_TOWARDS_LIMIT, *room.times)

    def deletable(self, limit: int) -> list[str]:
        """The jobids of finished jobs that were not deleted, the latest first."""
        finished = self._orders("state IN ('completed', 'failed') AND deleted = 0 AND jobid NOT NULL", limit=limit)
        return [order.jobid for order in finished if order.jobid]

    def owned(self) -> set[str]:
        """The jobids that belong to an order."""
        known = self._database.read("SELECT jobid FROM orders WHERE api = ? AND jobid NOT NULL", (self._api,))
        return {row["jobid"] for row in known}

    def typical_seconds(self, kind: Mapping[str, str]) -> tuple[float, float] | None:
        """From when until when most jobs with these choices end, in seconds; None while too few were seen."""
        fits = "".join(f" AND json_extract(request, '$.{name}') = ?" for name in kind)
        known = self._database.read(
            f"SELECT seconds FROM orders WHERE api = ? AND state = 'completed' AND seconds NOT NULL{fits} "  # noqa: S608
            f"ORDER BY ordered_at DESC LIMIT {RECENT}",
            (self._api, *kind.values()),
        )
        seconds = sorted(row["seconds"] for row in known)
        if len(seconds) < ENOUGH:
            return None
        tenth = len(seconds) // 10
        return seconds[tenth], max(seconds[-1 - tenth], seconds[tenth] + 1)

    def _orders(self, where: str, *values: Any, limit: int = -1) -> list[Order]:
        mine = "? = '*'" if self._api == EVERY_API else "api = ?"
        found = self._database.read(
            f"SELECT * FROM orders WHERE {mine} AND {where} ORDER BY ordered_at DESC LIMIT ?",  # noqa: S608 - our words
            (self._api, *values, limit),
        )
        return [order for row in found if (order := from_row(row))]

    def _update(self, change: str, *values: Any) -> None:
        self._database.write(lambda db: db.execute(f"UPDATE orders SET {change}", values))  # noqa: S608 - our own words

    def _advance(self, order: Order, state: OrderState, sent_at: float | None = None) -> bool:
        change = "state = ?, sent_at = COALESCE(?, sent_at), alive_at = COALESCE(?, alive_at)"
        sql, values = f"UPDATE orders SET {change} WHERE id = ? AND jobid IS NULL", (state, sent_at, sent_at, order.id)  # noqa: S608
        return self._database.write(lambda db: db.execute(sql, values).rowcount > 0)
