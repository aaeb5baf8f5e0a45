"""The machine that the checks examine: a home folder, an environment, an API on loopback, and a shell for the fixes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import pytest
import uvicorn
from tests.cli.commands import TIMEOUT, build_simulator, run_command
from tests.conftest import TOKEN

from luma_mcp.doctor.checks import CHECKS, detect, host_checks, run_checks
from luma_mcp.install.command import invocation
from luma_mcp.simulator.app import PREFIX, Simulator, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from luma_mcp.doctor.checks import CheckResult, Environment

T = TypeVar("T")
CHECK_TIMEOUT = 60.0
"""Seconds that a check may take, with room for a busy machine."""
CERTIFICATE = Path(__file__).parent / "loopback.pem"
REMOTE_ADDRESS = "127.0.0.2"
"""An address of this machine that counts as that of another one: requests use proxies and TLS."""
BIN = Path(sys.executable).parent
QUICK_SERVER = ("-I", "-S", str(Path(__file__).with_name("quick_server.py")))
"""Arguments of Python for a server that starts quickly. The server's name and its tool follow."""
LINUX_CAPABILITY_VERSION_3 = 0x20080522


@dataclass
class Report:
    results: Sequence[CheckResult]

    @property
    def failures(self) -> list[CheckResult]:
        return [result for result in self.results if result.status == "failed"]

    def get(self, name: str) -> CheckResult:
        [result] = [result for result in self.results if result.name == name]
        return result

    def failure(self, name: str) -> CheckResult:
        """Get the only failure, and check its name."""
        [result] = self.failures
        assert result.name == name, result
        assert result.fix
        return result


class Machine:
    """The machine of a test. Its environment variables are those of this process."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self._patch = monkeypatch

    def set(self, **variables: object) -> None:
        for name, value in variables.items():
            self._patch.setenv(name, str(value))

    def unset(self, name: str) -> None:
        self._patch.delenv(name)

    def environment(self, **changes: Any) -> Environment:
        return replace(detect(seconds=CHECK_TIMEOUT), **changes)

    def check(self, *, server: bool = False, **changes: Any) -> Report:
        """Run all checks. That of the server is slow, so it is off by default."""
        environment = self.environment(**changes)
        rows = [row for row in CHECKS if server or row.name != "server"]
        return Report(anyio.run(run_checks, environment, [*rows, *host_checks(environment)]))

    def type(self, command: str, *, typed: str = "") -> None:
        """Run a command in a shell exactly as it is printed, with `typed` on stdin.

        The shell has no luma-ray-mcp on its PATH. It only splits our own commands into arguments. They run in this
        process.
        """
        if not command.startswith(invocation()):
            self._shell(command)
            return
        arguments = self._shell(f"printf '%s\\n' {command.removeprefix(invocation())}").splitlines()
        done = run_command(*arguments, environment=os.environ.copy(), cwd=self.home, typed=typed)
        assert done.returncode == 0, done.stdout + done.stderr

    def _shell(self, command: str) -> str:
        done = subprocess.run(  # noqa: S602 - the command as it is printed
            command, shell=True, cwd=self.home, capture_output=True, text=True, check=True, timeout=TIMEOUT
        )
        return done.stdout


def as_ordinary_user(function: Callable[[], T]) -> T:
    """Call a function in a thread without root's privileges, so that file modes apply to it."""
    with ThreadPoolExecutor(1, initializer=drop_capabilities) as thread:
        return thread.submit(function).result()


def drop_capabilities() -> None:
    """Drop the capabilities that let root read and write every file, for this thread and the threads that it starts."""
    if sys.platform == "linux":
        header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
        assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0


@pytest.fixture
def simulator() -> Simulator:
    return build_simulator()


@pytest.fixture
def machine(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine on which every check passes."""
    machine = Machine(tmp_path, monkeypatch)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_VIDEOS_DIR"):
        monkeypatch.delenv(name, raising=False)
    with running(simulator) as url:
        machine.set(HOME=tmp_path, USERPROFILE=tmp_path, USEAPI_TOKEN=TOKEN, LUMA_MCP_BASE_URL=url)
        yield machine


@contextmanager
def serve_over_tls(simulator: Simulator) -> Iterator[str]:
    """Serve the API over TLS at another address of this machine, with a certificate that is not trusted."""
    config = uvicorn.Config(
        simulator, host=REMOTE_ADDRESS, port=0, log_config=None, lifespan="off", ssl_certfile=CERTIFICATE
    )
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="serve_over_tls")
    thread.start()
    try:
        yield f"https://{REMOTE_ADDRESS}:{listener.getsockname()[1]}{PREFIX}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
