"""The tools that the suite's `tasks-*` scenarios call. Each starts its job, and answers with the job's name.

To a client that takes tasks the project's extension hands a task on in place of that answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.mcpserver import Context  # noqa: TC002 - the SDK reads the annotations of tools
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CallToolResult,
    ClientCapabilities,
    InputRequiredResult,
    MissingRequiredClientCapabilityErrorData,
    TextContent,
)
from mcp.types.jsonrpc import INTERNAL_ERROR, MISSING_REQUIRED_CLIENT_CAPABILITY
from tests.conformance.asked import answered, asking, form

from luma_mcp.server.client_capabilities import TASKS, supports_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.mcpserver import MCPServer
    from mcp.types import ElicitRequest
    from tests.conformance.jobs import Job, Jobs

FAILING_SECONDS = 1.0


def text(words: str, *, error: bool = False, job: Job | None = None) -> CallToolResult:
    """A tool's answer, about a job or none."""
    content = {"job": job.id} if job else None
    return CallToolResult(content=[TextContent(text=words)], structured_content=content, is_error=error)


def add_job_tools(server: MCPServer[Any], jobs: Jobs) -> None:
    """Adds them."""
    _add_computing(server, jobs)
    _add_asking(server, jobs)


def _add_computing(server: MCPServer[Any], jobs: Jobs) -> None:
    @server.tool(structured_output=False)
    async def greet(name: str) -> CallToolResult:
        """Greets at once."""
        return text(f"Hello, {name}!")

    @server.tool(structured_output=False)
    async def slow_compute(ctx: Context[Any, Any], seconds: float = 0, label: str = "") -> CallToolResult:
        """Computes for some seconds; at once where the client takes no tasks or there is nothing to wait for."""
        done = text(f"{label} took {seconds} s")
        if seconds and supports_tasks(ctx):
            return text("computing", job=jobs.start(lambda _: done, seconds=seconds))
        await anyio.sleep(seconds)
        return done

    @server.tool(structured_output=False)
    async def failing_job(ctx: Context[Any, Any]) -> CallToolResult:
        """Fails as a tool, after a second; for clients that take tasks alone."""
        if not supports_tasks(ctx):
            needed = MissingRequiredClientCapabilityErrorData(
                required_capabilities=ClientCapabilities(extensions={TASKS: {}})
            )
            data = needed.model_dump(by_alias=True, mode="json", exclude_none=True)
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, f"failing_job needs {TASKS}", data)
        return text("failing", job=jobs.start(lambda _: text("failed", error=True), seconds=FAILING_SECONDS))

    @server.tool(structured_output=False)
    async def protocol_error_job() -> CallToolResult:
        """Fails before any tool can answer."""
        error = {"code": INTERNAL_ERROR, "message": "the job crashed"}
        return text("crashing", job=jobs.start(lambda _: error))


def _add_asking(server: MCPServer[Any], jobs: Jobs) -> None:
    @server.tool(structured_output=False)
    async def confirm_delete(filename: str) -> CallToolResult:
        """Asks before it deletes nothing."""
        questions = {"confirm": _dumped(form(f"Delete {filename}?", confirm="boolean"))}
        return text("asking", job=jobs.start(lambda _: text(f"deleted {filename}"), questions=questions))

    @server.tool(structured_output=False)
    async def multi_input() -> CallToolResult:
        """Asks two questions at a time."""
        questions = {key: _dumped(form(f"The {key}?", name="string")) for key in ("first", "second")}
        return text("asking", job=jobs.start(lambda _: text("both are known"), questions=questions))

    @server.tool(structured_output=False)
    async def test_tool_with_task(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Asks first, then starts a job."""
        name = answered(ctx, "user_name", "name")
        if name is None:
            return asking(user_name=form("What is your name?", name="string"))

        def outcome(_: Mapping[str, Any]) -> CallToolResult:
            return text(f"Hello, {name}!")

        return text("greeting", job=jobs.start(outcome))


def _dumped(question: ElicitRequest) -> dict[str, Any]:
    return question.model_dump(by_alias=True, mode="json", exclude_none=True)
