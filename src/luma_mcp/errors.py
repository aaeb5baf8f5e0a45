"""Everything that can go wrong, as typed facts.

LumaError                   kind, retry, charged, and where known: jobid, status, api_message, retry_after
├── InvalidArguments        rejected before anything was sent, or by the API (400): problems, suggestion
├── NotConfigured           a setting is missing
├── Unauthorized            401: the API token
├── PaymentRequired         402: subscription or credits
├── Forbidden               403: the job belongs to another user
├── AccessDenied            403: the account is suspended, or has no access to HDR
├── NotFound                404: job, asset or account unknown or expired
├── Conflict                the job's state forbids it
├── Moderated               422: prompt or image rejected
├── Capacity                429: all slots in use
├── LimitReached            the hourly limit set by this server's owner
├── BudgetReached           the budget for 24 hours set by this server's owner
├── JournalUnavailable      orders cannot be recorded, and the settings require that; or they must be read, and cannot
├── AccountSession          596: a Luma account's session must be renewed by its owner
├── Upstream                the API answered with a failure of its own, or unreadably
├── NetworkError            the API was not reached
├── OutcomeUnknown          an order was sent and no readable answer came back
├── DownloadError           a video's file could not be saved
└── JobFailed               the job ran and failed

`server/messages.py` turns these facts into text for agents and `cli/messages.py` for people. `str(error)` is a short
neutral sentence for library users and logs. No code reads any of these texts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, TypedDict

Kind = Literal[
    "invalid_arguments",
    "not_configured",
    "unauthorized",
    "payment_required",
    "forbidden",
    "access_denied",
    "not_found",
    "conflict",
    "moderated",
    "capacity",
    "limit_reached",
    "budget_reached",
    "journal_unavailable",
    "account_session",
    "upstream",
    "network",
    "outcome_unknown",
    "job_failed",
    "download_failed",
]
Retry = Literal["never", "after_change", "later"]
Charged = Literal["no", "yes", "unknown"]
Subject = Literal["job", "asset", "account", "order_input", "any_account", "address"]
FailureStage = Literal["dns", "tls", "proxy", "refused", "timeout", "broken", "unsendable"]
"""Where a request ended: before the API (`refused`: no connection), with it (`broken`), or on this machine."""
UpstreamFault = Literal[
    "failed", "unexpected_status", "unreadable", "throttled", "file_pending", "not_listed", "internal"
]
ProblemCode = Literal[
    "unknown_parameter",
    "no_such_feature",
    "not_needed",
    "missing",
    "wrong_type",
    "empty",
    "invalid_text",
    "too_long",
    "wrong_format",
    "out_of_range",
    "not_offered",
    "conflict",
    "spellings_differ",
    "more",
    "unusable_image",
    "unusable_clip",
    "needs_pyav",
    "unusable_film",
    "unusable_file",
    "too_many_uploads",
    "unknown_account",
    "account_mismatch",
    "not_accepted",
    "unknown_jobid",
    "not_a_video",
]
PriceBasis = Literal["price_list", "such_videos", "any_video"]
ImageRemedy = Literal[
    "wait_for_job",
    "try_later",
    "other_job",
    "other_image",
    "other_clip",
    "other_video",
    "same_range",
    "install_film",
    "panel",
]
"""What helps with an image or a clip that cannot be used.

`same_range`: all in HDR or all in SDR; `install_film`: this package's extra of that name; `panel`: another
image, which the user can also add in the chat.
"""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one parameter.

    Attributes:
        field: the parameter, by the name that the caller used.
        code: what kind of problem it is.
        value: the caller's value, shortened where it is long; None where it is missing or must not be repeated.
        allowed: the values that would work here, given the rest of the request. For an unknown name: all names that
            there are; for `no_such_feature` and `not_needed`: what the API does not offer.
        conflicts_with: the stated parameters that exclude this one, as `model "ray-v3"` or `image_start`.
        did_you_mean: the parameter that an unknown name most likely stands for.
        expected: what the parameter takes, as a noun phrase.
        reason: for `unusable_image` and the like: a neutral clause that follows the parameter's name. For
            `no_such_feature`: what can be done instead, if anything.
        jobid: the earlier job that an image or a clip names.
        remedy: what helps with an image or a clip, for code.
    """

    field: str
    code: ProblemCode
    value: Any = None
    allowed: tuple[str, ...] = ()
    conflicts_with: tuple[str, ...] = ()
    did_you_mean: str | None = None
    expected: str = ""
    reason: str = ""
    jobid: str | None = None
    remedy: ImageRemedy | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to correct a request than the one that is suggested.

    Attributes:
        keeps: stated values that the suggestion gives up, or the nearest to them that is offered; True for an image.
        change: the caller's params that need other values, with these values.
        leave_out: images that the caller gave.
    """

    keeps: Mapping[str, str | bool]
    change: Mapping[str, str]
    leave_out: tuple[str, ...] = ()


MAX_CHOICES = 10
"""Values that a sentence lists. Accounts can be many more."""


def format_choices(values: Iterable[str]) -> str:
    """Quote the values and join them with commas and "or"; of very many, only the first."""
    quoted = [f'"{value}"' for value in values]
    if len(quoted) > MAX_CHOICES:
        return f"{', '.join(quoted[:MAX_CHOICES])} or one of {len(quoted) - MAX_CHOICES} more"
    return join(quoted, "or")


def join(items: Sequence[str], conjunction: Literal["and", "or"]) -> str:
    """Join items with commas, and the last one with a conjunction."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {conjunction} {items[-1]}"


def format_amount(amount: float, unit: str) -> str:
    """Format what something costs, in full: `$0.30` where the unit is `dollars`, else `20 credits`."""
    if unit != "dollars":
        # `g` would write a million credits as `1e+06`.
        return f"{amount:.12g} {unit.removesuffix('s') if amount == 1 else unit}"
    if abs(amount - round(amount, 2)) < _SMALLEST_AMOUNT:
        return f"${amount:,.2f}"
    return f"${amount:.12g}"


_SMALLEST_AMOUNT = 1e-6
# `takes` and `use` say what would be right and end the sentence; `shown` is the field with its value.
_PROBLEMS: dict[ProblemCode, str] = {
    "unknown_parameter": '"{field}" is not a parameter: {reason}.',
    "no_such_feature": '"{field}" is not offered; leave it out.',
    "not_needed": '"{field}" is not needed; leave it out.',
    "missing": "{field} is missing{takes}",
    "wrong_type": "{field} is not text{takes}",
    "empty": "{field} is empty{takes}",
    "invalid_text": "{field} contains half a character (a lone surrogate), which cannot be sent{takes}",
    "too_long": "{field} {reason}{takes}",
    "wrong_format": "{field} is not valid{takes}",
    "out_of_range": "{field} is not valid{takes}",
    "not_offered": "{shown} is not offered{use}",
    "conflict": "{shown} cannot be combined with {others}{use}",
    "spellings_differ": '"{field}" and another spelling of the same parameter have different values; send one of them.',
    "more": 'Besides these, {value} more arguments are wrong, from "{field}" on.',
    "unusable_image": "{shown} {reason}.",
    "unusable_clip": "{shown} {reason}.",
    "needs_pyav": "{field} {reason}.",
    "unusable_film": "{shown} {reason}.",
    "unusable_file": "The file {reason}.",
    "too_many_uploads": "Too many pictures are being uploaded at the same time, or were left unfinished.",
    "unknown_account": "{shown} is not a configured account{use}",
    "account_mismatch": "{field} {reason}.",
    "not_accepted": "{shown} was not accepted by the API{use}",
    "unknown_jobid": "{field} is not known to the API; pass it exactly as it was returned.",
    "not_a_video": "{field} is a job of type {reason}, not a video.",
}


def format_problem(problem: Problem) -> str:
    """One sentence about a problem, the same for agents and people."""
    name, expected = problem.field, problem.expected
    others = " or ".join(problem.conflicts_with)
    if problem.did_you_mean:
        values = f" It takes {expected}." if expected else ""
        return f'"{name}" is not a parameter: did you mean "{problem.did_you_mean}"?{values}'
    if problem.code == "conflict" and (problem.value is None or not problem.allowed):
        return f"{name} cannot be combined with {others}; leave it out."
    sentence = _PROBLEMS[problem.code].format(
        field=name,
        value=problem.value,
        shown=name if problem.value is None else f'{name} "{problem.jobid or problem.value}"',
        reason=problem.reason or "leave it out",
        others=others,
        takes=f"; it takes {expected}." if expected else ".",
        use=f"; use {format_choices(problem.allowed)}." if problem.allowed else ".",
    )
    return f"{sentence}{_format_instead(problem)}"


def _format_instead(problem: Problem) -> str:
    """What can be done instead of what is not offered, as a sentence; empty if nothing is known."""
    if problem.code != "no_such_feature" or not problem.reason:
        return ""
    return f" Instead of {problem.field}, {problem.reason}."


def format_problems(problems: Collection[Problem]) -> list[str]:
    """A sentence for each problem. What several have in common is in one: what is not offered, and the valid names."""
    sentences: list[str] = []
    features: list[Problem] = []
    for problem in problems:
        if problem.code in _FEATURE_PROBLEMS:
            features.append(problem)
        else:
            sentences.append(format_problem(problem))
    if features:
        sentences.append(_format_features(features))
    if names := _get_known_names(problems):
        sentences.append(f"The parameters are {', '.join(names)}.")
    return sentences


def _get_known_names(problems: Collection[Problem]) -> tuple[str, ...]:
    """Get the parameters that there are, if one of the problems is a name that resembles none of them."""
    for problem in problems:
        if problem.code == "unknown_parameter" and not (problem.did_you_mean or problem.reason):
            return problem.allowed
    return ()


_FEATURE_PROBLEMS: dict[ProblemCode, str] = {"no_such_feature": "not offered", "not_needed": "not needed"}


def _format_features(problems: Sequence[Problem]) -> str:
    """One sentence about all names that stand for what is not offered."""
    clauses: list[str] = []
    for code, status in _FEATURE_PROBLEMS.items():
        names = [f'"{problem.field}"' for problem in problems if problem.code == code]
        if names:
            clauses.append(f"{join(names, 'and')} {'is' if len(names) == 1 else 'are'} {status}")
    them = "it" if len(problems) == 1 else "them"
    instead = "".join(map(_format_instead, problems))
    return f"{join(clauses, 'and')}: there is no {join(problems[0].allowed, 'or')}; leave {them} out.{instead}"


def format_alternative(alternative: Alternative) -> str:
    """What another way keeps and what it takes: `duration "10s" with dynamic_range "sdr"`."""
    keeps = [name if value is True else f'{name} "{value}"' for name, value in alternative.keeps.items()]
    # What it keeps can differ from what was stated: the nearest to it that is offered.
    changes = [f'{name} "{value}"' for name, value in alternative.change.items() if name not in alternative.keeps]
    parts = [join(keeps, "and")]
    if changes:
        parts.append(f"with {join(changes, 'and')}")
    if alternative.leave_out:
        parts.append(f"without {join(alternative.leave_out, 'and')}")
    return " ".join(parts)


class Facts(TypedDict):
    """Facts that any error of the API may have. `LumaError` describes them."""

    status: int | None
    api_message: str | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """What this machine knows of a job that could not be looked up.

    Attributes:
        ordered_at: when it was ordered, in UTC; `age`: the seconds since then.
        prompt: what was ordered.
        state: as it was last seen; "unknown" if the API no longer knows the job, and its end was never seen.
        ready_by: until when a video that was running is usually ready.
        link: the last link to its video, which may have stopped working.
        is_stored: whether that is a link to a copy in the server's store, which works.
    """

    ordered_at: datetime
    age: float
    prompt: str
    state: Literal["running", "completed", "failed", "unknown"]
    ready_by: datetime | None = None
    link: str | None = None
    is_stored: bool = False


# Errors are compared by identity, as exceptions are.
@dataclass(eq=False, repr=False, kw_only=True)
class LumaError(Exception):
    """Base of all errors.

    Attributes:
        kind: what happened, for programs.
        retry: whether the same call can succeed: never, after a change, or later. By default as its class says.
        charged: whether the order of this call cost credits; None where the call could not cost anything.
        jobid: the job that this is about; it can still be looked up.
        status: the API's HTTP status.
        api_message: the API's own message.
        retry_after: seconds that the API asked to wait.
        after_order: whether the order itself succeeded, and following its job failed.
        journal_problem: why an order that may have been placed is not in the journal's file; None if it is.
        journal_refuses: whether nothing more is ordered until it can be used.
        record: what the journal knows of a job that was ordered from here and could not be looked up.
        saved_files: absolute paths of that job's files on this machine.
        takes_left: how many takes of the same call were not ordered because of this one; they cost nothing.
    """

    kind: ClassVar[Kind]
    default_retry: ClassVar[Retry] = "after_change"
    # The summary, with a placeholder for each attribute that it names.
    sentence: ClassVar[str]
    charged: Charged | None = None
    retry: Retry | None = None
    jobid: str | None = None
    status: int | None = None
    api_message: str | None = None
    retry_after: float | None = None
    after_order: bool = field(default=False, init=False)
    journal_problem: str | None = field(default=None, init=False)
    journal_refuses: bool = field(default=False, init=False)
    record: RecordedJob | None = field(default=None, init=False)
    saved_files: tuple[str, ...] = ()
    takes_left: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.retry = self.retry or self.default_retry

    def __str__(self) -> str:
        parts = [self.summary()]
        if self.api_message:
            parts.append(f'The API says: "{self.api_message}".')
        if self.charged == "no":
            parts.append("Nothing was charged.")
        return " ".join(parts)

    def summary(self) -> str:
        """One neutral sentence without the API's message and the money."""
        return self.sentence.format(**vars(self))


@dataclass(eq=False, repr=False)
class InvalidArguments(LumaError):
    """The request cannot be made.

    `problems`: all of them; `suggestion`: the closest valid request; `alternatives`: other ways to correct it.
    """

    kind = "invalid_arguments"
    problems: Collection[Problem] = ()
    suggestion: Mapping[str, object] | None = field(default=None, kw_only=True)
    alternatives: Sequence[Alternative] = field(default=(), kw_only=True)

    def summary(self) -> str:
        return " ".join(format_problems(self.problems)) or "The API rejected the request."


@dataclass(eq=False, repr=False)
class NotConfigured(LumaError):
    """A setting is missing or unusable.

    `setting`: the environment variable; `unused`: that of another API's credential, which is set, but not selected;
    `instead`: those of other APIs' credentials, of which any would do.
    """

    kind = "not_configured"
    sentence = "{setting} is not set, or not usable."
    setting: str
    unused: str | None = field(default=None, kw_only=True)
    instead: tuple[str, ...] = field(default=(), kw_only=True)
    charged: Charged | None = field(default="no", init=False)

    def summary(self) -> str:
        if self.unused:
            return (
                f"{self.setting} is not set, and LUMA_MCP_API selects the API that needs it. {self.unused} is set, but "
                "it is for another API."
            )
        if self.instead:
            return f"Neither {' nor '.join((self.setting, *self.instead))} is set."
        return super().summary()


class Unauthorized(LumaError):
    """The API does not accept the token."""

    kind = "unauthorized"
    sentence = "The API does not accept the token."


class PaymentRequired(LumaError):
    """No subscription, or no credits left."""

    kind = "payment_required"
    sentence = "The account has no subscription or no credits left."


class Forbidden(LumaError):
    """The job belongs to another user."""

    kind = "forbidden"
    default_retry = "never"
    sentence = "The job belongs to another user."


@dataclass(eq=False, repr=False)
class AccessDenied(LumaError):
    """The API accepts the credential and refuses its account. `hdr`: the order is for HDR, which needs access."""

    kind = "access_denied"
    hdr: bool = False

    def summary(self) -> str:
        if self.hdr:
            return "The API does not let this account order HDR: it has no access to HDR, or it is suspended."
        return "The API refuses requests of this account: it is suspended or deactivated."


@dataclass(eq=False, repr=False)
class NotFound(LumaError):
    """The API does not know something, or no longer: assets, for example, live 30 days.

    Attributes:
        what: what it does not know; `order_input`: an asset or the account of an order; `address`: the request's URL.
        deleted: the job was deleted from here.
        unasked: the API was not asked, because none of the tenant's orders has it, and others use the same credential.
        has_panel: the user can add the image again in the chat.
    """

    kind = "not_found"
    what: Subject
    deleted: bool = field(default=False, kw_only=True)
    unasked: bool = field(default=False, kw_only=True)
    has_panel: bool = field(default=False, kw_only=True)

    def summary(self) -> str:
        if self.deleted:
            return "The job was deleted."
        if self.unasked:
            return "None of your orders has this job." if self.what == "job" else "None of your orders has this image."
        subjects: dict[Subject, str] = {
            "job": "this job",
            "asset": "this asset",
            "account": "this account",
            "order_input": "an asset or the account of this order",
            "any_account": "any account for this token",
            "address": "the address of this request",
        }
        return f"The API does not know {subjects[self.what]}."


@dataclass(eq=False, repr=False)
class Conflict(LumaError):
    """A state forbids it. `reason`: the job still runs; an identical one has just finished; an earlier take failed."""

    kind = "conflict"
    default_retry = "later"
    reason: Literal["job_running", "just_finished", "earlier_take"] = "job_running"

    def summary(self) -> str:
        if self.reason == "just_finished":
            return "An identical job has just finished; nothing was ordered."
        if self.reason == "earlier_take":
            return "It was not ordered, because there was a problem with a take before it."
        return "A running job can be neither deleted nor stopped."


@dataclass(eq=False, repr=False)
class Moderated(LumaError):
    """Content moderation rejected the prompt or an image. `rejected`: which of them, where that is known."""

    kind = "moderated"
    sentence = "Content moderation rejected {rejected}."
    rejected: str = field(default="the prompt or an image", kw_only=True)


@dataclass(frozen=True, slots=True)
class JobReference:
    """A job in an error: its id, and its prompt where it was ordered from this machine."""

    jobid: str
    prompt: str | None = None

    def __str__(self) -> str:
        return f"{self.jobid} ({self.prompt})" if self.prompt else self.jobid


class Capacity(LumaError):
    """All slots of all accounts are in use.

    Attributes:
        running: the first jobs that are running; the one that is expected to finish next comes first.
        more_running: how many others are running.
        seconds: after how many seconds that one is expected to finish, if that is known.
        in_use, slots: what the API counts in all accounts, if that could be looked up.
        deletable: finished jobs, if the API counts more slots in use than jobs are running.
    """

    kind = "capacity"
    default_retry = "later"
    sentence = "All slots are in use."
    running: tuple[JobReference, ...] = ()
    more_running: int = 0
    seconds: float | None = None
    in_use: int | None = None
    slots: int | None = None
    deletable: tuple[JobReference, ...] = ()


@dataclass(eq=False, repr=False)
class LimitReached(LumaError):
    """The hourly limit set by this server's owner.

    Attributes:
        limit: jobs per hour.
        next_at: when there is room; None if the limit is lower than `orders`.
        is_shared: whether the orders of all servers that share the journal were counted, or only those of this process.
        orders: how many were to be placed together, for `room` of which there is room now.
    """

    kind = "limit_reached"
    default_retry = "later"
    sentence = (
        "The limit of {limit} videos per hour is reached; the next one is allowed at {next_at:%Y-%m-%d %H:%M} UTC."
    )
    limit: int
    next_at: datetime | None
    is_shared: bool
    orders: int = 1
    room: int = 0
    charged: Charged | None = field(default="no", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.next_at is None:
            self.retry = "after_change"

    def summary(self) -> str:
        if self.next_at is None:
            return f"The limit of {self.limit} videos per hour does not allow {self.orders} at a time."
        return super().summary()


_PRICES: dict[PriceBasis, str] = {
    "price_list": "{subject} costs {price}",
    "such_videos": "such videos of yours have used up to {price} here",
    "any_video": "{subject} is counted as {price}, the most that any video of yours has used here",
}


@dataclass(eq=False, repr=False)
class BudgetReached(LumaError):
    """The budget for 24 hours set by this server's owner has no room for an order.

    Attributes:
        budget, spent: the budget, and what the orders of the last 24 hours count for.
        price: what the order is expected to cost; None if that is not known.
        basis: where the price comes from: the API's price list, or the most that such videos, or any, have used here.
        unit: of these amounts, `dollars` or `credits`.
        is_shared: whether the orders of all servers that share the journal were counted, or only those of this process.
        next_at: when enough old orders leave the 24 hours; None if the order costs more than the whole budget.
        suggestion: the closest request that has room now, with its price; None if none is known.
        orders: how many were to be placed together, for `room` of which there is room now. `price` is that of one, and
            `suggestion_price` that of all.
    """

    kind = "budget_reached"
    default_retry = "later"
    budget: float
    spent: float
    price: float | None
    basis: PriceBasis
    unit: str
    is_shared: bool
    next_at: datetime | None = None
    suggestion: Mapping[str, object] | None = None
    suggestion_price: float | None = None
    orders: int = 1
    room: int = 0
    charged: Charged | None = field(default="no", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.next_at is None:
            self.retry = "after_change"

    def summary(self) -> str:
        budget, spent = format_amount(self.budget, self.unit), format_amount(self.spent, self.unit)
        which, subject = "This video does", "this video"
        if self.orders > 1:
            which, subject = f"These {self.orders} videos do", "each of them"
        price = f"what {subject} costs is not known yet"
        if self.price is not None:
            amount = format_amount(self.price, self.unit)
            price = _PRICES[self.basis].format(subject=subject, price=amount)
        sentences = [
            f"{which} not fit into the budget that this server's owner has set for 24 hours ({budget}).",
            f"The orders of the last 24 hours count for {spent}, and {price}.",
        ]
        if not self.is_shared:
            sentences.append("Only orders of this process are counted, because it has no shared record of orders.")
        if self.next_at is None:
            sentences.append("The price is more than the whole budget, so waiting does not help.")
        else:
            sentences.append(f"Enough of the budget is free again at {self.next_at:%Y-%m-%d %H:%M} UTC.")
        return " ".join(sentences)


@dataclass(eq=False, repr=False)
class JournalUnavailable(LumaError):
    """Orders cannot be recorded, and the settings require that; or what is recorded must be known, and cannot be read.

    `problem`: why, as a neutral clause. `is_database`: the journal is a database, which is required always.
    `is_look_up`: nothing was to be ordered.
    """

    kind = "journal_unavailable"
    default_retry = "later"
    sentence = "Nothing is ordered while the journal of orders cannot be used: {problem}."
    problem: str
    is_database: bool = field(default=False, kw_only=True)
    is_look_up: bool = field(default=False, kw_only=True)
    charged: Charged | None = field(default="no", init=False)

    def summary(self) -> str:
        if self.is_look_up:
            return f"Which jobs are yours cannot be looked up at present: {self.problem}."
        return super().summary()


class AccountSession(LumaError):
    """A Luma account's session has expired. `email`: which, if known; `all_accounts`: none is usable."""

    kind = "account_session"
    email: str | None = None
    all_accounts = False

    def summary(self) -> str:
        if self.all_accounts:
            return "No Luma account is usable, most likely because the sessions have expired."
        return f"The session of {self.email or 'the Luma account'} has expired."


@dataclass(eq=False, repr=False)
class Upstream(LumaError):
    """The API failed or answered unreadably, or this program failed. `detail`: what came instead; the exception."""

    kind = "upstream"
    default_retry = "later"
    fault: UpstreamFault = "failed"
    detail: str = field(default="", kw_only=True)

    def summary(self) -> str:
        texts: dict[UpstreamFault, str] = {
            "failed": f"The API failed ({self.status}).",
            "unexpected_status": f"The API answered with an unexpected status ({self.status}).",
            "throttled": f"The API accepts no more requests at present ({self.status}).",
            "unreadable": f"The API answered with {self.detail or 'something unreadable'} ({self.status}).",
            "file_pending": "The API has not finished checking the uploaded image.",
            "not_listed": "The API does not list the job that was ordered (yet, or any more).",
            "internal": f"This program failed ({self.detail}).",
        }
        return texts[self.fault]


@dataclass(eq=False, repr=False)
class NetworkError(LumaError):
    """The API or an image's host was not reached. `stage`: where it ended; `detail`: a neutral noun phrase."""

    kind = "network"
    default_retry = "later"
    stage: FailureStage = "refused"
    detail: str = field(default="", kw_only=True)

    def summary(self) -> str:
        reasons: dict[FailureStage, str] = {
            "dns": "its name could not be resolved",
            "tls": "its TLS certificate or handshake failed",
            "proxy": "the proxy did not let the request through",
            "refused": "the connection was refused or is not possible",
            "timeout": "no answer came in time",
            "broken": "the connection broke",
            "unsendable": "the request cannot be sent with this machine's settings",
        }
        detail = f" ({self.detail})" if self.detail else ""
        return f"The API was not reached: {reasons[self.stage]}{detail}."


@dataclass(eq=False, repr=False)
class OutcomeUnknown(LumaError):
    """An order was sent and no readable answer came back: a job may be running and charged. Never sent again.

    Attributes:
        cause: a neutral clause about what happened to the answer.
        candidates: running jobs that may be this order's; None if they could not be looked up.
        age: seconds since the order was sent, if that was an earlier call; nothing was sent now.
    """

    kind = "outcome_unknown"
    default_retry = "never"
    sentence = "The order was sent, but {cause}: a job may be running and charged."
    cause: str
    candidates: tuple[str, ...] | None = field(default=None, kw_only=True)
    age: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.charged = "unknown"


@dataclass(eq=False, repr=False, kw_only=True)
class JobFailed(LumaError):
    """The job ran and failed; `api_message` is the API's reason, `credits_used` what it cost, if known."""

    kind = "job_failed"
    sentence = "The video was not made."
    credits_used: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.charged = self.charged or "unknown"
        if self.credits_used is not None:
            self.charged = "yes" if self.credits_used > 0 else "no"


@dataclass(eq=False, repr=False)
class DownloadError(LumaError):
    """A video's file could not be saved; the video itself is not lost.

    Attributes:
        reason: why, in complete neutral sentences.
        expired: whether a new link to the same file may work.
        folder_unusable: whether the folder is the reason, rather than the link.
        name_too_long: whether a shorter name may work in that folder.
        files: absolute paths of the job's files that were saved before.
    """

    kind = "download_failed"
    default_retry = "later"
    sentence = "{reason}"
    reason: str
    expired: bool = field(default=False, kw_only=True)
    folder_unusable: bool = field(default=False, kw_only=True)
    name_too_long: bool = field(default=False, kw_only=True)
    files: tuple[str, ...] = field(default=(), kw_only=True)
