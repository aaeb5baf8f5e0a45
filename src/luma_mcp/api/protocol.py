"""The API's shapes, tolerant of what is new in them.

Source: useapi.net, Luma API v1, pages of April 2026. Unknown fields are kept, unknown statuses mean "still
running", and a part that has another shape than documented is taken as absent rather than refused: a
record that was paid for is never thrown away because of one odd field.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from luma_mcp.catalog.useapi import API_NAMES
from luma_mcp.catalog.validate import check
from luma_mcp.errors import NO_MONEY, InvalidArguments

State = Literal["running", "completed", "failed"]
LONGEST_REASON, LONGEST_STATUS = 2000, 100
FINISHED: dict[str, State] = {"completed": "completed", "failed": "failed"}
"""The API's terminal statuses. Any other name is a running one."""


def _absent_if_odd(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


_TextOrNone = Annotated[str | None, WrapValidator(_absent_if_odd)]
_NumberOrNone = Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, WrapValidator(_absent_if_odd)]
_WholeOrNone = Annotated[int | None, WrapValidator(_absent_if_odd)]


class _Record(BaseModel):
    # Built at first use: a server that only lists its tools needs none of them.
    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)


class VideoRequest(BaseModel):
    """What to order. Only the prompt is needed; a left-out choice becomes the default, or the cheapest that fits.

    Names are this project's (`image_start`, the API's `imageStart`); values are the API's (`"5s"`, `"720p"`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    prompt: str
    model: str | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    duration: str | None = None
    dynamic_range: str | None = None
    image_start: str | None = None
    image_end: str | None = None
    image_character: str | None = None
    email: str | None = None
    reply_url: str | None = None
    reply_ref: str | None = None

    def words(self) -> dict[str, str]:
        """What was said, by parameter name."""
        return self.model_dump(exclude_none=True)

    def completed(self) -> VideoRequest:
        """The same request with every choice explicit.

        Raises:
            InvalidArguments: the request cannot be made; with every problem and the nearest that can.
        """
        verdict = check(self.words())
        if verdict.problems:
            raise InvalidArguments(NO_MONEY, problems=verdict.problems, suggestion=verdict.nearest)
        return VideoRequest(**(verdict.nearest or {}))

    def body(self) -> dict[str, str]:
        """The JSON body of `POST /videos`."""
        return {API_NAMES[name]: value for name, value in self.words().items()}

    @classmethod
    def from_body(cls, body: Any) -> VideoRequest | None:
        """The request that a record repeats, or None if it repeats none that can be read."""
        if not isinstance(body, dict):
            return None
        named = {name: body[api_name] for name, api_name in API_NAMES.items() if api_name in body}
        try:
            return cls(**named)
        except ValidationError:
            return None


class Media(_Record):
    """A file that the API made. `width` and `height` in pixels, `duration` in seconds."""

    url: str
    media_type: _TextOrNone = None
    width: _WholeOrNone = None
    height: _WholeOrNone = None
    duration: _NumberOrNone = None


def _media(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    return _absent_if_odd({"url": value} if isinstance(value, str) else value, validate)


_MediaOrNone = Annotated[Media | None, WrapValidator(_media)]


class Outputs(_Record):
    """The files of a finished job. `video_hdr_exr`: a ZIP of EXR frames; its shape is undocumented."""

    video: _MediaOrNone = None
    video_hdr_exr: _MediaOrNone = None
    thumbnail: _MediaOrNone = None
    last_frame: _MediaOrNone = None


class Credits(_Record):
    """What a job used: `dm_usage` in credits, `dm_relaxed_usage` in the plan's relaxed mode."""

    dm_usage: _NumberOrNone = None
    dm_relaxed_usage: _NumberOrNone = None


class Job(_Record):
    """The record of one job. `jobid` is opaque, and carries an e-mail address: personal data in logs."""

    jobid: str
    type: _TextOrNone = None
    status: Annotated[
        str, WrapValidator(lambda value, _: value[:LONGEST_STATUS] if isinstance(value, str) else "unknown")
    ] = "created"
    created: _TextOrNone = None
    updated: _TextOrNone = None
    response: Annotated[Outputs | None, WrapValidator(_absent_if_odd)] = None
    credits: Annotated[Credits | None, WrapValidator(_absent_if_odd)] = None
    error: Annotated[str | None, WrapValidator(lambda value, _: reason(value))] = None
    request: Annotated[VideoRequest | None, WrapValidator(lambda value, _: _request(value))] = None

    @property
    def state(self) -> State:
        """`running`, `completed` or `failed`, whatever the API calls it."""
        return FINISHED.get(self.status.casefold(), "running")

    @property
    def is_video(self) -> bool:
        """Whether it is a video; `image` jobs exist as well."""
        return self.type in (None, "video")

    @property
    def why_failed(self) -> str | None:
        """The API's reason, with its details where it has any."""
        details = reason((self.model_extra or {}).get("errorDetails"))
        return "; ".join(filter(None, (self.error, details))) or None

    @property
    def outputs(self) -> Outputs:
        """The finished files; empty while there are none."""
        return self.response or Outputs()

    def elapsed_seconds(self, now: datetime) -> float | None:
        """From its creation to its end, or to now while it runs; None if the record does not tell."""
        created = parse_time(self.created)
        ended = parse_time(self.updated) if self.state != "running" else now
        return max(0.0, (ended - created).total_seconds()) if created and ended else None


def _request(value: Any) -> VideoRequest | None:
    return value if isinstance(value, VideoRequest) else VideoRequest.from_body(value)


class Asset(_Record):
    """An uploaded image; it belongs to the account `email`, and lives 30 days. The assetRef is opaque."""

    asset_ref: str = Field(alias="assetRef")
    email: _TextOrNone = None


class ExecutingJob(_Record):
    """A row of `GET /jobs`."""

    jobid: str
    type: _TextOrNone = None
    account: _TextOrNone = None
    model: _TextOrNone = None
    created: _TextOrNone = None


class Account(_Record):
    """A configured Luma account. `credits` and `session_valid` only where one account was asked for."""

    email: str
    concurrency: _WholeOrNone = None
    executing: _WholeOrNone = None
    luma_session_expires: _TextOrNone = None
    session_valid: Annotated[bool | None, WrapValidator(_absent_if_odd)] = Field(None, alias="sessionValid")
    credits: Annotated[dict[str, Any] | None, WrapValidator(_absent_if_odd)] = None
    error: _TextOrNone = None

    @property
    def free_slots(self) -> int:
        """How many more jobs it takes now; none while it has an error."""
        return 0 if self.error else max(0, (self.concurrency or 0) - (self.executing or 0))


class AddedAccount(Account):
    """The answer of `POST /accounts`. `created`: it was not configured before."""

    created: Annotated[bool | None, WrapValidator(_absent_if_odd)] = None


def reason(value: Any) -> str | None:
    """The words of an error, which may come as a text or, in a shape that was not seen, as an object around one."""
    if isinstance(value, dict):
        value = value.get("message") or value.get("error")
    return value.strip()[:LONGEST_REASON] or None if isinstance(value, str) else None


def parse_time(text: str | None) -> datetime | None:
    """A time of the API (`2026-03-26T14:05:30.123Z`, `2026-05-27 02:20:34 UTC`, `2026-03-28`), in UTC."""
    try:
        time = datetime.fromisoformat((text or "").replace(" UTC", "+00:00"))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
