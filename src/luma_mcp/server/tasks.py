"""Tasks (extension `io.modelcontextprotocol/tasks`): a job that a client polls instead of waiting for a call.

If a job still runs when its tool returns, the tool attaches a task to the result. A client that declares the extension
on that request gets the task and polls it with `tasks/get`, and everybody else gets the result. The first part of this
module is the extension over any backend of jobs; the second part is the backend for videos, whose task ids are jobids,
so that any process with the token can answer for any task.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anyio
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import decode_header_value
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ClientCapabilities,
    MissingRequiredClientCapabilityErrorData,
    RequestParams,
)
from mcp.types.jsonrpc import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field, PrivateAttr

from luma_mcp.api.polling import next_poll_delay
from luma_mcp.errors import Forbidden, InvalidArguments, LumaError, NotFound
from luma_mcp.server import messages
from luma_mcp.server.progress import ProgressReporter
from luma_mcp.server.results import ResultContext, without_none
from luma_mcp.server.tools.get_job import complete_result, fetch_video

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import Context

    from luma_mcp.api.protocol import Job
    from luma_mcp.server.tools import ServerContext

    Request = ServerRequestContext[Any, Any]

logger = logging.getLogger(__name__)

TASKS = "io.modelcontextprotocol/tasks"
# The empty acknowledgement.
COMPLETE: dict[str, Any] = {"resultType": "complete"}
# Seconds between two polls of a task, at least.
SHORTEST_POLL = 1.0


def supports_tasks(ctx: Context[Any, Any] | Request) -> bool:
    """Whether a call may be answered with a task. Each request of the modern protocol declares it again."""
    capabilities = ctx.session.client_capabilities
    is_modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
    return bool(is_modern and capabilities and TASKS in (capabilities.extensions or {}))


class UnknownTask(Exception):
    """The backend knows no such task. The client is shown the exception's text."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands. Times are ISO 8601."""

    id: str
    created: str
    updated: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"] = "working"
    # One sentence about the status.
    message: str | None = None
    # Milliseconds until the next poll is worthwhile.
    poll_ms: int | None = None
    # What the tool returns, once the task is completed, also if the tool failed.
    result: Mapping[str, Any] | None = None
    # A JSON-RPC error, if it failed before any tool could return something.
    error: Mapping[str, Any] | None = None
    # What the client is asked while input is required, by keys that the backend chooses.
    questions: Mapping[str, Any] | None = None


class Backend(Protocol):
    """The jobs behind the tasks. It must know a task by its id alone, whichever process started it."""

    async def get(self, task_id: str) -> Task:
        """Return the task as it stands. Raises `UnknownTask`."""

    async def answer(self, task_id: str, answers: Mapping[str, Any]) -> None:
        """Take the client's answers to the task's questions; unknown keys are ignored. Raises `UnknownTask`."""

    async def cancel(self, task_id: str) -> None:
        """Stop the task if that is possible; the client no longer needs it. Raises `UnknownTask`."""


class _ResultWithTask(CallToolResult):
    """A tool's result about a job that still runs, with the task that can take its place."""

    _task: Task = PrivateAttr()


def attach_task(result: CallToolResult, task: Task) -> CallToolResult:
    """Return the result with a task that clients of the extension get instead of it."""
    # A private attribute is not serialized, so all other clients get the result unchanged.
    attached = _ResultWithTask(
        content=result.content, structured_content=result.structured_content, is_error=result.is_error
    )
    attached._task = task  # noqa: SLF001 - the class is this module's own
    return attached


class _TaskParams(RequestParams):
    task_id: str


class _UpdateParams(_TaskParams):
    input_responses: dict[str, Any] = Field(default_factory=dict)


class Tasks(Extension):
    """The extension."""

    identifier = TASKS

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def methods(self) -> Sequence[MethodBinding]:
        """List `tasks/get`, `tasks/update` and `tasks/cancel`."""
        modern = frozenset(MODERN_PROTOCOL_VERSIONS)
        return (
            MethodBinding("tasks/get", _TaskParams, self._get, modern),
            MethodBinding("tasks/update", _UpdateParams, self._update, modern),
            MethodBinding("tasks/cancel", _TaskParams, self._cancel, modern),
        )

    async def intercept_tool_call(self, _: CallToolRequestParams, ctx: Request, call_next: CallNext) -> HandlerResult:
        """Return the tool's result, or the task that is attached to it: any tool can attach one."""
        result = await call_next(ctx)
        if isinstance(result, _ResultWithTask) and supports_tasks(ctx):
            task = result._task  # noqa: SLF001 - the class is this module's own
            return {"resultType": "task", **_common_fields(task)}
        return result

    async def _get(self, ctx: Request, params: _TaskParams) -> dict[str, Any]:
        with _checked_request(ctx, params):
            task = await self._backend.get(params.task_id)
        outcome = {"result": task.result, "error": task.error, "inputRequests": task.questions}
        return COMPLETE | _common_fields(task) | without_none(outcome)

    async def _update(self, ctx: Request, params: _UpdateParams) -> dict[str, Any]:
        with _checked_request(ctx, params):
            await self._backend.answer(params.task_id, params.input_responses)
        return COMPLETE

    async def _cancel(self, ctx: Request, params: _TaskParams) -> dict[str, Any]:
        with _checked_request(ctx, params):
            await self._backend.cancel(params.task_id)
        return COMPLETE


@contextmanager
def _checked_request(ctx: Request, params: _TaskParams) -> Iterator[None]:
    """Apply the rules for every request about a task; an unknown task is an invalid parameter."""
    if not supports_tasks(ctx):
        capabilities = ClientCapabilities(extensions={TASKS: {}})
        required = MissingRequiredClientCapabilityErrorData(required_capabilities=capabilities)
        data = required.model_dump(by_alias=True, mode="json", exclude_none=True)
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, f"This request must declare the extension {TASKS}", data)
    # Over HTTP a header repeats the task's id, so that proxies can route by it.
    headers = getattr(ctx.request, "headers", None)
    if headers is not None and decode_header_value(headers.get("mcp-name")) != params.task_id:
        raise MCPError(HEADER_MISMATCH, "The header Mcp-Name must equal taskId")
    try:
        yield
    except UnknownTask as error:
        raise MCPError(INVALID_PARAMS, str(error)) from error


def _common_fields(task: Task) -> dict[str, Any]:
    """Build the fields that a task has whatever its status."""
    fields: dict[str, Any] = {
        "taskId": task.id,
        "status": task.status,
        "statusMessage": task.message,
        "createdAt": task.created,
        "lastUpdatedAt": task.updated,
        "pollIntervalMs": task.poll_ms,
    }
    # A task exists as long as its job does, and nobody promises how long that is.
    return without_none(fields) | {"ttlMs": None}


# Videos


def build_task(job: Job, typical: tuple[float, float] | None, now: datetime) -> Task:
    """Build the task of a job that still runs. `typical`: between which ages, in seconds, most such jobs end."""
    # The record of a job that was just ordered may lack its times.
    created = job.created or now.isoformat()
    age = job.elapsed_seconds(now)
    delay = max(SHORTEST_POLL, next_poll_delay(age or 0.0, typical))
    message = messages.job_headline(job, elapsed=age, expected=typical)
    return Task(job.jobid, created, job.updated or created, message=message, poll_ms=round(1000 * delay))


class VideoTaskBackend:
    """The backend of the jobs that `generate_video` starts."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context

    async def get(self, task_id: str) -> Task:
        """Return the job as a task; if it has finished, with what `generate_video` would return."""
        with _job_errors():
            service = self._context.require_service()
            job = await fetch_video(self._context, task_id)
            expected = await service.expected_seconds(job.request)
            result_context = ResultContext(save=await service.wants_files(task_id), expected=expected)
            result_context.image_changes = self._context.image_changes.get(task_id, {})
            end = anyio.current_time()
            result = await complete_result(self._context, job, result_context, ProgressReporter(None), end=end)
        now = self._context.wall_clock()
        if job.state == "running":
            return build_task(job, expected, now)
        is_completed = job.state == "completed"
        message = messages.job_headline(job, elapsed=None, expected=None) if is_completed else job.failure_reason
        # A job that failed is a completed task as well: its result is the error that the tool returns.
        content = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        return replace(build_task(job, None, now), status="completed", message=message, result=content)

    async def answer(self, task_id: str, answers: Mapping[str, Any]) -> None:  # noqa: ARG002 - there are no questions
        """Check that the job exists. A video asks nothing once it is ordered."""
        with _job_errors():
            await fetch_video(self._context, task_id)

    async def cancel(self, task_id: str) -> None:
        """Check that the job exists. Nothing can stop it; it continues, and its video can still be fetched."""
        await self.answer(task_id, {})
        logger.info("a client no longer needs a job; the job continues, because nothing can stop it")


@contextmanager
def _job_errors() -> Iterator[None]:
    """Turn an error about the job itself into `UnknownTask`, and any other into a JSON-RPC error."""
    try:
        yield
    except (NotFound, Forbidden, InvalidArguments) as error:
        raise UnknownTask(messages.describe_error(error, "get_job")) from error
    except LumaError as error:
        # Such an error does not end the task: the next request may find it.
        data = {"kind": error.kind, "retry": error.retry}
        raise MCPError(INTERNAL_ERROR, messages.describe_error(error, "get_job"), data) from error
