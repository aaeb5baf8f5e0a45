"""Somebody's home folder and terminal, with a simulated API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.commands import run_command, simulated_api
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
    """The one with real sockets and processes."""
    return "asyncio"


@pytest.fixture
def simulator() -> Simulator:
    return simulated_api()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """The variables of the terminal. Nothing answers at its API's address."""
    nowhere = "http://127.0.0.1:9/v1/luma"
    return {"HOME": str(home), "USERPROFILE": str(home), "PATH": "/usr/bin:/bin", "LUMA_MCP_BASE_URL": nowhere}


@pytest.fixture
def api(simulator: Simulator, environment: dict[str, str]) -> Iterator[str]:
    """The URL of the simulated API, which the environment has from now on."""
    with running(simulator) as url:
        environment["LUMA_MCP_BASE_URL"] = url
        yield url


@pytest.fixture
def api_and_token(api: str, environment: dict[str, str]) -> str:
    """The same, and its token."""
    environment["USEAPI_TOKEN"] = TOKEN
    return api


@pytest.fixture
def run(home: Path, environment: dict[str, str]) -> Run:
    """Run a command in the home folder; settings by name."""

    def run(*arguments: str, typed: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        return run_command(*arguments, environment=environment | settings, cwd=home, typed=typed)

    return run
