"""A person's machine: a home, an environment, an API on loopback, and somebody who does what a mend says."""

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

from luma_mcp.doctor.checks import examine
from luma_mcp.doctor.environment import Environment, look_around
from luma_mcp.install.paths import this_system
from luma_mcp.simulator.app import PREFIX, Simulator
from luma_mcp.simulator.serve import new_simulator, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from luma_mcp.doctor.check_result import Finding

COOKIE = "s3cr3t-cookie-value-0123"
SECONDS = 60.0
"""What a check may take on a busy machine."""
CERTIFICATE = Path(__file__).parent / "loopback.pem"
ELSEWHERE = "127.0.0.2"
"""This machine, under an address that counts as another's: it is asked through proxies, and over TLS."""
BIN = Path(sys.executable).parent


@dataclass
class Diagnosis:
    findings: Sequence[Finding]

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.status == "failed"]

    def one(self, name: str) -> Finding:
        [finding] = [finding for finding in self.findings if finding.name == name]
        return finding

    def failure(self, name: str) -> Finding:
        """The only failure, which is of that name."""
        [finding] = self.failures
        assert finding.name == name, finding
        assert finding.mend
        return finding


class Machine:
    """Its variables are those of this process."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self._patch = monkeypatch

    def set(self, **variables: object) -> None:
        for name, value in variables.items():
            self._patch.setenv(name, str(value))

    def unset(self, name: str) -> None:
        self._patch.delenv(name)

    def around(self, **changes: Any) -> Environment:
        here = look_around(os.environ, this_system(), self.home, seconds=SECONDS)
        return replace(here, **changes)

    def diagnose(self, **changes: Any) -> Diagnosis:
        return Diagnosis(anyio.run(examine, self.around(**changes)))

    def type(self, command: str, *answers: str, piped: str | None = None) -> None:
        """Types a command to the letter into a shell where luma-ray-mcp is installed, and answers what it asks.

        A secret is piped: what is typed before it is asked for is thrown away.
        """
        import pty

        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        ours, theirs = pty.openpty()
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        try:
            done = subprocess.run(  # noqa: S602 - to the letter
                command,
                shell=True,
                env=environment,
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
    """All is well on it."""
    machine = Machine(tmp_path, monkeypatch)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_VIDEOS_DIR"):
        monkeypatch.delenv(name, raising=False)
    with running(simulator) as url:
        machine.set(HOME=tmp_path, USERPROFILE=tmp_path, USEAPI_TOKEN=TOKEN, LUMA_MCP_BASE_URL=url)
        yield machine


@contextmanager
def over_tls(simulator: Simulator) -> Iterator[str]:
    """The API at an address that is not this machine's usual one, with a certificate that nobody knows."""
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
