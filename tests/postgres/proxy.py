"""A TCP proxy for the database that is slow, or pauses without closing a connection."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


class Proxy:
    """Forwards bytes in both directions after `delay` seconds, and none while it is paused."""

    def __init__(self, url: str, delay: float) -> None:
        target = urlsplit(url)
        assert target.hostname
        assert target.port
        self._target = (target.hostname, target.port)
        self._delay = delay
        self._forwards = threading.Event()
        self._forwards.set()
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        port = self._listener.getsockname()[1]
        self.url = url.replace(f":{target.port}/", f":{port}/")
        threading.Thread(target=self._accept, daemon=True).start()

    def pause(self) -> None:
        self._forwards.clear()

    def resume(self) -> None:
        self._forwards.set()

    def close(self) -> None:
        self._ended.set()
        self._forwards.set()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._ended.wait(self._delay)
                self._forwards.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def running_proxy(url: str, delay: float = 0.0) -> Iterator[Proxy]:
    """Run a proxy for the database of a URL. The proxy's `url` is the same URL with the proxy's port."""
    running = Proxy(url, delay)
    try:
        yield running
    finally:
        running.close()
