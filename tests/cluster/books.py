"""What must hold after each round of the campaign: the books of the API against the answers that the callers got."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.cluster.callers import JOBID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.campaign.api import Api, LedgerJob, Post
    from tests.cluster.callers import Call

DATES = 1.5
"""Seconds that are uncertain because the API's dates are whole seconds."""
SHORT = 0.7
"""Seconds by which a wait may be shorter than it should."""
PROMPT = re.compile(r"clip \d+\.\d+ of (\w+)")


@dataclass(eq=False, slots=True)
class Intent:
    """A video that a user wants once, and all calls for it.

    Attributes:
        prompt: of no other intent.
        was_deleted: whether its job was deleted at the user's request.
    """

    user: str
    arguments: dict[str, Any]
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
    """The checks. `accepted`: how often each exception of the rules applied."""

    api: Api
    accepted: Counter[str] = field(default_factory=Counter)
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

    def check(self, intent: Intent) -> list[str]:
        """Problems with one intent: what it cost, and what the answers about it said."""
        problems = self._check_billed_once(intent)
        for call in intent.orders:
            if call.content:
                problems += [f"{problem}: {call}" for problem in self._check_money(intent, call)]
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
        """Whether a job may be another video: its call came after the earlier one was handed over, or may have been."""
        real = job.real if job else real
        if earlier.ended is None or earlier.runs(real):
            return False
        came = [call for call in intent.orders if call.sent <= real <= call.ended]
        if not any(call.sent >= earlier.ended - DATES for call in came):
            return False
        for call in intent.calls:
            if call.sent <= real and call.jobid == earlier.jobid and call.is_final:
                self.accepted["another video, after the first was handed over"] += 1
                return True
            if call.sent <= real and call.problem and call.ended > earlier.ended - 0.1:
                self.accepted["another video, after an answer with the first one was cut off"] += 1
                return True
        return False

    # Every answer is right about the money.

    def _check_money(self, intent: Intent, call: Call) -> list[str]:
        content, error = call.content, call.error
        charged = content.get("charged") if "outcome" in content else error.get("charged")
        if charged not in ("yes", "no", "unknown"):
            return ["no word about the money"]
        mine = {job.jobid for job in self.get_jobs(intent)}
        if call.jobid and call.jobid not in mine:
            return ["the job of another order"]
        if charged == "yes" and not call.jobid:
            return ["charged for no job"]
        if charged == "unknown" and error.get("kind") != "job_failed" and not self._may_be_unknown(intent):
            return ["an unknown outcome without a reason"]
        return []

    def _may_be_unknown(self, intent: Intent) -> bool:
        posts = self.get_posts(intent)
        if any(post.proves_nothing for post in posts) or any(call.problem for call in intent.calls):
            return True
        was_out_of_reach = any(call.error.get("kind") == "journal_unavailable" for call in intent.calls)
        has_warning = any("record of orders cannot be used" in call.text for call in intent.calls)
        if was_out_of_reach or has_warning:
            # What became of the order was not recorded yet: for others it was still on its way.
            self.accepted["unknown, while the database could not be reached"] += 1
            return True
        return False

    # Nobody sees what is not theirs.

    def check_isolation(self, calls: Iterable[Call]) -> list[str]:
        """Problems with what callers saw of others."""
        problems: list[str] = []
        for call in calls:
            owners = set(PROMPT.findall(call.text))
            asked = str(call.arguments.get("jobid", ""))
            for jobid in set(JOBID.findall(call.text)) - {asked}:
                job = self.api.jobs.get(jobid)
                owners |= set(PROMPT.findall(job.prompt)) if job else {f"nobody ({jobid})"}
            if owners - {call.user}:
                problems.append(f"{call.user} saw something of {', '.join(owners - {call.user})}: {call}")
        return problems

    # Calls are answered, and wait.

    def check_waits(self, calls: Iterable[Call], *, may_break: bool, may_be_cut: bool) -> list[str]:
        """Problems with calls that were not answered, or answered before their wait was over."""
        problems: list[str] = []
        for call in calls:
            hangs = call.problem.startswith("no answer within")
            if call.problem and (hangs or not may_break):
                problems.append(f"no answer: {call}")
            wait = call.arguments.get("wait_seconds", 0)
            is_early = call.ended - call.sent < wait - SHORT
            if is_early and call.content.get("state") == "running" and not may_be_cut:
                problems.append(f"a wait of {wait} s ended after {call.ended - call.sent:.1f} s: {call}")
        return problems
