"""The server's icon as a PNG, for hosts that take no SVG: the drawing of luma_mcp/server/ui.py, drawn by Pillow.

Pillow reads no SVG. Its few shapes are read from the SVG itself, so that there is only one drawing.
"""

from __future__ import annotations

import io
import re
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from PIL import Image, ImageDraw

from luma_mcp.server.ui import icons

SIZE = 512
# Drawn so many times as large and then scaled down, because Pillow draws no smooth edges.
OVERSAMPLING = 4
_SVG = "{http://www.w3.org/2000/svg}"


def icon_png() -> bytes:
    """Draw the icon."""
    svg = ET.fromstring(unquote(icons("server")[0].src.split(",", 1)[1]))  # noqa: S314 - our own
    scale = SIZE * OVERSAMPLING / float(svg.attrib["viewBox"].split()[2])
    large = Image.new("RGBA", (SIZE * OVERSAMPLING, SIZE * OVERSAMPLING), (0, 0, 0, 0))
    draw = ImageDraw.Draw(large)
    color, width = svg.attrib["stroke"], round(float(svg.attrib["stroke-width"]) * scale)
    for shape in svg:
        _SHAPES[shape.tag.removeprefix(_SVG)](draw, shape.attrib, scale, color, width)
    out = io.BytesIO()
    large.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(out, "PNG", optimize=True)
    return out.getvalue()


def _draw_rect(draw: ImageDraw.ImageDraw, attributes: dict[str, Any], scale: float, color: str, width: int) -> None:
    x, y, w, h, radius = (float(attributes[name]) * scale for name in ("x", "y", "width", "height", "rx"))
    half = width / 2
    # An SVG's line lies on the edge, Pillow's inside it.
    box = (x - half, y - half, x + w + half, y + h + half)
    draw.rounded_rectangle(box, radius + half, outline=color, width=width)


def _draw_path(draw: ImageDraw.ImageDraw, attributes: dict[str, Any], scale: float, color: str, width: int) -> None:
    """Draw a closed polygon with relative lines, `mX Y dx dy dx dy…z`: the server's drawing has no other paths."""
    match = re.fullmatch(r"m([\d. -]+)z", attributes["d"])
    if not match:
        raise ValueError(f"cannot draw the path {attributes['d']}")
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", match[1])]
    points, x, y = [], 0.0, 0.0
    for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
        x, y = x + dx, y + dy
        points.append((x * scale, y * scale))
    draw.polygon(points, fill=attributes.get("fill"))
    draw.line([*points, *points[:2]], fill=color, width=width, joint="curve")


_SHAPES = {"rect": _draw_rect, "path": _draw_path}


def same_picture(first: bytes, second: bytes) -> bool:
    """Whether two PNGs show the same. Another zlib compresses the same picture to other bytes."""
    with Image.open(io.BytesIO(first)) as one, Image.open(io.BytesIO(second)) as other:
        return one.size == other.size and one.tobytes() == other.tobytes()
