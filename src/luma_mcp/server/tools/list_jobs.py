"""`list_jobs`: the running jobs, and those ordered from this machine."""

from __future__ import annotations

from typing import Any

from luma_mcp.errors import InvalidArguments
from luma_mcp.server import messages, schemas
from luma_mcp.server.arguments import DEFAULT_LIMIT, STATES, parse_arguments
from luma_mcp.server.results import build_result, without_none
from luma_mcp.server.schemas import BOOLEAN, NUMBER, OBJECT, STRING, array
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool
from luma_mcp.service.jobs import MAX_LISTED, ListedJob

DESCRIPTION = "List running jobs and jobs ordered from this machine, newest first, and the slots in use. Free."
_INPUT: schemas.Schema = {
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_LISTED,
        "default": DEFAULT_LIMIT,
        "description": "Maximum number of jobs.",
    },
    "state": {"type": "string", "enum": list(STATES), "description": "unknown: its response was lost."},
}
_JOB: schemas.Schema = {
    **dict.fromkeys(("jobid", "state", "created", "prompt"), STRING),
    **dict.fromkeys(("elapsed_seconds", "credits_used"), NUMBER),
    "saved_files": array(STRING),
    "reason": STRING,
}
_OUTPUT: schemas.Schema = {
    "jobs": array({"type": "object", "properties": _JOB}),
    "accounts": array(OBJECT),
    **dict.fromkeys(("problem", "next_action", "next_step"), STRING),
    "simulated": BOOLEAN,
    "note": STRING,
}


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    return build_tool(
        context,
        handle,
        name="list_jobs",
        title="List video jobs",
        description=DESCRIPTION,
        input_schema=schemas.input_object(_INPUT),
        output_schema=schemas.output_object(_OUTPUT),
        read_only=True,
    )


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any] | None) -> CallToolResult:  # noqa: ARG001
    """List the jobs."""
    service = context.require_service()
    parsed = parse_arguments(context.catalog, raw, ("limit", "state"))
    if parsed.problems:
        raise InvalidArguments(parsed.problems, suggestion=parsed.options)
    # It may have been sent as 5.0.
    limit = int(parsed.options.get("limit", DEFAULT_LIMIT))
    listing = await service.list_jobs(limit=limit, state=parsed.options.get("state"))
    jobs = [_build_job(("prompt", *context.catalog.choices), job) for job in listing.jobs]
    accounts: list[dict[str, Any]] = []
    for account in listing.accounts:
        slots = {"slots": account.concurrency, "in_use": account.executing}
        accounts.append(without_none({"email": account.email, **slots, "problem": account.error}))
    content: dict[str, Any] = {"jobs": jobs, "accounts": accounts, "next_action": "none"}
    if any("jobid" in job for job in jobs):
        content["next_action"] = "get_job"
        content["next_step"] = messages.AFTER_LIST
    if listing.problem:
        content["problem"] = f"{messages.LOCAL_HISTORY} {messages.describe_error(listing.problem, 'list_jobs')}"
    notes: list[str] = []
    if any(job["state"] == "unknown" and "jobid" not in job for job in jobs):
        notes.append(messages.UNKNOWN_JOBS)
    if context.settings.simulated:
        content["simulated"] = True
        notes.append(messages.SIMULATED)
    if notes:
        content["note"] = " ".join(notes)
    return build_result(messages.list_text(context.catalog, content), content)


def _build_job(names: tuple[str, ...], job: ListedJob) -> dict[str, Any]:
    params = job.request.to_dict() if job.request else {}
    content: dict[str, Any] = {
        "jobid": job.jobid,
        "state": job.state,
        "created": job.created.isoformat(timespec="seconds") if job.created else None,
        # Of a job that was ordered elsewhere, the API lists only the model.
        "model": job.model,
        **{name: params[name] for name in names if name in params},
        "account": job.account,
        "elapsed_seconds": None if job.seconds is None else round(job.seconds, 1),
        "credits_used": job.credits,
        # Only what is worth a line: no empty list, and no "not deleted".
        "saved_files": list(job.files) or None,
        "reason": job.failure_reason,
    }
    return without_none(content)
