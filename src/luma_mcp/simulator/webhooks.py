"""The simulated API's calls of a `replyUrl` when a job ends. They lead to this machine only.

Source: useapi.net, Luma API v1, pages of April 2026.
"""

from __future__ import annotations

import json
import math
import threading
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from luma_mcp.simulator.state import Service, SimulatedJob

LOOPBACK = ("localhost", "127.0.0.1", "::1")
TIMEOUT = 5.0
# Without the proxy that the environment may name.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class WebhookCaller:
    """Calls the webhooks of orders at the end of their jobs, in threads. `media_url`: where the files of jobs are."""

    service: Service
    media_url: str

    def schedule(self, job: SimulatedJob) -> None:
        """Call the webhook of a job's order when the job ends, unless its prompt requests something else."""
        if "webhook-lost" in job.behaviors or math.isinf(job.seconds):
            return
        end = job.begun + job.seconds + job.behaviors.get("webhook-late", 0)
        count = 2 if "webhook-repeated" in job.behaviors else 1
        for _ in range(count):
            timer = threading.Timer(max(0.0, end - self.service.clock()), self._call, [job])
            timer.daemon = True
            timer.start()

    def _call(self, job: SimulatedJob) -> None:
        reply_url, reply_ref = job.reply
        url = urlsplit(reply_url)
        if url.scheme != "http" or url.hostname not in LOOPBACK:
            return
        record = {**self.service.job_record(job, self.media_url), "replyUrl": reply_url, "replyRef": reply_ref}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(reply_url, json.dumps(record).encode(), headers)  # noqa: S310 - checked above
        # Not repeated after a failure, because the API does not document repetitions.
        with suppress(OSError), _OPENER.open(request, timeout=TIMEOUT):
            pass
