"""Listed tools: schemas for every host, small, and the same as in the snapshots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from tests.conftest import ERAS, TOKEN, simulator_of, wall_clock
from tests.server.calls import call, order
from tests.server.declaring import APPS, declaring

from luma_mcp.catalog.models import ResolutionRow
from luma_mcp.catalog.useapi import MODELS, RESOLUTIONS, build_catalog
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mcp.types import Tool

    Connect = Callable[..., Client]

SNAPSHOTS = Path(__file__).parent / "snapshots"
LIST = {"type": "array", "items": {"type": "string"}}
ROOT_KEYS = {"type", "properties", "required", "additionalProperties"}
PROPERTY_KEYS = {"type", "enum", "default", "description", "minLength", "maxLength", "minimum", "maximum"}
TOOLS = ("generate_video", "get_job", "list_jobs", "delete_job", "list_options", "join_videos")
MAX_LISTING = 13_000
MAX_INPUTS = 6_000
APPS_TOOLS = ("add_picture", "upload_picture")
MAX_APPS_LISTING = 2_700
both_schemas = pytest.mark.parametrize("schema", ["portable", "exact"])
CREDENTIALS = {"useapi": {"USEAPI_TOKEN": TOKEN}, "agents": {"LUMA_AGENTS_API_KEY": "luma-api-4711"}}
of_both_apis = pytest.mark.parametrize("api", CREDENTIALS)


async def list_tools(client: Client) -> dict[str, Tool]:
    async with client:
        return {tool.name: tool for tool in (await client.list_tools()).tools}


def json_size(value: Any) -> int:
    """Get the size of a value as JSON in bytes."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def iterate_objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from iterate_objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from iterate_objects(value)


@pytest.mark.parametrize(("mode", "api"), [(ERAS[0], "useapi"), (ERAS[1], "useapi"), (ERAS[0], "agents")])
async def test_tools_match_the_snapshots(connect: Connect, mode: str, api: str) -> None:
    """To accept a change, run `make docs` and review the diff."""
    tools = await list_tools(connect(mode=mode, environment=CREDENTIALS[api]))
    folder: Path = SNAPSHOTS
    names: tuple[str, ...] = TOOLS
    if api == "agents":
        folder, names = SNAPSHOTS / api, tuple(name for name in TOOLS if name != "delete_job")
    assert tuple(tools) == names
    for name, tool in tools.items():
        snapshot = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        assert tool.model_dump(mode="json", by_alias=True, exclude_none=True) == snapshot


async def test_keyframes_are_flat_objects(connect: Connect) -> None:
    tools = await list_tools(connect(environment=CREDENTIALS["agents"]))
    schema = tools["generate_video"].input_schema
    assert schema.keys() == ROOT_KEYS
    kinds = {name: rule["type"] for name, rule in schema["properties"].items()}
    assert kinds.pop("keyframes") == "array"
    assert set(kinds.values()) == {"string", "integer", "boolean"}
    items = schema["properties"]["keyframes"]["items"]
    assert {name: rule["type"] for name, rule in items["properties"].items()} == {
        "image": "string",
        "seconds": "number",
    }


async def test_input_schemas_are_flat_and_typed(connect: Connect) -> None:
    for tool in (await list_tools(connect())).values():
        schema = tool.input_schema
        assert schema.keys() == ROOT_KEYS
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= schema["properties"].keys()
        for name, rule in schema["properties"].items():
            assert rule.keys() <= PROPERTY_KEYS | LIST.keys(), name
            is_list = rule.keys() == LIST.keys() | {"description"} and rule.items() >= LIST.items()
            assert rule["type"] in ("string", "integer", "number", "boolean") or is_list, name


async def test_no_default_makes_a_request_impossible(connect: Connect) -> None:
    """Some clients send every default: `resolution: draft` would exclude HDR, and `16:9` would crop a portrait."""
    properties = (await list_tools(connect()))["generate_video"].input_schema["properties"]
    assert {name: rule["default"] for name, rule in properties.items() if "default" in rule} == {"duration": "5s"}
    assert properties["aspect_ratio"]["description"] == "Width to height. If omitted, 16:9."
    assert "Omitted options are as in that video" in properties["image_start"]["description"]


@of_both_apis
@both_schemas
async def test_the_whole_listing_is_small(connect: Connect, schema: str, api: str) -> None:
    client = declaring(connect(environment=CREDENTIALS[api] | {"LUMA_MCP_SCHEMA": schema}), APPS)
    tools: list[dict[str, Any]] = []
    app_tools: list[dict[str, Any]] = []
    for name, tool in (await list_tools(client)).items():
        listing = app_tools if name in APPS_TOOLS else tools
        listing.append(tool.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert {"_meta", "icons"} <= tools[0].keys()
    assert json_size({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}) <= MAX_LISTING
    # Only clients that show apps get these, and their models see only the first one.
    assert json_size(app_tools) <= MAX_APPS_LISTING


@of_both_apis
@both_schemas
async def test_names_descriptions_and_inputs_are_small(connect: Connect, schema: str, api: str) -> None:
    tools = await list_tools(connect(environment=CREDENTIALS[api] | {"LUMA_MCP_SCHEMA": schema}))
    assert json_size([[tool.name, tool.description, tool.input_schema] for tool in tools.values()]) <= MAX_INPUTS


async def test_exact_schema_contains_the_rules(connect: Connect) -> None:
    schema = (await list_tools(connect(environment={"LUMA_MCP_SCHEMA": "exact"})))["generate_video"].input_schema
    Draft202012Validator.check_schema(schema)
    exact = Draft202012Validator(schema)
    assert exact.is_valid({"prompt": "A fox", "dynamic_range": "hdr", "wait_seconds": 0})
    assert not exact.is_valid({"prompt": "A fox", "dynamic_range": "hdr", "resolution": "draft"})
    assert not exact.is_valid({"prompt": "A fox", "image_character": "u1:a", "image_end": "u1:b"})


async def test_descriptions_state_the_rules(connect: Connect) -> None:
    properties = (await list_tools(connect()))["generate_video"].input_schema["properties"]
    descriptions = {name: rule["description"] for name, rule in properties.items()}
    limits = "ray-v3-reasoning: 720p, 1080p; hdr: 540p, 720p, 1080p; hdr_exr: 540p, 720p"
    assert limits in descriptions["resolution"]
    assert "hdr: 5s; hdr_exr: 5s" in descriptions["duration"]
    needs = "Only with model ray-v3 and dynamic_range sdr. Not with image_start or image_end."
    assert needs in descriptions["image_character"]


async def test_new_resolution_needs_one_row() -> None:
    uhd = ResolutionRow("2160p", ("sdr",), (300, 600), expensive=True)
    catalog = build_catalog(MODELS, (*RESOLUTIONS, uhd))
    simulator = simulator_of(catalog)
    settings = Settings.from_environment({"USEAPI_TOKEN": TOKEN, "LUMA_MCP_JOURNAL": "off", "LUMA_MCP_THUMBNAILS": "0"})
    server = build_server(settings, catalog=catalog, transport=httpx2.ASGITransport(simulator), wall_clock=wall_clock)
    async with Client(server, mode=ERAS[0]) as client:
        tools = {tool.name: tool.input_schema["properties"] for tool in (await client.list_tools()).tools}
        assert "2160p" in tools["generate_video"]["resolution"]["enum"]
        assert "2160p 450 s" in tools["generate_video"]["resolution"]["description"]
        assert "2160p" in tools["list_options"]["resolution"]["enum"]
        _, content = await order(client, resolution="2160")
        assert (content["request"]["resolution"], content["typical_seconds"]) == ("2160p", [300, 600])
        _, content = await order(client, resolution="4k", dynamic_range="hdr")
        assert content["error"]["suggestion"]["resolution"] == "1080p"
        text, content = await call(client, "list_options", resolution="2160p")
        assert content["allowed"]["dynamic_range"] == ["sdr"]
        assert "300 to 600" in text


async def test_output_schemas_cover_success_and_error(connect: Connect) -> None:
    for tool in (await list_tools(connect())).values():
        assert tool.output_schema is not None
        Draft202012Validator.check_schema(tool.output_schema)
        error = tool.output_schema["properties"]["error"]
        assert error["type"] == "object"
        # Errors of these tools may be about charges, so their schemas describe all fields.
        if tool.name in ("generate_video", "get_job"):
            names = {"kind", "message", "retry", "charged", "next_action", "next_step", "jobid"}
            assert error["properties"].keys() >= names
        for part in iterate_objects(tool.output_schema):
            assert not part.keys() & {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "if", "required"}


async def test_every_tool_has_a_title_and_all_hints(connect: Connect) -> None:
    hints = {}
    for name, tool in (await list_tools(connect())).items():
        assert tool.title
        given = tool.annotations
        assert given is not None
        hints[name] = (given.read_only_hint, given.destructive_hint, given.idempotent_hint, given.open_world_hint)
    assert hints == {
        "generate_video": (False, False, False, True),
        "get_job": (False, False, True, True),
        "list_jobs": (True, False, True, True),
        "delete_job": (False, True, True, True),
        "list_options": (True, False, True, True),
        "join_videos": (False, False, False, True),
    }


async def test_maximum_wait_is_the_setting(connect: Connect) -> None:
    tools = await list_tools(connect(environment={"LUMA_MCP_MAX_WAIT_SECONDS": "30"}))
    for name in ("generate_video", "get_job"):
        assert tools[name].input_schema["properties"]["wait_seconds"]["maximum"] == 30


async def test_instructions_are_short(connect: Connect) -> None:
    async with connect(mode="auto") as client:
        assert client.instructions is not None
        assert "get_job" in client.instructions
        assert len(client.instructions) < 1100
