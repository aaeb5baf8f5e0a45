"""Several takes of one request in one call: the orders, the results, and what is charged."""

from __future__ import annotations

import json
import re
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.conftest import BOTH_APIS, ERAS
from tests.results import read_result
from tests.server.calls import call, order, order_error
from tests.server.declaring import TASKS, Person, declaring
from tests.server.test_progress import Reports

from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client
    from mcp.client.session import ClientRequestContext
    from mcp.types import ElicitRequestParams, ElicitResult

    from luma_mcp.simulator.app import Simulator

    Connect = Callable[..., Client]

MAX_BYTES = 6000
every_era = pytest.mark.parametrize("mode", ERAS)
ORDERS = {"useapi": "POST /videos", "agents": "POST /generations"}


def check_size(text: str, content: dict[str, Any]) -> None:
    assert len(text.encode()) <= MAX_BYTES
    assert len(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()) <= MAX_BYTES


def count_orders(simulator: Simulator) -> int:
    return len(simulator.service.jobs)


@BOTH_APIS
@every_era
async def test_each_take_is_ordered_and_the_result_has_all(server: Connect, simulator: Simulator, mode: str) -> None:
    async with server(mode) as client:
        text, content = await order(client, takes=3, wait_seconds=300)
    assert count_orders(simulator) == 3
    assert [job["take"] for job in content["jobs"]] == [1, 2, 3]
    assert {job["jobid"] for job in content["jobs"]} == set(simulator.service.jobs)
    for job in content["jobs"]:
        assert (job["state"], job["outcome"], job["charged"]) == ("completed", "created", "yes")
        assert job["video"]["url"] in text
    assert content["message"] == "All 3 videos are ready."
    assert content["next_action"] == "none"
    assert content["charged"] == "yes"
    assert "failed_orders" not in content


async def test_result_of_four_long_takes_is_short_enough(server: Connect) -> None:
    async with server() as client:
        text, content = await order(client, "A fox in the snow. " * 100, takes=4, wait_seconds=300)
    check_size(text, content)
    for job in content["jobs"]:
        assert job["video"]["url"] in text
        assert job["jobid"] in text


async def test_result_of_eight_jobs_is_short_enough(server: Connect, simulator: Simulator) -> None:
    simulator.service.accounts[next(iter(simulator.service.accounts))].concurrency = 8
    async with server() as client:
        jobids: list[str] = []
        for number in range(8):
            _, content = await order(client, f"{number} " + "A fox in the snow. " * 100)
            jobids.append(content["jobid"])
        for seconds in (0, 300):
            text, content = await call(client, "get_job", jobids=jobids, wait_seconds=seconds)
            check_size(text, content)
            assert [job["jobid"] for job in content["jobs"]] == jobids
            assert all(jobid in text for jobid in jobids)
    for job in content["jobs"]:
        assert job["video"]["url"] in text


class LongLinksTransport(httpx2.AsyncBaseTransport):
    """Makes links as long as the signed links of a cloud storage."""

    def __init__(self, simulator: Simulator, length: int) -> None:
        self._simulated = httpx2.ASGITransport(app=simulator)
        self._suffix = b".mp4?X-Amz-Security-Token=" + b"a" * length

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._simulated.handle_async_request(request)
        if request.method == "POST":
            return response
        body = re.sub(rb"\.mp4(?=[\"?])", self._suffix, await response.aread())
        return httpx2.Response(response.status_code, content=body)


@BOTH_APIS
@pytest.mark.parametrize(("length", "is_repeat"), [(600, True), (1200, False), (2000, True)])
async def test_long_links_displace_no_job(
    server: Connect, simulator: Simulator, *, length: int, is_repeat: bool
) -> None:
    async with server(transport=LongLinksTransport(simulator, length)) as client:
        if is_repeat:
            await order(client, takes=4)
        text, content = await order(client, takes=4, wait_seconds=300)
        check_size(text, content)
        assert "jobs_not_shown" not in content
        assert [job["take"] for job in content["jobs"]] == [1, 2, 3, 4]
        assert {job["jobid"] for job in content["jobs"]} == set(simulator.service.jobs)
        for job in content["jobs"]:
            url = job["video"].get("url")
            assert ("url" in job.get("left_out", ())) == (url is None)
            assert (url or "call get_job with this jobid alone for it") in text
            _, alone = await call(client, "get_job", jobid=job["jobid"])
            assert len(alone["video"]["url"]) > length
    assert any("url" in job["video"] for job in content["jobs"]) == (length < 1200)


class SingleLookUpTransport(httpx2.ASGITransport):
    """Allows one look-up of each job; later ones fail."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self._seen: set[str] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if request.method == "GET" and "/jobs/" in path:
            if path in self._seen:
                return httpx2.Response(500, json={"error": "x" * 5000})
            self._seen.add(path)
        return await super().handle_async_request(request)


async def test_result_of_eight_failed_look_ups_is_short_enough(server: Connect, simulator: Simulator) -> None:
    simulator.service.accounts[next(iter(simulator.service.accounts))].concurrency = 8
    unknown = [f"{number}" + "\N{FOX FACE}" * 62 for number in range(8)]
    jobids: list[str] = []
    async with server(transport=SingleLookUpTransport(simulator)) as client:
        for number in range(8):
            _, content = await order(client, f"{number} " + "\N{FOX FACE}" * 900)
            jobids.append(content["jobid"])
        # First the look-ups succeed, then they fail.
        for each in (jobids, jobids, unknown):
            result = await client.call_tool("get_job", {"jobids": each, "wait_seconds": 30})
            text, content = read_result(result)
            check_size(text, content)
            assert [job["jobid"] for job in content["jobs"]] == each
            if each == jobids:
                assert all("looked up" in (job.get("message") or content["message"]) for job in content["jobs"])
                assert json.dumps({"jobids": jobids}) in content["next_step"]
                assert all(jobid in text for jobid in jobids)


async def test_takes_are_never_a_task(server: Connect) -> None:
    async with declaring(server(), TASKS) as client:
        result = await client.call_tool("generate_video", {"prompt": "A fox", "takes": 2, "wait_seconds": 0})
    _, content = read_result(result)
    assert [job["state"] for job in content["jobs"]] == ["running", "running"]


async def test_one_call_waits_for_several_takes(server: Connect, simulator: Simulator) -> None:
    async with server() as client:
        _, content = await order(client, takes=2)
        jobids = [job["jobid"] for job in content["jobs"]]
        assert content["next_action"] == "get_job"
        assert json.dumps({"jobids": jobids}) in content["next_step"]
        assert "Do not order them again" in content["next_step"]
        began = anyio.current_time()
        text, content = await call(client, "get_job", jobids=jobids, wait_seconds=300)
    assert [job["jobid"] for job in content["jobs"]] == jobids
    assert [job["state"] for job in content["jobs"]] == ["completed", "completed"]
    assert "charged" not in content
    # The call takes as long as the slower job, not as long as both.
    assert anyio.current_time() - began < sum(job.seconds for job in simulator.service.jobs.values())
    assert all(job["video"]["url"] in text for job in content["jobs"])


async def test_a_repeat_orders_only_the_missing_takes(server: Connect, simulator: Simulator) -> None:
    async with server() as client:
        _, first = await order(client)
        _, content = await order(client, takes=3)
        assert [job["outcome"] for job in content["jobs"]] == ["duplicate", "created", "created"]
        assert [job["charged"] for job in content["jobs"]] == ["no", "yes", "yes"]
        assert content["jobs"][0]["jobid"] == first["jobid"]
        _, again = await order(client, takes=3)
        assert [job["jobid"] for job in again["jobs"]] == [job["jobid"] for job in content["jobs"]]
        assert again["charged"] == "no"
    assert count_orders(simulator) == 3


async def test_new_take_orders_as_many_again(server: Connect, simulator: Simulator) -> None:
    async with server() as client:
        await order(client, takes=2)
        await order(client, takes=2, new_take=True)
    assert count_orders(simulator) == 4


async def test_repeating_a_cancelled_call_orders_nothing(server: Connect, simulator: Simulator) -> None:
    async with server() as client:
        with anyio.move_on_after(1):
            await order(client, takes=2, wait_seconds=300)
        assert count_orders(simulator) == 2
        await anyio.sleep(200)
        _, content = await order(client, takes=2)
    assert [job["state"] for job in content["jobs"]] == ["completed", "completed"]
    assert count_orders(simulator) == 2


async def test_paid_takes_are_returned_if_a_later_order_fails(server: Connect, simulator: Simulator) -> None:
    simulator.service.accounts[next(iter(simulator.service.accounts))].concurrency = 2
    async with server() as client:
        text, content = await order(client, takes=4)
        assert [job["take"] for job in content["jobs"]] == [1, 2]
        assert [each["take"] for each in content["failed_orders"]] == [3, 4]
        assert [each["error"]["kind"] for each in content["failed_orders"]] == ["capacity", "conflict"]
        assert {each["error"]["charged"] for each in content["failed_orders"]} == {"no"}
        assert content["message"] == "0 of 4 videos are ready (2 being made, 2 not ordered)."
        assert "take 3 and take 4" in content["note"]
        assert "takes 2 and new_take true" in content["note"]
        for job in content["jobs"]:
            assert job["jobid"] in text
        assert "earlier" not in content["next_step"]
        # The advice of the note orders only the missing takes.
        await call(client, "get_job", jobids=[job["jobid"] for job in content["jobs"]], wait_seconds=300)
        _, rest = await order(client, takes=2, new_take=True)
    assert [job["outcome"] for job in rest["jobs"]] == ["created", "created"]
    assert count_orders(simulator) == 4


class SecondOrderTransport(httpx2.AsyncBaseTransport):
    """Returns a response to the second order, or times out, without sending it to the API."""

    def __init__(self, simulator: Simulator, path: str, answer: httpx2.Response | None) -> None:
        self._simulated = httpx2.ASGITransport(app=simulator)
        self._path, self._answer = path, answer
        self._orders = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST" and request.url.path.endswith(self._path):
            self._orders += 1
            if self._orders == 2:
                if self._answer is None:
                    raise httpx2.ReadTimeout("cut")
                return self._answer
        return await self._simulated.handle_async_request(request)


@BOTH_APIS
@pytest.mark.parametrize("status", [None, 500])
@pytest.mark.parametrize("seconds", [0, 300])
async def test_no_take_is_ordered_after_an_unknown_outcome(
    server: Connect, simulator: Simulator, api: str, status: int | None, seconds: int
) -> None:
    answer = httpx2.Response(status, json={"error": "x" * 5000}) if status else None
    path = ORDERS[api].removeprefix("POST ")
    async with server(transport=SecondOrderTransport(simulator, path, answer)) as client:
        text, content = await order(client, takes=3, wait_seconds=seconds)
    assert [job["take"] for job in content["jobs"]] == [1]
    kinds = [(each["take"], each["error"]["kind"], each["error"]["charged"]) for each in content["failed_orders"]]
    assert kinds == [(2, "outcome_unknown", "unknown"), (3, "conflict", "no")]
    ready = "1 of 3 videos is ready (" if seconds else "0 of 3 videos are ready (1 being made, "
    assert content["message"] == f"{ready}1 not ordered, 1 perhaps ordered)."
    assert count_orders(simulator) == 1
    check_size(text, content)
    # There is a single next step, which does not order the first take again.
    assert all("next_step" not in each["error"] for each in content["failed_orders"])
    if not seconds:
        assert content["next_action"] == "get_job"
        assert content["next_step"].endswith("Do not order them again.")
    else:
        assert content["next_action"] == {"useapi": "list_jobs", "agents": "ask_user"}[api]
    about = content["next_step" if seconds else "note"]
    assert "Whether take 2 was ordered is not known" in about
    assert "takes 1 and new_take true" in about
    assert about in text


@BOTH_APIS
@pytest.mark.parametrize("link", ["no-link", "dead-link"])
async def test_videos_with_unusable_links_are_not_ready(server: Connect, link: str) -> None:
    async with server() as client:
        text, content = await order(client, f"A fox simulate:{link}", takes=2, wait_seconds=300, save=True)
    assert content["message"] == "0 of 2 videos are ready (2 without a link that works)."
    assert "is ready" not in text
    assert all("link" in job["message"] for job in content["jobs"])
    jobids = [job["jobid"] for job in content["jobs"]]
    assert content["next_action"] == "get_job"
    assert json.dumps({"jobids": jobids, "save": True}) in content["next_step"]
    assert "to wait" not in content["next_step"]


@pytest.mark.parametrize("api", ["agents"])
async def test_the_price_is_stated_per_video(server: Connect) -> None:
    async with server() as client:
        text, content = await order(client, takes=2, resolution="540p")
    assert content["cost"].startswith("Each of these videos costs $0.15")
    assert content["cost"] in text


@pytest.mark.parametrize("number", [0, 1])
async def test_a_failed_look_up_hides_no_other_take(server: Connect, simulator: Simulator, number: int) -> None:
    async with server() as client:
        _, content = await order(client, takes=3)
        jobids = [job["jobid"] for job in content["jobs"]]
        simulator.faults.append(Fault("GET", f"/jobs/{jobids[number]}", 500, times=99))
        text, content = await order(client, takes=3)
    assert [job["jobid"] for job in content["jobs"]] == jobids
    assert [job.get("state") for job in content["jobs"]].count("running") == 2
    assert content["jobs"][number]["error"]["kind"] == "upstream"
    # The result does not claim that a take was not ordered.
    assert "failed_orders" not in content
    assert "note" not in content
    assert json.dumps({"jobids": jobids}) in content["next_step"]
    assert all(jobid in text for jobid in jobids)
    assert count_orders(simulator) == 3


@pytest.mark.parametrize("confirm", ["never", "always"])
async def test_a_reached_limit_hides_no_paid_take(server: Connect, simulator: Simulator, confirm: str) -> None:
    person = Person()
    start = partial(server, LUMA_MCP_MAX_JOBS_PER_HOUR="3", LUMA_MCP_CONFIRM=confirm)
    async with declaring(start(), asks=person) as client, start() as other:
        await order(client, takes=2)
        await order(other, "Another one")
        _, content = await order(client, takes=4)
    assert [job["take"] for job in content["jobs"]] == [1, 2]
    kinds = [(each["take"], each["error"]["kind"], each["error"]["charged"]) for each in content["failed_orders"]]
    assert kinds == [(3, "limit_reached", "no"), (4, "conflict", "no")]
    assert content["next_action"] == "get_job"
    assert len(person.questions) == (confirm == "always")
    assert count_orders(simulator) == 3


@every_era
async def test_only_confirmed_takes_are_ordered(server: Connect, simulator: Simulator, mode: str) -> None:
    class SlowPerson(Person):
        """Answers after another chat has received the first take."""

        async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
            await call(other, "get_job", jobid=first["jobid"], wait_seconds=300)
            return await super().__call__(context, params)

    person = SlowPerson()
    confirming = declaring(server(mode, LUMA_MCP_CONFIRM="always"), asks=person)
    async with server() as other, confirming as client:
        _, first = await order(other)
        _, content = await order(client, takes=3)
    [question] = person.questions
    assert question.startswith("Make 2 videos of this?")
    assert count_orders(simulator) == 3
    assert [job["take"] for job in content["jobs"]] == [2, 3]
    [failed] = content["failed_orders"]
    assert (failed["take"], failed["error"]["kind"], failed["error"]["charged"]) == (1, "conflict", "no")


async def test_takes_without_a_job_return_a_plain_error(server: Connect, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 402, b'{"error": "no credits"}', times=9))
    async with server() as client:
        error = await order_error(client, takes=3)
    assert (error["kind"], error["charged"]) == ("payment_required", "no")
    assert count_orders(simulator) == 0


@pytest.mark.parametrize(("takes", "others"), [(2, "The other take was"), (4, "The other 3 takes were")])
async def test_an_uncertain_first_take_prevents_the_others(
    server: Connect, simulator: Simulator, takes: int, others: str
) -> None:
    async with server() as client:
        error = await order_error(client, "A fox simulate:unstarted", takes=takes)
    assert (error["kind"], error["charged"]) == ("outcome_unknown", "unknown")
    assert f"{others} not ordered." in error["message"]
    assert count_orders(simulator) == 0


async def test_the_cost_of_failed_takes_is_stated_once(server: Connect) -> None:
    async with server() as client:
        await call(client, "list_options")
        result = await client.call_tool(
            "generate_video", {"prompt": "A fox simulate:fail", "takes": 3, "wait_seconds": 300}
        )
    text, content = read_result(result)
    assert all("cost" not in job for job in content["jobs"])
    assert text.count(content["cost"]) == 1


async def test_all_failed_takes_are_listed(server: Connect) -> None:
    async with server() as client:
        await order(client, "A fox simulate:fail")
        result = await client.call_tool(
            "generate_video", {"prompt": "A fox simulate:fail", "takes": 2, "wait_seconds": 300}
        )
        _, content = read_result(result)
        assert result.is_error
        assert [job["state"] for job in content["jobs"]] == ["failed", "failed"]
        assert [job["error"]["kind"] for job in content["jobs"]] == ["job_failed", "job_failed"]
        assert content["message"] == "0 of 2 videos are ready (2 failed)."


@pytest.mark.parametrize("api", ["agents"])
@pytest.mark.parametrize("failed", [[2], [1, 2]])
async def test_failed_takes_are_ordered_again_without_the_others(
    server: Connect, simulator: Simulator, failed: list[int]
) -> None:
    arguments: dict[str, Any] = {"prompt": "A fox simulate:fail", "takes": 2, "wait_seconds": 300}
    async with server() as client:
        await order(client, **arguments | {"wait_seconds": 0})
        for number, job in enumerate(simulator.service.jobs.values(), 1):
            if number not in failed:
                job.fails = None
        text, content = read_result(await client.call_tool("generate_video", arguments))
    assert [job["take"] for job in content["jobs"] if job["state"] == "failed"] == failed
    # According to the documentation, the same order may succeed. The same call would order a finished video again.
    again = f"with the same arguments, takes {len(failed)} and new_take true"
    assert again in content["next_step"]
    assert content["next_action"] == "order_later"
    assert again in text
    assert "order it again" not in text


@pytest.mark.parametrize(
    ("limit", "room", "step"), [("3", 2, "takes 2"), ("2", 1, "takes 1"), ("1", 0, "at most 1 an hour")]
)
async def test_the_hourly_limit_counts_all_takes(
    server: Connect, simulator: Simulator, limit: str, room: int, step: str
) -> None:
    async with server(LUMA_MCP_MAX_JOBS_PER_HOUR=limit) as client:
        await order(client, "Another one")
        error = await order_error(client, takes=3)
    assert (error["kind"], error["charged"], error["next_action"]) == ("limit_reached", "no", "ask_user")
    assert f"room for {room} of these 3 videos" in error["message"]
    assert step in error["next_step"]
    assert count_orders(simulator) == 1


@pytest.mark.parametrize("api", ["agents"])
async def test_the_budget_counts_all_takes(server: Connect, simulator: Simulator) -> None:
    # According to the price list, 5 s in 540p cost $0.15.
    async with server(LUMA_MCP_BUDGET_PER_DAY="0.40") as client:
        error = await order_error(client, takes=3, resolution="540p")
        assert (error["kind"], error["charged"]) == ("budget_reached", "no")
        assert "These 3 videos do not fit" in error["message"]
        assert "takes 2" in error["next_step"]
        assert count_orders(simulator) == 0
        _, content = await order(client, takes=2, resolution="540p")
    assert len(content["jobs"]) == count_orders(simulator) == 2


async def test_too_many_takes_are_rejected_with_the_maximum(server: Connect, simulator: Simulator) -> None:
    async with server() as client:
        error = await order_error(client, takes=7)
    assert error["kind"] == "invalid_arguments"
    assert error["suggestion"]["takes"] == 4
    assert count_orders(simulator) == 0


async def test_jobid_and_jobids_exclude_each_other(server: Connect) -> None:
    async with server() as client:
        wrong: list[dict[str, Any]] = [{"jobid": "a", "jobids": ["b"]}, {}, {"jobids": []}, {"jobids": [1]}]
        for arguments in [*wrong, {"jobids": "x" * 600}]:
            result = await client.call_tool("get_job", arguments)
            _, content = read_result(result)
            assert content["error"]["kind"] == "invalid_arguments", arguments


@pytest.mark.parametrize("spelling", [json.dumps, lambda jobids: [f' "{jobid}" ' for jobid in jobids]])
async def test_jobids_in_other_spellings(server: Connect, spelling: Callable[[list[str]], Any]) -> None:
    async with server() as client:
        _, content = await order(client, takes=2)
        jobids = [job["jobid"] for job in content["jobs"]]
        _, content = await call(client, "get_job", jobids=spelling(jobids), wait_seconds=0)
    assert [job["jobid"] for job in content["jobs"]] == jobids


async def test_one_of_several_jobs_is_not_found(server: Connect) -> None:
    async with server() as client:
        _, first = await order(client, wait_seconds=300)
        result = await client.call_tool("get_job", {"jobids": [first["jobid"], first["jobid"].replace("email", "e")]})
    text, content = read_result(result)
    assert not result.is_error
    assert content["jobs"][0]["state"] == "completed"
    assert content["jobs"][1]["error"]["kind"] in ("not_found", "invalid_arguments", "forbidden")
    assert content["jobs"][1]["jobid"] in text
    assert content["message"] == "1 of 2 videos is ready (1 could not be looked up)."


async def test_the_next_step_names_its_jobs(server: Connect, simulator: Simulator) -> None:
    simulator.service.accounts[next(iter(simulator.service.accounts))].concurrency = 8
    jobids: list[str] = []
    async with server() as client:
        for what in (
            "instant",
            "fail simulate:instant",
            "fail simulate:instant",
            "stuck simulate:aged=7200",
            "takes=9",
        ):
            _, content = await order(client, f"{len(jobids)} simulate:{what}")
            jobids.append(content["jobid"])
        _, content = await call(client, "get_job", jobids=jobids, wait_seconds=0)
        # Waiting for the running job comes first.
        assert content["next_action"] == "get_job"
        assert json.dumps({"jobid": jobids[4]}) in content["next_step"]
        text, content = await call(client, "get_job", jobids=jobids, wait_seconds=20)
    assert content["next_action"] == "ask_user"
    assert content["next_step"].startswith("Video 4: It may be stuck.")
    assert "Video 2 and Video 3: Change the prompt" in content["next_step"]
    assert content["next_step"] in text
    assert all("next_action" not in job for job in content["jobs"])
    # The text and the content state how long the job is overdue.
    assert "119 minutes more than such videos usually take" in content["jobs"][3]["message"]
    assert content["jobs"][3]["message"] in text


async def test_the_progress_of_takes_starts_with_the_call(server: Connect, simulator: Simulator) -> None:
    simulator.service.accounts[next(iter(simulator.service.accounts))].concurrency = 1
    reports = Reports()
    arguments = {"prompt": "A fox", "takes": 2, "wait_seconds": 300}
    async with server() as client:
        await client.call_tool("generate_video", arguments, progress_callback=reports)
    times = [float(message.rpartition("(")[2].removesuffix(" s)")) for message in reports.messages]
    assert all(one < other for one, other in pairwise(reports.values))
    assert all(one < other for one, other in pairwise(times))
    assert times[-1] > 60
