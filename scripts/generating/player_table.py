"""What the player has to know: how long a video usually takes, before any job can tell; and what can go wrong."""

from __future__ import annotations

import json
from typing import get_args

from luma_mcp.catalog.useapi import CHOICES, MODELS, TYPICAL_SECONDS
from luma_mcp.catalog.validate import check
from luma_mcp.errors import Kind


def player_table() -> str:
    """The module `player/src/table.js`."""
    cheapest = {
        f"{model.name} {dynamic_range}": (check({"prompt": "x", "model": model.name, "dynamic_range": dynamic_range}))
        for model in MODELS
        for dynamic_range in model.ranges
    }
    resolutions = {said: verdict.nearest["resolution"] for said, verdict in cheapest.items() if verdict.nearest}
    defaults = {name: CHOICES[name].default for name in ("model", "dynamic_range")}
    return "\n".join(
        [
            "/** Generated from src/luma_mcp/matrix.py and src/luma_mcp/errors.py: make docs. */",
            "",
            "/** From when until when a video usually ends, in seconds, by its resolution. */",
            f"export const TYPICAL = {json.dumps({n: list(span) for n, span in TYPICAL_SECONDS.items()})};",
            "",
            "/** The resolution of an order that names none, by its model and dynamic range. */",
            f"export const CHEAPEST = {json.dumps(resolutions, indent=2)};",
            "",
            f"export const DEFAULTS = {json.dumps(defaults)};",
            "",
            "/** Every kind of error. */",
            f"export const KINDS = {json.dumps(get_args(Kind), indent=2)};",
            "",
        ]
    )
