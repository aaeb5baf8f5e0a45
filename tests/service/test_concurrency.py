"""Functions that are called periodically while a block runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from luma_mcp.service.concurrency import MOST_TICKS, Ticker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INTERVAL = 2.0


@pytest.fixture
async def ticker() -> AsyncIterator[Ticker]:
    ticker = Ticker(INTERVAL)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker.run)
        yield ticker
        tasks.cancel_scope.cancel()


class Calls:
    """Records the times of its calls. Each call takes `seconds` or raises `error`."""

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.times: list[float] = []
        self.returned = 0
        self._seconds, self._error = seconds, error

    async def __call__(self, elapsed: float) -> None:
        self.times.append(round(elapsed, 3))
        if self._error:
            raise self._error
        await anyio.sleep(self._seconds)
        self.returned += 1


async def test_a_function_is_called_while_the_block_runs(ticker: Ticker) -> None:
    early, late = Calls(), Calls()
    with ticker.ticking(early):
        await anyio.sleep(0.5)
        with ticker.ticking(late):
            await anyio.sleep(5)
        await anyio.sleep(2)
    await anyio.sleep(10)
    assert early.times == [2, 4, 6]
    assert late.times == [2, 4]


async def test_a_slow_function_delays_no_other_and_never_overlaps(ticker: Ticker) -> None:
    slow, quick = Calls(5), Calls()
    with ticker.ticking(slow), ticker.ticking(quick):
        await anyio.sleep(11)
    assert slow.times == [2, 8]
    assert quick.times == [2, 4, 6, 8, 10]


async def test_a_call_ends_with_its_block(ticker: Ticker) -> None:
    slow = Calls(5)
    with ticker.ticking(slow):
        await anyio.sleep(3)
    await anyio.sleep(10)
    assert (slow.times, slow.returned) == ([2], 0)


async def test_an_error_stops_no_block_and_no_other_function(ticker: Ticker, caplog: pytest.LogCaptureFixture) -> None:
    failing, other = Calls(error=ValueError("no reason")), Calls()
    with ticker.ticking(failing), ticker.ticking(other):
        await anyio.sleep(5)
    assert failing.times == other.times == [2, 4]
    assert "no reason" in caplog.text


async def test_many_functions_are_called_less_often(ticker: Ticker) -> None:
    calls = [Calls() for _ in range(5 * MOST_TICKS)]
    async with anyio.create_task_group() as tasks:

        async def run(function: Calls) -> None:
            with ticker.ticking(function):
                await anyio.sleep(20)

        for each in calls:
            tasks.start_soon(run, each)
    assert {tuple(each.times) for each in calls} == {(2, 7, 12, 17)}
