"""`VideoService`: one token's place of work. It orders, follows and saves, and writes all of that down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.catalog.useapi import CHOICES, TYPICAL_SECONDS
from luma_mcp.errors import NO_MONEY, AccountSession, Capacity, Conflict, NotFound
from luma_mcp.journal.journal import Journal
from luma_mcp.journal.orders import Order
from luma_mcp.media.local_files import home_folder
from luma_mcp.media.safe_http import SafeHttpClient, look_up
from luma_mcp.service.downloads import Files
from luma_mcp.service.input_images import Images
from luma_mcp.service.jobs import Listing, list_jobs
from luma_mcp.service.paths import api_of, journal_path, output_folder
from luma_mcp.service.requests import Requests, ValidatedRequest
from luma_mcp.service.slots import explain
from luma_mcp.service.submit import Orders, SubmitResult
from luma_mcp.settings import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    import httpx2

    from luma_mcp.api.protocol import Job, VideoRequest
    from luma_mcp.errors import Problem
    from luma_mcp.media.safe_http import Resolve
    from luma_mcp.service.input_images import Tell
    from luma_mcp.settings import Settings

SETTLE_SECONDS = 12.0
ENDED = (
    "The same order ran a moment ago, and runs no more: this call was not to order another. "
    f"{NO_MONEY} list_jobs shows how it ended; call generate_video again if the user wants another one."
)


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order that was placed; `changes`: what was done to which picture."""

    placed: SubmitResult
    changes: Mapping[str, str] = field(default_factory=dict)


class VideoService:
    """Everything that a token's owner can have done, with the journal and the folders of this machine.

    Args:
        settings: with a token.
        transport: what carries all requests; a test passes its own.
        resolve: finds the addresses of hosts in links; this machine's own way if None.
        wall_clock: the time of day, in UTC.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wall_clock: Callable[[], datetime],
        transport: httpx2.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        token = settings.token.get_secret_value() if settings.token else ""
        own = settings.base_url if urlsplit(settings.base_url).hostname in LOOPBACK else None
        self._settings = settings
        self._wall_clock = wall_clock
        self.begun = wall_clock()
        self.luma = LumaClient(token, base_url=settings.base_url, transport=transport, wall_clock=wall_clock)
        self.journal = Journal(
            journal_path(settings),
            api=api_of(settings.base_url, token),
            wall_clock=wall_clock,
            # A file that somebody has named may be something else of theirs.
            movable=settings.journal is None,
        )
        self._links = SafeHttpClient(
            transport=transport, resolve=resolve or look_up, allow_private=settings.allow_private_urls, own=own
        )
        folders = home_folder() if settings.input_dirs is None else settings.input_dirs
        images = Images(self.luma, self.journal, links=self._links, folders=folders)
        self._requests = Requests(images, settings.email)
        self.orders = Orders(self.luma, self.journal, wall_clock, per_hour=settings.max_jobs_per_hour)
        self.files = Files(self.luma, self.journal, links=self._links, folder=lambda: output_folder(settings))

    async def aclose(self) -> None:
        """Closes connections and files. The jobs go on."""
        await self.luma.aclose()
        await self._links.aclose()
        self.journal.close()

    async def order(
        self,
        words: Mapping[str, Any],
        *,
        problems: Iterable[Problem] = (),
        another: bool = False,
        only_running: bool = False,
        save: bool = False,
        patience: float,
        tell: Tell,
    ) -> Ordered:
        """Orders a video, its images from wherever they are; or finds the same order running.

        Args:
            words: a caller's words, as `check` takes them; images may be anything that `media.sources` knows.
            problems: what the caller has found wrong already, to be told together with the rest.
            another: order it even if the same one runs.
            only_running: place nothing; only the same order's job is wanted, if it runs.
            save: whether its files are wanted.
            patience: seconds within which a refused connection or a full house is tried again.
            tell: is told what is being done before the order.

        Raises:
            LumaError: named for the situation; says what happened to the money.
        """
        await tell("Preparing")
        judged = await self._requests.judge(words, problems)
        if (only_running or not another) and (same := await self.orders.running(judged.key)):
            return Ordered(same)
        if only_running:
            raise Conflict(ENDED)
        self.orders.limit.check()
        try:
            return await self._place(judged, another=another, save=save, patience=patience, tell=tell)
        except Capacity as error:
            await explain(error, self.luma, self.journal)
            raise

    async def would_order(
        self, words: Mapping[str, Any], *, problems: Iterable[Problem] = (), another: bool = False
    ) -> Mapping[str, str] | None:
        """The whole request that such an order would place; None if the same runs, so that it would place none."""
        judged = await self._requests.judge(words, problems)
        if not another and await self.orders.running(judged.key):
            return None
        self.orders.limit.check()
        return judged.words

    async def _place(
        self, judged: ValidatedRequest, *, another: bool, save: bool, patience: float, tell: Tell
    ) -> Ordered:
        request, assets = await self._requests.make(judged, tell)
        await tell("Ordering")
        account = request.email or assets.account
        order = Order(judged.key, request, self._wall_clock(), account=account, save=save)
        try:
            placed = await self.orders.place(order, another=another, patience=patience)
        except AccountSession as error:
            error.name(account)
            raise
        except NotFound:
            if not assets.reused:
                raise
            # What was uploaded before has been forgotten there earlier than it should have been.
            for ref in assets.reused:
                self.journal.assets.forget(ref)
            return await self._place(judged, another=another, save=save, patience=patience, tell=tell)
        return Ordered(placed, assets.changes)

    async def follow(self, job: str | Job, seconds: float) -> Job:
        """The job when it has finished or the time is up, with what was ordered, if that is known."""
        jobid = job if isinstance(job, str) else job.jobid
        request = self.request_of(jobid)
        if request:
            self.luma.remember(jobid, request)
        order = self.journal.of_job(jobid)
        if order and order.deleted:
            gone = "This job was deleted, and the API does not know it any more."
            raise NotFound(gone + self._what_stays(jobid), jobid=jobid)
        try:
            job = await self.luma.wait(job, seconds, typical=self.typical_seconds(request))
        except NotFound as error:
            error.message += self._what_stays(jobid)
            raise
        self.journal.saw(job)
        return job

    def _what_stays(self, jobid: str) -> str:
        """Of a job that the API does not know."""
        files = self.files.saved(jobid)
        return f" Its files are here: {', '.join(files)}." if files else ""

    def request_of(self, jobid: str) -> VideoRequest | None:
        """What was ordered under that jobid, by this process or another of this machine."""
        if request := self.luma.ordered(jobid):
            return request
        order = self.journal.of_job(jobid)
        return order.request if order else None

    def wants_files(self, jobid: str) -> bool:
        """Whether the files of the job were asked for when it was ordered, or later."""
        order = self.journal.of_job(jobid)
        return bool(order and order.save)

    def typical_seconds(self, request: VideoRequest | None) -> tuple[float, float] | None:
        """From when until when jobs of this kind end, as seen on this machine; None while too few were.

        In a simulation that runs faster, as documented and as much faster.
        """
        words = request.words() if request else {}
        if "resolution" not in words:
            return None
        if self._settings.speed != 1:
            low, high = TYPICAL_SECONDS[words["resolution"]]
            return low / self._settings.speed, high / self._settings.speed
        kind = {name: words[name] for name in CHOICES if name in words and name != "aspect_ratio"}
        return self.journal.typical_seconds(kind) or self.journal.typical_seconds({"resolution": words["resolution"]})

    async def jobs(self, *, limit: int, state: str | None) -> Listing:
        """What runs, and what was ordered from this machine, newest first."""
        with anyio.move_on_after(SETTLE_SECONDS):
            await self.orders.recover()
        return await list_jobs(self.luma, self.journal, self._wall_clock, limit=limit, state=state)

    async def delete(self, jobid: str) -> bool:
        """Frees the slot of a finished job; False if the API knew no such job any more. Its saved files stay.

        Raises:
            Conflict: it still runs; nothing can stop it.
        """
        try:
            await self.luma.delete(jobid)
        except NotFound:
            if not self.journal.of_job(jobid):
                raise
            self.journal.deleted(jobid)
            return False
        self.journal.deleted(jobid)
        return True
