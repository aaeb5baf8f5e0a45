"""What the simulated service knows: accounts, assets, jobs, and the time that passes for them.

Nothing runs in the background: a job's status is worked out from the clock whenever somebody looks, so a
test that owns the clock owns the service.
"""

from __future__ import annotations

import hashlib
import random
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from luma_mcp.catalog.useapi import TYPICAL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

CREDITS = {"draft": 20, "540p": 50, "720p": 100, "1080p": 300}
"""Made up: the API's page gives no prices."""
WHEN_ASKED = {
    "fail": "the job fails",
    "moderate": "422: the prompt is refused",
    "slow": "the job takes three times as long",
    "stuck": "the job never ends",
    "expired": "596: the account's session has expired",
    "broke": "402: no subscription",
    "busy": "429: all slots are in use",
    "down": "500: the API fails, and nothing is started",
    "lost": "504: the job starts, and its answer is lost",
}
"""What a prompt can ask for with `simulate:<word>`."""


UPLOADS_KEPT = 20
"""Uploaded pictures that are kept to be looked at; the assets themselves stay."""


def asked_for(prompt: str) -> set[str]:
    """The words of `WHEN_ASKED` that a prompt asks for."""
    return set(re.findall(r"simulate:(\w+)", prompt)) & WHEN_ASKED.keys()


@dataclass
class SimulatedAccount:
    """A Luma account; `session_valid` and `subscribed` are for tests to change."""

    email: str
    concurrency: int = 4
    session_valid: bool = True
    subscribed: bool = True
    user_id: str = "12345"


@dataclass(frozen=True)
class Upload:
    """What an asset was made of."""

    media_type: str
    data: bytes


@dataclass
class SimulatedJob:
    """A job. `seconds`: how long it runs; `key`: names its files; `fails`: with this reason, if at all."""

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
    """The service's memory and rules. `clock` in seconds, `wall_clock` in UTC; `speed` makes jobs shorter."""

    clock: Callable[[], float]
    wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    speed: float = 1.0
    chance: random.Random = field(default_factory=random.Random)
    accounts: dict[str, SimulatedAccount] = field(default_factory=dict)
    sessions: dict[str, str | None] = field(default_factory=dict)
    jobs: dict[str, SimulatedJob] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def add_account(self, email: str, concurrency: int = 4) -> SimulatedAccount:
        """Configures an account, or refreshes it."""
        self.accounts[email] = SimulatedAccount(email, concurrency)
        return self.accounts[email]

    def sign_in(self, session: str) -> str | None:
        """The e-mail address of the account that a cookie's value belongs to; None if it is no good any more.

        `sessions` says so for those in it. To any other value belongs an account of its own, always the same.
        """
        return self.sessions.get(session, f"{hashlib.sha256(session.encode()).hexdigest()[:8]}@example.com")

    def add_asset(self, email: str, upload: Upload | None = None) -> str:
        """An uploaded image of that account; its assetRef."""
        ref = f"u{self.accounts[email].user_id}-email:{email}-image:{self._uuid()}"
        self.assets[ref] = email
        if upload:
            self.uploads[ref] = upload
            if len(self.uploads) > UPLOADS_KEPT:
                del self.uploads[next(iter(self.uploads))]
        return ref

    def start(self, request: dict[str, str], email: str, *, webhook: bool) -> SimulatedJob:
        """Starts a job on that account."""
        wishes = asked_for(request["prompt"])
        low, high = TYPICAL_SECONDS[request["resolution"]]
        seconds = self.chance.uniform(low, high) / self.speed
        seconds *= 3 if "slow" in wishes else float("inf") if "stuck" in wishes else 1
        now = self.wall_clock()
        key = self._uuid()
        jobid = f"j{now:%m%d%y%H%M%S%f}v-u{self.accounts[email].user_id}-email:{email}:{key}-bot:luma"
        fails = "Generation failed: the model could not make this video" if "fail" in wishes else None
        job = SimulatedJob(jobid, email, request, self.clock(), seconds, now, key, fails, webhook)
        self.jobs[jobid] = job
        return job

    def executing(self, email: str | None = None) -> list[SimulatedJob]:
        """The jobs that still run, of one account or of all."""
        return [j for j in self.jobs.values() if email in (None, j.email) and not self.finished(j)]

    def free_slots(self, email: str) -> int:
        """How many more jobs the account takes now."""
        return self.accounts[email].concurrency - len(self.executing(email))

    def finished(self, job: SimulatedJob) -> bool:
        """Whether its time is over."""
        return self.clock() - job.begun >= job.seconds

    def status(self, job: SimulatedJob) -> str:
        """The API's word for where the job is."""
        done = (self.clock() - job.begun) / job.seconds
        if done >= 1:
            return "failed" if job.fails else "completed"
        return "created" if done < 0.05 else "pending" if done < 0.2 else "processing"

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))


def timestamp(time: datetime) -> str:
    """As the API writes job times: `2026-03-26T14:05:30.123Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error(message: str, code: int | None = None) -> dict[str, Any]:
    """The API's flat error body."""
    return {"error": message} | ({"code": code} if code else {})
