"""Nothing gets around the question: no fault that passes, no job that ends meanwhile, no answer that is sent twice."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import ERAS, TOKEN
from tests.results import told
from tests.server.declaring import called, called_again, declaring
from tests.server.test_asking import AGREED, Person

from luma_mcp.simulator.app import Fault
from luma_mcp.simulator.records import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

LINK = "https://pictures.example.com/fox.jpg"
FOX = {"prompt": "A fox", "wait_seconds": 0}


class PictureThatComesLater(httpx2.AsyncBaseTransport):
    """Answers the first requests for a picture with 503, and then with it; all else goes to the simulator."""

    def __init__(self, simulator: Simulator, failures: int) -> None:
        self._way = httpx2.ASGITransport(simulator)
        self.failures = failures

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.headers["host"] != "pictures.example.com":
            return await self._way.handle_async_request(request)
        self.failures -= 1
        if self.failures >= 0:
            return httpx2.Response(503)
        return httpx2.Response(200, content=(MEDIA / "16x9-last_frame.jpg").read_bytes())


@pytest.fixture(params=ERAS)
def server(request: pytest.FixtureRequest, connect: Server) -> Server:
    def start(person: Person | None, transport: httpx2.AsyncBaseTransport | None = None) -> Client:
        environment = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_CONFIRM": "always"}
        return declaring(connect(mode=request.param, transport=transport, environment=environment), asks=person)

    return start


@pytest.mark.parametrize("failures", [1, 2, 3, 4])
async def test_a_picture_that_fails_and_then_comes_is_never_ordered_unasked(
    server: Server, simulator: Simulator, failures: int
) -> None:
    person = Person()
    async with server(person, PictureThatComesLater(simulator, failures)) as client:
        result = await client.call_tool("generate_video", FOX | {"image_start": LINK})
    ordered = simulator.requests["POST /videos"]
    assert ordered <= len(person.questions)
    assert result.is_error == (ordered == 0)


async def test_a_look_that_fails_and_then_works_orders_nothing_unasked(server: Server, simulator: Simulator) -> None:
    person = Person()
    async with server(person) as client:
        await client.call_tool("generate_video", FOX)
        await pass_time(100)
        simulator.faults.append(Fault("GET", "/jobs/", 401))
        _, content = told(await client.call_tool("generate_video", FOX))
    assert content["error"]["kind"] == "unauthorized"
    assert (len(person.questions), simulator.requests["POST /videos"]) == (1, 1)


async def test_a_job_that_ends_between_two_looks_is_not_made_again_unasked(
    server: Server, simulator: Simulator
) -> None:
    person = Person()

    class EndsAtTheFirstLook(httpx2.AsyncBaseTransport):
        way = httpx2.ASGITransport(simulator)

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            answer = await self.way.handle_async_request(request)
            if request.method == "GET" and "/jobs/" in str(request.url):
                for job in simulator.service.jobs.values():
                    job.seconds = 1e-9
            return answer

    async with server(person, EndsAtTheFirstLook()) as client:
        await client.call_tool("generate_video", FOX)
        await pass_time(1)
        text, content = told(await client.call_tool("generate_video", FOX))
    assert content["error"]["kind"] == "conflict"
    assert "nothing was spent" in text
    assert (len(person.questions), simulator.requests["POST /videos"]) == (1, 1)


@pytest.mark.parametrize("new_take", [True, False])
async def test_one_yes_is_one_order_however_often_it_is_sent(
    connect: Server, simulator: Simulator, *, new_take: bool
) -> None:
    environment = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_CONFIRM": "always"}
    arguments: dict[str, Any] = FOX | {"new_take": new_take}
    async with declaring(connect(environment=environment), asks=Person()) as client:
        question = await called(client, "generate_video", **arguments)
        first = await called_again(client, "generate_video", question, AGREED, **arguments)
        again = await called_again(client, "generate_video", question, AGREED, **arguments)
        await pass_time(100)
        late = await called_again(client, "generate_video", question, AGREED, **arguments)
    assert again["structuredContent"]["jobid"] == first["structuredContent"]["jobid"]
    assert late["structuredContent"]["error"]["kind"] == "conflict"
    assert simulator.requests["POST /videos"] == 1


async def test_each_question_has_an_order_of_its_own(connect: Server, simulator: Simulator) -> None:
    environment = {"USEAPI_TOKEN": TOKEN, "LUMA_MCP_CONFIRM": "always"}
    arguments: dict[str, Any] = FOX | {"new_take": True}
    async with declaring(connect(environment=environment), asks=Person()) as client:
        for _ in range(2):
            question = await called(client, "generate_video", **arguments)
            await called_again(client, "generate_video", question, AGREED, **arguments)
    assert simulator.requests["POST /videos"] == 2


async def test_that_a_client_cannot_be_asked_is_told_to_the_log_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="luma_mcp"):
        async with server(None) as client:
            for number in range(2):
                await client.call_tool("generate_video", FOX | {"prompt": f"Fox {number}"})
    told_of = [record.getMessage() for record in caplog.records if "LUMA_MCP_CONFIRM" in record.getMessage()]
    assert len(told_of) == 1
    assert "always" in told_of[0]
