"""Tools and a prompt that ask before they return, for the suite's `input-required-result-*` scenarios.

Our own server asks with the SDK's `Resolve`. These tools ask directly, with the same middleware and extension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context
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
from tests.conformance.questions import ROOTS, ask, form, get_answer, sample

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

NAME = form("What is your name?", name="string")
STEPS = {"step1": NAME, "step2": form("What is your favorite color?", color="string")}
SINGLE_ROUND: dict[str, tuple[dict[str, InputRequest], str | None]] = {
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
"""Tools that ask once: their questions, and the state that the client returns."""


def add_question_tools(server: MCPServer[Any]) -> None:
    """Add the tools and the prompt to the server."""
    for name, (questions, state) in SINGLE_ROUND.items():
        _add_single_round(server, name, questions, state)
    _add_multi_round(server)
    _add_capability_checks(server)


def _add_multi_round(server: MCPServer[Any]) -> None:
    @server.tool(structured_output=False)
    async def test_input_required_result_multi_round(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Asks twice, and counts the rounds in its state."""
        if ctx.request_state is None or not ctx.input_responses:
            return ask(state="1", step1=STEPS["step1"])
        if ctx.request_state == "1":
            return ask(state="2", step2=STEPS["step2"])
        return _text(f"both are known: {ctx.input_responses}")

    @server.prompt()
    async def test_input_required_result_prompt(ctx: Context[Any, Any]) -> UserMessage | InputRequiredResult:
        """Asks a question, then returns a prompt."""
        context = get_answer(ctx, "user_context", "context")
        if context is None:
            return ask(user_context=form("What context should the prompt use?", context="string"))
        return UserMessage(f"Use {context}.")


def _add_capability_checks(server: MCPServer[Any]) -> None:
    @server.tool(structured_output=False)
    async def test_input_required_result_capabilities(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        """Asks with elicitation or sampling, whichever the client supports."""
        capabilities = ctx.client_capabilities or ClientCapabilities()
        if capabilities.elicitation:
            return ask(user_name=NAME)
        return ask(greeting=sample("Generate a greeting")) if capabilities.sampling else _text("nobody to ask")

    @server.tool(structured_output=False)
    async def test_missing_capability(ctx: Context[Any, Any]) -> CallToolResult:
        """Rejects a client without sampling."""
        if ctx.client_capabilities and ctx.client_capabilities.sampling:
            return _text("sampling is supported")
        required = MissingRequiredClientCapabilityErrorData(
            required_capabilities=ClientCapabilities(sampling=SamplingCapability())
        )
        data = required.model_dump(by_alias=True, mode="json", exclude_none=True)
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs sampling", data)


def _add_single_round(server: MCPServer[Any], name: str, questions: dict[str, InputRequest], state: str | None) -> None:
    async def question_tool(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
        answers = ctx.input_responses or {}
        if ctx.request_state != state or not questions.keys() <= answers.keys():
            return ask(state=state, **questions)
        given = ", ".join(answers[key].model_dump_json() for key in questions)
        return _text(f"{state or 'known'}: {given}")

    server.add_tool(question_tool, name=name, description="Asks, then returns.", structured_output=False)


def _text(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)])
