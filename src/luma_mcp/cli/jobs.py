"""`generate`, `get`, `jobs` and `delete`: the counterparts of the agents' tools, for people at a terminal."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from luma_mcp.api.protocol import FEATURES
from luma_mcp.catalog import get_catalog
from luma_mcp.catalog.models import Catalog
from luma_mcp.catalog.validate import validate
from luma_mcp.cli import context, messages
from luma_mcp.cli.clips import Clip, Options, Runner, build_error_facts, print_json, run_clips
from luma_mcp.errors import InvalidArguments, JournalUnavailable, LumaError, NotConfigured, Problem
from luma_mcp.journal.protocol import Order, OrderQuery
from luma_mcp.journal.sqlite import EVERY_API
from luma_mcp.media.sources import LONGEST_PATH, ForeignId, ImageError, home_folders, parse_source
from luma_mcp.providers import PROVIDERS, Provider
from luma_mcp.service import existing_files, parse_moment
from luma_mcp.service.jobs import JobList, ListedJob, list_recorded
from luma_mcp.service.service import DeletedJob, VideoService, open_journal
from luma_mcp.settings import Settings
from luma_mcp.text import decode_utf8, one_line, without_none

# How many times faster than Luma a simulation is.
SIMULATION_SPEED = 10.0
COLOURS = {"running": "yellow", "completed": "green", "failed": "red", "unknown": "magenta", "deleted": "white"}


def generate(settings: Settings, prompts: Sequence[str], params: Mapping[str, Any], options: Options) -> None:
    """Order a video for each prompt, wait for them, and print their links, or save them and print their paths."""
    catalog = get_catalog(settings.api)
    options = replace(options, provider=settings.provider)
    given = dict(params)
    folders = list(settings.input_dirs or home_folders())

    def resolve(value: str) -> str:
        resolved = resolve_image(value, settings.provider, Path.cwd())
        # A person may name any file by typing its path, wherever it is.
        if resolved.startswith(str(Path(os.sep))):
            folders.append(Path(resolved).parent)
        return resolved

    for name in catalog.images.keys() & given.keys():
        given[name] = resolve(given[name])
    if "keyframes" in given:
        given["keyframes"] = [{**frame, "image": resolve(frame["image"])} for frame in given["keyframes"]]
    settings = replace(settings, input_dirs=tuple(folders))
    clips = [Clip(prompt) for prompt in _drop_repeated(prompts, options)]

    async def work(runner: Runner) -> None:
        # All prompts before the first order: a mistake is corrected while nothing is charged.
        if len(prompts) > 1:
            _validate_prompts(catalog, prompts)
        first = await runner.service.validate({**given, "prompt": clips[0].title})
        for clip in clips:
            clip.validated = replace(first, params={**first.params, "prompt": clip.title})
        await runner.order_and_follow()

    if not options.simulated:
        require_token(settings, options, or_simulate=True)
        run_clips(clips, settings, options, work)
    click.echo(messages.SIMULATED, err=True)
    with context.simulating(settings, speed=SIMULATION_SPEED) as simulated:
        try:
            run_clips(clips, simulated, options, work)
        finally:
            if not options.save and any(clip.link for clip in clips):
                click.echo(messages.SIMULATED_LINK, err=True)


def _validate_prompts(catalog: Catalog, prompts: Sequence[str]) -> None:
    """Reject prompts that the API would reject, and say which of several they are."""
    problems: list[Problem] = []
    for number, prompt in enumerate(prompts, 1):
        found = validate(catalog, {"prompt": prompt}).problems
        problems.extend(replace(problem, field=f"prompt {number}") for problem in found)
    if problems:
        raise InvalidArguments(problems, charged="no")


def _drop_repeated(prompts: Sequence[str], options: Options) -> list[str]:
    """Drop prompts that were given before, unless each is to be ordered; say so."""
    if options.new_take:
        return list(prompts)
    numbers: dict[str, int] = {}
    for number, prompt in enumerate(prompts, 1):
        earlier = numbers.setdefault(prompt.strip(), number)
        if earlier != number:
            click.echo(messages.repeated_prompt(number, earlier), err=True)
    return [prompts[number - 1] for number in numbers.values()]


def get(jobids: Sequence[str], options: Options) -> None:
    """Wait for jobs, and print their links, or save them and print their paths."""
    settings = context.settings_with_token()
    options = replace(options, provider=settings.provider)
    require_token(settings, options)
    clips = [Clip(jobid, jobid=jobid) for jobid in dict.fromkeys(jobids)]
    run_clips(clips, settings, options, Runner.follow_all)


def list_jobs(query: OrderQuery, *, limit: int, as_json: bool) -> None:
    """Print what was ordered from this machine and what is running, newest first."""
    settings = context.settings_with_token()
    listing = context.run_interruptible(lambda: _fetch_list(settings, limit, query))
    for job in listing.jobs:
        if as_json:
            print_json(_build_job_facts(job, get_catalog(settings.api)))
        else:
            click.echo(_format_job(job, get_catalog(settings.api)))
    if not as_json:
        _print_slots(listing, query)
    if listing.total > len(listing.jobs):
        click.echo(messages.more_jobs(listing.total - len(listing.jobs), listing.total), err=True)
    if any(job.state == "unknown" for job in listing.jobs):
        click.echo(messages.UNKNOWN_ORDERS, err=True)
    if settings.token is None:
        click.echo(f"{messages.missing_token(settings)} Showing local history.", err=True)
    elif listing.problem:
        reason = one_line(messages.describe_error(listing.problem, settings.provider))
        click.echo(f"Could not fetch running jobs; showing local history. {reason}", err=True)


def parse_time_option(name: str, text: str | None) -> datetime | None:
    """Parse a time, whose day is that of this machine's time zone; None if there is none."""
    if text is None:
        return None
    moment = parse_moment(text, datetime.now().astimezone())
    if moment is None:
        raise click.UsageError(messages.not_a_time(name, text))
    return moment


def _print_slots(listing: JobList, query: OrderQuery) -> None:
    if not listing.jobs:
        click.echo("No jobs yet." if query == OrderQuery() else "No such jobs.")
    for account in listing.accounts:
        click.echo(f"{one_line(account.email)}: {account.executing} of {account.concurrency} slots in use")


async def _fetch_list(settings: Settings, limit: int, query: OrderQuery) -> JobList:
    """The list as the API knows it; without a token what the journal knows of all tokens."""
    if settings.token is None:
        async with aclosing(open_journal(settings, api=EVERY_API, wall_clock=context.now)) as journal:
            return await list_recorded(journal, query, limit=limit, now=context.now())
    async with aclosing(VideoService(settings, catalog=get_catalog(settings.api), wall_clock=context.now)) as service:
        return await service.list_jobs(limit, query.state, text=query.text, since=query.since, before=query.before)


def _format_job(job: ListedJob, catalog: Catalog) -> str:
    when = f"{job.created.astimezone():%Y-%m-%d %H:%M}" if job.created else "time unknown"
    params = job.request.to_dict() if job.request else {"model": job.model or ""}
    values = [params[name] for name in catalog.choices if name in params]
    duration = f" {job.seconds:.0f} s" if job.seconds is not None else ""
    if job.credits is not None:
        values.append(f"{job.credits:g} credits")
    if price := messages.format_listed_price(job, _get_price(job, catalog), PROVIDERS[catalog.api]):
        values.append(price)
    head = f"{when}  {click.style(job.state, fg=COLOURS[job.state])}{duration}  {one_line(' '.join(values))}"
    failure = job.failure_reason and f"failed: {job.failure_reason}"
    continues = job.continues and f"continues {job.continues}"
    # A saved file does not expire.
    places = job.files or (job.link,)
    details = (params.get("prompt"), failure, continues, *places, job.jobid)
    return "\n    ".join([head, *map(one_line, filter(None, details))])


def _get_price(job: ListedJob, catalog: Catalog) -> float | None:
    """Get the price of a job by the price list; None if there is none, or if it was certainly not charged."""
    if job.request is None or job.charged == "no":
        return None
    return catalog.price(job.request.to_dict())


def _build_job_facts(job: ListedJob, catalog: Catalog) -> dict[str, Any]:
    """Build the JSON of a listed job, with the names of the tools' structured content."""
    facts: dict[str, Any] = {
        "jobid": job.jobid,
        "state": job.state,
        "credits_used": job.credits,
        "price": _get_price(job, catalog),
        "charged": job.charged,
        "model": job.model,
        "account": job.account,
        "continues": job.continues,
        "link": job.link,
        "saved_files": list(job.files) or None,
        "reason": job.failure_reason,
    }
    if job.request:
        facts |= {"prompt": job.request.prompt, "request": job.request.to_dict()}
    if catalog.prices and job.state in ("failed", "unknown"):
        facts["charged"] = job.charged or "unknown"
    if job.created:
        facts["created"] = job.created.isoformat(timespec="seconds")
    if job.seconds is not None:
        facts["elapsed_seconds"] = round(job.seconds, 1)
    return without_none(facts)


def delete(jobids: Sequence[str], *, yes: bool) -> None:
    """Delete finished jobs, after the person was shown what will be lost and has agreed."""
    settings = context.settings_with_token()
    if not FEATURES[settings.api].delete:
        raise click.ClickException(messages.not_supported("cannot delete jobs", settings.provider))
    require_token(settings, Options())
    unique = list(dict.fromkeys(jobids))
    orders = context.run_interruptible(lambda: _fetch_orders(settings, unique))
    if not yes:
        for jobid, order in zip(unique, orders, strict=True):
            files = existing_files(order.files) if order else ()
            click.echo(one_line(messages.describe_deletion(jobid, order)), err=True)
            click.echo(messages.saved_copy(jobid, files), err=True)
        click.echo(messages.DELETION, err=True)
        click.confirm("Delete?" if len(unique) == 1 else f"Delete {len(unique)} jobs?", abort=True, err=True)
    failed = False
    for jobid in unique:
        try:
            deleted = context.run_interruptible(lambda: _delete(settings, jobid))  # noqa: B023 - runs at once
        except LumaError as error:
            error.jobid, failed = jobid, True
            click.echo(f"Error: {messages.describe_error(error, settings.provider)}", err=True)
        else:
            click.echo(messages.deleted(jobid, was_known=deleted.was_known))
    sys.exit(1 if failed else 0)


async def _fetch_orders(settings: Settings, jobids: Sequence[str]) -> list[Order | None]:
    async with aclosing(VideoService(settings, catalog=get_catalog(settings.api), wall_clock=context.now)) as service:
        return [await service.journal.get_by_jobid(jobid) for jobid in jobids]


async def _delete(settings: Settings, jobid: str) -> DeletedJob:
    async with aclosing(VideoService(settings, catalog=get_catalog(settings.api), wall_clock=context.now)) as service:
        return await service.delete(jobid)


def read_prompts(arguments: Sequence[str], file: Any) -> list[str]:
    """Collect the prompts: the arguments, then the lines of a file that are not blank and are no comment."""
    prompts: list[str] = []
    for argument in arguments:
        prompts.append(argument)
        # Otherwise the validation says what is wrong with it.
        with suppress(UnicodeError):
            prompts[-1] = decode_utf8(argument)
    for prompt in prompts:
        if len(prompts) > 1 and len(prompt.split()) == 1:
            # Each would become a separate, charged video.
            raise click.UsageError(messages.unquoted_prompt(prompt))
    if file is not None:
        try:
            lines = file.read().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise click.UsageError("The file of prompts is not text in UTF-8.") from None
        prompts += [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        if not prompts:
            raise click.UsageError("The file contains no prompts.")
    if not prompts:
        raise click.UsageError("Missing argument 'PROMPT', or --file FILE with a prompt on each line.")
    return prompts


def resolve_output(options: Options, output: str | None, *, count: int) -> Options:
    """Complete the options with where the files go; reject what cannot be written before anything is ordered."""
    if output is None:
        return replace(options, suffix=" --save" * options.save)
    # Neither resolves links, nor fails at a user who does not exist.
    path = Path(os.path.abspath(os.path.expanduser(output)))  # noqa: PTH100, PTH111
    suffix = f" --output {shlex.quote(str(path))}"
    # `Path.is_dir` fails at a name that the disk does not accept.
    is_folder = os.path.isdir(path) or output.endswith(("/", os.sep)) or not path.suffix  # noqa: PTH112
    if is_folder:
        options = replace(options, save=True, folder=path, suffix=suffix)
    elif path.suffix.lower() != ".mp4":
        raise click.UsageError(messages.wrong_ending(path.suffix))
    elif count > 1:
        raise click.UsageError(messages.ONE_FILE)
    elif os.path.lexists(path):
        raise click.UsageError(f"{path} exists already. Choose another name: no file is overwritten.")
    else:
        options = replace(options, save=True, stem=path.with_suffix(""), suffix=suffix)
    folder = path if is_folder else path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            path.lstat()
    except OSError as error:
        raise click.UsageError(f"{error.filename} cannot be used ({error.strerror}).") from None
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"{folder} cannot be written to.")
    return options


def require_token(settings: Settings, options: Options, *, or_simulate: bool = False) -> None:
    """End the command if there is no API token."""
    if settings.token is None:
        text = messages.missing_token(settings, or_simulate=or_simulate)
        if options.as_json:
            error = NotConfigured(settings.provider.variable, unused=settings.unused)
            print_json({"error": {**build_error_facts(error, settings.provider), "message": text}})
            sys.exit(1)
        raise click.ClickException(text)


def resolve_image(value: str, provider: Provider, folder: Path) -> str:
    """Make the path of an image absolute if it is relative to a folder. Other images stay as they are."""
    try:
        return parse_source(value, provider=provider).text
    except ForeignId:
        # Validation of the order reports what is wrong with it.
        return value
    except ImageError:
        if len(value) > LONGEST_PATH or "://" in value:
            return value
        return str(folder.absolute() / value)


def migrate_journal(settings: Settings, *, dry_run: bool) -> None:
    """Bring the tables of the journal's database to this version, or print what that would do."""
    if not isinstance(settings.journal, SecretStr):
        raise click.ClickException("LUMA_MCP_JOURNAL names no database (postgresql://…), and a file needs nothing.")
    from luma_mcp.journal.postgres import migrate

    try:
        before, after = migrate(settings.journal, dry_run=dry_run)
    except JournalUnavailable as error:
        raise click.ClickException(f"{error.problem[0].upper()}{error.problem[1:]}.") from None
    if before == after:
        click.echo(f"The tables have version {after}: nothing is to be done.")
        return
    verb = "are to be" if dry_run else "were"
    click.echo(f"The tables {verb} brought from version {before} to {after}.")
    if dry_run:
        sys.exit(1)
