"""Tools whose input schemas the suite compares exactly. Like ours, they define the schema separately."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver.tools import Tool

SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""The schema that scenario `json-schema-2020-12` expects."""

IN_HEADERS: dict[str, Any] = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "additionalProperties": False,
}
"""The schema for scenario `http-custom-header-server-validation`, with an argument that a header repeats."""


async def _echo(name: str = "", region: str = "") -> str:
    return f"{name}{region}"


def build_schema_tools() -> list[Tool]:
    """Build both tools."""
    schemas = {"json_schema_2020_12_tool": SCHEMA_2020_12, "test_in_headers": IN_HEADERS}
    plain = Tool.from_function(_echo, description="Returns its arguments.", structured_output=False)
    return [plain.model_copy(update={"name": name, "parameters": schema}) for name, schema in schemas.items()]
