"""What may be sent again, and when. Pure: no clock, no network, no randomness of its own.

The one question that decides is whether the request could have arrived. An order (`POST /videos`) that may
have arrived is never sent again, because the API has no idempotency key: it would make, and bill, a second job.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
FIRST_PAUSE_AT_CAPACITY = 2.0


class DeliveryOutcome(Enum):
    """What became of a request that brought no usable answer."""

    NEVER_ARRIVED = "the connection was never made"
    REFUSED = "the API refused it for now (429)"
    FAILED = "the API answered with a failure, or unreadably"
    LOST = "it went out, and no answer came back"
    FINAL = "the API's answer stands, or trying again cannot help"


NOT_DELIVERED = frozenset({DeliveryOutcome.NEVER_ARRIVED, DeliveryOutcome.REFUSED, DeliveryOutcome.FINAL})
"""After these an order has certainly started nothing."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What sending a request twice would do."""

    name: str
    resend_after: frozenset[DeliveryOutcome]


READ = RetryPolicy(
    "read",
    frozenset({DeliveryOutcome.NEVER_ARRIVED, DeliveryOutcome.REFUSED, DeliveryOutcome.FAILED, DeliveryOutcome.LOST}),
)
ORDER = RetryPolicy("order", frozenset({DeliveryOutcome.NEVER_ARRIVED, DeliveryOutcome.REFUSED}))


def pause(
    effect: RetryPolicy, fate: DeliveryOutcome, *, attempt: int, left: float, retry_after: float | None, chance: float
) -> float | None:
    """Seconds to wait before sending again; None if it must not be, or not within what is left.

    Args:
        effect: what sending it twice would do.
        fate: what became of it.
        attempt: how often it was sent so far, from 1.
        left: seconds left in the budget.
        retry_after: the pace that the API asked for, in seconds.
        chance: a random number from 0 to 1; spreads clients that failed together.
    """
    if fate not in effect.resend_after:
        return None
    first = FIRST_PAUSE_AT_CAPACITY if fate is DeliveryOutcome.REFUSED else FIRST_PAUSE
    grown = min(LONGEST_PAUSE, first * 2.0 ** min(attempt - 1, 10)) * (0.5 + chance / 2)
    # A pace of 0, or a date that has passed, is no leave to hammer.
    seconds = max(grown, retry_after or 0.0)
    return seconds if seconds <= left else None


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """The header's seconds, from either of its forms (`120`, `Wed, 21 Oct 2026 07:28:00 GMT`); None if unreadable."""
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())
