"""Follow several jobs in one call, and build one result about all: the takes of an order, or a list of jobids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio

from luma_mcp.api.protocol import Job
from luma_mcp.errors import LumaError, Upstream
from luma_mcp.media.clips import can_read_clips
from luma_mcp.server import messages
from luma_mcp.server.following import JobFollower, make_sheet
from luma_mcp.server.progress import ProgressReporter
from luma_mcp.server.results import MAX_BYTES, build_error_content, build_result, count_bytes, fit_content
from luma_mcp.server.tools import CallToolResult, ServerContext
from luma_mcp.text import without_none

logger = logging.getLogger(__name__)

# Bytes of a result that are about all jobs together, and of each jobid, since the next step may name all of them.
_FOR_ALL, _FOR_JOBID = 900, 125
# What jobs lack if the result is too long for it, the least important first.
_LEAST_IMPORTANT = ("last_frame_url", "thumbnail_url", "updated", "typical_seconds", "request", "created", "assets")
FRAMES_OF_EACH = 4
"""Frames of each video on a contact sheet of several."""
_NOT_IN_TEXT = ("left_out", "thumbnail_url", "last_frame_url")
# What is the same for all jobs is in the result once.
_SHARED = ("note", "cost", "credits_left", "expected_credits")


@dataclass(slots=True)
class Followed:
    """One of the jobs of a call.

    `label`: what it is called among them; `take`: which one of an order it is; `error`: why it could not be followed.
    """

    follower: JobFollower
    label: str
    take: int | None = None
    error: LumaError | None = None

    @property
    def is_ready(self) -> bool:
        """Whether its video is finished."""
        job = self.follower.job
        return job is not None and job.state == "completed" and self.error is None


@dataclass(frozen=True, slots=True)
class FailedOrder:
    """A take that was not ordered, or of which that is not known."""

    take: int
    error: LumaError


@dataclass(slots=True)
class SharedProgress:
    """Reports the progress of several jobs as that of one call."""

    reporter: ProgressReporter
    followed: Sequence[Followed]

    async def tick(self, elapsed: float) -> None:
        """Report how far they are together. `elapsed`: seconds since the call began."""
        percents: list[float] = []
        for each in self.followed:
            await each.follower.reporter.tick(elapsed)
            percents.append(each.follower.reporter.percent)
        ready = sum(each.is_ready for each in self.followed)
        message = f"{ready} of {len(self.followed)} videos are ready ({elapsed:.0f} s)"
        await self.reporter.report(sum(percents) / len(percents), message)


async def follow_all(followed: Sequence[Followed]) -> None:
    """Follow jobs at the same time. What goes wrong with one does not end the wait for the others."""
    async with anyio.create_task_group() as tasks:
        for each in followed:
            if each.error is None:
                tasks.start_soon(_follow, each)


async def _follow(followed: Followed) -> None:
    jobid = followed.follower.jobid
    try:
        await followed.follower.follow()
    except LumaError as error:
        error.jobid = error.jobid or jobid
        followed.error = error
    except Exception as error:
        # The others go on, and are told about: an exception here would lose the jobids of all.
        logger.exception("a job could not be followed: %s", jobid)
        followed.error = Upstream("internal", detail=type(error).__name__, jobid=jobid)


async def build_several(
    context: ServerContext,
    followed: Sequence[Followed],
    failed: Sequence[FailedOrder] = (),
    *,
    tool: str,
) -> CallToolResult:
    """Build the result about several jobs, in their order, and about orders that failed."""
    pictures, sheet = await _fetch_pictures(context, followed)
    share = (MAX_BYTES - _FOR_ALL) // (len(followed) + len(failed)) - _FOR_JOBID
    jobs = [await _build_job(context, each, tool) for each in followed]
    shared = _take_shared(jobs)
    action, step = _choose_next_step(followed, jobs)
    jobs = [fit_content(job, share) for job in jobs]
    failures = [fit_content(_build_failure(context, order, tool), share) for order in failed]
    states = [str(job.get("state", "unknown")) for job in jobs]
    not_ordered = [each.take for each in failed if each.error.charged == "no"]
    content = without_none(
        {
            "message": messages.describe_several(states, [order.error.charged for order in failed]),
            "jobs": jobs,
            "failed_orders": failures or None,
            "charged": _get_charge(jobs, failed) if tool == "generate_video" else None,
            **shared,
            "contact_sheet": sheet,
            "note": messages.several_note(shared.get("note"), not_ordered),
            "next_action": action,
            "next_step": step,
            "simulated": context.settings.simulated or None,
        }
    )
    for name in _LEAST_IMPORTANT:
        if count_bytes(content) <= MAX_BYTES:
            break
        for job in jobs:
            job.pop(name, None)
    texts = _format_jobs(context, followed, jobs, tool)
    for failure in failures:
        texts.append(f"Take {failure['take']}: {messages.error_text(failure['error'], tool)}")
    texts = [messages.fit_text(text, share + _FOR_JOBID) for text in texts]
    is_error = set(states) <= {"failed", "unknown"}
    return build_result(messages.several_text(content, texts), content, is_error=is_error, pictures=pictures)


async def _build_job(context: ServerContext, followed: Followed, tool: str) -> dict[str, Any]:
    """Build the structured content of one of several jobs, or of why it could not be followed."""
    content: dict[str, Any] = {}
    if followed.take:
        content["take"] = followed.take
    if followed.error:
        error = build_error_content(followed.error, tool, context.provider)
        return content | {"jobid": followed.follower.jobid, "error": error}
    content |= await followed.follower.build_content()
    # The state says it, and it repeats the jobid.
    content.pop("message", None)
    return content


def _build_failure(context: ServerContext, order: FailedOrder, tool: str) -> dict[str, Any]:
    """Build the structured content of a failed order."""
    error = build_error_content(order.error, tool, context.provider)
    if order.error.charged == "no":
        # Its advice is about the whole call, which would order the other takes again.
        error.pop("next_step", None)
        error.pop("next_action", None)
    return {"take": order.take, "error": error}


def _format_jobs(
    context: ServerContext, followed: Sequence[Followed], jobs: Sequence[dict[str, Any]], tool: str
) -> list[str]:
    """Format the text about each job. `jobs`: their structured content."""
    texts: list[str] = []
    for each, job in zip(followed, jobs, strict=True):
        record = each.follower.job
        if each.error or record is None:
            text = messages.error_text(job["error"], tool)
        else:
            if each.take and each is not followed[0]:
                # All takes have the same one.
                record = replace(record, request=None)
            shown = {name: value for name, value in job.items() if name not in _NOT_IN_TEXT}
            text = messages.job_text(record, shown, context.provider)
        texts.append(f"{each.label}: {text}")
    return texts


def _take_shared(jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Take what all jobs have in common out of their content; the step of each is part of the one for all."""
    shared: dict[str, Any] = {}
    for name in _SHARED:
        values = [job.get(name) for job in jobs if "error" not in job]
        if values and values[0] is not None and all(value == values[0] for value in values):
            shared[name] = values[0]
            for job in jobs:
                job.pop(name, None)
    return shared


def _choose_next_step(followed: Sequence[Followed], jobs: Sequence[dict[str, Any]]) -> tuple[str, str | None]:
    """Choose the one next step for all jobs, for programs and as text, and remove those of the single jobs."""
    waiting: list[str] = []
    others: list[tuple[str, str]] = []
    is_waiting_for_player, is_saving = False, False
    frames = followed[0].follower.result_context.frames
    for each, job in zip(followed, jobs, strict=True):
        content = job.get("error", job)
        action, step = content.pop("next_action", "none"), content.pop("next_step", None)
        is_running = job.get("state") == "running"
        if action == "get_job" or (is_running and action == "none"):
            waiting.append(each.follower.jobid)
            is_waiting_for_player |= action == "none"
            is_saving |= bool(each.follower.result_context.save)
        elif step:
            others.append((action, step))
    if waiting:
        step = messages.wait_for_several(waiting, save=is_saving, frames=frames, shows_player=is_waiting_for_player)
        return ("none" if is_waiting_for_player else "get_job"), step
    return others[0] if others else ("none", None)


def _get_charge(jobs: Sequence[dict[str, Any]], failed: Sequence[FailedOrder]) -> str:
    """Get whether what was ordered by a call costs something."""
    charges = {str(job.get("charged") or job.get("error", {}).get("charged")) for job in jobs}
    charges |= {str(order.error.charged) for order in failed}
    return next((charge for charge in ("yes", "unknown") if charge in charges), "no")


async def _fetch_pictures(
    context: ServerContext, followed: Sequence[Followed]
) -> tuple[list[bytes], dict[str, Any] | None]:
    """Fetch the pictures of the finished videos for the chat: a contact sheet of all, or else a thumbnail of each.

    Also the structured content of the sheet, or of why there is none if it was wanted.
    """
    jobs: list[tuple[str, Job]] = []
    for each in followed:
        job = each.follower.job
        if each.is_ready and job and job.files.video:
            jobs.append((each.label, job))
    if not jobs:
        return [], None
    follower, about = followed[0].follower, None
    frames = follower.result_context.frames
    if frames or (can_read_clips() and context.settings.thumbnails):
        sheet = await make_sheet(context, jobs, frames or FRAMES_OF_EACH, follower.end)
        if not isinstance(sheet, str):
            labels = [label for label, _ in jobs]
            return [sheet.data], {"rows": dict(zip(labels, map(list, sheet.times), strict=True))}
        # Nobody expects one that was not asked for.
        about = {"problem": sheet} if frames else None
    thumbnails: list[bytes] = []
    if context.settings.thumbnails:
        for _, job in jobs:
            if thumbnail := await context.require_service().downloads.thumbnail(job):
                thumbnails.append(thumbnail)
    return thumbnails, about
