"""No order is billed twice and none is lost, whatever fails in a deployment; see tests/cluster/campaign.py."""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING

import pytest
from tests.cluster.campaign import KINDS, ORDERS, run_round

if TYPE_CHECKING:
    from tests.cluster.campaign import Deployment

IS_CAMPAIGN = "CAMPAIGN_ORDERS" in os.environ
SAMPLE_ORDERS = 6
"""Orders of each kind of round, unless this is a campaign."""


def choose_rounds() -> list[tuple[int, str]]:
    """Choose the rounds: the seed and the kind of fault of each."""
    first = int(os.environ.get("CAMPAIGN_SEED", "1"))
    orders = os.environ.get("CAMPAIGN_ORDERS")
    kinds = [os.environ["CAMPAIGN_KIND"]] if "CAMPAIGN_KIND" in os.environ else list(KINDS)
    count = math.ceil(int(orders) / ORDERS) if orders else len(kinds)
    return [(seed, kinds[seed % len(kinds)]) for seed in range(first, first + count)]


@pytest.mark.sample(1000 if IS_CAMPAIGN else 5)
@pytest.mark.parametrize(("seed", "kind"), choose_rounds())
def test_no_order_is_billed_twice_and_none_is_lost(deployment: Deployment, seed: int, kind: str) -> None:
    asyncio.run(run_round(deployment, seed, kind, ORDERS if IS_CAMPAIGN else SAMPLE_ORDERS))
