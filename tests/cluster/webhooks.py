"""The simulated API with webhooks, which are sent in time or with every kind of fault."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx2
from tests.campaign.api import Api

if TYPE_CHECKING:
    from tests.campaign.api import Contract

    from luma_mcp.simulator.state import SimulatedJob

MEGABYTE = 1_000_000
SECONDS = 10.0
WAYS = {
    "in time": 40,
    "lost": 20,
    "three times": 10,
    "before the end": 8,
    "late": 8,
    "with a megabyte": 5,
    "with a wrong MAC": 5,
    "with the MAC of another order": 4,
}
"""The kinds of webhooks that the API sends about jobs, and their shares in percent."""
EXPECTED = {"with a megabyte": 413, "with a wrong MAC": 404, "with the MAC of another order": 404}
"""The expected status of the response, if it is not 204."""


class WebhookApi(Api):
    """An API with webhooks.

    Attributes:
        answered: how often webhooks of each kind got each status. 0 means no response.
    """

    def __init__(self, contract: Contract, seed: int) -> None:
        super().__init__(contract, random.Random(seed))
        self.answered: Counter[tuple[str, int]] = Counter()
        self._choices = random.Random(seed)
        self._urls: dict[str, str] = {}
        self._last_url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def problems(self) -> list[str]:
        """Webhooks that got a wrong status."""
        wrong: list[str] = []
        for (way, status), count in self.answered.items():
            # A replica may close the connection before it has read a body that is too large.
            if status not in (EXPECTED.get(way, 204), 0, 502):
                wrong.append(f"webhooks {way} got status {status}, {count} times")
        return wrong

    async def _serve_order(
        self,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        order = json.loads(body)
        self._urls[order["prompt"]] = order.get("replyUrl", "")
        return await super()._serve_order(target, headers, body, reader, writer)

    def _add_job(self, job: SimulatedJob) -> None:
        super()._add_job(job)
        url = self._urls.get(job.request["prompt"])
        if not url:
            return
        [way] = self._choices.choices(list(WAYS), list(WAYS.values()))
        task = asyncio.ensure_future(self._send_webhook(job, url, way, self._last_url))
        self._last_url = url
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super()._end()

    async def _send_webhook(self, job: SimulatedJob, url: str, way: str, other: str) -> None:
        if way == "lost" or (way == "with the MAC of another order" and not other):
            return
        if way == "before the end":
            await asyncio.sleep(job.seconds / 2)
        else:
            await asyncio.sleep(job.seconds + (3.0 if way == "late" else 0.0))
        order, _, mac = url.rpartition("/")
        body: dict[str, Any] = {"jobid": job.jobid, "status": "completed"}
        if way == "with a megabyte":
            body["filler"] = "x" * MEGABYTE
        elif way == "with a wrong MAC":
            url = f"{order}/{mac[::-1]}"
        elif way == "with the MAC of another order":
            url = f"{order}/{other.rpartition('/')[2]}"
        async with httpx2.AsyncClient(timeout=SECONDS) as http:
            for _ in range(3 if way == "three times" else 1):
                try:
                    status = (await http.post(url, json=body)).status_code
                except httpx2.HTTPError:
                    status = 0
                self.answered[way, status] += 1
