"""Replicas are restarted one after the other while clients order videos and wait for them."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.conftest import ERAS

if TYPE_CHECKING:
    from scripts.cluster import Cluster, Replica

MODES = pytest.mark.parametrize("mode", ERAS)
CLIENTS = 8
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clients:
    """Clients that order videos one after the other until they are stopped. `videos`: the finished ones."""

    def __init__(self, cluster: Cluster, mode: str) -> None:
        self._cluster, self._mode = cluster, mode
        self._headers = {"Authorization": f"Bearer {cluster.mint()}"}
        self.are_busy, self.are_stopped = anyio.Event(), False
        self.jobids: list[str] = []
        self.videos: list[str] = []
        self.problems: list[str] = []

    async def run(self, number: int) -> None:
        orders = 0
        while not self.are_stopped:
            orders += 1
            try:
                await self._order(f"client {number}, video {orders}, {self._mode}")
            except Exception as error:  # noqa: BLE001 - what a user would see
                self.problems.append(repr(error))

    async def _order(self, prompt: str) -> None:
        """Order a video over a new connection, and wait for it."""
        async with (
            httpx2.AsyncClient(headers=self._headers, timeout=120) as http,
            Client(streamable_http_client(self._cluster.url, http_client=http), mode=self._mode) as client,
        ):
            content = await call(client, "generate_video", prompt=prompt)
            self.jobids.append(content["jobid"])
            if len(self.jobids) == CLIENTS:
                self.are_busy.set()
            while content["state"] == "running":
                content = await call(client, "get_job", jobid=content["jobid"])
            self.videos.append(content["jobid"])


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    content: dict[str, Any] | None = result.structured_content
    assert content
    return content


async def restart(replica: Replica) -> None:
    """Stop a replica with SIGTERM, and start it again."""
    replica.send(signal.SIGTERM)
    code = await anyio.to_thread.run_sync(replica.wait)
    assert code == 128 + signal.SIGTERM
    await anyio.to_thread.run_sync(replica.start)


@MODES
async def test_no_call_fails_while_replicas_are_restarted(cluster: Cluster, mode: str) -> None:
    clients = Clients(cluster, mode)
    async with anyio.create_task_group() as tasks:
        for number in range(CLIENTS):
            tasks.start_soon(clients.run, number)
        await clients.are_busy.wait()
        for replica in cluster.replicas:
            await restart(replica)
        clients.are_stopped = True
    assert not clients.problems
    assert len(set(clients.jobids)) == len(clients.jobids)
    assert sorted(clients.videos) == sorted(clients.jobids)
