"""The journal of several machines: a PostgreSQL database that all their servers share.

**Threads.** psycopg is used in a worker thread, one statement at a time, because its asyncio side does not run on trio.

**The claim.** A partial unique index allows one open order per API and key, unless it was placed beside another one on
purpose. All changes of a credential's orders, whichever tenant's, hold an advisory lock until the end of their
transaction, so that what a transaction has counted is still true when it commits.

**Without the database.** Nothing is ordered: `insert_pending`, `mark_sending` and the queries that decide about an
order raise `JournalUnavailable`. Other queries return nothing, so jobs are followed through the API alone. Updates of
an order that is already on its way are kept in memory and written when the database is back. If the process ends before
that, the order stays `sent`: other processes treat it like that of a killed process, look for its job, and do not send
it again meanwhile. The next statement replaces a lost connection.

`postgres_connections.py` has the connections of the process, `postgres_replicas.py` leases and announcements.
"""

# ruff: noqa: S608 - statements are composed of constants; every value is bound
from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar, get_args

import anyio
import psycopg
from anyio import to_thread
from pydantic import SecretStr

from luma_mcp.api.protocol import Job, parse_time
from luma_mcp.errors import JournalUnavailable
from luma_mcp.journal.postgres_connections import (
    BUSY_SECONDS,
    RETRY_SECONDS,
    Connection,
    Unusable,
    Use,
    connect,
    describe,
    get_connections,
)
from luma_mcp.journal.postgres_replicas import PostgresReplicas, get_listener
from luma_mcp.journal.postgres_schema import OPEN, SchemaMismatch, apply_migrations, examine, plan_migrations
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
from luma_mcp.journal.sqlite import (
    ASSET_LIFETIME,
    EVERY_API,
    FLAGS,
    IS_UNSETTLED,
    MAX_SAMPLES,
    MAY_RUN,
    MEASURED_SECONDS,
    PLAIN_COLUMNS,
    RETENTION,
    SPENT,
    UPLOADS,
    USAGE,
    build_usage,
    find_typical_range,
    parse_request,
)
from luma_mcp.text import fold

logger = logging.getLogger(__name__)

MOST_MEASURED = 2_000
"""The latest completed orders that are looked at for typical durations and credits."""

_COUNTS = "ordered_at > %s AND ordered_at <= %s AND (state <> 'intent' OR COALESCE(alive_at, ordered_at) > now() - %s)"
"""As in `sqlite.py`, but the last value is an age."""
_SPENT, _USAGE = (text.replace("?", "%s") for text in (SPENT, USAGE))
_SAME_CREDENTIAL = "split_part(api, '/', 1) = %s"
"""As in `sqlite.py`."""
_MODEL = """substring(request from '"model": "([^"]*)"')"""
"""Not parsed as JSON, because one malformed row would make that fail. Quotation marks within a prompt are escaped."""
_FINISHED = "state IN ('completed', 'failed') AND NOT deleted AND jobid IS NOT NULL"
_LIFETIME = f"interval '{UPLOAD_LIFETIME.total_seconds():.0f} s'"
_IS_KEPT = f"(began_at BETWEEN now() - {_LIFETIME} AND now() + {_LIFETIME})"
"""Whether a part has not expired, by the database's clock, since those of the machines may differ."""
_KEEP_CLAIM = f"claimed = claimed AND {OPEN}"
"""Set with every state that may reopen an order: an order that had ended must not take the claim of its successor."""
_ALIVE = "alive_at = clock_timestamp()"
"""By the database's clock, since those of the machines may differ. Other times become those of the API's clock."""
_TIMES = ("ordered_at", "sent_at", "alive_at", "delivered_at")
_LARGEST = 1e9
"""Largest plausible duration of a job, in seconds, or number of credits that it used."""
_LONGEST = 40
"""Longest value of a choice, in characters."""
_T = TypeVar("_T")
_Row = dict[str, Any]
_Kind = frozenset[tuple[str, str]]
_Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""


class PostgresJournal:
    """`luma_mcp.journal.protocol.Journal`, which documents the methods, in a PostgreSQL database.

    Args:
        dsn: how the database is reached, as a URL or in libpq's own form.
        api: identifies the credential and the API, never the token itself; for a tenant that does not own the
            credential, with a slash and its id after that. `EVERY_API`: a read-only view of all.
        wall_clock: the time of day, in UTC.
        clock: seconds; decides when a database that could not be reached is tried again.
        asset_lifetime: how long an uploaded image can be used; None if only the API knows that.
        migrate: whether missing tables are created and those of an earlier version changed.
        busy_seconds: how long a connection or another process is waited for.
        listen: the direct address for announcements, if `dsn` leads to a pooler.
    """

    refuses_orders = True

    def __init__(
        self,
        dsn: SecretStr,
        *,
        api: str,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        asset_lifetime: timedelta | None = ASSET_LIFETIME,
        migrate: bool = True,
        busy_seconds: float = BUSY_SECONDS,
        listen: SecretStr | None = None,
    ) -> None:
        self._api = api
        self._asset_lifetime = asset_lifetime
        self._wall_clock = wall_clock
        self._clock = clock
        migrate = migrate and api != EVERY_API
        self._database = _Database(dsn, find_lock(api), migrate=migrate, busy_seconds=busy_seconds)
        self._credential, _ = split_api(api)
        self._replicas = PostgresReplicas(
            self._database.connections,
            get_listener(listen or dsn),
            scope=self._credential,
            clock=clock,
            migrate=migrate,
            busy_seconds=busy_seconds,
        )
        self._limiter: anyio.CapacityLimiter | None = None
        # The latest completed orders, and until when they are used.
        self._completed: list[_Row] | None = None
        # What was computed from them, by the parameters.
        self._typical: dict[_Kind, tuple[float, float] | None] = {}
        self._credits_used: dict[_Kind, dict[tuple[str, ...], tuple[float, float]]] = {}
        self._measured_until = float("-inf")
        self._mine = "api = %s"
        if api == EVERY_API:
            self._mine = f"%s = '{EVERY_API}'"

    @property
    def problem(self) -> str | None:
        return self._database.problem

    @property
    def replicas(self) -> Replicas:
        return self._replicas

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._replicas.close)
            await self._run(self._database.close)

    async def insert_pending(
        self, order: Order, *, allow_duplicate: bool, windows: Sequence[RateWindow], is_patient: bool = False
    ) -> Order | None:
        identical = (self._api, order.key)
        # Here and not in the thread: the clock may belong to the event loop.
        times = [self._get_times(window) for window in windows]

        def insert(db: Connection) -> Order | None:
            # As in `sqlite.py`: only by the API's clock, and never an order whose job may be running.
            if order.by_api_clock:
                sql = f"DELETE FROM luma_orders WHERE ordered_at < %s AND by_api_clock AND NOT {MAY_RUN}"
                db.execute(_sql(sql), (order.ordered_at - RETENTION,))
            if not allow_duplicate:
                duplicate = _find_duplicate(db, order, *identical)
                if duplicate:
                    return duplicate
                db.execute("DELETE FROM luma_orders WHERE api = %s AND key = %s AND state = 'intent'", identical)
            for window, limits in zip(windows, times, strict=True):
                counts = f"api = %s AND id <> %s AND {_COUNTS}"
                sql = f"SELECT count(*) AS count, coalesce(sum({_SPENT}), 0) AS spent FROM luma_orders WHERE {counts}"
                values = (window.unpriced, self._api, order.id, *limits)
                [counted] = db.execute(_sql(sql), values).fetchall()
                if not window.has_room(counted["count"], counted["spent"], order.price):
                    raise LimitExceeded(window, counted["spent"])
            _execute(db, self._insert_statement(order, claimed=not allow_duplicate))
            db.execute(_sql(f"UPDATE luma_orders SET {_ALIVE} WHERE id = %s"), (order.id,))
            return None

        try:
            return await self._transact(insert)
        except Unusable as error:
            if error.is_busy and is_patient:
                raise JournalBusy from error
            # The commit may have been carried out although its answer was lost.
            self._database.defer(("DELETE FROM luma_orders WHERE id = %s AND state = 'intent'", (order.id,)))
            raise JournalUnavailable(error.problem, is_database=True) from error

    async def mark_sending(self, order: Order) -> bool:
        now = self._wall_clock()
        change = _update_order(order, f"state = 'sent', sent_at = %s, {_ALIVE}, {_KEEP_CLAIM}", now)
        return await self._decide(self._transact(lambda db: _execute(db, change))) > 0

    async def heartbeat(self, order: Order) -> None:
        change = (f"UPDATE luma_orders SET {_ALIVE} WHERE id = %s", (order.id,))
        with suppress(Unusable, anyio.ClosedResourceError):
            # Without the lock of the API's orders: it decides nothing, and must not wait.
            await self._run(partial(self._database.run, lambda db: _execute(db, change), use="read"))

    async def mark_not_delivered(self, order: Order) -> None:
        await self._record(_update_order(order, f"state = 'intent', {_KEEP_CLAIM}"))

    async def drop(self, order: Order) -> None:
        await self._record(("DELETE FROM luma_orders WHERE id = %s AND jobid IS NULL", (order.id,)))

    async def drop_pending(self, order: Order) -> None:
        await self._record(("DELETE FROM luma_orders WHERE id = %s AND state = 'intent'", (order.id,)))

    async def mark_unknown(self, order: Order) -> None:
        times, values = _set_times(order)
        change = f"state = 'unknown', answer_status = COALESCE(%s, answer_status), {_KEEP_CLAIM}{times}"
        update = _update_order(order, change, order.answer_status, *values)
        await self._record(self._insert_statement(order, claimed=False), update)

    async def give_up(self, order: Order) -> None:
        await self._record(_update_order(order, "state = 'given_up'"))

    async def record_job(self, order: Order, jobid: str) -> None:
        times, values = _set_times(order)
        # Another order may have adopted the job by mistake.
        change = f"jobid = NULL, state = 'unknown', {_KEEP_CLAIM}"
        sql = f"UPDATE luma_orders SET {change} WHERE {_SAME_CREDENTIAL} AND jobid = %s AND id <> %s"
        found = f"UPDATE luma_orders SET jobid = %s, state = 'running', {_KEEP_CLAIM}{times} WHERE id = %s"
        is_written = await self._record(
            (sql, (self._credential, jobid, order.id)),
            # It may be missing: another process may have given it up and removed it.
            self._insert_statement(order, claimed=False),
            (found, (jobid, *values, order.id)),
        )
        if not is_written:
            logger.warning("The job %s was ordered, and will be recorded when the database is back", jobid)

    async def adopt(self, order: Order, jobid: str) -> bool:
        sql = (
            f"UPDATE luma_orders SET jobid = %s, state = 'running', adopted = TRUE, {_KEEP_CLAIM} "
            "WHERE id = %s AND jobid IS NULL AND NOT EXISTS "
            f"(SELECT 1 FROM luma_orders AS other WHERE {_SAME_CREDENTIAL} AND other.jobid = %s)"
        )
        values = (jobid, order.id, self._credential, jobid)
        try:
            if await self._transact(lambda db: _execute(db, (sql, values))):
                return True
        except Unusable:
            return False
        owner = await self.get_by_jobid(jobid)
        return owner is not None and owner.id == order.id

    async def release(self, jobid: str) -> None:
        change = f"jobid = NULL, adopted = FALSE, state = 'unknown', {_KEEP_CLAIM}"
        await self._update_job(jobid, change, condition="adopted")

    async def record_state(self, job: Job) -> None:
        if job.state == "running":
            await self._update_job(job.jobid, f"state = 'running', {_KEEP_CLAIM}", condition="state = 'given_up'")
            return
        seconds = job.elapsed_seconds(self._wall_clock())
        link = job.files.video.url if job.files.video else None
        reason = _clean(job.failure_reason)
        values: tuple[Any, ...] = (job.state, seconds, job.credits_used, reason, _clean(link), job.charged)
        # As in `sqlite.py`: what an earlier record has shown stays.
        change = "state = %s, seconds = coalesce(%s, seconds), credits = %s, error = %s, link = %s, charged = %s"
        created = parse_time(job.created)
        if created:
            change += ", ordered_at = CASE WHEN by_api_clock THEN ordered_at ELSE %s END"
            change += ", sent_at = CASE WHEN by_api_clock THEN sent_at ELSE %s END, by_api_clock = TRUE"
            values = (*values, created, created)
        await self._update_job(job.jobid, change, *values)

    async def mark_gone(self, jobid: str) -> None:
        await self._update_job(jobid, "state = 'given_up'", condition="state = 'running'")

    async def request_files(self, jobid: str) -> None:
        await self._update_job(jobid, "save = TRUE")

    async def record_files(self, jobid: str, files: tuple[str, ...]) -> None:
        await self._update_job(jobid, "files = %s", json.dumps(files))

    async def mark_delivered(self, jobid: str) -> None:
        await self._update_job(jobid, "delivered = TRUE, delivered_at = %s", self._wall_clock())

    async def mark_deleted(self, jobid: str) -> None:
        finished = "CASE state WHEN 'running' THEN 'completed' ELSE state END"
        await self._update_job(jobid, f"deleted = TRUE, state = {finished}")

    async def get(self, order_id: str) -> Order | None:
        return await self._find_order("id = %s", order_id)

    async def get_by_jobid(self, jobid: str, *, is_certain: bool = False) -> Order | None:
        found = self._list("jobid = %s", jobid, limit=1)
        return next(iter(await self._look_up(found, is_certain=is_certain)), None)

    async def get_open(self, key: str) -> Order | None:
        found = await self._decide(self._list(f"key = %s AND {MAY_RUN}", key, limit=1))
        return next(iter(found), None)

    async def list_finished(self, key: str) -> list[Order]:
        return await self._decide(self._list(f"key = %s AND {_FINISHED}", key))

    async def list_unsettled(self) -> list[Order]:
        return await self._list_orders(IS_UNSETTLED)

    async def list_rivals(self) -> list[Order]:
        sql = f"SELECT * FROM luma_orders WHERE {IS_UNSETTLED} AND {_SAME_CREDENTIAL} ORDER BY ordered_at DESC"
        return [order for order in map(_parse_row, await self._select(sql, self._credential)) if order]

    async def list_unsettled_tenants(self) -> set[str]:
        sql = f"SELECT DISTINCT api FROM luma_orders WHERE {IS_UNSETTLED} AND {_SAME_CREDENTIAL}"
        return {split_api(row["api"])[1] for row in await self._select(sql, self._credential)}

    async def list_missing_files(self, since: datetime, before: datetime) -> list[Order]:
        missing = "save AND files = '[]' AND state IN ('running', 'completed') AND NOT deleted"
        return await self._list_orders(f"{missing} AND ordered_at >= %s AND ordered_at < %s", since, before)

    async def list_latest(self, limit: int) -> list[Order]:
        return await self._list_orders("state <> 'intent'", limit=limit)

    async def list_running(self) -> list[Order]:
        return await self._list_orders("state = 'running'")

    async def find_orders(self, query: OrderQuery, limit: int) -> tuple[list[Order], int]:
        conditions = [self._mine, "state <> 'intent'"]
        values: list[Any] = [self._api]
        if query.since:
            conditions.append("ordered_at >= %s")
            values.append(query.since)
        if query.before:
            conditions.append("ordered_at < %s")
            values.append(query.before)
        sql = f"SELECT * FROM luma_orders WHERE {' AND '.join(conditions)} ORDER BY ordered_at DESC"
        parts = [fold(part) for part in (query.text or "").split()]

        # Filtered here for the reasons given in `sqlite.py`, a few rows at a time.
        def find(db: Connection) -> tuple[list[Order], int]:
            orders: list[Order] = []
            count = 0
            with db.cursor("orders") as cursor:
                for row in cursor.execute(_sql(sql), values):
                    order = _parse_row(row)
                    if order is None or not _selects(query, parts, order):
                        continue
                    count += 1
                    if len(orders) < limit:
                        orders.append(order)
            return orders, count

        return await self._query(find, ([], 0))

    async def list_counted(self, window: RateWindow) -> list[Order]:
        return await self._decide(self._list(_COUNTS, *self._get_times(window)))

    async def list_deletable(self, limit: int) -> list[Order]:
        return await self._list_orders(_FINISHED, limit=limit)

    async def owned_jobids(self, *, of_all: bool = False) -> set[str]:
        condition, api = (_SAME_CREDENTIAL, self._credential) if of_all else (self._mine, self._api)
        sql = f"SELECT jobid FROM luma_orders WHERE {condition} AND jobid IS NOT NULL"
        return {row["jobid"] for row in await self._select(sql, api)}

    async def typical_seconds(self, *kinds: Mapping[str, str]) -> list[tuple[float, float] | None]:
        completed = await self._list_completed()
        found: list[tuple[float, float] | None] = []
        for kind in kinds:
            key = frozenset(kind.items())
            if key not in self._typical:
                self._typical[key] = find_typical_range(_pick(completed, "seconds", kind))
            found.append(self._typical[key])
        return found

    async def credits_used(self, kind: Mapping[str, str]) -> dict[tuple[str, ...], tuple[float, float]]:
        completed, key = await self._list_completed(), frozenset(kind.items())
        if key not in self._credits_used:
            self._credits_used[key] = _measure_credits(completed, kind)
        return self._credits_used[key]

    async def _list_completed(self) -> list[_Row]:
        """List what the latest completed orders show; the answer is used for a while."""
        if self._completed is None or self._clock() >= self._measured_until:
            sql = (
                f"SELECT seconds, credits, request FROM luma_orders WHERE {self._mine} AND state = 'completed' "
                f"ORDER BY ordered_at DESC LIMIT {MOST_MEASURED}"
            )
            found = await self._select(sql, self._api)
            for row in found:
                row["params"] = _read_choices(row.pop("request"))
            self._completed = found
            self._typical.clear()
            self._credits_used.clear()
            self._measured_until = self._clock() + MEASURED_SECONDS
        return self._completed

    async def summarize_usage(self, since: datetime | None = None) -> list[Usage]:
        sql = (
            f"SELECT api, ordered_by, {_MODEL} AS model, {_USAGE} FROM luma_orders WHERE {self._mine} "
            "AND state <> 'intent' AND ordered_at >= %s GROUP BY api, ordered_by, 3 ORDER BY api, ordered_by, 3"
        )
        earliest = since or datetime(1, 1, 2, tzinfo=UTC)
        nothing: list[_Row] = []
        query = self._fetch(_fetch_all(sql, 0.0, self._api, earliest), nothing)
        found = await self._look_up(query, is_certain=True)
        return [build_usage(row) for row in found]

    async def find_asset(self, digest: str, account: str) -> str | None:
        return _text(await self._find_asset("digest = %s AND account = %s", digest, account), "asset_ref")

    async def is_known_asset(self, digest: str) -> bool:
        return await self._find_asset("digest = %s", digest) is not None

    async def account_of_asset(self, asset_ref: str, *, is_certain: bool = False) -> str | None:
        return _text(await self._find_asset("asset_ref = %s", asset_ref, is_certain=is_certain), "account")

    async def digest_of_asset(self, asset_ref: str) -> str | None:
        return _text(await self._find_asset("asset_ref = %s", asset_ref), "digest")

    async def size_of_asset(self, asset_ref: str) -> tuple[int, int] | None:
        found = await self._find_asset("asset_ref = %s AND width IS NOT NULL AND height IS NOT NULL", asset_ref)
        return (found["width"], found["height"]) if found else None

    async def record_asset(
        self, digest: str, account: str, asset_ref: str, size: tuple[int, int] | None = None
    ) -> None:
        width, height = size or (None, None)
        sql = (
            "INSERT INTO luma_assets (api, digest, account, asset_ref, uploaded_at, width, height) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (api, digest, account) DO UPDATE SET "
            "asset_ref = EXCLUDED.asset_ref, uploaded_at = EXCLUDED.uploaded_at, width = EXCLUDED.width, "
            "height = EXCLUDED.height"
        )
        await self._record(
            (f"DELETE FROM luma_assets WHERE {self._mine} AND uploaded_at < %s", (self._api, self._oldest_asset())),
            (sql, (self._api, digest, account, asset_ref, self._wall_clock(), width, height)),
        )

    async def forget_asset(self, asset_ref: str) -> None:
        await self._record(("DELETE FROM luma_assets WHERE asset_ref = %s", (asset_ref,)))

    async def add_part(self, upload: str, offset: int, data: bytes, *, most: int) -> int | None:
        def add(db: Connection) -> int | None:
            db.execute(_sql(f"DELETE FROM luma_parts WHERE NOT {_IS_KEPT}"))
            uploads: dict[str, tuple[datetime | None, int]] = {}
            for row in db.execute(_sql(f"{UPLOADS} FROM luma_parts WHERE api = %s GROUP BY upload"), (self._api,)):
                uploads[row["upload"]] = (row["began_at"], row["size"])
            began_at, received = uploads.get(upload, (None, 0))
            if not data or offset != received:
                return received
            if sum(size for _, size in uploads.values()) + len(data) > most:
                return None
            # If two requests send the same part, the second one conflicts with this row and is repeated.
            values = (self._api, upload, received, began_at, data)
            db.execute("INSERT INTO luma_parts VALUES (%s, %s, %s, coalesce(%s, now()), %s)", values)
            return received + len(data)

        return await self._decide(self._keep(add))

    async def read_parts(self, upload: str) -> bytes:
        sql = f"SELECT data FROM luma_parts WHERE api = %s AND upload = %s AND {_IS_KEPT} ORDER BY position"

        def read(db: Connection) -> bytes:
            # In binary form: as text, a picture would be twice as long.
            return b"".join([row["data"] for row in db.execute(_sql(sql), (self._api, upload), binary=True)])

        return await self._decide(self._keep(read))

    async def remove_parts(self, upload: str | None = None) -> None:
        def remove(db: Connection) -> None:
            sql = f"DELETE FROM luma_parts WHERE (api = %s AND upload = %s) OR NOT {_IS_KEPT}"
            db.execute(_sql(sql), (self._api, upload))

        # What is left now expires.
        with suppress(Unusable):
            await self._keep(remove)

    async def _keep(self, work: Callable[[Connection], _T]) -> _T:
        """Work on parts of pictures: without the lock of the API's orders, which these do not concern."""
        return await self._run(partial(self._database.run, work, use="read"))

    async def _find_asset(self, condition: str, *values: str, is_certain: bool = False) -> _Row | None:
        sql = f"SELECT * FROM luma_assets WHERE {self._mine} AND uploaded_at >= %s AND {condition} LIMIT 1"
        nothing: list[_Row] = []
        found = self._fetch(_fetch_all(sql, self._api, self._oldest_asset(), *values), nothing)
        return next(iter(await self._look_up(found, is_certain=is_certain)), None)

    def _oldest_asset(self) -> datetime:
        """Get the time from which on an uploaded image can still be used."""
        if self._asset_lifetime is None:
            return datetime(1, 1, 2, tzinfo=UTC)
        return self._wall_clock() - self._asset_lifetime

    async def _find_order(self, condition: str, *values: Any) -> Order | None:
        orders = await self._list_orders(condition, *values, limit=1)
        return next(iter(orders), None)

    async def _list_orders(self, condition: str, *values: Any, limit: int | None = None) -> list[Order]:
        try:
            return await self._list(condition, *values, limit=limit)
        except Unusable:
            return []

    async def _list(self, condition: str, *values: Any, limit: int | None = None) -> list[Order]:
        sql = f"SELECT * FROM luma_orders WHERE {self._mine} AND {condition} ORDER BY ordered_at DESC LIMIT %s"
        found: list[_Row] = await self._fetch(_fetch_all(sql, self._api, *values, limit), [])
        return [order for order in map(_parse_row, found) if order]

    async def _select(self, sql: str, *values: Any) -> list[_Row]:
        return await self._query(_fetch_all(sql, *values), [])

    async def _query(self, work: Callable[[Connection], _T], otherwise: _T) -> _T:
        """Read; `otherwise` if the database cannot be used."""
        try:
            return await self._fetch(work, otherwise)
        except Unusable:
            return otherwise

    async def _fetch(self, work: Callable[[Connection], _T], otherwise: _T) -> _T:
        """Read; `otherwise` if the question contains a text that the database cannot contain."""
        try:
            return await self._run(partial(self._database.run, work, use="read"))
        except (psycopg.DataError, UnicodeEncodeError):
            return otherwise

    async def _decide(self, question: Awaitable[_T]) -> _T:
        """Await a query that decides whether an order may be placed."""
        try:
            return await question
        except Unusable as error:
            raise JournalUnavailable(error.problem, is_database=True) from error

    async def _look_up(self, query: Awaitable[list[_T]], *, is_certain: bool) -> list[_T]:
        """Read; empty if the database cannot be used, unless the answer must be certain."""
        try:
            return await query
        except Unusable as error:
            if is_certain:
                raise JournalUnavailable(error.problem, is_database=True, is_look_up=True) from error
            return []

    async def _update_job(self, jobid: str, change: str, *values: Any, condition: str = "TRUE") -> None:
        sql = f"UPDATE luma_orders SET {change} WHERE api = %s AND jobid = %s AND {condition}"
        await self._record((sql, (*values, self._api, jobid)))
        self._completed = None

    async def _record(self, *statements: _Statement) -> bool:
        """Execute statements in one transaction; False if the database gets them later."""

        def execute(db: Connection) -> None:
            for statement in statements:
                _execute(db, statement)

        try:
            await self._transact(execute)
        except Unusable:
            self._database.defer(*statements)
            return False
        return True

    async def _transact(self, work: Callable[[Connection], _T]) -> _T:
        if self._api == EVERY_API:
            raise ValueError("a journal of every API is read-only")
        return await self._run(partial(self._database.run, work, use="write"))

    async def _run(self, function: Callable[[float], _T]) -> _T:
        """Call a function of the database in the thread."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(1)
        # The clock is read here and not in the thread: it may belong to the event loop.
        return await to_thread.run_sync(function, self._clock(), limiter=self._limiter)

    def _get_times(self, window: RateWindow) -> tuple[datetime, datetime, timedelta]:
        """Get the values of `_COUNTS`."""
        return window.since, window.until, self._wall_clock() - window.pending_since

    def _insert_statement(self, order: Order, *, claimed: bool) -> _Statement:
        """The statement that inserts an order unless it is recorded already."""
        row: dict[str, Any] = {name: getattr(order, name) for name in (*PLAIN_COLUMNS, *FLAGS, *_TIMES)}
        row |= {
            "api": self._api,
            "request": json.dumps(order.request.to_dict()),
            "files": json.dumps(order.files),
            "claimed": claimed,
        }
        places = ", ".join(["%s"] * len(row))
        names = ", ".join(row)
        sql = f"INSERT INTO luma_orders ({names}) VALUES ({places}) ON CONFLICT (id) DO NOTHING"
        return sql, tuple(row.values())


def find_lock(api: str) -> int:
    """Find the number of the advisory lock for a credential's orders, which is the same in all processes."""
    credential, _ = split_api(api)
    return int.from_bytes(blake2b(f"luma-ray-mcp {credential}".encode(), digest_size=8).digest(), signed=True)


class _Database:
    """Executes the work of one journal, and remembers writes that failed. Used in worker threads.

    `now` is the time of the journal's `clock`, in seconds.

    Attributes:
        problem: why the database is not in use; None while it is.
        connections: those of this process.
    """

    def __init__(self, dsn: SecretStr, lock: int, *, migrate: bool, busy_seconds: float) -> None:
        self.problem: str | None = None
        self.connections = get_connections(dsn)
        self.connections.add_user()
        # The advisory lock that every change of the API's orders holds.
        self._turn = self.connections.get_turn(lock)
        self._migrate = migrate
        self._busy_seconds = busy_seconds
        # Whether the last attempt to connect failed.
        self._is_down = False
        self._closed = False
        # Transactions that still have to be written, in order. One that is repeated moves to the end.
        self._missed: dict[tuple[_Statement, ...], None] = {}
        self._write_at = float("-inf")
        # As in `sqlite.py`: the limiter admits one thread at a time, except after a native cancellation.
        self._mutex = threading.Lock()

    def run(self, work: Callable[[Connection], _T], now: float, *, use: Use) -> _T:
        """Call `work` in a transaction, and return its result.

        Raises:
            Unusable: the database cannot be used. Whether the transaction was carried out is not known then.
        """
        with self._mutex:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._missed and (use == "write" or now >= self._write_at):
                self._write_missed(now, use)
            result = self._attempt(work, now, use)
            # A successful read does not prove that writes succeed as well.
            if self.problem and (use == "write" or self._is_down):
                logger.info("The journal's database is in use again")
                self.problem = None
            self._is_down = False
            return result

    def defer(self, *statements: _Statement) -> None:
        """Remember statements to execute later, in one transaction."""
        self._missed.pop(statements, None)
        self._missed[statements] = None

    def close(self, now: float) -> None:
        """Close, after a last attempt to write what is still pending."""
        with self._mutex:
            if self._missed:
                with suppress(Unusable):
                    self._write_missed(now, "write", is_last=True)
            if self._missed:
                logger.error("%d changes could not be written to the journal's database", len(self._missed))
            if not self._closed:
                self.connections.remove_user()
            self._closed = True

    def _write_missed(self, now: float, use: Use, *, is_last: bool = False) -> None:
        for statements in list(self._missed):
            try:
                self._attempt(partial(_execute_all, statements=statements), now, "write", is_last=is_last)
            except Unusable:
                if use == "write" or self._is_down:
                    raise
                self._write_at = now + RETRY_SECONDS
                return
            except (psycopg.DataError, UnicodeEncodeError):
                logger.exception("A change cannot be written to the journal's database")
            del self._missed[statements]

    def _attempt(self, work: Callable[[Connection], _T], now: float, use: Use, *, is_last: bool = False) -> _T:
        try:
            return self.connections.execute(
                work,
                now,
                use,
                migrate=self._migrate,
                busy_seconds=self._busy_seconds,
                turn=self._turn,
                is_last=is_last,
            )
        except Unusable as error:
            self._is_down = self._is_down or error.is_lost
            if error.problem != self.problem:
                logger.warning("The journal's database is not in use, and nothing is ordered: %s", error.problem)
            self.problem = error.problem
            raise


# Statements.


def _sql(text: str) -> bytes:
    """Encode a statement: psycopg's types accept text only as a literal."""
    return text.encode()


def _execute(db: Connection, statement: _Statement) -> int:
    """Execute a statement, and return how many rows it changed."""
    sql, values = statement
    return db.execute(_sql(sql), values).rowcount


def _execute_all(db: Connection, statements: tuple[_Statement, ...]) -> None:
    for statement in statements:
        _execute(db, statement)


def _fetch_all(sql: str, *values: Any) -> Callable[[Connection], list[_Row]]:
    return lambda db: db.execute(_sql(sql), values).fetchall()


def _set_times(order: Order) -> tuple[str, tuple[datetime, ...]]:
    """Build what an `UPDATE` also sets if the times of an order are known more precisely than when it was recorded."""
    if not order.by_api_clock or order.sent_at is None:
        return "", ()
    return ", ordered_at = %s, sent_at = %s, by_api_clock = TRUE", (order.ordered_at, order.sent_at)


def _update_order(order: Order, change: str, *values: Any) -> _Statement:
    """The statement that changes an order unless it has a job."""
    return f"UPDATE luma_orders SET {change} WHERE id = %s AND jobid IS NULL", (*values, order.id)


def _find_duplicate(db: Connection, order: Order, api: str, key: str) -> Order | None:
    """The newest open order with the same key."""
    sql = f"SELECT * FROM luma_orders WHERE api = %s AND key = %s AND {MAY_RUN} ORDER BY ordered_at DESC"
    for row in db.execute(_sql(sql), (api, key)).fetchall():
        # As in `sqlite.py`: the request is the same, and an order that cannot be read blocks nobody forever.
        found = _parse_row(row) or _parse_row({**row, "request": json.dumps(order.request.to_dict())})
        if found:
            return found
        db.execute("UPDATE luma_orders SET state = 'given_up' WHERE id = %s", (row["id"],))
    return None


def _clean(text: str | None) -> str | None:
    """Remove from a text of the API what PostgreSQL cannot store."""
    return text and text.encode(errors="replace").decode().replace("\0", "")


def _text(row: _Row | None, column: str) -> str | None:
    return None if row is None else str(row[column])


# Orders as rows.


def _parse_row(row: _Row) -> Order | None:
    """A row as an order; None if it cannot be read."""
    if row["state"] not in get_args(OrderState):
        return None
    try:
        times = {name: row[name] and row[name].astimezone(UTC) for name in _TIMES}
        return Order(
            **{name: row[name] for name in (*PLAIN_COLUMNS, *FLAGS)},
            **times,
            request=parse_request(row["request"]),
            files=tuple(map(str, json.loads(row["files"]))),
        )
    except (ValueError, TypeError, OverflowError):
        return None


def _selects(query: OrderQuery, parts: list[str], order: Order) -> bool:
    """Whether a query selects an order by its state and its prompt. `parts`: folded, see `fold`."""
    state = query.get_state(order.state, jobid=order.jobid, ordered_at=order.ordered_at, deleted=order.deleted)
    if state != query.state and (query.state or state == "deleted"):
        return False
    prompt = fold(str(order.request.prompt)) if parts else ""
    return all(part in prompt for part in parts)


def _read_choices(request: str) -> dict[str, Any]:
    """The parameters of a stored request that are choices, such as its resolution."""
    with suppress(ValueError):
        stored = json.loads(request)
        if isinstance(stored, dict):
            # Prompts and links are left out: each tenant has thousands of orders in memory.
            return {name: value for name, value in stored.items() if isinstance(value, str) and len(value) <= _LONGEST}
    return {}


def _pick(rows: Iterable[_Row], column: str, kind: Mapping[str, str]) -> list[float]:
    """The latest values of a column in orders with these parameters, sorted."""
    similar = [row[column] for row in rows if kind.items() <= row["params"].items()]
    found = [value for value in similar if value is not None and 0 <= value <= _LARGEST]
    return sorted(found[:MAX_SAMPLES])


def _measure_credits(rows: Iterable[_Row], kind: Mapping[str, str]) -> dict[tuple[str, ...], tuple[float, float]]:
    """Compute the least and the most credits of orders with these parameters, as `Journal.credits_used` does."""
    samples: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        params = row["params"]
        if row["credits"] is None or not kind.items() <= params.items() or not params.keys() >= {*CREDIT_FACTORS}:
            continue
        latest = samples.setdefault(tuple(str(params[name]) for name in CREDIT_FACTORS), [])
        if len(latest) < MAX_SAMPLES:
            latest.append(row["credits"])
    return {key: (min(latest), max(latest)) for key, latest in samples.items()}


# Checking a database, and changing its tables.


def check_health(dsn: SecretStr) -> JournalHealth:
    """Examine a journal's database without changing it. Blocks until it answers: call it in a thread."""
    try:
        with connect(dsn) as connection:
            return examine(connection)
    except (psycopg.Error, OSError) as error:
        return JournalHealth("unusable", reason=describe(error))


def find_problem(dsn: SecretStr) -> str | None:
    """Find out why a database cannot be reached; None if it can. Blocks until it answers: call it in a thread."""
    try:
        with connect(dsn) as connection:
            connection.execute("SELECT 1")
    except (psycopg.Error, OSError) as error:
        return describe(error)
    return None


def migrate(dsn: SecretStr, *, dry_run: bool) -> tuple[int, int]:
    """Bring the tables to this version; the version before and after that. With `dry_run`, nothing is changed.

    Raises:
        JournalUnavailable: the database cannot be used, or its tables are newer than this version can use.
    """
    try:
        with connect(dsn) as connection:
            return plan_migrations(connection) if dry_run else apply_migrations(connection)
    except (psycopg.Error, OSError, SchemaMismatch) as error:
        raise JournalUnavailable(describe(error), is_database=True) from None
