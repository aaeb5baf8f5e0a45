"""What the journal is told while an order is delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luma_mcp.journal.journal import Journal
    from luma_mcp.journal.orders import Order


class LostIntent(Exception):
    """Another process has begun the same order in the meantime."""


class JournalObserver:
    """Writes down each step of one delivery, as `luma.wire.DeliveryObserver` tells it."""

    def __init__(self, journal: Journal, order: Order) -> None:
        self._journal, self._order = journal, order

    def sending(self) -> None:
        """It is about to go out.

        Raises:
            LostIntent: it must not.
        """
        if not self._journal.sending(self._order):
            raise LostIntent

    def not_delivered(self) -> None:
        """It surely did not arrive."""
        self._journal.not_delivered(self._order)
