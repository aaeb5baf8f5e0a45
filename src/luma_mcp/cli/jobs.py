"""`luma-ray-mcp jobs`: the journal for a person; with a token, as the API knows it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import click

from luma_mcp.catalog.useapi import CHOICES
from luma_mcp.cli.context import NO_TOKEN, now, one_line, settings_with_token
from luma_mcp.journal.journal import EVERY_API, Journal
from luma_mcp.service.jobs import Listed, Listing, of_journal
from luma_mcp.service.paths import journal_path
from luma_mcp.service.service import VideoService

if TYPE_CHECKING:
    from luma_mcp.settings import Settings

OFFLINE = f"{NO_TOKEN}. Without it, this is what the journal knows."
UNKNOWN = "unknown: the answer to the order was lost, and no job of it was found; it may have run, and been billed."
COLOURS = {"running": "yellow", "completed": "green", "failed": "red", "unknown": "magenta"}


def jobs(*, limit: int) -> None:
    """Prints the jobs, newest first."""
    settings = settings_with_token()
    listing = anyio.run(_asked, settings, limit) if settings.token else _offline(settings, limit)
    for job in listing.jobs:
        click.echo("\n".join(_lines(job)))
    if not listing.jobs:
        click.echo("No jobs yet.")
    for account in listing.accounts:
        click.echo(f"{one_line(account.email)}: {account.executing} of {account.concurrency} slots in use")
    if any(job.state == "unknown" for job in listing.jobs):
        click.echo(UNKNOWN, err=True)
    if listing.problem:
        click.echo(one_line(listing.problem), err=True)


async def _asked(settings: Settings, limit: int) -> Listing:
    studio = VideoService(settings, wall_clock=now)
    try:
        return await studio.jobs(limit=limit, state=None)
    finally:
        await studio.aclose()


def _offline(settings: Settings, limit: int) -> Listing:
    journal = Journal(journal_path(settings), api=EVERY_API, wall_clock=now)
    try:
        return Listing(of_journal(journal)[:limit], problem=OFFLINE)
    finally:
        journal.close()


def _lines(job: Listed) -> list[str]:
    when = f"{job.created.astimezone():%Y-%m-%d %H:%M}" if job.created else "time unknown"
    words = job.request.words() if job.request else {"model": job.model or ""}
    options = one_line(" ".join(words[name] for name in CHOICES if name in words))
    seconds = f" {job.seconds:.0f} s" if job.seconds is not None else ""
    gone = ", deleted" if job.deleted else ""
    head = f"{when}  {click.style(job.state, fg=COLOURS[job.state])}{seconds}{gone}  {options}"
    told = (words.get("prompt"), job.error and f"failed: {job.error}", *job.files, job.jobid)
    return [head, *(f"    {one_line(line)}" for line in told if line)]
