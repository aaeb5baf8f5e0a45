"""The player's copy of the catalog: what it shows before a job can say so, and the kinds of errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

from luma_mcp.catalog.validate import validate
from luma_mcp.errors import Kind

if TYPE_CHECKING:
    from luma_mcp.catalog.models import Catalog


def player_table(catalog: Catalog) -> str:
    """Build the module `player/src/table.js`."""
    typical = {resolution: list(seconds) for resolution, seconds in catalog.typical_seconds.items()}
    defaults = {name: catalog.choices[name].default for name in ("model", "dynamic_range")}
    plays = {name: output.plays_in_browser for name, output in catalog.outputs.items()}
    parts = [
        "/** Generated from src/luma_mcp/catalog/ and src/luma_mcp/errors.py by `make docs`. */",
        _constant("TYPICAL", "When videos usually finish: [earliest, latest] in seconds, by resolution.", typical),
        _constant(
            "CHEAPEST",
            "The resolution of a request that names none, by its model and dynamic range.",
            cheapest_resolutions(catalog),
            indent=2,
        ),
        _constant("DEFAULTS", "The defaults that decide the cheapest resolution.", defaults),
        _constant("CHOICES", "The choices of a request, in the order in which they are shown.", list(catalog.choices)),
        _constant("IMAGES", "The image inputs.", list(catalog.images)),
        _constant("PLAYS_IN_BROWSER", "Whether browsers play a video, by its dynamic range.", plays),
        _constant("KINDS", "Every kind of error.", get_args(Kind), indent=2),
    ]
    return "\n\n".join(parts) + "\n"


def cheapest_resolutions(catalog: Catalog) -> dict[str, str]:
    """Get the resolution that a request gets if it names only a model and a dynamic range, by both."""
    cheapest: dict[str, str] = {}
    for model in catalog.models:
        for dynamic_range in model.ranges:
            params = {"prompt": "any", "model": model.name, "dynamic_range": dynamic_range}
            request = validate(catalog, params).nearest or {}
            cheapest[f"{model.name} {dynamic_range}"] = request["resolution"]
    return cheapest


def _constant(name: str, comment: str, value: Any, *, indent: int | None = None) -> str:
    return f"/** {comment} */\nexport const {name} = {json.dumps(value, indent=indent)};"
