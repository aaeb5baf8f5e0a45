"""The wording of errors and results for people at a terminal, built from typed facts.

`server/messages.py` does the same for agents. People are given commands to type, never the names of tools.
"""

from __future__ import annotations

import shlex

from luma_mcp import errors
from luma_mcp.errors import LumaError, OutcomeUnknown, format_problem
from luma_mcp.install.command import invocation

SIMULATED = "Simulated: nothing is generated or charged; the video is a stand-in clip."
SIMULATED_LINK = "The link stops working when this command ends. Pass --save to keep the clip."
SAME_JOB = "An identical job is already running, so nothing new was ordered. --new-take orders another one."
RECOVERED_JOB = "The answer to the order was lost, but its job was found. Nothing was ordered twice."
UNKNOWN_ORDERS = (
    "unknown: the answer to the order was lost and its job was not found. It may have run, and may have been charged."
)
FINISHING_ORDER = "Waiting for the answer to an order that is on its way. Press Ctrl-C again to stop at once."
# For the errors whose next step depends on nothing but their kind.
_NEXT_STEPS: dict[errors.Kind, str] = {
    "not_configured": "Check that USEAPI_TOKEN is complete and current. {run} doctor checks the whole setup.",
    "unauthorized": "Check that USEAPI_TOKEN is complete and current. {run} doctor checks the whole setup.",
    "payment_required": "Renew the subscription or add credits, then run the command again.",
    "conflict": "Wait until the job has finished.",
    "moderated": "Change the prompt or the image.",
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


def refresh_command(email: str | None) -> str:
    """The command that renews a Luma account's session."""
    # The address comes from the API, and somebody will paste this into a shell.
    return f"{invocation()} accounts refresh {shlex.quote(email) if email else 'EMAIL'}"


def describe_error(error: LumaError) -> str:
    """What went wrong, what happened to the money, and what to do next; up to three short lines."""
    lines = [error.summary()]
    if isinstance(error, errors.InvalidArguments):
        lines = [format_problem(problem) for problem in error.problems] or lines
    if error.api_message:
        lines.append(f'The API says: "{error.api_message}".')
    if error.charged:
        lines.append(_CHARGED[error.charged])
    if step := _next_step(error):
        lines.append(step)
    if error.jobid and not error.after_order:
        lines.append(f"Job: {error.jobid}")
    return "\n".join(lines)


def _next_step(error: LumaError) -> str:
    match error:
        case errors.InvalidArguments():
            return _suggest(error)
        case errors.NotFound():
            return _after_not_found(error)
        case errors.Capacity():
            return _after_capacity(error)
        case errors.AccountSession():
            return f"Waiting does not help. Renew the session with: {refresh_command(error.email)}"
        case OutcomeUnknown():
            running = ""
            if error.candidates:
                running = f" It may be one of these running jobs: {', '.join(error.candidates)}"
            lost = f"It was not sent again, so that nothing is charged twice.{running}"
            return f"{lost} Check {invocation()} jobs first; --new-take orders it again."
        case _:
            return _NEXT_STEPS.get(error.kind, "").format(run=invocation())


def _suggest(error: errors.InvalidArguments) -> str:
    """The options of the closest valid request; the prompt and the images are the caller's own."""
    if not error.suggestion:
        return ""
    options: list[str] = []
    for name, value in error.suggestion.items():
        if name not in ("prompt", "image_start", "image_end", "image_character"):
            options.append(f"--{name.replace('_', '-')} {shlex.quote(str(value))}")
    return f"This would work: {' '.join(options)}"


def _after_not_found(error: errors.NotFound) -> str:
    if error.what == "job":
        if error.saved_files:
            return f"Its files are here: {', '.join(error.saved_files)}"
        return f"Check the job's id with: {invocation()} jobs"
    if error.what in ("account", "any_account"):
        return f"Configured accounts: {invocation()} accounts"
    return "Uploaded images are kept for 30 days. Pass the image itself, and check --email."


def _after_capacity(error: errors.Capacity) -> str:
    shown: list[str] = []
    for job in error.running:
        # Only jobs that were ordered from this machine have a prompt.
        prompt = f" ({job.prompt})" if job.prompt else ""
        shown.append(f"{job.jobid}{prompt}")
    if not shown:
        return "Try again when a running job has finished."
    return f"Try again when one of these has finished: {', '.join(shown)}"


def job_not_lost(jobid: str | None) -> str:
    """What becomes of the job of a command that ends early."""
    if jobid is None:
        return f"Check whether anything was ordered with: {invocation()} jobs"
    return f"The job continues. Wait for it with: {invocation()} get {shlex.quote(jobid)}"
