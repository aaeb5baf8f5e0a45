"""Tenants with one credential have separate parts of the journal, and no job belongs to two of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.journal.orders import (
    API,
    NOW,
    build_job,
    build_order,
    execute,
    insert,
    open_journal,
    send,
    start_job,
    states,
    writer_lock,
)

from luma_mcp.errors import JournalUnavailable
from luma_mcp.journal.protocol import LimitExceeded, OrderQuery, RateWindow, Usage, join_api, split_api
from luma_mcp.journal.sqlite import EVERY_API

if TYPE_CHECKING:
    from pathlib import Path

    from tests.journal.orders import Place

    from luma_mcp.journal.protocol import Journal, Order

ADA, BOB = join_api(API, "ada"), join_api(API, "bob")
WINDOW = RateWindow(1, NOW - timedelta(hours=1), NOW - timedelta(minutes=1), NOW + timedelta(days=1))


def test_split_api_reverses_join_api() -> None:
    assert split_api(ADA) == (API, "ada")
    assert split_api(API) == (API, "")


async def test_tenants_see_only_their_own_orders(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place, api=BOB) as bob, open_journal(place) as owner:
        order = await start_job(ada, "j1")
        await ada.record_asset("digest", "", "asset")
        for other in (bob, owner):
            assert await other.get(order.id) is None
            assert await other.get_by_jobid("j1", is_certain=True) is None
            assert await other.get_open("fox") is None
            assert await other.list_latest(9) == []
            assert await other.list_running() == []
            assert await other.list_unsettled() == []
            assert await other.find_orders(OrderQuery(), 9) == ([], 0)
            assert await other.list_counted(WINDOW) == []
            assert await other.owned_jobids() == set()
            assert await other.account_of_asset("asset") is None
            assert await other.find_asset("digest", "") is None
        assert await ada.owned_jobids() == {"j1"}
        assert await ada.account_of_asset("asset") == ""
        await ada.record_state(build_job("j1", "completed"))
        for other in (bob, owner):
            assert await other.list_finished("fox") == []
            assert await other.list_deletable(9) == []


async def test_tenants_change_only_their_own_orders(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place, api=BOB) as bob, open_journal(place) as owner:
        await start_job(ada, "j1")
        for other in (bob, owner):
            await other.record_state(build_job("j1", "failed"))
            await other.mark_gone("j1")
            await other.mark_deleted("j1")
            await other.mark_delivered("j1")
        found = await ada.get_by_jobid("j1")
        assert found is not None
        assert (found.state, found.deleted, found.delivered) == ("running", False, False)


async def test_identical_orders_of_two_tenants_are_not_duplicates(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place, api=BOB) as bob:
        first, second = build_order(), build_order()
        assert await insert(ada, first) is None
        assert await insert(bob, second) is None
        assert await ada.mark_sending(first)
        assert await bob.mark_sending(second)
        assert await insert(ada, build_order()) is not None


async def test_limit_counts_the_orders_of_one_tenant(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place, api=BOB) as bob:
        await start_job(ada, "j1")
        with pytest.raises(LimitExceeded):
            await ada.insert_pending(build_order("owl"), allow_duplicate=False, windows=[WINDOW])
        assert await bob.insert_pending(build_order("owl"), allow_duplicate=False, windows=[WINDOW]) is None


async def test_running_job_is_adopted_by_one_tenant_only(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place, api=BOB) as bob, open_journal(place) as owner:
        await start_job(ada, "j1")
        for other in (bob, owner):
            lost = await send(other, "lost")
            assert not await other.adopt(lost, "j1")
            assert await states(other) == {"lost": ("sent", None)}
        assert await bob.owned_jobids(of_all=True) == {"j1"}
        assert await bob.owned_jobids() == set()


async def test_same_jobid_of_another_credential_is_another_job(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place, api=join_api(f"{API} 2", "ada")) as other:
        await start_job(ada, "j1")
        lost = await send(other, "lost")
        assert await other.owned_jobids(of_all=True) == set()
        assert [order.id for order in await other.list_rivals()] == [lost.id]
        assert await other.adopt(lost, "j1")


async def test_adopted_job_returns_to_the_tenant_who_ordered_it(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place, api=BOB) as bob:
        lost, slow = await send(ada, "lost"), await send(bob, "slow")
        assert await ada.adopt(lost, "j1")
        await bob.record_job(slow, "j1")
        assert await states(ada) == {"lost": ("unknown", None)}
        assert await states(bob) == {"slow": ("running", "j1")}


async def test_unsettled_orders_of_all_tenants_are_rivals(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place, api=BOB) as bob, open_journal(place) as owner:
        assert await owner.list_unsettled_tenants() == set()
        await send(ada, "one")
        await bob.mark_unknown(await send(bob, "two", at=NOW + timedelta(seconds=1)))
        await start_job(owner, "j1", "three")
        for journal in (ada, bob, owner):
            assert [order.key for order in await journal.list_rivals()] == ["two", "one"]
            assert await journal.list_unsettled_tenants() == {"ada", "bob"}
        await send(owner, "four")
        assert await ada.list_unsettled_tenants() == {"ada", "bob", ""}


async def test_name_of_the_caller_is_recorded(place: Place) -> None:
    named, unnamed = replace(build_order(), ordered_by="Ada Lovelace"), build_order("owl")
    async with open_journal(place, api=ADA) as journal:
        for order in (named, unnamed):
            assert await insert(journal, order) is None
    async with open_journal(place, api=ADA) as next_process:
        for order in (named, unnamed):
            found = await next_process.get(order.id)
            assert found is not None
            assert found.ordered_by == order.ordered_by


async def test_usage_is_summed_by_tenant_and_model(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada, open_journal(place) as owner:
        for number, (status, used) in enumerate([("completed", 20.0), ("completed", None), ("failed", 0.0)]):
            order = replace(build_order(str(number), at=NOW), ordered_by="Ada", price=7.0)
            await _start_job(ada, order, f"j{number}")
            await ada.record_state(build_job(f"j{number}", status, credits_used=used))
        await _start_job(ada, replace(build_order("old", at=NOW - timedelta(days=2)), ordered_by="Ada"), "j7")
        await send(ada, "lost")
        await insert(ada, build_order("pending"))
        await start_job(owner, "j8")
        await start_job(owner, "j9", "free")
        await owner.record_state(build_job("j9", "failed", charged="no"))
    async with open_journal(place, api=EVERY_API) as every:
        by_ada = Usage(API, "ada", "Ada", "ray-v3", completed=2, failed=1, spent=27.0)
        assert await every.summarize_usage(NOW - timedelta(days=1)) == [
            Usage(API, "", "", "ray-v3", failed=1, running=1, unpriced=1),
            Usage(API, "ada", "", "ray-v3", unknown=1, unpriced=1),
            by_ada,
        ]
        [*_, by_ada_in_all] = await every.summarize_usage()
        assert by_ada_in_all == replace(by_ada, running=1, unpriced=1)
        assert (by_ada.orders, by_ada_in_all.orders) == (3, 4)
    async with open_journal(place, api=ADA) as ada:
        assert [row.tenant for row in await ada.summarize_usage()] == ["ada", "ada"]


async def test_usage_counts_orders_that_cannot_be_read(place: Place) -> None:
    async with open_journal(place, api=ADA) as ada:
        await start_job(ada, "j1")
        execute(place, "UPDATE orders SET request = 'no JSON'")
        assert await ada.summarize_usage() == [Usage(API, "ada", "", None, running=1, unpriced=1)]


async def _start_job(journal: Journal, order: Order, jobid: str) -> None:
    await insert(journal, order)
    await journal.mark_sending(order)
    await journal.record_job(order, jobid)


async def test_certain_lookup_fails_if_the_storage_is_unusable(path: Path) -> None:
    async with open_journal(path, api=ADA) as journal:
        await start_job(journal, "j1")
        with writer_lock(path):
            await journal.mark_gone("no job")
        assert journal.problem is not None
        assert await journal.get_by_jobid("j1", is_certain=True) is not None
        assert await journal.get_by_jobid("j2") is None
        with pytest.raises(JournalUnavailable):
            await journal.get_by_jobid("j2", is_certain=True)
        with pytest.raises(JournalUnavailable):
            await journal.summarize_usage()


async def test_file_of_an_earlier_version_gets_the_caller_column(path: Path) -> None:
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
    execute(path, "ALTER TABLE orders DROP COLUMN ordered_by")
    execute(path, "PRAGMA user_version = 5")
    async with open_journal(path) as journal:
        found = await journal.get_by_jobid("j1")
        assert found is not None
        assert found.ordered_by == ""
        assert await journal.owned_jobids(of_all=True) == {"j1"}
