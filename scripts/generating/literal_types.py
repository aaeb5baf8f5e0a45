"""The types in `catalog/useapi.py` and `catalog/agents.py` that type checkers need as literals, from the rows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luma_mcp.catalog.models import Catalog

_TYPES = {"ModelName": "model", "Resolution": "resolution", "DynamicRange": "dynamic_range"}
_BLOCK = re.compile(r"^(# Types written by .*\n)(?:.*\n)*?(# End of the written types\.)$", re.MULTILINE)


def with_literal_types(source: str, catalog: Catalog) -> str:
    """Return the module's source with its block of types as the catalog has them.

    Raises:
        ValueError: the source has no such block.
    """
    lines: list[str] = []
    for name, parameter in _TYPES.items():
        values = ", ".join(map(json.dumps, catalog.choices[parameter].values))
        lines.append(f"{name} = Literal[{values}]\n")
    written, count = _BLOCK.subn(rf"\g<1>{''.join(lines)}\g<2>", source)
    if count != 1:
        raise ValueError(f"the source has {count} blocks of written types instead of one")
    return written
