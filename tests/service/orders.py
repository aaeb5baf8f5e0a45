"""Order videos as the server and the commands do: validate first, then submit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luma_mcp.service.requests import ProgressStep
    from luma_mcp.service.service import VideoService
    from luma_mcp.service.submit import SubmitResult

RETRY_TIMEOUT = 20.0


async def ignore_progress(step: ProgressStep, detail: str | None = None, /) -> None:
    """Ignore progress."""


async def place(
    service: VideoService, prompt: str = "A fox", *, retry_timeout: float = RETRY_TIMEOUT, **given: Any
) -> SubmitResult:
    """Order a video. `given` has options of `submit`, the number of the `take`, and parameters of the request."""
    options = {name: given.pop(name) for name in ("allow_duplicate", "reuse_only", "any_age", "save") if name in given}
    take = given.pop("take", 1)
    validated = replace(await service.validate({"prompt": prompt, **given}), take=take)
    return await service.submit(
        validated, retry_timeout=retry_timeout, patience=retry_timeout, on_progress=ignore_progress, **options
    )
