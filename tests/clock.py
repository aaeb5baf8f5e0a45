"""Virtual time: trio's clock jumps to the next event as soon as everybody waits, so nothing ever sleeps."""

from __future__ import annotations

import anyio


async def pass_time(seconds: float) -> None:
    """Lets so much virtual time pass, and everything happen that is due in it."""
    await anyio.sleep_until(anyio.current_time() + seconds)
