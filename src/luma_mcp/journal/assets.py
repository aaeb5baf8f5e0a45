"""The images that this machine has uploaded: the same bytes need not go twice within an asset's life."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from luma_mcp.journal.database import put

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from datetime import datetime

    from luma_mcp.journal.database import Database

LIFE = timedelta(days=29)
"""An asset lives 30 days (useapi.net, Luma API v1); the last is left to slow jobs and to clocks that differ."""


class Assets:
    """assetRefs by the digest of the bytes that they were made from, and by account."""

    def __init__(self, database: Database, *, api: str, wall_clock: Callable[[], datetime]) -> None:
        self._database = database
        self._api = api
        self._wall_clock = wall_clock

    def uploaded(self, digest: str, account: str, asset_ref: str) -> None:
        """Notes an upload; forgets those whose life is over."""
        now = self._wall_clock()
        row = {"api": self._api, "digest": digest, "account": account, "asset_ref": asset_ref}

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM assets WHERE uploaded_at < ?", ((now - LIFE).timestamp(),))
            put(db, "assets", row | {"uploaded_at": now.timestamp()})

        self._database.write(work)

    def find(self, digest: str, account: str) -> str | None:
        """The assetRef that lives in that account for those bytes."""
        return self._value("asset_ref", "digest = ? AND account = ?", digest, account)

    def is_known(self, digest: str) -> bool:
        """Whether those bytes were uploaded to any account."""
        return self._value("asset_ref", "digest = ?", digest) is not None

    def account_of(self, asset_ref: str) -> str | None:
        """The account that it was uploaded to from here."""
        return self._value("account", "asset_ref = ?", asset_ref)

    def digest_of(self, asset_ref: str) -> str | None:
        """The digest of what it was made from, if that was done here."""
        return self._value("digest", "asset_ref = ?", asset_ref)

    def forget(self, asset_ref: str) -> None:
        """Notes that the API does not know it any more."""
        self._database.write(lambda db: db.execute("DELETE FROM assets WHERE asset_ref = ?", (asset_ref,)))

    def _value(self, column: str, where: str, *values: str) -> str | None:
        alive = (self._wall_clock() - LIFE).timestamp()
        found = self._database.read(
            f"SELECT {column} FROM assets WHERE api = ? AND uploaded_at >= ? AND {where}",  # noqa: S608 - our own words
            (self._api, alive, *values),
        )
        return str(found[0][column]) if found else None
