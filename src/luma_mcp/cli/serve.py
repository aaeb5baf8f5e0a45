"""The MCP server: on stdin and stdout, as hosts start it, or over HTTP for this machine only."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import anyio
import click

from luma_mcp.cli.context import INTERRUPTED, read_settings, simulating
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer


HTTP_PATH = "/mcp"
# They log the URL of every request, and the jobid in it contains an e-mail address.
CHATTY_LOGGERS = ("httpx2", "httpcore2")
NO_CONFIRMATION_OVER_HTTP = (
    "luma-ray-mcp: LUMA_MCP_CONFIRM has no effect for HTTP clients of protocol 2025-11-25 and older: each of their "
    "requests stands alone, so they cannot be asked."
)


def serve(*, simulate: bool, speed: float, http: tuple[str, int] | None = None) -> None:
    """Serve until stdin ends, or at the address `http` until interrupted; exit with 2 for an unusable setting."""
    settings = read_settings()
    with simulating(settings, speed=speed) if simulate else nullcontext(settings) as prepared:
        # After the settings, so that an unusable one is reported at once.
        from luma_mcp.server.app import build_server

        _log_to_stderr(prepared)
        server = build_server(prepared)
        if http:
            if prepared.confirm != "never":
                click.echo(NO_CONFIRMATION_OVER_HTTP, err=True)
            serve_http(server, host=http[0], port=http[1])
            return
        # The SDK reads stdin in a thread that cannot be interrupted: without this, Ctrl-C would wait for a line.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        if sys.stdin.isatty():
            from luma_mcp.install.command import invocation

            hint = f"Waiting for an MCP client on stdin (Ctrl-C to stop). To see it work: {invocation()} demo"
            click.echo(hint, err=True)
        from luma_mcp.server.stdio import serve_stdio

        anyio.run(serve_stdio, server)


def serve_http(server: MCPServer[Any], *, host: str, port: int) -> None:
    """Serve Streamable HTTP without sessions; the SDK checks Host and Origin, so that web pages cannot use it."""
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise click.ClickException(f"Cannot listen on {host}, port {port}: {reason}. Try another --port.") from error
    app = server.streamable_http_app(streamable_http_path=HTTP_PATH, stateless_http=True, host=host)
    shown_host = f"[{host}]" if ":" in host else host
    click.echo(f"http://{shown_host}:{listener.getsockname()[1]}{HTTP_PATH}")
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    # uvicorn raises the signal that ended it once more; this turns it into a clean exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    uvicorn.Server(config).run(sockets=[listener])


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    token = settings.token.get_secret_value() if settings.token else None
    handler.setFormatter(_RedactingFormatter(token))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


class _RedactingFormatter(logging.Formatter):
    """Replaces the token wherever it appears: in a message, in arguments, in a traceback."""

    def __init__(self, token: str | None) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._token = token

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line.replace(self._token, "***") if self._token else line
