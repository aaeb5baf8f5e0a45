"""Decides whether and when a request is sent again. Pure: uses no clock, no network and no random numbers.

The deciding question is whether the request could have arrived. An order that may have arrived is never sent again:
no API here has an idempotency key, so a second copy would make, and bill, a second job.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

# Seconds; doubled after each attempt.
FIRST_DELAY = 0.5
# A slot becomes free when a job has finished, which takes longer than a network recovers.
FIRST_DELAY_AT_CAPACITY = 2.0
LONGEST_DELAY = 8.0
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?( ?s)?")


class DeliveryOutcome(Enum):
    """What became of a request that brought no usable answer."""

    NEVER_ARRIVED = "no connection was made"
    REJECTED_FOR_NOW = "the API rejected it and may accept it later"
    FAILED = "the API answered with a failure, or unreadably"
    LOST = "it was sent, and no answer came back"
    FINAL = "the API's answer stands, or a repetition cannot help"


# After these an order has certainly started nothing.
NOT_DELIVERED = frozenset({DeliveryOutcome.NEVER_ARRIVED, DeliveryOutcome.REJECTED_FOR_NOW, DeliveryOutcome.FINAL})

RetryPolicy = frozenset[DeliveryOutcome]
"""After which outcomes a request is sent again."""
NON_IDEMPOTENT: RetryPolicy = NOT_DELIVERED - {DeliveryOutcome.FINAL}
IDEMPOTENT: RetryPolicy = frozenset(DeliveryOutcome) - {DeliveryOutcome.FINAL}


def backoff(
    policy: RetryPolicy,
    outcome: DeliveryOutcome,
    *,
    attempt: int,
    remaining: float,
    retry_after: float | None,
    jitter: float,
) -> float | None:
    """Compute the seconds to wait before the request is sent again; None if it must not, or not in the remaining time.

    `attempt` counts the deliveries so far, from 1. `remaining` and `retry_after` (the API's wish) are in seconds.
    `jitter` is a random number from 0 to 1, which spreads clients that failed together.
    """
    if outcome not in policy:
        return None
    first = FIRST_DELAY_AT_CAPACITY if outcome is DeliveryOutcome.REJECTED_FOR_NOW else FIRST_DELAY
    delay = min(LONGEST_DELAY, first * 2.0 ** min(attempt - 1, 10)) * (0.5 + jitter / 2)
    # `Retry-After: 0`, or a date that has passed, must not lead to a burst of requests: our own delay is the minimum.
    delay = max(delay, retry_after or 0.0)
    return delay if delay <= remaining else None


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Parse a `Retry-After` header into seconds, at least 0; None if it is unreadable.

    It is a number (`120`; servers also send `299.997` or `30s`) or a time (`Wed, 21 Oct 2026 07:28:00 GMT`). A header
    that was sent twice arrives as a list of numbers, of which the largest suits both.
    """
    text = (text or "").strip().strip('"')
    numbers = [part.strip() for part in text.split(",")]
    if all(map(_SECONDS.fullmatch, numbers)):
        seconds = max(float(number.rstrip("s")) for number in numbers)
        # A number too long for a float, which JSON could not express either.
        return seconds if math.isfinite(seconds) else None
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        try:
            until = datetime.fromisoformat(text)
        except ValueError:
            return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    try:
        return max(0.0, (until - now).total_seconds())
    except OverflowError:
        return None
