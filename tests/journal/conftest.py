"""Every test of the journal runs on trio and on asyncio, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.service.virtual_time import BACKENDS, backend_options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, backend_options(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"
