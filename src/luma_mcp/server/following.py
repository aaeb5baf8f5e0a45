"""Follow the jobs of a call: wait for them, save their files, and build what the result says of each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from luma_mcp.api.protocol import FINISHED, Job, VideoRequest
from luma_mcp.errors import InvalidArguments, Problem
from luma_mcp.server import messages
from luma_mcp.server.messages import ResultContext
from luma_mcp.server.progress import ProgressReporter
from luma_mcp.server.results import build_job_content, build_result
from luma_mcp.server.tools import CallToolResult, ServerContext

if TYPE_CHECKING:
    from luma_mcp.media.clips import ContactSheet
    from luma_mcp.service.service import VideoService
    from luma_mcp.service.stored_files import StoredFiles


logger = logging.getLogger(__name__)

# Seconds for a download after the wait. With the default wait, hosts that time out after 60 s still get the result.
DOWNLOAD_SECONDS = 12.0
# Seconds for a contact sheet, likewise.
SHEET_SECONDS = 12.0
# Seconds after which a failing look-up is reported, even if the caller would wait longer.
UNSEEN_TIMEOUT = 20.0


async def fetch_video(context: ServerContext, job: Job | str, seconds: float = 0, **options: Any) -> Job:
    """Wait for a job, or fetch it once. Raises `LumaError` if it cannot be fetched, or is no video.

    `options`: those of `VideoService.wait`.
    """
    fetched = await context.require_service().wait(job, seconds, waits=context.waits, **options)
    if not fetched.is_video:
        raise InvalidArguments([Problem("jobid", "not_a_video", fetched.jobid, reason=fetched.kind or "")])
    return fetched


@dataclass(slots=True)
class JobFollower:
    """Follows one job for a call: `follow`, then `fetch_picture` if one is wanted, then `build_content`.

    Attributes:
        jobid: the job.
        result_context: what the result says besides the job; `follow` and `build_content` set the rest of it.
        end: the time, by the event loop's clock, when the wait is over.
        job: its record as it was last seen; None as long as it was not fetched.
        is_waiting: whether the call was to wait. Then the job is looked up even if ordering has used up the wait: it
            may have ended meanwhile.
    """

    context: ServerContext
    jobid: str
    reporter: ProgressReporter
    result_context: ResultContext
    end: float
    job: Job | None = None
    is_waiting: bool = False
    _request: VideoRequest | None = None
    _stored: StoredFiles | None = None
    _is_delivered: bool = False

    async def follow(self) -> Job:
        """Wait for the job, and save its files if they are wanted. Raises `LumaError`."""
        service, result_context = self.context.require_service(), self.result_context
        order = None
        if self.job:
            self._request = self.job.request
        elif order := await service.journal.get_by_jobid(self.jobid):
            self._request, self._is_delivered = order.request, order.delivered
            result_context.continues = result_context.continues or order.continues
            # Left out, it is as when the job was ordered, in whichever process.
            if result_context.save is None and self.context.settings.has_local_files:
                result_context.save = order.save
        has_ended = order is not None and order.state in FINISHED
        # Once for the whole call: progress, polling and the result use the same. None of them needs it for a finished
        # job.
        measured = None if has_ended else await service.expected_seconds(self._request)
        result_context.expected = expected = measured or service.widest_seconds()
        self.reporter.save = bool(result_context.save)
        seconds = max(0.0, self.end - anyio.current_time())
        if self.job is None:
            age = (service.now() - order.ordered_at).total_seconds() if order else 0.0
            self.reporter.start_looking_up(expected, age=max(0.0, age))
        async with service.credits.refreshing():
            if seconds or self.job is None or self.is_waiting:
                options = {"order": order, "expected": expected, "unseen_timeout": UNSEEN_TIMEOUT}
                job = self.job or self.jobid
                self.job = await fetch_video(self.context, job, seconds, on_seen=self._start_progress, **options)
        if self.job.state != "running" and not has_ended:
            service.credits.expire()
        if result_context.save:
            # Recorded, so that any process that returns the finished job saves them too.
            await service.request_files(self.jobid)
        async with service.credits.refreshing():
            if self.job.state == "completed":
                await self._save(self.job)
                await self._store(self.job)
        return self.job

    @property
    def linked_job(self) -> Job | None:
        """The job with the links that its caller gets: those of the store, where there are any."""
        return self._stored.apply(self.job) if self.job and self._stored else self.job

    async def fetch_picture(self) -> bytes | None:
        """Fetch the picture for the chat; None if there is none, or the settings exclude it."""
        if self.job is None or self.job.state != "completed":
            return None
        if self.result_context.frames:
            sheet, problems = await make_sheet(self.context, [("", self.job)], self.result_context.frames, self.end)
            if sheet:
                self.result_context.sheet = sheet
                return sheet.data
            self.result_context.sheet_problem = problems[""]
        if not self.context.settings.thumbnails:
            return None
        return await self.context.require_service().downloads.thumbnail(self.job)

    async def build_content(self) -> dict[str, Any]:
        """Build the structured content, and record that the caller gets the job if it has finished."""
        job = self.linked_job
        assert job  # noqa: S101 - for the type checker
        service = self.context.require_service()
        await add_credits(service, self.result_context, self._request)
        self.result_context.journal_problem = service.journal.problem
        self.result_context.journal_refuses = service.journal.refuses_orders
        content = build_job_content(self.context, job, self.result_context)
        is_in_time = anyio.current_time() <= self.result_context.deadline
        if job.state != "running" and not self._is_delivered and is_in_time:
            await service.mark_delivered(self.jobid)
        return content

    async def _start_progress(self, job: Job) -> None:
        """Report that the call waits for the job, unless it has finished or there is no time."""
        if job.state != "running" or not job.is_video or anyio.current_time() >= self.end:
            return
        is_new = self.result_context.outcome == "created"
        age = 0.0 if is_new else job.elapsed_seconds(self.context.require_service().now())
        resolution = job.request.resolution if job.request else None
        await self.reporter.start_waiting(job.jobid, resolution, self.result_context.expected, age=age)

    async def _save(self, job: Job) -> None:
        """Save the files of a finished job if that is wanted."""
        downloads = self.context.require_service().downloads
        if self.result_context.save and job.files.video:
            seconds = max(DOWNLOAD_SECONDS, self.end - anyio.current_time())
            on_download = self.reporter.on_download
            self.result_context.saved = await downloads.save(job, seconds=seconds, on_progress=on_download)

    async def _store(self, job: Job) -> None:
        """Copy the files of a finished job into the store, if there is one."""
        stored = self.context.require_service().stored
        if stored and job.files.video:
            seconds = max(DOWNLOAD_SECONDS, self.end - anyio.current_time())
            self._stored = await stored.keep(job, seconds=seconds)
            self.result_context.stored = self._stored


async def follow_job(follower: JobFollower) -> tuple[Job, CallToolResult]:
    """Follow one job, and build the result of the call."""
    job = await follower.follow()
    pictures: list[bytes] = []
    if job.state == "completed":
        if picture := await follower.fetch_picture():
            pictures.append(picture)
        ready = "The video is ready." if job.files.video else "The job is completed."
        await follower.reporter.report(100, ready)
    content = await follower.build_content()
    job = follower.linked_job or job
    text = messages.job_text(job, content, follower.context.provider)
    # A failed job is an error with the API's reason.
    return job, build_result(text, content, is_error=job.state == "failed", pictures=pictures)


async def add_credits(service: VideoService, result_context: ResultContext, request: VideoRequest | None) -> None:
    """Add what such videos have used and what is left, as far as that is known."""
    account = None
    if request:
        account = request.email
        result_context.expected_credits = await service.expected_credits(request.to_dict())
    result_context.credits_left = service.credits.get_known(account) if service.owns_credential else None


async def make_sheet(
    context: ServerContext, jobs: Sequence[tuple[str, Job]], frames: int, end: float
) -> tuple[ContactSheet | None, dict[str, str]]:
    """Make a contact sheet of those of the finished videos that can be read; None if there is none.

    Also returns, by label, a clause about each video that is not on it. A failure here never affects the videos.
    `jobs`: each with its label; `end`: when the call's wait is over.
    """
    # Imported here, because a host that only lists the tools needs none of it.
    from luma_mcp.media.sources import ImageError

    seconds = max(SHEET_SECONDS, end - anyio.current_time())
    problems: dict[str, str] = {}
    readable = list(jobs)
    problem = ""
    try:
        with anyio.fail_after(seconds):
            while readable:
                try:
                    return await context.require_service().films.make_sheet(readable, frames), problems
                except ImageError as error:
                    problem = error.reason
                    broken = [each for each in readable if each[1].jobid == error.jobid] or readable
                    problems |= {label: problem for label, _ in broken}
                    readable = [each for each in readable if each not in broken]
    except TimeoutError:
        problem = f"could not be fetched and read within {seconds:.0f} s"
    except Exception as error:
        logger.warning("There is no contact sheet.", exc_info=True)
        problem = f"could not be read ({type(error).__name__})"
    return None, problems | {label: problem for label, _ in readable}
