"""A TCP proxy before the database that is slow, or goes silent without closing a connection."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


class Proxy:
    """Passes bytes on in both directions, each time after `delay` seconds; while it is `silent`, none at all."""

    def __init__(self, url: str, delay: float) -> None:
        target = urlsplit(url)
        assert target.hostname
        assert target.port
        self._target = (target.hostname, target.port)
        self._delay = delay
        self._passes = threading.Event()
        self._passes.set()
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        port = self._listener.getsockname()[1]
        self.url = url.replace(f":{target.port}/", f":{port}/")
        threading.Thread(target=self._accept, daemon=True).start()

    def be_silent(self) -> None:
        self._passes.clear()

    def go_on(self) -> None:
        self._passes.set()

    def close(self) -> None:
        self._ended.set()
        self._passes.set()
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
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._ended.wait(self._delay)
                self._passes.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(url: str, delay: float = 0.0) -> Iterator[Proxy]:
    """Start a proxy for the database of a URL; its own `url` is the same one through the proxy."""
    running = Proxy(url, delay)
    try:
        yield running
    finally:
        running.close()
