"""Downloads are complete or absent, fetch no byte twice, and overwrite no other file."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.media.child import run_restricted, start_download
from tests.media.network import LONGER, NEW, OLD, URL, CannedResponse, FileServer, UrlTransport, redirect, resolve

from luma_mcp.errors import DownloadError
from luma_mcp.media.download import STALE_AFTER, download
from luma_mcp.media.safe_http import SafeHttpClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx2

FROM_1500 = "bytes=1500-"


async def save(
    transport: httpx2.AsyncBaseTransport, target: Path, on_progress: Callable[[int, int | None], object] | None = None
) -> Path:
    """Download with a new client, as another process would, for at most an hour of virtual time."""

    async def show(received: int, total: int | None) -> None:
        if on_progress:
            on_progress(received, total)

    http = SafeHttpClient(transport=transport, resolve=resolve)
    with anyio.fail_after(3600):
        return await download(URL, target, http, show)


async def get_failure(
    transport: httpx2.AsyncBaseTransport, target: Path, on_progress: Callable[[int, int | None], object] | None = None
) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        await save(transport, target, on_progress)
    assert str(caught.value) == caught.value.reason
    return caught.value


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def assert_only(target: Path, content: bytes) -> None:
    assert target.read_bytes() == content
    assert list_files(target.parent) == [target.name]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "videos" / "of foxes" / "fox.mp4"


async def test_new_folder_contains_only_the_file(target: Path) -> None:
    assert await save(FileServer(OLD), target) == target
    assert_only(target, OLD)


@pytest.mark.parametrize("sends_length", [True, False])
async def test_progress_grows_with_the_file(target: Path, sends_length: bool) -> None:
    progress: list[tuple[int, int | None]] = []
    breaks = [1500] if sends_length else []
    await save(FileServer(OLD, sends_length=sends_length, breaks=breaks), target, lambda *now: progress.append(now))
    assert [here for here, _ in progress] == list(range(500, len(OLD) + 1, 500))
    assert {total for _, total in progress} == {len(OLD) if sends_length else None}
    assert target.read_bytes() == OLD


async def test_existing_file_with_the_same_name_is_kept(target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    target.with_name("fox-2.mp4").mkdir()
    assert await save(FileServer(OLD), target) == target.with_name("fox-3.mp4")
    assert target.read_bytes() == b"mine"
    assert target.with_name("fox-3.mp4").read_bytes() == OLD


@pytest.mark.parametrize("name", ["fox.mp4", "fox-2.mp4"])
async def test_finished_file_is_not_downloaded_again(target: Path, name: str) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    target.with_name(name).write_bytes(OLD)
    server = FileServer(OLD)
    assert await save(server, target) == target.with_name(name)
    assert (len(server.requested), server.sent) == (1, 0)


async def test_file_created_during_the_download_is_kept(target: Path) -> None:
    written: list[int] = []

    def create_target(here: int, total: int | None) -> None:  # noqa: ARG001
        if not written:
            written.append(target.write_bytes(b"mine"))

    assert await save(FileServer(OLD), target, create_target) == target.with_name("fox-2.mp4")
    assert target.read_bytes() == b"mine"


async def test_two_simultaneous_downloads_save_one_file(target: Path) -> None:
    results: list[Path] = []

    async def save_one() -> None:
        results.append(await save(FileServer(OLD, breaks=[1500]), target))

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(save_one)
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
async def test_broken_connection_is_resumed(
    target: Path, etag: str, headers: dict[str, str], validator: str | None
) -> None:
    server = FileServer(OLD, etag=etag, headers=headers, breaks=[1500, 1000])
    await save(server, target)
    assert target.read_bytes() == OLD
    assert server.requested == [None, FROM_1500, "bytes=2500-"]
    assert server.if_range == [None, validator, validator]


NONSENSE = [("etag", '"é"'), ("content-length", "9" * 5000), ("content-length", "-1"), ("content-range", "9" * 5000)]


@pytest.mark.parametrize(("name", "value"), NONSENSE, ids=lambda text: repr(text[:9]))
async def test_invalid_headers_do_not_damage_the_file(target: Path, name: str, value: str) -> None:
    value = f"bytes 1-2/{value}" if name == "content-range" else value
    try:
        await save(FileServer(OLD, breaks=[1500], headers={name: value}), target)
    except DownloadError:
        assert not target.exists()
    else:
        assert target.read_bytes() == OLD


async def test_download_restarts_if_the_server_has_no_ranges(target: Path) -> None:
    server = FileServer(OLD, breaks=[1500, 700], ranges=False)
    await save(server, target)
    assert_only(target, OLD)


class _WrongRange(FileServer):
    """A server that sends the whole file as a range, whatever range is requested."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        wanted = request.headers.pop("range", None)
        response = await super().handle_async_request(request)
        if wanted:
            response.status_code = 206
            response.headers["content-range"] = f"bytes 0-{len(self.content) - 1}/{len(self.content)}"
        return response


async def test_range_that_was_not_requested_is_not_appended(target: Path) -> None:
    await save(_WrongRange(OLD, breaks=[1500]), target)
    assert_only(target, OLD)


@pytest.mark.parametrize("obeys_if_range", [True, False])
@pytest.mark.parametrize("changed", [NEW, LONGER, OLD[:1000]], ids=["same length", "longer", "shorter than received"])
async def test_changed_file_is_downloaded_again(target: Path, changed: bytes, obeys_if_range: bool) -> None:
    server = FileServer(OLD, breaks=[1500], obeys_if_range=obeys_if_range)

    def change(request: httpx2.Request) -> None:
        if "range" in request.headers:
            server.content, server.etag = changed, '"b"'

    server.on_request = change
    await save(server, target)
    assert_only(target, changed)


async def test_next_download_resumes_a_stuck_one(target: Path) -> None:
    stuck = FileServer(OLD, breaks=[1500], always_breaks=0)
    error = await get_failure(stuck, target)
    assert "kept" in error.reason
    assert not error.expired
    assert set(stuck.requested[1:]) == {FROM_1500}
    assert 3 <= len(stuck.requested) <= 10
    assert not target.exists()
    server = FileServer(OLD)
    assert await save(server, target) == target
    assert server.requested == [None, FROM_1500]
    assert_only(target, OLD)


@pytest.mark.parametrize("kind", ["no ranges", "no length", "only 416"])
async def test_download_gives_up_if_it_always_fails_at_the_same_byte(target: Path, kind: str) -> None:
    server = FileServer(OLD, always_breaks=1500, ranges=kind != "no ranges", sends_length=kind != "no length")

    def refuse_ranges(request: httpx2.Request) -> None:
        if "range" in request.headers:
            server.statuses.append(416)

    if kind == "only 416":
        server.on_request = refuse_ranges
    await get_failure(server, target)
    assert server.sent <= 10 * 1500
    assert not target.exists()


async def test_bytes_of_an_older_version_are_not_resumed(target: Path) -> None:
    server = FileServer(OLD, breaks=[1500])

    def change(request: httpx2.Request) -> None:
        if "range" in request.headers and server.content == OLD:
            server.content, server.etag = LONGER, '"b"'
            target.write_bytes(LONGER)

    server.on_request = change
    assert await save(server, target) == target
    assert list_files(target.parent) == ["fox.mp4"]
    target.unlink()
    assert await save(server, target) == target
    assert target.read_bytes() == LONGER


async def test_cancelled_download_is_resumed(target: Path) -> None:
    with anyio.CancelScope() as scope:
        await save(FileServer(OLD), target, lambda here, _: scope.cancel() if here == 1500 else None)
    assert not target.exists()
    server = FileServer(OLD)
    await save(server, target)
    assert server.requested == [None, FROM_1500]
    assert_only(target, OLD)


@contextmanager
def paused_process(target: Path) -> Iterator[Callable[[], None]]:
    """Start a process that has received 1500 bytes and waits for more. Yields a function that kills it."""
    process = start_download(target)

    def kill() -> None:
        process.kill()
        process.wait(30)

    try:
        yield kill
    finally:
        kill()
        process.communicate()


async def test_download_of_a_killed_process_is_resumed(target: Path) -> None:
    with paused_process(target) as kill:
        kill()
    server = FileServer(OLD)
    await save(server, target)
    assert server.requested == [None, FROM_1500]
    assert_only(target, OLD)


async def test_download_of_a_live_process_is_left_alone(target: Path) -> None:
    with paused_process(target) as kill:
        [theirs] = list_files(target.parent)
        # Even if it has received nothing for a long time.
        os.utime(target.parent / theirs, (0, 0))
        server = FileServer(OLD)
        await save(server, target)
        assert server.requested == [None]
        assert list_files(target.parent) == [theirs, target.name]
        assert (target.parent / theirs).read_bytes() == OLD[:1500]
        kill()
    assert target.read_bytes() == OLD


async def test_download_of_a_cancelled_process_is_resumed(target: Path) -> None:
    process = start_download(target)
    process.communicate(timeout=30)
    server = FileServer(OLD)
    await save(server, target)
    assert server.requested == [None, FROM_1500]
    assert_only(target, OLD)


async def test_only_one_of_two_downloads_resumes(target: Path) -> None:
    with paused_process(target) as kill:
        kill()
    servers = FileServer(OLD), FileServer(OLD)
    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(save, server, target)
    assert sorted(server.requested.count(FROM_1500) for server in servers) == [0, 1]
    assert_only(target, OLD)


async def test_download_that_is_just_starting_is_left_alone(target: Path) -> None:
    with paused_process(target) as kill:
        kill()
    [starting] = target.parent.iterdir()
    # Simulate the moment between its creation and its first byte.
    os.truncate(starting, 0)
    server = FileServer(OLD)
    await save(server, target)
    assert server.requested == [None]
    assert list_files(target.parent) == [starting.name, target.name]


def write_aged_file(path: Path, *, age: float = 0, content: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    written = time.time() - age
    os.utime(path, (written, written))


async def test_useless_partial_files_are_removed(target: Path) -> None:
    old, young = STALE_AFTER + 3600, STALE_AFTER - 3600
    write_aged_file(target.with_name(".fox.mp4.0123abcd.01234567.part"))
    write_aged_file(target.with_name(".fox.mp4.0123abcd.76543210.part"), age=old, content=b"")
    write_aged_file(target.with_name(".owl.mp4.0123abcd.01234567.part"), age=old)
    kept = [".fox.mp4.0123abcd.89abcdef.part", ".owl.mp4.0123abcd.89abcdef.part", ".mine.part", "mine.mp4"]
    # An empty one may belong to a download that is starting. One of another file may be resumed.
    write_aged_file(target.with_name(kept[0]), content=b"")
    write_aged_file(target.with_name(kept[1]), age=young)
    # Not partial files.
    write_aged_file(target.with_name(kept[2]), age=old)
    write_aged_file(target.with_name(kept[3]), age=old)
    await save(FileServer(OLD), target)
    assert list_files(target.parent) == sorted([*kept, target.name])


async def test_largest_partial_file_is_resumed(target: Path) -> None:
    async with anyio.create_task_group() as group:
        for breaks in ([3000], [0, 500]):
            group.start_soon(get_failure, FileServer(OLD, breaks=breaks, always_breaks=0), target)
    server = FileServer(OLD)
    await save(server, target)
    assert server.requested == [None, "bytes=3000-"]


async def test_deleted_partial_file_restarts_the_download(target: Path) -> None:
    server = FileServer(OLD, breaks=[2500])

    def delete_partial_files(request: httpx2.Request) -> None:
        if "range" in request.headers and len(server.requested) == 1:
            for part in target.parent.iterdir():
                part.unlink()

    server.on_request = delete_partial_files
    await save(server, target)
    assert target.read_bytes() == OLD


async def test_truncated_response_is_resumed(target: Path) -> None:
    network = UrlTransport({URL: CannedResponse(200, OLD[:1500], {"content-length": "4000", "etag": '"a"'})})
    error = await get_failure(network, target)
    assert "kept" in error.reason
    await save(FileServer(OLD), target)
    assert target.read_bytes() == OLD


async def test_response_longer_than_its_length_is_not_saved(target: Path) -> None:
    await get_failure(UrlTransport({URL: CannedResponse(200, OLD, {"content-length": "3999"})}), target)
    assert list_files(target.parent) == []


@pytest.mark.parametrize("name", ["fox.mp4", "frames.zip"])
@pytest.mark.parametrize("page", [b"<!doctype html><title>Sorry</title>", b"", b"{}"], ids=repr)
async def test_error_page_is_not_saved(target: Path, name: str, page: bytes) -> None:
    response = CannedResponse(200, page, {"content-length": str(len(page))})
    error = await get_failure(UrlTransport({URL: response}), target.with_name(name))
    assert error.expired
    assert "Sorry" not in error.reason
    assert list_files(target.parent) == []


async def test_compressed_response_is_not_saved(target: Path) -> None:
    response = CannedResponse(200, b"\x1f\x8b", {"content-encoding": "gzip"})
    await get_failure(UrlTransport({URL: response}), target.with_name("last_frame.jpg"))
    assert list_files(target.parent) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_expired_link_is_reported(target: Path, status: int) -> None:
    network = UrlTransport({URL: CannedResponse(status, b"secret")})
    error = await get_failure(network, target)
    assert error.expired
    assert str(status) in error.reason
    assert "secret" not in error.reason
    assert len(network.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_temporary_failure_is_retried(target: Path, status: int) -> None:
    await save(FileServer(OLD, statuses=[status, status]), target)
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest", "//:80/", "ftp://public.example/"], ids=repr)
async def test_unsafe_redirect_is_not_followed(target: Path, location: str) -> None:
    network = UrlTransport({URL: redirect(location)})
    await get_failure(network, target)
    assert len(network.requests) == 1
    assert list_files(target.parent) == []


async def test_full_disk_is_reported(target: Path) -> None:
    error = await get_failure(UrlTransport({URL: CannedResponse(200, OLD, {"content-length": str(10**18)})}), target)
    assert "room" in error.reason
    assert str(target.parent) in error.reason
    assert list_files(target.parent) == []


async def test_only_the_missing_bytes_need_disk_space(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await get_failure(FileServer(OLD, breaks=[3500], always_breaks=0), target)
    usage = shutil.disk_usage(target.parent)
    # A test cannot fill a disk, so it replaces what the system reports.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=499))
    assert "room" in (await get_failure(FileServer(OLD), target)).reason
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=500))
    server = FileServer(OLD)
    await save(server, target)
    assert server.requested == [None, "bytes=3500-"]
    assert_only(target, OLD)


async def test_disk_of_unknown_size_is_used(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some file systems in user space report zeros.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=0, used=0, free=0))
    await save(FileServer(OLD), target)
    assert_only(target, OLD)


@pytest.mark.parametrize("name", ["x" * 139 + ".mp4", "雪" * 46 + ".mp4", "x" * 251 + ".mp4"], ids=ascii)
async def test_name_of_a_partial_file_fits_on_the_disk(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    await get_failure(FileServer(OLD, breaks=[1500], always_breaks=0), target)
    [left] = tmp_path.iterdir()
    assert len(os.fsencode(left.name)) <= max(143, len(os.fsencode(name)))
    server = FileServer(OLD)
    await save(server, target)
    assert server.requested == [None, FROM_1500]
    assert_only(target, OLD)


def plant(kind: str, name: Path, secret: Path) -> None:
    """Create a link, pipe or folder at a file name that another user could guess."""
    if kind == "symlink":
        name.symlink_to(secret)
    elif kind == "relative symlink":
        name.symlink_to(os.path.relpath(secret, name.parent))
    elif kind == "dangling symlink":
        name.symlink_to(secret.with_name("new"))
    elif kind == "hard link":
        os.link(secret, name)
    elif kind == "pipe":
        os.mkfifo(name)
    else:
        name.mkdir()


PLANTED = ["symlink", "relative symlink", "dangling symlink", "hard link", "pipe", "folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="it creates POSIX links and pipes")
@pytest.mark.parametrize("kind", PLANTED)
async def test_nothing_is_written_through_a_planted_partial_file(tmp_path: Path, target: Path, kind: str) -> None:
    # A real download leaves this file, so it has the name that the next one looks for.
    await get_failure(FileServer(OLD, breaks=[1500], always_breaks=0), target)
    [left] = target.parent.iterdir()
    secret = tmp_path / "secret"
    secret.write_bytes(OLD[:1500])
    left.unlink()
    plant(kind, left, secret)
    server = FileServer(OLD)
    await save(server, target)
    assert server.requested == [None]
    assert (secret.read_bytes(), secret.with_name("new").exists()) == (OLD[:1500], False)
    assert (target.is_symlink(), target.stat().st_nlink, target.read_bytes()) == (False, 1, OLD)


@pytest.mark.skipif(sys.platform == "win32", reason="it creates POSIX links and pipes")
@pytest.mark.parametrize("kind", PLANTED)
async def test_planted_target_is_neither_written_nor_used(tmp_path: Path, target: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * len(OLD))
    target.parent.mkdir(parents=True)
    if kind == "hard link":
        secret.write_bytes(b"shorter")
    before = secret.read_bytes()
    plant(kind, target, secret)
    assert await save(FileServer(OLD), target) == target.with_name("fox-2.mp4")
    assert (secret.read_bytes(), secret.with_name("new").exists()) == (before, False)
    assert target.with_name("fox-2.mp4").read_bytes() == OLD


@pytest.mark.skipif(sys.platform == "win32", reason="it creates POSIX links")
async def test_partial_file_that_is_replaced_by_a_link_is_not_saved(tmp_path: Path, target: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    swapped: list[Path] = []

    def swap(here: int, total: int | None) -> None:
        if here == total:
            [left] = target.parent.iterdir()
            left.unlink()
            left.symlink_to(secret)
            swapped.append(left)

    await get_failure(FileServer(OLD), target, swap)
    assert secret.read_bytes() == b"mine"
    assert not target.exists()


@pytest.mark.parametrize("depth", ["videos/of foxes", "videos"])
async def test_file_in_place_of_the_folder_is_reported(tmp_path: Path, target: Path, depth: str) -> None:
    blocking = tmp_path / depth
    blocking.parent.mkdir(exist_ok=True)
    blocking.write_bytes(b"mine")
    error = await get_failure(FileServer(OLD), target)
    assert f"The folder {target.parent} cannot be used" in error.reason
    assert blocking.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "x" * 300 + "/fox.mp4"], ids=["file", "folder"])
async def test_name_that_is_too_long_is_reported(tmp_path: Path, name: str) -> None:
    assert "cannot be used" in (await get_failure(FileServer(OLD), tmp_path / name)).reason


@pytest.mark.skipif(sys.platform == "win32", reason="it changes POSIX permissions")
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o500])
def test_folder_without_permissions_is_reported(target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True)
    target.parent.chmod(mode)
    try:
        output = run_restricted("save", target)
    finally:
        target.parent.chmod(0o700)
    assert f"The folder {target.parent} cannot be written to." in output
