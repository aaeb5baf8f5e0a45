"""Video jobs as tasks: the task's id is the jobid, so any process with the token serves any task."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mcp.shared.exceptions import MCPError
from mcp.types.jsonrpc import INTERNAL_ERROR

from luma_mcp.api.polling import next_poll_delay
from luma_mcp.errors import Forbidden, InvalidArguments, LumaError, NotFound
from luma_mcp.server.tasks import Task, UnknownTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.types import CallToolRequestParams, CallToolResult

    from luma_mcp.server.tools import Tools

logger = logging.getLogger(__name__)

SHORTEST_POLL = 1.0


class VideoTaskBackend:
    """The backend of jobs that `generate_video` starts."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def started(self, call: CallToolRequestParams, result: CallToolResult) -> Task | None:
        """The job that `generate_video` has ordered, or has found running."""
        content = result.structured_content or {}
        if call.name != "generate_video" or content.get("state") != "running":
            return None
        return self._task(content, result)

    async def get(self, task_id: str) -> Task:
        """The job as `get_job` tells it."""
        result = await self._looked(task_id)
        content = result.structured_content or {}
        if content.get("state") == "running":
            return self._task(content, result)
        done = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        return self._task(content, result, returned=done)

    async def answer(self, task_id: str, answers: Mapping[str, Any]) -> None:  # noqa: ARG002 - it has no questions
        """A video asks nothing once it is ordered."""
        await self._looked(task_id)

    async def cancel(self, task_id: str) -> None:
        """Nothing can stop a running generation: it goes on, and its video can still be had."""
        await self._looked(task_id)
        logger.info("a client needs a job no more; it goes on, as nothing can stop it")

    async def _looked(self, jobid: str) -> CallToolResult:
        try:
            return await self._tools.look(jobid)
        except (NotFound, Forbidden, InvalidArguments) as error:
            raise UnknownTask(error.message) from error
        except LumaError as error:
            # Not the task's end: the next request may find it.
            raise MCPError(INTERNAL_ERROR, error.message, {"kind": error.kind, "retry": error.retry}) from error

    def _task(
        self, content: Mapping[str, Any], result: CallToolResult, *, returned: Mapping[str, Any] | None = None
    ) -> Task:
        created = str(content.get("created") or self._tools.wall_clock().isoformat())
        span = content.get("typical_seconds")
        pause = next_poll_delay(content.get("elapsed_seconds", 0.0), (span[0], span[1]) if span else None)
        first = result.content[0] if result.content else None
        return Task(
            id=content["jobid"],
            created=created,
            updated=str(content.get("updated", created)),
            message=first.text.splitlines()[0] if first is not None and first.type == "text" else None,
            poll_ms=round(1000 * max(SHORTEST_POLL, pause)),
            result=returned,
            status="completed" if returned else "working",
        )
