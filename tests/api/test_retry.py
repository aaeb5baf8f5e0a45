"""Which requests are sent again, and when."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from luma_mcp.api.retry import IDEMPOTENT, NON_IDEMPOTENT, DeliveryOutcome, RetryPolicy, backoff, parse_retry_after

NOON = datetime(2026, 10, 21, 12, 0, 0, tzinfo=UTC)
NEVER_ARRIVED, REJECTED = DeliveryOutcome.NEVER_ARRIVED, DeliveryOutcome.REJECTED_FOR_NOW
LOST, FAILED, FINAL = DeliveryOutcome.LOST, DeliveryOutcome.FAILED, DeliveryOutcome.FINAL


def delay(
    policy: RetryPolicy,
    outcome: DeliveryOutcome,
    *,
    attempt: int = 1,
    remaining: float = 60,
    retry_after: float | None = None,
    jitter: float = 1.0,
) -> float | None:
    return backoff(policy, outcome, attempt=attempt, remaining=remaining, retry_after=retry_after, jitter=jitter)


@pytest.mark.parametrize("outcome", [LOST, FAILED, FINAL])
def test_an_order_that_may_have_arrived_is_not_repeated(outcome: DeliveryOutcome) -> None:
    assert delay(NON_IDEMPOTENT, outcome, retry_after=1) is None


@pytest.mark.parametrize("outcome", [NEVER_ARRIVED, REJECTED])
def test_an_order_that_did_not_arrive_is_repeated(outcome: DeliveryOutcome) -> None:
    assert delay(NON_IDEMPOTENT, outcome) is not None


@pytest.mark.parametrize("outcome", [NEVER_ARRIVED, REJECTED, LOST, FAILED])
def test_a_read_is_repeated_after_any_transient_outcome(outcome: DeliveryOutcome) -> None:
    assert delay(IDEMPOTENT, outcome) is not None


def test_a_final_outcome_is_not_repeated() -> None:
    assert delay(IDEMPOTENT, FINAL) is None


def test_delay_is_exactly_retry_after() -> None:
    assert delay(NON_IDEMPOTENT, REJECTED, retry_after=7) == 7


def test_retry_after_beyond_the_remaining_time_ends_the_retries() -> None:
    assert delay(NON_IDEMPOTENT, REJECTED, remaining=6, retry_after=7) is None


def test_delays_grow_to_a_limit() -> None:
    delays = [delay(IDEMPOTENT, LOST, attempt=attempt) for attempt in range(1, 8)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_jitter_spreads_delays_over_their_second_half() -> None:
    delays = [delay(IDEMPOTENT, LOST, attempt=2, jitter=jitter) for jitter in (0.0, 0.5, 1.0)]
    assert delays == [0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2026 12:00:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 12:00:30 -0000", 30.0),
        ("Wed, 21 Oct 2026 11:00:00 GMT", 0.0),
        ("299.997", 299.997),
        ("30s", 30.0),
        ("120, 300", 300.0),
        ('"120"', 120.0),
        ("Wednesday, 21-Oct-26 12:00:30 GMT", 30.0),
        ("2026-10-21T12:00:30Z", 30.0),
        ("soon", None),
        ("nan", None),
        ("9" * 400, None),
        ("1 " * 20_000, None),
        ("PT30S", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_parsed_in_each_format(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOON) == seconds
