"""Input images: each is read and decoded once, and the validated image is the one that is uploaded."""

from __future__ import annotations

import base64
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from PIL import Image
from tests.clock import pass_time
from tests.conftest import EMAIL, client_of, resolve, wall_clock
from tests.service.orders import ignore_progress, place

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.errors import AccountSession, InvalidArguments, LimitReached, NotFound
from luma_mcp.journal.sqlite import SqliteJournal
from luma_mcp.media.decoder import Decoder
from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.sources import Source, SourceKind
from luma_mcp.service.clip_files import ClipFiles
from luma_mcp.service.requests import InputImage, RequestBuilder, ValidatedRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.service.conftest import StartService

    from luma_mcp.media.images import NormalizedImage
    from luma_mcp.service.requests import ProgressStep
    from luma_mcp.service.service import VideoService
    from luma_mcp.simulator.app import Simulator

    Build = Callable[[Decoder], RequestBuilder]

OTHER = "second@example.com"
LINK = "https://pictures.example.com/fox.png?token=geheim"
UPLOADS = "POST /assets/…"


def picture(colour: str = "red", form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 40), colour).save(file, form)
    return file.getvalue()


def data_uri(data: bytes) -> str:
    return f"data:;base64,{base64.b64encode(data).decode()}"


async def stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


class PictureHost(httpx2.AsyncBaseTransport):
    """Serves pictures.example.com with a new colour each time, or with `status`; other requests go to the simulator."""

    def __init__(self, simulator: Simulator, status: int = 200) -> None:
        self._simulated = httpx2.ASGITransport(simulator)
        self.status = status
        self.sent: list[bytes] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.headers["host"] != "pictures.example.com":
            return await self._simulated.handle_async_request(request)
        if self.status != 200:
            return httpx2.Response(self.status)
        self.sent.append(picture(("red", "green", "blue")[len(self.sent) % 3]))
        return httpx2.Response(200, content=stream(self.sent[-1]))


class CountingDecoder(Decoder):
    """Counts how often each picture is decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded: Counter[bytes] = Counter()

    async def normalize(self, data: bytes) -> NormalizedImage:
        self.decoded[data] += 1
        return await super().normalize(data)


@pytest.fixture
async def build(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Build]:
    """Builds a `RequestBuilder` with the given decoder."""
    journal = SqliteJournal(tmp_path / "journal.db", api="test", wall_clock=wall_clock)
    transport = httpx2.ASGITransport(simulator)

    def with_decoder(decoder: Decoder) -> RequestBuilder:
        http = SafeHttpClient(transport=transport, resolve=resolve)
        api = client_of(transport)
        return RequestBuilder(
            api,
            journal,
            http,
            catalog=USEAPI,
            folders=(tmp_path,),
            default_account=None,
            decoder=decoder,
            clips=ClipFiles(api, journal, http),
        )

    yield with_decoder
    await journal.aclose()


async def test_the_validated_picture_is_uploaded(start_service: StartService, simulator: Simulator) -> None:
    host = PictureHost(simulator)
    service = start_service(host)
    validated = await service.validate({"prompt": "A fox", "image_start": LINK})
    await service.find_duplicate(validated)
    await service.submit(validated, retry_timeout=20, on_progress=ignore_progress)
    [fetched] = host.sent
    [upload] = simulator.service.uploads.values()
    assert upload.data == fetched


def test_the_key_of_an_order_is_stable() -> None:
    """Journals of earlier versions contain it."""
    params = {"prompt": " A fox ", "model": "ray-v3", "resolution": "draft", "aspect_ratio": "16:9", "duration": "5s"}
    images = {"image_start": InputImage(Source(SourceKind.FILE, "/a/b.png"), "ab12")}
    given = params | {"dynamic_range": "sdr", "image_start": "/a/b.png"}
    key = ValidatedRequest(given, images, "me@example.com").key
    assert key == "bbe5f5eac9f184e44ce5f23587f889a5148dbc66726f99a0052905d90d57d87b"


async def test_each_picture_is_decoded_once(build: Build, simulator: Simulator) -> None:
    decoder = CountingDecoder()
    requests = build(decoder)
    red, green = picture("red"), picture("green")
    given = {"prompt": "A fox", "image_start": data_uri(red), "image_end": data_uri(green)}
    for _ in range(2):
        validated = await requests.validate(given)
        await requests.build_request(validated, ignore_progress)
    assert decoder.decoded == {red: 1, green: 1}
    assert simulator.requests[UPLOADS] == 2


async def test_a_picture_used_for_both_frames_is_uploaded_once(build: Build, simulator: Simulator) -> None:
    decoder = CountingDecoder()
    requests = build(decoder)
    uri = data_uri(picture())
    validated = await requests.validate({"prompt": "A fox", "image_start": uri, "image_end": uri})
    request, _ = await requests.build_request(validated, ignore_progress)
    assert request.image_start == request.image_end
    assert (decoder.decoded.total(), simulator.requests[UPLOADS]) == (1, 1)


async def test_a_known_picture_is_converted_for_another_account(service: VideoService, simulator: Simulator) -> None:
    """Validation did not decode it, because it had been uploaded before."""
    simulator.service.add_account(OTHER)
    uri = data_uri(picture(form="BMP"))
    await place(service, image_start=uri, email=EMAIL)
    result = await place(service, image_start=uri, email=OTHER)
    assert [upload.media_type for upload in simulator.service.uploads.values()] == ["image/jpeg"] * 2
    assert result.image_changes == {"image_start": "converted from BMP"}


async def test_all_problems_are_reported_at_once(service: VideoService) -> None:
    given = {"prompt": "A fox", "resolution": "4k", "image_start": "photo.jpg", "image_end": "data:,x"}
    with pytest.raises(InvalidArguments) as invalid:
        await service.validate(given)
    error = invalid.value
    assert {(problem.field, problem.code) for problem in error.problems} == {
        ("resolution", "not_offered"),
        ("image_start", "unusable_image"),
        ("image_end", "unusable_image"),
    }
    assert (error.charged, error.retry, error.suggestion) == ("no", "after_change", None)


@pytest.mark.parametrize("value", ["", "  ", 5, "\ud800"])
async def test_an_invalid_image_value_is_one_problem(service: VideoService, value: Any) -> None:
    with pytest.raises(InvalidArguments) as invalid:
        await service.validate({"prompt": "A fox", "image_start": value})
    assert [problem.field for problem in invalid.value.problems] == ["image_start"]


async def test_an_image_that_the_model_excludes_is_still_validated(service: VideoService) -> None:
    given = {"prompt": "A fox", "model": "ray-v3-flash", "image_character": "photo.jpg"}
    with pytest.raises(InvalidArguments) as invalid:
        await service.validate(given)
    codes = [problem.code for problem in invalid.value.problems if problem.field == "image_character"]
    assert "unusable_image" in codes


@pytest.mark.parametrize(
    ("status", "given", "retry"),
    [
        (503, {}, "later"),
        (404, {}, "after_change"),
        (503, {"model": "ray-9"}, "after_change"),
        (503, {"image_end": "photo.jpg"}, "after_change"),
    ],
)
async def test_only_temporary_problems_are_worth_a_retry(
    start_service: StartService, simulator: Simulator, status: int, given: dict[str, str], retry: str
) -> None:
    service = start_service(PictureHost(simulator, status))
    with pytest.raises(InvalidArguments) as invalid:
        await service.validate({"prompt": "A fox", "image_start": LINK, **given})
    assert invalid.value.retry == retry
    assert "https://pictures.example.com/fox.png" in str(invalid.value)
    assert "geheim" not in str(invalid.value)


async def test_progress_names_the_steps_and_the_images(service: VideoService) -> None:
    steps: list[tuple[str, str | None]] = []

    async def on_progress(step: ProgressStep, parameter: str | None = None, /) -> None:
        steps.append((step, parameter))

    given = {"image_start": data_uri(picture("red")), "image_end": data_uri(picture("green"))}
    validated = await service.validate({"prompt": "A fox", **given})
    for _ in range(2):
        await service.submit(validated, retry_timeout=20, on_progress=on_progress)
    assert steps == [
        ("preparing", None),
        ("uploading", "image_start"),
        ("uploading", "image_end"),
        ("ordering", None),
        # The second order is a duplicate.
        ("preparing", None),
    ]


async def test_an_asset_that_expired_early_is_uploaded_again(service: VideoService, simulator: Simulator) -> None:
    uri = data_uri(picture())
    await place(service, image_start=uri)
    simulator.service.assets.clear()
    await place(service, "A cat", image_start=uri)
    assert simulator.requests[UPLOADS] == 2
    assert simulator.orders[-1]["imageStart"] in simulator.service.assets


async def test_an_expired_asset_of_the_caller_is_not_found(service: VideoService, simulator: Simulator) -> None:
    with pytest.raises(NotFound) as unknown:
        await place(service, image_start=f"u12345-email:{EMAIL}-image:1")
    assert (unknown.value.what, unknown.value.charged) == ("order_input", "no")
    assert simulator.requests["POST /videos"] == 1


async def test_without_a_usable_account_nothing_is_uploaded(service: VideoService, simulator: Simulator) -> None:
    simulator.service.accounts[EMAIL].session_valid = False
    with pytest.raises(AccountSession) as expired:
        await place(service, image_start=data_uri(picture()))
    assert (expired.value.all_accounts, expired.value.charged) == (True, "no")
    assert simulator.requests[UPLOADS] == 0


async def test_assets_of_two_accounts_are_a_mismatch(service: VideoService, simulator: Simulator) -> None:
    simulator.service.add_account(OTHER)
    refs = [simulator.service.add_asset(email) for email in (EMAIL, OTHER)]
    with pytest.raises(InvalidArguments) as invalid:
        await place(service, image_start=refs[0], image_end=refs[1])
    [problem] = invalid.value.problems
    assert (problem.field, problem.code, invalid.value.charged) == ("image_end", "account_mismatch", "no")
    assert EMAIL in problem.reason
    assert OTHER in problem.reason


async def test_an_unknown_account_is_rejected_with_the_known_ones(service: VideoService, simulator: Simulator) -> None:
    with pytest.raises(InvalidArguments) as invalid:
        await place(service, image_start=data_uri(picture()), email="stduio@example.com")
    [problem] = invalid.value.problems
    assert (problem.field, problem.code, problem.allowed) == ("email", "unknown_account", (EMAIL,))
    assert simulator.requests[UPLOADS] == 0


async def test_nothing_is_uploaded_beyond_the_hourly_limit(start_service: StartService, simulator: Simulator) -> None:
    service = start_service(max_jobs_per_hour=1)
    await place(service)
    with pytest.raises(LimitReached):
        await place(service, image_start=data_uri(picture()))
    assert simulator.requests[UPLOADS] == 0


async def test_a_duplicate_uploads_nothing(service: VideoService, simulator: Simulator, tmp_path: Path) -> None:
    """A file, a data: URI and an assetRef of the same picture are the same input."""
    simulator.service.add_account(OTHER)
    (tmp_path / "fox.png").write_bytes(picture())
    first = await place(service, image_start=str(tmp_path / "fox.png"))
    [ref] = simulator.service.uploads
    for source in (data_uri(picture()), ref):
        assert (await place(service, image_start=source)).job.jobid == first.job.jobid
    assert (simulator.requests[UPLOADS], simulator.requests["POST /videos"]) == (1, 1)


async def test_two_identical_orders_at_once_upload_once(service: VideoService, simulator: Simulator) -> None:
    validated = await service.validate({"prompt": "A fox", "image_start": data_uri(picture())})

    async def pause_before_upload(step: ProgressStep, _: str | None = None, /) -> None:
        if step == "uploading":
            tasks.start_soon(submit_again)
            await pass_time(5)

    async def submit_again() -> None:
        await service.submit(validated, retry_timeout=20, on_progress=ignore_progress)

    async with anyio.create_task_group() as tasks:
        await service.submit(validated, retry_timeout=20, on_progress=pause_before_upload)
    assert (simulator.requests[UPLOADS], simulator.requests["POST /videos"]) == (1, 1)


async def test_an_expired_session_names_the_account_of_the_images(service: VideoService) -> None:
    with pytest.raises(AccountSession) as expired:
        await place(service, "A fox simulate:expired", image_start=data_uri(picture()))
    assert (expired.value.email, expired.value.charged) == (EMAIL, "no")
