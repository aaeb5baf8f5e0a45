"""`list_options`: what can be made, and what can still be combined with the values that were fixed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from luma_mcp.catalog.models import Catalog, conflicts
from luma_mcp.catalog.validate import validate_options
from luma_mcp.errors import InvalidArguments
from luma_mcp.server import messages, schemas
from luma_mcp.server.arguments import parse_arguments
from luma_mcp.server.results import build_cost_content, build_result
from luma_mcp.server.schemas import OBJECT, STRING, array
from luma_mcp.server.tools import CallToolResult, Context, ServerContext, Tool, build_tool

if TYPE_CHECKING:
    from luma_mcp.service.credits import AccountCredits

DESCRIPTION = "List what generate_video can make, typical times, {costs}. Fix values to see what goes with them. Free."
COSTS = {"credits": "credits that videos used, credits left", "dollars": "prices"}
"""What it says of costs, by `Provider.unit`."""
_OUTPUT: schemas.Schema = {
    "models": array(OBJECT),
    **dict.fromkeys(("defaults", "chosen", "allowed"), OBJECT),
    "rules": array(STRING),
    **dict.fromkeys(("typical_seconds", "credits_used", "output_formats", "schema"), OBJECT),
    "credits_left": array(OBJECT),
    "cost": STRING,
}
# Seconds that the options wait for what the accounts have left.
CREDITS_TIMEOUT = 2.0


def definition(context: ServerContext) -> Tool:
    """Build the tool."""
    catalog = context.catalog
    properties: schemas.Schema = {}
    for name in constrained_choices(catalog):
        choice = catalog.choices[name]
        properties[name] = {"type": "string", "enum": list(choice.values), "description": f"{choice.about}."}
    about_schema = "Also return the exact JSON Schema."
    properties["include_schema"] = {"type": "boolean", "description": about_schema}
    return build_tool(
        context,
        handle,
        name="list_options",
        title="List video options",
        description=DESCRIPTION.format(costs=COSTS[context.provider.unit]),
        input_schema=schemas.input_object(properties),
        output_schema=_output_schema(catalog),
        read_only=True,
    )


def _output_schema(catalog: Catalog) -> schemas.Schema:
    if not catalog.prices:
        return schemas.output_object(_OUTPUT)
    properties = {name: schema for name, schema in _OUTPUT.items() if not name.startswith("credits_")}
    properties |= {"prices": OBJECT, **dict.fromkeys(("currency", "price_source", "price_date"), STRING)}
    return schemas.output_object(properties)


def constrained_choices(catalog: Catalog) -> tuple[str, ...]:
    """Get the choices that cannot be combined freely; fixing any other one would change nothing."""
    constrained = set().union(*conflicts(catalog))
    return tuple(name for name in catalog.choices if name in constrained)


async def handle(context: ServerContext, raw: dict[str, Any], ctx: Context[Any, Any]) -> CallToolResult:  # noqa: ARG001
    """List the options. It works without a token."""
    catalog = context.catalog
    parsed = parse_arguments(catalog, raw, (*constrained_choices(catalog), "include_schema"))
    # Most calls state nothing, so there is nothing to validate.
    if parsed.params or parsed.problems:
        validation = validate_options(catalog, parsed.params)
        problems = (*parsed.problems, *validation.problems)
        if problems:
            raise InvalidArguments(problems, suggestion=validation.nearest, alternatives=validation.alternatives)
    # By resolution, where enough such jobs have ended here. Without a token there is no journal of its jobs.
    service = context.service()
    measured: list[tuple[str, tuple[float, float]]] = []
    credits_used: dict[tuple[str, ...], tuple[float, float]] = {}
    credits_left: tuple[AccountCredits, ...] | None = ()
    if service:
        kinds = [{**parsed.params, "resolution": resolution} for resolution in catalog.typical_seconds]
        for kind, seconds in zip(kinds, await service.journal.typical_seconds(*kinds), strict=True):
            if seconds:
                measured.append((kind["resolution"], seconds))
        async with service.credits.refreshing(CREDITS_TIMEOUT):
            credits_used = await service.journal.credits_used(parsed.params)
        credits_left = service.credits.get_known() if service.owns_credential else None
    return _build_options(
        catalog,
        tuple(parsed.params.items()),
        tuple(measured),
        tuple(credits_used.items()),
        credits_left,
        context.settings.max_wait_seconds,
        saves=context.settings.has_local_files,
        with_schema=bool(parsed.options.get("include_schema")),
        simulated=context.settings.simulated,
    )


@lru_cache(maxsize=16)
def _build_options(  # noqa: PLR0917 - the facts that its result depends on
    catalog: Catalog,
    chosen: tuple[tuple[str, str], ...],
    measured: tuple[tuple[str, tuple[float, float]], ...],
    credits_used: tuple[tuple[tuple[str, ...], tuple[float, float]], ...],
    credits_left: tuple[AccountCredits, ...] | None,
    longest_wait: int,
    *,
    saves: bool,
    with_schema: bool,
    simulated: bool,
) -> CallToolResult:
    """Build the result. It is cached, because building it takes most of a call, so callers must not modify it."""
    content = build_content(catalog, dict(chosen), dict(measured), dict(credits_used))
    result_context = messages.ResultContext(credits_left=credits_left)
    if catalog.prices:
        content["cost"] = messages.format_price_range(catalog, content["prices"].values(), simulated=simulated)
    else:
        content |= build_cost_content(result_context, is_running=False, simulated=simulated)
        if not credits_used:
            unknown = messages.NO_SUCH_CREDITS_USED if chosen else messages.NO_CREDITS_USED
            content["cost"] = f"{unknown} {content.get('cost', '')}".rstrip()
    text = messages.options_text(catalog, content)
    if with_schema:
        content["schema"] = schema = schemas.exact_schema(catalog, longest_wait, saves=saves)
        compact = json.dumps(schema, separators=(",", ":"))
        text = f"{text}\n\nExact JSON Schema of generate_video: {compact}"
        return build_result(text, content, max_bytes=None)
    return build_result(text, content)


def build_content(
    catalog: Catalog,
    chosen: dict[str, str],
    measured: dict[str, tuple[float, float]],
    credits_used: Mapping[tuple[str, ...], tuple[float, float]],
) -> dict[str, Any]:
    """Build the structured content: the whole catalog, and what can still be combined with what was chosen.

    `measured`: by resolution, the seconds between which such jobs usually ended on this machine. `credits_used`: the
    least and the most credits that one video used here, by its model, resolution, duration and dynamic range.
    Where there is a price list, its prices take their place.
    """
    costs: dict[str, Any] = {}
    if catalog.prices:
        prices = catalog.remaining_prices(chosen)
        costs = {"prices": {", ".join(key): price for key, price in prices.items()}, "currency": "USD"}
        costs |= {"price_source": catalog.price_source, "price_date": catalog.price_date}
    else:
        costs["credits_used"] = {", ".join(key): list(used) for key, used in credits_used.items()}
    allowed: dict[str, Any] = {}
    for name, values in catalog.remaining_values(chosen).items():
        # An image or input is possible or not; its values are the caller's own.
        allowed[name] = True in values if name in catalog.switches else list(values)
    typical = {**catalog.typical_seconds, **measured}
    models: list[dict[str, Any]] = []
    for model in catalog.models:
        content: dict[str, Any] = {"name": model.name, "about": model.about}
        content["dynamic_ranges"] = {name: asdict(limits) for name, limits in model.ranges.items()}
        for name in catalog.switches:
            ranges = model.ranges_with(name)
            content[name] = True if len(ranges) == len(model.ranges) else list(ranges)
        models.append(content)
    return {
        "source": f"{catalog.source}, {catalog.source_date}",
        "models": models,
        "parameters": {name: choice.values for name, choice in catalog.choices.items()},
        "defaults": {name: choice.default for name, choice in catalog.choices.items()},
        "chosen": dict(chosen),
        "allowed": allowed,
        "rules": schemas.format_rules(catalog),
        "typical_seconds": {name: [round(low), round(high)] for name, (low, high) in typical.items()},
        "typical_seconds_measured": list(measured),
        **costs,
        "output_formats": {name: asdict(output) for name, output in catalog.outputs.items()},
    }
