"""What must hold after each round of the campaign: the books of the API against the answers that the callers got."""

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
"""Seconds by which a wait may be shorter than it should."""
ARRIVAL = 3.0
"""Seconds within which a replica takes up a call, on a busy machine."""
NOTICE = 1.5
"""Seconds after the end of a job in which a call that waits for it learns of that, at the latest when its wait ends."""
LATE = 2.0
"""Seconds by which an answer comes later than its wait ends if the database holds it up."""
PROMPT = re.compile(r"clip \d+\.\d+ of (\w+)")
FAILS = re.compile(r"simulate:(fail|moderate)")
Drain = tuple[float, float]
"""From when until when a replica was being stopped, by the monotonic clock."""


@dataclass(eq=False, slots=True)
class Intent:
    """A video that a user wants once, and all calls for it.

    Attributes:
        prompt: of no other intent.
        is_traceable: whether its job can be found without an answer: it runs long, and is the only one of its model.
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
class Books:
    """The checks.

    Attributes:
        accepted: how often each exception of the rules applied. The reason of each is beside it.
        hidden: prompts about whose jobs the API answers a question with a failure.
    """

    api: Api
    accepted: Counter[str] = field(default_factory=Counter)
    hidden: set[str] = field(default_factory=set)
    _jobs: dict[str, list[LedgerJob]] = field(default_factory=dict)
    _posts: dict[str, list[Post]] = field(default_factory=dict)
    _read: tuple[int, int] = (0, 0)

    def read(self) -> None:
        """Read what is new at the API."""
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
        """Problems with one intent: what it cost, and what the answers about it said."""
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
                problems.append(f"a job that no answer owns up to: {job.jobid}")
        return problems

    # No order is billed twice.

    def _check_billed_once(self, intent: Intent) -> list[str]:
        problems: list[str] = []
        jobs, posts = self.get_jobs(intent), self.get_posts(intent)
        for number, job in enumerate(jobs):
            wrong = [earlier for earlier in jobs[:number] if not self._may_follow(intent, earlier, job)]
            problems += [f"billed twice: {earlier.jobid}, then {job.jobid}" for earlier in wrong]
        for number, post in enumerate(posts):
            unclear = [earlier for earlier in posts[:number] if earlier.proves_nothing]
            if unclear and not any(self._may_follow(intent, job, None, post.real) for job in jobs):
                problems.append(f"sent again after an answer that proves nothing ({unclear[0].fault})")
        return problems

    def _may_follow(self, intent: Intent, earlier: LedgerJob, job: LedgerJob | None, real: float = 0.0) -> bool:
        """Whether a job may be another attempt: the earlier one has failed, and an answer has said so, or was cut off.

        There is no video then, so whoever repeats the order wants that.
        """
        real = job.real if job else real
        if not FAILS.search(earlier.prompt) or earlier.runs(real):
            return False
        for call in intent.calls:
            if call.sent <= real and (call.problem or (call.jobid == earlier.jobid and call.is_final)):
                self.accepted["another attempt, after the first one failed"] += 1
                return True
        return False

    # Every answer is right about the money.

    def _check_money(self, intent: Intent, call: Call, *, database_fails: bool) -> list[str]:
        content, error = call.content, call.error
        charged = content.get("charged") if "outcome" in content else error.get("charged")
        if charged not in ("yes", "no", "unknown"):
            return ["no word about the money"]
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
        # Its replica was killed, or its connection was cut, and perhaps its order was on its way.
        broken = [other for other in intent.orders if other.problem and other.sent <= call.ended]
        if any(post.proves_nothing for post in posts) or broken:
            return []
        if posts and database_fails:
            # The replica that got the API's answer could not record it, and the others cannot know it meanwhile. They
            # order nothing, and what they say is right: an order was sent and may be charged.
            self.accepted["unknown, while the database could not be reached"] += 1
            return []
        return ["an unknown outcome without a reason"]

    # Nobody sees what is not theirs.

    def check_isolation(self, calls: Iterable[Call]) -> list[str]:
        """Problems with what callers saw of others."""
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
                problems.append(f"{call.user} saw something of {', '.join(owners - {call.user})}: {call}")
        return problems

    # Calls are answered, and wait.

    def check_waits(self, calls: Iterable[Call], *, may_break: bool, drains: Sequence[Drain] = ()) -> list[str]:
        """Problems with calls that were not answered, or whose wait ended before it was over, or long after the job.

        `may_break`: whether connections of callers are cut. `drains`: when replicas were being stopped.
        """
        problems: list[str] = []
        for call in calls:
            hangs = call.problem.startswith("no answer within")
            if call.problem and (hangs or not may_break):
                problems.append(f"no answer: {call}")
            wait, lasted = call.arguments.get("wait_seconds", 0), call.ended - call.sent
            if not wait or call.content.get("state") != "running":
                continue
            if call.content.get("next_action") == "get_job" and self._came_late(call, drains):
                continue
            if lasted < wait - SHORT:
                problems.append(f"a wait of {wait} s ended after {lasted:.1f} s: {call}")
            job = self.api.jobs.get(call.jobid or "")
            # What an answer says that was held up was true when the wait ended, or the order was placed.
            has_ended = job and job.ended and job.ended < call.sent + wait - NOTICE and job.prompt not in self.hidden
            if has_ended and lasted < wait + LATE:
                problems.append(f"a wait of {wait} s did not notice the end of its job: {call}")
        return problems

    def _came_late(self, call: Call, drains: Sequence[Drain]) -> bool:
        """Whether its replica may have been stopped before it took up a call.

        It does not let such a call wait: the caller is to ask again, and gets another replica. Calls that wait already
        go on. So does one that has placed its order.
        """
        job = self.api.jobs.get(call.jobid or "")
        has_ordered = job is not None and call.content.get("outcome") == "created"
        taken_up = job.real if job and has_ordered else call.sent + ARRIVAL
        return any(began <= taken_up and call.sent <= ended for began, ended in drains)
