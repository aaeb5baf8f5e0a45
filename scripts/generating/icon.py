"""The server's icon as a PNG, for hosts that take no SVG: the drawing of luma_mcp/server/icons.py, by Pillow.

Pillow reads no SVG. The few shapes are read from the SVG itself, so that there is one drawing.
"""

from __future__ import annotations

import io
import re
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from PIL import Image, ImageDraw

from luma_mcp.server.icons import icons

SIZE = 512
FINER = 4
"""Drawn so many times as large, then scaled: Pillow draws no smooth edges."""
_SVG = "{http://www.w3.org/2000/svg}"


def icon_png() -> bytes:
    """The icon."""
    svg = ET.fromstring(unquote(icons("server")[0].src.split(",", 1)[1]))  # noqa: S314 - our own
    scale = SIZE * FINER / float(svg.attrib["viewBox"].split()[2])
    large = Image.new("RGBA", (SIZE * FINER, SIZE * FINER), (0, 0, 0, 0))
    draw = ImageDraw.Draw(large)
    colour, width = svg.attrib["stroke"], round(float(svg.attrib["stroke-width"]) * scale)
    for shape in svg:
        _SHAPES[shape.tag.removeprefix(_SVG)](draw, shape.attrib, scale, colour, width)
    out = io.BytesIO()
    large.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(out, "PNG", optimize=True)
    return out.getvalue()


def _rect(draw: ImageDraw.ImageDraw, said: dict[str, Any], scale: float, colour: str, width: int) -> None:
    x, y, w, h, radius = (float(said[name]) * scale for name in ("x", "y", "width", "height", "rx"))
    half = width / 2
    # An SVG's line lies on the edge, Pillow's inside of it.
    box = (x - half, y - half, x + w + half, y + h + half)
    draw.rounded_rectangle(box, radius + half, outline=colour, width=width)


def _path(draw: ImageDraw.ImageDraw, said: dict[str, Any], scale: float, colour: str, width: int) -> None:
    """A closed polygon with relative lines, `mX Y dx dy dx dy…z`: all that the server's drawing has."""
    match = re.fullmatch(r"m([\d. -]+)z", said["d"])
    if not match:
        raise ValueError(f"cannot draw the path {said['d']}")
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", match[1])]
    points, x, y = [], 0.0, 0.0
    for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
        x, y = x + dx, y + dy
        points.append((x * scale, y * scale))
    draw.polygon(points, fill=said.get("fill"))
    draw.line([*points, *points[:2]], fill=colour, width=width, joint="curve")


_SHAPES = {"rect": _rect, "path": _path}


def same_picture(first: bytes, second: bytes) -> bool:
    """Whether they show the same; another zlib makes other bytes of it."""
    with Image.open(io.BytesIO(first)) as one, Image.open(io.BytesIO(second)) as other:
        return one.size == other.size and one.tobytes() == other.tobytes()
