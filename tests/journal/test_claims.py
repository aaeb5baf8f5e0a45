"""Room for an order is judged where its intent is written, whoever else writes there."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.journal.test_journal import API, NOW, opened, order, ordered

from luma_mcp.journal.claims import LimitExceeded, RateWindow
from luma_mcp.journal.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

LATER = NOW + timedelta(seconds=90)
ROOM = RateWindow(1, NOW - timedelta(hours=1), LATER - timedelta(minutes=1))
"""For one order within an hour, as judged at `LATER`."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def has_room(journal: Journal) -> bool:
    try:
        assert journal.claim(order("cat", "A cat"), another=True, room=ROOM) is None
    except LimitExceeded:
        return False
    return True


def test_an_old_intent_that_gives_signs_of_life_holds_its_place(path: Path) -> None:
    """Its sender waits for a slot, for longer than an intent is believed that says nothing."""
    waiting, times = order(), [NOW]
    sender = Journal(path, api=API, wall_clock=lambda: times[-1])
    sender.claim(waiting, another=False)
    times.append(LATER - timedelta(seconds=1))
    sender.alive(waiting)
    assert not has_room(opened(path, now=LATER))
    assert sender.sending(waiting)


def test_an_old_intent_without_a_sign_of_life_holds_none(path: Path) -> None:
    opened(path).claim(order(), another=False)
    assert has_room(opened(path, now=LATER))


def test_what_was_refused_for_want_of_room_leaves_nothing_in_any_memory(path: Path) -> None:
    first, second = opened(path), opened(path)
    ordered(first, "j1")
    assert not has_room(second)
    path.unlink()
    everything = RateWindow(1, NOW - timedelta(days=1), NOW - timedelta(days=1))
    assert not [o for o in second.counted(everything) if o.key == "cat"]


def test_what_is_dated_in_the_future_counts_too(path: Path) -> None:
    """The clock was set back in between."""
    ordered(opened(path), "j1", at=NOW + timedelta(hours=5))
    assert not has_room(opened(path, now=LATER))
