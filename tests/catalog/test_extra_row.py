"""A new model or resolution is one row. Everything derived from the catalog works with one more of each.

`ray-v4` behaves like `ray-v3` and `2160p` like `1080p`, so the tests' own table still defines what is valid.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import product
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.types import ElicitRequestParams, ElicitResult, TextContent
from scripts.generating.blocks import matrix_block
from scripts.generating.literal_types import with_literal_types
from scripts.generating.player_table import player_table
from tests import table
from tests.conftest import EMAIL, IN_MEMORY, TOKEN, resolve, simulator_of, wall_clock

from luma_mcp.api.protocol import VideoRequest
from luma_mcp.api.useapi.client import LumaClient
from luma_mcp.catalog.models import Catalog, implications
from luma_mcp.catalog.useapi import MODELS, RESOLUTIONS, build_catalog
from luma_mcp.catalog.validate import validate
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings
from luma_mcp.simulator.app import Simulator, new_simulator

NEW_MODEL = replace(MODELS[1], name="ray-v4", about="newer than the full model")
NEW_RESOLUTION = replace(RESOLUTIONS[-1], name="2160p", typical_seconds=(270, 450))
CATALOG = build_catalog(models=(*MODELS, NEW_MODEL), resolutions=(*RESOLUTIONS, NEW_RESOLUTION))
BEHAVES_AS = {"ray-v4": "ray-v3", "2160p": "1080p"}
ORDER = {"prompt": "A fox in the snow", "model": "ray-v4", "resolution": "2160p", "wait_seconds": 600}


def is_valid(request: dict[str, str]) -> bool:
    return table.is_valid({name: BEHAVES_AS.get(value, value) for name, value in request.items()})


def list_requests(images: dict[str, str], model: str) -> list[dict[str, str]]:
    """List every request of a model at one aspect ratio, because no rule depends on it."""
    requests = []
    for values in product([model], (*table.RESOLUTIONS, "2160p"), table.DURATIONS, table.DYNAMIC_RANGES):
        names = ("model", "resolution", "duration", "dynamic_range")
        for flags in product((False, True), repeat=len(images)):
            given = {name: images[name] for name, flag in zip(images, flags, strict=True) if flag}
            requests.append(
                {"prompt": "A fox", "aspect_ratio": "1:1", **dict(zip(names, values, strict=True)), **given}
            )
    return requests


def connect(simulator: Simulator | None = None, *, elicitation: Any = None, **environment: str) -> Client:
    """Build an MCP client of a server with the extended catalog."""
    simulated = simulator or simulator_of(CATALOG)
    settings = Settings.from_environment(IN_MEMORY | {"USEAPI_TOKEN": TOKEN} | environment)
    server = build_server(
        settings,
        catalog=CATALOG,
        transport=httpx2.ASGITransport(simulated),
        resolve=resolve,
        wall_clock=wall_clock,
    )
    return Client(server, elicitation_callback=elicitation)


async def call(client: Client, tool: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    result = await client.call_tool(tool, arguments)
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    return "\n".join(texts), result.structured_content or {}


async def get_input_schema(client: Client) -> dict[str, Any]:
    tools = (await client.list_tools()).tools
    [schema] = [tool.input_schema for tool in tools if tool.name == "generate_video"]
    return schema


# According to the page's table with one more resolution.
VALID_OF = {"ray-v4": 74, "ray-v3-flash": 64, "ray-v3": 74, "ray-v3-reasoning": 40}


def test_all_models_are_covered() -> None:
    assert set(VALID_OF) == {*table.MODELS, "ray-v4"}
    assert len(CATALOG.combinations) == sum(VALID_OF.values()) * len(table.ASPECT_RATIOS)


@pytest.mark.sample(1)
@pytest.mark.parametrize("model", VALID_OF)
async def test_all_validators_agree_on_every_request(model: str) -> None:
    simulator = simulator_of(CATALOG)
    simulator.service.accounts[EMAIL].concurrency = 10_000
    images = {name: simulator.service.add_asset(EMAIL) for name in table.IMAGES}
    async with connect(LUMA_MCP_SCHEMA="exact") as client:
        exact = Draft202012Validator(await get_input_schema(client))
    counts = {True: 0, False: 0}
    for request in list_requests(images, model):
        valid = is_valid(request)
        counts[valid] += 1
        validation = validate(CATALOG, request)
        status, _ = simulator.service.submit({CATALOG.params[name].api_name: value for name, value in request.items()})
        assert (not validation.problems, exact.is_valid(request), status == 200) == (valid, valid, valid), request
        assert validation.nearest is not None
        assert is_valid(validation.nearest), request
    assert counts == {True: VALID_OF[model], False: 240 - VALID_OF[model]}


@pytest.mark.parametrize(
    ("name", "text", "nearest"),
    [
        ("resolution", "4k", "2160p"),
        ("resolution", "UHD", "2160p"),
        ("resolution", "8k", "2160p"),
        ("resolution", "3840x2160", "2160p"),
        ("resolution", "2k", "1080p"),
        ("resolution", "Full HD", "1080p"),
        ("model", "ray-v4-flash", "ray-v3-flash"),
        ("model", "Ray v4", "ray-v4"),
    ],
)
def test_suggestions_include_the_new_values(name: str, text: str, nearest: str) -> None:
    validation = validate(CATALOG, {"prompt": "A fox", name: text})
    assert validation.nearest is not None
    assert validation.nearest[name] == nearest


def test_conflicts_suggest_the_new_values() -> None:
    [problem] = validate(CATALOG, {"prompt": "A fox", "model": "ray-v3-reasoning", "resolution": "540p"}).problems
    assert problem.allowed == ("720p", "1080p", "2160p")
    [problem] = validate(CATALOG, {"prompt": "A fox", "model": "ray-v3-flash", "image_character": "u1:a"}).problems
    assert problem.allowed == ("ray-v3", "ray-v4")


def complete(**params: str) -> dict[str, str]:
    return validate(CATALOG, {"prompt": "A fox", **params}).nearest or {}


def test_new_values_are_never_the_cheapest() -> None:
    assert complete(model="ray-v4")["resolution"] == "draft"
    assert complete(resolution="2160p")["model"] == "ray-v3-flash"
    assert complete(image_character="u1:a")["model"] == "ray-v3"


def test_rules_include_the_new_values() -> None:
    values = {(rule.when, rule.name): rule.values for rule in implications(CATALOG)}
    assert values[(("image_character", True),), "model"] == ("ray-v3", "ray-v4")
    assert values[(("model", "ray-v3-reasoning"),), "resolution"] == ("720p", "1080p", "2160p")
    assert values[(("dynamic_range", "hdr_exr"),), "resolution"] == ("540p", "720p")


async def test_portable_schema_lists_the_new_values() -> None:
    async with connect() as client:
        properties = (await get_input_schema(client))["properties"]
    assert properties["model"]["enum"] == [*table.MODELS, "ray-v4"]
    assert properties["resolution"]["enum"] == [*table.RESOLUTIONS, "2160p"]
    assert "ray-v4: newer than the full model." in properties["model"]["description"]
    assert "2160p 360 s" in properties["resolution"]["description"]
    assert "ray-v3 or ray-v4" in properties["image_character"]["description"]


async def test_video_is_made_with_the_new_values() -> None:
    simulator = simulator_of(CATALOG)
    async with connect(simulator) as client:
        text, content = await call(client, "generate_video", ORDER)
        jobid = content["jobid"]
        _, listed = await call(client, "list_jobs", {})
    [order] = simulator.orders
    assert (order["model"], order["resolution"]) == ("ray-v4", "2160p")
    assert content["state"] == "completed"
    assert content["request"].items() >= {"model": "ray-v4", "resolution": "2160p"}.items()
    assert content["video"]["plays_in_browser"] is True
    assert content["video"]["url"] in text
    # Three times the invented price of 1080p.
    assert content["credits_used"] == 900
    assert 270 <= content["elapsed_seconds"] <= 460
    assert [job["jobid"] for job in listed["jobs"]] == [jobid]


async def test_running_job_has_the_new_typical_time() -> None:
    async with connect() as client:
        _, content = await call(client, "generate_video", ORDER | {"wait_seconds": 0})
    assert (content["state"], content["typical_seconds"]) == ("running", [270, 450])


async def test_rejection_suggests_the_new_resolution() -> None:
    simulator = simulator_of(CATALOG)
    async with connect(simulator) as client:
        _, content = await call(client, "generate_video", ORDER | {"resolution": "4K"})
    assert content["error"]["suggestion"]["resolution"] == "2160p"
    assert simulator.orders == []


async def test_list_options_lists_the_new_values() -> None:
    async with connect() as client:
        text, content = await call(client, "list_options", {"resolution": "2160p"})
    models = {model["name"]: model["dynamic_ranges"] for model in content["models"]}
    assert models["ray-v4"]["sdr"]["resolutions"] == [*table.RESOLUTIONS, "2160p"]
    assert models["ray-v3-reasoning"]["hdr"]["resolutions"] == ["720p", "1080p", "2160p"]
    assert content["typical_seconds"]["2160p"] == [270, 450]
    assert content["allowed"]["dynamic_range"] == ["sdr", "hdr"]
    assert "ray-v4" in text
    assert "270 to 450" in text


async def test_expensive_resolution_needs_a_confirmation() -> None:
    questions: list[str] = []

    async def decline(_: Any, params: ElicitRequestParams) -> ElicitResult:
        questions.append(params.message)
        return ElicitResult(action="decline")

    simulator = simulator_of(CATALOG)
    async with connect(simulator, elicitation=decline, LUMA_MCP_CONFIRM="expensive") as client:
        await call(client, "generate_video", ORDER)
    assert len(questions) == 1
    assert "2160p" in questions[0]
    assert simulator.orders == []


async def test_prompts_offer_the_new_values() -> None:
    async with connect() as client:
        prompts = (await client.list_prompts()).prompts
    described = {argument.name: argument.description or "" for argument in prompts[0].arguments or []}
    assert "2160p" in described["resolution"]
    assert "ray-v4" in described["model"]


async def test_client_library_accepts_the_catalog() -> None:
    simulator = simulator_of(CATALOG)
    luma = LumaClient(TOKEN, transport=httpx2.ASGITransport(simulator), wall_clock=wall_clock, catalog=CATALOG)
    params = {"prompt": "A fox", "model": "ray-v4", "image_character": simulator.service.add_asset(EMAIL)}
    job = await luma.submit(VideoRequest.from_params(params))
    await luma.aclose()
    assert job.request is not None
    assert job.request.to_dict().items() >= {"model": "ray-v4", "resolution": "draft"}.items()


def test_documents_list_the_new_values() -> None:
    block = matrix_block(CATALOG)
    assert re.search(r"\| +\| ray-v3-flash +\| ray-v3 +\| ray-v3-reasoning +\| ray-v4 +\|", block)
    assert "draft 540p 720p 1080p 2160p, 5s 10s" in block
    assert "270 to 450" in block


def read_player_table(catalog: Catalog) -> dict[str, Any]:
    """Read the player's facts about an API, one per line."""
    facts = re.findall(r'^ {4}"(\w+)": (.*),$', player_table([catalog]), re.MULTILINE)
    return {name: json.loads(value) for name, value in facts}


def test_player_table_contains_the_new_values() -> None:
    table_of = read_player_table(CATALOG)
    assert table_of["typical"]["2160p"] == [270, 450]
    cheapest = table_of["cheapest"]
    assert (cheapest["ray-v4 sdr"], cheapest["ray-v4 hdr"]) == ("draft", "540p")


def test_literal_types_contain_the_new_values() -> None:
    source = (
        "# Types written by a tool.\nModelName = Literal[]\n# End of the written types.\nDuration = Literal['5s']\n"
    )
    written = with_literal_types(source, CATALOG)
    assert 'ModelName = Literal["ray-v3-flash", "ray-v3", "ray-v3-reasoning", "ray-v4"]' in written
    assert 'Resolution = Literal["draft", "540p", "720p", "1080p", "2160p"]' in written
    assert written.endswith("# End of the written types.\nDuration = Literal['5s']\n")
    with pytest.raises(ValueError, match="0 blocks"):
        with_literal_types("nothing", CATALOG)


def test_simulator_accepts_the_catalog() -> None:
    assert new_simulator(catalog=CATALOG).service.catalog is CATALOG
