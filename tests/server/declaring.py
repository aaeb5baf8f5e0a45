"""Clients that declare capabilities, and raw messages of the protocol.

Every message about a task is validated against the JSON schema of the Tasks extension.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from mcp.client import advertise
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolRequest, CallToolRequestParams, ElicitRequestFormParams, ElicitResult, Request
from pydantic import RootModel

if TYPE_CHECKING:
    from mcp import Client
    from mcp.client.session import ClientRequestContext, ElicitationFnT
    from mcp.types import ElicitRequestParams, Implementation, InputResponses

TASKS, APPS = "io.modelcontextprotocol/tasks", "io.modelcontextprotocol/ui"
SETTINGS: dict[str, dict[str, Any]] = {TASKS: {}, APPS: {"mimeTypes": ["text/html;profile=mcp-app"]}}
SCHEMA = json.loads((Path(__file__).parents[1] / "conformance" / "tasks.schema.json").read_text(encoding="utf-8"))
TASK_METHODS = {"tasks/get": "GetTask", "tasks/update": "UpdateTask", "tasks/cancel": "CancelTask"}
AGREED = ElicitResult(action="accept", content={"order": True})


class RawResult(RootModel[dict[str, Any]]):
    """An unparsed result."""


class AnyRequest(Request[dict[str, Any], str]):
    """A request with any method and params."""


class TaskRequest(AnyRequest):
    """A request about a task. Over HTTP, a header repeats the id of the task."""

    name_param = "taskId"


class Person:
    """A user who gives the same answer to every question. Records the questions."""

    def __init__(self, answer: ElicitResult = AGREED) -> None:
        self.answer = answer
        self.questions: list[str] = []

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:  # noqa: ARG002
        assert isinstance(params, ElicitRequestFormParams)
        assert list(params.requested_schema["properties"]) == ["order"]
        assert params.requested_schema["properties"]["order"]["type"] == "boolean"
        self.questions.append(params.message)
        return self.answer


def declaring(
    client: Client,
    *extensions: str,
    asks: ElicitationFnT | None = None,
    named: Implementation | None = None,
    settings: dict[str, Any] | None = None,
) -> Client:
    """Return the client with declared extensions. `asks` answers the server's questions to the user."""
    declared = [advertise(name, SETTINGS[name] if settings is None else settings) for name in extensions]
    return replace(client, extensions=declared, elicitation_callback=asks, client_info=named)


def assert_conforms(message: Any, name: str) -> None:
    """Assert that a message conforms to a definition of the Tasks schema."""
    Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}).validate(message)


async def call_raw(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """Call a tool and return the raw result (a task, a question or a final result), without `_meta`."""
    return await _send_call(client, CallToolRequestParams(name=tool, arguments=arguments))


async def answer_question(
    client: Client, tool: str, /, question: dict[str, Any], answer: ElicitResult | None, **arguments: Any
) -> dict[str, Any]:
    """Repeat a call that returned a question, with its state and with the answer, if there is one."""
    answers: InputResponses = {}
    if answer:
        answers = dict.fromkeys(question["inputRequests"], answer)
    state = question["requestState"]
    params = CallToolRequestParams(name=tool, arguments=arguments, input_responses=answers, request_state=state)
    return await _send_call(client, params)


def question_text(question: dict[str, Any]) -> str:
    """Get the text of the only question that a call returned."""
    [request] = question["inputRequests"].values()
    assert request["method"] == "elicitation/create"
    return str(request["params"]["message"])


async def _send_call(client: Client, params: CallToolRequestParams) -> dict[str, Any]:
    result = (await client.session.send_request(CallToolRequest(params=params), RawResult)).root
    if result.get("resultType") == "task":
        assert_conforms(result, "CreateTaskResult")
    return remove_meta(result)


async def request_raw(client: Client, method: str, **params: Any) -> dict[str, Any]:
    """Send a request and return the raw result, without `_meta`."""
    return remove_meta((await client.session.send_request(AnyRequest(method=method, params=params), RawResult)).root)


async def task_request(client: Client, method: str, task_id: str, **params: Any) -> dict[str, Any]:
    """Send a request about a task and return the raw result, without `_meta`. Raises `MCPError`."""
    request = TaskRequest(method=method, params={"taskId": task_id, **params})
    name = TASK_METHODS[method]
    assert_conforms({"jsonrpc": "2.0", "id": 1, **request.model_dump()}, f"{name}Request")
    try:
        result = (await client.session.send_request(request, RawResult)).root
    except MCPError as error:
        assert_conforms(error.error.model_dump(exclude_none=True), "Error")
        raise
    assert_conforms(result, f"{name}Result")
    return remove_meta(result)


def remove_meta(result: dict[str, Any]) -> dict[str, Any]:
    """Remove `_meta`, which the SDK adds to describe the server."""
    return {name: value for name, value in result.items() if name != "_meta"}
