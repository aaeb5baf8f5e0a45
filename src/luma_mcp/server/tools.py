"""The tools: check, call, present. One way in (`arguments`), one way out (`present`).

They take the raw arguments rather than validated ones, because a decorated tool drops unknown arguments in
silence: for a paid call that is a wrong video, billed.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from luma_mcp.check import check
from luma_mcp.errors import (
    NO_MONEY,
    InvalidArguments,
    LumaError,
    NotConfigured,
    NotFound,
    OutcomeUnknown,
    Problem,
    Upstream,
)
from luma_mcp.luma.records import ExecutingJob, Job, VideoRequest
from luma_mcp.matrix import API_NAMES, IMAGES
from luma_mcp.server import arguments, options, present
from luma_mcp.server.arguments import WAIT
from luma_mcp.server.progress import reporting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from mcp.server.mcpserver import Context
    from mcp.types import CallToolResult

    from luma_mcp.luma.client import LumaClient
    from luma_mcp.settings import Settings

logger = logging.getLogger(__name__)

LOOK_UP_SECONDS = 5.0
ORDER_PATIENCE = 20.0
"""Seconds, at most, for which a full house or a refused connection is tried again before the agent is told."""
NOT_CONFIGURED = (
    "USEAPI_TOKEN is not set, so no video can be ordered or looked up. Get an API token at https://useapi.net and put "
    "it into this server's environment in the host's configuration. To try without one: luma-mcp --simulate. "
    "list_options works without a token."
)
LATER = "Ask for it with get_job in a while; do not order it again."
NOT_LOST = "The job goes on and is not lost: ask for it with get_job; do not order it again."


@dataclass
class Tools:
    """The tools of one server. `luma` is None while there is no token."""

    settings: Settings
    luma: LumaClient | None
    wall_clock: Callable[[], datetime]

    async def generate_video(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
        """Orders a video and waits for it."""
        return await self._answered("generate_video", self._generate_video(raw, ctx))

    async def get_job(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
        """Looks at a job, and waits for it."""
        return await self._answered("get_job", self._get_job(raw, ctx))

    async def list_options(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:  # noqa: ARG002
        """Tells what can be made."""
        return await self._answered("list_options", self._list_options(raw))

    async def _answered(self, tool: str, call: Awaitable[CallToolResult]) -> CallToolResult:
        try:
            return await call
        except LumaError as error:
            return present.error_result(error, tool=tool)

    async def _generate_video(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
        luma = self._configured()
        asked = arguments.read(raw, (*API_NAMES, WAIT))
        verdict = check(asked.without_wait())
        if problems := (*asked.problems, *verdict.problems):
            wait = {WAIT: asked.words[WAIT]} if WAIT in asked.words else {}
            nearest = None if asked.lost or verdict.nearest is None else verdict.nearest | wait
            raise InvalidArguments(NO_MONEY, problems=problems, suggestion=nearest)
        request = VideoRequest(**(verdict.nearest or {}))
        if self.settings.email and not request.email and not any(name in asked.words for name in IMAGES):
            request = request.model_copy(update={"email": self.settings.email})
        seconds = self._longest(asked.wait_seconds)
        end = anyio.current_time() + seconds
        try:
            job = await luma.submit(request, patience=min(ORDER_PATIENCE, seconds))
        except (OutcomeUnknown, Upstream) as error:
            # Told to the log as well: a caller that has gone away would never learn of it.
            logger.warning("%s", error.message)
            error.message += await self._candidates(request)
            raise
        try:
            # A cancellation that came while the order was on its way is seen here, with the jobid at hand.
            await anyio.lowlevel.checkpoint()
            if anyio.current_time() < end:
                job = await self._followed(job, end - anyio.current_time(), ctx)
        except anyio.get_cancelled_exc_class():
            # Nobody gets this call's result any more: the log is where the jobid can still be found.
            logger.warning("The call was cancelled; its job goes on, ask for it with get_job: %s", job.jobid)
            raise
        except NotFound as error:
            message = f"The video was ordered, but the API does not list its job (yet, or any more). {LATER}"
            raise Upstream(message, status=error.status, api_message=error.api_message, jobid=job.jobid) from error
        except LumaError as error:
            error.jobid = job.jobid
            error.message = f"The video was ordered, but following it failed. {error.message} {NOT_LOST}"
            raise
        except Exception as error:
            # Whatever went wrong in here, the job is paid for: its jobid must reach the agent.
            logger.exception("following a job failed")
            raise Upstream(
                f"The video was ordered, but following it failed here. {NOT_LOST}", jobid=job.jobid
            ) from error
        return present.job_result(job, self.wall_clock(), simulated=self.settings.simulated)

    async def _get_job(self, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:
        self._configured()
        asked = arguments.read(raw, ("jobid", WAIT))
        jobid = asked.words.get("jobid")
        problems = list(asked.problems)
        if not isinstance(jobid, str):
            fault = "is missing" if jobid is None else "is not a text"
            message = f"jobid {fault}; pass it exactly as generate_video returned it."
            problems.insert(0, Problem("jobid", jobid, message))
        if problems or not isinstance(jobid, str):
            raise InvalidArguments(problems=problems, suggestion={"jobid": jobid} if isinstance(jobid, str) else None)
        job = await self._followed(jobid, self._longest(asked.wait_seconds), ctx)
        if not job.is_video:
            raise InvalidArguments(
                problems=[Problem("jobid", jobid, f"This is a job of type {job.type}, not a video.")]
            )
        return present.job_result(job, self.wall_clock(), simulated=self.settings.simulated)

    async def _list_options(self, raw: dict[str, Any]) -> CallToolResult:
        return options.list_options(raw, longest_wait=self.settings.max_wait_seconds)

    async def _followed(self, job: str | Job, seconds: float, ctx: Context[Any, Any]) -> Job:
        """The job when it has finished or the time is up, with progress until then."""
        luma = self._configured()
        if seconds <= 0:
            return await luma.wait(job, 0)
        jobid = job if isinstance(job, str) else job.jobid
        request = luma.ordered(jobid)
        async with reporting(ctx, jobid, request.resolution if request else None):
            job = await luma.wait(job, seconds)
        if job.state == "completed":
            await ctx.report_progress(100, 100, "The video is ready.")
        return job

    async def _candidates(self, request: VideoRequest) -> str:
        """What the agent can do about a lost order: the running jobs that it may have become."""
        luma = self._configured()
        rows: tuple[ExecutingJob, ...] | None = None
        with anyio.move_on_after(LOOK_UP_SECONDS), suppress(LumaError):
            rows = await luma.list(patience=0)
        if rows is None:
            return " Whether it runs could not be looked up. Ask the user before ordering again."
        others = [row for row in rows if row.type in (None, "video") and luma.ordered(row.jobid) is None]
        likely = [row.jobid for row in others if row.model == request.model]
        if likely:
            return f" Running jobs of this model, one of which it may be: {', '.join(likely)}. Look with get_job."
        return " No running job of this model was found just now. Ask the user before ordering again."

    def _configured(self) -> LumaClient:
        if self.luma is None:
            raise NotConfigured(NOT_CONFIGURED)
        return self.luma

    def _longest(self, seconds: float) -> float:
        return min(seconds, self.settings.max_wait_seconds)
