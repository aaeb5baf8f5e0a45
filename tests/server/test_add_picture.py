"""`add_picture` opens the panel for a picture, only in clients that show apps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import BOTH_APIS, EMAIL, ERAS
from tests.results import read_result
from tests.server.calls import order_error
from tests.server.declaring import APPS, TASKS, call_raw, declaring, request_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    Server = Callable[..., Client]

PAGE = "ui://luma-ray-mcp/picture.html"
TOOLS = ("add_picture", "upload_picture")
SNAPSHOTS = Path(__file__).parent / "snapshots" / "apps"
USES = {
    "useapi": ["image_start", "image_end", "image_character"],
    "agents": ["image_start", "image_end"],
}
EXPIRED = {
    "useapi": f"u12345-email:{EMAIL}-image:00000000-0000-4000-8000-000000000000",
    "agents": "00000000-0000-4000-8000-000000000000",
}
RATIOS = {"1:1", "3:4", "4:3", "9:16", "16:9", "21:9"}
every_era = pytest.mark.parametrize("mode", ERAS)
without_apps = pytest.mark.parametrize("declared", [(), (TASKS,)], ids=["nothing", "tasks"])


async def open_panel(client: Client, **arguments: Any) -> dict[str, Any]:
    """Call `add_picture` and return its structured content."""
    result = await client.call_tool("add_picture", arguments)
    assert not result.is_error, result.content
    return read_result(result)[1]


async def open_panel_error(client: Client, **arguments: Any) -> dict[str, Any]:
    """Call `add_picture` and return its error."""
    result = await client.call_tool("add_picture", arguments)
    assert result.is_error
    error: dict[str, Any] = read_result(result)[1]["error"]
    return error


@every_era
async def test_the_tools_match_the_snapshots(connect: Server, mode: str) -> None:
    """To accept a change, run `make docs` and review the diff."""
    async with declaring(connect(mode=mode), APPS) as client:
        tools = (await client.list_tools()).tools
    assert tuple(tool.name for tool in tools[-2:]) == TOOLS
    for tool in tools[-2:]:
        snapshot = json.loads((SNAPSHOTS / f"{tool.name}.json").read_text(encoding="utf-8"))
        assert tool.model_dump(mode="json", by_alias=True, exclude_none=True) == snapshot


@every_era
async def test_the_upload_tool_is_visible_only_to_the_page(connect: Server, mode: str) -> None:
    async with declaring(connect(mode=mode), APPS) as client:
        tools = {tool.name: tool.meta for tool in (await client.list_tools()).tools}
    assert tools["add_picture"] == {"ui": {"resourceUri": PAGE}}
    assert tools["upload_picture"] == {"ui": {"visibility": ["app"]}}


@BOTH_APIS
@every_era
@without_apps
async def test_other_clients_do_not_see_the_tools(connect: Server, mode: str, declared: tuple[str, ...]) -> None:
    async with declaring(connect(mode=mode), *declared) as client:
        listing = await request_raw(client, "tools/list")
        resources = await request_raw(client, "resources/list")
    text = json.dumps([listing, resources])
    for hidden in ("_meta", "add_picture", "upload_picture", "picture.html", "panel"):
        assert hidden not in text


@every_era
@without_apps
@pytest.mark.parametrize("tool", TOOLS)
async def test_other_clients_get_an_unknown_tool_error(
    connect: Server, mode: str, declared: tuple[str, ...], tool: str
) -> None:
    arguments = {"upload": "a" * 32, "offset": 0, "data": ""}
    async with declaring(connect(mode=mode), *declared) as client:
        answer = await call_raw(client, tool, **arguments)
        unknown = await call_raw(client, "no_such_tool", **arguments)
    assert answer["isError"] is True
    assert json.loads(json.dumps(unknown).replace("no_such_tool", tool)) == answer


@BOTH_APIS
@every_era
async def test_the_panel_gets_its_options_from_the_catalog(connect: Server, api: str, mode: str) -> None:
    async with declaring(connect(mode=mode), APPS) as client:
        content = await open_panel(client)
    assert content["state"] == "waiting_for_user"
    assert [use["parameter"] for use in content["uses"]] == USES[api]
    assert all(use["title"] for use in content["uses"])
    # Frames get the shape of the clip; a character does not.
    assert [use["is_frame"] for use in content["uses"]] == [True, True, False][: len(USES[api])]
    assert content["use_as"] == "image_start"
    assert set(content["aspect_ratios"]) == RATIOS
    assert (content["largest_bytes"], content["part_bytes"]) == (20_000_000, 393_216)
    assert content.keys().isdisjoint({"aspect_ratio", "account"})
    assert content["next_action"] == "none"


async def test_the_next_step_says_that_there_is_nothing_to_poll(connect: Server) -> None:
    async with declaring(connect(), APPS) as client:
        result = await client.call_tool("add_picture", {})
    text, content = read_result(result)
    assert content["next_step"] in text
    assert "next message" in content["next_step"]
    assert "nothing to poll" in content["next_step"]


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        ({"use_as": "image_character"}, {"use_as": "image_character"}),
        ({"aspect_ratio": "9x16"}, {"aspect_ratio": "9:16"}),
        ({"useAs": "image_end", "aspectRatio": "1:1"}, {"use_as": "image_end", "aspect_ratio": "1:1"}),
        ({"email": "studio@example.com"}, {"account": "studio@example.com"}),
    ],
    ids=str,
)
async def test_the_values_of_the_agent_are_preselected(
    connect: Server, arguments: dict[str, str], chosen: dict[str, str]
) -> None:
    async with declaring(connect(), APPS) as client:
        content = await open_panel(client, **arguments)
    assert chosen.items() <= content.items()


@every_era
@pytest.mark.parametrize("declared", [(), (APPS,)], ids=["nothing", "apps"])
@pytest.mark.parametrize("value", ["sandbox:/mnt/data/fox.png", "attachment://fox.png", "/no/such/fox.png"])
async def test_the_panel_is_offered_for_an_inaccessible_picture(
    connect: Server, mode: str, declared: tuple[str, ...], value: str
) -> None:
    """Only clients that show apps get the offer."""
    async with declaring(connect(mode=mode), *declared) as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "image_start": value})
    text, content = read_result(result)
    assert ("add_picture" in text) == ("add_picture" in content["error"]["next_step"]) == (APPS in declared)
    assert "another picture" in content["error"]["next_step"]


@BOTH_APIS
@pytest.mark.parametrize("declared", [(), (APPS,)], ids=["nothing", "apps"])
async def test_the_panel_is_offered_for_an_expired_picture(
    connect: Server, api: str, declared: tuple[str, ...]
) -> None:
    """The agent has only the reference of the picture."""
    async with declaring(connect(), *declared) as client:
        error = await order_error(client, image_start=EXPIRED[api])
    assert error["charged"] == "no"
    assert ("call add_picture" in error["next_step"]) == (APPS in declared)


@pytest.mark.parametrize(
    ("arguments", "field", "allowed"),
    [
        ({"use_as": "image_middle"}, "use_as", USES["useapi"]),
        ({"aspect_ratio": "2:1"}, "aspect_ratio", ["9:16", "3:4", "1:1", "4:3", "16:9", "21:9"]),
        ({"use_as": 7}, "use_as", USES["useapi"]),
        ({"use_as": ["image_start"]}, "use_as", USES["useapi"]),
        ({"email": "no address"}, "email", None),
        ({"prompt": "A fox"}, "prompt", None),
    ],
    ids=str,
)
async def test_invalid_values_are_rejected_with_the_valid_ones(
    connect: Server, arguments: dict[str, Any], field: str, allowed: list[str] | None
) -> None:
    async with declaring(connect(), APPS) as client:
        error = await open_panel_error(client, **arguments)
    [problem] = error["problems"]
    assert (error["kind"], problem["field"], problem.get("allowed")) == ("invalid_arguments", field, allowed)


@pytest.mark.parametrize("api", ["agents"])
@pytest.mark.parametrize("arguments", [{"use_as": "image_character"}, {"email": "studio@example.com"}], ids=str)
async def test_features_that_the_api_lacks_are_rejected(connect: Server, arguments: dict[str, str]) -> None:
    async with declaring(connect(), APPS) as client:
        error = await open_panel_error(client, **arguments)
    assert [problem["field"] for problem in error["problems"]] == list(arguments)


async def test_without_a_credential_there_is_no_panel(connect: Server) -> None:
    async with declaring(connect(environment={}), APPS) as client:
        error = await open_panel_error(client)
    assert error["kind"] == "not_configured"


async def test_nothing_is_sent_to_the_api(connect: Server, simulator: Any) -> None:
    async with declaring(connect(), APPS) as client:
        await open_panel(client)
    assert simulator.requests == {}


@every_era
async def test_the_page_loads_no_external_resources(connect: Server, mode: str) -> None:
    async with declaring(connect(mode=mode), APPS) as client:
        [page] = (await client.read_resource(PAGE)).contents
        [listed] = [each for each in (await client.list_resources()).resources if each.uri == PAGE]
    for meta in (page.meta, listed.meta):
        assert meta is not None
        assert meta["ui"]["csp"] == {"resourceDomains": []}
    assert page.mime_type == listed.mime_type == "text/html;profile=mcp-app"
    assert 'data-api="useapi"' in page.model_dump()["text"]


@pytest.mark.parametrize("api", ["agents"])
async def test_the_page_names_the_api(connect: Server) -> None:
    async with declaring(connect(), APPS) as client:
        [page] = (await client.read_resource(PAGE)).contents
    assert 'data-api="agents"' in page.model_dump()["text"]


async def test_parts_fit_into_the_maximum_request_size(connect: Server) -> None:
    credential = {"USEAPI_TOKEN": "user:4711-very-secret-token"}
    async with declaring(connect(environment={**credential, "LUMA_MCP_MAX_BODY_BYTES": "100000"}), APPS) as client:
        content = await open_panel(client)
    # A part is sent as base64, with other arguments around it.
    assert content["part_bytes"] * 4 / 3 < 100_000 - 2000
    assert content["part_bytes"] > 50_000
