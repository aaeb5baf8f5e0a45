"""Starts what a host's configuration says, as a host would."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters

if TYPE_CHECKING:
    from collections.abc import Mapping

GUI = {} if sys.platform == "win32" else {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
"""What an application on macOS has that was not started from a terminal."""
STARTING = 60
"""Seconds that a start may take on a busy machine before it counts as hanging."""
NOWHERE = {"LUMA_MCP_BASE_URL": "http://127.0.0.1:9/v1/luma", "LUMA_MCP_JOURNAL": "off"}
OURS = ("luma-ray-mcp", "uvx", "uv")


async def tools_of(entry: Mapping[str, Any]) -> list[str]:
    """The names of the tools of the server that an entry starts; its command becomes the one that is here."""
    command = entry["command"].replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".exe")
    assert command in OURS, f"{entry['command']} is not ours"
    arguments = list(entry.get("args", ()))
    if command != "luma-ray-mcp":
        # What comes after the name of the package is for us.
        arguments = arguments[arguments.index("luma-ray-mcp") + 1 :]
    environment = {**GUI, **entry.get("env", {}), **NOWHERE}
    server = StdioServerParameters(command=sys.executable, args=["-m", "luma_mcp", *arguments], env=environment)
    with anyio.fail_after(STARTING):
        async with Client(server) as client:
            return [tool.name for tool in (await client.list_tools()).tools]
