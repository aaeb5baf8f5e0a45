"""Build questions to the client's user within a request (2026-07-28), for the fixture's tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context
    from mcp.types import InputRequest


def form(message: str, **fields: str) -> ElicitRequest:
    """Build a form with these required fields and their types."""
    properties = {name: {"type": kind} for name, kind in fields.items()}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": list(fields)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str) -> CreateMessageRequest:
    """Build a question to the client's model."""
    message = SamplingMessage(role="user", content=TextContent(text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


ROOTS = ListRootsRequest()


def ask(*, state: str | None = None, **questions: InputRequest) -> InputRequiredResult:
    """Build the result with which a tool asks questions."""
    return InputRequiredResult(input_requests=questions, request_state=state)


def get_answer(ctx: Context[Any, Any], key: str, name: str) -> Any | None:
    """Get a field of an answered form, or None."""
    answer = (ctx.input_responses or {}).get(key)
    return (answer.content or {}).get(name) if isinstance(answer, ElicitResult) else None
