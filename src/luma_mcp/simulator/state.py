"""The simulated service: its accounts, assets and jobs, its rules for orders, and its answers in the API's shapes.

Nothing runs in the background. A job's status is computed from the clock whenever it is looked up, so a test that
controls the clock controls the service.
"""

from __future__ import annotations

import hashlib
import random
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from luma_mcp.catalog.models import Catalog
from luma_mcp.catalog.validate import count_seconds, validate
from luma_mcp.errors import Problem

if TYPE_CHECKING:
    from luma_mcp.simulator.rendering import Shot

# Status and JSON body.
Answer = tuple[int, dict[str, Any]]

SESSION_ERROR = (
    "Luma account has an error. Please check your account configuration via GET /v1/luma/accounts "
    "or re-add the account via POST /v1/luma/accounts"
)
NO_SUBSCRIPTION = "Account has no subscription or subscription expired"
FULL = "All configured accounts are running at maximum capacity"
FAILURE = "Generation failed: the model could not make this video"

Group = Literal["order", "answer", "api", "job", "record", "webhook", "links"]
"""What a behavior is about, in the order of the documentation."""


@dataclass(frozen=True, slots=True)
class Behavior:
    """What a prompt can request with `simulate:<name>`, so that people can try every outcome without tests.

    Attributes:
        about: the effect, for the documentation.
        default: the number that `simulate:<name>=<number>` replaces; None if the behavior takes none.
        number: what that number is, for the documentation.
        answer: what the API answers instead of what it should; None if the connection breaks.
    """

    group: Group
    about: str
    default: float | None = None
    number: str = ""
    answer: Answer | None = None


def rejection_of(about: str, status: int, body: dict[str, Any]) -> Behavior:
    number = "for how many seconds from the first such order; if omitted, always"
    return Behavior("order", f"{status}: {about}", inf, number, (status, body))


def outage_of(about: str, answer: Answer | None) -> Behavior:
    return Behavior("api", f"the job starts; then {about}", 60, "for how many seconds", answer)


_INTERNAL: Answer = (500, {"error": "Internal server error"})
_UNAUTHORIZED: Answer = (401, {"error": "Unauthorized"})
_BUSY: Answer = (429, {"error": FULL, "code": 429})

# The documentation's table is generated from this. Rejections come in the order in which the API finds them.
BEHAVIORS: Mapping[str, Behavior] = {
    "unauthorized": rejection_of("the token is not accepted", *_UNAUTHORIZED),
    "expired": rejection_of("the account's session has expired", 596, {"error": SESSION_ERROR}),
    "broke": rejection_of("no subscription, or no credits", 402, {"error": NO_SUBSCRIPTION}),
    "moderate": rejection_of(
        "moderation rejects the prompt", 422, {"error": "Content moderation: prompt rejected", "code": 422}
    ),
    "busy": rejection_of("all slots are in use", *_BUSY),
    "down": rejection_of("the API fails, and no job is started", *_INTERNAL),
    "retry-after": Behavior("order", "a 429 has this `Retry-After`", 10, "seconds"),
    "lost": Behavior("answer", "the job starts, and the answer is 504"),
    "dropped": Behavior("answer", "the job starts, and the connection breaks before the answer"),
    "truncated": Behavior("answer", "the job starts, and half of the answer is missing"),
    "unstarted": Behavior("answer", "the answer is 504 and no job starts; also with `dropped`"),
    "outage": outage_of("every request fails with 500", _INTERNAL),
    "unreachable": outage_of("every connection breaks", None),
    "revoked": outage_of("the token is not accepted (401)", _UNAUTHORIZED),
    "throttled": outage_of("every request is answered with 429", _BUSY),
    "fail": Behavior("job", "the job fails"),
    "unexplained": Behavior("job", "the job fails without a reason"),
    "credits": Behavior("job", "what the job uses, also if it fails", 0, "credits"),
    "instant": Behavior("job", "the job ends at once"),
    "takes": Behavior("job", "the job ends after this time", 10, "seconds"),
    "slow": Behavior("job", "the job takes three times as long"),
    "late": Behavior("job", "the job takes longer than usual", 900, "how many seconds longer"),
    "stuck": Behavior("job", "the job never ends"),
    "aged": Behavior("job", "the job began earlier (with `stuck`: it is overdue)", 3600, "how many seconds earlier"),
    "holding": Behavior("job", "the job holds its slot after its end, until it is deleted"),
    "foreign": Behavior("job", "another machine starts a job as well, at the same moment"),
    "odd": Behavior("record", "the job's statuses have undocumented names"),
    "lagging": Behavior("record", "the job is not found at first", 10, "for how many seconds"),
    "unlisted": Behavior("record", "the job is not in the list of running jobs at first", 10, "for how many seconds"),
    "forgotten": Behavior("record", "the job is not found any more after its end", 60, "how many seconds after it"),
    "webhook-lost": Behavior("webhook", "the API does not call"),
    "webhook-repeated": Behavior("webhook", "the API calls twice"),
    "webhook-late": Behavior("webhook", "the API calls later", 10, "how many seconds after the job's end"),
    "no-link": Behavior("links", "the job is completed, and its record has no files"),
    "empty-link": Behavior("links", "all links are empty"),
    "null-link": Behavior("links", 'all links are the text "null"'),
    "relative-link": Behavior("links", "all links are paths without a host"),
    "dead-link": Behavior("links", "all links lead nowhere (404)"),
    "expired-link": Behavior("links", "links stop working (403)", 0, "how many seconds after the job's end"),
}
# Made by `scripts/simulator_media.py`: small files of the right shape and length, whatever the resolution. With PyAV,
# `rendering.py` makes clips for each job instead, except in most tests.
MEDIA = Path(__file__).parent / "media"
SIZES = {
    "9:16": (216, 384),
    "3:4": (288, 384),
    "1:1": (320, 320),
    "4:3": (384, 288),
    "16:9": (384, 216),
    "21:9": (448, 192),
}
SECONDS = {"5s": 5.04, "10s": 10.04}
FRAME_RATE = 24
"""Frames per second of all clips. A clip has one more than its seconds times this."""
# Credits by a resolution's place in the catalog, cheapest first. Made up: the API's page gives no prices. Beyond these,
# each resolution costs three times the one before.
_CREDITS = (20, 50, 100, 300)
# Credits that an account has used before the first order.
_USED_BEFORE = 1200
# Uploaded files that are kept, for tests and the player to show. Older ones are dropped, but their assets stay.
MAX_UPLOADS = 20


def requested_behaviors(prompt: str, behaviors: Mapping[str, Behavior] = BEHAVIORS) -> dict[str, float]:
    """Get the names of behaviors that a prompt requests, with their numbers (0 where they take none)."""
    found: dict[str, float] = {}
    for name, number in re.findall(r"simulate:([a-z]+(?:-[a-z]+)*)(?:=(\d+))?", prompt):
        if name in behaviors:
            found[name] = float(number or behaviors[name].default or 0)
    return found


@dataclass
class SimulatedAccount:
    """A Luma account. Tests change `session_valid` and `subscribed`."""

    email: str
    concurrency: int = 4
    session_valid: bool = True
    subscribed: bool = True
    user_id: str = "12345"


@dataclass(frozen=True)
class Upload:
    """The image behind an asset."""

    media_type: str
    data: bytes


@dataclass
class SimulatedJob:
    """A job.

    `seconds`: how long it runs; `key`: names its files; `fails`: the reason, if it is going to fail; `behaviors`: what
    its prompt requests; `pictures`: files of pictures, by the number of the frame that shows it (-1: the last);
    `earlier`: the job whose video this one makes longer; `reply`: the order's `replyUrl` and `replyRef`.
    """

    jobid: str
    email: str
    request: dict[str, str]
    begun: float
    seconds: float
    created: datetime
    key: str
    fails: str | None = None
    webhook: bool = False
    behaviors: dict[str, float] = field(default_factory=dict)
    pictures: dict[int, bytes] = field(default_factory=dict)
    earlier: SimulatedJob | None = None
    reply: tuple[str, str] = ("", "")


@dataclass
class Service:
    """The service's memory and rules. `clock` is in seconds, `wall_clock` in UTC; `speed` makes jobs shorter.

    `renders`: whether each job gets clips of its own, in the size that was ordered. Needs PyAV. `on_webhook`: called
    with each job whose order names a `replyUrl`; None: it is called nowhere.
    """

    catalog: Catalog
    clock: Callable[[], float]
    wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    speed: float = 1.0
    rng: random.Random = field(default_factory=random.Random)
    accounts: dict[str, SimulatedAccount] = field(default_factory=dict)
    sessions: dict[str, str | None] = field(default_factory=dict)
    jobs: dict[str, SimulatedJob] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    # When each prompt that requests something was first ordered; and what all requests are answered with, until when.
    first_orders: dict[str, float] = field(default_factory=dict)
    outage: tuple[Behavior, dict[str, float], float] | None = None
    renders: bool = False
    on_webhook: Callable[[SimulatedJob], None] | None = None

    behaviors: ClassVar[Mapping[str, Behavior]] = BEHAVIORS

    def requested_behaviors(self, prompt: object) -> dict[str, float]:
        """Get the behaviors that a prompt requests, with their numbers (0 where they take none)."""
        return requested_behaviors(str(prompt), self.behaviors)

    def add_account(self, email: str, concurrency: int = 4) -> SimulatedAccount:
        """Configure an account, or renew it."""
        self.accounts[email] = SimulatedAccount(email, concurrency)
        return self.accounts[email]

    def sign_in(self, session: str) -> str | None:
        """Get the e-mail address of the account that a session cookie belongs to; None if the cookie has expired.

        Tests put cookies into `sessions`. Any other cookie belongs to an account of its own, always the same one.
        """
        return self.sessions.get(session, f"{hashlib.sha256(session.encode()).hexdigest()[:8]}@example.com")

    def add_asset(self, email: str, upload: Upload | None = None) -> str:
        """Add an uploaded image to an account and return its assetRef."""
        # In the shape of the API's own refs.
        ref = f"u{self.accounts[email].user_id}-email:{email}-image:{self.new_id()}"
        self.assets[ref] = email
        if upload:
            self.uploads[ref] = upload
        if len(self.uploads) > MAX_UPLOADS:
            del self.uploads[next(iter(self.uploads))]
        return ref

    def start(self, request: dict[str, str], email: str, *, webhook: bool) -> SimulatedJob:
        """Start a job on that account."""
        behaviors = self.requested_behaviors(request["prompt"])
        # Percentiles as bounds: a simulated job is never later than announced unless its prompt requests it.
        low, high = self.catalog.typical_seconds[request["resolution"]]
        seconds = self.rng.uniform(low, high) / self.speed
        if "slow" in behaviors:
            seconds *= 3
        if "instant" in behaviors:
            seconds = 0.0
        seconds = behaviors.get("takes", seconds) + behaviors.get("late", 0)
        if "stuck" in behaviors:
            seconds = inf
        aged = behaviors.get("aged", 0)
        begun, created = self.clock() - aged, self.wall_clock() - timedelta(seconds=aged)
        key = self.new_id()
        jobid = self._build_jobid(created, email, key)
        job = SimulatedJob(jobid, email, request, begun, seconds, created, key, webhook=webhook, behaviors=behaviors)
        if behaviors.keys() & {"fail", "unexplained"}:
            job.fails = "" if "unexplained" in behaviors else FAILURE
        self.jobs[jobid] = job
        return job

    def _build_jobid(self, created: datetime, email: str, key: str) -> str:
        return f"j{created:%m%d%y%H%M%S%f}v-u{self.accounts[email].user_id}-email:{email}:{key}-bot:luma"

    def executing(self, email: str | None = None) -> list[SimulatedJob]:
        """Get the running jobs of one account or of all."""
        return [job for job in self.jobs.values() if email in (None, job.email) and not self.finished(job)]

    def free_slots(self, email: str) -> int:
        """Count the jobs that the account could start now."""
        return self.accounts[email].concurrency - self.slots_in_use(email)

    def slots_in_use(self, email: str) -> int:
        """Count the account's slots that jobs hold: the running ones, and those that hold theirs afterwards."""
        jobs = [job for job in self.jobs.values() if job.email == email]
        return sum(not self.finished(job) or "holding" in job.behaviors for job in jobs)

    def find(self, jobid: str) -> SimulatedJob | None:
        """Find a job; None if there is none, or if its prompt requests that it is not found now."""
        job = self.jobs.get(jobid)
        if job is None:
            return None
        age = self.clock() - job.begun
        is_forgotten = age - job.seconds >= job.behaviors.get("forgotten", inf)
        return None if is_forgotten or age < job.behaviors.get("lagging", 0) else job

    def find_by_key(self, key: str) -> SimulatedJob | None:
        """Find the job with these files."""
        for job in self.jobs.values():
            if job.key == key:
                return job
        return None

    def links_work(self, key: str) -> bool:
        """Whether the links to a job's files have not expired."""
        job = self.find_by_key(key)
        return job is None or self.clock() - job.begun - job.seconds < job.behaviors.get("expired-link", inf)

    def count_frames(self, job: SimulatedJob) -> int:
        """Count the frames of a job's clip."""
        return count_seconds(job.request["duration"]) * FRAME_RATE + 1

    def build_shot(self, job: SimulatedJob) -> Shot:
        """Describe what the job's clip shows."""
        from luma_mcp.simulator.rendering import Shot, clip_size

        count, earlier = self.count_frames(job), None
        if job.earlier:
            count -= self.count_frames(job.earlier)
            earlier = self.build_shot(job.earlier)
        return Shot(
            job.request["prompt"],
            job.key,
            clip_size(job.request["resolution"], job.request["aspect_ratio"]),
            count,
            is_hdr=job.request["dynamic_range"] != "sdr",
            pictures=tuple(job.pictures.items()),
            earlier=earlier,
        )

    def build_files_record(self, job: SimulatedJob, media_url: str) -> dict[str, Any]:
        """Build the record of a job's files."""
        shot = None
        if self.renders:
            shot = self.build_shot(job)
        return files_record(job, f"{media_url}/{job.key}", shot)

    def find_upload(self, ref: str) -> bytes | None:
        """Find an uploaded image. Of very many, only the last are kept."""
        upload = self.uploads.get(ref)
        return upload.data if upload else None

    def find_pictures(self, params: Mapping[str, Any]) -> dict[int, bytes]:
        """Find the pictures that the clip shows, by the number of the frame; -1 is the last."""
        if not self.renders:
            return {}
        refs: dict[int, str] = {}
        for keyframe in params.get("keyframes", ()):
            refs[round(keyframe["seconds"] * FRAME_RATE)] = keyframe["image"]
        if "image_start" in params:
            refs[0] = params["image_start"]
        if "image_end" in params:
            refs[-1] = params["image_end"]
        pictures: dict[int, bytes] = {}
        for number, ref in refs.items():
            if data := self.find_upload(ref):
                pictures[number] = data
        return pictures

    def current_outage(self) -> tuple[Behavior, dict[str, float]] | None:
        """Get the behavior that replaces all answers at present, and what else its prompt requests."""
        if self.outage is None or self.clock() >= self.outage[2]:
            return None
        return self.outage[:2]

    def finished(self, job: SimulatedJob) -> bool:
        """Whether the job has ended."""
        return self.clock() - job.begun >= job.seconds

    def status(self, job: SimulatedJob) -> str:
        """Get the job's status as the API spells it."""
        is_odd = "odd" in job.behaviors
        if self.finished(job) and job.fails is not None:
            return "rejected" if is_odd else "failed"
        if self.finished(job):
            return "finalized" if is_odd else "completed"
        if is_odd:
            return "waiting"
        progress = (self.clock() - job.begun) / job.seconds
        if progress < 0.05:
            return "created"
        if progress < 0.2:
            return "pending"
        return "processing"

    def submit(self, body: Mapping[str, Any]) -> Answer:
        """Handle an order and return the API's answer.

        The checks come in the API's order. Unlike the client, the API fills in fixed defaults and then rejects some of
        the combinations that result.
        """
        params: dict[str, Any] = {name: choice.default for name, choice in self.catalog.choices.items()}
        for name, row in self.catalog.params.items():
            if body.get(row.api_name) not in (None, ""):
                params[name] = body[row.api_name]
        problems = validate(self.catalog, params).problems
        if problems:
            return 400, error(self._describe_problem(problems[0], params))
        # The account is the one that the assets belong to, whether or not the order names it.
        owners = {params["email"]} if "email" in params else set()
        for name in self.catalog.images.keys() & params.keys():
            if params[name] not in self.assets:
                return 404, error("Asset not found")
            owners.add(self.assets[params[name]])
        if len(owners) > 1:
            return 400, error("Parameter email must match the account of the assets")
        if unknown := owners - self.accounts.keys():
            return 404, error(f"Unable to find configuration for email {unknown.pop()}")
        return self._start_on_any(owners or self.accounts.keys(), params)

    def _start_on_any(self, emails: Iterable[str], params: Mapping[str, Any]) -> Answer:
        """Start the job on an account that can take it, unless there is none or the prompt requests a failure."""
        usable = [self.accounts[email] for email in emails if self.accounts[email].session_valid]
        subscribed = [account for account in usable if account.subscribed]
        free = [account for account in subscribed if self.free_slots(account.email) > 0]
        behaviors = self.requested_behaviors(params["prompt"])
        missing = {name for name, found in {"expired": usable, "broke": subscribed, "busy": free}.items() if not found}
        if answer := self._find_rejection(params["prompt"], behaviors, missing):
            return answer
        # What the API repeats as the job's request: all but the account and the webhook.
        request: dict[str, str] = {}
        for name, row in self.catalog.params.items():
            if name in params and name not in ("email", "reply_url", "reply_ref"):
                request[row.api_name] = params[name]
        job = self._start_requested(request, self.rng.choice(free).email, webhook="reply_url" in params)
        if job:
            job.pictures = self.find_pictures(params)
            job.reply = str(params.get("reply_url", "")), str(params.get("reply_ref", ""))
            if job.webhook and self.on_webhook:
                self.on_webhook(job)
        if job is None or "lost" in behaviors:
            return 504, {}
        created = timestamp(job.created)
        return 200, {"jobid": job.jobid, "type": "video", "status": "created", "created": created, "request": request}

    def _start_requested(self, request: dict[str, str], email: str, *, webhook: bool = False) -> SimulatedJob | None:
        """Start the job and what else its prompt requests; None if that is that no job starts."""
        behaviors = self.requested_behaviors(request["prompt"])
        if "foreign" in behaviors:
            self.start({**request, "prompt": "Another machine's"}, email, webhook=False)
        if "unstarted" in behaviors:
            return None
        job = self.start(request, email, webhook=webhook)
        for name, seconds in behaviors.items():
            if self.behaviors[name].group == "api":
                self.outage = self.behaviors[name], behaviors, self.clock() + seconds
        return job

    def _find_rejection(self, prompt: str, behaviors: Mapping[str, float], missing: set[str]) -> Answer | None:
        """Find the first reason to reject the order. `missing`: the rejections that the accounts' state causes."""
        now, since_first = self.clock(), 0.0
        if behaviors:
            since_first = now - self.first_orders.setdefault(prompt, now)
        for name, behavior in self.behaviors.items():
            is_due = name in missing or since_first < behaviors.get(name, 0)
            if behavior.group == "order" and behavior.answer and is_due:
                return behavior.answer
        return None

    def _describe_problem(self, problem: Problem, params: Mapping[str, Any]) -> str:
        """Describe a problem in the API's wording."""
        name = self.catalog.params[problem.field].api_name
        if problem.code == "missing":
            return f"Parameter {name} is required"
        allowed = problem.allowed
        # For an unknown value the API lists all values, also those that the rest of the request excludes.
        if problem.code == "not_offered":
            allowed = self.catalog.choices[problem.field].values
        if allowed:
            return f"Parameter {name} ({params[problem.field]}) valid values: {', '.join(allowed)}"
        return f"Parameter {name} is not supported here"

    def job_record(self, job: SimulatedJob, media_url: str) -> dict[str, Any]:
        """The answer of `GET /jobs/{jobid}`. Like the API's, it does not repeat the request."""
        status = self.status(job)
        record: dict[str, Any] = {
            "jobid": job.jobid,
            "type": "video",
            "status": status,
            "created": timestamp(job.created),
            "updated": None,
            "response": None,
            "credits": None,
        }
        if not self.finished(job):
            return record
        record["updated"] = timestamp(job.created + timedelta(seconds=job.seconds))
        if job.fails is None:
            if "no-link" not in job.behaviors:
                record["response"] = self.build_files_record(job, media_url)
        elif job.fails:
            record["error"] = job.fails
        used = self.credits_used(job)
        if used is not None:
            record["credits"] = {"dm_usage": used, "dm_relaxed_usage": None}
        return record

    def credits_used(self, job: SimulatedJob) -> float | None:
        """Get what a job has used, once it has ended; None if that is not known."""
        if not self.finished(job):
            return None
        if "credits" in job.behaviors:
            stated: float = job.behaviors["credits"]
            return stated
        if job.fails is not None:
            return None
        place = self.catalog.choices["resolution"].values.index(job.request["resolution"])
        last = len(_CREDITS) - 1
        used: int = _CREDITS[min(place, last)] * 3 ** max(0, place - last)
        return used

    def executing_record(self) -> dict[str, Any]:
        """The answer of `GET /jobs`."""
        rows: list[dict[str, Any]] = []
        for job in self.executing():
            if self.clock() - job.begun < job.behaviors.get("unlisted", 0):
                continue
            row = {
                "jobid": job.jobid,
                "type": "video",
                "account": job.email,
                "model": job.request["model"],
                "created": timestamp(job.created),
            }
            if job.webhook:
                row["replyUrl"] = "configured"
            rows.append(row)
        return {"executing": len(rows), "jobs": rows}

    def account_record(self, account: SimulatedAccount, *, live: bool = False) -> dict[str, Any]:
        """A row of `GET /accounts`; with `live`, the answer of `GET /accounts/{email}`."""
        now = self.wall_clock()
        record: dict[str, Any] = {
            "account": account.email,
            "email": account.email,
            "user_id": account.user_id,
            "concurrency": account.concurrency,
            "luma_session_expires": f"{now + timedelta(days=20):%Y-%m-%d}",
            "updated": f"{now:%Y-%m-%d %H:%M:%S} UTC",
            "executing": self.slots_in_use(account.email),
        }
        if not account.session_valid:
            record["error"] = "Session expired"
        if live:
            record["sessionValid"] = account.session_valid
            used = sum(self.credits_used(job) or 0 for job in self.jobs.values() if job.email == account.email)
            record["credits"] = {"usage": _USED_BEFORE + used, "limit": 10000}
        return record

    def new_id(self) -> str:
        """Build a new random id."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))


def files_record(job: SimulatedJob, url: str, shot: Shot | None) -> dict[str, Any]:
    """The record of a job's files. `shot`: what its clip shows; None for a stored clip."""
    if shot:
        stem, (width, height), seconds = "", shot.size, round(shot.total_count / FRAME_RATE, 2)
        video_name = "video.mp4"
    else:
        video_name, stem, (width, height), seconds = _choose_stored(job)
    size = {"width": width, "height": height}
    video = {"media_type": "video/mp4", "url": f"{url}/{video_name}", **size}
    record: dict[str, Any] = {"video": {**video, "duration": seconds}, "video_hdr_exr": None}
    for name in ("thumbnail", "last_frame"):
        record[name] = {"media_type": "image/jpeg", "url": f"{url}/{stem}{name}.jpg", **size}
    if job.request["dynamic_range"] == "hdr_exr":
        record["video_hdr_exr"] = {"media_type": "application/zip", "url": f"{url}/frames-exr.zip"}
    links = {"empty-link": "", "null-link": "null", "relative-link": "/media/video.mp4", "dead-link": f"{url}/none"}
    for name in links.keys() & job.behaviors.keys():
        for file in filter(None, record.values()):
            file["url"] = links[name]
    return record


def _choose_stored(job: SimulatedJob) -> tuple[str, str, tuple[int, int], float]:
    """Choose the stored clip for a job: its name, how its stills' names begin, its size and its seconds.

    A shape or length that has no clip gets the closest that has one: the catalog may offer more than there are.
    """
    ratio, duration = job.request["aspect_ratio"], job.request["duration"]
    if ratio not in SIZES:
        ratio = "16:9"
    stem = ratio.replace(":", "x")
    grade = "sdr" if job.request["dynamic_range"] == "sdr" else "hdr"
    if not (MEDIA / f"{stem}-{duration}-{grade}.mp4").exists():
        duration = "5s"
    return f"{stem}-{duration}-{grade}.mp4", f"{stem}-", SIZES[ratio], SECONDS[duration]


def timestamp(time: datetime) -> str:
    """Format a time as the API does in jobs: `2026-03-26T14:05:30.123Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error(message: str) -> dict[str, Any]:
    """Build the API's flat error body."""
    return {"error": message}
