"""The MCP server: on stdin and stdout, as hosts start it, or over HTTP."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
import stat
import sys
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from luma_mcp.cli.context import INTERRUPTED, check_store, exit_unusable, read_settings, require_package, simulating
from luma_mcp.settings import LOOPBACK, Settings, SettingsError, parse_http_token
from luma_mcp.text import one_line, strip_control

if TYPE_CHECKING:
    import socket

    from mcp.server.mcpserver import MCPServer

    from luma_mcp.hosting.authentication import Access
    from luma_mcp.hosting.hooks import Hooks
    from luma_mcp.hosting.operations import Operations


# They log the URL of every request, and the jobid in it contains an e-mail address.
CHATTY_LOGGERS = ("httpx2", "httpcore2")
NO_CONFIRMATION_OVER_HTTP = (
    "luma-ray-mcp: LUMA_MCP_CONFIRM has no effect for HTTP clients of protocol 2025-11-25 and older: each of their "
    "requests stands alone, so they cannot be asked."
)
NO_AUTH = "luma-ray-mcp: --no-auth: every program and every user of this machine can spend your credits here."
REPLACED = "luma-ray-mcp: {path} was not private or not a token, so there is a new token: give it to your apps."
TOKEN_FILE = "http-token"  # noqa: S105 - a file's name
# If the file appears meanwhile, another process has created it, and it is read again.
_TOKEN_ATTEMPTS = 5


def serve(*, simulate: bool, speed: float, http: tuple[str, int] | None = None, authenticate: bool = True) -> None:
    """Serve until stdin ends, or at the address `http` until interrupted; exit with 2 for an unusable setting.

    `authenticate`: False if requests over HTTP need no bearer token.
    """
    settings = read_settings()
    check_store(settings)
    if settings.unused:
        from luma_mcp.cli.messages import choice_of_api

        click.echo(f"luma-ray-mcp: {choice_of_api(settings)}", err=True)
    with simulating(settings, speed=speed) if simulate else nullcontext(settings) as prepared:
        # After the settings, so that an unusable one is reported at once. Imports create many objects and hardly any
        # garbage: searching for it would take a tenth of the start. The objects stay as long as the process, so later
        # collections need not look at them either.
        gc.disable()
        from luma_mcp.server.app import build_server, build_services

        gc.freeze()
        gc.enable()

        if http:
            from luma_mcp.hosting.drain import cap_waits
            from luma_mcp.hosting.logs import configure_logging
            from luma_mcp.hosting.operations import Operations

            if prepared.metrics_address:
                require_package("prometheus_client")
            access = _prepare_access(prepared, http[0], authenticate=authenticate)
            hosted = cap_waits(replace(prepared, has_local_files=access.has_local_files))
            configure_logging(hosted, [access.token] if access.token else [])
            operations = Operations(hosted)
            services = build_services(hosted)
            server = build_server(
                hosted,
                services=services,
                waits=operations.waits,
                on_result=operations.note_result,
                list_credentials=partial(access.list_credentials, hosted) if access.is_shared else None,
            )
            if prepared.confirm != "never":
                click.echo(NO_CONFIRMATION_OVER_HTTP, err=True)
            if not authenticate:
                click.echo(NO_AUTH, err=True)
            from luma_mcp.hosting.hooks import build_hooks

            hooks = build_hooks(hosted, services.list_open)
            serve_http(server, operations, hosted, host=http[0], port=http[1], access=access, hooks=hooks)
            return
        _log_to_stderr(prepared)
        server = build_server(prepared)
        # The SDK reads stdin in a thread that cannot be interrupted: without this, Ctrl-C would wait for a line.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        if sys.stdin.isatty():
            from luma_mcp.install.command import invocation

            hint = f"Waiting for an MCP client on stdin (Ctrl-C to stop). To see it work: {invocation()} demo"
            click.echo(hint, err=True)
        from luma_mcp.server.stdio import serve_stdio

        anyio.run(serve_stdio, server)


def serve_http(
    server: MCPServer[Any],
    operations: Operations,
    settings: Settings,
    *,
    host: str,
    port: int,
    access: Access | None = None,
    hooks: Hooks | None = None,
) -> None:
    """Serve Streamable HTTP, after printing the URL on a line of its own, and how apps are given the token.

    `access`: authenticates callers; None: every program that reaches the address is served. `hooks`: takes the API's
    calls.
    """
    from luma_mcp.cli.messages import http_snippets
    from luma_mcp.hosting.authentication import PATH
    from luma_mcp.hosting.drain import find_times
    from luma_mcp.hosting.http import build_app, build_shared_protocol, run

    around = [partial(operations.observe, server)]
    app = build_app(server, settings, host=host, access=access, hooks=hooks, around=around)
    listener = _listen(host, port, "Try another --port.")
    metrics_listener = None
    if settings.metrics_address:
        metrics_listener = _listen(*settings.metrics_address, "Change LUMA_MCP_METRICS_ADDRESS.")
        click.echo(f"luma-ray-mcp: metrics at {_get_origin(metrics_listener)}/metrics", err=True)
    url = f"{_get_origin(listener, host)}{PATH}"
    click.echo(url)
    # Not where others are served: the output of such a server is kept in logs.
    if access and access.token and access.has_local_files:
        click.echo(http_snippets(url, access.token))
    # uvicorn raises the signal that ended it once more; this turns it into a clean exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    protocol = None if settings.has_local_files else build_shared_protocol()
    times = find_times(settings)
    run(app, listener, operations, times, metrics_listener=metrics_listener, hooks=hooks, protocol=protocol)


def _prepare_access(settings: Settings, host: str, *, authenticate: bool) -> Access:
    """Prepare the authentication of callers; exit with 2 and one line for each reason if there is none."""
    from luma_mcp.hosting.authentication import Access, Mode, choose_mode

    try:
        mode = choose_mode(settings, host, authenticate=authenticate)
        # With a public URL, callers are elsewhere even if a proxy is here.
        is_local = mode in (Mode.OPEN, Mode.OWNER) and host in LOOPBACK and not settings.public_url
        access = Access(mode, has_local_files=is_local)
        if mode is Mode.OWNER:
            access.token = _get_http_token(settings)
        if settings.tenants_file:
            from luma_mcp.hosting.tenants_file import TenantsFile

            access.tenants = TenantsFile(settings.tenants_file, settings)
    except SettingsError as error:
        exit_unusable(str(error))
    if mode is Mode.OAUTH:
        require_package("jwt")
    return access


def _get_origin(listener: socket.socket, host: str = "") -> str:
    """Get the beginning of the URLs of a listening socket. `host`: how its address is named, if not by its number."""
    address, port, *_ = listener.getsockname()
    host = host or address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int, remedy: str) -> socket.socket:
    from luma_mcp.hosting.http import listen

    try:
        return listen(host, port)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise click.ClickException(f"Cannot listen on {host}, port {port}: {reason}. {remedy}") from error


def _get_http_token(settings: Settings) -> str:
    """Get the token from the settings or an earlier start; generate one if there is none that only the user can read.

    Raises:
        ClickException: the state folder cannot be used.
    """
    if settings.http_token:
        return settings.http_token.get_secret_value()
    from luma_mcp.service import state_folder

    path = state_folder() / TOKEN_FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TOKEN_ATTEMPTS):
            if os.path.lexists(path):
                if token := _read_private(path):
                    return token
                path.unlink(missing_ok=True)
                click.echo(REPLACED.format(path=path), err=True)
            with suppress(FileExistsError):
                return _create_token(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"Cannot keep a token in {path}: {reason}. Set LUMA_MCP_HTTP_TOKEN, or serve without one: --no-auth"
        raise click.ClickException(message) from error
    raise click.ClickException(f"Other programs keep writing to {path}. Set LUMA_MCP_HTTP_TOKEN.")


def _create_token(path: Path) -> str:
    """Write a new token to a file that appears complete. Raises `FileExistsError` if another process was first."""
    token = secrets.token_urlsafe(32)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{token}\n")
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links.
            temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    return token


def _read_private(path: Path) -> str | None:
    """Read a token from a file that nobody else can read or write; None if it is no such file."""
    # Windows protects the folder, and has neither of these.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        is_private = os.name == "nt" or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
        if not stat.S_ISREG(status.st_mode) or not is_private:
            return None
        content = file.read(1000)
    with suppress(ValueError):
        return parse_http_token(content.decode("ascii").strip()).get_secret_value()
    return None


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_RedactingFormatter(settings.list_secrets()))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


class _RedactingFormatter(logging.Formatter):
    """Replaces the tokens wherever they appear: in a message, in arguments, in a traceback."""

    def __init__(self, tokens: list[str]) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._tokens = tokens

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is that of the base class
        """Format the message on one line, since what clients send can be in it."""
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        line = strip_control(super().format(record))
        for token in self._tokens:
            line = line.replace(token, "***")
        return line
