"""What a journal records and the operations that the service needs from it.

An order is inserted as `intent`, becomes `sent` immediately before its request goes out, and gets its jobid as soon as
the answer arrives. After a crash, the next process can therefore tell orders that were never sent from orders whose job
must be searched for.

    intent ──> sent ──> running ──> completed, failed
      ^         │ └───> unknown ──> running (its job was found) or given_up
      └─────────┘ certainly not delivered

`sqlite.py` is the implementation for one machine, `postgres.py` the one for several.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from luma_mcp.api.protocol import FINISHED, Job, ListedState, VideoRequest, parse_time
from luma_mcp.errors import Charged

OrderState = Literal["intent", "sent", "unknown", "running", "completed", "failed", "given_up"]
"""The stored values, which are part of the file format.

`intent`: pending, not delivered. `sent`: its request is on its way. `unknown`: no answer arrived and no job was found.
`given_up`: no job of it can run any more.
"""
UNSETTLED: tuple[OrderState, ...] = ("sent", "unknown")
"""States of an order whose answer is missing."""
CREDIT_FACTORS = ("model", "resolution", "duration", "dynamic_range")
"""The parameters that decide how many credits a job uses."""
UPLOAD_LIFETIME = timedelta(minutes=15)
"""How long the parts of a picture are kept, from the first one on."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Order:
    """One order of a video.

    Attributes:
        key: equal for orders that are the same.
        request: the complete request.
        ordered_at: when the order was accepted, in UTC.
        account: the account that its job runs in, if the request or its images determine it.
        save: whether its files are to be saved.
        sent_at: when its request was last sent.
        alive_at: the last heartbeat of the process that sends it.
        seconds: how long its job took.
        credits: what its job used.
        error: why its job failed.
        files: absolute paths of its saved files.
        deleted: whether its job was deleted from here.
        by_api_clock: whether `ordered_at` and `sent_at` are times of the API's clock, which is reliable. Otherwise
            they come from the clock of this machine, which can be wrong by years.
        answer_status: HTTP status of an answer that does not show whether a job was started.
        adopted: whether its job was found in a list, instead of being named in an answer.
        delivered, delivered_at: whether the finished job was returned to somebody, and when that was last done.
        link: the last link to its video.
        continues: the jobid of the clip that it continues.
        price: what it was expected to cost, in the API's unit; None if that was not known.
        charged: whether its job was charged, where the API says that of a job that failed.
        ordered_by: who ordered it, for the report on usage; empty for the one owner of a server.
    """

    key: str
    request: VideoRequest
    ordered_at: datetime
    account: str | None = None
    save: bool = False
    state: OrderState = "intent"
    sent_at: datetime | None = None
    alive_at: datetime | None = None
    jobid: str | None = None
    seconds: float | None = None
    credits: float | None = None
    error: str | None = None
    files: tuple[str, ...] = ()
    deleted: bool = False
    by_api_clock: bool = False
    answer_status: int | None = None
    adopted: bool = False
    delivered: bool = False
    delivered_at: datetime | None = None
    link: str | None = None
    continues: str | None = None
    price: float | None = None
    charged: Charged | None = None
    ordered_by: str = ""
    id: str = field(default_factory=secrets.token_hex)

    def has_recorded(self, job: Job, now: datetime) -> bool:
        """Whether `record_state` would change nothing. False for a finished adopted job, which must be verified."""
        if job.state == "running":
            return self.state != "given_up"
        link = job.files.video.url if job.files.video else None
        seconds = job.elapsed_seconds(now)
        if seconds is None:
            # The record does not say it, so it stays as it is.
            seconds = self.seconds
        seen = (job.state, seconds, job.credits_used, job.failure_reason, link, job.charged)
        recorded = (self.state, self.seconds, self.credits, self.error, self.link, self.charged)
        has_times = self.by_api_clock or parse_time(job.created) is None
        return not self.adopted and has_times and seen == recorded

    def get_spent(self, unpriced: float) -> float:
        """Get what it counts for in a budget: what it used, else its price, else `unpriced`."""
        if self.charged == "no":
            return 0.0
        for amount in (self.credits, self.price):
            # A value that cannot be read counts as unknown.
            if isinstance(amount, int | float):
                return amount
        return unpriced


@dataclass(frozen=True, slots=True)
class RateWindow:
    """At most `limit` orders, or orders for at most `budget`, from `since` until `until`.

    The budget is in the API's unit. An order of which neither the price nor the use is known counts as `unpriced`. One
    without a price is allowed as long as anything of the budget is left.

    A pending order counts only if it was inserted or had a heartbeat after `pending_since`: an older one belongs to a
    process that was killed, and never goes out. Orders after `until` have the time of a clock that was wrong.
    """

    limit: int | None
    since: datetime
    pending_since: datetime
    until: datetime
    budget: float | None = None
    unpriced: float = 0.0

    def has_room(self, count: int, spent: float, price: float | None, *, orders: int = 1) -> bool:
        """Whether it has room for more `orders` of this price each, with `count` orders that have spent so much."""
        if self.limit is not None and count + orders > self.limit:
            return False
        if self.budget is None:
            return True
        if price is None:
            return spent + self.unpriced * (orders - 1) < self.budget
        # A sum of decimal fractions can be off by its last digits.
        return spent + price * orders <= self.budget * (1 + _ROUNDING)


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Which orders to list.

    Attributes:
        state: None: all but deleted ones.
        text: what the prompt contains, each part between spaces for itself; case and accents do not count.
        since, before: when it was ordered, in UTC; `before` itself is excluded.
        running: the jobids that are running now, whatever the journal says.
        missing: the jobids that the API does not know at present, and that are not new.
        stale_before: an order from before that time that is not in `running` cannot be running any more.
    """

    state: ListedState | None = None
    text: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    running: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    stale_before: datetime | None = None

    def get_state(self, state: OrderState, *, jobid: str | None, ordered_at: datetime, deleted: bool) -> ListedState:
        """Get the state that a list shows for an order with these values."""
        if jobid in self.running:
            return "running"
        if deleted:
            return "deleted"
        if state in FINISHED:
            return FINISHED[state]
        is_stale = self.stale_before is not None and ordered_at < self.stale_before
        is_running = state == "running" and not is_stale and jobid not in self.missing
        return "running" if is_running else "unknown"


@dataclass(frozen=True, slots=True)
class Usage:
    """The orders of one tenant with one model, without those that were not sent.

    Attributes:
        credential: the id of the API and the credential that they were made with.
        tenant: the tenant's id; empty for orders of the credential's owner.
        ordered_by: the tenant's name when they were placed.
        model: the model; None if it cannot be read.
        completed, failed, running: how many jobs ended so, or run.
        unknown: how many orders have no answer, or a job whose end was never seen.
        spent: what they count for in a budget, in the API's unit.
        unpriced: how many of them are not in `spent`, because neither their price nor their use is known.
    """

    credential: str
    tenant: str
    ordered_by: str
    model: str | None
    completed: int = 0
    failed: int = 0
    running: int = 0
    unknown: int = 0
    spent: float = 0.0
    unpriced: int = 0

    @property
    def orders(self) -> int:
        """How many there are."""
        return self.completed + self.failed + self.running + self.unknown


class JournalBusy(Exception):
    """Another process has locked the storage."""


class LimitExceeded(Exception):
    """A rate window has no room for another order; `spent`: what those in it have spent."""

    def __init__(self, window: RateWindow, spent: float) -> None:
        super().__init__(window)
        self.window = window
        self.spent = spent


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """State of a journal file or database.

    Attributes:
        state: `ok`: can be read and written. `missing`: does not exist yet. `locked`: another process keeps it locked.
            `damaged`: not a readable database. `newer`: written by a later version that does not share it. `older`:
            its tables lack what this version needs, until they are migrated. `foreign`: a database of another program.
            `unusable`: anything else, for example no permission.
        orders: how many orders it holds; 0 unless `ok`.
        reason: the detail, for example as reported by SQLite or the operating system; empty if there is none.
        damaged_copies: damaged files that were moved aside earlier.
    """

    state: Literal["ok", "missing", "locked", "damaged", "newer", "older", "foreign", "unusable"]
    orders: int = 0
    reason: str = ""
    damaged_copies: tuple[Path, ...] = ()


class Replicas(Protocol):
    """What the servers that share a journal's database agree on. Times are those of the database's clock.

    No method raises: while the database cannot be used, no lease is granted, and nothing is announced.
    """

    async def acquire(self, name: str, seconds: float) -> bool | None:
        """Take a lease, or renew one that this process has; False if another process has it.

        None if the database cannot be used, so that it is not known. Names of leases are shared within a credential.
        """

    async def release(self, name: str) -> None:
        """Release a lease of this process, so that others need not wait until it expires."""

    async def announce(self, jobid: str, *, by_webhook: bool = False) -> None:
        """Notify all processes, including this one, that a job may have changed. Only a hint: it can get lost.

        `by_webhook`: whether a webhook of the API, rather than a poll, reported it.
        """

    def on_announcement(self, notify: Callable[[str, bool], None]) -> Callable[[], None]:
        """Call `notify` in the event loop with each jobid that is announced, and whether that was by a webhook.

        Called with "" if announcements may have been missed. Returns a function that ends it; the journal's end does
        that, too.
        """


class Journal(Protocol):
    """The orders made with one credential at one API, and the images uploaded for them.

    Where several tenants order with one credential, each has a journal of its own: its `api` ends in a slash and the
    tenant's id. Such a journal has only what is the tenant's, except where a method says otherwise.

    Statements are executed completely or not at all, in the order in which they were awaited. Once a statement has
    begun, cancelling its caller does not interrupt it: the result is returned, and the cancellation is raised at the
    caller's next checkpoint. A caller that was cancelled earlier changes nothing.

    What happens while the storage cannot be used depends on it. Either orders are kept elsewhere, where other processes
    do not see them, and no method raises because of that. Or nothing can be ordered: `insert_pending`, `mark_sending`,
    `get_open`, `list_finished` and `list_counted`, which decide about an order, raise `JournalUnavailable`; the other
    queries find nothing; and what is to be recorded of orders that are on their way is written later.
    """

    @property
    def refuses_orders(self) -> bool:
        """Whether nothing is ordered while the storage cannot be used."""

    @property
    def replicas(self) -> Replicas | None:
        """What it shares with processes of other machines; None if no other machine uses the storage."""

    @property
    def problem(self) -> str | None:
        """Why the storage is not in use, as a neutral clause; None while it is in use or where there is none."""

    async def aclose(self) -> None:
        """Write what the storage missed, if possible, and close. Cannot be cancelled; may be called twice."""

    # The life of an order. Each method writes in one transaction.

    async def insert_pending(
        self, order: Order, *, allow_duplicate: bool, windows: Sequence[RateWindow], is_patient: bool = False
    ) -> Order | None:
        """Insert a pending order atomically, unless it is a duplicate or exceeds a limit.

        Another pending order with the same key is removed: its process must not send it any more, which
        `mark_sending` reports. With `allow_duplicate`, orders with the same key are neither looked for nor removed.

        Returns:
            None if the order was inserted; otherwise the open order with the same key, and nothing was written.

        Raises:
            LimitExceeded: one of `windows` has no room for it; nothing was written.
            JournalBusy: with `is_patient`, another process has locked the storage; nothing was written.
            JournalUnavailable: the storage cannot be used, and orders are not kept elsewhere.
        """

    async def mark_sending(self, order: Order) -> bool:
        """Record that the order is about to be sent; False if it must not be, since it is not recorded any more."""

    async def heartbeat(self, order: Order) -> None:
        """Record that this process is still working on the order. Skipped if the storage is busy."""

    async def mark_not_delivered(self, order: Order) -> None:
        """Make an order pending again that certainly did not arrive."""

    async def drop(self, order: Order) -> None:
        """Remove an order that certainly produced no job."""

    async def drop_pending(self, order: Order) -> None:
        """Remove an order if it is still pending."""

    async def mark_unknown(self, order: Order) -> None:
        """Record that no job was found, the order's times and its `answer_status`. An order that has a job keeps it."""

    async def give_up(self, order: Order) -> None:
        """Record that no job of this order can run any more. An order that has a job keeps it."""

    async def record_job(self, order: Order, jobid: str) -> None:
        """Record the jobid from the API's answer, and the order's times.

        An order that had adopted this job, whichever tenant's, loses it and becomes `unknown`.
        """

    async def adopt(self, order: Order, jobid: str) -> bool:
        """Give a running job to an order whose answer was lost; False if another order has it, whichever tenant's."""

    async def release(self, jobid: str) -> None:
        """Take an adopted job away from its order, which becomes `unknown`: the job belongs to another order."""

    # Jobs that were ordered here. Jobs of other origin are ignored.

    async def record_state(self, job: Job) -> None:
        """Record how a job ended, and the link to its video. How long it took stays as it is if the job does not say.

        The times of an order that are not by the API's clock become that of the job's record, which is.
        Of a running job only record that it runs, if it had been given up.
        """

    async def mark_gone(self, jobid: str) -> None:
        """Record that the API does not know a job any more that was last seen running."""

    async def request_files(self, jobid: str) -> None:
        """Record that the job's files are to be saved."""

    async def record_files(self, jobid: str, files: tuple[str, ...]) -> None:
        """Record the absolute paths of the job's saved files."""

    async def mark_delivered(self, jobid: str) -> None:
        """Record that the finished job was returned to somebody."""

    async def mark_deleted(self, jobid: str) -> None:
        """Record that the job was deleted. Only finished jobs can be, so a running one becomes `completed`."""

    # Queries. Lists of orders begin with the newest.

    async def get(self, order_id: str) -> Order | None:
        """The order as it is now; None if it was removed."""

    async def get_by_jobid(self, jobid: str, *, is_certain: bool = False) -> Order | None:
        """The order of a job. With `is_certain`, None means that there is none.

        Raises:
            JournalUnavailable: with `is_certain`, no order was found, and the storage cannot be used.
        """

    async def get_open(self, key: str) -> Order | None:
        """The newest order with this key whose job may be running."""

    async def list_finished(self, key: str) -> list[Order]:
        """The orders with this key whose job is finished and was not deleted; each has a jobid."""

    async def list_unsettled(self) -> list[Order]:
        """The orders whose answer is missing."""

    async def list_rivals(self) -> list[Order]:
        """The orders whose answer is missing, of every tenant with the credential: a job may belong to any of them."""

    async def list_unsettled_tenants(self) -> set[str]:
        """The ids of the tenants with the credential that have orders whose answer is missing; empty for its owner."""

    async def list_missing_files(self, since: datetime, before: datetime) -> list[Order]:
        """The orders from `since` until `before` whose files were requested and are not saved."""

    async def list_latest(self, limit: int) -> list[Order]:
        """The newest orders, without pending ones."""

    async def list_running(self) -> list[Order]:
        """The orders whose job was running when it was last seen."""

    async def find_orders(self, query: OrderQuery, limit: int) -> tuple[list[Order], int]:
        """The newest orders that the query selects, without pending ones; and how many there are in all."""

    async def list_counted(self, window: RateWindow) -> list[Order]:
        """The orders that count in the window."""

    async def list_deletable(self, limit: int) -> list[Order]:
        """The newest orders whose job is finished and was not deleted; each has a jobid."""

    async def owned_jobids(self, *, of_all: bool = False) -> set[str]:
        """The jobids that belong to an order; with `of_all`, to one of any tenant with the credential."""

    async def typical_seconds(self, *kinds: Mapping[str, str]) -> list[tuple[float, float] | None]:
        """For each kind the 10th and 90th percentile of the durations of recent jobs with these parameters, in seconds.

        None for a kind of which fewer than five have finished.
        """

    async def credits_used(self, kind: Mapping[str, str]) -> dict[tuple[str, ...], tuple[float, float]]:
        """The least and the most credits that recent jobs used, of those that were completed and have these parameters.

        By `CREDIT_FACTORS`, the values of the parameters that decide about them; the latest first.
        """

    async def summarize_usage(self, since: datetime | None = None) -> list[Usage]:
        """What was ordered since a time, or ever. Only a journal of every API has the usage of all tenants.

        Raises:
            JournalUnavailable: the storage cannot be used.
        """

    # Uploaded images. `digest` identifies the uploaded bytes. An asset belongs to one account and expires.

    async def find_asset(self, digest: str, account: str) -> str | None:
        """The assetRef of these bytes in this account, if it has not expired."""

    async def is_known_asset(self, digest: str) -> bool:
        """Whether these bytes were uploaded to any account and have not expired."""

    async def account_of_asset(self, asset_ref: str, *, is_certain: bool = False) -> str | None:
        """The account that the asset was uploaded to from here. `is_certain`: as in `get_by_jobid`."""

    async def digest_of_asset(self, asset_ref: str) -> str | None:
        """The digest of the bytes that the asset was made from here."""

    async def size_of_asset(self, asset_ref: str) -> tuple[int, int] | None:
        """The width and height in pixels of the image that the asset was made from here."""

    async def record_asset(
        self, digest: str, account: str, asset_ref: str, size: tuple[int, int] | None = None
    ) -> None:
        """Record an upload with the image's width and height, and remove expired ones."""

    async def forget_asset(self, asset_ref: str) -> None:
        """Remove an asset that the API does not know any more."""

    # Pictures that arrive in parts. `upload` names one; each tenant has names of its own. Every part of an upload
    # expires `UPLOAD_LIFETIME` after its first one. While the storage cannot be used, parts may be lost.

    async def add_part(self, upload: str, offset: int, data: bytes, *, most: int) -> int | None:
        """Keep a part if it begins where the earlier ones end; how many bytes of the picture there are now.

        Nothing is kept of a part that begins elsewhere. Expired uploads are removed. None, and nothing is kept, if all
        uploads of the tenant would take more than `most` bytes.

        Raises:
            JournalUnavailable: the storage cannot be used, and nothing is kept elsewhere.
        """

    async def read_parts(self, upload: str) -> bytes:
        """What has arrived of a picture and has not expired.

        Raises:
            JournalUnavailable: as `add_part`.
        """

    async def remove_parts(self, upload: str | None = None) -> None:
        """Remove an upload, if one is named, and those that have expired, whichever tenant's."""


def split_api(api: str) -> tuple[str, str]:
    """Split the `api` of a journal into what all tenants of a credential share, and the tenant's id."""
    credential, _, tenant = api.partition("/")
    return credential, tenant


def join_api(credential: str, tenant: str) -> str:
    """Build the `api` of the journal of a tenant that does not own the credential."""
    return f"{credential}/{tenant}"


_DURATION = re.compile(r"(\d{1,4})s")
_LONGEST_CHAIN = 100
"""Extensions of one clip that are followed in the journal."""


async def count_clip_seconds(journal: Journal, order: Order) -> float | None:
    """Get the nominal length of an order's clip, with the clips that it extends; None if the journal lacks one."""
    total = 0.0
    current: Order | None = order
    for _ in range(_LONGEST_CHAIN):
        duration = _DURATION.fullmatch(current.request.duration or "") if current else None
        if current is None or duration is None:
            return None
        total += int(duration[1])
        if current.request.extend is None:
            return total
        current = await journal.get_by_jobid(current.request.extend)
    return None
