"""The wording of errors and results for people at a terminal, built from typed facts.

`server/messages.py` does the same for agents. People are given commands to type, never the names of tools.
"""

from __future__ import annotations

import shlex

from luma_mcp import errors
from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.errors import LumaError, format_alternative, format_problems
from luma_mcp.install.command import invocation

SIMULATED = "Simulated: nothing is generated or charged; the video is a stand-in clip."
SIMULATED_LINK = "The link stops working when this command ends. Pass --save to keep the clip."
# By how an order ended, where that needs a word.
OUTCOMES = {
    "duplicate": "No new video was ordered: this is the job you already have. --new-take makes another.",
    "recovered": "The answer to the order was lost, but its job was found. Nothing was ordered twice.",
}
UNKNOWN_ORDERS = (
    "unknown: the answer to the order was lost and its job was not found. It may have run, and may have been charged."
)
STOPPED = "Stopped."
FINISHING_ORDER = "Waiting for the answer to an order that is on its way. Press Ctrl-C again to stop at once."
# For the errors whose next step depends on nothing but their kind.
_NEXT_STEPS: dict[errors.Kind, str] = {
    "not_configured": "Check that USEAPI_TOKEN is complete and current. {run} doctor checks the whole setup.",
    "unauthorized": "Check that USEAPI_TOKEN is complete and current. {run} doctor checks the whole setup.",
    "payment_required": "Renew the subscription or add credits, then run the command again.",
    "conflict": "Wait until the job has finished.",
    "moderated": "Change the prompt or the image.",
    "journal_unavailable": "{run} doctor shows how to fix it. LUMA_MCP_JOURNAL_REQUIRED=0 orders without it.",
    "limit_reached": "LUMA_MCP_MAX_JOBS_PER_HOUR sets this limit.",
    "network": "Check the connection, then try again. {run} doctor finds out what is wrong.",
    "upstream": "Try again later. {run} jobs shows what was ordered.",
}
_CHARGED = {
    "no": "Nothing was charged.",
    "yes": "The order itself succeeded, so it is charged.",
    "unknown": "Whether anything was charged is not known.",
}


def missing_token(*, or_simulate: bool = False) -> str:
    """What to do where no API token is set."""
    alternative = ", or add --simulate to try without one" if or_simulate else ""
    return f"USEAPI_TOKEN is not set. Get an API token at https://useapi.net and set it in this terminal{alternative}."


def journal_warning(problem: str) -> str:
    """That orders are not recorded where other processes see them, and why."""
    return (
        f"Warning: the record of orders cannot be used ({problem}), so the same video may be ordered twice. "
        f"{invocation()} doctor shows how to fix it."
    )


def refresh_command(email: str | None) -> str:
    """The command that renews a Luma account's session."""
    # The address comes from the API, and somebody will paste this into a shell.
    return f"{invocation()} accounts refresh {shlex.quote(email) if email else 'EMAIL'}"


def describe_error(error: LumaError) -> str:
    """What went wrong, what happened to the money, and what to do next; up to three short lines."""
    lines = [error.summary()]
    if isinstance(error, errors.InvalidArguments):
        lines = format_problems(error.problems) or lines
    if error.api_message:
        lines.append(f'The API says: "{error.api_message}".')
    if error.charged:
        lines.append(_CHARGED[error.charged])
    if step := _next_step(error):
        lines.append(step)
    # An invalid argument has the id of another job, which is in the next step.
    if error.jobid and not isinstance(error, errors.InvalidArguments):
        lines.append(f"Job: {error.jobid}")
    return "\n".join(lines)


def _next_step(error: LumaError) -> str:  # noqa: C901, PLR0911, PLR0912 - a case per class
    match error:
        case errors.InvalidArguments(retry="later", jobid=str(jobid)):
            return f"Wait for it with: {invocation()} get {shlex.quote(jobid)}\nThen run this command again."
        case errors.InvalidArguments(retry="later"):
            return "Try again in a moment."
        case errors.InvalidArguments(suggestion=suggestion) if suggestion:
            options = ""
            for name, value in suggestion.items():
                # The prompt and the images are the caller's own.
                if name in USEAPI.choices or name == "email":
                    options += f" --{name.replace('_', '-')} {shlex.quote(str(value))}"
            others = "".join(f"\nOr: {format_alternative(way)}" for way in error.alternatives)
            return f"This would work:{options}{others}"
        case errors.NotFound(what="job", saved_files=files) if files:
            return f"Its files are here: {', '.join(files)}"
        case errors.NotFound(what="job"):
            return f"Check the job's id with: {invocation()} jobs"
        case errors.NotFound(what="account" | "any_account"):
            return f"Configured accounts: {invocation()} accounts"
        case errors.NotFound():
            return "Uploaded images are kept for 30 days. Pass the image itself, and check --email."
        case errors.Capacity(running=running) if running:
            return f"Try again when one of these has finished: {', '.join(map(str, running))}"
        case errors.Capacity():
            return "Try again when a running job has finished."
        case errors.AccountSession():
            return f"Waiting does not help. Renew the session with: {refresh_command(error.email)}"
        case errors.OutcomeUnknown():
            lost = "It was not sent again, so that nothing is charged twice."
            if error.candidates:
                lost += f" It may be one of these running jobs: {', '.join(error.candidates)}"
            if error.retry == "later" and not error.candidates:
                return f"{lost} Run the command again in two minutes: it finds the job, or orders if there is none."
            return f"{lost} Check {invocation()} jobs first; --new-take orders it again."
        case _:
            return _NEXT_STEPS.get(error.kind, "").format(run=invocation())


def job_not_lost(jobid: str | None) -> str:
    """What becomes of the job of a command that ends early."""
    if jobid is None:
        return f"Check whether anything was ordered with: {invocation()} jobs"
    return f"The job continues. Wait for it with: {invocation()} get {shlex.quote(jobid)}"
