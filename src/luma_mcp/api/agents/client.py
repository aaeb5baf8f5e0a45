"""`AgentsClient`: Luma's own Agents API as an async Python library. Works on asyncio and on trio."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from luma_mcp.api.protocol import (
    FEATURES,
    RETRY_TIMEOUT,
    Account,
    Asset,
    DeliveryObserver,
    Job,
    RunningJob,
    VideoRequest,
)
from luma_mcp.catalog.models import Catalog

if TYPE_CHECKING:
    import httpx2


class AgentsClient:
    """Orders videos and follows them. Implements `VideoApi`."""

    features = FEATURES["agents"]

    def __init__(
        self,
        token: str,
        *,
        base_url: str,
        transport: httpx2.AsyncBaseTransport | None,
        wall_clock: Callable[[], datetime],
        catalog: Catalog,
    ) -> None:
        self.catalog = catalog

    async def aclose(self) -> None:
        """Close the connections. Running jobs continue."""

    def now(self) -> datetime | None:
        """Get the time of day by the API's clock; None until an answer has shown it."""

    async def submit(
        self, request: VideoRequest, *, retry_timeout: float = RETRY_TIMEOUT, observer: DeliveryObserver | None = None
    ) -> Job:
        """Order a video: `POST /generations`."""
        raise NotImplementedError

    async def get(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Job:
        """Fetch the current record of a job: `GET /generations/{id}`."""
        raise NotImplementedError

    async def upload(
        self, data: bytes, media_type: str, account: str, *, retry_timeout: float = RETRY_TIMEOUT
    ) -> Asset:
        """Upload an image: `POST /files`."""
        raise NotImplementedError

    async def get_asset(self, asset_ref: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Asset:
        """Fetch an uploaded image: `GET /files/{id}`."""
        raise NotImplementedError

    async def list_running(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[RunningJob, ...]:
        """Not offered by this API, as `features` says."""
        raise NotImplementedError

    async def delete(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        """Not offered by this API, as `features` says."""
        raise NotImplementedError

    async def accounts(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[Account, ...]:
        """Not offered by this API, as `features` says."""
        raise NotImplementedError

    async def account(self, email: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Account:
        """Not offered by this API, as `features` says."""
        raise NotImplementedError
