"""`list_options`: the whole table, and for what was fixed the values still allowed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from luma_mcp import tables
from luma_mcp.check import check_options
from luma_mcp.errors import InvalidArguments, Problem
from luma_mcp.matrix import CHOICES, IMAGES, MODELS, OUTPUTS, SOURCE, SOURCE_DATE, TYPICAL_SECONDS, allowed
from luma_mcp.server import arguments, present, schemas

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.types import CallToolResult

PARAMETERS = (*schemas.OPTIONS, "include_schema")


def list_options(raw: Mapping[str, Any], *, longest_wait: int) -> CallToolResult:
    """Answers the tool's call.

    Raises:
        InvalidArguments: an unknown name or value, or a choice that is impossible in itself.
    """
    asked = arguments.read(raw, PARAMETERS)
    chosen = {name: value for name, value in asked.words.items() if name in CHOICES}
    verdict = check_options(chosen)
    problems = [*asked.problems, *verdict.problems]
    include_schema = asked.words.get("include_schema", False)
    if not isinstance(include_schema, bool):
        message = "include_schema is true or false."
        problems.append(Problem("include_schema", include_schema, message, ("true", "false")))
    if problems:
        raise InvalidArguments(problems=problems, suggestion=verdict.nearest)
    content = _content(chosen)
    lines = [_text(content)]
    if include_schema:
        content["schema"] = schemas.exact_schema(longest_wait)
        lines.append(f"Exact JSON Schema of generate_video: {json.dumps(content['schema'], separators=(',', ':'))}")
    return present.answer("\n\n".join(lines), content)


def _content(chosen: Mapping[str, str]) -> dict[str, Any]:
    left = allowed(chosen)
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
        "typical_seconds": {name: list(span) for name, span in TYPICAL_SECONDS.items()},
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
    if content["chosen"]:
        left = {n: v if isinstance(v, bool) else " or ".join(v) for n, v in content["allowed"].items()}
        spoken = {n: ("yes" if v else "no") if isinstance(v, bool) else v for n, v in left.items()}
        parts.append(f"With {_pairs(content['chosen'])}, still possible: {_pairs(spoken)}.")
    return "\n\n".join(parts)


def _pairs(values: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in values.items())
