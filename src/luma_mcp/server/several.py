"""Follow several jobs in one call, and build one result about all: the takes of an order, or a list of jobids."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio

from luma_mcp.api.protocol import Job
from luma_mcp.errors import LumaError, Upstream, join
from luma_mcp.media import can_read_clips
from luma_mcp.server import messages
from luma_mcp.server.following import JobFollower, make_sheet
from luma_mcp.server.progress import ProgressReporter
from luma_mcp.server.results import (
    MAX_BYTES,
    build_error_content,
    build_result,
    count_bytes,
    fit_content,
    round_times,
)
from luma_mcp.server.tools import CallToolResult, ServerContext
from luma_mcp.text import shorten, without_none

logger = logging.getLogger(__name__)

# Bytes of the part about all jobs together. The next step is always kept: it may name all of them.
_FOR_ALL = 2500
# Fields that are dropped from a result that is too long, the least important first.
_LEAST_IMPORTANT = ("last_frame_url", "thumbnail_url", "updated", "typical_seconds", "request", "created", "assets")
# Characters of an error's message that are left if it is too long.
_SHORTEST_MESSAGE = 60
# Most steps of single jobs in a result, if there is none about all. Later calls return the others.
_MOST_STEPS = 3
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
        """Whether its video is finished, and has a link that works as far as that is known."""
        job, saved = self.follower.job, self.follower.result_context.saved
        is_link_dead = saved is not None and saved.is_link_dead
        return bool(job and job.state == "completed" and job.files.video and not (self.error or is_link_dead))


@dataclass(frozen=True, slots=True)
class FailedOrder:
    """A take that was not ordered, or of which that is not known."""

    take: int
    error: LumaError


@dataclass(slots=True)
class SharedProgress:
    """Reports the progress of several jobs as that of one call. While `followed` is empty, they are being ordered."""

    reporter: ProgressReporter
    followed: Sequence[Followed] = ()

    async def tick(self, elapsed: float) -> None:
        """Report how far they are together. `elapsed`: seconds since the call began."""
        if not self.followed:
            await self.reporter.tick(elapsed)
            return
        percents: list[float] = []
        for each in self.followed:
            await each.follower.reporter.tick(elapsed)
            percents.append(each.follower.reporter.percent)
        ready = sum(each.is_ready for each in self.followed)
        message = f"{ready} of {len(self.followed)} videos {'is' if ready == 1 else 'are'} ready ({elapsed:.0f} s)"
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
        # The others go on, and are in the result: an exception here would lose the jobids of all.
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
    jobs = [await _build_job(context, each, tool) for each in followed]
    failures = [_build_failure(context, order, tool) for order in failed]
    shared = _take_shared(context, jobs)
    states: list[str] = []
    for each, job in zip(followed, jobs, strict=True):
        state = str(job.get("state", "unknown"))
        states.append("no_link" if state == "completed" and not each.is_ready else state)
    again = _take_repeats(followed, jobs)
    is_repeatable = bool(again)
    again += [order.take for order in failed if order.error.charged == "no"]
    uncertain = [order.take for order in failed if order.error.charged != "no"]
    action, step = _choose_next_step(followed, jobs)
    notes = [shared.pop("note", None)]
    if again and is_repeatable and action == "none" and not (step or uncertain):
        action, step = "order_later", messages.order_takes_again(again)
    elif again:
        notes.append(messages.order_takes_again(again))
    if uncertain:
        what_to_do = messages.uncertain_takes_step(uncertain, context.provider)
        if action == "get_job" or (action == "none" and step):
            notes.append(what_to_do[1])
        else:
            # It is about money, so it comes before anything else.
            action, step = what_to_do
    about_all = without_none(
        {
            "message": messages.describe_several(states, [order.error.charged for order in failed]),
            "charged": _get_charge(jobs, failed) if tool == "generate_video" else None,
            **shared,
            "contact_sheet": sheet,
            "note": " ".join(filter(None, notes)) or None,
            "next_action": action,
            "next_step": step,
            "simulated": context.settings.simulated or None,
        }
    )
    about_all = fit_content(about_all, _FOR_ALL)
    # The names of the lists take some bytes as well.
    share = (MAX_BYTES - count_bytes(about_all) - 50) // (len(jobs) + len(failures)) - 1
    jobs = [_fit(job, share) for job in jobs]
    failures = [_fit(failure, share) for failure in failures]
    content = {"message": about_all.pop("message"), "jobs": jobs}
    if failures:
        content["failed_orders"] = failures
    content |= about_all
    text = _format_text(context, followed, content, tool)
    return build_result(text, content, is_error=set(states) <= {"failed", "unknown"}, pictures=pictures)


def _fit(content: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Make the content about a job or a failed order short enough. What it is about is never left out."""
    fitted = fit_content(content, max_bytes)
    for name in _LEAST_IMPORTANT:
        if count_bytes(fitted) > max_bytes:
            fitted.pop(name, None)
    if count_bytes(fitted) > max_bytes and "url" in fitted.get("video", {}):
        video = dict(fitted["video"])
        del video["url"]
        left_out = [*fitted.get("left_out", ()), "url"]
        fitted |= {"message": messages.LONG_LINK, "video": video, "left_out": left_out}
    if error := fitted.get("error"):
        error = fitted["error"] = dict(error)
        while count_bytes(fitted) > max_bytes and len(error["message"]) > _SHORTEST_MESSAGE:
            error["message"] = shorten(error["message"], len(error["message"]) * 3 // 4)
    return fitted


async def _build_job(context: ServerContext, followed: Followed, tool: str) -> dict[str, Any]:
    """Build the structured content of one of several jobs, or of why it could not be followed."""
    content: dict[str, Any] = {}
    if followed.take:
        content["take"] = followed.take
    if followed.error:
        error = build_error_content(followed.error, tool, context.provider)
        error.pop("jobid", None)
        return content | {"jobid": followed.follower.jobid, "error": error}
    content |= await followed.follower.build_content()
    job = followed.follower.job
    is_plain = job and job.state == "running" and not (job.outage or "overdue_seconds" in content)
    if followed.is_ready or is_plain:
        # Redundant: it repeats the state, and the jobid or the link.
        content.pop("message", None)
    return content


def _build_failure(context: ServerContext, order: FailedOrder, tool: str) -> dict[str, Any]:
    """Build the structured content of a failed order."""
    error = build_error_content(order.error, tool, context.provider)
    # Its advice is to repeat the whole call, which would order the other takes again.
    error.pop("next_step", None)
    error.pop("next_action", None)
    return {"take": order.take, "error": error}


def _format_text(context: ServerContext, followed: Sequence[Followed], content: Mapping[str, Any], tool: str) -> str:
    """Format the text of the result. `content`: its structured content."""
    texts: list[tuple[str, int]] = []
    for each, job in zip(followed, content["jobs"], strict=True):
        record = each.follower.linked_job
        # The lines that say how it stands.
        count = 1
        if each.error or record is None:
            text = messages.error_text(job["error"] | {"jobid": each.follower.jobid}, tool)
        else:
            if each.take and each is not followed[0]:
                # All takes have the same one.
                record = replace(record, request=None)
            shown = {name: value for name, value in job.items() if name not in _NOT_IN_TEXT}
            text = messages.job_text(record, shown, context.provider)
            count += "notice" in job
        texts.append((f"{each.label}: {text}", count))
    for failure in content.get("failed_orders", ()):
        text = messages.error_text(failure["error"], tool)
        texts.append((f"Take {failure['take']}: {text}", 1))
    room = MAX_BYTES - messages.FIT_MARGIN - count_bytes(messages.several_text(content, ()))
    share = room // len(texts) - 1
    return messages.several_text(content, [messages.fit_text(text, share, count) for text, count in texts])


def _take_shared(context: ServerContext, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Take what all jobs have in common out of their content; the step of each is part of the one for all."""
    shared: dict[str, Any] = {}
    succeeding = [job for job in jobs if "error" not in job]
    for name in _SHARED:
        values = [job.get(name) for job in succeeding or jobs]
        if values and values[0] is not None and all(value == values[0] for value in values):
            shared[name] = values[0]
            for job in jobs:
                if job.get(name) == values[0]:
                    del job[name]
    if "cost" in shared and len(succeeding) > 1 and "price" in succeeding[0]:
        price, simulated = succeeding[0]["price"], context.settings.simulated
        shared["cost"] = messages.format_price(context.catalog, price, is_each=True, simulated=simulated)
    return shared


def _take_repeats(followed: Sequence[Followed], jobs: Sequence[dict[str, Any]]) -> list[int]:
    """Take the advice to order failed takes again out of their content: the same call would order the others, too."""
    repeats: list[int] = []
    for each, job in zip(followed, jobs, strict=True):
        if each.take and job.get("state") == "failed" and job["error"]["retry"] == "later":
            job["error"].pop("next_action", None)
            job["error"].pop("next_step", None)
            repeats.append(each.take)
    return repeats


def _choose_next_step(followed: Sequence[Followed], jobs: Sequence[dict[str, Any]]) -> tuple[str, str | None]:
    """Choose the one next step for all jobs, for programs and as text, and remove those of the single jobs."""
    waiting: list[str] = []
    is_any_running, is_waiting_for_player, is_saving = False, False, False
    # By the text of the step, since several jobs can have the same one: the action for programs, and the jobs' labels.
    others: dict[str, tuple[str, list[str]]] = {}
    frames = followed[0].follower.result_context.frames
    for each, job in zip(followed, jobs, strict=True):
        content = job.get("error", job)
        action, step = content.pop("next_action", "none"), content.pop("next_step", None)
        job.pop("next_action", None)
        is_running = job.get("state") == "running"
        if action == "get_job" or (is_running and action == "none"):
            waiting.append(each.follower.jobid)
            is_any_running |= is_running
            is_waiting_for_player |= action == "none"
            is_saving |= bool(each.follower.result_context.save)
        elif step:
            others.setdefault(step, (action, []))[1].append(each.label)
    if waiting:
        step = messages.wait_for_several(
            waiting,
            save=is_saving,
            frames=frames,
            are_running=is_any_running,
            shows_player=is_waiting_for_player,
        )
        return ("none" if is_waiting_for_player else "get_job"), step
    if not others:
        return "none", None
    # Steps that the user must decide come first.
    chosen = sorted(others.items(), key=lambda item: item[1][0] != "ask_user")[:_MOST_STEPS]
    return chosen[0][1][0], " ".join(f"{join(labels, 'and')}: {step}" for step, (_, labels) in chosen)


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
        sheet, problems = await make_sheet(context, jobs, frames or FRAMES_OF_EACH, follower.end)
        if sheet:
            labels = [label for label, _ in jobs if label not in problems]
            rows = {label: round_times(times) for label, times in zip(labels, sheet.times, strict=True)}
            return [sheet.data], without_none({"rows": rows, "problems": problems or None})
        # A missing sheet is explained only if one was requested.
        about = {"problems": problems} if frames else None
    if not context.settings.thumbnails:
        return [], about
    thumbnails: dict[str, bytes] = {}

    async def fetch_thumbnail(label: str, job: Job) -> None:
        if thumbnail := await context.require_service().downloads.thumbnail(job):
            thumbnails[label] = thumbnail

    # Concurrently, so that the waits do not add up.
    async with anyio.create_task_group() as tasks:
        for label, job in jobs:
            tasks.start_soon(fetch_thumbnail, label, job)
    return [thumbnails[label] for label, _ in jobs if label in thumbnails], about
