"""`luma-mcp generate` and `get`: from a terminal what an agent does, with a progress bar."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from luma_mcp.check import check
from luma_mcp.cli.surroundings import now, read_settings, simulating
from luma_mcp.errors import LumaError
from luma_mcp.matrix import IMAGES, TYPICAL_SECONDS
from luma_mcp.server.progress import READY_TO_SAVE, UNKNOWN_TYPICAL, percent
from luma_mcp.studio.studio import Studio
from luma_mcp.studio.ticking import ticking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from luma_mcp.luma.records import Job

PATIENCE = 60.0
SPEED = 10.0
"""How many times faster a simulation is."""
EVERY = 0.5
FOREVER = float("inf")
NO_TOKEN = "USEAPI_TOKEN is not set: get an API token at https://useapi.net, or try with --simulate."  # noqa: S105
NOT_LOST = "Stopped waiting. What was ordered goes on and is not lost: luma-mcp jobs"


def generate(words: Mapping[str, str], *, save: bool, another: bool, simulate: bool) -> None:
    """Orders a video, waits for it, and prints its link, or saves it and prints its path.

    Raises:
        click.ClickException: why there is no video.
    """
    # In a terminal, a file is named from where one is.
    local = {n: str(Path(v).absolute()) for n, v in words.items() if n in IMAGES and Path(v).is_file()}
    verdict = check({**words, **local})
    if verdict.problems or verdict.nearest is None:
        raise click.UsageError("\n".join(problem.message for problem in verdict.problems))
    request = verdict.nearest

    async def work(studio: Studio, bar: _Bar) -> None:
        ordered = await studio.order(request, another=another, save=save, patience=PATIENCE, tell=bar.say)
        if ordered.placed.how == "same":
            bar.remark("The same order runs already: this is its job. --new-take orders another.")
        for name, change in ordered.assets.changes.items():
            bar.remark(f"{name}: {change}")
        await _finish(studio, ordered.placed.job, bar, save=save)

    _run(work, simulate=simulate)


def get(jobid: str, *, save: bool) -> None:
    """Waits for a job, and prints its link, or saves it and prints its path.

    Raises:
        click.ClickException: why there is no video.
    """

    async def work(studio: Studio, bar: _Bar) -> None:
        await _finish(studio, jobid, bar, save=save or studio.wants_files(jobid))

    _run(work, simulate=False)


class _Bar:
    """A progress bar on stderr, from 0 to 100 per cent."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    async def say(self, what: str) -> None:
        """Shows what is being done."""
        self._bar.label = what
        self._bar.render_progress()

    async def at(self, percent: float, what: str) -> None:
        """Shows how far it is."""
        self._bar.label = what
        self._bar.update(max(0, int(percent) - self._bar.pos))

    async def saving(self, name: str, here: int, total: int | None) -> None:
        """Shows how much of a file is here."""
        await self.at(READY_TO_SAVE + 9 * (here / total if total else 0.5), f"Saving {name}")

    def remark(self, text: str) -> None:
        """Prints a line above the bar."""
        click.echo(f"\r\033[K{text}" if sys.stderr.isatty() else text, err=True)


async def _finish(studio: Studio, job: str | Job, bar: _Bar, *, save: bool) -> None:
    request = studio.request_of(job if isinstance(job, str) else job.jobid)
    resolution = (request and request.resolution) or ""
    low, high = studio.typical_seconds(request) or TYPICAL_SECONDS.get(resolution, UNKNOWN_TYPICAL)

    async def tick(elapsed: float) -> None:
        await bar.at(percent(elapsed, (low + high) / 2) * READY_TO_SAVE / 100, "Making the video")

    async with ticking(EVERY, tick):
        ended = await studio.follow(job, FOREVER)
    video = ended.outputs.video
    if ended.state != "completed" or video is None:
        raise click.ClickException(f"The video was not made: {ended.why_failed or 'no reason given'}")
    told, problem = [video.url], None
    if save:
        saved = await studio.files.save(ended, seconds=FOREVER, tell=bar.saving)
        told, problem = list(saved.files) or told, saved.problem
    await bar.at(100, "Ready")
    click.echo(err=True)
    for line in told:
        click.echo(line)
    if problem:
        raise click.ClickException(problem)


def _run(work: Callable[[Studio, _Bar], Awaitable[None]], *, simulate: bool) -> None:
    asked = read_settings()
    with simulating(asked, speed=SPEED) if simulate else nullcontext(asked) as settings:
        if settings.token is None:
            raise click.ClickException(NO_TOKEN)
        try:
            anyio.run(_working, work, settings)
        except LumaError as error:
            raise click.ClickException(error.message) from error
        except KeyboardInterrupt:
            raise click.ClickException(NOT_LOST) from None


async def _working(work: Callable[[Studio, _Bar], Awaitable[None]], settings: Any) -> None:
    studio = Studio(settings, wall_clock=now)
    try:
        with click.progressbar(length=100, label="Ordering", file=sys.stderr) as bar:
            await work(studio, _Bar(bar))
    finally:
        await studio.aclose()
