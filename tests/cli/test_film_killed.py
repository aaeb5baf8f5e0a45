"""`luma-ray-mcp film` is killed with SIGKILL at any step. The next run orders nothing twice and completes the film."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import av
import pytest
from tests.cli.films import THREE_SHOTS, write_film
from tests.cli.killable import HOST, Address
from tests.cli.serving import STEP_TIMEOUT
from tests.conftest import EMAIL, TOKEN

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.cli.main import main
from luma_mcp.simulator.app import Simulator
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess

    from starlette.types import Message, Receive, Scope, Send

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests fork processes")
SECONDS_PER_POLL = 40.0
"""Each poll advances the API's time by this much, so that a job takes a few polls."""
CUTS = THREE_SHOTS.replace("crossfade", "cut")
"""Without a crossfade, joining is fast."""
FRAMES = {CUTS: 3 * 121, THREE_SHOTS: 3 * 121 - 12}
"""Three clips. Those with a crossfade overlap by 12 frames."""
CHECK_INTERVAL = 0.02
"""Seconds."""
OUTCOME_UNKNOWN = "Whether anything was charged is not known."
# Each step: the kind of a request, its number among those of the kind, and whether it is held before or after it is
# executed.
STEPS = [
    (kind, number, stage)
    for kind, count in (("order", 4), ("job", 6), ("file", 5), ("asset", 1), ("accounts", 1), ("list", 2))
    for number in range(1, count + 1)
    for stage in ("before", "after")
]


class Api(Simulator):
    """The simulator with a manual clock. It can hold one request until the client disconnects.

    Attributes:
        hold: the request to hold: its kind, its number, and `before` or `after` its execution.
        held: it holds that request.
    """

    def __init__(self) -> None:
        super().__init__(Service(USEAPI, clock=lambda: self.now), token=TOKEN)
        self.service.add_account(EMAIL)
        self.now = 0.0
        self.hold: tuple[str, int, str] | None = None
        self.held = threading.Event()
        self.counts: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = get_kind(scope)
        if kind == "job":
            self.now += SECONDS_PER_POLL
        self.counts[kind] += 1
        if self.hold == (kind, self.counts[kind], "before"):
            await self._hold_request(receive)
        elif self.hold == (kind, self.counts[kind], "after"):
            await super().__call__(scope, receive, discard)
            await self._hold_request(receive)
        else:
            await super().__call__(scope, receive, send)

    async def _hold_request(self, receive: Receive) -> None:
        self.hold = None
        self.held.set()
        while (await receive())["type"] != "http.disconnect":
            pass


async def discard(_: Message) -> None:
    """Discard a message of a response."""


def get_kind(scope: Scope) -> str:
    """Get the kind of a request."""
    first, *rest = scope["path"].removeprefix("/v1/luma").strip("/").split("/")
    if first == "media":
        return "file"
    names = {"videos": "order", "assets": "asset", "accounts": "accounts", "jobs": "job" if rest else "list"}
    return names[first]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def settings(api: Api, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Serve the API and write a film's file. Yield the variables of the terminal."""
    write_film(tmp_path, CUTS)
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        address = Address(listener)
        with address.serving(api):
            yield {
                "HOME": str(tmp_path),
                "USEAPI_TOKEN": TOKEN,
                "LUMA_MCP_BASE_URL": f"{address.origin}{api.prefix}",
                "LUMA_MCP_JOURNAL": str(tmp_path / "journal.db"),
                "LUMA_MCP_OUTPUT_DIR": str(tmp_path / "Luma"),
            }


class Command:
    """A process that makes the film in the test's folder. Its output goes to files."""

    def __init__(self, settings: dict[str, str], *options: str) -> None:
        self.folder = Path(settings["HOME"])
        self._stdout, self._stderr = self.folder / "stdout", self.folder / "stderr"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "luma_mcp.cli.film", "luma_mcp.service.films"])
        arguments = ["film", str(self.folder / "shots.toml"), "--yes", *options]
        self.process: BaseProcess = context.Process(
            target=run_film, args=(arguments, settings, str(self._stdout), str(self._stderr))
        )
        self.process.start()

    @property
    def stdout(self) -> str:
        return self._stdout.read_text("utf-8")

    @property
    def stderr(self) -> str:
        return self._stderr.read_text("utf-8")

    def kill(self) -> None:
        self.process.kill()
        self.process.join(STEP_TIMEOUT)

    def wait(self) -> int | None:
        """Wait until the process exits, and return its exit code."""
        self.process.join(STEP_TIMEOUT * 2)
        assert self.process.exitcode is not None, self.stderr
        return self.process.exitcode


def run_film(arguments: list[str], environment: dict[str, str], stdout: str, stderr: str) -> None:
    """Run `luma-ray-mcp` in this process, with these arguments and variables, and these files as its streams."""
    for descriptor, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    main(arguments, prog_name="luma-ray-mcp")


def assert_complete(api: Api, command: Command, text: str = CUTS) -> None:
    """Check that the film and its clips are complete, with no other files, and that each take was ordered once."""
    assert command.wait() == 0, command.stderr
    [path] = map(Path, command.stdout.splitlines())
    # An empty partial file may belong to a download that has just begun, so it is kept for some days.
    files = [file for file in path.parent.iterdir() if file.suffix != ".part" or file.stat().st_size]
    assert [file.suffix for file in files] == [".mp4"] * 5
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES[text]
    assert len(api.service.jobs) == 4


@pytest.mark.sample(3)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: " ".join(map(str, step)))
def test_killed_at_a_request(api: Api, settings: dict[str, str], step: tuple[str, int, str]) -> None:
    api.hold = step
    first = Command(settings)
    while first.process.is_alive() and not api.held.is_set():
        first.process.join(CHECK_INTERVAL)
    first.kill()
    api.hold = None
    second = Command(settings)
    if second.wait() == 1:
        # The order did not arrive, but the command cannot know that.
        assert (step[0], step[2], api.held.is_set()) == ("order", "before", True)
        assert OUTCOME_UNKNOWN in second.stderr
        assert len(api.service.jobs) < 4
        second = Command(settings, "--order-lost")
    assert_complete(api, second)


@pytest.mark.sample(1)
@pytest.mark.parametrize("size", [0, 1, 20_000, 100_000, 300_000])
def test_killed_while_joining(api: Api, settings: dict[str, str], size: int) -> None:
    write_film(Path(settings["HOME"]), THREE_SHOTS)
    first = Command(settings)
    folder = Path(settings["LUMA_MCP_OUTPUT_DIR"])
    while first.process.is_alive() and get_first_size(folder.glob("*/.luma-film-*/*.mp4")) < size:
        first.process.join(CHECK_INTERVAL)
    first.kill()
    assert len(api.service.jobs) == 4
    assert_complete(api, Command(settings), THREE_SHOTS)


def get_first_size(files: Iterator[Path]) -> int:
    """Get the size of the first file, or -1 if there is none."""
    for file in files:
        with suppress(FileNotFoundError):
            return file.stat().st_size
    return -1
