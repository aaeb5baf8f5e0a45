"""Icons for hosts that show them: drawn here, sent along; nobody has to fetch them."""

from __future__ import annotations

from urllib.parse import quote

from mcp.types import Icon

_FRAME = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="{colour}" stroke-width="1.8" '
    'stroke-linecap="round" stroke-linejoin="round">{drawing}</svg>'
)
_COLOUR = "#7c5cff"
"""It stands out from white and from black."""
_DRAWINGS = {
    "server": '<rect x="2.5" y="5" width="19" height="14" rx="3"/><path d="m10 9 5 3-5 3z" fill="#7c5cff"/>',
    "generate_video": '<rect x="2.5" y="6" width="13" height="12" rx="2.5"/><path d="m15.5 10.5 6-3v9l-6-3z"/>'
    '<path d="M9 9.5v5M6.5 12h5"/>',
    "get_job": '<circle cx="12" cy="12" r="9"/><path d="m10 8.5 5.5 3.5-5.5 3.5z"/>',
    "list_jobs": '<path d="M9 6h12M9 12h12M9 18h12"/><path d="m3 4.5 2.5 1.5L3 7.5zM3 10.5l2.5 1.5L3 13.5zM3 16.5 '
    '5.5 18 3 19.5z"/>',
    "delete_job": '<path d="M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13M10 11v5M14 11v5"/>',
    "list_options": '<path d="M4 7h10M18 7h2M4 12h2M10 12h10M4 17h8M16 17h4"/><circle cx="16" cy="7" r="2"/>'
    '<circle cx="8" cy="12" r="2"/><circle cx="14" cy="17" r="2"/>',
}


def icons(name: str) -> list[Icon]:
    """The icon of the server, or of the named tool."""
    drawing = _FRAME.format(colour=_COLOUR, drawing=_DRAWINGS[name])
    return [Icon(src=f"data:image/svg+xml,{quote(drawing)}", mime_type="image/svg+xml", sizes=["any"])]
