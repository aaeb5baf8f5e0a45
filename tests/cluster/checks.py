"""The checks after each round of the campaign: they compare the ledger of the API with the responses to callers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.cluster.callers import JOBIDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.campaign.api import Api, LedgerJob, Post
    from tests.cluster.callers import Call

SHORT = 0.7
"""Seconds by which a wait may be too short."""
ARRIVAL = 3.0
"""Seconds within which a replica starts to process a call on a busy machine."""
NOTICE = 1.5
"""Seconds after the end of a job within which a waiting call notices it, at the latest when its wait ends."""
LATE = 2.0
"""Seconds by which a response may be late if the database delays it."""
PROMPT = re.compile(r"clip \d+\.\d+ of (\w+)")
FAILS = re.compile(r"simulate:(fail|moderate)")
Drain = tuple[float, float]
"""Start and end of the time in which a replica was stopping, by the monotonic clock."""


@dataclass(eq=False, slots=True)
class Intent:
    """A video that a user wants once, and all calls for it.

    Attributes:
        prompt: unique to the intent.
        is_traceable: whether its job can be found without a response, because it is long and the only one of its model.
        was_deleted: whether its job was deleted at the user's request.
    """

    user: str
    arguments: dict[str, Any]
    is_traceable: bool = False
    calls: list[Call] = field(default_factory=list)
    was_deleted: bool = False

    @property
    def prompt(self) -> str:
        return str(self.arguments["prompt"])

    @property
    def orders(self) -> list[Call]:
        return [call for call in self.calls if call.tool == "generate_video"]


@dataclass(slots=True)
class LedgerChecker:
    """Compares the ledger with the calls.

    Attributes:
        accepted: how often each exception to the rules applied. The code states the reason of each.
        hidden: prompts of jobs for which a request to the API fails.
    """

    api: Api
    accepted: Counter[str] = field(default_factory=Counter)
    hidden: set[str] = field(default_factory=set)
    _jobs: dict[str, list[LedgerJob]] = field(default_factory=dict)
    _posts: dict[str, list[Post]] = field(default_factory=dict)
    _read: tuple[int, int] = (0, 0)

    def read(self) -> None:
        """Read the new entries of the API's ledger."""
        jobs, posts = list(self.api.jobs.values()), list(self.api.posts)
        for job in jobs[self._read[0] :]:
            self._jobs.setdefault(job.prompt, []).append(job)
        for post in posts[self._read[1] :]:
            self._posts.setdefault(post.prompt, []).append(post)
        self._read = len(jobs), len(posts)

    def get_jobs(self, intent: Intent) -> list[LedgerJob]:
        return self._jobs.get(intent.prompt, [])

    def get_posts(self, intent: Intent) -> list[Post]:
        return self._posts.get(intent.prompt, [])

    def check(self, intent: Intent, *, database_fails: bool) -> list[str]:
        """List the problems with one intent: what it cost, and what the responses reported."""
        problems = self._check_billed_once(intent)
        for call in intent.orders:
            if call.content:
                found = self._check_money(intent, call, database_fails=database_fails)
                problems += [f"{problem}: {call}" for problem in found]
        created = Counter(call.jobid for call in intent.orders if call.content.get("outcome") == "created")
        problems += [f"created by {count} calls: {jobid}" for jobid, count in created.items() if count > 1]
        named = {call.jobid for call in intent.calls}
        is_silent = any(call.problem or call.error.get("charged") == "unknown" for call in intent.orders)
        for job in self.get_jobs(intent):
            if job.jobid not in named and not is_silent:
                problems.append(f"a job that is in no response: {job.jobid}")
        return problems

    # No order is billed twice.

    def _check_billed_once(self, intent: Intent) -> list[str]:
        problems: list[str] = []
        jobs, posts = self.get_jobs(intent), self.get_posts(intent)
        for number, job in enumerate(jobs):
            wrong = [earlier for earlier in jobs[:number] if not self._may_follow(intent, earlier, job)]
            problems += [f"billed twice: {earlier.jobid}, then {job.jobid}" for earlier in wrong]
        for number, post in enumerate(posts):
            unclear = [earlier for earlier in posts[:number] if earlier.is_inconclusive]
            if unclear and not any(self._may_follow(intent, job, None, post.real) for job in jobs):
                problems.append(f"sent again after an inconclusive response ({unclear[0].fault})")
        return problems

    def _may_follow(self, intent: Intent, earlier: LedgerJob, job: LedgerJob | None, real: float = 0.0) -> bool:
        """Whether a job may be another attempt, because the earlier one failed and its user may know that.

        There is no video then, so the user repeats the order intentionally.
        """
        real = job.real if job else real
        if not FAILS.search(earlier.prompt) or earlier.runs(real):
            return False
        for call in intent.calls:
            if call.sent <= real and (call.problem or (call.jobid == earlier.jobid and call.is_final)):
                self.accepted["another attempt, after the first one failed"] += 1
                return True
        return False

    # Every response is right about the charge.

    def _check_money(self, intent: Intent, call: Call, *, database_fails: bool) -> list[str]:
        content, error = call.content, call.error
        charged = content.get("charged") if "outcome" in content else error.get("charged")
        if charged not in ("yes", "no", "unknown"):
            return ["no information about the charge"]
        mine = {job.jobid for job in self.get_jobs(intent)}
        if call.jobid and call.jobid not in mine:
            return ["the job of another order"]
        if charged == "yes" and not call.jobid:
            return ["charged for no job"]
        if charged == "unknown" and error.get("kind") != "job_failed":
            return self._check_unknown(intent, call, database_fails=database_fails)
        return []

    def _check_unknown(self, intent: Intent, call: Call, *, database_fails: bool) -> list[str]:
        posts = [post for post in self.get_posts(intent) if post.real <= call.ended]
        # Its replica was killed or its connection was cut, perhaps while its order was being sent.
        broken = [other for other in intent.orders if other.problem and other.sent <= call.ended]
        if any(post.is_inconclusive for post in posts) or broken:
            return []
        if posts and database_fails:
            # The replica that got the API's response could not record it, so the others do not know it. They order
            # nothing, and their response is right: an order was sent and may be charged.
            self.accepted["unknown, while the database could not be reached"] += 1
            return []
        return ["an unknown outcome without a reason"]

    # Users see only their own jobs.

    def check_isolation(self, calls: Iterable[Call]) -> list[str]:
        """List the problems with callers who saw data of others."""
        problems: list[str] = []
        for call in calls:
            owners = set(PROMPT.findall(call.text))
            requested_jobid = str(call.arguments.get("jobid", ""))
            for jobid in set(JOBIDS[self.api.contract.api].findall(call.text)) - {requested_jobid}:
                job = self.api.jobs.get(jobid)
                if job:
                    owners |= set(PROMPT.findall(job.prompt))
                elif self.api.contract.api == "useapi":
                    owners.add(f"nobody ({jobid})")
            if owners - {call.user}:
                problems.append(f"{call.user} saw data of {', '.join(owners - {call.user})}: {call}")
        return problems

    # Calls get a response and wait as long as requested.

    def check_waits(self, calls: Iterable[Call], *, may_break: bool, drains: Sequence[Drain] = ()) -> list[str]:
        """List the problems with calls without a response, or with a wait that was too short or too long.

        `may_break`: whether connections of callers are cut. `drains`: when replicas were stopping.
        """
        problems: list[str] = []
        for call in calls:
            hangs = call.problem.startswith("no response within")
            if call.problem and (hangs or not may_break):
                problems.append(f"no response: {call}")
            wait, lasted = call.arguments.get("wait_seconds", 0), call.ended - call.sent
            if not wait or call.content.get("state") != "running":
                continue
            if call.content.get("next_action") == "get_job" and self._came_late(call, drains):
                continue
            if lasted < wait - SHORT:
                problems.append(f"a wait of {wait} s ended after {lasted:.1f} s: {call}")
            job = self.api.jobs.get(call.jobid or "")
            # The state in a delayed response was true when the wait ended, or the order was placed.
            has_ended = job and job.ended and job.ended < call.sent + wait - NOTICE and job.prompt not in self.hidden
            if has_ended and lasted < wait + LATE:
                problems.append(f"a wait of {wait} s did not notice the end of its job: {call}")
        return problems

    def _came_late(self, call: Call, drains: Sequence[Drain]) -> bool:
        """Whether its replica may have been stopping before it started to process a call.

        The replica does not let such a call wait, so that the caller repeats it at another replica. Calls that are
        already waiting continue, and so does a call that has placed its order.
        """
        job = self.api.jobs.get(call.jobid or "")
        has_ordered = job is not None and call.content.get("outcome") == "created"
        started = job.real if job and has_ordered else call.sent + ARRIVAL
        return any(began <= started and call.sent <= ended for began, ended in drains)
