"""Tasks (extension `io.modelcontextprotocol/tasks`) over any backend of jobs; knows nothing of videos.

A tool starts its job as always, and answers with what it knows. Where that answer is about a job that still
runs, and the client has declared the extension on that request, it is handed on as a task, and the client asks
for it with `tasks/get`. Everybody else gets the tool's own answer.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

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
from mcp.types.jsonrpc import HEADER_MISMATCH, INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from luma_mcp.server.client_capabilities import TASKS, supports_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

    Request = ServerRequestContext[Any, Any]

COMPLETE: dict[str, Any] = {"resultType": "complete"}
"""The empty acknowledgement."""


class UnknownTask(Exception):
    """The backend knows no such task. Its text is told."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands. Times are ISO 8601.

    Attributes:
        result: what the tool returns, once it is completed; of a tool that failed, too.
        error: a JSON-RPC error, where it failed before any tool could answer.
        questions: what the client is asked, by keys of the backend's own, while input is required.
        poll_ms: milliseconds after which it is worth another look.
    """

    id: str
    created: str
    updated: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"] = "working"
    message: str | None = None
    poll_ms: int | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    questions: Mapping[str, Any] | None = None


class Backend(Protocol):
    """Where the jobs are. It must know a task by its id alone, whoever has started it."""

    def started(self, call: CallToolRequestParams, result: CallToolResult) -> Task | None:
        """The task that the answer to a call is about, if that still works; it can be asked for already."""

    async def get(self, task_id: str) -> Task:
        """The task now.

        Raises:
            UnknownTask: there is none.
        """

    async def answer(self, task_id: str, answers: Mapping[str, Any]) -> None:
        """The client's answers to the task's questions; unknown keys mean nothing. Raises `UnknownTask`."""

    async def cancel(self, task_id: str) -> None:
        """The client needs it no more: ends it, if that can be done. Raises `UnknownTask`."""


class _Named(RequestParams):
    task_id: str


class _Answers(_Named):
    input_responses: dict[str, Any] = Field(default_factory=dict)


class Tasks(Extension):
    """The extension."""

    identifier = TASKS

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def methods(self) -> Sequence[MethodBinding]:
        """`tasks/get`, `tasks/update`, `tasks/cancel`."""
        modern = frozenset(MODERN_PROTOCOL_VERSIONS)
        return (
            MethodBinding("tasks/get", _Named, self._get, modern),
            MethodBinding("tasks/update", _Answers, self._update, modern),
            MethodBinding("tasks/cancel", _Named, self._cancel, modern),
        )

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Request, call_next: CallNext
    ) -> HandlerResult:
        """Hands the answer on, or the task that it is about."""
        result = await call_next(ctx)
        if not isinstance(result, CallToolResult) or not supports_tasks(ctx):
            return result
        task = self._backend.started(params, result)
        return {"resultType": "task", **_facts(task)} if task else result

    async def _get(self, ctx: Request, params: _Named) -> dict[str, Any]:
        with _asked(ctx, params):
            task = await self._backend.get(params.task_id)
        told = {"result": task.result, "error": task.error, "inputRequests": task.questions}
        return COMPLETE | _facts(task) | {name: value for name, value in told.items() if value is not None}

    async def _update(self, ctx: Request, params: _Answers) -> dict[str, Any]:
        with _asked(ctx, params):
            await self._backend.answer(params.task_id, params.input_responses)
        return COMPLETE

    async def _cancel(self, ctx: Request, params: _Named) -> dict[str, Any]:
        with _asked(ctx, params):
            await self._backend.cancel(params.task_id)
        return COMPLETE


@contextmanager
def _asked(ctx: Request, params: _Named) -> Iterator[None]:
    """The rules of every request about a task; what the backend does not know is an invalid parameter."""
    if not supports_tasks(ctx):
        needed = MissingRequiredClientCapabilityErrorData(
            required_capabilities=ClientCapabilities(extensions={TASKS: {}})
        )
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"This request must declare the extension {TASKS}",
            needed.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
    headers = getattr(ctx.request, "headers", None)
    if headers is not None and decode_header_value(headers.get("mcp-name")) != params.task_id:
        raise MCPError(HEADER_MISMATCH, "The header Mcp-Name must equal taskId")
    try:
        yield
    except UnknownTask as error:
        raise MCPError(INVALID_PARAMS, str(error)) from error


def _facts(task: Task) -> dict[str, Any]:
    """What is told of a task whatever its status; it is kept as long as its job is, which nobody promises."""
    facts = {
        "taskId": task.id,
        "status": task.status,
        "statusMessage": task.message,
        "createdAt": task.created,
        "lastUpdatedAt": task.updated,
        "pollIntervalMs": task.poll_ms,
    }
    return {name: value for name, value in facts.items() if value is not None} | {"ttlMs": None}
