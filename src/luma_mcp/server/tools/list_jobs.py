"""`list_jobs`: the running jobs, and those ordered from this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from luma_mcp.api.protocol import FEATURES
from luma_mcp.catalog.models import Catalog
from luma_mcp.errors import InvalidArguments, Problem
from luma_mcp.server import messages, schemas
from luma_mcp.server.arguments import DEFAULT_LIMIT, get_option, parse_arguments
from luma_mcp.server.results import MAX_BYTES, build_result, credits_content, fits, format_iso
from luma_mcp.server.schemas import BOOLEAN, NUMBER, OBJECT, STRING, array
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool
from luma_mcp.service import MAX_LISTED, parse_moment
from luma_mcp.text import shorten, without_none

if TYPE_CHECKING:
    from luma_mcp.service.jobs import JobList, ListedJob
    from luma_mcp.service.service import VideoService


DESCRIPTION = "List running jobs and jobs ordered from this machine, newest first; slots in use, credits left."
RECORDED_ONLY = "List the jobs ordered from this machine, newest first, with their states and prices."
"""The same for an API that cannot list what is running."""
OF_THIS_SERVER = "List your running and earlier jobs on this server, newest first, with their states and costs."
"""The same where callers are elsewhere."""
_INPUT: schemas.Schema = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": DEFAULT_LIMIT},
    "state": STRING,
    "text": {"type": "string", "description": "In the prompt."},
    "since": {"type": "string", "description": "A date, UTC time, or age: 2h, 3d."},
    "before": {"type": "string", "description": "Likewise."},
}
_JOB: schemas.Schema = {
    **dict.fromkeys(("jobid", "state", "created", "prompt", "link", "continues"), STRING),
    **dict.fromkeys(("age_seconds", "elapsed_seconds", "credits_used"), NUMBER),
    "expected_seconds_left": array(NUMBER),
    "saved_files": array(STRING),
    "reason": STRING,
}
_OUTPUT: schemas.Schema = {
    "jobs": array({"type": "object", "properties": _JOB}),
    **dict.fromkeys(("total", "not_shown"), NUMBER),
    "accounts": array(OBJECT),
    **dict.fromkeys(("problem", "next_action", "next_step"), STRING),
    "simulated": BOOLEAN,
    "note": STRING,
}
# Bytes of a link, of a reason and of the paths of files in a list; `get_job` returns what is longer.
_MAX_LINK, _MAX_REASON, _MAX_FILES = 800, 200, 600
_MAX_ACCOUNTS = 5
_FILTERS = ("state", "text", "since", "before")


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    states = get_option(context.catalog, "state").values
    description = DESCRIPTION if FEATURES[context.catalog.api].list_running else RECORDED_ONLY
    saves = context.settings.has_local_files
    return build_tool(
        context,
        handle,
        name="list_jobs",
        title="List video jobs",
        description=description if saves else OF_THIS_SERVER,
        input_schema=schemas.input_object(_INPUT | {"state": {"type": "string", "enum": list(states)}}),
        output_schema=_output_schema(context.catalog, saves=saves),
        read_only=True,
    )


def _output_schema(catalog: Catalog, *, saves: bool) -> schemas.Schema:
    properties, job = dict(_OUTPUT), dict(_JOB)
    if not saves:
        del job["saved_files"]
    if catalog.prices:
        del job["credits_used"], properties["accounts"]
        job |= {"price": NUMBER, "charged": STRING}
        properties |= dict.fromkeys(("currency", "price_source", "price_date"), STRING)
    return schemas.output_object(properties | {"jobs": array({"type": "object", "properties": job})})


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any] | None) -> CallToolResult:  # noqa: ARG001
    """List the jobs."""
    service = context.require_service()
    parsed = parse_arguments(context.catalog, raw, ("limit", *_FILTERS))
    filters = {name: parsed.options[name] for name in _FILTERS if name in parsed.options}
    problems, suggestion = list(parsed.problems), parsed.options
    since, before = (parse_moment(filters.get(name, ""), service.now()) for name in ("since", "before"))
    if since and before and since >= before:
        expected = f"a time after since, which is {messages.format_time(since)}"
        problems.append(Problem("before", "out_of_range", filters["before"], expected=expected))
        suggestion = {name: value for name, value in suggestion.items() if name != "before"}
    if problems:
        raise InvalidArguments(problems, suggestion=suggestion)
    # It may have been sent as 5.0.
    limit = int(parsed.options.get("limit", DEFAULT_LIMIT))
    async with service.credits.refreshing():
        listing = await service.list_jobs(
            limit, filters.get("state"), text=filters.get("text"), since=since, before=before
        )
    for name, moment in (("since", since), ("before", before)):
        if moment:
            # Show the time as it was interpreted: `yesterday` is a day in UTC.
            filters[name] = format_iso(moment) or filters[name]
    rows: list[dict[str, Any]] = []
    for job in listing.jobs:
        row = await _build_job(context, service, job)
        rows.append(row)
    while True:
        content = _build_content(context, service, listing, rows, filters)
        text = messages.list_text(context.catalog, content)
        # A caller who asks for a longer list gets all of it; any other list is short enough for every host.
        if limit > DEFAULT_LIMIT or len(rows) < 2 or fits(text, content):
            return build_result(text, content, max_bytes=None if limit > DEFAULT_LIMIT else MAX_BYTES)
        rows.pop()


def _build_content(
    context: ServerContext,
    service: VideoService,
    listing: JobList,
    jobs: Sequence[dict[str, Any]],
    filters: Mapping[str, str],
) -> dict[str, Any]:
    """Build the structured content; `jobs`: those that are shown."""
    not_shown = listing.total - len(jobs)
    content: dict[str, Any] = {"jobs": list(jobs), "total": listing.total, "not_shown": not_shown or None}
    content["filters"] = {name: shorten(value, messages.MAX_PROMPT) for name, value in filters.items()} or None
    accounts: list[dict[str, Any]] = []
    for account in listing.accounts[:_MAX_ACCOUNTS]:
        row = {"email": account.email, "slots": account.concurrency, "in_use": account.executing}
        row["problem"] = account.error and shorten(account.error, _MAX_REASON)
        for known in credits_content(service.credits.get_known(account.email)):
            row |= {"credits_left": known["left"], "credits_limit": known["limit"]}
        accounts.append(without_none(row))
    if service.api.features.accounts:
        content["accounts"] = accounts
    content["accounts_not_shown"] = len(listing.accounts) - len(accounts) or None
    content |= messages.after_list(jobs, not_shown, listing.total, filters, saves=context.settings.has_local_files)
    if service.journal.refuses_orders and service.journal.problem:
        content["problem"] = messages.INCOMPLETE_LIST.format(problem=service.journal.problem)
    elif listing.problem:
        content["problem"] = (
            f"{messages.LOCAL_HISTORY} {messages.describe_error(listing.problem, 'list_jobs', context.provider)}"
        )
    notes: list[str] = []
    if any(job["state"] == "unknown" and "jobid" not in job for job in jobs):
        notes.append(messages.describe_unknown_jobs(context.provider))
    if any("price" in job for job in jobs):
        content |= {"currency": "USD", "price_source": context.catalog.price_source}
        content["price_date"] = context.catalog.price_date
        notes.append(messages.format_price_source(context.catalog))
    if context.settings.simulated:
        content["simulated"] = True
        notes.append(messages.SIMULATED)
    content["note"] = " ".join(notes) or None
    return without_none(content)


async def _build_job(context: ServerContext, service: VideoService, job: ListedJob) -> dict[str, Any]:
    params = job.request.to_dict() if job.request else {}
    age = (service.now() - job.created).total_seconds() if job.created else None
    content: dict[str, Any] = {
        "jobid": job.jobid,
        "state": job.state,
        "created": format_iso(job.created),
        "age_seconds": None if age is None else max(0, round(age)),
        # Of a job that was ordered elsewhere, the API lists only the model.
        "model": job.model,
        **{name: params[name] for name in context.catalog.choices if name in params},
        "prompt": shorten(params["prompt"], messages.MAX_PROMPT) if params else None,
        "account": job.account,
        "continues": job.continues,
        "elapsed_seconds": None if job.seconds is None else round(job.seconds, 1),
        "credits_used": job.credits,
        "reason": job.failure_reason and shorten(job.failure_reason, _MAX_REASON),
    }
    # A link that is older than links work would only look as if the video were lost.
    works = age is None or age < (context.provider.link_seconds or inf)
    if job.link and works and job.state == "completed" and len(job.link.encode(errors="replace")) <= _MAX_LINK:
        content["link"] = job.link
    files: list[str] = []
    saved = job.files if context.settings.has_local_files else ()
    for path in saved:
        if len("".join([*files, path]).encode(errors="replace")) <= _MAX_FILES:
            files.append(path)
    # Omit empty lists and false flags.
    content["saved_files"] = files or None
    content["files_not_shown"] = len(saved) - len(files) or None
    if context.catalog.prices and job.state in ("failed", "unknown"):
        content["charged"] = "no" if context.settings.simulated else job.charged or "unknown"
    if content.get("charged") != "no":
        content["price"] = context.catalog.price(params)
    if job.state == "running":
        content |= await _expect(service, job, age)
    return without_none(content)


async def _expect(service: VideoService, job: ListedJob, age: float | None) -> dict[str, Any]:
    """What can be expected of a running job, as far as that is known."""
    content: dict[str, Any] = {}
    expected = await service.expected_seconds(job.request)
    if expected and age is not None:
        if age > expected[1]:
            content["overdue_seconds"] = round(age - expected[1])
        else:
            content["expected_seconds_left"] = [max(0, round(seconds - age)) for seconds in expected]
    if job.request and (used := await service.expected_credits(job.request.to_dict())):
        content["expected_credits"] = list(used)
    return content
