"""The simulated Agents API of Luma: its orders of videos, its files, and its answers.

It orders what the catalog offers and refuses what it does not know. Pictures, edits, reframing and continuing backwards
are not simulated, and links are not fetched. Source: the official SDK `luma-agents` 0.5.0 and Luma's documentation, as
of 2026-11-25; where these are silent, the texts and statuses are ours.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.datastructures import MutableHeaders, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from luma_mcp.catalog.validate import count_seconds, validate
from luma_mcp.simulator.app import IMAGE_SIGNATURES, Simulator
from luma_mcp.simulator.state import (
    BEHAVIORS,
    FAILURE,
    FRAME_RATE,
    MAX_UPLOADS,
    Answer,
    Behavior,
    Service,
    SimulatedJob,
    Upload,
    outage_of,
    rejection_of,
    timestamp,
)

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

PREFIX = "/v1"
KEY = "luma-api-simulated"
API_VERSION = "2026-04-01"
LINK_SECONDS = 3600.0
"""How long a link to a file works. Each look-up of the job makes a new one."""
RATE_WINDOW = 60.0
CAPACITY_RETRY_AFTER = 60
LARGEST_FILE = 52_428_800
LONGEST_VIDEO = 30

_REFERENCE_KINDS = ("url", "data", "generation_id", "file_id")
_BODY_FIELDS = {"prompt", "model", "type", "aspect_ratio", "video", "user_id"}
_FRAMES = {"start_frame": "image_start", "end_frame": "image_end"}
_SWITCHES = ("hdr", "exr_export", "loop")
_VIDEO_FIELDS = {"resolution", "duration", "keyframes", "keyframe_indexes", *_FRAMES, *_SWITCHES}


def detail(text: str) -> dict[str, Any]:
    """Build the API's error body."""
    return {"detail": text}


_INTERNAL: Answer = (500, detail("Internal server error"))
_UNAUTHORIZED: Answer = (401, detail("Invalid API key"))
_LIMITED: Answer = (429, detail("Rate limit exceeded"))

# Those of the other API that mean the same here, and some of its own. Accounts with sessions, a list of running jobs,
# deleting and credits do not exist here; moderation fails a job.
AGENTS_BEHAVIORS: Mapping[str, Behavior] = {
    "unauthorized": rejection_of("the API key is not accepted", *_UNAUTHORIZED),
    "suspended": rejection_of("the account is suspended", 403, detail("Client is suspended")),
    "no-hdr": rejection_of("the account has no access to HDR", 403, detail("HDR is not enabled for this client")),
    "broke": rejection_of("the credits are used up", 402, detail("Insufficient credits")),
    "bad-link": rejection_of("a picture could not be fetched", 422, detail("Could not fetch the image")),
    "limited": rejection_of("too many requests in a minute", *_LIMITED),
    "busy": rejection_of("too many jobs are running", 429, detail("Too many concurrent jobs")),
    "down": rejection_of("the API fails, and no job is started", *_INTERNAL),
    "retry-after": BEHAVIORS["retry-after"],
    "lost": BEHAVIORS["lost"],
    "dropped": BEHAVIORS["dropped"],
    "truncated": BEHAVIORS["truncated"],
    "unstarted": BEHAVIORS["unstarted"],
    "outage": outage_of("every request fails with 500", _INTERNAL),
    "unreachable": BEHAVIORS["unreachable"],
    "revoked": outage_of("the API key is not accepted (401)", _UNAUTHORIZED),
    "throttled": outage_of("every request is answered with 429", _LIMITED),
    "moderate": Behavior("job", "the job fails, because moderation rejects the prompt"),
    "exhausted": Behavior("job", "the job fails, and it is not documented whether that costs anything"),
    "fail": BEHAVIORS["fail"],
    "unexplained": BEHAVIORS["unexplained"],
    "instant": BEHAVIORS["instant"],
    "takes": BEHAVIORS["takes"],
    "slow": BEHAVIORS["slow"],
    "late": BEHAVIORS["late"],
    "stuck": BEHAVIORS["stuck"],
    "aged": BEHAVIORS["aged"],
    "foreign": BEHAVIORS["foreign"],
    "odd": BEHAVIORS["odd"],
    "lagging": BEHAVIORS["lagging"],
    "forgotten": BEHAVIORS["forgotten"],
    "no-link": BEHAVIORS["no-link"],
    "empty-link": BEHAVIORS["empty-link"],
    "null-link": BEHAVIORS["null-link"],
    "relative-link": BEHAVIORS["relative-link"],
    "dead-link": BEHAVIORS["dead-link"],
    "expired-link": Behavior(
        "links", "links stop working (403); a look-up makes new ones", 0, "after how many seconds"
    ),
}
# Failure codes and reasons by the behavior that requests them.
_FAILURES = {
    "moderate": ("content_moderated", "The prompt was rejected by moderation"),
    "exhausted": ("budget_exhausted", "The budget of this generation is used up"),
    "fail": ("generation_failed", FAILURE),
}
_CODES = {reason: code for code, reason in _FAILURES.values()}


class _RefusedError(Exception):
    """The answer to a request that is not carried out."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer: Answer = (status, detail(text))


@dataclass
class SimulatedFile:
    """An uploaded file. `checked_at`: when its check ends, by the service's clock; None until it has begun."""

    file_id: str
    mime_type: str
    size_bytes: int
    created: datetime
    purpose: str = "input"
    filename: str | None = None
    user_id: str | None = None
    expires: datetime | None = None
    checked_at: float | None = None
    failure: str | None = None
    deleted: datetime | None = None


@dataclass
class AgentsService(Service):
    """The service's memory and rules, for one client: its only account.

    Attributes:
        per_minute: how many orders it takes within 60 s.
        is_suspended, has_hdr: what the account may do.
        check_seconds: how long the check of a file takes; `check_failure`: why it fails, if it does.
        lengths: the seconds of videos that were made longer.
    """

    per_minute: int = 30
    is_suspended: bool = False
    has_hdr: bool = True
    check_seconds: float = 0.2
    check_failure: str | None = None
    files: dict[str, SimulatedFile] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    order_times: deque[float] = field(default_factory=deque)

    behaviors: ClassVar[Mapping[str, Behavior]] = AGENTS_BEHAVIORS

    @property
    def email(self) -> str:
        """The name of the only account, which no answer contains."""
        return next(iter(self.accounts))

    def start(self, request: dict[str, str], email: str, *, webhook: bool) -> SimulatedJob:
        """Start a job."""
        job = super().start(request, email, webhook=webhook)
        for name, (_, reason) in _FAILURES.items():
            if name in job.behaviors:
                job.fails = reason
        return job

    def _build_jobid(self, created: datetime, email: str, key: str) -> str:  # noqa: ARG002 - a bare uuid
        return self.new_id()

    def links_work(self, key: str) -> bool:  # noqa: ARG002 - each link has its own end
        """Whether the links to a job's files have not expired: that is in the links."""
        return True

    def status(self, job: SimulatedJob) -> str:
        """Get the job's state as the API spells it."""
        status = super().status(job)
        return "queued" if status in ("created", "pending") else status

    def count_order(self) -> int:
        """Count a request to order something, and return how many more are accepted now; -1: this one is not."""
        now = self.clock()
        while self.order_times and now - self.order_times[0] >= RATE_WINDOW:
            self.order_times.popleft()
        if len(self.order_times) >= self.per_minute:
            return -1
        self.order_times.append(now)
        return self.per_minute - len(self.order_times)

    def seconds_to_reset(self) -> float:
        """Compute after how many seconds one more request is accepted, at the latest."""
        first = next(iter(self.order_times), self.clock())
        return RATE_WINDOW - (self.clock() - first)

    def submit(self, body: Mapping[str, Any]) -> Answer:
        """Handle an order and return the API's answer."""
        try:
            params = self._parse_body(body)
            earlier = self._find_earlier(params)
        except _RefusedError as refused:
            return refused.answer
        behaviors = self.requested_behaviors(params["prompt"])
        is_hdr = params["dynamic_range"] != "sdr"
        if not is_hdr:
            behaviors.pop("no-hdr", None)
        missing = self._find_missing(is_hdr=is_hdr)
        if refusal := self._find_rejection(params["prompt"], behaviors, missing):
            return refusal
        request = {name: params[name] for name in ("prompt", *self.catalog.choices)}
        length = count_seconds(params["duration"])
        if earlier:
            length += self._length(earlier)
            request["aspect_ratio"] = earlier.request["aspect_ratio"]
            request["duration"] = "10s"
        job = self._start_requested(request, self.email)
        if job:
            self.lengths[job.jobid] = length
            job.pictures, job.earlier = self.find_pictures(params), earlier
        if job is None or "lost" in behaviors:
            return 504, {}
        return 201, {**self._build_head(job), "state": "queued", "output": []}

    def _find_missing(self, *, is_hdr: bool) -> set[str]:
        """Find the rejections that the account's state causes."""
        missing: set[str] = set()
        if self.is_suspended:
            missing.add("suspended")
        if is_hdr and not self.has_hdr:
            missing.add("no-hdr")
        if not self.accounts[self.email].subscribed:
            missing.add("broke")
        if self.free_slots(self.email) <= 0:
            missing.add("busy")
        return missing

    def _length(self, job: SimulatedJob) -> int:
        return self.lengths.get(job.jobid) or count_seconds(job.request["duration"])

    def count_frames(self, job: SimulatedJob) -> int:
        """Count the frames of a job's clip."""
        return self._length(job) * FRAME_RATE + 1

    def find_upload(self, ref: str) -> bytes | None:
        """Find an image that was uploaded before the order or with it. Links are not fetched."""
        with suppress(binascii.Error):
            return super().find_upload(ref) or base64.b64decode(ref, validate=True)
        return None

    def _find_earlier(self, params: Mapping[str, Any]) -> SimulatedJob | None:
        """Find the job whose video is made longer; None if the order is for a new one."""
        if "extend" not in params:
            return None
        earlier = self.find(params["extend"])
        if earlier is None:
            raise _RefusedError(404, "Generation not found")
        if self.status(earlier) != "completed":
            raise _RefusedError(400, "Only a completed generation can be extended")
        if earlier.request["dynamic_range"] != "sdr":
            raise _RefusedError(422, "An HDR generation cannot be extended")
        if self._length(earlier) + count_seconds(params["duration"]) > LONGEST_VIDEO:
            raise _RefusedError(422, f"The video would be longer than {LONGEST_VIDEO} seconds")
        return earlier

    def _parse_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Parse an order into the catalog's params, with the API's defaults."""
        stated = _drop_nulls(body)
        video = stated.get("video", {})
        if not isinstance(video, dict):
            raise _RefusedError(400, "video must be an object")
        video = _drop_nulls(video)
        unknown = sorted(stated.keys() - _BODY_FIELDS) + sorted(video.keys() - _VIDEO_FIELDS)
        if unknown:
            raise _RefusedError(400, f"{unknown[0]} is not supported here")
        # If the type is left out, the API makes a picture.
        if stated.get("type") != "video":
            raise _RefusedError(400, "Only type video is supported here")
        params: dict[str, Any] = {
            "model": stated.get("model", "uni-1"),
            "aspect_ratio": stated.get("aspect_ratio", "16:9"),
            "resolution": video.get("resolution", "720p"),
            "duration": video.get("duration", "5s"),
        }
        if "prompt" in stated:
            params["prompt"] = stated["prompt"]
        params |= _parse_switches(video) | self._parse_frames(video) | self._parse_keyframes(video)
        has_frames = not params.keys().isdisjoint(_FRAMES.values())
        if has_frames and (params["dynamic_range"] != "sdr" or params["duration"] != "5s"):
            raise _RefusedError(422, "start_frame and end_frame need 5s and no hdr; use keyframes")
        problems = validate(self.catalog, params).problems
        if problems:
            problem = problems[0]
            status = 422 if problem.code == "conflict" else 400
            raise _RefusedError(status, f"{problem.field}: {problem.code.replace('_', ' ')}")
        return params

    def _parse_frames(self, video: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the first and the last frame; an earlier generation as the first one means its continuation."""
        params: dict[str, Any] = {}
        for name, param in _FRAMES.items():
            if name not in video:
                continue
            kind, value = self._parse_reference(f"video.{name}", video[name])
            if kind != "generation_id":
                params[param] = value
            elif name == "start_frame":
                params["extend"] = value
            else:
                raise _RefusedError(422, "Extending backwards is not supported here")
        return params

    def _parse_keyframes(self, video: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the keyframes, each with its time in seconds."""
        pictures, indexes = video.get("keyframes", []), video.get("keyframe_indexes", [])
        if not isinstance(pictures, list) or not isinstance(indexes, list) or len(pictures) != len(indexes):
            raise _RefusedError(422, "keyframes and keyframe_indexes must be lists of the same length")
        if not pictures:
            return {}
        if not {int}.issuperset(map(type, indexes)) or len(set(indexes)) < len(indexes):
            raise _RefusedError(422, "keyframe_indexes must be different whole numbers")
        keyframes: list[dict[str, Any]] = []
        for place, (picture, index) in enumerate(zip(pictures, indexes, strict=True)):
            kind, value = self._parse_reference(f"video.keyframes[{place}]", picture)
            if kind == "generation_id":
                raise _RefusedError(422, "A generation cannot be a keyframe")
            keyframes.append({"image": value, "seconds": index / FRAME_RATE})
        return {"keyframes": keyframes}

    def _parse_reference(self, place: str, reference: object) -> tuple[str, str]:
        """Parse a reference into its kind and value, and check that it can be used."""
        if not isinstance(reference, dict):
            raise _RefusedError(400, f"{place} must be an object")
        given = _drop_nulls(reference)
        media_type = given.pop("media_type", None)
        if len(given) != 1 or not given.keys() <= set(_REFERENCE_KINDS):
            raise _RefusedError(400, f"{place} must have exactly one of {', '.join(_REFERENCE_KINDS)}")
        [(kind, value)] = given.items()
        if not isinstance(value, str):
            raise _RefusedError(400, f"{place}.{kind} must be a string")
        if kind == "url" and not value.startswith("https://"):
            raise _RefusedError(422, f"{place}: the link could not be fetched")
        if kind == "data":
            if not media_type:
                raise _RefusedError(400, f"{place}.media_type is required with data")
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error:
                raise _RefusedError(422, f"{place}.data is not valid base64") from None
        if kind == "file_id":
            self._check_usable(place, value)
        return kind, value

    def _check_usable(self, place: str, file_id: str) -> None:
        file = self.files.get(file_id)
        if file is None or file.deleted:
            raise _RefusedError(404, f"{place}: file not found")
        if self.file_state(file) != "ready":
            raise _RefusedError(400, f"{place}: the file is not ready ({self.file_state(file)})")

    def _build_head(self, job: SimulatedJob) -> dict[str, Any]:
        created = timestamp(job.created)
        return {"id": job.jobid, "created_at": created, "model": job.request["model"], "type": "video"}

    def job_record(self, job: SimulatedJob, media_url: str) -> dict[str, Any]:
        """The record of a generation, with links that work for an hour."""
        record = {**self._build_head(job), "state": self.status(job), "output": []}
        if not self.finished(job):
            return record
        if job.fails is None:
            record["output"] = self._list_outputs(job, media_url)
        elif job.fails:
            record |= {"failure_code": _CODES[job.fails], "failure_reason": job.fails}
        return record

    def _list_outputs(self, job: SimulatedJob, media_url: str) -> list[dict[str, Any]]:
        """List the files of a job. The video is not always the first."""
        if "no-link" in job.behaviors:
            return []
        files = self.build_files_record(job, media_url)
        end = self.clock() + job.behaviors.get("expired-link", LINK_SECONDS)
        outputs: list[dict[str, Any]] = []
        for kind, name in (("exr", "video_hdr_exr"), ("video", "video")):
            if files[name]:
                url = files[name]["url"]
                if url.startswith("http"):
                    url += f"?expires={end}"
                outputs.append({"type": kind, "url": url})
        return outputs

    def add_file(self, mime_type: str, size_bytes: int, **about: Any) -> SimulatedFile:
        """Add a file whose bytes are still to come."""
        file = SimulatedFile(self.new_id(), mime_type, size_bytes, self.wall_clock(), **about)
        self.files[file.file_id] = file
        return file

    def receive(self, file: SimulatedFile, data: bytes) -> None:
        """Keep the bytes of a file. Of very many files, only the last are kept."""
        self.uploads[file.file_id] = Upload(file.mime_type, data)
        if len(self.uploads) > MAX_UPLOADS:
            del self.uploads[next(iter(self.uploads))]

    def check(self, file: SimulatedFile) -> None:
        """Begin the check of a file. Its name can request what becomes of it, as prompts do for jobs."""
        requested = requested_checks(file.filename or "")
        file.checked_at = self.clock() + requested.get("pending", self.check_seconds / self.speed)
        signature = IMAGE_SIGNATURES.get(file.mime_type)
        if signature is None or not signature.match(self.uploads[file.file_id].data):
            file.failure = "The file is not a supported image"
        if "fail" in requested or self.check_failure:
            file.failure = self.check_failure or "The file was rejected by moderation"

    def file_state(self, file: SimulatedFile) -> str:
        """Get the state of a file as the API spells it."""
        if file.deleted:
            return "deleted"
        if file.checked_at is None or self.clock() < file.checked_at:
            return "pending"
        return "failed" if file.failure else "ready"

    def file_record(self, file: SimulatedFile) -> dict[str, Any]:
        """The record of a file; what it does not have is null."""
        state = self.file_state(file)
        return {
            "id": file.file_id,
            "created_at": timestamp(file.created),
            "mime_type": file.mime_type,
            "purpose": file.purpose,
            "size_bytes": file.size_bytes,
            "state": state,
            "filename": file.filename,
            "failure_reason": file.failure if state == "failed" else None,
            "expires_at": file.expires and timestamp(file.expires),
            "deleted_at": file.deleted and timestamp(file.deleted),
            "user_id": file.user_id,
        }


def requested_checks(filename: str) -> dict[str, float]:
    """Get what a file's name requests: `simulate:fail`, or `simulate:pending` (forever, or for `=N` seconds)."""
    found: dict[str, float] = {}
    for name in ("fail", "pending"):
        _, requested, rest = filename.partition(f"simulate:{name}")
        if requested:
            digits = rest.removeprefix("=").partition(".")[0]
            found[name] = float(digits) if digits.isdecimal() else inf
    return found


class AgentsSimulator(Simulator):
    """The ASGI app around an `AgentsService`, which must have its account."""

    service: AgentsService
    prefix: ClassVar[str] = PREFIX

    def build_routes(self) -> list[Route]:
        """Build the routes of the API's endpoints, and those of uploads and files, which need no key."""
        return [
            Route(f"{PREFIX}/generations", self._post_generation, methods=["POST"]),
            Route(f"{PREFIX}/generations/{{jobid}}", self._get_generation, methods=["GET"]),
            Route(f"{PREFIX}/files", self._handle_files, methods=["GET", "POST"]),
            Route(f"{PREFIX}/files/{{file_id}}", self._handle_file, methods=["GET", "DELETE"]),
            Route(f"{PREFIX}/files/{{file_id}}/complete", self._complete_file, methods=["POST"]),
            Route("/uploads/{file_id}", self._put_upload, methods=["PUT"]),
            Route("/media/{key}/{name}", self.get_media, methods=["GET"]),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-API-Version"] = API_VERSION
                headers["X-Request-Id"] = Request(scope).headers.get("x-request-id") or self.service.new_id()
            await send(message)

        await super().__call__(scope, receive, send_with_headers)

    async def _post_generation(self, request: Request) -> Response:
        body: Any = None
        with suppress(ValueError):
            body = json.loads(await request.body())
        if not isinstance(body, dict):
            return _refuse(400, "The body is not a JSON object")
        self.orders.append(body)
        remaining = self.service.count_order()
        answer = _LIMITED
        if remaining >= 0:
            answer = self.service.submit(body)
        response = self.build_response(answer, self.service.requested_behaviors(body.get("prompt")))
        if answer == _LIMITED:
            self._add_limits(response, 0)
            response.headers.setdefault("Retry-After", f"{max(1, self.service.seconds_to_reset()):.0f}")
        elif answer[0] == 201:
            self._add_limits(response, remaining)
        elif answer[0] == 429:
            response.headers.setdefault("Retry-After", str(CAPACITY_RETRY_AFTER))
        return response

    def _add_limits(self, response: Response, remaining: int) -> None:
        """Add the headers about the limit of requests."""
        reset = self.service.wall_clock().timestamp() + self.service.seconds_to_reset()
        response.headers["X-RateLimit-Limit"] = str(self.service.per_minute)
        response.headers["X-RateLimit-Remaining"] = str(remaining)
        response.headers["X-RateLimit-Reset"] = f"{reset:.0f}"

    async def _get_generation(self, request: Request) -> Response:
        job = self.service.find(request.path_params["jobid"])
        if job is None:
            return _refuse(404, "Generation not found")
        return JSONResponse(self.service.job_record(job, f"{request.base_url}media"))

    async def _handle_files(self, request: Request) -> Response:
        if request.method == "GET":
            return self._list_files(request.query_params)
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            return await self._receive_inline(request)
        body: Any = None
        with suppress(ValueError):
            body = json.loads(await request.body())
        try:
            file = self.service.add_file(**_parse_file(body))
        except _RefusedError as refused:
            return JSONResponse(refused.answer[1], refused.answer[0])
        record = self.service.file_record(file)
        upload = {
            "url": f"{request.base_url}uploads/{file.file_id}",
            "method": "PUT",
            "headers": {"Content-Type": file.mime_type},
            "expires_at": timestamp(file.created + timedelta(seconds=LINK_SECONDS)),
        }
        return JSONResponse({"id": file.file_id, "state": record["state"], "file": record, "upload": upload}, 201)

    async def _receive_inline(self, request: Request) -> Response:
        async with request.form() as form:
            part = form.get("file")
            if not isinstance(part, UploadFile):
                return _refuse(400, "The part file is missing")
            data, mime_type = await part.read(), part.content_type or ""
            about = {name: value for name, value in form.items() if isinstance(value, str)}
            about["filename"] = part.filename or ""
        if len(data) > LARGEST_FILE:
            return _refuse(413, "The file is too large; use a presigned upload")
        try:
            file = self.service.add_file(**_parse_file({**about, "mime_type": mime_type, "size_bytes": len(data)}))
        except _RefusedError as refused:
            return JSONResponse(refused.answer[1], refused.answer[0])
        self.service.receive(file, data)
        self.service.check(file)
        record = self.service.file_record(file)
        return JSONResponse({"id": file.file_id, "state": record["state"], "file": record, "upload": None}, 201)

    def _list_files(self, query: Mapping[str, str]) -> Response:
        """The answer of `GET /files`: the newest first, and a cursor if there are more."""
        limit, cursor = query.get("limit", "25"), query.get("cursor", "0")
        if not (limit.isdecimal() and 1 <= int(limit) <= 100 and cursor.isdecimal()):
            return _refuse(400, "limit must be from 1 to 100, and cursor must come from an earlier page")
        found: list[dict[str, Any]] = []
        for file in reversed(self.service.files.values()):
            record = self.service.file_record(file)
            is_wanted = query.get("purpose", record["purpose"]) == record["purpose"]
            if "state" in query:
                is_wanted = is_wanted and record["state"] == query["state"]
            elif file.deleted:
                is_wanted = False
            if is_wanted:
                found.append(record)
        start, end = int(cursor), int(cursor) + int(limit)
        has_more = end < len(found)
        return JSONResponse(
            {"data": found[start:end], "has_more": has_more, "next_cursor": str(end) if has_more else None}
        )

    async def _handle_file(self, request: Request) -> Response:
        file = self.service.files.get(request.path_params["file_id"])
        if file is None:
            return _refuse(404, "File not found")
        if request.method == "GET":
            return JSONResponse(self.service.file_record(file))
        file.deleted = file.deleted or self.service.wall_clock()
        return Response(status_code=204)

    async def _complete_file(self, request: Request) -> Response:
        file = self.service.files.get(request.path_params["file_id"])
        if file is None or file.deleted:
            return _refuse(404, "File not found")
        if file.file_id not in self.service.uploads:
            return _refuse(409, "The bytes have not been uploaded")
        if file.checked_at is None:
            self.service.check(file)
        return JSONResponse(self.service.file_record(file))

    async def _put_upload(self, request: Request) -> Response:
        file = self.service.files.get(request.path_params["file_id"])
        data = await request.body()
        if file is None or request.headers.get("content-type") != file.mime_type or len(data) != file.size_bytes:
            return Response(status_code=403)
        self.service.receive(file, data)
        return Response()

    async def get_media(self, request: Request) -> Response:
        """Get a file. Each link says how long it works."""
        end = inf
        with suppress(ValueError):
            end = float(request.query_params.get("expires", "inf"))
        if end <= self.service.clock():
            return Response(status_code=403)
        return await super().get_media(request)


def _drop_nulls(record: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is null, which means the same as absent."""
    return {name: value for name, value in record.items() if value is not None}


def _parse_switches(video: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the flags of a video."""
    for name in _SWITCHES:
        if not isinstance(video.get(name, False), bool):
            raise _RefusedError(400, f"video.{name} must be a boolean")
    dynamic_range = "sdr"
    if video.get("hdr"):
        dynamic_range = "hdr"
    if video.get("exr_export"):
        if not video.get("hdr"):
            raise _RefusedError(400, "video.exr_export needs video.hdr")
        dynamic_range = "hdr_exr"
    return {"dynamic_range": dynamic_range, "loop": video.get("loop", False)}


def _parse_file(body: Any) -> dict[str, Any]:
    """Parse what a file will be."""
    names = {"mime_type", "size_bytes", "filename", "purpose", "user_id", "expires_at"}
    if not isinstance(body, dict) or not body.keys() <= names:
        raise _RefusedError(400, "The body is not valid")
    about = _drop_nulls(body)
    if type(about.pop("size_bytes", None)) is not int or not {str}.issuperset(map(type, about.values())):
        raise _RefusedError(400, "size_bytes must be a whole number, and the rest must be strings")
    if "mime_type" not in about:
        raise _RefusedError(400, "mime_type is required")
    if about.get("purpose", "input") not in ("input", "reference"):
        raise _RefusedError(400, "purpose must be input or reference")
    if "expires_at" in about:
        try:
            about["expires"] = datetime.fromisoformat(about.pop("expires_at"))
        except ValueError:
            raise _RefusedError(400, "expires_at must be a time") from None
    return {**about, "size_bytes": body["size_bytes"]}


def _refuse(status: int, text: str) -> Response:
    return JSONResponse(detail(text), status)
