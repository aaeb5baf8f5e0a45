"""Servers over real HTTP in this process, and clients of them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from luma_mcp.hosting.http import BoundedProtocol, listen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

HOST = "127.0.0.1"


@contextmanager
def serving(app: ASGIApp, *, port: int = 0, protocol: type[BoundedProtocol] = BoundedProtocol) -> Iterator[str]:
    """Serve an application in a thread during the block. Yields its URL."""
    listener = listen(HOST, port)
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, ws="none", log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
