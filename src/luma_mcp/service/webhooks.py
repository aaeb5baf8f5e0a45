"""The addresses that the API calls when a job of ours has ended: `/hooks/<order id>/<MAC>` below the public URL.

They can be built and verified only with the keys. A call is only a hint that the job may have ended: its content is
ignored.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from dataclasses import replace

from luma_mcp.api.protocol import Job
from luma_mcp.catalog.models import Catalog
from luma_mcp.settings import Settings

PREFIX = "/hooks"
LONGEST_URL = 1024
"""Characters that the API takes. Source: useapi.net, Luma API v1, April 2026."""
_ORDER_ID = re.compile(r"[0-9a-f]{64}")


class WebhookUrls:
    """Builds and verifies the addresses.

    `public_url`: under which the server is reached, without a slash at its end. `keys`: for this purpose alone; the
    first one signs, and all are accepted.
    """

    def __init__(self, public_url: str, keys: Sequence[bytes]) -> None:
        self._base = f"{public_url}{PREFIX}"
        self._keys = keys

    def build(self, order_id: str) -> str | None:
        """Build the address for an order, which is always the same; None if it is too long for the API."""
        url = f"{self._base}/{order_id}/{self._build_mac(self._keys[0], order_id)}"
        return url if len(url) <= LONGEST_URL else None

    def is_valid(self, order_id: str, mac: str) -> bool:
        """Whether the MAC is that of the order's id. Takes constant time."""
        if not (_ORDER_ID.fullmatch(order_id) and mac.isascii()):
            return False
        matches = [hmac.compare_digest(self._build_mac(key, order_id), mac) for key in self._keys]
        return any(matches)

    def hide(self, job: Job) -> Job:
        """Remove such an address from a record that repeats what was sent."""
        if job.request and job.request.reply_url and job.request.reply_url.startswith(f"{self._base}/"):
            return replace(job, request=replace(job.request, reply_url=None))
        return job

    @staticmethod
    def _build_mac(key: bytes, order_id: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(key, order_id.encode(), "sha256")).decode().rstrip("=")


def build_webhook_urls(settings: Settings, catalog: Catalog) -> WebhookUrls | None:
    """Build the source of these addresses; None if the API has no webhooks or a required setting is missing."""
    if not (settings.public_url and settings.secret_keys and "reply_url" in catalog.params):
        return None
    return WebhookUrls(settings.public_url, settings.derive_keys("webhook"))
