"""Services that share one journal, as separate processes would. Tests run on trio and asyncio, in virtual time."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
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
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from pathlib import Path

    from luma_mcp.simulator.app import Simulator


class StartService(Protocol):
    """Starts a service on the test's journal, as another process would."""

    def __call__(
        self,
        transport: httpx2.AsyncBaseTransport | None = None,
        *,
        clock_ahead: float = 0,
        **settings: Any,
    ) -> VideoService:
        """Start a service, by default on the simulator. Its wall clock is `clock_ahead` seconds fast."""


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, backend_options(request.param)


@pytest.fixture
def journal_path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.db")


@pytest.fixture
def find_journal(journal_path: str) -> Callable[[], str | SecretStr]:
    """Gets the journal of a new service. It is the same for all services of a test."""
    return lambda: journal_path


@pytest.fixture
async def start_service(
    simulator: Simulator, find_journal: Callable[[], str | SecretStr], tmp_path: Path
) -> AsyncIterator[StartService]:
    started: list[VideoService] = []

    def start(
        transport: httpx2.AsyncBaseTransport | None = None, *, clock_ahead: float = 0, **settings: Any
    ) -> VideoService:
        defaults = {
            "token": SecretStr(TOKEN),
            "journal": find_journal(),
            "input_dirs": (tmp_path,),
            "output_dir": tmp_path,
        }
        service = VideoService(
            Settings(**{**defaults, **settings}),
            catalog=USEAPI,
            wall_clock=partial(_wrong_clock, clock_ahead),
            transport=transport or httpx2.ASGITransport(simulator),
            resolve=resolve,
        )
        started.append(service)
        return service

    yield start
    for service in started:
        await service.aclose()


@pytest.fixture
async def service(start_service: StartService) -> VideoService:
    return start_service()


def _wrong_clock(ahead: float) -> datetime:
    return wall_clock() + timedelta(seconds=ahead)
