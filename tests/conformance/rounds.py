"""What the suite's `input-required-result-*` scenarios call: tools and a prompt that ask before they answer.

Our own server asks through the SDK's `Resolve`; these ask by hand, through the same middleware and extension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context  # noqa: TC002 - the SDK reads the annotations of tools
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CallToolResult,
    ClientCapabilities,
    InputRequest,
    InputRequiredResult,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    TextContent,
)
from mcp.types.jsonrpc import MISSING_REQUIRED_CLIENT_CAPABILITY
from tests.conformance.asked import ROOTS, answered, asking, form, sample

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

NAME = form("What is your name?", name="string")
STEPS = {"step1": NAME, "step2": form("What is your favorite color?", color="string")}
AT_ONCE: dict[str, tuple[dict[str, InputRequest], str | None]] = {
    "test_input_required_result_elicitation": ({"user_name": NAME}, None),
    "test_input_required_result_sampling": ({"capital_question": sample("What is the capital of France?")}, None),
    "test_input_required_result_list_roots": ({"client_roots": ROOTS}, None),
    "test_input_required_result_request_state": ({"confirm": form("Please confirm", ok="boolean")}, "state-ok"),
    "test_input_required_result_tampered_state": ({"confirm": form("Please confirm", ok="boolean")}, "state-ok"),
    "test_input_required_result_multiple_inputs": (
        {"user_name": NAME, "greeting": sample("Generate a greeting"), "client_roots": ROOTS},
        "all",
    ),
}
"""Tools that ask all they ask at once: their questions, and the state that they keep with the client."""


def add_rounds(server: MCPServer[Any]) -> None:
    """Adds them."""
    for name, (questions, state) in AT_ONCE.items():
        _add(server, name, questions, state)
    _add_stepwise(server)
    _add_capable(server)


def _add_stepwise(server: MCPServer[Any]) -> None:
    @server.tool(structured_output=False)
    async def test_input_required_result_multi_round(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Asks twice, and counts in its state."""
        if ctx.request_state is None or not ctx.input_responses:
            return asking(state="1", step1=STEPS["step1"])
        if ctx.request_state == "1":
            return asking(state="2", step2=STEPS["step2"])
        return _said(f"both are known: {ctx.input_responses}")

    @server.prompt()
    async def test_input_required_result_prompt(ctx: Context[Any, Any]) -> UserMessage | InputRequiredResult:
        """A prompt that asks."""
        context = answered(ctx, "user_context", "context")
        if context is None:
            return asking(user_context=form("What context should the prompt use?", context="string"))
        return UserMessage(f"Use {context}.")


def _add_capable(server: MCPServer[Any]) -> None:
    @server.tool(structured_output=False)
    async def test_input_required_result_capabilities(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Asks in a way that the client has declared."""
        able = ctx.client_capabilities or ClientCapabilities()
        if able.elicitation:
            return asking(user_name=NAME)
        return asking(greeting=sample("Generate a greeting")) if able.sampling else _said("nobody to ask")

    @server.tool(structured_output=False)
    async def test_missing_capability(ctx: Context[Any, Any]) -> CallToolResult:
        """Refuses a client that has no model."""
        if ctx.client_capabilities and ctx.client_capabilities.sampling:
            return _said("it has one")
        needed = MissingRequiredClientCapabilityErrorData(
            required_capabilities=ClientCapabilities(sampling=SamplingCapability())
        )
        data = needed.model_dump(by_alias=True, mode="json", exclude_none=True)
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs sampling", data)


def _add(server: MCPServer[Any], name: str, questions: dict[str, InputRequest], state: str | None) -> None:
    async def ask(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        answers = ctx.input_responses or {}
        if ctx.request_state != state or not questions.keys() <= answers.keys():
            return asking(state=state, **questions)
        told = ", ".join(answers[key].model_dump_json() for key in questions)
        return _said(f"{state or 'known'}: {told}")

    server.add_tool(ask, name=name, description="Asks, then answers.", structured_output=False)


def _said(words: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=words)])
