"""`Studio`: one token's place of work. It orders, follows and saves, and writes all of that down."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from luma_mcp.errors import NO_MONEY, Capacity, InvalidArguments, LumaError, NotFound
from luma_mcp.journal.journal import Journal
from luma_mcp.journal.order import Order
from luma_mcp.luma.client import LumaClient
from luma_mcp.luma.records import Job, VideoRequest
from luma_mcp.matrix import CHOICES, IMAGES
from luma_mcp.media.files import home_folder
from luma_mcp.media.links import Links, look_up
from luma_mcp.media.sources import Unusable
from luma_mcp.settings import LOOPBACK
from luma_mcp.studio.files import Files
from luma_mcp.studio.images import Assets, Images
from luma_mcp.studio.listing import MOST, Listing, list_jobs
from luma_mcp.studio.ordering import Orders, Placed
from luma_mcp.studio.places import api_of, journal_path, output_folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    import httpx2

    from luma_mcp.media.links import Resolve
    from luma_mcp.settings import Settings

logger = logging.getLogger(__name__)

THUMBNAIL_SECONDS = LOOK_SECONDS = 5.0
SETTLE_SECONDS = 12.0
MOST_DELETABLE = 5
REMEMBERED_WISHES = timedelta(days=3)
"""So long after an order a new process still fetches files that were wanted."""
RECOVERED_SAVE_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order that was placed, and the assetRefs that its images became."""

    placed: Placed
    assets: Assets


class Studio:
    """Everything that a token's owner can have done, with the journal and the folders of this machine.

    Args:
        settings: with a token.
        transport: what carries all requests; a test passes its own.
        resolve: finds the addresses of hosts in links.
        wall_clock: the time of day, in UTC.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wall_clock: Callable[[], datetime],
        transport: httpx2.AsyncBaseTransport | None = None,
        resolve: Resolve = look_up,
    ) -> None:
        token = settings.token.get_secret_value() if settings.token else ""
        own = settings.base_url if urlsplit(settings.base_url).hostname in LOOPBACK else None
        self._settings = settings
        self._wall_clock = wall_clock
        self._begun = wall_clock()
        self.luma = LumaClient(token, base_url=settings.base_url, transport=transport, wall_clock=wall_clock)
        self.journal = Journal(journal_path(settings), api=api_of(settings.base_url, token), wall_clock=wall_clock)
        self._links = Links(transport=transport, resolve=resolve, allow_private=settings.allow_private_urls, own=own)
        folders = home_folder() if settings.input_dirs is None else settings.input_dirs
        self.images = Images(self.luma, self.journal, links=self._links, folders=folders)
        self.orders = Orders(self.luma, self.journal, wall_clock)
        self.files = Files(self.luma, self.journal, links=self._links, folder=lambda: output_folder(settings))

    async def aclose(self) -> None:
        """Closes connections and files. The jobs go on."""
        await self.luma.aclose()
        await self._links.aclose()
        self.journal.close()

    async def order(
        self,
        words: Mapping[str, str],
        *,
        another: bool,
        save: bool,
        patience: float,
        tell: Callable[[str], Awaitable[None]],
    ) -> Ordered:
        """Orders a video, its images from wherever they are; or finds the same order running.

        Args:
            words: a complete request that `check` has found valid.
            another: order it even if the same one runs.
            save: whether its files are wanted.
            patience: seconds within which a refused connection or a full house is tried again.
            tell: is told what is being done before the order.

        Raises:
            LumaError: named for the situation; says what happened to the money.
        """
        try:
            images = await self._with_images(words, tell)
            key = _key(words, {name: image.identity for name, image in images.items()})
            if not another and (same := await self.orders.running(key)):
                return Ordered(same, Assets())
            default = self._settings.email
            assets = await self.images.uploaded(images, words.get("email"), default=default)
        except LumaError as error:
            if NO_MONEY not in error.message and error.kind != "outcome_unknown":
                error.message += f" {NO_MONEY}"
            raise
        request = VideoRequest(**{**words, **assets.refs})
        if default and not images and not request.email:
            request = request.model_copy(update={"email": default})
        account = request.email or assets.account
        order = Order(key, request, self._wall_clock(), account=account, save=save)
        try:
            placed = await self.orders.place(order, another=another, patience=patience)
        except NotFound:
            if not assets.reused:
                raise
            # What was uploaded before has been forgotten there earlier than it should have been.
            for ref in assets.reused:
                self.journal.assets.forget(ref)
            assets = await self.images.uploaded(images, words.get("email"), default=default)
            again = replace(order, request=request.model_copy(update=dict(assets.refs)))
            placed = await self.orders.place(again, another=another, patience=patience)
        return Ordered(placed, assets)

    async def _with_images(self, words: Mapping[str, str], tell: Callable[[str], Awaitable[None]]) -> Any:
        sources, problems = self.images.parsed(words)
        if problems:
            raise InvalidArguments(NO_MONEY, problems=problems)
        if sources:
            await tell(f"Preparing {' and '.join(sources)}")
        return await self.images.read(sources)

    async def follow(self, job: str | Job, seconds: float) -> Job:
        """The job when it has finished or the time is up, with what was ordered, if that is known."""
        jobid = job if isinstance(job, str) else job.jobid
        request = self.request_of(jobid)
        if request:
            self.luma.remember(jobid, request)
        job = await self.luma.wait(job, seconds, typical=self.typical_seconds(request))
        self.journal.saw(job)
        return job

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
        """From when until when jobs of this kind end, as seen on this machine; None while too few were."""
        words = request.words() if request else {}
        if "resolution" not in words:
            return None
        kind = {name: words[name] for name in CHOICES if name in words and name != "aspect_ratio"}
        return self.journal.typical_seconds(kind) or self.journal.typical_seconds({"resolution": words["resolution"]})

    async def thumbnail(self, job: Job) -> bytes | None:
        """A small JPEG of the finished video; None if there is none to be had, or none is wanted."""
        media = job.outputs.thumbnail
        if not media or not self._settings.thumbnails or job.state != "completed":
            return None
        from luma_mcp.media.pictures import thumbnail

        try:
            with anyio.fail_after(THUMBNAIL_SECONDS):
                return await anyio.to_thread.run_sync(thumbnail, await self._links.fetch(media.url))
        except (Unusable, TimeoutError) as fault:
            logger.info("no thumbnail: %s", fault)
            return None

    async def jobs(self, *, limit: int, state: str | None) -> Listing:
        """What runs, and what was ordered from this machine, newest first."""
        with anyio.move_on_after(SETTLE_SECONDS):
            await self.orders.recover()
        return await list_jobs(self.luma, self.journal, limit=limit, state=state)

    async def explain(self, error: Capacity) -> None:
        """Adds which jobs hold the slots, and which could be deleted."""
        with anyio.move_on_after(LOOK_SECONDS), suppress(LumaError):
            running = await self.luma.list(patience=0)
            error.running = tuple(row.jobid for row in running)
        finished = (o for o in self.journal.latest(MOST) if o.state in ("completed", "failed") and not o.deleted)
        error.deletable = tuple(order.jobid for order in finished if order.jobid)[:MOST_DELETABLE]
        if error.running:
            error.message += f" Slots are held by the running jobs {', '.join(error.running)}."
        if error.deletable:
            error.message += f" Finished jobs that delete_job could remove: {', '.join(error.deletable)}."

    async def delete(self, jobid: str) -> None:
        """Frees the slot of a finished job. Its saved files stay.

        Raises:
            Conflict: it still runs; nothing can stop it.
        """
        await self.luma.delete(jobid)
        self.journal.deleted(jobid)

    async def recover(self) -> None:
        """What an earlier process left behind: orders without an answer, files that were wanted."""
        await self.orders.recover(before=self._begun)
        async with anyio.create_task_group() as tasks:
            for order in self.journal.without_files(self._begun - REMEMBERED_WISHES, self._begun):
                if order.jobid:
                    tasks.start_soon(self._fetch_files, order.jobid)

    async def _fetch_files(self, jobid: str) -> None:
        async def tell(name: str, here: int, total: int | None) -> None:
            logger.debug("%s: %s of %s bytes", name, here, total)

        try:
            job = await self.follow(jobid, float("inf"))
            if job.state == "completed":
                saved = await self.files.save(job, seconds=RECOVERED_SAVE_SECONDS, tell=tell)
                logger.warning("Saved what was ordered earlier: %s", ", ".join(saved.files) or saved.problem)
        except LumaError as error:
            logger.warning("A job that was ordered earlier could not be followed: %s", error.message)


def _key(words: Mapping[str, str], identities: Mapping[str, str]) -> str:
    """What makes an order the same as another: all that was said, with its pictures by what they show."""
    said = {name: identities.get(name, value) if name in IMAGES else value for name, value in words.items()}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
