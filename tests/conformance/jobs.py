"""A backend of jobs in memory, for the project's own `Tasks` extension: what the suite's tasks scenarios ask for.

Nothing runs in the background: how a job stands follows from what it was told and the time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from luma_mcp.server.tasks import Task, UnknownTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mcp.types import CallToolRequestParams, CallToolResult

POLL_MS = 100


@dataclass(slots=True)
class Job:
    """One job.

    Attributes:
        outcome: from the answers, what its tool returns, or the JSON-RPC error that it ends with.
        seconds: that it takes, of real time, as the suite waits for it.
        questions: what it waits for, by key.
    """

    id: str
    outcome: Callable[[Mapping[str, Any]], CallToolResult | dict[str, Any]]
    seconds: float
    questions: dict[str, Any]
    answers: dict[str, Any] = field(default_factory=dict)
    cancelled: bool = False
    started: float = field(default_factory=time.monotonic)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    changed: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def task(self) -> Task:
        """The job as it stands."""
        due = self.created + timedelta(seconds=self.seconds)
        open_questions = {key: question for key, question in self.questions.items() if key not in self.answers}
        if self.cancelled:
            return self._as("cancelled")
        if open_questions:
            return self._as("input_required", questions=open_questions)
        if time.monotonic() < self.started + self.seconds:
            return self._as("working")
        self.changed = max(self.changed, due)
        ended = self.outcome(self.answers)
        if isinstance(ended, dict):
            return self._as("failed", error=ended)
        return self._as("completed", result=ended.model_dump(by_alias=True, mode="json", exclude_none=True))

    def _as(self, status: Any, **more: Any) -> Task:
        created, changed = self.created.isoformat(), self.changed.isoformat()
        return Task(id=self.id, created=created, updated=changed, status=status, poll_ms=POLL_MS, **more)


class Jobs:
    """All of them. A tool's answer is about a job if its structured content names one."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._numbers = count(1)

    def start(
        self,
        outcome: Callable[[Mapping[str, Any]], CallToolResult | dict[str, Any]],
        *,
        seconds: float = 0,
        questions: dict[str, Any] | None = None,
    ) -> Job:
        """A new job."""
        job = Job(f"job-{next(self._numbers)}", outcome, seconds, questions or {})
        self._jobs[job.id] = job
        return job

    def started(self, call: CallToolRequestParams, result: CallToolResult) -> Task | None:  # noqa: ARG002 - any tool's
        """The job that a tool's answer names."""
        named = (result.structured_content or {}).get("job")
        return self._jobs[named].task if named else None

    async def get(self, task_id: str) -> Task:
        """The job now."""
        return self._known(task_id).task

    async def answer(self, task_id: str, answers: Mapping[str, Any]) -> None:
        """Keeps what was asked for."""
        job = self._known(task_id)
        job.answers |= {key: answer for key, answer in answers.items() if key in job.questions}
        job.changed = datetime.now(UTC)

    async def cancel(self, task_id: str) -> None:
        """Ends it, unless it has ended."""
        job = self._known(task_id)
        if job.task.status in {"working", "input_required"}:
            job.cancelled, job.changed = True, datetime.now(UTC)

    def _known(self, task_id: str) -> Job:
        if task_id not in self._jobs:
            raise UnknownTask(f"no task {task_id}")
        return self._jobs[task_id]
