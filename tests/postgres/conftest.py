"""Tests on a real PostgreSQL server: `make postgres-test` (POSTGRES=1). Without it, nothing here is collected.

Services are processes of their own on one database; every test runs on trio and on asyncio, in virtual time.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import httpx2
import pytest
from pydantic import SecretStr
from tests.conftest import TOKEN, resolve, wall_clock
from tests.service.virtual_time import BACKENDS, backend_options

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.service.service import VideoService
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.postgres.server import Database, PostgresServer

    from luma_mcp.simulator.app import Simulator

if os.environ.get("POSTGRES"):
    from tests.postgres.server import postgres

    __all__ = ["postgres"]
else:
    collect_ignore_glob = ["test_*.py"]


class StartService(Protocol):
    """Starts a service of its own, as another machine would, on the test's one database."""

    def __call__(
        self, transport: httpx2.AsyncBaseTransport | None = None, *, clock_ahead: float = 0, **settings: Any
    ) -> VideoService:
        """`transport`: else straight to the simulator. `clock_ahead`: how many seconds its wall clock is wrong."""


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, backend_options(request.param)


@pytest.fixture
def database(postgres: PostgresServer) -> Database:
    return postgres.create_database()


@pytest.fixture
async def start_service(simulator: Simulator, database: Database, tmp_path: Path) -> AsyncIterator[StartService]:
    started: list[VideoService] = []

    def start(
        transport: httpx2.AsyncBaseTransport | None = None, *, clock_ahead: float = 0, **settings: Any
    ) -> VideoService:
        journal = database.dsn_of_machine()
        own = {"token": SecretStr(TOKEN), "journal": journal, "input_dirs": (tmp_path,), "output_dir": tmp_path}
        service = VideoService(
            Settings(**{**own, **settings}),
            catalog=USEAPI,
            wall_clock=lambda: wall_clock() + timedelta(seconds=clock_ahead),
            transport=transport or httpx2.ASGITransport(simulator),
            resolve=resolve,
        )
        started.append(service)
        return service

    yield start
    for service in started:
        await service.aclose()
