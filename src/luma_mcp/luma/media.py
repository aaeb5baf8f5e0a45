"""A finished job's media to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx2

from luma_mcp.errors import NetworkError
from luma_mcp.settings import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from luma_mcp.luma.records import Media


async def download(media: Media, target: Path) -> int:
    """Saves a file that the API made; the number of its bytes.

    It is streamed beside the target and moved into place when it is whole. The token is not sent along.

    Raises:
        NetworkError: it could not be fetched whole; nothing is left at `target`.
        FileExistsError: there is a file of that name.
    """
    whole, part = anyio.Path(target), anyio.Path(f"{target}.part")
    if await whole.exists():
        raise FileExistsError(f"{target} exists already")
    local = httpx2.URL(media.url).host in LOOPBACK
    size = 0
    try:
        async with (
            httpx2.AsyncClient(trust_env=not local, follow_redirects=True) as http,
            http.stream("GET", media.url) as response,
        ):
            response.raise_for_status()
            async with await part.open("wb") as file:
                async for chunk in response.aiter_bytes():
                    size += await file.write(chunk)
        await part.rename(whole)
    except httpx2.HTTPStatusError as fault:
        status = fault.response.status_code
        raise NetworkError(f"The file is not to be had ({status}); its link may have expired: {media.url}") from fault
    except httpx2.HTTPError as fault:
        raise NetworkError(f"The file could not be fetched whole: {media.url}") from fault
    finally:
        await part.unlink(missing_ok=True)
    return size
