"""Finished videos are copied into the store once, and results have its links."""

from __future__ import annotations

import json
import logging
import os
from fnmatch import fnmatch
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import pytest
from tests.cli.commands import run_command
from tests.clock import pass_time
from tests.conftest import BOTH_APIS, ERAS, resolve
from tests.hosting.s3 import BUCKET, Bucket, running_bucket
from tests.server.calls import call, order
from tests.server.declaring import APPS, declaring
from tests.server.test_saving import Media, sent

from luma_mcp.api.protocol import Job, JobFiles
from luma_mcp.api.protocol import Media as MediaFile
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.store import StoreError, VideoStore, list_origins
from luma_mcp.server.messages import NOT_STORED, STORED
from luma_mcp.service.stored_files import FileStore
from luma_mcp.service.tenants import Tenant, current_tenant
from luma_mcp.simulator.state import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Hosted = Callable[..., Client]

VIDEO, FRAMES = (MEDIA / "16x9-5s-sdr.mp4").read_bytes(), MEDIA / "frames-exr.zip"
READY = {"prompt": "A fox in the snow", "wait_seconds": 200}
WEEK = "604800"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with running_bucket() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-store-key")
        yield running


@pytest.fixture
def store(bucket: Bucket, tmp_path: Path) -> str:
    """The URL of a store in the bucket. It differs in each test, because a process opens each store once."""
    assert bucket.url
    return f"s3://{BUCKET}/{tmp_path.name}"


def digest(jobid: str) -> str:
    return blake2b(jobid.encode(), digest_size=16).hexdigest()


def is_signed(link: str, bucket: Bucket, key: str) -> bool:
    query = parse_qs(urlsplit(link).query)
    return link.startswith(f"{bucket.url}/{BUCKET}/{key}?") and query["X-Amz-Expires"] == [WEEK]


@BOTH_APIS
@pytest.mark.parametrize("mode", ERAS)
async def test_a_finished_video_is_copied_once_and_its_link_is_renewed(
    hosted: Hosted, bucket: Bucket, store: str, mode: str
) -> None:
    async with hosted(mode, LUMA_MCP_STORE=store) as client:
        text, content = await call(client, "generate_video", **READY)
        _, again = await call(client, "get_job", jobid=content["jobid"])
    # A replica knows nothing of what this one has done.
    async with hosted(mode, LUMA_MCP_STORE=store) as client:
        _, elsewhere = await call(client, "get_job", jobid=content["jobid"])
    [(key, stored)] = bucket.objects.items()
    assert key == f"{store.rpartition('/')[2]}/owner/{digest(content['jobid'])}/video.mp4"
    assert "@" not in key
    assert (stored == VIDEO, bucket.types[key], len(bucket.uploads)) == (True, "video/mp4", 1)
    for each in (content, again, elsewhere):
        assert is_signed(each["video"]["url"], bucket, key)
        assert STORED in each["note"]
    assert content["video"]["url"] in text


async def test_frames_and_takes_are_copied_as_well(hosted: Hosted, bucket: Bucket, store: str) -> None:
    async with hosted(LUMA_MCP_STORE=store) as client:
        text, content = await call(client, "generate_video", **READY, takes=2, dynamic_range="hdr_exr")
    assert len(bucket.objects) == 4
    for job in content["jobs"]:
        key = f"{store.rpartition('/')[2]}/owner/{digest(job['jobid'])}/video-exr.zip"
        assert bucket.objects[key] == FRAMES.read_bytes()
        assert is_signed(job["exr_zip_url"], bucket, key)
        assert job["video"]["url"].startswith(bucket.url)
    assert text.count("X-Amz-Signature") == 4


async def test_a_large_file_arrives_whole_in_parts(bucket: Bucket, store: str, tmp_path: Path) -> None:
    content = os.urandom(12_000_000)

    async def fetch(write: Callable[[bytes], Any]) -> None:
        for start in range(0, len(content), 70_001):
            await write(content[start : start + 70_001])

    await VideoStore(store).put("large", "video/mp4", fetch)
    assert bucket.objects[f"{tmp_path.name}/large"] == content
    assert sum(method == "PUT" for method, _ in bucket.requests) == 3


async def test_nothing_remains_of_an_interrupted_file(bucket: Bucket, store: str) -> None:
    async def fetch(write: Callable[[bytes], Any]) -> None:
        await write(b"x" * 6_000_000)
        raise EOFError

    with pytest.raises(EOFError):
        await VideoStore(store).put("broken", "video/mp4", fetch)
    assert (bucket.objects, bucket.parts) == ({}, {})


async def test_a_store_that_refuses_leaves_the_link_of_the_api(hosted: Hosted, bucket: Bucket, store: str) -> None:
    bucket.refuses = 403
    async with hosted(LUMA_MCP_STORE=store) as client:
        text, content = await call(client, "generate_video", **READY)
        assert "/media/" in content["video"]["url"]
        assert NOT_STORED["failed"] in text
        bucket.refuses = None
        _, later = await call(client, "get_job", jobid=content["jobid"])
    assert later["video"]["url"].startswith(bucket.url)


async def test_an_error_page_is_not_copied(hosted: Hosted, simulator: Simulator, bucket: Bucket, store: str) -> None:
    page = Media(simulator, mp4=sent(b"<html>Please sign in to see this video.</html>"))
    async with hosted(transport=page, LUMA_MCP_STORE=store) as client:
        text, content = await call(client, "generate_video", **READY)
    assert NOT_STORED["failed"] in text
    assert "/media/" in content["video"]["url"]
    assert (bucket.objects, bucket.parts) == ({}, {})


class Lease:
    """The lease of another machine, which has it until it is released."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.is_free = False

    async def acquire(self, name: str, seconds: float) -> bool:
        assert seconds > 0
        self.names.append(name)
        return self.is_free

    async def release(self, name: str) -> None:
        assert name in self.names
        self.is_free = True


class SharedJournal:
    def __init__(self) -> None:
        self.replicas = Lease()


def file_store(simulator: Simulator, store: str) -> tuple[FileStore, SharedJournal]:
    journal = SharedJournal()
    http = SafeHttpClient(transport=httpx2.ASGITransport(simulator), resolve=resolve)
    api: Any = None
    shared: Any = journal
    return FileStore(VideoStore(store), api, shared, http), journal


def finished_job() -> Job:
    link = "https://cdn.example.com/media/k/16x9-5s-sdr.mp4"
    return Job("j1-bot:luma", "completed", files=JobFiles(video=MediaFile(link)))


async def test_file_is_not_copied_while_another_machine_copies_it(
    simulator: Simulator, bucket: Bucket, store: str
) -> None:
    files, journal = file_store(simulator, store)
    first = await files.keep(finished_job(), seconds=60)
    assert (first.links, first.problem, bucket.objects) == ({}, "unfinished", {})
    journal.replicas.is_free = True
    second = await files.keep(finished_job(), seconds=60)
    assert (set(second.links), second.problem, len(bucket.objects)) == ({"video"}, None, 1)
    assert {name.partition(":")[0] for name in journal.replicas.names} == {"store"}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_hanging_store_causes_no_delay(simulator: Simulator, bucket: Bucket, store: str) -> None:
    files, journal = file_store(simulator, store)
    journal.replicas.is_free = True
    bucket.is_open.clear()
    with anyio.fail_after(30):
        stored = await files.keep(finished_job(), seconds=0.2)
    assert (stored.links, stored.problem) == ({}, "unfinished")
    bucket.is_open.set()
    with anyio.fail_after(30):
        assert (await files.keep(finished_job(), seconds=30)).problem is None


async def test_each_tenant_has_keys_of_its_own(simulator: Simulator, bucket: Bucket, store: str) -> None:
    files, journal = file_store(simulator, store)
    journal.replicas.is_free = True
    for tenant in ("a1", "b2"):
        previous = current_tenant.set(Tenant(tenant))
        await files.keep(finished_job(), seconds=60)
        current_tenant.reset(previous)
    assert [key.split("/")[1] for key in bucket.objects] == ["a1", "b2"]


async def test_a_folder_keeps_videos_and_makes_no_links(hosted: Hosted, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    async with hosted(LUMA_MCP_STORE=folder.as_uri()) as client:
        text, content = await call(client, "generate_video", **READY)
    [file] = [path for path in folder.rglob("*") if path.is_file()]
    assert file.relative_to(folder) == Path("owner", digest(content["jobid"]), "video.mp4")
    assert file.read_bytes() == VIDEO
    assert NOT_STORED["no_links"] in text
    assert "/media/" in content["video"]["url"]
    assert str(folder) not in text + json.dumps(content)


async def test_memory_is_a_store_too() -> None:
    async def fetch(write: Callable[[bytes], Any]) -> None:
        await write(VIDEO)

    store = VideoStore("memory:///")
    assert not await store.has("a/video.mp4")
    await store.put("a/video.mp4", "video/mp4", fetch)
    assert (await store.has("a/video.mp4"), store.signs) == (True, False)


async def test_a_deleted_job_leaves_its_copy(hosted: Hosted, bucket: Bucket, store: str, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.db")
    async with hosted(LUMA_MCP_STORE=store, LUMA_MCP_JOURNAL=journal) as client:
        _, content = await call(client, "generate_video", **READY)
        note, _ = await call(client, "delete_job", jobid=content["jobid"])
        gone = await client.call_tool("get_job", {"jobid": content["jobid"]})
        other = (await client.list_tools()).tools
    assert "the copy in this server's storage stays" in note
    assert any("a copy in this server's storage stays" in (tool.description or "") for tool in other)
    assert gone.structured_content
    link = gone.structured_content["error"]["last_known"]["video_url"]
    assert link.startswith(bucket.url)
    assert "Its video is still in this server's storage" in gone.structured_content["error"]["message"]


async def test_the_resource_of_a_job_copies_nothing_and_has_the_link(
    hosted: Hosted, bucket: Bucket, store: str
) -> None:
    async with hosted(LUMA_MCP_STORE=store) as client:
        _, running = await order(client)
        await pass_time(300)
        uri = f"luma://jobs/{running['jobid'].replace('@', '%40')}"

        async def read() -> str:
            [shown] = (await client.read_resource(uri)).contents
            return str(json.loads(shown.text)["video"]["url"])  # type: ignore[union-attr]

        before, copied = await read(), dict(bucket.objects)
        await call(client, "get_job", jobid=running["jobid"])
        after = await read()
    assert ("/media/" in before, copied, after.startswith(bucket.url)) == (True, {}, True)


async def test_the_player_may_show_what_is_in_the_store(hosted: Hosted, bucket: Bucket, store: str) -> None:
    async with declaring(hosted(LUMA_MCP_STORE=store), APPS) as client:
        listed = (await client.list_resources()).model_dump_json(by_alias=True)
    assert bucket.url in listed


async def test_no_signature_and_no_key_is_logged(
    hosted: Hosted, bucket: Bucket, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="luma_mcp")
    async with hosted(LUMA_MCP_STORE=store) as client:
        await call(client, "generate_video", **READY)
        bucket.refuses = 403
        await call(client, "generate_video", **READY, new_take=True)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("luma_mcp")]
    assert any("was not copied into the store" in line for line in ours)
    assert [line for line in ours if "Signature" in line or "very-secret" in line or "?upload" in line] == []


@pytest.mark.parametrize("url", ["ftp://host/x", "https://host.example.com/x", "file://relative", "az://container"])
def test_invalid_store_is_refused_at_startup(tmp_path: Path, url: str) -> None:
    done = run_command("serve", environment={"LUMA_MCP_STORE": url, "HOME": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("luma-ray-mcp: LUMA_MCP_STORE cannot be used: ")
    assert "It takes s3://, gs://, az:// and file:// URLs" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_error_of_a_store_has_no_url_parameters() -> None:
    store = VideoStore("memory:///")
    with pytest.raises(StoreError) as raised:
        await store.sign("a?X-Amz-Signature=secret")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("s3://bucket/prefix", {"AWS_REGION": "eu-west-1"}),
        ("s3://bucket/prefix", {"AWS_REGION": "auto", "AWS_ENDPOINT_URL": "https://store.example.com"}),
        (
            "az://container/prefix",
            {"AZURE_STORAGE_ACCOUNT_NAME": "studio", "AZURE_STORAGE_ACCOUNT_KEY": "bm9ib2R5cw=="},
        ),
    ],
    ids=["S3", "S3 elsewhere", "Azure"],
)
async def test_the_player_is_given_the_origin_of_each_kind_of_link(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str]
) -> None:
    credential = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "very-secret-store-key"}
    for name, value in (credential | environment).items():
        monkeypatch.setenv(name, value)
    link = await VideoStore(url).sign("owner/a/video.mp4")
    assert any(fnmatch(link, f"{origin}/*") for origin in list_origins(url, os.environ))
    assert "/prefix/owner/a/video.mp4?" in link
