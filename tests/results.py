"""What a tool's result contains, in both of its forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.types import CallToolResult


def read_result(result: CallToolResult, *, pictures: int = 0) -> tuple[str, dict[str, Any]]:
    """The text and the structured content; so many pictures follow the text, and nothing else."""
    first, *rest = result.content
    assert first.type == "text"
    assert [block.type for block in rest] == ["image"] * pictures
    assert result.structured_content is not None
    return first.text, dict(result.structured_content)
