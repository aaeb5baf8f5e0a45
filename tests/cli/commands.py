"""Runs commands of the terminal, in this process or in a separate one."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING
from unittest.mock import patch

from tests.conftest import EMAIL, TOKEN

from luma_mcp.cli.main import main
from luma_mcp.simulator.app import PREFIX, new_simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from luma_mcp.simulator.app import Simulator

    Run = Callable[..., subprocess.CompletedProcess[str]]

LUMA_MCP = [sys.executable, "-m", "luma_mcp"]
COOKIE = "s3cr3t-cookie-value-0123"
TIMEOUT = 120
"""Seconds for a command, with room for a busy machine."""


def build_simulator() -> Simulator:
    """Build an API with one account, to which the cookie belongs. It is a thousand times as fast as Luma."""
    simulator = new_simulator(speed=1000)
    simulator.token = TOKEN
    simulator.service.sessions[COOKIE] = EMAIL
    return simulator


def run_command(
    *arguments: str, environment: Mapping[str, str], cwd: Path, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, with `typed` on stdin. A separate process would take a second for its imports.

    The command has its own streams, variables and current folder, and it can exit.
    """
    stdin = io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8")
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    stderr = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    code = 0
    with (
        patch.dict(os.environ, environment, clear=True),
        patch.object(os, "_exit", sys.exit),
        patch.object(sys, "stdin", stdin),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        chdir(cwd),
    ):
        try:
            main(list(arguments), prog_name="luma-ray-mcp")
        except SystemExit as exit_request:
            code = int(exit_request.code or 0)
    for stream in (stdout, stderr):
        stream.seek(0)
    return check_output(subprocess.CompletedProcess(list(arguments), code, stdout.read(), stderr.read()))


def run_process(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate process, without a terminal."""
    done = subprocess.run(
        [*LUMA_MCP, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=TIMEOUT,
    )
    return check_output(done)


def check_output(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Check that the output has no secret and no traceback."""
    assert [text for text in (TOKEN, COOKIE, "Traceback") if text in done.stdout + done.stderr] == []
    return done


def interrupt_at_request(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate process, and press Ctrl-C while it waits for the answer to its first request."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}{PREFIX}"
        with subprocess.Popen(
            [*LUMA_MCP, *arguments],
            env={**environment, "LUMA_MCP_BASE_URL": url, "USEAPI_TOKEN": TOKEN},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                printed, errors = process.communicate(timeout=TIMEOUT)
    return check_output(subprocess.CompletedProcess(list(arguments), process.returncode, printed, errors))
