"""The checks after each step of a scenario: they compare the API's ledger with the responses to the calls."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.campaign.api import Api, LedgerJob, Post
    from tests.campaign.servers import Call, Server

REPEAT_WINDOW = 600.0
"""Seconds, by the API's clock, in which an identical order returns a job whose result was not delivered."""
UNKNOWN_FOR, FAILED_RESPONSE_FOR = 900.0, 120.0
"""Seconds, by the API's clock, for which an order blocks identical ones: without a readable response, and with a
failure as its response."""
DATES = 1.5
"""Tolerance in seconds, because the API's dates are whole seconds."""
MARGIN = 5.0
"""Tolerance in seconds for limits of minutes."""
DEGRADED_FOR = 65.0
"""Seconds after which a server tries the journal again."""


@dataclass(eq=False, slots=True)
class Destruction:
    """A removal, replacement or overwriting of the journal's file. `is_clean`: no call was in progress."""

    kind: str
    real: float
    generation: int
    is_clean: bool


@dataclass(slots=True)
class UnusablePeriod:
    """A period in which the journal cannot be used. `until` is None before its end."""

    since: float
    until: float | None = None

    def covers(self, real: float) -> bool:
        """Whether the journal has certainly been unusable since that time. The period is not over."""
        return self.since < real and self.until is None

    def may_affect(self, real: float) -> bool:
        """Whether a server may have worked without the journal at that time."""
        return self.since - 1 <= real and (self.until is None or real <= self.until + DEGRADED_FOR)


@dataclass
class LedgerChecker:
    """Records what happened, and checks it.

    Attributes:
        calls: of `generate_video` and `get_job`.
        generation: how often the journal's file has been replaced.
        is_required: whether nothing is ordered without the journal.
        accepted: how often each exception to the rules applied.
    """

    api: Api
    is_required: bool = False
    calls: list[Call] = field(default_factory=list)
    destructions: list[Destruction] = field(default_factory=list)
    unusable: list[UnusablePeriod] = field(default_factory=list)
    generation: int = 0
    generations: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _checked_jobs: int = 0
    _checked_posts: int = 0

    # Look-ups.

    def get_calls(self, prompt: str, batch: int) -> list[Call]:
        """Get the calls of a batch with this prompt."""
        return [call for call in self.calls if call.prompt == prompt and call.batch == batch]

    def list_own_jobs(self, prompt: str) -> list[LedgerJob]:
        """Get the jobs of our orders with this prompt, oldest first."""
        return [job for job in self.api.jobs.values() if job.prompt == prompt and not job.is_foreign]

    def is_new_take(self, prompt: str, batch: int) -> bool:
        return any(call.arguments.get("new_take") for call in self.get_calls(prompt, batch))

    def was_without_journal(self, calls: Iterable[Call]) -> bool:
        """Whether a call worked without the journal: a warning says so, or it had no response in such a period."""
        for call in calls:
            if call.is_warned:
                return True
            if not call.responses and any(period.may_affect(call.sent) for period in self.unusable):
                return True
        return False

    # (a) No order is billed twice.

    def check_billed_once(self) -> list[str]:
        """List the problems with jobs and orders since the last check."""
        problems: list[str] = []
        jobs = list(self.api.jobs.values())
        for job in jobs[self._checked_jobs :]:
            if not job.is_foreign and not self.is_new_take(job.prompt, job.batch):
                same_order = self.list_own_jobs(job.prompt)
                before = same_order[: same_order.index(job)]
                twice = [earlier for earlier in before if not self._may_follow(earlier, job)]
                problems += [f"billed twice: {job.prompt}: {earlier.jobid}, then {job.jobid}" for earlier in twice]
        self._checked_jobs = len(jobs)
        posts = list(self.api.posts)
        for number, post in enumerate(posts[self._checked_posts :], self._checked_posts):
            if not self.is_new_take(post.prompt, post.batch):
                same = [other for other in posts[:number] if other.prompt == post.prompt]
                early = [other for other in same if not self._may_be_sent(other, post)]
                problems += [f"sent again too soon: {post.prompt}, after {other.fault}" for other in early]
        self._checked_posts = len(posts)
        return problems

    def _may_follow(self, earlier: LedgerJob, job: LedgerJob) -> bool:
        calls = self.get_calls(job.prompt, job.batch)
        if self._is_excused(earlier.real, job.real, [*self.get_calls(earlier.prompt, earlier.batch), *calls], earlier):
            return True
        seconds = (job.at - earlier.at).total_seconds()
        if earlier.was_denied and seconds > UNKNOWN_FOR - MARGIN:
            return self._accept("an old job was denied by the API")
        if not self.api.contract.lists_jobs and self._was_unknown(earlier, seconds):
            # It is unknown whether it still runs: docs/guarantees.md describes this exception.
            return self._accept("a job of unknown outcome ran for longer than it blocks the order")
        if earlier.runs(job.real) or earlier.ended is None:
            return False
        # A call that arrived while the job ran requests the same video.
        arrived = max((call.sent for call in calls), default=job.real)
        reasons = {
            "after the repeat window": seconds - (earlier.ended - earlier.real) > REPEAT_WINDOW - MARGIN,
            "after an unknown outcome": self._was_unknown(earlier, seconds),
            "after the result was delivered": arrived >= earlier.ended - DATES
            and self._was_delivered(earlier, job.real),
        }
        return any(applies and self._accept(reason) for reason, applies in reasons.items())

    def _was_delivered(self, job: LedgerJob, before: float) -> bool:
        """Whether an earlier call returned, or may have returned, the finished job."""
        assert job.ended is not None
        for call in self.calls:
            if call.sent > before:
                continue
            if call.content.get("jobid") == job.jobid and call.content.get("state") in ("completed", "failed"):
                return True
            is_about = call.prompt == job.prompt or call.arguments.get("jobid") == job.jobid
            if is_about and not call.responses and call.ended and call.ended > job.ended - 0.1:
                return True
        return False

    def _was_unknown(self, job: LedgerJob, seconds: float) -> bool:
        """Whether the job's order had no readable response, and no longer blocks identical orders."""
        for post in self.api.posts:
            if post.prompt == job.prompt and post.batch == job.batch:
                if post.has_message and seconds > FAILED_RESPONSE_FOR - MARGIN:
                    return True
                if post.is_inconclusive and seconds > UNKNOWN_FOR - MARGIN:
                    return True
        killed = any(call.was_killed for call in self.get_calls(job.prompt, job.batch))
        return killed and seconds > UNKNOWN_FOR - MARGIN

    def _may_be_sent(self, earlier: Post, post: Post) -> bool:
        if not earlier.is_inconclusive:
            return True
        seconds = (post.at - earlier.at).total_seconds()
        blocked = FAILED_RESPONSE_FOR if earlier.has_message else UNKNOWN_FOR
        if seconds > blocked - MARGIN:
            return True
        calls = self.get_calls(earlier.prompt, earlier.batch) + self.get_calls(post.prompt, post.batch)
        if self._is_excused(earlier.real, post.real, calls, None):
            return True
        if not self.api.contract.lists_jobs:
            return False
        # Once the order has adopted a job, the rules of that job apply.
        between = [call for call in self.calls if call.prompt == post.prompt and call.sent <= post.real]
        return any("jobid" in call.content or not call.responses for call in between)

    def _is_excused(self, first: float, second: float, calls: list[Call], job: LedgerJob | None) -> bool:
        if not self.is_required and self.was_without_journal(calls):
            return self._accept("without the journal, with a warning")
        lost = [each for each in self.destructions if first - 1 < each.real <= second + 1]
        if not lost:
            return False
        is_strict = len(lost) == 1 and lost[0].is_clean and lost[0].kind != "overwritten" and len(calls) > 0
        if is_strict and job and job.runs(second):
            last = calls[-1].server
            knows = last.started < lost[0].real and lost[0].generation in last.touched
            group = [call for call in calls if call.batch == calls[-1].batch]
            if knows and len(group) == 1 and first < lost[0].real - 1:
                # The server had read the file with the first order, and keeps it in memory.
                return False
        return self._accept("after the journal was destroyed")

    def _accept(self, reason: str) -> bool:
        self.accepted[reason] += 1
        return True

    # (c), (d) Every call gets one response, and every response is right about the charge.

    def check_responses(self, calls: list[Call]) -> list[str]:
        """List the problems with the responses of one batch."""
        problems: list[str] = []
        for call in calls:
            name = f"{call.tool} {call.arguments} on {call.server}"
            if len(call.responses) != 1 and not (call.was_cancelled or call.was_killed):
                problems.append(f"{len(call.responses)} responses: {name}")
            if len(call.responses) > 1:
                problems.append(f"more than one response: {name}")
            if call.responses and not call.was_cancelled and not call.content:
                problems.append(f"a response without content: {name}: {call.text}")
            if call.tool == "generate_video" and call.content:
                problems += [f"{problem}: {name}: {call.text}" for problem in self._check_money(call)]
        ordering = {call.prompt for call in calls if call.tool == "generate_video"}
        for prompt in ordering:
            problems += self._check_group(prompt, [call for call in calls if call.prompt == prompt])
        return problems

    def _check_money(self, call: Call) -> list[str]:
        content = call.content
        error = content.get("error", {})
        charged = error.get("charged") if "outcome" not in content else content.get("charged")
        if error and "charged" not in error:
            return ["an error without charged"]
        if charged not in ("yes", "no", "unknown"):
            return ["no information about the charge"]
        problems: list[str] = []
        if charged == "yes":
            problems += self._check_charged(call, content.get("jobid") or error.get("jobid"))
        if error.get("kind") == "job_failed":
            problems += self._check_failed(error)
        is_new = content.get("outcome") == "created"
        if is_new and not call.is_warned and any(period.covers(call.sent) for period in self.unusable):
            problems.append("ordered without the journal, and without a warning")
        if error.get("kind") != "job_failed" and charged == "unknown" and not self._may_be_unknown(call):
            problems.append("an unknown outcome without a reason")
        return problems

    def _check_failed(self, error: dict[str, Any]) -> list[str]:
        """List the problems with the charge in the error about a failed job."""
        job = self.api.jobs.get(error.get("jobid", ""))
        if job is None:
            return ["no job has failed"]
        is_free = any(name in job.job.behaviors for name in self.api.contract.free_failures)
        expected = "no" if is_free else "unknown"
        return [] if error["charged"] == expected else [f"the failed job is not charged: {expected}"]

    def _check_charged(self, call: Call, jobid: str | None) -> list[str]:
        job = self.api.jobs.get(jobid or "")
        if job is None:
            return ["charged for no job"]
        is_own = job.prompt == call.prompt and not job.is_foreign
        lists_jobs = self.api.contract.lists_jobs
        if is_own or (lists_jobs and (call.is_warned or self._was_destroyed_before(call))):
            self._accept("its own job" if is_own else "another order's job was adopted without the journal")
            return []
        outcome = call.content.get("outcome", "recovered")
        if not lists_jobs or not job.is_foreign or outcome != "recovered":
            return [f"the job of another order ({job.prompt})"]
        # The list of running jobs shows a job's model, account and time only.
        if job.model != call.arguments["model"]:
            return ["a job of another machine with another model"]
        is_finished = call.content.get("state") == "completed"
        expected = call.arguments.get("aspect_ratio", "16:9"), call.arguments.get("duration", "5s")
        if is_finished and expected != (job.job.request["aspect_ratio"], job.job.request["duration"]):
            return ["a video of another machine with another shape or length"]
        self._accept("a job of another machine was adopted")
        return []

    def _was_destroyed_before(self, call: Call) -> bool:
        return any(each.real <= (call.ended or call.sent) for each in self.destructions)

    def _may_be_unknown(self, call: Call) -> bool:
        for post in self.api.posts:
            if post.prompt == call.prompt and post.is_inconclusive:
                return True
        same = [each for each in self.calls if each.prompt == call.prompt]
        if any(each.real > same[0].sent - 1 for each in self.destructions):
            # A server that had the old file open restores what it read there, perhaps without the outcome.
            return self._accept("unknown, after the journal was destroyed")
        return any(each.was_killed for each in same)

    def _check_group(self, prompt: str, calls: list[Call]) -> list[str]:
        """List the problems with identical calls of one batch. Every job must be in a response."""
        created = {job.jobid for job in self.list_own_jobs(prompt) if job.batch == calls[0].batch}
        silent = 0
        for call in calls:
            content = call.content
            error = content.get("error", {})
            jobid = content.get("jobid") or error.get("jobid")
            if jobid in created:
                created.discard(jobid)
            elif (
                not call.responses or call.was_cancelled or error.get("charged") == "unknown" or self._is_adopted(call)
            ):
                silent += 1
        if len(created) > silent:
            responses = [call.text for call in calls]
            return [f"jobs that are in no response: {prompt}: {sorted(created)}: {responses}"]
        return []

    def _is_adopted(self, call: Call) -> bool:
        """Whether the call adopted the job of another order. `_check_charged` decides whether that is allowed."""
        job = self.api.jobs.get(call.content.get("jobid", ""))
        return job is not None and job.prompt != call.prompt

    # (b) Every job can be found.

    def check_found(self, listed: list[dict[str, Any]]) -> list[str]:
        """List the problems with the job list of a new server."""
        problems: list[str] = []
        named = " ".join(call.text for call in self.calls)
        unknown: dict[str, int] = defaultdict(int)
        for row in listed:
            if row["state"] == "unknown" and "jobid" not in row:
                unknown[row.get("prompt", "")] += 1
        jobids = {row.get("jobid") for row in listed}
        for job in self.api.jobs.values():
            if job.is_foreign or job.jobid in jobids or job.jobid in named:
                continue
            if unknown[job.prompt]:
                unknown[job.prompt] -= 1
                self.accepted["listed as unknown"] += 1
                continue
            calls = self.get_calls(job.prompt, job.batch)
            if any(each.real > job.real - 1 for each in self.destructions):
                self._accept("not found, after the journal was destroyed")
            elif self.was_without_journal(calls):
                self._accept("not found, without the journal")
            elif any(self._is_adopted(call) for call in calls):
                self._accept("not found, because another job was adopted")
            elif self._was_unknown(job, (self.api.now() - job.at).total_seconds()):
                self._accept("not found, long after an unknown outcome")
            else:
                problems.append(f"a job that cannot be found: {job.prompt}: {job.jobid}")
        return problems


def describe_server(server: Server) -> str:
    """Format the end of a server's log, for the report of a failure."""
    text = server.log.read_text(encoding="utf-8", errors="replace") if server.log.exists() else ""
    return f"--- log of {server}:\n{text[-3000:]}"
