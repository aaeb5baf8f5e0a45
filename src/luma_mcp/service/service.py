"""`VideoService`: everything that can be done with one API token, with the journal and the folders of this machine."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import inf
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from pydantic import SecretStr

from luma_mcp.api import build_client
from luma_mcp.api.polling import Pollers, Waits
from luma_mcp.api.protocol import Job, ListedState, VideoApi, VideoRequest, parse_time
from luma_mcp.catalog.models import Catalog
from luma_mcp.errors import Capacity, LumaError, NetworkError, NotFound, RecordedJob, Upstream
from luma_mcp.journal.protocol import CREDIT_FACTORS, Journal, Order, OrderQuery, join_api
from luma_mcp.journal.sqlite import ASSET_LIFETIME, SqliteJournal
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.safe_http import Resolve, SafeHttpClient, resolve_host
from luma_mcp.service import UNKNOWN_FOR, api_id, journal_path, journal_place, output_folder
from luma_mcp.service.clip_files import ClipFiles
from luma_mcp.service.credits import CreditsWatch
from luma_mcp.service.downloads import Downloads
from luma_mcp.service.films import Films
from luma_mcp.service.gate import GatedApi
from luma_mcp.service.jobs import JobList, list_jobs
from luma_mcp.service.pictures import PictureUploads
from luma_mcp.service.prices import PriceEstimator
from luma_mcp.service.reconcile import NEW_FOR, Reconciler
from luma_mcp.service.requests import RequestBuilder
from luma_mcp.service.submit import OrderSubmitter
from luma_mcp.service.tenants import OWNER, Tenant
from luma_mcp.service.webhooks import build_webhook_urls
from luma_mcp.settings import LOOPBACK, Settings

if TYPE_CHECKING:
    import httpx2

    from luma_mcp.service.stored_files import FileStore


logger = logging.getLogger(__name__)

RECOVERY_TIMEOUT = 12.0
"""Seconds that a list may take to find the jobs of orders without an answer."""
DELETE_ATTEMPTS = 2
FILES_WANTED_FOR = timedelta(days=3)
"""Age of an order after which a new process no longer saves its files by itself."""
SAVE_TIMEOUT = 1800.0
CONCURRENT_SAVES = 3
"""How many jobs' files a new process saves at a time: each takes connections and open files."""
RECOVERY_INTERVAL = 20.0
"""Seconds until it looks again at those that were running, or that another process was saving."""


@dataclass(frozen=True, slots=True)
class DeletedJob:
    """A job that was deleted; `was_known`: whether the API still knew it.

    Its saved files, absolute paths, stay; and so does what is in the store (`is_stored`).
    """

    was_known: bool
    saved_files: tuple[str, ...] = ()
    is_stored: bool = False


def open_journal(
    settings: Settings,
    *,
    api: str,
    wall_clock: Callable[[], datetime],
    asset_lifetime: timedelta | None = ASSET_LIFETIME,
) -> Journal:
    """Open the journal that the settings name: nothing is read or written before its first use."""
    place = journal_place(settings)
    if isinstance(place, SecretStr):
        # Imported here, because only those who share a database have psycopg.
        from luma_mcp.journal.postgres import PostgresJournal

        return PostgresJournal(
            place,
            api=api,
            wall_clock=wall_clock,
            asset_lifetime=asset_lifetime,
            migrate=settings.journal_migrate,
            listen=settings.journal_listen,
        )
    # A file that the settings name may belong to another program, so it is never moved.
    movable = settings.journal is None
    return SqliteJournal(place, api=api, wall_clock=wall_clock, asset_lifetime=asset_lifetime, movable=movable)


class VideoService:
    """Validates and submits orders, waits for their jobs and saves their files, and records all of it.

    Args:
        settings: with the credential and the limits of the tenant.
        catalog: what the API can make.
        wall_clock: the time of day, in UTC.
        transport: carries all requests; tests pass their own.
        resolve: resolves the hosts of links.
        tenant: whose orders these are.
        connections: carries the requests to the API, if other services use the same.
        decoder: limits how many images and videos are decoded at a time, if other services use the same.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        catalog: Catalog,
        wall_clock: Callable[[], datetime],
        transport: httpx2.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
        tenant: Tenant = OWNER,
        connections: httpx2.AsyncBaseTransport | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        token = settings.token.get_secret_value() if settings.token else ""
        self._speed = settings.speed
        self._wall_clock = wall_clock
        self.started_at = wall_clock()
        self.catalog = catalog
        self.owns_credential = tenant.owns_credential
        api = build_client(token, settings.base_url, catalog, transport=transport or connections, wall_clock=wall_clock)
        credential = api_id(settings.base_url, token)
        self.journal = open_journal(
            settings,
            api=credential if tenant.owns_credential else join_api(credential, tenant.id),
            wall_clock=self.now,
            asset_lifetime=None if api.features.get_asset else ASSET_LIFETIME,
        )
        self.api: VideoApi = api if tenant.owns_credential else GatedApi(api, self.journal)
        is_local = urlsplit(settings.base_url).hostname in LOOPBACK
        self._http = SafeHttpClient(
            transport=transport,
            resolve=resolve or resolve_host,
            allow_private=settings.allow_private_urls,
            api_origin=settings.base_url if is_local else None,
        )
        decoder = decoder or Decoder()
        get_folder = partial(output_folder, settings)
        self._clips = ClipFiles(self.api, self.journal, self._http, settings.has_local_files)
        folders = settings.input_dirs if settings.has_local_files else ()
        requests = RequestBuilder(
            self.api, self.journal, self._http, catalog, folders, settings.email, decoder, self._clips, api
        )
        self.reconciler = Reconciler(api, self.journal, wall_clock, names_candidates=tenant.owns_credential)
        self._webhooks = build_webhook_urls(settings, catalog)
        self._orders = orders = OrderSubmitter(
            self.api,
            self.journal,
            requests,
            self.reconciler,
            now=self.now,
            max_per_hour=0,
            budget=0.0,
            prices=PriceEstimator(catalog, self.journal),
            repeat_window=timedelta(seconds=settings.repeat_window_seconds),
            is_shared=journal_place(settings) is not None,
            is_required=settings.journal_required,
            expect=self._expect_longest,
            webhooks=self._webhooks,
            may_lose_answers=not settings.has_local_files,
        )
        self.set_limits(settings, tenant)
        self.credits = CreditsWatch(self.api, settings.email)
        self.downloads = Downloads(
            self.api, self.journal, self._http, decoder, self._clips, get_folder, journal_path(settings)
        )
        self.stored = self._open_store(settings)
        self.pictures = PictureUploads(self.api, self.journal, requests, decoder)
        self.films = Films(self._clips, self.journal, decoder, get_folder, folders, self.now)
        self._pollers = Pollers(self._fetch, wall_clock, self.journal.replicas)
        # These methods are documented where they are implemented.
        self.validate = requests.validate
        self.find_duplicate = orders.find_duplicate
        self.find_takes = orders.find_takes
        self.check_limits = orders.check_limits
        self.notify = self._pollers.notify
        self.submit = orders.submit
        self.request_files = self.journal.request_files
        self.mark_delivered = self.journal.mark_delivered

    def _open_store(self, settings: Settings) -> FileStore | None:
        """Open the store for finished videos, if the settings name one."""
        if settings.store is None:
            return None
        # Imported here, because only those who have a store have obstore.
        from luma_mcp.media.store import open_store
        from luma_mcp.service.stored_files import FileStore

        return FileStore(open_store(settings.store), self.api, self.journal, self._http)

    def set_limits(self, settings: Settings, tenant: Tenant) -> None:
        """Place further orders within these limits, and under the tenant's name."""
        self._orders.max_per_hour = settings.max_jobs_per_hour or 0
        self._orders.budget = settings.budget_per_day or 0.0
        self._orders.ordered_by = tenant.name

    def now(self) -> datetime:
        """The time of day, in UTC: by the API's clock once that is known, since the local clock can be wrong."""
        return self.api.now() or self._wall_clock()

    async def aclose(self) -> None:
        """Close connections and files. Running jobs continue."""
        await self.api.aclose()
        await self._http.aclose()
        await self._clips.aclose()
        await self.journal.aclose()

    async def wait(
        self,
        job_or_jobid: Job | str,
        seconds: float,
        *,
        order: Order | None = None,
        expected: tuple[float, float] | None = None,
        unseen_timeout: float = inf,
        on_seen: Callable[[Job], Awaitable[None]] | None = None,
        waits: Waits | None = None,
    ) -> Job:
        """Wait until a job has finished, or return it as it is when the time is up.

        Args:
            job_or_jobid: the job, or its id if its record was not fetched.
            seconds: how long to wait; 0 fetches it once.
            order: the job's order, if the caller has just read it.
            expected: what `expected_seconds` returned, if the caller has it.
            unseen_timeout: after how many seconds the wait for a job ends that was never seen.
            on_seen: called with the job's first record.
            waits: those that end together with this one.

        Raises:
            NotFound: the API does not know the job.
            LumaError: any other error that waiting does not solve; or the job was never seen. Errors have what the
                journal knows of the job.
        """
        is_known, age = True, None
        if isinstance(job_or_jobid, str):
            jobid = job_or_jobid
            order = order or await self.journal.get_by_jobid(jobid)
            request = order.request if order else None
            # The API is asked even about a deleted job: the journal may be wrong about it.
            is_known = order is not None and not order.deleted
            if order and is_known and order.state == "running":
                age = self.reconciler.age(order).total_seconds()
        else:
            jobid, request = job_or_jobid.jobid, job_or_jobid.request
            age = job_or_jobid.elapsed_seconds(self.now())
        # The API calls this server only for orders made here that do not name their own webhook.
        has_webhook = self._webhooks is not None and request is not None and request.reply_url is None
        may_lag = max(0.0, NEW_FOR.total_seconds() - age) if age is not None else 0.0
        if expected is None and seconds > 0:
            expected = await self.expected_seconds(request)
        try:
            job = await self._pollers.wait(
                job_or_jobid,
                seconds,
                typical=expected,
                known_to_exist=is_known,
                request=request,
                may_lag=may_lag,
                unseen_timeout=unseen_timeout,
                has_webhook=has_webhook,
                on_seen=on_seen,
                waits=waits,
            )
        except LumaError as error:
            failure = error
            if isinstance(error, NotFound) and may_lag:
                failure = Upstream("not_listed", status=error.status, api_message=error.api_message)
            await self._add_record(failure, jobid)
            raise failure from error.__cause__
        if order and job.state != "running" and job.updated is None:
            job = _add_end(job, order)
        if order is None or not order.has_recorded(job, self.now()):
            await self.reconciler.record(job)
        return job

    async def _fetch(self, jobid: str) -> Job:
        job = await self.api.get(jobid, retry_timeout=0)
        return self._webhooks.hide(job) if self._webhooks else job

    async def _add_record(self, error: LumaError, jobid: str) -> None:
        """Add to the error of a look-up what the journal knows of the job."""
        error.jobid = jobid
        error.saved_files = await self.downloads.saved_files(jobid)
        order = await self.journal.get_by_jobid(jobid)
        if order is None:
            return
        if isinstance(error, NotFound):
            error.deleted = order.deleted
        age = (self.now() - order.ordered_at).total_seconds()
        error.record = RecordedJob(order.ordered_at, age, order.request.prompt, "running", link=order.link)
        if self.stored and (link := (await self.stored.find(jobid)).links.get("video")):
            error.record = replace(error.record, link=link, is_stored=True)
        if order.state in ("completed", "failed"):
            error.record = replace(error.record, state=order.state)
        elif isinstance(error, NotFound):
            # It cannot be running any more, so it is not listed as running either.
            if order.state == "running" and self.reconciler.age(order) > UNKNOWN_FOR:
                await self.journal.mark_gone(jobid)
            error.record = replace(error.record, state="unknown")
        elif expected := await self.expected_seconds(order.request):
            ready_by = order.ordered_at + timedelta(seconds=expected[1])
            error.record = replace(error.record, ready_by=ready_by)

    async def expected_seconds(self, request: VideoRequest | None) -> tuple[float, float] | None:
        """Get the expected duration of a job: the [10th, 90th] percentile of the seconds from order to end.

        Measured on this machine if enough similar jobs have finished, else as documented. None without a request.
        """
        if request is None or request.resolution is None:
            return None
        documented = self.catalog.typical_seconds.get(request.resolution)
        if self._speed != 1 and documented:
            return documented[0] / self._speed, documented[1] / self._speed
        params = request.to_dict()
        # The aspect ratio does not change how long a job takes.
        names = [name for name in self.catalog.choices if name in params and name != "aspect_ratio"]
        exact, similar = await self.journal.typical_seconds(
            {name: params[name] for name in names}, {"resolution": request.resolution}
        )
        return exact or similar or documented

    def widest_seconds(self) -> tuple[float, float]:
        """Get the shortest and the longest documented duration: what is expected of a job of an unknown kind."""
        lows, highs = zip(*self.catalog.typical_seconds.values(), strict=True)
        return min(lows) / self._speed, max(highs) / self._speed

    async def expected_credits(self, params: Mapping[str, str]) -> tuple[float, float] | None:
        """Get the least and the most credits that such videos have used on this machine; None if there are none."""
        kind = {name: params[name] for name in CREDIT_FACTORS if name in params}
        used = await self.journal.credits_used(kind)
        return next(iter(used.values()), None) if len(kind) == len(CREDIT_FACTORS) else None

    async def _expect_longest(self, request: VideoRequest) -> float | None:
        expected = await self.expected_seconds(request)
        return expected[1] if expected else None

    async def list_jobs(
        self,
        limit: int,
        state: ListedState | None = None,
        *,
        text: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> JobList:
        """List what is running and what was ordered from this machine, newest first; see `OrderQuery`."""
        with anyio.move_on_after(RECOVERY_TIMEOUT):
            await self.reconciler.recover_orders()
        query = OrderQuery(state, text, since, before)
        listing = await list_jobs(self.api, self.journal, self.reconciler, query, limit=limit, now=self.now())
        if not self.owns_credential:
            # The accounts are the operator's.
            listing.jobs = [replace(job, account=None) for job in listing.jobs]
        return listing

    async def delete(self, jobid: str) -> DeletedJob:
        """Delete a finished job and free its slot. Its saved files stay.

        A 404 is not believed at once: it may come from a replica that lags behind, while the job is running.

        Raises:
            Conflict: the job is running; nothing stops it.
            NotFound: neither the API nor the journal knows the job.
            Upstream: the API does not list the job, which may be running all the same.
        """
        missing: NotFound | None = None
        for _ in range(DELETE_ATTEMPTS):
            try:
                await self.api.delete(jobid)
                missing = None
                break
            except NotFound as error:
                missing = error
            try:
                # It asks several times before a 404 of a job with an order is believed.
                await self.wait(jobid, 0)
            except NotFound:
                break
        if missing:
            order = await self.journal.get_by_jobid(jobid)
            if order is None:
                missing.jobid = jobid
                raise missing
            if order.state == "running" and self.reconciler.age(order) <= UNKNOWN_FOR:
                raise Upstream("not_listed", jobid=jobid) from missing
        await self.journal.mark_deleted(jobid)
        saved = await self.downloads.saved_files(jobid)
        is_stored = self.stored is not None and await self.stored.has_video(jobid)
        return DeletedJob(was_known=missing is None, saved_files=saved, is_stored=is_stored)

    async def recover(self) -> None:
        """Finish what earlier processes left: orders without an answer, files to be saved, and pictures in parts."""
        await self.reconciler.recover_orders(before=self.started_at)
        await self.journal.remove_parts()
        if not self._clips.has_local_files:
            return
        orders = await self.journal.list_missing_files(self.started_at - FILES_WANTED_FOR, self.started_at)
        wanted = [order.jobid for order in orders if order.jobid]
        with anyio.move_on_after(UNKNOWN_FOR.total_seconds()):
            while wanted:
                # Those of running jobs, and those that another process is saving, which may be killed meanwhile.
                later: list[str] = []
                async with anyio.create_task_group() as tasks:
                    for _ in range(CONCURRENT_SAVES):
                        tasks.start_soon(self._save_all, wanted, later)
                wanted = later
                if wanted:
                    await anyio.sleep(RECOVERY_INTERVAL)

    async def _save_all(self, wanted: list[str], later: list[str]) -> None:
        """Save the files of the jobs in `wanted`, which becomes empty; jobs that are not ready go to `later`."""
        while wanted:
            jobid = wanted.pop(0)
            try:
                async with self.downloads.claim(jobid) as is_ours:
                    if not is_ours or await self._save_files(jobid):
                        later.append(jobid)
            except (Upstream, NetworkError, Capacity) as error:
                logger.info("The files of an earlier order are saved later: %s", error)
                later.append(jobid)
            except Exception as error:  # noqa: BLE001 - a failure with one job must not end the others
                logger.warning("The files of an earlier order could not be saved: %s", error)

    async def _save_files(self, jobid: str) -> bool:
        """Save the files of a job, which this process has claimed; return whether the job still runs."""

        async def on_progress(name: str, received: int, total: int | None, _: float) -> None:
            logger.debug("%s: %s of %s bytes", name, received, total)

        order = await self.journal.get_by_jobid(jobid)
        if order is None or order.files or order.deleted:
            # Another process was first.
            return False
        job = await self.wait(jobid, 0, order=order)
        if job.state == "completed":
            saved = await self.downloads.save(job, seconds=SAVE_TIMEOUT, on_progress=on_progress, is_claimed=True)
            if saved.files:
                logger.warning("Files of an earlier order were saved: %s", ", ".join(saved.files))
            elif saved.problem:
                logger.warning("Files of an earlier order were not saved: %s", saved.problem)
        return job.state == "running"


def _add_end(job: Job, order: Order) -> Job:
    """Add the end of a job, if this process observed it: the job's record lacks it."""
    created = parse_time(job.created)
    if created is None or order.seconds is None:
        return job
    return replace(job, updated=(created + timedelta(seconds=order.seconds)).isoformat())
