"""A saved file is whole or is not there; what is loaded once is not loaded again; nobody's file is written over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from tests.media.places import (
    LONGER,
    NEW,
    OLD,
    URL,
    Answer,
    Network,
    Shelf,
    files,
    leave_part,
    not_saved,
    redirect,
    saved,
)

from luma_mcp.media.download import NotSaved, save
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.simulator.app import PREFIX
from luma_mcp.simulator.records import MEDIA
from luma_mcp.simulator.serve import new_simulator, running

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

FROM_1500 = "bytes=1500-"


def assert_only(target: Path, content: bytes) -> None:
    assert target.read_bytes() == content
    assert files(target.parent) == [target.name]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "videos" / "of foxes" / "fox.mp4"


async def test_a_whole_file_stands_in_a_folder_that_is_made_and_nothing_beside_it(target: Path) -> None:
    assert await saved(Shelf(OLD), target) == target
    assert_only(target, OLD)


@pytest.mark.parametrize("says_length", [True, False])
async def test_the_bytes_that_are_here_are_told_as_they_grow(target: Path, says_length: bool) -> None:
    told: list[tuple[int, int | None]] = []
    breaks = [1500] if says_length else []
    await saved(Shelf(OLD, says_length=says_length, breaks=breaks), target, lambda *now: told.append(now))
    assert [here for here, _ in told] == list(range(500, len(OLD) + 1, 500))
    assert {total for _, total in told} == {len(OLD) if says_length else None}
    assert target.read_bytes() == OLD


async def test_another_file_of_that_name_stays_and_the_new_one_gets_the_next_name(target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    target.with_name("fox-2.mp4").mkdir()
    assert await saved(Shelf(OLD), target) == target.with_name("fox-3.mp4")
    assert target.read_bytes() == b"mine"
    assert target.with_name("fox-3.mp4").read_bytes() == OLD


@pytest.mark.parametrize("name", ["fox.mp4", "fox-2.mp4"])
async def test_a_file_that_is_there_already_is_not_loaded_again(target: Path, name: str) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    target.with_name(name).write_bytes(OLD)
    shelf = Shelf(OLD)
    assert await saved(shelf, target) == target.with_name(name)
    assert (len(shelf.asked), shelf.sent) == (1, 0)


async def test_a_file_that_appears_under_the_name_meanwhile_stays(target: Path) -> None:
    written: list[int] = []

    def appear(here: int, total: int | None) -> None:  # noqa: ARG001
        if not written:
            written.append(target.write_bytes(b"mine"))

    assert await saved(Shelf(OLD), target, appear) == target.with_name("fox-2.mp4")
    assert target.read_bytes() == b"mine"


async def test_two_that_save_the_same_at_once_end_with_one_file(target: Path) -> None:
    results: list[Path] = []

    async def one() -> None:
        results.append(await saved(Shelf(OLD, breaks=[1500]), target))

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(one)
    assert results == [target, target]
    assert_only(target, OLD)


@pytest.mark.parametrize(
    ("etag", "headers", "validator"),
    [
        ('"a"', {}, '"a"'),
        ('W/"a"', {"last-modified": "Sun, 22 Nov 2026 00:00:00 GMT"}, "Sun, 22 Nov 2026 00:00:00 GMT"),
        ("", {}, None),
    ],
    ids=repr,
)
async def test_a_broken_download_goes_on_where_it_was_if_the_file_is_still_the_same(
    target: Path, etag: str, headers: dict[str, str], validator: str | None
) -> None:
    shelf = Shelf(OLD, etag=etag, headers=headers, breaks=[1500, 1000])
    await saved(shelf, target)
    assert target.read_bytes() == OLD
    assert shelf.asked == [None, FROM_1500, "bytes=2500-"]
    assert shelf.if_range == [None, validator, validator]


NONSENSE = [("etag", '"é"'), ("content-length", "9" * 5000), ("content-length", "-1"), ("content-range", "9" * 5000)]


@pytest.mark.parametrize(("name", "value"), NONSENSE, ids=lambda text: repr(text[:9]))
async def test_headers_that_make_no_sense_end_in_a_file_or_a_reason(target: Path, name: str, value: str) -> None:
    value = f"bytes 1-2/{value}" if name == "content-range" else value
    try:
        await saved(Shelf(OLD, breaks=[1500], headers={name: value}), target)
    except NotSaved:
        assert not target.exists()
    else:
        assert target.read_bytes() == OLD


async def test_a_server_that_knows_no_ranges_starts_again(target: Path) -> None:
    shelf = Shelf(OLD, breaks=[1500, 700], ranges=False)
    await saved(shelf, target)
    assert_only(target, OLD)


@pytest.mark.parametrize("heeds_if_range", [True, False])
@pytest.mark.parametrize("changed", [NEW, LONGER, OLD[:1000]], ids=["same length", "longer", "shorter than the part"])
async def test_a_file_that_changes_between_is_loaded_anew(target: Path, changed: bytes, heeds_if_range: bool) -> None:
    shelf = Shelf(OLD, breaks=[1500], heeds_if_range=heeds_if_range)

    def change(request: httpx2.Request) -> None:
        if "range" in request.headers:
            shelf.content, shelf.etag = changed, '"b"'

    shelf.on_request = change
    await saved(shelf, target)
    assert_only(target, changed)


async def test_a_download_that_gets_nowhere_is_given_up_and_goes_on_the_next_time(target: Path) -> None:
    stuck = Shelf(OLD, breaks=[1500], always_breaks=0)
    error = await not_saved(stuck, target)
    assert "kept" in error.message
    assert not error.expired
    assert set(stuck.asked[1:]) == {FROM_1500}
    assert 3 <= len(stuck.asked) <= 10
    assert not target.exists()
    shelf = Shelf(OLD)
    assert await saved(shelf, target) == target
    assert shelf.asked == [None, FROM_1500]
    assert_only(target, OLD)


@pytest.mark.parametrize("kind", ["no ranges", "no length", "only 416"])
async def test_a_server_that_breaks_off_always_at_the_same_place_is_given_up(target: Path, kind: str) -> None:
    shelf = Shelf(OLD, always_breaks=1500, ranges=kind != "no ranges", says_length=kind != "no length")

    def refuse_ranges(request: httpx2.Request) -> None:
        if "range" in request.headers:
            shelf.statuses.append(416)

    if kind == "only 416":
        shelf.on_request = refuse_ranges
    await not_saved(shelf, target)
    assert shelf.sent <= 10 * 1500
    assert not target.exists()


async def test_bytes_of_an_older_file_are_not_taken_for_those_of_a_newer(target: Path) -> None:
    shelf = Shelf(OLD, breaks=[1500])

    def change(request: httpx2.Request) -> None:
        if "range" in request.headers and shelf.content == OLD:
            shelf.content, shelf.etag = LONGER, '"b"'
            target.write_bytes(LONGER)

    shelf.on_request = change
    assert await saved(shelf, target) == target
    assert files(target.parent) == ["fox.mp4"]
    target.unlink()
    assert await saved(shelf, target) == target
    assert target.read_bytes() == LONGER


async def test_a_cancelled_download_goes_on_the_next_time(target: Path) -> None:
    with anyio.CancelScope() as scope:
        await saved(Shelf(OLD), target, lambda here, _: scope.cancel() if here == 1500 else None)
    assert not target.exists()
    shelf = Shelf(OLD)
    await saved(shelf, target)
    assert shelf.asked == [None, FROM_1500]
    assert_only(target, OLD)


@pytest.mark.parametrize(("seconds_ago", "asked"), [(3600, [None, FROM_1500]), (0, [None])], ids=["abandoned", "live"])
async def test_only_a_part_that_nobody_writes_to_is_gone_on_with(
    target: Path, seconds_ago: float, asked: list[str | None]
) -> None:
    await leave_part(target, seconds_ago=seconds_ago)
    shelf = Shelf(OLD)
    await saved(shelf, target)
    assert shelf.asked == asked
    assert target.read_bytes() == OLD


async def test_an_abandoned_part_is_gone_on_with_by_one_only(target: Path) -> None:
    await leave_part(target, seconds_ago=3600)
    shelves = Shelf(OLD), Shelf(OLD)
    async with anyio.create_task_group() as group:
        for shelf in shelves:
            group.start_soon(saved, shelf, target)
    assert sorted(shelf.asked.count(FROM_1500) for shelf in shelves) == [0, 1]
    assert target.read_bytes() == OLD


async def test_a_longer_part_is_not_given_up_for_a_shorter_one(target: Path) -> None:
    async with anyio.create_task_group() as group:
        for breaks in ([3000], [0, 500]):
            group.start_soon(not_saved, Shelf(OLD, breaks=breaks, always_breaks=0), target)
    shelf = Shelf(OLD)
    await saved(shelf, target)
    assert shelf.asked == [None, "bytes=3000-"]


async def test_a_part_that_is_taken_away_meanwhile_makes_no_wrong_file(target: Path) -> None:
    shelf = Shelf(OLD, breaks=[2500])

    def take_away(request: httpx2.Request) -> None:
        if "range" in request.headers and len(shelf.asked) == 1:
            for part in target.parent.iterdir():
                part.unlink()

    shelf.on_request = take_away
    await saved(shelf, target)
    assert target.read_bytes() == OLD


async def test_an_answer_shorter_than_it_said_goes_on_until_it_is_whole(target: Path) -> None:
    network = Network({URL: Answer(200, OLD[:1500], {"content-length": "4000", "etag": '"a"'})})
    error = await not_saved(network, target)
    assert "kept" in error.message
    await saved(Shelf(OLD), target)
    assert target.read_bytes() == OLD


async def test_an_answer_longer_than_it_said_is_no_file(target: Path) -> None:
    await not_saved(Network({URL: Answer(200, OLD, {"content-length": "3999"})}), target)
    assert files(target.parent) == []


@pytest.mark.parametrize("name", ["fox.mp4", "frames.zip"])
@pytest.mark.parametrize("page", [b"<!doctype html><title>Sorry</title>", b"", b"{}"], ids=repr)
async def test_a_page_is_no_video(target: Path, name: str, page: bytes) -> None:
    answer = Answer(200, page, {"content-length": str(len(page))})
    error = await not_saved(Network({URL: answer}), target.with_name(name))
    assert error.expired
    assert "Sorry" not in error.message
    assert files(target.parent) == []


async def test_a_compressed_answer_is_not_taken_for_the_file(target: Path) -> None:
    answer = Answer(200, b"\x1f\x8b", {"content-encoding": "gzip"})
    await not_saved(Network({URL: answer}), target.with_name("last_frame.jpg"))
    assert files(target.parent) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_link_that_is_no_longer_good_is_told_as_expired(target: Path, status: int) -> None:
    network = Network({URL: Answer(status, b"secret")})
    error = await not_saved(network, target)
    assert error.expired
    assert str(status) in error.message
    assert "secret" not in error.message
    assert len(network.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_passing_trouble_of_the_place_is_waited_for(target: Path, status: int) -> None:
    await saved(Shelf(OLD, statuses=[status, status]), target)
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest", "//:80/", "ftp://public.example/"], ids=repr)
async def test_a_redirect_to_what_is_no_public_link_is_not_followed(target: Path, location: str) -> None:
    network = Network({URL: redirect(location)})
    await not_saved(network, target)
    assert len(network.asked) == 1
    assert files(target.parent) == []


async def test_a_file_that_the_disk_has_no_room_for_is_not_begun(target: Path) -> None:
    error = await not_saved(Network({URL: Answer(200, OLD, {"content-length": str(10**18)})}), target)
    assert "room" in error.message
    assert str(target.parent) in error.message
    assert files(target.parent) == []


@pytest.mark.parametrize("depth", ["videos/of foxes", "videos"])
async def test_a_file_in_the_place_of_the_folder_is_told_and_left(tmp_path: Path, target: Path, depth: str) -> None:
    blocking = tmp_path / depth
    blocking.parent.mkdir(exist_ok=True)
    blocking.write_bytes(b"mine")
    error = await not_saved(Shelf(OLD), target)
    assert f"The folder {target.parent} cannot be used" in error.message
    assert blocking.read_bytes() == b"mine"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", ["16x9-5s-sdr.mp4", "frames-exr.zip", "16x9-thumbnail.jpg"])
async def test_a_finished_jobs_media_are_saved_over_real_sockets(tmp_path: Path, name: str) -> None:
    async def tell(here: int, total: int | None) -> None:
        assert total == (MEDIA / name).stat().st_size >= here

    with running(new_simulator()) as base_url:
        links = SafeHttpClient(own=base_url)
        try:
            url = f"{base_url.removesuffix(PREFIX)}/media/any/{name}"
            assert await save(url, tmp_path / name, links, tell) == tmp_path / name
        finally:
            await links.aclose()
    assert (tmp_path / name).read_bytes() == (MEDIA / name).read_bytes()
