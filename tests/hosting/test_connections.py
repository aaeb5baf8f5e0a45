"""How many connections a server for many takes."""

from __future__ import annotations

import sys

import pytest

from luma_mcp.hosting.http import BoundedProtocol, build_shared_protocol


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [
        (1024, 1_048_576, 10_000, 10_400),
        (1024, 4096, 3696, 4096),
        (256, 256, BoundedProtocol.max_connections, 256),
        (100_000, 1_048_576, 10_000, 100_000),
    ],
)
def test_the_limit_of_open_files_decides(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, connections: int, raised: int
) -> None:
    import resource

    limits = [(soft, hard)]
    # The limits of this process stay as they are: what was lowered cannot be raised again.
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    assert build_shared_protocol().max_connections == connections
    assert limits[-1] == (raised, hard)
