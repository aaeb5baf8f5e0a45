"""An object store for finished videos: their links last longer than the API's. It needs obstore, of the extra `server`.

obstore's own functions block, and run in threads here: its asynchronous ones need asyncio.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.from_thread
import anyio.to_thread

LINK_LIFETIME = timedelta(days=7)
"""How long a signed link works. Source: the longest that version 4 of the signatures of S3 and Google Cloud allows."""
CONCURRENT_UPLOADS = 4
"""How many files one process uploads at the same time: each takes some 20 MB of memory."""
_PART_SIZE, _CONCURRENT_PARTS = 5 * 1024 * 1024, 2
"""Bytes of a part of a large file, the fewest that S3 takes, and how many are sent at the same time."""
_RETRIES: dict[str, Any] = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
# By scheme: where the links of a store lead, and the variables of the environment that name another endpoint.
_ORIGINS = {
    "s3": ("https://*.amazonaws.com", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")),
    "gs": ("https://storage.googleapis.com", ()),
    "az": ("https://*.blob.core.windows.net", ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")),
}

Write = Callable[[bytes], Awaitable[object]]


class StoreError(Exception):
    """Why a store cannot be used, as a clause without secrets."""


def list_origins(url: str, environment: Mapping[str, str]) -> list[str]:
    """List the origins of the links of a store, for pages that show its videos; empty if it has no links."""
    default, variables = _ORIGINS.get(urlsplit(url).scheme, ("", ()))
    for name in variables:
        endpoint = urlsplit(environment.get(name, ""))
        if endpoint.netloc:
            # The bucket is in the path, or is a part of the host.
            return [f"{endpoint.scheme}://{host}" for host in (endpoint.netloc, f"*.{endpoint.netloc}")]
    return [default] if default else []


@cache
def open_store(url: str) -> VideoStore:
    """Open the store at a URL, one for the whole process: each has connections of its own."""
    return VideoStore(url)


class VideoStore:
    """The files below a URL such as `s3://bucket/prefix`. Its methods raise `StoreError`."""

    def __init__(self, url: str) -> None:
        """Prepare the store; nothing is connected. Raises `ImportError` without obstore."""
        from obstore.exceptions import BaseError
        from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store, from_url

        scheme = urlsplit(url).scheme
        # Not its connections: options here would hide those of the environment, such as AWS_ALLOW_HTTP.
        options: dict[str, Any] = {"retry_config": _RETRIES}
        if scheme == "file":
            options = {"mkdir": True}
        elif scheme == "memory":
            options = {}
        try:
            store: Any = from_url(url, **options)
        except (BaseError, ValueError, OSError) as error:
            raise StoreError(_describe(error)) from None
        if not isinstance(store, AzureStore | GCSStore | LocalStore | MemoryStore | S3Store):
            raise StoreError(f"{scheme}:// is none of its schemes: s3, gs, az, file")
        self._store = store
        self.signs = isinstance(store, AzureStore | GCSStore | S3Store)
        """Whether it makes links."""
        self._keeps_types = not isinstance(store, LocalStore)
        self._uploads = anyio.CapacityLimiter(CONCURRENT_UPLOADS)

    async def has(self, key: str) -> bool:
        """Whether there is a file with this key."""
        import obstore

        try:
            await _run(obstore.head, self._store, key)
        except FileNotFoundError:
            return False
        return True

    async def sign(self, key: str) -> str:
        """Get a link to a file that anybody can use for `LINK_LIFETIME`. Only where `signs` is true."""
        import obstore

        link: str = await _run(obstore.sign, self._store, "GET", key, LINK_LIFETIME)
        return link

    async def put(self, key: str, media_type: str, fetch: Callable[[Write], Awaitable[None]]) -> None:
        """Upload a file while `fetch` writes it, chunk by chunk. If that raises, there is no file, not even a part."""
        import obstore

        send, receive = anyio.create_memory_object_stream[bytes | None](1)
        failures: list[Exception] = []

        def read() -> Iterator[bytes]:
            while (chunk := anyio.from_thread.run(receive.receive)) is not None:
                yield chunk

        async def produce() -> None:
            try:
                await fetch(send.send)
                await send.send(None)
            except Exception as error:  # noqa: BLE001 - raised below
                failures.append(error)
            finally:
                # Without the end that is expected, what has been uploaded is discarded.
                send.close()

        options: dict[str, Any] = {"attributes": {"Content-Type": media_type}} if self._keeps_types else {}
        options |= {"use_multipart": True, "chunk_size": _PART_SIZE, "max_concurrency": _CONCURRENT_PARTS}
        upload = partial(obstore.put, self._store, key, read(), **options)
        async with self._uploads, anyio.create_task_group() as tasks:
            tasks.start_soon(produce)
            try:
                # A request that hangs does not delay the caller. Its thread discards what it has begun.
                await anyio.to_thread.run_sync(upload, abandon_on_cancel=True)
            except Exception as error:  # noqa: BLE001 - raised below
                failures.append(StoreError(_describe(error)))
            finally:
                receive.close()
                tasks.cancel_scope.cancel()
        if failures:
            # Later failures are consequences of the first one.
            raise failures[0]


async def _run(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 - obstore has several, and some of the system's
        raise StoreError(_describe(error)) from None


def _describe(error: BaseException) -> str:
    """Describe an error of a store in one line. Parameters of URLs can be secret, and are left out."""
    line = str(error).partition("\n")[0].strip() or type(error).__name__
    return re.sub(r"\?\S*", "?…", line)[:300]
