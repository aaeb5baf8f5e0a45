"""`list_options`: the whole table, and for what was fixed the values still allowed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from luma_mcp.catalog import tables
from luma_mcp.catalog.useapi import CHOICES, IMAGES, MODELS, OUTPUTS, SOURCE, SOURCE_DATE, TYPICAL_SECONDS, allowed
from luma_mcp.catalog.validate import check_options
from luma_mcp.errors import InvalidArguments
from luma_mcp.server import arguments, results, schemas
from luma_mcp.server.call_options import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mcp.types import CallToolResult

    Seen = Callable[[Mapping[str, str]], tuple[float, float] | None]

PARAMETERS = (*schemas.OPTIONS, SCHEMA)


def list_options(raw: Mapping[str, Any], *, longest_wait: int, seen_seconds: Seen) -> CallToolResult:
    """Answers the tool's call.

    Args:
        raw: the client's arguments.
        longest_wait: what a call may wait at most, in seconds.
        seen_seconds: from when until when jobs of a kind have ended on this machine; None if too few have.

    Raises:
        InvalidArguments: an unknown name or value, or a choice that is impossible in itself.
    """
    asked = arguments.read(raw, PARAMETERS)
    chosen = {name: value for name, value in asked.words.items() if name in CHOICES}
    verdict = check_options(chosen)
    problems = [*asked.problems, *verdict.problems]
    if problems:
        raise InvalidArguments(problems=problems, suggestion=verdict.nearest)
    about = content(chosen, seen_seconds)
    lines = [_text(about)]
    if asked.words.get(SCHEMA):
        about["schema"] = schemas.exact_schema(longest_wait)
        lines.append(f"Exact JSON Schema of generate_video: {json.dumps(about['schema'], separators=(',', ':'))}")
    return results.answer("\n\n".join(lines), about)


def content(chosen: Mapping[str, str], seen_seconds: Seen) -> dict[str, Any]:
    """The structured content: the whole table, and what still goes with what was chosen."""
    left = allowed(chosen)
    seen = {r: span for r in TYPICAL_SECONDS if (span := seen_seconds({**chosen, "resolution": r}))}
    return {
        "source": f"{SOURCE}, {SOURCE_DATE}",
        "models": [
            {
                "name": m.name,
                "about": m.about,
                "dynamic_ranges": {
                    name: {"resolutions": list(r.resolutions), "durations": list(r.durations)}
                    for name, r in m.ranges.items()
                },
                "image_start": m.keyframes,
                "image_end": m.keyframes,
                "image_character": list(m.character_ranges),
            }
            for m in MODELS
        ],
        "parameters": {name: list(c.values) for name, c in CHOICES.items()},
        "defaults": {name: c.default for name, c in CHOICES.items()},
        "chosen": dict(chosen),
        "allowed": {n: (True in values) if n in IMAGES else list(values) for n, values in left.items()},
        "rules": schemas.restrictions(),
        "typical_seconds": {name: [round(s) for s in seen.get(name, span)] for name, span in TYPICAL_SECONDS.items()},
        "typical_seconds_measured": list(seen),
        "output_formats": {
            name: {"format": o.format, "plays_in_browser": o.plays_in_browser, "note": o.note}
            for name, o in OUTPUTS.items()
        },
    }


def _text(content: Mapping[str, Any]) -> str:
    parts = [
        tables.everything(),
        f"Rules: {'. '.join(content['rules'])}.",
        f"Defaults, where they fit, else the cheapest that does: {_pairs(content['defaults'])}.",
    ]
    if measured := content["typical_seconds_measured"]:
        times = {name: "{} to {} s".format(*content["typical_seconds"][name]) for name in measured}
        parts.append(f"As measured on this machine: {_pairs(times)}.")
    if content["chosen"]:
        left = {n: v if isinstance(v, bool) else " or ".join(v) for n, v in content["allowed"].items()}
        spoken = {n: ("yes" if v else "no") if isinstance(v, bool) else v for n, v in left.items()}
        parts.append(f"With {_pairs(content['chosen'])}, still possible: {_pairs(spoken)}.")
    return "\n\n".join(parts)


def _pairs(values: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in values.items())
