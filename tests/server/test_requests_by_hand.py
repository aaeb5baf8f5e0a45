"""Requests that no client of the SDK sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.server.by_hand import posted, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luma_mcp.simulator.app import Simulator

ASKED: dict[str, dict[str, Any]] = {
    "declared empty, as before modes existed": {},
    "forms": {"form": {}},
    "both": {"form": {}, "url": {}},
}

SERVED: dict[str, dict[str, Any]] = {"addresses alone": {"elicitation": {"url": {}}}, "nothing": {}}


@pytest.fixture(scope="module")
def asking_server() -> Iterator[tuple[str, Simulator]]:
    """A server that asks the user before it orders: its URL and its API."""
    with serving(LUMA_MCP_CONFIRM="always") as started:
        yield started


def order_by_hand(url: str, prompt: str, more: dict[str, Any]) -> dict[str, Any]:
    arguments = {"prompt": prompt, "wait_seconds": 0}
    answer = posted(url, "tools/call", "generate_video", more=more, name="generate_video", arguments=arguments)
    return dict(answer["result"])


@pytest.mark.parametrize("elicitation", ASKED.values(), ids=ASKED)
def test_client_that_shows_forms_is_asked(asking_server: tuple[str, Simulator], elicitation: dict[str, Any]) -> None:
    url, api = asking_server
    result = order_by_hand(url, f"asked with {elicitation}", {"elicitation": elicitation})
    assert (result["resultType"], list(api.service.jobs)) == ("input_required", [])
    [question] = result["inputRequests"].values()
    assert question["params"].get("mode", "form") == "form"


@pytest.mark.parametrize("more", SERVED.values(), ids=SERVED)
def test_client_without_forms_is_served(more: dict[str, Any]) -> None:
    with serving(LUMA_MCP_CONFIRM="always") as (url, api):
        result = order_by_hand(url, "not asked", more)
        assert (result["resultType"], result["isError"]) == ("complete", False)
        assert [result["structuredContent"]["jobid"]] == list(api.service.jobs)


def test_answer_without_a_question(asking_server: tuple[str, Simulator]) -> None:
    url, api = asking_server
    more: dict[str, Any] = {"elicitation": {"form": {}}}
    [key] = order_by_hand(url, "A fox", more)["inputRequests"]
    forged: dict[str, Any] = {key: {"action": "accept", "content": {"order": True}}}
    call = {"name": "generate_video", "arguments": {"prompt": "A fox", "wait_seconds": 0}, "inputResponses": forged}
    answer = posted(url, "tools/call", "generate_video", more=more, **call)
    assert answer["result"]["resultType"] == "input_required"
    assert list(api.service.jobs) == []


@pytest.mark.parametrize(
    ("prompt", "arguments", "word"),
    [
        ("make_video", {}, "idea"),
        ("make_film", {}, "make_film"),
        ("make_video", {"idea": "A fox", "resolution": "4k"}, "1080p"),
    ],
    ids=["without what it needs", "unknown", "with a bad option"],
)
def test_impossible_prompt_over_http(
    asking_server: tuple[str, Simulator], prompt: str, arguments: dict[str, str], word: str
) -> None:
    error = posted(asking_server[0], "prompts/get", prompt, name=prompt, arguments=arguments)["error"]
    assert error["code"] == -32602
    assert word in error["message"]
