"""Every test of the journal runs on trio and on asyncio, in virtual time.

Tests of every kind of journal take `place`: a file, or a database with POSTGRES=1 (`make postgres-test`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.service.virtual_time import BACKENDS, backend_options

if TYPE_CHECKING:
    from pathlib import Path

    from tests.journal.orders import Place

if os.environ.get("POSTGRES"):
    from tests.postgres.server import postgres

    __all__ = ["postgres"]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, backend_options(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def place(path: Path, request: pytest.FixtureRequest) -> Place:
    if os.environ.get("POSTGRES"):
        database: Place = request.getfixturevalue("postgres").create_database()
        return database
    return path
