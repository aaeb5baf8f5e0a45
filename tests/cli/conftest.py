"""A home folder, a terminal's environment and a simulated API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.commands import build_simulator, run_command
from tests.conftest import TOKEN

from luma_mcp.simulator.app import running

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.commands import Run

    from luma_mcp.simulator.app import Simulator


@pytest.fixture
def anyio_backend() -> str:
    """Sockets and processes are real, so it is asyncio."""
    return "asyncio"


@pytest.fixture
def simulator() -> Simulator:
    return build_simulator()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """The variables of the terminal. Nothing answers at the API's address."""
    unreachable = "http://127.0.0.1:9/v1/luma"
    return {"HOME": str(home), "USERPROFILE": str(home), "PATH": "/usr/bin:/bin", "LUMA_MCP_BASE_URL": unreachable}


@pytest.fixture
def api(simulator: Simulator, environment: dict[str, str]) -> Iterator[str]:
    """Serve the simulated API, and set its URL in the environment."""
    with running(simulator) as url:
        environment["LUMA_MCP_BASE_URL"] = url
        yield url


@pytest.fixture
def api_and_token(api: str, environment: dict[str, str]) -> str:
    """Serve the simulated API, and set its URL and its token in the environment."""
    environment["USEAPI_TOKEN"] = TOKEN
    return api


@pytest.fixture
def run(home: Path, environment: dict[str, str]) -> Run:
    """Run a command in the home folder. Settings are given by their names."""

    def run(*arguments: str, typed: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        return run_command(*arguments, environment=environment | settings, cwd=home, typed=typed)

    return run
