"""The server on stdin and stdout, as hosts start it, or over HTTP."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from luma_mcp.cli.context import read_settings, simulating
from luma_mcp.cli.tracing import tracing

if TYPE_CHECKING:
    from luma_mcp.settings import Settings

CHATTY = ("httpx2", "httpcore2")
"""They log the URL of every request, and a jobid in it carries an e-mail address."""


NOT_ASKED = (
    "luma-ray-mcp: LUMA_MCP_CONFIRM over HTTP: clients of protocol 2025-11-25 and older cannot be asked there, as each "
    "of their requests stands alone; their orders go out without a question."
)


def serve(*, simulate: bool, speed: float, http: tuple[str, int] | None = None) -> None:
    """Serves until stdin ends, or at the address `http` until it is interrupted; exits with 2 for a wrong setting."""
    settings = read_settings()
    with tracing(), simulating(settings, speed=speed) if simulate else nullcontext(settings) as settings:
        # After the settings, so that a wrong one is told at once.
        from luma_mcp.server.app import build_server

        _log_to_stderr(settings)
        if http:
            from luma_mcp.cli.http import serve_http

            if settings.confirm != "never":
                click.echo(NOT_ASKED, err=True)
            serve_http(build_server(settings), host=http[0], port=http[1])
            return
        # The SDK reads stdin in a thread that nothing can interrupt: without this, Ctrl-C would wait for a line.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        if sys.stdin.isatty():
            click.echo(
                "luma-ray-mcp waits for an MCP client on stdin (Ctrl-C ends it). To see it: luma-ray-mcp demo", err=True
            )
        build_server(settings).run("stdio")


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting(settings.token.get_secret_value() if settings.token else None))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


class _Redacting(logging.Formatter):
    """Writes no token, whoever logs it and wherever it stands: in a message, in arguments, in a traceback."""

    def __init__(self, token: str | None) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._token = token

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line.replace(self._token, "***") if self._token else line
