"""Read the text and the structured content of a tool's result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.types import CallToolResult


def read_result(result: CallToolResult, *, pictures: int = 0) -> tuple[str, dict[str, Any]]:
    """Get the text and the structured content. Asserts that exactly `pictures` images follow the text."""
    first, *rest = result.content
    assert first.type == "text"
    assert [block.type for block in rest] == ["image"] * pictures
    assert result.structured_content is not None
    return first.text, dict(result.structured_content)
