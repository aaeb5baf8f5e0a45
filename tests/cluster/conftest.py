"""Tests on a whole deployment: `make cluster-test` (CLUSTER=1). Otherwise these tests are not collected."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.cluster import Cluster
    from tests.cluster.campaign import Deployment

if not os.environ.get("CLUSTER"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A deployment shared by all tests of a process. A test that stops parts of it restarts them."""
    from scripts.cluster import running_cluster

    with running_cluster(slots=64) as running:
        yield running


@pytest.fixture(scope="session")
def deployment() -> Iterator[Deployment]:
    """A deployment whose parts can be made to fail. A test that does so repairs them."""
    from tests.cluster.campaign import running_deployment

    with running_deployment(int(os.environ.get("CAMPAIGN_SEED", "1"))) as running:
        yield running


@pytest.fixture(scope="session")
def agents_deployment() -> Iterator[Deployment]:
    """The same with Luma's Agents API."""
    from tests.campaign.api import CONTRACTS
    from tests.cluster.campaign import running_deployment

    with running_deployment(int(os.environ.get("CAMPAIGN_SEED", "1")), CONTRACTS[1]) as running:
        yield running
