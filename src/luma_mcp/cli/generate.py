"""`luma-ray-mcp generate` and `get`: from a terminal what an agent does, with a progress bar."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from luma_mcp.catalog.useapi import IMAGES, TYPICAL_SECONDS
from luma_mcp.cli.context import NO_TOKEN, now, one_line, read_settings, settings_with_token, simulating
from luma_mcp.errors import NO_MONEY, InvalidArguments, LumaError
from luma_mcp.media.local_files import home_folder
from luma_mcp.media.sources import LONGEST_PATH, ImageError, parse_source
from luma_mcp.server.progress import READY_TO_SAVE, UNKNOWN_TYPICAL, percent
from luma_mcp.service.periodic import periodic
from luma_mcp.service.service import VideoService

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from luma_mcp.api.protocol import Job
    from luma_mcp.settings import Settings

    Work = Callable[[VideoService, "_Bar"], Awaitable[None]]

PATIENCE = 60.0
SPEED = 10.0
"""How many times faster a simulation is."""
EVERY = 0.5
FOREVER = float("inf")
SIMULATED = "Simulated: nothing is generated and nothing is billed; the video is a stand-in clip."
ONLY_HERE = "Its link ends with this command: --save keeps the clip."
IN_A_TERMINAL = {
    "pass new_take true": "use --new-take",
    "ask the user first": "if you are sure",
    "Look with get_job": "Look with luma-ray-mcp get",
    "with get_job": "with luma-ray-mcp get",
    "exactly as generate_video returned it": "exactly as it was printed",
    " Tell the user, and do not try before.": "",
}
"""What messages say to agents, as a person at a terminal does it."""


def generate(words: Mapping[str, str], *, save: bool, another: bool, simulate: bool) -> None:
    """Orders a video, waits for it, and prints its link, or saves it and prints its path.

    Raises:
        click.ClickException: why there is no video.
    """
    said = {name: _from_here(value) if name in IMAGES else value for name, value in words.items()}
    # Files that a person has typed may be read, wherever they are.
    folders = [Path(said[name]).parent for name in IMAGES if said.get(name, "").startswith(str(Path(os.sep)))]

    async def work(studio: VideoService, bar: _Bar) -> None:
        ordered = await studio.order(said, another=another, save=save, patience=PATIENCE, tell=bar.say)
        bar.jobid = ordered.placed.job.jobid
        if ordered.placed.how == "same":
            bar.remark("The same order runs already: this is its job. --new-take orders another.")
        for name, change in ordered.changes.items():
            bar.remark(f"{name}: {change}")
        await _finish(studio, ordered.placed.job, bar, save=save)
        if simulate and not save:
            click.echo(ONLY_HERE, err=True)

    settings = read_settings() if simulate else settings_with_token()
    settings = replace(settings, input_dirs=(*(settings.input_dirs or home_folder()), *folders))
    if simulate:
        click.echo(SIMULATED, err=True)
    with simulating(settings, speed=SPEED) if simulate else nullcontext(settings) as surroundings:
        _run(work, surroundings, label="Ordering", hint=", or try with --simulate")


def get(jobid: str, *, save: bool) -> None:
    """Waits for a job, and prints its link, or saves it and prints its path.

    Raises:
        click.ClickException: why there is no video.
    """

    async def work(studio: VideoService, bar: _Bar) -> None:
        await _finish(studio, jobid, bar, save=save or studio.wants_files(jobid))

    _run(work, settings_with_token(), label="Looking", hint="")


def _from_here(value: str) -> str:
    """In a terminal, a file is named from where one is."""
    try:
        return parse_source(value).text
    except ImageError:
        return value if len(value) > LONGEST_PATH or "://" in value else str(Path(value).absolute())


class _Bar:
    """A progress bar on stderr, from 0 to 100 per cent; `jobid`: the job that it is about, once there is one."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self.jobid: str | None = None

    async def say(self, what: str) -> None:
        """Shows what is being done."""
        self._bar.label = one_line(what)
        self._bar.render_progress()

    async def at(self, percent: float, what: str) -> None:
        """Shows how far it is."""
        self._bar.label = one_line(what)
        self._bar.update(max(0, int(percent) - self._bar.pos))

    async def saving(self, name: str, _: int, __: int | None, share: float) -> None:
        """Shows how much of a file is here."""
        await self.at(READY_TO_SAVE + 9 * share, f"Saving {name}")

    def remark(self, text: str) -> None:
        """Prints a line above the bar."""
        text = one_line(text)
        click.echo(f"\r\033[K{text}" if sys.stderr.isatty() else text, err=True)


async def _finish(studio: VideoService, job: str | Job, bar: _Bar, *, save: bool) -> None:
    request = studio.request_of(job if isinstance(job, str) else job.jobid)
    resolution = (request and request.resolution) or ""
    low, high = studio.typical_seconds(request) or TYPICAL_SECONDS.get(resolution, UNKNOWN_TYPICAL)

    async def tick(elapsed: float) -> None:
        await bar.at(percent(elapsed, (low + high) / 2) * READY_TO_SAVE / 100, "Making the video")

    async with periodic(EVERY, tick):
        ended = await studio.follow(job, FOREVER)
    video = ended.outputs.video
    if ended.state != "completed" or video is None:
        raise click.ClickException(f"The video was not made: {ended.why_failed or 'no reason given'}\n{ended.jobid}")
    told, problem = [one_line(video.url)], None
    if save:
        saved = await studio.files.save(ended, seconds=FOREVER, tell=bar.saving)
        told, problem = list(saved.files) or told, saved.problem
    await bar.at(100, "Ready")
    click.echo(err=True)
    for line in told:
        click.echo(line)
    if problem:
        raise click.ClickException(problem)


def _run(work: Work, settings: Settings, *, label: str, hint: str) -> None:
    if settings.token is None:
        raise click.ClickException(f"{NO_TOKEN}{hint}.")
    bars: list[_Bar] = []

    async def working() -> None:
        studio = VideoService(settings, wall_clock=now)
        try:
            with click.progressbar(length=100, label=label, file=sys.stderr) as bar:
                bars.append(_Bar(bar))
                await work(studio, bars[0])
        finally:
            await studio.aclose()

    try:
        anyio.run(working)
    except InvalidArguments as error:
        raise click.UsageError(_for_a_person(error.message)) from error
    except LumaError as error:
        raise click.ClickException(_for_a_person(error.message) + _not_lost(bars, settings, error.message)) from error
    except KeyboardInterrupt:
        click.echo(f"\nStopped.{_not_lost(bars, settings)}", err=True)
        sys.exit(130)


def _not_lost(bars: list[_Bar], settings: Settings, message: str = "") -> str:
    """What becomes of the job of a command that ends early; nothing, if the message says that there is none."""
    if settings.simulated or not bars or NO_MONEY in message:
        return ""
    if not bars[0].jobid:
        return "\nWhether an order was on its way: luma-ray-mcp jobs"
    how = f"luma-ray-mcp jobs shows it, and this waits for it: luma-ray-mcp get {bars[0].jobid}"
    return f"\nThe job goes on and is not lost: {how}"


def _for_a_person(message: str) -> str:
    for said, meant in IN_A_TERMINAL.items():
        message = message.replace(said, meant)
    return message
