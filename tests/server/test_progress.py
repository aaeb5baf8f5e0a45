"""Progress of calls: it always grows, names the job, and reports only what happens."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.conftest import BOTH_APIS, ERAS

from luma_mcp.server.progress import ProgressReporter
from luma_mcp.simulator.app import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client

    from luma_mcp.simulator.app import Simulator

    Connect = Callable[..., Client]


class Reports:
    """Records progress reports and their times."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.values: list[float] = []
        self.messages: list[str] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        assert total == 100
        self.times.append(anyio.current_time())
        self.values.append(progress)
        self.messages.append(message or "")

    def steps(self) -> list[str]:
        """Get the first word of each message, without repetitions."""
        steps: list[str] = []
        for message in self.messages:
            step = message.split()[0]
            if steps[-1:] != [step]:
                steps.append(step)
        return steps


class SlowUploadTransport(httpx2.ASGITransport):
    """Takes five seconds for each upload, in virtual time."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if "/assets/" in request.url.path:
            await pass_time(5)
        return await super().handle_async_request(request)


class SlowLinkTransport(httpx2.ASGITransport):
    """Takes ten seconds to respond that a picture does not exist, in virtual time."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("none.jpg"):
            await pass_time(10)
            return httpx2.Response(404)
        return await super().handle_async_request(request)


@BOTH_APIS
@pytest.mark.parametrize("mode", ERAS)
async def test_progress_grows_and_names_the_job_first(connect: Connect, simulator: Simulator, mode: str) -> None:
    reports = Reports()
    async with connect(mode=mode) as client:
        arguments = {"prompt": "A fox simulate:slow", "wait_seconds": 300}
        await client.call_tool("generate_video", arguments, progress_callback=reports)
    [jobid] = simulator.service.jobs
    assert jobid in reports.messages[0]
    assert all(later > earlier for earlier, later in pairwise(reports.values))
    assert all(later - earlier <= 5 for earlier, later in pairwise(reports.times))
    assert all(len(message) < 200 for message in reports.messages)
    assert (reports.values[0], reports.values[-1]) == (0, 100)
    assert max(reports.values[:-1]) < 100


async def test_steps_of_a_slow_order(connect: Connect, simulator: Simulator) -> None:
    simulator.faults.append(Fault("POST", "/videos", 429, b'{"error":"full"}', {"retry-after": "8"}))
    reports = Reports()
    picture = "https://pictures.example.com/media/any/1x1-thumbnail.jpg"
    async with connect(transport=SlowUploadTransport(simulator)) as client:
        arguments = {"prompt": "A fox", "image_start": picture, "wait_seconds": 20}
        await client.call_tool("generate_video", arguments, progress_callback=reports)
    assert reports.steps()[:3] == ["Uploading", "Waiting", "Job"]
    assert reports.messages[0].startswith("Uploading image_start (")


async def test_rejected_request_is_never_reported_as_ordered(connect: Connect, simulator: Simulator) -> None:
    reports = Reports()
    async with connect(transport=SlowLinkTransport(simulator)) as client:
        arguments = {"prompt": "A fox", "image_start": "https://pictures.example.com/none.jpg", "resolution": "4k"}
        result = await client.call_tool("generate_video", arguments, progress_callback=reports)
    assert result.is_error
    assert reports.steps() == ["Preparing"]


class MessageRecorder:
    """A call context that records the last message."""

    def __init__(self) -> None:
        self.message = ""

    async def report_progress(self, _progress: float, _total: float, message: str) -> None:
        self.message = message


@pytest.mark.parametrize(
    ("length", "shown"), [(20, 20 + len("Job : draft usually takes 30 to 180 s")), (180, 184), (300, 199)]
)
async def test_message_is_short_and_keeps_the_jobid(length: int, shown: int) -> None:
    recorder: Any = MessageRecorder()
    await ProgressReporter(recorder).start_waiting("j" * length, "draft", None)
    assert recorder.message.startswith(f"Job {'j' * min(length, 195)}")
    assert len(recorder.message) == shown


async def test_stalled_download_is_still_reported() -> None:
    recorder: Any = MessageRecorder()
    reporter = ProgressReporter(recorder, save=True)
    await reporter.on_download("a.mp4", 1_000, 3_000_000, 0.0)
    first, recorder.message = recorder.message, ""
    await pass_time(1)
    await reporter.on_download("a.mp4", 2_000_000, 3_000_000, 0.6)
    await reporter.tick(2.0)
    assert recorder.message == ""
    await pass_time(4)
    await reporter.tick(6.0)
    assert (first, recorder.message) == ("Saving a.mp4: 1 kB of 3.0 MB", "Saving a.mp4: 2.0 MB of 3.0 MB")


class DisconnectedCall:
    """A call context whose client has disconnected."""

    def __init__(self) -> None:
        self.attempts = 0

    async def report_progress(self, *_: object) -> None:
        self.attempts += 1
        raise anyio.BrokenResourceError


async def test_disconnected_client_does_not_end_the_call() -> None:
    """Progress is reported during a paid order: an exception would cancel its delivery."""
    connection: Any = DisconnectedCall()
    reporter = ProgressReporter(connection)
    await reporter.tick(2.0)
    await reporter.tick(4.0)
    await reporter.start_waiting("j1", "draft", None)
    assert connection.attempts == 1
