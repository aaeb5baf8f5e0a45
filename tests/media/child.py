"""Run parts of the package in a separate process: `python -m tests.media.child ACTION PATH`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2
from tests.media.network import OLD, URL, Body, FileServer, resolve

from luma_mcp.errors import DownloadError
from luma_mcp.media.download import download
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.sources import ImageError, read_file

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

# Drops root's capabilities to read and write everywhere (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH).
RESTRICT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
    ctypes.CDLL(None).prctl(24, 2, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def start_process(*command: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start_download(target: Path) -> subprocess.Popen[str]:
    """Start a download that waits after 1500 bytes until it is killed or its standard input is closed."""
    process = start_process(sys.executable, "-m", "tests.media.child", "hold", str(target))
    assert process.stdout
    assert process.stdout.readline() == "1500\n"
    return process


def run_restricted(action: str, path: Path) -> str:
    """Run an action as a user to whom file modes apply, and return its output."""
    child = (sys.executable, "-m", "tests.media.child", action, str(path))
    with start_process(sys.executable, "-c", RESTRICT, *child) as process:
        output, _ = process.communicate(timeout=60)
    return output


class _PausedServer(FileServer):
    """A server that sends 1500 bytes and nothing more."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)

        async def chunks() -> AsyncGenerator[bytes]:
            yield self.content[:1500]
            await anyio.sleep_forever()

        return httpx2.Response(response.status_code, headers=response.headers, stream=Body(chunks()))


async def _download(target: Path, server: FileServer) -> None:
    async def show(received: int, total: int | None) -> None:  # noqa: ARG001
        print(received, flush=True)  # noqa: T201

    http = SafeHttpClient(transport=server, resolve=resolve)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_at_end_of_input, scope)
            try:
                await download(URL, target, http, show)
            except DownloadError as error:
                print(error)  # noqa: T201
            scope.cancel()


async def _cancel_at_end_of_input(scope: anyio.CancelScope) -> None:
    await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
    scope.cancel()


def main(action: str, path: Path) -> None:
    if action == "hold":
        anyio.run(_download, path, _PausedServer(OLD))
    elif action == "save":
        anyio.run(_download, path, FileServer(OLD))
    else:
        try:
            read_file(str(path), [path.parent])
        except ImageError as error:
            print(error)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
