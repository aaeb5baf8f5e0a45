"""LUMA_MCP_CONFIRM: the person is asked before money is spent, in clients that can ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequestFormParams, ElicitResult
from tests.clock import pass_time
from tests.conftest import ERAS, TOKEN
from tests.results import told
from tests.server.declaring import TASKS, about_task, called, called_again, declaring

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client
    from mcp.client.session import ClientRequestContext
    from mcp.types import ElicitRequestParams

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

AGREED = ElicitResult(action="accept", content={"order": True})
REFUSALS = {
    "accepted with no": ElicitResult(action="accept", content={"order": False}),
    "declined": ElicitResult(action="decline"),
    "cancelled": ElicitResult(action="cancel"),
}
DEAR = [{"resolution": "1080p"}, {"duration": "10s"}, {"dynamic_range": "hdr"}, {"dynamic_range": "hdr_exr"}]
CHEAP = [{}, {"resolution": "720p"}, {"model": "ray-v3-reasoning"}, {"aspect_ratio": "21:9"}]


def named(arguments: dict[str, str]) -> str:
    return " ".join(arguments.values()) or "defaults"


class Person:
    """Answers every question the same, and remembers what was asked."""

    def __init__(self, answer: ElicitResult = AGREED) -> None:
        self.answer = answer
        self.questions: list[str] = []

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:  # noqa: ARG002
        assert isinstance(params, ElicitRequestFormParams)
        assert list(params.requested_schema["properties"]) == ["order"]
        assert params.requested_schema["properties"]["order"]["type"] == "boolean"
        self.questions.append(params.message)
        return self.answer


@pytest.fixture(params=ERAS)
def server(request: pytest.FixtureRequest, connect: Server) -> Server:
    """A server that asks, in either era; `person`: who can be asked; other settings by name."""

    def start(confirm: str, person: Person | None, *extensions: str, **settings: str) -> Client:
        environment = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_CONFIRM": confirm, **settings}
        return declaring(connect(mode=request.param, environment=environment), *extensions, asks=person)

    return start


async def order(client: Client, **arguments: Any) -> tuple[str, dict[str, Any]]:
    result = await client.call_tool("generate_video", {"prompt": "A fox", "wait_seconds": 0, **arguments})
    return told(result)


async def test_who_agrees_gets_the_video_after_one_question(server: Server, simulator: Simulator) -> None:
    person = Person()
    async with server("always", person) as client:
        _, content = await order(client, wait_seconds=200)
    assert (content["state"], len(person.questions)) == ("completed", 1)
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
async def test_who_does_not_agree_has_nothing_ordered_and_the_agent_is_told_kindly(
    server: Server, simulator: Simulator, answer: ElicitResult
) -> None:
    person = Person(answer)
    async with server("always", person) as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox"})
    text, content = told(result)
    assert (result.is_error, len(person.questions)) == (False, 1)
    assert content["note"] == text
    assert content.keys().isdisjoint({"jobid", "state", "error"})
    for words in ("Not ordered", "Nothing was billed", "Do not order it again", "ask the user"):
        assert words in text
    assert simulator.requests["POST /videos"] == 0


@pytest.mark.parametrize("confirm", ["never", "expensive", "always"])
@pytest.mark.parametrize("arguments", CHEAP, ids=named)
async def test_what_is_cheap_is_asked_about_only_where_all_is(
    server: Server, confirm: str, arguments: dict[str, str]
) -> None:
    person = Person()
    async with server(confirm, person) as client:
        _, content = await order(client, **arguments)
    assert (content["state"], len(person.questions)) == ("running", 1 if confirm == "always" else 0)


@pytest.mark.parametrize("confirm", ["never", "expensive", "always"])
@pytest.mark.parametrize("arguments", DEAR, ids=named)
async def test_what_is_dear_is_asked_about_unless_nothing_is(
    server: Server, confirm: str, arguments: dict[str, str]
) -> None:
    person = Person()
    async with server(confirm, person) as client:
        _, content = await order(client, **arguments)
    assert (content["state"], len(person.questions)) == ("running", 0 if confirm == "never" else 1)


async def test_what_becomes_dear_by_what_was_left_out_is_no_surprise(server: Server) -> None:
    person = Person()
    async with server("expensive", person) as client:
        await order(client, dynamic_range="HDR", prompt="A cat")
    [question] = person.questions
    assert "540p" in question


async def test_a_client_that_cannot_ask_is_served_without_a_question(server: Server, simulator: Simulator) -> None:
    async with server("always", None) as client:
        _, content = await order(client, resolution="1080p")
    assert content["state"] == "running"
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize(
    "arguments",
    [{"dynamic_range": "hdr", "duration": "10s"}, {"prompt": ""}, {"model": "sora"}, {"fps": "60"}, {"save": "maybe"}],
    ids=["an impossible combination", "no prompt", "no such model", "no such parameter", "an own parameter"],
)
async def test_a_bad_request_is_refused_without_asking(
    server: Server, simulator: Simulator, arguments: dict[str, str]
) -> None:
    person = Person()
    async with server("always", person) as client:
        _, content = await order(client, **arguments)
    assert content["error"]["kind"] == "invalid_arguments"
    assert person.questions == []
    assert simulator.requests.total() == 0


async def test_the_same_running_order_is_returned_without_asking_again(server: Server, simulator: Simulator) -> None:
    person = Person()
    async with server("always", person) as client:
        _, first = await order(client)
        _, same = await order(client)
        assert (same["jobid"], len(person.questions)) == (first["jobid"], 1)
        _, take = await order(client, new_take=True)
        assert (take["jobid"] != first["jobid"], len(person.questions)) == (True, 2)
    assert simulator.requests["POST /videos"] == 2


async def test_the_question_names_the_options_the_pictures_and_the_beginning_of_the_prompt(
    server: Server, simulator: Simulator
) -> None:
    person = Person()
    ref = simulator.service.add_asset("studio@example.com")
    async with server("always", person) as client:
        await order(client, prompt="A fox " + "runs " * 300, image_start=ref, aspect_ratio="21:9", duration=10)
    [question] = person.questions
    for word in ("ray-v3-flash", "draft", "21:9", "10s", "sdr", "image start", "A fox runs runs", "billed"):
        assert word in question
    assert len(question) < 400
    assert question.endswith("…")


async def test_the_limit_is_told_before_anybody_is_asked(server: Server, simulator: Simulator) -> None:
    person = Person()
    async with server("always", person, LUMA_MCP_MAX_JOBS_PER_HOUR="1") as client:
        await order(client)
        await pass_time(1)
        _, content = await order(client, prompt="A cat")
    assert (content["error"]["kind"], len(person.questions)) == ("limit_reached", 1)
    assert simulator.requests["POST /videos"] == 1


async def test_without_a_token_nobody_is_asked(server: Server) -> None:
    person = Person()
    async with server("always", person, USEAPI_TOKEN="") as client:
        _, content = await order(client)
    assert (content["error"]["kind"], person.questions) == ("not_configured", [])


async def test_the_other_tools_ask_nobody(server: Server) -> None:
    person = Person()
    async with server("always", person) as client:
        _, content = await order(client)
        for tool, arguments in (("get_job", {"jobid": content["jobid"]}), ("list_jobs", {}), ("list_options", {})):
            assert not (await client.call_tool(tool, arguments)).is_error
    assert len(person.questions) == 1


@pytest.mark.parametrize("answer", [AGREED, *REFUSALS.values()], ids=["agreed", *REFUSALS])
async def test_with_tasks_the_question_comes_first_and_then_the_task(
    connect: Server, simulator: Simulator, answer: ElicitResult
) -> None:
    environment = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_CONFIRM": "always"}
    async with declaring(connect(environment=environment), TASKS, asks=Person()) as client:
        asked = await called(client, "generate_video", prompt="A fox")
        assert (asked["resultType"], simulator.requests["POST /videos"]) == ("input_required", 0)
        [question] = asked["inputRequests"].values()
        assert (question["method"], "taskId" in asked) == ("elicitation/create", False)
        result = await called_again(client, "generate_video", asked, answer, prompt="A fox")
        if answer is not AGREED:
            assert (result["resultType"], result["isError"]) == ("complete", False)
            assert simulator.service.jobs == {}
            return
        assert (result["resultType"], [result["taskId"]]) == ("task", list(simulator.service.jobs))
        assert (await about_task(client, "tasks/get", result["taskId"]))["status"] == "working"


async def test_an_answer_to_another_question_is_no_answer(connect: Server, simulator: Simulator) -> None:
    environment = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_CONFIRM": "always"}
    async with declaring(connect(environment=environment), asks=Person()) as client:
        asked = await called(client, "generate_video", prompt="A fox")
        with pytest.raises(MCPError):
            await called_again(client, "generate_video", asked, AGREED, prompt="A fox", resolution="1080p")
    assert simulator.requests["POST /videos"] == 0
