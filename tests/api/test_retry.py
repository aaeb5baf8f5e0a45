"""What may be sent again, and when."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from luma_mcp.api.retry import ORDER, READ, DeliveryOutcome, RetryPolicy, parse_retry_after, pause

NOON = datetime(2026, 10, 21, 12, 0, 0, tzinfo=UTC)


def after(
    effect: RetryPolicy, fate: DeliveryOutcome, *, attempt: int = 1, left: float = 60, retry_after: float | None = None
) -> float | None:
    return pause(effect, fate, attempt=attempt, left=left, retry_after=retry_after, chance=1.0)


@pytest.mark.parametrize("fate", [DeliveryOutcome.LOST, DeliveryOutcome.FAILED, DeliveryOutcome.FINAL])
def test_an_order_that_may_have_arrived_is_never_sent_again(fate: DeliveryOutcome) -> None:
    assert after(ORDER, fate, retry_after=1) is None


@pytest.mark.parametrize("fate", [DeliveryOutcome.NEVER_ARRIVED, DeliveryOutcome.REFUSED])
def test_an_order_that_surely_did_not_arrive_is_sent_again(fate: DeliveryOutcome) -> None:
    assert after(ORDER, fate) is not None


@pytest.mark.parametrize(
    "fate", [DeliveryOutcome.NEVER_ARRIVED, DeliveryOutcome.REFUSED, DeliveryOutcome.LOST, DeliveryOutcome.FAILED]
)
def test_reading_is_tried_again_whatever_became_of_it(fate: DeliveryOutcome) -> None:
    assert after(READ, fate) is not None


def test_what_trying_again_cannot_mend_is_not_tried_again() -> None:
    assert after(READ, DeliveryOutcome.FINAL) is None


def test_the_api_s_own_pace_is_kept_to_the_second() -> None:
    assert after(ORDER, DeliveryOutcome.REFUSED, retry_after=7) == 7


def test_a_pace_beyond_the_budget_ends_the_trying_at_once() -> None:
    assert after(ORDER, DeliveryOutcome.REFUSED, left=6, retry_after=7) is None


def test_pauses_grow_to_a_limit() -> None:
    assert [after(READ, DeliveryOutcome.LOST, attempt=n) for n in range(1, 8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_chance_spreads_pauses_over_their_second_half() -> None:
    spread = [pause(READ, DeliveryOutcome.LOST, attempt=2, left=9, retry_after=None, chance=c) for c in (0.0, 0.5, 1.0)]
    assert spread == [0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2026 12:00:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOON) == seconds
