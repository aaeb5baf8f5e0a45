"""`generate`, `get` and `jobs`: what an agent does through tools, for a person with a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from luma_mcp.api.protocol import Job
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.cli import context, messages
from luma_mcp.errors import InvalidArguments, LumaError
from luma_mcp.journal.protocol import OrderQuery
from luma_mcp.journal.sqlite import EVERY_API, SqliteJournal
from luma_mcp.media.sources import LONGEST_PATH, ImageError, home_folders, parse_source
from luma_mcp.server.messages import CHOSEN, format_misfits
from luma_mcp.server.progress import READY_TO_SAVE, UNKNOWN_TYPICAL, estimate_percent, format_step
from luma_mcp.service import journal_path
from luma_mcp.service.concurrency import periodic
from luma_mcp.service.jobs import JobList, ListedJob, list_recorded
from luma_mcp.service.requests import ProgressStep, ValidatedRequest
from luma_mcp.service.service import VideoService
from luma_mcp.service.submit import SubmitResult
from luma_mcp.settings import Settings
from luma_mcp.text import one_line

if TYPE_CHECKING:
    Work = Callable[[VideoService, "ProgressBar"], Awaitable[None]]

# Seconds for which a refused connection or full slots are tried again.
RETRY_TIMEOUT = 60.0
# Seconds for which a free slot is waited for; Ctrl-C ends it before.
SLOT_TIMEOUT = 3600.0
# How many times faster than Luma a simulation is.
SIMULATION_SPEED = 10.0
REDRAW_INTERVAL = 0.5
FOREVER = float("inf")
COLOURS = {"running": "yellow", "completed": "green", "failed": "red", "unknown": "magenta"}


def generate(params: Mapping[str, str], *, save: bool, new_take: bool, simulate: bool) -> None:
    """Order a video, wait for it, and print its link, or save it and print its path."""
    settings = context.read_settings() if simulate else context.settings_with_token()
    given = dict(params)
    # A person may name any file by typing its path, wherever it is.
    folders = list(settings.input_dirs or home_folders())
    for name in USEAPI.images.keys() & given.keys():
        given[name] = _resolve_image(given[name])
        if given[name].startswith(str(Path(os.sep))):
            folders.append(Path(given[name]).parent)
    settings = replace(settings, input_dirs=tuple(folders))

    async def work(service: VideoService, bar: ProgressBar) -> None:
        await bar.show_step("preparing")
        validated = await service.validate(given)
        result = await service.submit(
            validated,
            allow_duplicate=new_take,
            save=save,
            retry_timeout=RETRY_TIMEOUT,
            patience=SLOT_TIMEOUT,
            on_progress=bar.show_step,
        )
        for line in _describe_order(service, validated, result):
            bar.print_above(line)
        await _finish(service, result.job, bar, save=save)
        if simulate and not save:
            click.echo(messages.SIMULATED_LINK, err=True)

    if not simulate:
        _run(work, settings, label="Preparing", can_simulate=True)
        return
    click.echo(messages.SIMULATED, err=True)
    with context.simulating(settings, speed=SIMULATION_SPEED) as simulated:
        _run(work, simulated, label="Preparing")


def _describe_order(service: VideoService, validated: ValidatedRequest, result: SubmitResult) -> Iterator[str]:
    """What is worth knowing about an order before its video is ready."""
    if result.outcome in messages.OUTCOMES:
        yield messages.OUTCOMES[result.outcome]
    if problem := service.journal.problem:
        yield messages.journal_warning(problem)
    for name, reason in validated.chosen.items():
        yield f"{name} {validated.params[name]}: {CHOSEN[reason]}"
    yield from format_misfits(validated.misfits, validated.params["aspect_ratio"])
    for name, change in result.image_changes.items():
        yield f"{name}: {change}"


def get(jobid: str, *, save: bool) -> None:
    """Wait for a job, and print its link, or save it and print its path."""

    async def work(service: VideoService, bar: ProgressBar) -> None:
        await _finish(service, jobid, bar, save=save)

    _run(work, context.settings_with_token(), label="Waiting")


def list_jobs(*, limit: int) -> None:
    """Print what was ordered from this machine and what is running, newest first."""
    settings = context.settings_with_token()
    listing = context.run_interruptible(lambda: _fetch_list(settings, limit))
    for job in listing.jobs:
        click.echo(_format_job(job))
    if not listing.jobs:
        click.echo("No jobs yet.")
    for account in listing.accounts:
        click.echo(f"{one_line(account.email)}: {account.executing} of {account.concurrency} slots in use")
    if any(job.state == "unknown" for job in listing.jobs):
        click.echo(messages.UNKNOWN_ORDERS, err=True)
    if settings.token is None:
        click.echo(f"{messages.missing_token()} Showing local history.", err=True)
    elif listing.problem:
        reason = one_line(messages.describe_error(listing.problem))
        click.echo(f"Could not fetch running jobs; showing local history. {reason}", err=True)


async def _fetch_list(settings: Settings, limit: int) -> JobList:
    """The list as the API knows it; without a token what the journal knows of all tokens."""
    if settings.token is None:
        journal = SqliteJournal(journal_path(settings), api=EVERY_API, wall_clock=context.now)
        async with aclosing(journal):
            return await list_recorded(journal, OrderQuery(), limit=limit, now=context.now())
    async with aclosing(VideoService(settings, catalog=USEAPI, wall_clock=context.now)) as service:
        return await service.list_jobs(limit=limit, state=None)


def _format_job(job: ListedJob) -> str:
    when = f"{job.created.astimezone():%Y-%m-%d %H:%M}" if job.created else "time unknown"
    params = job.request.to_dict() if job.request else {"model": job.model or ""}
    values = [params[name] for name in USEAPI.choices if name in params]
    duration = f" {job.seconds:.0f} s" if job.seconds is not None else ""
    if job.credits is not None:
        values.append(f"{job.credits:g} credits")
    head = f"{when}  {click.style(job.state, fg=COLOURS[job.state])}{duration}  {one_line(' '.join(values))}"
    details = (params.get("prompt"), job.failure_reason and f"failed: {job.failure_reason}", *job.files, job.jobid)
    return "\n    ".join([head, *map(one_line, filter(None, details))])


def _resolve_image(value: str) -> str:
    """Make a relative path absolute: in a terminal a file is named from the current folder."""
    try:
        return parse_source(value).text
    except ImageError:
        if len(value) > LONGEST_PATH or "://" in value:
            return value
        return str(Path(value).absolute())


class ProgressBar:
    """A progress bar on stderr, from 0 to 100 %. `jobid`: the job that it is about, once there is one."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self.jobid: str | None = None
        self.ordering = False

    async def show_step(self, step: ProgressStep, detail: str | None = None) -> None:
        """Show what is being done before the job exists."""
        self.ordering = step == "ordering"
        self._bar.label = format_step(step, detail)
        self._bar.render_progress()

    async def update(self, percent: float, label: str) -> None:
        """Show how far it is; the bar never goes back."""
        self._bar.label = one_line(label)
        self._bar.update(max(0, int(percent) - self._bar.pos))

    async def show_download(self, name: str, _received: int, _total: int | None, share: float) -> None:
        """Show how much of the files has arrived."""
        await self.update(READY_TO_SAVE + 9 * share, f"Saving {name}")

    def print_above(self, text: str) -> None:
        """Print a line in place of the bar, which is drawn again below it."""
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        click.echo(f"{clear}{one_line(text)}", err=True)


async def _finish(service: VideoService, job: str | Job, bar: ProgressBar, *, save: bool) -> None:
    if isinstance(job, str):
        bar.jobid, request = job, None
        if order := await service.journal.get_by_jobid(job):
            # The order may have asked for the files.
            request, save = order.request, save or order.save
    else:
        bar.jobid, request = job.jobid, job.request
    expected = await service.expected_seconds(request)
    low, high = expected or UNKNOWN_TYPICAL

    async def redraw(elapsed: float) -> None:
        await bar.update(estimate_percent(elapsed, (low + high) / 2) / 100 * READY_TO_SAVE, "Making the video")

    async with periodic(REDRAW_INTERVAL, redraw):
        finished = await service.wait(job, FOREVER, expected=expected)
    await service.mark_delivered(finished.jobid)
    video = finished.files.video
    if finished.state != "completed" or video is None:
        reason = finished.failure_reason or "no reason given"
        raise click.ClickException(f"The video was not made: {reason}\nJob: {finished.jobid}")
    lines, problem = [one_line(video.url)], None
    if save:
        saved = await service.downloads.save(finished, seconds=FOREVER, on_progress=bar.show_download)
        # Without a file the link is all there is.
        lines, problem = list(saved.files) or lines, saved.problem
    await bar.update(100, "Ready")
    # The bar does not end its line.
    click.echo(err=True)
    click.echo("\n".join(lines))
    if problem:
        raise click.ClickException(problem)


def _run(work: Work, settings: Settings, *, label: str, can_simulate: bool = False) -> None:
    """Run a command's work with a service and a progress bar; every way out says what became of the job."""
    if settings.token is None:
        raise click.ClickException(messages.missing_token(or_simulate=can_simulate))
    shown_bar = click.progressbar(length=100, label=label, file=sys.stderr)
    bar = ProgressBar(shown_bar)

    async def main() -> None:
        service = VideoService(settings, catalog=USEAPI, wall_clock=context.now)
        try:
            with shown_bar:
                await work(service, bar)
        finally:
            with anyio.CancelScope(shield=True):
                await service.aclose()

    def on_interrupt() -> None:
        if bar.ordering and not bar.jobid:
            click.echo(f"\n{messages.FINISHING_ORDER}", err=True)

    try:
        context.run_interruptible(main, on_interrupt=on_interrupt)
    except LumaError as error:
        text = messages.describe_error(error)
        if isinstance(error, InvalidArguments):
            raise click.UsageError(text) from error
        # A simulated job ends with the command.
        jobid = error.jobid or bar.jobid
        if jobid and not settings.simulated:
            text += f"\n{messages.job_not_lost(jobid)}"
        raise click.ClickException(text) from error
    except context.Interrupted:
        note = ""
        if not settings.simulated and (bar.jobid or bar.ordering):
            note = f" {messages.job_not_lost(bar.jobid)}"
        click.echo(f"\n{messages.STOPPED}{note}", err=True)
        sys.exit(context.INTERRUPTED)
