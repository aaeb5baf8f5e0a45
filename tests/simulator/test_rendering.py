"""Clips that the simulated service renders for each job match the order, frame by frame."""

from __future__ import annotations

import base64
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av
import httpx2
import pytest
from PIL import Image, ImageChops, ImageStat
from tests.conftest import CREDENTIALS, EMAIL

from luma_mcp.media.clips import read_clip
from luma_mcp.simulator.app import new_simulator
from luma_mcp.simulator.rendering import Renderer, Shot, clip_size, render
from luma_mcp.simulator.state import MEDIA, SIZES, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from luma_mcp.simulator.app import Simulator

# Mean absolute differences of colors, from 0 to 255: the most for the same picture, and the least for other ones.
SAME_PICTURE, OTHER_PICTURE = 4, 15
FOX = "A fox in the snow simulate:instant"
HARBOR = "A harbor at night simulate:instant"


class Customer:
    """Orders videos from a simulated service that renders a clip for each job."""

    def __init__(self, simulator: Simulator, http: httpx2.AsyncClient) -> None:
        self.simulator = simulator
        self.http = http

    async def order(self, prompt: str = FOX, **body: Any) -> dict[str, Any]:
        """Order a video that is finished at once, and return its record."""
        response = await self.http.post("/v1/luma/videos", json={"prompt": prompt, **body})
        assert response.status_code == 200, response.text
        record = await self.http.get(f"/v1/luma/jobs/{response.json()['jobid']}")
        return dict(record.json()["response"])

    async def order_from_agents(self, prompt: str = FOX, **video: Any) -> str:
        body = {"prompt": prompt, "model": "ray-3.2", "type": "video", "aspect_ratio": "16:9"}
        response = await self.http.post("/v1/generations", json={**body, "video": {"resolution": "360p", **video}})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def fetch_output(self, jobid: str) -> list[Image.Image]:
        """Fetch the video of a job of the Agents API, and return its frames."""
        generation = (await self.http.get(f"/v1/generations/{jobid}")).json()
        [output] = generation["output"]
        return decode((await self.http.get(output["url"])).content)

    async def fetch(self, file: dict[str, Any]) -> bytes:
        response = await self.http.get(file["url"])
        assert (response.status_code, response.headers["content-type"]) == (200, file["media_type"])
        return response.content

    async def fetch_frames(self, record: dict[str, Any]) -> list[Image.Image]:
        return decode(await self.fetch(record["video"]))

    async def fetch_picture(self, file: dict[str, Any]) -> Image.Image:
        return Image.open(io.BytesIO(await self.fetch(file)))


@pytest.fixture
async def customer(simulator: Simulator, api: str) -> AsyncIterator[Customer]:
    simulator.service.renders = True
    headers = {"Authorization": f"Bearer {CREDENTIALS[api]}"}
    transport = httpx2.ASGITransport(simulator)
    async with httpx2.AsyncClient(transport=transport, base_url="http://simulated", headers=headers) as http:
        yield Customer(simulator, http)


FROM_AGENTS = pytest.mark.parametrize("api", ["agents"])


def decode(data: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        return [frame.to_image() for frame in container.decode(stream)]  # type: ignore[no-untyped-call]


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, from 0 to 255."""
    other = other.convert("RGB").resize(one.size)
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other)).mean)


def photo(color: str, size: tuple[int, int] = (300, 300)) -> bytes:
    """Make a JPEG with a stripe."""
    picture = Image.new("RGB", size, color)
    picture.paste("white", (size[0] // 3, 0, size[0] // 2, size[1]))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def crop(data: bytes) -> Image.Image:
    """Crop a square picture to its middle in 16:9."""
    picture = Image.open(io.BytesIO(data))
    margin = round(picture.height * 7 / 32)
    return picture.crop((0, margin, picture.width, picture.height - margin))


@pytest.mark.parametrize("ratio", SIZES)
async def test_a_clip_has_the_ordered_shape(customer: Customer, ratio: str) -> None:
    record = await customer.order(aspect_ratio=ratio, resolution="draft")
    with av.open(io.BytesIO(await customer.fetch(record["video"])), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (float(stream.average_rate or 0), stream.frames) == (24.0, 121)
        size = (stream.width, stream.height)
    wide, high = map(int, ratio.split(":"))
    assert size[0] / size[1] == pytest.approx(wide / high, rel=0.01)
    assert size[0] * size[1] == pytest.approx(640 * 360, rel=0.01)
    for file in (record["video"], record["thumbnail"], record["last_frame"]):
        assert (file["width"], file["height"]) == size
    assert (await customer.fetch_picture(record["thumbnail"])).size == size
    assert record["video"]["duration"] == 5.04


@pytest.mark.parametrize(
    ("resolution", "size"),
    [("draft", (640, 360)), ("540p", (960, 540)), ("720p", (1280, 720)), ("1080p", (1920, 1080))],
)
async def test_a_clip_has_the_ordered_resolution(customer: Customer, resolution: str, size: tuple[int, int]) -> None:
    record = await customer.order(resolution=resolution)
    assert (record["video"]["width"], record["video"]["height"]) == size
    assert (await customer.fetch_picture(record["last_frame"])).size == size


async def test_a_clip_has_the_ordered_length(customer: Customer) -> None:
    record = await customer.order(duration="10s", resolution="draft")
    frames = await customer.fetch_frames(record)
    assert (len(frames), record["video"]["duration"]) == (241, 10.04)


async def test_stills_are_the_first_and_the_last_frame(customer: Customer) -> None:
    record = await customer.order()
    first, *_, last = await customer.fetch_frames(record)
    assert difference(first, await customer.fetch_picture(record["thumbnail"])) < SAME_PICTURE
    assert difference(last, await customer.fetch_picture(record["last_frame"])) < SAME_PICTURE
    assert difference(first, last) > SAME_PICTURE


async def test_other_prompts_and_other_takes_look_different(customer: Customer) -> None:
    fox, take, harbor = [await customer.order(prompt) for prompt in (FOX, FOX, HARBOR)]
    stills = [await customer.fetch_picture(record["thumbnail"]) for record in (fox, take, harbor)]
    assert difference(stills[0], stills[2]) > OTHER_PICTURE
    assert difference(stills[0], stills[1]) > SAME_PICTURE


async def test_an_hdr_clip_looks_like_its_stills(customer: Customer, tmp_path: Path) -> None:
    record = await customer.order(dynamic_range="hdr", resolution="540p", aspect_ratio="1:1")
    path = tmp_path / "clip.mp4"
    path.write_bytes(await customer.fetch(record["video"]))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, stream.codec_context.codec_tag, stream.pix_fmt) == ("hevc", "hvc1", "yuv420p10le")
        # BT.2020, PQ, and the matrix of BT.2020 (ITU-T H.273); limited range.
        tags = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)
        assert tags == (9, 16, 9, 1)
        assert stream.frames == 121
    last, _ = read_clip(str(path), 10_000_000)
    assert difference(last, await customer.fetch_picture(record["last_frame"])) < SAME_PICTURE


async def test_a_clip_begins_and_ends_with_its_pictures(customer: Customer) -> None:
    start, end = photo("red"), photo("blue")
    service = customer.simulator.service
    pictures = {
        name: service.add_asset(EMAIL, Upload("image/jpeg", data))
        for name, data in (("imageStart", start), ("imageEnd", end))
    }
    frames = await customer.fetch_frames(await customer.order(**pictures))
    assert difference(crop(start), frames[0]) < SAME_PICTURE
    assert difference(crop(end), frames[-1]) < SAME_PICTURE
    # The picture is cropped to the shape, not squeezed.
    assert difference(crop(start), frames[60]) > OTHER_PICTURE
    assert difference(crop(end), frames[60]) > OTHER_PICTURE
    # No two neighbouring frames differ much.
    assert max(difference(one, following) for one, following in pairwise(frames)) < OTHER_PICTURE


async def test_a_clip_continues_another_in_any_size(customer: Customer) -> None:
    earlier = await customer.order()
    upload = Upload("image/jpeg", await customer.fetch(earlier["last_frame"]))
    ref = customer.simulator.service.add_asset(EMAIL, upload)
    record = await customer.order(HARBOR, imageStart=ref, resolution="540p")
    *_, last = await customer.fetch_frames(earlier)
    first, *_, end = await customer.fetch_frames(record)
    assert (first.size, difference(last, first) < SAME_PICTURE) == ((960, 540), True)
    assert difference(last, end) > OTHER_PICTURE


async def test_a_picture_that_cannot_be_decoded_is_left_out(customer: Customer) -> None:
    ref = customer.simulator.service.add_asset(EMAIL, Upload("image/jpeg", b"\xff\xd8\xff nothing"))
    record = await customer.order(imageStart=ref)
    assert (await customer.fetch_picture(record["thumbnail"])).size == (640, 360)


@FROM_AGENTS
async def test_frames_of_an_order_to_the_agents_api(customer: Customer) -> None:
    start = {"data": base64.b64encode(photo("red")).decode(), "media_type": "image/jpeg"}
    end = {"url": "https://example.com/a.jpg"}
    frames = await customer.fetch_output(await customer.order_from_agents(start_frame=start, end_frame=end))
    assert (len(frames), frames[0].size) == (121, (640, 360))
    assert difference(crop(photo("red")), frames[0]) < SAME_PICTURE


@FROM_AGENTS
async def test_keyframes_are_shown_at_their_times(customer: Customer) -> None:
    colors = {0: "red", 72: "green", 84: "blue"}
    pictures = [
        {"data": base64.b64encode(photo(color)).decode(), "media_type": "image/jpeg"} for color in colors.values()
    ]
    jobid = await customer.order_from_agents(keyframes=pictures, keyframe_indexes=list(colors))
    frames = await customer.fetch_output(jobid)
    for index, color in colors.items():
        assert difference(crop(photo(color)), frames[index]) < SAME_PICTURE
    # Between two keyframes that are twelve frames apart, each frame changes by about a twelfth.
    assert max(difference(one, following) for one, following in pairwise(frames)) < 1.5 * 255 / 12


@FROM_AGENTS
async def test_a_longer_clip_contains_the_earlier_one(customer: Customer) -> None:
    jobid = await customer.order_from_agents(resolution="540p")
    longer = await customer.order_from_agents(HARBOR, resolution="540p", start_frame={"generation_id": jobid})
    before, after = await customer.fetch_output(jobid), await customer.fetch_output(longer)
    assert (len(before), len(after)) == (121, 241)
    for number in (0, 60, 120):
        assert difference(before[number], after[number]) < SAME_PICTURE
    assert difference(before[-1], after[121]) < SAME_PICTURE
    assert difference(before[-1], after[-1]) > OTHER_PICTURE


async def test_parts_of_a_file(customer: Customer) -> None:
    url = (await customer.order())["thumbnail"]["url"]
    whole = await customer.http.get(url)
    etag = whole.headers["etag"]

    async def fetch_part(part: str, **headers: str) -> tuple[int, bytes, str | None]:
        answer = await customer.http.get(url, headers={"Range": part, **headers})
        return answer.status_code, answer.content, answer.headers.get("content-range")

    data, length = whole.content, len(whole.content)
    assert await fetch_part("bytes=10-", **{"If-Range": etag}) == (206, data[10:], f"bytes 10-{length - 1}/{length}")
    assert await fetch_part("bytes=0-1") == (206, data[:2], f"bytes 0-1/{length}")
    assert await fetch_part("bytes=10-", **{"If-Range": '"another"'}) == (200, data, None)
    assert await fetch_part(f"bytes={length}-") == (416, b"", f"bytes */{length}")


@pytest.mark.parametrize("prompt", ["A fox simulate:instant simulate:expired-link", FOX])
async def test_links_end_with_their_job(customer: Customer, prompt: str) -> None:
    record = await customer.order(prompt)
    status = 403
    if "expired" not in prompt:
        customer.simulator.service.jobs.clear()
        status = 404
    assert (await customer.http.get(record["video"]["url"])).status_code == status


def test_files_are_kept_up_to_a_limit_and_rendered_again_identically() -> None:
    shot = Shot("A fox", "1", clip_size("draft", "16:9"), 3)
    others = [Shot("A fox", str(number), shot.size, 3) for number in range(2, 5)]
    renderer = Renderer(max_bytes=2 * len(render(shot, "thumbnail.jpg")))
    first = renderer.get(shot, "thumbnail.jpg")
    assert renderer.get(shot, "thumbnail.jpg") is first
    for other in others:
        renderer.get(other, "thumbnail.jpg")
    again = renderer.get(shot, "thumbnail.jpg")
    assert again is not first
    assert again == first
    # An interrupted download can continue after the file was rendered again.
    assert render(shot, "video.mp4") == render(shot, "video.mp4")


def test_file_for_several_requests_is_rendered_once() -> None:
    shot, renderer = Shot("A fox", "1", clip_size("draft", "16:9"), 24), Renderer()
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(renderer.get, [shot] * 4, ["video.mp4"] * 4)
    assert all(other is first for other in others)


def test_any_prompt_can_be_rendered() -> None:
    for prompt in ("狐狸在雪中", "x" * 5000, "\n\t", "🦊"):
        shot = Shot(prompt, "", clip_size("draft", "9:16"), 2)
        assert Image.open(io.BytesIO(render(shot, "thumbnail.jpg"))).size == shot.size


@pytest.mark.parametrize("api", CREDENTIALS)
@pytest.mark.parametrize("is_installed", [True, False])
def test_without_pyav_the_stored_clips_are_served(
    monkeypatch: pytest.MonkeyPatch, api: str, *, is_installed: bool
) -> None:
    if not is_installed:
        monkeypatch.setitem(sys.modules, "av", None)
    service = new_simulator(api=api, renders=True).service
    assert service.renders == is_installed
    request = {"prompt": FOX, "model": "", "aspect_ratio": "16:9", "duration": "5s", "dynamic_range": "sdr"}
    job = service.start({**request, "resolution": "720p"}, next(iter(service.accounts)), webhook=False)
    name = service.build_files_record(job, "http://simulated/media")["video"]["url"].rpartition("/")[2]
    assert (MEDIA / name).exists() != is_installed
