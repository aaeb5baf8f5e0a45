"""Real servers that share a journal, with all kinds of faults: no order is billed twice or lost.

    make campaign

runs 2,000 orders, with new seeds each time; `CAMPAIGN_SEED=… CAMPAIGN_ORDERS=… make campaign` repeats them. Even
seeds use useapi.net, odd ones Luma's Agents API. A failure prints the seed of its scenario, its steps, and the history
of each order, job and call.
"""

from __future__ import annotations

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from tests.campaign.scenario import run_scenario
from tests.conftest import ALL

ORDERS = 50
"""Orders of one scenario. One list can show all of them."""
SAMPLE_SEEDS, SAMPLE_ORDERS = 2, 25 if ALL else 10
AT_ONCE = 2
"""Simultaneous scenarios of one test. Most of the time, they wait for their servers."""


def choose_seeds() -> tuple[range, int]:
    """Get the seeds of the scenarios, and how many orders each has."""
    if "CAMPAIGN_ORDERS" not in os.environ:
        return range(1, 1 + SAMPLE_SEEDS), SAMPLE_ORDERS
    # All workers of one run must collect the same tests.
    first = int(os.environ["CAMPAIGN_SEED"])
    return range(first, first + math.ceil(int(os.environ["CAMPAIGN_ORDERS"]) / ORDERS)), ORDERS


@pytest.mark.skipif(sys.platform == "win32", reason="files that are open cannot be replaced there")
@pytest.mark.parametrize("first", choose_seeds()[0][::AT_ONCE])
def test_no_order_is_billed_twice_or_lost(first: int) -> None:
    seeds, orders = choose_seeds()
    chosen = [seed for seed in range(first, first + AT_ONCE) if seed in seeds]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        scenarios = list(pool.map(partial(run_scenario, orders=orders), chosen))
    assert all(len(scenario.api.posts) >= orders for scenario in scenarios)
