"""The wording of errors and results for people at a terminal, built from typed facts.

`server/messages.py` does the same for agents. People are given commands to type, never the names of tools.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from operator import itemgetter

from luma_mcp import errors
from luma_mcp.api.protocol import FEATURES, Job
from luma_mcp.catalog import get_catalog
from luma_mcp.errors import LumaError, format_alternative, format_problems
from luma_mcp.install.command import OBSTORE, PROMETHEUS, PSYCOPG, PYAV, PYJWT, invocation, package_command
from luma_mcp.install.entry import NAME
from luma_mcp.journal.protocol import Order
from luma_mcp.providers import BY_VARIABLE, PROVIDERS, Provider, summarize_error
from luma_mcp.service.jobs import ListedJob
from luma_mcp.settings import Settings
from luma_mcp.text import shorten

SIMULATED = "Simulated: nothing is generated or charged; the video is a stand-in clip."
SIMULATED_LINK = "The link stops working when this command ends. Pass --save to keep the clip."
# By the outcome of an order, where it needs an explanation.
OUTCOMES = {
    "duplicate": "No new video was ordered: this is the job you already have. --new-take makes another.",
    "recovered": "The answer to the order was lost, but its job was found. Nothing was ordered twice.",
}
RESUMED_OUTCOMES = {**OUTCOMES, "duplicate": "was ordered before"}
UNKNOWN_ORDERS = (
    "unknown: the answer to the order was lost and its job was not found. It may have run, and may have been charged."
)
DELETION = "Links to a deleted video may stop working, and it cannot be undone. Saved files stay."
ONE_FILE = "--output names one file, but there are several videos. Name a folder: end it with a slash."
SAME_REASON = "Not ordered, and not charged, for the same reason."
UNPRICED = (
    "Warning: LUMA_MCP_BUDGET_PER_DAY could not be checked: what this video costs is not known yet, because none has "
    "been completed here."
)
STOPPED = "Stopped."
USAGE_NEEDS_JOURNAL = "There is no record of orders: LUMA_MCP_JOURNAL=off turns it off."
NO_USAGE = "Nothing was ordered."
# What is known of a take of a film, by its state.
TAKE_STATES = {
    "saved": "saved",
    "completed": "made, not saved yet",
    "running": "is being made",
    "failed": "has failed and is ordered again",
    "lost": "may have been ordered: the answer was lost",
    "missing": "to order",
    "not looked up": "to order, unless it was made before",
}
FILM_BUSY = "Another process is making this film. Wait until it has ended."
FILM_NEEDS_YES = "The question whether to order needs a terminal. Pass --yes to order without it."
FILM_NEEDS_JOURNAL = (
    "A film needs the record of orders, to continue after an interruption without ordering anything twice, and "
    "LUMA_MCP_JOURNAL=off turns it off."
)
FILM_WAS_JOINED = "A film of exactly these clips was saved before."
NOTHING_ORDERED = "Nothing was ordered."
NOT_LOOKED_UP = "Without a credential, pictures are not read, and what was made before is not known."
FINISHING_ORDER = "Waiting for the answer to an order that is on its way. Press Ctrl-C again to stop at once."
_BUDGET = "LUMA_MCP_BUDGET_PER_DAY sets this budget."
# For the errors whose next step depends on nothing but their kind.
_NEXT_STEPS: dict[errors.Kind, str] = {
    "not_configured": "Check that {variable} is complete and current. {run} doctor checks the whole setup.",
    "unauthorized": "Check that {variable} is complete and current. {run} doctor checks the whole setup.",
    "access_denied": "Check the account at {console} and, if the video is to be HDR, its access to that.",
    "conflict": "Wait until the job has finished.",
    "moderated": "Change the prompt or the image.",
    "journal_unavailable": "{run} doctor shows how to fix it. LUMA_MCP_JOURNAL_REQUIRED=0 orders without it.",
    "limit_reached": "LUMA_MCP_MAX_JOBS_PER_HOUR sets this limit.",
    "budget_reached": _BUDGET,
    "network": "Check the connection, then try again. {run} doctor finds out what is wrong.",
    "upstream": "Try again later. {run} jobs shows what was ordered.",
}
_CHARGED = {
    "no": "Nothing was charged.",
    "yes": "The order itself succeeded, so it is charged.",
    "unknown": "Whether anything was charged is not known.",
}


def missing_token(settings: Settings, *, or_simulate: bool = False) -> str:
    """What to do where no credential is set."""
    provider = settings.provider
    offered = [provider] if settings.is_api_stated else list(PROVIDERS.values())
    sources = " or ".join(f"an {each.noun} at {each.console}" for each in offered)
    alternative = ", or add --simulate to try without one" if or_simulate else ""
    if settings.unused:
        alternative = f", or unset LUMA_MCP_API{alternative}"
    problem = f"{provider.variable} is not set."
    if settings.unused or len(offered) > 1:
        others = BY_VARIABLE.keys() - {provider.variable}
        problem = errors.NotConfigured(provider.variable, unused=settings.unused, instead=tuple(others)).summary()
    return f"{problem} Get {sources} and set it in this terminal{alternative}."


def choice_of_api(settings: Settings) -> str:
    """Which API is used if the credentials of several are set, and what to do if that is the wrong one."""
    provider = settings.provider
    if settings.token is None:
        return errors.NotConfigured(provider.variable, unused=settings.unused).summary()
    other = BY_VARIABLE[settings.unused or provider.variable]
    both = f"{provider.variable} and {other.variable} are both set, so {provider.title} is used."
    return f"{both} LUMA_MCP_API={other.name} selects {other.title}."


def other_option(option: str, provider: Provider, other: Provider) -> str:
    """That an option is one of another API."""
    return (
        f"{option} is an option of {other.title}, but {provider.title} is used. LUMA_MCP_API={other.name} changes that."
    )


def not_a_keyframe(value: str) -> str:
    """That a text is no image with a time."""
    return f'"{shorten(value, 60)}" is not IMAGE@SECONDS, such as photo.jpg@2.5.'


def not_supported(what: str, provider: Provider) -> str:
    """That an API does not offer what a command does."""
    return f"{provider.title} {what} (LUMA_MCP_API={provider.name})."


def http_snippets(url: str, token: str) -> str:
    """How apps are given the URL and the token of `serve --http`."""
    header = f"Authorization: Bearer {token}"
    entry = {"url": url, "headers": {"Authorization": f"Bearer {token}"}}
    return f"""
Every request needs the token. Whoever has it can spend your credits.

Claude Code:
  claude mcp add --transport http {NAME} {url} --header {shlex.quote(header)}

Cursor, in mcp.json under "mcpServers":
  "{NAME}": {json.dumps(entry)}

VS Code, in mcp.json under "servers":
  "{NAME}": {json.dumps({"type": "http"} | entry)}
"""


def journal_warning(problem: str, *, refuses_orders: bool) -> str:
    """That orders are not recorded where other processes see them, and why."""
    if refuses_orders:
        return (
            f"Warning: the record of orders cannot be used ({problem}), so nothing new is ordered. "
            f"{invocation()} doctor shows how to fix it."
        )
    return (
        f"Warning: the record of orders cannot be used ({problem}), so the same video may be ordered twice. "
        f"{invocation()} doctor shows how to fix it."
    )


def refresh_command(email: str | None) -> str:
    """The command that renews a Luma account's session."""
    # Quoted, because the address comes from the API, and the command is pasted into a shell.
    return f"{invocation()} accounts refresh {shlex.quote(email) if email else 'EMAIL'}"


def describe_error(error: LumaError, provider: Provider, *, is_film: bool = False) -> str:
    """What went wrong, what happened to the money, and what to do next; up to three short lines.

    `is_film`: for the command `film`, which is simply run again.
    """
    lines = [summarize_error(error, provider)]
    if isinstance(error, errors.InvalidArguments):
        lines = format_problems(error.problems) or lines
    if error.api_message:
        lines.append(f'The API says: "{error.api_message}".')
    if isinstance(error, errors.JobFailed) and error.charged == "no" and error.credits_used is None:
        lines.append("According to Luma's documentation, such a failure is not charged.")
    elif error.charged:
        lines.append(_CHARGED[error.charged])
    if step := _next_step(error, provider, is_film=is_film):
        lines.append(step)
    # An invalid argument has the id of another job, which is in the next step.
    if error.jobid and not isinstance(error, errors.InvalidArguments):
        lines.append(f"Job: {error.jobid}")
    return "\n".join(lines)


def _next_step(error: LumaError, provider: Provider, *, is_film: bool) -> str:  # noqa: C901, PLR0911, PLR0912 - a case per class
    match error:
        case errors.InvalidArguments(problems=problems) if any(p.remedy == "install_film" for p in problems):
            return f"Install PyAV with: {package_command(PYAV)}\nThen run this command again."
        case errors.InvalidArguments(retry="later", jobid=str(jobid)):
            return f"Wait for it with: {invocation()} get {shlex.quote(jobid)}\nThen run this command again."
        case errors.InvalidArguments(retry="later"):
            return "Try again in a moment."
        case errors.JournalUnavailable() if is_film or error.is_database:
            return f"{invocation()} doctor shows how to fix it."
        case errors.BudgetReached(suggestion=suggestion, suggestion_price=float(price)) if suggestion and not is_film:
            options = _format_options(suggestion, provider)
            return f"This fits now and costs {errors.format_amount(price, error.unit)}:{options}\n{_BUDGET}"
        case errors.InvalidArguments(suggestion=suggestion) if suggestion:
            options = _format_options(suggestion, provider)
            others = "".join(f"\nOr: {format_alternative(way)}" for way in error.alternatives)
            return f"This would work:{options}{others}"
        case errors.NotFound(what="job", saved_files=files) if files:
            return f"Its files are here: {', '.join(files)}"
        case errors.NotFound(what="job", record=errors.RecordedJob() as record):
            ends = {
                "running": "It was running when it was last seen",
                "completed": "It was completed",
                "failed": "It failed",
                "unknown": "How it ended is not known",
            }
            ordered = f'It was ordered at {record.ordered_at.astimezone():%Y-%m-%d %H:%M}: "{record.prompt}".'
            link = f" Its last link, which may have stopped working: {record.link}" if record.link else ""
            return f"{ordered} {ends[record.state]}.{link}"
        case errors.NotFound(what="job"):
            return f"Check the job's id with: {invocation()} jobs"
        case errors.NotFound(what="account" | "any_account"):
            return f"Configured accounts: {invocation()} accounts"
        case errors.NotFound(what="address"):
            return f"Correct LUMA_MCP_BASE_URL, or unset it: {provider.title} is at {provider.base_url} then."
        case errors.NotFound():
            if provider.asset_days:
                kept = f"Uploaded images are kept for {provider.asset_days} days."
                return f"{kept} Pass the image itself, and check --email."
            return f"Pass the image itself instead of the {provider.asset}."
        case errors.PaymentRequired():
            if provider.unit == "dollars":
                return f"Add credits at {provider.console}, then run the command again."
            return "Renew the subscription or add credits, then run the command again."
        case errors.NotConfigured(unused=str()):
            return f"Set {error.setting} in this terminal, or unset LUMA_MCP_API."
        case errors.Capacity(running=running) if running:
            return f"Try again when one of these has finished: {', '.join(map(str, running))}"
        case errors.Capacity():
            return "Try again when a running job has finished."
        case errors.AccountSession():
            return f"Waiting does not help. Renew the session with: {refresh_command(error.email)}"
        case errors.OutcomeUnknown():
            lost = "It was not sent again, so that nothing is charged twice."
            again = "--order-lost" if is_film else "--new-take"
            if not FEATURES[provider.name].list_running:
                return f"{lost} See at {provider.console} whether it was ordered; {again} orders it again."
            if error.candidates:
                lost += f" It may be one of these running jobs: {', '.join(error.candidates)}"
            if error.retry == "later" and not error.candidates and not is_film:
                return f"{lost} Run the command again in two minutes: it finds the job, or orders if there is none."
            return f"{lost} Check {invocation()} jobs first; {again} orders it again."
        case _:
            return _NEXT_STEPS.get(error.kind, "").format(
                run=invocation(), variable=provider.variable, console=provider.console
            )


def _format_options(suggestion: Mapping[str, object], provider: Provider) -> str:
    """The options of a suggestion. The prompt and the images are the caller's own."""
    choices = get_catalog(provider.name).choices
    options = ""
    for name, value in suggestion.items():
        option = f"--{name.replace('_', '-')}"
        if name in choices or name == "email":
            options += f" {option} {shlex.quote(str(value))}"
        elif value is True:
            options += f" {option}"
    return options


def job_not_lost(jobids: Sequence[str], options: str = "", *, is_running: bool = True) -> str:
    """What becomes of jobs whose command ends, and the command that gets them, with its options."""
    command = f"{invocation()} get {shlex.join(jobids)}{options}"
    if not is_running:
        return f"Try it again with: {command}"
    if len(jobids) == 1:
        return f"The job continues. Wait for it with: {command}"
    return f"{len(jobids)} jobs continue. Wait for them with: {command}"


def check_orders() -> str:
    """That an order may have been placed whose answer nobody waited for."""
    return f"Check whether anything was ordered with: {invocation()} jobs"


def not_ordered(numbers: Sequence[int], count: int) -> str:
    """Which of several prompts were not ordered. They are ordered one after another, so these are the last ones."""
    which = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    return f"Not ordered, and not charged: {which} of {count} prompts."


def repeated_prompt(number: int, earlier: int) -> str:
    """That a prompt is not ordered a second time."""
    return f"Prompt {number} is the same as prompt {earlier} and is ordered once. --new-take makes a video of each."


def unquoted_prompt(prompt: str) -> str:
    """Why several arguments of which one has no space are rejected."""
    return (
        f'Each argument is a prompt of its own, and "{shorten(prompt, 40)}" is a single one without a space. '
        "Put quotes around each prompt. Nothing was ordered."
    )


def wrong_ending(ending: str) -> str:
    """Why a name for the file is rejected."""
    return f"--output ends in {ending}, but the video is an .mp4 file. To name a folder, end it with a slash."


def format_cost(used: float | None, provider: Provider) -> str:
    """What a video has cost: `20 credits`, or by the price list `$0.30`."""
    if used is None:
        return "price not known" if provider.unit == "dollars" else "credits not known"
    return errors.format_amount(used, provider.unit)


def format_listed_price(job: ListedJob, price: float | None, provider: Provider) -> str | None:
    """What a job of a list costs by the price list, and whether that was charged; None where there is no price list."""
    if job.charged == "no":
        return "not charged"
    if price is None:
        return None
    cost = format_cost(price, provider)
    return f"{cost}, whether it was charged is not known" if job.state in ("failed", "unknown") else cost


def summarize(made: int, count: int, used: Sequence[float | None], provider: Provider, *, simulated: bool) -> str:
    """How many of several videos were made, and what the finished jobs have cost."""
    known = [each for each in used if each is not None]
    text = f"{sum(known):g} {'simulated ' * simulated}credits used"
    nothing, unknown = "No credits were used now", "How many credits were used is not known"
    verb = "used"
    if provider.unit == "dollars":
        total = errors.format_amount(sum(known), provider.unit)
        text = f"{total} by {get_catalog(provider.name).price_source}{' (simulated, not charged)' * simulated}"
        nothing, unknown, verb = "Nothing was charged now", "What was charged is not known", "cost"
    if not used:
        # Everything was rejected, or ordered by an earlier command.
        text = nothing
    elif not known:
        text = unknown
    elif len(known) < len(used):
        text = f"{text}; what {len(used) - len(known)} of the orders {verb} is not known"
    text += "."
    return text if count == 1 else f"{made} of {count} videos made. {text}"


def describe_overdue(job: Job) -> str:
    """That a job may never end."""
    reason = "This is far longer than usual, and it may never end."
    if not job.has_known_status:
        reason = "This program does not know that status: the job may have ended, or may never end."
    if job.outage:
        reason = f"Since then it could not be looked up, for {job.outage.seconds / 60:.0f} min: {job.outage.error}"
    return f'There is no video. Luma reported the job as "{job.status}". {reason} Whether it is charged is not known.'


def describe_deletion(jobid: str, order: Order | None) -> str:
    """Which job would be deleted."""
    if order is None:
        return f"{jobid} (not ordered from this machine)"
    return f"{shorten(order.request.prompt, 60)}: {jobid}"


def saved_copy(jobid: str, files: Sequence[str]) -> str:
    """Whether the video of a job that would be deleted is saved on this machine."""
    if files:
        return f"    saved: {', '.join(files)}"
    return f"    not saved on this machine; to save it: {invocation()} get {shlex.quote(jobid)} --save"


def deleted(jobid: str, *, was_known: bool) -> str:
    """That a job was deleted."""
    return f"Deleted: {jobid}" if was_known else f"Luma did not have it any more: {jobid}"


def journal_unreadable(problem: str) -> str:
    """That the record of orders cannot be read. `problem`: why, as a clause."""
    return f"The record of orders cannot be read: {problem}."


def owner_of(credential: str) -> str:
    """Name the owner of a credential, by the credential's id."""
    return f"owner of {credential}"


def unpriced_usage(count: int) -> str:
    """That the costs lack some orders."""
    orders = "1 order" if count == 1 else f"{count} orders"
    return f"Not in the costs: {orders} of which it is not known."


def not_a_time(option: str, value: str) -> str:
    """That an option's value is no time."""
    expected = "a date (2026-11-21), a time (2026-11-21T18:30), yesterday, or an age such as 2h"
    return f'{option} takes {expected}, not "{value}".'


def more_jobs(not_shown: int, total: int) -> str:
    """How many jobs a list leaves out."""
    return f"{not_shown} more of {total} are not shown: raise --limit, or narrow it with --text, --since or --before."


def describe_film(title: str, shots: int, seconds: float) -> str:
    """What a film is going to be."""
    return f"{title}: {shots} shots, about {seconds:g} s"


def describe_shot(
    *, continues: int | None, images: Sequence[str], crossfade: float | None, takes: int, keep: int
) -> list[str]:
    """How a shot is made and how it follows the one before it; no line if there is nothing to say.

    `images`: the parameters of its pictures. `crossfade`: the seconds of the one that leads to it.
    """
    parts: list[str] = []
    if continues:
        parts.append(f"begins with the last frame of shot {continues}")
    if images:
        parts.append(f"with {errors.join(images, 'and')}")
    if crossfade:
        parts.append(f"crossfade of {crossfade:g} s")
    if takes > 1:
        parts.append(f"{takes} takes, of which take {keep} goes into the film")
    return list(filter(None, ["; ".join(parts)]))


def resized_shots(numbers: Sequence[int]) -> str:
    """That some shots of a film are not as large as the first one."""
    return f"{_list_shots(numbers)} scaled to the size of shot 1, with black bars where the shape differs."


def format_price(price: tuple[float, float] | None, provider: Provider) -> str:
    """What something costs at least and at most: `$0.30`, or `20 to 30 credits`."""
    if price is None:
        return format_cost(None, provider)
    if price[0] == price[1]:
        return format_cost(price[0], provider)
    return f"{price[0]:.12g} to {errors.format_amount(price[1], provider.unit)}"


def summarize_plan(
    *,
    made: int,
    running: int,
    lost: int,
    not_looked_up: int,
    prices: Sequence[tuple[float, float] | None],
    provider: Provider,
) -> list[str]:
    """What there is of a film, and what the rest costs. `prices`: of each video that is going to be ordered."""
    lines: list[str] = []
    if made or running:
        lines.append(f"Made before: {made}. Being made: {running}.")
    if lost:
        lines.append(
            f"May have been ordered, but the answer was lost: {lost}. These are not ordered again unless you pass "
            "--order-lost."
        )
    if not prices:
        return [*lines, "There is nothing to order."]
    known = list(filter(None, prices))
    total = (sum(map(itemgetter(0), known)), sum(map(itemgetter(1), known)))
    basis = "by what such videos have used here"
    if provider.unit == "dollars":
        basis = f"by {get_catalog(provider.name).price_source}"
    cost = f"{format_price(total, provider)} {basis}"
    if not known:
        cost = format_cost(None, provider)
    elif len(known) < len(prices):
        cost = f"{cost}, and {len(prices) - len(known)} of which the price is not known"
    lines.append(f"To order: {_count_videos(len(prices))}: {cost}.")
    if not_looked_up:
        lines.append(NOT_LOOKED_UP)
    return lines


def ask_for_film(count: int) -> str:
    """The question before a film's orders."""
    return f"Order {_count_videos(count)}?"


def film_needs_pyav() -> str:
    """What to do where the clips of a film cannot be joined."""
    return f"Joining clips needs PyAV. Install it with: {package_command(PYAV)}"


_NEEDED_PACKAGES = {
    "psycopg": ("LUMA_MCP_JOURNAL names a PostgreSQL database, which", "psycopg", PSYCOPG),
    "obstore": ("LUMA_MCP_STORE names a store for videos, which", "obstore", OBSTORE),
    "jwt": ("LUMA_MCP_OAUTH_ISSUER", "PyJWT", PYJWT),
    "prometheus_client": ("LUMA_MCP_METRICS_ADDRESS", "prometheus-client", PROMETHEUS),
}
"""By its module, a package that only one setting needs: what needs it, its name, and what is installed."""


def missing_package(module: str) -> str:
    """That a setting needs another package, by its module."""
    setting, name, requirement = _NEEDED_PACKAGES[module]
    return f"{setting} needs {name}. Install it with: {package_command(requirement)}"


def unusable_store(problem: Exception) -> str:
    """Why the store of the settings cannot be used."""
    return (
        f"LUMA_MCP_STORE cannot be used: {problem}. It takes s3://, gs://, az:// and file:// URLs, and the credentials "
        "are in the environment variables of that store."
    )


def film_needs_journal(problem: str) -> str:
    """Why a film cannot be made where the record of orders is not in use."""
    return (
        f"The record of orders cannot be used ({problem}), so this command could not continue after an interruption "
        f"without ordering anything twice. {invocation()} doctor shows how to fix it."
    )


def no_frame(number: int) -> str:
    """Why a shot that continues another one was not ordered."""
    return f"Not ordered, and not charged: shot {number}, which it continues, is not there."


def film_stopped(running: int) -> str:
    """What becomes of a film whose command Ctrl-C has ended."""
    jobs = ""
    if running == 1:
        jobs = " One job continues at Luma."
    elif running:
        jobs = f" {running} jobs continue at Luma."
    return f"{STOPPED}{jobs} Run the same command again to go on: it orders only what was not ordered."


def film_incomplete(numbers: Sequence[int]) -> str:
    """Why a film is not joined."""
    return (
        f"The film is not joined: {_list_shots(numbers).lower()} missing. The other clips are saved. Run the "
        "same command again: it makes only what is missing."
    )


def film_saved(seconds: float, size: tuple[int, int], *, is_reencoded: bool, has_lost_sound: bool) -> str:
    """What the finished film is."""
    how = "The clips were joined without a loss."
    if is_reencoded:
        how = "The clips were encoded again to join them."
    if has_lost_sound:
        how += " Their sound is not in it."
    return f"The film lasts {seconds:.1f} s and has {size[0]} x {size[1]} pixels. {how}"


def not_text(path: str) -> str:
    """That a file is no text."""
    return f"{path} is not text in UTF-8."


def unreadable_file(path: str, error: OSError) -> str:
    """That a file cannot be read."""
    return f"{path} cannot be read ({error.strerror})."


def joining(count: int, share: float | None = None) -> str:
    """That the clips of a film are being joined, and how far that is."""
    text = f"Joining {count} clips"
    if share is not None:
        text += f", {share:.0%}"
    return text


def _list_shots(numbers: Sequence[int]) -> str:
    """List shots as the subject of a sentence, with its verb."""
    listed = errors.join(list(map(str, numbers)), "and")
    if len(numbers) == 1:
        return f"Shot {listed} is"
    return f"Shots {listed} are"


def _count_videos(count: int) -> str:
    return f"{count} video{'s' * (count != 1)}"
