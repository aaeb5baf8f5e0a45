"""Clients that declare more than nothing, and what then goes over the wire, as it is.

Every message about a task is held against the JSON schema of the Tasks extension.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from mcp.client import advertise
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolRequest, CallToolRequestParams, Request
from pydantic import RootModel

if TYPE_CHECKING:
    from mcp import Client
    from mcp.client.session import ElicitationFnT
    from mcp.types import ElicitResult, Implementation, InputResponses

TASKS, APPS = "io.modelcontextprotocol/tasks", "io.modelcontextprotocol/ui"
SETTINGS: dict[str, dict[str, Any]] = {TASKS: {}, APPS: {"mimeTypes": ["text/html;profile=mcp-app"]}}
SCHEMA = json.loads((Path(__file__).parents[1] / "conformance" / "tasks.schema.json").read_text(encoding="utf-8"))
ABOUT_TASKS = {"tasks/get": "GetTask", "tasks/update": "UpdateTask", "tasks/cancel": "CancelTask"}


class AsItIs(RootModel[dict[str, Any]]):
    """A result of which nothing was read."""


class Plain(Request[dict[str, Any], str]):
    """Any request."""


class AboutTask(Plain):
    """A request about a task: over HTTP its id is in a header as well."""

    name_param = "taskId"


def declaring(
    client: Client,
    *extensions: str,
    asks: ElicitationFnT | None = None,
    named: Implementation | None = None,
    settings: dict[str, Any] | None = None,
) -> Client:
    """The same client, before it is connected, declaring these extensions, and that its user can be asked."""
    declared = [advertise(name, SETTINGS[name] if settings is None else settings) for name in extensions]
    return replace(client, extensions=declared, elicitation_callback=asks, client_info=named)


def conforms(message: Any, name: str) -> None:
    """Holds a message against a definition of the schema."""
    Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}).validate(message)


async def called(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """What `tools/call` returns, as it is on the wire but for `_meta`; a task as the schema has it."""
    return await _called(client, CallToolRequestParams(name=tool, arguments=arguments))


async def called_again(
    client: Client, tool: str, /, question: dict[str, Any], answer: ElicitResult, **arguments: Any
) -> dict[str, Any]:
    """The same for a call that was answered with a question, which is answered now."""
    answers: InputResponses = dict.fromkeys(question["inputRequests"], answer)
    state = question["requestState"]
    params = CallToolRequestParams(name=tool, arguments=arguments, input_responses=answers, request_state=state)
    return await _called(client, params)


async def _called(client: Client, params: CallToolRequestParams) -> dict[str, Any]:
    result = (await client.session.send_request(CallToolRequest(params=params), AsItIs)).root
    if result.get("resultType") == "task":
        conforms(result, "CreateTaskResult")
    return without_meta(result)


async def asked(client: Client, method: str, **params: Any) -> dict[str, Any]:
    """What any request is answered with, as it is on the wire but for `_meta`."""
    return without_meta((await client.session.send_request(Plain(method=method, params=params), AsItIs)).root)


async def about_task(client: Client, method: str, task_id: str, **params: Any) -> dict[str, Any]:
    """What a request about a task is answered with, as it is on the wire but for `_meta`; or `MCPError`."""
    request = AboutTask(method=method, params={"taskId": task_id, **params})
    name = ABOUT_TASKS[method]
    conforms({"jsonrpc": "2.0", "id": 1, **request.model_dump()}, f"{name}Request")
    try:
        result = (await client.session.send_request(request, AsItIs)).root
    except MCPError as error:
        conforms(error.error.model_dump(exclude_none=True), "Error")
        raise
    conforms(result, f"{name}Result")
    return without_meta(result)


def without_meta(result: dict[str, Any]) -> dict[str, Any]:
    """Without what the SDK says of the server."""
    return {name: value for name, value in result.items() if name != "_meta"}
