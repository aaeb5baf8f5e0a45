"""What `tools/list` advertises: readable for every host, small, and what the snapshots say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from tests.conftest import ERAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mcp import Client
    from mcp.types import Tool

SNAPSHOTS = Path(__file__).parent / "snapshots"
ROOT_KEYS = {"type", "properties", "required", "additionalProperties"}
PROPERTY_KEYS = {
    "type",
    "enum",
    "default",
    "description",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
}
TOOLS = ("generate_video", "get_job", "list_jobs", "delete_job", "list_options")


async def listed(client: Client) -> dict[str, Tool]:
    async with client:
        return {tool.name: tool for tool in (await client.list_tools()).tools}


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


@pytest.mark.parametrize("mode", ERAS)
async def test_the_tools_are_those_of_the_snapshots(connect: Callable[..., Client], mode: str) -> None:
    """To accept a change: `make docs`, and read the difference."""
    tools = await listed(connect(mode=mode))
    assert tuple(tools) == TOOLS
    for name, tool in tools.items():
        snapshot = json.loads((SNAPSHOTS / f"{name}.json").read_text(encoding="utf-8"))
        assert tool.model_dump(mode="json", by_alias=True, exclude_none=True) == snapshot


async def test_input_schemas_have_nothing_that_a_host_trips_over(connect: Callable[..., Client]) -> None:
    for tool in (await listed(connect())).values():
        schema = tool.input_schema
        assert schema.keys() == ROOT_KEYS
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= schema["properties"].keys()
        for name, rule in schema["properties"].items():
            assert rule.keys() <= PROPERTY_KEYS, name
            assert rule["type"] in ("string", "integer", "boolean"), name


async def test_an_advertised_default_never_makes_a_request_impossible(connect: Callable[..., Client]) -> None:
    """Some clients send every default along; with `resolution: draft` an HDR order would then be refused."""
    properties = (await listed(connect()))["generate_video"].input_schema["properties"]
    assert {n: rule["default"] for n, rule in properties.items() if "default" in rule} == {
        "aspect_ratio": "16:9",
        "duration": "5s",
        "dynamic_range": "sdr",
    }


@pytest.mark.parametrize("schema", ["portable", "exact"])
async def test_names_descriptions_and_input_schemas_fit_into_6000_bytes(
    connect: Callable[..., Client], schema: str
) -> None:
    tools = await listed(connect(environment={"LUMA_MCP_SCHEMA": schema}))
    told = [[tool.name, tool.description, tool.input_schema] for tool in tools.values()]
    assert len(json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()) <= 6000


async def test_exact_advertises_a_schema_that_holds_the_rules(connect: Callable[..., Client]) -> None:
    schema = (await listed(connect(environment={"LUMA_MCP_SCHEMA": "exact"})))["generate_video"].input_schema
    Draft202012Validator.check_schema(schema)
    exact = Draft202012Validator(schema)
    assert exact.is_valid({"prompt": "A fox", "dynamic_range": "hdr", "wait_seconds": 0})
    assert not exact.is_valid({"prompt": "A fox", "dynamic_range": "hdr", "resolution": "draft"})
    assert not exact.is_valid({"prompt": "A fox", "image_character": "u1:a", "image_end": "u1:b"})


async def test_restrictions_per_model_are_told_in_the_descriptions(connect: Callable[..., Client]) -> None:
    properties = (await listed(connect()))["generate_video"].input_schema["properties"]
    assert (
        "ray-v3-reasoning: 720p, 1080p; hdr: 540p, 720p, 1080p; hdr_exr: 540p, 720p"
        in (properties["resolution"]["description"])
    )
    assert "hdr: 5s; hdr_exr: 5s" in properties["duration"]["description"]
    assert (
        "Only with model ray-v3 and dynamic_range sdr. Not with image_start or image_end."
        in (properties["image_character"]["description"])
    )


async def test_output_schemas_are_flat_unions_of_success_and_error(connect: Callable[..., Client]) -> None:
    for tool in (await listed(connect())).values():
        assert tool.output_schema is not None
        Draft202012Validator.check_schema(tool.output_schema)
        assert "error" in tool.output_schema["properties"]
        for part in objects(tool.output_schema):
            assert not part.keys() & {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "if"}


async def test_every_tool_has_a_title_and_all_four_hints(connect: Callable[..., Client]) -> None:
    hints = {}
    for name, tool in (await listed(connect())).items():
        assert tool.title
        given = tool.annotations
        assert given is not None
        hints[name] = (given.read_only_hint, given.destructive_hint, given.idempotent_hint, given.open_world_hint)
    assert hints == {
        "generate_video": (False, False, False, True),
        "get_job": (False, False, True, True),
        "list_jobs": (True, False, True, True),
        "delete_job": (False, True, True, True),
        "list_options": (True, False, True, False),
    }


async def test_the_longest_wait_is_the_operator_s(connect: Callable[..., Client]) -> None:
    tools = await listed(connect(environment={"LUMA_MCP_MAX_WAIT_SECONDS": "30"}))
    for name in ("generate_video", "get_job"):
        assert tools[name].input_schema["properties"]["wait_seconds"]["maximum"] == 30


async def test_the_server_introduces_itself_in_a_few_lines(connect: Callable[..., Client]) -> None:
    async with connect(mode="auto") as client:
        assert client.instructions is not None
        assert "get_job" in client.instructions
        assert len(client.instructions) < 700
