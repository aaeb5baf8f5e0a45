"""The player's copy of the catalogs: what it shows before a job can say so, and the kinds of errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

from luma_mcp.catalog.validate import validate
from luma_mcp.errors import Kind
from luma_mcp.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luma_mcp.catalog.models import Catalog


_ABOUT_APIS = """/**
 * What is known of each API.
 *
 * - `variable`, `noun`, `console`: its credential, and where a person gets one.
 * - `typical`: when videos usually finish, [earliest, latest] in seconds, by resolution.
 * - `cheapest`: the resolution of a request that names none, by its model and dynamic range.
 * - `defaults`: the defaults that decide it.
 * - `inputs`: the images and other inputs.
 * - `formats`: what each dynamic range delivers; `playsInBrowser`: whether browsers play it.
 */"""


def player_table(catalogs: Iterable[Catalog]) -> str:
    """Build the module `player/src/table.js`."""
    choices: dict[str, None] = {}
    tables: dict[str, dict[str, Any]] = {}
    for catalog in catalogs:
        choices |= dict.fromkeys(catalog.choices)
        tables[catalog.api] = _catalog_table(catalog)
    parts = [
        "/** Generated from src/luma_mcp/catalog/, providers.py and errors.py by `make docs`. */",
        f"{_ABOUT_APIS}\nexport const APIS = {_format_tables(tables)};",
        _constant("CHOICES", "The choices of a request, in the order in which they are shown.", list(choices)),
        _constant("KINDS", "Every kind of error.", get_args(Kind), indent=2),
    ]
    return "\n\n".join(parts) + "\n"


def _format_tables(tables: dict[str, dict[str, Any]]) -> str:
    """Format them with one fact per line."""
    lines = ["{"]
    for api, table in tables.items():
        lines.append(f"  {json.dumps(api)}: {{")
        lines += [f"    {json.dumps(name)}: {json.dumps(value)}," for name, value in table.items()]
        lines.append("  },")
    return "\n".join([*lines, "}"])


def _catalog_table(catalog: Catalog) -> dict[str, Any]:
    provider = PROVIDERS[catalog.api]
    return {
        "variable": provider.variable,
        "noun": provider.noun,
        "console": provider.console.removeprefix("https://"),
        "typical": {resolution: list(seconds) for resolution, seconds in catalog.typical_seconds.items()},
        "cheapest": cheapest_resolutions(catalog),
        "defaults": {name: catalog.choices[name].default for name in ("model", "dynamic_range")},
        "inputs": list(catalog.switches),
        "formats": {name: output.format for name, output in catalog.outputs.items()},
        "playsInBrowser": {name: output.plays_in_browser for name, output in catalog.outputs.items()},
    }


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
