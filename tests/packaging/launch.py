"""Starts the server of a host's configuration, as the host would."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters

if TYPE_CHECKING:
    from collections.abc import Mapping

GUI_ENVIRONMENT = {} if sys.platform == "win32" else {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
"""The environment of a macOS application that was not started from a terminal."""
START_TIMEOUT = 60
"""Seconds, with room for a busy machine."""
UNREACHABLE_API = {"LUMA_MCP_BASE_URL": "http://127.0.0.1:9/v1/luma", "LUMA_MCP_JOURNAL": "off"}
OUR_COMMANDS = ("luma-ray-mcp", "uvx", "uv")


async def list_tools(entry: Mapping[str, Any]) -> list[str]:
    """Start an entry's server, with this Python instead of its command, and return the names of its tools."""
    command = entry["command"].replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".exe")
    assert command in OUR_COMMANDS, f"{entry['command']} is not ours"
    arguments = list(entry.get("args", ()))
    if command != "luma-ray-mcp":
        # Arguments after the name of the package are for our command.
        arguments = arguments[arguments.index("luma-ray-mcp") + 1 :]
    environment = {**GUI_ENVIRONMENT, **entry.get("env", {}), **UNREACHABLE_API}
    server = StdioServerParameters(command=sys.executable, args=["-m", "luma_mcp", *arguments], env=environment)
    with anyio.fail_after(START_TIMEOUT):
        async with Client(server) as client:
            return [tool.name for tool in (await client.list_tools()).tools]
