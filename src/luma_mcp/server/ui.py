"""What hosts show people: icons, and the player in the chat (an MCP App, extension `io.modelcontextprotocol/ui`).

The player's page is built from `player/` at the top of the repository into `player.html` beside this file.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, urlsplit

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FileResource
from mcp.types import Icon

from luma_mcp.media import can_read_clips
from luma_mcp.providers import USEAPI
from luma_mcp.settings import LOOPBACK, Settings

PLAYER_URI = "ui://luma-ray-mcp/player.html"
PLAYER_META = {"ui": {"resourceUri": PLAYER_URI}}
"""The `_meta` of a tool whose results the player shows."""
PLAYER = Path(__file__).with_name("player.html")
PICTURE_URI = "ui://luma-ray-mcp/picture.html"
PICTURE_META = {"ui": {"resourceUri": PICTURE_URI}}
"""The `_meta` of the tool that opens the panel for pictures."""
PAGE_META = {"ui": {"visibility": ["app"]}}
"""The `_meta` of a tool that only pages call."""
PICTURE = Path(__file__).with_name("picture.html")
APPS_TOOLS = frozenset({"add_picture", "upload_picture"})
"""The tools that exist only for clients that show apps."""
MEDIA_ORIGINS = ("https://*.cdn-luma.com", "https://*.lumalabs.ai")
"""Where Luma keeps videos. The API's pages promise no host: for another one, the player falls back to links."""

# One purple that stands out from light and dark backgrounds; single quotes, because they need no escaping in a URI.
# scripts/generating/icon.py draws the server's icon as a PNG from these shapes.
_SERVER_SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='#7c5cff' stroke-width='1.8' "
    "stroke-linecap='round' stroke-linejoin='round'><rect x='2.5' y='5' width='19' height='14' rx='3'/>"
    "<path d='m10 9 5 3-5 3z' fill='#7c5cff'/></svg>"
)
_TOOL_SVG = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0,0,12,12'><path fill='#75f' d='{path}'/></svg>"
# Every listing of the tools contains their icons, so each is a single path. A shape that runs the other way round is a
# hole in the one around it.
_TOOL_PATHS = {
    "generate_video": "M0,3h8v6H0zM8,6l4-3v6zM3,4v1H2v2h1v1h2V7h1V5H5V4z",
    "get_job": "M1,2h10v8H1zM4,4v4l4-2z",
    "list_jobs": "M1,2h10v2H1zM1,5h10v2H1zM1,8h10v2H1z",
    "delete_job": "M1,2h3V1h4v1h3v1H1zM2,4h8l-1,7H3z",
    "join_videos": "M1,3h4v6H1zM7,3h4v6H7zM5,5h2v2H5z",
    "add_picture": "M1,2h10v8H1zM2,9h8l-3-4-2,2-1-1z",
    "upload_picture": "M1,9h10v1H1zM5,8h2V5h2l-3-3-3,3h2z",
    "list_options": "M1,3h10v1H1zM3,2h2v3H3zM1,8h10v1H1zM7,7h2v3H7z",
}


def icons(name: str) -> list[Icon]:
    """Get the icon of the server, or of the named tool, as a `data:` URI that no host has to fetch."""
    svg = _SERVER_SVG if name == "server" else _TOOL_SVG.format(path=_TOOL_PATHS[name])
    # Without `mimeType`: the URI names the type already.
    uri = quote(svg, safe="/:=',")
    return [Icon(src=f"data:image/svg+xml,{uri}")]


class Page(FileResource):
    """A page in the chat, which learns from the server which API it uses, and whether there are previews of HDR."""

    mime_type: str = APP_MIME_TYPE
    api: str

    async def read(self) -> str | bytes:
        """Read the page."""
        page = await super().read()
        if not isinstance(page, str):
            return page
        page = page.replace(f'data-api="{USEAPI.name}"', f'data-api="{self.api}"', 1)
        return page.replace('data-previews="no"', 'data-previews="yes"', 1) if can_read_clips() else page


def build_pages(settings: Settings) -> Apps:
    """Build the Apps extension with the pages in the chat."""
    api = urlsplit(settings.base_url)
    # A simulator serves its own stand-in clips.
    origins = [f"{api.scheme}://{api.netloc}"] if api.hostname in LOOPBACK else list(MEDIA_ORIGINS)
    if settings.store:
        from luma_mcp.media.store import list_origins

        origins += list_origins(settings.store, os.environ)
    apps = Apps()
    player = Page(
        api=settings.api,
        uri=PLAYER_URI,
        name="player",
        title="Video player",
        description="Shows a video job in the chat: its progress, then the video.",
        path=PLAYER,
        meta=_build_meta(origins),
    )
    picture = Page(
        api=settings.api,
        uri=PICTURE_URI,
        name="picture",
        title="Add a picture",
        description="Lets the user choose, crop and upload a picture in the chat.",
        path=PICTURE,
        # It loads nothing from anywhere.
        meta=_build_meta([]),
    )
    for page in (player, picture):
        apps.add_resource(page)
    return apps


def _build_meta(origins: list[str]) -> dict[str, object]:
    """Build the `_meta` of a page that loads media from these origins."""
    ui = {"csp": {"resourceDomains": origins}, "permissions": {"clipboardWrite": {}}, "prefersBorder": True}
    return {"ui": ui}
