"""The videos of one command: ordered one after another, followed together, and shown on one terminal.

The terminal shows a bar and, of several videos, a line for each event. The results come at the end, in the order in
which they were typed: on stdout links, paths or JSON and nothing else, on stderr what a person wants to know.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import Any, NoReturn, Self

import anyio
import click

from luma_mcp import errors
from luma_mcp.api.protocol import Job
from luma_mcp.catalog import get_catalog
from luma_mcp.cli import context, messages
from luma_mcp.errors import LumaError
from luma_mcp.providers import USEAPI, Provider
from luma_mcp.server.messages import CHOSEN, OVERDUE_AFTER, format_misfits
from luma_mcp.server.progress import READY_TO_SAVE, UNKNOWN_TYPICAL, estimate_percent, format_step
from luma_mcp.service.concurrency import periodic
from luma_mcp.service.requests import ProgressStep, ValidatedRequest
from luma_mcp.service.service import VideoService
from luma_mcp.service.submit import Outcome
from luma_mcp.settings import Settings
from luma_mcp.text import make_encodable, one_line, shorten, without_none

# Seconds for which a refused connection is tried again.
RETRY_TIMEOUT = 60.0
# Seconds for which a free slot is waited for; Ctrl-C ends it before.
SLOT_TIMEOUT = 3600.0
# Age of a job, in seconds, after which its command stops waiting. Luma's queue can take hours.
GIVE_UP_AFTER = 6 * 3600.0
REDRAW_INTERVAL = 0.5
FOREVER = float("inf")
# Columns: of the bar itself, of all that is beside its label, and of a prompt in a line about it.
BAR_WIDTH, BESIDE_LABEL, LONGEST_TITLE = 20, 40, 40
# Errors after which further orders of the same command would fail too, some only after a long time.
_ENDS_ALL = (
    errors.BudgetReached,
    errors.Capacity,
    errors.JournalUnavailable,
    errors.LimitReached,
    errors.NetworkError,
    errors.Unauthorized,
)
# Errors that end the command only after several in a row: the next order may go to another account, but an order of
# unknown outcome may be charged.
_MAY_END_ALL = (errors.AccountSession, errors.OutcomeUnknown, errors.PaymentRequired)
MAX_IN_A_ROW = 2

_LOGGER = logging.getLogger("luma_mcp")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a command.

    Attributes:
        save: whether the files are saved.
        folder: where to, absolute; None for the output folder of the settings.
        stem: the path of the only video without its ending, absolute.
        suffix: the options that make `get` save the same files.
        wait: whether the videos are waited for.
        provider: the API that makes them.
        resumes: whether the same command continues what an earlier one left.
    """

    save: bool = False
    folder: Path | None = None
    stem: Path | None = None
    suffix: str = ""
    wait: bool = True
    as_json: bool = False
    new_take: bool = False
    simulated: bool = False
    provider: Provider = USEAPI
    resumes: bool = False


@dataclass(eq=False, slots=True)
class Clip:
    """One video of a command, with what is known of it so far.

    Attributes:
        title: its prompt, or the jobid as long as the prompt is not known.
        validated: what to order; None for a job that was ordered earlier.
        job: the record as it was last seen; None as long as nothing was ordered or fetched.
        files: absolute paths of its saved files.
        error: why there is no video, or no file of it.
        may_be_ordered: whether its order was sent and is not answered.
        is_overdue: whether the command ended because the job may never end.
        percent: how far it is.
        price: what such a video costs by the API's price list, if there is one.
    """

    title: str
    validated: ValidatedRequest | None = None
    jobid: str | None = None
    job: Job | None = None
    outcome: Outcome | None = None
    files: tuple[str, ...] = ()
    error: LumaError | None = None
    may_be_ordered: bool = False
    is_overdue: bool = False
    percent: float = 0.0
    price: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether its processing is over."""
        return self.percent >= 100 or self.error is not None or self.is_overdue

    @property
    def is_complete(self) -> bool:
        """Whether everything that was requested for it has succeeded."""
        return self.error is None and not self.is_overdue

    @property
    def may_be_charged(self) -> bool:
        """Whether a job exists or may exist, so that it may be charged."""
        return self.jobid is not None or (self.error is not None and self.error.charged == "unknown")

    @property
    def cost(self) -> float | None:
        """What the job cost, in credits or by the price list; None if it is not known, or not yet."""
        if self.price is not None and self.link:
            return self.price
        if isinstance(self.error, errors.JobFailed) and self.error.charged == "no":
            return 0
        return self.job.credits_used if self.job else None

    @property
    def link(self) -> str | None:
        """The link to the finished video."""
        if self.job is None or self.job.state != "completed" or self.job.files.video is None:
            return None
        return self.job.files.video.url


@dataclass(eq=False, slots=True)
class Display:
    """A progress bar on stderr for all videos, and lines above it. The bar never goes back."""

    clips: Sequence[Clip]
    # The video that is being ordered.
    ordering: Clip | None = None
    _bar: Any = None
    _step: str = ""
    _printed: set[str] = field(default_factory=set)
    _log_level: int = logging.NOTSET

    def __enter__(self) -> Self:
        is_one = len(self.clips) == 1
        # Warnings would be printed into the bar, and the results contain the same facts.
        self._log_level = _LOGGER.level
        _LOGGER.setLevel(logging.ERROR)
        self._bar = click.progressbar(
            length=100, label=format_step("preparing", None), file=sys.stderr, width=BAR_WIDTH, show_eta=is_one
        ).__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)
        _LOGGER.setLevel(self._log_level)

    async def show_step(self, clip: Clip, step: ProgressStep, detail: str | None = None) -> None:
        """Show what is being done before the job of a video exists."""
        self.ordering = clip if step == "ordering" else None
        self._step = "" if step in ("preparing", "ordering") else step
        text = format_step(step, detail)
        if len(self.clips) > 1:
            if self._step:
                self.print_event(clip, text[0].lower() + text[1:])
            text = self._count()
        self._draw(text)

    def end_steps(self) -> None:
        """Note that an order is answered."""
        self.ordering, self._step = None, ""

    def update(self, clip: Clip, percent: float, text: str) -> None:
        """Show how far a video is, and what is being done."""
        clip.percent = max(clip.percent, percent)
        self._draw(text if len(self.clips) == 1 else self._count())

    def show(self, text: str) -> None:
        """Show what is done when all videos are there. Without a terminal, nothing."""
        self._draw(text)

    def print_event(self, clip: Clip, text: str) -> None:
        """Print a line about one of several videos."""
        width = len(str(len(self.clips)))
        number = self.clips.index(clip) + 1
        title = shorten(one_line(clip.title), LONGEST_TITLE)
        self.print_above(f"[{number:>{width}}/{len(self.clips)}] {title}: {text}")

    def print_once(self, text: str) -> None:
        """Print a line that holds for several videos."""
        if text not in self._printed:
            self._printed.add(text)
            self.print_above(text)

    def print_above(self, text: str, *, err: bool = True) -> None:
        """Print a line in place of the bar, which is drawn again below it."""
        if sys.stderr.isatty():
            click.echo("\r\033[K", err=True, nl=False)
            # The bar draws only what has changed since the last time.
            self._bar._last_line = None  # noqa: SLF001
        click.echo(one_line(text), err=err)

    def _count(self) -> str:
        done = sum(clip.percent >= 100 and clip.is_complete for clip in self.clips)
        failed = sum(not clip.is_complete for clip in self.clips)
        working = sum(clip.jobid is not None and not clip.is_over for clip in self.clips)
        parts = [f"{done}/{len(self.clips)} ready", f"{working} running"]
        if failed:
            parts.insert(1, f"{failed} failed")
        if self._step:
            parts.append(self._step.replace("waiting for a free slot", "waiting for a slot"))
        return ", ".join(parts)

    def _draw(self, label: str) -> None:
        if len(self.clips) > 1 and not sys.stderr.isatty():
            # The events say the same, and every change of the label would be another line.
            return
        label = one_line(label)
        if sys.stderr.isatty():
            label = shorten(label, max(10, shutil.get_terminal_size().columns - BESIDE_LABEL))
        self._bar.label = label
        percent = sum(100.0 if clip.is_over else clip.percent for clip in self.clips) / len(self.clips)
        self._bar.update(max(0, int(percent) - self._bar.pos))
        # An update by nothing does not draw the new label.
        self._bar.render_progress()


@dataclass(eq=False, slots=True)
class Runner:
    """Orders and follows the videos of one command."""

    service: VideoService
    clips: Sequence[Clip]
    options: Options
    display: Display
    # Why nothing more is ordered; and how many orders in a row have failed in a way that may hold for the others.
    _failure: LumaError | None = None
    _in_a_row: int = 0

    async def order_and_follow(self) -> None:
        """Order all videos, one after another, each as soon as there is a slot; follow those that are ordered.

        One that fails does not keep the others from being made.
        """
        async with anyio.create_task_group() as tasks:
            for clip in self.clips:
                await self.order(clip, allow_duplicate=self.options.new_take)
                if clip.error is None and self.options.wait:
                    tasks.start_soon(self.follow, clip)

    async def follow_all(self) -> None:
        """Follow videos that were ordered earlier."""
        async with anyio.create_task_group() as tasks:
            for clip in self.clips:
                tasks.start_soon(self.follow, clip)

    async def order(self, clip: Clip, *, allow_duplicate: bool = False, any_age: bool = False) -> None:
        """Order a video as soon as there is a slot, unless an earlier failure shows that this would fail as well.

        What goes wrong is the video's `error`. See `OrderSubmitter.submit` for the arguments.
        """
        if self._failure:
            clip.error = self._failure
            return
        await self._order(clip, allow_duplicate=allow_duplicate, any_age=any_age)
        self._in_a_row = self._in_a_row + 1 if isinstance(clip.error, _MAY_END_ALL) else 0
        if isinstance(clip.error, _ENDS_ALL):
            self._failure = clip.error
        elif self._in_a_row >= MAX_IN_A_ROW:
            self._failure = _without_order(clip.error)

    async def _order(self, clip: Clip, *, allow_duplicate: bool, any_age: bool) -> None:
        assert clip.validated  # noqa: S101 - for the type checker
        try:
            result = await self.service.submit(
                clip.validated,
                allow_duplicate=allow_duplicate,
                any_age=any_age,
                save=self.options.save,
                retry_timeout=RETRY_TIMEOUT,
                patience=SLOT_TIMEOUT,
                on_progress=partial(self.display.show_step, clip),
            )
        except LumaError as error:
            self.fail(clip, error)
            return
        finally:
            self.display.end_steps()
        clip.job, clip.jobid, clip.outcome = result.job, result.job.jobid, result.outcome
        self._describe(clip, result.image_changes, is_unpriced=result.is_unpriced)
        if not self.options.wait:
            self.display.update(clip, 100, "Ordered")
            if not self.options.as_json:
                # Printed at once, because the next order may wait an hour for a slot.
                self.display.print_above(clip.jobid, err=False)

    def _describe(self, clip: Clip, image_changes: Mapping[str, str], *, is_unpriced: bool) -> None:
        """Print what is worth knowing about an order before its video is ready."""
        is_one = len(self.clips) == 1
        outcomes = messages.RESUMED_OUTCOMES if self.options.resumes else messages.OUTCOMES
        text = outcomes.get(clip.outcome or "", "" if is_one else "ordered")
        if text and is_one:
            self.display.print_above(text)
        elif text:
            self.display.print_event(clip, text)
        if problem := self.service.journal.problem:
            self.display.print_once(
                messages.journal_warning(problem, refuses_orders=self.service.journal.refuses_orders)
            )
        if is_unpriced:
            self.display.print_once(messages.UNPRICED)
        assert clip.validated  # noqa: S101 - for the type checker
        params = clip.validated.params
        for name, reason in clip.validated.chosen.items():
            self.display.print_once(f"{name} {params[name]}: {CHOSEN[reason]}")
        for line in format_misfits(clip.validated.misfits, params["aspect_ratio"]):
            self.display.print_once(line)
        for name, change in image_changes.items():
            self.display.print_once(f"{name}: {change}")

    def fail(self, clip: Clip, error: LumaError) -> None:
        """Note why there is no video, or no file of it, and print a line about it if it is one of several."""
        clip.error = error
        if len(self.clips) > 1:
            self.display.print_event(clip, messages.describe_error(error, self.options.provider).splitlines()[0])

    async def follow(self, clip: Clip) -> None:
        """Wait for a video, and save it if that is wanted. What goes wrong is the video's `error`."""
        try:
            await self._follow(clip)
        except LumaError as error:
            error.jobid = error.jobid or clip.jobid
            self.fail(clip, error)
            return
        if len(self.clips) > 1 and clip.is_overdue:
            self.display.print_event(clip, "not ready, and it may never be")
        elif len(self.clips) > 1 and clip.error is None:
            self.display.print_event(clip, f"ready, {messages.format_cost(clip.cost, self.options.provider)}")

    async def _follow(self, clip: Clip) -> None:
        assert clip.jobid  # noqa: S101 - for the type checker
        request, save, age = (clip.job.request if clip.job else None), self.options.save, 0.0
        if order := await self.service.journal.get_by_jobid(clip.jobid):
            # The order may have asked for the files.
            request, save = order.request, save or order.save
            age = max(0.0, self.service.reconciler.age(order).total_seconds())
        if request:
            if clip.title == clip.jobid:
                clip.title = request.prompt
            clip.price = self.service.catalog.price(request.to_dict())
        expected = await self.service.expected_seconds(request)
        low, high = expected or UNKNOWN_TYPICAL

        async def redraw(elapsed: float) -> None:
            if clip.job is None:
                self.display.update(clip, 0, "Looking up the job")
                return
            percent = estimate_percent(age + elapsed, (low + high) / 2) / 100 * READY_TO_SAVE
            self.display.update(clip, percent, "Making the video")

        async with periodic(REDRAW_INTERVAL, redraw):
            if clip.job is None:
                clip.job = await self.service.wait(clip.jobid, 0, expected=expected)
            clip.job = job = await self._wait(clip.job, expected)
        if job.state == "running" and job.is_video:
            clip.is_overdue = True
            return
        _require_video(job)
        if save:
            await self._save(clip, job)
        self.display.update(clip, 100, "Ready")

    async def _wait(self, job: Job, expected: tuple[float, float] | None) -> Job:
        """Wait until a job has ended, or is so late that it may never end."""
        started = anyio.current_time()
        while job.state == "running" and job.is_video:
            age = job.elapsed_seconds(self.service.now())
            if age is None:
                age = anyio.current_time() - started
            limit = GIVE_UP_AFTER
            if not job.has_known_status:
                # The status may be an undocumented name of a final one.
                limit = (expected or UNKNOWN_TYPICAL)[1] + OVERDUE_AFTER
            if age >= limit:
                break
            # At least a second: a shorter wait may end without a poll.
            job = await self.service.wait(job, max(1.0, limit - age), expected=expected)
        return job

    async def _save(self, clip: Clip, job: Job) -> None:
        async def show(name: str, _received: int, _total: int | None, share: float) -> None:
            self.display.update(clip, READY_TO_SAVE + 9 * share, f"Saving {name}")

        folder, stem = self.options.folder, self.options.stem
        downloads = self.service.downloads
        saved = await downloads.save(job, seconds=FOREVER, on_progress=show, folder=folder, stem=stem)
        clip.files = saved.files
        if saved.problem:
            self.fail(clip, errors.DownloadError(saved.problem, jobid=job.jobid, files=saved.files))

    async def find_interrupted_order(self) -> None:
        """Look up the order that Ctrl-C interrupted: its answer was recorded, but nobody received it."""
        clip = next((clip for clip in self.clips if clip.jobid is None and clip.error is None), None)
        if clip is None or clip.validated is None:
            return
        order = None
        # A database may have vanished meanwhile.
        with suppress(errors.JournalUnavailable):
            order = await self.service.journal.get_open(clip.validated.key)
        if order and order.jobid not in {other.jobid for other in self.clips if other.jobid}:
            clip.jobid, clip.may_be_ordered = order.jobid, order.jobid is None


def _require_video(job: Job) -> None:
    """Raise the error of a job that has ended without a video."""
    if not job.is_video:
        raise errors.InvalidArguments([errors.Problem("jobid", "not_a_video", job.jobid, reason=job.kind or "")])
    if job.state == "failed":
        raise job.build_failure()
    if job.files.video is None:
        raise errors.DownloadError("Luma reports a finished video, but no link to it.", jobid=job.jobid)


def _without_order(error: LumaError | None) -> LumaError | None:
    """Build the error for a video that is not ordered because of an earlier failure."""
    if not isinstance(error, errors.OutcomeUnknown):
        return error
    if error.status:
        return errors.Upstream(status=error.status, charged="no")
    return errors.NetworkError("timeout", charged="no")


Work = Callable[[Runner], Awaitable[None]]


def run_clips(clips: Sequence[Clip], settings: Settings, options: Options, work: Work) -> NoReturn:
    """Run a command's work, print all results, and exit; every way out says what became of each job.

    The exit code is 0 if every video was made, 1 if one was not, 2 if the command cannot be run like that, and 130
    after Ctrl-C.
    """
    try:
        interrupted = run_work(clips, settings, options, work)
    except LumaError as error:
        fail(error, options)
    print_results(clips, options, interrupted=interrupted)
    if interrupted:
        sys.exit(context.INTERRUPTED)
    failed = [clip for clip in clips if not clip.is_complete]
    if failed and len(clips) == 1 and not options.as_json:
        text = describe_failure(failed[0], options)
        if isinstance(failed[0].error, errors.InvalidArguments):
            raise click.UsageError(text)
        raise click.ClickException(text)
    sys.exit(1 if failed else 0)


def run_work(clips: Sequence[Clip], settings: Settings, options: Options, work: Work) -> bool:
    """Run the work with a service and a progress bar; return whether Ctrl-C has ended it."""
    display = Display(clips)

    async def main() -> None:
        service = VideoService(settings, catalog=get_catalog(settings.api), wall_clock=context.now)
        runner = Runner(service, clips, options, display)
        try:
            with display:
                await work(runner)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await runner.find_interrupted_order()
            raise
        finally:
            with anyio.CancelScope(shield=True):
                for clip in clips:
                    if clip.jobid and clip.link:
                        await service.mark_delivered(clip.jobid)
                await service.aclose()

    def on_interrupt() -> None:
        if display.ordering:
            click.echo(f"\n{messages.FINISHING_ORDER}", err=True)

    try:
        context.run_interruptible(main, on_interrupt=on_interrupt)
    except context.Interrupted:
        return True
    return False


def fail(error: LumaError, options: Options) -> NoReturn:
    """End a command with an error that is not about one video: as JSON on stdout, or as text on stderr."""
    is_usage = isinstance(error, errors.InvalidArguments)
    if options.as_json:
        print_json({"error": build_error_facts(error, options.provider)})
        sys.exit(2 if is_usage else 1)
    text = messages.describe_error(error, options.provider)
    raise click.UsageError(text) if is_usage else click.ClickException(text)


def print_results(clips: Sequence[Clip], options: Options, *, interrupted: bool) -> None:
    """Print a result for each video, in their order: its link or paths, or JSON; then what concerns all of them."""
    if options.as_json:
        for clip in clips:
            if clip.jobid or clip.error:
                print_json(build_facts(clip, options))
        if interrupted:
            click.echo(describe_stop(clips, options), err=True)
        return
    is_listed = len(clips) > 1 and not interrupted
    width = len(str(len(clips)))
    for number, clip in enumerate(clips, 1):
        if is_listed and (options.wait or not clip.is_complete):
            click.echo(f"{number:>{width}}. {_format_heading(clip, options.provider)}", err=True)
        # Without a file the link is all there is. Jobids were printed when they were ordered.
        for line in clip.files or filter(None, [clip.link if options.wait else None]):
            click.echo(one_line(line))
        if is_listed and not clip.is_complete:
            is_repeated = any(clip.error is other.error for other in clips[: number - 1] if other.error)
            text = messages.SAME_REASON if is_repeated else describe_failure(clip, options)
            click.echo(indent(text, " " * (width + 2)), err=True)
    if interrupted:
        click.echo(describe_stop(clips, options), err=True)
    else:
        _print_summary(clips, options)


def _format_heading(clip: Clip, provider: Provider) -> str:
    """Format the line above the result of one of several videos."""
    heading = one_line(shorten(clip.title, LONGEST_TITLE))
    return f"{heading} ({messages.format_cost(clip.cost, provider)})" if clip.link else heading


def _print_summary(clips: Sequence[Clip], options: Options) -> None:
    """Print how many videos were made and what they cost, or how to get what was only ordered."""
    jobids = [clip.jobid for clip in clips if clip.jobid]
    if not options.wait and jobids:
        click.echo(messages.job_not_lost(jobids), err=True)
    elif options.wait and (len(clips) > 1 or clips[0].link):
        # What an earlier command ordered was not used by this one.
        used = [clip.cost for clip in clips if clip.may_be_charged and clip.outcome != "duplicate"]
        made = sum(clip.link is not None for clip in clips)
        text = messages.summarize(made, len(clips), used, options.provider, simulated=options.simulated)
        click.echo(text, err=True)


def describe_failure(clip: Clip, options: Options) -> str:
    """Describe why there is no video, or no file, and how its job can be looked up."""
    lines: list[str] = []
    if clip.error:
        lines.append(messages.describe_error(clip.error, options.provider))
    elif clip.job and clip.is_overdue:
        lines.append(messages.describe_overdue(clip.job))
    # A simulated job ends with the command, and one that has failed or is gone has nothing more to show.
    is_over = isinstance(clip.error, errors.JobFailed | errors.NotFound | errors.InvalidArguments)
    if clip.jobid and not is_over and not options.simulated:
        # If the job was neither ordered nor seen now, it is not known whether it continues.
        is_running = clip.job is not None and clip.job.state == "running"
        lines.append(messages.job_not_lost([clip.jobid], options.suffix, is_running=is_running))
    return "\n".join(lines)


def describe_stop(clips: Sequence[Clip], options: Options) -> str:
    """Describe what becomes of the videos of a command that Ctrl-C has ended."""
    lines = [messages.STOPPED]
    if options.simulated:
        return messages.STOPPED
    running = [clip.jobid for clip in clips if clip.jobid and not clip.is_over]
    if running:
        lines.append(messages.job_not_lost(running, options.suffix))
    if any(clip.may_be_ordered for clip in clips):
        lines.append(messages.check_orders())
    missing = [number for number, clip in enumerate(clips, 1) if not clip.jobid and not clip.error]
    if missing and len(clips) > 1:
        lines.append(messages.not_ordered(missing, len(clips)))
    return "\n".join(lines)


def print_json(facts: dict[str, Any]) -> None:
    """Print one JSON object on a line of its own."""
    click.echo(json.dumps(make_encodable(facts), ensure_ascii=False))


def build_error_facts(error: LumaError, provider: Provider) -> dict[str, Any]:
    """Build the JSON of an error."""
    facts: dict[str, Any] = {
        "kind": error.kind,
        "message": messages.describe_error(error, provider),
        "reason": error.api_message,
        "retry": error.retry,
        "charged": error.charged,
        "jobid": error.jobid,
    }
    return without_none(facts)


def build_facts(clip: Clip, options: Options) -> dict[str, Any]:
    """Build the JSON of a video, with the names of the tools' structured content."""
    job = clip.job
    facts: dict[str, Any] = {
        "prompt": clip.title if clip.title != clip.jobid else None,
        "jobid": clip.jobid,
        "outcome": clip.outcome,
        "simulated": options.simulated or None,
        "overdue": clip.is_overdue or None,
        "saved_files": list(clip.files) or None,
    }
    if clip.outcome:
        facts["charged"] = "yes"
        if isinstance(clip.error, errors.JobFailed):
            facts["charged"] = clip.error.charged
        if options.simulated or clip.outcome == "duplicate":
            facts["charged"] = "no"
    if job:
        facts |= {"state": job.state, "status": job.status, "created": job.created, "updated": job.updated}
        facts["credits_used"], facts["price"] = job.credits_used, clip.price
        if job.request:
            facts["request"] = job.request.to_dict()
        if video := job.files.video:
            size = {"width": video.width, "height": video.height, "duration_seconds": video.duration}
            facts["video"] = without_none({"url": video.url, **size})
        for name, media in (
            ("exr_zip_url", job.files.video_hdr_exr),
            ("thumbnail_url", job.files.thumbnail),
            ("last_frame_url", job.files.last_frame),
        ):
            if media:
                facts[name] = media.url
    if clip.error:
        facts["error"] = build_error_facts(clip.error, options.provider)
    return without_none(facts)
