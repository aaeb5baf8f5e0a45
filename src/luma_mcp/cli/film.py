"""`film`: makes the shots of a film as a file describes them, and joins them. Run again, it makes what is missing.

The journal is the state: each take is an order with a key of its own, and what was ordered under that key is that take.
So nothing is ordered twice, whenever the command was killed. An order whose answer was lost and whose job is not found
may have been charged; it is ordered again only with `--order-lost`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from textwrap import indent
from typing import Any, NoReturn

import anyio
import click

from luma_mcp import errors
from luma_mcp.api.protocol import film_stem, format_title
from luma_mcp.catalog import get_catalog
from luma_mcp.cli import context, messages
from luma_mcp.cli.clips import (
    Clip,
    Options,
    Runner,
    build_error_facts,
    build_facts,
    fail,
    print_json,
    run_work,
)
from luma_mcp.cli.film_plan import (
    VIDEO,
    FilmPlan,
    PlannedShot,
    build_plan,
    build_plan_facts,
    find_take,
    format_plan,
    validate_continuation,
)
from luma_mcp.cli.jobs import SIMULATION_SPEED, require_token, resolve_image, resolve_output
from luma_mcp.cli.shots import Script, parse_script
from luma_mcp.errors import LumaError, OutcomeUnknown
from luma_mcp.media import can_read_clips
from luma_mcp.media.sources import home_folders
from luma_mcp.service import journal_path, output_folder
from luma_mcp.service.films import Film
from luma_mcp.service.service import VideoService
from luma_mcp.settings import Settings
from luma_mcp.text import one_line, shorten, without_none

_LONGEST_LABEL = 80


@dataclass(frozen=True, slots=True)
class FilmOptions:
    """The options of the command, without the file.

    `order_lost`: order again what may have been ordered without an answer.
    """

    output: str | None = None
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False
    simulated: bool = False
    order_lost: bool = False


@dataclass(eq=False, slots=True)
class TakeClip(Clip):
    """The video of one take. `blocked_by`: the number of the shot that it continues, if that one is not there."""

    blocked_by: int | None = None

    @property
    def is_over(self) -> bool:
        return self.percent >= 100 or not self.is_complete

    @property
    def is_complete(self) -> bool:
        return self.error is None and not self.is_overdue and self.blocked_by is None

    @property
    def video_file(self) -> str | None:
        """The absolute path of its saved video."""
        for file in self.files:
            if file.endswith(VIDEO):
                return file
        return None


@dataclass(eq=False, slots=True)
class ShotRun:
    """A shot that is being made. `is_settled`: whether nothing more is going to happen to the take that is kept."""

    planned: PlannedShot
    clips: Sequence[TakeClip]
    is_settled: bool = False

    @property
    def number(self) -> int:
        return self.planned.shot.number

    @property
    def kept(self) -> TakeClip:
        return self.clips[self.planned.shot.keep - 1]


def film(path: Path, settings: Settings, given: FilmOptions) -> NoReturn:
    """Make a film, or print its plan. Exits with 0 if it is complete, with 1 if something is missing."""
    options = Options(
        save=True, as_json=given.as_json, simulated=given.simulated, provider=settings.provider, resumes=True
    )
    # The user named the file, so files in its folder may be read as well.
    folders = (*(settings.input_dirs or home_folders()), path.parent)
    settings = replace(settings, input_dirs=folders)
    try:
        script = _read_script(path, settings)
        if given.dry_run:
            plan = _plan_offline(script, settings, options)
            _print_dry_run(replace(plan, order_lost=given.order_lost), options)
        _check_requirements(settings, options)
        options, target = _resolve_output(script, settings, options, given.output)
        make = partial(_make, path, script, options=options, given=given, target=target)
        if not given.simulated:
            make(replace(settings, journal_required=True))
        click.echo(messages.SIMULATED, err=True)
        with context.simulating(settings, speed=SIMULATION_SPEED) as simulated:
            make(simulated)
    except LumaError as error:
        fail(error, options)


def _read_script(path: Path, settings: Settings) -> Script:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError(messages.not_text(str(path))) from None
    except OSError as error:
        raise click.UsageError(messages.unreadable_file(str(path), error)) from None

    def resolve(value: str) -> str:
        return resolve_image(value, settings.provider, path.parent)

    return parse_script(text, get_catalog(settings.api), resolve, file_name=path.name)


def _plan_offline(script: Script, settings: Settings, options: Options) -> FilmPlan:
    """Build a plan without ordering; without a credential, from the file alone."""
    catalog = get_catalog(settings.api)
    if settings.token is None or options.simulated:
        return anyio.run(build_plan, script, catalog, None)
    return context.run_interruptible(lambda: _build_plan(script, settings))


async def _build_plan(script: Script, settings: Settings) -> FilmPlan:
    catalog = get_catalog(settings.api)
    async with aclosing(VideoService(settings, catalog=catalog, wall_clock=context.now)) as service:
        return await build_plan(script, catalog, service)


def _print_dry_run(plan: FilmPlan, options: Options) -> NoReturn:
    if options.as_json:
        print_json(build_plan_facts(plan))
    else:
        click.echo(f"{format_plan(plan)}\n{messages.NOTHING_ORDERED}")
    sys.exit(0)


def _check_requirements(settings: Settings, options: Options) -> None:
    """End the command if it could not go on later, before anything is ordered."""
    if not options.simulated:
        require_token(settings, options, or_simulate=True)
        if journal_path(settings) is None:
            _refuse(messages.FILM_NEEDS_JOURNAL, options)
    if not can_read_clips():
        _refuse(messages.film_needs_pyav(), options)


def _refuse(text: str, options: Options) -> NoReturn:
    """End the command because a requirement is missing."""
    if options.as_json:
        print_json({"error": {"message": text}})
        sys.exit(1)
    raise click.ClickException(text)


def _resolve_output(
    script: Script, settings: Settings, options: Options, output: str | None
) -> tuple[Options, Path | None]:
    """Complete the options with the folder of the clips; get the film's path without its ending, if one was given."""
    options = resolve_output(options, output, count=1)
    target = options.stem
    folder = options.folder or target
    if folder is None:
        folder = output_folder(settings) / (format_title(script.title) or "film")
    return replace(options, folder=folder, stem=None), target


def _make(
    path: Path, script: Script, settings: Settings, *, options: Options, given: FilmOptions, target: Path | None
) -> NoReturn:
    """Show the plan, ask, make the film, and print what there is of it."""
    name = f"film {os.path.realpath(path)}"
    plan = context.run_interruptible(lambda: _prepare(name, script, settings, options))
    plan = replace(plan, order_lost=given.order_lost)
    if not options.as_json:
        click.echo(format_plan(plan), err=True)
    orders = len(plan.list_prices())
    if orders and not (given.yes or options.simulated):
        if not sys.stdin.isatty():
            raise click.UsageError(messages.FILM_NEEDS_YES)
        click.confirm(messages.ask_for_film(orders), abort=True, err=True)
    maker = FilmMaker(name, plan, options, target)
    interrupted = run_work(maker.clips, settings, options, maker.make)
    _print_results(maker, interrupted=interrupted)


def _format_label(planned: PlannedShot, index: int) -> str:
    label = f"shot {planned.shot.number}"
    if planned.shot.takes > 1:
        label += f", take {index + 1}"
    return f"{label}: {planned.shot.title}"


async def _prepare(name: str, script: Script, settings: Settings, options: Options) -> FilmPlan:
    """Build the plan, and check that nothing keeps the film from being made."""
    catalog = get_catalog(settings.api)
    async with aclosing(VideoService(settings, catalog=catalog, wall_clock=context.now)) as service:
        async with service.downloads.claim(name) as is_ours:
            if not is_ours:
                _refuse(messages.FILM_BUSY, options)
            # The job of an order without an answer can be found only while it is running.
            await service.reconciler.recover_orders()
        plan = await build_plan(script, catalog, service)
        if service.journal.problem:
            _refuse(messages.film_needs_journal(service.journal.problem), options)
        return plan


@dataclass(eq=False, slots=True)
class FilmMaker:
    """Makes a film.

    Attributes:
        name: identifies the film, so that two processes do not make it at the same time.
        target: the path of the film without its ending; None for a name that says what it is made of.
        film: what was saved.
        joined_before: the path of a film of the same clips.
        error: why the clips could not be joined.
        is_busy: whether another process is making the film.
    """

    name: str
    plan: FilmPlan
    options: Options
    target: Path | None = None
    shots: list[ShotRun] = field(default_factory=list, init=False)
    film: Film | None = field(default=None, init=False)
    joined_before: str | None = field(default=None, init=False)
    error: LumaError | None = field(default=None, init=False)
    is_busy: bool = field(default=False, init=False)
    # Set whenever a shot is settled.
    _changed: anyio.Event = field(init=False)

    def __post_init__(self) -> None:
        for planned in self.plan.shots:
            clips = [TakeClip(_format_label(planned, index)) for index in range(planned.shot.takes)]
            self.shots.append(ShotRun(planned, clips))

    @property
    def clips(self) -> list[TakeClip]:
        """All takes of all shots."""
        return list(chain.from_iterable(shot.clips for shot in self.shots))

    @property
    def missing(self) -> list[int]:
        """The numbers of the shots whose video is missing."""
        return [shot.number for shot in self.shots if shot.kept.video_file is None]

    @property
    def is_complete(self) -> bool:
        """Whether all takes and the film exist."""
        has_film = bool(self.film or self.joined_before)
        return has_film and all(clip.is_complete for clip in self.clips)

    async def make(self, runner: Runner) -> None:
        """Make what is missing of the shots, and join them if all are there."""
        self._changed = anyio.Event()
        async with runner.service.downloads.claim(self.name) as is_ours:
            self.is_busy = not is_ours
            if self.is_busy:
                return
            await self._make_shots(runner)
            if not self.missing:
                await self._join(runner)

    async def _make_shots(self, runner: Runner) -> None:
        """Order all shots, one after another in their order; one that continues another, when that one is there."""
        waiting = list(self.shots)
        async with anyio.create_task_group() as tasks:
            while waiting:
                ready = next((shot for shot in waiting if self._is_ready(shot)), None)
                if ready is None:
                    await self._changed.wait()
                    self._changed = anyio.Event()
                    continue
                waiting.remove(ready)
                if not await self._find_frame(runner, ready):
                    self._settle(ready)
                    continue
                for index, clip in enumerate(ready.clips):
                    clip.validated = ready.planned.validated_take(index)
                    await self._order(runner, clip)
                    tasks.start_soon(self._follow, runner, ready, clip)

    def _is_ready(self, shot: ShotRun) -> bool:
        source = self._get_source(shot)
        return source is None or source.is_settled

    def _get_source(self, shot: ShotRun) -> ShotRun | None:
        continues = shot.planned.shot.continues
        if continues is None:
            return None
        return self.shots[continues - 1]

    def _settle(self, shot: ShotRun) -> None:
        shot.is_settled = True
        self._changed.set()

    async def _find_frame(self, runner: Runner, shot: ShotRun) -> bool:
        """Validate a shot with the frame that it continues; return whether it can be ordered."""
        source = self._get_source(shot)
        if source is None:
            return True
        if source.kept.video_file is None or source.kept.jobid is None:
            for clip in shot.clips:
                clip.blocked_by = source.number
            return False
        try:
            shot.planned.validated = await validate_continuation(runner.service, shot.planned, source.kept.jobid)
        except LumaError as error:
            for clip in shot.clips:
                runner.fail(clip, error)
            return False
        return True

    async def _order(self, runner: Runner, clip: TakeClip) -> None:
        """Find what was ordered of a take before, or else order it."""
        assert clip.validated  # noqa: S101 - for the type checker
        service = runner.service
        record = await find_take(service, clip.validated)
        if record.state == "lost":
            # Its job may still be running.
            try:
                await service.find_duplicate(clip.validated)
            except LumaError as error:
                if not (self.plan.order_lost and isinstance(error, OutcomeUnknown)):
                    runner.fail(clip, error)
                    return
            record = await find_take(service, clip.validated)
        if record.state == "lost" and not self.plan.order_lost:
            runner.fail(clip, OutcomeUnknown("its answer was lost"))
        elif record.state in self.plan.ordered_states:
            if record.state == "failed" and record.order and record.order.jobid:
                # Otherwise the next identical order would return the failed job again.
                await service.mark_delivered(record.order.jobid)
            await runner.order(clip, allow_duplicate=record.state == "lost", any_age=True)
        elif record.order:
            clip.jobid, clip.outcome = record.order.jobid, "duplicate"
            if record.file:
                clip.files = (record.file,)
                runner.display.update(clip, 100, "")

    async def _follow(self, runner: Runner, shot: ShotRun, clip: TakeClip) -> None:
        """Wait for a take that was ordered, and save it."""
        if clip.error is None and not clip.files:
            await runner.follow(clip)
            if isinstance(clip.error, errors.JobFailed) and clip.jobid:
                # The next run orders it again.
                await runner.service.mark_delivered(clip.jobid)
        if clip is shot.kept:
            self._settle(shot)

    async def _join(self, runner: Runner) -> None:
        """Join the takes that are kept."""
        files = [str(shot.kept.video_file) for shot in self.shots]
        stem = self.target or await self._build_stem(runner.service)
        path = stem.with_name(f"{stem.name}{VIDEO}")
        if await anyio.Path(path).exists():
            self.joined_before = str(path)
            return
        display = runner.display
        display.print_above(messages.joining(len(files)))

        async def show(_: str, share: float) -> None:
            display.show(messages.joining(len(files), share))

        try:
            self.film = await runner.service.films.join(
                files, crossfades=self.plan.crossfades, title=self.plan.script.title, stem=stem, on_progress=show
            )
        except LumaError as error:
            self.error = error

    async def _build_stem(self, service: VideoService) -> Path:
        """Build the path of the film without its ending. The same clips and transitions always have the same name."""
        jobids: list[str] = []
        day = datetime.fromtimestamp(0, UTC)
        for shot in self.shots:
            jobid = shot.kept.jobid or ""
            jobids.append(jobid)
            if order := await service.journal.get_by_jobid(jobid):
                day = max(day, order.ordered_at)
        identity = json.dumps([jobids, self.plan.crossfades]).encode()
        name = f"{film_stem(self.plan.script.title, day)}_{blake2b(identity, digest_size=4).hexdigest()}"
        assert self.options.folder  # noqa: S101 - for the type checker
        return self.options.folder / name


def _print_results(maker: FilmMaker, *, interrupted: bool) -> NoReturn:
    """Print the film's path or JSON, and what is missing; exit."""
    options = maker.options
    if maker.is_busy:
        _refuse(messages.FILM_BUSY, options)
    clips = maker.clips
    if options.as_json:
        print_json(_build_facts(maker))
    else:
        _print_clips(maker, interrupted=interrupted)
    if interrupted:
        running = sum(clip.jobid is not None and not clip.is_over for clip in clips)
        text = messages.film_stopped(running)
        if options.simulated:
            text = messages.STOPPED
        click.echo(text, err=True)
        sys.exit(context.INTERRUPTED)
    sys.exit(not maker.is_complete)


def _print_clips(maker: FilmMaker, *, interrupted: bool) -> None:
    """Print the path of the film on stdout, and on stderr its clips, failures and costs."""
    options, clips = maker.options, maker.clips
    for index, clip in enumerate(clips):
        lines = list(clip.files)
        if not clip.is_complete:
            lines.append(_describe_failure(clip, clips[:index], options))
        if lines:
            click.echo(one_line(shorten(clip.title, _LONGEST_LABEL)), err=True)
            click.echo(indent("\n".join(lines), "    "), err=True)
    # What an earlier command ordered was not used by this one.
    used = [clip.cost for clip in clips if clip.may_be_charged and clip.outcome != "duplicate"]
    made = sum(clip.video_file is not None for clip in clips)
    if not interrupted:
        text = messages.summarize(made, len(clips), used, options.provider, simulated=options.simulated)
        click.echo(text, err=True)
    if maker.film:
        facts = maker.film.facts
        text = messages.film_saved(
            facts.seconds,
            facts.size,
            is_reencoded=maker.film.is_reencoded,
            has_lost_sound=maker.film.has_lost_sound,
        )
        click.echo(text, err=True)
        click.echo(one_line(str(maker.film.path)))
    elif maker.joined_before:
        click.echo(messages.FILM_WAS_JOINED, err=True)
        click.echo(one_line(maker.joined_before))
    elif maker.error:
        click.echo(messages.describe_error(maker.error, options.provider, is_film=True), err=True)
    elif maker.missing and not interrupted:
        click.echo(messages.film_incomplete(maker.missing), err=True)


def _describe_failure(clip: TakeClip, earlier: Sequence[TakeClip], options: Options) -> str:
    """Describe why a take is not there."""
    if clip.blocked_by:
        return messages.no_frame(clip.blocked_by)
    if clip.error:
        if any(other.error is clip.error for other in earlier):
            return messages.SAME_REASON
        return messages.describe_error(clip.error, options.provider, is_film=True)
    if clip.job:
        return messages.describe_overdue(clip.job)
    return ""


def _build_facts(maker: FilmMaker) -> dict[str, Any]:
    """Build the JSON of a film and its shots, with the names of the tools' structured content."""
    options = maker.options
    shots: list[dict[str, Any]] = []
    for shot in maker.shots:
        takes: list[dict[str, Any]] = []
        for number, clip in enumerate(shot.clips, 1):
            facts = {**build_facts(clip, options), "take": number, "prompt": shot.planned.params["prompt"]}
            if clip.blocked_by:
                facts["blocked_by"] = clip.blocked_by
            takes.append(facts)
        name = shot.planned.shot.name
        shots.append(
            without_none({"number": shot.number, "name": name, "keep": shot.planned.shot.keep, "takes": takes})
        )
    facts = {"title": maker.plan.script.title, "shots": shots, "missing": maker.missing}
    if maker.film:
        size = maker.film.facts.size
        facts |= {
            "saved_files": [str(maker.film.path)],
            "duration_seconds": round(maker.film.facts.seconds, 3),
            "width": size[0],
            "height": size[1],
            "frame_rate": maker.film.facts.frame_rate,
            "reencoded": maker.film.is_reencoded,
        }
    elif maker.joined_before:
        facts["saved_files"] = [maker.joined_before]
    if maker.error:
        facts["error"] = build_error_facts(maker.error, options.provider)
    return facts
