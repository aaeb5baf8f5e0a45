"""The player inside the chat: an MCP App (extension `io.modelcontextprotocol/ui`).

The page is built from `player/` at the top of the repository; `player.html` beside this file is the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcp.server.apps import APP_MIME_TYPE, Apps, ResourceCsp, ResourcePermissions
from mcp.server.mcpserver.resources import FileResource

from luma_mcp.settings import LOOPBACK

if TYPE_CHECKING:
    from luma_mcp.settings import Settings

PLAYER_URI = "ui://luma-ray-mcp/player.html"
PLAYER = Path(__file__).with_name("player.html")
MEDIA_ORIGINS = ("https://*.cdn-luma.com", "https://*.lumalabs.ai")
"""Where Luma keeps videos. The API's pages promise no host: from another one, the page falls back to links."""


def player_meta() -> dict[str, Any]:
    """The `_meta` of a tool whose results the player shows."""
    return {"ui": {"resourceUri": PLAYER_URI}}


def player(settings: Settings) -> Apps:
    """The extension with its one page."""
    own = urlsplit(settings.base_url)
    origins = [f"{own.scheme}://{own.netloc}"] if own.hostname in LOOPBACK else list(MEDIA_ORIGINS)
    ui = {
        "csp": ResourceCsp(resource_domains=origins).model_dump(by_alias=True, exclude_none=True),
        "permissions": ResourcePermissions(clipboard_write={}).model_dump(by_alias=True, exclude_none=True),
        "prefersBorder": True,
    }
    apps = Apps()
    apps.add_resource(
        FileResource(
            uri=PLAYER_URI,
            name="player",
            title="Video player",
            description="Shows a video job in the chat: its progress, then the video.",
            mime_type=APP_MIME_TYPE,
            path=PLAYER,
            meta={"ui": ui},
        )
    )
    return apps
