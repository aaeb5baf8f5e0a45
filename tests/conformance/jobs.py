"""Jobs in memory: a backend of the project's `Tasks` extension for the suite's task scenarios.

Nothing runs in the background. The answers and the time determine a job's status.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from mcp.shared.exceptions import MCPError
from mcp.types.jsonrpc import INVALID_PARAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mcp.types import CallToolResult

    from luma_mcp.server.tasks import Task

POLL_MS = 100


@dataclass(slots=True)
class Job:
    """A job.

    Attributes:
        outcome: computes its tool result or its JSON-RPC error from the answers.
        seconds: its duration in real time, because the suite waits for it.
        questions: questions that it waits for, by key.
    """

    id: str
    outcome: Callable[[Mapping[str, Any]], CallToolResult | dict[str, Any]]
    seconds: float
    questions: dict[str, Any]
    answers: dict[str, Any] = field(default_factory=dict)
    is_cancelled: bool = False
    started: float = field(default_factory=time.monotonic)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    changed: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def task(self) -> Task:
        """The job's current state as a task."""
        end = self.created + timedelta(seconds=self.seconds)
        open_questions = {key: question for key, question in self.questions.items() if key not in self.answers}
        if self.is_cancelled:
            return self._build_task("cancelled")
        if open_questions:
            return self._build_task("input_required", inputRequests=open_questions)
        if time.monotonic() < self.started + self.seconds:
            return self._build_task("working")
        self.changed = max(self.changed, end)
        outcome = self.outcome(self.answers)
        if isinstance(outcome, dict):
            return self._build_task("failed", error=outcome)
        return self._build_task("completed", result=outcome.model_dump(by_alias=True, mode="json", exclude_none=True))

    def _build_task(self, status: Any, **more: Any) -> Task:
        created, changed = self.created.isoformat(), self.changed.isoformat()
        task = {"taskId": self.id, "status": status, "createdAt": created, "lastUpdatedAt": changed}
        return task | {"ttlMs": None, "pollIntervalMs": POLL_MS} | more


class Jobs:
    """All jobs of a server."""

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
        """Start a job."""
        job = Job(f"job-{next(self._numbers)}", outcome, seconds, questions or {})
        self._jobs[job.id] = job
        return job

    async def get(self, task_id: str) -> Task:
        """Get the current state of a job."""
        return self._get_job(task_id).task

    async def answer(self, task_id: str, answers: Mapping[str, Any]) -> None:
        """Record answers to the questions of a job."""
        job = self._get_job(task_id)
        job.answers |= {key: answer for key, answer in answers.items() if key in job.questions}
        job.changed = datetime.now(UTC)

    async def cancel(self, task_id: str) -> None:
        """Cancel a job, unless it has ended."""
        job = self._get_job(task_id)
        if job.task["status"] in {"working", "input_required"}:
            job.is_cancelled, job.changed = True, datetime.now(UTC)

    def _get_job(self, task_id: str) -> Job:
        if task_id not in self._jobs:
            raise MCPError(INVALID_PARAMS, f"no task {task_id}")
        return self._jobs[task_id]
