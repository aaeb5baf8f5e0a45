"""The catalog as Markdown tables for people, aligned so that they also read well in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from luma_mcp.catalog.models import Catalog


def options_table(catalog: Catalog) -> str:
    """What each model can make."""
    # One column per model: people compare models, and there are few.
    dynamic_ranges = catalog.choices["dynamic_range"].values
    columns = [["", *dynamic_ranges, "image_start, image_end", "image_character"]]
    for model in catalog.models:
        column = [model.name]
        for dynamic_range in dynamic_ranges:
            cell = "no"
            if limits := model.ranges.get(dynamic_range):
                cell = f"{' '.join(limits.resolutions)}, {' '.join(limits.durations)}"
            column.append(cell)
        keyframes = character = "no"
        if model.keyframes:
            keyframes = "yes, one or both"
        if model.character_ranges:
            character = f"{' '.join(model.character_ranges)} only, no other image"
        column += keyframes, character
        columns.append(column)
    return format_table(list(zip(*columns, strict=True)))


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
