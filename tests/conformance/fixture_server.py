"""A server for the official conformance suite: its fixture tools behind our own extension and middleware, over HTTP.

    python -m tests.conformance.fixture_server

A server of videos has no tool that greets or asks for a colour. What of ours such tools pass through is judged here:
`Tasks`, `disclose`, the cache hints, and the way that the server is put on HTTP.
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import MCPServer
from tests.conformance.everything import add_everything
from tests.conformance.job_tools import add_job_tools
from tests.conformance.jobs import Jobs
from tests.conformance.rounds import add_rounds
from tests.conformance.schemas import tools

from luma_mcp.cli.http import serve_http
from luma_mcp.server.tasks import Tasks
from luma_mcp.server.visibility import CACHE_HINTS, disclose


def fixture_server() -> MCPServer[Any]:
    """The server, with jobs of its own."""
    jobs = Jobs()
    server = MCPServer[Any](
        name="luma-ray-mcp-fixture",
        version="0",
        tools=tools(),
        extensions=[Tasks(jobs)],
        middleware=[disclose],
        cache_hints=CACHE_HINTS,
        log_level="WARNING",
    )
    add_job_tools(server, jobs)
    add_everything(server)
    add_rounds(server)
    return server


if __name__ == "__main__":
    serve_http(fixture_server(), host="127.0.0.1", port=0)
