"""The number of connections that a hosted server accepts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from luma_mcp.hosting.http import BoundedProtocol

PROGRAM = """
import resource, sys
from luma_mcp.hosting.http import build_shared_protocol
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(build_shared_protocol().max_connections, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
"""A process of its own: what was lowered cannot be raised again."""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [
        (1024, 20_000, 10_000, 10_400),
        (1024, 4096, 3696, 4096),
        (256, 256, BoundedProtocol.max_connections, 256),
        (15_000, 20_000, 10_000, 15_000),
    ],
)
def test_connection_limit_depends_on_the_limit_of_open_files(
    soft: int, hard: int, connections: int, raised: int
) -> None:
    import resource

    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < hard:
        pytest.skip(f"This process may open only {allowed} files")
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(connections), str(raised), str(hard)]
