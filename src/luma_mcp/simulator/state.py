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
from pathlib import Path
from typing import Any

from luma_mcp.catalog.models import Catalog
from luma_mcp.catalog.validate import validate
from luma_mcp.errors import Problem

# Status and JSON body.
Answer = tuple[int, dict[str, Any]]

# What a prompt can request with `simulate:<name>`, so that people can try every outcome without tests.
BEHAVIORS: Mapping[str, str] = {
    "fail": "the job fails",
    "moderate": "422: the prompt is rejected",
    "slow": "the job takes three times as long",
    "stuck": "the job never ends",
    "expired": "596: the account's session has expired",
    "broke": "402: no subscription",
    "busy": "429: all slots are in use",
    "down": "500: the API fails, and no job is started",
    "lost": "504: the job starts, and the answer is lost",
}

SESSION_ERROR = (
    "Luma account has an error. Please check your account configuration via GET /v1/luma/accounts "
    "or re-add the account via POST /v1/luma/accounts"
)
NO_SUBSCRIPTION = "Account has no subscription or subscription expired"
# In the order in which the API finds them.
REJECTIONS: Mapping[str, Answer] = {
    "expired": (596, {"error": SESSION_ERROR}),
    "broke": (402, {"error": NO_SUBSCRIPTION}),
    "moderate": (422, {"error": "Content moderation: prompt rejected", "code": 422}),
    "busy": (429, {"error": "All configured accounts are running at maximum capacity", "code": 429}),
    "down": (500, {"error": "Internal server error"}),
}
# Made by `scripts/simulator_media.py`: small files of the right shape and length, whatever the resolution.
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
# Credits by a resolution's place in the catalog, cheapest first. Made up: the API's page gives no prices. Beyond these,
# each resolution costs three times the one before.
_CREDITS = (20, 50, 100, 300)
# The tests and the player show uploads back. More than these would only take memory; the assets themselves stay.
MAX_UPLOADS = 20


def requested_behaviors(prompt: str) -> set[str]:
    """Get the names of `BEHAVIORS` that a prompt requests."""
    return set(re.findall(r"simulate:(\w+)", prompt)) & BEHAVIORS.keys()


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
    """A job. `seconds`: how long it runs; `key`: names its files; `fails`: the reason, if it is going to fail."""

    jobid: str
    email: str
    request: dict[str, str]
    begun: float
    seconds: float
    created: datetime
    key: str
    fails: str | None = None
    webhook: bool = False


@dataclass
class Service:
    """The service's memory and rules. `clock` is in seconds, `wall_clock` in UTC; `speed` makes jobs shorter."""

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
        ref = f"u{self.accounts[email].user_id}-email:{email}-image:{self._uuid()}"
        self.assets[ref] = email
        if upload:
            self.uploads[ref] = upload
        if len(self.uploads) > MAX_UPLOADS:
            del self.uploads[next(iter(self.uploads))]
        return ref

    def start(self, request: dict[str, str], email: str, *, webhook: bool) -> SimulatedJob:
        """Start a job on that account."""
        behaviors = requested_behaviors(request["prompt"])
        # Percentiles as bounds: a simulated job is never later than announced unless its prompt requests it.
        low, high = self.catalog.typical_seconds[request["resolution"]]
        seconds = self.rng.uniform(low, high) / self.speed
        if "slow" in behaviors:
            seconds *= 3
        if "stuck" in behaviors:
            seconds = float("inf")
        created = self.wall_clock()
        key = self._uuid()
        jobid = f"j{created:%m%d%y%H%M%S%f}v-u{self.accounts[email].user_id}-email:{email}:{key}-bot:luma"
        job = SimulatedJob(jobid, email, request, self.clock(), seconds, created, key, webhook=webhook)
        if "fail" in behaviors:
            job.fails = "Generation failed: the model could not make this video"
        self.jobs[jobid] = job
        return job

    def executing(self, email: str | None = None) -> list[SimulatedJob]:
        """Get the running jobs of one account or of all."""
        return [job for job in self.jobs.values() if email in (None, job.email) and not self.finished(job)]

    def free_slots(self, email: str) -> int:
        """Count the jobs that the account could start now."""
        return self.accounts[email].concurrency - len(self.executing(email))

    def finished(self, job: SimulatedJob) -> bool:
        """Whether the job has ended."""
        return self.clock() - job.begun >= job.seconds

    def status(self, job: SimulatedJob) -> str:
        """Get the job's status as the API spells it."""
        progress = (self.clock() - job.begun) / job.seconds
        if progress >= 1:
            return "failed" if job.fails else "completed"
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
        behaviors = requested_behaviors(params["prompt"])
        usable = [self.accounts[email] for email in emails if self.accounts[email].session_valid]
        subscribed = [account for account in usable if account.subscribed]
        free = [account for account in subscribed if self.free_slots(account.email) > 0]
        needed = {"expired": usable, "broke": subscribed, "busy": free}
        behaviors |= {name for name, accounts in needed.items() if not accounts}
        for name, answer in REJECTIONS.items():
            if name in behaviors:
                return answer
        # What the API repeats as the job's request: all but the account and the webhook.
        request: dict[str, str] = {}
        for name, row in self.catalog.params.items():
            if name in params and name not in ("email", "reply_url", "reply_ref"):
                request[row.api_name] = params[name]
        job = self.start(request, self.rng.choice(free).email, webhook="reply_url" in params)
        if "lost" in behaviors:
            return 504, {}
        created = timestamp(job.created)
        return 200, {"jobid": job.jobid, "type": "video", "status": "created", "created": created, "request": request}

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
        if self.finished(job):
            record["updated"] = timestamp(job.created + timedelta(seconds=job.seconds))
        if status == "failed":
            record["error"] = job.fails
        if status == "completed":
            record["response"] = _files_record(job, f"{media_url}/{job.key}")
            place = self.catalog.choices["resolution"].values.index(job.request["resolution"])
            last = len(_CREDITS) - 1
            cost = _CREDITS[min(place, last)] * 3 ** max(0, place - last)
            record["credits"] = {"dm_usage": cost, "dm_relaxed_usage": None}
        return record

    def executing_record(self) -> dict[str, Any]:
        """The answer of `GET /jobs`."""
        rows: list[dict[str, Any]] = []
        for job in self.executing():
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
            "executing": len(self.executing(account.email)),
        }
        if not account.session_valid:
            record["error"] = "Session expired"
        if live:
            record["sessionValid"] = account.session_valid
            record["credits"] = {"usage": 1200, "limit": 10000}
        return record

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))


def _files_record(job: SimulatedJob, url: str) -> dict[str, Any]:
    """The record of a job's files. A shape or length that has no clip gets the closest that has one."""
    # The API's catalog may offer more than there are clips for.
    ratio, duration = job.request["aspect_ratio"], job.request["duration"]
    if ratio not in SIZES:
        ratio = "16:9"
    stem = ratio.replace(":", "x")
    grade = "sdr" if job.request["dynamic_range"] == "sdr" else "hdr"
    if not (MEDIA / f"{stem}-{duration}-{grade}.mp4").exists():
        duration = "5s"
    width, height = SIZES[ratio]
    size = {"width": width, "height": height}
    video = {"media_type": "video/mp4", "url": f"{url}/{stem}-{duration}-{grade}.mp4", **size}
    record: dict[str, Any] = {"video": {**video, "duration": SECONDS[duration]}, "video_hdr_exr": None}
    for name in ("thumbnail", "last_frame"):
        record[name] = {"media_type": "image/jpeg", "url": f"{url}/{stem}-{name}.jpg", **size}
    if job.request["dynamic_range"] == "hdr_exr":
        record["video_hdr_exr"] = {"media_type": "application/zip", "url": f"{url}/frames-exr.zip"}
    return record


def timestamp(time: datetime) -> str:
    """Format a time as the API does in jobs: `2026-03-26T14:05:30.123Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error(message: str) -> dict[str, Any]:
    """Build the API's flat error body."""
    return {"error": message}
