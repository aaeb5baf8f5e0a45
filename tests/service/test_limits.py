"""LUMA_MCP_MAX_JOBS_PER_HOUR: so many orders leave this machine within an hour, and not one more."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import EMAIL, ERAS, TOKEN
from tests.results import told
from tests.transports import Held, Unreliable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Server = Callable[..., Client]

ROOM = 30
HOUR = 3600.0


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "journal.db") if request.param == "file" else "off"


@pytest.fixture
def server(connect: Server, simulator: Simulator, journal: str) -> Server:
    """A server that orders so many within an hour, and an API with room for more."""
    simulator.service.add_account(EMAIL, ROOM)

    def start(most: int, mode: str = ERAS[0], transport: Any = None) -> Client:
        own = {"LUMA_MCP_JOURNAL": journal, "LUMA_MCP_MAX_JOBS_PER_HOUR": str(most)}
        return connect(mode=mode, transport=transport, environment={"USEAPI_TOKEN": TOKEN, **own})

    return start


async def order(client: Client, prompt: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """Its text, and its structured content."""
    return told(await client.call_tool("generate_video", {"prompt": prompt, "wait_seconds": 0, **arguments}))


def kind_of(content: dict[str, Any]) -> str:
    return str(content["error"]["kind"] if "error" in content else content["state"])


@pytest.mark.parametrize("mode", ERAS)
async def test_as_many_as_allowed_are_ordered_and_the_next_is_told_when_it_may_be(
    server: Server, simulator: Simulator, mode: str
) -> None:
    async with server(3, mode) as client:
        for number in range(3):
            assert kind_of((await order(client, f"Fox {number}"))[1]) == "running"
            await pass_time(600)
        text, content = await order(client, "Fox 3")
    error = content["error"]
    assert (error["kind"], error["retry"]) == ("limit_reached", "later")
    for word in ("LUMA_MCP_MAX_JOBS_PER_HOUR", "3 videos", "01:00 UTC", "in 30 minutes", "nothing was spent"):
        assert word in error["message"]
        assert word in text
    assert simulator.requests["POST /videos"] == 3


@pytest.mark.parametrize("ordered_at", [0, 1, 40, 59.5])
async def test_at_the_time_that_was_told_the_next_one_can_be_ordered(server: Server, ordered_at: float) -> None:
    async with server(1) as client:
        await anyio.sleep_until(ordered_at)
        await order(client, "Fox")
        await anyio.sleep_until(600)
        _, refused = await order(client, "Cat")
        told_time = re.search(r"at (\d\d):(\d\d) UTC, in (\d+) minutes", refused["error"]["message"])
        assert told_time
        hours, minutes, from_now = map(int, told_time.groups())
        await anyio.sleep_until(min(hours * 3600 + minutes * 60, 600 + from_now * 60))
        assert kind_of((await order(client, "Cat"))[1]) == "running"


async def test_the_hour_slides_and_each_order_frees_its_own_place(server: Server, simulator: Simulator) -> None:
    async with server(2) as client:
        await order(client, "At once")
        await anyio.sleep_until(1000)
        await order(client, "After 1000 seconds")
        kinds: dict[float, str] = {}
        for time in (HOUR - 1, HOUR + 1, HOUR + 999, HOUR + 1001, 2 * HOUR):
            await anyio.sleep_until(time)
            kinds[time] = kind_of((await order(client, f"At {time}"))[1])
    assert kinds == {
        HOUR - 1: "limit_reached",
        HOUR + 1: "running",
        HOUR + 999: "limit_reached",
        HOUR + 1001: "running",
        2 * HOUR: "limit_reached",
    }
    assert simulator.requests["POST /videos"] == 4


@pytest.mark.parametrize("wish", ["moderate", "broke", "expired", "busy"])
async def test_an_order_that_the_api_refused_does_not_count(server: Server, simulator: Simulator, wish: str) -> None:
    async with server(1) as client:
        for number in range(2):
            _, content = await order(client, f"Fox {number} simulate:{wish}")
            assert kind_of(content) not in ("limit_reached", "running")
        assert kind_of((await order(client, "Fox"))[1]) == "running"
    assert len(simulator.service.jobs) == 1


async def test_an_impossible_order_is_refused_as_such_and_does_not_count(server: Server) -> None:
    async with server(1) as client:
        assert kind_of((await order(client, "Fox", model="ray-9"))[1]) == "invalid_arguments"
        assert kind_of((await order(client, "Fox"))[1]) == "running"
        assert kind_of((await order(client, "Fox", model="ray-9"))[1]) == "invalid_arguments"


async def test_an_order_that_never_arrived_does_not_count(server: Server, simulator: Simulator) -> None:
    way = Unreliable(simulator, *[httpx2.ConnectError("refused")] * 30)
    async with server(1, transport=way) as client:
        assert kind_of((await order(client, "Fox"))[1]) == "network"
        way.faults = []
        assert kind_of((await order(client, "Fox"))[1]) == "running"
    assert len(simulator.service.jobs) == 1


@pytest.mark.parametrize("faults", [1, 30], ids=["and was found", "and was not found"])
async def test_an_order_whose_answer_was_lost_counts(server: Server, simulator: Simulator, faults: int) -> None:
    way = Unreliable(simulator, *[httpx2.ReadTimeout("no answer")] * faults, delivered=True)
    async with server(1, transport=way) as client:
        _, lost = await order(client, "Fox")
        way.faults = []
        await pass_time(1)
        _, second = await order(client, "Another fox")
    assert kind_of(lost) == ("running" if faults == 1 else "outcome_unknown")
    assert kind_of(second) == "limit_reached"
    assert simulator.requests["POST /videos"] == 1


async def test_the_running_job_of_the_same_order_is_returned_and_counts_once(
    server: Server, simulator: Simulator
) -> None:
    async with server(2) as client:
        contents = []
        for new_take in (False, False, True, False, True):
            contents.append((await order(client, "Fox", new_take=new_take))[1])
            await pass_time(1)
    assert [kind_of(content) for content in contents] == ["running"] * 4 + ["limit_reached"]
    assert contents[0]["jobid"] == contents[1]["jobid"] != contents[2]["jobid"]
    assert simulator.requests["POST /videos"] == 2


async def test_a_job_that_failed_or_was_deleted_still_counts(server: Server) -> None:
    async with server(2) as client:
        await order(client, "Fox simulate:fail", wait_seconds=100)
        _, done = await order(client, "Cat", wait_seconds=100)
        await client.call_tool("delete_job", {"jobid": done["jobid"]})
        assert kind_of((await order(client, "Hen"))[1]) == "limit_reached"


@pytest.mark.parametrize("round_", range(3), ids="abc")
async def test_of_ten_calls_at_once_exactly_as_many_order_as_are_allowed(
    server: Server, simulator: Simulator, round_: int
) -> None:
    kinds: Counter[str] = Counter()
    async with server(3) as client:

        async def call(number: int) -> None:
            kinds[kind_of((await order(client, f"Fox {round_} {number}"))[1])] += 1

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(call, number)
    assert kinds == {"running": 3, "limit_reached": 7}
    assert simulator.requests["POST /videos"] == 3


async def test_an_order_that_is_still_on_its_way_counts(server: Server, simulator: Simulator) -> None:
    way, kinds = Held(simulator), list[str]()
    async with server(1, transport=way) as client, anyio.create_task_group() as tasks:

        async def call(prompt: str) -> None:
            kinds.append(kind_of((await order(client, prompt))[1]))

        tasks.start_soon(call, "Fox")
        await way.delivered.wait()
        await pass_time(1)
        await call("Another fox")
        assert kinds == ["limit_reached"]
        way.may_answer.set()
    assert kinds == ["limit_reached", "running"]
    assert simulator.requests["POST /videos"] == 1


@pytest.mark.parametrize("journal", ["file"], indirect=True)
@pytest.mark.parametrize("round_", range(3), ids="abc")
async def test_two_servers_that_share_a_journal_share_the_limit(
    server: Server, simulator: Simulator, round_: int
) -> None:
    kinds: Counter[str] = Counter()
    async with server(3) as one, server(3) as other:

        async def call(client: Client, number: int) -> None:
            kinds[kind_of((await order(client, f"Fox {round_} {number}"))[1])] += 1

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(call, (one, other)[number % 2], number)
    assert kinds == {"running": 3, "limit_reached": 7}
    assert simulator.requests["POST /videos"] == 3


@pytest.mark.parametrize("journal", ["file"], indirect=True)
async def test_a_server_that_starts_anew_knows_what_was_ordered_before(server: Server) -> None:
    async with server(1) as client:
        await order(client, "Fox")
    await pass_time(1)
    async with server(1) as client:
        assert kind_of((await order(client, "Cat"))[1]) == "limit_reached"
        await pass_time(HOUR + 1)
        assert kind_of((await order(client, "Cat"))[1]) == "running"
