"""Estimate what videos cost, as far as that is known before they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luma_mcp.catalog.models import Catalog
from luma_mcp.errors import PriceBasis
from luma_mcp.journal.protocol import CREDIT_FACTORS, Journal


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a video is expected to cost, in the API's unit. None as `price`: nothing is known."""

    price: float | None
    basis: PriceBasis


@dataclass(frozen=True, slots=True)
class PriceEstimator:
    """Knows prices from the API's price list, or else from what videos have used on this machine."""

    catalog: Catalog
    journal: Journal

    async def estimate(self, params: Mapping[str, Any]) -> Estimate:
        """Estimate the price of a complete request."""
        if self.catalog.prices:
            return Estimate(self.catalog.price(params), "price_list")
        kind = {name: str(params.get(name)) for name in CREDIT_FACTORS}
        for used in (await self.journal.credits_used(kind)).values():
            return Estimate(used[1], "such_videos")
        return Estimate(await self.get_highest(), "any_video")

    async def get_highest(self) -> float | None:
        """Get the most that a video has used on this machine; None if none has been completed."""
        highest: float | None = None
        for _, used in (await self.journal.credits_used({})).values():
            highest = max(used, highest or 0.0)
        return highest
