"""Tasks (extension `io.modelcontextprotocol/tasks`): a job that a client polls instead of waiting for a call.

If a job still runs when its tool returns, the tool attaches a task to the result. A client that declares the extension
on that request gets the task and polls it with `tasks/get`, and everybody else gets the result. The first part of this
module is the extension over any backend of jobs; the second part is the backend for videos, whose task ids are jobids,
so that any process with the token can answer for any task.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

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
from luma_mcp.api.protocol import Job, parse_time
from luma_mcp.errors import LumaError
from luma_mcp.providers import Provider
from luma_mcp.server import messages
from luma_mcp.server.following import JobFollower, fetch_video, follow_job
from luma_mcp.server.progress import ProgressReporter
from luma_mcp.server.results import format_iso
from luma_mcp.server.tools import ServerContext
from luma_mcp.server.tools.get_job import UNKNOWN_JOB
from luma_mcp.service.tenants import current_tenant

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import Context

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


# A task as `tasks/get` returns it, by the names of the extension: `taskId`, `status`, `inputRequests`, `result`, ….
Task = dict[str, Any]


class Backend(Protocol):
    """The jobs behind the tasks. It must know a task by its id alone, whichever process started it.

    For one that it does not know, it raises an `MCPError`.
    """

    async def get(self, task_id: str) -> Task:
        """Return the task as it stands."""

    async def answer(self, task_id: str, answers: Mapping[str, Any]) -> None:
        """Take the client's answers to the task's questions, by their keys; unknown keys are ignored."""

    async def cancel(self, task_id: str) -> None:
        """Stop the task if that is possible; the client no longer needs it."""


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
            return {"resultType": "task", **result._task}  # noqa: SLF001 - the class is this module's own
        return result

    async def _get(self, ctx: Request, params: _TaskParams) -> dict[str, Any]:
        _check_request(ctx, params)
        return COMPLETE | await self._backend.get(params.task_id)

    async def _update(self, ctx: Request, params: _UpdateParams) -> dict[str, Any]:
        _check_request(ctx, params)
        await self._backend.answer(params.task_id, params.input_responses)
        return COMPLETE

    async def _cancel(self, ctx: Request, params: _TaskParams) -> dict[str, Any]:
        _check_request(ctx, params)
        await self._backend.cancel(params.task_id)
        return COMPLETE


def _check_request(ctx: Request, params: _TaskParams) -> None:
    """Apply the rules for every request about a task."""
    if not supports_tasks(ctx):
        capabilities = ClientCapabilities(extensions={TASKS: {}})
        required = MissingRequiredClientCapabilityErrorData(required_capabilities=capabilities)
        data = required.model_dump(by_alias=True, mode="json", exclude_none=True)
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, f"This request must declare the extension {TASKS}", data)
    # Over HTTP a header repeats the task's id, so that proxies can route by it.
    headers = getattr(ctx.request, "headers", None)
    if headers is not None and decode_header_value(headers.get("mcp-name")) != params.task_id:
        raise MCPError(HEADER_MISMATCH, "The header Mcp-Name must equal taskId")


# Videos


def build_task(job: Job, result_context: messages.ResultContext, now: datetime) -> Task:
    """Build the task of a job as if it still ran. `result_context`: that of the result of the same call."""
    typical = result_context.expected
    # The record of a job that was just ordered may lack its times.
    created = format_iso(parse_time(job.created)) or format_iso(now)
    age = job.elapsed_seconds(now)
    delay = max(SHORTEST_POLL, next_poll_delay(age or 0.0, typical))
    return {
        "taskId": job.jobid,
        "status": "working",
        "statusMessage": messages.job_headline(job, elapsed=age, expected=typical, saved=result_context.saved),
        "createdAt": created,
        "lastUpdatedAt": format_iso(parse_time(job.updated)) or created,
        # A task exists as long as its job does, and the API does not document how long that is.
        "ttlMs": None,
        "pollIntervalMs": round(1000 * delay),
    }


class VideoTaskBackend:
    """The backend of the jobs that `generate_video` starts."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context

    async def get(self, task_id: str) -> Task:
        """Return the job as a task; if it has finished, with what `generate_video` would return."""
        with _job_errors(self._context.provider):
            ordered = self._context.ordered.get((current_tenant.get().id, task_id), messages.ResultContext())
            # A client that polls a task accepts its result at any time.
            result_context = replace(ordered, deadline=float("inf"), shows_player=False)
            end = anyio.current_time()
            follower = JobFollower(self._context, task_id, ProgressReporter(None), result_context, end)
            job, result = await follow_job(follower)
        task = build_task(job, result_context, self._context.require_service().now())
        if job.state != "running":
            # A job that failed is a completed task as well: its result is the error that the tool returns.
            task["status"] = "completed"
            task["result"] = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        if job.state == "failed":
            task["statusMessage"] = job.failure_reason or "The video was not made."
        return task

    async def answer(self, task_id: str, answers: Mapping[str, Any]) -> None:  # noqa: ARG002 - there are no questions
        """Check that the job exists. A video asks nothing once it is ordered."""
        with _job_errors(self._context.provider):
            await fetch_video(self._context, task_id)

    async def cancel(self, task_id: str) -> None:
        """Check that the job exists. Nothing can stop it; it continues, and its video can still be fetched."""
        await self.answer(task_id, {})
        logger.info("a client no longer needs a job; the job continues, because nothing can stop it")


@contextmanager
def _job_errors(provider: Provider) -> Iterator[None]:
    """Turn an error about the job itself into that of an invalid parameter, and any other into an internal one."""
    try:
        yield
    except LumaError as error:
        text = messages.describe_error(error, "get_job", provider)
        if isinstance(error, UNKNOWN_JOB):
            raise MCPError(INVALID_PARAMS, text) from error
        # Such an error does not end the task: the next request may find it.
        raise MCPError(INTERNAL_ERROR, text, {"kind": error.kind, "retry": error.retry}) from error
