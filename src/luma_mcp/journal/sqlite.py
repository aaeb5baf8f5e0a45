"""The journal of one machine: an SQLite file that all servers of this machine share.

**Threads.** All SQLite work is done in a worker thread, one statement at a time, so that a locked file never blocks the
event loop.

**Degrading.** While the file cannot be used (locked, damaged, read-only, written by an incompatible version), orders
are kept in a substitute, which begins as a copy of what can still be read of the file: `journal.db.ID.spill` beside it,
or memory where that cannot be written. The file is tried again once a minute and before closing. When it returns, the
statements that it missed are executed on it. They are conditional updates, so that they overwrite nothing that another
process knows better. If this process is killed before, the next one to open the file does that.

**File format.** Stable: file `journal.db`, the tables and columns of `_SCHEMA`, the values of `OrderState`, the JSON in
`request` (parameter names and values) and in `files` (absolute paths), times in seconds since 1970. `user_version` is
1000 x major + minor:

- A higher minor number only adds tables, indexes, parameters, and columns that are nullable or have a default. All
  programs of the same major number share the file. They name the columns that they write and ignore what they do not
  know. A newer program raises the number; no program lowers it.
- Anything else needs a higher major number, for example another state, or another meaning of a column. Older programs
  refuse such a file and leave it untouched.

A process that opens the file or moves a damaged one aside holds an exclusive SQLite lock on `journal.db.lock`.

The file uses a rollback journal and not a write-ahead log. The files of a log stay when somebody removes or replaces
the database while it is open, and SQLite would apply them to its successor; switching a new database to a log fails at
once while another process does the same; and a log does not work on network drives.
"""

# ruff: noqa: S608 - statements are composed of constants; every value is bound
from __future__ import annotations

import glob
import json
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import anyio
from anyio import to_thread

from luma_mcp.api.protocol import Job, VideoRequest, parse_time
from luma_mcp.errors import JournalUnavailable
from luma_mcp.journal.protocol import (
    CREDIT_FACTORS,
    UPLOAD_LIFETIME,
    JournalBusy,
    JournalHealth,
    LimitExceeded,
    Order,
    OrderQuery,
    OrderState,
    RateWindow,
    Replicas,
    Usage,
    split_api,
)
from luma_mcp.text import fold

logger = logging.getLogger(__name__)

EVERY_API = "*"
"""As `api`: a read-only view of all orders, whatever credential they were made with."""
BUSY_SECONDS = 3.0
"""How long another process's write is waited for. Each of ours takes a few milliseconds."""
RETRY_SECONDS = 60.0
"""How long a file that could not be used is left alone."""
MEASURED_SECONDS = 10.0
"""How long typical durations are used before the file is asked what other processes have added."""
RETENTION = timedelta(days=400)
"""How long orders are kept."""
ASSET_LIFETIME = timedelta(days=29)
"""How long an asset of useapi.net is reused. It expires after 30 days; a day is left for slow jobs and wrong clocks."""
MIN_SAMPLES, MAX_SAMPLES = 5, 50
"""How many finished jobs of a kind are needed for its typical duration, and how many are considered."""
COUNTS_TOWARDS_LIMIT = (
    "ordered_at > ? AND ordered_at <= ? AND (state <> 'intent' OR COALESCE(alive_at, ordered_at) > ?)"
)
"""Which orders count in a `RateWindow`; the values are `since`, `until` and `pending_since`."""
SPENT = "CASE charged WHEN 'no' THEN 0 ELSE COALESCE(credits, price, ?) END"
"""What an order counts for in a budget, as `Order.get_spent` has it; the value is `unpriced`."""
MAY_RUN = "state IN ('sent', 'unknown', 'running')"
"""Which orders may have a running job."""
IS_UNSETTLED = "state IN ('sent', 'unknown')"
"""Which orders have no answer."""
_SAME_CREDENTIAL = "substr(api, 1, instr(api || '/', '/') - 1) = ?"
"""Which orders were made with a credential, by any tenant; the value is the part of `api` before the slash."""
USAGE = f"""
COUNT(*) FILTER (WHERE state = 'completed') AS completed, COUNT(*) FILTER (WHERE state = 'failed') AS failed,
COUNT(*) FILTER (WHERE state = 'running') AS running,
COUNT(*) FILTER (WHERE state NOT IN ('completed', 'failed', 'running')) AS unknown,
COALESCE(SUM({SPENT}), 0) AS spent,
COUNT(*) FILTER (WHERE COALESCE(charged, '') <> 'no' AND COALESCE(credits, price) IS NULL) AS unpriced
"""
"""How the orders of a group ended, and what they cost; the value is 0."""
UPLOADS = "SELECT upload, MIN(began_at) AS began_at, SUM(LENGTH(data)) AS size"
"""Begins a query for the uploads that are not complete."""
_FINISHED = "state IN ('completed', 'failed') AND deleted = 0 AND jobid NOT NULL"

_RETRIES = 4
"""How often work is repeated because the file was moved or replaced meanwhile."""
_LOCK_SUFFIX = ".lock"
COMPANIONS = ("-journal", "-wal", "-shm")
"""What SQLite appends to the name of a database for the files that it keeps beside it."""
_MAJOR, _MINOR = 0, 8
_APPLICATION_ID = 0x4C756D61
# A part's bytes are its last column: SQLite reads through them to get to what follows.
_SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, api TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, request TEXT NOT NULL,
    account TEXT, ordered_at REAL NOT NULL, sent_at REAL, alive_at REAL,
    jobid TEXT, seconds REAL, credits REAL, error TEXT,
    save INTEGER NOT NULL DEFAULT 0, files TEXT NOT NULL DEFAULT '[]', deleted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS orders_by_key ON orders (api, key);
CREATE INDEX IF NOT EXISTS orders_by_jobid ON orders (api, jobid);
CREATE INDEX IF NOT EXISTS orders_by_time ON orders (api, ordered_at);
CREATE INDEX IF NOT EXISTS orders_by_job ON orders (jobid);
CREATE TABLE IF NOT EXISTS assets (
    api TEXT NOT NULL, digest TEXT NOT NULL, account TEXT NOT NULL, asset_ref TEXT NOT NULL, uploaded_at REAL NOT NULL,
    PRIMARY KEY (api, digest, account)
);
CREATE TABLE IF NOT EXISTS parts (
    api TEXT NOT NULL, upload TEXT NOT NULL, position INTEGER NOT NULL, began_at REAL NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (api, upload, position)
);
COMMIT;
"""
_ADDED_COLUMNS = {
    "orders": {
        "by_api_clock": "INTEGER NOT NULL DEFAULT 0",
        "answer_status": "INTEGER",
        "adopted": "INTEGER NOT NULL DEFAULT 0",
        "delivered": "INTEGER NOT NULL DEFAULT 0",
        "link": "TEXT",
        "continues": "TEXT",
        "price": "REAL",
        "charged": "TEXT",
        "ordered_by": "TEXT NOT NULL DEFAULT ''",
        "delivered_at": "REAL",
    },
    "assets": {"width": "INTEGER", "height": "INTEGER"},
}
"""Columns that later minor versions added."""
_COLUMNS = {
    "orders": "id, api, key, state, request, account, ordered_at, sent_at, alive_at, jobid, seconds, credits, error, "
    f"save, files, deleted, {', '.join(_ADDED_COLUMNS['orders'])}",
    "assets": "api, digest, account, asset_ref, uploaded_at, width, height",
}

_Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""
_T = TypeVar("_T")
_FileState = Literal["locked", "damaged", "newer", "foreign", "unusable"]
_PROBLEMS: dict[_FileState, str] = {
    "locked": "another process keeps the file locked",
    "damaged": "the file is not a readable database",
    "newer": "the file was written by a later version that does not share it",
    "foreign": "the file is a database of another program",
    "unusable": "the file cannot be used",
}
_STATE_OF_CODE: dict[int, _FileState] = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
}


class SqliteJournal:
    """`luma_mcp.journal.protocol.Journal`, which documents the methods, in a file or in memory.

    Args:
        path: the file; None: memory only.
        api: identifies the credential and the API, never the token itself; for a tenant that does not own the
            credential, with a slash and its id after that. `EVERY_API`: a read-only view of all.
        wall_clock: the time of day, in UTC.
        clock: seconds; decides when a file that could not be used is tried again.
        asset_lifetime: how long an uploaded image can be used; None if only the API knows that.
        movable: whether a file that is not a readable database may be moved aside. False for a path that the user
            chose: it may be a file of theirs.
        busy_seconds: how long another process's write is waited for.
    """

    refuses_orders = False
    replicas: Replicas | None = None

    def __init__(
        self,
        path: Path | None,
        *,
        api: str,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        asset_lifetime: timedelta | None = ASSET_LIFETIME,
        movable: bool = True,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._api = api
        self._asset_lifetime = asset_lifetime
        self._wall_clock = wall_clock
        self._clock = clock
        self._storage = _Storage(path, movable=movable, create=api != EVERY_API, busy_seconds=busy_seconds)
        self._limiter: anyio.CapacityLimiter | None = None
        # Typical durations by what was asked for, and until when they are used.
        self._measured: dict[Any, list[tuple[float, float] | None]] = {}
        self._credits: dict[tuple[str, ...], tuple[float, float]] | None = None
        self._measured_until = float("-inf")
        # The condition for the orders of this journal, with `self._api` as its value.
        self._mine = "api = ?"
        self._credential, _ = split_api(api)
        if api == EVERY_API:
            self._mine = f"? = '{EVERY_API}'"

    @property
    def problem(self) -> str | None:
        return self._storage.problem

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._run(self._storage.close)

    async def insert_pending(
        self, order: Order, *, allow_duplicate: bool, windows: Sequence[RateWindow], is_patient: bool = False
    ) -> Order | None:
        identical = (self._api, order.key)

        def insert(db: sqlite3.Connection) -> Order | None:
            # Only by the API's clock: a clock that is or was wrong must not remove anything. And never an order whose
            # job may be running.
            if order.by_api_clock:
                expired = (order.ordered_at - RETENTION).timestamp()
                db.execute(f"DELETE FROM orders WHERE ordered_at < ? AND by_api_clock AND NOT {MAY_RUN}", (expired,))
            if not allow_duplicate:
                duplicate = _find_duplicate(db, order, *identical)
                if duplicate:
                    return duplicate
                removal = ("DELETE FROM orders WHERE api = ? AND key = ? AND state = 'intent'", identical)
                db.execute(*removal)
                # The order itself is not deferred: `mark_sending` reports that the file does not have it, so that the
                # file is searched for duplicates before anything goes out.
                self._storage.defer(db, removal)
            for window in windows:
                counts = f"api = ? AND id <> ? AND {COUNTS_TOWARDS_LIMIT}"
                sql = f"SELECT COUNT(*), TOTAL({SPENT}) FROM orders WHERE {counts}"
                values = (window.unpriced, self._api, order.id, *_get_times(window))
                [count, spent] = db.execute(sql, values).fetchone()
                if not window.has_room(count, spent, order.price):
                    raise LimitExceeded(window, spent)
            db.execute(*self._insert_statement(order))
            return None

        return await self._write(insert, is_patient=is_patient)

    async def mark_sending(self, order: Order) -> bool:
        now = self._wall_clock().timestamp()
        change = _update_order(order, "state = 'sent', sent_at = ?, alive_at = ?", now, now)
        # The file may never have had the order, or lost it to an identical one that another process was placing.
        return await self._execute(change, missed=(self._insert_statement(order), change)) > 0

    async def heartbeat(self, order: Order) -> None:
        now = self._wall_clock().timestamp()
        await self._run(self._storage.run_unless_busy, ("UPDATE orders SET alive_at = ? WHERE id = ?", (now, order.id)))

    async def mark_not_delivered(self, order: Order) -> None:
        removal = ("DELETE FROM orders WHERE id = ? AND jobid IS NULL", (order.id,))
        # Without it in the file, `mark_sending` makes sure that the file is searched for duplicates again.
        await self._execute(_update_order(order, "state = 'intent'"), missed=(removal,))

    async def drop(self, order: Order) -> None:
        await self._execute(("DELETE FROM orders WHERE id = ? AND jobid IS NULL", (order.id,)))

    async def drop_pending(self, order: Order) -> None:
        await self._execute(("DELETE FROM orders WHERE id = ? AND state = 'intent'", (order.id,)))

    async def mark_unknown(self, order: Order) -> None:
        # It may be recorded only in a file that cannot be read now. It must be known here all the same.
        times, values = _set_times(order)
        change = f"state = 'unknown', answer_status = COALESCE(?, answer_status){times}"
        update = _update_order(order, change, order.answer_status, *values)
        await self._execute(self._insert_statement(order), update)

    async def give_up(self, order: Order) -> None:
        await self._execute(_update_order(order, "state = 'given_up'"))

    async def record_job(self, order: Order, jobid: str) -> None:
        times, values = _set_times(order)
        # Another order may have adopted the job by mistake.
        condition = f"jobid = ? AND id <> ? AND {_SAME_CREDENTIAL}"
        sql = f"UPDATE orders SET jobid = NULL, state = 'unknown' WHERE {condition}"
        statements = (
            (sql, (jobid, order.id, self._credential)),
            # It may be missing for the reason given in `mark_unknown`.
            self._insert_statement(order),
            (f"UPDATE orders SET jobid = ?, state = 'running'{times} WHERE id = ?", (jobid, *values, order.id)),
        )
        await self._execute(*statements, missed=statements)

    async def adopt(self, order: Order, jobid: str) -> bool:
        sql = (
            "UPDATE orders SET jobid = ?, state = 'running', adopted = 1 WHERE id = ? AND jobid IS NULL "
            f"AND NOT EXISTS (SELECT 1 FROM orders WHERE jobid = ? AND {_SAME_CREDENTIAL})"
        )
        change = (sql, (jobid, order.id, jobid, self._credential))
        if await self._execute(change, missed=(_update_order(order, "state = 'unknown'"), change)):
            return True
        owner = await self.get_by_jobid(jobid)
        return owner is not None and owner.id == order.id

    async def release(self, jobid: str) -> None:
        await self._update_job(jobid, "jobid = NULL, adopted = 0, state = 'unknown'", condition="adopted")

    async def record_state(self, job: Job) -> None:
        if job.state == "running":
            await self._update_job(job.jobid, "state = 'running'", condition="state = 'given_up'")
            return
        seconds = job.elapsed_seconds(self._wall_clock())
        link = job.files.video.url if job.files.video else None
        values: tuple[Any, ...] = (job.state, seconds, job.credits_used, job.failure_reason, link, job.charged)
        # A record without times does not take away what an earlier one, or a poll at the right moment, has shown.
        change = "state = ?, seconds = coalesce(?, seconds), credits = ?, error = ?, link = ?, charged = ?"
        created = parse_time(job.created)
        if created:
            # The clock of the machine may have been wrong when it was ordered.
            change += ", ordered_at = CASE WHEN by_api_clock THEN ordered_at ELSE ? END"
            change += ", sent_at = CASE WHEN by_api_clock THEN sent_at ELSE ? END, by_api_clock = 1"
            values = (*values, created.timestamp(), created.timestamp())
        await self._update_job(job.jobid, change, *values)

    async def mark_gone(self, jobid: str) -> None:
        await self._update_job(jobid, "state = 'given_up'", condition="state = 'running'")

    async def request_files(self, jobid: str) -> None:
        await self._update_job(jobid, "save = 1")

    async def record_files(self, jobid: str, files: tuple[str, ...]) -> None:
        await self._update_job(jobid, "files = ?", json.dumps(files))

    async def mark_delivered(self, jobid: str) -> None:
        await self._update_job(jobid, "delivered = 1, delivered_at = ?", self._wall_clock().timestamp())

    async def mark_deleted(self, jobid: str) -> None:
        finished = "CASE state WHEN 'running' THEN 'completed' ELSE state END"
        await self._update_job(jobid, f"deleted = 1, state = {finished}")

    async def get(self, order_id: str) -> Order | None:
        return await self._find_order("id = ?", order_id)

    async def get_by_jobid(self, jobid: str, *, is_certain: bool = False) -> Order | None:
        order = await self._find_order("jobid = ?", jobid)
        if is_certain and order is None and self.problem:
            raise JournalUnavailable(self.problem, is_look_up=True)
        return order

    async def get_open(self, key: str) -> Order | None:
        return await self._find_order(f"key = ? AND {MAY_RUN}", key)

    async def list_finished(self, key: str) -> list[Order]:
        return await self._list_orders(f"key = ? AND {_FINISHED}", key)

    async def list_unsettled(self) -> list[Order]:
        return await self._list_orders(IS_UNSETTLED)

    async def list_rivals(self) -> list[Order]:
        sql = f"SELECT * FROM orders WHERE {IS_UNSETTLED} AND {_SAME_CREDENTIAL} ORDER BY ordered_at DESC"
        return [order for order in map(_parse_row, await self._select(sql, self._credential)) if order]

    async def list_unsettled_tenants(self) -> set[str]:
        sql = f"SELECT DISTINCT api FROM orders WHERE {IS_UNSETTLED} AND {_SAME_CREDENTIAL}"
        return {split_api(row["api"])[1] for row in await self._select(sql, self._credential)}

    async def list_missing_files(self, since: datetime, before: datetime) -> list[Order]:
        missing = "save = 1 AND files = '[]' AND state IN ('running', 'completed') AND deleted = 0"
        times = (since.timestamp(), before.timestamp())
        return await self._list_orders(f"{missing} AND ordered_at >= ? AND ordered_at < ?", *times)

    async def list_latest(self, limit: int) -> list[Order]:
        return await self._list_orders("state <> 'intent'", limit=limit)

    async def list_running(self) -> list[Order]:
        return await self._list_orders("state = 'running'")

    async def find_orders(self, query: OrderQuery, limit: int) -> tuple[list[Order], int]:
        conditions = [self._mine, "state <> 'intent'", "json_valid(request)"]
        values: list[Any] = [self._api]
        if query.since:
            conditions.append("ordered_at >= ?")
            values.append(query.since.timestamp())
        if query.before:
            conditions.append("ordered_at < ?")
            values.append(query.before.timestamp())
        sql = f"SELECT * FROM orders WHERE {' AND '.join(conditions)} ORDER BY ordered_at DESC"
        parts = [fold(part) for part in (query.text or "").split()]

        # Filtered here and not in SQL, which compares only ASCII without regard to case and does not know the states of
        # a list. One row at a time, so that a long history takes no memory.
        def find(db: sqlite3.Connection) -> tuple[list[Order], int]:
            orders: list[Order] = []
            count = 0
            for row in db.execute(sql, values):
                if not _selects(query, parts, row):
                    continue
                order = _parse_row(row) if len(orders) < limit else None
                if order:
                    orders.append(order)
                count += bool(order) or len(orders) >= limit
            return orders, count

        return await self._run(self._storage.run, find)

    async def list_counted(self, window: RateWindow) -> list[Order]:
        return await self._list_orders(COUNTS_TOWARDS_LIMIT, *_get_times(window))

    async def list_deletable(self, limit: int) -> list[Order]:
        return await self._list_orders(_FINISHED, limit=limit)

    async def owned_jobids(self, *, of_all: bool = False) -> set[str]:
        condition, api = (_SAME_CREDENTIAL, self._credential) if of_all else (self._mine, self._api)
        found = await self._select(f"SELECT jobid FROM orders WHERE {condition} AND jobid NOT NULL", api)
        return {row["jobid"] for row in found}

    async def typical_seconds(self, *kinds: Mapping[str, str]) -> list[tuple[float, float] | None]:
        # Most calls ask for them, and waiting for the thread takes longer than the rest of a short call.
        self._expire_measurements()
        key = tuple(tuple(sorted(kind.items())) for kind in kinds)
        if key not in self._measured:
            measure = self._measure
            self._measured[key] = await self._run(self._storage.run, lambda db: [measure(db, kind) for kind in kinds])
        return self._measured[key]

    def _measure(self, db: sqlite3.Connection, kind: Mapping[str, str]) -> tuple[float, float] | None:
        # The upper bound excludes text, which SQLite sorts after every number.
        conditions = f"{self._mine} AND state = 'completed' AND seconds BETWEEN 0 AND 1e9"
        values: list[str | int] = [self._api]
        for name, value in kind.items():
            # One malformed row must not make the query fail: json_extract raises, and only CASE keeps it from running.
            conditions += " AND CASE WHEN json_valid(request) THEN json_extract(request, '$.' || ?) END = ?"
            values += (name, value)
        sql = f"SELECT seconds FROM orders WHERE {conditions} ORDER BY ordered_at DESC LIMIT ?"
        found = db.execute(sql, (*values, MAX_SAMPLES))
        return find_typical_range(sorted(row["seconds"] for row in found))

    async def credits_used(self, kind: Mapping[str, str]) -> dict[tuple[str, ...], tuple[float, float]]:
        self._expire_measurements()
        if self._credits is None:
            self._credits = await self._measure_credits()
        wanted = set(kind.items())
        return {
            key: used for key, used in self._credits.items() if wanted <= set(zip(CREDIT_FACTORS, key, strict=True))
        }

    def _expire_measurements(self) -> None:
        """Discard measurements that are too old: other processes write as well."""
        if self._clock() >= self._measured_until:
            self._measured.clear()
            self._credits = None
            self._measured_until = self._clock() + MEASURED_SECONDS

    async def _measure_credits(self) -> dict[tuple[str, ...], tuple[float, float]]:
        columns = ", ".join(f"json_extract(request, '$.{name}')" for name in CREDIT_FACTORS)
        conditions = f"{self._mine} AND state = 'completed' AND credits BETWEEN 0 AND 1e9 AND json_valid(request)"
        sql = f"SELECT credits, {columns} FROM orders WHERE {conditions} ORDER BY ordered_at DESC"
        samples: dict[tuple[str, ...], list[float]] = {}
        for used, *values in await self._select(sql, self._api):
            latest = samples.setdefault(tuple(map(str, values)), [])
            if None not in values and len(latest) < MAX_SAMPLES:
                latest.append(used)
        return {key: (min(latest), max(latest)) for key, latest in samples.items() if latest}

    async def summarize_usage(self, since: datetime | None = None) -> list[Usage]:
        model = "CASE WHEN json_valid(request) THEN json_extract(request, '$.model') END"
        sql = (
            f"SELECT api, ordered_by, {model} AS model, {USAGE} FROM orders WHERE {self._mine} "
            "AND state <> 'intent' AND ordered_at >= ? GROUP BY api, ordered_by, 3 ORDER BY api, ordered_by, 3"
        )
        found = await self._select(sql, 0.0, self._api, since.timestamp() if since else 0.0)
        if self.problem:
            raise JournalUnavailable(self.problem, is_look_up=True)
        return [build_usage(dict(row)) for row in found]

    async def find_asset(self, digest: str, account: str) -> str | None:
        return await self._find_asset("asset_ref", "digest = ? AND account = ?", digest, account)

    async def is_known_asset(self, digest: str) -> bool:
        return await self._find_asset("asset_ref", "digest = ?", digest) is not None

    async def account_of_asset(self, asset_ref: str, *, is_certain: bool = False) -> str | None:
        account = await self._find_asset("account", "asset_ref = ?", asset_ref)
        if is_certain and account is None and self.problem:
            raise JournalUnavailable(self.problem, is_look_up=True)
        return account

    async def digest_of_asset(self, asset_ref: str) -> str | None:
        return await self._find_asset("digest", "asset_ref = ?", asset_ref)

    async def size_of_asset(self, asset_ref: str) -> tuple[int, int] | None:
        # NULL if the width or the height is unknown.
        size = await self._find_asset("width || 'x' || height", "asset_ref = ?", asset_ref)
        if size is None:
            return None
        width, _, height = size.partition("x")
        return int(width), int(height)

    async def record_asset(
        self, digest: str, account: str, asset_ref: str, size: tuple[int, int] | None = None
    ) -> None:
        now = self._wall_clock()
        sql = f"INSERT OR REPLACE INTO assets ({_COLUMNS['assets']}) VALUES (?, ?, ?, ?, ?, ?, ?)"
        await self._execute(
            (f"DELETE FROM assets WHERE {self._mine} AND uploaded_at < ?", (self._api, self._oldest_asset())),
            (sql, (self._api, digest, account, asset_ref, now.timestamp(), *(size or (None, None)))),
        )

    async def forget_asset(self, asset_ref: str) -> None:
        await self._execute(("DELETE FROM assets WHERE asset_ref = ?", (asset_ref,)))

    async def add_part(self, upload: str, offset: int, data: bytes, *, most: int) -> int | None:
        now, expired = self._wall_clock().timestamp(), self._remove_expired()

        def add(db: sqlite3.Connection) -> int | None:
            db.execute(*expired)
            uploads: dict[str, tuple[float, int]] = {}
            for name, began_at, size in db.execute(f"{UPLOADS} FROM parts WHERE api = ? GROUP BY upload", (self._api,)):
                uploads[name] = (began_at, size)
            began_at, received = uploads.get(upload, (now, 0))
            if not data or offset != received:
                return received
            if sum(size for _, size in uploads.values()) + len(data) > most:
                return None
            # Not deferred while the file cannot be used: the page sends missing parts again.
            db.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", (self._api, upload, received, began_at, data))
            return received + len(data)

        return await self._write(add)

    async def read_parts(self, upload: str) -> bytes:
        sql = "SELECT data FROM parts WHERE api = ? AND upload = ? AND began_at BETWEEN ? AND ? ORDER BY position"
        return b"".join([row["data"] for row in await self._select(sql, self._api, upload, *self._get_upload_times())])

    async def remove_parts(self, upload: str | None = None) -> None:
        removal = ("DELETE FROM parts WHERE api = ? AND upload = ?", (self._api, upload))
        await self._execute(self._remove_expired(), removal)

    def _remove_expired(self) -> _Statement:
        """The statement that removes expired uploads, and those from the time of a clock that was wrong."""
        return "DELETE FROM parts WHERE began_at NOT BETWEEN ? AND ?", self._get_upload_times()

    def _get_upload_times(self) -> tuple[float, float]:
        """Get when an upload that has not expired can have begun."""
        now, lifetime = self._wall_clock().timestamp(), UPLOAD_LIFETIME.total_seconds()
        return now - lifetime, now + lifetime

    async def _find_order(self, condition: str, *values: Any) -> Order | None:
        orders = await self._list_orders(condition, *values)
        return next(iter(orders), None)

    async def _list_orders(self, condition: str, *values: Any, limit: int = -1) -> list[Order]:
        sql = f"SELECT * FROM orders WHERE {self._mine} AND {condition} ORDER BY ordered_at DESC LIMIT ?"
        found = await self._select(sql, self._api, *values, limit)
        return [order for order in map(_parse_row, found) if order]

    async def _find_asset(self, column: str, condition: str, *values: str) -> str | None:
        sql = f"SELECT {column} FROM assets WHERE {self._mine} AND uploaded_at >= ? AND {condition}"
        found = await self._select(sql, self._api, self._oldest_asset(), *values)
        if not found or found[0][0] is None:
            return None
        return str(found[0][0])

    def _oldest_asset(self) -> float:
        """Get the time from which on an uploaded image can still be used."""
        if self._asset_lifetime is None:
            return 0.0
        return (self._wall_clock() - self._asset_lifetime).timestamp()

    async def _select(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        try:
            return await self._run(self._storage.run, lambda db: db.execute(sql, values).fetchall())
        except UnicodeEncodeError:
            # The values contain a lone surrogate, which no stored text contains.
            return []

    async def _update_job(self, jobid: str, change: str, *values: Any, condition: str = "TRUE") -> None:
        sql = f"UPDATE orders SET {change} WHERE api = ? AND jobid = ? AND {condition}"
        await self._execute((sql, (*values, self._api, jobid)))
        self._measured.clear()
        self._credits = None

    async def _execute(self, *statements: _Statement, missed: tuple[_Statement, ...] = ()) -> int:
        """Execute statements in one transaction, and return how many rows the last one changed.

        If they are executed on the substitute, the file gets `missed` when it returns; by default those that changed
        something.
        """

        def execute(db: sqlite3.Connection) -> int:
            effective: list[_Statement] = []
            changed = 0
            for statement in statements:
                changed = db.execute(*statement).rowcount
                if changed:
                    effective.append(statement)
            if changed:
                self._storage.defer(db, *(missed or effective))
            return changed

        return await self._write(execute)

    async def _write(self, work: Callable[[sqlite3.Connection], _T], *, is_patient: bool = False) -> _T:
        if self._api == EVERY_API:
            raise ValueError("a journal of every API is read-only")
        run = partial(self._storage.run, is_patient=is_patient)
        return await self._run(run, partial(_transaction, work=work))

    async def _run(self, function: Callable[..., _T], argument: Any = None) -> _T:
        """Call a function of the storage in the thread."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(1)
            self._storage.started_at = self._wall_clock().timestamp()
        # The clocks are read here and not in the thread: they may belong to the event loop.
        return await to_thread.run_sync(function, argument, self._clock(), limiter=self._limiter)

    def _insert_statement(self, order: Order) -> _Statement:
        """The statement that inserts an order unless it is recorded already."""
        row: dict[str, Any] = {name: getattr(order, name) for name in PLAIN_COLUMNS}
        for name in ("ordered_at", "sent_at", "alive_at", "delivered_at"):
            time_of_day = getattr(order, name)
            row[name] = time_of_day and time_of_day.timestamp()
        row |= {
            "api": self._api,
            "request": json.dumps(order.request.to_dict()),
            "files": json.dumps(order.files),
        }
        row |= {name: int(getattr(order, name)) for name in FLAGS}
        places = ", ".join("?" * len(row))
        return f"INSERT OR IGNORE INTO orders ({', '.join(row)}) VALUES ({places})", tuple(row.values())


class _Refused(Exception):
    """The file must not be touched. `reason`: the detail; may be empty."""

    def __init__(self, state: _FileState, reason: str = "") -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason


class _Storage:
    """Executes work on the file, or on a substitute while the file cannot be used. Used in worker threads.

    `now` is the time of the journal's `clock`, in seconds.

    Attributes:
        problem: why the file is not in use; None while it is, and where there is none.
        substitute: exists only while the file is not in use. Its table `missed` has what the file must get later.
        started_at: when this process began to use the journal, in seconds since 1970.
    """

    def __init__(self, path: Path | None, *, movable: bool, create: bool, busy_seconds: float) -> None:
        self.problem: str | None = None
        self.substitute: sqlite3.Connection | None = None
        self.started_at = float("inf")
        self._path = path
        self._movable = movable
        self._create = create
        self._busy_seconds = busy_seconds
        self._retry_at = float("-inf")
        self._closed = False
        self._file: sqlite3.Connection | None = None
        # Which file was opened last, and whether the path has become another file's since the substitute came into use.
        self._inode: tuple[int, int] | None = None
        self._is_replaced = False
        # The connection to a file that was removed or replaced, until its orders have been copied.
        self._replaced: sqlite3.Connection | None = None
        # The file of the substitute; None if that is in memory.
        self._spill: Path | None = None
        # The limiter of `SqliteJournal` admits one thread at a time, except after an asyncio task was cancelled
        # natively: then the next statement begins while the thread of the cancelled one is still working.
        self._lock = threading.Lock()

    def run(self, work: Callable[[sqlite3.Connection], _T], now: float, *, is_patient: bool = False) -> _T:
        """Call `work` with the file or with the substitute, and return its result.

        With `is_patient`, `JournalBusy` is raised if the file is merely locked.
        """
        with self._lock:
            if self._closed:
                raise anyio.ClosedResourceError
            if is_patient and self.problem == _PROBLEMS["locked"]:
                self._retry_at = now
            for is_last_attempt in (*[False] * _RETRIES, True):
                try:
                    file = self._open_file(now)
                    if file is None:
                        break
                    return work(file)
                except (sqlite3.Error, OSError, _Refused) as error:
                    if is_patient and _classify(error)[0] == "locked":
                        raise JournalBusy from error
                    if is_last_attempt or not self._can_retry(error):
                        self._degrade(error, now)
                        break
            return work(self._get_substitute())

    def defer(self, db: sqlite3.Connection, *statements: _Statement) -> None:
        """Remember statements for the file if `db` is the substitute. Called by `work`."""
        if db is self.substitute and self._path:
            for sql, values in statements:
                db.execute("INSERT INTO missed VALUES (?, ?)", (sql, json.dumps(values)))

    def run_unless_busy(self, statement: _Statement, _: float) -> None:
        """Execute a statement; skip it if the file is busy."""
        with self._lock:
            if self.substitute:
                self.substitute.execute(*statement)
                self.defer(self.substitute, statement)
            elif self._file:
                with suppress(sqlite3.Error):
                    self._file.execute("PRAGMA busy_timeout = 0")
                    self._file.execute(*statement)
                with suppress(sqlite3.Error):
                    self._file.execute(f"PRAGMA busy_timeout = {self._busy_seconds * 1000:.0f}")

    def close(self, _: None, now: float) -> None:
        """Close, after a last attempt to write what is only in the substitute."""
        with self._lock:
            if self.substitute:
                self._retry_at = now
                with suppress(sqlite3.Error, OSError, _Refused):
                    self._open_file(now)
            self._close_file()
            if self.substitute:
                # A spill file stays for the next process.
                self.substitute.close()
                self.substitute = None
            self._closed = True

    def _open_file(self, now: float) -> sqlite3.Connection | None:
        """The file's connection, with everything written to it that it missed; None: use the substitute."""
        if self._path is None or now < self._retry_at:
            return None
        inode = _get_inode(self._path)
        if self._inode is not None and inode != self._inode:
            # Somebody removed or replaced the file. An open connection still reads the old one. This is noticed before
            # the new file is made, because that can get the same number.
            self._set_replaced()
        if self._file is None:
            if inode is None and not self._create:
                return None
            self._file, opened = _connect(self._path, movable=self._movable, busy_seconds=self._busy_seconds)
            self._is_replaced = self._is_replaced or self._inode not in (None, opened)
            self._inode = opened
        # Every time: a process may have been killed a moment ago and left one.
        self._adopt_spills(self._file, self._path)
        if self._replaced:
            # The lock of the new file's writer keeps other processes from making a `-journal`: SQLite would take it
            # for that of the old file, which has the same name, and roll it back.
            _transaction(self._file, lambda _: self._leave_file())
        if self.substitute:
            _transaction(self._file, partial(self._write_missed, self.substitute))
            self.substitute.close()
            self.substitute = None
            self._is_replaced = False
            if self._spill:
                self._spill.unlink(missing_ok=True)
                self._spill = None
        if self.problem:
            logger.info("The journal %s is in use again", self._path)
        self.problem = None
        return self._file

    def _write_missed(self, substitute: sqlite3.Connection, file: sqlite3.Connection) -> None:
        if self._is_replaced:
            # The new file gets the orders whose job may run, and those since this process began. The rest of the
            # history stays gone: a person may have removed the file for that reason.
            current = f"{MAY_RUN} OR (state <> 'intent' AND ordered_at >= ?)"
            _copy_rows(substitute, file, "orders", current, self.started_at)
            _copy_rows(substitute, file, "assets")
        _execute_missed(substitute, file)

    def _adopt_spills(self, file: sqlite3.Connection, path: Path) -> None:
        """Execute what processes that were killed have left in spill files."""
        for spill in path.parent.glob(f"{glob.escape(path.name)}.*.spill"):
            if spill == self._spill:
                continue
            with suppress(sqlite3.Error), closing(sqlite3.connect(spill, isolation_level=None, timeout=0)) as left:
                # Fails while the process that writes it is alive.
                left.execute("BEGIN EXCLUSIVE")
                _transaction(file, partial(_execute_missed, left))
                spill.unlink(missing_ok=True)

    def _leave_file(self, *, may_spill: bool = False) -> None:
        """Close the file, and copy what can be read of it to the substitute, unless that is in use already."""
        source = self._replaced or self._file
        if self.substitute is None:
            substitute = self._get_substitute(may_spill=may_spill)
            if self._replaced:
                # Waits for a process that is still writing to it. Nobody begins to, because SQLite refuses that.
                with suppress(sqlite3.Error):
                    self._replaced.execute("BEGIN IMMEDIATE")
            if source:
                # Each table as far as it can be read.
                for table in _COLUMNS:
                    with suppress(sqlite3.Error):
                        _transaction(substitute, partial(_copy_rows, source, table=table))
        if source:
            with suppress(sqlite3.Error):
                source.close()
        if self._replaced:
            self._replaced = None
        else:
            self._file = None

    def _set_replaced(self) -> None:
        self._replaced, self._file, self._is_replaced = self._replaced or self._file, None, True

    def _can_retry(self, error: sqlite3.Error | OSError | _Refused) -> bool:
        """Whether the work may succeed at once with a file that is opened again. All work can be repeated.

        A damaged file is moved aside if that is allowed.
        """
        if self._path is None:
            return False
        mine, state = self._inode, _classify(error)[0]
        name = getattr(error, "sqlite_errorname", "")
        has_moved = name == "SQLITE_READONLY_DBMOVED" or name.startswith("SQLITE_IOERR")
        if self._file is None:
            return has_moved or isinstance(error, FileNotFoundError)
        try:
            # Somebody has moved or removed the file while it was in use. Then SQLite refuses to write, or it misses the
            # `-journal`, for which the old and the new file have the same name.
            if _get_inode(self._path) != mine:
                self._set_replaced()
            elif has_moved:
                self._leave_file()
            elif state != "damaged" or not self._movable:
                return False
            else:
                self._leave_file()
                with _exclusive(self._path, self._busy_seconds):
                    # Another process may have done this already. Then the path is that of a new file, which is in
                    # order.
                    if _get_inode(self._path) == mine:
                        _move_aside(self._path)
        except (sqlite3.Error, OSError):
            return False
        return True

    def _degrade(self, error: sqlite3.Error | OSError | _Refused, now: float) -> None:
        """Use the substitute for a while."""
        state, reason = _classify(error)
        # Nothing is left next to what is not a journal.
        is_file = self._path is not None and os.path.isfile(self._path)  # noqa: PTH113 - Path.is_file may raise
        self._leave_file(may_spill=is_file and state not in ("foreign", "damaged"))
        problem = _PROBLEMS[state]
        if state == "unusable":
            problem = f"{problem} ({reason})"
        self._retry_at = now + RETRY_SECONDS
        if problem != self.problem:
            logger.warning("The journal %s is not in use, orders are kept elsewhere: %s", self._path, problem)
        self.problem = problem

    def _get_substitute(self, *, may_spill: bool = False) -> sqlite3.Connection:
        if self.substitute is None:
            if self._path and self._create and may_spill:
                spill = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}.spill")
                with suppress(sqlite3.Error, OSError):
                    _create_private(spill)
                    self._spill = spill
                    self.substitute = _open_substitute(str(spill))
            if self.substitute is None:
                # The folder cannot be written to either.
                self._spill = None
                self.substitute = _open_substitute(":memory:")
        return self.substitute

    def _close_file(self) -> None:
        if self._file:
            with suppress(sqlite3.Error):
                self._file.close()
        self._file = None


# Opening the file.


def _connect(path: Path, *, movable: bool, busy_seconds: float) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
    """Open the file, and begin a new one if there is none or if it is damaged and `movable`; and which file it is."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with _exclusive(path, busy_seconds):
            try:
                return _open(path, busy_seconds), _get_inode(path)
            except sqlite3.DatabaseError as error:
                state, reason = _classify(error)
                if state != "damaged":
                    raise
                if not movable:
                    raise _Refused(state, reason) from error
                _move_aside(path)
            return _open(path, busy_seconds), _get_inode(path)
    except _Refused as refused:
        # Nothing is left next to a file that is not a journal.
        if refused.state != "newer":
            path.with_name(path.name + _LOCK_SUFFIX).unlink(missing_ok=True)
        raise


def _open(path: Path, busy_seconds: float) -> sqlite3.Connection:
    _create_private(path)
    database = sqlite3.connect(path, isolation_level=None, timeout=busy_seconds, check_same_thread=False)
    database.row_factory = sqlite3.Row
    try:
        # An order that was recorded must survive a power failure.
        database.execute("PRAGMA synchronous = EXTRA")
        # What was removed, such as a picture that nobody finished, must not be left in free pages.
        database.execute("PRAGMA secure_delete = ON")
        if not _check_format(database):
            _create_schema(database)
        # Of an earlier version. It fails while a program that uses a log has the file open.
        with suppress(sqlite3.OperationalError):
            database.execute("PRAGMA journal_mode = DELETE")
        path.chmod(0o600)
    except BaseException:
        database.close()
        raise
    return database


def _check_format(database: sqlite3.Connection) -> bool:
    """Whether the file has the present format or a later one; `_Refused` is raised if it may not be shared."""
    [version] = database.execute("PRAGMA user_version").fetchone()
    [owner] = database.execute("PRAGMA application_id").fetchone()
    [tables] = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if owner != _APPLICATION_ID and (owner or tables):
        raise _Refused("foreign")
    major, minor = divmod(version, 1000)
    if major != _MAJOR:
        raise _Refused("newer", f"format {major}.{minor}")
    return bool(owner == _APPLICATION_ID and minor >= _MINOR)


def _create_schema(database: sqlite3.Connection) -> None:
    """Create the tables, or add what later minor versions have. After an interruption, it is done again."""
    database.executescript(_SCHEMA)
    for table, columns in _ADDED_COLUMNS.items():
        present = {row["name"] for row in database.execute(f"PRAGMA table_info({table})")}
        for name, definition in columns.items():
            if name not in present:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {name} {definition}")
    database.execute(f"PRAGMA user_version = {1000 * _MAJOR + _MINOR}")


def _open_substitute(name: str) -> sqlite3.Connection:
    """Open a database that no other process can open while this one lives."""
    database = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
    database.row_factory = sqlite3.Row
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        _create_schema(database)
        database.execute('CREATE TABLE missed (sql TEXT, "values" TEXT)')
    except BaseException:
        database.close()
        raise
    return database


def _execute_missed(substitute: sqlite3.Connection, file: sqlite3.Connection) -> None:
    for sql, values in substitute.execute("SELECT * FROM missed ORDER BY rowid").fetchall():
        file.execute(sql, json.loads(values))


@contextmanager
def _exclusive(path: Path, busy_seconds: float) -> Iterator[None]:
    """Keep all other processes from opening the file or moving it aside.

    What an interrupted process left is moved in several steps: the database and its `-journal`. A process that opened
    the database in between would combine files that do not belong together. The lock is a transaction on an empty
    database next to the file, which works on every platform and ends with the process.
    """
    lock_path = path.with_name(path.name + _LOCK_SUFFIX)
    _create_private(lock_path)
    with closing(sqlite3.connect(lock_path, isolation_level=None, timeout=busy_seconds)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def _move_aside(path: Path) -> None:
    """Rename a damaged file and what belongs to it, within `_exclusive`."""
    name = stamped = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while path.with_name(name).exists():
        number += 1
        name = f"{stamped}-{number}"
    # The database first: processes that have it open then notice that it was moved when their writes fail. If this
    # process is killed here, SQLite removes the rest, because a new database begins with an empty file.
    for suffix in ("", *COMPANIONS):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(path.with_name(name + suffix))
    logger.warning("The journal %s was damaged; it is kept as %s, and a new one was begun", path, name)


def _create_private(path: Path) -> None:
    # Prompts and jobids are personal: the file is readable by this user alone from its first byte. An existing file is
    # not even opened, because closing it would release the locks that SQLite holds on it in this process.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _get_inode(path: Path) -> tuple[int, int] | None:
    """Get the device and inode that identify a file; None if there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _classify(error: sqlite3.Error | OSError | _Refused) -> tuple[_FileState, str]:
    """Classify an error as a state of the file, with the detail."""
    if isinstance(error, _Refused):
        return error.state, error.reason
    if isinstance(error, OSError):
        return "unusable", error.strerror or type(error).__name__
    # Extended codes contain the basic one in their lowest byte. Errors of the Python module have none.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return _STATE_OF_CODE.get(code, "unusable"), str(error)


# Statements.


def _transaction(database: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    """Execute `work` completely or not at all, and return its result."""
    database.execute("BEGIN IMMEDIATE")
    try:
        result = work(database)
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise
    return result


def _set_times(order: Order) -> tuple[str, tuple[float, ...]]:
    """Build what an `UPDATE` also sets if the times of an order are known more precisely than when it was recorded."""
    if not order.by_api_clock or order.sent_at is None:
        return "", ()
    return ", ordered_at = ?, sent_at = ?, by_api_clock = 1", (order.ordered_at.timestamp(), order.sent_at.timestamp())


def _update_order(order: Order, change: str, *values: Any) -> _Statement:
    """The statement that changes an order unless it has a job."""
    return f"UPDATE orders SET {change} WHERE id = ? AND jobid IS NULL", (*values, order.id)


def _copy_rows(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, condition: str = "TRUE", *values: Any
) -> None:
    """Copy the rows that `target` does not have, without columns of later versions."""
    columns = _COLUMNS[table]
    places = ", ".join("?" * len(columns.split(",")))
    for row in source.execute(f"SELECT {columns} FROM {table} WHERE {condition}", values):
        target.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", tuple(row))


def _find_duplicate(database: sqlite3.Connection, order: Order, api: str, key: str) -> Order | None:
    """The newest open order with the same key."""
    sql = f"SELECT * FROM orders WHERE api = ? AND key = ? AND {MAY_RUN} ORDER BY ordered_at DESC"
    for row in database.execute(sql, (api, key)).fetchall():
        # With the same key the request is the same: it replaces one that cannot be read.
        found = _parse_row(row) or _parse_row({**row, "request": json.dumps(order.request.to_dict())})
        if found:
            return found
        # An order that cannot be read cannot be followed. It must not block identical ones forever.
        database.execute("UPDATE orders SET state = 'given_up' WHERE id = ?", (row["id"],))
    return None


def _get_times(window: RateWindow) -> tuple[float, float, float]:
    """Get the values of `COUNTS_TOWARDS_LIMIT`."""
    return window.since.timestamp(), window.until.timestamp(), window.pending_since.timestamp()


# Orders as rows.

PLAIN_COLUMNS = (
    "id",
    "key",
    "state",
    "account",
    "jobid",
    "seconds",
    "credits",
    "error",
    "answer_status",
    "link",
    "continues",
    "price",
    "charged",
    "ordered_by",
)
FLAGS = ("save", "deleted", "by_api_clock", "adopted", "delivered")


def _parse_row(row: sqlite3.Row | dict[str, Any]) -> Order | None:
    """A row as an order; None if it cannot be read."""
    if row["state"] not in get_args(OrderState):
        return None
    try:
        return Order(
            **{name: row[name] for name in PLAIN_COLUMNS},
            request=parse_request(row["request"]),
            ordered_at=datetime.fromtimestamp(row["ordered_at"], UTC),
            sent_at=_parse_time(row["sent_at"]),
            alive_at=_parse_time(row["alive_at"]),
            files=tuple(map(str, json.loads(row["files"]))),
            save=bool(row["save"]),
            deleted=bool(row["deleted"]),
            by_api_clock=bool(row["by_api_clock"]),
            adopted=bool(row["adopted"]),
            delivered=bool(row["delivered"]),
            delivered_at=_parse_time(row["delivered_at"]),
        )
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _selects(query: OrderQuery, parts: list[str], row: sqlite3.Row) -> bool:
    """Whether a query selects an order by its state and its prompt. `parts`: folded, see `fold`."""
    with suppress(ValueError, TypeError, OverflowError, OSError):
        ordered_at = datetime.fromtimestamp(row["ordered_at"], UTC)
        state = query.get_state(row["state"], jobid=row["jobid"], ordered_at=ordered_at, deleted=row["deleted"])
        if state != query.state and (query.state or state == "deleted"):
            return False
        prompt = fold(str(json.loads(row["request"]).get("prompt"))) if parts else ""
        return all(part in prompt for part in parts)
    return False


def build_usage(row: dict[str, Any]) -> Usage:
    """Build the usage of a group of orders from its row, whose `api` has the credential and the tenant."""
    credential, tenant = split_api(row.pop("api"))
    return Usage(credential, tenant, **row)


def find_typical_range(seconds: Sequence[float]) -> tuple[float, float] | None:
    """Find the 10th and 90th percentile of sorted durations; None if there are too few."""
    if len(seconds) < MIN_SAMPLES:
        return None
    tenth = len(seconds) // 10
    low, high = seconds[tenth], seconds[-1 - tenth]
    return low, max(high, low + 1)


def parse_request(text: str) -> VideoRequest:
    """Parse a stored request, without parameters that a later version has added."""
    stored = json.loads(text)
    params: dict[str, Any] = {}
    for row in fields(VideoRequest):
        if row.name in stored:
            value = stored[row.name]
            # A flag or the keyframes; everything else is text.
            params[row.name] = value if isinstance(value, bool | list) else str(value)
    return VideoRequest.from_params(params)


def _parse_time(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC)


# Checking a file.

_CHECK_BUSY_SECONDS = 1.0


def check_health(path: Path) -> JournalHealth:
    """Examine a journal's file without changing it.

    Blocks for about a second if the file is locked: call it in a thread.
    """
    copies: list[Path] = []
    # The folder may be missing or unreadable.
    with suppress(OSError):
        copies.extend(path.parent.glob(f"{path.name}.damaged-*"))
    damaged_copies = tuple(sorted(copy for copy in copies if not copy.name.endswith(COMPANIONS)))
    try:
        if _get_inode(path) is None:
            return JournalHealth("missing", damaged_copies=damaged_copies)
        orders = _count_orders(path)
    except (sqlite3.Error, OSError, _Refused) as error:
        state, reason = _classify(error)
        return JournalHealth(state, reason=reason, damaged_copies=damaged_copies)
    return JournalHealth("ok", orders, damaged_copies=damaged_copies)


def _count_orders(path: Path) -> int:
    """How many orders are in the file, after checking that it can be read and written."""
    with ExitStack() as stack:
        # Without the lock's file no journal is open that could move the file now.
        if _get_inode(path.with_name(path.name + _LOCK_SUFFIX)):
            stack.enter_context(_exclusive(path, _CHECK_BUSY_SECONDS))
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_CHECK_BUSY_SECONDS)
        database = stack.enter_context(closing(connection))
        _check_format(database)
        [result] = database.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise _Refused("damaged", str(result))
        # Whether it can be written, without writing: this takes the lock of a writer, and the DELETE below fails if the
        # file is read-only.
        database.execute("BEGIN IMMEDIATE")
        [tables] = database.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'orders'").fetchone()
        orders = 0
        if tables:
            database.execute("DELETE FROM orders WHERE FALSE")
            [orders] = database.execute("SELECT COUNT(*) FROM orders").fetchone()
        database.execute("ROLLBACK")
    return int(orders)
