"""Prices in dollars for the API with a price list, and the budget, in text and in structured content."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from tests.clock import pass_time
from tests.conftest import ERAS, resolve, wall_clock
from tests.server.calls import call, order, order_error
from tests.server.declaring import Person, declaring

from luma_mcp.catalog.agents import AGENTS
from luma_mcp.server.app import build_server
from luma_mcp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from luma_mcp.simulator.agents import AgentsSimulator

    Server = Callable[..., Client]

KEY = "luma-api-4711-very-secret"
LIST = "Luma's price list of 2026-10-08"
# Per clip, copied by hand from the price list.
PRICES = {
    "360p, 5s, sdr": 0.06,
    "360p, 10s, sdr": 0.18,
    "540p, 5s, sdr": 0.15,
    "540p, 10s, sdr": 0.45,
    "720p, 5s, sdr": 0.30,
    "720p, 10s, sdr": 0.90,
    "1080p, 5s, sdr": 1.20,
    "1080p, 10s, sdr": 3.60,
    "720p, 5s, hdr": 0.60,
    "1080p, 5s, hdr": 2.40,
    "720p, 5s, hdr_exr": 0.90,
    "1080p, 5s, hdr_exr": 3.60,
}
every_era = pytest.mark.parametrize("mode", ERAS)


@pytest.fixture
def priced(agents_simulator: AgentsSimulator, tmp_path: Path) -> Server:
    """Connects a client to a server for the API with a price list. Takes further settings by name."""
    agents_simulator.token = KEY

    def start(mode: str = ERAS[0], *, is_simulated: bool = False, **settings: str) -> Client:
        environment = {
            "LUMA_AGENTS_API_KEY": KEY,
            "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"),
            "LUMA_MCP_THUMBNAILS": "0",
        }
        parsed = replace(Settings.from_environment(environment | settings), simulated=is_simulated)
        transport = httpx2.ASGITransport(agents_simulator)
        server = build_server(parsed, transport=transport, resolve=resolve, wall_clock=wall_clock)
        return Client(server, mode=mode)

    return start


def assert_no_credits(text: str, content: dict[str, Any]) -> None:
    for name in ("credits_left", "credits_used", "expected_credits"):
        assert name not in content
    assert "credit" not in text


@every_era
async def test_order_states_its_price(priced: Server, mode: str) -> None:
    async with priced(mode) as client:
        text, content = await order(client, resolution="720p", dynamic_range="hdr")
        assert content["cost"] == f"This video costs $0.60 by {LIST}."
        assert (content["price"], content["currency"], content["price_date"]) == (0.6, "USD", "2026-10-08")
        assert content["cost"] in text
        assert_no_credits(text, content)
        text, content = await call(client, "get_job", jobid=content["jobid"], wait_seconds=300)
        assert (content["state"], content["price"]) == ("completed", 0.6)
        assert content["cost"] in text
        assert_no_credits(text, content)


@pytest.mark.parametrize(
    ("behavior", "charged", "cost"),
    [
        ("moderate", "no", None),
        ("exhausted", "unknown", f"This video costs $0.06 by {LIST}; whether that was charged is not known."),
    ],
)
async def test_failed_job_is_not_reported_as_billed(
    priced: Server, behavior: str, charged: str, cost: str | None
) -> None:
    async with priced() as client:
        text, content = await order(client, f"A fox simulate:{behavior}", wait_seconds=300)
        assert (content["error"]["charged"], content.get("cost")) == (charged, cost)
        assert (cost or "not charged") in text
        assert ("price" in content) == (cost is not None)
        _, listed = await call(client, "list_jobs")
    [job] = listed["jobs"]
    assert (job["charged"], job.get("price")) == (charged, 0.06 if cost else None)


async def test_job_of_another_journal_has_no_known_price(priced: Server) -> None:
    async with priced() as client:
        _, content = await order(client)
    async with priced(LUMA_MCP_JOURNAL="off") as client:
        text, content = await call(client, "get_job", jobid=content["jobid"], wait_seconds=300)
    assert content["cost"] == "What this video costs is not known here."
    assert content["cost"] in text
    assert "price" not in content


async def test_options_list_all_prices(priced: Server) -> None:
    async with priced() as client:
        text, content = await call(client, "list_options")
    assert content["prices"] == PRICES
    assert (content["price_source"], content["price_date"], content["currency"]) == (
        "Luma's price list",
        "2026-10-08",
        "USD",
    )
    assert "| 1080p      | $1.20  | $3.60   | $2.40  | $3.60      |" in text
    assert f"One video of these options costs $0.06 to $3.60 by {LIST}." in text
    assert content["cost"] in text
    assert_no_credits(text, content)


@pytest.mark.parametrize(
    ("fixed", "prices"),
    [
        ({"resolution": "360p"}, ["360p, 5s, sdr", "360p, 10s, sdr"]),
        ({"dynamic_range": "hdr"}, ["720p, 5s, hdr", "1080p, 5s, hdr"]),
        ({"resolution": "draft", "duration": "10s"}, ["360p, 10s, sdr"]),
    ],
)
async def test_options_list_only_the_remaining_prices(priced: Server, fixed: dict[str, str], prices: list[str]) -> None:
    async with priced() as client:
        text, content = await call(client, "list_options", **fixed)
    assert content["prices"] == {name: PRICES[name] for name in prices}
    # The table has no other amounts.
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert sum(line.count("$") for line in table) == len(prices)


async def test_simulation_states_the_real_price(priced: Server) -> None:
    async with priced(is_simulated=True) as client:
        text, content = await order(client)
        assert content["cost"] == f"Outside of this simulation, this video would cost $0.06 by {LIST}."
        assert content["cost"] in text
        _, options = await call(client, "list_options", resolution="720p", duration="10s")
    assert options["cost"] == f"Outside of this simulation, one video would cost $0.90 by {LIST}."


async def test_options_without_a_key_have_prices(priced: Server) -> None:
    async with priced(LUMA_AGENTS_API_KEY="", LUMA_MCP_API="agents") as client:
        text, content = await call(client, "list_options")
    assert content["prices"] == PRICES
    assert_no_credits(text, content)


async def test_list_states_prices(priced: Server) -> None:
    async with priced() as client:
        await order(client, "A fox", duration="10s", wait_seconds=300)
        await order(client, "A cat", resolution="1080p")
        text, content = await call(client, "list_jobs")
    assert [job["price"] for job in content["jobs"]] == [1.2, 0.18]
    assert (content["currency"], content["price_date"]) == ("USD", "2026-10-08")
    for amount in ("price $1.20", "price $0.18", f"Prices are those of {LIST}, not what was billed."):
        assert amount in text
    assert "credit" not in text


@pytest.mark.parametrize(("confirm", "questions"), [("always", 2), ("expensive", 1)])
async def test_question_states_the_price(priced: Server, confirm: str, questions: int) -> None:
    person = Person()
    async with declaring(priced(LUMA_MCP_CONFIRM=confirm), asks=person) as client:
        await order(client, "A fox", resolution="1080p")
        await order(client, "A cat")
    assert len(person.questions) == questions
    assert person.questions[0].startswith(f"Make this video? It costs $1.20 by {LIST}.")


@every_era
async def test_budget_is_checked_before_the_question(priced: Server, mode: str) -> None:
    person = Person()
    settings = {"LUMA_MCP_CONFIRM": "always", "LUMA_MCP_BUDGET_PER_DAY": "0.10"}
    async with declaring(priced(mode, **settings), asks=person) as client:
        await order(client, "A fox")
        error = await order_error(client, "A cat")
    assert (error["kind"], len(person.questions)) == ("budget_reached", 1)


async def test_budget_error_is_complete_in_text_and_content(priced: Server) -> None:
    async with priced(LUMA_MCP_BUDGET_PER_DAY="1") as client:
        for number in range(3):
            await order(client, f"Fox {number}", resolution="720p")
            await pass_time(1000)
        text, content = await call(client, "generate_video", prompt="Hen", resolution="720p", wait_seconds=7)
    error = content["error"]
    facts = {name: error[name] for name in ("budget", "spent", "price", "unit", "price_basis", "counted")}
    assert facts == {
        "budget": 1,
        "spent": 0.9,
        "price": 0.3,
        "unit": "dollars",
        "price_basis": "price_list",
        "counted": "all_processes",
    }
    assert (error["charged"], error["retry"], error["next_action"]) == ("no", "later", "ask_user")
    assert (error["available_at"], error["available_in_seconds"]) == ("2026-11-23T00:00:00Z", 83_400)
    assert error["suggestion"] == {
        "prompt": "Hen",
        "model": "ray-3.2",
        "resolution": "360p",
        "aspect_ratio": "16:9",
        "duration": "5s",
        "dynamic_range": "sdr",
        "wait_seconds": 7,
    }
    assert error["suggestion_price"] == AGENTS.price(error["suggestion"]) == 0.06
    for fact in (
        "24 hours ($1.00)",
        "$0.90",
        "costs $0.30",
        "at 2026-11-23 00:00 UTC",
        "in 23 hours",
        "$0.06 and fits",
    ):
        assert fact in text
    assert "Nothing was charged." in text
    assert "credit" not in text


@pytest.mark.parametrize("budget", ["0.05", "3"])
async def test_video_that_exceeds_the_whole_budget(priced: Server, budget: str) -> None:
    async with priced(LUMA_MCP_BUDGET_PER_DAY=budget) as client:
        text, content = await call(client, "generate_video", prompt="Hen", resolution="1080p", duration="10s")
        error = content["error"]
        assert "waiting does not help" in text
        assert (error["retry"], error["next_action"]) == ("after_change", "ask_user")
        assert "available_at" not in error
        assert ("suggestion" in error) == (budget == "3")
        if "suggestion" in error:
            _, made = await call(client, "generate_video", **error["suggestion"])
            assert made["outcome"] == "created"


async def test_order_of_unknown_price_is_allowed_with_a_warning(server: Server) -> None:
    async with server(LUMA_MCP_BUDGET_PER_DAY="30") as client:
        text, content = await order(client, wait_seconds=100)
        [warning] = content["warnings"]
        assert "LUMA_MCP_BUDGET_PER_DAY" in warning
        assert f"Warning: {warning}" in text
        _, content = await order(client, wait_seconds=100)
        assert "warnings" not in content
        text, content = await call(client, "generate_video", prompt="A cat")
    error = content["error"]
    assert (error["kind"], error["unit"], error["price_basis"]) == ("budget_reached", "credits", "such_videos")
    assert (error["budget"], error["spent"], error["price"], error["next_action"]) == (30, 20, 20, "order_later")
    assert "such videos of yours have used up to 20 credits here" in text
    assert "suggestion" not in error


async def test_budget_without_a_journal_counts_one_server(priced: Server) -> None:
    async with priced(LUMA_MCP_BUDGET_PER_DAY="0.1", LUMA_MCP_JOURNAL="off") as client:
        await order(client)
        text, content = await call(client, "generate_video", prompt="A cat")
    assert content["error"]["counted"] == "this_process"
    assert "Only orders of this process are counted, because it has no shared record of orders." in text
