"""Contents, resources and prompts that the suite's scenarios read. Our middleware must not change them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.types import AudioContent, CallToolResult, ContentBlock, EmbeddedResource, ImageContent, TextContent
from mcp.types import TextResourceContents as Contents

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
WAV = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0D\xac\0\0\x88X\1\0\2\0\x10\0data\0\0\0\0"
TEXT = TextContent(text="This is a simple text response for testing.")
IMAGE = ImageContent(data=base64.b64encode(PNG).decode(), mime_type="image/png")
AUDIO = AudioContent(data=base64.b64encode(WAV).decode(), mime_type="audio/wav")


def embedded(uri: str) -> EmbeddedResource:
    """Build a resource inside a content block."""
    return EmbeddedResource(resource=Contents(uri=uri, mime_type="text/plain", text="This is an embedded resource."))


CONTENTS: dict[str, list[ContentBlock]] = {
    "test_simple_text": [TEXT],
    "test_image_content": [IMAGE],
    "test_audio_content": [AUDIO],
    "test_embedded_resource": [embedded("test://embedded-resource")],
    "test_multiple_content_types": [TEXT, IMAGE, embedded("test://mixed-content-resource")],
}


def add_content_fixtures(server: MCPServer[Any]) -> None:
    """Add the tools, resources and prompts to the server."""
    _add_tools(server)
    _add_resources(server)
    _add_prompts(server)


def _add_tools(server: MCPServer[Any]) -> None:
    for name, content in CONTENTS.items():
        _add_returning(server, name, content)

    @server.tool()
    async def test_error_handling() -> str:
        """Fails."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool(structured_output=False)
    async def test_tool_with_progress(ctx: Context[Any, Any]) -> str:
        """Reports progress."""
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100)
        return "done"


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    async def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    async def static_binary() -> bytes:
        """A picture."""
        return PNG

    @server.resource("test://template/{number}/data", mime_type="application/json")
    async def templated(number: str) -> str:
        """The value that fills the template."""
        return json.dumps({"id": number, "templateTest": True})


def _add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt()
    async def test_simple_prompt() -> str:
        """A text."""
        return "This is a simple prompt for testing."

    @server.prompt()
    async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A text with arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    async def test_prompt_with_embedded_resource(resourceUri: str) -> UserMessage:  # noqa: N803 - the suite's name
        """A resource."""
        return UserMessage(embedded(resourceUri))

    @server.prompt()
    async def test_prompt_with_image() -> UserMessage:
        """A picture."""
        return UserMessage(IMAGE)


def _add_returning(server: MCPServer[Any], name: str, content: list[ContentBlock]) -> None:
    async def fixture() -> CallToolResult:
        return CallToolResult(content=content)

    server.add_tool(fixture, name=name, description="Returns what its name says.", structured_output=False)
