"""Restricts an API to what one tenant may use, where several tenants share a credential.

The account is the operator's, and contains the jobs of all its tenants. A job or image that the tenant's part of the
journal lacks is therefore reported as "not found", in the same way and without a request, whether it belongs to another
tenant, to the operator or does not exist. Facts about the account and its other users are hidden.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from luma_mcp.api.base_client import keep_latest
from luma_mcp.api.protocol import (
    RETRY_TIMEOUT,
    Account,
    ApiFeatures,
    Asset,
    DeliveryObserver,
    Job,
    RunningJob,
    VideoApi,
    VideoRequest,
)
from luma_mcp.catalog.models import Catalog
from luma_mcp.errors import AccountSession, LumaError, NotFound
from luma_mcp.journal.protocol import Journal

_ADDRESS = re.compile(r"[^\s\"'<>(),;]+@[^\s\"'<>(),;]+")
_HIDDEN = "…"


class GatedApi:
    """`luma_mcp.api.protocol.VideoApi`, which documents the methods, of what one tenant's orders have made.

    It has no accounts. Uploaded images can be looked up, also where the API itself does not offer that.
    """

    def __init__(self, api: VideoApi, journal: Journal) -> None:
        self._api = api
        self._journal = journal
        self.catalog: Catalog = api.catalog
        self.features: ApiFeatures = replace(api.features, accounts=False, get_asset=True)
        # Jobs that certainly belong to the tenant: they can be followed while the journal cannot be read.
        self._owned: OrderedDict[str, bool] = OrderedDict()

    def now(self) -> datetime | None:
        return self._api.now()

    async def submit(
        self,
        request: VideoRequest,
        *,
        retry_timeout: float = RETRY_TIMEOUT,
        observer: DeliveryObserver | None = None,
        reply_url: str | None = None,
    ) -> Job:
        # Checked when the request was validated, and again here, because every order passes through this method.
        for asset_ref in _list_assets(request):
            await self._check_asset(asset_ref)
        if request.extend is not None:
            await self._check_job(request.extend)
        async with _hiding():
            job = await self._api.submit(request, retry_timeout=retry_timeout, observer=observer, reply_url=reply_url)
        keep_latest(self._owned, job.jobid, fact=True)
        return _hide(job)

    async def get(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Job:
        await self._check_job(jobid)
        async with _hiding():
            return _hide(await self._api.get(jobid, retry_timeout=retry_timeout))

    async def check(self, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        async with _hiding():
            await self._api.check(retry_timeout=retry_timeout)

    async def list_running(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[RunningJob, ...]:
        async with _hiding():
            running = await self._api.list_running(retry_timeout=retry_timeout)
        owned = await self._journal.owned_jobids()
        return tuple(replace(job, account=None) for job in running if job.jobid in owned)

    async def upload(
        self, data: bytes, media_type: str, account: str, *, retry_timeout: float = RETRY_TIMEOUT
    ) -> Asset:
        async with _hiding():
            return await self._api.upload(data, media_type, account, retry_timeout=retry_timeout)

    async def get_asset(self, asset_ref: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Asset:
        account = await self._check_asset(asset_ref)
        if not self._api.features.get_asset:
            return Asset(asset_ref, account or None)
        async with _hiding():
            return await self._api.get_asset(asset_ref, retry_timeout=retry_timeout)

    async def delete(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        await self._check_job(jobid)
        async with _hiding():
            await self._api.delete(jobid, retry_timeout=retry_timeout)

    async def accounts(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[Account, ...]:
        raise NotImplementedError

    async def account(self, email: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Account:
        raise NotImplementedError

    async def aclose(self) -> None:
        await self._api.aclose()

    async def _check_job(self, jobid: str) -> None:
        """Raise `NotFound` unless the job is the tenant's, `JournalUnavailable` if that cannot be found out."""
        if jobid in self._owned:
            return
        order = await self._journal.get_by_jobid(jobid, is_certain=True)
        if order is None:
            raise NotFound("job", unasked=True)
        # A job that was found in a list may turn out to be another tenant's.
        if not order.adopted:
            keep_latest(self._owned, jobid, fact=True)

    async def _check_asset(self, asset_ref: str) -> str:
        """Get the account of an image that the tenant has uploaded; raise what `_check_job` does."""
        account = await self._journal.account_of_asset(asset_ref, is_certain=True)
        if account is None:
            raise NotFound("asset", unasked=True)
        return account


@asynccontextmanager
async def _hiding() -> AsyncIterator[None]:
    """Take the operator's e-mail addresses out of the errors of a block."""
    try:
        yield
    except LumaError as error:
        if error.api_message:
            error.api_message = _ADDRESS.sub(_HIDDEN, error.api_message)
        if isinstance(error, AccountSession):
            error.email = None
        raise


def _hide(job: Job) -> Job:
    """Take the operator's e-mail addresses out of the reason why a job failed."""
    if job.failure_reason:
        return replace(job, failure_reason=_ADDRESS.sub(_HIDDEN, job.failure_reason))
    return job


def _list_assets(request: VideoRequest) -> list[str]:
    """List the uploaded images that a request names."""
    images = [request.image_start, request.image_end, request.image_character]
    images += [keyframe.image for keyframe in request.keyframes or ()]
    return [image for image in images if image is not None]
