"""Every client gets the same video, and only the features that it declares."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.clock import pass_time
from tests.conftest import ERAS, TOKEN
from tests.results import read_result
from tests.server.calls import call, order
from tests.server.declaring import APPS, TASKS, call_raw, declaring, task_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client
    from mcp.client.session import ClientRequestContext
    from mcp.types import ElicitRequestParams, ElicitResult

    Server = Callable[..., Client]

PLAYER, PICTURE = "ui://luma-ray-mcp/player.html", "ui://luma-ray-mcp/picture.html"
DECLARED = {"nothing": (), "apps": (APPS,), "tasks": (TASKS,), "both": (APPS, TASKS)}
every_declaration = pytest.mark.parametrize("declared", DECLARED.values(), ids=DECLARED)
every_era = pytest.mark.parametrize("mode", ERAS)


async def fail_on_question(_: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    raise AssertionError(f"there must be no question: {params}")


def remove_differences(content: dict[str, Any]) -> dict[str, Any]:
    """Remove what differs between two jobs of the same request, and the outcome, which tasks lack."""
    removed = {
        "jobid",
        "created",
        "updated",
        "elapsed_seconds",
        "thumbnail_url",
        "last_frame_url",
        "outcome",
        "charged",
    }
    return {name: value for name, value in content.items() if name not in removed} | {
        "video": {name: value for name, value in content["video"].items() if name != "url"}
    }


async def make_video(client: Client, *, as_task: bool) -> dict[str, Any]:
    """Order a video and return its result, with or without a task."""
    ordered = await call_raw(client, "generate_video", prompt="A fox", wait_seconds=200)
    assert ordered.get("resultType", "complete") == ("task" if as_task else "complete")
    if not as_task:
        return ordered
    await pass_time(200)
    return dict((await task_request(client, "tasks/get", ordered["taskId"]))["result"])


@every_era
@every_declaration
@pytest.mark.parametrize("asks", [None, fail_on_question], ids=["no elicitation", "elicitation"])
async def test_every_client_gets_the_same_video(
    connect: Server, mode: str, declared: tuple[str, ...], asks: Any
) -> None:
    async with connect() as client:
        _, plain = await order(client, wait_seconds=200)
    async with declaring(connect(mode=mode), *declared, asks=asks) as client:
        result = await make_video(client, as_task=mode == ERAS[0] and TASKS in declared)
    assert result["isError"] is False
    content = result["structuredContent"]
    # The second video used credits as well.
    left = [each.pop("credits_left")[0]["left"] for each in (plain, content)]
    assert left[0] - left[1] == content["credits_used"]
    assert content.pop("cost") == plain.pop("cost").replace(f"{left[0]:g}", f"{left[1]:g}")
    assert remove_differences(content) == remove_differences(plain)
    [block] = result["content"]
    assert content["video"]["url"] in block["text"]


@every_era
@every_declaration
async def test_the_player_is_listed_for_clients_that_show_apps(
    connect: Server, mode: str, declared: tuple[str, ...]
) -> None:
    async with declaring(connect(mode=mode), *declared) as client:
        tools = {tool.name: tool.meta for tool in (await client.list_tools()).tools}
        uris = [resource.uri for resource in (await client.list_resources()).resources]
        templates = [template.uri_template for template in (await client.list_resource_templates()).resource_templates]
    with_player = [name for name, meta in tools.items() if meta == {"ui": {"resourceUri": PLAYER}}]
    assert with_player == (["generate_video", "get_job"] if APPS in declared else [])
    assert any(tools.values()) == (APPS in declared)
    assert [uri for uri in uris if uri.startswith("ui:")] == ([PLAYER, PICTURE] if APPS in declared else [])
    assert {"luma://options", "luma://schemas/generate_video", "luma://jobs"} <= set(uris)
    assert templates == ["luma://jobs/{jobid}", "luma://jobs/{jobid}/preview"]


@every_era
@pytest.mark.parametrize(
    "settings", [{}, {"mimeTypes": ["text/html"]}, {"mimeTypes": "text/html;profile=mcp-app"}], ids=repr
)
async def test_other_kinds_of_apps_do_not_count(connect: Server, mode: str, settings: dict[str, Any]) -> None:
    async with declaring(connect(mode=mode), APPS, settings=settings) as client:
        assert not any(tool.meta for tool in (await client.list_tools()).tools)
        assert PLAYER not in [resource.uri for resource in (await client.list_resources()).resources]


@every_era
async def test_the_player_names_the_domains_that_it_loads_from(connect: Server, mode: str) -> None:
    async with declaring(connect(mode=mode), APPS) as client:
        [page] = (await client.read_resource(PLAYER)).contents
        [listed] = [r for r in (await client.list_resources()).resources if r.uri == PLAYER]
    assert page.mime_type == listed.mime_type == "text/html;profile=mcp-app"
    for meta in (page.meta, listed.meta):
        assert meta is not None
        assert meta["ui"]["csp"]["resourceDomains"] == ["https://*.cdn-luma.com", "https://*.lumalabs.ai"]


@pytest.mark.parametrize(
    ("api", "environment"),
    [("useapi", {"USEAPI_TOKEN": TOKEN}), ("agents", {"LUMA_AGENTS_API_KEY": "luma-api-4711"})],
)
async def test_the_player_page_names_the_api(connect: Server, api: str, environment: dict[str, str]) -> None:
    async with declaring(connect(environment=environment), APPS) as client:
        [page] = (await client.read_resource(PLAYER)).contents
    assert f'<html lang="en" data-api="{api}" ' in page.model_dump()["text"]


@pytest.mark.parametrize("has_pyav", [True, False], ids=["with PyAV", "without PyAV"])
async def test_the_player_page_states_whether_there_are_previews(
    connect: Server, monkeypatch: pytest.MonkeyPatch, *, has_pyav: bool
) -> None:
    if has_pyav:
        pytest.importorskip("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    async with declaring(connect(), APPS) as client:
        [page] = (await client.read_resource(PLAYER)).contents
        templates = (await client.list_resource_templates()).resource_templates
    assert f'data-previews="{"yes" if has_pyav else "no"}">' in page.model_dump()["text"]
    assert any(each.uri_template.endswith("/preview") for each in templates) == has_pyav


@every_era
@pytest.mark.parametrize(
    ("tool", "declared"),
    [("generate_video", ()), ("generate_video", (APPS,)), *(("get_job", d) for d in DECLARED.values())],
    ids=lambda value: value if isinstance(value, str) else "+".join(value) or "nothing",
)
async def test_the_next_step_mentions_the_player_that_is_shown(
    connect: Server, mode: str, tool: str, declared: tuple[str, ...]
) -> None:
    async with connect() as client:
        _, ordered = await order(client)
    arguments = {"jobid": ordered["jobid"]} if tool == "get_job" else {"prompt": "A cat"}
    async with declaring(connect(mode=mode), *declared) as client:
        text, content = read_result(await client.call_tool(tool, {**arguments, "wait_seconds": 0}))
    assert ("player" in text, "player" in content["next_step"]) == ((APPS in declared,) * 2)
    assert content["next_step"] in text
    assert "get_job" in content["next_step"]
    assert json.dumps(content["jobid"]) in content["next_step"]


@every_era
@pytest.mark.parametrize(
    ("resolution", "low", "high"), [("draft", 30, 60), ("540p", 68, 112), ("1080p", 135, 225)], ids=str
)
async def test_only_a_running_job_has_typical_seconds(
    connect: Server, *, mode: str, resolution: str, low: int, high: int
) -> None:
    async with connect(mode=mode) as client:
        _, running = await order(client, resolution=resolution)
        _, polled = await call(client, "get_job", jobid=running["jobid"], wait_seconds=0)
        _, done = await call(client, "get_job", jobid=running["jobid"], wait_seconds=300)
    assert running["typical_seconds"] == polled["typical_seconds"] == [low, high]
    assert (done["state"], "typical_seconds" in done) == ("completed", False)
