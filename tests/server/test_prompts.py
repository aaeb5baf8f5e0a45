"""Prompts for users: their arguments and texts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from mcp.shared.exceptions import MCPError
from tests import table
from tests.conftest import ERAS
from tests.server.declaring import request_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    Server = Callable[..., Client]

REQUIRED = {"make_video": "idea", "animate_picture": "picture", "continue_clip": "jobid", "short_film": "story"}
ARGUMENTS = {
    "make_video": {"idea": "A fox finds a red kite"},
    "animate_picture": {"picture": "/pictures/fox.png", "motion": "It turns its head"},
    "continue_clip": {"jobid": "j1v-u1-email:a@example.com-bot:luma", "next": "It runs into the woods"},
    "short_film": {"story": "A fox comes home", "shots": "4", "look": "Grainy, cold light", "character": "fox.png"},
}
OPTIONS = {
    "model": table.MODELS,
    "resolution": table.RESOLUTIONS,
    "aspect_ratio": table.ASPECT_RATIOS,
    "duration": table.DURATIONS,
    "dynamic_range": table.DYNAMIC_RANGES,
}
every_prompt = pytest.mark.parametrize("name", REQUIRED)


@pytest.fixture(params=ERAS)
def client(request: pytest.FixtureRequest, connect: Server) -> Client:
    return connect(mode=request.param)


async def render(client: Client, prompt: str, /, **arguments: str) -> str:
    """Get the text of the only message of a prompt."""
    [message] = (await client.get_prompt(prompt, arguments)).messages
    assert message.role == "user"
    assert message.content.type == "text"
    return message.content.text


def options_of(prompt: str) -> list[str]:
    """Get the options of a prompt. A film has none for the duration, because its shots differ."""
    return [name for name in OPTIONS if (prompt, name) != ("short_film", "duration")]


async def test_the_list_names_arguments_and_values(client: Client) -> None:
    async with client:
        prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
    assert list(prompts) == list(REQUIRED)
    for name, prompt in prompts.items():
        assert prompt.title
        assert prompt.description
        arguments = {argument.name: argument for argument in prompt.arguments or []}
        assert [a for a, argument in arguments.items() if argument.required] == [REQUIRED[name]]
        assert list(arguments) == [*ARGUMENTS[name], *options_of(name)]
        for option in options_of(name):
            assert all(value in (arguments[option].description or "") for value in OPTIONS[option])


@every_prompt
async def test_arguments_are_quoted_verbatim(client: Client, name: str) -> None:
    async with client:
        text = await render(client, name, **ARGUMENTS[name])
    assert all(value in text for value in ARGUMENTS[name].values())


@every_prompt
async def test_the_required_argument_is_sufficient(client: Client, name: str) -> None:
    async with client:
        text = await render(client, name, **{REQUIRED[name]: "what it needs"})
        empty = {argument: " " for argument in ARGUMENTS[name] if argument != REQUIRED[name]} | {"resolution": ""}
        assert await render(client, name, **{REQUIRED[name]: "what it needs"}, **empty) == text
    assert "what it needs" in text
    assert "None" not in text
    assert "Leave out the options that I did not ask for." in text


@every_prompt
@pytest.mark.parametrize("given", [{}, {"resolution": "720p"}], ids=["nothing", "another"])
async def test_a_missing_argument_is_named(client: Client, name: str, given: dict[str, str]) -> None:
    async with client:
        with pytest.raises(MCPError, match=REQUIRED[name]) as rejected:
            await render(client, name, **given)
    assert rejected.value.code == -32602


@every_prompt
@pytest.mark.parametrize("option", OPTIONS)
async def test_every_option_is_included(client: Client, name: str, option: str) -> None:
    async with client:
        for value in OPTIONS[option] if option in options_of(name) else ():
            text = await render(client, name, **ARGUMENTS[name], **{option: value})
            assert f"Use {option} {value}." in text
            assert "Leave out the options" not in text


async def test_several_options_are_included(client: Client) -> None:
    async with client:
        text = await render(client, "make_video", idea="A fox", model="ray-v3", resolution="1080p", duration="10s")
    assert "model ray-v3" in text
    assert "resolution 1080p" in text
    assert "duration 10s" in text


@every_prompt
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": "4k"}, ["resolution", "4k", "1080p"]),
        ({"model": "sora"}, ["model", "sora", "ray-v3-flash"]),
        ({"resolution": "draft", "dynamic_range": "hdr"}, ["draft", "hdr"]),
        ({"fps": "60"}, ["fps"]),
    ],
    ids=["no such resolution", "no such model", "an impossible combination", "no such argument"],
)
async def test_invalid_options_are_rejected_with_the_reason(
    client: Client, name: str, options: dict[str, str], expected: list[str]
) -> None:
    async with client:
        with pytest.raises(MCPError) as rejected:
            await render(client, name, **ARGUMENTS[name], **options)
    assert rejected.value.code == -32602
    assert all(part in str(rejected.value) for part in expected)


@pytest.mark.parametrize("name", ["animate_picture", "continue_clip"])
async def test_a_picture_becomes_the_first_frame(client: Client, name: str) -> None:
    async with client:
        text = await render(client, name, **ARGUMENTS[name])
    assert "image_start" in text


async def test_a_film_needs_the_user_s_agreement_first(client: Client) -> None:
    async with client:
        text = await render(client, "short_film", story="A fox comes home", shots="7")
    assert "7 shots" in text
    assert "Order nothing before I agree" in text


@pytest.mark.parametrize("shots", ["0", "1", "51", "1000"])
async def test_an_invalid_number_of_shots_is_rejected(client: Client, shots: str) -> None:
    async with client:
        with pytest.raises(MCPError, match="shots must be 2 to 50"):
            await render(client, "short_film", story="A fox comes home", shots=shots)
        assert "2 shots" in await render(client, "short_film", story="A fox comes home", shots="2")
        assert "3 or 4 shots" in await render(client, "short_film", story="A fox comes home", shots="3 or 4")


async def test_a_chosen_resolution_is_for_the_final_shots(client: Client) -> None:
    async with client:
        text = await render(client, "short_film", story="A fox comes home", resolution="720p")
    assert "a resolution that I chose is for the final shots" in text


async def test_a_film_has_all_steps_in_order(client: Client) -> None:
    async with client:
        text = await render(client, "short_film", story="A fox comes home", character="fox.png")
    steps = ["shot list", "cost", "Order a draft", "get_job and frames", "takes 2", "join_videos"]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert "Character: fox.png" in text
    assert "image_character" in text


async def test_a_film_without_pyav_ends_with_links(connect: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    async with connect() as client:
        text = await render(client, "short_film", story="A fox comes home")
        instructions = client.instructions or ""
    assert "the links of the chosen takes" in text
    assert "cannot join them without PyAV" in text
    for absent in ("join_videos", "frames 8"):
        assert absent not in text
        assert absent not in instructions


@every_prompt
async def test_each_prompt_names_the_tool(client: Client, name: str) -> None:
    async with client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        text = await render(client, name, **ARGUMENTS[name])
    assert "generate_video" in tools
    assert "generate_video" in text
    assert "link" in text or name == "short_film"


async def test_an_unknown_prompt_is_invalid(client: Client) -> None:
    async with client:
        with pytest.raises(MCPError, match="make_film") as rejected:
            await render(client, "make_film")
    assert rejected.value.code == -32602


@pytest.mark.parametrize(
    "params",
    [{}, {"name": ["make_video"]}, {"name": "make_video", "arguments": 5}, {"name": "make_video", "arguments": "idea"}],
    ids=["nothing", "a list for a name", "a number for arguments", "a text for arguments"],
)
async def test_a_malformed_request_is_invalid(client: Client, params: dict[str, Any]) -> None:
    async with client:
        with pytest.raises(MCPError) as rejected:
            await request_raw(client, "prompts/get", **params)
    assert rejected.value.code == -32602
