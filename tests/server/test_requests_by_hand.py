"""Hand-written requests that no client of the SDK would send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.server.by_hand import post, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luma_mcp.simulator.app import Simulator

WITH_FORMS: dict[str, dict[str, Any]] = {
    "empty, as before modes existed": {},
    "forms": {"form": {}},
    "both": {"form": {}, "url": {}},
}

WITHOUT_FORMS: dict[str, dict[str, Any]] = {"URLs only": {"elicitation": {"url": {}}}, "nothing": {}}


@pytest.fixture(scope="module")
def confirming_server() -> Iterator[tuple[str, Simulator]]:
    """Run a server that asks the user before each order. Yields its URL and the API."""
    with run_server(LUMA_MCP_CONFIRM="always") as started:
        yield started


def order_by_hand(url: str, prompt: str, capabilities: dict[str, Any]) -> dict[str, Any]:
    arguments = {"prompt": prompt, "wait_seconds": 0}
    response = post(
        url, "tools/call", "generate_video", capabilities=capabilities, name="generate_video", arguments=arguments
    )
    return dict(response["result"])


@pytest.mark.parametrize("elicitation", WITH_FORMS.values(), ids=WITH_FORMS)
def test_client_with_forms_gets_a_question(
    confirming_server: tuple[str, Simulator], elicitation: dict[str, Any]
) -> None:
    url, api = confirming_server
    result = order_by_hand(url, f"A fox with {elicitation}", {"elicitation": elicitation})
    assert (result["resultType"], list(api.service.jobs)) == ("input_required", [])
    [question] = result["inputRequests"].values()
    assert question["params"].get("mode", "form") == "form"


@pytest.mark.parametrize("capabilities", WITHOUT_FORMS.values(), ids=WITHOUT_FORMS)
def test_client_without_forms_gets_a_video(capabilities: dict[str, Any]) -> None:
    with run_server(LUMA_MCP_CONFIRM="always") as (url, api):
        result = order_by_hand(url, "A fox", capabilities)
        assert (result["resultType"], result["isError"]) == ("complete", False)
        assert [result["structuredContent"]["jobid"]] == list(api.service.jobs)


def test_forged_answer_orders_nothing(confirming_server: tuple[str, Simulator]) -> None:
    url, api = confirming_server
    capabilities: dict[str, Any] = {"elicitation": {"form": {}}}
    [key] = order_by_hand(url, "A fox", capabilities)["inputRequests"]
    forged: dict[str, Any] = {key: {"action": "accept", "content": {"order": True}}}
    call = {"name": "generate_video", "arguments": {"prompt": "A fox", "wait_seconds": 0}, "inputResponses": forged}
    response = post(url, "tools/call", "generate_video", capabilities=capabilities, **call)
    assert response["result"]["resultType"] == "input_required"
    assert list(api.service.jobs) == []


@pytest.mark.parametrize(
    ("prompt", "arguments", "word"),
    [
        ("make_video", {}, "idea"),
        ("make_film", {}, "make_film"),
        ("make_video", {"idea": "A fox", "resolution": "4k"}, "1080p"),
    ],
    ids=["without a required argument", "unknown", "with an invalid option"],
)
def test_invalid_prompt_requests_over_http(
    confirming_server: tuple[str, Simulator], prompt: str, arguments: dict[str, str], word: str
) -> None:
    error = post(confirming_server[0], "prompts/get", prompt, name=prompt, arguments=arguments)["error"]
    assert error["code"] == -32602
    assert word in error["message"]
