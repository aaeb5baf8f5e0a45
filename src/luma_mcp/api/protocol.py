"""What a video API offers to the rest of the package: `VideoApi`, and the records that go in and come out.

The records are plain dataclasses. Each API's `responses.py` builds them from its JSON and is tolerant there: a part
that has another shape than documented is absent. All times are the API's own strings; `parse_time` reads them.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal, Protocol, Self

# At run time too, so that `typing.get_type_hints(VideoRequest)` works for library users.
from luma_mcp.catalog.agents import ModelName as AgentsModelName
from luma_mcp.catalog.agents import Resolution as AgentsResolution
from luma_mcp.catalog.models import AspectRatio, Catalog, Duration
from luma_mcp.catalog.useapi import DynamicRange, ModelName, Resolution
from luma_mcp.errors import Charged, JobFailed, LumaError, Retry

RETRY_TIMEOUT = 20.0
"""Default time in seconds within which a call is sent again after a transient failure."""
LONGEST_SEGMENT = 2_000
"""Characters of a jobid or an address, at most, that a request names."""

LARGEST_CREDITS = 1e12
"""More credits than any account has; larger and non-finite numbers are ignored."""

JobState = Literal["running", "completed", "failed"]
ListedState = Literal["running", "completed", "failed", "unknown", "deleted"]
"""What a list says of an order. `unknown`: how it ended, or whether it has a job, is not known. `deleted`: its job was
deleted from here."""
FINISHED: dict[str, JobState] = {"completed": "completed", "failed": "failed"}
UNFINISHED = frozenset({"created", "queued", "pending", "processing"})
"""The documented statuses of jobs that have ended, and of jobs that have not."""
SAVED_FILES = {"video": ".mp4", "video_hdr_exr": "-exr.zip"}
"""The files of a job that are saved, and how their names end."""
PROMPT_PARTS, LONGEST_PROMPT = 6, 40
"""How much of the prompt is in a file's name: so many of its first terms, in so many characters."""
LONGEST_TITLE = 96
"""Bytes of that part in UTF-8: disks count bytes, and some accept only 143 for a name."""
_TERM = re.compile("a[am]*(?:ia[am]*)*")
# Invisible characters that would split words: soft hyphens and the like, and variation selectors.
_INVISIBLE = re.compile("[\u00ad\u061c\u200e\u200f\u2060\ufe00-\ufe0f\ufeff\u20e3]")


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A picture of a clip: the reference of an uploaded image, and its time in seconds from the beginning."""

    image: str
    seconds: float


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """What to make. Only the prompt is required.

    A choice that is left out becomes the documented default where that fits the rest, else the cheapest value that
    does. The types are for type checkers and name what any API takes; a client's `submit` checks the values.
    """

    prompt: str
    """What the video shows: 1 to 2000 characters; with Luma's Agents API, up to 6000."""
    model: ModelName | AgentsModelName | None = None
    """Ray model."""
    resolution: Resolution | AgentsResolution | None = None
    """Resolution; a higher one takes longer and costs more."""
    aspect_ratio: AspectRatio | None = None
    """Width to height."""
    duration: Duration | None = None
    """Length."""
    dynamic_range: DynamicRange | None = None
    """Dynamic range: `sdr` plays in browsers, `hdr` is HDR10 video, `hdr_exr` adds a ZIP of EXR frames."""
    image_start: str | None = None
    """First frame: the `asset_ref` of an uploaded image."""
    image_end: str | None = None
    """Last frame: the `asset_ref` of an uploaded image."""
    image_character: str | None = None
    """A character to show: the `asset_ref` of an uploaded image."""
    email: str | None = None
    """Luma account to use; any with a free slot if omitted. A job runs on the account of its images."""
    reply_url: str | None = None
    """Webhook, called on submission and at the end: an http(s) URL of at most 1024 characters."""
    reply_ref: str | None = None
    """Your reference, echoed to the webhook."""
    loop: bool | None = None
    """The end leads into the beginning. Only Luma's Agents API has this and what follows."""
    keyframes: tuple[Keyframe, ...] | None = None
    """Up to 64 pictures, each with its time in seconds; none of the other images goes with them."""
    extend: str | None = None
    """Continue an earlier clip as one longer clip: its jobid."""

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """Build a request by parameter names; `TypeError` if one is unknown, or the prompt is missing."""
        values = dict(params)
        if "keyframes" in values:
            values["keyframes"] = tuple(Keyframe(**keyframe) for keyframe in values["keyframes"])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters that are set, by name, as JSON values."""
        params = {row.name: getattr(self, row.name) for row in fields(self)}
        if self.keyframes is not None:
            params["keyframes"] = [asdict(keyframe) for keyframe in self.keyframes]
        return {name: value for name, value in params.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Media:
    """A file that the API made. `width` and `height` in pixels, `duration` in seconds. Links expire: download soon."""

    url: str
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The files of a finished job. `video_hdr_exr`: EXR frames, for `hdr_exr` only. `others`: of unknown types."""

    video: Media | None = None
    video_hdr_exr: Media | None = None
    thumbnail: Media | None = None
    last_frame: Media | None = None
    others: tuple[Media, ...] = ()


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a job's record could not be fetched again, and for how many seconds."""

    error: LumaError
    seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """The record of one job.

    Attributes:
        jobid: opaque. It contains an e-mail address: personal data in logs.
        status: the API's own name for the job's state, shown as it is; programs use `state`.
        kind: `video` or `image`; None if the record does not name it.
        credits_used: what it cost, where the API says that.
        failure_reason: the API's reason, with its details if there are any.
        charged: whether a job that failed was charged, where the API's documents say that; None if its record does.
        retry: when the same order can succeed after a failure, where the API's documents say that.
        request: the complete request; None if it was ordered elsewhere, since the API's records do not repeat it.
        outage: None if the record is up to date.
    """

    jobid: str
    status: str = "created"
    kind: str | None = None
    created: str | None = None
    updated: str | None = None
    files: JobFiles = field(default_factory=JobFiles)
    credits_used: float | None = None
    failure_reason: str | None = None
    charged: Charged | None = None
    retry: Retry | None = None
    request: VideoRequest | None = None
    outage: Outage | None = None

    @property
    def has_known_status(self) -> bool:
        """Whether the status is a documented one."""
        return self.status.casefold() in UNFINISHED | FINISHED.keys()

    @property
    def state(self) -> JobState:
        """`running`, `completed` or `failed`, whatever the API calls it."""
        status = self.status.casefold()
        if status in FINISHED:
            return FINISHED[status]
        if not self.has_known_status:
            # An undocumented status: the content of the record decides.
            if self.files.video:
                return "completed"
            if self.failure_reason:
                return "failed"
        return "running"

    @property
    def is_video(self) -> bool:
        """Whether it is a video; the API also has `image` jobs."""
        return self.kind in (None, "video")

    def build_failure(self) -> JobFailed:
        """Build the error of a job that has failed."""
        failure = JobFailed(jobid=self.jobid, api_message=self.failure_reason, credits_used=self.credits_used)
        failure.charged = self.charged or failure.charged
        failure.retry = self.retry or failure.retry
        return failure

    def elapsed_seconds(self, now: datetime) -> float | None:
        """Seconds from its creation to its end, or to `now` while it runs; None if the record has no times."""
        created = parse_time(self.created)
        end = now if self.state == "running" else parse_time(self.updated)
        if created is None or end is None:
            return None
        return max(0.0, (end - created).total_seconds())


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A row of the API's list of running jobs, which does not contain the prompt."""

    jobid: str
    kind: str | None = None
    account: str | None = None
    model: str | None = None
    created: str | None = None

    @property
    def is_video(self) -> bool:
        """Whether it is a video; the API also has `image` jobs."""
        return self.kind in (None, "video")


@dataclass(frozen=True, slots=True)
class Account:
    """A Luma account that is configured at the API.

    Attributes:
        concurrency: its slots: how many jobs can run at once.
        executing: how many jobs run now.
        session_valid: whether its session was found to work just now; None unless the account was fetched alone.
        credits: `usage` and `limit`; None unless the account was fetched alone.
        error: why it cannot be used.
    """

    email: str
    concurrency: int | None = None
    executing: int | None = None
    session_expires: str | None = None
    session_valid: bool | None = None
    credits: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def free_slots(self) -> int:
        """How many more jobs it takes now; none while it has an error."""
        if self.error:
            return 0
        return max(0, (self.concurrency or 0) - (self.executing or 0))

    @property
    def credits_limit(self) -> float | None:
        """How many credits the account has in all, if it was fetched alone and the record says so."""
        return self._get_credits("limit")

    @property
    def credits_left(self) -> float | None:
        """How many of them it has left."""
        usage, limit = self._get_credits("usage"), self.credits_limit
        return None if usage is None or limit is None else max(0.0, limit - usage)

    def _get_credits(self, name: str) -> float | None:
        value = (self.credits or {}).get(name)
        with suppress(TypeError, ValueError):
            # Numbers may also be written as text.
            number = float("" if value is None or isinstance(value, bool) else value)
            return number if abs(number) < LARGEST_CREDITS else None
        return None


@dataclass(frozen=True, slots=True)
class AddedAccount(Account):
    """An account that was added. `created`: False if it existed and its session was refreshed; None if not known."""

    created: bool | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """An uploaded image.

    `asset_ref` is opaque; where there are accounts, the asset belongs to the account `email`. `failure_reason`: why it
    cannot be used.
    """

    asset_ref: str
    email: str | None = None
    failure_reason: str | None = None


class DeliveryObserver(Protocol):
    """Records the steps of an order. Cancelling never separates a step from its record: both are shielded together."""

    async def sending(self) -> None:
        """Record that the order is about to be sent. An exception raised here keeps it from being sent."""

    async def not_delivered(self) -> None:
        """Record that the order surely did not arrive, or was rejected."""


@dataclass(frozen=True, slots=True)
class ApiFeatures:
    """Which optional operations an API supports."""

    # The job of a lost answer can only be found where the running jobs are listed.
    list_running: bool
    delete: bool
    # Uploaded images belong to an account.
    accounts: bool
    # An uploaded image can be looked up.
    get_asset: bool = False


FEATURES = {
    "useapi": ApiFeatures(list_running=True, delete=True, accounts=True),
    "agents": ApiFeatures(list_running=False, delete=False, accounts=False, get_asset=True),
}
"""By `Catalog.api`. Here, because the tools that are offered depend on them before anything is connected."""


class VideoApi(Protocol):
    """The operations of a video API, for one credential.

    `retry_timeout` is the time in seconds within which a call is sent again after a transient failure; 0 sends it
    once. An order that may have arrived is never sent again. Every method raises a `luma_mcp.errors.LumaError`.
    An operation that `features` excludes is never called.
    """

    catalog: Catalog
    features: ApiFeatures

    def now(self) -> datetime | None:
        """Get the time of day by the API's clock; None until an answer has shown it. Call it in an event loop.

        It runs on with the event loop's clock, so setting the clock of this machine does not change it.
        """

    async def submit(
        self,
        request: VideoRequest,
        *,
        retry_timeout: float = RETRY_TIMEOUT,
        observer: DeliveryObserver | None = None,
        reply_url: str | None = None,
    ) -> Job:
        """Order a video. The request is complete; the returned job contains it.

        `reply_url`: what the API is to call if the request names nothing. It is sent, and is no part of the request.
        After `OutcomeUnknown` it may have been accepted, or not. `charged` is "no" where nothing was ordered.
        """

    async def get(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Job:
        """Fetch the current record of a job."""

    async def check(self, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        """Check that the API accepts the credential, at no cost. The answer shows the API's time."""

    async def list_running(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[RunningJob, ...]:
        """Fetch the jobs that are running now."""

    async def upload(
        self, data: bytes, media_type: str, account: str, *, retry_timeout: float = RETRY_TIMEOUT
    ) -> Asset:
        """Upload an image to an account (empty where there are none), and wait until it can be used."""

    async def get_asset(self, asset_ref: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Asset:
        """Fetch an uploaded image, waiting until it can be used; `NotFound` if the API does not have it any more."""

    async def delete(self, jobid: str, *, retry_timeout: float = RETRY_TIMEOUT) -> None:
        """Delete a finished job and free its slot. Nothing stops a running job."""

    async def accounts(self, *, retry_timeout: float = RETRY_TIMEOUT) -> tuple[Account, ...]:
        """Fetch the configured accounts and their slots; empty if there are none."""

    async def account(self, email: str, *, retry_timeout: float = RETRY_TIMEOUT) -> Account:
        """Fetch one account, with its session and credits as they are now."""

    async def aclose(self) -> None:
        """Close the connections. Running jobs continue."""


def parse_time(text: str | None) -> datetime | None:
    """Parse a time of the API (`2026-03-26T14:05:30.123Z`, `2026-05-27 02:20:34 UTC`, `2026-03-28`); UTC by default."""
    try:
        time = datetime.fromisoformat((text or "").replace(" UTC", "+00:00"))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def file_stem(job: Job, *, with_prompt: bool = True) -> str:
    """Build a file name without its ending: the day, the beginning of the prompt, and a short id of the job.

    With any ending of ours, and a number before it, it has at most 143 bytes in UTF-8, which every disk accepts.
    """
    created = datetime.now(UTC).astimezone()
    # The API's time may lie outside of what this machine's time zone can express.
    with suppress(OverflowError, OSError, ValueError):
        created = (parse_time(job.created) or created).astimezone()
    title = format_title(job.request.prompt) if job.request and with_prompt else ""
    return f"{created:%Y-%m-%d}_{title or 'video'}_{blake2b(job.jobid.encode(), digest_size=4).hexdigest()}"


def film_stem(title: str | None, now: datetime) -> str:
    """Build the file name of a film without its ending: the day, and the beginning of the title. As short as others."""
    return f"{now.astimezone():%Y-%m-%d}_{format_title(title or '') or 'film'}"


def format_title(text: str) -> str:
    """Format the beginning of a text as a part of a file name: its first words, in any script, with hyphens."""
    # A file whose name the system's encoding lacks (in the C locale of old systems) could not be created.
    encoding = sys.getfilesystemencoding()
    text = text.encode(encoding, "ignore").decode(encoding)
    # Lower case splits the Turkish "İ" into an i and a second dot.
    text = unicodedata.normalize("NFC", text).lower().replace("i\u0307", "i")
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    terms = [text[match.start() : match.end()] for match in _TERM.finditer("".join(map(_letter_class, text)))]
    title = "-".join(terms[:PROMPT_PARTS])
    end = min(len(title), LONGEST_PROMPT, len(title.encode()[:LONGEST_TITLE].decode(errors="ignore")))
    # Not between a letter and its signs, nor within a ligature.
    while 0 < end < len(title) and (_letter_class(title[end]) == "m" or _joins_next(title[end - 1])):
        end -= 1
    if end < len(title):
        # Drop a cut last word, unless too much would be lost.
        last_term = title.rfind("-", 0, end + 1)
        end = last_term if last_term > end / 2 else end
    return title[:end].strip("-")


def _letter_class(character: str) -> str:
    """Classify a character for `_TERM`: a letter or digit, a mark that belongs to it, inside a word only, or none."""
    kind = unicodedata.category(character)[0]
    if kind in "LN":
        return "a"
    # The joiners, and the separator of vowels within words of Mongolian.
    if kind == "M" or character in "\u180e\u200c\u200d":
        return "m"
    return "i" if character in "\u00b7\u05f3\u05f4\u2019" else "-"


def _joins_next(character: str) -> bool:
    """Whether a character joins the next one to the letter before it: a joiner, or the virama of an Indic script."""
    return character == "\u200d" or unicodedata.combining(character) == 9
