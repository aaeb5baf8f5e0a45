"""The program serving over HTTP, as its own process."""

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
STARTING = 60
"""Seconds that a step may take on a busy machine before it counts as hanging."""


@contextmanager
def served(
    *arguments: str, authenticate: bool = False, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The program serving over HTTP at any port; its URL and its process, which is killed at the end."""
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
    """All that comes until the server closes the connection."""
    received = b""
    # A reset, where something that was sent meanwhile is not read any more.
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    return received
