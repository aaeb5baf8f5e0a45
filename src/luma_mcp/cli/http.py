"""The server over Streamable HTTP, for this machine alone."""

from __future__ import annotations

import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import click
import uvicorn

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

PATH = "/mcp"


def serve_http(server: MCPServer[Any], *, host: str, port: int) -> None:
    """Serves until it is interrupted; each request stands alone, in both eras of the protocol.

    The SDK checks Host and Origin: a web page of somebody else's cannot use it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise click.ClickException(
            f"Port {port} of {host} cannot be used: {error.strerror}. Try another --port."
        ) from error
    app = server.streamable_http_app(streamable_http_path=PATH, stateless_http=True, host=host)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"http://{shown}:{listener.getsockname()[1]}{PATH}")
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    # uvicorn raises the signal that has ended it once more: traces still have to be sent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        sys.exit(130)
