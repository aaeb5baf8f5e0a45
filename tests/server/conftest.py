"""Fixtures for all tests of the server: a server with a journal and folders for the test."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from mcp.types import Implementation
from tests.conftest import CREDENTIALS, ERAS

from luma_mcp.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx2
    from mcp import Client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The output folder of the server. It does not exist yet."""
    return tmp_path / "videos" / "Luma"


@pytest.fixture
def server(api: str, connect: Callable[..., Client], tmp_path: Path, folder: Path) -> Callable[..., Client]:
    """Connects a client to a server with a journal that may read the test's folder. Takes further settings by name."""
    environment = {
        PROVIDERS[api].variable: CREDENTIALS[api],
        "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"),
        "LUMA_MCP_INPUT_DIRS": str(tmp_path),
        "LUMA_MCP_OUTPUT_DIR": str(folder),
    }

    def start(
        mode: str = ERAS[0],
        transport: httpx2.AsyncBaseTransport | None = None,
        client_name: str | None = None,
        **settings: str,
    ) -> Client:
        client = connect(mode=mode, transport=transport, environment=environment | settings)
        if client_name is None:
            return client
        return replace(client, client_info=Implementation(name=client_name, version="1"))

    return start
