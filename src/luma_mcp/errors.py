"""Everything that can go wrong, named for the situation.

LumaError                   has a kind, a retry word, and where there are any: status, the API's words, the jobid
├── InvalidArguments        refused before anything was sent, or by the API (400): problems, suggestion
├── NotConfigured           a setting is missing
├── Unauthorized            401: the API token
├── PaymentRequired         402: subscription or credits
├── Forbidden               403: the job belongs to another user
├── NotFound                404: job, asset or account unknown or expired
├── Conflict                409: a running job cannot be deleted
├── Moderated               422: prompt or image refused
├── Capacity                429: all slots in use
├── LimitReached            the owner's own limit of orders per hour
├── AccountSession          596: a Luma account's session must be refreshed by its owner
├── Upstream                the API answered, but with a failure of its own or unreadably
├── NetworkError            the API was not reached; nothing was ordered
├── OutcomeUnknown          an order went out and no readable answer came back
└── JobFailed               the job ran and failed

Every message says what was wrong, then what to do; whoever orders something is also told what happened
to the money.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NO_MONEY = "No job was started and nothing was spent."

Kind = Literal[
    "invalid_arguments",
    "not_configured",
    "unauthorized",
    "payment_required",
    "forbidden",
    "not_found",
    "conflict",
    "moderated",
    "capacity",
    "limit_reached",
    "account_session",
    "upstream",
    "network",
    "outcome_unknown",
    "job_failed",
]
Retry = Literal["never", "after_change", "later"]
FailureStage = Literal["dns", "tls", "proxy", "refused", "timeout", "broken", "unsendable"]
"""Where the way to the API ended: before it (`refused`: no connection), with it (`broken`), or on this machine."""


REFRESH_ANY = "luma-ray-mcp accounts refresh EMAIL (luma-ray-mcp accounts shows which)"


def refresh_command(email: str) -> str:
    """The command by which the owner of a Luma account renews its session."""
    # It comes from the API, and somebody will paste it into a shell.
    return f"luma-ray-mcp accounts refresh {shlex.quote(email)}"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one parameter. `allowed`: what would do there, given the words that can stay."""

    field: str
    value: Any
    message: str
    allowed: tuple[str, ...] = ()


class LumaError(Exception):
    """Base of all. `kind` and `retry` are for programs, the message is for people and agents.

    Attributes:
        message: what was wrong and what to do next, complete alone.
        status: the API's HTTP status, where it answered.
        api_message: the API's own words, where it had any.
        retry_after: seconds after which the API asked to try again, where it did.
        jobid: the job that this is about, where there is one; it can still be asked for.
    """

    kind: ClassVar[Kind]
    retry: Retry

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        api_message: str | None = None,
        retry_after: float | None = None,
        jobid: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.api_message = api_message
        self.retry_after = retry_after
        self.jobid = jobid

    def __str__(self) -> str:
        return self.message


class InvalidArguments(LumaError):
    """The request cannot be made. `problems`: each with its mend; `suggestion`: the nearest valid request."""

    kind = "invalid_arguments"
    retry = "after_change"

    def __init__(
        self,
        message: str = "",
        *,
        problems: Iterable[Problem] = (),
        suggestion: Mapping[str, object] | None = None,
        status: int | None = None,
        api_message: str | None = None,
    ) -> None:
        """`message` follows the problems' own messages."""
        self.problems = tuple(problems)
        self.suggestion = suggestion or None
        whole = " ".join([*(p.message for p in self.problems), message]).strip()
        super().__init__(whole, status=status, api_message=api_message)


class NotConfigured(LumaError):
    """A setting that this call needs is missing."""

    kind = "not_configured"
    retry = "after_change"


class Unauthorized(LumaError):
    """The API does not know the token."""

    kind = "unauthorized"
    retry = "after_change"


class PaymentRequired(LumaError):
    """No subscription, or no credits left."""

    kind = "payment_required"
    retry = "after_change"


class Forbidden(LumaError):
    """The job belongs to another user."""

    kind = "forbidden"
    retry = "never"


class NotFound(LumaError):
    """A job, an asset or an account that the API does not know, or no longer."""

    kind = "not_found"
    retry = "after_change"


class Conflict(LumaError):
    """The job's state forbids it: a running job cannot be deleted, nor stopped."""

    kind = "conflict"
    retry = "later"


class Moderated(LumaError):
    """Content moderation refused the prompt or an image."""

    kind = "moderated"
    retry = "after_change"


class Capacity(LumaError):
    """All slots of all accounts are in use: by the jobs `running`; of those finished, `deletable` could be deleted."""

    kind = "capacity"
    retry = "later"
    running: tuple[str, ...] = ()
    deletable: tuple[str, ...] = ()


class LimitReached(LumaError):
    """As many videos as the owner of the server allows were ordered within the hour. Nothing was ordered."""

    kind = "limit_reached"
    retry = "later"


class AccountSession(LumaError):
    """The Luma account's session has expired. Waiting does not help; its owner must refresh it."""

    kind = "account_session"
    retry = "after_change"

    def name(self, email: str | None) -> None:
        """Puts the account's e-mail address, where it is known, into the command that ends it."""
        if email:
            self.message = self.message.replace(REFRESH_ANY, refresh_command(email), 1)


class Upstream(LumaError):
    """The API answered, but with a failure of its own or with something that cannot be read."""

    kind = "upstream"
    retry: Retry = "later"


class NetworkError(LumaError):
    """The API could not be reached: DNS, TLS, refused connection, time-out. Nothing was ordered.

    `way`: where it ended, for programs.
    """

    kind = "network"
    retry = "later"
    way: FailureStage = "refused"


class OutcomeUnknown(LumaError):
    """An order went out and no readable answer came back: a job may be running and billed. Never sent again."""

    kind = "outcome_unknown"
    retry = "never"


class JobFailed(LumaError):
    """The job ran and failed; `api_message` is the reason that the API gives."""

    kind = "job_failed"
    retry = "after_change"
