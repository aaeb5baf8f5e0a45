"""The tables of the journal in a PostgreSQL database, and how they came to be: the SQL of each version, in order.

The columns and the stored values are those of `sqlite.py`, with PostgreSQL's types. `claimed` is new: an order that was
placed beside an identical one on purpose has no claim, nor has one that began to run again after it had ended.

A step is never changed once it was released. A later version adds a step. `oldest` of a step is the oldest version of
the schema whose programs can use the result: a step that only adds columns with a default, tables or indexes keeps
that of the step before it, so that servers of both versions share the database while they are replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from luma_mcp.journal.protocol import JournalHealth

LOCK = 0x4C756D61
"""The advisory lock that is held while the tables are changed."""
OPEN = "state IN ('intent', 'sent', 'unknown', 'running')"
"""Which orders hold the claim on their key, if they are `claimed`."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step, in one transaction. `oldest`: the oldest schema version whose programs can use the result."""

    sql: str
    oldest: int


MIGRATIONS = (
    Migration(
        f"""
        CREATE TABLE luma_orders (
            id text PRIMARY KEY, api text NOT NULL, key text NOT NULL, state text NOT NULL, request text NOT NULL,
            account text, ordered_at timestamptz NOT NULL, sent_at timestamptz, alive_at timestamptz,
            jobid text, seconds double precision, credits double precision, error text,
            save boolean NOT NULL DEFAULT FALSE, files text NOT NULL DEFAULT '[]',
            deleted boolean NOT NULL DEFAULT FALSE, by_api_clock boolean NOT NULL DEFAULT FALSE, answer_status integer,
            adopted boolean NOT NULL DEFAULT FALSE, delivered boolean NOT NULL DEFAULT FALSE, link text, continues text,
            price double precision, charged text, claimed boolean NOT NULL DEFAULT FALSE
        );
        CREATE UNIQUE INDEX luma_orders_claim ON luma_orders (api, key) WHERE claimed AND {OPEN};
        CREATE INDEX luma_orders_by_key ON luma_orders (api, key);
        CREATE INDEX luma_orders_by_jobid ON luma_orders (api, jobid);
        CREATE INDEX luma_orders_by_time ON luma_orders (api, ordered_at);
        CREATE TABLE luma_assets (
            api text NOT NULL, digest text NOT NULL, account text NOT NULL, asset_ref text NOT NULL,
            uploaded_at timestamptz NOT NULL, width integer, height integer, PRIMARY KEY (api, digest, account)
        );
        """,
        oldest=1,
    ),
    Migration(
        """
        ALTER TABLE luma_orders ADD COLUMN ordered_by text NOT NULL DEFAULT '';
        CREATE INDEX luma_orders_by_credential ON luma_orders (split_part(api, '/', 1), jobid);
        CREATE INDEX luma_orders_unsettled ON luma_orders (split_part(api, '/', 1))
            WHERE state IN ('sent', 'unknown');
        """,
        oldest=1,
    ),
    Migration(
        """
        CREATE TABLE luma_leases (name text PRIMARY KEY, holder text NOT NULL, until timestamptz NOT NULL);
        """,
        oldest=1,
    ),
    Migration("ALTER TABLE luma_orders ADD COLUMN delivered_at timestamptz;", oldest=1),
    Migration(
        # Not compressed: pictures are already.
        """
        CREATE TABLE luma_parts (
            api text NOT NULL, upload text NOT NULL, position integer NOT NULL, began_at timestamptz NOT NULL,
            data bytea NOT NULL, PRIMARY KEY (api, upload, position)
        );
        ALTER TABLE luma_parts ALTER COLUMN data SET STORAGE EXTERNAL;
        """,
        oldest=1,
    ),
)
VERSION = len(MIGRATIONS)
"""Version of the tables that this program uses."""
_VERSIONS = """
CREATE TABLE IF NOT EXISTS luma_schema (
    version integer PRIMARY KEY, oldest integer NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
);
"""


class SchemaMismatch(Exception):
    """The tables have another version: `version`, or 0 if there are none. `is_newer`: whether it is newer than ours."""

    def __init__(self, version: int, *, is_newer: bool) -> None:
        super().__init__(version)
        self.version = version
        self.is_newer = is_newer


def get_version(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """Get the version of the tables, and the oldest one whose programs can use them; 0 if there are none."""
    [table] = connection.execute("SELECT to_regclass('luma_schema')").fetchone() or (None,)
    if table is None:
        return 0, 0
    [version, oldest] = connection.execute(
        "SELECT coalesce(max(version), 0), coalesce(max(oldest), 0) FROM luma_schema"
    ).fetchone() or (0, 0)
    return int(version), int(oldest)


def check_schema(connection: psycopg.Connection[Any], *, migrate: bool) -> None:
    """Check the version of the tables, after applying the missing steps with `migrate`.

    Raises:
        SchemaMismatch: this version cannot use the tables; nothing was changed.
    """
    version, wanted = plan_migrations(connection)
    if version >= wanted:
        return
    if not migrate:
        raise SchemaMismatch(version, is_newer=False)
    apply_migrations(connection)


def plan_migrations(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """Get the version of the tables, and the one that they have after the missing steps.

    Raises:
        SchemaMismatch: the tables are newer than this version can use.
    """
    version, oldest = get_version(connection)
    if oldest > VERSION:
        raise SchemaMismatch(version, is_newer=True)
    return version, max(version, VERSION)


def apply_migrations(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """Apply the missing steps, in one transaction; the version before and after it.

    Raises:
        SchemaMismatch: the tables are newer than this version can use.
    """
    with connection.transaction():
        # A second process waits here, and then finds nothing left to do.
        connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        # Created before it is queried: otherwise this connection may have cached that it does not exist.
        connection.execute(_VERSIONS)
        version, wanted = plan_migrations(connection)
        for number, step in enumerate(MIGRATIONS[version:], version + 1):
            connection.execute(step.sql.encode())
            connection.execute("INSERT INTO luma_schema (version, oldest) VALUES (%s, %s)", (number, step.oldest))
    return version, wanted


def examine(connection: psycopg.Connection[Any]) -> JournalHealth:
    """Examine the tables without changing them."""
    [read_only] = connection.execute("SHOW transaction_read_only").fetchone() or ("on",)
    if read_only == "on":
        return JournalHealth("unusable", reason="the database can only be read")
    version, oldest = get_version(connection)
    if oldest > VERSION:
        return JournalHealth("newer", reason=f"its tables have version {version}, and this program knows {VERSION}")
    if version == 0:
        return JournalHealth("missing")
    if version < VERSION:
        return JournalHealth("older", reason=f"its tables have version {version}, and this program needs {VERSION}")
    [writable] = connection.execute(
        "SELECT bool_and(has_table_privilege(name, 'SELECT, INSERT, UPDATE, DELETE')) "
        "FROM unnest(ARRAY['luma_orders', 'luma_assets', 'luma_leases', 'luma_parts']) AS name"
    ).fetchone() or (False,)
    if not writable:
        return JournalHealth("unusable", reason="the user of the database may not change its tables")
    [orders] = connection.execute("SELECT count(*) FROM luma_orders").fetchone() or (0,)
    return JournalHealth("ok", int(orders))
