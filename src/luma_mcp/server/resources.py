"""What can be read: the table, the exact schema, the jobs. Each is the structured content of a tool, as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from luma_mcp.errors import Forbidden, InvalidArguments, LumaError, NotFound
from luma_mcp.server import options, schemas
from luma_mcp.server.ui import PLAYER_URI

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mcp.server.mcpserver import MCPServer

    from luma_mcp.server.tools import Tools

OPTIONS, SCHEMA = "luma://options", "luma://schemas/generate_video"
JOBS, JOB = "luma://jobs", "luma://jobs/{jobid}"
_T = TypeVar("_T")
STATIC = (OPTIONS, SCHEMA, PLAYER_URI)
"""These never change while the process lives."""
JSON = "application/json"


def add_resources(server: MCPServer[Any], tools: Tools) -> None:
    """Adds them to the server."""

    @server.resource(
        OPTIONS,
        name="options",
        title="Video options",
        mime_type=JSON,
        description="What generate_video can make: models, resolutions, durations, dynamic ranges, image inputs.",
    )
    def table() -> str:
        return _json(options.content({}, lambda _: None))

    @server.resource(
        SCHEMA,
        name="generate_video_schema",
        title="Exact schema of generate_video",
        mime_type=JSON,
        description="JSON Schema 2020-12 that accepts a request if and only if generate_video does.",
    )
    def schema() -> str:
        return _json(schemas.exact_schema(tools.settings.max_wait_seconds))

    @server.resource(
        JOBS,
        name="jobs",
        title="Video jobs",
        mime_type=JSON,
        description="The running jobs and those ordered from this machine, newest first.",
    )
    async def jobs() -> str:
        return _json((await _read(tools.listing({}))).structured_content)

    @server.resource(
        JOB,
        name="job",
        title="A video job",
        mime_type=JSON,
        description="One job: its state, and when it is completed its video.",
    )
    async def job(jobid: str) -> str:
        return _json(await _read(tools.facts(jobid)))


async def _read(answer: Awaitable[_T]) -> _T:
    try:
        return await answer
    except (NotFound, Forbidden, InvalidArguments) as error:
        raise ResourceNotFoundError(error.message) from error
    except LumaError as error:
        raise ResourceError(error.message) from error


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1)
