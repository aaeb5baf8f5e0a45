"""The catalog as Markdown tables for people, aligned so that they also read well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from luma_mcp.catalog.models import Catalog, Model
from luma_mcp.errors import format_amount

_FRAMES = ("image_start", "image_end")


def options_table(catalog: Catalog) -> str:
    """What each model can make."""
    # One column per model: people compare models, and there are few.
    dynamic_ranges = catalog.choices["dynamic_range"].values
    others = [name for name in catalog.switches if name not in _FRAMES]
    columns = [["", *dynamic_ranges, ", ".join(_FRAMES), *others]]
    for model in catalog.models:
        column = [model.name]
        for dynamic_range in dynamic_ranges:
            cell = "no"
            if limits := model.ranges.get(dynamic_range):
                cell = f"{' '.join(limits.resolutions)}, {' '.join(limits.durations)}"
            column.append(cell)
        column.append("yes, one or both" if model.ranges_with(_FRAMES[0]) else "no")
        column += map(partial(_describe_input, catalog, model), others)
        columns.append(column)
    return format_table(list(zip(*columns, strict=True)))


def _describe_input(catalog: Catalog, model: Model, name: str) -> str:
    """When an image or input may be given: `sdr only, 5s, no image_end`."""
    modes = [mode for mode in model.modes if name in mode.inputs]
    if not modes:
        return "no"
    ranges = model.ranges_with(name)
    parts = ["yes"]
    if len(ranges) < len(model.ranges):
        parts = [f"{' '.join(ranges)} only"]
    limits, usual = modes[0].ranges[ranges[0]], model.ranges[ranges[0]]
    if limits.resolutions != usual.resolutions:
        parts.append(" ".join(limits.resolutions))
    if limits.durations != usual.durations:
        parts.append(" ".join(limits.durations))
    together: set[str] = set()
    for mode in modes:
        together.update(mode.inputs)
    excluded = [other for other in catalog.switches if other not in together]
    if together == {name}:
        parts.append("no other image")
    elif excluded:
        parts.append(f"no {' or '.join(excluded)}")
    return ", ".join(parts)


def outputs_table(catalog: Catalog) -> str:
    """What each dynamic range delivers."""
    rows = [["dynamic_range", "file", "where it plays"]]
    for name, output in catalog.outputs.items():
        rows.append([name, output.format, output.note])
    return format_table(rows)


def times_table(catalog: Catalog) -> str:
    """How long each resolution usually takes."""
    heads, seconds = ["resolution"], ["usual seconds"]
    for resolution, (low, high) in catalog.typical_seconds.items():
        heads.append(resolution)
        seconds.append(f"{low:.0f} to {high:.0f}")
    return format_table([heads, seconds])


def prices_table(catalog: Catalog, prices: Mapping[tuple[str, ...], float]) -> str:
    """What one video costs, in dollars; the first factor in rows, the others in columns."""
    rows: dict[str, dict[str, str]] = {}
    kinds: dict[str, None] = {}
    for (first, *others), price in prices.items():
        kind = " ".join(others)
        kinds[kind] = None
        rows.setdefault(first, {})[kind] = format_amount(price, "dollars")
    table = [[catalog.price_factors[0], *kinds]]
    for first, cells in rows.items():
        every = dict.fromkeys(kinds, "") | cells
        table.append([first, *every.values()])
    return format_table(table)


def all_tables(catalog: Catalog) -> str:
    """All three, with their source."""
    ratios = ", ".join(catalog.choices["aspect_ratio"].values)
    source = f"{catalog.source}, {catalog.source_date}"
    intro = f"What Luma can make ({source}); any aspect_ratio of {ratios}:"
    return "\n\n".join([intro, options_table(catalog), outputs_table(catalog), times_table(catalog)])


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Format rows of cells, the heads first, as an aligned Markdown table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]
    # The rule below the heads also spans the space on both sides of a cell.
    rule = "|".join("-" * (width + 2) for width in widths)
    lines.insert(1, f"|{rule}|")
    return "\n".join(lines)
