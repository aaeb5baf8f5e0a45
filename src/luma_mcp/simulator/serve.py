"""The simulator as a real HTTP server on loopback."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from luma_mcp.simulator.app import PREFIX, Simulator
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
TOKEN = "user:0-simulated"  # noqa: S105 - any will do
EMAIL = "studio@example.com"


def new_simulator(*, speed: float = 1.0, concurrency: int = 4) -> Simulator:
    """A simulator on this machine's clocks, with one account of so many slots."""
    service = Service(clock=time.monotonic, speed=speed)
    service.add_account(EMAIL, concurrency)
    return Simulator(service)


def serve(simulator: Simulator, *, port: int = 0) -> None:
    """Serves until it is interrupted, after printing the base URL in a line of its own."""
    listener = _listen(port)
    sys.stdout.write(f"{_base_url(listener)}\n")
    sys.stdout.flush()
    uvicorn.Server(_config(simulator)).run(sockets=[listener])


@contextmanager
def running(simulator: Simulator) -> Iterator[str]:
    """Serves in a thread for as long as the block lasts; yields the base URL."""
    listener = _listen(0)
    server = uvicorn.Server(_config(simulator))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="simulator")
    thread.start()
    try:
        yield _base_url(listener)
    finally:
        server.should_exit = True
        thread.join()


def _listen(port: int) -> socket.socket:
    # Listening at once, so that a client may connect before the server's loop has started.
    return socket.create_server((HOST, port))


def _base_url(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}{PREFIX}"


def _config(simulator: Simulator) -> uvicorn.Config:
    return uvicorn.Config(simulator, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
