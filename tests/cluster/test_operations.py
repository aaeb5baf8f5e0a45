"""Readiness of a deployment without its database, and logs and metrics without secrets."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from scripts.cluster import SECRET_KEY
from tests.conftest import ERAS
from tests.postgres.server import PASSWORD

from luma_mcp.hosting.operations import FRESH

if TYPE_CHECKING:
    from scripts.cluster import Cluster, Replica

pytestmark = pytest.mark.anyio
PROMPT = "a lighthouse that nobody may read about"
TIMEOUT = 30.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def wait_for_status(replica: Replica, status: int) -> str:
    """Poll a replica until it returns this status. Returns the text of the response."""
    async with httpx2.AsyncClient() as http:
        with anyio.fail_after(TIMEOUT):
            while True:
                response = await http.get(f"{replica.metrics}/readyz")
                if response.status_code == status:
                    return response.text
                await anyio.sleep(FRESH / 4)


async def test_replicas_are_not_ready_without_their_database(cluster: Cluster) -> None:
    for replica in cluster.replicas:
        await wait_for_status(replica, 200)
    with cluster.postgres.stopped():
        for replica in cluster.replicas:
            assert "database" in await wait_for_status(replica, 503)
            assert httpx2.get(f"{replica.metrics}/livez").status_code == 200
            assert "luma_mcp_database_problem 1.0" in httpx2.get(f"{replica.metrics}/metrics").text
    for replica in cluster.replicas:
        await wait_for_status(replica, 200)
        assert "luma_mcp_database_problem 0.0" in httpx2.get(f"{replica.metrics}/metrics").text


@pytest.mark.parametrize("mode", ERAS)
async def test_logs_and_metrics_contain_no_secrets_or_personal_data(cluster: Cluster, mode: str) -> None:
    token = cluster.mint("bob")
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": f"request-of-{mode}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=120) as http,
        Client(streamable_http_client(cluster.url, http_client=http), mode=mode) as client,
    ):
        made = await client.call_tool("generate_video", {"prompt": f"{PROMPT} ({mode})", "wait_seconds": 0})
        assert made.structured_content
        await client.call_tool("get_job", {"jobid": made.structured_content["jobid"], "wait_seconds": 0})
    wrong = cluster.mint("bob", by="stranger")
    assert httpx2.post(cluster.url, json={}, headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
    texts = [replica.log.read_text() for replica in cluster.replicas]
    texts += [httpx2.get(f"{replica.metrics}/metrics").text for replica in cluster.replicas]
    everything = "\n".join(texts)
    secrets = (token, wrong, token.rpartition(".")[2], PASSWORD, SECRET_KEY, "user:1-cluster", cluster.dsn)
    for private in (*secrets, "lighthouse", "bob", "alice", "studio.example", "studio@", "editors"):
        assert private not in everything
    lines = [json.loads(line) for line in everything.splitlines() if line.startswith("{")]
    calls = [line for line in lines if line.get("tool") and line["request_id"] == f"request-of-{mode}"]
    assert {"generate_video", "get_job"} <= {call["tool"] for call in calls}
    assert all(re.fullmatch("[0-9a-f]{16,}", call["tenant"]) for call in calls)
