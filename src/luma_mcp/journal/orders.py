"""One order of the journal, and how it is written down."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from luma_mcp.api.protocol import VideoRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

OrderState = Literal["intent", "sent", "unknown", "running", "completed", "failed", "given_up"]
"""`intent`: not delivered yet, or surely not; `sent`: on its way; `unknown`: no answer came, and no job was found;
`given_up`: it has been unknown for so long that no job of it can run any more."""
UNSETTLED = ("sent", "unknown")


@dataclass(frozen=True, slots=True)
class Order:
    """One order.

    `key`: what makes it the same as another; `account`: where its job must be, if that is known; `alive_at`: when
    the process that sends it was last known to do so.
    """

    key: str
    request: VideoRequest
    ordered_at: datetime
    account: str | None = None
    save: bool = False
    state: OrderState = "intent"
    sent_at: datetime | None = None
    alive_at: datetime | None = None
    jobid: str | None = None
    seconds: float | None = None
    credits: float | None = None
    error: str | None = None
    files: tuple[str, ...] = ()
    deleted: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


_PLAIN = ("id", "key", "state", "account", "jobid", "seconds", "credits", "error", "save", "deleted")
_TIMES = ("ordered_at", "sent_at", "alive_at")


def as_row(order: Order, api: str) -> dict[str, Any]:
    """The row of the table `orders`; times in seconds since 1970."""
    return {
        **{name: getattr(order, name) for name in _PLAIN},
        "api": api,
        "request": order.request.model_dump_json(exclude_none=True),
        "files": json.dumps(order.files),
        **{name: time.timestamp() if (time := getattr(order, name)) else None for name in _TIMES},
    }


def from_row(row: Mapping[str, Any] | None) -> Order | None:
    """A row as an order; None if it is none that can be read."""
    if row is None or row["state"] not in get_args(OrderState):
        return None
    try:
        return Order(
            **{name: row[name] for name in _PLAIN[:-2]},
            save=bool(row["save"]),
            deleted=bool(row["deleted"]),
            request=VideoRequest.model_validate_json(row["request"]),
            files=tuple(map(str, json.loads(row["files"]))),
            ordered_at=datetime.fromtimestamp(row["ordered_at"], UTC),
            sent_at=_time(row["sent_at"]),
            alive_at=_time(row["alive_at"]),
        )
    except (ValueError, TypeError, OverflowError):
        return None


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
