"""`list_jobs` and `delete_job`: what they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luma_mcp.catalog.useapi import CHOICES
from luma_mcp.server.results import SIMULATED, answer, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp.types import CallToolResult

    from luma_mcp.api.protocol import Account
    from luma_mcp.service.jobs import Listed, Listing

UNKNOWN = (
    "Of an order that is unknown the answer was lost, and no job was found: it may have run, and been billed. "
    "Ask the user before ordering it again."
)


def result(listing: Listing, *, simulated: bool) -> CallToolResult:
    """The list as text and as structured content."""
    content: dict[str, Any] = {
        "jobs": [_job(job) for job in listing.jobs],
        "accounts": [_account(account) for account in listing.accounts],
    }
    notes = [UNKNOWN] if any(job.state == "unknown" and not job.jobid for job in listing.jobs) else []
    notes += [SIMULATED] if simulated else []
    if listing.problem:
        content["problem"] = listing.problem
    if notes:
        content["note"] = " ".join(notes)
    if any(job.jobid for job in listing.jobs):
        content["next_step"] = "Call get_job with a jobid for its video; delete_job frees the slot of a finished one."
    lines = [line for job in content["jobs"] for line in _lines(job)] or ["No jobs."]
    slots = [
        f"{a['email']}: {a.get('in_use', '?')} of {a.get('slots', '?')} slots in use"
        + (f" ({a['problem']})" if "problem" in a else "")
        for a in content["accounts"]
    ]
    told = [content[name] for name in ("problem", "note", "next_step") if name in content]
    return answer("\n".join([*lines, *slots, *told]), content)


def deleted(jobid: str, files: Sequence[str], *, was_there: bool) -> CallToolResult:
    """That a job is gone, and what stays of it; without `was_there`, it was gone before."""
    stays = (
        f"Its files stay: {', '.join(files)}."
        if files
        else "Its video was not saved on this machine; the links that were given out may stop working."
    )
    gone = "The job is deleted and its slot is free." if was_there else "The job was gone already, and holds no slot."
    note = f"{gone} {stays}"
    content = {"jobid": jobid, "deleted": True, "note": note} | ({"saved_files": list(files)} if files else {})
    return answer(note, content)


def _job(job: Listed) -> dict[str, Any]:
    words = job.request.words() if job.request else {}
    content = {
        "jobid": job.jobid,
        "state": job.state,
        "created": job.created.isoformat(timespec="seconds") if job.created else None,
        "prompt": words.get("prompt"),
        **{name: words.get(name) for name in CHOICES},
        "account": job.account,
        "elapsed_seconds": round(job.seconds, 1) if job.seconds is not None else None,
        "saved_files": list(job.files) or None,
        "reason": job.error,
        "deleted": job.deleted or None,
    }
    content["model"] = content["model"] or job.model
    return {name: value for name, value in content.items() if value is not None}


def _account(account: Account) -> dict[str, Any]:
    content = {
        "email": account.email,
        "slots": account.concurrency,
        "in_use": account.executing,
        "problem": account.error,
    }
    return {name: value for name, value in content.items() if value is not None}


def _lines(job: dict[str, Any]) -> list[str]:
    options = ", ".join(job[name] for name in CHOICES if name in job)
    options += f" on {job['account']}" if "account" in job else ""
    prompt = f": {shortened(job['prompt'])}" if "prompt" in job else ""
    ended = f" after {job['elapsed_seconds']:.0f} s" if "elapsed_seconds" in job else ""
    gone = ", deleted" if job.get("deleted") else ""
    lines = [f"- {job['state']}{ended}{gone}, {job.get('created', 'time unknown')}, {options}{prompt}"]
    lines += [f"  job: {job['jobid']}"] if "jobid" in job else []
    lines += [f"  failed: {job['reason']}"] if "reason" in job else []
    return lines + [f"  saved: {file}" for file in job.get("saved_files", ())]
