"""LUMA_MCP_CONFIRM: the user has to confirm orders, in clients that support questions."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitResult
from PIL import Image
from tests.clock import pass_time
from tests.conftest import ERAS
from tests.results import read_result
from tests.server.calls import order
from tests.server.declaring import (
    AGREED,
    TASKS,
    Person,
    answer_question,
    call_raw,
    declaring,
    question_text,
    task_request,
)

from luma_mcp.media.images import NormalizedImage
from luma_mcp.media.sources import Source, SourceKind
from luma_mcp.server.confirmation import HOLD_SECONDS, MAX_HELD_BYTES, MAX_QUESTIONS, Question, Questions
from luma_mcp.service.requests import InputImage, ValidatedRequest
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

REFUSALS = {
    "accepted with no": ElicitResult(action="accept", content={"order": False}),
    "declined": ElicitResult(action="decline"),
    "cancelled": ElicitResult(action="cancel"),
}
EXPENSIVE = [{"resolution": "1080p"}, {"duration": "10s"}, {"dynamic_range": "hdr"}, {"dynamic_range": "hdr_exr"}]
CHEAP = [{}, {"resolution": "720p"}, {"model": "ray-v3-reasoning"}, {"aspect_ratio": "21:9"}]
LINK = "https://pictures.example.com/fox.png"
every_era = pytest.mark.parametrize("mode", ERAS)


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (320, 320), colour).save(file, "PNG")
    return file.getvalue()


RED, BLUE = png("red"), png("blue")


class PictureHost(httpx2.AsyncBaseTransport):
    """Serves a link with the given responses in order, repeating the last one. Other requests go to the simulator."""

    def __init__(self, simulator: Simulator, *responses: bytes | int) -> None:
        self._to_simulator = httpx2.ASGITransport(simulator)
        self._responses = list(responses)
        self.fetches = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.headers["host"] != "pictures.example.com":
            return await self._to_simulator.handle_async_request(request)
        self.fetches += 1
        response = self._responses[0]
        if len(self._responses) > 1:
            del self._responses[0]
        if isinstance(response, int):
            return httpx2.Response(response)
        return httpx2.Response(200, content=stream(response))


async def stream(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture
def confirming(server: Server) -> Server:
    """Connects a client, with or without a user, to a server that asks for confirmation."""

    def start(person: Person | None, *extensions: str, confirm: str = "always", **options: Any) -> Client:
        return declaring(server(LUMA_MCP_CONFIRM=confirm, **options), *extensions, asks=person)

    return start


@every_era
async def test_one_question_before_the_video(confirming: Server, simulator: Simulator, mode: str) -> None:
    person = Person()
    async with confirming(person, mode=mode) as client:
        _, content = await order(client, wait_seconds=200)
    assert (content["state"], len(person.questions)) == ("completed", 1)
    assert simulator.requests["POST /videos"] == 1


@every_era
@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
async def test_nothing_is_ordered_without_agreement(
    confirming: Server, simulator: Simulator, mode: str, answer: ElicitResult
) -> None:
    person = Person(answer)
    async with confirming(person, mode=mode) as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox"})
    text, content = read_result(result)
    assert (result.is_error, len(person.questions)) == (False, 1)
    assert content == {"note": text, "charged": "no", "next_action": "ask_user"}
    assert "did not agree" in text
    assert "nothing was ordered or charged" in text
    assert simulator.requests["POST /videos"] == 0


@pytest.mark.parametrize("confirm", ["never", "expensive", "always"])
@pytest.mark.parametrize("arguments", CHEAP, ids=str)
async def test_cheap_orders_need_a_question_only_with_always(
    confirming: Server, confirm: str, arguments: dict[str, str]
) -> None:
    person = Person()
    async with confirming(person, confirm=confirm) as client:
        _, content = await order(client, **arguments)
    assert (content["state"], len(person.questions)) == ("running", 1 if confirm == "always" else 0)


@pytest.mark.parametrize("confirm", ["never", "expensive", "always"])
@pytest.mark.parametrize("arguments", EXPENSIVE, ids=str)
async def test_expensive_orders_need_a_question_unless_never(
    confirming: Server, confirm: str, arguments: dict[str, str]
) -> None:
    person = Person()
    async with confirming(person, confirm=confirm) as client:
        _, content = await order(client, **arguments)
    assert (content["state"], len(person.questions)) == ("running", 0 if confirm == "never" else 1)


@every_era
async def test_one_question_counts_all_takes(confirming: Server, simulator: Simulator, mode: str) -> None:
    person = Person()
    async with confirming(person, mode=mode, confirm="expensive") as client:
        await order(client)
        assert person.questions == []
        _, content = await order(client, takes=3)
        [question] = person.questions
        # The first take is already running.
        assert question.startswith("Make 2 videos of this? All 2 together cost credits")
        assert [job["outcome"] for job in content["jobs"]] == ["duplicate", "created", "created"]
        # All takes exist, so there is no question.
        await order(client, takes=3)
    assert len(person.questions) == 1
    assert simulator.requests["POST /videos"] == 3


@every_era
async def test_the_question_names_the_chosen_values(confirming: Server, mode: str) -> None:
    person = Person()
    async with confirming(person, confirm="expensive", mode=mode) as client:
        await order(client, "A cat", dynamic_range="HDR")
    [question] = person.questions
    assert "540p" in question


@every_era
async def test_the_question_names_options_images_and_prompt(
    confirming: Server, simulator: Simulator, mode: str
) -> None:
    person = Person()
    ref = simulator.service.add_asset("studio@example.com")
    async with confirming(person, mode=mode) as client:
        await order(client, "A fox " + "runs " * 300, image_start=ref, aspect_ratio="21:9", duration=10)
    [question] = person.questions
    for part in ("ray-v3-flash", "draft", "21:9", "10s", "sdr", "image start", "A fox runs runs", "costs credits"):
        assert part in question
    assert len(question) < 400
    assert question.endswith("…")


@every_era
async def test_a_client_without_forms_gets_its_video(confirming: Server, simulator: Simulator, mode: str) -> None:
    async with confirming(None, mode=mode) as client:
        _, content = await order(client, resolution="1080p")
    assert content["state"] == "running"
    assert simulator.requests["POST /videos"] == 1


@every_era
async def test_a_client_without_forms_is_logged_once(
    confirming: Server, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    with caplog.at_level(logging.WARNING, logger="luma_mcp"):
        async with confirming(None, mode=mode) as client:
            await order(client, "Fox 1")
            await order(client, "Fox 2")
    [message] = [text for record in caplog.records if "LUMA_MCP_CONFIRM" in (text := record.getMessage())]
    assert "always" in message


@every_era
@pytest.mark.parametrize(
    "arguments",
    [{"dynamic_range": "hdr", "duration": "10s"}, {"prompt": ""}, {"model": "sora"}, {"fps": "60"}, {"save": "maybe"}],
    ids=str,
)
async def test_an_invalid_request_is_rejected_without_a_question(
    confirming: Server, simulator: Simulator, mode: str, arguments: dict[str, str]
) -> None:
    person = Person()
    async with confirming(person, mode=mode) as client:
        _, content = await order(client, **arguments)
    assert content["error"]["kind"] == "invalid_arguments"
    assert person.questions == []
    assert simulator.requests.total() == 0


@every_era
async def test_a_running_duplicate_is_returned_without_a_question(
    confirming: Server, simulator: Simulator, mode: str
) -> None:
    person = Person()
    async with confirming(person, mode=mode) as client:
        _, first = await order(client)
        _, same = await order(client)
        assert (same["jobid"], len(person.questions)) == (first["jobid"], 1)
        _, take = await order(client, new_take=True)
        assert (take["jobid"] != first["jobid"], len(person.questions)) == (True, 2)
    assert simulator.requests["POST /videos"] == 2


@every_era
async def test_the_hourly_limit_is_checked_before_the_question(
    confirming: Server, simulator: Simulator, mode: str
) -> None:
    person = Person()
    async with confirming(person, mode=mode, LUMA_MCP_MAX_JOBS_PER_HOUR="1") as client:
        await order(client)
        await pass_time(1)
        _, content = await order(client, "A cat")
    assert (content["error"]["kind"], len(person.questions)) == ("limit_reached", 1)
    assert simulator.requests["POST /videos"] == 1


@every_era
async def test_without_a_token_there_is_no_question(confirming: Server, mode: str) -> None:
    person = Person()
    async with confirming(person, mode=mode, USEAPI_TOKEN="") as client:
        _, content = await order(client)
    assert (content["error"]["kind"], person.questions) == ("not_configured", [])


@every_era
async def test_other_tools_ask_no_question(confirming: Server, mode: str) -> None:
    person = Person()
    async with confirming(person, mode=mode) as client:
        _, content = await order(client)
        for tool, arguments in (("get_job", {"jobid": content["jobid"]}), ("list_jobs", {}), ("list_options", {})):
            assert not (await client.call_tool(tool, arguments)).is_error
    assert len(person.questions) == 1


@pytest.mark.parametrize("answer", [AGREED, *REFUSALS.values()], ids=["agreed", *REFUSALS])
async def test_the_question_comes_before_the_task(
    confirming: Server, simulator: Simulator, answer: ElicitResult
) -> None:
    async with confirming(Person(), TASKS) as client:
        question = await call_raw(client, "generate_video", prompt="A fox")
        assert (question["resultType"], simulator.requests["POST /videos"]) == ("input_required", 0)
        assert question_text(question)
        assert "taskId" not in question
        result = await answer_question(client, "generate_video", question, answer, prompt="A fox")
        if answer is not AGREED:
            assert (result["resultType"], result["isError"]) == ("complete", False)
            assert simulator.service.jobs == {}
            return
        assert (result["resultType"], [result["taskId"]]) == ("task", list(simulator.service.jobs))
        assert (await task_request(client, "tasks/get", result["taskId"]))["status"] == "working"


# The order must match the check that preceded the question.


@every_era
@pytest.mark.parametrize("failures", [1, 2, 3])
async def test_a_link_that_recovers_is_not_ordered_unconfirmed(
    confirming: Server, simulator: Simulator, mode: str, failures: int
) -> None:
    person = Person()
    host = PictureHost(simulator, *[503] * failures, RED)
    async with confirming(person, mode=mode, transport=host) as client:
        _, content = await order(client, image_start=LINK)
    ordered = simulator.requests["POST /videos"]
    assert ordered == len(person.questions)
    assert ("error" in content) == (ordered == 0)


@every_era
async def test_an_error_of_the_check_is_not_retried(confirming: Server, simulator: Simulator, mode: str) -> None:
    person = Person()
    async with confirming(person, mode=mode) as client:
        await order(client)
        await pass_time(100)
        simulator.faults.append(Fault("GET", "/jobs/", 401))
        _, content = await order(client)
    assert content["error"]["kind"] == "unauthorized"
    assert (len(person.questions), simulator.requests["POST /videos"]) == (1, 1)


@every_era
async def test_a_duplicate_that_ends_is_not_reordered_unconfirmed(
    confirming: Server, simulator: Simulator, mode: str
) -> None:
    person = Person()

    class FinishingTransport(httpx2.AsyncBaseTransport):
        to_simulator = httpx2.ASGITransport(simulator)

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            response = await self.to_simulator.handle_async_request(request)
            if request.method == "GET" and "/jobs/" in str(request.url):
                for job in simulator.service.jobs.values():
                    job.seconds = 1e-9
            return response

    async with confirming(person, mode=mode, transport=FinishingTransport()) as client:
        await order(client)
        await pass_time(1)
        _, content = await order(client)
    assert (content["outcome"], content["state"], content["charged"]) == ("duplicate", "completed", "no")
    assert (len(person.questions), simulator.requests["POST /videos"]) == (1, 1)


@every_era
async def test_an_unexpected_error_is_reported_without_an_order(
    confirming: Server, simulator: Simulator, mode: str
) -> None:
    person = Person()

    class FailingTransport(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.headers["host"] == "pictures.example.com":
                raise RuntimeError("a bug")
            return await super().handle_async_request(request)

    async with confirming(person, mode=mode, transport=FailingTransport(simulator)) as client:
        text, content = await order(client, image_start=LINK)
    assert (content["error"]["kind"], content["error"]["charged"]) == ("upstream", "no")
    assert "a bug" not in text
    assert (person.questions, simulator.requests["POST /videos"]) == ([], 0)


async def test_an_answer_to_another_question_is_rejected(confirming: Server, simulator: Simulator) -> None:
    async with confirming(Person()) as client:
        question = await call_raw(client, "generate_video", prompt="A fox")
        with pytest.raises(MCPError):
            await answer_question(client, "generate_video", question, AGREED, prompt="A fox", resolution="1080p")
    assert simulator.requests["POST /videos"] == 0


async def test_an_answer_after_a_restart_is_rejected(confirming: Server, simulator: Simulator) -> None:
    async with confirming(Person()) as client:
        question = await call_raw(client, "generate_video", prompt="A fox")
    async with confirming(Person()) as client:
        with pytest.raises(MCPError):
            await answer_question(client, "generate_video", question, AGREED, prompt="A fox")
    assert simulator.requests["POST /videos"] == 0


@pytest.mark.parametrize("new_take", [True, False])
async def test_one_agreement_is_one_order(confirming: Server, simulator: Simulator, *, new_take: bool) -> None:
    arguments: dict[str, Any] = {"prompt": "A fox", "wait_seconds": 0, "new_take": new_take}
    async with confirming(Person()) as client:
        question = await call_raw(client, "generate_video", **arguments)
        first = await answer_question(client, "generate_video", question, AGREED, **arguments)
        again = await answer_question(client, "generate_video", question, AGREED, **arguments)
        await pass_time(100)
        late = await answer_question(client, "generate_video", question, AGREED, **arguments)
        await pass_time(HOLD_SECONDS)
        later = await answer_question(client, "generate_video", question, AGREED, **arguments)
    assert again["structuredContent"]["jobid"] == first["structuredContent"]["jobid"]
    # The result had not been delivered until then.
    assert late["structuredContent"]["jobid"] == first["structuredContent"]["jobid"]
    assert later["structuredContent"]["error"]["kind"] == "conflict"
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize("new_take", [True, False])
async def test_one_agreement_sent_twice_at_once_is_one_order(
    confirming: Server, simulator: Simulator, *, new_take: bool
) -> None:
    arguments: dict[str, Any] = {"prompt": "A fox", "wait_seconds": 0, "new_take": new_take}
    contents: list[dict[str, Any]] = []
    async with confirming(Person()) as client:
        question = await call_raw(client, "generate_video", **arguments)

        async def agree() -> None:
            result = await answer_question(client, "generate_video", question, AGREED, **arguments)
            contents.append(result["structuredContent"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agree)
            tasks.start_soon(agree)
    assert simulator.requests["POST /videos"] == 1
    [jobid] = simulator.service.jobs
    # With new_take, the second answer may arrive before the job can be found.
    found = {content.get("jobid") or content["error"]["kind"] for content in contents}
    assert found == ({jobid} if not new_take else {jobid, "conflict"})


async def test_each_question_allows_one_order(confirming: Server, simulator: Simulator) -> None:
    arguments: dict[str, Any] = {"prompt": "A fox", "wait_seconds": 0, "new_take": True}
    async with confirming(Person()) as client:
        for _ in range(2):
            question = await call_raw(client, "generate_video", **arguments)
            await answer_question(client, "generate_video", question, AGREED, **arguments)
    assert simulator.requests["POST /videos"] == 2


# The picture that was validated before the question is uploaded.


@every_era
@pytest.mark.parametrize("confirm", ["never", "expensive", "always"])
async def test_a_picture_is_fetched_once_and_uploaded_as_validated(
    confirming: Server, simulator: Simulator, mode: str, confirm: str
) -> None:
    host = PictureHost(simulator, RED, BLUE)
    async with confirming(Person(), mode=mode, confirm=confirm, transport=host) as client:
        await order(client, image_start=LINK, resolution="1080p")
    [upload] = simulator.service.uploads.values()
    assert (upload.data, host.fetches) == (RED, 1)
    assert simulator.requests["POST /videos"] == 1


async def test_a_question_without_an_answer_fetches_nothing_again(confirming: Server, simulator: Simulator) -> None:
    arguments: dict[str, Any] = {"prompt": "A fox", "wait_seconds": 0, "image_start": LINK}
    host = PictureHost(simulator, RED, BLUE)
    async with confirming(Person(), transport=host) as client:
        question = await call_raw(client, "generate_video", **arguments)
        again = await answer_question(client, "generate_video", question, None, **arguments)
        assert question_text(again) == question_text(question)
        await answer_question(client, "generate_video", again, AGREED, **arguments)
        # The same question is answered again, with its first state.
        await answer_question(client, "generate_video", question, AGREED, **arguments)
    [upload] = simulator.service.uploads.values()
    assert (upload.data, host.fetches) == (RED, 1)
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize("later", [RED, BLUE], ids=["the same", "another"])
async def test_a_picture_no_longer_held_is_fetched_and_compared(
    confirming: Server, simulator: Simulator, later: bytes
) -> None:
    arguments: dict[str, Any] = {"prompt": "A fox", "wait_seconds": 0, "image_start": LINK}
    host = PictureHost(simulator, RED, later)
    async with confirming(Person(), transport=host) as client:
        question = await call_raw(client, "generate_video", **arguments)
        await pass_time(HOLD_SECONDS)
        result = await answer_question(client, "generate_video", question, AGREED, **arguments)
        if later == BLUE:
            assert result["resultType"] == "input_required"
            assert "changed" in question_text(result)
            assert simulator.requests["POST /videos"] == 0
            result = await answer_question(client, "generate_video", result, AGREED, **arguments)
    assert result["structuredContent"]["state"] == "running"
    [upload] = simulator.service.uploads.values()
    assert (upload.data, host.fetches) == (later, 2)
    assert simulator.requests["POST /videos"] == 1


async def test_a_used_agreement_asks_no_new_question(confirming: Server, simulator: Simulator) -> None:
    arguments: dict[str, Any] = {"prompt": "A fox", "wait_seconds": 0, "image_start": LINK}
    async with confirming(Person(), transport=PictureHost(simulator, RED, BLUE)) as client:
        question = await call_raw(client, "generate_video", **arguments)
        await answer_question(client, "generate_video", question, AGREED, **arguments)
        await pass_time(HOLD_SECONDS)
        late = await answer_question(client, "generate_video", question, AGREED, **arguments)
    assert late["structuredContent"]["error"]["kind"] == "conflict"
    assert simulator.requests["POST /videos"] == 1


def add_question(questions: Questions, name: str, size: int) -> None:
    """Add a question about an order with a picture of `size` bytes."""
    image = InputImage(Source(SourceKind.LINK, LINK), "identity", NormalizedImage(b"x" * size, "image/png"))
    validated = ValidatedRequest({"prompt": "A fox"}, {"image_start": image}, None)
    questions.add(Question("Make it?", validated, validated.key, id=name))


async def test_held_pictures_are_limited_in_bytes() -> None:
    questions = Questions()
    size = MAX_HELD_BYTES // 2
    for state in ("first", "second", "third"):
        add_question(questions, state, size)
    held = {state: bool(q.validated) for state in ("first", "second", "third") if (q := questions.get(state))}
    assert held == {"first": False, "second": True, "third": True}
    add_question(questions, "large", MAX_HELD_BYTES + 1)
    large, third = questions.get("large"), questions.get("third")
    assert large
    assert third
    assert (large.validated is not None, third.validated) == (True, None)


async def test_the_number_of_questions_is_limited() -> None:
    questions = Questions()
    for number in range(MAX_QUESTIONS + 1):
        add_question(questions, str(number), 1)
    assert questions.get("0") is None
    assert questions.get("1") is not None
    assert questions.get(str(MAX_QUESTIONS)) is not None
