"""What a call of `generate_video` may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luma_mcp.errors import LumaError


@dataclass(frozen=True, slots=True)
class ConfirmationDecision:
    """Order; or with `only_running` return the same order's running job, and order nothing; or be `refused`."""

    only_running: bool = False
    refused: LumaError | None = None


ANYTHING = ConfirmationDecision()
