"""The second catalog with one more row of each kind. Everything derived from it has the new values and prices.

`ray-4` behaves like `ray-3.2`, and `2160p` like `1080p` at another price, so the tests' own table is still valid.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.types import ElicitResult
from scripts.generating.blocks import matrix_block
from scripts.generating.literal_types import with_literal_types
from tests import table_agents
from tests.catalog.test_extra_row import call, get_input_schema, read_player_table
from tests.conftest import IN_MEMORY, TOKEN, resolve, simulator_of, wall_clock

from luma_mcp.api.agents.client import AgentsClient
from luma_mcp.api.protocol import VideoRequest
from luma_mcp.catalog.agents import MODELS, RESOLUTIONS, build_catalog
from luma_mcp.catalog.models import implications
from luma_mcp.catalog.validate import validate
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from mcp.types import ElicitRequestParams

    from luma_mcp.simulator.app import Simulator

NEW_MODEL = replace(MODELS[0], name="ray-4", about="newer")
NEW_RESOLUTION = replace(RESOLUTIONS[-1], name="2160p", typical_seconds=(120, 480), dollars=4.8)
CATALOG = build_catalog(models=(*MODELS, NEW_MODEL), resolutions=(*RESOLUTIONS, NEW_RESOLUTION))
KEY = "luma-api-4711-very-secret"
BEHAVES_AS = {"ray-4": "ray-3.2", "2160p": "1080p"}
INPUTS = {"image_start": "a.png", "image_end": "b.png", "loop": True, "extend": "2f6c0c1a"}
INPUTS["keyframes"] = [{"image": "a.png", "seconds": 7}]
ORDER = {"prompt": "A fox in the snow", "model": "ray-4", "resolution": "2160p", "wait_seconds": 600}


def is_valid(request: dict[str, Any]) -> bool:
    equivalent = {name: BEHAVES_AS.get(value, value) for name, value in request.items() if isinstance(value, str)}
    return table_agents.is_valid(request | equivalent)


def connect(simulator: Simulator | None = None, *, elicitation: Any = None, **environment: str) -> Client:
    """Build an MCP client of a server with the extended catalog."""
    simulated = simulator or simulator_of(CATALOG)
    simulated.token = KEY
    settings = Settings.from_environment(IN_MEMORY | {"LUMA_AGENTS_API_KEY": KEY} | environment)
    transport = httpx2.ASGITransport(simulated)
    server = build_server(settings, catalog=CATALOG, transport=transport, resolve=resolve, wall_clock=wall_clock)
    return Client(server, elicitation_callback=elicitation)


@pytest.mark.parametrize("new", [{"model": "ray-4"}, {"resolution": "2160p"}])
def test_new_values_are_valid_in_the_same_requests(new: dict[str, str]) -> None:
    [behaves_as] = [BEHAVES_AS[value] for value in new.values()]
    for request in table_agents.full_product(INPUTS):
        if request["aspect_ratio"] != "1:1" or behaves_as not in request.values():
            continue
        changed = request | new
        validation = validate(CATALOG, changed)
        assert (not validation.problems) == is_valid(changed), changed
        assert validation.nearest is not None
        assert is_valid(validation.nearest), changed


async def test_schemas_have_the_new_values() -> None:
    async with connect(LUMA_MCP_SCHEMA="exact") as client:
        exact = Draft202012Validator(await get_input_schema(client))
    assert exact.is_valid({"prompt": "A fox", "model": "ray-4", "resolution": "2160p", "dynamic_range": "hdr"})
    assert not exact.is_valid({"prompt": "A fox", "resolution": "2160p", "dynamic_range": "hdr", "duration": "10s"})
    async with connect() as client:
        properties = (await get_input_schema(client))["properties"]
    assert properties["model"]["enum"] == ["ray-3.2", "ray-4"]
    assert properties["resolution"]["enum"] == [*table_agents.RESOLUTIONS, "2160p"]
    assert "2160p 300 s" in properties["resolution"]["description"]


def test_rules_and_defaults_have_the_new_values() -> None:
    values = {(rule.when, rule.name): rule.values for rule in implications(CATALOG)}
    assert values[(("extend", True),), "resolution"] == ("540p", "720p", "1080p", "2160p")
    assert values[(("dynamic_range", "hdr"),), "resolution"] == ("720p", "1080p", "2160p")
    nearest = validate(CATALOG, {"prompt": "A fox", "resolution": "2160p"}).nearest or {}
    assert nearest["model"] == "ray-3.2"
    nearest = validate(CATALOG, {"prompt": "A fox", "resolution": "4k"}).nearest or {}
    assert nearest["resolution"] == "2160p"


async def test_video_is_made_with_the_new_values_at_their_price() -> None:
    simulator = simulator_of(CATALOG)
    async with connect(simulator) as client:
        text, content = await call(client, "generate_video", ORDER)
    [order] = simulator.orders
    assert (order["model"], order["video"]["resolution"]) == ("ray-4", "2160p")
    assert content["state"] == "completed"
    assert content["request"].items() >= {"model": "ray-4", "resolution": "2160p"}.items()
    assert content["price"] == 4.8
    assert "$4.80" in text


async def test_list_options_has_the_new_prices() -> None:
    async with connect() as client:
        text, content = await call(client, "list_options", {"resolution": "2160p"})
    assert content["typical_seconds"]["2160p"] == [120, 480]
    assert {4.8, 14.4, 9.6} <= set(content["prices"].values())
    assert "$14.40" in text


async def test_expensive_resolution_needs_a_confirmation_with_its_price() -> None:
    questions: list[str] = []

    async def decline(_: Any, params: ElicitRequestParams) -> ElicitResult:
        questions.append(params.message)
        return ElicitResult(action="decline")

    simulator = simulator_of(CATALOG)
    async with connect(simulator, elicitation=decline, LUMA_MCP_CONFIRM="expensive") as client:
        await call(client, "generate_video", ORDER)
    assert len(questions) == 1
    assert "2160p" in questions[0]
    assert "$4.80" in questions[0]
    assert simulator.orders == []


async def test_client_library_accepts_the_catalog() -> None:
    transport = httpx2.ASGITransport(simulator_of(CATALOG))
    luma = AgentsClient(TOKEN, transport=transport, wall_clock=wall_clock, catalog=CATALOG)
    job = await luma.submit(VideoRequest.from_params({"prompt": "A fox", "model": "ray-4", "resolution": "2160p"}))
    await luma.aclose()
    assert job.request is not None
    assert job.request.to_dict().items() >= {"model": "ray-4", "resolution": "2160p"}.items()


def test_documents_types_and_the_player_have_the_new_values() -> None:
    block = matrix_block(CATALOG)
    assert "| ray-4 " in block
    assert "360p 540p 720p 1080p 2160p, 5s 10s" in block
    assert "| 2160p      | $4.80  | $14.40  | $9.60  | $14.40     |" in block
    assert read_player_table(CATALOG)["typical"]["2160p"] == [120, 480]
    assert read_player_table(CATALOG)["cheapest"]["ray-4 hdr"] == "720p"
    source = "# Types written by a tool.\n# End of the written types.\n"
    assert 'ModelName = Literal["ray-3.2", "ray-4"]' in with_literal_types(source, CATALOG)
