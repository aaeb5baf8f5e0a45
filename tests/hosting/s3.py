"""A small object store on this machine. It supports the part of S3 that obstore needs, and records requests."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "videos"
STARTED = "<R><Bucket>b</Bucket><Key>k</Key><UploadId>{}</UploadId></R>"
COMPLETED = '<R><ETag>"1"</ETag></R>'


@dataclass(slots=True)
class Bucket:
    """The objects by key, and the parts of unfinished uploads by the upload's id.

    `types`: their media types. `refuses`: the status for uploads. `is_open`: requests wait while it is not set.
    """

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    refuses: int | None = None
    is_open: threading.Event = field(default_factory=threading.Event)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=count)

    @property
    def uploads(self) -> list[str]:
        """The keys of the uploads that have been started."""
        return [path.partition("?")[0] for method, path in self.requests if method == "POST" and "?uploads" in path]

    def answer(self, method: str, path: str, body: bytes, media_type: str) -> tuple[int, str]:
        self.requests.append((method, path))
        key, _, query = path.removeprefix(f"/{BUCKET}/").partition("?")
        if method == "HEAD":
            return (200, "") if key in self.objects else (404, "")
        self.is_open.wait()
        if self.refuses:
            return self.refuses, "<Error><Code>AccessDenied</Code></Error>"
        if query.startswith("uploads"):
            upload = str(next(self.ids))
            self.parts[upload], self.types[key] = {}, media_type
            return 200, STARTED.format(upload)
        [upload] = re.findall(r"uploadId=(\d+)", query)
        if method == "DELETE":
            del self.parts[upload]
            return 204, ""
        if number := re.search(r"partNumber=(\d+)", query):
            self.parts[upload][int(number[1])] = body
            return 200, ""
        parts = self.parts.pop(upload)
        self.objects[key] = b"".join(parts[place] for place in sorted(parts))
        return 200, COMPLETED


@contextmanager
def running_bucket() -> Iterator[Bucket]:
    """Run the store during the block."""
    bucket = Bucket()
    bucket.is_open.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, text = bucket.answer(self.command, self.path, body, self.headers.get("content-type", ""))
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Wed, 25 Nov 2026 07:28:00 GMT")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815 - as the library names them

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        bucket.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield bucket
        finally:
            bucket.is_open.set()
            server.shutdown()
            thread.join()
