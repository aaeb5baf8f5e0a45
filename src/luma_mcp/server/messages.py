"""All text about errors, jobs and lists that agents read, built from typed facts.

These texts name the next tool to call, and never a command to run. The texts for people at a terminal are in
`cli/messages.py`, those about progress in `server/progress.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from luma_mcp import errors
from luma_mcp.api.protocol import FEATURES, Job, Outage, VideoRequest
from luma_mcp.catalog import tables
from luma_mcp.catalog.models import Catalog, Output
from luma_mcp.errors import Charged, LumaError, format_problem
from luma_mcp.providers import BY_VARIABLE, PROVIDERS, Provider, summarize_error
from luma_mcp.service import FEWEST_VIDEOS, MAX_LISTED, MOST_VIDEOS, UNKNOWN_FOR
from luma_mcp.text import shorten

if TYPE_CHECKING:
    from luma_mcp.media.clips import ContactSheet
    from luma_mcp.service.credits import AccountCredits
    from luma_mcp.service.downloads import SavedFiles
    from luma_mcp.service.films import Film
    from luma_mcp.service.stored_files import StoredFiles, StoreProblem
    from luma_mcp.service.submit import Outcome


# The one thing to do next, for programs; `next_step` says the same as text.
NextAction = Literal[
    "get_job", "fix_arguments", "fix_setup", "order_later", "ask_user", "list_jobs", "join_videos", "none"
]

# Enough to recognize a prompt by.
MAX_PROMPT = 120
# Characters of a reason that the API gives, and of a link beside other things.
MAX_REASON, MAX_LINK = 300, 1000
# Bytes for the line that says that others were left out.
FIT_MARGIN = 100
# Problems that an error describes, and jobs and files that it names; the others are counted.
MAX_PROBLEMS, MAX_NAMED = 8, 5

# For lines on stdin that are no message, by what is wrong with them.
LINE_NOT_JSON = "This line is not valid JSON in UTF-8, or is nested too deeply, so nothing was done."
LINE_NO_REQUEST = "This line is not a JSON-RPC 2.0 request, notification or response, so nothing was done."
LINE_TOO_LONG = "This line is too long, so nothing was done."
NOT_CONFIRMED = (
    "The user was asked and did not agree, so nothing was ordered or charged. Do not order it again on your own; ask "
    "the user what they would like instead."
)
LONG_NAME = "{key} is longer than anything that exists: it has more than {limit} characters."
UNAUTHORIZED = "This server needs the bearer token that it printed at its start: Authorization: Bearer …\n"
# Bodies of refused HTTP requests. They never repeat what was sent.
CREDENTIAL_MISSING = "This server orders with your own {noun} from {site}: send it in the header {header}.\n"
CREDENTIAL_UNUSABLE = "The header {header} must hold one complete {noun} ({example}), without commas, and once only.\n"
CREDENTIAL_OF_ANOTHER_API = "This server uses {title} alone: send your {noun} in the header {header}, and no other.\n"
URL_WITH_CREDENTIAL = (
    "Tokens and keys in the URL are not accepted, because URLs end up in logs: send a header instead.\n"
)
NOT_SIGNED_IN = "This server needs an access token of its identity provider: Authorization: Bearer …\n"
SIGN_IN_REFUSED = "The access token is not accepted: {reason}.\n"
SCOPE_MISSING = "The access token does not have the scope that this needs: {scopes}.\n"
USER_NOT_ALLOWED = "The operator of this server has not given you access to it.\n"
PROVIDER_UNREACHABLE = "The identity provider cannot be reached, so no token can be checked. Try again in a minute.\n"
SIMULATED = "Simulated: nothing was generated or charged, and the video is a stand-in clip."
STORED = "The link leads to this server's storage and works for up to 7 days; get_job gives a new one."
# By `StoreProblem`.
NOT_STORED: Mapping[StoreProblem, str] = {
    "failed": "A file could not be copied into this server's storage, so its link is the API's; get_job tries again.",
    "unfinished": "A file is not in this server's storage yet, so its link is the API's; get_job gives the other one.",
    "no_links": "The files are also in this server's storage, which makes no links: these are the API's.",
}
NO_FRAMES = "The record has no usable link to the EXR frames (yet): get_job may find it later."
LONG_LINK = "The video is ready. Its link is too long for this result: call get_job with this jobid alone for it."
LINKS_EXPIRE = "Links may expire, so save what you want to keep."
LINKS_EXPIRE_IN = "Links work for {}; get_job gives new ones. Save what you want to keep."
HOSTED_LINKS_EXPIRE = "Links may expire; get_job gives new ones. Download what you want to keep."
HOSTED_LINKS_EXPIRE_IN = "Links work for {}; get_job gives new ones. Download what you want to keep."
NOT_AWAITED = (
    "This call did not wait: this server lets {} of your calls wait at the same time. Wait a minute before the next "
    "one."
)
# First line of the text, by the outcome of an order, where it needs an explanation.
OUTCOMES: Mapping[Outcome, str] = {
    "duplicate": "No new video was ordered: this is the job you already have. new_take=true makes another.",
    "recovered": "The response to the order was lost, but its job was found: the only running job with this model, "
    "account and time. Nothing was ordered twice. Check that the video shows what was ordered.",
}
UNKNOWN_JOBS = (
    "A job in the state unknown is an order whose response was lost and whose job was not found. It may have run and "
    "been charged. Ask the user before you order it again."
)
NO_PRICE = "What this video costs is not known here."
UNPRICED_WARNING = (
    "What this video costs is not known yet, because none of yours has been completed here, so the budget of this "
    "server's owner (LUMA_MCP_BUDGET_PER_DAY) could not be checked. It counts as soon as its cost is known. "
    "Tell the user."
)
# Seconds beyond the usual time after which the user is asked how to go on.
OVERDUE_AFTER = 600.0
USUAL_TIME = "{} usually takes {:.0f} to {:.0f} s"
LOCAL_HISTORY = "Could not fetch running jobs; showing local history."
INCOMPLETE_LIST = (
    "The record of orders cannot be used at present ({problem}), so jobs may be missing from this list. Call list_jobs "
    "again in a minute."
)
NO_CREDITS_USED = "What a video costs is not known yet: none of yours has been completed here."
NO_SUCH_CREDITS_USED = "What a video with these options costs is not known yet: none of yours has been completed here."
NO_CREDITS_KNOWN = "not known yet, because no such video of yours has been completed here"
CHOSEN = {"earlier_clip": "as in the clip that it continues", "picture": "nearest to the picture's shape"}
_LINKS = {"exr_zip_url": "EXR frames: {}", "thumbnail_url": "Thumbnail: {}", "last_frame_url": "Last frame: {}"}
_LONGER = "It extends the video of job {}: one clip with both"
_NOT_TWICE = "To order another one anyway, pass new_take true, but ask the user first."
_CHECK_AT = (
    "Ask the user to look at {console} whether the video is there or was charged, before anything is ordered again: "
    "until {minutes:.0f} minutes after it was sent, the same order is refused. If it is not there, and they want it, "
    "pass new_take true."
)
_TELL_OPERATOR = "tell the user that the operator of this server must fix it."
_OPERATOR_SETTINGS = "the operator of this server must fix its settings."
_OPERATOR_ACCOUNT = "the operator of this server must look after its account; waiting does not help."
_OPERATOR_CHECK = (
    "Tell the user that only the operator of this server can see at {console} whether the video is there or was "
    "charged. Until {minutes:.0f} minutes after it was sent, the same order is refused. If it is not there, and they "
    "want it, pass new_take true."
)
_REPEAT_CALL = (
    "Ask the user whether to repeat it: if its job has run meanwhile, a repeat is charged as well. Then wait two "
    "minutes and call generate_video again with the same arguments: it returns the job if one is running, and else "
    "orders the video."
)
JOURNAL_WARNING = (
    "The record of orders cannot be used at present ({problem}). Until it can, the same video may be charged twice if "
    "another chat or server orders it. Tell the user."
)
_FIX_JOURNAL = "Ask the user to fix it (the command doctor shows how)."
_OR_NOT_REQUIRED = ", or to unset LUMA_MCP_JOURNAL_REQUIRED."
REFUSING_JOURNAL_WARNING = (
    "The record of orders cannot be used at present ({problem}). Until it can, nothing new is ordered; what was "
    "ordered goes on. Tell the user."
)

PANEL_IS_OPEN = "The panel for a picture is open in the chat. Nothing was ordered or charged."
WAIT_FOR_PICTURE = (
    "The user adds a picture there, and their next message names it: wait for that message. There is nothing to poll."
)
PICTURE_RECEIVING = "{} bytes of the picture have arrived."
PICTURE_PREVIEW = "The picture can be read. It is not uploaded yet."
PICTURE_DISCARDED = "Nothing of the picture is kept."
FREE = "Free: nothing was ordered."
EXPECTED_VIDEOS = (
    f"a list of {FEWEST_VIDEOS} to {MOST_VIDEOS} jobids, or paths of saved files, in the order of the film"
)
FILM_WITHOUT_SOUND = "The sound of the videos was left out."
_FILM_ENCODING = {
    False: "The videos are as they were: nothing was encoded again.",
    True: "The videos were encoded again to join them.",
}
_SHEET = "The picture shows {frames}, at {times} s."
_NO_SHEET = "There is no contact sheet: the video {problem}."
_IMAGE_STEPS: Mapping[errors.ImageRemedy, str] = {
    "wait_for_job": "Call get_job with {call} to wait for it, and then {again}.",
    "try_later": "Try again in a moment.",
    "other_job": "Pass a picture, or the jobid of a completed video; list_jobs shows them.",
    "other_image": "Ask the user for another picture or a working link.",
    "panel": (
        "Ask the user for another picture or a working link; or call add_picture, with which they add one in the chat."
    ),
    "other_clip": (
        "Pass the jobid of another completed video, which list_jobs shows. A completed one can also be image_start: "
        "then the new clip begins with its last frame."
    ),
    "other_video": "Pass the jobid of a completed video, which list_jobs shows, or the absolute path of a saved one.",
    "same_range": (
        "Pass another video; or, if the user wants that, order it once more with the dynamic_range of the others, "
        "which is charged."
    ),
    "install_film": (
        'Ask the user to install PyAV beside this server (its extra "film"), or use another picture or video.'
    ),
}

_ADD_AGAIN = "If you do not have it, call add_picture, with which the user adds it again."

PAYING_TOOLS = ("generate_video", "upload_picture")
"""The tools whose errors say what happened to the money."""
# How to make the same call again.
_REPEAT: Mapping[str, NextAction] = {
    "generate_video": "order_later",
    "get_job": "get_job",
    "list_jobs": "list_jobs",
    "join_videos": "join_videos",
}


@dataclass(slots=True)
class ResultContext:
    """What a result contains besides the job."""

    # How this call's order ended (`SubmitResult.outcome`); None where it ordered nothing.
    outcome: Outcome | None = None
    # What was done to which image.
    image_changes: Mapping[str, str] = field(default_factory=dict)
    # Whether files are wanted (None: as when the job was ordered), and what became of that.
    save: bool | None = None
    saved: SavedFiles | None = None
    # What became of the copies in the server's store; None where there is no store.
    stored: StoredFiles | None = None
    # The seconds between which jobs of this kind usually end.
    expected: tuple[float, float] | None = None
    # The credits that such jobs have used here, and what the accounts have left; both empty if not known. None: the
    # accounts are the operator's, so that what they have left is not shown.
    expected_credits: tuple[float, float] | None = None
    credits_left: Sequence[AccountCredits] | None = ()
    # Whether the client shows the player beside the result.
    shows_player: bool = False
    # Until when, by the event loop's clock, the caller certainly still accepts the result.
    deadline: float = float("inf")
    # Why options that were left out have their values, by `ChoiceReason`; the clip that is continued; the sizes of
    # images whose shape is not the video's.
    chosen: Mapping[str, str] = field(default_factory=dict)
    continues: str | None = None
    misfits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    # Why the record of orders is not in use, None if it is; and whether nothing is ordered meanwhile.
    journal_problem: str | None = None
    journal_refuses: bool = False
    # Whether the owner's budget could not be checked, because nothing shows what the video costs.
    is_unpriced: bool = False
    # How many calls of the tenant may wait at the same time, if that is why this one did not.
    most_waits: int | None = None
    # How many frames a contact sheet of the video is to show; the sheet, or else a clause about the video.
    frames: int | None = None
    sheet: ContactSheet | None = None
    sheet_problem: str | None = None


def explain_error(error: LumaError, tool: str, provider: Provider) -> tuple[str, NextAction, str]:
    """What went wrong in a call of the tool and what happened to the money; the next step, for programs and as text."""
    action, step = _advise_on_hosted(error, tool, provider) or _advise(error, tool, provider)
    sentences: list[str] = []
    call = _format_call(error.jobid)
    if error.after_order:
        # `charged` is "no" only where an identical order was running, so that nothing new was ordered.
        is_new = error.charged != "no"
        ordered = "The video was ordered" if is_new else "An identical order is already running"
        sentences.append(f"{ordered}, but following its job failed.")
        follow = f"The job continues: call get_job with {call}, and do not order it again."
        # The same setting would keep get_job from working.
        step = f"{step} {follow}" if action == "fix_setup" else follow
        action = "get_job"
    # The job of an identical order could not be fetched. An invalid argument is about the job that an image names.
    elif error.jobid and tool == "generate_video" and not isinstance(error, errors.JobFailed | errors.InvalidArguments):
        sentences.append("An identical order was placed before, and nothing was ordered now.")
        action, step = "get_job", f"Call get_job with {call}. {_NOT_TWICE}"
    elif tool == "get_job" and action == "fix_setup" and error.jobid:
        step = f"{step} {_describe_unaffected(error)} Call get_job with {call} afterwards."
    sentences.append(_summarize(error, provider))
    # The summary of a failed job has the API's reason and the credits already.
    if not isinstance(error, errors.JobFailed):
        if error.api_message:
            sentences.append(f'The API says: "{error.api_message}".')
        if isinstance(error, errors.Capacity | errors.Upstream) and error.retry_after:
            sentences.append(f"The API asks to wait {ceil(error.retry_after)} s.")
        if error.charged == "no" and tool in PAYING_TOOLS:
            sentences.append("Nothing was charged.")
    if error.takes_left:
        others = "The other take was" if error.takes_left == 1 else f"The other {error.takes_left} takes were"
        sentences.append(f"{others} not ordered.")
    # A missing job is described in the summary.
    if tool == "get_job" and not isinstance(error, errors.NotFound):
        sentences += _describe_record(error)
    return " ".join(sentences), action, step


def describe_error(error: LumaError, tool: str, provider: Provider) -> str:
    """What went wrong in a call of the tool, what happened to the money, and the one thing to do next."""
    message, _, step = explain_error(error, tool, provider)
    return f"{message} {step}".rstrip()


def _summarize(error: LumaError, provider: Provider) -> str:  # noqa: C901, PLR0911, PLR0912 - a case per class
    """What happened, including the facts that `summary` leaves out."""
    match error:
        case errors.OutcomeUnknown():
            summary = f"{error.summary()} It was not sent again, so that nothing is charged twice."
            if error.age is not None:
                # That was an earlier call.
                answer = f"was answered with a failure ({error.status})" if error.status else "its response was lost"
                if not FEATURES[provider.name].list_running:
                    # With such an API, the answer may also have been a failure.
                    answer = "no answer showed whether a job was started"
                summary = (
                    f"An identical order was sent {_format_minutes(error.age)} ago and {answer}, so a job may be "
                    "running and charged. Nothing was ordered now."
                )
            if error.candidates is None and not FEATURES[provider.name].list_running:
                return (
                    f"{summary} {provider.title} cannot list jobs, so nothing here can find out whether there is one."
                )
            if error.candidates is None:
                return f"{summary} Running jobs could not be looked up."
            if not error.candidates and provider.managed_by == "operator":
                return f"{summary} Its job was not found."
            if not error.candidates:
                return f"{summary} No matching running job was found."
            return f"{summary} It may be one of these running jobs: {_format_some(error.candidates)}."
        case errors.InvalidArguments() if len(error.problems) > MAX_PROBLEMS:
            sentences = [format_problem(problem) for problem in tuple(error.problems)[:MAX_PROBLEMS]]
            return f"{' '.join(sentences)} There are {len(error.problems) - MAX_PROBLEMS} more problems."
        case errors.JobFailed(credits_used=used):
            reason, money = "the API gives no reason", "Whether it used credits is not known."
            if provider.unit == "dollars":
                money = "Whether it was charged is not known."
            if error.charged == "no" and used is None:
                money = "According to Luma's documentation, such a failure is not charged."
            if error.api_message:
                reason = f'the API says: "{shorten(error.api_message, MAX_REASON)}"'
            if used is not None:
                money = f"It used {used:g} credits."
            return f"The video was not made; {reason}. {money}"
        case errors.LimitReached():
            return _describe_limit(error)
        case errors.BudgetReached():
            return _describe_budget(error)
        case errors.Capacity() if not FEATURES[provider.name].list_running:
            summary = summarize_error(error, provider)
            if not error.running:
                return summary
            running = _format_some(error.running, error.more_running)
            return f"{summary} Of those that you ordered here, these are running: {running}."
        case errors.Capacity():
            summary = error.summary()
            if error.slots and (error.in_use or 0) < error.slots:
                summary = f"No slot is free, although only {error.in_use} of {error.slots} are counted as in use."
            elif error.slots:
                summary = f"No slot is free: {error.in_use} of {error.slots} are in use."
            if not error.running:
                return summary
            whose = "Of your jobs, these" if provider.managed_by == "operator" else "These jobs"
            return f"{summary} {whose} are running: {_format_some(error.running, error.more_running)}."
        case errors.NotFound(what="job"):
            return _describe_missing_job(error)
        case _:
            return summarize_error(error, provider)


def _describe_limit(error: errors.LimitReached) -> str:
    """What the hourly limit leaves, and when there is room."""
    scope = "per hour"
    if not error.is_shared:
        scope = "per hour, counted for this server process alone, because it has no shared record of orders"
    which, reached = "The next video", "has been reached"
    if error.orders > 1:
        which, reached = f"All {error.orders} videos", f"has room for {error.room} of these {error.orders} videos now"
    limit = f"The hourly limit set by this server's owner {reached} ({error.limit} {scope})."
    if error.next_at is None:
        return limit
    # Agents rarely know the time of day, so the minutes are named as well.
    time = f"{format_time(error.next_at)}, in {_format_minutes(error.retry_after or 0)}"
    return f"{limit} {which} can be ordered at {time}."


def _describe_budget(error: errors.BudgetReached) -> str:
    """What the budget leaves, and when there is room."""
    summary = error.summary()
    if error.retry_after:
        summary += f" That is in {_format_span(error.retry_after)}."
    if error.orders > 1:
        summary += f" There is room for {error.room} of the {error.orders} now."
    return summary


def _describe_missing_job(error: errors.NotFound) -> str:
    """What is known of a job that the API does not know, or no longer."""
    summary = error.summary()
    if error.record:
        summary = "The job was deleted." if error.deleted else "Luma no longer has this job."
    return " ".join([summary, *_describe_record(error)])


def _describe_record(error: LumaError) -> list[str]:
    """What this machine knows of a job that could not be looked up: sentences."""
    sentences: list[str] = []
    if record := error.record:
        ends = {
            "running": "When it was last seen, it was running.",
            "completed": "It was completed.",
            "failed": "It failed.",
            "unknown": "How it ended is not known.",
        }
        when = f"{format_time(record.ordered_at)}, {_format_span(record.age)} ago"
        prompt = shorten(record.prompt, MAX_PROMPT)
        sentences.append(f'The job was ordered from here at {when}: "{prompt}". {ends[record.state]}')
        if record.ready_by:
            sentences.append(f"Such videos are usually ready by {record.ready_by:%H:%M} UTC.")
    if error.saved_files:
        sentences.append(f"Its saved files are still here: {_format_some(error.saved_files)}.")
    if error.record and error.record.link and len(error.record.link) <= MAX_LINK:
        which = "Its last link, which may have stopped working"
        if error.record.is_stored:
            which = "Its video is still in this server's storage"
        sentences.append(f"{which}: {error.record.link}")
    return sentences


def _describe_unaffected(error: LumaError) -> str:
    """That a failed look-up does not stop the job."""
    is_listed = not (isinstance(error, errors.Upstream) and error.fault == "not_listed")
    if error.record and error.record.state == "running" and is_listed:
        return "The job continues whatever happens here."
    if error.record and error.record.state in ("completed", "failed"):
        return ""
    return "Nothing that happens here stops the job."


def describe_outage(outage: Outage) -> str:
    """Why the state of a job is not known at present."""
    problem = f"The job could not be looked up in the last {_format_span(outage.seconds)}."
    if isinstance(outage.error, errors.NotFound):
        # The job was seen before, so this is a lagging replica.
        return f"{problem} {errors.Upstream('not_listed').summary()}"
    return f"{problem} {outage.error.summary()} The job continues."


def _advise_on_hosted(  # noqa: C901, PLR0911, PLR0912 - a case per class
    error: LumaError, tool: str, provider: Provider
) -> tuple[NextAction, str] | None:
    """What a user of a server for many can do after an error that its operator, or the caller, must end.

    None if it is as on the user's own machine.
    """
    is_shared = provider.managed_by == "operator"
    match error:
        case errors.JournalUnavailable(is_look_up=True):
            return _REPEAT.get(tool, "none"), "Nothing was spent. Try again in a minute."
        case errors.NotFound(what="job", unasked=True):
            return "list_jobs", "Pass it exactly as generate_video returned it; list_jobs shows your jobs."
        case _ if provider.managed_by == "user":
            return None
        case errors.Unauthorized() if not is_shared:
            return "fix_setup", f"Ask the user to check the {provider.noun} that their app sends to this server."
        case errors.JournalUnavailable():
            return "order_later", f"Try again in a few minutes. If that does not help, {_TELL_OPERATOR}"
        case errors.NotConfigured() | errors.NotFound(what="address"):
            return "fix_setup", f"Tell the user: {_OPERATOR_SETTINGS}"
        case errors.NetworkError(stage="unsendable" | "tls" | "proxy"):
            return "fix_setup", f"Tell the user: {_OPERATOR_SETTINGS}"
        case _ if not is_shared:
            return None
        case (
            errors.AccountSession() | errors.Unauthorized() | errors.PaymentRequired() | errors.AccessDenied(hdr=False)
        ):
            return "fix_setup", f"Tell the user: {_OPERATOR_ACCOUNT}"
        case errors.NotFound(what="any_account"):
            return "fix_setup", f"Tell the user: {_OPERATOR_ACCOUNT}"
        case errors.AccessDenied():
            return "ask_user", f"Ask the user whether SDR will do. Otherwise: {_OPERATOR_ACCOUNT}"
        case errors.Capacity():
            return "order_later", "Others order with the same account. Order again in a minute or two."
        case errors.OutcomeUnknown() if not FEATURES[provider.name].list_running:
            minutes = UNKNOWN_FOR / timedelta(minutes=1)
            return "ask_user", _OPERATOR_CHECK.format(console=provider.console, minutes=minutes)
        case _:
            return None


def _advise(error: LumaError, tool: str, provider: Provider) -> tuple[NextAction, str]:  # noqa: C901, PLR0911, PLR0912 - a case per class
    """What to do after an error, leaving aside what was ordered before it."""
    match error:
        case errors.InvalidArguments(retry="later", jobid=str(jobid)):
            return "get_job", f"Call get_job with {_format_call(jobid)} to wait for it, and then {_name_repeat(tool)}."
        case errors.InvalidArguments(retry="later") if tool == "generate_video":
            return "order_later", "Try again in a moment."
        case errors.DownloadError(folder_unusable=True):
            return "fix_setup", "Ask the user to fix that, or to set another folder as LUMA_MCP_OUTPUT_DIR."
        case errors.InvalidArguments() if error.retry != "later":
            return "fix_arguments", _advise_correction(error, tool)
        case errors.Moderated():
            # A page uploads pictures alone.
            changed = "the picture" if tool == "upload_picture" else "the prompt or the image"
            return "fix_arguments", f"Change {changed}."
        case errors.JobFailed(retry="later"):
            return "order_later", (
                "The same order may succeed: order it again in a minute, if the user wants that. It is a new job, and "
                "charged if it succeeds."
            )
        case errors.JobFailed(charged="no", credits_used=None):
            return "fix_arguments", (
                "Change the prompt or the options before you order it again: every order is a new job, and charged if "
                "it succeeds."
            )
        case errors.JobFailed():
            return "fix_arguments", "Change the prompt or the options first: every order is a new, charged job."
        case errors.NotConfigured(unused=str()):
            return "fix_setup", (
                f"Ask the user to set {error.setting} in this server's environment, in the host's configuration, or to "
                "unset LUMA_MCP_API there."
            )
        case errors.NotConfigured(setting=provider.variable):
            others = ""
            for other in map(BY_VARIABLE.__getitem__, error.instead):
                others += f"; or an {other.noun} at {other.console}, as {other.variable}"
            return "fix_setup", (
                f"Ask the user to get an {provider.noun} at {provider.console} and to set it as {provider.variable} in "
                f"this server's environment, in the host's configuration{others}. list_options works without it."
            )
        case errors.NotConfigured():
            return "fix_setup", "Ask the user to set it in this server's environment."
        case errors.Unauthorized():
            return "fix_setup", f"Ask the user to check that {provider.variable} is complete and current."
        case errors.PaymentRequired():
            if provider.unit == "dollars":
                return "fix_setup", f"Ask the user to add credits at {provider.console}."
            return "fix_setup", "Ask the user to renew the subscription or to add credits."
        case errors.AccountSession(all_accounts=True):
            return "fix_setup", f"Waiting does not help: ask the user to renew a session at {provider.title}."
        case errors.AccountSession():
            return "fix_setup", (
                f"Waiting does not help: ask the user to renew it at {provider.title}, or pass email to use another "
                "account."
            )
        case errors.Forbidden():
            return "none", "Only the token that ordered the job can be used for it."
        case errors.AccessDenied(hdr=True):
            return "ask_user", (
                "Ask the user whether SDR will do, or else to check the account and its access to HDR at "
                f"{provider.console}."
            )
        case errors.AccessDenied():
            return "fix_setup", f"Ask the user to check the account at {provider.console}."
        case errors.NotFound(deleted=True):
            return "none", ""
        case errors.NotFound(record=errors.RecordedJob(state="unknown")):
            return "ask_user", "Its video was not fetched while Luma had it. Ask the user before you order it again."
        case errors.NotFound(record=errors.RecordedJob()):
            return "none", "Tell the user. Order it again only if they ask for that."
        case errors.NotFound(what="job"):
            reasons = "The jobid is wrong, or the record has expired."
            if not FEATURES[provider.name].accounts:
                reasons = f"The jobid is wrong or of another {provider.short_noun}, or Luma has removed the record."
            return "list_jobs", (
                f"{reasons} Pass it exactly as generate_video returned it; list_jobs shows the known jobs."
            )
        case errors.NotFound(what="any_account"):
            return "fix_setup", f"Ask the user to add a Luma account at {provider.title}."
        case errors.NotFound(what="address"):
            return "fix_setup", (
                f"Ask the user to check LUMA_MCP_BASE_URL: {provider.title} is at {provider.base_url} if it is not set."
            )
        case errors.NotFound(what="account"):
            return "fix_arguments", "Leave email out to use any account."
        case errors.NotFound():
            return "fix_arguments", _advise_on_missing_image(error, provider)
        case errors.Conflict(reason="just_finished"):
            return "list_jobs", "Call list_jobs to see how it ended. Order again only if the user wants another one."
        case errors.Conflict():
            # Nothing stops a running job.
            return "get_job", "Call get_job to wait until it has finished."
        case errors.Capacity():
            return _advise_on_capacity(error, provider)
        case errors.LimitReached():
            return _advise_on_limit(error)
        case errors.BudgetReached():
            return _advise_on_budget(error)
        case errors.OutcomeUnknown(retry="later") if not error.candidates:
            return "order_later", _REPEAT_CALL
        case errors.OutcomeUnknown():
            if error.candidates:
                return "ask_user", f"Check them with get_job. {_NOT_TWICE}"
            if not FEATURES[provider.name].list_running:
                return "ask_user", _CHECK_AT.format(
                    console=provider.console, minutes=UNKNOWN_FOR / timedelta(minutes=1)
                )
            return "ask_user", f"Call list_jobs later to see what became of it. {_NOT_TWICE}"
        case errors.JournalUnavailable():
            return "fix_setup", _FIX_JOURNAL if error.is_database else f"{_FIX_JOURNAL[:-1]}{_OR_NOT_REQUIRED}"
        case errors.NetworkError(stage="unsendable" | "tls" | "proxy"):
            return "fix_setup", (
                "Ask the user to check LUMA_MCP_BASE_URL and the proxy and certificate settings of this server's "
                "environment (HTTPS_PROXY, SSL_CERT_FILE)."
            )
        case errors.NetworkError(jobid=str(jobid)) | errors.Upstream(jobid=str(jobid)) if tool == "get_job":
            step = f"{_describe_unaffected(error)} Call get_job with {_format_call(jobid)} in a minute."
            return "get_job", step.lstrip()
        case errors.Upstream(fault="internal") if tool == "generate_video":
            return "list_jobs", "Call list_jobs to see whether anything was ordered."
        case _:
            return _REPEAT.get(tool, "none"), "Try again in a moment."


def _advise_on_missing_image(error: errors.NotFound, provider: Provider) -> str:
    advice = f"Pass the image itself instead of the {provider.asset}."
    if days := provider.asset_days:
        advice = (
            f"An {provider.asset} expires {days} days after its upload: pass the image itself instead, and check email."
        )
    return f"{advice} {_ADD_AGAIN}" if error.has_panel else advice


def _advise_on_capacity(error: errors.Capacity, provider: Provider) -> tuple[NextAction, str]:
    """What to do about an order while too many jobs are running."""
    if error.deletable:
        deletable = ", ".join(map(str, error.deletable))
        return "ask_user", (
            "More slots are in use than jobs are running, so finished jobs may hold some. Ask the user whether "
            f"delete_job may delete one of these, whose links then stop working: {deletable}."
        )
    if error.running:
        call = _format_call(error.running[0].jobid)
        if error.seconds is None:
            return "get_job", (
                f"When a slot becomes free is not known: call get_job with {call} to see how this job stands, "
                "and order again later."
            )
        # The first one is expected to finish next. One that takes longer than expected has no seconds left.
        when = f", in about {error.seconds:.0f} s" if error.seconds >= 1 else ""
        return (
            "get_job",
            f"Wait for the job that should finish next{when}: call get_job with {call}. Then order again.",
        )
    if not FEATURES[provider.name].list_running:
        return "order_later", "Order again when a running job has finished: try it in a minute or two."
    return "order_later", "Order again when a running job has finished, which takes 30 s to 3 minutes."


def _advise_on_limit(error: errors.LimitReached) -> tuple[NextAction, str]:
    """What to do about an order that the hourly limit does not allow."""
    if error.room:
        return "ask_user", f"Ask the user whether to order {error.room} now, with takes {error.room}, or to wait."
    if error.next_at is None:
        return "ask_user", f"Ask the user whether fewer videos will do: at most {error.limit} an hour are allowed."
    return "order_later", "Tell the user, and do not order before then."


def _advise_on_budget(error: errors.BudgetReached) -> tuple[NextAction, str]:
    """What to do about an order that the budget does not allow."""
    if error.room:
        return (
            "ask_user",
            f"Ask the user whether to order {error.room} now, with takes {error.room}, or cheaper videos.",
        )
    if error.suggestion and error.suggestion_price is not None:
        price = errors.format_amount(error.suggestion_price, error.unit)
        step = f"Ask the user whether to make the suggestion instead, which costs {price} and fits into the budget now"
        if error.next_at:
            step += ", or to order this later"
        return "ask_user", f"{step}."
    if error.next_at is None:
        return "ask_user", "Ask the user for a cheaper video: list_options shows what there is."
    return "order_later", "Tell the user, and do not order before then."


def _advise_correction(error: errors.InvalidArguments, tool: str) -> str:
    """How to correct arguments, beyond what the sentences about the problems say."""
    sentences: list[str] = []
    if error.suggestion:
        changes: list[str] = []
        for problem in error.problems:
            if problem.field in error.suggestion:
                changes.append(f'{problem.field} "{shorten(str(error.suggestion[problem.field]), MAX_PROMPT)}"')
            elif problem.code == "conflict":
                changes.append(f"no {problem.field}")
        difference = f", which has {errors.join(changes, 'and')}" if changes else ""
        sentences.append(f"Call {tool} with the suggestion{difference}.")
    # Many images can have the same one.
    steps = [image_step(problem, tool) for problem in error.problems]
    sentences += dict.fromkeys(filter(None, steps))
    if error.alternatives:
        ways = "; or ".join(map(errors.format_alternative, error.alternatives))
        sentences.append(f"Also possible, if the user prefers it: {ways}.")
    if not (error.problems or error.suggestion):
        sentences.append("Change what the API objects to, and order again.")
    # Two images can have the same problem.
    return " ".join(dict.fromkeys(sentences))


def image_step(problem: errors.Problem, tool: str) -> str | None:
    """What to do about an image or a video that cannot be used by a tool; None for other problems."""
    if problem.remedy is None:
        return None
    if problem.code == "needs_pyav":
        return 'Ask the user to install PyAV beside this server (its extra "film").'
    return _IMAGE_STEPS[problem.remedy].format(call=_format_call(problem.jobid), again=_name_repeat(tool))


def _name_repeat(tool: str) -> str:
    """What a repeat of a call is, as an instruction."""
    return "order again" if tool == "generate_video" else f"call {tool} again"


def error_text(content: Mapping[str, Any], tool: str, warnings: Sequence[str] = ()) -> str:
    """The whole text of an error, from its structured content."""
    lines = [f"{content['message']} {content.get('next_step', '')}".rstrip()]
    if "suggestion" in content:
        lines.append(f"This would work: {tool} {json.dumps(content['suggestion'], ensure_ascii=False)}")
    # An invalid argument has the jobid of an earlier video, which is in its next step.
    if "jobid" in content and "problems" not in content:
        lines.append(f"Job: {content['jobid']}")
    lines += map("Warning: {}".format, warnings)
    return "\n".join(lines)


def choose_next_step(
    job: Job, result_context: ResultContext, elapsed: float | None, provider: Provider
) -> tuple[NextAction, str | None]:
    """The one thing to do next with a job that has not failed, for programs and as text; None if there is nothing.

    `elapsed`: seconds since it was ordered.
    """
    saved = result_context.saved
    if job.state == "completed" and job.files.video and not (saved and (saved.unfinished or saved.is_link_dead)):
        return "none", None
    call = _format_call(job.jobid, save=bool(result_context.save), frames=result_context.frames)
    usual = result_context.expected
    if job.outage:
        return "get_job", f"Call get_job with {call} in a minute. Do not order it again."
    if job.state == "running" and usual and elapsed and elapsed > usual[1] + OVERDUE_AFTER:
        return "ask_user", (
            f"It may be stuck. Ask the user whether to wait longer (call get_job with {call}) or to order another take "
            f"(new_take=true), which is charged as well. {_name_support(provider)} can look into the job."
        )
    # The player polls by itself; an agent that waits too would only keep its user waiting.
    if job.state == "running" and result_context.shows_player:
        return "none", (
            "The player in the chat shows the progress and then the video, and tells you when it is ready: do not "
            f"wait. Only if you need the video to continue, call get_job with {call}."
        )
    if job.state == "running":
        step = f"Call get_job with {call} to wait for the video."
        if result_context.outcome != "duplicate":
            step += " Do not order it again."
    elif saved and saved.unfinished:
        step = f"Call get_job with {call} to continue the download."
    else:
        step = (
            f"Call get_job with {call} in a minute; if it still gives no link that works, tell the user. Another "
            "order would be charged again."
        )
    return "get_job", step


def _name_support(provider: Provider) -> str:
    """Name who can look into a job, at the beginning of a sentence."""
    return "The operator of this server" if provider.managed_by == "operator" else provider.support


def job_headline(
    job: Job, *, elapsed: float | None = None, expected: Sequence[float] | None = None, saved: SavedFiles | None = None
) -> str:
    """What state a job is in that has not failed. Times in seconds."""
    if job.state == "completed":
        if job.files.video is None:
            return "The job is completed, but its record has no usable link to the video."
        if saved and saved.is_link_dead:
            return f"The job is completed, but the link to its video does not work: {job.files.video.url}"
        return f"The video is ready: {job.files.video.url}"
    if job.outage:
        return f"{describe_outage(job.outage)} Its last known status is {job.status}. Job: {job.jobid}"
    details = f"status {job.status}"
    if not job.has_known_status:
        details += ", which the API does not document,"
    if elapsed is not None:
        details += f" after {elapsed:.0f} s"
    if elapsed and expected and elapsed > expected[1]:
        late = elapsed - expected[1]
        details += f"; that is {_format_span(late)} more than such videos usually take"
        return f"The video is not ready yet ({details}). Job: {job.jobid}"
    if expected is not None:
        resolution = job.request and job.request.resolution
        details += f"; {USUAL_TIME.format(resolution or 'a video', *expected)}"
    doing = "is being made" if job.has_known_status else "is not ready yet"
    return f"The video {doing} ({details}). Job: {job.jobid}"


def job_text(job: Job, content: Mapping[str, Any], provider: Provider) -> str:
    """The whole text of a result about a job. `content`: the structured content of the same result."""
    lines = [content.get("message") or job_headline(job)]
    if "error" in content:
        lines = [error_text(content["error"], "get_job")]

    if "notice" in content:
        lines.insert(0, content["notice"])
    # The local file comes before the links: it does not expire.
    lines += map("Saved: {}".format, content.get("saved_files", ()))
    lines.append(_part("and {} more files", content, "saved_files_not_shown"))
    lines.append(_part("Not saved: {}", content, "save_problem"))
    lines.append(_part('The API says: "{}".', content, "reason"))
    if "video" in content:
        video = content["video"]
        size = ""
        if "width" in video and "height" in video:
            size = f"{video['width']}x{video['height']}, "
        lines.append(f"{size}{_part('{:g} s, ', video, 'duration_seconds')}{video.get('format', 'MP4')}.")
    if "contact_sheet" in content:
        lines.append(format_sheet(content["contact_sheet"]))
    for name, template in _LINKS.items():
        lines.append(_part(template, content, name))

    lines.append(_format_request(job.request) if job.request else "")
    lines += _format_chosen(content.get("chosen", {}))
    is_longer = job.request and job.request.extend
    lines.append(_part(_LONGER if is_longer else "It continues the video of job {}", content, "continues"))
    if job.state == "completed":
        lines.append(_format_end(job, content))
    if "assets" in content:
        for name, asset_ref in content["assets"].items():
            changed = _part(" ({})", content.get("image_changes", {}), name)
            lines.append(f"{name}{changed} is the {provider.asset} {asset_ref}")
        lines.append(_format_asset_use(provider))
    lines += map("Warning: {}".format, content.get("warnings", ()))
    lines += map("Left out because it is too long: {}".format, content.get("left_out", ()))
    lines += (_part("{}", content, "cost"), _part("{}", content, "note"), _part("{}", content, "next_step"))
    return "\n".join(filter(None, lines))


def describe_several(states: Sequence[str], failed_orders: Sequence[Charged | None]) -> str:
    """How many of several videos are ready, and what became of the others.

    `states`: of those with a job; `no_link`: it is completed, and there is no usable link to its video.
    `failed_orders`: whether each of the others was charged.
    """
    total = len(states) + len(failed_orders)
    counts = {
        "being made": states.count("running"),
        "failed": states.count("failed"),
        "without a link that works": states.count("no_link"),
        "could not be looked up": states.count("unknown"),
        "not ordered": failed_orders.count("no"),
        "perhaps ordered": len(failed_orders) - failed_orders.count("no"),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    ready = states.count("completed")
    if not parts:
        return "Both videos are ready." if total == 2 else f"All {total} videos are ready."
    return f"{ready} of {total} videos {'is' if ready == 1 else 'are'} ready ({', '.join(parts)})."


def order_takes_again(takes: Sequence[int]) -> str:
    """How to order takes again that were not ordered, or whose jobs failed."""
    which, again = _name_takes(takes), _format_more_takes(len(takes))
    return f"To order {which} again, if the user wants that, {again}; the other takes stay as they are."


def uncertain_takes_step(takes: Sequence[int], provider: Provider) -> tuple[NextAction, str]:
    """What to do about takes that may have been ordered. The same call would order again what its caller has got."""
    question, again = f"Whether {_name_takes(takes)} was ordered is not known:", _format_more_takes(len(takes))
    if FEATURES[provider.name].list_running:
        return "list_jobs", (
            f"{question} call list_jobs in two minutes to see what became of it. If there is no such job, and the user "
            f"wants the video all the same, {again}."
        )
    if provider.managed_by == "operator":
        check = f"tell the user that only the operator of this server can see that at {provider.console}."
        return "ask_user", f"{question} {check} If it was not, and they want it, {again}."
    return "ask_user", (
        f"{question} ask the user to look at {provider.console} whether the video is there or was charged. If it is "
        f"not, and they want it, {again}."
    )


def _name_takes(takes: Sequence[int]) -> str:
    return errors.join([f"take {take}" for take in takes], "and")


def _format_more_takes(count: int) -> str:
    """How to order takes beside those that exist."""
    return f"call generate_video with the same arguments, takes {count} and new_take true"


def wait_for_several(
    jobids: Sequence[str], *, save: bool, frames: int | None, are_running: bool, shows_player: bool
) -> str:
    """The next step with several jobs that are not finished, or whose videos or records could not be fetched."""
    call = _format_call(jobids[0] if len(jobids) == 1 else jobids, save=save, frames=frames)
    if shows_player:
        return (
            "The player in the chat shows the progress and then the videos, and tells you when they are ready: do not "
            f"wait. Only if you need the videos to continue, call get_job with {call}."
        )
    if not are_running:
        return (
            f"Call get_job with {call} in a minute to get the rest, and tell the user if that does not help. Do not "
            "order them again."
        )
    return f"Call get_job with {call} to wait for the rest. Do not order them again."


def several_text(content: Mapping[str, Any], parts: Sequence[str]) -> str:
    """The whole text of a result about several videos. `parts`: the text about each."""
    lines = [content["message"], *parts]
    if "contact_sheet" in content:
        lines.append(format_sheet(content["contact_sheet"]))
    lines += (_part("{}", content, "cost"), _part("{}", content, "note"))
    lines.append(_part("{}", content, "next_step"))
    return "\n".join(filter(None, lines))


def _format_request(request: VideoRequest) -> str:
    """What was ordered, without the images."""
    options: list[str | None] = [request.model, request.resolution, request.aspect_ratio]
    options += (request.duration, request.dynamic_range)
    if request.loop:
        options.append("loop")
    if request.keyframes:
        count = len(request.keyframes)
        options.append(f"{count} keyframe{'s' if count > 1 else ''}")
    return f"Request: {', '.join(filter(None, options))}; prompt: {shorten(request.prompt, MAX_PROMPT)}"


def _format_chosen(chosen: Mapping[str, str]) -> list[str]:
    """Why options that were left out have their values: a line for each reason."""
    names: dict[str, list[str]] = {}
    for name, reason in chosen.items():
        names.setdefault(reason, []).append(name)
    return [f"Chosen: {errors.join(named, 'and')}, {reason}" for reason, named in names.items()]


def _format_asset_use(provider: Provider) -> str:
    """How long an uploaded image can be used again."""
    if provider.asset_days:
        return f"An {provider.asset} can be used again for {provider.asset_days} days after its upload."
    return f"A {provider.asset} can be used again in place of the picture, as long as Luma keeps the file."


def _format_end(job: Job, content: Mapping[str, Any]) -> str:
    """When a completed job was ordered, how long it took, and what it used."""
    ordered = ""
    if "created" in content:
        ordered = f"Ordered at {format_time(datetime.fromisoformat(content['created']))}. "
    made = _part("Made in {:.0f} s. ", content, "elapsed_seconds")
    used = _part("It used {:g} credits. ", content, "credits_used")
    return f"{ordered}{made}{used}Job: {job.jobid}"


def job_note(
    catalog: Catalog, job: Job, output: Output | None, result_context: ResultContext, *, simulated: bool, saves: bool
) -> str | None:
    """What else is worth knowing about a job.

    `output`: what kind of video it is, if that is known. `saves`: whether videos can be saved as files.
    """
    saved = result_context.saved
    notes: list[str] = []
    if job.files.video:
        # A record of an order from elsewhere does not tell SDR from HDR.
        unplayable = [each.note for each in catalog.outputs.values() if not each.plays_in_browser]
        playback = output.note if output else f"if it is HDR, {unplayable[0]}"
        notes.append(f"{playback[:1].upper()}{playback[1:]}.")
    if job.files.video and not (saved and (saved.files or saved.is_link_dead)):
        notes += _describe_links(catalog, result_context.stored, saves=saves)
    if job.state == "completed" and job.files.video_hdr_exr is None and output is catalog.outputs.get("hdr_exr"):
        notes.append(NO_FRAMES)
    if job.state == "running" and result_context.most_waits:
        notes.append(NOT_AWAITED.format(result_context.most_waits))
    if simulated:
        notes.append(SIMULATED)
    return " ".join(notes) or None


def _describe_links(catalog: Catalog, stored: StoredFiles | None, *, saves: bool) -> list[str]:
    """How long the links of a result work, and where they lead."""
    notes: list[str] = []
    if stored and stored.problem:
        notes.append(NOT_STORED[stored.problem])
    if stored and "video" in stored.links:
        return [STORED, *notes]
    sentence = LINKS_EXPIRE if saves else HOSTED_LINKS_EXPIRE
    seconds = PROVIDERS[catalog.api].link_seconds
    if seconds:
        sentence = LINKS_EXPIRE_IN if saves else HOSTED_LINKS_EXPIRE_IN
        sentence = sentence.format(_format_span(seconds))
    return [*notes, sentence]


def format_sheet(content: Mapping[str, Any]) -> str:
    """What the picture of a result shows, or why there is none. `content`: the structured content of the sheet."""
    if "rows" in content or "problems" in content:
        rows: list[str] = []
        for label, times in content.get("rows", {}).items():
            rows.append(f"{label} at {', '.join(map(format_number, times))} s")
        sentences = [f"The picture shows {'; '.join(rows)}."] if rows else []
        for label, problem in content.get("problems", {}).items():
            sentences.append(f"There are no frames of {label}: it {problem}.")
        return " ".join(sentences)
    if "problem" in content:
        return _NO_SHEET.format(problem=content["problem"])
    count = content["frames"]
    frames = f"{count} frame{'s' if count > 1 else ''}"
    return _SHEET.format(frames=frames, times=", ".join(map(format_number, content["times"])))


def no_preview(job: Job, problem: str | None = None) -> str:
    """Why there is no small copy of a video. `problem`: what is wrong with it, as a clause."""
    if problem:
        return f"There is no preview of the video of job {job.jobid}: it {problem}."
    if job.state == "failed":
        return f"There is no preview: job {job.jobid} failed."
    return f"There is no preview yet: job {job.jobid} is still running. Call get_job with {_format_call(job.jobid)}."


def film_warnings(film: Film) -> list[str]:
    """What a film lacks of its videos."""
    warnings = [FILM_WITHOUT_SOUND] if film.has_lost_sound else []
    width, height = film.facts.size
    if film.resized:
        warnings.append(f"{_name_videos(film.resized)} had another size: fitted into {width}x{height}.")
    if film.retimed:
        rate = format_number(round(film.facts.frame_rate, 3))
        warnings.append(f"{_name_videos(film.retimed)} had another frame rate: converted to {rate} per second.")
    return warnings


def film_note(film: Film, *, simulated: bool) -> str:
    """What else is worth knowing about a film."""
    notes = [_FILM_ENCODING[film.is_reencoded], FREE]
    if film.facts.is_hdr:
        notes.insert(0, "It is HDR, which browsers do not play.")
    if simulated:
        notes.append(SIMULATED)
    return " ".join(notes)


def film_text(content: Mapping[str, Any]) -> str:
    """The whole text about a film, from its structured content."""
    lines = [content["message"]]
    lines.append(
        "{clips} videos, {duration_seconds:g} s, {width}x{height}, {frame_rate:g} frames per second.".format(**content)
    )
    if "contact_sheet" in content:
        lines.append(format_sheet(content["contact_sheet"]))
    lines += map("Warning: {}".format, content.get("warnings", ()))
    lines.append(content["note"])
    return "\n".join(lines)


def _name_videos(positions: Sequence[int]) -> str:
    return _format_some([f"videos[{position}]" for position in positions])


def list_text(catalog: Catalog, content: Mapping[str, Any]) -> str:
    """The whole text of a list of jobs, from its structured content."""
    lines: list[str] = []
    for job in content["jobs"]:
        head = f"- {job['state']}, {_format_progress(catalog, job)}"
        for name in catalog.choices:
            head += _part(", {}", job, name)
        head += _part(", on {}", job, "account")
        lines.append(f"{head}{_part(': {}', job, 'prompt')}")
        lines += (_part("  job: {}", job, "jobid"), _part("  continues the video of job {}", job, "continues"))
        lines += (_part("  link: {}", job, "link"), _part("  failed: {}", job, "reason"))
        lines += map("  saved: {}".format, job.get("saved_files", ()))
        lines.append(_part("  and {} more files", job, "files_not_shown"))
    if "filters" in content:
        count = f"{content['total']} {'job matches' if content['total'] == 1 else 'jobs match'}"
        lines.insert(0, f"{count} {_format_pairs(content['filters'])}.")
    elif not lines:
        lines.append("No jobs.")
    for account in content.get("accounts", ()):
        slots = f"{account.get('in_use', '?')} of {account.get('slots', '?')} slots in use"
        money = "credits left: not known yet"
        if "credits_left" in account:
            left, limit = (format_number(account[name]) for name in ("credits_left", "credits_limit"))
            money = f"{left} of {limit} credits left"
        lines.append(f"{account['email']}: {slots}, {money}{_part(' ({})', account, 'problem')}")
    lines.append(_part("and {} more accounts", content, "accounts_not_shown"))
    for name in ("problem", "note", "next_step"):
        lines.append(_part("{}", content, name))
    return "\n".join(filter(None, lines))


def _format_progress(catalog: Catalog, job: Mapping[str, Any]) -> str:
    """When a job of a list was ordered, how long it takes or took, and what it used or costs."""
    parts = ["ordered at an unknown time"]
    if "created" in job:
        created = format_time(datetime.fromisoformat(job["created"]))
        parts = [f"ordered {_format_span(job['age_seconds'])} ago ({created})"]
    if "expected_seconds_left" in job:
        low, high = job["expected_seconds_left"]
        parts.append(f"ready in about {low} to {high} s" if low else f"ready within about {high} s")
    elif "overdue_seconds" in job:
        parts.append(f"{_format_span(job['overdue_seconds'])} longer than usual")
    elif job["state"] == "running":
        parts.append("time left not known")
    if "elapsed_seconds" in job:
        parts.append(f"took {job['elapsed_seconds']:.0f} s")
    parts.append(_format_listed_price(catalog, job) if catalog.prices else _format_listed_credits(job))
    return ", ".join(parts)


def _format_listed_credits(job: Mapping[str, Any]) -> str:
    if "credits_used" in job:
        return f"used {job['credits_used']:g} credits"
    if "expected_credits" in job:
        return f"such videos of yours used {format_range(job['expected_credits'])} credits"
    return "credits not known yet" if job["state"] == "running" else "credits not known"


def _format_listed_price(catalog: Catalog, job: Mapping[str, Any]) -> str:
    if job.get("charged") == "no":
        return "not charged"
    price = "price not known"
    if "price" in job:
        price = f"price {format_prices(catalog, [job['price']])}"
    if job.get("charged") == "unknown":
        price += ", whether it was charged is not known"
    return price


def describe_unknown_jobs(provider: Provider) -> str:
    """What a job in the state unknown is, of which there is not even a jobid."""
    if FEATURES[provider.name].list_running:
        return UNKNOWN_JOBS
    look = f"ask the user to look at {provider.console} whether it is there"
    if provider.managed_by == "operator":
        look = f"only the operator of this server can see at {provider.console} whether it is there; ask the user"
    return (
        "A job in the state unknown that has no jobid is an order whose response was lost. It may have run and been "
        f"charged. {provider.title} cannot list jobs: {look} before you order it again."
    )


def after_list(
    jobs: Sequence[Mapping[str, Any]], not_shown: int, total: int, filters: Mapping[str, str], *, saves: bool
) -> dict[str, Any]:
    """The next step after a list, for programs and as text.

    `filters`: what the caller stated. `saves`: whether videos can be saved as files.
    """
    action: NextAction = "none"
    steps: list[str] = []
    stuck = [job["jobid"] for job in jobs if job.get("overdue_seconds", 0) > OVERDUE_AFTER and "jobid" in job]
    by_state = {job["state"]: job["jobid"] for job in reversed(jobs) if job.get("jobid") not in (None, *stuck)}
    if stuck:
        action = "ask_user"
        steps.append(f"Ask the user what to do about overdue jobs, which may be stuck: {_format_some(stuck)}.")
    if "running" in by_state:
        action = "get_job"
        steps.append(f"Call get_job with {_format_call(by_state['running'])} to wait for the newest running job.")
    if "completed" in by_state:
        action = "get_job"
        saving = ", or to save the video" if saves else ""
        steps.append(f"Call get_job with the jobid of a completed job for a current link{saving}.")
    if "unknown" in by_state:
        action = "get_job"
        steps.append("Call get_job with the jobid of an unknown one to see what became of it.")
    if not_shown:
        filters = {
            name: value if len(value) <= MAX_PROMPT else f"<{name} as you sent it>" for name, value in filters.items()
        }
        more: dict[str, Any] = {**filters, "limit": total}
        # The next ones begin within the second of the last one that is shown.
        last = jobs[-1].get("created")
        if total > MAX_LISTED and last:
            later = datetime.fromisoformat(last) + timedelta(seconds=1)
            more = {**filters, "before": f"{later:%Y-%m-%dT%H:%M:%SZ}", "limit": MAX_LISTED}
        elif total > MAX_LISTED:
            more = {**filters, "limit": MAX_LISTED}
        action = "list_jobs" if action == "none" else action
        steps.append(
            f"{not_shown} of {total} jobs are not shown: call list_jobs with {json.dumps(more, ensure_ascii=False)}."
        )
    return {"next_action": action} | ({"next_step": " ".join(steps)} if steps else {})


def format_cost(
    expected: Sequence[float] | None, left: Sequence[Mapping[str, Any]] | None, *, is_running: bool, simulated: bool
) -> str:
    """What a video is expected to cost while it runs, and what is left, unless that is None; the numbers are credits.

    Empty if there is nothing to say.
    """
    sentences: list[str] = []
    if is_running:
        used = f"{format_range(expected)} credits each here" if expected else NO_CREDITS_KNOWN
        sentences.append(
            f"Such videos of yours used {used}." if expected else f"The credits that it will use are {used}."
        )
    if left is not None:
        sentences.append(format_credits_left(left))
    if simulated:
        sentences.append("All credits are simulated.")
    return " ".join(sentences)


def format_price(
    catalog: Catalog, price: float | None, *, is_failed: bool = False, is_each: bool = False, simulated: bool = False
) -> str:
    """What a video costs by the API's price list.

    `is_failed`: its job failed, and may have been charged; `is_each`: it is one of several with this price.
    """
    if price is None:
        return NO_PRICE
    amount, subject = _cite_prices(catalog, [price]), "each of these videos" if is_each else "this video"
    if simulated:
        return f"Outside of this simulation, {subject} would cost {amount}."
    if is_failed:
        return f"This video costs {amount}; whether that was charged is not known."
    return f"{subject.capitalize()} costs {amount}."


def format_price_range(catalog: Catalog, prices: Collection[float], *, simulated: bool = False) -> str:
    """What the cheapest and the most expensive of the videos that are possible cost by the API's price list."""
    amounts = _cite_prices(catalog, prices)
    if simulated:
        return f"Outside of this simulation, one video would cost {amounts}."
    return f"One video of these options costs {amounts}."


def format_price_source(catalog: Catalog) -> str:
    """Where prices come from."""
    return f"Prices are those of {catalog.price_source} of {catalog.price_date}, not what was billed."


def _cite_prices(catalog: Catalog, prices: Collection[float]) -> str:
    return f"{format_prices(catalog, prices)} by {catalog.price_source} of {catalog.price_date}"


def format_prices(catalog: Catalog, prices: Collection[float]) -> str:
    """The least and the most of some prices."""
    unit = PROVIDERS[catalog.api].unit
    low, high = (errors.format_amount(price, unit) for price in (min(prices), max(prices)))
    return low if low == high else f"{low} to {high}"


def format_credits_left(left: Sequence[Mapping[str, Any]]) -> str:
    """What the accounts have left."""
    if not left:
        return "How many credits are left is not known yet."
    return " ".join(
        f"{row['email']} has {format_number(row['left'])} of {format_number(row['limit'])} credits left."
        for row in left
    )


def format_range(values: Sequence[float]) -> str:
    """The least and the most of something, as one number where they are the same."""
    low, high = values
    return format_number(low) if low == high else f"{format_number(low)} to {format_number(high)}"


def format_number(value: float) -> str:
    """A number in full: `g` would write a million credits as `1e+06`."""
    return f"{value:.12g}"


def options_text(catalog: Catalog, content: Mapping[str, Any]) -> str:
    """The whole text about what can be made, from the structured content of `list_options`."""
    paragraphs = [
        tables.all_tables(catalog),
        f"Rules: {'. '.join(content['rules'])}.",
        f"Defaults, where they fit, else the cheapest value that does: {_format_pairs(content['defaults'])}.",
    ]
    times: dict[str, str] = {}
    for name in content["typical_seconds_measured"]:
        times[name] = "{} to {} s".format(*content["typical_seconds"][name])
    if times:
        paragraphs.append(f"As measured with your videos: {_format_pairs(times)}.")
    if "prices" in content:
        source = f"{content['price_source']}, {content['price_date']}"
        prices = tables.prices_table(catalog, catalog.remaining_prices(content["chosen"]))
        paragraphs.append(f"What one video costs ({source}):\n\n{prices}")
    if content.get("credits_used"):
        used = {name: format_range(values) for name, values in content["credits_used"].items()}
        paragraphs.append(f"Credits that one video of yours used: {_format_pairs(used)}.")
    if "cost" in content:
        paragraphs.append(content["cost"])
    if content["chosen"]:
        remaining: dict[str, str] = {}
        for name, values in content["allowed"].items():
            if isinstance(values, bool):
                remaining[name] = {True: "yes", False: "no"}[values]
            else:
                remaining[name] = " or ".join(values)
        paragraphs.append(f"Still possible with {_format_pairs(content['chosen'])}: {_format_pairs(remaining)}.")
    return "\n\n".join(paragraphs)


def deleted_note(saved_files: Sequence[str], *, was_known: bool, saves: bool, is_stored: bool) -> str:
    """That a job is deleted, and what remains of it.

    `was_known`: the API still knew it. `saves`: whether videos can be saved as files. `is_stored`: its video is in the
    server's store.
    """
    # The API deletes only jobs that have ended.
    note = "The job had finished, and is deleted." if was_known else "The job was already gone."
    if saved_files:
        files = _format_some(saved_files)
        return f"{note} Links to its video may stop working; its files on this machine stay: {files}."
    if is_stored:
        return f"{note} The API's links to its video may stop working; the copy in this server's storage stays."
    if not saves:
        return f"{note} Links to its video may stop working."
    return f"{note} Links to its video may stop working, and it was not saved on this machine."


def picture_uploaded(use_as: str, asset_ref: str) -> str:
    """That the user's picture is uploaded, and how to use it."""
    return f"The picture is uploaded. It can be used in generate_video as {use_as}: {asset_ref}"


def format_misfits(misfits: Mapping[str, tuple[int, int]], aspect_ratio: str) -> list[str]:
    """A sentence for each image whose shape is not the video's. `misfits`: width and height by parameter name."""
    sentences: list[str] = []
    for name, (width, height) in misfits.items():
        sentences.append(f"{name} is {width}x{height} and the video is {aspect_ratio}: it will be cropped or padded.")
    return sentences


def confirmation_question(
    catalog: Catalog,
    params: Mapping[str, Any],
    misfits: Mapping[str, tuple[int, int]] | None = None,
    *,
    takes: int = 1,
    expected_credits: Sequence[float] | None = None,
    simulated: bool = False,
) -> str:
    """The question to the user before an order. The same request gives the same question, until a job has ended.

    `takes`: how many videos of the request are ordered.
    """
    facts = ", ".join(map(params.__getitem__, catalog.choices))
    images = [name.replace("_", " ") for name in catalog.images if name in params]
    if images:
        facts += f", with {' and '.join(images)}"
    warnings = "".join(f" {sentence}" for sentence in format_misfits(misfits or {}, params["aspect_ratio"]))
    question, costs = "Make this video?", "It costs"
    if takes > 1:
        question, costs = f"Make {takes} videos of this?", f"All {takes} together cost"
    cost = f"{costs} credits; how many is not known yet."
    price = catalog.price(params)
    if price is not None:
        cost = f"{costs} {_cite_prices(catalog, [price * takes])}."
    if expected_credits:
        total = [used * takes for used in expected_credits]
        cost = f"{costs} credits: by what such videos of yours used, {format_range(total)} credits."
        if takes == 1:
            cost = f"It costs credits: such videos of yours used {format_range(expected_credits)} credits each here."
    if simulated:
        cost = "It is simulated and costs nothing."
    return f"{question} {cost} {facts}.{warnings} Prompt: {shorten(params['prompt'], MAX_PROMPT)}"


def _part(template: str, content: Mapping[str, Any], name: str) -> str:
    """The template with the named value in it; nothing if that is not known."""
    if name not in content:
        return ""
    return template.format(content[name])


def format_time(time: datetime) -> str:
    """A time of day as every text has it."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def fit_text(text: str, max_bytes: int, kept: int = 1) -> str:
    """Leave out the longest lines until a text is short enough; the last line says so. `kept`: the first ones stay."""
    lines = text.split("\n")
    left_out = 0
    while len(lines) > kept and len("\n".join(lines).encode(errors="replace")) > max_bytes - FIT_MARGIN:
        del lines[max(range(kept, len(lines)), key=lambda number: len(lines[number]))]
        left_out += 1
    if left_out:
        which = (
            "1 line was left out, because it is"
            if left_out == 1
            else f"{left_out} lines were left out, because they are"
        )
        lines.append(f"{which} too long.")
    return "\n".join(lines)


def _format_some(items: Sequence[object], not_given: int = 0) -> str:
    """The first items, and the number of the others. `not_given`: how many of these are not in `items`."""
    more = not_given + max(0, len(items) - MAX_NAMED)
    listed = ", ".join(map(str, items[:MAX_NAMED]))
    return f"{listed} and {more} more" if more else listed


def _format_span(seconds: float) -> str:
    """A length of time: `45 s`, `3 minutes`, `2 hours`, `5 days`."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}s"
    return f"{seconds:.0f} s"


def _format_minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'s' if minutes > 1 else ''}"


def _format_pairs(values: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in values.items())


def _format_call(jobid: str | Sequence[str] | None, *, save: bool = False, frames: int | None = None) -> str:
    """The arguments of a call of get_job."""
    jobs = {"jobid": jobid} if jobid is None or isinstance(jobid, str) else {"jobids": list(jobid)}
    call = jobs | ({"save": True} if save else {}) | ({"frames": frames} if frames else {})
    return json.dumps(call, ensure_ascii=False)
