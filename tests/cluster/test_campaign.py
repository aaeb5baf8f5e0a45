"""No order is billed twice or lost, whatever fails in a deployment; see tests/cluster/campaign.py."""

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


def choose_rounds() -> list[tuple[int, str, str]]:
    """Choose the seed, the kind of fault and the API of each round. The API changes after all kinds."""
    first = int(os.environ.get("CAMPAIGN_SEED", "1"))
    orders = os.environ.get("CAMPAIGN_ORDERS")
    kinds = [os.environ["CAMPAIGN_KIND"]] if "CAMPAIGN_KIND" in os.environ else list(KINDS)
    count = math.ceil(int(orders) / ORDERS) if orders else 2 * len(kinds)
    rounds: list[tuple[int, str, str]] = []
    for seed in range(first, first + count):
        api = "agents" if seed // len(KINDS) % 2 else "useapi"
        rounds.append((seed, kinds[seed % len(kinds)], api))
    return rounds


@pytest.mark.sample(1000 if IS_CAMPAIGN else 5)
@pytest.mark.parametrize(("seed", "kind", "api"), choose_rounds())
def test_no_order_is_billed_twice_or_lost(request: pytest.FixtureRequest, seed: int, kind: str, api: str) -> None:
    deployment: Deployment = request.getfixturevalue("deployment" if api == "useapi" else "agents_deployment")
    asyncio.run(run_round(deployment, seed, kind, ORDERS if IS_CAMPAIGN else SAMPLE_ORDERS))
