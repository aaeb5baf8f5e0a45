"""A server for the official conformance suite: its fixture tools with our extension and middleware, over HTTP.

    python -m tests.conformance.fixture_server

A server for videos has no tools for greetings or favorite colors. The suite's tools test the generic parts of ours:
`Tasks`, the middleware, the cache hints, and serving over HTTP.
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import MCPServer
from tests.conformance.content_fixtures import add_content_fixtures
from tests.conformance.job_tools import add_job_tools
from tests.conformance.jobs import Jobs
from tests.conformance.question_tools import add_question_tools
from tests.conformance.schema_fixtures import build_schema_tools

from luma_mcp.cli.serve import serve_http
from luma_mcp.hosting.operations import Operations
from luma_mcp.server.resources import CACHE_HINTS, adapt_response
from luma_mcp.server.tasks import Tasks
from luma_mcp.settings import Settings


def build_fixture_server() -> MCPServer[Any]:
    """Build the fixture server."""
    jobs = Jobs()
    server = MCPServer[Any](
        name="luma-ray-mcp-fixture",
        version="0",
        tools=build_schema_tools(),
        extensions=[Tasks(jobs)],
        middleware=[adapt_response],
        cache_hints=CACHE_HINTS,
        log_level="WARNING",
    )
    add_job_tools(server, jobs)
    add_content_fixtures(server)
    add_question_tools(server)
    return server


if __name__ == "__main__":
    serve_http(build_fixture_server(), Operations(Settings()), Settings(), host="127.0.0.1", port=0)
