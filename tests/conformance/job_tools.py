"""Tools for the suite's `tasks-*` scenarios. Each starts a job and attaches the job's task to its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CallToolResult,
    ClientCapabilities,
    InputRequiredResult,
    MissingRequiredClientCapabilityErrorData,
    TextContent,
)
from mcp.types.jsonrpc import INTERNAL_ERROR, MISSING_REQUIRED_CLIENT_CAPABILITY
from tests.conformance.questions import ask, form, get_answer

from luma_mcp.server.tasks import TASKS, attach_task, supports_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.mcpserver import MCPServer
    from mcp.types import ElicitRequest
    from tests.conformance.jobs import Job, Jobs

FAILING_SECONDS = 1.0


def text_result(text: str, *, is_error: bool = False) -> CallToolResult:
    """Build a tool's result."""
    return CallToolResult(content=[TextContent(text=text)], is_error=is_error)


def job_result(text: str, job: Job) -> CallToolResult:
    """Build a tool's result about a job. The attached task has no outcome, even if the job has ended."""
    task = {name: value for name, value in job.task.items() if name not in ("result", "error", "inputRequests")}
    return attach_task(text_result(text), task)


def add_job_tools(server: MCPServer[Any], jobs: Jobs) -> None:
    """Add the tools to the server."""
    _add_computing_tools(server, jobs)
    _add_question_tools(server, jobs)


def _add_computing_tools(server: MCPServer[Any], jobs: Jobs) -> None:
    @server.tool(structured_output=False)
    async def greet(name: str) -> CallToolResult:
        """Returns a greeting."""
        return text_result(f"Hello, {name}!")

    @server.tool(structured_output=False)
    async def slow_compute(ctx: Context[Any, Any], seconds: float = 0, label: str = "") -> CallToolResult:
        """Computes for some seconds, as a job if that takes time and the client supports tasks."""
        done = text_result(f"{label} took {seconds} s")
        if seconds and supports_tasks(ctx):
            return job_result("computing", jobs.start(lambda _: done, seconds=seconds))
        await anyio.sleep(seconds)
        return done

    @server.tool(structured_output=False)
    async def failing_job(ctx: Context[Any, Any]) -> CallToolResult:
        """Fails with a tool error after a second. Requires a client that supports tasks."""
        if not supports_tasks(ctx):
            required = MissingRequiredClientCapabilityErrorData(
                required_capabilities=ClientCapabilities(extensions={TASKS: {}})
            )
            data = required.model_dump(by_alias=True, mode="json", exclude_none=True)
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, f"failing_job needs {TASKS}", data)
        failed = text_result("failed", is_error=True)
        return job_result("failing", jobs.start(lambda _: failed, seconds=FAILING_SECONDS))

    @server.tool(structured_output=False)
    async def protocol_error_job() -> CallToolResult:
        """Fails with a protocol error."""
        error = {"code": INTERNAL_ERROR, "message": "the job crashed"}
        return job_result("crashing", jobs.start(lambda _: error))


def _add_question_tools(server: MCPServer[Any], jobs: Jobs) -> None:
    @server.tool(structured_output=False)
    async def confirm_delete(filename: str) -> CallToolResult:
        """Asks for confirmation, and deletes nothing."""
        questions = {"confirm": _dump(form(f"Delete {filename}?", confirm="boolean"))}
        return job_result("asking", jobs.start(lambda _: text_result(f"deleted {filename}"), questions=questions))

    @server.tool(structured_output=False)
    async def multi_input() -> CallToolResult:
        """Asks two questions at once."""
        questions = {key: _dump(form(f"The {key}?", name="string")) for key in ("first", "second")}
        return job_result("asking", jobs.start(lambda _: text_result("both are known"), questions=questions))

    @server.tool(structured_output=False)
    async def test_tool_with_task(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Asks a question, then starts a job."""
        name = get_answer(ctx, "user_name", "name")
        if name is None:
            return ask(user_name=form("What is your name?", name="string"))

        def outcome(_: Mapping[str, Any]) -> CallToolResult:
            return text_result(f"Hello, {name}!")

        return job_result("greeting", jobs.start(outcome))


def _dump(question: ElicitRequest) -> dict[str, Any]:
    return question.model_dump(by_alias=True, mode="json", exclude_none=True)
