"""A person's machine: a home, an environment, an API on loopback, and somebody who does what a fix says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import uvicorn
from tests.conftest import EMAIL, TOKEN

from luma_mcp.doctor.checks import CHECKS, host_checks, run_checks
from luma_mcp.doctor.environment import Environment, detect
from luma_mcp.install.paths import this_system
from luma_mcp.simulator.app import PREFIX, Simulator, new_simulator, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from luma_mcp.doctor.checks import CheckResult

COOKIE = "s3cr3t-cookie-value-0123"
SECONDS = 60.0
"""How long a check may take on a busy machine."""
CERTIFICATE = Path(__file__).parent / "loopback.pem"
ELSEWHERE = "127.0.0.2"
"""This machine under an address that counts as another's: requests go through proxies, and over TLS."""
BIN = Path(sys.executable).parent


@dataclass
class Report:
    results: Sequence[CheckResult]

    @property
    def failures(self) -> list[CheckResult]:
        return [result for result in self.results if result.status == "failed"]

    def one(self, name: str) -> CheckResult:
        [result] = [result for result in self.results if result.name == name]
        return result

    def failure(self, name: str) -> CheckResult:
        """The only failure, which has that name."""
        [result] = self.failures
        assert result.name == name, result
        assert result.fix
        return result


class Machine:
    """Its environment variables are those of this process."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self._patch = monkeypatch

    def set(self, **variables: object) -> None:
        for name, value in variables.items():
            self._patch.setenv(name, str(value))

    def unset(self, name: str) -> None:
        self._patch.delenv(name)

    def environment(self, **changes: Any) -> Environment:
        return replace(detect(os.environ, this_system(), self.home, seconds=SECONDS), **changes)

    def check(self, *, server: bool = False, **changes: Any) -> Report:
        """The results of all checks; that of the server, which takes long, only where a test is about it."""
        here = self.environment(**changes)
        rows = [row for row in CHECKS if server or row.name != "server"]
        return Report(anyio.run(run_checks, here, [*rows, *host_checks(here)]))

    def type(self, command: str, *answers: str, piped: str | None = None) -> None:
        """Type a command exactly as it is printed into a shell, and answer its questions.

        The shell has no luma-ray-mcp on its PATH. A secret is piped: what is typed before the prompt is discarded.
        """
        import pty

        ours, theirs = pty.openpty()
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        try:
            done = subprocess.run(  # noqa: S602 - exactly as it is printed
                command,
                shell=True,
                cwd=self.home,
                stdin=None if piped else theirs,
                input=piped,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
            os.close(ours)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def simulator() -> Simulator:
    simulator = new_simulator()
    simulator.token = TOKEN
    simulator.service.sessions[COOKIE] = EMAIL
    return simulator


@pytest.fixture
def machine(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine on which everything works."""
    machine = Machine(tmp_path, monkeypatch)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_VIDEOS_DIR"):
        monkeypatch.delenv(name, raising=False)
    with running(simulator) as url:
        machine.set(HOME=tmp_path, USERPROFILE=tmp_path, USEAPI_TOKEN=TOKEN, LUMA_MCP_BASE_URL=url)
        yield machine


@contextmanager
def over_tls(simulator: Simulator) -> Iterator[str]:
    """The API at another address of this machine, with a certificate that nobody knows."""
    config = uvicorn.Config(
        simulator, host=ELSEWHERE, port=0, log_config=None, lifespan="off", ssl_certfile=CERTIFICATE
    )
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="api over tls")
    thread.start()
    try:
        yield f"https://{ELSEWHERE}:{listener.getsockname()[1]}{PREFIX}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
