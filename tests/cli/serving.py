"""Runs the server over HTTP in a separate process."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tests.cli.commands import LUMA_MCP

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from mcp.types import CallToolResult

SERVE = [*LUMA_MCP, "serve"]
STEP_TIMEOUT = 60
"""Seconds for one step, with room for a busy machine."""


@contextmanager
def run_server(
    *arguments: str, authenticate: bool = False, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start the server over HTTP at a free port. Yield its URL and its process, which is killed at the end."""
    no_auth = () if authenticate else ("--no-auth",)
    with subprocess.Popen(
        [*SERVE, "--http", "--port", "0", *no_auth, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LUMA_MCP_JOURNAL": "off", "LUMA_MCP_THUMBNAILS": "0", **environment},
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def content(result: CallToolResult) -> dict[str, Any]:
    """The structured content of a result."""
    assert result.structured_content is not None
    return dict(result.structured_content)


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    received = b""
    # The server resets the connection if it has not read everything that was sent.
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    return received
