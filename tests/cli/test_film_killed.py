"""`luma-ray-mcp film` killed with SIGKILL at any step: run again, it orders nothing twice, and the film is complete."""

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
from tests.cli.films import THREE, write_film
from tests.cli.killable import HOST, Address
from tests.cli.serving import STARTING
from tests.conftest import EMAIL, TOKEN

from luma_mcp.catalog.useapi import USEAPI
from luma_mcp.cli.main import main
from luma_mcp.simulator.app import Simulator
from luma_mcp.simulator.state import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess

    from starlette.types import Message, Receive, Scope, Send

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
POLLS = 40.0
"""Seconds by which each look at a job moves the API's time, so that a job takes a few of them."""
CUTS = THREE.replace("crossfade", "cut")
"""Joining takes hardly any time."""
FRAMES = {CUTS: 3 * 121, THREE: 3 * 121 - 12}
"""Of three clips, which overlap by 12."""
BRIEFLY = 0.02
"""Seconds between two looks at what a process has done."""
LOST = "Whether anything was charged is not known."
# The kind of a request, which one of its kind, and how far it gets.
STEPS = [
    (kind, number, stage)
    for kind, count in (("order", 4), ("job", 6), ("file", 5), ("asset", 1), ("accounts", 1), ("list", 2))
    for number in range(1, count + 1)
    for stage in ("before", "after")
]


class Api(Simulator):
    """The simulator on a time of its own. It can hold one request, until the connection is gone.

    Attributes:
        hold: which request it holds, by kind and number, before or after it is carried out.
        held: it holds that.
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
            self.now += POLLS
        self.counts[kind] += 1
        if self.hold == (kind, self.counts[kind], "before"):
            await self._wait(receive)
        elif self.hold == (kind, self.counts[kind], "after"):
            await super().__call__(scope, receive, nowhere)
            await self._wait(receive)
        else:
            await super().__call__(scope, receive, send)

    async def _wait(self, receive: Receive) -> None:
        self.hold = None
        self.held.set()
        while (await receive())["type"] != "http.disconnect":
            pass


async def nowhere(_: Message) -> None:
    """Where a response goes that nobody gets."""


def get_kind(scope: Scope) -> str:
    """What a request is about."""
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
    """The variables of a terminal whose home has the file of a film, while the API is served."""
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
    """A process that makes the film of the test's folder. What it prints goes to files."""

    def __init__(self, settings: dict[str, str], *options: str) -> None:
        self.folder = Path(settings["HOME"])
        self._printed, self._shown = self.folder / "stdout", self.folder / "stderr"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "luma_mcp.cli.film", "luma_mcp.service.films"])
        arguments = ["film", str(self.folder / "shots.toml"), "--yes", *options]
        self.process: BaseProcess = context.Process(
            target=run_film, args=(arguments, settings, str(self._printed), str(self._shown))
        )
        self.process.start()

    @property
    def printed(self) -> str:
        return self._printed.read_text("utf-8")

    @property
    def shown(self) -> str:
        return self._shown.read_text("utf-8")

    def kill(self) -> None:
        self.process.kill()
        self.process.join(STARTING)

    def end(self) -> int | None:
        """Wait for its end, and get its exit code."""
        self.process.join(STARTING * 2)
        assert self.process.exitcode is not None, self.shown
        return self.process.exitcode


def run_film(arguments: list[str], environment: dict[str, str], printed: str, shown: str) -> None:
    """Be `luma-ray-mcp` with these arguments, variables and files for its streams."""
    for descriptor, path in ((1, printed), (2, shown)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    main(arguments, prog_name="luma-ray-mcp")


def assert_complete(api: Api, command: Command, text: str = CUTS) -> None:
    """The film is there and whole, with its clips and nothing else, and each take was ordered once."""
    assert command.end() == 0, command.shown
    [path] = map(Path, command.printed.splitlines())
    # The empty file of a download that had just begun may be its writer's, so it stays for some days.
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
        first.process.join(BRIEFLY)
    first.kill()
    api.hold = None
    second = Command(settings)
    if second.end() == 1:
        # Nobody but this test knows that an order did not arrive whose answer was never read.
        assert (step[0], step[2], api.held.is_set()) == ("order", "before", True)
        assert LOST in second.shown
        assert len(api.service.jobs) < 4
        second = Command(settings, "--order-lost")
    assert_complete(api, second)


@pytest.mark.sample(1)
@pytest.mark.parametrize("size", [0, 1, 20_000, 100_000, 300_000])
def test_killed_while_joining(api: Api, settings: dict[str, str], size: int) -> None:
    write_film(Path(settings["HOME"]), THREE)
    first = Command(settings)
    folder = Path(settings["LUMA_MCP_OUTPUT_DIR"])
    while first.process.is_alive() and measure(folder.glob("*/.luma-film-*/*.mp4")) < size:
        first.process.join(BRIEFLY)
    first.kill()
    assert len(api.service.jobs) == 4
    assert_complete(api, Command(settings), THREE)


def measure(files: Iterator[Path]) -> int:
    """The size of the first of these files; -1 if there is none."""
    for file in files:
        with suppress(FileNotFoundError):
            return file.stat().st_size
    return -1
