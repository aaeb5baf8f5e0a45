"""Call tools and read their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.results import read_result

if TYPE_CHECKING:
    from mcp import Client


async def call(client: Client, tool: str, /, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """Call a tool and return its text and structured content."""
    return read_result(await client.call_tool(tool, arguments))


async def order(client: Client, prompt: str = "A fox", **arguments: Any) -> tuple[str, dict[str, Any]]:
    """Order a video without waiting for it, unless the arguments say otherwise."""
    return await call(client, "generate_video", **{"prompt": prompt, "wait_seconds": 0, **arguments})


async def order_error(client: Client, prompt: str = "A fox", **arguments: Any) -> dict[str, Any]:
    """Order a video that is rejected and return the error."""
    arguments = {"prompt": prompt, "wait_seconds": 0, **arguments}
    result = await client.call_tool("generate_video", arguments)
    assert result.is_error
    _, content = read_result(result)
    return dict(content["error"])
