"""What the API calls when a job has ended that was ordered here: `POST /hooks/<order id>/<MAC>`.

A call is only a hint: its body is ignored, and calls that wait for the job fetch its record. Webhook calls may be
repeated, late, or never come. The path works like a secret, so it is never logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import anyio
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from luma_mcp.catalog import get_catalog
from luma_mcp.journal.protocol import Journal
from luma_mcp.journal.sqlite import EVERY_API
from luma_mcp.service import journal_place
from luma_mcp.service.service import VideoService, open_journal
from luma_mcp.service.webhooks import PREFIX, WebhookUrls, build_webhook_urls
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

LARGEST_BODY = 65_536
"""Bytes of a call that are read. Records of jobs have a few thousand."""
MOST_PENDING = 200
"""Orders whose calls are being passed on at the same time, at most."""
LOOK_UP_DELAYS = (0.0, 1.0, 4.0, 10.0)
"""Seconds before each look-up of an order's jobid. The API may call before its answer to the order is recorded."""

Services = Callable[[], Iterable[VideoService]]
"""Gets the services that are open in this process."""


class Hooks:
    """Takes the calls, and announces the jobs to all processes that wait for one.

    Args:
        urls: verifies the paths.
        journal: finds the orders of all tenants; None: those of `services` do.
        services: notified directly where no journal is shared with other processes.
    """

    def __init__(self, urls: WebhookUrls, journal: Journal | None, services: Services) -> None:
        self._urls = urls
        self._journal = journal
        self._services = services
        self._pending: set[str] = set()
        self._router = Router([Route(f"{PREFIX}/{{order_id}}/{{mac}}", self._handle, methods=["POST"])])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request below `PREFIX`. The MAC in its path authenticates it."""
        await self._router(scope, receive, send)

    async def aclose(self) -> None:
        """Close the journal."""
        if self._journal:
            await self._journal.aclose()

    async def _handle(self, request: Request) -> Response:
        order_id, mac = request.path_params["order_id"], request.path_params["mac"]
        if not self._urls.is_valid(order_id, mac):
            return PlainTextResponse("Not Found", 404, {"Connection": "close"})
        if not await _read(request):
            return PlainTextResponse("Content Too Large", 413, {"Connection": "close"})
        # Afterwards, since the database may be slow, and the API need not wait for it.
        return Response(status_code=204, background=BackgroundTask(self._announce, order_id))

    async def _announce(self, order_id: str) -> None:
        if order_id in self._pending or len(self._pending) >= MOST_PENDING:
            return
        self._pending.add(order_id)
        try:
            for delay in LOOK_UP_DELAYS:
                await anyio.sleep(delay)
                jobid = await self._find_jobid(order_id)
                if jobid:
                    await self._notify(jobid)
                    return
        finally:
            self._pending.discard(order_id)
        logger.info("The API has called about an order without a job")

    async def _find_jobid(self, order_id: str) -> str | None:
        journals = [self._journal] if self._journal else [service.journal for service in self._services()]
        for journal in journals:
            order = await journal.get(order_id)
            if order and order.jobid:
                return order.jobid
        return None

    async def _notify(self, jobid: str) -> None:
        if self._journal and self._journal.replicas:
            await self._journal.replicas.announce(jobid, by_webhook=True)
            return
        for service in self._services():
            service.notify(jobid, True)


def build_hooks(settings: Settings, services: Services) -> Hooks | None:
    """Build the handler of the API's calls; None if the API has no webhooks, or a required setting is missing."""
    urls = build_webhook_urls(settings, get_catalog(settings.api))
    if urls is None:
        return None
    journal = None
    if journal_place(settings) is not None:
        journal = open_journal(settings, api=EVERY_API, wall_clock=partial(datetime.now, UTC))
    return Hooks(urls, journal, services)


async def _read(request: Request) -> bool:
    """Read and discard the body; False if it is too long, and was not read to its end."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > LARGEST_BODY:
        return False
    received = 0
    try:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                received += len(chunk)
                if received > LARGEST_BODY:
                    return False
    except ClientDisconnect:
        # The call has arrived, and nothing else of it is used.
        pass
    return True
