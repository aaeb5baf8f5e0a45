"""The matrix as a table for people: Markdown that is aligned, so that it reads well in a terminal too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luma_mcp.catalog.useapi import CHOICES, MODELS, OUTPUTS, SOURCE, SOURCE_DATE, TYPICAL_SECONDS, Model

if TYPE_CHECKING:
    from collections.abc import Sequence


def matrix_table() -> str:
    """What each model can make."""
    return table(
        [
            ["", *(m.name for m in MODELS)],
            *([name, *(_reach(m, name) for m in MODELS)] for name in CHOICES["dynamic_range"].values),
            ["image_start, image_end", *("yes, one or both" if m.keyframes else "no" for m in MODELS)],
            ["image_character", *(_character(m) for m in MODELS)],
        ]
    )


def outputs_table() -> str:
    """What each dynamic range delivers."""
    rows = [["dynamic_range", "file", "where it plays"]]
    return table(rows + [[name, output.format, output.note] for name, output in OUTPUTS.items()])


def times_table() -> str:
    """How long each resolution usually takes."""
    rows = [["resolution", *TYPICAL_SECONDS], ["usual seconds", *(f"{a:.0f} to {b:.0f}" for a, b in _spans())]]
    return table(rows)


def everything() -> str:
    """All three, with their source."""
    ratios = ", ".join(CHOICES["aspect_ratio"].values)
    intro = f"What Luma can make ({SOURCE}, {SOURCE_DATE}); any aspect_ratio of {ratios}:"
    return f"{intro}\n\n{matrix_table()}\n\n{outputs_table()}\n\n{times_table()}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first being the heads, as an aligned Markdown table."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows]
    return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])


def _spans() -> list[tuple[float, float]]:
    return list(TYPICAL_SECONDS.values())


def _reach(model: Model, dynamic_range: str) -> str:
    reach = model.ranges.get(dynamic_range)
    return f"{' '.join(reach.resolutions)}, {' '.join(reach.durations)}" if reach else "no"


def _character(model: Model) -> str:
    return f"{' '.join(model.character_ranges)} only, no other image" if model.character_ranges else "no"
