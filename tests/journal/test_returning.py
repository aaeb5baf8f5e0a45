"""When the file is usable again, it gets the current state of the orders that changed in memory.

In each test, `mine` uses memory for a while because the file was locked. Meanwhile `other` uses the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.journal.orders import (
    Clock,
    build_job,
    build_order,
    degrade,
    insert,
    open_journal,
    send,
    start_job,
    states,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from luma_mcp.journal.protocol import Journal


class Machine:
    """Two processes that share a file."""

    def __init__(self, path: Path, clock: Clock, mine: Journal, other: Journal) -> None:
        self.mine = mine
        self.other = other
        self._path = path
        self._clock = clock

    async def degrade_mine(self) -> None:
        await degrade(self.mine, self._path)

    async def restore_file(self) -> None:
        self._clock.pass_retry_time()
        await self.mine.list_latest(1)
        assert self.mine.problem is None


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop, because both behave the same here."""
    return "asyncio"


@pytest.fixture
async def machine(path: Path) -> AsyncIterator[Machine]:
    clock = Clock()
    async with open_journal(path, clock=clock) as mine, open_journal(path) as other:
        yield Machine(path, clock, mine, other)
        assert other.problem is None


async def test_new_order_is_written(machine: Machine) -> None:
    await send(machine.mine, "first")
    await machine.degrade_mine()
    order = await send(machine.mine)
    await machine.mine.mark_unknown(order)
    assert await machine.other.get_open("fox") is None
    await machine.restore_file()
    assert await states(machine.other) == {"first": ("sent", None), "fox": ("unknown", None)}


async def test_new_order_that_was_dropped_is_not_written(machine: Machine) -> None:
    await send(machine.mine, "first")
    await machine.degrade_mine()
    await machine.mine.drop(await send(machine.mine))
    await machine.restore_file()
    assert await states(machine.other) == {"first": ("sent", None)}


async def test_order_that_was_replaced_before_the_lock_is_not_sent(machine: Machine) -> None:
    """Another process removed it before the file was locked."""
    mine = build_order()
    await insert(machine.mine, mine)
    await send(machine.other, "fox")
    theirs = build_order()
    await insert(machine.other, theirs, allow_duplicate=False)
    await machine.other.drop_pending(mine)
    assert not await machine.mine.mark_sending(mine)
    await machine.degrade_mine()
    unsettled = await machine.mine.list_unsettled()
    assert mine.id not in {order.id for order in unsettled}


@pytest.mark.parametrize("marked", [False, True])
async def test_sent_order_that_was_dropped_is_removed(machine: Machine, marked: bool) -> None:
    """The other process may have marked it as unknown meanwhile, because it saw no heartbeat."""
    order = await send(machine.mine)
    await machine.degrade_mine()
    await machine.mine.drop(order)
    if marked:
        await machine.other.mark_unknown(order)
    await machine.restore_file()
    assert await states(machine.other) == {}


@pytest.mark.parametrize("marked", [False, True])
async def test_undelivered_order_must_be_inserted_again(machine: Machine, marked: bool) -> None:
    """The other process may have marked it as unknown meanwhile, because it saw no heartbeat."""
    order = await send(machine.mine)
    await machine.degrade_mine()
    await machine.mine.mark_not_delivered(order)
    if marked:
        await machine.other.mark_unknown(order)
    await machine.restore_file()
    assert await machine.other.get(order.id) is None
    assert not await machine.mine.mark_sending(order)


async def test_undelivered_order_whose_job_was_found_is_kept(machine: Machine) -> None:
    order = await send(machine.mine)
    await machine.degrade_mine()
    await machine.mine.mark_not_delivered(order)
    assert await machine.other.adopt(order, "j1")
    await machine.restore_file()
    assert await states(machine.other) == {"fox": ("running", "j1")}


async def test_job_that_another_process_found_is_kept(machine: Machine) -> None:
    order = await send(machine.mine)
    await machine.degrade_mine()
    await machine.mine.mark_unknown(order)
    assert await machine.other.adopt(order, "j1")
    await machine.restore_file()
    assert await states(machine.other) == {"fox": ("running", "j1")}


async def test_dropped_order_whose_job_was_found_is_kept(machine: Machine) -> None:
    order = await send(machine.mine)
    await machine.degrade_mine()
    await machine.mine.drop(order)
    assert await machine.other.adopt(order, "j1")
    await machine.restore_file()
    assert await states(machine.other) == {"fox": ("running", "j1")}


async def test_pending_order_must_be_inserted_again(machine: Machine) -> None:
    """The file is searched for duplicates before the order is sent."""
    await send(machine.mine, "first")
    await machine.degrade_mine()
    mine = build_order()
    assert await insert(machine.mine, mine) is None
    theirs = await start_job(machine.other, "j1")
    await machine.restore_file()
    assert not await machine.mine.mark_sending(mine)
    found = await insert(machine.mine, mine)
    assert found is not None
    assert found.id == theirs.id


async def test_pending_order_that_was_sent_from_memory_is_written(machine: Machine) -> None:
    """The other process removed the pending order, not knowing that it was sent."""
    mine = build_order()
    await insert(machine.mine, mine)
    await machine.degrade_mine()
    assert await machine.mine.mark_sending(mine)
    theirs = build_order()
    assert await insert(machine.other, theirs) is None
    await machine.restore_file()
    found = await machine.other.get(mine.id)
    assert found is not None
    assert found.state == "sent"


async def test_order_that_its_owner_dropped_is_not_written_again(machine: Machine) -> None:
    order = await send(machine.other)
    await machine.degrade_mine()
    await machine.mine.mark_unknown(order)
    await machine.other.drop(order)
    await machine.restore_file()
    assert await states(machine.other) == {}


@pytest.mark.parametrize("sent", [False, True])
async def test_identical_pending_order_is_removed_unless_sent(machine: Machine, sent: bool) -> None:
    """It belongs to another process, which may have sent it meanwhile."""
    theirs = build_order()
    await insert(machine.other, theirs)
    await machine.degrade_mine()
    assert await insert(machine.mine, build_order()) is None
    if sent:
        assert await machine.other.mark_sending(theirs)
    await machine.restore_file()
    assert (await machine.other.get(theirs.id) is not None) == sent


async def test_response_takes_the_job_from_the_order_that_adopted_it(machine: Machine) -> None:
    lost = await send(machine.other, "lost")
    await machine.degrade_mine()
    mine = await send(machine.mine, "mine")
    await machine.mine.record_job(mine, "j1")
    assert await machine.other.adopt(lost, "j1")
    await machine.restore_file()
    assert await states(machine.other) == {"lost": ("unknown", None), "mine": ("running", "j1")}


async def test_adopted_job_returns_to_the_order_with_the_response(machine: Machine) -> None:
    lost = await send(machine.mine, "lost")
    await machine.degrade_mine()
    assert await machine.mine.adopt(lost, "j1")
    await start_job(machine.other, "j1", "theirs")
    await machine.restore_file()
    assert await states(machine.other) == {"lost": ("unknown", None), "theirs": ("running", "j1")}


async def test_response_takes_precedence_over_an_adopted_job(machine: Machine) -> None:
    order = await send(machine.mine)
    await machine.degrade_mine()
    await machine.mine.record_job(order, "right")
    assert await machine.other.adopt(order, "wrong")
    await machine.restore_file()
    assert await states(machine.other) == {"fox": ("running", "right")}


async def test_job_that_was_adopted_in_the_file_takes_precedence(machine: Machine) -> None:
    order = await send(machine.mine)
    await machine.degrade_mine()
    assert await machine.mine.adopt(order, "mine")
    assert await machine.other.adopt(order, "theirs")
    await machine.restore_file()
    assert await states(machine.other) == {"fox": ("running", "theirs")}


async def test_order_with_a_response_is_written_even_if_dropped(machine: Machine) -> None:
    order = await send(machine.mine)
    await machine.degrade_mine()
    await machine.mine.record_job(order, "j1")
    await machine.other.drop(order)
    await machine.restore_file()
    assert await states(machine.other) == {"fox": ("running", "j1")}


async def test_end_of_a_job_is_written(machine: Machine) -> None:
    await start_job(machine.mine, "j1")
    await machine.degrade_mine()
    await machine.mine.record_state(build_job("j1", "completed", seconds=42, credits_used=20))
    await machine.restore_file()
    found = await machine.other.get_by_jobid("j1")
    assert found is not None
    assert (found.state, found.seconds, found.credits) == ("completed", 42, 20)


async def test_end_of_a_job_in_the_file_replaces_its_disappearance(machine: Machine) -> None:
    await start_job(machine.mine, "j1")
    await machine.degrade_mine()
    await machine.mine.mark_gone("j1")
    await machine.other.record_state(build_job("j1", "failed", failure_reason="moderated"))
    await machine.restore_file()
    found = await machine.other.get_by_jobid("j1")
    assert found is not None
    assert (found.state, found.error) == ("failed", "moderated")


async def test_end_of_a_job_in_memory_replaces_its_disappearance(machine: Machine) -> None:
    await start_job(machine.mine, "j1")
    await machine.degrade_mine()
    await machine.mine.record_state(build_job("j1", "completed"))
    await machine.other.mark_gone("j1")
    await machine.restore_file()
    assert await states(machine.other) == {"fox": ("completed", "j1")}


async def test_files_and_requests_of_both_processes_are_merged(machine: Machine) -> None:
    for jobid in ("j1", "j2", "j3"):
        await start_job(machine.mine, jobid, jobid)
    await machine.degrade_mine()
    await machine.mine.request_files("j1")
    await machine.mine.record_files("j2", ("/videos/2.mp4",))
    await machine.mine.mark_deleted("j3")
    await machine.other.record_state(build_job("j1", "completed"))
    await machine.other.request_files("j2")
    await machine.other.mark_deleted("j2")
    await machine.other.record_files("j3", ("/videos/3.mp4",))
    await machine.restore_file()
    found = {order.key: order for order in await machine.other.list_latest(9)}
    assert (found["j1"].state, found["j1"].save) == ("completed", True)
    assert (found["j2"].files, found["j2"].save, found["j2"].deleted) == (("/videos/2.mp4",), True, True)
    assert (found["j3"].files, found["j3"].deleted, found["j3"].state) == (("/videos/3.mp4",), True, "completed")


async def test_orders_that_did_not_change_are_not_written(machine: Machine) -> None:
    await start_job(machine.mine, "j1")
    order = await send(machine.other, "cat")
    await machine.degrade_mine()
    await machine.other.record_state(build_job("j1", "completed"))
    await machine.other.drop(order)
    await machine.restore_file()
    assert await states(machine.other) == {"fox": ("completed", "j1")}


async def test_assets_of_both_processes_are_merged(machine: Machine) -> None:
    await machine.mine.record_asset("kept", "a@example.com", "ref-kept")
    await machine.mine.record_asset("forgotten", "a@example.com", "ref-forgotten")
    await machine.mine.record_asset("replaced", "a@example.com", "ref-old")
    await machine.degrade_mine()
    await machine.mine.forget_asset("ref-forgotten")
    await machine.mine.record_asset("replaced", "a@example.com", "ref-new")
    await machine.mine.record_asset("mine", "a@example.com", "ref-mine")
    await machine.other.record_asset("theirs", "a@example.com", "ref-theirs")
    await machine.restore_file()
    found = {}
    for digest in ("kept", "forgotten", "replaced", "mine", "theirs"):
        found[digest] = await machine.other.find_asset(digest, "a@example.com")
    assert found == {
        "kept": "ref-kept",
        "forgotten": None,
        "replaced": "ref-new",
        "mine": "ref-mine",
        "theirs": "ref-theirs",
    }


async def test_changes_of_an_earlier_lock_are_not_written_again(machine: Machine) -> None:
    await machine.mine.list_latest(1)
    await machine.degrade_mine()
    first = await send(machine.mine, "first")
    await machine.restore_file()
    await machine.other.drop(first)
    await machine.degrade_mine()
    await send(machine.mine, "second")
    await machine.restore_file()
    assert await states(machine.other) == {"second": ("sent", None)}
