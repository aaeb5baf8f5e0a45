"""A server for remote callers, for all tests of hosting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from tests.conftest import CREDENTIALS, ERAS, IN_MEMORY, resolve, wall_clock

from luma_mcp.providers import PROVIDERS
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from luma_mcp.simulator.app import Simulator


@pytest.fixture
def hosted(api: str, simulator: Simulator) -> Callable[..., Client]:
    """Connects a client to a server that reads and writes no files for it; variables by name."""

    def start(
        mode: str = ERAS[0],
        transport: httpx2.AsyncBaseTransport | None = None,
        *,
        has_local_files: bool = False,
        **variables: Any,
    ) -> Client:
        stated = IN_MEMORY | {PROVIDERS[api].variable: CREDENTIALS[api]} | variables
        settings = replace(Settings.from_environment(stated), has_local_files=has_local_files)
        through = transport or httpx2.ASGITransport(simulator)
        return Client(build_server(settings, transport=through, resolve=resolve, wall_clock=wall_clock), mode=mode)

    return start
