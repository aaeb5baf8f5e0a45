"""Orders are recorded completely and in order, and survive the process."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.conftest import TOKEN
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
)

from luma_mcp.journal.sqlite import EVERY_API
from luma_mcp.service import api_id

if TYPE_CHECKING:
    from tests.journal.orders import Place


async def test_next_process_reads_what_was_written(place: Place) -> None:
    async with open_journal(place) as first:
        order = build_order(save=True)
        await insert(first, order)
        await first.mark_sending(order)
        await first.record_job(order, "j1")
        await first.record_files("j1", ("/videos/fox.mp4",))
    async with open_journal(place) as second:
        found = await second.get_by_jobid("j1")
    assert found is not None
    assert (found.id, found.key, found.request, found.ordered_at) == (order.id, "fox", order.request, NOW)
    assert (found.state, found.sent_at, found.save) == ("running", NOW, True)
    # A database uses its own clock.
    assert found.alive_at == NOW or not isinstance(place, Path)
    assert found.files == ("/videos/fox.mp4",)


async def test_last_delivery_of_a_finished_job_is_recorded(place: Place) -> None:
    now = NOW
    async with open_journal(place, wall_clock=lambda: now) as journal:
        await start_job(journal, "j1")
        await journal.record_state(build_job("j1", "completed"))
        [order] = await journal.list_finished("fox")
        assert (order.delivered, order.delivered_at) == (False, None)
        for minutes in (1, 2):
            now = NOW + timedelta(minutes=minutes)
            await journal.mark_delivered("j1")
            [order] = await journal.list_finished("fox")
            assert (order.delivered, order.delivered_at) == (True, now)


async def test_pending_order_replaces_an_identical_one(place: Place) -> None:
    """A process that was killed before delivery blocks nothing. A slow process may no longer send its order."""
    async with open_journal(place) as slow, open_journal(place) as quick:
        one, two = build_order(), build_order()
        assert await insert(slow, one) is None
        assert await insert(quick, two) is None
        assert await quick.mark_sending(two)
        assert not await slow.mark_sending(one)
        found = await insert(slow, build_order())
        assert found is not None
        assert found.id == two.id


async def test_allowed_duplicate_does_not_replace_the_pending_order(place: Place) -> None:
    async with open_journal(place) as journal:
        one, two = build_order(), build_order()
        await insert(journal, one)
        assert await insert(journal, two, allow_duplicate=True) is None
        assert await journal.mark_sending(one)
        assert await journal.mark_sending(two)


@pytest.mark.parametrize("end", ["completed", "failed", "given_up"])
async def test_finished_order_does_not_count_as_a_duplicate(place: Place, end: str) -> None:
    async with open_journal(place) as journal:
        order = await send(journal)
        if end == "given_up":
            await journal.give_up(order)
        else:
            await journal.record_job(order, "j1")
            await journal.record_state(build_job("j1", end))
        assert await journal.get_open("fox") is None
        assert await insert(journal, build_order()) is None


async def test_undelivered_order_is_pending_again(place: Place) -> None:
    async with open_journal(place) as journal:
        order = await send(journal)
        await journal.mark_not_delivered(order)
        assert await states(journal) == {}
        assert await journal.mark_sending(order)
        await journal.drop_pending(order)
        assert await states(journal) == {"fox": ("sent", None)}
        await journal.mark_not_delivered(order)
        await journal.drop_pending(order)
        assert await journal.get(order.id) is None


async def test_dropped_order_is_forgotten(place: Place) -> None:
    async with open_journal(place) as journal:
        order = await send(journal)
        await journal.drop(order)
        assert await journal.get(order.id) is None
        assert not await journal.mark_sending(order)


async def test_order_with_a_job_keeps_it(place: Place) -> None:
    async with open_journal(place) as journal:
        order = await start_job(journal, "j1")
        await journal.mark_unknown(order)
        await journal.give_up(order)
        await journal.mark_not_delivered(order)
        assert not await journal.mark_sending(order)
        assert not await journal.adopt(order, "j2")
        assert await journal.adopt(order, "j1")
        assert await states(journal) == {"fox": ("running", "j1")}


async def test_adopted_job_returns_to_its_order(place: Place) -> None:
    async with open_journal(place) as journal:
        lost, slow = await send(journal, "lost"), await send(journal, "slow")
        assert await journal.adopt(lost, "j1")
        await journal.record_job(slow, "j1")
        assert await states(journal) == {"lost": ("unknown", None), "slow": ("running", "j1")}
        assert not await journal.adopt(lost, "j1")


async def test_forgotten_order_adopts_nothing(place: Place) -> None:
    async with open_journal(place) as journal:
        order = await send(journal)
        await journal.drop(order)
        assert not await journal.adopt(order, "j1")
        assert await journal.owned_jobids() == set()


async def test_job_of_a_forgotten_order_is_recorded(place: Place) -> None:
    """No jobid is lost."""
    async with open_journal(place) as journal:
        order = build_order()
        await journal.record_job(order, "j1")
        assert await states(journal) == {"fox": ("running", "j1")}
        other = build_order("cat")
        await journal.mark_unknown(other)
        assert [found.key for found in await journal.list_unsettled()] == ["cat"]


@pytest.mark.parametrize("by_api_clock", [True, False])
async def test_time_of_an_order_is_corrected_by_its_finished_job(place: Place, by_api_clock: bool) -> None:
    """Only if nothing but the machine's clock was known, because it may be wrong."""
    ordered_at = NOW - timedelta(days=3)
    async with open_journal(place) as journal:
        order = await send(journal, at=ordered_at)
        await journal.record_job(replace(order, sent_at=ordered_at, by_api_clock=by_api_clock), "j1")
        job = build_job("j1", "completed", seconds=42)
        await journal.record_state(replace(job, status="running"))
        running = await journal.get(order.id)
        await journal.record_state(replace(job, created=None))
        untimed = await journal.get(order.id)
        await journal.record_state(job)
        finished = await journal.get(order.id)
    assert running is not None
    assert untimed is not None
    assert finished is not None
    assert running.by_api_clock == untimed.by_api_clock == by_api_clock
    assert not untimed.has_recorded(job, NOW)
    assert finished.has_recorded(job, NOW)
    expected = ordered_at if by_api_clock else NOW
    assert (finished.ordered_at, finished.sent_at, finished.by_api_clock) == (expected, expected, True)


async def test_end_of_a_job_is_recorded(place: Place) -> None:
    async with open_journal(place) as journal:
        await start_job(journal, "j1")
        await journal.record_state(build_job("j1", "running"))
        running = await journal.get_by_jobid("j1")
        await journal.record_state(build_job("j1", "failed", seconds=42, credits_used=20, failure_reason="moderated"))
        failed = await journal.get_by_jobid("j1")
    assert running is not None
    assert (running.state, running.seconds) == ("running", None)
    assert failed is not None
    assert (failed.state, failed.seconds, failed.credits, failed.error) == ("failed", 42, 20, "moderated")


async def test_vanished_job_counts_as_running_when_it_reappears(place: Place) -> None:
    async with open_journal(place) as journal:
        await start_job(journal, "j1")
        await journal.mark_gone("j1")
        assert await states(journal) == {"fox": ("given_up", "j1")}
        await journal.record_state(build_job("j1", "dreaming"))
        assert await states(journal) == {"fox": ("running", "j1")}
        await journal.record_state(build_job("j1", "completed"))
        await journal.mark_gone("j1")
        await journal.record_state(build_job("j1", "dreaming"))
        assert await states(journal) == {"fox": ("completed", "j1")}


async def test_deleted_job_counts_as_completed(place: Place) -> None:
    async with open_journal(place) as journal:
        for jobid in ("j1", "j2"):
            await start_job(journal, jobid, jobid)
        await journal.record_state(build_job("j2", "failed"))
        for jobid in ("j1", "j2"):
            await journal.mark_deleted(jobid)
        assert await states(journal) == {"j1": ("completed", "j1"), "j2": ("failed", "j2")}
        assert [order.deleted for order in await journal.list_latest(9)] == [True, True]


async def test_deletable_jobs_are_finished_and_newest_first(place: Place) -> None:
    async with open_journal(place) as journal:
        for minute, jobid in enumerate(("old", "running", "deleted", "new")):
            await start_job(journal, jobid, jobid, at=NOW + timedelta(minutes=minute))
            if jobid != "running":
                await journal.record_state(build_job(jobid, "completed"))
        await journal.mark_deleted("deleted")
        assert [order.jobid for order in await journal.list_deletable(9)] == ["new", "old"]
        assert [order.jobid for order in await journal.list_deletable(1)] == ["new"]


async def test_missing_files_are_those_requested_and_not_saved(place: Place) -> None:
    async with open_journal(place) as journal:
        for jobid in ("wanted", "saved", "deleted", "failed", "unwanted", "later"):
            await start_job(journal, jobid, jobid, at=NOW + timedelta(hours=int(jobid == "later")))
            if jobid != "unwanted":
                await journal.request_files(jobid)
        await journal.record_files("saved", ("/videos/fox.mp4",))
        await journal.mark_deleted("deleted")
        await journal.record_state(build_job("failed", "failed"))
        found = await journal.list_missing_files(NOW, NOW + timedelta(hours=1))
        assert [order.jobid for order in found] == ["wanted"]
        assert await journal.list_missing_files(NOW + timedelta(seconds=1), NOW + timedelta(hours=1)) == []


async def test_other_credentials_see_nothing(place: Place) -> None:
    other_token = api_id("https://api.useapi.net/v1/luma", "user:2-other")
    async with open_journal(place) as mine, open_journal(place, api=other_token) as other:
        order = await start_job(mine, "j1")
        assert await other.get_by_jobid("j1") is None
        assert await other.list_latest(9) == []
        assert await other.owned_jobids() == set()
        assert await insert(other, build_order()) is None
        await other.request_files("j1")
        await other.record_job(build_order("cat"), "j1")
        assert await mine.get_by_jobid("j1") is not None
        found = await mine.get(order.id)
        assert found is not None
        assert (found.save, found.jobid) == (False, "j1")


async def test_view_of_every_credential_is_read_only(place: Place) -> None:
    async with open_journal(place) as one, open_journal(place, api="other") as two:
        await start_job(one, "j1")
        await start_job(two, "j2", "cat")
    async with open_journal(place, api=EVERY_API) as everything:
        assert await everything.owned_jobids() == {"j1", "j2"}
        assert {order.jobid for order in await everything.list_latest(9)} == {"j1", "j2"}
        with pytest.raises(ValueError, match="read-only"):
            await insert(everything, build_order())


async def test_view_of_every_credential_creates_no_file(path: Path) -> None:
    async with open_journal(path, api=EVERY_API) as everything:
        assert await everything.list_latest(9) == []
        assert not path.parent.exists()
        assert everything.problem is None
        async with open_journal(path) as journal:
            await start_job(journal, "j1")
        assert [order.jobid for order in await everything.list_latest(9)] == ["j1"]


async def test_files_are_private_and_contain_no_token(path: Path) -> None:
    async with open_journal(path, api=api_id("https://api.useapi.net/v1/luma", TOKEN)) as journal:
        await start_job(journal, "j1")
        files = list(path.parent.iterdir())
        assert {"journal.db", "journal.db.lock"} == {file.name for file in files}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        for file in files:
            assert TOKEN.encode() not in file.read_bytes()


async def test_file_that_others_could_read_becomes_private(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    async with open_journal(path) as journal:
        await start_job(journal, "j1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_old_orders_are_removed_unless_a_job_may_run(place: Place) -> None:
    async with open_journal(place) as journal:
        for key in ("completed", "failed", "given_up", "running", "unknown", "sent"):
            order = await send(journal, key)
            if key in ("completed", "failed", "running"):
                await journal.record_job(order, key)
            if key in ("completed", "failed"):
                await journal.record_state(build_job(key, key))
            if key == "given_up":
                await journal.give_up(order)
            if key == "unknown":
                await journal.mark_unknown(order)
        await insert(journal, build_order("intent"))
        # Their times are from the API's clock.
        execute(place, "UPDATE orders SET by_api_clock = TRUE")
    for days, kept in ((399, 7), (401, 3)):
        async with open_journal(place, now=NOW + timedelta(days=days)) as later:
            await insert(later, replace(build_order("new", at=NOW + timedelta(days=days)), by_api_clock=True))
        assert execute(place, "SELECT COUNT(*) FROM orders WHERE key <> 'new'") == [(kept,)]


@pytest.mark.parametrize("years", [-50, 2])
async def test_wrong_clock_removes_nothing(place: Place, years: int) -> None:
    async with open_journal(place) as journal:
        await start_job(journal, "j1")
        await journal.record_state(build_job("j1", "completed"))
        wrong = NOW + timedelta(days=365 * years)
        await start_job(journal, "j2", "wrong", at=wrong)
        await journal.record_state(build_job("j2", "completed"))
        await insert(journal, build_order("new", at=wrong))
        await insert(journal, replace(build_order("newer", at=NOW), by_api_clock=True))
        assert await journal.owned_jobids() == {"j1", "j2"}


async def test_asset_is_known_for_its_lifetime_and_account(place: Place) -> None:
    async with open_journal(place) as journal, open_journal(place, api="other") as other:
        await journal.record_asset("digest", "a@example.com", "ref-a")
        assert await journal.find_asset("digest", "a@example.com") == "ref-a"
        assert await journal.find_asset("digest", "b@example.com") is None
        assert await journal.is_known_asset("digest")
        assert not await journal.is_known_asset("other")
        assert await journal.account_of_asset("ref-a") == "a@example.com"
        assert await journal.digest_of_asset("ref-a") == "digest"
        assert not await other.is_known_asset("digest")
    for days, found in ((28, "ref-a"), (30, None)):
        async with open_journal(place, now=NOW + timedelta(days=days)) as later:
            assert await later.find_asset("digest", "a@example.com") == found
            assert await later.is_known_asset("digest") == (found is not None)


async def test_asset_is_replaced_and_forgotten(place: Place) -> None:
    async with open_journal(place) as journal:
        await journal.record_asset("digest", "a@example.com", "ref-1")
        await journal.record_asset("digest", "a@example.com", "ref-2")
        assert await journal.find_asset("digest", "a@example.com") == "ref-2"
        assert await journal.account_of_asset("ref-1") is None
        await journal.forget_asset("ref-2")
        assert not await journal.is_known_asset("digest")


async def test_expired_assets_are_removed(place: Place) -> None:
    async with open_journal(place) as journal:
        await journal.record_asset("digest", "a@example.com", "ref-1")
    async with open_journal(place, now=NOW + timedelta(days=30)) as later:
        await later.record_asset("other", "a@example.com", "ref-2")
    assert execute(place, "SELECT asset_ref FROM assets") == [("ref-2",)]


async def test_typical_durations_need_five_finished_jobs(place: Place) -> None:
    kind = {"model": "ray-v3", "resolution": "draft"}
    async with open_journal(place) as journal:
        for number, seconds in enumerate((10, 20, 30, 40, 50)):
            assert await journal.typical_seconds(kind) == [None]
            await start_job(journal, f"j{number}", str(number))
            await journal.record_state(build_job(f"j{number}", "completed", seconds=seconds))
        await start_job(journal, "failed", "failed")
        await journal.record_state(build_job("failed", "failed", seconds=999))
        assert await journal.typical_seconds(kind, {"resolution": "1080p"}) == [(10, 50), None]


async def test_typical_durations_leave_out_extremes_and_old_jobs() -> None:
    async with open_journal(None) as journal:
        for number in range(70):
            await start_job(journal, f"j{number}", str(number), at=NOW + timedelta(seconds=number))
            await journal.record_state(build_job(f"j{number}", "completed", seconds=number))
        # The 50 newest took 20 to 69 s; a tenth of them at each end is left out.
        assert await journal.typical_seconds({"model": "ray-v3"}) == [(25, 64)]
        for number in range(70):
            await journal.record_state(build_job(f"j{number}", "completed", seconds=30))
        assert await journal.typical_seconds({}) == [(30, 31)]


@pytest.mark.parametrize(
    "change",
    ["request = '{not json'", "request = x'00ff'", "request = '[]'", "seconds = 'a while'", "files = 'none'"],
)
async def test_malformed_row_does_not_break_queries(path: Path, change: str) -> None:
    async with open_journal(path) as journal:
        for number in range(6):
            await start_job(journal, f"j{number}", str(number))
            await journal.record_state(build_job(f"j{number}", "completed", seconds=10 + number))
        execute(path, f"UPDATE orders SET {change} WHERE jobid = 'j5'")  # noqa: S608 - from above
        expected = (10, 15 if change.startswith("files") else 14)
        assert await journal.typical_seconds({"model": "ray-v3"}) == [expected]
        assert journal.problem is None
        assert {f"j{number}" for number in range(5)} <= {order.jobid for order in await journal.list_latest(9)}
        assert "j5" in await journal.owned_jobids()


@pytest.mark.parametrize("request_text", ["{not json", "[]", "{}", "7"])
async def test_duplicate_with_an_unreadable_request_is_found(place: Place, request_text: str) -> None:
    async with open_journal(place) as journal:
        order = await start_job(journal, "j1")
        execute(place, "UPDATE orders SET request = ?", request_text)
        found = await insert(journal, build_order())
    assert found is not None
    assert (found.id, found.jobid, found.request) == (order.id, "j1", order.request)


async def test_unreadable_order_does_not_block_identical_ones(path: Path) -> None:
    async with open_journal(path) as journal:
        order = await send(journal)
        execute(path, "UPDATE orders SET ordered_at = 'yesterday'")
        assert await insert(journal, build_order()) is None
        assert execute(path, "SELECT state FROM orders WHERE id = ?", order.id) == [("given_up",)]


async def test_statements_are_executed_in_the_order_of_the_calls(path: Path) -> None:
    awaited: list[str] = []
    async with open_journal(path) as journal:

        async def record(order_number: int) -> None:
            order = build_order(str(order_number))
            awaited.append(order.id)
            await insert(journal, order)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(record, number)
    assert [row[0] for row in execute(path, "SELECT id FROM orders ORDER BY rowid")] == awaited


async def test_closed_journal_refuses_statements(place: Place) -> None:
    async with open_journal(place) as journal:
        order = await send(journal)
        await journal.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await journal.get(order.id)
        with pytest.raises(anyio.ClosedResourceError):
            await journal.drop(order)
        await journal.heartbeat(order)
        await journal.aclose()
    assert execute(place, "SELECT state FROM orders") == [("sent",)]


async def test_journal_without_a_file_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_journal(None) as journal:
        await start_job(journal, "j1")
        await journal.heartbeat(build_order())
        assert await states(journal) == {"fox": ("running", "j1")}
        assert journal.problem is None
    assert list(tmp_path.iterdir()) == []


async def test_same_journal_under_several_credentials(place: Place) -> None:
    async with open_journal(place, api=API) as one, open_journal(place, api="other") as two:
        await start_job(one, "j1")
        await start_job(two, "j1")
        assert await states(one) == await states(two) == {"fox": ("running", "j1")}
