"""The tools: check, call, present. One way in (`arguments`), one way out (`present`).

They take the raw arguments rather than validated ones, because a decorated tool drops unknown arguments in
silence: for a paid call that is a wrong video, billed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from luma_mcp.errors import InvalidArguments, LumaError, NotConfigured, Problem, Upstream
from luma_mcp.server import arguments, client_capabilities, list_results, options, results
from luma_mcp.server.attach_job_id import CANCELLED, paid
from luma_mcp.server.call_options import DEFAULT_LIMIT, LIMIT, NEW_TAKE, ORDER_WORDS, SAVE, STATE, WAIT
from luma_mcp.server.decisions import ANYTHING
from luma_mcp.server.job_content import ResultContext
from luma_mcp.server.progress import READY_TO_SAVE, Reporter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from mcp.server.mcpserver import Context
    from mcp.types import CallToolResult

    from luma_mcp.api.protocol import Job
    from luma_mcp.server.decisions import ConfirmationDecision
    from luma_mcp.service.service import Ordered, VideoService
    from luma_mcp.settings import Settings

logger = logging.getLogger(__name__)

ORDER_PATIENCE = 20.0
"""Seconds, at most, for which a full house or a refused connection is tried again before the agent is told."""
SAVE_SECONDS = 12.0
"""What a download may take beyond the wait: with the usual wait, hosts that cut at 60 seconds still get the answer."""
CHANGES_KEPT = 100
NOT_CONFIGURED = (
    "USEAPI_TOKEN is not set, so no video can be ordered or looked up. Get an API token at https://useapi.net and put "
    "it into this server's environment in the host's configuration. To try without one: luma-ray-mcp --simulate. "
    "list_options works without a token."
)


@dataclass
class Tools:
    """The tools of one server. `studio` gives the one it works with; None while there is no token."""

    settings: Settings
    studio: Callable[[], VideoService | None]
    wall_clock: Callable[[], datetime]
    changes: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """What was done to which picture, by jobid: for tasks that are asked for later."""

    async def generate_video(
        self, raw: dict[str, Any], ctx: Context[Any, Any], *, permit: ConfirmationDecision = ANYTHING
    ) -> CallToolResult:
        """Orders a video and waits for it."""
        return await self._answered("generate_video", self._generate_video(raw, ctx, permit))

    async def get_job(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
        """Looks at a job, and waits for it."""
        return await self._answered("get_job", self._get_job(raw, ctx))

    async def list_options(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:  # noqa: ARG002
        """Tells what can be made."""
        return await self._answered("list_options", self._list_options(raw))

    async def list_jobs(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:  # noqa: ARG002
        """Tells what runs, and what was ordered from this machine."""
        return await self._answered("list_jobs", self.listing(raw))

    async def delete_job(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:  # noqa: ARG002
        """Frees the slot of a finished job."""
        return await self._answered("delete_job", self._delete_job(raw))

    async def _answered(self, tool: str, call: Awaitable[CallToolResult]) -> CallToolResult:
        try:
            return await call
        except LumaError as error:
            return results.error_result(error, tool=tool)
        except Exception as error:
            logger.exception("%s failed", tool)
            what = (
                f"{tool} failed in this server ({type(error).__name__}). list_jobs shows whether anything was ordered."
            )
            return results.error_result(Upstream(what), tool=tool)

    async def _generate_video(
        self, raw: dict[str, Any], ctx: Context[Any, Any], permit: ConfirmationDecision
    ) -> CallToolResult:
        studio = self._configured()
        asked = arguments.read(raw, ORDER_WORDS)
        save, seconds = bool(asked.words.get(SAVE)), self._seconds(asked, ctx)
        end = anyio.current_time() + seconds
        reporter = Reporter(ctx, whole=READY_TO_SAVE if save else 100.0)
        ordered: Ordered | None = None
        try:
            if permit.refused:
                raise permit.refused
            async with reporter.ordering():
                ordered = await studio.order(
                    asked.about_video(),
                    problems=asked.problems,
                    another=bool(asked.words.get(NEW_TAKE)),
                    only_running=permit.only_running,
                    save=save,
                    patience=min(ORDER_PATIENCE, seconds),
                    tell=reporter.say,
                )
        except InvalidArguments as error:
            # What could not be carried over is not suggested away.
            error.suggestion = (
                {**error.suggestion, **asked.about_call()} if error.suggestion and not asked.lost else None
            )
            raise
        except anyio.get_cancelled_exc_class():
            if ordered:
                logger.warning(CANCELLED, ordered.placed.job.jobid)
            raise
        job = ordered.placed.job
        if ordered.changes:
            self.changes[job.jobid] = ordered.changes
            if len(self.changes) > CHANGES_KEPT:
                del self.changes[next(iter(self.changes))]
        extras = ResultContext(
            how=ordered.placed.how, changes=ordered.changes, player=client_capabilities.supports_apps(ctx)
        )
        with paid(job.jobid):
            # A cancellation that came while the order was on its way is seen here, with the jobid at hand.
            await anyio.lowlevel.checkpoint()
            if anyio.current_time() < end and not client_capabilities.supports_tasks(ctx):
                job = await self._followed(job, end - anyio.current_time(), reporter)
            return await self._finished(job, extras, reporter, save=save, end=end)

    async def _get_job(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
        studio = self._configured()
        asked, jobid = self._about_job(raw, (WAIT, SAVE))
        save = bool(asked.words.get(SAVE, studio.wants_files(jobid)))
        seconds = self._seconds(asked, ctx)
        end = anyio.current_time() + seconds
        reporter = Reporter(ctx, whole=READY_TO_SAVE if save else 100.0)
        job = _video(await self._followed(jobid, seconds, reporter))
        return await self._finished(
            job, ResultContext(player=client_capabilities.supports_apps(ctx)), reporter, save=save, end=end
        )

    async def _list_options(self, raw: dict[str, Any]) -> CallToolResult:
        studio = self.studio()
        seen = studio.journal.typical_seconds if studio else lambda _: None
        return options.list_options(raw, longest_wait=self.settings.max_wait_seconds, seen_seconds=seen)

    async def listing(self, raw: Mapping[str, Any]) -> CallToolResult:
        """What `list_jobs` answers.

        Raises:
            LumaError: it cannot.
        """
        studio = self._configured()
        asked = arguments.read(raw, (LIMIT, STATE))
        if asked.problems:
            raise InvalidArguments(problems=asked.problems, suggestion=asked.words)
        limit = int(asked.words.get(LIMIT, DEFAULT_LIMIT))
        listing = await studio.jobs(limit=limit, state=asked.words.get(STATE))
        return list_results.result(listing, simulated=self.settings.simulated)

    async def look(self, jobid: str) -> CallToolResult:
        """What `generate_video` would return of its job now, without waiting.

        Raises:
            LumaError: the job is no video, or cannot be looked at.
        """
        studio = self._configured()
        job = _video(await studio.follow(jobid, 0))
        extras, save = ResultContext(changes=self.changes.get(jobid, {})), studio.wants_files(jobid)
        return await self._finished(job, extras, Reporter(None), save=save, end=anyio.current_time())

    async def facts(self, jobid: str) -> dict[str, Any]:
        """What is known of a job now, as structured content; nothing is fetched.

        Raises:
            LumaError: the job is no video, or cannot be looked at.
        """
        studio = self._configured()
        job = _video(await studio.follow(jobid, 0))
        extras = ResultContext(typical=studio.typical_seconds(job.request))
        told = results.job_result(job, self.wall_clock(), extras, simulated=self.settings.simulated)
        return dict(told.structured_content or {})

    async def _delete_job(self, raw: dict[str, Any]) -> CallToolResult:
        studio, (_, jobid) = self._configured(), self._about_job(raw, ())
        was_there = await studio.delete(jobid)
        return list_results.deleted(jobid, studio.files.saved(jobid), was_there=was_there)

    def _about_job(self, raw: Mapping[str, Any], own: tuple[str, ...]) -> tuple[arguments.Arguments, str]:
        """The arguments of a tool that is about one job, and its jobid."""
        asked = arguments.read(raw, ("jobid", *own))
        jobid = asked.words.get("jobid")
        problems = list(asked.problems)
        if not isinstance(jobid, str):
            fault = "is missing" if jobid is None else "is not a text"
            message = f"jobid {fault}; pass it exactly as generate_video returned it."
            problems.insert(0, Problem("jobid", jobid, message))
        if problems or not isinstance(jobid, str):
            raise InvalidArguments(problems=problems, suggestion=asked.words if isinstance(jobid, str) else None)
        return asked, jobid

    async def _followed(self, job: str | Job, seconds: float, reporter: Reporter) -> Job:
        """The job when it has finished or the time is up, with progress until then."""
        studio = self._configured()
        if seconds <= 0:
            return await studio.follow(job, 0)
        jobid = job if isinstance(job, str) else job.jobid
        request = studio.request_of(jobid)
        resolution = request.resolution if request else None
        async with reporter.waiting(jobid, resolution, studio.typical_seconds(request)):
            return await studio.follow(job, seconds)

    async def _finished(
        self, job: Job, extras: ResultContext, reporter: Reporter, *, save: bool, end: float
    ) -> CallToolResult:
        """The result, with the files and the thumbnail if it is completed."""
        studio = self._configured()
        extras.save = save
        if save:
            studio.journal.wants_files(job.jobid)
        if job.state == "completed":
            if save and job.outputs.video:
                seconds = max(SAVE_SECONDS, end - anyio.current_time())
                extras.saved = await studio.files.save(job, seconds=seconds, tell=reporter.saving)
            if self.settings.thumbnails:
                extras.thumbnail = await studio.files.thumbnail(job)
            await reporter.report(100, "The video is ready.")
        extras.typical = studio.typical_seconds(job.request)
        return results.job_result(job, self.wall_clock(), extras, simulated=self.settings.simulated)

    def _configured(self) -> VideoService:
        studio = self.studio()
        if studio is None:
            raise NotConfigured(NOT_CONFIGURED)
        return studio

    def _seconds(self, asked: arguments.Arguments, ctx: Context[Any, Any]) -> float:
        """How long the call may wait: as it was asked to, or as its host allows."""
        return min(asked.wait_seconds(client_capabilities.longest_wait(ctx)), self.settings.max_wait_seconds)


def _video(job: Job) -> Job:
    if not job.is_video:
        message = f"This is a job of type {job.type}, not a video."
        raise InvalidArguments(problems=[Problem("jobid", job.jobid, message)])
    return job
